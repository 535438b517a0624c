//! A disk in memory that holds a million small objects in little of it: encoded, as on a real one.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Included, Unbounded};

use bytes::{Bytes, BytesMut};
use catalog::Acceptor;
use causality::{DotSet, Run};
use model::{Address, Key, NodeId, Object, ShardId, TableId};
use node::{Disk, Hint, HintPlace};
use replica::{Change, Entry, Log, Page, PageNeed, Span, Store, StoreError};

/// What one node keeps.
#[derive(Clone, Default)]
pub(crate) struct Memory {
    objects: BTreeMap<(ShardId, TableId), BTreeMap<Key, Bytes>>,
    log: Log,
    /// What each shard has taken in, as a start finds it.
    pub(crate) clocks: BTreeMap<ShardId, DotSet>,
    pub(crate) acceptor: Acceptor,
    pub(crate) marks: BTreeSet<(ShardId, NodeId)>,
    pub(crate) sums: BTreeMap<ShardId, replica::Sum>,
}

impl Memory {
    /// Puts an object where it is, as if the disk had it from before. No clock is told.
    pub(crate) fn plant(&mut self, shard: ShardId, address: &Address, object: &Object) {
        let objects = self.objects.entry((shard, address.table)).or_default();
        objects.insert(address.key.clone(), encoded(object));
    }

    /// Loses an object, as a disk does.
    pub(crate) fn lose(&mut self, shard: ShardId, address: &Address) {
        if let Some(objects) = self.objects.get_mut(&(shard, address.table)) {
            objects.remove(&address.key);
        }
    }

    /// Whether both hold the same objects and say so.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.clocks == other.clocks && self.objects == other.objects
    }
}

fn encoded(object: &Object) -> Bytes {
    let mut out = BytesMut::new();
    codec::object::encode(object, &mut out);
    // The buffer had room for more.
    Bytes::copy_from_slice(&out)
}

fn decoded(bytes: &Bytes) -> Result<Object, StoreError> {
    codec::object::decode(bytes).map_err(|err| StoreError::Corrupt(err.to_string()))
}

impl Store for Memory {
    fn object(&self, shard: ShardId, address: &Address) -> Result<Option<Object>, StoreError> {
        let objects = self.objects.get(&(shard, address.table));
        objects.and_then(|objects| objects.get(&address.key)).map(decoded).transpose()
    }

    fn scan(
        &self,
        shard: ShardId,
        table: TableId,
        span: &Span,
        need: PageNeed,
    ) -> Result<Page, StoreError> {
        let from = match (&span.after, &span.partition) {
            (Some(after), _) => Excluded(after.clone()),
            (None, Some(partition)) => match Key::new(partition.clone(), Bytes::new()) {
                Ok(key) => Included(key),
                Err(_) => return Ok(Page::default()),
            },
            (None, None) => Unbounded,
        };
        let fits = |key: &Key| {
            span.partition.as_ref().is_none_or(|partition| partition == key.partition())
        };
        let all = self.objects.get(&(shard, table)).into_iter();
        let here = all.flat_map(|objects| objects.range((from.clone(), Unbounded)));
        let here = here.take_while(|(key, _)| fits(key)).take(need.objects_max + 1);
        let read = here.map(|(key, bytes)| Ok((key.clone(), decoded(bytes)?)));
        let mut objects = read.collect::<Result<Vec<_>, StoreError>>()?;
        let more = need.objects_max < objects.len();
        objects.truncate(need.objects_max);
        Ok(Page { objects, more, ..Page::default() })
    }

    fn log(
        &self,
        shard: ShardId,
        within: Run,
        entries_max: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        Ok(self.log.read(shard, within, entries_max))
    }

    fn commit(&mut self, change: Change) {
        self.log.take(&change);
        self.sums.extend(change.sum.map(|sum| (change.shard, sum)));
        let _ = self.clocks.entry(change.shard).or_default().union(&change.news);
        self.plant(change.shard, &change.address, &change.object);
    }

    fn forget(&mut self, shard: ShardId, runs: &[Run]) {
        self.log.forget(shard, runs);
    }

    fn reap(&mut self, reaping: replica::Reaping) {
        self.sums.extend(reaping.sum.map(|sum| (reaping.shard, sum)));
        for (address, _) in &reaping.tombstones {
            if let Some(objects) = self.objects.get_mut(&(reaping.shard, address.table)) {
                objects.remove(&address.key);
            }
        }
        for trimmed in &reaping.trimmed {
            self.plant(reaping.shard, &trimmed.address, &trimmed.after);
        }
    }
}

impl Disk for Memory {
    fn keep_acceptor(&mut self, acceptor: &Acceptor) {
        self.acceptor = acceptor.clone();
    }

    fn mark(&mut self, shard: ShardId, node: NodeId, lacks: bool) {
        if lacks {
            self.marks.insert((shard, node));
        } else {
            self.marks.remove(&(shard, node));
        }
    }

    fn is_busy(&self) -> bool {
        false
    }

    fn keep_sum(&mut self, shard: ShardId, sum: replica::Sum) {
        self.sums.insert(shard, sum);
    }

    fn hint(&self, _: &HintPlace) -> Result<Option<Hint>, StoreError> {
        Ok(None)
    }

    fn hints(
        &self,
        _: NodeId,
        _: Option<&Address>,
        _: PageNeed,
    ) -> Result<Vec<(Address, Hint)>, StoreError> {
        Ok(Vec::new())
    }

    /// There are no guests: both nodes are replicas of everything.
    fn keep_hint(&mut self, _: &HintPlace, _: Option<&Hint>) {}
}
