//! Seeds: the same ones every time. `merganser sim run` looks at fresh ones.

use std::collections::BTreeMap;

use sim::{FaultKind, Mutant, Options, Plan, Report, Summary, run, run_many};

/// As many as take a few seconds in a debug build.
const FIXED: u64 = 150;

fn pass(seed: u64) -> Report {
    run(seed, &Options::default()).unwrap_or_else(|violation| panic!("{violation}"))
}

fn many(seeds: std::ops::Range<u64>, destroys: bool) -> Summary {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let summary = run_many(seeds, threads, &Options { destroys, ..Options::default() });
    summary.unwrap_or_else(|violation| panic!("{violation}"))
}

#[test]
fn fixed_seeds_show_no_violation() {
    let summary = many(0..FIXED, false);
    let requests: u64 = summary.requests.values().sum();
    let faults: u64 = summary.faults.values().sum();
    assert!(FIXED * 100 < requests, "a world in which nobody asks shows nothing: {requests}");
    assert!(FIXED * 10 < faults, "a world in which nothing fails shows nothing: {faults}");
    let repairs = summary.requests.get(&("repairs", "held to what was there"));
    assert!(repairs.is_some_and(|count| FIXED < *count), "{repairs:?} were proved and looked at");
    let kinds = FaultKind::ALL.iter().map(|kind| kind.name());
    let records = ["record lost", "record rolled back", "record flipped", "record thrown away"];
    let messages = ["message lost", "message doubled", "message damaged"];
    for name in kinds.chain(records).chain(messages) {
        assert!(0 < summary.faults.get(name).copied().unwrap_or(0), "no {name}");
    }
}

/// A machine loses power between two lives in one world of a hundred, if nobody arranges it.
#[test]
fn power_is_lost_while_a_node_is_down() {
    let of_power = |seed| {
        let mut plan = Plan::draw(seed);
        plan.faults.gap = plan.faults.gap.min(500_000);
        plan.faults.kinds = [(FaultKind::Kill, 1), (FaultKind::Power, 3)].into();
        plan
    };
    let is_lost = |seed| {
        let options = Options { plan: Some(of_power(seed)), ..Options::default() };
        let report = run(seed, &options).unwrap_or_else(|violation| panic!("{violation}"));
        report.faults.contains_key("power lost while down")
    };
    assert!((0..FIXED).any(is_lost));
}

#[test]
fn where_everything_may_be_destroyed_nothing_lies_all_the_same() {
    let spared = |destroys| {
        let summary = many(0..FIXED / 2, destroys);
        let spared = |name| summary.faults.get(name).copied().unwrap_or(0);
        spared("disk spared by the atlas") + spared("record spared by the atlas")
    };
    assert!(4 * spared(true) < spared(false), "the atlas has spared what it need not");
}

/// Half of the nodes are away at any time, and most writes are taken in by guests.
#[test]
fn where_replicas_are_away_most_of_the_time_guests_lose_nothing() {
    let mut kinds = BTreeMap::new();
    for seed in 0..FIXED / 3 {
        let mut plan = Plan::draw(seed);
        (plan.nodes, plan.regions, plan.sloppy) = (u16::from(plan.replicas) + 3, 1, true);
        (plan.disk.rot, plan.faults.gap, plan.faults.lasts) = (0, 500_000, 3_000_000);
        use FaultKind::{Isolate, Kill, Power, SlowNode, Split};
        plan.faults.kinds = [(Kill, 3), (Power, 2), (Isolate, 4), (Split, 3), (SlowNode, 3)].into();
        let options = Options { plan: Some(plan), ..Options::default() };
        let report = run(seed, &options).unwrap_or_else(|violation| panic!("{violation}"));
        for ((_, kind), count) in
            report.requests.into_iter().filter(|((of, _), _)| *of == "answers")
        {
            *kinds.entry(kind).or_insert(0) += count;
        }
    }
    for kind in ["strict", "sloppy", "partial", "any"] {
        assert!(100 < kinds.get(kind).copied().unwrap_or(0), "few answers are {kind}: {kinds:?}");
    }
}

/// Watchers are told of changes, are sent back to the beginning, and are told that what they had
/// been told is taken back.
#[test]
fn who_watches_misses_nothing_however_often_nodes_die() {
    let mut told = BTreeMap::new();
    for seed in 0..FIXED / 2 {
        let mut plan = Plan::draw(seed);
        plan.watchers = 2;
        plan.changes_retention = [2_000_000, 20_000_000, 600_000_000][seed as usize % 3];
        plan.disk.rot *= seed % 2;
        let options = Options { plan: Some(plan), ..Options::default() };
        let report = run(seed, &options).unwrap_or_else(|violation| panic!("{violation}"));
        for ((_, kind), count) in
            report.requests.into_iter().filter(|((of, _), _)| *of == "watches")
        {
            *told.entry(kind).or_insert(0) += count;
        }
    }
    for (kind, least) in [("answered", 1_000), ("changes", 5_000), ("expired", 50), ("rewound", 0)]
    {
        assert!(least < told.get(kind).copied().unwrap_or(0), "few are {kind}: {told:?}");
    }
}

#[test]
fn one_seed_is_one_course_of_events() {
    for seed in 0..50 {
        let (first, second) = (pass(seed), pass(seed));
        assert_eq!(first.trace, second.trace, "seed {seed}");
        assert_eq!(first, second);
        assert_eq!(first.to_string(), second.to_string());
    }
    assert_ne!(pass(1).trace, pass(2).trace, "another seed is another course");
}

#[test]
fn many_seeds_come_to_the_same_on_one_thread_and_on_three() {
    let sum = |threads| {
        let summary = run_many(0..12, threads, &Options::default()).unwrap();
        Summary { core_time: std::time::Duration::ZERO, ..summary }
    };
    assert_eq!(sum(1), sum(3));
}

#[test]
fn many_seeds_end_with_the_first_violation() {
    let options = Options { mutant: Some(Mutant::MergeOverwrites), ..Options::default() };
    let violation = run_many(0..40, 2, &options).expect_err("the mutant is found");
    assert!(run(violation.seed, &options).is_err(), "seed {}", violation.seed);
}

#[test]
fn seeds_draw_worlds_of_many_kinds() {
    let plans: Vec<Plan> = (0..200).map(Plan::draw).collect();
    for nodes in [3, 4, 5, 6, 7, 9, 12] {
        assert!(plans.iter().any(|plan| plan.nodes == nodes), "{nodes} nodes");
    }
    for regions in 1..=3 {
        assert!(plans.iter().any(|plan| plan.regions == regions), "{regions} regions");
    }
    for kind in FaultKind::ALL {
        let has = |plan: &Plan| plan.faults.kinds.contains_key(kind);
        assert!(plans.iter().any(has) && !plans.iter().all(has), "{kind:?}");
    }
    assert!(plans.iter().any(|plan| 0 < plan.disk.rot));
    assert!(plans.iter().all(|plan| u16::from(plan.replicas) <= plan.nodes));
}
