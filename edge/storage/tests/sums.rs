//! What each shard should come to, as it lies beside its clocks. That it is never of another moment than
//! these is looked at wherever a test of this crate reads the last write of a clock.
#![expect(clippy::unwrap_used, reason = "a test may stop anywhere")]

mod common;

use std::path::Path;

use codec::record::{Kind, seal};
use codec::{clock, sum as format};
use common::*;
use fjall::{KeyspaceCreateOptions, PersistMode};
use model::{Durability, ShardId};
use node::Disk as _;
use replica::{Store as _, Sum};
use storage::Recovered;
use tempfile::tempdir;

const OTHER: ShardId = ShardId { index: SHARD.index + 1, ..SHARD };

fn sums(recovered: &Recovered) -> Vec<(ShardId, Sum)> {
    recovered.sums.iter().map(|(shard, sum)| (*shard, *sum)).collect()
}

#[test]
fn the_last_sum_of_each_shard_is_found_after_a_crash_and_what_was_not_flushed_is_not() {
    let dir = tempdir().unwrap();
    let (mut storage, recovered) = open(dir.path());
    assert_eq!(sums(&recovered), []);
    for seq in 1..=3 {
        put(&mut storage, "milk", seq);
    }
    storage.keep_sum(OTHER, sum(40));
    flush(&mut storage, Durability::Synced).unwrap();
    put(&mut storage, "milk", 4);
    storage.keep_sum(OTHER, sum(41));
    drop(storage);
    let (mut storage, recovered) = open(dir.path());
    assert_eq!(sums(&recovered), [(SHARD, sum(3)), (OTHER, sum(40))]);
    assert_eq!(last_seq(&recovered), 3);
    storage.keep_sum(SHARD, sum(50));
    assert_eq!(storage.staged(), 1, "it is a change like another");
    storage.close().unwrap();
    let (_, recovered) = open(dir.path());
    assert_eq!(sums(&recovered), [(SHARD, sum(50)), (OTHER, sum(40))]);
}

#[test]
fn a_change_of_which_nobody_keeps_account_leaves_no_sum() {
    let dir = tempdir().unwrap();
    let (mut storage, _) = open(dir.path());
    storage.commit(replica::Change { sum: None, ..change("milk", 1, object(1, "a")) });
    flush(&mut storage, Durability::Synced).unwrap();
    drop(storage);
    assert_eq!(sums(&open(dir.path()).1), []);
}

/// Puts a record among the clocks, past everybody.
fn plant(dir: &Path, key: &[u8], record: &[u8]) {
    let db = fjall::Database::builder(dir.join("db")).open().unwrap();
    let clocks = db.keyspace("clocks", KeyspaceCreateOptions::default).unwrap();
    clocks.insert(key, record).unwrap();
    db.persist(PersistMode::SyncAll).unwrap();
}

#[test]
fn a_damaged_sum_is_noticed_when_the_directory_is_opened() {
    let planted = |key: &[u8], record: &[u8]| {
        let dir = tempdir().unwrap();
        let (mut storage, _) = open(dir.path());
        put(&mut storage, "milk", 1);
        storage.close().unwrap();
        plant(dir.path(), key, record);
        try_open(dir.path()).map(|(_, recovered)| sums(&recovered))
    };
    let of = |shard| format::sum_key(shard);
    let sealed = |key: &[u8]| seal(Kind::Sum, key, |out| format::encode((7, 9), out));
    let whole = sealed(&of(SHARD));
    let told = Sum { tag: 7, total: 9 };
    assert_eq!(planted(&of(SHARD), &whole).unwrap(), [(SHARD, told)]);
    let refused = |key: &[u8], record: &[u8]| match planted(key, record) {
        Ok(found) => panic!("{record:?} was read as {found:?}"),
        Err(error) => error.to_string(),
    };
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        let why = refused(&of(SHARD), &flipped);
        assert!(why.contains("is damaged") && why.contains("checksum"), "{why}");
    }
    assert!(refused(&of(OTHER), &whole).contains("checksum"), "it is of another shard");
    let key = of(SHARD);
    let foreign = seal(Kind::Clock, &key, |out| clock::encode(&[up_to(3)], out));
    assert!(refused(&key, &foreign).contains("another kind"));
}
