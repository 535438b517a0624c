//! Checkpoints of a disk that is written to, and directories that are made of them.
#![expect(clippy::unwrap_used, reason = "a test may stop anywhere")]

mod common;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use catalog::{Acceptor, Ballot, Catalog, Disks};
use common::*;
use model::{ClusterId, Declare, DiskId, Durability, Name};
use node::{Disk as _, Hint, HintPlace};
use replica::Store as _;
use storage::{CheckpointError, Options, Record, RestoreError, Restoring, Section, Storage};
use tempfile::tempdir;

const OTHER: ClusterId = ClusterId::new(8);

/// Makes the disk one that its node serves with.
fn enrol(storage: &mut Storage) {
    let learned = declared(storage.disk());
    storage.keep_acceptor(&Acceptor { learned, ..Acceptor::default() });
    flush(storage, Durability::Synced).unwrap();
}

fn records(storage: &Storage) -> Vec<Record> {
    let checkpoint = storage.checkpoints().take().unwrap();
    checkpoint.records().collect::<Result<_, _>>().unwrap()
}

fn named(name: &str) -> Name {
    Name::new(name).unwrap()
}

/// A catalog with one keyspace, in which the node serves with `disk`.
fn declared(disk: DiskId) -> Catalog {
    let mut catalog = Catalog::default();
    let replicas = [(named("here"), 1)].into();
    catalog
        .declare(&Declare::Keyspace { name: named("ks"), shards: 8, replicas, sloppy: false })
        .unwrap();
    catalog.enrol([(NODE, disk)]);
    catalog
}

#[test]
fn a_checkpoint_has_the_objects_and_the_clock_of_one_moment_while_others_are_written() {
    const WRITES: u64 = 3_000;
    let dir = tempdir().unwrap();
    let options = Options::new(dir.path(), CLUSTER, NODE, LAYOUT);
    let options = Options { write_buffer_bytes: 64 << 10, ..options };
    let (mut storage, _) = Storage::open(&options).unwrap();
    enrol(&mut storage);
    let (checkpoints, is_over) = (storage.checkpoints(), AtomicBool::new(false));
    let lasts = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut lasts = BTreeSet::new();
            while !is_over.load(Ordering::Relaxed) {
                let checkpoint = checkpoints.take().unwrap();
                // What is written from here on must not be seen.
                std::thread::yield_now();
                let copy = tempdir().unwrap();
                let options = Options::new(copy.path(), OTHER, NODE, LAYOUT);
                let mut restoring = Restoring::begin(&options).unwrap();
                checkpoint.records().for_each(|record| restoring.add(record.unwrap()).unwrap());
                restoring.finish(&Catalog::default()).unwrap();
                let (copied, recovered) = Storage::open(&options).unwrap();
                let last = last_seq(&recovered);
                for seq in 1..=WRITES {
                    let held = read(&copied, &seq.to_string()).is_some();
                    assert_eq!(held, seq <= last, "write {seq} of a clock up to {last}");
                }
                lasts.insert(last);
            }
            lasts
        });
        for seq in 1..=WRITES {
            storage.commit(change(&seq.to_string(), seq, object(seq, vec![b'x'; 500])));
            if seq % 3 == 0 {
                let durability =
                    if seq % 30 == 0 { Durability::Synced } else { Durability::Buffered };
                flush(&mut storage, durability).unwrap();
            }
        }
        is_over.store(true, Ordering::Relaxed);
        reader.join().unwrap()
    });
    assert!(1 < lasts.len(), "more than one moment was seen: {lasts:?}");
}

