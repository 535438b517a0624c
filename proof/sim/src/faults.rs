//! What goes wrong, and when.
//!
//! Faults come at random times, last for random times, and may overlap in any way: all
//! nodes may be down at once, and a node may come back into a partition. Nothing is held
//! back to keep the cluster working, because the promise is about every case; only what
//! would destroy the last copy of an acknowledged write is, see [`crate::atlas`].
//!
//! Each fault has a number, in the order in which they come. Times, kinds and victims are
//! drawn whatever happens, so that leaving out fault 7 does not change what fault 8 is.

use std::collections::BTreeSet;

use model::NodeId;
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::dice::Dice;
use crate::disk::Crash;
use crate::every::every;
use crate::swarm::FaultPlan;

every! {
    /// The kinds of what goes wrong.
    #[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
    pub enum FaultKind as ALL {
        /// One process is killed; what it handed to the operating system stays.
        Kill,
        /// One process is killed in the middle of what it does: after some more effects of its
        /// steps, of which the rest never happen. This is also a death between two commits of
        /// one step: what a step stages goes to the disk, and its effects go out, only when the
        /// step is over, so that to die at any commit is to die before the first effect.
        KillAtEffect,
        /// One process is killed, and again a few events after each of the next starts.
        CrashLoop,
        /// One machine loses power; what was not synced is lost.
        Power,
        /// All machines lose power at once.
        Blackout,
        /// An `fsync` fails: the node stops, and what was not synced may be gone.
        SyncFailed,
        /// A disk is full: the node stops at the next group that it writes, and cannot start until
        /// there is room.
        DiskFull,
        /// One disk is slow.
        SlowDisk,
        /// One disk is lost: the node comes back empty.
        Wipe,
        /// A copy of one disk is put aside.
        Copy,
        /// A node comes back with the copy of its disk that was put aside. What it had is put
        /// aside instead: so it is that of two copies of a directory, now one and now the other
        /// is served.
        Restore,
        /// One process stands still and then goes on.
        Pause,
        /// The clock of one node jumps ahead.
        Jump,
        /// The clock of one node stands still for a while.
        Stall,
        /// The clock of one node runs at another speed for a while.
        Hurry,
        /// One node takes long for everything.
        SlowNode,
        /// The cluster falls into two parts that do not hear each other.
        Split,
        /// Two parts do not hear each other, but one node hears both.
        Bridge,
        /// Two nodes do not hear each other, while all others hear both.
        Partial,
        /// One node hears nobody, and nobody hears it.
        Isolate,
        /// One node does not hear, or is not heard by, some others.
        OneWay,
        /// One node is cut off and comes back, several times in a row.
        Flap,
        /// What is sent to or from one node is held back, and then comes all at once.
        Clog,
        /// One node after the other is clogged, and they are let go in another order.
        Swizzle,
    }
}

impl FaultKind {
    /// Under which name it is counted.
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::Kill => "kill",
            FaultKind::KillAtEffect => "kill at an effect",
            FaultKind::CrashLoop => "crash loop",
            FaultKind::Power => "power loss",
            FaultKind::Blackout => "blackout",
            FaultKind::SyncFailed => "failed fsync",
            FaultKind::DiskFull => "full disk",
            FaultKind::SlowDisk => "slow disk",
            FaultKind::Wipe => "disk wiped",
            FaultKind::Copy => "disk copied",
            FaultKind::Restore => "copy restored",
            FaultKind::Pause => "pause",
            FaultKind::Jump => "clock jump",
            FaultKind::Stall => "clock stall",
            FaultKind::Hurry => "clock drift",
            FaultKind::SlowNode => "slow node",
            FaultKind::Split => "split",
            FaultKind::Bridge => "bridge",
            FaultKind::Partial => "partial cut",
            FaultKind::Isolate => "isolation",
            FaultKind::OneWay => "one-way cut",
            FaultKind::Flap => "flapping",
            FaultKind::Clog => "clog",
            FaultKind::Swizzle => "swizzle",
        }
    }
}

/// Ways from one node to another.
pub(crate) type Ways = Vec<(NodeId, NodeId)>;

