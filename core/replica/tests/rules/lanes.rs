//! Keys that are written again and again, in turn with others, while nothing is settled.

use std::collections::BTreeSet;

use bytes::Bytes;
use causality::{Dot, Incarnation};
use model::{Address, Key, Limits, Mutation, Object, Value};

use crate::site::{Site, address};

fn at(key: &str) -> Address {
    let key = Key::new(Bytes::copy_from_slice(key.as_bytes()), Bytes::new()).unwrap();
    Address { key, ..address() }
}

fn held(site: &Site, key: &str) -> Object {
    site.disk.objects.get(&at(key)).cloned().unwrap_or_default()
}

/// Overwrites a key, and returns under which dot.
fn overwrite(site: &mut Site, key: &str) -> Dot {
    let read = held(site, key).context().clone();
    let mutation = Mutation::Store(Value { content_type: Bytes::new(), body: Bytes::new() });
    let limits = Limits::default();
    site.replica.apply(&mut site.disk, &at(key), mutation, read, &limits).unwrap().dot
}

/// How many runs the context of a key has.
fn runs(site: &Site, key: &str) -> usize {
    held(site, key).context().runs().len()
}

/// Those under whose names there are dots.
fn names(site: &Site) -> BTreeSet<Incarnation> {
    site.replica.clock().runs().iter().map(|run| run.incarnation).collect()
}

#[test]
fn a_key_that_is_written_in_turn_with_others_has_few_runs_however_often() {
    let mut a = Site::new(0xa);
    for number in 0..5_000 {
        overwrite(&mut a, "hot");
        overwrite(&mut a, &format!("cold{number}"));
    }
    let most = Limits::default().own_runs_max + 2;
    assert!(runs(&a, "hot") <= most, "{} runs", runs(&a, "hot"));
    assert_eq!(names(&a).len(), 2, "its own, and one lane");
    assert_eq!(a.replica.clock().runs().len(), 2, "without a gap");
}

#[test]
fn lanes_are_handed_on_and_no_dot_is_minted_twice() {
    let mut a = Site::new(0xa);
    let mut dots = BTreeSet::new();
    // Four at once, and then the next four, for longer than it takes to give a lane up.
    for keys in [["a", "b", "c", "d"], ["e", "f", "g", "h"], ["i", "j", "k", "l"]] {
        for key in keys.iter().cycle().take(4 * 400) {
            assert!(dots.insert(overwrite(&mut a, key)), "a dot was minted twice");
        }
        let most = keys.map(|key| runs(&a, key)).into_iter().max();
        assert!(most <= Some(Limits::default().own_runs_max + 2), "{most:?} runs");
    }
    assert_eq!(names(&a).len(), 9, "its own, and eight lanes for twelve keys");
    assert_eq!(a.replica.clock().runs().len(), 9);
    assert_eq!(a.replica.clock().len(), 3 * 4 * 400);
}

#[test]
fn a_lane_is_not_taken_from_a_key_that_is_written() {
    let mut a = Site::new(0xa);
    let keys: Vec<String> = (0..8).map(|number| format!("hot{number}")).collect();
    let all = |a: &mut Site| {
        for key in &keys {
            overwrite(a, key);
        }
    };
    (0..40).for_each(|_| all(&mut a));
    for _ in 0..200 {
        all(&mut a);
        overwrite(&mut a, "ninth");
        overwrite(&mut a, "tenth");
    }
    let most = Limits::default().own_runs_max + 2;
    assert!(keys.iter().all(|key| runs(&a, key) <= most));
    assert_eq!((runs(&a, "ninth"), runs(&a, "tenth")), (200, 200), "they cost what they did");
}
