//! One write on its way to its replicas, and to guests where replicas are away.

use lattice::Change;
use model::{Ack, NodeId, WriteNeed, has_replica, has_vote};
use mutant::{Mutant, is};

use crate::Guests;

/// What happened to a write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PutEvent {
    /// A replica or guest has merged it, and says whether it is on disk there.
    Merged {
        /// Which.
        node: NodeId,
        /// Whether it is on disk there.
        durable: bool,
    },
    /// A replica or guest could not merge it, or cannot be reached.
    Failed(NodeId),
    /// The answers take long: guests stand in for whoever has not answered, and others beside
    /// guests that have not. May come again.
    Slow,
    /// The client waits no longer.
    Deadline,
}

/// What a write wants done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PutEffect {
    /// Send it to this replica.
    Merge(NodeId),
    /// Send it to a guest, for this replica.
    Stand {
        /// To whom.
        guest: NodeId,
        /// Who is to have it from there.
        replica: NodeId,
    },
    /// Answer: enough have it.
    Met(Vec<Ack>),
    /// Answer: too few said that they have it. These did; nothing was undone.
    Unmet(Vec<Ack>),
}

/// One write, until its client is answered.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Put {
    need: WriteNeed,
    guests: Guests,
    /// Replicas and guests that may still answer, by node.
    waiting: Vec<NodeId>,
    /// Those that have it, by node.
    acks: Vec<Ack>,
    is_done: bool,
}

impl Put {
    /// Sends a write to all its replicas. Guests are called when replicas fail.
    pub fn start(
        replicas: &[NodeId],
        guests: Guests,
        need: WriteNeed,
        out: &mut Vec<PutEffect>,
    ) -> Self {
        out.extend(replicas.iter().map(|node| PutEffect::Merge(*node)));
        let mut waiting = replicas.to_vec();
        waiting.sort_unstable();
        let acks = Vec::with_capacity(replicas.len());
        Self { need, guests, waiting, acks, is_done: false }
    }

    /// Whom it waits for.
    pub fn need(&self) -> &WriteNeed {
        &self.need
    }

    /// Whether the client has been answered, and nothing remains to be done.
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// Takes in what happened.
    pub fn step(&mut self, event: PutEvent, out: &mut Vec<PutEffect>) {
        if self.is_done {
            return;
        }
        match event {
            PutEvent::Merged { node, durable } => self.merged(node, durable),
            PutEvent::Failed(node) if is(Mutant::FailureCounts) => self.merged(node, true),
            PutEvent::Failed(node) => self.failed(node, out),
            PutEvent::Slow => self.slow(out),
            PutEvent::Deadline => self.waiting.clear(),
        }
        self.answer(out);
    }

    /// Who was not asked, or has answered, has no second vote.
    fn merged(&mut self, node: NodeId, durable: bool) {
        let durable = durable || is(Mutant::BufferedCountsAsDurable);
        if self.hear(node) == Change::Grew {
            self.add(node, durable);
        } else if is(Mutant::DoubledAckCounts)
            && let Some(other) = self.waiting.first().copied()
        {
            let _ = self.hear(other);
            self.add(other, durable);
        }
    }

    /// Another one takes the place of a replica, or of the guest in its place.
    fn failed(&mut self, node: NodeId, out: &mut Vec<PutEffect>) {
        if self.hear(node) == Change::Unchanged {
            return;
        }
        match self.guests.stands_for(node) {
            None => self.stand_in(node, out),
            Some(_) => {
                if let Some(replica) = self.guests.fail(node) {
                    self.stand_in(replica, out);
                }
            }
        }
    }

    /// Calls guests to the place of all who say nothing: of replicas first, and then beside
    /// guests, who may be cut off as well.
    fn slow(&mut self, out: &mut Vec<PutEffect>) {
        let is_guest = |node: &NodeId| self.guests.stands_for(*node).is_some();
        let (guests, mut replicas): (Vec<_>, Vec<_>) =
            self.waiting.iter().partition(|node| is_guest(node));
        // There may be fewer guests than that: first for those who would make it enough.
        replicas.sort_by_key(|node| !self.wants(*node));
        for replica in replicas {
            self.stand_in(replica, out);
        }
        for guest in guests {
            let Some(replica) = self.guests.stands_for(guest) else { continue };
            let another = match is(Mutant::SilentGuestKept) {
                true => None,
                false => self.guests.call_another(replica),
            };
            self.stand(another, replica, out);
        }
    }

