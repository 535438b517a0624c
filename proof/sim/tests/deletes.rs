//! What was deleted does not come back, and what disks lose does: in worlds that try it.
//!
//! `merganser sim run --deletes 1000000` and `--losses 100000` are the same worlds, many of them.
//! With tombstones that are forgotten by a timer, as others do, something comes back; how often is
//! printed by
//!
//! ```text
//! SIM_WORLDS=500 cargo test --release -p sim --features mutants --test deletes -- --nocapture
//! ```

#![cfg(feature = "mutants")]

use sim::{Goal, Inside, Look, Mutant, Options, Tally, Worlds, tally};

/// As many as take some seconds, and show everything that is asked for.
const FIXED: u64 = 20;

fn run(worlds: Worlds, options: Options) -> Tally {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let asked = std::env::var("SIM_WORLDS").ok().and_then(|count| count.parse().ok());
    let goal = Goal::Worlds(asked.unwrap_or(FIXED));
    let tally = tally(goal, 1, threads, &Options { worlds, ..options }, |_| {});
    println!("{tally}");
    tally
}

fn expect(tally: &Tally, rows: &[&str]) {
    for name in rows {
        let count = tally.rows().into_iter().find(|(row, _)| row == name);
        assert!(count.is_some_and(|(_, count)| 0 < count), "no {name}: {tally}");
    }
}

#[test]
fn nothing_that_was_deleted_comes_back() {
    let tally = run(Worlds::Deletes, Options::default());
    assert!(tally.violations.is_empty(), "{tally}");
    expect(
        &tally,
        &[
            "deletes acknowledged",
            "tombstones forgotten",
            "nodes down for over 15 s",
            "ways cut for over 15 s",
            "disks given up",
            "disks wiped",
            "old copies restored",
            "hints older than 15 s",
            "hints of what was deleted",
        ],
    );
}

#[test]
fn what_disks_lose_is_healed() {
    let tally = run(Worlds::Losses, Options::default());
    assert!(tally.violations.is_empty(), "{tally}");
    expect(
        &tally,
        &["records lost", "records rolled back", "records damaged", "healed within 4 s"],
    );
}

/// The oracle looks at nothing but what clients are told.
#[test]
fn with_tombstones_that_a_timer_forgets_clients_are_shown_what_was_deleted() {
    let look = Look::Answers;
    let mutant = Some(Mutant::Inside(Inside::TombstonesByTimer));
    let of_mutant = run(Worlds::Deletes, Options { look, mutant, ..Options::default() });
    let returned = of_mutant.violations.get("resurrections").into_iter().flatten();
    let strict = returned.filter(|violation| violation.detail.starts_with("a strict read")).count();
    println!("  {strict} of {} resurrections in strict reads", of_mutant.returned());
    assert!(0 < of_mutant.returned(), "{of_mutant}");
    let without = run(Worlds::Deletes, Options { look, ..Options::default() });
    assert_eq!(without.returned(), 0, "{without}");
}
