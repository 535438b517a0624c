//! Links that carry one direction only. The node at one end says everything and hears
//! nothing; TCP goes on for long before it says so.
//!
//! A short run does three of the four kinds, which ones depends on the seed.

use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use switch::Rule;

use super::{Arena, DEADLINE, Lanes, NODES, Scene, UNNOTICED};
use crate::outcome::{Figures, Stop};
use crate::process::sleep;
use crate::witness::Must;

/// How long a link flaps.
const FLAPPING: Duration = Duration::from_secs(3);

pub(in crate::scenarios) fn run(scene: &Scene<'_>) -> Result<Figures, Stop> {
    let mut rng = scene.rng();
    let rounds = scene.rounds(3, 80);
    let arena = Arena::start(scene, DEADLINE)?;
    let attempt = arena.attempt(|arena| {
        for round in 0..rounds {
            let kind = (scene.plan.seed.wrapping_add(round)) % 4;
            let mut nodes: Vec<u16> = (1..=NODES).collect();
            nodes.shuffle(&mut rng);
            let [one, others @ ..] = nodes.as_slice() else {
                unreachable!("there are five nodes");
            };
            let to_it = || others.iter().map(|other| (*other, *one));
            let from_it = || others.iter().map(|other| (*one, *other));
            let most = if scene.plan.long && rng.random_bool(0.3) { 40_000 } else { 5_200 };
            let lasts = Duration::from_millis(rng.random_range(4_200..most));
            match kind {
                0 => arena.round("one way", &from_it().take(2).collect(), lasts)?,
                1 => arena.round("deaf", &to_it().collect(), lasts)?,
                2 => flap(arena, &from_it().chain(to_it()).take(2).collect(), &mut rng)?,
                _ => arena.round("mute", &from_it().collect(), lasts)?,
            }
        }
        Ok(())
    });
    attempt.map(|(_, figures)| figures)
}

/// Opens and closes directions until the time is up. Every node keeps a quorum whatever they
/// are, so nobody may notice.
fn flap(arena: &mut Arena, lanes: &Lanes, rng: &mut SmallRng) -> Result<(), Stop> {
    let from = Instant::now();
    let before: u64 = arena.blocked(lanes).values().sum();
    while from.elapsed() < FLAPPING {
        arena.set(lanes, Rule::blocked());
        sleep(Duration::from_millis(rng.random_range(50..700)))?;
        arena.set(lanes, Rule::default());
        sleep(Duration::from_millis(rng.random_range(50..700)))?;
        arena.figures.faults += 1;
    }
    let to = Instant::now();
    for id in arena.bench.cluster.ids() {
        arena.demand("flapping", id, (from, to), Must::Succeed);
    }
    arena.heal("flapping", UNNOTICED)?;
    if arena.blocked(lanes).values().sum::<u64>() == before {
        return Err(Stop::failed("flapping: no packet was stopped"));
    }
    arena.figures.rounds += 1;
    Ok(())
}