/// One thing that goes wrong. Durations are in microseconds.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Nodes die, and start again after so long.
    Crash(Vec<(NodeId, Crash, u64)>),
    /// A disk has no room for so long: its node dies if it writes, and cannot start meanwhile.
    Full { node: NodeId, lasts: u64 },
    /// A node dies after so many more effects.
    Doom { node: NodeId, effects: u64, lasts: u64 },
    /// A node dies, and again soon after each of so many starts.
    Loop { node: NodeId, times: u64, lasts: u64 },
    /// A node dies and comes back without, or with another, disk.
    Replace { node: NodeId, with: Replacement, lasts: u64 },
    /// A copy of a disk is put aside.
    Copy(NodeId),
    /// A process stands still for so long.
    Pause(NodeId, u64),
    /// A clock jumps ahead by so much.
    Jump(NodeId, u64),
    /// A clock runs at this rate for so long.
    Rate { node: NodeId, rate: u64, lasts: u64 },
    /// A disk takes so many times as long, for so long.
    SlowDisk { node: NodeId, factor: u64, lasts: u64 },
    /// Each step of a node takes up to so long, for so long.
    SlowNode { node: NodeId, step: u64, lasts: u64 },
    /// Cuts: each begins after so long, and lasts so long.
    Cuts(Vec<(u64, u64, Ways)>),
    /// Clogs: each begins after so long, and lasts so long.
    Clogs(Vec<(u64, u64, Ways)>),
}

/// What a node finds in place of its disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Replacement {
    /// Nothing.
    Empty,
    /// The copy that was put aside; what was there is put aside instead.
    Copy,
}

/// Shorter than the world waits, after the faults, for nodes to find each other.
const PAUSE_MAX: u64 = 3_000_000;

/// Draws faults.
pub(crate) struct Faults {
    plan: FaultPlan,
    dice: Dice,
    nodes: Vec<NodeId>,
}

impl Faults {
    pub(crate) fn new(plan: FaultPlan, nodes: Vec<NodeId>, dice: Dice) -> Self {
        Self { plan, dice, nodes }
    }

    /// How many microseconds pass before the next fault.
    pub(crate) fn gap(&mut self) -> u64 {
        self.dice.micros(self.plan.gap, 20)
    }

    /// The next thing that goes wrong.
    pub(crate) fn draw(&mut self) -> Option<(FaultKind, Fault)> {
        let weights: Vec<(u32, FaultKind)> =
            self.plan.kinds.iter().map(|(kind, weight)| (*weight, *kind)).collect();
        if weights.is_empty() {
            return None;
        }
        let kind = self.dice.weighted(&weights);
        let lasts = self.dice.micros(self.plan.lasts, 10);
        let node = self.dice.pick(&self.nodes);
        Some((kind, self.of_kind(kind, node, lasts)))
    }

    fn of_kind(&mut self, kind: FaultKind, node: NodeId, lasts: u64) -> Fault {
        match kind {
            FaultKind::Kill => Fault::Crash(vec![(node, self.kill(), lasts)]),
            FaultKind::KillAtEffect => {
                let effects = self.dice.between(0, 40);
                Fault::Doom { node, effects, lasts }
            }
            FaultKind::CrashLoop => {
                let times = self.dice.between(1, 4);
                Fault::Loop { node, times, lasts: lasts.min(500_000) }
            }
            FaultKind::Power => Fault::Crash(vec![self.power_loss(node, lasts)]),
            FaultKind::Blackout => self.blackout(lasts),
            FaultKind::SyncFailed => {
                let lost = self.dice.between(0, 2);
                Fault::Crash(vec![(node, Crash::SyncFailed { lost }, lasts)])
            }
            FaultKind::DiskFull => Fault::Full { node, lasts: 2 * lasts },
            FaultKind::SlowDisk => {
                let factor = self.dice.pick(&[10, 100, 1_000]);
                Fault::SlowDisk { node, factor, lasts }
            }
            FaultKind::Wipe => Fault::Replace { node, with: Replacement::Empty, lasts },
            FaultKind::Copy => Fault::Copy(node),
            FaultKind::Restore => Fault::Replace { node, with: Replacement::Copy, lasts },
            FaultKind::Pause => Fault::Pause(node, lasts.min(PAUSE_MAX)),
            FaultKind::Jump => Fault::Jump(node, self.dice.between(1_000, 60_000_000)),
            FaultKind::Stall => Fault::Rate { node, rate: 0, lasts: lasts.min(PAUSE_MAX) },
            FaultKind::Hurry => {
                let rate = clock::draw_rate(500, &mut self.dice);
                Fault::Rate { node, rate, lasts }
            }
            FaultKind::SlowNode => {
                let step = self.dice.pick(&[500, 2_000]);
                Fault::SlowNode { node, step, lasts }
            }
            FaultKind::Split => Fault::Cuts(vec![(0, lasts, self.split(None))]),
            FaultKind::Bridge => Fault::Cuts(vec![(0, lasts, self.split(Some(node)))]),
            FaultKind::Partial => {
                let other = self.dice.pick(&self.nodes);
                Fault::Cuts(vec![(0, lasts, both(node, other))])
            }
            FaultKind::Isolate => Fault::Cuts(vec![(0, lasts, self.around(node))]),
            FaultKind::OneWay => Fault::Cuts(vec![(0, lasts, self.one_way(node))]),
            FaultKind::Flap => Fault::Cuts(self.flap(node, lasts)),
            FaultKind::Clog => Fault::Clogs(vec![(0, lasts.min(PAUSE_MAX), self.around(node))]),
            FaultKind::Swizzle => Fault::Clogs(self.swizzle(lasts.min(PAUSE_MAX))),
        }
    }

