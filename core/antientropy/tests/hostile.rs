//! Questions and answers that nobody would give.

mod shelf;

use std::cell::Cell;
use std::convert::Infallible;

use antientropy::{
    Answer, Answers, Ask, Digest, Exchange, Items, KeyRange, Limits, Listing, Parts, Questions,
    Refused, Stopped, Tree, Width, Within, respond,
};
use proptest::prelude::*;
use shelf::{Shelf, salt};

type Key = Vec<u8>;

/// Counts what is read.
struct Counting(Shelf, Cell<usize>);

impl Items<Key> for Counting {
    type Error = Infallible;

    fn read(&self, range: &KeyRange<Key>, max: usize) -> Result<Vec<(Key, Digest)>, Infallible> {
        let items = self.0.read(range, max)?;
        self.1.set(self.1.get() + items.len());
        Ok(items)
    }
}

fn replica() -> (Tree<Key>, Counting) {
    let (mut tree, mut shelf) = (Tree::new(salt()), Shelf::default());
    (0..3_000).for_each(|number| shelf.put(&mut tree, &key(number), Some(Digest(1))));
    tree.cut(&shelf, usize::MAX).unwrap();
    (tree, Counting(shelf, Cell::new(0)))
}

fn range(from: u8, to: u8) -> KeyRange<Key> {
    KeyRange { from: Some(vec![from]), to: Some(vec![to]) }
}

fn parts(sums: usize) -> Ask {
    Ask::Compare(Parts { level: 0, cuts: 0, sums: vec![1; sums] })
}

#[test]
fn malformed_questions_are_refused_and_nothing_is_read() {
    let (tree, shelf) = replica();
    let list = Ask::List(Width::Short, None);
    let unordered = vec![(range(5, 6), list.clone()), (range(3, 4), list.clone())];
    let overlapping = vec![(range(1, 6), list.clone()), (range(5, 9), list.clone())];
    let twice = vec![(KeyRange::ALL, list.clone()), (KeyRange::ALL, list.clone())];
    let open = vec![(KeyRange { from: None, to: None }, list.clone()), (range(5, 9), list.clone())];
    let empty = vec![(range(5, 5), list.clone())];
    let backwards = vec![(range(6, 5), list.clone())];
    let many = (0..200).map(|at| (range(at, at + 1), list.clone())).collect();
    let nothing = vec![(KeyRange::ALL, parts(0))];
    let unnamed = vec![(KeyRange::ALL, Ask::Name(Width::Short, Vec::new()))];
    let huge = vec![(KeyRange::ALL, parts(257))];
    let names = vec![(KeyRange::ALL, Ask::Name(Width::Long, vec![0; 1_025]))];
    let all = [
        vec![],
        unordered,
        overlapping,
        twice,
        open,
        empty,
        backwards,
        many,
        nothing,
        unnamed,
        huge,
        names,
    ];
    let limits = Limits { ranges_max: 100, ..Limits::default() };
    for asks in all {
        let questions = Questions { salt: salt().tag(), round: 1, hears_lacked: true, asks };
        let refused = respond(&tree, &shelf, &questions, &limits);
        assert!(matches!(refused, Err(Refused::Malformed(_))), "{questions:?}: {refused:?}");
    }
    assert_eq!(shelf.1.get(), 0);
}

#[test]
fn one_message_causes_no_more_work_than_it_may() {
    let (tree, shelf) = replica();
    let asks = (0..250).map(|at| (range(at, at + 1), Ask::List(Width::Long, None))).collect();
    let questions = Questions { salt: salt().tag(), round: 1, hears_lacked: true, asks };
    let limits = Limits { items_max: 200, ..Limits::default() };
    let answers = respond(&tree, &shelf, &questions, &limits).unwrap();
    assert!((200..230).contains(&shelf.1.get()), "{} objects were read", shelf.1.get());
    assert!((1..30).contains(&answers.answers.len()));
    let limits = Limits { bytes_max: 500, ..Limits::default() };
    let answers = respond(&tree, &shelf, &questions, &limits).unwrap();
    assert!((500..700).contains(&answers.bytes(&questions)));
}

