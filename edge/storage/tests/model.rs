//! Any sequence of commits, flushes, scans and restarts, beside a plain sorted map.
#![expect(clippy::unwrap_used, reason = "a test may stop anywhere")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, channel};

use bytes::Bytes;
use causality::{DotSet, Incarnation, Run};
use common::*;
use model::{Address, Durability, Key, Object, ShardId, TableId};
use node::Disk as _;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use replica::{Change, Log, Page, PageNeed, Reaping, Span, Store as _, Sum, Trimmed};
use storage::{FlushError, Storage};
use tempfile::{TempDir, tempdir};

#[derive(Clone, Debug)]
enum Step {
    Commit {
        place: (TableId, ShardId),
        key: Key,
        alive: bool,
    },
    /// So many that the records of the shard are written meanwhile.
    Many {
        place: (TableId, ShardId),
        key: Key,
        count: u64,
    },
    Sum {
        shard: ShardId,
        total: u64,
    },
    Get {
        place: (TableId, ShardId),
        key: Key,
    },
    Scan {
        place: (TableId, ShardId),
        span: Span,
        need: PageNeed,
    },
    Log {
        shard: ShardId,
        first: u64,
        more: u64,
        entries_max: usize,
    },
    Forget {
        shard: ShardId,
        first: u64,
    },
    Reap {
        place: (TableId, ShardId),
        keys: Vec<Key>,
        first: u64,
        more: u64,
    },
    Flush(Durability),
    Retire,
    FlushNow,
    Crash,
    Close,
}

fn places() -> impl Strategy<Value = (TableId, ShardId)> {
    let other_table = (TableId::new(4), SHARD);
    let other_shard = (TABLE, ShardId { index: SHARD.index + 1, ..SHARD });
    prop_oneof![4 => Just((TABLE, SHARD)), 1 => Just(other_table), 1 => Just(other_shard)]
}

fn partitions() -> impl Strategy<Value = Bytes> {
    select(vec![&b"a"[..], b"a\0", b"a\0\x01", b"ab", b"\xff\xff"]).prop_map(Bytes::from_static)
}

fn keys() -> impl Strategy<Value = Key> {
    let sorts = select(vec![&b""[..], b"\x01z"]).prop_map(Bytes::from_static);
    (partitions(), sorts).prop_map(|(partition, sort)| Key::new(partition, sort).unwrap())
}

fn spans() -> impl Strategy<Value = Span> {
    let partition = proptest::option::of(partitions());
    (partition, proptest::option::of(keys()))
        .prop_map(|(partition, after)| Span { partition, after })
}

fn needs() -> impl Strategy<Value = PageNeed> {
    let bytes_max = prop_oneof![Just(usize::MAX), 0..60_usize];
    (0..8_usize, bytes_max).prop_map(|(objects_max, bytes_max)| PageNeed { objects_max, bytes_max })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let durability = select(vec![Durability::Synced, Durability::Buffered]);
    let step = prop_oneof![
        12 => (places(), keys(), any::<bool>())
            .prop_map(|(place, key, alive)| Step::Commit { place, key, alive }),
        1 => (places(), keys(), 1..300_u64)
            .prop_map(|(place, key, count)| Step::Many { place, key, count }),
        1 => (places(), 0..9_u64).prop_map(|((_, shard), total)| Step::Sum { shard, total }),
        3 => (places(), keys()).prop_map(|(place, key)| Step::Get { place, key }),
        6 => (places(), spans(), needs())
            .prop_map(|(place, span, need)| Step::Scan { place, span, need }),
        4 => (places(), 1..40_u64, 0..20_u64, 0..5_usize).prop_map(
            |((_, shard), first, more, entries_max)| Step::Log { shard, first, more, entries_max }
        ),
        3 => (places(), 1..40_u64).prop_map(|((_, shard), first)| Step::Forget { shard, first }),
        4 => (places(), vec(keys(), 0..5), 1..20_000_u64, 0..9_000_u64)
            .prop_map(|(place, keys, first, more)| Step::Reap { place, keys, first, more }),
        2 => durability.prop_map(Step::Flush),
        2 => Just(Step::Retire),
        1 => Just(Step::FlushNow),
        1 => Just(Step::Crash),
        1 => Just(Step::Close),
    ];
    vec(step, 1..80)
}

