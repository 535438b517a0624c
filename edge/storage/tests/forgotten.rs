//! Tombstones that are dropped, and what a disk keeps in their place.
#![expect(clippy::unwrap_used, reason = "a test may stop anywhere")]

mod common;

use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;

use causality::{DotSet, Run};
use codec::record::{Kind, seal};
use codec::{clock, forgotten};
use common::*;
use fjall::{KeyspaceCreateOptions, PersistMode};
use model::Durability;
use replica::{CHUNK_DOTS, PageNeed, Span, Store as _};
use storage::{Options, Recovered, Storage};
use tempfile::tempdir;
use xxhash_rust::xxh3::xxh3_64_with_seed;

fn dots(first: u64, last: u64) -> DotSet {
    DotSet::from_runs(vec![Run { first, ..up_to(last) }]).unwrap()
}

fn keys(storage: &Storage) -> String {
    let page = storage.scan(SHARD, TABLE, &WHOLE, ALL).unwrap();
    assert!(page.unreadable.is_empty() && !page.more);
    let text = |key: &model::Key| String::from_utf8(key.partition().to_vec()).unwrap();
    page.objects.iter().map(|(key, _)| text(key)).collect()
}

/// Four tombstones, flushed.
fn with_tombstones(dir: &Path) -> Storage {
    let (mut storage, _) = open(dir);
    for (seq, partition) in (1..).zip(["a", "b", "c", "d"]) {
        storage.commit(change(partition, seq, tombstone(seq)));
    }
    flush(&mut storage, Durability::Synced).unwrap();
    storage
}

#[test]
fn what_was_dropped_is_absent_staged_in_flight_stored_and_after_a_crash() {
    let dir = tempdir().unwrap();
    let mut storage = with_tombstones(dir.path());
    let is_gone = |storage: &Storage| {
        assert_eq!((read(storage, "b"), read(storage, "d")), (None, None));
        assert_eq!((read(storage, "c"), keys(storage)), (Some(tombstone(3)), "ac".to_owned()));
    };
    storage.reap(reaping(&["b", "d"], 1, 4));
    assert_eq!(storage.staged(), 1);
    is_gone(&storage);
    let (tell, told) = channel();
    storage.flush(Durability::Synced, Box::new(move |result| tell.send(result).unwrap()));
    is_gone(&storage);
    told.recv().unwrap().unwrap();
    is_gone(&storage);
    storage.flushed();
    is_gone(&storage);
    drop(storage);
    let (storage, recovered) = open(dir.path());
    is_gone(&storage);
    assert_eq!(recovered.forgotten, [(SHARD, dots(1, 4))].into());
    assert_eq!(last_seq(&recovered), 4);
}

#[test]
fn what_was_dropped_and_never_flushed_is_there_after_a_crash_and_nothing_is_forgotten() {
    let dir = tempdir().unwrap();
    let mut storage = with_tombstones(dir.path());
    storage.reap(reaping(&["a", "b", "c", "d"], 1, 9));
    drop(storage);
    let (storage, recovered) = open(dir.path());
    assert_eq!(keys(&storage), "abcd");
    assert_eq!((recovered.forgotten.len(), last_seq(&recovered)), (0, 4));
}

#[test]
fn a_write_after_the_drop_puts_the_object_back_and_a_drop_takes_the_one_in_flight_away() {
    let dir = tempdir().unwrap();
    let mut storage = with_tombstones(dir.path());
    let (tell, told) = channel();
    storage.reap(reaping(&["a", "b"], 1, 2));
    put(&mut storage, "b", 5);
    put(&mut storage, "e", 6);
    assert_eq!((keys(&storage), read(&storage, "b")), ("bcde".into(), Some(object(5, "5"))));
    storage.flush(Durability::Synced, Box::new(move |result| tell.send(result).unwrap()));
    // Under what is staged lies the group in flight, and under that the database.
    put(&mut storage, "a", 7);
    storage.reap(reaping(&["c", "e"], 1, 7));
    let after = |storage: &Storage| {
        assert_eq!((keys(storage), read(storage, "e")), ("abd".into(), None));
        assert_eq!(read(storage, "a"), Some(object(7, "7")));
    };
    after(&storage);
    told.recv().unwrap().unwrap();
    storage.flushed();
    after(&storage);
    flush(&mut storage, Durability::Buffered).unwrap();
    after(&storage);
    drop(storage);
    after(&open(dir.path()).0);
}