#[test]
fn malformed_answers_end_the_exchange() {
    let (tree, shelf) = replica();
    let sums = |count: usize| Parts { level: 0, cuts: 0, sums: vec![1; count] };
    let listing = |to, count| Listing { to, sum: 0, fingerprints: vec![0; count] };
    let leaf = |at, listing| Answer::Compared(vec![(at, Within::Leaf(listing))]);
    let lacked = |key| Within::Lacked { sum: 0, key, digest: Digest(1) };
    let cut = |at: &[u8], count| Answer::Cut {
        level: 1,
        at: at.iter().map(|byte| vec![*byte]).collect(),
        sums: vec![1; count],
    };
    let one = [
        leaf(256, listing(None, 1)),
        leaf(0, listing(None, 1_025)),
        leaf(0, listing(Some(vec![255, 255, 255]), 1)),
        Answer::Compared(vec![(0, Within::Parts(sums(1)))]),
        Answer::Compared(vec![(1, Within::Parts(sums(3))), (0, Within::Parts(sums(3)))]),
        Answer::Compared(vec![(1, Within::Parts(sums(3))), (1, Within::Parts(sums(3)))]),
        cut(&[5, 3], 3),
        cut(&[3, 3], 3),
        cut(&[3], 3),
        Answer::Named { sum: 0, items: Vec::new() },
        Answer::Listed(listing(None, 1)),
        Answer::Compared(vec![(0, lacked(vec![255, 255, 255]))]),
    ];
    let mut all: Vec<Answers<Key>> =
        one.map(|answer| Answers { round: 1, answers: vec![answer] }).into();
    all.push(Answers { round: 1, answers: Vec::new() });
    all.push(Answers { round: 1, answers: vec![cut(&[3], 2), cut(&[3], 2)] });
    for answers in all {
        let mut exchange = Exchange::new(KeyRange::ALL, Limits::default());
        exchange.ask(&tree, &shelf).unwrap();
        let said = format!("{answers:?}");
        let stopped = exchange.step(answers, &tree, &shelf, &mut Vec::new());
        assert!(matches!(stopped, Err(Stopped::Malformed(_))), "{said}: {stopped:?}");
    }
}

#[test]
fn names_outside_of_what_was_asked_end_the_exchange() {
    let (mut tree, mut shelf) = replica();
    let (other_tree, other) = replica();
    shelf.0.put(&mut tree, &key(1), None);
    let mut exchange = Exchange::new(KeyRange::ALL, Limits::default());
    loop {
        let questions = exchange.ask(&tree, &shelf).unwrap().unwrap();
        let mut answers = respond(&other_tree, &other, &questions, &Limits::default()).unwrap();
        let Some(Answer::Named { items, .. }) = answers.answers.first_mut() else {
            exchange.step(answers, &tree, &shelf, &mut Vec::new()).unwrap();
            continue;
        };
        items.push((vec![255, 255, 255], Digest(1)));
        let stopped = exchange.step(answers, &tree, &shelf, &mut Vec::new());
        assert!(matches!(stopped, Err(Stopped::Malformed(_))), "{stopped:?}");
        return;
    }
}

fn any_ask() -> impl Strategy<Value = Ask> {
    let width = prop_oneof![Just(Width::Short), Just(Width::Long)];
    prop_oneof![
        (any::<u8>(), any::<u64>(), prop::collection::vec(any::<u64>(), 0..300))
            .prop_map(|(level, cuts, sums)| Ask::Compare(Parts { level, cuts, sums })),
        (width.clone(), any::<Option<u64>>()).prop_map(|(w, sum)| Ask::List(w, sum)),
        (width, prop::collection::vec(0..70_000u64, 0..300)).prop_map(|(w, f)| Ask::Name(w, f)),
    ]
}

proptest! {
    #[test]
    fn any_questions_are_answered_or_refused(
        asks in prop::collection::vec((any::<(Option<u8>, Option<u8>)>(), any_ask()), 0..4),
    ) {
        let (tree, shelf) = replica();
        let one = |end: Option<u8>| end.map(|byte| vec![byte]);
        let asks = asks.into_iter().map(|((from, to), ask)| (KeyRange { from: one(from), to: one(to) }, ask)).collect();
        let questions = Questions { salt: salt().tag(), round: 1, hears_lacked: true, asks };
        match respond(&tree, &shelf, &questions, &Limits::default()) {
            Ok(answers) => prop_assert_eq!(answers.answers.len(), questions.asks.len()),
            Err(refused) => {
                prop_assert!(matches!(refused, Refused::Malformed(_)));
                prop_assert_eq!(shelf.1.get(), 0);
            }
        }
    }
}

/// Keys whose order is not that of their numbers.
fn key(number: u16) -> Vec<u8> {
    number.wrapping_mul(40_503).to_be_bytes().to_vec()
}
