//! Which nodes a node could count on all the time, and what it therefore must not refuse.
//!
//! A sloppy keyspace promises that no write is refused for want of replicas while enough nodes
//! are there, whichever they are. To hold a node to that one has to know what was there, without
//! asking the node: so it is noted here what was wrong, and until when, with each way from one
//! node to another and with each node. A node can be *counted on* by another if nothing was
//! wrong with either, and with both ways between them, since long before the write began.
//!
//! ```text
//! way     a message was lost, damaged or late; the nodes were told that their connection broke
//! node    it started, stood still or was slow; its clock jumped or ran at another speed
//! ```
//!
//! Then every choice of whom the guests stand in for is tried: only if each of them is enough
//! for the level, a write that was not attempted is a broken promise. So is one of unknown
//! outcome, if the node keeps a replica itself and the client was patient: guests that say
//! nothing are followed by others. A write that is passed on is excused: what another node
//! does with it is judged by what that one could count on. Guests count if they have not said
//! meanwhile that they have no room for it, each time truly, see [`rooms`](crate::rooms).

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Ack, Failure, Kind, NodeId, Put, Refusal, Request, WriteOptions};

use crate::invariant::Invariant;
use crate::levels::Poll;
use crate::oracle::Spot;
use crate::report::Broken;
use crate::world::{Open, World};

/// A message that takes longer, beside the distance of its nodes, is late; so is a disk.
const PROMPT: u64 = 100_000;

/// A client that waits as long as this sees several guests called in the place of each replica.
const PATIENCE: Duration = Duration::from_millis(2_000);

/// How long nothing must have been wrong before a write begins: a node that was silent for two
/// seconds is probed at least each half a second, and what it is accused of takes a second to end.
const SETTLED: u64 = 4_000_000;

/// What was wrong last, and until when.
#[derive(Default)]
pub(crate) struct Troubles {
    ways: BTreeMap<(NodeId, NodeId), u64>,
    nodes: BTreeMap<NodeId, u64>,
}

impl Troubles {
    /// Something is wrong with a way until then.
    pub(crate) fn of_way(&mut self, from: NodeId, to: NodeId, until: u64) {
        let last = self.ways.entry((from, to)).or_default();
        *last = until.max(*last);
    }

    /// A message on this way takes so long from now, and may take so long.
    pub(crate) fn of_message(&mut self, way: (NodeId, NodeId), now: u64, after: u64, far: u64) {
        if far + PROMPT < after {
            self.of_way(way.0, way.1, now + after);
        }
    }

    /// The disk of a node takes so long from now.
    pub(crate) fn of_disk(&mut self, node: NodeId, now: u64, after: u64) {
        if PROMPT < after {
            self.of_node(node, now + after);
        }
    }

    /// Something is wrong with a node until then.
    pub(crate) fn of_node(&mut self, node: NodeId, until: u64) {
        let last = self.nodes.entry(node).or_default();
        *last = until.max(*last);
    }

    /// Whether nothing was wrong with a node since that time.
    fn is_sound(&self, node: NodeId, since: u64) -> bool {
        self.nodes.get(&node).is_none_or(|until| *until < since)
    }

    /// Whether nothing was wrong between two nodes since that time.
    fn is_clear(&self, a: NodeId, b: NodeId, since: u64) -> bool {
        let is_clear = |way| self.ways.get(&way).is_none_or(|until| *until < since);
        is_clear((a, b)) && is_clear((b, a))
    }
}

impl World {
    /// Those on whom a node could count since long before that time, with itself. Nobody if
    /// something was wrong with it.
    fn counted_on(&self, at: NodeId, begun: u64) -> Vec<NodeId> {
        let Some(since) = begun.checked_sub(SETTLED) else { return Vec::new() };
        let is_sound = |node: NodeId| {
            self.troubles.is_sound(node, since)
                && self.hosts.get(&node).is_some_and(crate::host::Host::is_up)
        };
        let is_there = |other: &NodeId| {
            is_sound(*other) && (*other == at || self.troubles.is_clear(at, *other, since))
        };
        match is_sound(at) {
            true => self.hosts.keys().copied().filter(is_there).collect(),
            false => Vec::new(),
        }
    }

    /// Whether two nodes are up, and nothing was wrong with either or between them since then.
    pub(crate) fn can_talk(&self, a: NodeId, b: NodeId, since: u64) -> bool {
        let is_sound = |node: NodeId| {
            self.troubles.is_sound(node, since)
                && self.hosts.get(&node).is_some_and(crate::host::Host::is_up)
        };
        is_sound(a) && is_sound(b) && self.troubles.is_clear(a, b, since)
    }

    /// Whether nothing that a node has under a key keeps it from taking more: what it cannot read
    /// it does not write over.
    fn can_take(&self, node: NodeId, spot: &Spot) -> bool {
        let Some(host) = self.hosts.get(&node) else { return false };
        let address = spot.address();
        let mut hints = host.disk.damaged_hints().iter();
        !host.disk.was_damaged(&spot.place()) && hints.all(|hint| hint.address != address)
    }

