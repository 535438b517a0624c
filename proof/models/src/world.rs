//! One key, on a disk small enough to be part of a model's state.

use std::collections::BTreeMap;

use bytes::Bytes;
use causality::{DotSet, Incarnation, Run};
use lattice::Lattice;
use model::{Address, Key, KeyspaceId, Limits, Mutation, Object, ShardId, TableId, Value};
use replica::{Change, Page, PageNeed, Replica, Span, Store, StoreError};

/// The only shard.
pub const SHARD: ShardId = ShardId { keyspace: KeyspaceId::new(1), index: 0 };

/// The values that can be written: the number of the write, as one byte.
static BODIES: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// The only key.
pub fn address() -> Address {
    let key = Key::new(Bytes::from_static(b"k"), Bytes::new()).expect("a key of one byte");
    Address { table: TableId::new(1), key }
}

/// What the write with this number does.
pub fn mutation(write: u8, is_delete: bool) -> Mutation {
    if is_delete {
        return Mutation::Delete;
    }
    let at = usize::from(write);
    let body = BODIES.get(at..=at).map(Bytes::from_static).unwrap_or_default();
    Mutation::Store(Value { content_type: Bytes::new(), body })
}

/// What a node has on disk: the object under the key, and the clock of the shard.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Disk {
    /// The object, if the key was ever written here.
    pub object: Option<Object>,
    clock: BTreeMap<Incarnation, Vec<Run>>,
}

impl Disk {
    /// The object, or bottom.
    pub fn held(&self) -> Object {
        self.object.clone().unwrap_or_default()
    }

    /// The clock as it would be recovered.
    pub fn clock(&self) -> DotSet {
        let runs = self.clock.values().flatten().copied().collect();
        DotSet::from_runs(runs).expect("runs by incarnation are in order")
    }

    /// Loses the clock and keeps the object, as a disk would that does not write both at once.
    pub fn forget_clock(&mut self) {
        self.clock.clear();
    }
}

impl Store for Disk {
    fn object(&self, _: ShardId, _: &Address) -> Result<Option<Object>, StoreError> {
        Ok(self.object.clone())
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
        self.object = Some(change.object);
        self.clock.extend(change.clock);
    }

    fn forget(&mut self, _: ShardId, _: &[causality::Run]) {}

    fn reap(&mut self, reaping: replica::Reaping) {
        if !reaping.tombstones.is_empty() {
            self.object = None;
        }
        if let Some(trimmed) = reaping.trimmed.into_iter().next() {
            self.object = Some(trimmed.after);
        }
        self.clock.extend(reaping.clock);
    }
}

/// A replica as it is started in a new life, from what its disk has.
pub fn start(incarnation: u64, disk: &Disk) -> Replica {
    Replica::new(SHARD, Incarnation::new(incarnation), disk.clock())
}

/// Has a replica accept a write, and returns what is sent to the others.
pub fn write(
    replica: &mut Replica,
    disk: &mut Disk,
    number: u8,
    is_delete: bool,
    read: DotSet,
) -> replica::Stored {
    let mutation = mutation(number, is_delete);
    let limits = Limits::default();
    replica.apply(disk, &address(), mutation, read, &limits).expect("this disk never refuses")
}

/// Has a replica merge what arrives.
pub fn merge(replica: &mut Replica, disk: &mut Disk, incoming: Object) {
    let _ = replica.merge(disk, &address(), incoming).expect("this disk never refuses");
}

/// What a merge without rule R3 would leave: the old news is taken in like any other.
pub fn merge_with_old_news(replica: &mut Replica, disk: &mut Disk, incoming: Object) {
    merge(replica, disk, incoming.clone());
    let mut object = disk.held();
    let _ = object.merge(incoming);
    disk.object = Some(object);
}

/// What a merge would leave that drops the value of old news and keeps its dot.
pub fn merge_claiming_old_news(replica: &mut Replica, disk: &mut Disk, incoming: Object) {
    let (here, clock) = (disk.held(), replica.clock().clone());
    let (mut values, context) = incoming.into_parts();
    values.retain(|dot, _| !clock.contains(*dot) || here.values().contains_key(dot));
    let claimed = Object::from_parts(values, context).expect("only values were taken out");
    merge(replica, disk, claimed);
}
