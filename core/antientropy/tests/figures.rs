//! What comparing a million objects costs. `--nocapture` prints the table of
//! `docs/benchmarks.md`; bytes are the same in every run, times are not.

#![expect(clippy::disallowed_methods, reason = "it measures how long things take")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod shelf;

use std::time::{Duration, Instant};

use antientropy::{Digest, Exchange, KeyRange, Limits, Progress, Tree, respond};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use shelf::{Shelf, salt};

const KEYS: u64 = 1_000_000;

#[derive(Clone)]
struct Replica {
    tree: Tree<Vec<u8>>,
    shelf: Shelf,
}

/// What one exchange took.
struct Cost {
    bytes: usize,
    rounds: u64,
    largest: usize,
    time: Duration,
}

fn replica(key: impl Fn(u64) -> Vec<u8>) -> Replica {
    let mut shelf = Shelf::default();
    for number in 0..KEYS {
        shelf.0.insert(key(number), Digest(number));
    }
    let mut tree = Tree::unread(salt());
    while tree.read_on(&shelf, 10_000).unwrap() != Progress::Whole {}
    Replica { tree, shelf }
}

/// A third each of keys that one side changed, removed, or made.
fn differ(here: &mut Replica, there: &mut Replica, count: u64, key: impl Fn(u64) -> Vec<u8>) {
    let mut rng = ChaCha8Rng::seed_from_u64(count);
    let mut touched = std::collections::BTreeSet::new();
    while (touched.len() as u64) < count {
        let kind = rng.random_range(0..3u8);
        let number = rng.random_range(0..KEYS) + if kind == 0 { KEYS } else { 0 };
        if !touched.insert(number) {
            continue;
        }
        let side = if rng.random() { &mut *here } else { &mut *there };
        let digest = (kind != 1).then(|| Digest(rng.next_u64()));
        side.shelf.put(&mut side.tree, &key(number), digest);
    }
    here.tree.cut(&here.shelf, usize::MAX).unwrap();
    there.tree.cut(&there.shelf, usize::MAX).unwrap();
}

fn compare(here: &Replica, there: &Replica, differing: u64) -> Cost {
    let (start, limits) = (Instant::now(), Limits::default());
    // The total, which is all that is sent where nothing differs.
    let mut cost = Cost { bytes: 8, rounds: 0, largest: 8, time: Duration::ZERO };
    let mut found = Vec::new();
    if here.tree.total() != there.tree.total() {
        let mut exchange = Exchange::new(KeyRange::ALL, limits);
        while let Some(questions) = exchange.ask(&here.tree, &here.shelf).unwrap() {
            let answers = respond(&there.tree, &there.shelf, &questions, &limits).unwrap();
            let sent = [questions.bytes(), answers.bytes(&questions)];
            cost.bytes += sent.iter().sum::<usize>();
            cost.largest = cost.largest.max(sent[0]).max(sent[1]);
            exchange.step(answers, &here.tree, &here.shelf, &mut found).unwrap();
        }
        cost.rounds = exchange.outcome().rounds;
        assert_eq!((exchange.outcome().unsettled, exchange.outcome().vanished), (0, 0));
    }
    cost.time = start.elapsed();
    assert_eq!(found.len() as u64, differing);
    for difference in &found {
        assert_eq!(difference.ours, here.shelf.0.get(&difference.key).copied());
        assert_eq!(difference.theirs, there.shelf.0.get(&difference.key).copied());
    }
    cost
}

/// What it takes to read a tree anew and to follow changes.
fn upkeep(base: &Replica) {
    let start = Instant::now();
    let mut tree = Tree::unread(salt());
    while tree.read_on(&base.shelf, 10_000).unwrap() != Progress::Whole {}
    let read = start.elapsed() / u32::try_from(KEYS).unwrap();
    let start = Instant::now();
    for (key, digest) in &base.shelf.0 {
        tree.change(key, Some(*digest), Some(Digest(digest.0 + 1)));
    }
    let changed = start.elapsed() / u32::try_from(KEYS).unwrap();
    println!("reading on, per key: {read:.1?}; a change, in the order of keys: {changed:.1?}\n");
}

fn table(name: &str, key: impl Fn(u64) -> Vec<u8> + Copy, bounds: &[(u64, usize)]) {
    let base = replica(key);
    println!("\n{name}: {} leaves\n", base.tree.leaves());
    upkeep(&base);
    println!("| differing keys | bytes | bytes per key | rounds | largest message | time |");
    println!("| --: | --: | --: | --: | --: | --: |");
    for (count, bytes_max) in bounds {
        let (mut here, mut there) = (base.clone(), base.clone());
        differ(&mut here, &mut there, *count, key);
        let Cost { bytes, rounds, largest, time } = compare(&here, &there, *count);
        let each = bytes / usize::try_from(*count).unwrap().max(1);
        println!("| {count} | {bytes} | {each} | {rounds} | {largest} | {time:.0?} |");
        assert!(each <= *bytes_max, "{each} bytes, not {bytes_max}");
    }
}

#[test]
fn comparing_a_million_objects_costs_some_hundred_bytes_for_each_that_differs() {
    let random = |number: u64| {
        let mut rng = ChaCha8Rng::seed_from_u64(number);
        [rng.next_u64().to_be_bytes(), rng.next_u64().to_be_bytes()].concat()
    };
    let bounds =
        [(0, 8), (1, 1_250), (10, 850), (100, 530), (1_000, 360), (10_000, 190), (100_000, 60)];
    table("random keys of 16 bytes", random, &bounds);
    let counted = |number: u64| format!("customer/{number:012}/profile").into_bytes();
    table("keys as customer/000000123456/profile", counted, &bounds);
}