    /// A write has failed for want of nodes: that must not be where enough were there all the
    /// time.
    pub(crate) fn check_taken(
        &self,
        open: &Open,
        spot: usize,
        options: WriteOptions,
        failure: &Failure,
    ) -> Result<(), Broken> {
        if !self.plan.sloppy {
            return Ok(());
        }
        let spot_of = self.oracle.spot(spot);
        // A write of a session is accepted by a replica that has what the session has seen. Where
        // the node that was asked is none, others have their part in it.
        let has_seen = matches!(&open.request, Request::Put(Put { sessions: Some(seen), .. }) if !seen.is_empty());
        let is_able = spot_of.replicas.contains(&open.at) && !open.behind.contains(&open.at);
        // Nobody stands in for who was given up, until another disk is there.
        let is_given_up = spot_of.replicas.iter().any(|node| self.has_no_disk(open.at, *node));
        if has_seen && !is_able || is_given_up {
            return Ok(());
        }
        let is_judged = match failure {
            Failure::NotAttempted { .. } | Failure::Refused(Refusal::HintsFull { .. }) => true,
            Failure::Unknown { .. } => {
                let Request::Put(put) = &open.request else { return Ok(()) };
                let is_near = self.plan.network.far == 0 && self.plan.disk.unreadable == 0;
                spot_of.replicas.contains(&open.at) && PATIENCE <= put.timeout && is_near
            }
            Failure::Refused(_) | Failure::TooFewAnswers { .. } => false,
            Failure::Weaker { .. } | Failure::Unsettled { .. } => false,
            Failure::SessionBehind { .. } => false,
        };
        if !is_judged {
            return Ok(());
        }
        let could = |at: NodeId| {
            let mut there = self.counted_on(at, open.begun);
            there.retain(|node| self.can_take(*node, spot_of));
            there.retain(|node| !self.rooms.is_full(*node, spot, open.begun));
            let poll = self.oracle.poll(spot_of, open.at);
            is_enough(poll, &spot_of.replicas, &there, options).then_some(there)
        };
        // Who has no room asks the other guests, each of which then counts on others.
        let is_full = self.rooms.is_full(open.at, spot, open.begun);
        let is_guest = |node: &NodeId| !spot_of.replicas.contains(node);
        let accepting = match is_full {
            true => self.counted_on(open.at, open.begun).into_iter().filter(is_guest).collect(),
            false => vec![open.at],
        };
        let is_full = |node: &NodeId| self.rooms.is_full(*node, spot, open.begun);
        let mut able = accepting.into_iter().filter(|node| !is_full(node));
        let Some((at, there)) = able.find_map(|at| Some((at, could(at)?))) else { return Ok(()) };
        let detail =
            format!("{} says: {failure}, and {there:?} were there, as {at} sees it", open.at);
        Err(Broken::of(Invariant::WritesAreTaken, spot, detail))
    }
}

/// Whether these are enough for a write, whomever the guests among them stand in for.
fn is_enough(poll: Poll<'_>, replicas: &[NodeId], there: &[NodeId], options: WriteOptions) -> bool {
    let (present, guests): (Vec<NodeId>, Vec<NodeId>) =
        there.iter().partition(|node| replicas.contains(node));
    let absent: Vec<NodeId> =
        replicas.iter().copied().filter(|node| !present.contains(node)).collect();
    let count = guests.len().min(absent.len());
    let options = WriteOptions { min: Kind::Any.max(options.min), ..options };
    let is_written = |chosen: &[NodeId]| {
        let themselves = present.iter().map(|node| ack(*node, None));
        let in_place = guests.iter().zip(chosen).map(|(guest, node)| ack(*guest, Some(*node)));
        poll.is_written(options, &themselves.chain(in_place).collect::<Vec<_>>())
    };
    !there.is_empty() && choices(&absent, count).iter().all(|chosen| is_written(chosen))
}

fn ack(node: NodeId, stands_for: Option<NodeId>) -> Ack {
    Ack { node, durable: true, stands_for }
}

/// All ways to choose so many of them.
fn choices(of: &[NodeId], count: usize) -> Vec<Vec<NodeId>> {
    let Some((first, rest)) = of.split_first() else { return vec![Vec::new()] };
    if count == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for mut with in choices(rest, count - 1) {
        with.insert(0, *first);
        all.push(with);
    }
    if count <= rest.len() {
        all.extend(choices(rest, count));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_choice_of_so_many_comes_once() {
        let nodes: Vec<NodeId> = (1..=4).map(NodeId::new).collect();
        let sizes = |count| (choices(&nodes, count).len(), choices(&nodes, count)[0].len());
        assert_eq!([0, 1, 2, 4].map(sizes), [(1, 0), (4, 1), (6, 2), (1, 4)]);
    }

    #[test]
    fn a_way_is_clear_again_only_long_after_the_last_trouble_in_either_direction() {
        let (a, b) = (NodeId::new(1), NodeId::new(2));
        let mut troubles = Troubles::default();
        troubles.of_message((b, a), 100, PROMPT + 7, 7);
        assert!(troubles.is_clear(a, b, 0));
        troubles.of_message((b, a), 100, PROMPT + 1, 0);
        assert!(!troubles.is_clear(a, b, PROMPT + 101));
        assert!(troubles.is_clear(a, b, PROMPT + 102));
    }
}
