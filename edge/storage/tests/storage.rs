//! What a driver relies on.
#![expect(clippy::unwrap_used, reason = "a test may stop anywhere")]

mod common;

use std::fs;
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::Duration;

use catalog::{Acceptor, Ballot};
use causality::DotSet;
use common::*;
use model::{Address, ClusterId, Durability, NodeId};
use node::{Disk as _, Hint, HintPlace};
use replica::{Change, PageNeed, Span, Store as _};
use storage::{OpenError, Options, Storage};
use tempfile::tempdir;

#[test]
fn what_was_flushed_is_there_after_a_restart() {
    let dir = tempdir().unwrap();
    let (mut storage, recovered) = open(dir.path());
    assert_eq!(recovered, storage::Recovered::default());
    let acceptor = Acceptor { promised: Ballot { round: 4, node: NODE }, ..Acceptor::default() };
    put(&mut storage, "milk", 1);
    storage.commit(change("rum", 2, tombstone(2)));
    storage.keep_acceptor(&acceptor);
    flush(&mut storage, Durability::Synced).unwrap();
    drop(storage);

    let (storage, recovered) = open(dir.path());
    assert_eq!(read(&storage, "milk"), Some(object(1, "1")));
    assert_eq!(read(&storage, "rum"), Some(tombstone(2)));
    assert_eq!(read(&storage, "tea"), None);
    assert_eq!(last_seq(&recovered), 2);
    assert_eq!(recovered.acceptor, acceptor);
}

#[test]
fn what_was_flushed_on_this_thread_is_there_after_a_restart() {
    let dir = tempdir().unwrap();
    let (mut storage, _) = open(dir.path());
    put(&mut storage, "milk", 1);
    storage.flush_now().unwrap();
    assert_eq!(storage.staged(), 0);
    drop(storage);
    let (storage, recovered) = open(dir.path());
    assert_eq!((read(&storage, "milk"), last_seq(&recovered)), (Some(object(1, "1")), 1));
}

#[test]
fn a_small_write_buffer_becomes_a_file_where_a_large_one_does_not() {
    let becomes_a_file = |write_buffer_bytes| {
        let dir = tempdir().unwrap();
        let options = Options::new(dir.path(), CLUSTER, NODE, LAYOUT);
        let options = Options { write_buffer_bytes, ..options };
        let (mut storage, _) = Storage::open(&options).unwrap();
        for seq in 1..=32 {
            storage.commit(change("milk", seq, object(seq, vec![b'm'; 100_000])));
            flush(&mut storage, Durability::Buffered).unwrap();
        }
        let files = || fs::read_dir(dir.path().join("db/keyspaces/1/tables")).unwrap().count();
        // Files are written by a thread of their own.
        (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            0 < files()
        })
    };
    assert!(becomes_a_file(1 << 20));
    assert!(!becomes_a_file(16 << 20));
}

#[test]
fn closing_writes_what_is_staged() {
    let dir = tempdir().unwrap();
    let (mut storage, _) = open(dir.path());
    put(&mut storage, "milk", 1);
    storage.close().unwrap();
    let (storage, recovered) = open(dir.path());
    assert_eq!((read(&storage, "milk"), last_seq(&recovered)), (Some(object(1, "1")), 1));
}

#[test]
fn what_was_only_staged_is_gone_after_a_crash() {
    let dir = tempdir().unwrap();
    let (mut storage, _) = open(dir.path());
    put(&mut storage, "milk", 1);
    flush(&mut storage, Durability::Synced).unwrap();
    put(&mut storage, "milk", 2);
    put(&mut storage, "tea", 3);
    assert_eq!(read(&storage, "milk"), Some(object(2, "2")));
    drop(storage);
    let (storage, recovered) = open(dir.path());
    assert_eq!(read(&storage, "milk"), Some(object(1, "1")));
    assert_eq!((read(&storage, "tea"), last_seq(&recovered)), (None, 1));
}

