//! Monotonic reads: what was read is where every later read meets it.
//!
//! A write that only one replica has is seen by a read that asks that replica, and not by the
//! next that asks others. So a monotonic read does not answer when its level is met. What it
//! has found by then is its answer, and it first sees to it that so many replicas have it that
//! the others are too few for any read at the table's level.
//!
//! ```text
//! n1 "milk"  n2 "tea"  n3 "tea"     r = 2: n1, n2 answer     found "milk", at n1
//!                                   merge n2 "milk"          merged n2: answer "milk"
//!                                   whoever reads two of three meets n1 or n2
//! ```
//!
//! Mostly nothing is to be done: replicas agree, or are known by their clocks to have it.
//!
//! Source: the write-back of Attiya, Bar-Noy and Dolev, "Sharing Memory Robustly in
//! Message-Passing Systems" (JACM 1995).

use lattice::Lattice;
use model::{Ack, Need, NodeId};
use mutant::{Mutant, is};

use super::{Get, GetEffect};
use crate::Digest;

/// What a monotonic read waits for beside its level.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Settling<T> {
    /// Enough replicas that have it.
    need: Need,
    replicas: Vec<NodeId>,
    /// The answer, once the level is met.
    held: Option<Held<T>>,
    /// Replicas that have it.
    have: Vec<NodeId>,
    /// Replicas that were sent it.
    sent: Vec<NodeId>,
    /// Replicas that cannot be reached, or cannot take it.
    lost: Vec<NodeId>,
}

/// An answer that is held back.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Held<T> {
    pub(super) object: T,
    pub(super) digest: Digest,
    pub(super) acks: Vec<Ack>,
}

impl<T: Clone> Settling<T> {
    pub(super) fn new(need: Need, replicas: &[NodeId]) -> Self {
        let replicas = replicas.to_vec();
        Self { need, replicas, held: None, have: vec![], sent: vec![], lost: vec![] }
    }

    /// The answer that is held back.
    pub(super) fn held(&self) -> Option<&Held<T>> {
        self.held.as_ref()
    }

    pub(super) fn hold(&mut self, held: Held<T>) {
        self.held = Some(held);
    }

    /// A replica has it.
    pub(super) fn has(&mut self, node: NodeId) {
        if !self.have.contains(&node) {
            self.have.push(node);
        }
    }

    /// A replica will not say that it has it.
    pub(super) fn loses(&mut self, node: NodeId) {
        if !self.lost.contains(&node) {
            self.lost.push(node);
        }
    }

    /// Whether the replicas that have it are enough.
    pub(super) fn is_met(&self) -> bool {
        is(Mutant::WriteBackNotAwaited) || self.need.is_met(|node| self.have.contains(&node))
    }

    /// Whether they are, or may become so.
    pub(super) fn can_be_met(&self) -> bool {
        self.need.is_met(|node| self.may_have(node) || self.is_open(node))
    }

    /// Whether a replica was sent just this.
    pub(super) fn was_sent(&self, node: NodeId, digest: Digest) -> bool {
        let is_it = self.held.as_ref().is_some_and(|held| held.digest == digest);
        is_it && self.sent.contains(&node) && !self.lost.contains(&node)
    }

    /// Replicas to send it to: first those, and then as many others as it takes.
    pub(super) fn send(&mut self, first: &[NodeId]) -> Vec<NodeId> {
        let order = first.iter().copied().chain(self.replicas.clone());
        let mut out = Vec::new();
        for node in order {
            if self.need.is_met(|node| self.may_have(node)) {
                break;
            }
            if self.is_open(node) {
                self.sent.push(node);
                out.push(node);
            }
        }
        out
    }

    /// All replicas that may take it and were not asked to.
    pub(super) fn send_all(&mut self) -> Vec<NodeId> {
        let mut open = self.replicas.clone();
        open.retain(|node| self.is_open(*node));
        self.sent.extend_from_slice(&open);
        open
    }

