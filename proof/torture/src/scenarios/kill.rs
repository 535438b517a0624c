//! `kill -9` under load, of one node or of all at once, again and again.
//!
//! Half of the time values are large and nodes have little memory, so that they are killed while
//! they write files and merge them.
//!
//! A kill counts if the node died of it. One that was dead already has ended by itself.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::SmallRng;

use super::{Bench, LARGE_VALUE, SMALL_VALUE, Scene};
use crate::outcome::{Figures, Stop};
use crate::process::sleep;

/// Rounds between two looks at all keys.
const ROUNDS_PER_CHECK: u64 = 10;

pub(super) fn run(scene: &Scene<'_>) -> Result<Figures, Stop> {
    let mut rng = scene.rng();
    let mut bench = Bench::start_with_little_memory(scene, 3)?;
    let mut figures = Figures::default();
    let rounds = scene.rounds(100, 5_000);
    while figures.rounds < rounds {
        let is_large = figures.rounds / ROUNDS_PER_CHECK % 2 == 1;
        bench.load.pad(if is_large { LARGE_VALUE } else { SMALL_VALUE });
        let workers = bench.load.start(rng.random());
        for _ in 0..ROUNDS_PER_CHECK.min(rounds - figures.rounds) {
            pause(&mut rng)?;
            figures.faults += kill_some(scene, &mut bench, &mut rng)?;
            figures.rounds += 1;
        }
        workers.finish()?;
        bench.check(&mut figures)?;
    }
    if figures.acknowledged < rounds {
        return Err(Stop::failed("there was hardly any load"));
    }
    eprintln!("kill: the nodes wrote {} files", bench.files_written());
    Ok(figures)
}

fn kill_some(scene: &Scene<'_>, bench: &mut Bench, rng: &mut SmallRng) -> Result<u64, Stop> {
    let nodes = if rng.random_bool(0.2) { vec![1, 2, 3] } else { vec![rng.random_range(1..=3)] };
    let killed = if scene.is_real() { bench.cluster.kill(&nodes)? } else { 0 };
    if killed != nodes.iter().map(|_| 1).sum::<u64>() {
        let words: Vec<String> = nodes.iter().map(|id| bench.cluster.last_words(*id)).collect();
        return Err(Stop::Failed(format!("only {killed} of {nodes:?} were killed: {words:?}")));
    }
    if nodes.len() == 1 {
        pause(rng)?;
    }
    nodes.iter().try_for_each(|id| bench.cluster.start(*id))?;
    Ok(killed)
}

fn pause(rng: &mut SmallRng) -> Result<(), Stop> {
    sleep(Duration::from_millis(rng.random_range(20..200)))
}
