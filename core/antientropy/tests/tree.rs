//! A tree beside a plain map, through everything that can happen to it.

mod shelf;

use antientropy::{Digest, KeyRange, Progress, Summary, Tree, Verdict};
use proptest::prelude::*;
use shelf::{Shelf, salt};

#[derive(Clone, Debug)]
enum Step {
    Put(u16, u64),
    Remove(u16),
    Cut(usize),
    Scrub(u16),
    Rebuild,
    ReadOn(usize),
    /// Behind the tree's back: an object is lost, or its digest is another.
    Damage(u16, Option<u64>),
}

fn steps(damage: u32) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        30 => (0..2_000u16, 0..3u64).prop_map(|(key, digest)| Step::Put(key, digest)),
        10 => (0..2_000u16).prop_map(Step::Remove),
        2 => (0..4usize).prop_map(Step::Cut),
        2 => (0..2_000u16).prop_map(Step::Scrub),
        1 => Just(Step::Rebuild),
        4 => (0..300usize).prop_map(Step::ReadOn),
        damage => (0..2_000u16, prop::option::of(3..5u64)).prop_map(|(k, d)| Step::Damage(k, d)),
    ];
    prop::collection::vec(step, 1..400)
}

/// A replica that begins with many objects, so that there are several levels of ranges.
fn replica(count: u16) -> (Tree<Vec<u8>>, Shelf) {
    let (mut tree, mut shelf) = (Tree::new(salt()), Shelf::default());
    for number in 0..count {
        shelf.put(&mut tree, &key(number), Some(Digest(1)));
    }
    tree.cut(&shelf, usize::MAX).unwrap();
    (tree, shelf)
}

fn take(step: &Step, tree: &mut Tree<Vec<u8>>, shelf: &mut Shelf) {
    match step {
        Step::Put(number, digest) => shelf.put(tree, &key(*number), Some(Digest(*digest))),
        Step::Remove(number) => shelf.put(tree, &key(*number), None),
        Step::Cut(cuts) => tree.cut(shelf, *cuts).unwrap(),
        Step::Scrub(number) => drop(tree.scrub(Some(&key(*number)), shelf).unwrap()),
        Step::Rebuild => *tree = Tree::unread(salt()),
        Step::ReadOn(items) => drop(tree.read_on(shelf, *items).unwrap()),
        Step::Damage(number, digest) => {
            if let Some(held) = shelf.0.remove(&key(*number)) {
                shelf.0.extend(digest.map(|digest| (key(*number), Digest(held.0 ^ digest))));
            }
        }
    }
}

/// The same objects, put into a new tree in the order of their keys.
fn anew(shelf: &Shelf) -> Tree<Vec<u8>> {
    let mut tree = Tree::unread(salt());
    while tree.read_on(shelf, 100).unwrap() != Progress::Whole {}
    tree
}

fn finish(tree: &mut Tree<Vec<u8>>, shelf: &Shelf) {
    while tree.read_on(shelf, 100).unwrap() != Progress::Whole {}
    tree.cut(shelf, usize::MAX).unwrap();
}

/// Scrubs all leaves and counts those that were damaged.
fn scrub_all(tree: &mut Tree<Vec<u8>>, shelf: &Shelf) -> usize {
    let (mut at, mut damaged) = (None, 0);
    while let Some(check) = tree.scrub(at.as_ref(), shelf).unwrap() {
        damaged += usize::from(check.verdict != Verdict::Sound);
        at = check.leaf.to;
        if at.is_none() {
            break;
        }
    }
    damaged
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_tree_says_what_is_held_whatever_happened(steps in steps(0), count in 0..2_000u16) {
        let (mut tree, mut shelf) = replica(count);
        for step in &steps {
            take(step, &mut tree, &mut shelf);
            prop_assert_eq!(tree.total().is_some(), tree.progress() == Progress::Whole);
            if let Some(total) = tree.total() {
                prop_assert_eq!(total.count, shelf.0.len() as u64);
            }
        }
        finish(&mut tree, &shelf);
        prop_assert_eq!(tree, anew(&shelf));
    }

    #[test]
    fn sums_of_any_ranges_are_those_of_the_objects_in_them(
        steps in steps(0),
        ends in prop::collection::vec((prop::option::of(0..2_000u16), prop::option::of(0..2_000u16)), 20),
    ) {
        let (mut tree, mut shelf) = replica(1_500);
        steps.iter().for_each(|step| take(step, &mut tree, &mut shelf));
        while tree.read_on(&shelf, 100).unwrap() != Progress::Whole {}
        for (from, to) in ends {
            let range = KeyRange { from: from.map(key), to: to.map(key) };
            if !range.is_empty() {
                let within = Shelf(shelf.0.clone().into_iter().filter(|(k, _)| range.contains(k)).collect());
                let expected = anew(&within).total().unwrap();
                prop_assert_eq!(tree.summary(&range, &shelf).unwrap(), expected);
            }
        }
    }

    #[test]
    fn damage_is_found_once_and_the_tree_then_says_what_is_there(steps in steps(3)) {
        let (mut tree, mut shelf) = replica(1_500);
        // What is damaged must not be told as a change: the model below does not know it.
        let quiet: Vec<Step> = steps.into_iter()
            .filter(|step| matches!(step, Step::Damage(..) | Step::Cut(_))).collect();
        let sound = tree.total();
        quiet.iter().for_each(|step| take(step, &mut tree, &mut shelf));
        prop_assert_eq!(tree.total(), sound);
        let differs = anew(&shelf).total() != sound;
        prop_assert_eq!(scrub_all(&mut tree, &shelf) > 0, differs);
        prop_assert_eq!(scrub_all(&mut tree, &shelf), 0);
        prop_assert_eq!(tree, anew(&shelf));
    }
}