#[test]
fn the_group_in_flight_is_read_under_what_was_staged_since() {
    let dir = tempdir().unwrap();
    let (mut storage, _) = open(dir.path());
    put(&mut storage, "milk", 1);
    put(&mut storage, "tea", 2);
    let (tell, told) = channel();
    storage.flush(Durability::Synced, Box::new(move |result| tell.send(result).unwrap()));
    assert!(storage.is_flushing());
    put(&mut storage, "milk", 3);
    let seen = |storage: &Storage| (read(storage, "milk"), read(storage, "tea"));
    let expected = (Some(object(3, "3")), Some(object(2, "2")));
    assert_eq!(seen(&storage), expected);
    told.recv().unwrap().unwrap();
    assert_eq!(seen(&storage), expected);
    storage.flushed();
    assert!(!storage.is_flushing());
    assert_eq!(seen(&storage), expected);
}

#[test]
fn a_key_written_often_in_one_group_is_stored_once() {
    let dir = tempdir().unwrap();
    let (mut storage, _) = open(dir.path());
    for seq in 1..=1_000 {
        // Each write leaves a line in the log, which is not what this is about.
        let news = DotSet::new();
        storage.commit(Change { news, ..change("milk", seq, object(seq, seq.to_string())) });
    }
    assert_eq!(storage.staged(), 1_000);
    flush(&mut storage, Durability::Buffered).unwrap();
    drop(storage);
    // Cut to its last batch when it is opened.
    drop(open(dir.path()));
    let bytes: u64 = journals(dir.path()).iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(bytes < 1_000, "{bytes} bytes of journal");
}

#[test]
fn a_page_ends_at_its_limits_and_says_whether_there_is_more() {
    let dir = tempdir().unwrap();
    let (mut storage, _) = open(dir.path());
    put(&mut storage, "a", 1);
    put(&mut storage, "c", 2);
    flush(&mut storage, Durability::Buffered).unwrap();
    storage.commit(change("b", 3, tombstone(3)));
    put(&mut storage, "d", 4);
    let keys = |after: Option<&str>, need| {
        let span = Span { partition: None, after: after.map(|after| key(after, "")) };
        let page = storage.scan(SHARD, TABLE, &span, need).unwrap();
        let keys = page.objects.iter().map(|(key, _)| key.partition().clone());
        let keys = keys.map(|key| String::from_utf8(key.to_vec()).unwrap()).collect::<String>();
        (keys, page.more)
    };
    let at_most = |objects_max| PageNeed { objects_max, bytes_max: usize::MAX };
    assert_eq!(keys(None, ALL), ("abcd".into(), false));
    assert_eq!(keys(None, at_most(3)), ("abc".into(), true));
    assert_eq!(keys(None, at_most(4)), ("abcd".into(), false));
    assert_eq!(keys(Some("b"), at_most(1)), ("c".into(), true));
    assert_eq!(keys(Some("d"), ALL), (String::new(), false));
    assert_eq!(keys(None, PageNeed { objects_max: 9, bytes_max: 0 }), ("a".into(), true));
}

#[test]
fn an_unknown_table_or_shard_is_empty() {
    let dir = tempdir().unwrap();
    let (mut storage, _) = open(dir.path());
    put(&mut storage, "a", 1);
    let elsewhere = model::ShardId { index: SHARD.index + 1, ..SHARD };
    assert_eq!(storage.object(elsewhere, &address("a", "")).unwrap(), None);
    assert_eq!(storage.scan(elsewhere, TABLE, &WHOLE, ALL).unwrap().objects, []);
}

#[test]
fn a_second_process_is_refused_and_the_first_goes_on() {
    let dir = tempdir().unwrap();
    if let Some(dir) = std::env::var_os("STORAGE_TEST_SECOND_PROCESS") {
        let refusal = refusal(dir.as_ref());
        assert!(refusal.contains("is in use by another process"), "{refusal}");
        return;
    }
    let (mut storage, _) = open(dir.path());
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_second_process_is_refused_and_the_first_goes_on"])
        .env("STORAGE_TEST_SECOND_PROCESS", dir.path())
        .status();
    assert!(status.unwrap().success());
    put(&mut storage, "milk", 1);
    flush(&mut storage, Durability::Synced).unwrap();
}

