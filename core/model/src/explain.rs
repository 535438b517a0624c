//! What each replica holds of a key, for somebody who wonders at an answer.
//!
//! A read shows what some replicas hold together. Why it shows this and not more is seen only if
//! each of them is heard apart: who has which value, who has dropped it for another, who has
//! never heard of it, and who does not answer. And which of them a read would ask now.

use std::time::Duration;

use crate::{Key, Kind, Name, NodeId, Object, ShardId};

/// Ask each replica of a key, and each guest, what it holds. Changes nothing, and repairs nothing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Explain {
    /// In which keyspace.
    pub keyspace: Name,
    /// In which table.
    pub table: Name,
    /// Under which key.
    pub key: Key,
    /// How long to wait for those who do not answer.
    pub timeout: Duration,
}

/// What one of them told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Told {
    /// What it holds; of a guest, what it keeps for others.
    pub object: Object,
    /// Whether that is on its disk.
    pub durable: bool,
}

/// One of those who may hold something under a key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Holding {
    /// Which node.
    pub node: NodeId,
    /// Whether it is no replica, and only stands in for those.
    pub is_guest: bool,
    /// What it told. Nothing if it did not answer.
    pub told: Option<Told>,
}

/// What everybody holds under a key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Explained {
    /// The shard that the key is in.
    pub shard: ShardId,
    /// Its replicas, in the order of the layout, and then its guests.
    pub holdings: Vec<Holding>,
    /// Whom a read at the table's level would ask now. Nobody if it would not be attempted.
    pub asks: Vec<NodeId>,
    /// What its answer would be worth if these answer.
    pub kind: Kind,
    /// What those hold together who told and would be asked.
    pub shown: Object,
    /// What all who told hold together.
    pub merged: Object,
}
