//! Operators who give up the disk of a node, and the node that comes back with it.
//!
//! Nobody waits for a disk that was given up: others forget tombstones of which it has not heard,
//! and it may hold what they speak of. So the node here comes back with it all the same, serves until
//! it hears what became of it, and is then started with an empty one by the operator.
//!
//! ```text
//! down ── IsGone is declared, once more each second until it is in force ──► given up
//!   └───── comes back with its old disk, in the middle of that or later
//!                                   └── given up for a while ──► empty disk, joins
//! ```
//!
//! What only that disk has is lost, and what guests keep for its node, too, if they hand it over to this
//! disk. So it is given up only where the atlas allows that; and what the node acknowledges meanwhile, or
//! a guest for it, the oracle takes for acknowledged by nobody.
//! An eviction that was begun goes on after the faults, before anything is expected of the cluster.

use model::{Declare, DiskId, DiskStep, NodeId, Now, Request};

use crate::dice::Dice;
use crate::oracle::WriteId;
use crate::report::Broken;
use crate::scenario::SECOND;
use crate::workload::Op;
use crate::world::{Event, Open, Phase, World};

/// What operators do about nodes that are away.
pub(crate) struct Evictions {
    dice: Dice,
    /// Mean microseconds between two of them. Zero for none.
    gap: u64,
}

impl Evictions {
    pub(crate) fn new(gap: u64, dice: Dice) -> Self {
        Self { dice, gap }
    }
}

impl World {
    /// Arranges the next eviction, if there are any.
    pub(crate) fn arrange_evicting(&mut self) {
        if self.evictions.gap != 0 {
            let gap = self.evictions.dice.micros(self.evictions.gap, 0);
            self.arrange(gap, Event::Evict);
        }
    }

    /// A node goes down, and an operator thinks that it will not come back.
    pub(crate) fn evict(&mut self) -> Result<(), Broken> {
        if self.phase != Phase::Safety {
            return Ok(());
        }
        self.arrange_evicting();
        let nodes: Vec<NodeId> = self.hosts.keys().copied().collect();
        let at = self.evictions.dice.pick(&nodes);
        let lasts = self.evictions.dice.micros(self.plan.faults.lasts, 0);
        let is_rest_whole =
            |host: &crate::host::Host| host.given_up.is_none() && host.replaced_at.is_none();
        let are_whole = self.hosts.values().all(is_rest_whole);
        if !self.count_fault() || !are_whole || !self.may_give_up(at) {
            return Ok(());
        }
        self.stop_for_disk(at)?;
        self.arrange(lasts, Event::Restart { at });
        // What came to its disk only now may be there alone.
        if self.may_give_up(at) {
            let now = self.now;
            let host = self.host(at);
            (host.given_up, host.is_astray) = (Some(now), true);
            self.oracle.losses.give_up(at);
            self.arrange(SECOND, Event::GiveUp { at });
        }
        Ok(())
    }

    /// An operator says that the disk of a node will not come back, unless that is known. Some time
    /// after it is, and after the node came back with it, it gets an empty one.
    pub(crate) fn give_up(&mut self, at: NodeId) -> Result<(), Broken> {
        let (Some(_), Some(disk)) = (self.host(at).given_up, self.host(at).disk.contents().id)
        else {
            return Ok(());
        };
        if self.is_given_up(at, disk) {
            let waits = self.phase == Phase::Safety && self.evictions.dice.chance(800);
            if waits || !self.host(at).is_up() && self.phase == Phase::Safety {
                self.arrange(SECOND, Event::GiveUp { at });
                return Ok(());
            }
            *self.requests.entry(("disks", "given up")).or_default() += 1;
            self.stop_for_disk(at)?;
            return self.put_disk(at, &Default::default(), Default::default(), 0);
        }
        let up = self.hosts.values().filter(|host| host.id != at && host.is_up());
        let up: Vec<NodeId> = up.map(|host| host.id).collect();
        self.arrange(SECOND, Event::GiveUp { at });
        if up.is_empty() {
            return Ok(());
        }
        let operator = self.evictions.dice.pick(&up);
        let declare = Declare::Disk { node: at, step: DiskStep::IsGone(disk) };
        let (request, op, client) = (Request::Declare(declare), Op::Ask, None);
        let (begun, deadline, behind) = (self.now, Now::default(), Vec::new());
        let healthy = false;
        let open = Open { at: operator, request, op, client, begun, deadline, healthy, behind };
        self.ask(open, std::time::Duration::from_secs(20)).map(drop)
    }

    /// Whether a node serves with a catalog that says so.
    fn is_given_up(&self, at: NodeId, disk: DiskId) -> bool {
        let others = self.hosts.values().filter(|host| host.id != at);
        others
            .filter_map(|host| host.node.as_ref())
            .any(|node| node.disks().get(&at).is_some_and(|disks| disks.retired.contains(&disk)))
    }

    /// Whether a node is given up, as far as the operators or this node know, and no other disk of it
    /// has been heard of.
    pub(crate) fn has_no_disk(&self, known_to: NodeId, node: NodeId) -> bool {
        let knows = self.hosts.get(&known_to).and_then(|host| host.node.as_ref());
        let disks = knows.and_then(|knows| knows.disks().get(&node));
        disks.is_some_and(|disks| disks.enrolled.is_none() && disks.joining.is_none())
            || self.hosts.get(&node).is_some_and(|host| host.given_up.is_some())
    }

    /// Nobody relies on what a node acknowledges whose disk is given up, or a guest for it.
    pub(crate) fn leave_out_given_up(&mut self, id: WriteId) {
        let hosts = &self.hosts;
        let is_there = |node: NodeId| hosts.get(&node).is_some_and(|host| host.given_up.is_none());
        let acks = &mut self.oracle.write_mut(id).acks;
        acks.retain(|ack| is_there(ack.node) && is_there(ack.voter()));
    }
}
