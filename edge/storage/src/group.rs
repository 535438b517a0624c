//! What is staged, and not yet known to be in the database.
//!
//! Objects are kept as they are and encoded when the group is written: a key that many
//! writes of one group touch is encoded once, and the event loop, which stages, leaves
//! that work to the committer.

use std::collections::BTreeMap;

use bytes::Bytes;
use catalog::Acceptor;
use causality::{Dot, Incarnation, Run};
use model::{Address, NodeId, Object, ShardId};
use node::{Hint, HintPlace};
use replica::{Change, Entry, Reaping, Sum};

use crate::record::{self, Line};
use crate::tail::{Records, Tails};

/// Changes that become durable together.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// The last state of each object, by its key in the database. Nothing if it was dropped.
    pub(crate) objects: BTreeMap<Bytes, Option<Object>>,
    /// Of shards whose records are written: their last clocks and sums.
    pub(crate) records: Records,
    /// The last runs of each chunk of forgotten dots.
    pub(crate) chunks: BTreeMap<(ShardId, Incarnation, u64), Vec<Run>>,
    /// Lines of the log, by their key in the database, and those that are dropped.
    pub(crate) log: BTreeMap<Bytes, Option<Line>>,
    /// The last state of each hint, by its key in the database. Nothing if it was dropped.
    pub(crate) hints: BTreeMap<Bytes, Option<Hint>>,
    /// The last state of the acceptor, if it changed.
    pub(crate) acceptor: Option<Acceptor>,
    /// Replicas that lack something of a shard, and those that lack it no more.
    pub(crate) marks: BTreeMap<(ShardId, NodeId), bool>,
    changes: usize,
    bytes: usize,
}

impl Group {
    /// What a start writes of what it found.
    pub(crate) fn of(records: Records) -> Self {
        Self { records, ..Self::default() }
    }

    /// Takes one change in. Of two that touch the same key, the later stays.
    pub(crate) fn stage(&mut self, mut change: Change, tails: &mut Tails) {
        let mut adds = tails.take(&mut change, &mut self.records);
        let key = record::object_key(change.address.table, change.shard, &change.address.key);
        self.changes += 1;
        self.bytes += key.len() + weight(&change.object);
        self.objects.insert(key, Some(change.object));
        for run in change.news.runs() {
            let key = record::log_key(change.shard, Dot::new(run.incarnation, run.last));
            let entry = Entry { run: *run, address: change.address.clone() };
            self.log.insert(key, Some(Line { entry, adds: std::mem::take(&mut adds) }));
        }
    }

    /// Drops objects, or stores them anew, and takes in what is kept in the place of what is forgotten.
    pub(crate) fn reap(&mut self, mut reaping: Reaping, tails: &mut Tails) {
        tails.reap(&mut reaping, &mut self.records);
        let shard = reaping.shard;
        self.changes += 1;
        for (address, _) in reaping.tombstones {
            let key = record::object_key(address.table, shard, &address.key);
            self.bytes += key.len();
            self.objects.insert(key, None);
        }
        for trimmed in reaping.trimmed {
            let Address { table, key } = &trimmed.address;
            let key = record::object_key(*table, shard, key);
            self.bytes += key.len() + weight(&trimmed.after);
            self.objects.insert(key, Some(trimmed.after));
        }
        for chunk in reaping.chunks {
            self.bytes += size_of_val(chunk.runs.as_slice());
            self.chunks.insert((shard, chunk.incarnation, chunk.number), chunk.runs);
        }
    }

    /// Drops lines of a log. They count as one change: nobody waits for it.
    pub(crate) fn forget(&mut self, shard: ShardId, runs: &[Run], tails: &mut Tails) {
        tails.drop(shard, runs, &mut self.records);
        self.changes += 1;
        for run in runs {
            let key = record::log_key(shard, Dot::new(run.incarnation, run.last));
            self.bytes += key.len() + size_of_val(run);
            self.log.insert(key, None);
        }
    }

    pub(crate) fn stage_sum(&mut self, shard: ShardId, sum: Sum, tails: &mut Tails) {
        self.changes += 1;
        tails.sum(shard, sum, &mut self.records);
    }

    pub(crate) fn mark(&mut self, shard: ShardId, node: NodeId, lacks: bool) {
        self.changes += 1;
        self.marks.insert((shard, node), lacks);
    }

    pub(crate) fn stage_hint(&mut self, place: &HintPlace, hint: Option<&Hint>) {
        let key = record::hint_key(place);
        self.changes += 1;
        self.bytes += key.len() + hint.map_or(0, |hint| weight(&hint.object));
        self.hints.insert(key, hint.cloned());
    }

    pub(crate) fn stage_acceptor(&mut self, acceptor: Acceptor) {
        self.changes += 1;
        self.acceptor = Some(acceptor);
    }

    /// The number of changes taken in.
    pub(crate) fn changes(&self) -> usize {
        self.changes
    }

    /// Roughly the bytes taken in.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.changes == 0
    }
}

/// What an object counts for where bytes are limited: what clients wrote, and not how we
/// happen to encode it.
pub(crate) fn weight(object: &Object) -> usize {
    let values = object.values().values();
    values.map(|value| value.content_type.len() + value.body.len()).sum()
}