    fn kill(&mut self) -> Crash {
        Crash::Kill { flying: self.dice.chance(500) }
    }

    fn power_loss(&mut self, node: NodeId, lasts: u64) -> (NodeId, Crash, u64) {
        // Mostly everything that was not synced is lost, sometimes the newest groups only.
        let lost = if self.dice.chance(600) { u64::MAX } else { self.dice.between(0, 3) };
        (node, Crash::Power { lost }, lasts)
    }

    fn blackout(&mut self, lasts: u64) -> Fault {
        let nodes = self.nodes.clone();
        let all = nodes.into_iter().map(|node| {
            let lasts = lasts + self.dice.between(0, lasts);
            self.power_loss(node, lasts)
        });
        Fault::Crash(all.collect())
    }

    /// Both directions between two parts of the cluster, but for a node that hears both.
    fn split(&mut self, bridge: Option<NodeId>) -> Ways {
        let here: BTreeSet<NodeId> =
            self.nodes.iter().copied().filter(|_| self.dice.chance(500)).collect();
        let pairs = self.nodes.iter().flat_map(|a| self.nodes.iter().map(move |b| (*a, *b)));
        let apart = pairs.filter(|(a, b)| here.contains(a) != here.contains(b));
        apart.filter(|(a, b)| bridge.is_none_or(|node| node != *a && node != *b)).collect()
    }

    /// Both directions between a node and all others.
    fn around(&self, node: NodeId) -> Ways {
        self.nodes.iter().filter(|other| **other != node).flat_map(|o| both(node, *o)).collect()
    }

    /// One direction between a node and some others.
    fn one_way(&mut self, node: NodeId) -> Ways {
        let hears = self.dice.chance(500);
        let mut ways = Vec::new();
        for other in self.nodes.clone() {
            if self.dice.chance(600) && other != node {
                ways.push(if hears { (node, other) } else { (other, node) });
            }
        }
        ways
    }

    /// A few short cuts around a node, one after the other.
    fn flap(&mut self, node: NodeId, lasts: u64) -> Vec<(u64, u64, Ways)> {
        let times = self.dice.between(2, 8);
        let (each, ways) = ((lasts / times).max(1), self.around(node));
        (0..times).map(|time| (2 * time * each, each, ways.clone())).collect()
    }

    /// Clogs that begin one after the other and end in another order.
    fn swizzle(&mut self, lasts: u64) -> Vec<(u64, u64, Ways)> {
        let nodes = self.nodes.clone();
        let count = nodes.len() as u64;
        let step = (lasts / (2 * count)).max(1);
        let clogs = nodes.iter().zip(0..).map(|(node, index)| {
            let end = lasts / 2 + self.dice.between(1, count) * step;
            let begin = index * step;
            (begin, end.saturating_sub(begin).max(1), self.around(*node))
        });
        let clogs: Vec<_> = clogs.collect();
        clogs
    }
}

fn both(a: NodeId, b: NodeId) -> Ways {
    if a == b { Vec::new() } else { vec![(a, b), (b, a)] }
}
