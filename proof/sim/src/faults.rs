//! What goes wrong, and when it ends.
//!
//! Faults come at random times, last for random times, and may overlap in any way: all
//! nodes may be down at once, and a node may come back into a partition. Nothing is held
//! back to keep the cluster working, because the promise is about every case.

use std::collections::BTreeSet;

use model::NodeId;

use crate::dice::Dice;
use crate::disk::Crash;
use crate::oracle::Outcome;
use crate::report::Broken;
use crate::swarm::FaultPlan;
use crate::workload::Op;
use crate::world::{Event, Phase, World};

/// One thing that goes wrong.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Nodes die, and start again after so many microseconds.
    Crash(Vec<(NodeId, Crash, u64)>),
    /// Messages in these directions are lost for so long.
    Cut(Vec<(NodeId, NodeId)>, u64),
    /// A process stands still for so long.
    Pause(NodeId, u64),
}

#[derive(Clone, Copy)]
enum Kind {
    Kill,
    Power,
    Blackout,
    Split,
    OneWay,
    Pause,
    Nothing,
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

    /// The next thing that goes wrong, under the name by which it is counted.
    pub(crate) fn draw(&mut self) -> Option<(&'static str, Fault)> {
        let FaultPlan { kill, power, blackout, split, oneway, pause, .. } = self.plan;
        let nothing = u32::from(kill + power + blackout + split + oneway + pause == 0);
        let kind = self.dice.weighted(&[
            (kill, Kind::Kill),
            (power, Kind::Power),
            (blackout, Kind::Blackout),
            (split, Kind::Split),
            (oneway, Kind::OneWay),
            (pause, Kind::Pause),
            (nothing, Kind::Nothing),
        ]);
        let lasts = self.dice.micros(self.plan.lasts, 10);
        let node = self.dice.pick(&self.nodes);
        Some(match kind {
            Kind::Kill => {
                let crash = Crash::Kill { flying: self.dice.chance(500) };
                ("kill", Fault::Crash(vec![(node, crash, lasts)]))
            }
            Kind::Power => ("power loss", Fault::Crash(vec![self.power_loss(node, lasts)])),
            Kind::Blackout => ("blackout", self.blackout(lasts)),
            Kind::Split => ("split", Fault::Cut(self.split(), lasts)),
            Kind::OneWay => ("one-way cut", Fault::Cut(self.one_way(node), lasts)),
            Kind::Pause => ("pause", Fault::Pause(node, lasts.min(PAUSE_MAX))),
            Kind::Nothing => return None,
        })
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

    /// Both directions between two parts of the cluster.
    fn split(&mut self) -> Vec<(NodeId, NodeId)> {
        let here: BTreeSet<NodeId> =
            self.nodes.iter().copied().filter(|_| self.dice.chance(500)).collect();
        let pairs = self.nodes.iter().flat_map(|a| self.nodes.iter().map(move |b| (*a, *b)));
        pairs.filter(|(a, b)| here.contains(a) != here.contains(b)).collect()
    }

    /// One direction between a node and some others.
    fn one_way(&mut self, node: NodeId) -> Vec<(NodeId, NodeId)> {
        let hears = self.dice.chance(500);
        let mut ways = Vec::new();
        for other in self.nodes.clone() {
            if other != node && self.dice.chance(600) {
                ways.push(if hears { (node, other) } else { (other, node) });
            }
        }
        ways
    }
}

impl World {
    /// Something goes wrong, and the next fault is arranged.
    pub(crate) fn fault(&mut self) -> Result<(), Broken> {
        if self.phase != Phase::Safety {
            return Ok(());
        }
        let gap = self.faults.gap();
        self.arrange(gap, Event::Fault);
        let Some((name, fault)) = self.faults.draw() else { return Ok(()) };
        *self.fault_counts.entry(name).or_default() += 1;
        self.trace.note(self.now, &[7], || format!("{name}: {fault:?}"));
        match fault {
            Fault::Crash(crashes) => {
                for (node, crash, lasts) in crashes {
                    self.crash(node, crash)?;
                    self.arrange(lasts, Event::Restart { at: node });
                }
            }
            Fault::Cut(ways, lasts) => {
                self.network.cut(&ways);
                ways.iter().for_each(|way| self.tell_ends(*way, false));
                self.arrange(lasts, Event::Mend(ways));
            }
            Fault::Pause(node, lasts) => {
                let until = self.now + lasts;
                let host = self.host(node);
                host.paused_until = host.paused_until.max(until);
            }
        }
        Ok(())
    }

