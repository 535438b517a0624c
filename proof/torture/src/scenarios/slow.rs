//! A disk that syncs, and takes two seconds for each sync.
//!
//! The other two replicas are a quorum, so clients must hardly notice: whoever asks the slow
//! node is answered as soon as the two have the write, and the slow node goes on hearing and
//! answering while its disk works. strace says which syncs were delayed; a round with none
//! fails the scenario.

use std::time::Duration;

use rand::RngExt;

use super::{Bench, Scene};
use crate::http::ask;
use crate::outcome::{Figures, Stop};
use crate::process::{need_tools, sleep};

/// What each sync takes longer, in microseconds.
const DELAY: &str = "delay_enter=2000000";

/// How long the disk is slow: a few syncs.
const SLOW: Duration = Duration::from_secs(7);

/// How long a node may take to say that it is well, which needs no disk.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Writes that must be acknowledged while one disk is slow. Thousands are, on an idle machine.
const PROGRESS_MIN: u64 = 200;

pub(super) fn run(scene: &Scene<'_>) -> Result<Figures, Stop> {
    need_tools(&["strace"])?;
    let mut rng = scene.rng();
    let mut bench = Bench::start(scene, 3)?;
    let mut figures = Figures::default();
    for _ in 0..scene.rounds(1, 100) {
        let id = rng.random_range(1..=3);
        let seed = rng.random();
        figures.faults += slow(&mut bench, id, seed)?;
        figures.rounds += 1;
        bench.check(&mut figures)?;
    }
    Ok(figures)
}

/// Lets one disk be slow under load. Returns how many syncs were.
fn slow(bench: &mut Bench, id: u16, seed: u64) -> Result<u64, Stop> {
    let fault = bench.fault(id, "fdatasync", DELAY);
    let before = bench.load.acknowledged();
    let workers = bench.load.start(seed);
    let attached = fault.attach(bench.cluster.pid(id)?)?;
    let address = bench.cluster.address(id)?;
    for _ in 0..SLOW.as_secs() {
        sleep(Duration::from_secs(1))?;
        let said = ask(address, "GET", "/health", "", AT_ONCE);
        said.map_err(|err| Stop::Failed(format!("n{id} does not answer: {err}")))?;
    }
    drop(attached);
    workers.finish()?;
    let made = bench.load.acknowledged() - before;
    if made < PROGRESS_MIN {
        return Err(Stop::Failed(format!("{made} writes while one of three disks was slow")));
    }
    match fault.hits().len() {
        0 | 1 => Err(Stop::failed("no sync was slow")),
        hits => u64::try_from(hits).map_err(Stop::failed),
    }
}
