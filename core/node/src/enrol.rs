//! The disk that this node serves with, and what it is to the cluster (R6, R12).
//!
//! What a replica has acknowledged others rely on. So the catalog says with which disk each node is
//! [enrolled](catalog::Disks), and only a node that finds its own there takes part: it accepts
//! writes, answers reads, tells clocks and helps others to become equal. A node that comes back
//! with an empty disk, or with one that was replaced, does none of it.
//!
//! First disks cost nothing: whoever declares anything enrols all of which it has heard. A node that
//! was not there at that moment says so by itself, and a majority has to hear it, once in its
//! life. After that its own disk knows, and a node that comes back alone serves alone.

use std::collections::BTreeMap;

use catalog::Disks;
use model::{Declare, DiskId, DiskStatus, DiskStep, Enrolment, NodeId, Now, ShardId};
use mutant::{Mutant, is};

use crate::flight::Client;
use crate::message::Told;
use crate::shards::not_merged;
use crate::{
    After, Disk, Fetch, Fetched, Found, Message, Node, RequestId, Scan, Scanned, Turn, Verdict,
};

impl Node {
    /// What the disk of this node is to the cluster, as far as this node knows.
    pub fn enrolment(&self) -> Enrolment {
        self.in_force().enrolment(self.config.id, self.config.disk)
    }

    /// The disks of all nodes, as far as this node knows.
    pub fn disks(&self) -> &BTreeMap<NodeId, Disks> {
        &self.in_force().disks
    }

    /// The disk of this node, and how far it is whole.
    pub(crate) fn disk_status(&self) -> DiskStatus {
        let shards = self.contracts.kept_by(self.config.id).count() as u64;
        let whole = if self.takes_part { shards } else { self.joins.whole() };
        let (disk, enrolment) = (self.config.disk, self.enrolment());
        DiskStatus { disk, enrolment, shards, whole }
    }

    /// Whether a node is there, and serves with its disk: nobody who is made whole does.
    pub(crate) fn serves(&self, node: NodeId, now: Now) -> bool {
        if node == self.config.id {
            return self.takes_part;
        }
        let catalog = self.in_force();
        self.membership.is_alive(node, now)
            && catalog.is_enrolled(node)
            && catalog.joining(node).is_none()
    }

    /// Whether the disk of this node was replaced or given up.
    pub(crate) fn is_retired(&self) -> bool {
        self.enrolment() == Enrolment::Retired
    }

    /// Whether this node takes part in what replicas do.
    pub fn takes_part(&self) -> bool {
        self.takes_part
    }

    /// Another catalog is in force. Nobody relies on what a node has said whose disk is replaced.
    pub(crate) fn look_at_disks(&mut self) {
        let enrolment = self.enrolment();
        self.takes_part = match enrolment {
            Enrolment::Enrolled => true,
            Enrolment::Joining | Enrolment::Unannounced => is(Mutant::EmptyDiskTakesPart),
            Enrolment::New | Enrolment::Challenged | Enrolment::Retired => false,
        };
        let catalog = &self.acceptor.learned;
        for node in catalog.disks.keys().filter(|node| catalog.joining(**node).is_some()) {
            self.exchange.acks.drop_node(*node);
        }
        if enrolment != Enrolment::Joining {
            self.joins.stop();
        }
        if enrolment != Enrolment::Enrolled {
            // What comes next is not to wait for the next round.
            self.exchange.hurry();
        }
    }

    /// A node has said which disk it runs on.
    pub(crate) fn hear_disk(&mut self, from: NodeId, disk: Option<DiskId>) {
        match disk {
            Some(disk) => self.disks_heard.insert(from, disk),
            None => self.disks_heard.remove(&from),
        };
    }

    /// The first disks of all nodes that are known to have one.
    pub(crate) fn first_disks(&self) -> BTreeMap<NodeId, DiskId> {
        let mut disks = self.disks_heard.clone();
        disks.insert(self.config.id, self.config.disk);
        disks
    }

    /// Says what became of the disk of this node, if that is to be known.
    pub(crate) fn see_to_enrolment<D: Disk>(&mut self, turn: &mut Turn<'_, D>) {
        let disk = self.config.disk;
        let step = match self.enrolment() {
            // Where there are no keyspaces there is nothing to take part in.
            Enrolment::New if self.in_force().keyspaces.is_empty() => return,
            Enrolment::New | Enrolment::Challenged => DiskStep::IsBack(disk),
            Enrolment::Unannounced => DiskStep::Joins(disk),
            Enrolment::Joining if self.is_whole() => DiskStep::IsWhole(disk),
            Enrolment::Joining | Enrolment::Enrolled | Enrolment::Retired => return,
        };
        if !self.is_asking_itself() && self.check_majority(turn.now).is_ok() {
            let declare = Declare::Disk { node: self.config.id, step };
            self.asks_itself = Some(self.propose_later(Client::Nobody, declare, turn));
        }
    }

