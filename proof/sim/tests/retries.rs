//! Writes that are tried again at other nodes until they are answered have one effect each.
//!
//! `TOKENS=100000 cargo test --release -p sim --test retries -- --nocapture` tries so many
//! writes, and prints what became of them.

use std::collections::BTreeMap;

use model::Durability;
use sim::{Options, Plan, run};

/// How many writes, if nobody says.
const TOKENS: u64 = 3_000;

/// A world in which clients lose patience at random moments, so that of ten attempts that a
/// node takes up three or more are never answered, and write again at another node. Nodes die, lose power and are cut off; disks keep what they
/// synced, so that nothing excuses a loss.
fn of_impatience(seed: u64) -> Plan {
    let mut plan = Plan::draw(seed);
    (plan.clients.tokens, plan.clients.leaves, plan.clients.outcomes) = (1_000, 700, 100);
    plan.clients.timeout = 100_000;
    (plan.clients.blind, plan.clients.large, plan.clients.foreign) = (300, 0, 0);
    (plan.clients.weights, plan.disk.rot) = ([80, 5, 15, 0], 0);
    plan.tables.iter_mut().for_each(|table| table.durability = Durability::Synced);
    plan
}

#[test]
fn each_write_that_is_tried_again_has_one_effect() {
    let wanted = std::env::var("TOKENS").ok().and_then(|text| text.parse().ok()).unwrap_or(TOKENS);
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let mut seeds = 0;
    while counts.get("made").copied().unwrap_or(0) < wanted {
        let options = Options { plan: Some(of_impatience(seeds)), ..Options::default() };
        let report = run(seeds, &options).unwrap_or_else(|violation| panic!("{violation}"));
        let tokens = report.requests.iter().filter(|((kind, _), _)| *kind == "tokens");
        for ((_, what), count) in tokens {
            *counts.entry(*what).or_default() += count;
        }
        seeds += 1;
    }
    println!("{seeds} seeds: {counts:?}");
    let count = |what| counts.get(what).copied().unwrap_or(0);
    assert_eq!((count("doubled"), count("lost")), (0, 0), "{counts:?}");
    let (answered, unanswered) = (count("acknowledged"), count("not answered"));
    assert!(3 * answered < 7 * unanswered, "less than 30 % were not answered: {counts:?}");
    assert!(0 < count("accepted at two nodes"), "no two nodes accepted one: {counts:?}");
}
