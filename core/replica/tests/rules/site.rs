//! A replica on a disk in memory.

use std::collections::BTreeMap;

use bytes::Bytes;
use causality::{DotSet, Incarnation};
use model::{Address, Key, KeyspaceId, Limits, Mutation, Object, ShardId, TableId, Value};
use replica::{Change, Page, PageNeed, Repaired, Replica, Span, Store, StoreError};

pub(crate) const SHARD: ShardId = ShardId { keyspace: KeyspaceId::new(1), index: 0 };

/// A disk that keeps everything, and counts.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) objects: BTreeMap<Address, Object>,
    pub(crate) clock: BTreeMap<Incarnation, Vec<causality::Run>>,
    pub(crate) commits: usize,
    pub(crate) log: replica::Log,
}

impl Store for Memory {
    fn object(&self, _: ShardId, address: &Address) -> Result<Option<Object>, StoreError> {
        Ok(self.objects.get(address).cloned())
    }

    fn scan(&self, _: ShardId, _: TableId, _: &Span, _: PageNeed) -> Result<Page, StoreError> {
        Ok(Page::default())
    }

    fn log(
        &self,
        _: ShardId,
        _: causality::Run,
        _: usize,
    ) -> Result<Vec<replica::Entry>, StoreError> {
        Ok(Vec::new())
    }

    fn commit(&mut self, change: Change) {
        self.log.take(&change);
        self.objects.insert(change.address, change.object);
        self.clock.extend(change.clock);
        self.commits += 1;
    }

    fn forget(&mut self, _: ShardId, _: &[causality::Run]) {}

    fn reap(&mut self, reaping: replica::Reaping) {
        for (address, _) in &reaping.tombstones {
            self.objects.remove(address);
        }
        for trimmed in reaping.trimmed {
            self.objects.insert(trimmed.address, trimmed.after);
        }
        self.clock.extend(reaping.clock);
        self.commits += 1;
    }
}

/// A replica and its disk.
pub(crate) struct Site {
    pub(crate) replica: Replica,
    pub(crate) disk: Memory,
}

impl Site {
    pub(crate) fn new(incarnation: u64) -> Self {
        let replica = Replica::new(SHARD, Incarnation::new(incarnation), DotSet::new());
        Self { replica, disk: Memory::default() }
    }

    pub(crate) fn write(&mut self, read: &DotSet, text: &'static str) -> Object {
        let body = Bytes::from_static(text.as_bytes());
        let value = Value { content_type: Bytes::new(), body };
        self.apply(Mutation::Store(value), read)
    }

    pub(crate) fn apply(&mut self, mutation: Mutation, read: &DotSet) -> Object {
        let Self { replica, disk } = self;
        replica.apply(disk, &address(), mutation, read.clone(), &Limits::default()).unwrap().object
    }

    pub(crate) fn merge(&mut self, object: &Object) -> lattice::Change {
        self.replica.merge(&mut self.disk, &address(), object.clone()).unwrap()
    }

    pub(crate) fn repair(&mut self, object: &Object) -> Repaired {
        let incoming = object.clone();
        self.replica.repair(&mut self.disk, &address(), incoming).unwrap()
    }

    pub(crate) fn reap(&mut self, settled: &DotSet) -> u64 {
        let reaped = self.replica.reap(&mut self.disk, &[address()], settled, |_| false);
        reaped.unwrap().forgotten
    }

    pub(crate) fn forget(&mut self, dots: &DotSet) -> u64 {
        let keys = [(address(), dots.clone())].into();
        self.replica.forget(&mut self.disk, &keys).unwrap()
    }

    pub(crate) fn object(&self) -> Object {
        self.disk.objects.get(&address()).cloned().unwrap_or_default()
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        let text = |value: &Value| String::from_utf8(value.body.to_vec()).unwrap();
        self.object().values().values().map(text).collect()
    }
}

pub(crate) fn address() -> Address {
    let key = Key::new(Bytes::from_static(b"k"), Bytes::new()).unwrap();
    Address { table: TableId::new(1), key }
}

pub(crate) fn none() -> DotSet {
    DotSet::new()
}
