//! Nodes that come back with another disk.
//!
//! Others rely on what a node has acknowledged, and its new disk has nothing of it. So two things
//! are looked at:
//!
//! - at the moment when such a node takes part again, it has heard of every write that a majority of
//!   the replicas had acknowledged before the disk was replaced, and that all of them but this one
//!   still have: whoever counts it then misses nothing;
//! - when the faults have ended, it gets there. Where several disks were replaced at once, nobody
//!   can know whether those before come back, and the operator of the simulator says that they do
//!   not.

use model::{Declare, DiskStep, Enrolment, NodeId, Request};

use crate::host::Host;
use crate::invariant::Invariant;
use crate::oracle::Outcome;
use crate::report::Broken;
use crate::scenario::SECOND;
use crate::world::World;

/// How long the operator waits before saying that a disk will not come back.
const BLOCKED: u64 = 10 * SECOND;

/// How long it may take until all nodes take part again, without any faults.
const JOINED: u64 = 60 * SECOND;

impl World {
    /// A node has made a step. If it takes part from now on with a new disk, it has to be whole.
    pub(crate) fn check_whole(&mut self, at: NodeId) -> Result<(), Broken> {
        let host = self.host(at);
        let takes_part = host.node.as_ref().is_some_and(node::Node::takes_part);
        if host.given_up.is_some() {
            // It may not know yet that the others refuse it.
            self.troubles.of_node(at, self.now);
        }
        let host = self.host(at);
        if !takes_part {
            // Nobody can count on it.
            self.host(at).outside_at = Some(self.now);
            self.troubles.of_node(at, self.now);
            return Ok(());
        }
        let Some(since) = host.replaced_at.take() else { return Ok(()) };
        *self.fault_counts.entry("new disk joined").or_default() += 1;
        let Some(host) = self.hosts.get(&at) else { return Ok(()) };
        for (index, spot) in self.oracle.spots.iter().enumerate() {
            if !spot.replicas.contains(&at) {
                continue;
            }
            for (id, write) in self.oracle.writes_of(index) {
                let is_meant = write.outcome == Outcome::Acked && write.ended < since;
                let Some(dot) = write.dot.filter(|_| is_meant) else { continue };
                let acked = || write.acks.iter().filter(|ack| ack.is_primary());
                let is_majority = spot.replicas.len() < 2 * acked().count();
                let is_kept = |node: NodeId| {
                    let other = self.hosts.get(&node).filter(|other| !other.is_astray);
                    let had = !self.oracle.losses.lacked_since(node, index, dot, since);
                    had && other.is_some_and(|other| other.disk.has_copy(&spot.place(), dot))
                };
                // What it alone had acknowledged went with its disk.
                let mut others = acked().filter(|ack| ack.node != at).peekable();
                let is_kept = others.peek().is_some() && others.all(|ack| is_kept(ack.node));
                if is_majority && is_kept && !host.disk.view().has_heard(spot.shard, dot) {
                    let detail = format!(
                        "{at} takes part with a new disk, and has not heard of w{} ({dot})",
                        id.0
                    );
                    return Err(Broken::of(Invariant::NewDisksAreWhole, index, detail));
                }
            }
        }
        Ok(())
    }

    /// All nodes take part again. Where that has to wait for disks that are gone, they are given up.
    pub(crate) fn be_whole(&mut self) -> Result<(), Broken> {
        let begun = self.now;
        while let Some(at) = self.outsider() {
            if begun + JOINED < self.now {
                let detail = format!("{at} does not take part, long after all faults");
                return Err(Broken::new(Invariant::NewDisksJoin, detail));
            }
            self.go_on(SECOND)?;
            if begun + BLOCKED < self.now {
                self.give_up_disks()?;
            }
        }
        Ok(())
    }

    /// A node that takes no part, or has not heard yet of all that do.
    fn outsider(&self) -> Option<NodeId> {
        let version = |host: &Host| host.node.as_ref().map(node::Node::catalog_version);
        let newest = self.hosts.values().filter_map(version).max();
        let is_out = |host: &&Host| {
            host.given_up.is_some()
                || version(host) != newest
                || host.node.as_ref().is_none_or(|node| node.enrolment() != Enrolment::Enrolled)
        };
        self.hosts.values().find(is_out).map(|host| host.id)
    }

    /// Says of all nodes that are joining that the disks before will not come back.
    fn give_up_disks(&mut self) -> Result<(), Broken> {
        let is_joining = |host: &&Host| {
            let enrolment = host.node.as_ref().map(node::Node::enrolment);
            enrolment == Some(Enrolment::Joining)
        };
        let before = |host: &Host| {
            let disks = host.node.as_ref()?.disks().get(&host.id)?;
            Some((host.id, disks.enrolled?))
        };
        let joining = self.hosts.values().filter(is_joining).filter_map(before);
        for (node, disk) in joining.collect::<Vec<_>>() {
            let declare = Declare::Disk { node, step: DiskStep::IsGone(disk) };
            self.ask_and_wait(node, Request::Declare(declare))?;
        }
        Ok(())
    }
}
