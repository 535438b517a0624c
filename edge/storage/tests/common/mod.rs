//! Small words for the tests of this crate.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses some of it")]

use std::path::Path;
use std::sync::mpsc::channel;

use bytes::Bytes;
use causality::{Dot, DotSet, Incarnation, Run};
use model::{
    Address, ClusterId, Durability, Key, KeyspaceId, NodeId, Object, ShardId, TableId, Value,
};
use replica::{CHUNK_DOTS, Change, Chunk, PageNeed, Reaping, Span, Store as _, Sum};
use storage::{FlushError, OpenError, Options, Recovered, Storage};

pub const CLUSTER: ClusterId = ClusterId::new(7);
pub const NODE: NodeId = NodeId::new(1);
pub const LAYOUT: u64 = 0xa11;
pub const TABLE: TableId = TableId::new(3);
pub const SHARD: ShardId = ShardId { keyspace: KeyspaceId::new(2), index: 5 };
pub const A: Incarnation = Incarnation::new(0xa);

pub const ALL: PageNeed = PageNeed { objects_max: usize::MAX, bytes_max: usize::MAX };
pub const WHOLE: Span = Span { partition: None, after: None };

pub fn try_open(dir: &Path) -> Result<(Storage, Recovered), OpenError> {
    Storage::open(&Options::new(dir, CLUSTER, NODE, LAYOUT))
}

pub fn open(dir: &Path) -> (Storage, Recovered) {
    try_open(dir).unwrap()
}

/// Why it was refused, in the words that an operator reads.
pub fn refusal(dir: &Path) -> String {
    match try_open(dir) {
        Ok(_) => panic!("{} was opened", dir.display()),
        Err(error) => error.to_string(),
    }
}

pub fn key(partition: &str, sort: &str) -> Key {
    Key::new(Bytes::copy_from_slice(partition.as_bytes()), Bytes::copy_from_slice(sort.as_bytes()))
        .unwrap()
}

pub fn address(partition: &str, sort: &str) -> Address {
    Address { table: TABLE, key: key(partition, sort) }
}

pub fn value(body: impl Into<Bytes>) -> Value {
    Value { content_type: Bytes::from_static(b"text/plain"), body: body.into() }
}

pub fn object(seq: u64, body: impl Into<Bytes>) -> Object {
    Object::written(Dot::new(A, seq), DotSet::new(), value(body))
}

pub fn tombstone(seq: u64) -> Object {
    Object::deleted(Dot::new(A, seq), DotSet::new())
}

/// The first `seq` dots of [`A`].
pub fn up_to(seq: u64) -> Run {
    Run { incarnation: A, first: 1, last: seq }
}

/// What the shard is said to come to with the write `seq`. Nobody here adds anything up.
pub fn sum(seq: u64) -> Sum {
    Sum { tag: 7, total: seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) }
}

/// The change that the write `seq` of a process makes which has made all before it.
pub fn change(partition: &str, seq: u64, object: Object) -> Change {
    let clock = vec![(A, vec![up_to(seq)])];
    let news = [Dot::new(A, seq)].into_iter().collect();
    Change {
        shard: SHARD,
        address: address(partition, ""),
        object,
        clock,
        news,
        sum: Some(sum(seq)),
    }
}

/// Stages the write `seq`, of a value that says so.
pub fn put(storage: &mut Storage, partition: &str, seq: u64) {
    storage.commit(change(partition, seq, object(seq, seq.to_string())));
}

/// What drops the tombstones under these keys, and leaves all of the dots from `first` to `last`, of
/// which the shard's clock has no others.
pub fn reaping(partitions: &[&str], first: u64, last: u64) -> Reaping {
    let forgotten = DotSet::from_runs(vec![Run { first, ..up_to(last) }]).unwrap();
    let gone = |partition: &&str| (address(partition, ""), tombstone(last));
    Reaping {
        shard: SHARD,
        tombstones: partitions.iter().map(gone).collect(),
        trimmed: Vec::new(),
        chunks: chunks(&forgotten, Run { first, ..up_to(last) }),
        clock: vec![(A, vec![up_to(last)])],
        sum: Some(sum(last)),
    }
}

/// The chunks that have a dot of a run, with all that they have of a set.
pub fn chunks(forgotten: &DotSet, news: Run) -> Vec<Chunk> {
    let chunk = |number: u64| {
        let (least, most) = (number * CHUNK_DOTS, number * CHUNK_DOTS + CHUNK_DOTS - 1);
        let here = Run { incarnation: A, first: least.max(1), last: most };
        let here = DotSet::from_runs(vec![here]).unwrap();
        Chunk { incarnation: A, number, runs: forgotten.intersection(&here).runs().to_vec() }
    };
    (news.first / CHUNK_DOTS..=news.last / CHUNK_DOTS).map(chunk).collect()
}

/// Flushes, and waits until it is done.
pub fn flush(storage: &mut Storage, durability: Durability) -> Result<(), FlushError> {
    let (tell, told) = channel();
    storage.flush(durability, Box::new(move |result| tell.send(result).unwrap()));
    let result = told.recv().unwrap();
    if result.is_ok() {
        storage.flushed();
    }
    result
}

pub fn read(storage: &Storage, partition: &str) -> Option<Object> {
    storage.object(SHARD, &address(partition, "")).unwrap()
}

/// The last write of [`A`] that the recovered clock has, given that it has all before. The sum is that of
/// the same moment.
pub fn last_seq(recovered: &Recovered) -> u64 {
    let last = last_of_clock(recovered);
    let told = recovered.sums.get(&SHARD).copied();
    assert_eq!(told, (last != 0).then(|| sum(last)), "the sum is not that of the clock");
    last
}

fn last_of_clock(recovered: &Recovered) -> u64 {
    match recovered.clocks.get(&SHARD) {
        Some(clock) => {
            let [run] = clock.runs() else { panic!("a clock with gaps: {clock:?}") };
            assert_eq!(run.first, 1);
            run.last
        }
        None => 0,
    }
}

/// The journals of the database, the oldest first.
pub fn journals(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir.join("db")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "jnl"));
    paths.sort();
    paths
}
