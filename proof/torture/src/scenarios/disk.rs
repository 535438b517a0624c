//! Disks that say no: full, or failing to sync or to read.

use std::fs;
use std::time::Duration;

use rand::RngExt;

use super::{Bench, Plan};
use crate::cluster::Cluster;
use crate::outcome::{Figures, Stop};
use crate::process::{need_tools, sleep};
use crate::volume::Volume;

/// What a node exits with whose disk failed.
const DISK_FAILED: i32 = 8;

/// The disk fills up; the node stops rather than promise; with space again it has all.
pub(super) fn full(plan: &Plan) -> Result<Figures, Stop> {
    let mut rng = plan.rng();
    let dir = tempfile::tempdir()?;
    let cluster = Cluster::prepare(&plan.binary, dir.path(), 1)?;
    let disk = cluster.disk_dir(1);
    let volume = Volume::create(&disk, 512)?;
    let mut bench = Bench::over(cluster, dir, 1)?;
    let mut figures = Figures::default();
    for _ in 0..plan.rounds(2, 50) {
        let workers = bench.load.start(rng.random());
        sleep(Duration::from_millis(300))?;
        fill(&disk.join("ballast"))?;
        let status = bench.cluster.wait_for_end(1);
        workers.finish()?;
        expect_disk_failed(&bench, status?.code())?;
        bench.cluster.kill(&[1])?;
        fs::remove_file(disk.join("ballast"))?;
        bench.cluster.start(1).map_err(|stop| bench.keep(stop))?;
        figures.rounds += 1;
        figures.faults += 1;
        bench.check(&mut figures)?;
    }
    drop(bench);
    drop(volume);
    Ok(figures)
}

/// Writes a file until there is no room left.
fn fill(path: &std::path::Path) -> Result<(), Stop> {
    use std::io::Write as _;
    let mut ballast = fs::File::create(path)?;
    for bytes in [1 << 20, 4_096, 512] {
        let block = vec![0; bytes];
        while ballast.write_all(&block).is_ok() {}
    }
    Ok(())
}

/// The n-th sync of the journal fails: nothing is acknowledged after it.
pub(super) fn fsync_fails(plan: &Plan) -> Result<Figures, Stop> {
    fails(plan, "fdatasync,fsync:error=EIO", plan.rounds(6, 500), true)
}

/// Reads fail from the n-th on: nothing wrong is served, and the node may stop.
pub(super) fn read_fails(plan: &Plan) -> Result<Figures, Stop> {
    fails(plan, "pread64:error=EIO", plan.rounds(4, 500), false)
}

fn fails(plan: &Plan, fault: &str, rounds: u64, has_to_stop: bool) -> Result<Figures, Stop> {
    need_tools(&["strace"])?;
    let mut rng = plan.rng();
    let mut bench = Bench::start(plan, 1)?;
    let mut figures = Figures::default();
    for _ in 0..rounds {
        bench.cluster.kill(&[1])?;
        // From that call on all fail: a disk that failed once is not whole the next time.
        let inject = format!("inject={fault}:when={}+", rng.random_range(1..60));
        let wrapper = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &inject];
        bench.cluster.launch(1, &wrapper.map(str::to_owned))?;
        let mut ended = bench.cluster.ready_or_ended(1)?;
        if ended.is_none() {
            let workers = bench.load.start(rng.random());
            if has_to_stop {
                ended = Some(bench.cluster.wait_for_end(1)?);
            } else {
                sleep(Duration::from_millis(700))?;
            }
            workers.finish()?;
            if has_to_stop {
                expect_disk_failed(&bench, ended.and_then(|status| status.code()))?;
            }
        }
        bench.cluster.kill(&[1])?;
        bench.cluster.start(1).map_err(|stop| bench.keep(stop))?;
        figures.rounds += 1;
        figures.faults += 1;
        bench.check(&mut figures)?;
    }
    Ok(figures)
}

fn expect_disk_failed(bench: &Bench, code: Option<i32>) -> Result<(), Stop> {
    if code == Some(DISK_FAILED) {
        return Ok(());
    }
    let words = bench.cluster.last_words(1);
    Err(Stop::Failed(format!("exit {code:?} instead of {DISK_FAILED}; last words: {words}")))
}