    /// Whether a declaration of this node itself is in hand, which is no request of a client.
    pub(crate) fn is_asking_itself(&self) -> bool {
        self.asks_itself.is_some_and(|id| self.flights.contains_key(&id))
    }

    /// What counts of a message (R12). A node whose disk was given up counts for nothing where data is
    /// spoken of, also before it has heard of that: what it holds alone may be salvaged, and comes
    /// in no other way. What it asks is not done, and who waits for an answer is told that there is
    /// none; what it answers is that it has failed.
    pub(crate) fn hear_of_data<D: Disk>(
        &mut self,
        from: NodeId,
        mut message: Message,
        turn: &mut Turn<'_, D>,
    ) -> Option<Message> {
        if !self.in_force().is_evicted(from) {
            return Some(message);
        }
        if self.refuses(from, &message, turn) {
            self.counts.evicted_messages += 1;
            return None;
        }
        if let Message::Forwarded(forwarded) = &message {
            self.counts.evicted_messages += 1;
            self.forward_refused(forwarded.request, turn);
            return None;
        }
        self.counts.evicted_messages += u64::from(fail(&mut message));
        Some(message)
    }

    /// Whether a node whose disk was given up asks or tells what only one that serves may.
    fn refuses<D: Disk>(&self, from: NodeId, message: &Message, turn: &mut Turn<'_, D>) -> bool {
        match message {
            Message::Merge(merge) => not_merged(from, merge.request, turn),
            Message::Fetch(Fetch { request, .. }) => {
                turn.send(from, Message::Fetched(not_fetched(*request)), After::Now);
            }
            Message::Scan(Scan { request, .. }) => {
                turn.send(from, Message::Scanned(not_scanned(*request)), After::Now);
            }
            Message::Clocks(_)
            | Message::Alike(_)
            | Message::Lack(_)
            | Message::Sent(_)
            | Message::Compare(_)
            | Message::Compared(_)
            | Message::Bring(_)
            | Message::Spared(_)
            | Message::Forgot(_)
            | Message::Holding { .. }
            | Message::Take { .. } => {}
            Message::Merged(_)
            | Message::Fetched(_)
            | Message::Scanned(_)
            | Message::Forward(_)
            | Message::Forwarded(_)
            | Message::Probe { .. }
            | Message::Probed { .. }
            | Message::Prepare { .. }
            | Message::Promised { .. }
            | Message::Accept { .. }
            | Message::Accepted { .. }
            | Message::Rejected { .. }
            | Message::Learn { .. }
            | Message::Gossip { .. }
            | Message::Follow(_)
            | Message::Followed(_)
            | Message::Vouch(_)
            | Message::Vouched(_)
            | Message::Doubt(_)
            | Message::Doubted(_)
            | Message::Recognise(_)
            | Message::Recognised(_)
            | Message::Examine(_)
            | Message::Examined(_) => return false,
        }
        true
    }

    /// Whether a shard is kept here by a node that takes part.
    pub(crate) fn keeps(&self, shard: ShardId) -> bool {
        self.takes_part() && self.is_placed_here(shard)
    }

    /// Whether a shard is to be kept here.
    pub(crate) fn is_placed_here(&self, shard: ShardId) -> bool {
        self.contracts.replicas(shard).contains(&self.config.id)
    }
}

/// Turns an answer of data into one that it has failed. Returns whether it was one.
fn fail(answer: &mut Message) -> bool {
    if let Message::Merged(merged) = answer {
        merged.verdict = Verdict::Failed;
    } else if let Message::Fetched(fetched) = answer {
        *fetched = not_fetched(fetched.request);
    } else if let Message::Scanned(scanned) = answer {
        *scanned = not_scanned(scanned.request);
    } else if let Message::Followed(followed) = answer {
        followed.shards.iter_mut().for_each(|(_, told)| *told = Told::Failed);
    } else if let Message::Recognised(recognised) = answer {
        recognised.found = None;
    } else {
        return false;
    }
    true
}

fn not_fetched(request: RequestId) -> Fetched {
    let (found, durable, staleness) = (Found::Failed, false, None);
    Fetched { request, found, durable, staleness, known: None, forgets: false }
}

fn not_scanned(request: RequestId) -> Scanned {
    Scanned { request, page: None, staleness: None, forgets: false }
}
