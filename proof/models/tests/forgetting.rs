//! All that can happen to a tombstone in a small world, and what goes wrong without each rule.

use models::check::{explore, shortest};
use models::forgetting::{EQUAL, EVIDENCE, Forgetting, Variant};

fn model(variant: Variant, writes: usize) -> Forgetting {
    Forgetting { variant, writes, crashes: 0 }
}

#[test]
fn what_is_forgotten_when_it_is_settled_never_comes_back() {
    explore("forgetting, two writes", model(Variant::Sound, 2));
}

#[test]
fn what_is_forgotten_when_it_is_settled_never_comes_back_after_a_crash() {
    let crashing = Forgetting { crashes: 1, ..model(Variant::Sound, 2) };
    explore("forgetting, two writes, a crash", crashing);
}

#[test]
#[ignore = "takes minutes"]
fn what_three_writes_leave_and_is_settled_never_comes_back() {
    explore("forgetting, three writes", model(Variant::Sound, 3));
}

#[test]
fn a_tombstone_forgotten_at_once_lets_a_deleted_value_stay() {
    shortest("tombstone forgotten at once", model(Variant::AtOnce, 2), EVIDENCE);
    shortest("tombstone forgotten at once", model(Variant::AtOnce, 2), EQUAL);
}

#[test]
fn a_tombstone_forgotten_by_a_timer_lets_a_deleted_value_stay() {
    shortest("tombstone forgotten by a timer", model(Variant::ByTimer, 2), EQUAL);
}

#[test]
fn a_tombstone_forgotten_by_a_majority_lets_a_deleted_value_stay() {
    shortest("tombstone forgotten by a majority", model(Variant::ByMajority, 2), EQUAL);
}

#[test]
fn a_tombstone_forgotten_without_asking_the_guest_leaves_the_value_with_the_guest() {
    shortest("guest not counted", model(Variant::GuestNotCounted, 2), EVIDENCE);
}

#[test]
fn an_acknowledgement_that_overtakes_its_data_settles_too_early() {
    let crashing = Forgetting { crashes: 1, ..model(Variant::AckBeforeSync, 2) };
    shortest("acknowledged before the sync", crashing, EQUAL);
}

#[test]
fn a_context_dot_forgotten_before_its_successor_is_settled_leaves_two_values() {
    shortest("only the old dot settled", model(Variant::OnlyTheOldDotSettled, 2), EVIDENCE);
    shortest("only the old dot settled", model(Variant::OnlyTheOldDotSettled, 2), EQUAL);
}

#[test]
fn a_hint_that_is_dropped_loses_a_write() {
    shortest("hint dropped", model(Variant::HintDropped, 1), EQUAL);
}
