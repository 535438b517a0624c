//! One watch, on its way from the position that it began with to the one that it ends with.

use std::collections::{BTreeMap, BTreeSet};

use causality::DotSet;
use model::{Changed, Key, KeyspaceId, NodeId, Now, Object, Position, Reading, ShardId, TableId};

use crate::get::shown;
use crate::message::Stand;

/// A watch, until its client is answered.
#[derive(Debug)]
pub(crate) struct Feeding {
    pub(super) keyspace: KeyspaceId,
    pub(super) shards: u16,
    pub(super) n: u8,
    pub(super) table: TableId,
    pub(super) position: Position,
    pub(super) limit: usize,
    /// Until when it waits for something new.
    pub(super) waits_until: Now,
    pub(super) found: Vec<Changed>,
    pub(super) rewound: u64,
    /// Shards that are asked what there is, until they have told. None while they are asked to say
    /// when there is something new.
    pub(super) asked: BTreeMap<u16, Asked>,
    /// Shards of which nobody answered in this round.
    pub(super) silent: BTreeSet<u16>,
    /// Writes that the replica that is followed cannot show.
    pub(super) gaps: BTreeMap<u16, DotSet>,
    /// Whether a shard has more to tell.
    pub(super) more: bool,
    /// Whether this round reads, and whether one has.
    pub(super) reads: bool,
    pub(super) has_read: bool,
    /// A shard that nobody can tell all of any more.
    pub(super) expired: Option<u16>,
    /// Whether the watcher begins: then he is given a position, and nothing else.
    pub(super) begins: bool,
}

/// Who is asked for a shard.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) at: NodeId,
    pub(super) tried: Vec<NodeId>,
    /// What those lack that are behind.
    pub(super) behind: Vec<(DotSet, NodeId)>,
    pub(super) is_gone: bool,
}

impl Feeding {
    pub(super) fn shard(&self, index: u16) -> ShardId {
        ShardId { keyspace: self.keyspace, index }
    }

    /// How a shard stands, in this round.
    pub(super) fn stand(&self, index: u16) -> Stand {
        let Some(told) = self.position.followed.get(&index).cloned() else { return Stand::Now };
        match &self.position.reading {
            Some(reading) if self.reads => Stand::Reading(told, reading.after.clone()),
            Some(_) | None => Stand::At(told),
        }
    }

    /// The same while nothing is new: what cannot be shown is no news.
    pub(super) fn stand_waiting(&self, index: u16) -> Option<Stand> {
        let mut told = self.position.followed.get(&index)?.clone();
        if let Some(gaps) = self.gaps.get(&index) {
            let _ = told.union(gaps);
        }
        Some(Stand::At(told))
    }

    /// Whether all shards have clocks.
    pub(super) fn is_begun(&self) -> bool {
        (0..self.shards).all(|index| self.position.followed.contains_key(&index))
    }

    pub(super) fn take(&mut self, entries: Vec<(Key, Object)>) {
        let shown = |(key, object)| Changed { key, object: shown(object) };
        self.found.extend(entries.into_iter().map(shown));
    }

    /// Goes on behind what was read of a shard. What is newer there than what the watcher was told
    /// counts as told, or he could be shown something older.
    pub(super) fn has_read(&mut self, index: u16, entries: &[(Key, Object)], after: Option<Key>) {
        if let Some(told) = self.position.followed.get_mut(&index) {
            for (_, object) in entries {
                let _ = told.union(object.context());
            }
        }
        let next = index + 1;
        self.position.reading = match after {
            Some(_) => Some(Reading { shard: index, after }),
            None => (next < self.shards).then_some(Reading { shard: next, after: None }),
        };
    }

    /// Takes back what nobody has who answers.
    pub(super) fn rewind(&mut self, index: u16, lacks: &DotSet) {
        if let Some(clock) = self.position.followed.get_mut(&index) {
            self.rewound += clock.intersection(lacks).len();
            *clock = clock.difference(lacks);
        }
    }
}
