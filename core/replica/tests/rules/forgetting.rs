//! What a replica knows of what it has forgotten.

use causality::DotSet;
use lattice::Change::{Grew, Unchanged};
use model::{Mutation, Object};

use crate::site::{Site, address, none};

/// A key that was written and deleted at both, and that the first has forgotten. Returns the write
/// and the delete.
fn forgotten_at(a: &mut Site, b: &mut Site) -> (Object, Object) {
    let value = a.write(&none(), "deleted");
    let deleted = a.apply(Mutation::Delete, value.context());
    let _ = b.merge(&value);
    let _ = b.merge(&deleted);
    assert_eq!(a.reap(deleted.context()), 1);
    (value, deleted)
}

#[test]
fn a_tombstone_goes_when_all_that_it_speaks_of_is_settled_and_no_value_goes() {
    let mut a = Site::new(0xa);
    let value = a.write(&none(), "kept");
    assert_eq!(a.reap(value.context()), 0, "it is a value");
    let deleted = a.apply(Mutation::Delete, value.context());
    assert_eq!(a.reap(value.context()), 0, "somebody may lack the delete");
    assert!(a.object().is_tombstone());
    assert_eq!(a.reap(deleted.context()), 1);
    assert!(a.disk.objects.is_empty());
    assert_eq!(a.replica.forgotten(), deleted.context());
    assert!(a.replica.clock().is_superset(deleted.context()), "it was applied all the same");
    assert_eq!(a.reap(deleted.context()), 0, "once");
}

#[test]
fn nothing_that_arrives_late_brings_it_back() {
    let (mut a, mut b) = (Site::new(0xa), Site::new(0xb));
    let (value, deleted) = forgotten_at(&mut a, &mut b);
    assert_eq!(a.merge(&value), Unchanged);
    assert_eq!(a.merge(&deleted), Unchanged);
    let repaired = a.repair(&deleted);
    assert_eq!((repaired.change, repaired.lost, repaired.is_ahead), (Unchanged, 0, false));
    assert!(a.disk.objects.is_empty());
}

/// A value of which the context has two that it took the place of, one after the other.
fn overwritten(a: &mut Site) -> [Object; 3] {
    let first = a.write(&none(), "first");
    let second = a.write(first.context(), "second");
    let third = a.write(second.context(), "third");
    [first, second, third]
}

#[test]
fn what_was_superseded_goes_and_what_is_held_stays() {
    let (mut a, mut b) = (Site::new(0xa), Site::new(0xb));
    let [first, second, third] = overwritten(&mut a);
    let _ = b.merge(&third);
    assert_eq!(a.forget(second.context()), 1);
    let held: DotSet = third.values().keys().copied().collect();
    assert_eq!((a.texts(), a.object().context()), (vec!["third".to_owned()], &held));
    assert_eq!(a.replica.forgotten(), second.context());
    for old in [&first, &second, &third] {
        assert_eq!(a.merge(old), Unchanged);
    }
    assert_eq!(a.object().context(), &held, "and nobody brings it back");
    assert_eq!(a.forget(second.context()), 0, "once");
    // Who has not forgotten it is no other for that, and is told.
    let repaired = a.repair(&b.object());
    assert_eq!((repaired.change, repaired.is_ahead), (Unchanged, false));
    assert_eq!(&repaired.forgotten, second.context());
}

#[test]
fn a_replica_that_is_told_drops_a_value_that_turned_up_again() {
    let (mut a, mut b) = (Site::new(0xa), Site::new(0xb));
    let [first, second, third] = overwritten(&mut a);
    let _ = b.merge(&third);
    b.disk.objects.insert(address(), first);
    assert_eq!(b.forget(second.context()), 1);
    assert!(b.disk.objects.is_empty(), "there is nothing left of it");
    let repaired = b.repair(&third);
    assert_eq!((repaired.change, b.texts()), (Grew, vec!["third".to_owned()]));
}

#[test]
fn that_a_write_was_recovered_is_not_forgotten_while_it_is_held() {
    let mut a = Site::new(0xa);
    let found = Site::new(0xb).write(&none(), "found");
    let dot = *found.values().keys().next().unwrap();
    let _ = a.merge(&found.clone().recovered(found.context()));
    let heard = a.object().context().clone();
    assert_eq!(a.forget(&heard.difference(found.context())), 0);
    assert!(a.object().is_recovered(dot));
}

#[test]
fn whoever_still_holds_it_is_told() {
    let (mut a, mut b) = (Site::new(0xa), Site::new(0xb));
    let (value, _) = forgotten_at(&mut a, &mut b);
    let repaired = a.repair(&value);
    assert_eq!(&repaired.forgotten, value.context());
    assert_eq!((repaired.lost, repaired.is_ahead), (0, false));
    assert!(a.disk.objects.is_empty(), "and it is not taken in");
}

#[test]
fn what_was_lost_is_still_told_from_what_is_forgotten() {
    let (mut a, mut b) = (Site::new(0xa), Site::new(0xb));
    forgotten_at(&mut a, &mut b);
    let again = a.write(&none(), "written again");
    let _ = b.merge(&again);
    a.disk.objects.clear();
    let repaired = a.repair(&b.object());
    assert_eq!((repaired.change, repaired.lost), (Grew, 1));
    assert_eq!(a.texts(), ["written again"]);
}

#[test]
fn a_record_that_turned_into_what_was_deleted_goes_with_the_next_write() {
    let (mut a, mut b) = (Site::new(0xa), Site::new(0xb));
    let (value, _) = forgotten_at(&mut a, &mut b);
    a.disk.objects.insert(address(), value);
    a.write(&none(), "new");
    assert_eq!(a.texts(), ["new"]);
}

#[test]
fn a_new_disk_that_is_told_what_is_forgotten_takes_in_nothing_of_it() {
    let (mut a, mut b) = (Site::new(0xa), Site::new(0xb));
    let (value, _) = forgotten_at(&mut a, &mut b);
    let mut new = Site::new(0xc);
    let forgotten: DotSet = a.replica.forgotten().clone();
    new.replica.adopt(&mut new.disk, &forgotten);
    assert_eq!(new.replica.clock(), &forgotten, "it has heard of it");
    assert_eq!(&new.repair(&value).forgotten, value.context());
    assert_eq!(new.merge(&value), Unchanged);
    assert!(new.disk.objects.is_empty());
}