#[test]
fn a_directory_is_in_use_by_a_node_and_not_by_somebody_who_asks_whether_it_is() {
    let dir = tempdir().unwrap();
    assert!(!storage::is_in_use(dir.path()), "it was never served");
    let (storage, _) = open(dir.path());
    assert!(storage::is_in_use(dir.path()));
    drop(storage);
    let other = std::fs::File::open(dir.path().join("LOCK")).unwrap();
    other.try_lock_shared().unwrap();
    assert!(!storage::is_in_use(dir.path()));
}

#[test]
fn a_directory_is_free_again_once_it_is_dropped() {
    let dir = tempdir().unwrap();
    for _ in 0..3 {
        let (storage, _) = open(dir.path());
        assert!(refusal(dir.path()).contains("is in use"));
        drop(storage);
    }
}

#[test]
fn a_newer_format_is_refused_without_a_look_at_the_rest() {
    let dir = tempdir().unwrap();
    drop(open(dir.path()));
    let path = dir.path().join("FORMAT");
    fs::write(&path, "merganser data directory\nformat 9\nall else is different\n").unwrap();
    let Err(OpenError::Newer { found: 9, supported: 2, .. }) = try_open(dir.path()) else {
        panic!("{}", refusal(dir.path()));
    };
}

#[test]
fn a_damaged_format_file_is_refused() {
    let dir = tempdir().unwrap();
    drop(open(dir.path()));
    let path = dir.path().join("FORMAT");
    let text = fs::read_to_string(&path).unwrap();
    for damaged in ["", "format", &text[..text.len() - 9], &text.replace("node 1", "node 2")] {
        fs::write(&path, damaged).unwrap();
        let refusal = refusal(dir.path());
        assert!(refusal.contains("its file FORMAT cannot be read"), "{refusal}");
    }
}

#[test]
fn the_directory_of_another_cluster_node_or_layout_is_refused() {
    let dir = tempdir().unwrap();
    drop(open(dir.path()));
    let open = |cluster, node, layout| {
        Storage::open(&Options::new(dir.path(), cluster, node, layout)).err()
    };
    let other_cluster = open(ClusterId::new(8), NODE, LAYOUT);
    assert!(matches!(other_cluster, Some(OpenError::OtherCluster { .. })), "{other_cluster:?}");
    let other_node = open(CLUSTER, NodeId::new(2), LAYOUT);
    assert!(matches!(other_node, Some(OpenError::OtherNode { .. })), "{other_node:?}");
    let other_layout = open(CLUSTER, NODE, LAYOUT + 1);
    assert!(matches!(other_layout, Some(OpenError::OtherLayout(_))), "{other_layout:?}");
    assert!(open(CLUSTER, NODE, LAYOUT).is_none());
}

#[test]
fn a_database_that_was_taken_away_is_not_replaced_by_an_empty_one() {
    let dir = tempdir().unwrap();
    drop(open(dir.path()));
    fs::rename(dir.path().join("db"), dir.path().join("elsewhere")).unwrap();
    assert!(refusal(dir.path()).contains("its database is gone"));
    fs::rename(dir.path().join("elsewhere"), dir.path().join("db")).unwrap();
    fs::remove_file(dir.path().join("FORMAT")).unwrap();
    assert!(refusal(dir.path()).contains("no file FORMAT"));
}

#[test]
fn a_first_start_that_was_interrupted_is_begun_again() {
    let dir = tempdir().unwrap();
    drop(open(dir.path()));
    let path = dir.path().join("FORMAT");
    let ready = fs::read_to_string(&path).unwrap();
    let (body, _) = ready.split_once("check ").unwrap();
    let body = body.replace("state ready", "state new");
    let check = xxhash_rust::xxh3::xxh3_64(body.as_bytes());
    fs::write(&path, format!("{body}check {check:016x}\n")).unwrap();
    // It died before the database had its version file.
    fs::remove_file(dir.path().join("db/version")).unwrap();
    let (_, recovered) = open(dir.path());
    assert_eq!(recovered, storage::Recovered::default());
}

