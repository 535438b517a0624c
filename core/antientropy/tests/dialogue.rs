//! Two replicas that compare their trees.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod shelf;

use std::collections::BTreeSet;

use antientropy::{
    Answer, Ask, Difference, Digest, Exchange, KeyRange, Limits, Outcome, Questions, Refused, Salt,
    Stopped, Tree, Within, respond,
};
use proptest::prelude::*;
use shelf::{Shelf, salt};

type Key = Vec<u8>;

#[derive(Clone)]
struct Replica {
    tree: Tree<Key>,
    shelf: Shelf,
}

impl Replica {
    fn of(numbers: impl IntoIterator<Item = u16>) -> Self {
        let mut replica = Self { tree: Tree::new(salt()), shelf: Shelf::default() };
        numbers.into_iter().for_each(|number| replica.put(number, Some(1)));
        replica.tree.cut(&replica.shelf, usize::MAX).unwrap();
        replica
    }

    fn put(&mut self, number: u16, digest: Option<u64>) {
        self.shelf.put(&mut self.tree, &key(number), digest.map(Digest));
    }

    /// What really differs.
    fn differences(&self, other: &Self, range: &KeyRange<Key>) -> Vec<Difference<Key>> {
        let keys: BTreeSet<&Key> = self.shelf.0.keys().chain(other.shelf.0.keys()).collect();
        let difference = |key: &Key| Difference {
            key: key.clone(),
            ours: self.shelf.0.get(key).copied(),
            theirs: other.shelf.0.get(key).copied(),
        };
        keys.into_iter()
            .filter(|key| range.contains(key))
            .map(difference)
            .filter(|difference| difference.ours != difference.theirs)
            .collect()
    }
}

/// Small messages, so that everything takes several.
const TIGHT: Limits = Limits { ranges_max: 3, bytes_max: 200, items_max: 100 };

fn run(
    here: &Replica,
    there: &Replica,
    range: KeyRange<Key>,
    limits: Limits,
) -> (Vec<Difference<Key>>, Outcome) {
    run_with(here, there, range, limits, false)
}

/// What an initiator asks that does not say what it lacks, or whom the responder does not understand.
fn make_old(questions: &mut Questions<Key>) {
    questions.hears_lacked = false;
    for (_, ask) in &mut questions.asks {
        if let Ask::List(_, sum) = ask {
            *sum = None;
        }
    }
}

fn run_with(
    here: &Replica,
    there: &Replica,
    range: KeyRange<Key>,
    limits: Limits,
    is_old: bool,
) -> (Vec<Difference<Key>>, Outcome) {
    let mut exchange = Exchange::new(range, limits);
    let mut found = Vec::new();
    while let Some(mut questions) = exchange.ask(&here.tree, &here.shelf).unwrap() {
        if is_old {
            make_old(&mut questions);
        }
        let answers = respond(&there.tree, &there.shelf, &questions, &limits).unwrap();
        exchange.step(answers, &here.tree, &here.shelf, &mut found).unwrap();
        assert!(exchange.outcome().rounds < 20_000, "it does not end");
    }
    assert!(exchange.is_done());
    found.sort();
    (found, exchange.outcome())
}

/// Compares both ways, with both limits, and says how many differences there are.
fn check(here: &Replica, there: &Replica, range: &KeyRange<Key>) -> Result<usize, TestCaseError> {
    let real = here.differences(there, range);
    for limits in [Limits::default(), TIGHT] {
        for (here, there) in [(here, there), (there, here)] {
            for is_old in [false, true] {
                let (found, outcome) = run_with(here, there, range.clone(), limits, is_old);
                prop_assert_eq!(&found, &here.differences(there, range));
                prop_assert_eq!(outcome.differences, real.len() as u64);
                prop_assert_eq!(outcome.unsettled, 0);
                prop_assert_eq!(outcome.vanished, 0);
            }
        }
    }
    Ok(real.len())
}

/// A key, and what becomes of it here and there.
type Edit = (u16, Option<Option<u64>>, Option<Option<u64>>);

fn edits(count: usize) -> impl Strategy<Value = Vec<Edit>> {
    let fate = || prop::option::of(prop::option::of(0..4u64));
    prop::collection::vec((0..4_000u16, fate(), fate()), 0..count)
}