    /// Calls a guest to the place of a replica. A guest has no guests.
    fn stand_in(&mut self, replica: NodeId, out: &mut Vec<PutEffect>) {
        let guest = self.guests.call(replica);
        self.stand(guest, replica, out);
    }

    fn stand(&mut self, guest: Option<NodeId>, replica: NodeId, out: &mut Vec<PutEffect>) {
        let Some(guest) = guest else { return };
        let index = self.waiting.partition_point(|node| *node < guest);
        self.waiting.insert(index, guest);
        out.push(PutEffect::Stand { guest, replica });
    }

    /// Waits no longer for a node.
    fn hear(&mut self, node: NodeId) -> Change {
        let Ok(index) = self.waiting.binary_search(&node) else { return Change::Unchanged };
        self.waiting.remove(index);
        Change::Grew
    }

    /// Two guests of one replica are one vote, and the first of them is named.
    fn add(&mut self, node: NodeId, durable: bool) {
        let ack = Ack { node, durable, stands_for: self.guests.stands_for(node) };
        let is_same = |other: &Ack| ack.stands_for.is_some() && other.stands_for == ack.stands_for;
        if self.acks.iter().any(is_same) {
            return;
        }
        let index = self.acks.partition_point(|other| other.node < ack.node);
        self.acks.insert(index, ack);
    }

    fn answer(&mut self, out: &mut Vec<PutEffect>) {
        if self.is_met() {
            out.push(PutEffect::Met(self.acks.clone()));
            self.is_done = true;
        } else if !self.can_be_met() {
            out.push(PutEffect::Unmet(self.acks.clone()));
            self.is_done = true;
        }
    }

    fn is_met(&self) -> bool {
        let acked = self.need.acks.is_met(|node| self.has(node))
            || (is(Mutant::PutAnswersEarly) && self.lacks_one());
        acked
            && self.need.primaries.is_met(|node| has_replica(&self.acks, node))
            && self.need.disks.is_met(|node| self.has_on_disk(node))
    }

    /// Whether somebody has it for this replica.
    fn has(&self, node: NodeId) -> bool {
        has_vote(&self.acks, node) || (is(Mutant::GuestsCountTwice) && self.is_doubled())
    }

    /// Whether a guest has it, and the replica that it stands in for, too.
    fn is_doubled(&self) -> bool {
        let guests = self.acks.iter().filter(|ack| !ack.is_primary());
        guests.map(Ack::voter).any(|replica| has_replica(&self.acks, replica))
    }

    /// Whether an answer for this replica would bring the write nearer to enough.
    fn wants(&self, replica: NodeId) -> bool {
        self.need.acks.wants(replica, |node| self.has(node))
            || self.need.disks.wants(replica, |node| self.has_on_disk(node))
    }

    fn has_on_disk(&self, node: NodeId) -> bool {
        self.acks.iter().any(|ack| ack.voter() == node && ack.durable)
    }

    /// Whether the acknowledgement of one more replica would be enough.
    fn lacks_one(&self) -> bool {
        let with = |one: NodeId| self.need.acks.is_met(|node| node == one || self.has(node));
        self.waiting.iter().any(|one| with(*one))
    }

    /// Whether somebody may still answer for this replica.
    fn may_answer_for(&self, replica: NodeId) -> bool {
        let is_for = |node: &NodeId| self.guests.stands_for(*node) == Some(replica);
        self.waiting.contains(&replica) || self.waiting.iter().any(is_for)
    }

    fn can_be_met(&self) -> bool {
        let may_ack = |node: NodeId| self.may_answer_for(node) || self.has(node);
        let may_itself =
            |node: NodeId| self.waiting.contains(&node) || has_replica(&self.acks, node);
        let may_sync = |node: NodeId| self.may_answer_for(node) || self.has_on_disk(node);
        self.need.acks.is_met(may_ack)
            && self.need.primaries.is_met(may_itself)
            && self.need.disks.is_met(may_sync)
    }
}

#[cfg(test)]
mod tests;