#[test]
fn a_directory_that_cannot_be_written_is_named_with_the_reason() {
    // Nobody can create a directory there, not even the superuser.
    let refusal = refusal("/proc/merganser".as_ref());
    assert!(refusal.starts_with("cannot create /proc/merganser: "), "{refusal}");
}

#[test]
fn a_mark_that_a_replica_lacks_something_is_there_after_a_crash_until_it_is_taken_back() {
    use node::Disk as _;
    let dir = tempdir().unwrap();
    let (n2, n3) = (model::NodeId::new(2), model::NodeId::new(3));
    let (mut storage, _) = open(dir.path());
    storage.mark(SHARD, n2, true);
    storage.mark(SHARD, n3, true);
    flush(&mut storage, Durability::Synced).unwrap();
    drop(storage);
    let (mut storage, recovered) = open(dir.path());
    assert_eq!(recovered.marks, [(SHARD, n2), (SHARD, n3)].into());
    storage.mark(SHARD, n2, false);
    flush(&mut storage, Durability::Synced).unwrap();
    drop(storage);
    assert_eq!(open(dir.path()).1.marks, [(SHARD, n3)].into());
}

fn place(target: u16, partition: &str) -> HintPlace {
    HintPlace { target: NodeId::new(target), address: address(partition, "") }
}

fn hint(seq: u64) -> Hint {
    Hint { since_millis: 1_700_000_000_000 + seq, object: object(seq, seq.to_string()) }
}

fn found(storage: &Storage, target: u16, after: Option<&str>, max: usize) -> Vec<String> {
    let need = PageNeed { objects_max: max, bytes_max: usize::MAX };
    let after = after.map(|partition| address(partition, ""));
    let hints = storage.hints(NodeId::new(target), after.as_ref(), need).unwrap();
    let text = |(address, hint): &(Address, Hint)| {
        format!("{} {}", address.key.partition().escape_ascii(), hint.since_millis % 100)
    };
    hints.iter().map(text).collect()
}

#[test]
fn hints_are_read_staged_in_flight_and_stored_and_what_is_dropped_is_gone_everywhere() {
    let dir = tempdir().unwrap();
    let (mut storage, recovered) = open(dir.path());
    assert!(recovered.hints.is_empty());
    for (partition, seq) in [("a", 1), ("b", 2), ("d", 4)] {
        storage.keep_hint(&place(2, partition), Some(&hint(seq)));
    }
    storage.keep_hint(&place(3, "a"), Some(&hint(9)));
    flush(&mut storage, Durability::Synced).unwrap();
    storage.keep_hint(&place(2, "b"), None);
    storage.keep_hint(&place(2, "c"), Some(&hint(3)));
    storage.keep_hint(&place(2, "d"), Some(&hint(5)));
    assert_eq!(storage.hint(&place(2, "b")), Ok(None));
    assert_eq!(storage.hint(&place(2, "d")), Ok(Some(hint(5))));
    assert_eq!(found(&storage, 2, None, 9), ["a 1", "c 3", "d 5"]);
    assert_eq!(found(&storage, 2, Some("a"), 1), ["c 3"]);
    assert_eq!(found(&storage, 3, None, 9), ["a 9"]);
    flush(&mut storage, Durability::Synced).unwrap();
    assert_eq!(found(&storage, 2, None, 2), ["a 1", "c 3"]);
    drop(storage);
    let (storage, recovered) = open(dir.path());
    assert_eq!(found(&storage, 2, None, 9), ["a 1", "c 3", "d 5"]);
    let counts: Vec<(NodeId, u64)> =
        recovered.hints.iter().map(|(target, owed)| (*target, owed.count())).collect();
    assert_eq!(counts, [(NodeId::new(2), 3), (NodeId::new(3), 1)]);
}
