//! Each deliberate bug is found, and the same seeds without it pass.
//!
//! `cargo test --release -p sim --features mutants --test mutants -- --nocapture` prints how
//! many seeds each took. Without the feature, the mutants inside of replicas are left out.

use sim::Invariant::{self, *};
use sim::{Mutant, Options, Violation, run};

/// Seeds within which a mutant must be found.
const SEEDS: u64 = 40;

/// The same, from what clients see alone. A superseded value that is taken in again is seen
/// by a client only if everybody who answers a read has lost the same record, which is so
/// in one seed of three hundred.
const SEEDS_OF_CLIENTS: u64 = 1_000;

/// The first violation that a mutant causes.
fn find(mutant: Mutant, clients_only: bool) -> Box<Violation> {
    let with = Options { mutant: Some(mutant), clients_only, ..Options::default() };
    let seeds = if clients_only { SEEDS_OF_CLIENTS } else { SEEDS };
    let (seed, violation) = (0..seeds)
        .find_map(|seed| run(seed, &with).err().map(|violation| (seed, violation)))
        .unwrap_or_else(|| panic!("{mutant:?} is not found within {seeds} seeds"));
    let without = Options { mutant: None, ..with };
    let healthy = run(seed, &without);
    assert!(healthy.is_ok(), "seed {seed} fails without {mutant:?}, too: {healthy:?}");
    violation
}

/// Finds each mutant, and prints a table of how many seeds it took.
fn find_each(looks: &str, clients_only: bool, mutants: &[(Mutant, &[Invariant])]) {
    println!("\n{looks:<32} seeds until found, and as what");
    for (mutant, names) in mutants {
        let violation = find(*mutant, clients_only);
        let (name, found) = (format!("{mutant:?}"), violation.invariant);
        println!("  {name:<30} {:>4}  {found:?}", violation.seed + 1);
        assert!(names.contains(&found), "{mutant:?} is found as {found:?}");
    }
}

#[test]
fn each_mutant_is_found_and_called_by_a_right_name() {
    let mutants: &[(Mutant, &[Invariant])] = &[
        (Mutant::MergeOverwrites, &[ReplicasOnlyGrow]),
        (Mutant::RepairOverwrites, &[ReplicasOnlyGrow]),
        (Mutant::SiblingsDropped, &[NoFalseDominance, NothingIsInvented]),
        (Mutant::AckBeforeSync, &[DurableIsOnDisk]),
        (Mutant::SyncLies, &[DurableIsOnDisk]),
        (Mutant::IncarnationReused, &[DotsAreUnique]),
        (Mutant::ClockLost, &[ClocksAreExact]),
        (Mutant::BatchTorn, &[ClocksAreExact, NoFalseDominance]),
        (Mutant::ContextWidened, &[NothingIsInvented, NoFalseDominance]),
        (Mutant::ContextStripped, &[NoFalseSibling, DurableIsOnDisk]),
        (Mutant::AbsenceDeletes, &[NoFalseDominance]),
        (Mutant::AckCountedTwice, &[DurableIsOnDisk]),
        (Mutant::KeySkipped, &[ListsAgree]),
        #[cfg(feature = "mutants")]
        (Mutant::Inside(sim::Inside::OldNewsTaken), &[SupersededStaysAway]),
        #[cfg(feature = "mutants")]
        (Mutant::Inside(sim::Inside::OldNewsClaimed), &[NoFalseDominance]),
        #[cfg(feature = "mutants")]
        (Mutant::Inside(sim::Inside::ContextFilled), &[NothingIsInvented, NoFalseDominance]),
        #[cfg(feature = "mutants")]
        (Mutant::Inside(sim::Inside::AbsenceDeletes), &[NoFalseDominance]),
    ];
    let all: Vec<Mutant> = mutants.iter().map(|(mutant, _)| *mutant).collect();
    assert_eq!(all, Mutant::ALL, "a mutant is missing above");
    find_each("with a look into replicas", false, mutants);
}

/// The checks that look into replicas find most mutants first. Without them, the promises
/// made to clients must still be seen to break.
#[test]
fn what_mutants_do_to_clients_is_seen_without_a_look_into_replicas() {
    let mutants: &[(Mutant, &[Invariant])] = &[
        (Mutant::MergeOverwrites, &[QuorumsMeet, AcknowledgedIsKept, ListsAgree]),
        (Mutant::AckBeforeSync, &[QuorumsMeet, AcknowledgedIsKept, ListsAgree]),
        (Mutant::SyncLies, &[QuorumsMeet, AcknowledgedIsKept, ListsAgree, HealthyRequestsSucceed]),
        (Mutant::ContextStripped, &[QuorumsMeet, NoFalseSibling, ListsAgree]),
        (Mutant::AckCountedTwice, &[QuorumsMeet, AcknowledgedIsKept, ListsAgree]),
        (Mutant::KeySkipped, &[ListsAgree]),
        #[cfg(feature = "mutants")]
        (Mutant::Inside(sim::Inside::OldNewsTaken), &[SupersededStaysAway]),
        #[cfg(feature = "mutants")]
        (Mutant::Inside(sim::Inside::OldNewsClaimed), &[NoFalseDominance]),
        #[cfg(feature = "mutants")]
        (Mutant::Inside(sim::Inside::ContextFilled), &[NothingIsInvented, NoFalseDominance]),
        #[cfg(feature = "mutants")]
        (Mutant::Inside(sim::Inside::AbsenceDeletes), &[NoFalseDominance]),
    ];
    find_each("from what clients see alone", true, mutants);
}

/// As long as no record is lost, merging drops old news by itself.
#[cfg(feature = "mutants")]
#[test]
fn without_lost_records_no_run_can_tell_whether_old_news_is_filtered() {
    for inside in [sim::Inside::OldNewsTaken, sim::Inside::OldNewsClaimed] {
        for seed in 0..SEEDS {
            let mut plan = sim::Plan::draw(seed);
            plan.disk.rot = 0;
            let mutant = Some(Mutant::Inside(inside));
            let options = Options { plan: Some(plan), mutant, ..Options::default() };
            assert!(run(seed, &options).is_ok(), "{inside:?} is found by seed {seed}");
        }
    }
}

#[test]
fn a_violation_tells_how_to_see_it_again() {
    let violation = find(Mutant::SiblingsDropped, false);
    let text = violation.to_string();
    assert!(text.contains(&format!("--seed {}", violation.seed)), "{text}");
    assert!(!violation.history.is_empty(), "{text}");
    assert!(10 < violation.events.len(), "{text}");
    let again = Options { mutant: Some(Mutant::SiblingsDropped), ..Options::default() };
    assert_eq!(run(violation.seed, &again), Err(violation));
}
