//! What a table can do at a moment, in numbers.

use std::collections::BTreeSet;

use crate::{Name, NodeId};

/// What one table can do now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TableHealth {
    /// The keyspace it is in.
    pub keyspace: Name,
    /// Its name.
    pub table: Name,
    /// How many shards it has.
    pub shards: u16,
    /// Reads at the default level.
    pub reads: Ability,
    /// Writes at the default level.
    pub writes: Ability,
    /// Replicas of shards that cannot do one of the two, that are not alive.
    pub missing: BTreeSet<NodeId>,
}

/// In how many shards something can be done.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Ability {
    /// Where it can be done.
    pub shards: u16,
    /// Where it can be done, and could not after the loss of one more node.
    pub fragile: u16,
}

impl TableHealth {
    /// Whether everything can be done everywhere.
    pub fn is_whole(&self) -> bool {
        self.reads.shards == self.shards && self.writes.shards == self.shards
    }
}