#[test]
fn a_page_neither_counts_what_was_dropped_nor_says_that_there_is_more_of_it() {
    let dir = tempdir().unwrap();
    let mut storage = with_tombstones(dir.path());
    storage.reap(reaping(&["a", "c", "d"], 1, 4));
    let page = |after: Option<&str>| {
        let span = Span { partition: None, after: after.map(|after| key(after, "")) };
        let need = PageNeed { objects_max: 1, bytes_max: usize::MAX };
        let page = storage.scan(SHARD, TABLE, &span, need).unwrap();
        (page.objects.iter().map(|(key, _)| key.partition().clone()).collect::<Vec<_>>(), page.more)
    };
    assert_eq!(page(None), (vec!["b".into()], false));
    assert_eq!(page(Some("b")), (vec![], false));
}

#[test]
fn a_chunk_takes_the_place_of_the_one_before_and_chunks_join_into_what_was_cut() {
    let dir = tempdir().unwrap();
    let (mut storage, _) = open(dir.path());
    storage.reap(reaping(&[], 2, 3));
    flush(&mut storage, Durability::Synced).unwrap();
    // The first chunk once more, with a dot less: nothing of the one before shows.
    storage.reap(reaping(&[], 3, CHUNK_DOTS - 1));
    storage.reap(reaping(&[], CHUNK_DOTS, 3 * CHUNK_DOTS));
    flush(&mut storage, Durability::Synced).unwrap();
    drop(storage);
    let (_, recovered) = open(dir.path());
    assert_eq!(recovered.forgotten, [(SHARD, dots(3, 3 * CHUNK_DOTS))].into());
}

