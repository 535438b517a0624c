//! The rules of a replica, each as a run that goes wrong without it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod forgetting;
mod lanes;
mod site;

use bytes::Bytes;
use causality::{Dot, DotSet, Incarnation};
use lattice::Change::{Grew, Unchanged};
use model::{Limits, Mark, Mutation, Token, Value};
use replica::{Asked, Refused, Repaired, Replica};
use site::{SHARD, Site, address, none};

/// What a repair comes to that brings nothing which is forgotten.
fn repaired(change: lattice::Change, lost: u64, is_ahead: bool) -> Repaired {
    Repaired { change, lost, is_ahead, forgotten: none() }
}

#[test]
fn two_writers_from_one_context_leave_two_siblings_and_a_third_that_read_both_leaves_one() {
    let mut a = Site::new(0xa);
    a.write(&none(), "one");
    a.write(&none(), "two");
    assert_eq!(a.texts(), ["one", "two"]);
    let read = a.object().context().clone();
    a.write(&read, "three");
    assert_eq!(a.texts(), ["three"]);
}

#[test]
fn a_hundred_interleaved_writers_leave_only_what_was_concurrent() {
    // Two clients take turns, each writing with the context of its own last write, so
    // that neither ever reads the other. A store with one vector per key ends at 100.
    let mut a = Site::new(0xa);
    let mut contexts = [none(), none()];
    for turn in 0..100 {
        let context = &mut contexts[turn % 2];
        *context = a.write(context, "again").context().clone();
        assert!(a.texts().len() <= 2, "turn {turn}: {:?}", a.texts());
    }
}

#[test]
fn redelivery_adds_nothing_and_writes_nothing() {
    let (mut a, mut b) = (Site::new(0xa), Site::new(0xb));
    let object = a.write(&none(), "once");
    assert_eq!(b.merge(&object), Grew);
    assert_eq!(b.merge(&object), Unchanged);
    assert_eq!((b.disk.commits, b.texts().len()), (1, 1));
}

#[test]
fn a_superseded_value_that_arrives_late_is_left_out() {
    let (mut a, mut b) = (Site::new(0xa), Site::new(0xb));
    let first = a.write(&none(), "first");
    let second = a.write(first.context(), "second");
    let _ = b.merge(&second);
    assert_eq!(b.merge(&first), Unchanged);
    assert_eq!(b.texts(), ["second"]);
}

#[test]
fn old_news_leaves_no_claim_behind() {
    // B has applied a1 and lost the record. It must not tell others that a1 is superseded.
    let (mut a, mut b) = (Site::new(0xa), Site::new(0xb));
    let object = a.write(&none(), "kept at a");
    let _ = b.merge(&object);
    b.disk.objects.clear();
    assert_eq!(b.merge(&object), Unchanged, "R3: the normal road does not re-insert");
    let other = b.write(&none(), "concurrent");
    assert!(!b.object().context().contains(Dot::new(Incarnation::new(0xa), 1)));
    let _ = a.merge(&other);
    let _ = a.merge(&b.object());
    assert_eq!(a.texts(), ["kept at a", "concurrent"], "nothing of A's was deleted");
}

#[test]
fn a_lost_record_is_put_back_by_a_repair_only_and_counted_once() {
    let (mut a, mut b) = (Site::new(0xa), Site::new(0xb));
    let value = a.write(&none(), "kept");
    let _ = b.merge(&value);
    let clock = a.replica.clock().clone();
    a.disk.objects.clear();
    assert_eq!(a.merge(&value), Unchanged, "it may have been superseded");
    assert_eq!(a.repair(&b.object()), repaired(Grew, 1, false));
    assert_eq!((a.texts(), a.replica.clock()), (vec!["kept".to_owned()], &clock));
    assert_eq!(a.repair(&b.object()), repaired(Unchanged, 0, false));
}

#[test]
fn a_record_that_turned_old_is_what_it_was_again_and_what_was_deleted_stays_away() {
    let (mut a, mut b) = (Site::new(0xa), Site::new(0xb));
    let first = a.write(&none(), "first");
    let older = a.disk.objects.clone();
    let deleted = a.apply(Mutation::Delete, first.context());
    let _ = b.merge(&first);
    assert_eq!(a.repair(&b.object()), repaired(Unchanged, 0, true));
    assert!(a.texts().is_empty(), "what it holds speaks against it");
    let _ = b.merge(&deleted);
    a.disk.objects = older;
    assert_eq!(a.texts(), ["first"]);
    assert_eq!(a.repair(&b.object()), repaired(Grew, 1, false));
    assert!(a.texts().is_empty());
}

