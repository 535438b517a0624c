//! What one request waits for: answers, of replicas or of guests, and more that only
//! replicas can give.
//!
//! A guest answers in the place of one absent replica, and its answer counts as the one of
//! that replica: never twice, and never beside it. Some demands are about the replicas
//! themselves (`pr`, `pw`, a strict answer, zones); there a guest is nobody.

use crate::{Ack, Need, NodeId};

/// Whom one read waits for.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct ReadNeed {
    /// Answers, of replicas or of guests in their place.
    pub answers: Need,
    /// Answers of replicas.
    pub primaries: Need,
}

/// Whom one write waits for.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct WriteNeed {
    /// Acknowledgements, of replicas or of guests in their place.
    pub acks: Need,
    /// Acknowledgements of replicas.
    pub primaries: Need,
    /// Acknowledgements that say "on disk", of replicas or of guests in their place.
    pub disks: Need,
}

/// Whether somebody answered for this replica, itself or a guest.
pub fn has_vote(acks: &[Ack], replica: NodeId) -> bool {
    acks.iter().any(|ack| ack.voter() == replica)
}

/// Whether this replica answered itself.
pub fn has_replica(acks: &[Ack], replica: NodeId) -> bool {
    acks.iter().any(|ack| ack.voter() == replica && ack.is_primary())
}

/// Both together, as one need of replicas. Without a copy unless there are two.
fn together(one: &Need, other: &Need) -> Need {
    if other.is_empty() { one.clone() } else { one.clone().and(other.clone()) }
}

impl ReadNeed {
    /// Whether these answers are enough.
    pub fn is_met(&self, acks: &[Ack]) -> bool {
        self.answers.is_met(|node| has_vote(acks, node))
            && self.primaries.is_met(|node| has_replica(acks, node))
    }

    /// As [`is_met`](Self::is_met), whatever others wait for.
    pub fn is_met_alone(&self, acks: &[Ack]) -> bool {
        self.answers.is_met_alone(|node| has_vote(acks, node))
            && self.primaries.is_met_alone(|node| has_replica(acks, node))
    }

    /// How many replicas it takes: no fewer can be enough, whichever they are.
    pub fn least(&self) -> u8 {
        self.whole().least()
    }

    /// All of it as a need of replicas, for those who ask no guests.
    pub fn whole(&self) -> Need {
        together(&self.answers, &self.primaries)
    }

    /// Says what is lacking, for people.
    pub fn lacking(&self, acks: &[Ack]) -> String {
        match self.answers.lacking(|node| has_vote(acks, node)) {
            lacks if lacks.is_empty() => self.primaries.lacking(|node| has_replica(acks, node)),
            lacks => lacks,
        }
    }
}

impl WriteNeed {
    /// How many replicas it takes: no fewer can be enough, whichever they are.
    pub fn least(&self) -> u8 {
        together(&self.acks, &self.primaries).least().max(self.disks.least())
    }

    /// Whether these are enough, whatever others wait for and however durable they are.
    pub fn is_acked_alone(&self, acks: &[Ack]) -> bool {
        self.acks.is_met_alone(|node| has_vote(acks, node))
            && self.primaries.is_met_alone(|node| has_replica(acks, node))
    }

    /// Says what acknowledgements are lacking, for people.
    pub fn lacking(&self, acks: &[Ack]) -> String {
        match self.acks.lacking(|node| has_vote(acks, node)) {
            lacks if lacks.is_empty() => self.primaries.lacking(|node| has_replica(acks, node)),
            lacks => lacks,
        }
    }
}
