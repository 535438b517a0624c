//! Each deliberate bug is found, and the same seeds without it pass.

use sim::{Invariant, Mutant, Options, Violation, run};

/// Seeds within which a mutant must be found.
const SEEDS: u64 = 40;

/// The first violation that a mutant causes.
fn find(mutant: Mutant, clients_only: bool) -> Box<Violation> {
    let with = Options { mutant: Some(mutant), clients_only, ..Options::default() };
    let (seed, violation) = (0..SEEDS)
        .find_map(|seed| run(seed, &with).err().map(|violation| (seed, violation)))
        .unwrap_or_else(|| panic!("{mutant:?} is not found within {SEEDS} seeds"));
    let without = Options { mutant: None, ..with };
    let healthy = run(seed, &without);
    assert!(healthy.is_ok(), "seed {seed} fails without {mutant:?}, too: {healthy:?}");
    violation
}

#[test]
fn each_mutant_is_found_and_called_by_a_right_name() {
    use Invariant::*;
    for (mutant, names) in [
        (Mutant::MergeOverwrites, &[ReplicasOnlyGrow][..]),
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
    ] {
        let found = find(mutant, false).invariant;
        assert!(names.contains(&found), "{mutant:?} is found as {found:?}");
    }
    assert_eq!(Mutant::ALL.len(), 12, "a mutant is missing above");
}

/// The checks that look into replicas find most mutants first. Without them, the promises
/// made to clients must still be seen to break.
#[test]
fn what_mutants_do_to_clients_is_seen_without_a_look_into_replicas() {
    use Invariant::*;
    for (mutant, names) in [
        (Mutant::MergeOverwrites, &[QuorumsMeet, AcknowledgedIsKept, ListsAgree][..]),
        (Mutant::AckBeforeSync, &[QuorumsMeet, AcknowledgedIsKept, ListsAgree]),
        (Mutant::SyncLies, &[QuorumsMeet, AcknowledgedIsKept, ListsAgree]),
        (Mutant::ContextStripped, &[QuorumsMeet, NoFalseSibling, ListsAgree]),
        (Mutant::AckCountedTwice, &[QuorumsMeet, AcknowledgedIsKept, ListsAgree]),
    ] {
        let found = find(mutant, true).invariant;
        assert!(names.contains(&found), "{mutant:?} is found as {found:?}");
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