#[test]
fn what_is_new_in_a_repair_was_not_lost() {
    let (mut a, mut b) = (Site::new(0xa), Site::new(0xb));
    let value = b.write(&none(), "new");
    assert_eq!(a.repair(&value), repaired(Grew, 0, false));
    assert!(a.replica.clock().is_superset(value.context()));
}

#[test]
fn the_clock_knows_what_was_taken_in_and_nothing_else() {
    let (mut a, mut b) = (Site::new(0xa), Site::new(0xb));
    let dot = |seq| Dot::new(Incarnation::new(0xa), seq);
    a.write(&none(), "one");
    let two = a.write(&none(), "two");
    let _ = b.merge(&two);
    assert!(b.replica.clock().contains(dot(2)));
    assert!(!b.replica.clock().contains(dot(1)), "a gap stays a gap");
    let runs: Vec<_> = b.disk.clock.values().flatten().copied().collect();
    assert_eq!(runs, b.replica.clock().runs(), "the disk has the clock of the same change");
}

#[test]
fn a_forgotten_tombstone_is_not_created_anew() {
    let (mut a, mut b) = (Site::new(0xa), Site::new(0xb));
    let written = a.write(&none(), "short-lived");
    let deleted = a.apply(Mutation::Delete, written.context());
    let _ = b.merge(&written);
    let _ = b.merge(&deleted);
    assert!(b.object().is_tombstone());
    b.disk.objects.clear();
    assert_eq!(b.merge(&deleted), Unchanged);
    assert!(b.object().is_bottom());
}

#[test]
fn a_blind_write_beyond_the_limit_is_refused_and_mints_nothing() {
    let mut a = Site::new(0xa);
    let limits = Limits { siblings_max: 2, ..Limits::default() };
    let write = |site: &mut Site, read: DotSet| {
        let mutation = Mutation::Store(Value { content_type: Bytes::new(), body: Bytes::new() });
        site.replica.apply(&mut site.disk, &address(), mutation, read, &limits)
    };
    write(&mut a, none()).unwrap();
    write(&mut a, none()).unwrap();
    let before = (a.object(), a.replica.clock().clone());
    assert_eq!(write(&mut a, none()), Err(Refused::ManySiblings { siblings: 2, max: 2 }));
    assert_eq!((a.object(), a.replica.clock().clone()), before);
    let read = a.object().context().clone();
    assert_eq!(write(&mut a, read).unwrap().dot.seq, 3, "the refused write took no number");
}

#[test]
fn a_write_that_must_have_read_something_is_refused_where_there_is_a_value() {
    let mut a = Site::new(0xa);
    let write = |site: &mut Site, mutation: Mutation, read: DotSet| {
        let asked = Asked { requires_context: true, ..Asked::once(mutation, read) };
        site.replica.apply_marked(&mut site.disk, &address(), asked, &Limits::default())
    };
    let store = || Mutation::Store(Value { content_type: Bytes::new(), body: Bytes::new() });
    let first = write(&mut a, store(), none()).unwrap();
    assert_eq!(first.siblings, 1, "there was nothing to read");
    assert_eq!(write(&mut a, store(), none()), Err(Refused::Blind { siblings: 1 }));
    // What it has read may be superseded, or never have been here: it has read something.
    let stale = [Dot::new(Incarnation::new(9), 4)].into_iter().collect();
    assert_eq!(write(&mut a, store(), stale).unwrap().siblings, 2);
    let both = a.object().context().clone();
    assert_eq!(write(&mut a, Mutation::Delete, both).unwrap().siblings, 0);
    assert_eq!(write(&mut a, store(), none()).unwrap().dot.seq, 4, "a deleted key holds nothing");
}