    /// Messages pass again, unless another cut lies over this one.
    pub(crate) fn mend(&mut self, ways: &[(NodeId, NodeId)]) {
        self.trace.note(self.now, &[8], || format!("mend {ways:?}"));
        self.network.mend(ways);
        ways.iter().for_each(|way| self.tell_ends(*way, true));
    }

    /// Arranges that both ends hear of their connection, if they hear of it.
    fn tell_ends(&mut self, (a, b): (NodeId, NodeId), is_up: bool) {
        for (at, peer) in [(a, b), (b, a)] {
            if let Some(after) = self.network.notice() {
                self.arrange(after, Event::Link { at, peer, is_up });
            }
        }
    }

    fn crash(&mut self, at: NodeId, crash: Crash) -> Result<(), Broken> {
        if !self.host(at).is_up() {
            return Ok(());
        }
        self.host(at).crash(crash);
        if matches!(crash, Crash::Power { .. }) {
            self.oracle.losses.power_lost(at, self.now);
        }
        self.oracle.forget_bases(at);
        self.abandon_requests(at)?;
        let others: Vec<NodeId> =
            self.hosts.values().filter(|host| host.is_up()).map(|host| host.id).collect();
        others.into_iter().for_each(|other| self.tell_ends((at, other), false));
        Ok(())
    }

    /// The clients of a dead node learn that there will be no answer.
    fn abandon_requests(&mut self, at: NodeId) -> Result<(), Broken> {
        let waiting = self.open.iter().filter(|(_, open)| open.at == at);
        let tickets: Vec<_> = waiting.map(|(ticket, _)| *ticket).collect();
        for ticket in tickets {
            let Some(open) = self.open.remove(&ticket) else { continue };
            self.count(&open.op, "cut off");
            if let Op::Write { id, .. } = open.op {
                self.oracle.failed(id, Outcome::Unknown, self.now)?;
            }
            if let Some(client) = open.client {
                self.workload.hear(client, &open.op, &self.oracle, None);
                self.rest(client);
            }
        }
        Ok(())
    }

    /// A process starts, unless it runs.
    pub(crate) fn start(&mut self, at: NodeId) -> Result<(), Broken> {
        let (now, limits) = (self.now, self.limits);
        let host = self.hosts.get_mut(&at).expect("events name nodes of the layout");
        if host.is_up() {
            return Ok(());
        }
        host.start(now, &self.layout, limits, &mut self.node_dice);
        let incarnation = host.incarnation;
        let words = [6, u64::from(at.number()), incarnation.bits()];
        self.trace.note(now, &words, || format!("{at} starts as {incarnation}"));
        let others: Vec<NodeId> =
            self.hosts.values().filter(|host| host.is_up()).map(|host| host.id).collect();
        others.into_iter().filter(|o| *o != at).for_each(|o| self.tell_ends((at, o), true));
        self.arrange_wake(at);
        Ok(())
    }

    /// Ends all that is wrong: what is cut passes, what is down starts. What stands still
    /// goes on in a while.
    pub(crate) fn end_faults(&mut self) -> Result<(), Broken> {
        self.network.set_faulty(false);
        for at in self.layout.members.keys().copied().collect::<Vec<_>>() {
            self.start(at)?;
        }
        Ok(())
    }
}
