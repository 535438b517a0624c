//! Clocks and sums whose records lag behind: what they lack is found in the log.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may stop anywhere")]

mod common;

use std::fs;
use std::path::Path;

use catalog::{Acceptor, Catalog, Disks};
use causality::{Dot, DotSet, Incarnation, Run};
use codec::record::{Kind, seal_line};
use codec::{clock, log, sum as sums};
use common::*;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use model::Durability;
use node::Disk as _;
use replica::{Change, Store as _, Sum};
use storage::{Options, Recovered, Restoring, Retired, Storage};
use tempfile::tempdir;
use xxhash_rust::xxh3::xxh3_64;

const B: Incarnation = Incarnation::new(0xb);

fn runs(incarnation: Incarnation, runs: &[(u64, u64)]) -> Vec<Run> {
    runs.iter().map(|(first, last)| Run { incarnation, first: *first, last: *last }).collect()
}

/// A change that brings dots of `incarnation`, of which the clock then has these.
fn brings(
    incarnation: Incarnation,
    news: &[(u64, u64)],
    clock: &[(u64, u64)],
    total: u64,
) -> Change {
    Change {
        clock: vec![(incarnation, runs(incarnation, clock))],
        news: DotSet::from_runs(runs(incarnation, news)).unwrap(),
        sum: Some(Sum { tag: 7, total }),
        ..change("milk", 1, object(1, "a"))
    }
}

fn clock_of(recovered: &Recovered, incarnation: Incarnation) -> Vec<(u64, u64)> {
    let runs = recovered.clocks[&SHARD].runs_of(incarnation);
    runs.iter().map(|run| (run.first, run.last)).collect()
}

fn told(recovered: &Recovered) -> Option<(u64, u64)> {
    recovered.sums.get(&SHARD).map(|sum| (sum.tag, sum.total))
}

/// What a crash leaves of these groups of changes.
fn after_crash(groups: Vec<Vec<Change>>) -> Recovered {
    let dir = tempdir().unwrap();
    let (mut storage, _) = open(dir.path());
    for group in groups {
        group.into_iter().for_each(|change| storage.commit(change));
        flush(&mut storage, Durability::Synced).unwrap();
    }
    drop(storage);
    let (storage, recovered) = open(dir.path());
    // Nor has the start, which writes what was late, said less or more.
    drop(storage);
    let (_, again) = open(dir.path());
    assert_eq!(recovered, again);
    recovered
}

/// A keyspace of a directory that nobody serves.
fn within<T>(dir: &Path, keyspace: &str, act: impl FnOnce(&Database, Keyspace) -> T) -> T {
    let db = Database::builder(dir.join("db")).open().unwrap();
    let keyspace = db.keyspace(keyspace, KeyspaceCreateOptions::default).unwrap();
    let acted = act(&db, keyspace);
    db.persist(PersistMode::SyncAll).unwrap();
    acted
}

/// The last dot of `A` in its record.
fn recorded(dir: &Path) -> u64 {
    within(dir, "clocks", |_, clocks| {
        let key = clock::clock_key(SHARD, A);
        let value = clocks.get(&key).unwrap().unwrap().to_vec().into();
        let body = codec::record::open(Kind::Clock, &key, &value).unwrap();
        clock::decode(A, &body).unwrap().runs().last().unwrap().last
    })
}

#[test]
fn clocks_and_sums_are_those_of_the_last_write_wherever_their_records_are() {
    for writes in [1, 2, 255, 256, 257, 258, 600] {
        for per_group in [1, 7] {
            let dir = tempdir().unwrap();
            let (mut storage, _) = open(dir.path());
            for seq in 1..=writes {
                put(&mut storage, "milk", seq);
                if seq % per_group == 0 || seq == writes {
                    flush(&mut storage, Durability::Synced).unwrap();
                }
            }
            drop(storage);
            assert!(recorded(dir.path()) + 256 >= writes, "a start has to read too much");
            assert!(writes < 3 || recorded(dir.path()) < writes || writes == 256 || writes == 257);
            assert_eq!(last_seq(&open(dir.path()).1), writes, "{per_group} at once");
            assert_eq!(recorded(dir.path()), writes, "the start has written it");
        }
    }
}

#[test]
fn a_process_that_ends_in_good_order_leaves_nothing_to_lines() {
    let dir = tempdir().unwrap();
    let (mut storage, _) = open(dir.path());
    for seq in 1..=20 {
        put(&mut storage, "milk", seq);
    }
    flush(&mut storage, Durability::Synced).unwrap();
    storage.close().unwrap();
    assert_eq!(recorded(dir.path()), 20);
}

