//! Whom a read asks, and who is asked instead.

use lattice::{Change, Lattice};
use model::{NodeId, has_replica, has_vote};

use super::{Get, GetEffect, Heard, Want};

impl<T: Lattice + Clone> Get<T> {
    pub(super) fn ask(&mut self, node: NodeId, want: Want, out: &mut Vec<GetEffect<T>>) {
        self.asked.insert(node, Heard::Nothing);
        out.push(GetEffect::Fetch(node, want));
    }

    /// Asks spares until those asked are enough, or none is left that would help. The first
    /// of all is asked for the object. Guests are asked when the spares cannot help any more.
    pub(super) fn ask_enough(&mut self, want: Want, out: &mut Vec<GetEffect<T>>) {
        loop {
            let is_able = |node: NodeId| self.is_asked(node);
            let wanted = |node: &NodeId| {
                self.need.answers.wants(*node, |node| is_able(node) || self.has_stand_in(node))
                    || self.need.primaries.wants(*node, is_able)
            };
            let Some(index) = self.spares.iter().position(wanted) else { break };
            let want = if self.asked.is_empty() { Want::Full } else { want };
            if let Some(node) = self.spares.remove(index) {
                self.ask(node, want, out);
            }
        }
        self.ask_guests(out);
    }

    /// Asks a guest for each replica that failed and is needed.
    pub(super) fn ask_guests(&mut self, out: &mut Vec<GetEffect<T>>) {
        let failed =
            |(node, heard): (&NodeId, &Heard<T>)| matches!(heard, Heard::Failed).then_some(*node);
        let failed: Vec<NodeId> = self.asked.iter().filter_map(failed).collect();
        for replica in failed {
            let may_answer = |node: NodeId| self.is_able(node) || self.has_stand_in(node);
            if self.guests.stands_for(replica).is_none()
                && self.need.answers.wants(replica, may_answer)
            {
                self.stand_in(replica, out);
            }
        }
    }

    pub(super) fn stand_in(&mut self, replica: NodeId, out: &mut Vec<GetEffect<T>>) {
        if let Some(guest) = self.guests.call(replica) {
            self.ask(guest, Want::Full, out);
        }
    }

    pub(super) fn has_stand_in(&self, replica: NodeId) -> bool {
        self.guests.has_stand_in(replica)
    }

    /// Whether a replica was asked, and has told what it holds or may.
    pub(super) fn is_asked(&self, node: NodeId) -> bool {
        !matches!(self.asked.get(&node), None | Some(Heard::Failed))
    }

    /// Asks one spare for the object, who could take the place of any that is late: of the one
    /// that was asked for the object as well as of one that was asked for a digest.
    pub(super) fn ask_one(&mut self, out: &mut Vec<GetEffect<T>>) {
        if self.is_answered {
            return;
        }
        let acks = self.acks(&self.known());
        let wanted = |node: &NodeId| {
            self.need.answers.wants(*node, |node| has_vote(&acks, node))
                || self.need.primaries.wants(*node, |node| has_replica(&acks, node))
        };
        let Some(index) = self.spares.iter().position(wanted) else { return };
        if let Some(node) = self.spares.remove(index) {
            self.ask(node, Want::Full, out);
        }
    }

    /// Asks every spare for the object, and those who sent digests too: the one replica
    /// that was asked for the object may be the slow one. No guests: who is slow knows more
    /// than they do.
    pub(super) fn ask_others(&mut self, out: &mut Vec<GetEffect<T>>) {
        if self.is_answered {
            return;
        }
        while let Some(node) = self.spares.pop_front() {
            self.ask(node, Want::Full, out);
        }
        for (node, heard) in &mut self.asked {
            if matches!(heard, Heard::Digest(_)) {
                *heard = Heard::Differs;
                out.push(GetEffect::Fetch(*node, Want::Full));
            }
        }
    }

    /// Gives up on whoever was asked, or would have been, and asks spares and guests instead.
    pub(super) fn fail(&mut self, node: NodeId, out: &mut Vec<GetEffect<T>>) {
        if let Some(index) = self.spares.iter().position(|spare| *spare == node) {
            self.spares.remove(index);
            self.asked.insert(node, Heard::Failed);
            return;
        }
        let change = self.hear(node, Heard::Failed);
        if change == Change::Unchanged || self.is_answered {
            return;
        }
        if let Some(replica) = self.guests.fail(node) {
            self.stand_in(replica, out);
        }
        self.ask_enough(Want::Full, out);
    }
}
