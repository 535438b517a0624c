//! What was heard, and whether it is enough for an answer.

use lattice::Lattice;
use model::{Ack, NodeId, has_replica, has_vote};
use mutant::{Mutant, is};

use super::{Extent, Get, GetEffect, Heard};
use crate::Digest;

impl<T: Lattice + Clone> Get<T> {
    /// The replicas of which is known what they hold, and its digest.
    pub(super) fn known(&self) -> Vec<(NodeId, Digest)> {
        let known = |(node, heard): (&NodeId, &Heard<T>)| match heard {
            Heard::Object(_, digest) => Some((*node, *digest)),
            Heard::Digest(digest) if self.holds(*digest) || is(Mutant::DigestIgnored) => {
                Some((*node, *digest))
            }
            Heard::Digest(_) | Heard::Nothing | Heard::Differs | Heard::Failed => None,
        };
        self.asked.iter().filter_map(known).collect()
    }

    pub(super) fn merged(&self) -> Option<T> {
        let objects = self.asked.values().filter_map(|heard| match heard {
            Heard::Object(object, digest) => Some((object, *digest)),
            Heard::Nothing | Heard::Digest(_) | Heard::Differs | Heard::Failed => None,
        });
        let mut merged: Option<(T, Digest)> = None;
        for (object, digest) in objects {
            match &mut merged {
                None => merged = Some((object.clone(), digest)),
                Some((_, first)) if *first == digest => {}
                Some((merged, _)) => {
                    let _ = merged.merge(object.clone());
                }
            }
        }
        merged.map(|(merged, _)| merged)
    }

    pub(super) fn answer(&mut self, out: &mut Vec<GetEffect<T>>) {
        if self.is_answered {
            return;
        }
        if self.held().is_some() {
            return self.answer_settled(out);
        }
        if let Extent::Everybody(_) = self.extent {
            if !self.is_waiting() {
                self.give_up(out);
            }
            return;
        }
        let known = self.known();
        let acks = self.acks(&known);
        let early = || {
            let with =
                |one: NodeId| self.need.answers.is_met(|node| node == one || has_vote(&acks, node));
            is(Mutant::GetAnswersEarly) && self.asked.keys().any(|one| with(*one))
        };
        if self.is_behind && self.need.is_met(&acks) {
            // What these lack others may have.
            return self.ask_others(out);
        }
        if (self.need.is_met(&acks) || early())
            && let Some(merged) = self.merged()
        {
            if self.is_monotonic() {
                return self.hold(merged, acks, &known, out);
            }
            self.is_answered = true;
            out.push(GetEffect::Met(merged, acks));
            return;
        }
        if !self.can_be_met(&acks) {
            self.give_up(out);
        }
    }

    pub(super) fn can_be_met(&self, acks: &[Ack]) -> bool {
        let may_answer =
            |node: NodeId| self.is_able(node) || self.has_stand_in(node) || has_vote(acks, node);
        let may_itself = |node: NodeId| self.is_able(node) || has_replica(acks, node);
        self.need.answers.is_met(may_answer) && self.need.primaries.is_met(may_itself)
    }

    /// Those who are known to hold something, as a receipt names them.
    pub(super) fn acks(&self, known: &[(NodeId, Digest)]) -> Vec<Ack> {
        let ack = |(node, _): &(NodeId, Digest)| {
            let stands_for = self.guests.stands_for(*node);
            Ack { node: *node, durable: false, stands_for }
        };
        let replicas = known.iter().filter(|(node, _)| !self.is_bystander(*node));
        replicas.map(ack).collect()
    }

    /// How these would be named in a receipt, if they took part.
    pub fn acks_of(&self, nodes: &[NodeId]) -> Vec<Ack> {
        let ack = |node: &NodeId| {
            let stands_for = self.guests.stands_for(*node);
            Ack { node: *node, durable: false, stands_for }
        };
        nodes.iter().map(ack).collect()
    }

    /// Whether a node was asked without having a vote.
    pub(super) fn is_bystander(&self, node: NodeId) -> bool {
        matches!(&self.extent, Extent::Everybody(guests) if guests.contains(&node))
    }

    /// Whether somebody who was asked may still answer.
    pub(super) fn is_waiting(&self) -> bool {
        let open = |heard: &Heard<T>| matches!(heard, Heard::Nothing | Heard::Differs);
        self.asked.values().any(open)
    }

    /// Whether a replica has told what it holds, or may.
    pub(super) fn is_able(&self, node: NodeId) -> bool {
        match self.asked.get(&node) {
            Some(heard) => !matches!(heard, Heard::Failed),
            None => self.spares.contains(&node),
        }
    }
}
