//! Connections that are reset from outside, as by a firewall that has forgotten them: one
//! between two nodes, all of one node, and now and then any.
//!
//! What was on its way in a connection is lost with it, and the nodes do not send it again. So
//! a request needs the others: a node that still reaches a quorum must answer all of them with
//! success, as if nothing had happened. Connections are to be made anew at once, long before
//! anybody is held for dead.
//!
//! A reset counts if the switch has sent it, and the log of a node says that a connection was
//! reset.

use std::time::{Duration, Instant};

use rand::seq::SliceRandom;
use switch::Rule;

use super::{Arena, DEADLINE, Lanes, NODES, QUORUM, Scene, between, pairs, reachable};
use crate::outcome::{Figures, Stop};
use crate::process::{eventually, sleep};
use crate::witness::Must;

/// How long every segment ends its connection: less than it takes to hold a node for dead.
const REFUSED: Duration = Duration::from_millis(800);

/// How long connections end now and then, at least.
const NOW_AND_THEN: Duration = Duration::from_secs(3);

/// The part of segments that then ends its connection. There are some ten thousand a second, so
/// that about one connection of all ends in each.
const RARE: f64 = 1.0 / 10_000.0;

/// How many resets are waited for.
const RESETS_MIN: u64 = 3;

/// The part of requests that has to succeed then. Two connections of a node may end at once.
const SUCCESS_MIN: f64 = 0.9;

/// What the operating system says, in the node's words.
const CAUSE: &str = "Connection reset by peer";

pub(in crate::scenarios) fn run(scene: &Scene<'_>) -> Result<Figures, Stop> {
    let mut rng = scene.rng();
    let rounds = scene.rounds(3, 200);
    let arena = Arena::start(scene, DEADLINE)?;
    let mut often = Vec::new();
    let (seen, figures) = arena.attempt(|arena| {
        for round in 0..rounds {
            let mut nodes: Vec<u16> = (1..=NODES).collect();
            nodes.shuffle(&mut rng);
            let [one, other, ..] = *nodes else { unreachable!("there are five nodes") };
            let always = Rule { reset: 1.0, ..Rule::default() };
            let (name, lanes, rule, lasts) = match round % 3 {
                0 => ("reset", between(&[one], &[other]), always, REFUSED),
                1 => {
                    ("all resets", between(&[one], nodes.get(1..).unwrap_or(&[])), always, REFUSED)
                }
                _ => {
                    let rule = Rule { reset: RARE, ..Rule::default() };
                    ("rare resets", pairs().collect(), rule, NOW_AND_THEN)
                }
            };
            let times = reset(arena, name, &lanes, rule, lasts)?;
            if round % 3 == 2 {
                often.push(times);
            }
        }
        Ok(())
    })?;
    for (from, to) in often {
        let (all, good) = seen.count(from, to);
        eprintln!("rare resets: {good} of {all} requests succeeded");
        if (good as f64) < SUCCESS_MIN * all as f64 || all == 0 {
            return Err(Stop::Failed(format!("rare resets: only {good} of {all} succeeded")));
        }
    }
    Ok(figures)
}

/// Ends connections for a while. Returns from when to when.
fn reset(
    arena: &mut Arena,
    name: &str,
    lanes: &Lanes,
    rule: Rule,
    lasts: Duration,
) -> Result<(Instant, Instant), Stop> {
    let (resets, told) = (count(arena), told(arena));
    let from = arena.set(lanes, rule);
    sleep(lasts)?;
    eventually("connections are reset", || resets + RESETS_MIN <= count(arena))?;
    let to = Instant::now();
    for id in arena.bench.cluster.ids() {
        let is_certain = rule.reset == 1.0 && QUORUM <= reachable(id, lanes).len();
        if is_certain {
            arena.demand(name, id, (from, to), Must::Succeed);
        }
    }
    arena.heal(name, Duration::ZERO)?;
    let resets = count(arena) - resets;
    if told == self::told(arena) {
        return Err(Stop::Failed(format!("{name}: {resets} resets, and no node tells of one")));
    }
    arena.figures.rounds += 1;
    arena.figures.faults += resets;
    Ok((from, to))
}

/// How many segments were answered by resets so far.
fn count(arena: &Arena) -> u64 {
    pairs().map(|(from, to)| arena.network.counts(from.into(), to.into()).reset).sum()
}

/// How many connections were reset, as the nodes say.
fn told(arena: &Arena) -> usize {
    let cluster = &arena.bench.cluster;
    cluster.ids().map(|id| cluster.log(id).matches(CAUSE).count()).sum()
}
