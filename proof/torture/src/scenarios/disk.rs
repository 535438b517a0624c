//! Disks that take no more: full, or turned read-only by the kernel.
//!
//! A node that cannot write must stop rather than promise, and say why. Which call meets the
//! end first is chance: after an error ext4 answers a write with "read-only" and a sync with
//! "input/output error". With room again, or repaired, the node has all that it acknowledged.

use std::fs;
use std::time::Duration;

use rand::RngExt;

use super::{Bench, DISK_FAILED, IO_ERROR, Scene};
use crate::cluster::Cluster;
use crate::outcome::{Figures, Stop};
use crate::process::{need_tools, sleep};
use crate::volume::Volume;

/// The disk fills up; the node stops rather than promise; with space again it has all.
pub(super) fn full(scene: &Scene<'_>) -> Result<Figures, Stop> {
    let mut rng = scene.rng();
    let cluster = Cluster::prepare(&scene.plan.binary, scene.dir, 1)?;
    let disk = cluster.disk_dir(1);
    let volume = Volume::create(&disk, 512)?;
    let mut bench = Bench::over(scene, cluster, 1)?;
    let mut figures = Figures::default();
    for _ in 0..scene.rounds(2, 50) {
        let workers = bench.load.start(rng.random());
        sleep(Duration::from_millis(300))?;
        if scene.is_real() {
            fill(&disk.join("ballast"))?;
        }
        let status = bench.cluster.wait_for_end(1);
        workers.finish()?;
        expect_disk_failed(&bench, status?.code(), &["No space left on device"])?;
        bench.cluster.kill(&[1])?;
        fs::remove_file(disk.join("ballast"))?;
        bench.cluster.start(1)?;
        figures.rounds += 1;
        figures.faults += 1;
        bench.check(&mut figures)?;
    }
    drop(bench);
    drop(volume);
    Ok(figures)
}

/// The kernel makes one of three disks read-only, as it does after an error; the node stops
/// with its reason, the others go on, and repaired it has all.
pub(super) fn read_only(scene: &Scene<'_>) -> Result<Figures, Stop> {
    need_tools(&["e2fsck", "findmnt"])?;
    let mut rng = scene.rng();
    let cluster = Cluster::prepare(&scene.plan.binary, scene.dir, 3)?;
    let volume = Volume::create(&cluster.disk_dir(1), 512)?;
    let mut bench = Bench::over(scene, cluster, 3)?;
    let mut figures = Figures::default();
    for _ in 0..scene.rounds(2, 50) {
        let workers = bench.load.start(rng.random());
        sleep(Duration::from_millis(300))?;
        if scene.is_real() {
            volume.become_read_only()?;
        }
        let status = bench.cluster.wait_for_end(1)?;
        let before = bench.load.acknowledged();
        sleep(Duration::from_millis(500))?;
        workers.finish()?;
        expect_disk_failed(&bench, status.code(), &["Read-only file system", IO_ERROR])?;
        if bench.load.acknowledged() == before {
            return Err(Stop::failed("two of three nodes do not go on"));
        }
        bench.cluster.kill(&[1])?;
        volume.unmount()?;
        volume.repair()?;
        volume.mount()?;
        bench.cluster.start(1)?;
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

/// Demands that n1 ended because of its disk and said so, with what the operating system said:
/// one of these.
fn expect_disk_failed(bench: &Bench, code: Option<i32>, causes: &[&str]) -> Result<(), Stop> {
    let words = bench.cluster.last_words(1);
    let is_told = causes.iter().any(|cause| words.contains(cause));
    if code == Some(DISK_FAILED) && is_told && words.contains("start the node again") {
        return Ok(());
    }
    Err(Stop::Failed(format!(
        "exit {code:?} instead of {DISK_FAILED} because of {causes:?}; last words: {words}"
    )))
}
