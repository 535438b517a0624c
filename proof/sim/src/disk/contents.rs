//! What is on a disk: objects, the clocks that speak of them, and a vote.

use std::collections::{BTreeMap, BTreeSet};

use catalog::Acceptor;
use causality::{Dot, DotSet, Incarnation, Run};
use model::{DiskId, NodeId, Object, ShardId};
use node::{Hint, HintPlace};
use replica::{Change, Chunk, Log, Reaping, Sum, Trimmed};

use super::Place;

/// All that is on a disk.
#[derive(Clone, Default)]
pub(crate) struct Contents {
    pub(crate) objects: BTreeMap<Place, Object>,
    pub(super) clocks: BTreeMap<(ShardId, Incarnation), Vec<Run>>,
    /// What each shard has forgotten, as it lies on a disk.
    chunks: BTreeMap<(ShardId, Incarnation, u64), Vec<Run>>,
    /// The same, put together.
    forgotten: BTreeMap<ShardId, DotSet>,
    pub(crate) acceptor: Acceptor,
    pub(crate) log: Log,
    /// Replicas that lack something of a shard.
    pub(crate) marks: BTreeSet<(ShardId, NodeId)>,
    pub(crate) hints: BTreeMap<HintPlace, Hint>,
    /// What each shard should come to.
    pub(crate) sums: BTreeMap<ShardId, Sum>,
    /// Which disk it is. Nothing if it was never started from.
    pub(crate) id: Option<DiskId>,
}

/// One thing that was staged.
#[derive(Clone)]
pub(super) enum Record {
    Change(Change),
    Reap(Reaping),
    Trim(ShardId, Trimmed),
    Forget(ShardId, Vec<Run>),
    Mark(ShardId, NodeId, bool),
    Sum(ShardId, Sum),
    Acceptor(Acceptor),
    /// Nothing if it was dropped.
    Hint(HintPlace, Option<Hint>),
}

impl Record {
    /// Where the object is that it changes.
    pub(super) fn place(&self) -> Option<Place> {
        match self {
            Record::Change(change) => Some((change.shard, change.address.clone())),
            Record::Trim(shard, trimmed) => Some((*shard, trimmed.address.clone())),
            Record::Reap(_)
            | Record::Forget(..)
            | Record::Mark(..)
            | Record::Sum(..)
            | Record::Acceptor(_)
            | Record::Hint(..) => None,
        }
    }

    /// Which hint it changes.
    pub(super) fn hint_place(&self) -> Option<&HintPlace> {
        match self {
            Record::Hint(place, _) => Some(place),
            Record::Change(_)
            | Record::Trim(..)
            | Record::Reap(_)
            | Record::Forget(..)
            | Record::Mark(..)
            | Record::Sum(..)
            | Record::Acceptor(_) => None,
        }
    }
}

impl Contents {
    pub(super) fn take(&mut self, record: &Record) {
        match record {
            Record::Change(change) => {
                self.objects.insert((change.shard, change.address.clone()), change.object.clone());
                self.take_clock(change.shard, &change.clock);
                self.log.take(change);
                self.sums.extend(change.sum.map(|sum| (change.shard, sum)));
            }
            Record::Reap(reaping) => {
                let shard = reaping.shard;
                for (address, _) in &reaping.tombstones {
                    self.objects.remove(&(shard, address.clone()));
                }
                for Chunk { incarnation, number, runs } in &reaping.chunks {
                    self.chunks.insert((shard, *incarnation, *number), runs.clone());
                }
                self.forgotten.insert(shard, self.chunks_of(shard));
                self.take_clock(shard, &reaping.clock);
                self.sums.extend(reaping.sum.map(|sum| (shard, sum)));
            }
            Record::Trim(shard, trimmed) => {
                self.objects.insert((*shard, trimmed.address.clone()), trimmed.after.clone());
            }
            Record::Forget(shard, runs) => self.log.forget(*shard, runs),
            Record::Mark(shard, node, true) => drop(self.marks.insert((*shard, *node))),
            Record::Mark(shard, node, false) => drop(self.marks.remove(&(*shard, *node))),
            Record::Sum(shard, sum) => drop(self.sums.insert(*shard, *sum)),
            Record::Acceptor(acceptor) => self.acceptor = acceptor.clone(),
            Record::Hint(place, Some(hint)) => {
                self.hints.insert(place.clone(), hint.clone());
            }
            Record::Hint(place, None) => {
                self.hints.remove(place);
            }
        }
    }

    /// What a shard has forgotten, as far as it has.
    pub(crate) fn forgotten(&self, shard: ShardId) -> Option<&DotSet> {
        self.forgotten.get(&shard)
    }

    /// What all shards have forgotten, as a starting node finds it.
    pub(crate) fn all_forgotten(&self) -> BTreeMap<ShardId, DotSet> {
        self.forgotten.clone()
    }

    fn chunks_of(&self, shard: ShardId) -> DotSet {
        let mut all = DotSet::new();
        for ((of, ..), runs) in &self.chunks {
            if *of == shard {
                let runs = DotSet::from_runs(runs.clone()).expect("chunks are in normal form");
                let _ = all.union(&runs);
            }
        }
        all
    }

    /// The object that a record is about to replace, if there is one.
    pub(super) fn replaced_by(&self, record: &Record) -> Option<(Place, Object)> {
        let place = record.place()?;
        let before = self.objects.get(&place)?.clone();
        Some((place, before))
    }

    pub(super) fn take_clock(&mut self, shard: ShardId, clock: &[(Incarnation, Vec<Run>)]) {
        for (incarnation, runs) in clock {
            self.clocks.insert((shard, *incarnation), runs.clone());
        }
    }

    /// What the clock of a shard gains with a change.
    pub(super) fn gained(&self, change: &Change) -> DotSet {
        let mut gained = DotSet::new();
        for (incarnation, runs) in &change.clock {
            let before = self.clocks.get(&(change.shard, *incarnation)).cloned();
            let set = |runs| DotSet::from_runs(runs).expect("clocks are in normal form");
            let more = set(runs.clone()).difference(&set(before.unwrap_or_default()));
            let _ = gained.union(&more);
        }
        gained
    }

    /// Returns whether the clock of a shard says that a dot was applied.
    pub(crate) fn has_heard(&self, shard: ShardId, dot: Dot) -> bool {
        let runs = self.clocks.get(&(shard, dot.incarnation)).map(Vec::as_slice);
        let runs = runs.unwrap_or_default();
        runs.iter().any(|run| run.first <= dot.seq && dot.seq <= run.last)
    }

    /// The clock of one shard.
    pub(crate) fn clock(&self, shard: ShardId) -> Vec<Run> {
        let (first, last) = (Incarnation::new(0), Incarnation::new(u64::MAX));
        self.clocks
            .range((shard, first)..=(shard, last))
            .flat_map(|(_, runs)| runs)
            .copied()
            .collect()
    }

    /// The clocks of all shards, as a starting node finds them.
    pub(crate) fn clocks(&self) -> BTreeMap<ShardId, DotSet> {
        let mut runs: BTreeMap<ShardId, Vec<Run>> = BTreeMap::new();
        for ((shard, _), some) in &self.clocks {
            runs.entry(*shard).or_default().extend(some);
        }
        let set = |runs| DotSet::from_runs(runs).expect("a node commits clocks in normal form");
        runs.into_iter().map(|(shard, runs)| (shard, set(runs))).collect()
    }
}
