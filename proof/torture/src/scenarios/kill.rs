//! `kill -9` under load, of one node or of all at once, again and again.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::SmallRng;

use super::{Bench, Plan};
use crate::outcome::{Figures, Stop};
use crate::process::sleep;

/// Rounds between two looks at all keys.
const ROUNDS_PER_CHECK: u64 = 10;

pub(super) fn run(plan: &Plan) -> Result<Figures, Stop> {
    let mut rng = plan.rng();
    let mut bench = Bench::start(plan, 3)?;
    let mut figures = Figures::default();
    let rounds = plan.rounds(100, 5_000);
    while figures.rounds < rounds {
        let workers = bench.load.start(rng.random());
        for _ in 0..ROUNDS_PER_CHECK.min(rounds - figures.rounds) {
            pause(&mut rng)?;
            figures.faults += kill_some(&mut bench, &mut rng)?;
            figures.rounds += 1;
        }
        workers.finish()?;
        bench.check(&mut figures)?;
    }
    if figures.acknowledged < rounds {
        return Err(Stop::failed("there was hardly any load"));
    }
    Ok(figures)
}

fn kill_some(bench: &mut Bench, rng: &mut SmallRng) -> Result<u64, Stop> {
    let nodes = if rng.random_bool(0.2) { vec![1, 2, 3] } else { vec![rng.random_range(1..=3)] };
    bench.cluster.kill(&nodes)?;
    if nodes.len() == 1 {
        pause(rng)?;
    }
    nodes.iter().try_for_each(|id| bench.cluster.start(*id))?;
    Ok(nodes.iter().map(|_| 1).sum())
}

fn pause(rng: &mut SmallRng) -> Result<(), Stop> {
    sleep(Duration::from_millis(rng.random_range(20..200)))
}
