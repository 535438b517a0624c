//! Keyspaces and tables: the contracts under which data is kept.

use std::collections::BTreeMap;

use crate::{KeyspaceId, Level, Name, Region, TableId};

/// Shards of a keyspace that does not say how many. Small enough that a laptop's cluster
/// stays light, large enough that a cluster of a dozen nodes is balanced within a few
/// per cent.
pub const SHARDS_DEFAULT: u16 = 64;

/// The most shards of a keyspace.
pub const SHARDS_MAX: u16 = 4096;

/// How many replicas are kept in which region.
pub type ReplicaMap = BTreeMap<Region, u8>;

/// A replication contract, declared once and then fixed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Keyspace {
    /// Its number in this cluster.
    pub id: KeyspaceId,
    /// Its name, unique in the cluster.
    pub name: Name,
    /// Into how many shards its keys are hashed: a power of two up to [`SHARDS_MAX`].
    pub shards: u16,
    /// How many replicas are kept where. At least one in all.
    pub replicas: ReplicaMap,
}

impl Keyspace {
    /// N: the replicas of one shard in all regions together.
    pub fn n(&self) -> u8 {
        self.replicas.values().fold(0, |n, replicas| n.saturating_add(*replicas))
    }
}

/// What becomes of concurrent values. Part of the table's identity: it must be declared,
/// and never changes behind an application's back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Policy {
    /// All are kept and handed to the application.
    Siblings,
}

impl Policy {
    /// Reads what [`as_str`](Self::as_str) writes.
    pub fn parse(text: &str) -> Option<Self> {
        (text == "siblings").then_some(Self::Siblings)
    }

    /// The policy as users write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Siblings => "siblings",
        }
    }
}

/// When a replica says that it has a write.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Durability {
    /// After `fsync`: the write survives the loss of power at every replica at once.
    #[default]
    Synced,
    /// After handing it to the operating system: the write survives the death of the
    /// process, and is lost if *all* replicas that have it lose power before they have
    /// brought it to disk, which each does about a second later.
    Buffered,
}

impl Durability {
    /// Reads what [`as_str`](Self::as_str) writes.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "synced" => Some(Self::Synced),
            "buffered" => Some(Self::Buffered),
            _ => None,
        }
    }

    /// The durability as users write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Synced => "synced",
            Self::Buffered => "buffered",
        }
    }
}

/// A conflict policy and defaults inside one keyspace.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Table {
    /// Its number in this cluster.
    pub id: TableId,
    /// The keyspace it is in.
    pub keyspace: KeyspaceId,
    /// Its name, unique in the keyspace.
    pub name: Name,
    /// What becomes of concurrent values.
    pub policy: Policy,
    /// When a replica says that it has a write.
    pub durability: Durability,
    /// Replicas that answer a read which does not say how many.
    pub read: Level,
    /// Replicas that acknowledge a write which does not say how many.
    pub write: Level,
}
