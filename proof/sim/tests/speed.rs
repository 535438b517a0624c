//! How fast the simulator is. Not a test that can fail: it prints what the docs of the crate
//! quote.
//!
//! `cargo test --release -p sim --test speed -- --ignored --nocapture`

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
    (plan.clients.count, plan.clients.think) = (8, 8 * SECOND / 720);
    (plan.clients.partitions, plan.clients.sorts) = (8, 4);
    (plan.clients.lull, plan.network.far) = (0, 0);
    (plan.network.delay, plan.disk.sync) = (1_000, 2_000);
    (plan.faults.gap, plan.safety) = (SECOND, safety);
    plan
}

/// How long this thread has been on a core. Others may be at work on the machine.
fn on_core() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(told.split(' ').next().unwrap().parse().unwrap())
}

fn measure(seed: u64, safety: u64) -> (Report, Duration) {
    let begun = on_core();
    let options = Options { plan: Some(plan(seed, safety)), ..Options::default() };
    let report = run(seed, &options).unwrap_or_else(|violation| panic!("{violation}"));
    (report, on_core() - begun)
}

/// Compares a short run with a long one of the same seed, so that the minutes without load
/// at the end of both, which are nearly free, do not count.
#[test]
#[ignore = "it measures, and asks Linux how long it was on a core"]
fn five_nodes_at_two_hundred_requests_per_second() {
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
    let micros = u64::try_from(real.as_micros()).unwrap();
    println!(
        "{} simulated seconds with {} requests and {} events per second in {real:?}: {} x real time",
        simulated / SECOND,
        requests * SECOND / simulated,
        events * SECOND / simulated,
        simulated / micros.max(1),
    );
}