#[test]
fn dots_that_fill_a_gap_are_found_above_and_below_what_the_record_reaches() {
    let first = brings(A, &[(1, 2), (10, 10)], &[(1, 2), (10, 10)], 30);
    let above = brings(A, &[(15, 15)], &[(1, 2), (10, 10), (15, 15)], 5);
    let in_between = brings(A, &[(12, 13)], &[(1, 2), (10, 10), (12, 13), (15, 15)], 50);
    let below = brings(A, &[(5, 6)], &[(1, 2), (5, 6), (10, 10), (12, 13), (15, 15)], 51);
    let then = brings(A, &[(11, 11)], &[(1, 2), (5, 6), (10, 13), (15, 15)], 49);
    let all = [first, above, in_between, below, then];
    for count in 1..=all.len() {
        let recovered = after_crash(all[..count].iter().map(|it| vec![it.clone()]).collect());
        let last = &all[count - 1];
        assert_eq!(recovered.clocks[&SHARD].runs_of(A), last.clock[0].1, "after {count}");
        assert_eq!(recovered.sums.get(&SHARD).copied(), last.sum, "after {count}");
        assert_eq!(recovered, after_crash(vec![all[..count].to_vec()]), "in one group");
    }
}

#[test]
fn the_first_dots_that_an_incarnation_brings_in_a_life_may_fill_a_gap_of_the_life_before() {
    let dir = tempdir().unwrap();
    for (news, clock) in [((8, 8), vec![(8, 8)]), ((3, 4), vec![(3, 4), (8, 8)])] {
        let (mut storage, _) = open(dir.path());
        storage.commit(Change { sum: None, ..brings(A, &[news], &clock, 0) });
        flush(&mut storage, Durability::Synced).unwrap();
    }
    assert_eq!(clock_of(&open(dir.path()).1, A), [(3, 4), (8, 8)]);
}

#[test]
fn what_one_incarnation_brings_is_not_counted_twice_when_another_fills_a_gap() {
    let recovered = after_crash(vec![
        vec![
            brings(A, &[(1, 1)], &[(1, 1)], 10),
            brings(B, &[(1, 1), (9, 9)], &[(1, 1), (9, 9)], 20),
        ],
        vec![brings(A, &[(2, 4)], &[(1, 4)], 7)],
        // All records of the shard are written with this.
        vec![brings(B, &[(3, 3)], &[(1, 1), (3, 3), (9, 9)], 100)],
        vec![brings(A, &[(5, 5)], &[(1, 5)], 90)],
    ]);
    assert_eq!(told(&recovered), Some((7, 90)));
    assert_eq!(clock_of(&recovered, A), [(1, 5)]);
    assert_eq!(clock_of(&recovered, B), [(1, 1), (3, 3), (9, 9)]);
}

#[test]
fn what_comes_without_dots_or_without_a_sum_or_under_another_secret_is_kept() {
    let with_sum = |sum| move |change: Change| Change { sum, ..change };
    let first = || brings(A, &[(1, 1)], &[(1, 1)], 10);
    let next = || brings(A, &[(2, 2)], &[(1, 2)], 14);
    let unheard = with_sum(None)(next());
    assert_eq!(told(&after_crash(vec![vec![first()], vec![unheard.clone()]])), Some((7, 10)));
    let then = brings(A, &[(3, 3)], &[(1, 3)], 15);
    assert_eq!(told(&after_crash(vec![vec![first()], vec![unheard], vec![then]])), Some((7, 15)));
    let other = Sum { tag: 8, total: 3 };
    let changed = with_sum(Some(other))(next());
    assert_eq!(told(&after_crash(vec![vec![first()], vec![changed]])), Some((8, 3)));
    let no_dots = Change { clock: Vec::new(), news: DotSet::new(), ..next() };
    let recovered = after_crash(vec![vec![first()], vec![no_dots]]);
    assert_eq!((told(&recovered), clock_of(&recovered, A)), (Some((7, 14)), vec![(1, 1)]));
    let nobody_counts = with_sum(None);
    let unsummed = after_crash(vec![vec![nobody_counts(first())], vec![nobody_counts(next())]]);
    assert_eq!((told(&unsummed), clock_of(&unsummed, A)), (None, vec![(1, 2)]));
}

#[test]
fn lines_that_are_dropped_take_nothing_of_the_clock_with_them() {
    let dir = tempdir().unwrap();
    let (mut storage, _) = open(dir.path());
    for seq in 1..=20 {
        put(&mut storage, "milk", seq);
        flush(&mut storage, Durability::Synced).unwrap();
    }
    let line = |seq| Run { incarnation: A, first: seq, last: seq };
    storage.forget(SHARD, &(1..=18).map(line).collect::<Vec<_>>());
    assert!(18 * 16 < storage.staged_bytes(), "what is dropped takes memory too");
    flush(&mut storage, Durability::Synced).unwrap();
    put(&mut storage, "milk", 21);
    storage.forget(SHARD, &[line(21)]);
    flush(&mut storage, Durability::Synced).unwrap();
    drop(storage);
    let (storage, recovered) = open(dir.path());
    assert_eq!(last_seq(&recovered), 21);
    let lines = storage.log(SHARD, up_to(100), 9).unwrap();
    assert_eq!(lines.iter().map(|entry| entry.run.last).collect::<Vec<_>>(), [19, 20]);
}

