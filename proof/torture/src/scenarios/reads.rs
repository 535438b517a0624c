//! Reads of one node's files that fail, while the other two replicas are well.
//!
//! Most reads never reach a disk: what was written lately is in memory, and the kernel keeps
//! the rest. So there is more data than the node caches, it is stopped in good order, which
//! empties its memory into files, and strace lets *every* read of these files fail. Then:
//!
//! - what is read at a quorum is right, whoever is asked;
//! - what the node itself tells at ONE is right or an error;
//! - its log says what the operating system said;
//! - once reads succeed again, so does everything, without a restart.
//!
//! A round in which fewer reads failed than [`HITS_MIN`] fails the scenario. Every other
//! round fails reads at a start too, which must end with the reason, or serve.

use std::time::Duration;

use client::Level;
use rand::RngExt;

use super::{Bench, IO_ERROR, Scene};
use crate::cluster::Cluster;
use crate::outcome::{Figures, Stop};
use crate::process::{eventually, need_tools, sleep};
use crate::strace::Fault;

/// Reads that must have failed in a round.
const HITS_MIN: usize = 50;

/// Bytes of a value: a few hundred of them are more than the least cache.
const VALUE_BYTES: usize = 4_000;

/// Writes of a round before its reads fail.
const WRITES: u64 = 700;

pub(super) fn run(scene: &Scene<'_>) -> Result<Figures, Stop> {
    need_tools(&["strace"])?;
    let mut rng = scene.rng();
    let cluster = Cluster::prepare(&scene.plan.binary, scene.dir, 3)?;
    cluster.configure(1, "cache = \"1MiB\"")?;
    let mut bench = Bench::over(scene, cluster, 3)?;
    bench.load.pad(VALUE_BYTES);
    let mut figures = Figures::default();
    for round in 0..scene.rounds(2, 200) {
        let enough = bench.load.acknowledged() + WRITES;
        let workers = bench.load.start(rng.random());
        eventually("more is written than a node caches", || enough <= bench.load.acknowledged())?;
        workers.finish()?;
        bench.cluster.stop(1)?;
        if round % 2 == 1 {
            figures.faults += at_start(&mut bench, rng.random_range(5..15))?;
        }
        bench.cluster.start(1)?;
        bench.cluster.wait_for_all_alive()?;
        let seed = rng.random();
        figures.faults += serving(&mut bench, seed)?;
        bench.check(&mut figures)?;
        figures.rounds += 1;
    }
    Ok(figures)
}

/// Lets all reads of the node's files fail while clients work. Returns how many did.
fn serving(bench: &mut Bench, seed: u64) -> Result<u64, Stop> {
    let said_before = bench.cluster.log(1).len();
    let fault = fault(bench, 1);
    let attached = fault.attach(bench.cluster.pid(1)?)?;
    bench.load.check(Level::Quorum)?;
    let own = bench.cluster.urls().into_iter().take(1).collect();
    let alone = bench.load.at(own).glance(Level::One)?;
    let workers = bench.load.start(seed);
    // A slow machine reads less in this time.
    for _ in 0..10 {
        sleep(Duration::from_millis(300))?;
        if HITS_MIN <= fault.hits().len() {
            break;
        }
    }
    workers.finish()?;
    drop(attached);
    let hits = fault.hits().len();
    if hits < HITS_MIN {
        return Err(Stop::Failed(format!("only {hits} reads failed")));
    }
    let log = bench.cluster.log(1);
    if !log.get(said_before..).unwrap_or_default().contains(IO_ERROR) {
        return Err(Stop::Failed(format!("{hits} reads failed, and the log is silent")));
    }
    eprintln!(
        "read-fails: {hits} reads failed, {} keys refused and {} answered at ONE",
        alone.refused, alone.answered
    );
    u64::try_from(hits).map_err(Stop::failed)
}

/// Starts the node while reads fail. Returns how many did.
fn at_start(bench: &mut Bench, when: u64) -> Result<u64, Stop> {
    let said_before = bench.cluster.log(1).len();
    let fault = fault(bench, when);
    bench.cluster.launch(1, &fault.wrapper())?;
    let ended = bench.cluster.answers_or_ended(1)?;
    bench.cluster.kill(&[1])?;
    let log = bench.cluster.log(1);
    let said = log.get(said_before..).unwrap_or_default();
    let hits = fault.hits().len();
    match ended {
        Some(status) if hits == 0 || !matches!(status.code(), Some(1 | 8)) => {
            Err(Stop::Failed(format!("{status} after {hits} failed reads: {said}")))
        }
        Some(_) if !said.contains(IO_ERROR) => {
            Err(Stop::Failed(format!("it does not say why it did not start: {said}")))
        }
        Some(_) | None => u64::try_from(hits).map_err(Stop::failed),
    }
}

fn fault(bench: &Bench, when: u64) -> Fault {
    bench.fault(1, "pread64", &format!("error=EIO:when={when}+"))
}
