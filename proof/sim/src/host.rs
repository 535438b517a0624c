//! One machine: a node, its disk, and the driver between them.
//!
//! This is the simulator's twin of the server's driver. It steps the node, hands staged
//! changes to the disk in groups, and lets promises out only when the disk has come as
//! far as they say.

use std::collections::BTreeMap;

use causality::{DotSet, Incarnation};
use model::{Limits, NodeId};
use node::{Config, Effect, Input, Node};
use placement::Layout;

use crate::clock::Clock;
use crate::dice::Dice;
use crate::disk::{Contents, Crash, Place, SimDisk};
use crate::faults::FaultKind;
use crate::losses::Records;
use crate::mutant::{self, Mutant};
use crate::tokens::{WALL_BEGINS, WALL_SPREAD};
use crate::trees;

/// The longest that something waits for a slow node: shorter than the cluster needs to
/// settle after the last fault.
const QUEUE_MAX: u64 = 2_000_000;

/// The death of a process in the middle of what it does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doom {
    /// After how many more effects it comes.
    pub(crate) effects: u64,
    /// For how long the process is down, in microseconds.
    pub(crate) lasts: u64,
    /// What it is counted as.
    pub(crate) kind: FaultKind,
}

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
    /// When the process will die in the middle of what it does.
    pub(crate) doom: Option<Doom>,
    /// After how many more starts it dies at once, and for how long each time.
    pub(crate) loops: (u64, u64),
    /// Until when there is no room on the disk: the next group that is written ends the
    /// process, and it cannot start.
    pub(crate) full_until: u64,
    /// How many times as long the disk takes, and until when.
    pub(crate) slow_disk: (u64, u64),
    /// How long each step takes at most, and until when.
    pub(crate) slow_steps: (u64, u64),
    /// A copy of the disk, and what records it had lost by then.
    pub(crate) aside: Option<(Contents, Records)>,
    /// Whether it has ever come back with another disk.
    pub(crate) is_astray: bool,
    /// When it got an empty disk, until it takes part again.
    pub(crate) replaced_at: Option<u64>,
    /// Since when the operators give up its disk, until it has another.
    pub(crate) given_up: Option<u64>,
    /// When it last took no part.
    pub(crate) outside_at: Option<u64>,
    /// The catalog that this life of the node had last.
    pub(crate) catalog_version: u64,
    pub(crate) clock: Clock,
    /// How fast its clock runs if nothing is wrong with it.
    pub(crate) usual_rate: u64,
    /// When the last of what waits for a slow node has its turn.
    queued_until: u64,
    /// For when the node will be woken.
    wake: Option<u64>,
    /// Whether that was due already, and has to wait for its turn.
    wake_waits: bool,
}