#[test]
fn blind_writes_never_make_an_object_too_large_to_travel() {
    let mut a = Site::new(0xa);
    let limits = Limits { object_bytes_max: 10, ..Limits::default() };
    let write = |site: &mut Site, read: DotSet, text: &'static str| {
        let body = Bytes::from_static(text.as_bytes());
        let mutation = Mutation::Store(Value { content_type: Bytes::new(), body });
        site.replica.apply(&mut site.disk, &address(), mutation, read, &limits)
    };
    write(&mut a, none(), "more than ten bytes, but alone").unwrap();
    let refused = write(&mut a, none(), "x");
    assert_eq!(refused, Err(Refused::LargeObject { bytes: 31, max: 10 }));
    let read = a.object().context().clone();
    write(&mut a, read, "resolved").unwrap();
    write(&mut a, none(), "xy").unwrap();
    assert_eq!(a.texts(), ["resolved", "xy"]);
}

#[test]
#[should_panic(expected = "is not new")]
fn a_replica_refuses_to_live_twice_under_one_incarnation() {
    let mut a = Site::new(0xa);
    a.write(&none(), "first life");
    let _ = Replica::new(SHARD, Incarnation::new(0xa), a.replica.clock().clone());
}

#[test]
fn each_dot_that_the_clock_gains_is_in_the_log_with_the_key_that_it_came_with() {
    let (mut a, mut b) = (Site::new(0xa), Site::new(0xb));
    let tea = a.write(&none(), "tea");
    let rum = a.write(tea.context(), "rum");
    // What was superseded before it arrived is in the context of what superseded it.
    assert_eq!(b.merge(&rum), Grew);
    assert_eq!(b.merge(&tea), Unchanged);
    for site in [&a, &b] {
        assert_eq!(site.disk.log.dots(SHARD), *site.replica.clock());
        let within = causality::Run { incarnation: Incarnation::new(0xa), first: 2, last: 9 };
        let entries = site.disk.log.read(SHARD, within, 9);
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].address, address());
    }
}

fn asked(text: &'static str, read: DotSet, number: u64) -> Asked {
    let value = Value { content_type: Bytes::new(), body: Bytes::from_static(text.as_bytes()) };
    let mark = Mark { token: Token::new(number, number.into()), fingerprint: number };
    Asked { mark: Some(mark), ..Asked::once(Mutation::Store(value), read) }
}

#[test]
fn a_write_that_comes_again_gets_no_second_dot_even_after_it_was_superseded() {
    let mut site = Site::new(1);
    let limits = Limits::default();
    let mut apply =
        |asked| site.replica.apply_marked(&mut site.disk, &address(), asked, &limits).unwrap();
    let first = apply(asked("one", DotSet::new(), 1));
    let again = apply(asked("one", DotSet::new(), 1));
    assert_eq!((again.dot, again.repeated, first.repeated), (first.dot, true, false));
    let over = apply(asked("two", first.context.clone(), 2));
    let late = apply(asked("one", DotSet::new(), 1));
    assert_eq!((late.dot, late.repeated), (first.dot, true));
    assert_eq!(late.object.values().keys().collect::<Vec<_>>(), [&over.dot], "what is sent on");
}

#[test]
fn a_token_of_another_write_is_refused_and_changes_nothing() {
    let mut site = Site::new(1);
    let limits = Limits::default();
    let mut other = asked("two", DotSet::new(), 1);
    other.mark.as_mut().unwrap().fingerprint = 2;
    let first = asked("one", DotSet::new(), 1);
    site.replica.apply_marked(&mut site.disk, &address(), first, &limits).unwrap();
    let before = site.disk.commits;
    let refused = site.replica.apply_marked(&mut site.disk, &address(), other, &limits);
    assert_eq!(refused, Err(Refused::TokenReused));
    assert_eq!(site.disk.commits, before);
}

#[test]
fn twins_are_one_sibling_to_the_limit() {
    let (mut a, mut b) = (Site::new(1), Site::new(2));
    let limits = Limits { siblings_max: 2, ..Limits::default() };
    let apply = |site: &mut Site, asked| {
        site.replica.apply_marked(&mut site.disk, &address(), asked, &limits)
    };
    let twin = apply(&mut b, asked("one", DotSet::new(), 1)).unwrap();
    apply(&mut a, asked("one", DotSet::new(), 1)).unwrap();
    assert_eq!(a.merge(&twin.object), Grew);
    apply(&mut a, asked("two", DotSet::new(), 2)).unwrap();
    let third = apply(&mut a, asked("three", DotSet::new(), 3));
    assert_eq!(third, Err(Refused::ManySiblings { siblings: 2, max: 2 }));
}
