//! One machine: a node, its disk, and the driver between them.
//!
//! This is the simulator's twin of the server's driver. It steps the node, hands staged
//! changes to the disk in groups, and lets promises out only when the disk has come as
//! far as they say.

use std::collections::BTreeMap;

use causality::{DotSet, Incarnation};
use model::{Limits, NodeId, Now};
use node::{Config, Effect, Input, Node};
use placement::Layout;

use crate::dice::Dice;
use crate::disk::{Crash, SimDisk};
use crate::mutant::Mutant;

/// One machine.
pub(crate) struct Host {
    pub(crate) id: NodeId,
    /// Counts the starts of the process. Events of an earlier life find it changed.
    pub(crate) life: u64,
    pub(crate) node: Option<Node>,
    pub(crate) disk: SimDisk,
    pub(crate) incarnation: Incarnation,
    /// Until when the process stands still.
    pub(crate) paused_until: u64,
    born: u64,
    /// What the node's clock showed when it was born.
    offset: u64,
    /// For when the node will be woken.
    wake: Option<u64>,
}

impl Host {
    pub(crate) fn new(id: NodeId, mutant: Option<Mutant>) -> Self {
        Self {
            id,
            life: 0,
            node: None,
            disk: SimDisk::new(mutant),
            incarnation: Incarnation::new(0),
            paused_until: 0,
            born: 0,
            offset: 0,
            wake: None,
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.node.is_some()
    }

    /// Starts the process.
    pub(crate) fn start(&mut self, now: u64, layout: &Layout, limits: Limits, dice: &mut Dice) {
        self.life += 1;
        let bits = dice.bits();
        let reuse = self.disk.mutant == Some(Mutant::IncarnationReused) && 1 < self.life;
        if !reuse {
            self.incarnation = Incarnation::new(bits);
        }
        (self.born, self.offset, self.wake) = (now, dice.between(0, 1 << 40), None);
        let config = Config {
            id: self.id,
            incarnation: self.incarnation,
            layout: layout.clone(),
            limits,
            seed: dice.bits(),
        };
        let found = self.disk.view();
        let (mut clocks, acceptor) = (found.clocks(), found.acceptor.clone());
        if reuse {
            clocks.values_mut().for_each(|clock| forget(clock, self.incarnation));
        }
        self.node = Some(Node::new(config, clocks, acceptor, self.clock(now)));
    }

    /// Ends the process, and takes from the disk what the crash takes.
    pub(crate) fn crash(&mut self, crash: Crash) {
        self.node = None;
        self.paused_until = 0;
        self.disk.crash(crash);
    }

    /// Hands the node an input, and returns what it wants done.
    pub(crate) fn step(&mut self, now: u64, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        let clock = self.clock(now);
        if let Some(node) = &mut self.node {
            node.step(clock, input, &mut self.disk, &mut effects);
        }
        effects
    }

    /// When the node is to be woken, if that is not arranged already.
    pub(crate) fn wake_due(&mut self, now: u64) -> Option<u64> {
        let wake = self.node.as_ref().and_then(Node::wake_at)?;
        let since_birth = wake.as_micros().saturating_sub(self.offset);
        let due = (self.born + since_birth).max(now + 1);
        if self.wake.is_some_and(|arranged| now < arranged && arranged <= due) {
            return None;
        }
        self.wake = Some(due);
        Some(due)
    }

    /// Whether the node still wants to be woken at this time.
    pub(crate) fn is_waited_for(&self, due: u64) -> bool {
        self.wake == Some(due)
    }

    fn clock(&self, now: u64) -> Now {
        Now::from_micros(self.offset + (now - self.born))
    }
}

/// Takes the dots of an incarnation out of a clock.
fn forget(clock: &mut DotSet, incarnation: Incarnation) {
    let runs = clock.runs_of(incarnation).to_vec();
    let dots = DotSet::from_runs(runs).expect("the runs of a set are in normal form");
    *clock = clock.difference(&dots);
}

/// All machines of the cluster.
pub(crate) type Hosts = BTreeMap<NodeId, Host>;
