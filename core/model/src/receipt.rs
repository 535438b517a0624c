//! What an answer says about who took part.
//!
//! An answer from two replicas of three is worth something else than one from all, and
//! the client cannot know unless it is told. Every answer therefore carries a receipt.

use std::collections::BTreeSet;
use std::time::Duration;

use causality::Dot;

use crate::{NodeId, ShardId};

/// One node's part in an answer.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Ack {
    /// Who.
    pub node: NodeId,
    /// Of a write: whether it is on this node's disk, and not only in its memory. Of
    /// a read: always `false`, nothing was asked.
    pub durable: bool,
    /// The absent replica that a guest stands in for. Nothing for a replica.
    pub stands_for: Option<NodeId>,
}

impl Ack {
    /// The part of a replica.
    pub fn of_replica(node: NodeId, durable: bool) -> Self {
        Self { node, durable, stands_for: None }
    }

    /// The replica whose vote this is.
    pub fn voter(&self) -> NodeId {
        self.stands_for.unwrap_or(self.node)
    }

    /// Whether it comes from a replica, and not from a guest.
    pub fn is_primary(&self) -> bool {
        self.stands_for.is_none()
    }
}

/// What an answer is worth, the least first.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// No replica took part, only guests. Of a request's minimum: there is none.
    #[default]
    Any,
    /// Those who took part need not meet those of other requests.
    Partial,
    /// They would meet those of every opposite request at the table's default level if each
    /// guest were the replica that it stands in for.
    Sloppy,
    /// The replicas that took part meet those of every opposite request at the table's
    /// default level, wherever it is coordinated: a strict read sees every write acknowledged at the default level
    /// before it began, and a strict write is seen by every later read at the default
    /// level. (This is intersection, and not linearizability.) In a sloppy keyspace a write
    /// counts as acknowledged at that level if the replicas among those that acknowledged it
    /// are enough without the guests.
    Strict,
}

impl Kind {
    /// Reads what [`as_str`](Self::as_str) writes.
    pub fn parse(text: &str) -> Option<Self> {
        let all = [Self::Any, Self::Partial, Self::Sloppy, Self::Strict];
        all.into_iter().find(|kind| kind.as_str() == text)
    }

    /// The kind as users see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Sloppy => "sloppy",
            Self::Partial => "partial",
            Self::Any => "any",
        }
    }
}

/// How much the answers of those who took part count together, where a table gives votes.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Cast {
    /// Their votes, those of guests being the votes of whom they stand in for.
    pub got: u16,
    /// The votes of all replicas.
    pub of: u16,
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
    /// Who took part by the time of the answer, by node.
    pub acks: Vec<Ack>,
    /// How many had to, at the least.
    pub wanted: u8,
    /// N: how many replicas there are.
    pub replicas: u8,
    /// The votes behind the answer. Nothing if each replica has one.
    pub cast: Option<Cast>,
    /// Of a read: no write that was acknowledged at least so long before the read began is
    /// missing, at whatever level it was acknowledged. In whole milliseconds. Nothing if that is
    /// not known, and for a write.
    pub staleness: Option<Duration>,
}

impl Receipt {
    /// On how many disks the write stays. What a guest has goes when its replica has it, so both
    /// together are one.
    pub fn durable(&self) -> usize {
        votes(self.acks.iter().filter(|ack| ack.durable))
    }

    /// How many replicas took part, or had a guest do so.
    pub fn votes(&self) -> usize {
        votes(&self.acks)
    }
}

/// For how many replicas these speak.
pub fn votes<'a>(acks: impl IntoIterator<Item = &'a Ack>) -> usize {
    let voters: BTreeSet<NodeId> = acks.into_iter().map(Ack::voter).collect();
    voters.len()
}
