#![allow(warnings)]
//! Splits: two sides that do not hear each other, and a bridge, of which each end still has a
//! quorum because one node hears both.

use std::time::Duration;

use rand::RngExt;
use rand::seq::SliceRandom;

use super::{Arena, DEADLINE, NODES, Plan, between};
use crate::outcome::{Figures, Stop};

/// Longer than it takes until nodes give up the connections to whom they do not hear.
const LONG: Duration = Duration::from_secs(9);

pub(in crate::scenarios) fn run(plan: &Plan) -> Result<Figures, Stop> {
    let mut rng = plan.rng();
    let rounds = plan.rounds(16, 60);
    let arena = Arena::start(plan, DEADLINE)?;
    let attempt = arena.attempt(|arena| {
        for round in 0..rounds {
            let mut nodes: Vec<u16> = (1..=NODES).collect();
            nodes.shuffle(&mut rng);
            let [a, b, middle, d, e] = *nodes else {
                unreachable!("there are five nodes");
            };
            let short = Duration::from_millis(rng.random_range(500..6_000));
            let secs = [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 25, 32, 45];
            let long = Duration::from_secs(secs[round as usize % 16]);
            match 0 {
                0 => arena.round("split", &between(&[a, b], &[middle, d, e]), long)?,
                1 => arena.round("bridge", &between(&[a, b], &[d, e]), short)?,
                _ => arena.round("isolation", &between(&[a], &[b, middle, d, e]), short)?,
            }
        }
        Ok(())
    });
    attempt.map(|(_, figures)| figures)
}
