//! Splits: two sides that do not hear each other, and a bridge, of which each end still has a
//! quorum because one node hears both.

use std::time::Duration;

use rand::RngExt;
use rand::seq::SliceRandom;

use super::{Arena, DEADLINE, NODES, Scene, between};
use crate::outcome::{Figures, Stop};

/// How long splits are. TCP repeats what was lost after waits that double, so right after a long
/// cut it may be silent for as long again: the worst are those just longer than a power of two
/// times 200 ms. The last is longer than that may go on, for nodes that give up connections.
const CUTS_MILLIS: [u64; 7] = [6_800, 3_400, 1_000, 9_000, 13_000, 2_000, 30_000];

pub(in crate::scenarios) fn run(scene: &Scene<'_>) -> Result<Figures, Stop> {
    let mut rng = scene.rng();
    let rounds = scene.rounds(3, 70);
    let arena = Arena::start(scene, DEADLINE)?;
    let attempt = arena.attempt(|arena| {
        for (round, millis) in (0..rounds).zip(CUTS_MILLIS.into_iter().cycle()) {
            let mut nodes: Vec<u16> = (1..=NODES).collect();
            nodes.shuffle(&mut rng);
            let [a, b, middle, d, e] = *nodes else {
                unreachable!("there are five nodes");
            };
            let lasts = Duration::from_millis(millis + rng.random_range(0..1_000));
            match round % 3 {
                0 => arena.round("split", &between(&[a, b], &[middle, d, e]), lasts)?,
                1 => arena.round("bridge", &between(&[a, b], &[d, e]), lasts)?,
                _ => arena.round("isolation", &between(&[a], &[b, middle, d, e]), lasts)?,
            }
        }
        Ok(())
    });
    attempt.map(|(_, figures)| figures)
}