/// What a storage holds, without any of its places.
#[derive(Clone, Default)]
struct Plain {
    objects: BTreeMap<(TableId, ShardId, Key), Object>,
    clocks: BTreeMap<ShardId, DotSet>,
    forgotten: BTreeMap<ShardId, DotSet>,
    sums: BTreeMap<ShardId, Sum>,
    log: Log,
}

struct Pair {
    dir: TempDir,
    storage: Option<Storage>,
    told: Option<Receiver<Result<(), FlushError>>>,
    plain: Plain,
    /// What a crash leaves.
    flushed: Plain,
    seq: u64,
}

impl Pair {
    fn new() -> Self {
        let dir = tempdir().unwrap();
        let storage = Some(open(dir.path()).0);
        let (plain, flushed) = (Plain::default(), Plain::default());
        Self { dir, storage, told: None, plain, flushed, seq: 0 }
    }

    fn storage(&mut self) -> &mut Storage {
        self.storage.as_mut().unwrap()
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Commit { place, key, alive } => self.commit(place, key, alive),
            Step::Many { place, key, count } => {
                (0..count).for_each(|_| self.commit(place, key.clone(), true));
            }
            Step::Sum { shard, total } => {
                let sum = Sum { tag: self.seq / 40, total };
                self.plain.sums.insert(shard, sum);
                self.storage().keep_sum(shard, sum);
            }
            Step::Get { place: (table, shard), key } => {
                let address = Address { table, key: key.clone() };
                let stored = self.storage().object(shard, &address).unwrap();
                assert_eq!(stored.as_ref(), self.plain.objects.get(&(table, shard, key)));
            }
            Step::Scan { place, span, need } => {
                let expected = self.plain_scan(place, &span, need);
                let page = self.storage().scan(place.1, place.0, &span, need).unwrap();
                assert_eq!(page, expected, "{span:?} {need:?}");
            }
            Step::Log { shard, first, more, entries_max } => {
                let within = Run { incarnation: A, first, last: first + more };
                let expected = self.plain.log.read(shard, within, entries_max);
                assert_eq!(self.storage().log(shard, within, entries_max), Ok(expected));
            }
            Step::Forget { shard, first } => {
                let within = Run { incarnation: A, first, last: u64::MAX };
                let entries = self.plain.log.read(shard, within, 2);
                let runs: Vec<Run> = entries.into_iter().map(|entry| entry.run).collect();
                self.plain.log.forget(shard, &runs);
                self.storage().forget(shard, &runs);
            }
            Step::Reap { place, keys, first, more } => self.reap(place, keys, first, first + more),
            Step::Flush(durability) => self.flush(durability),
            Step::Retire => self.retire(),
            Step::FlushNow => {
                self.retire();
                self.storage().flush_now().unwrap();
                self.mark_flushed();
            }
            Step::Crash => {
                self.told = None;
                drop(self.storage.take());
                self.reopen();
            }
            Step::Close => {
                self.told = None;
                self.mark_flushed();
                self.storage.take().unwrap().close().unwrap();
                self.reopen();
            }
        }
    }

    fn commit(&mut self, (table, shard): (TableId, ShardId), key: Key, alive: bool) {
        let first = self.seq + 1;
        // Now and then more than one dot comes with an object.
        self.seq = first + first % 3;
        let seq = self.seq;
        let object = if alive { object(seq, seq.to_string()) } else { tombstone(seq) };
        self.plain.objects.insert((table, shard, key.clone()), object.clone());
        let (address, run) = (Address { table, key }, Run { first, ..up_to(seq) });
        let clock = self.advance(shard, run);
        let news = DotSet::from_runs(vec![run]).unwrap();
        // Now and then nobody keeps account, and now and then it is under another secret.
        let sum = (!seq.is_multiple_of(5)).then(|| Sum { tag: seq / 40, ..sum(seq) });
        self.plain.sums.extend(sum.map(|sum| (shard, sum)));
        let change = Change { shard, address, object, clock, news, sum };
        self.plain.log.take(&change);
        self.storage().commit(change);
    }

    /// Drops what is under some keys, stores something else under others, and forgets some dots, perhaps of
    /// several chunks.
    fn reap(&mut self, (table, shard): (TableId, ShardId), keys: Vec<Key>, first: u64, last: u64) {
        let news = Run { first, ..up_to(last) };
        let clock = self.advance(shard, news);
        let forgotten = self.plain.forgotten.entry(shard).or_default();
        let _ = forgotten.union(&DotSet::from_runs(vec![news]).unwrap());
        let chunks = chunks(forgotten, news);
        let (mut tombstones, mut trimmed) = (Vec::new(), Vec::new());
        // No key is named twice.
        for (number, key) in keys.into_iter().collect::<BTreeSet<_>>().into_iter().enumerate() {
            let place = (table, shard, key.clone());
            let address = Address { table, key };
            if number.is_multiple_of(2) {
                self.plain.objects.remove(&place);
                tombstones.push((address, tombstone(last)));
            } else {
                let after = object(last, format!("trimmed {last}"));
                self.plain.objects.insert(place, after.clone());
                trimmed.push(Trimmed { address, before: tombstone(last), after });
            }
        }
        let sum = last.is_multiple_of(2).then(|| sum(last));
        self.plain.sums.extend(sum.map(|sum| (shard, sum)));
        self.storage().reap(Reaping { shard, tombstones, trimmed, chunks, clock, sum });
    }

    /// Adds to a clock. Returns all of its runs, as a change has them.
    fn advance(&mut self, shard: ShardId, news: Run) -> Vec<(Incarnation, Vec<Run>)> {
        let clock = self.plain.clocks.entry(shard).or_default();
        let _ = clock.union(&DotSet::from_runs(vec![news]).unwrap());
        vec![(A, clock.runs().to_vec())]
    }

    fn flush(&mut self, durability: Durability) {
        self.retire();
        let (tell, told) = channel();
        // A crash forgets to listen.
        self.storage().flush(durability, Box::new(move |result| drop(tell.send(result))));
        self.told = Some(told);
        self.mark_flushed();
    }

    fn retire(&mut self) {
        if let Some(told) = self.told.take() {
            told.recv().unwrap().unwrap();
            self.storage().flushed();
        }
    }

    fn mark_flushed(&mut self) {
        self.flushed = self.plain.clone();
    }

    fn reopen(&mut self) {
        let (storage, recovered) = open(self.dir.path());
        assert_eq!(recovered.clocks, self.flushed.clocks);
        assert_eq!(recovered.forgotten, self.flushed.forgotten);
        assert_eq!(recovered.sums, self.flushed.sums);
        self.storage = Some(storage);
        self.plain = self.flushed.clone();
    }

    fn plain_scan(&self, place: (TableId, ShardId), span: &Span, need: PageNeed) -> Page {
        let here =
            self.plain.objects.iter().filter(|((table, shard, _), _)| (*table, *shard) == place);
        let within = here.filter(|((_, _, key), _)| {
            span.partition.as_ref().is_none_or(|partition| partition == key.partition())
                && span.after.as_ref().is_none_or(|after| after < key)
        });
        let mut page = Page::default();
        let mut bytes = 0;
        for ((_, _, key), object) in within {
            if page.objects.len() == need.objects_max || need.bytes_max < bytes {
                page.more = true;
                break;
            }
            let body = object.values().values().map(|value| value.body.len() + "text/plain".len());
            bytes += key.partition().len() + key.sort().len() + body.sum::<usize>();
            page.objects.push((key.clone(), object.clone()));
        }
        page
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_a_plain_map(steps in steps()) {
        let mut pair = Pair::new();
        for step in steps {
            pair.step(step);
        }
        pair.step(Step::Crash);
        for shard in [SHARD, ShardId { index: SHARD.index + 1, ..SHARD }] {
            pair.step(Step::Scan { place: (TABLE, shard), span: WHOLE, need: ALL });
        }
    }
}
