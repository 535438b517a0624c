//! All races of writes and reads over three replicas, and what goes wrong without each rule.

use models::check::{explore, shortest};
use models::quorum::{ALL_SEE, DURABLE, MISSES, Quorums, STRICT_SEES, Variant};

fn quorums(w: u8, r: u8, puts: usize, gets: usize) -> Quorums {
    Quorums { variant: Variant::Sound, w, r, puts, gets, crashes: 1, failures: 1 }
}

#[test]
fn reads_whose_numbers_meet_those_of_writes_see_what_was_acknowledged() {
    for (w, r) in [(2, 2), (1, 3), (3, 1)] {
        explore(&format!("quorums, one write, one read, W={w} R={r}"), quorums(w, r, 1, 1));
    }
}

#[test]
#[ignore = "takes a minute"]
fn reads_whose_numbers_are_larger_than_needed_see_what_was_acknowledged() {
    for (w, r) in [(3, 2), (2, 3), (3, 3)] {
        explore(&format!("quorums, one write, one read, W={w} R={r}"), quorums(w, r, 1, 1));
    }
}

#[test]
#[ignore = "takes minutes"]
fn two_writes_and_a_read_that_meet() {
    explore("quorums, two writes, one read, W=2 R=2", calm(2, 2, 2, 1));
}

#[test]
#[ignore = "takes half a minute"]
fn a_write_and_two_reads_that_meet() {
    explore("quorums, one write, two reads, W=2 R=2", calm(2, 2, 1, 2));
}

#[test]
fn reads_whose_numbers_do_not_meet_those_of_writes_may_miss_and_say_so() {
    for (w, r) in [(1, 1), (1, 2), (2, 1)] {
        explore(&format!("quorums, one write, one read, W={w} R={r}"), quorums(w, r, 1, 1));
        shortest(&format!("W={w} R={r}"), quorums(w, r, 1, 1), MISSES);
    }
}

/// Without crashes and failures.
fn calm(w: u8, r: u8, puts: usize, gets: usize) -> Quorums {
    Quorums { crashes: 0, failures: 0, ..quorums(w, r, puts, gets) }
}

fn broken(variant: Variant, puts: usize, gets: usize) -> Quorums {
    let failures = u8::from(variant == Variant::FailureCounted);
    Quorums { variant, crashes: 0, failures, ..quorums(2, 2, puts, gets) }
}

#[test]
fn a_replica_that_is_counted_twice_makes_reads_miss() {
    shortest("one replica counted twice", broken(Variant::CountedTwice, 1, 1), DURABLE);
    shortest("one replica counted twice", broken(Variant::CountedTwice, 1, 1), STRICT_SEES);
}

#[test]
fn a_failure_that_is_counted_makes_reads_miss() {
    shortest("a failure counted", broken(Variant::FailureCounted, 1, 1), ALL_SEE);
}

#[test]
fn a_late_acknowledgement_that_is_counted_for_the_next_attempt_makes_reads_miss() {
    shortest("a late acknowledgement counted", broken(Variant::LateAckCounted, 2, 1), STRICT_SEES);
}

#[test]
fn a_late_answer_that_is_counted_for_the_next_read_makes_it_miss() {
    shortest("a late answer counted", broken(Variant::LateReplyCounted, 1, 2), STRICT_SEES);
}

#[test]
fn an_acknowledgement_before_the_sync_is_not_durable() {
    shortest("acknowledged before the sync", broken(Variant::AckBeforeSync, 1, 1), DURABLE);
}
