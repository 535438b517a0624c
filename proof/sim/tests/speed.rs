//! How fast the simulator is: it prints what the docs of the crate quote.
//!
//! `cargo test --release -p sim --test speed -- --nocapture`. Without `--release` it measures and
//! demands nothing.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on should stop")]

use std::time::Duration;

use sim::{Options, Plan, Report, run};

const SECOND: u64 = 1_000_000;

/// Five nodes, three replicas, and clients that ask about 200 times in a second, in a world
/// where a few things go wrong.
fn plan(seed: u64, safety: u64) -> Plan {
    let mut plan = Plan::draw(seed);
    (plan.nodes, plan.regions, plan.replicas, plan.shards) = (5, 1, 3, 8);
    for table in &mut plan.tables {
        (table.read, table.write) = (model::Level::Quorum, model::Level::Quorum);
    }
    (plan.siblings_max, plan.requests_max) = (100, 10_000);
    (plan.clients.count, plan.clients.think) = (12, 12 * SECOND / 1_000);
    (plan.clients.partitions, plan.clients.sorts) = (8, 4);
    (plan.clients.lull, plan.network.far) = (0, 0);
    (plan.network.delay, plan.disk.sync) = (1_000, 2_000);
    (plan.faults.gap, plan.safety, plan.rounds) = (SECOND, safety, 1);
    plan
}

/// How long this thread has been on a core, where Linux tells. Others may be at work on the
/// machine.
fn on_core() -> Option<Duration> {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    told.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

fn measure(seed: u64, safety: u64) -> (Report, Duration) {
    let begun = on_core().unwrap();
    let options = Options { plan: Some(plan(seed, safety)), ..Options::default() };
    let report = run(seed, &options).unwrap_or_else(|violation| panic!("{violation}"));
    (report, on_core().unwrap() - begun)
}

/// A hundred times as fast as reality is what we want, on a core of our own. Half of it is
/// demanded, since others may be at work.
const DEMANDED: u64 = 50;

/// Compares a short run with a long one of the same seed, so that the minutes without load
/// at the end of both, which are nearly free, do not count.
#[test]
fn five_nodes_at_two_hundred_requests_per_second_are_much_faster_than_reality() {
    if cfg!(debug_assertions) || on_core().is_none() {
        println!("SKIPPED(not a release build, or not on Linux)");
        return;
    }
    let (mut simulated, mut real, mut requests, mut events) = (0, Duration::ZERO, 0, 0);
    for seed in 0..30 {
        let (short, before) = measure(seed, 5 * SECOND);
        let (long, after) = measure(seed, 25 * SECOND);
        let asked = |report: &Report| report.requests.values().sum::<u64>();
        simulated += long.simulated - short.simulated;
        requests += asked(&long) - asked(&short);
        events += long.events - short.events;
        real += after.saturating_sub(before);
    }
    let times = simulated / u64::try_from(real.as_micros()).unwrap().max(1);
    println!(
        "{} simulated seconds with {} requests and {} events per second in {real:?}: {times} x real time",
        simulated / SECOND,
        requests * SECOND / simulated,
        events * SECOND / simulated,
    );
    assert!(DEMANDED <= times, "{times} times real time");
}