#[test]
fn the_same_objects_in_another_order_are_the_same_tree() {
    let (forwards, shelf) = replica(5_000);
    let mut backwards = Tree::new(salt());
    let mut other = Shelf::default();
    for number in (0..6_000).rev() {
        other.put(&mut backwards, &key(number), Some(Digest(7)));
        if number % 64 == 0 {
            backwards.cut(&other, 3).unwrap();
        }
    }
    for number in (0..6_000).rev() {
        other.put(&mut backwards, &key(number), (number < 5_000).then_some(Digest(1)));
    }
    assert_ne!(backwards.leaves(), 1);
    backwards.cut(&other, usize::MAX).unwrap();
    assert_eq!(shelf.0, other.0);
    assert_eq!(forwards, backwards);
    assert!((50..110).contains(&forwards.leaves()), "{} leaves", forwards.leaves());
}

#[test]
fn a_tree_that_was_emptied_is_a_new_one() {
    let (mut tree, mut shelf) = replica(5_000);
    (0..5_000).for_each(|number| shelf.put(&mut tree, &key(number), None));
    assert_eq!(tree, Tree::new(salt()));
}

#[test]
fn a_key_that_goes_before_its_cut_was_made_cuts_nothing() {
    let (mut tree, mut shelf) = (Tree::new(salt()), Shelf::default());
    (0..5_000).for_each(|number| shelf.put(&mut tree, &key(number), Some(Digest(1))));
    let overdue = tree.cuts_overdue();
    (0..2_500).for_each(|number| shelf.put(&mut tree, &key(number), None));
    assert!(tree.cuts_overdue() < overdue);
    tree.cut(&shelf, usize::MAX).unwrap();
    assert_eq!(tree, anew(&shelf));
}

#[test]
fn a_leaf_that_is_longer_than_what_is_read_at_once_is_read_as_a_whole() {
    let (mut tree, mut shelf) = (Tree::new(salt()), Shelf::default());
    (0..5_000).for_each(|number| shelf.put(&mut tree, &key(number), Some(Digest(1))));
    assert_eq!(tree.leaves(), 1);
    let check = tree.scrub(None, &shelf).unwrap().unwrap();
    assert_eq!((check.leaf, check.verdict), (KeyRange::ALL, Verdict::Sound));
    assert_eq!(tree.cuts_overdue(), 0);
    assert_eq!(tree, anew(&shelf));
}

#[test]
fn changes_count_below_the_reading_point_and_are_read_above_it() {
    let (_, mut shelf) = replica(1_000);
    let mut tree = Tree::unread(salt());
    shelf.put(&mut tree, &key(3), None);
    assert_eq!(tree.progress(), Progress::Reading { from: None, read: 0 });
    assert_eq!(tree.leaf(None), None);
    tree.read_on(&shelf, 500).unwrap();
    let Progress::Reading { from: Some(point), read: 500 } = tree.progress() else {
        panic!("{:?}", tree.progress())
    };
    let below = shelf.0.keys().next().unwrap().clone();
    let above = shelf.0.keys().next_back().unwrap().clone();
    shelf.put(&mut tree, &below, Some(Digest(9)));
    shelf.put(&mut tree, &above, None);
    shelf.put(&mut tree, &point, None);
    assert_eq!(tree.progress(), Progress::Reading { from: Some(point.clone()), read: 500 });
    assert_eq!(tree.leaf(Some(&point)), None);
    assert_eq!(tree.total(), None);
    finish(&mut tree, &shelf);
    assert_eq!(tree, anew(&shelf));
    assert_eq!(tree.total().unwrap().count, 997);
}

#[test]
fn a_check_changes_nothing_and_says_what_is_lost() {
    let (mut tree, mut shelf) = replica(300);
    let before = tree.clone();
    let lost = key(42);
    assert_eq!(tree.check(Some(&lost), &shelf).unwrap().unwrap().verdict, Verdict::Sound);
    shelf.0.remove(&lost);
    let check = tree.check(Some(&lost), &shelf).unwrap().unwrap();
    let Verdict::Damaged { tree: Summary { count, .. }, store } = check.verdict else {
        panic!("{check:?}")
    };
    assert_eq!(count, store.count + 1);
    assert!(check.leaf.contains(&lost));
    assert_eq!(tree, before);
    assert_eq!(tree.scrub(Some(&lost), &shelf).unwrap().unwrap(), check);
    assert_ne!(tree.total(), before.total());
    assert_eq!(tree, anew(&shelf));
}

/// Keys whose order is not that of their numbers.
fn key(number: u16) -> Vec<u8> {
    number.wrapping_mul(40_503).to_be_bytes().to_vec()
}
