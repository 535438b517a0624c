//! Stations on different continents, and bad lines between them: long and uneven delays, loss,
//! packets that come twice or after later ones.
//!
//! One pair of nodes is cut besides until both have given up their connection, so that a new one
//! has to be made over such a line. All keep a quorum, so every request *may* succeed. Which do is a matter of chance: a packet
//! that is lost three times in a row takes seconds. What must hold is that every request is
//! answered in time and rightly, and that the database does not become worse than the network:
//! most requests have to succeed.

use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::SmallRng;
use switch::{Counts, Rule};

use super::{Arena, NODES, Scene, UNNOTICED, between, pairs};
use crate::outcome::{Figures, Stop};
use crate::process::sleep;

/// As long as clients wait by default.
const DEADLINE: Duration = Duration::from_secs(5);

/// How long one pair is cut: longer than a connection is kept on which nothing is heard.
const CUT: Duration = Duration::from_millis(6_200);

/// How long a bad network is looked at after that.
const LASTS: Duration = Duration::from_secs(2);

/// The part of requests that has to succeed.
const SUCCESS_MIN: f64 = 0.9;

/// Fewer requests in that time would mean that they hang.
const REQUESTS_MIN: u64 = 40;

pub(in crate::scenarios) fn run(scene: &Scene<'_>) -> Result<Figures, Stop> {
    let mut rng = scene.rng();
    let rounds = scene.rounds(2, 60);
    let arena = Arena::start(scene, DEADLINE)?;
    let mut times = Vec::new();
    let (seen, figures) = arena.attempt(|arena| {
        for _ in 0..rounds {
            times.push(worsen(arena, &mut rng)?);
        }
        Ok(())
    })?;
    for (from, to) in times {
        let (all, good) = seen.count(from, to);
        eprintln!("bad lines: {good} of {all} requests succeeded");
        if (good as f64) < SUCCESS_MIN * all as f64 || all < REQUESTS_MIN {
            return Err(Stop::Failed(format!("bad lines: only {good} of {all} succeeded")));
        }
    }
    Ok(figures)
}

/// Bad lines for a while, and then good ones. Returns from when to when they were bad.
fn worsen(arena: &mut Arena, rng: &mut SmallRng) -> Result<(Instant, Instant), Stop> {
    let before: Vec<Counts> = counts(arena);
    pairs().for_each(|lane| arena.set_one(lane, bad_line(rng)));
    let one = rng.random_range(1..=NODES);
    let cut = between(&[one], &[one % NODES + 1]);
    let from = arena.set(&cut, Rule::blocked());
    sleep(CUT)?;
    cut.iter().for_each(|lane| arena.set_one(*lane, bad_line(rng)));
    sleep(LASTS)?;
    let to = Instant::now();
    let lines: Vec<Counts> =
        before.iter().zip(counts(arena)).map(|(before, after)| after.since(before)).collect();
    arena.heal("bad lines", UNNOTICED)?;
    let all = lines.iter().fold(Counts::default(), |sum, line| sum.plus(line));
    let is_bad = lines.iter().all(|line| 0 < line.delayed)
        && 0 < all.blocked
        && all.departed < 100 * all.lost
        && 0 < all.duplicated
        && 0 < all.held;
    if !is_bad {
        return Err(Stop::Failed(format!("bad lines: they were too good: {lines:?}")));
    }
    arena.figures.rounds += 1;
    arena.figures.faults += pairs().map(|_| 1).sum::<u64>();
    Ok((from, to))
}

/// From the next country to the other end of the world.
fn bad_line(rng: &mut SmallRng) -> Rule {
    let milli = Duration::from_millis;
    Rule {
        delay: milli(rng.random_range(30..200)),
        jitter: milli(rng.random_range(1..20)),
        loss: rng.random_range(0.02..0.10),
        duplication: rng.random_range(0.01..0.05),
        reordering: rng.random_range(0.01..0.05),
        held: milli(rng.random_range(5..60)),
        ..Rule::default()
    }
}

fn counts(arena: &Arena) -> Vec<Counts> {
    pairs().map(|(from, to)| arena.network.counts(from.into(), to.into())).collect()
}