#[test]
fn what_is_made_of_a_checkpoint_holds_the_same_and_is_another_disk_without_votes() {
    let (dir, copy) = (tempdir().unwrap(), tempdir().unwrap());
    let (mut storage, _) = open(dir.path());
    let catalog = declared(storage.disk());
    put(&mut storage, "milk", 1);
    storage.commit(change("rum", 2, tombstone(2)));
    storage.commit(change("gin", 3, tombstone(3)));
    storage.reap(reaping(&["gin"], 3, 3));
    let place = HintPlace { target: model::NodeId::new(9), address: address("tea", "") };
    let hint = Hint { since_millis: 4, object: object(7, "for n9") };
    storage.keep_hint(&place, Some(&hint));
    storage.keep_acceptor(&Acceptor {
        promised: Ballot { round: 4, node: NODE },
        accepted: Ballot { round: 3, node: NODE },
        catalog: catalog.clone(),
        learned: catalog.clone(),
    });
    flush(&mut storage, Durability::Synced).unwrap();

    let options = Options::new(copy.path().join("new"), OTHER, NODE, LAYOUT);
    let mut restoring = Restoring::begin(&options).unwrap();
    let kept = records(&storage);
    let sections: Vec<Section> = kept.iter().map(|record| record.section).collect();
    // Before the clock lies the sum of the shard, and behind it what is forgotten of it.
    let (objects, clocks) = ([Section::Objects; 2], [Section::Clocks; 3]);
    assert_eq!(sections, [&objects[..], &clocks, &[Section::Hints]].concat());
    kept.into_iter().for_each(|record| restoring.add(record).unwrap());
    let disk = restoring.finish(&catalog).unwrap();

    let (copied, recovered) = Storage::open(&options).unwrap();
    assert_eq!(
        (read(&copied, "milk"), read(&copied, "rum"), read(&copied, "gin")),
        (Some(object(1, "1")), Some(tombstone(2)), None)
    );
    assert_eq!(last_seq(&recovered), 3);
    let forgotten = recovered.forgotten[&SHARD].runs();
    assert_eq!(forgotten, [causality::Run { first: 3, ..up_to(3) }]);
    assert_eq!(recovered.hints.len(), 1);
    assert!(disk != storage.disk() && disk == copied.disk());
    let votes = (recovered.acceptor.promised, recovered.acceptor.accepted);
    assert_eq!(votes, (Ballot::NONE, Ballot::NONE));
    let retired = Disks { retired: [storage.disk()].into(), ..Disks::default() };
    let bare = Catalog { disks: [(NODE, retired)].into(), ..catalog };
    assert_eq!((recovered.acceptor.learned, recovered.acceptor.catalog), (bare.clone(), bare));
}

#[test]
fn a_directory_with_anything_in_it_is_left_alone() {
    let dir = tempdir().unwrap();
    std::fs::write(dir.path().join("note"), "mine").unwrap();
    let refused = Restoring::begin(&Options::new(dir.path(), OTHER, NODE, LAYOUT));
    assert!(matches!(refused, Err(RestoreError::NotEmpty(_))));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn what_was_not_finished_is_served_by_nobody() {
    let (dir, copy) = (tempdir().unwrap(), tempdir().unwrap());
    let (mut storage, _) = open(dir.path());
    enrol(&mut storage);
    put(&mut storage, "milk", 1);
    flush(&mut storage, Durability::Synced).unwrap();
    let options = Options::new(copy.path(), OTHER, NODE, LAYOUT);
    let mut restoring = Restoring::begin(&options).unwrap();
    records(&storage).into_iter().for_each(|record| restoring.add(record).unwrap());
    drop(restoring);
    // As an empty one it would be taken for all that there was.
    let refused = Storage::open(&options).err().map(|error| error.to_string());
    assert!(refused.as_ref().is_some_and(|why| why.contains("restore again")), "{refused:?}");
}

#[test]
fn every_flipped_byte_of_a_record_is_found() {
    let dir = tempdir().unwrap();
    let (mut storage, _) = open(dir.path());
    enrol(&mut storage);
    put(&mut storage, "milk", 1);
    storage.reap(reaping(&["rum"], 2, 2));
    flush(&mut storage, Durability::Synced).unwrap();
    for record in records(&storage) {
        record.check().unwrap();
        for at in 0..record.value.len() {
            let mut value = record.value.to_vec();
            value[at] ^= 4;
            let flipped = Record { value: value.into(), ..record.clone() };
            assert!(flipped.check().is_err(), "{:?} at {at}", record.section);
        }
    }
}

#[test]
fn a_disk_that_is_not_whole_or_was_replaced_is_not_backed_up() {
    let dir = tempdir().unwrap();
    let (mut storage, _) = open(dir.path());
    let (other, mine) = (DiskId::new(5), storage.disk());
    let mut refused = |declare: &dyn Fn(&mut Catalog)| {
        let mut learned = declared(other);
        declare(&mut learned);
        storage.keep_acceptor(&Acceptor { learned, ..Acceptor::default() });
        flush(&mut storage, Durability::Synced).unwrap();
        storage.checkpoints().take().map(drop)
    };
    assert_eq!(refused(&|_| {}), Err(CheckpointError::NotWhole(NODE)));
    let retired = |catalog: &mut Catalog| {
        catalog.disks.entry(NODE).or_default().retired.insert(mine);
    };
    assert_eq!(refused(&retired), Err(CheckpointError::Retired(NODE)));
    let enrolled = |catalog: &mut Catalog| {
        catalog.disks.entry(NODE).or_default().enrolled = Some(mine);
    };
    assert_eq!(refused(&enrolled), Ok(()));
}
