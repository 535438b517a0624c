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

#[test]
fn whoever_still_holds_it_is_told() {
    let (mut a, mut b) = (Site::new(0xa), Site::new(0xb));
    let (value, _) = forgotten_at(&mut a, &mut b);
    let repaired = a.repair(&value);
    assert_eq!(&repaired.refuted, value.context());
    assert_eq!((repaired.lost, repaired.is_ahead), (0, true));
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
    assert_eq!(&new.repair(&value).refuted, value.context());
    assert_eq!(new.merge(&value), Unchanged);
    assert!(new.disk.objects.is_empty());
}