fn edit(here: &mut Replica, there: &mut Replica, edits: &[Edit]) {
    for (number, ours, theirs) in edits {
        ours.iter().for_each(|digest| here.put(*number, *digest));
        theirs.iter().for_each(|digest| there.put(*number, *digest));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn exactly_what_differs_is_found(
        count in prop_oneof![Just(0), 0..200u16, 2_000..3_000u16],
        few in edits(20), many in prop_oneof![Just(Vec::new()), edits(1_500)],
        cut in any::<(bool, bool)>(),
    ) {
        let (mut here, mut there) = (Replica::of(0..count), Replica::of(0..count));
        edit(&mut here, &mut there, &few);
        edit(&mut here, &mut there, &many);
        for (replica, is_cut) in [(&mut here, cut.0), (&mut there, cut.1)] {
            if is_cut {
                replica.tree.cut(&replica.shelf, usize::MAX).unwrap();
            }
        }
        check(&here, &there, &KeyRange::ALL)?;
    }

    #[test]
    fn a_range_is_compared_for_itself(
        few in edits(40), a in 0..4_000u16, b in 0..4_000u16, from in any::<bool>(), to in any::<bool>(),
    ) {
        let (mut here, mut there) = (Replica::of(0..3_000), Replica::of(0..3_000));
        edit(&mut here, &mut there, &few);
        let (a, b) = (key(a).min(key(b)), key(a).max(key(b)));
        let range = KeyRange { from: from.then_some(a), to: to.then_some(b) };
        if !range.is_empty() {
            check(&here, &there, &range)?;
        }
    }

    #[test]
    fn what_differs_all_the_time_is_found_while_other_things_change(
        before in edits(40), during in prop::collection::vec(edits(6), 1..30),
    ) {
        let (mut here, mut there) = (Replica::of(0..3_000), Replica::of(0..3_000));
        edit(&mut here, &mut there, &before);
        let keys_of = |here: &Replica, there: &Replica| -> BTreeSet<Key> {
            here.differences(there, &KeyRange::ALL).into_iter().map(|d| d.key).collect()
        };
        let mut always = keys_of(&here, &there);
        let mut ever = always.clone();
        let mut exchange = Exchange::new(KeyRange::ALL, Limits::default());
        let mut found = Vec::new();
        let mut changes = during.iter();
        while let Some(questions) = exchange.ask(&here.tree, &here.shelf).unwrap() {
            let answers = respond(&there.tree, &there.shelf, &questions, &Limits::default()).unwrap();
            if let Some(edits) = changes.next() {
                edit(&mut here, &mut there, edits);
                let now = keys_of(&here, &there);
                // A key that is written at both sides may look just as the other side answered.
                let written: BTreeSet<Key> = edits.iter().map(|(number, ..)| key(*number)).collect();
                always.retain(|key| now.contains(key) && !written.contains(key));
                ever.extend(now);
                // What both have written is read here and there at different moments.
                ever.extend(written);
            }
            exchange.step(answers, &here.tree, &here.shelf, &mut found).unwrap();
            prop_assert!(exchange.outcome().rounds < 1_000);
        }
        let found: BTreeSet<Key> = found.into_iter().map(|difference| difference.key).collect();
        prop_assert!(found.is_subset(&ever), "what neither differed nor changed was found");
        if exchange.outcome().unsettled == 0 {
            prop_assert!(always.is_subset(&found), "missed {:?}", always.difference(&found));
        }
    }
}

#[test]
fn as_many_leaves_that_begin_at_other_keys_are_compared_by_keys() {
    let base = Replica::of(0..3_000);
    let mut starts = Vec::new();
    while let Some(next) = base.tree.leaf(starts.last()).unwrap().to {
        starts.push(next);
    }
    assert!(starts.len() > 30);
    for pair in starts.windows(2) {
        let (mut here, mut there) = (base.clone(), base.clone());
        here.shelf.put(&mut here.tree, &pair[0], None);
        there.shelf.put(&mut there.tree, &pair[1], None);
        assert_eq!(check(&here, &there, &KeyRange::ALL).unwrap(), 2);
    }
}

/// Whichever side has the object, and whichever of the two finds the leaf.
#[test]
fn one_object_that_one_side_has_besides_is_found_without_a_listing() {
    for count in [40, 300, 3_000] {
        for number in (0..count).step_by(37) {
            let (all, mut less) = (Replica::of(0..count), Replica::of(0..count));
            less.put(number, None);
            let found = |here: &Replica, there: &Replica| {
                let mut exchange = Exchange::new(KeyRange::ALL, Limits::default());
                let (mut found, mut listings) = (Vec::new(), 0);
                while let Some(questions) = exchange.ask(&here.tree, &here.shelf).unwrap() {
                    let answers =
                        respond(&there.tree, &there.shelf, &questions, &Limits::default()).unwrap();
                    listings += answers.answers.iter().map(listed).sum::<usize>();
                    exchange.step(answers, &here.tree, &here.shelf, &mut found).unwrap();
                }
                (found, listings)
            };
            let lacked = Difference { key: key(number), ours: None, theirs: Some(Digest(1)) };
            assert_eq!(found(&less, &all), (vec![lacked.clone()], 0), "{number} of {count}");
            // The responder cannot see it, and lists, where it is the one that finds the leaf.
            let had = Difference { ours: lacked.theirs, theirs: None, ..lacked };
            assert_eq!(found(&all, &less).0, [had]);
        }
    }
}

fn listed(answer: &Answer<Key>) -> usize {
    match answer {
        Answer::Compared(differing) => {
            differing.iter().filter(|(_, within)| matches!(within, Within::Leaf(_))).count()
        }
        Answer::Listed(_) => 1,
        Answer::Cut { .. } | Answer::Named { .. } => 0,
    }
}

/// A write that arrives between question and answer makes the proof fail, and the leaf is looked
/// at again.
#[test]
fn what_is_named_at_once_and_is_not_all_that_differs_any_more_is_found_all_the_same() {
    let (mut here, there) = (Replica::of(0..300), Replica::of(0..300));
    here.put(42, None);
    let mut exchange = Exchange::new(KeyRange::ALL, Limits::default());
    let mut found = Vec::new();
    while let Some(questions) = exchange.ask(&here.tree, &here.shelf).unwrap() {
        let answers = respond(&there.tree, &there.shelf, &questions, &Limits::default()).unwrap();
        let told = |within: &Within<Key>| matches!(within, Within::Lacked { .. });
        if let Some(Answer::Compared(differing)) = answers.answers.first()
            && differing.iter().any(|(_, within)| told(within))
        {
            // In the same leaf: all keys are, whose cuts lie between the same two.
            let leaf = here.tree.leaf(Some(&key(42))).unwrap();
            let other = (0..300).map(key).find(|other| *other != key(42) && leaf.contains(other));
            here.shelf.put(&mut here.tree, &other.unwrap(), Some(Digest(9)));
        }
        exchange.step(answers, &here.tree, &here.shelf, &mut found).unwrap();
    }
    found.sort();
    assert_eq!(found, here.differences(&there, &KeyRange::ALL));
    assert_eq!(found.len(), 2);
}

#[test]
fn an_empty_replica_is_told_every_key_in_messages_of_bounded_size() {
    let (full, empty) = (Replica::of(0..20_000), Replica::of([]));
    assert_eq!(check(&empty, &full, &KeyRange::ALL).unwrap(), 20_000);
    // A tree into which nothing was cut yet is one long leaf.
    let mut uncut = Replica::of([]);
    (0..20_000).for_each(|number| uncut.put(number, Some(2)));
    assert_eq!(uncut.tree.leaves(), 1);
    assert_eq!(check(&uncut, &empty, &KeyRange::ALL).unwrap(), 20_000);
    assert_eq!(check(&uncut, &full, &KeyRange::ALL).unwrap(), 20_000);
}

#[test]
fn messages_are_not_much_larger_than_they_may_be() {
    let (here, there) = (Replica::of(0..20_000), Replica::of((0..20_000).map(|n| n * 3)));
    let small = Limits { bytes_max: 1_000, ..Limits::default() };
    for (ours, theirs) in [(small, Limits::default()), (Limits::default(), small)] {
        let mut exchange = Exchange::new(KeyRange::ALL, ours);
        while let Some(questions) = exchange.ask(&here.tree, &here.shelf).unwrap() {
            let asked = questions.bytes();
            assert!(asked < ours.bytes_max + 1_024 * 2, "{asked} bytes");
            let answers = respond(&there.tree, &there.shelf, &questions, &theirs).unwrap();
            let answered = answers.bytes(&questions);
            assert!(answered < theirs.bytes_max + 1_024 * 12, "{answered} bytes");
            exchange.step(answers, &here.tree, &here.shelf, &mut Vec::new()).unwrap();
        }
    }
}

#[test]
fn what_was_lost_is_asked_again_and_what_comes_late_is_left_alone() {
    let (here, mut there) = (Replica::of(0..3_000), Replica::of(0..3_000));
    (0..50).for_each(|number| there.put(number * 7, Some(8)));
    let mut exchange = Exchange::new(KeyRange::ALL, Limits::default());
    let mut found = Vec::new();
    let mut late = None;
    while let Some(lost) = exchange.ask(&here.tree, &here.shelf).unwrap() {
        let questions = exchange.ask(&here.tree, &here.shelf).unwrap().unwrap();
        assert_eq!((lost.round + 1, lost.asks), (questions.round, questions.asks.clone()));
        let mut answers =
            respond(&there.tree, &there.shelf, &questions, &Limits::default()).unwrap();
        answers.answers.truncate(1);
        for answers in late.replace(answers.clone()).into_iter().chain([answers.clone(), answers]) {
            exchange.step(answers, &here.tree, &here.shelf, &mut found).unwrap();
        }
    }
    found.sort();
    assert_eq!(found, here.differences(&there, &KeyRange::ALL));
}

#[test]
fn a_tree_that_is_being_rebuilt_neither_asks_nor_answers() {
    let whole = Replica::of(0..300);
    let mut half = Replica { tree: Tree::unread(salt()), shelf: whole.shelf.clone() };
    for _ in 0..4 {
        let mut exchange = Exchange::new(KeyRange::ALL, Limits::default());
        assert_eq!(exchange.ask(&half.tree, &half.shelf), Err(Stopped::NotWhole));
        let questions = exchange.ask(&whole.tree, &whole.shelf).unwrap().unwrap();
        let refused = respond(&half.tree, &half.shelf, &questions, &Limits::default());
        assert_eq!(refused, Err(Refused::NotWhole));
        assert_eq!(half.tree.total(), None);
        half.tree.read_on(&half.shelf, 74).unwrap();
    }
    half.tree.read_on(&half.shelf, 4).unwrap();
    assert_eq!(half.tree.total(), whole.tree.total());
}

#[test]
fn trees_of_different_salts_are_not_compared() {
    let here = Replica::of(0..300);
    let there: Tree<Key> = Tree::new(Salt::new([8; 32]));
    let mut exchange = Exchange::new(KeyRange::ALL, Limits::default());
    let questions = exchange.ask(&here.tree, &here.shelf).unwrap().unwrap();
    let refused = respond(&there, &here.shelf, &questions, &Limits::default());
    assert_eq!(refused, Err(Refused::OtherSalt));
}

#[test]
fn what_a_scrub_found_to_be_lost_is_found_by_the_next_exchange() {
    let (mut here, there) = (Replica::of(0..3_000), Replica::of(0..3_000));
    here.shelf.0.remove(&key(42));
    assert_eq!(here.tree.total(), there.tree.total());
    here.tree.scrub(Some(&key(42)), &here.shelf).unwrap();
    let (found, _) = run(&here, &there, KeyRange::ALL, Limits::default());
    assert_eq!(found, [Difference { key: key(42), ours: None, theirs: Some(Digest(1)) }]);
}

#[test]
fn a_tree_that_does_not_say_what_is_stored_is_noticed() {
    // Of three keys all are listed at once.
    for keys in [3, 3_000] {
        let (mut here, mut there) = (Replica::of(0..keys), Replica::of(0..keys));
        let (found, outcome) = run(&here, &there, KeyRange::ALL, Limits::default());
        assert_eq!((found, outcome.vanished), (vec![], 0), "{keys} keys");
        there.tree.change(&key(2), Some(Digest(1)), Some(Digest(2)));
        let (found, outcome) = run(&here, &there, KeyRange::ALL, Limits::default());
        assert_eq!((found, outcome.vanished), (vec![], 1), "{keys} keys, wrong there");
        here.tree.change(&key(1), Some(Digest(1)), Some(Digest(3)));
        let (found, outcome) = run(&here, &there, KeyRange::ALL, Limits::default());
        assert_eq!(found, []);
        assert_ne!(outcome.vanished, 0, "{keys} keys, wrong on both sides");
    }
}

/// Keys whose order is not that of their numbers.
fn key(number: u16) -> Vec<u8> {
    number.wrapping_mul(40_503).to_be_bytes().to_vec()
}

#[test]
fn what_is_missing_in_a_leaf_that_is_written_all_the_time_is_found_and_nothing_is_proved() {
    let (mut here, mut there) = (Replica::of(0..40), Replica::of(0..40));
    let lost: BTreeSet<Key> = [10, 14].into_iter().map(key).collect();
    lost.iter().for_each(|key| here.shelf.put(&mut here.tree, key, None));
    let mut exchange = Exchange::new(KeyRange::ALL, Limits::default());
    let (mut found, mut writes) = (Vec::new(), 0..100);
    while let Some(questions) = exchange.ask(&here.tree, &here.shelf).unwrap() {
        let written = Digest(writes.next().expect("it comes to an end"));
        there.shelf.put(&mut there.tree, &key(12), Some(written));
        let answers = respond(&there.tree, &there.shelf, &questions, &Limits::default()).unwrap();
        exchange.step(answers, &here.tree, &here.shelf, &mut found).unwrap();
    }
    let found: BTreeSet<Key> = found.into_iter().map(|difference| difference.key).collect();
    assert!(found.is_superset(&lost), "found {found:?}");
    assert_eq!(exchange.outcome().unsettled, 1);
}
