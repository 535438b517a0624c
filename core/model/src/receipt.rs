//! What an answer says about who took part.
//!
//! An answer from two replicas of three is worth something else than one from all, and
//! the client cannot know unless it is told. Every answer therefore carries a receipt.

use causality::Dot;

use crate::{NodeId, ShardId};

/// One replica's part in an answer.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Ack {
    /// Who.
    pub node: NodeId,
    /// Of a write: whether it is on this replica's disk, and not only in its memory. Of
    /// a read: always `false`, nothing was asked.
    pub durable: bool,
}

/// What an answer is worth, the least first.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// They need not meet those of other requests.
    #[default]
    Partial,
    /// The replicas that took part meet those of every opposite request at the table's
    /// default level, wherever it is coordinated: a strict read sees every write acknowledged at the default level
    /// before it began, and a strict write is seen by every later read at the default
    /// level. (This is intersection, and not linearizability.)
    Strict,
}

impl Kind {
    /// Reads what [`as_str`](Self::as_str) writes.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Partial, Self::Strict].into_iter().find(|kind| kind.as_str() == text)
    }

    /// The kind as users see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Partial => "partial",
        }
    }
}

/// Who took part in an answer, and what it is worth.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Receipt {
    /// What the answer is worth.
    pub kind: Kind,
    /// The write that was accepted; nothing for a read.
    pub dot: Option<Dot>,
    /// The shard that was read or written.
    pub shard: ShardId,
    /// The replicas that took part by the time of the answer, by node.
    pub acks: Vec<Ack>,
    /// How many had to, at the least.
    pub wanted: u8,
    /// N: how many replicas there are.
    pub replicas: u8,
}

impl Receipt {
    /// How many replicas said that the write is on their disk.
    pub fn durable(&self) -> usize {
        self.acks.iter().filter(|ack| ack.durable).count()
    }
}