/// A disk that its node serves with, of which the last record of the clock lacks some of 40 writes.
fn with_tail(dir: &Path) -> Storage {
    let (mut storage, _) = open(dir);
    let disks = Disks { enrolled: Some(storage.disk()), ..Disks::default() };
    let learned = Catalog { version: 9, disks: [(NODE, disks)].into(), ..Catalog::default() };
    storage.keep_acceptor(&Acceptor { learned, ..Acceptor::default() });
    for seq in 1..=40 {
        put(&mut storage, "milk", seq);
        flush(&mut storage, Durability::Synced).unwrap();
    }
    storage
}

#[test]
fn a_directory_that_is_retired_has_its_tail() {
    let (dir, scratch) = (tempdir().unwrap(), tempdir().unwrap());
    drop(with_tail(dir.path()));
    assert!(recorded(dir.path()) < 40);
    let retired = Retired::open(dir.path(), scratch.path()).unwrap();
    let (clocks, not_read) = retired.clocks();
    assert_eq!((clocks[&SHARD].runs(), not_read.len()), (&[up_to(40)][..], 0));
}

#[test]
fn a_damaged_line_of_the_tail_is_refused_and_is_named_where_the_rest_is_salvaged() {
    let damage = |seq: u64| {
        let dir = tempdir().unwrap();
        drop(with_tail(dir.path()));
        let key = log::log_key(SHARD, Dot::new(A, seq));
        within(dir.path(), "log", |_, lines| {
            let mut line = lines.get(&key).unwrap().unwrap().to_vec();
            *line.last_mut().unwrap() ^= 1;
            lines.insert(key, line).unwrap();
        });
        dir
    };
    let dir = damage(40);
    let refusal = refusal(dir.path());
    assert!(refusal.contains("is damaged") && refusal.contains("checksum"), "{refusal}");
    let scratch = tempdir().unwrap();
    let (clocks, not_read) = Retired::open(dir.path(), scratch.path()).unwrap().clocks();
    assert_eq!((clocks[&SHARD].runs(), not_read.len()), (&[up_to(39)][..], 1));
    // The clock does not need this one; whoever asks for it is told.
    let dir = damage(1);
    let (storage, recovered) = open(dir.path());
    assert_eq!(last_seq(&recovered), 40);
    storage.log(SHARD, up_to(1), 1).unwrap_err();
}

#[test]
fn a_checkpoint_has_what_the_records_lack() {
    let (dir, copy) = (tempdir().unwrap(), tempdir().unwrap());
    let mut storage = with_tail(dir.path());
    let checkpoint = storage.checkpoints().take().unwrap();
    put(&mut storage, "milk", 41);
    flush(&mut storage, Durability::Synced).unwrap();
    let catalog = checkpoint.origin().catalog.clone();
    let mut restoring =
        Restoring::begin(&Options::new(copy.path(), CLUSTER, NODE, LAYOUT)).unwrap();
    for record in checkpoint.records() {
        restoring.add(record.unwrap()).unwrap();
    }
    restoring.finish(&catalog).unwrap();
    assert_eq!(last_seq(&open(copy.path()).1), 40);
}

#[test]
fn a_directory_of_the_first_format_is_read_and_is_of_the_second_from_then_on() {
    let dir = tempdir().unwrap();
    let (mut storage, _) = open(dir.path());
    put(&mut storage, "milk", 1);
    storage.close().unwrap();
    let path = dir.path().join("FORMAT");
    let now = fs::read_to_string(&path).unwrap();
    let (body, _) = now.split_once("check ").unwrap();
    let body = body.replace("format 2", "format 1");
    fs::write(&path, format!("{body}check {:016x}\n", xxh3_64(body.as_bytes()))).unwrap();
    // A line of then, above what the record reaches, would add to the clock and not to the sum.
    let key = log::log_key(SHARD, Dot::new(A, 2));
    let line = seal_line(&key, 0, |out| {
        log::encode(&Run { first: 2, ..up_to(2) }, &address("milk", ""), out)
    });
    within(dir.path(), "log", |_, lines| lines.insert(key, line).unwrap());
    let (_, recovered) = open(dir.path());
    assert_eq!(clock_of(&recovered, A), [(1, 2)]);
    assert_eq!(recovered.sums[&SHARD], sum(1));
    assert_eq!(fs::read_to_string(&path).unwrap(), now);
}

#[test]
fn a_line_that_adds_to_a_sum_of_which_there_is_no_record_adds_nothing() {
    let dir = tempdir().unwrap();
    drop(with_tail(dir.path()));
    within(dir.path(), "clocks", |_, clocks| clocks.remove(sums::sum_key(SHARD)).unwrap());
    let (_, recovered) = open(dir.path());
    assert_eq!((told(&recovered), clock_of(&recovered, A)), (None, vec![(1, 40)]));
}