    /// Whether a replica has it, or was sent it and may say so.
    fn may_have(&self, node: NodeId) -> bool {
        self.have.contains(&node) || self.sent.contains(&node) && !self.lost.contains(&node)
    }

    /// Whether a replica could be sent it.
    fn is_open(&self, node: NodeId) -> bool {
        self.replicas.contains(&node)
            && ![&self.have, &self.sent, &self.lost].iter().any(|nodes| nodes.contains(&node))
    }
}

impl<T: Lattice + Clone> Get<T> {
    /// The answer that is held back until enough replicas have it.
    pub(super) fn held(&self) -> Option<&Held<T>> {
        self.settling.as_ref()?.held()
    }

    /// Holds an answer back. Those who hold just this have it.
    pub(super) fn hold(
        &mut self,
        object: T,
        acks: Vec<Ack>,
        known: &[(NodeId, Digest)],
        out: &mut Vec<GetEffect<T>>,
    ) {
        let digest = (self.digest)(&object);
        let Some(settling) = &mut self.settling else { return };
        settling.hold(Held { object: object.clone(), digest, acks });
        for (node, theirs) in known {
            if *theirs == digest && self.guests.stands_for(*node).is_none() {
                settling.has(*node);
            }
        }
        if !settling.is_met() {
            out.push(GetEffect::Settle(object));
        }
        self.answer_settled(out);
    }

    /// A replica told what it holds: it may be what is held back.
    pub(super) fn agrees(&mut self, node: NodeId, digest: Digest) {
        let is_it = self.held().is_some_and(|held| held.digest == digest);
        let is_guest = self.guests.stands_for(node).is_some();
        if let Some(settling) = self.settling.as_mut().filter(|_| is_it && !is_guest) {
            settling.has(node);
        }
    }

    /// Some are known to have what is held back. It is sent to as many of the others as it takes,
    /// first to those who answered and lag.
    pub(super) fn known_at(
        &mut self,
        have: &[NodeId],
        away: &[NodeId],
        out: &mut Vec<GetEffect<T>>,
    ) {
        let lagging: Vec<NodeId> = self.known().into_iter().map(|(node, _)| node).collect();
        let Some(settling) = &mut self.settling else { return };
        have.iter().for_each(|node| settling.has(*node));
        away.iter().for_each(|node| settling.loses(*node));
        let to = settling.send(&lagging);
        self.write_back(to, out);
    }

    /// A replica cannot be reached, or cannot take it: another one has to.
    pub(super) fn loses(&mut self, node: NodeId, out: &mut Vec<GetEffect<T>>) {
        let Some(settling) = &mut self.settling else { return };
        settling.loses(node);
        if settling.held().is_some() {
            let to = settling.send(&[]);
            self.write_back(to, out);
        }
    }

    pub(super) fn write_back_to_all(&mut self, out: &mut Vec<GetEffect<T>>) {
        let Some(settling) = self.settling.as_mut().filter(|_| !self.is_answered) else { return };
        let to = settling.send_all();
        self.write_back(to, out);
    }

    pub(super) fn write_back(&self, to: Vec<NodeId>, out: &mut Vec<GetEffect<T>>) {
        let Some(held) = self.held() else { return };
        out.extend(to.into_iter().map(|node| GetEffect::Merge(node, held.object.clone())));
    }

    /// Answers what is held back, if enough replicas have it, or can have it no more.
    pub(super) fn answer_settled(&mut self, out: &mut Vec<GetEffect<T>>) {
        let Some(settling) = &self.settling else { return };
        let Some(Held { object, acks, .. }) = settling.held() else { return };
        if settling.is_met() {
            out.push(GetEffect::Met(object.clone(), acks.clone()));
        } else if !settling.can_be_met() {
            out.push(GetEffect::Unsettled(acks.clone()));
        } else {
            return;
        }
        self.is_answered = true;
    }
}
