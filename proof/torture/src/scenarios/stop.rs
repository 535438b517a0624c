//! SIGTERM under load, as an operator or a service manager sends it: one node after the
//! other, then all at once.
//!
//! A stop has to end well: code 0, within its time, with everything on disk. Service managers
//! kill what takes longer, and an operator who sees an error looks for a fault.

use std::time::{Duration, Instant};

use rand::RngExt;

use super::{Bench, Scene};
use crate::outcome::{Figures, Stop};
use crate::process::{signal, sleep};

/// How long requests under way get, and then some for the disk of a busy machine.
const STOP_MAX: Duration = Duration::from_secs(10);

/// The last thing that a node says.
const WORDS: &str = "stopped, everything is on disk";

pub(super) fn run(scene: &Scene<'_>) -> Result<Figures, Stop> {
    let mut rng = scene.rng();
    let mut bench = Bench::start(scene, 3)?;
    let mut figures = Figures::default();
    for round in 0..scene.rounds(6, 500) {
        let nodes: Vec<u16> =
            if round % 3 == 2 { vec![1, 2, 3] } else { vec![rng.random_range(1..=3)] };
        let before = bench.load.acknowledged();
        let workers = bench.load.start(rng.random());
        sleep(Duration::from_millis(rng.random_range(100..600)))?;
        stop(scene, &mut bench, &nodes)?;
        nodes.iter().try_for_each(|id| bench.cluster.start(*id))?;
        workers.finish()?;
        if bench.load.acknowledged() == before {
            return Err(Stop::failed("there was no load"));
        }
        figures.faults += nodes.iter().map(|_| 1).sum::<u64>();
        figures.rounds += 1;
        bench.check(&mut figures)?;
    }
    Ok(figures)
}

fn stop(scene: &Scene<'_>, bench: &mut Bench, nodes: &[u16]) -> Result<(), Stop> {
    let asked = Instant::now();
    for id in nodes.iter().filter(|_| scene.is_real()) {
        signal("TERM", bench.cluster.pid(*id)?)?;
    }
    for id in nodes {
        let status = bench.cluster.wait_for_end(*id)?;
        let (took, words) = (asked.elapsed(), bench.cluster.last_words(*id));
        if !status.success() || !words.contains(WORDS) {
            return Err(Stop::Failed(format!("n{id} stopped with {status}: {words}")));
        }
        if STOP_MAX < took {
            return Err(Stop::Failed(format!("n{id} took {took:?} to stop")));
        }
    }
    bench.cluster.kill(nodes).map(|_| ())
}
