//! How fast the simulator is: it prints what the docs of the crate quote.
//!
//! `cargo test --release -p sim --test speed -- --nocapture`. Without `--release` it measures and
//! demands nothing.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on should stop")]

use std::collections::BTreeMap;
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

/// What machines are measured by, since some are four times as fast as others, and a virtual one is not
/// always as fast as it was: sorted maps of small buffers are filled, copied and dropped.
fn baseline() -> Duration {
    let begun = on_core().unwrap();
    let mut seen = 0;
    for round in 0..100_u64 {
        let scrambled = |n: u64| (n + round).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let map: BTreeMap<u64, Vec<u8>> =
            (0..10_000).map(|n| (scrambled(n), vec![1; 40])).collect();
        seen += map.clone().values().map(Vec::len).sum::<usize>();
    }
    assert_eq!(seen, 100 * 10_000 * 40);
    on_core().unwrap() - begun
}

/// The most baselines that a hundred simulated seconds may take. It was 14 when this was written.
const BASELINES_MAX: f64 = 28.0;

/// Compares a short run with a long one of the same seed, so that the minutes without load
/// at the end of both, which are nearly free, do not count.
#[test]
fn five_nodes_at_two_hundred_requests_per_second_cost_no_more_than_they_did() {
    if cfg!(debug_assertions) || on_core().is_none() {
        println!("SKIPPED(not a release build, or not on Linux)");
        return;
    }
    let (mut simulated, mut real, mut requests, mut events) = (0, Duration::ZERO, 0, 0);
    let mut baselines = Duration::ZERO;
    for seed in 0..30 {
        baselines += baseline();
        let (short, before) = measure(seed, 5 * SECOND);
        let (long, after) = measure(seed, 25 * SECOND);
        let asked = |report: &Report| report.requests.values().sum::<u64>();
        simulated += long.simulated - short.simulated;
        requests += asked(&long) - asked(&short);
        events += long.events - short.events;
        real += after.saturating_sub(before);
    }
    let times = simulated / u64::try_from(real.as_micros()).unwrap().max(1);
    let hundreds = simulated as f64 / (100 * SECOND) as f64;
    let cost = real.as_secs_f64() / hundreds / (baselines.as_secs_f64() / 30.0);
    println!(
        "{} simulated seconds with {} requests and {} events per second in {real:?}: {times} x real time, \
         {cost:.1} baselines of {:?} for a hundred seconds",
        simulated / SECOND,
        requests * SECOND / simulated,
        events * SECOND / simulated,
        baselines / 30,
    );
    assert!(cost <= BASELINES_MAX, "{cost:.1} baselines");
}
