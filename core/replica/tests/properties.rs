//! Replicas under random histories of writes, late and repeated messages and exchanges.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should stop"
)]

use std::collections::BTreeMap;

use bytes::Bytes;
use causality::{DotSet, Incarnation, Run};
use lattice::{Change, Lattice};
use model::{Address, Key, KeyspaceId, Limits, Mutation, Object, ShardId, TableId, Value};
use proptest::prelude::*;
use replica::{Page, PageNeed, Replica, Span, Store, StoreError};

const SHARD: ShardId = ShardId { keyspace: KeyspaceId::new(1), index: 0 };
const REPLICAS: usize = 3;

#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Memory {
    object: Option<Object>,
    clock: BTreeMap<Incarnation, Vec<Run>>,
}

impl Memory {
    fn held(&self) -> Object {
        self.object.clone().unwrap_or_default()
    }

    fn clock(&self) -> DotSet {
        DotSet::from_runs(self.clock.values().flatten().copied().collect()).unwrap()
    }
}

impl Store for Memory {
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

    fn commit(&mut self, change: replica::Change) {
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

fn address() -> Address {
    let key = Key::new(Bytes::from_static(b"k"), Bytes::new()).unwrap();
    Address { table: TableId::new(1), key }
}

#[derive(Clone, Debug)]
enum Step {
    /// A client that has read what `from` holds, or nothing, writes or deletes at `at`.
    Write { at: usize, from: Option<usize>, is_delete: bool },
    /// One of the writes so far reaches `at`.
    Deliver { write: usize, at: usize },
    /// `to` merges what `from` holds.
    Exchange { from: usize, to: usize },
    /// `at` starts again with what its disk has.
    Restart { at: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let at = || 0..REPLICAS;
    let write = (at(), proptest::option::of(at()), any::<bool>());
    let step = prop_oneof![
        3 => write.prop_map(|(at, from, is_delete)| Step::Write { at, from, is_delete }),
        3 => (0..16_usize, at()).prop_map(|(write, at)| Step::Deliver { write, at }),
        2 => (at(), at()).prop_map(|(from, to)| Step::Exchange { from, to }),
        1 => at().prop_map(|at| Step::Restart { at }),
    ];
    proptest::collection::vec(step, 0..32)
}

#[derive(Clone)]
struct World {
    sites: Vec<(Replica, Memory)>,
    sent: Vec<Object>,
    lives: u64,
}

impl World {
    fn new() -> Self {
        let site =
            |life| (Replica::new(SHARD, Incarnation::new(life), DotSet::new()), Memory::default());
        let lives = REPLICAS as u64;
        Self { sites: (1..=lives).map(site).collect(), sent: Vec::new(), lives }
    }

    fn merge(&mut self, at: usize, incoming: &Object) {
        let (replica, disk) = &mut self.sites[at];
        let before = disk.clone();
        let mut plain = before.held();
        let _ = plain.merge(incoming.clone());
        let change = replica.merge(disk, &address(), incoming.clone()).unwrap();
        assert_eq!(change == Change::Unchanged, *disk == before, "grew exactly if it grew");
        // No record is lost here, so what R3 leaves out is what the object knows anyway.
        assert_eq!(disk.held(), plain, "a replica merges as objects do");
        let again = disk.clone();
        assert_eq!(replica.merge(disk, &address(), incoming.clone()).unwrap(), Change::Unchanged);
        assert_eq!(*disk, again, "idempotent");
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Write { at, from, is_delete } => {
                let read = from.map(|from| self.sites[from].1.held()).unwrap_or_default();
                let body = Bytes::from(vec![u8::try_from(self.sent.len()).unwrap()]);
                let mutation = match is_delete {
                    true => Mutation::Delete,
                    false => Mutation::Store(Value { content_type: Bytes::new(), body }),
                };
                let (replica, disk) = &mut self.sites[at];
                let read = read.context().clone();
                let stored =
                    replica.apply(disk, &address(), mutation, read, &Limits::default()).unwrap();
                self.sent.push(stored.object);
            }
            Step::Deliver { write, at } => {
                if let Some(object) = self.sent.get(write).cloned() {
                    self.merge(at, &object);
                }
            }
            Step::Exchange { from, to } => {
                let object = self.sites[from].1.held();
                self.merge(to, &object);
            }
            Step::Restart { at } => {
                self.lives += 1;
                let clock = self.sites[at].1.clock();
                self.sites[at].0 = Replica::new(SHARD, Incarnation::new(self.lives), clock);
            }
        }
        for (replica, disk) in &self.sites {
            assert_eq!(*replica.clock(), disk.clock(), "object and clock change together");
            assert_eq!(disk.held().context(), replica.clock(), "one key: its context is the clock");
        }
    }
}

proptest! {
    #[test]
    fn replicas_merge_as_objects_do_and_objects_obey_the_laws(steps in steps()) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.step(step));
        let held: Vec<Object> = world.sites.iter().map(|(_, disk)| disk.held()).collect();
        lattice::laws::check(&held[0], &held[1], &held[2]);
    }

    #[test]
    fn replicas_that_have_heard_the_same_hold_the_same_whatever_the_order(
        steps in steps(), order in proptest::collection::vec(any::<prop::sample::Index>(), 16),
    ) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.step(step));
        let sent = world.sent.clone();
        for at in 0..REPLICAS {
            let mut left = sent.clone();
            for index in order.iter().cycle().skip(at * 5).take(left.len()) {
                let object = left.swap_remove(index.index(left.len()));
                world.merge(at, &object);
            }
        }
        for (_, disk) in &world.sites {
            prop_assert_eq!(disk.held(), world.sites[0].1.held());
        }
    }
}