/// Files of the objects' keyspace, once those that write them have come to rest.
fn bytes_at_rest(dir: &Path, is_enough: impl Fn(u64) -> bool) -> u64 {
    let tables = dir.join("db/keyspaces/1/tables");
    let bytes = || -> u64 {
        let files = std::fs::read_dir(&tables).unwrap();
        files.map(|file| file.and_then(|file| file.metadata()).map_or(0, |meta| meta.len())).sum()
    };
    for _ in 0..500 {
        if is_enough(bytes()) {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    bytes()
}

fn incompressible(seq: u64) -> Vec<u8> {
    let part = |part: u64| xxh3_64_with_seed(&seq.to_le_bytes(), part).to_le_bytes();
    (0..250).flat_map(part).collect()
}

#[test]
fn what_was_dropped_stays_dropped_when_files_are_compacted_and_leaves_no_bytes() {
    const KEYS: u64 = 300;
    let dir = tempdir().unwrap();
    let options = Options::new(dir.path(), CLUSTER, NODE, LAYOUT);
    let options = Options { write_buffer_bytes: 64 << 10, ..options };
    let names: Vec<String> = (1..=KEYS).map(|seq| seq.to_string()).collect();
    let (mut storage, _) = Storage::open(&options).unwrap();
    for (seq, name) in (1..).zip(&names) {
        storage.commit(change(name, seq, object(seq, incompressible(seq))));
        flush(&mut storage, Durability::Buffered).unwrap();
    }
    storage.close().unwrap();
    let before = bytes_at_rest(dir.path(), |bytes| 400_000 < bytes);
    assert!(400_000 < before, "{before} bytes of values");

    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (mut storage, _) = Storage::open(&options).unwrap();
    for some in names.chunks(100) {
        storage.reap(reaping(some, 1, KEYS));
        flush(&mut storage, Durability::Synced).unwrap();
    }
    assert_eq!(keys(&storage), "");
    storage.close().unwrap();
    // A file on top of those that hold the values. Some more, and all are made one.
    let (mut storage, _) = Storage::open(&options).unwrap();
    for seq in KEYS + 1..=KEYS + 8 {
        put(&mut storage, "last", seq);
        storage.close().unwrap();
        storage = Storage::open(&options).unwrap().0;
    }
    let after = bytes_at_rest(dir.path(), |bytes| bytes < 20_000);
    assert!(after < 20_000, "{after} of {before} bytes are left");
    drop(storage);
    let (storage, recovered) = open(dir.path());
    assert!(names.iter().all(|name| read(&storage, name).is_none()));
    assert_eq!(keys(&storage), "last");
    assert_eq!(recovered.forgotten, [(SHARD, dots(1, KEYS))].into());
}

/// Puts a record among the clocks, past everybody.
fn plant(dir: &Path, key: &[u8], record: &[u8]) {
    let db = fjall::Database::builder(dir.join("db")).open().unwrap();
    let clocks = db.keyspace("clocks", KeyspaceCreateOptions::default).unwrap();
    clocks.insert(key, record).unwrap();
    db.persist(PersistMode::SyncAll).unwrap();
}

fn chunk(number: u64, first: u64, last: u64) -> (Vec<u8>, Vec<u8>) {
    let key = forgotten::chunk_key(SHARD, A, number);
    let runs = [Run { first, ..up_to(last) }];
    let record = seal(Kind::Forgotten, &key, |out| forgotten::encode(&runs, out));
    (key, record)
}

#[test]
fn a_damaged_chunk_is_noticed_when_the_directory_is_opened() {
    let planted = |key: &[u8], record: &[u8]| {
        let dir = tempdir().unwrap();
        let mut storage = with_tombstones(dir.path());
        storage.reap(reaping(&["a"], 1, 1));
        storage.close().unwrap();
        plant(dir.path(), key, record);
        try_open(dir.path()).map(|(_, recovered)| recovered.forgotten)
    };
    let (key, whole) = chunk(0, 1, 3);
    assert_eq!(planted(&key, &whole).unwrap(), [(SHARD, dots(1, 3))].into());
    let refused = |key: &[u8], record: &[u8]| match planted(key, record) {
        Ok(found) => panic!("{record:?} was read as {found:?}"),
        Err(error) => error.to_string(),
    };
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        let why = refused(&key, &flipped);
        assert!(why.contains("is damaged") && why.contains("checksum"), "{why}");
    }
    let (elsewhere, _) = chunk(1, 4_096, 4_096);
    assert!(refused(&elsewhere, &whole).contains("checksum"));
    let (key, foreign) = chunk(1, 1, 3);
    assert!(refused(&key, &foreign).contains("a dot of another chunk"));
    let clock = seal(Kind::Clock, &key, |out| clock::encode(&[up_to(3)], out));
    assert!(refused(&key, &clock).contains("another kind"));
}

#[test]
fn a_directory_without_chunks_has_forgotten_nothing() {
    let dir = tempdir().unwrap();
    drop(with_tombstones(dir.path()));
    assert_eq!(open(dir.path()).1.forgotten, Recovered::default().forgotten);
}

#[test]
fn a_clock_that_is_missing_beside_its_chunks_has_their_dots() {
    let dir = tempdir().unwrap();
    drop(open(dir.path()));
    let (key, record) = chunk(2, 8_192, 9_000);
    plant(dir.path(), &key, &record);
    let (_, recovered) = open(dir.path());
    assert_eq!(recovered.forgotten, [(SHARD, dots(8_192, 9_000))].into());
    assert_eq!(recovered.clocks, recovered.forgotten);
}