impl Host {
    pub(crate) fn new(id: NodeId, rate: u64, mutant: Option<Mutant>) -> Self {
        Self {
            id,
            life: 0,
            node: None,
            disk: SimDisk::new(mutant),
            incarnation: Incarnation::new(0),
            paused_until: 0,
            doom: None,
            loops: (0, 0),
            full_until: 0,
            slow_disk: (1, 0),
            slow_steps: (0, 0),
            aside: None,
            is_astray: false,
            replaced_at: None,
            given_up: None,
            outside_at: None,
            catalog_version: 0,
            clock: Clock::new(0, 0, rate),
            usual_rate: rate,
            queued_until: 0,
            wake: None,
            wake_waits: false,
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.node.is_some()
    }

    /// Until when the disk is full, if it is.
    pub(crate) fn is_full(&self, now: u64) -> Option<u64> {
        Some(self.full_until).filter(|until| now < *until)
    }

    /// Starts the process.
    pub(crate) fn start(&mut self, now: u64, layout: &Layout, limits: Limits, dice: &mut Dice) {
        self.life += 1;
        self.catalog_version = 0;
        let bits = dice.bits();
        let reuse = self.disk.mutant == Some(Mutant::IncarnationReused) && 1 < self.life;
        let reads_back = mutant::reads_back(self.disk.mutant) && 1 < self.life;
        if !reuse && !reads_back {
            self.incarnation = Incarnation::new(bits);
        }
        self.clock = Clock::new(now, dice.between(0, 1 << 40), self.usual_rate);
        self.wake_now();
        let config = Config {
            id: self.id,
            incarnation: self.incarnation,
            disk: self.disk.id(|| dice.bits()),
            layout: layout.clone(),
            limits,
            address: String::new(),
            // Wall clocks are set back, too.
            started_millis: WALL_BEGINS + dice.between(0, WALL_SPREAD),
            salt: trees::salt(),
            seed: dice.bits(),
        };
        self.disk.open();
        let found = self.disk.view();
        let (mut clocks, acceptor) = (found.clocks(), found.acceptor.clone());
        if reuse {
            clocks.values_mut().for_each(|clock| forget(clock, self.incarnation));
        }
        let (marks, hints) = (found.marks.clone(), self.disk.owed());
        let node = Node::new(config, clocks, acceptor, self.clock.read(now));
        let forgotten = found.all_forgotten();
        let sums = found.sums.clone();
        let node =
            node.with_sums(sums).with_marks(marks).with_hints(hints).with_forgotten(forgotten);
        self.node = Some(node);
    }

    /// Ends the process, and takes from the disk what the crash takes. Returns what had been
    /// handed to the operating system and is gone.
    pub(crate) fn crash(&mut self, crash: Crash) -> Vec<(Place, DotSet)> {
        self.node = None;
        (self.paused_until, self.queued_until, self.doom) = (0, 0, None);
        self.disk.crash(crash)
    }

    /// Hands the node an input, and returns what it wants done.
    pub(crate) fn step(&mut self, now: u64, input: Input) -> Vec<Effect> {
        let panics = self.disk.mutant == Some(Mutant::NodePanics);
        if panics && matches!(input, Input::Lost(_)) {
            // As a panic, without its report in the log of everybody who looks for another.
            std::panic::resume_unwind(Box::new("a deliberate bug"));
        }
        let mut effects = Vec::new();
        let clock = self.clock.read(now);
        if let Some(node) = &mut self.node {
            node.step(clock, input, &mut self.disk, &mut effects);
        }
        effects
    }

    /// When the node is to be woken, if that is not arranged already.
    pub(crate) fn wake_due(&mut self, now: u64) -> Option<u64> {
        let wake = self.node.as_ref().and_then(Node::wake_at)?;
        if self.wake_waits {
            return None;
        }
        let due = self.clock.when(wake)?.max(now + 1);
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

    /// The node is busy when it is to be woken, and will be at this time.
    pub(crate) fn put_off_wake(&mut self, due: u64) {
        (self.wake, self.wake_waits) = (Some(due), true);
    }

    /// The node is woken.
    pub(crate) fn wake_now(&mut self) {
        (self.wake, self.wake_waits) = (None, false);
    }

    /// When the node is woken, if that is at once: its clock has just jumped.
    pub(crate) fn wakes_at_once(&self, now: u64) -> Option<u64> {
        self.wake.filter(|at| (now..=now + 1).contains(at))
    }

    /// The clock jumps ahead. What was arranged by what it showed is off.
    pub(crate) fn jump(&mut self, now: u64, micros: u64) {
        self.clock.jump(now, micros);
        self.wake_now();
    }

    /// The clock runs at another rate.
    pub(crate) fn set_rate(&mut self, now: u64, rate: u64) {
        self.clock.run_at(now, rate);
        self.wake_now();
    }

    /// Until when the process can do nothing more, if it is busy or stands still.
    pub(crate) fn busy_until(&self) -> u64 {
        self.paused_until.max(self.queued_until)
    }

    /// When something that comes now has its turn. Nothing if at once. What waits for a slow
    /// node gets a turn each, so that it is put off once, and not by each before it.
    pub(crate) fn turn_of(&mut self, now: u64) -> Option<u64> {
        if self.paused_until <= now {
            return None;
        }
        let (step, until) = self.slow_steps;
        if until <= now {
            return Some(self.paused_until);
        }
        let turn = self.paused_until.max(self.queued_until.min(now + QUEUE_MAX));
        self.queued_until = turn + step;
        Some(turn)
    }

    /// Nothing more happens to this machine. What stands still goes on in a while.
    pub(crate) fn end_faults(&mut self) {
        (self.doom, self.loops, self.full_until) = (None, (0, 0), 0);
        (self.slow_disk, self.slow_steps) = ((1, 0), (0, 0));
    }
}

/// Takes the dots of a life out of a clock.
fn forget(clock: &mut DotSet, life: Incarnation) {
    let runs = clock.runs().iter().filter(|run| run.incarnation.is_of(life)).copied().collect();
    let dots = DotSet::from_runs(runs).expect("the runs of a set are in normal form");
    *clock = clock.difference(&dots);
}

/// All machines of the cluster.
pub(crate) type Hosts = BTreeMap<NodeId, Host>;
