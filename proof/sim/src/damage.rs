//! Faults, carried out: what becomes of processes, clocks, and the ways between nodes.

use model::NodeId;

use crate::disk::Crash;
use crate::faults::{Fault, Replacement, Ways};
use crate::mutant;
use crate::oracle::{Look, Outcome};
use crate::report::Broken;
use crate::workload::Op;
use crate::world::{Event, Phase, World};

/// How many effects a process carries out after a start, at most, if it is to crash again
/// at once. A node that starts sends a probe to everyone.
const RECOVERY_EFFECTS: u64 = 12;

impl World {
    /// Something goes wrong, and the next fault is arranged.
    pub(crate) fn fault(&mut self) -> Result<(), Broken> {
        if self.phase != Phase::Safety {
            return Ok(());
        }
        let gap = self.faults.gap();
        self.arrange(gap, Event::Fault);
        let drawn = self.faults.draw();
        let (Some((kind, fault)), true) = (drawn, self.count_fault()) else { return Ok(()) };
        self.trace.note(self.now, &[7], || format!("{}: {fault:?}", kind.name()));
        if self.cause(fault)? {
            *self.fault_counts.entry(kind.name()).or_default() += 1;
        }
        Ok(())
    }

    /// Gives the fault that comes now its number, and says whether it is to happen.
    pub(crate) fn count_fault(&mut self) -> bool {
        self.fault_number += 1;
        !self.left_out.contains(&self.fault_number)
    }

    /// Carries out a fault. Returns whether there was anything to break, and nothing that
    /// must not be broken.
    fn cause(&mut self, fault: Fault) -> Result<bool, Broken> {
        match fault {
            Fault::Crash(crashes) => {
                let mut any = false;
                for (node, crash, lasts) in crashes {
                    any |= self.crash_and_restart(node, crash, lasts)?;
                }
                return Ok(any);
            }
            Fault::Full { node, lasts } => return self.fill_disk(node, lasts),
            Fault::Doom { node, effects, lasts } => {
                let host = self.host(node);
                host.doom = Some((effects, lasts));
                return Ok(host.is_up());
            }
            Fault::Loop { node, times, lasts } => {
                self.host(node).loops = (times, lasts);
                return self.crash_and_restart(node, Crash::Kill { flying: true }, lasts);
            }
            Fault::Replace { node, with, lasts } => return self.replace_disk(node, with, lasts),
            Fault::Copy(node) => self.put_copy_aside(node),
            Fault::Pause(node, lasts) => {
                let until = self.now + lasts;
                let host = self.host(node);
                host.paused_until = host.paused_until.max(until);
            }
            Fault::Jump(node, micros) => {
                let now = self.now;
                self.host(node).jump(now, micros);
                self.arrange_wake(node);
            }
            Fault::Rate { node, rate, lasts } => {
                self.set_rate(node, rate);
                self.arrange(lasts, Event::Steady { at: node });
            }
            Fault::SlowDisk { node, factor, lasts } => {
                let until = self.now + lasts;
                self.host(node).slow_disk = (factor, until);
            }
            Fault::SlowNode { node, step, lasts } => {
                let until = self.now + lasts;
                self.host(node).slow_steps = (step, until);
            }
            Fault::Cuts(cuts) => {
                for (after, lasts, ways) in cuts {
                    self.arrange(after, Event::Cut { ways, lasts });
                }
            }
            Fault::Clogs(clogs) => {
                for (after, lasts, ways) in clogs {
                    self.arrange(after, Event::Clog { ways, lasts });
                }
            }
        }
        Ok(true)
    }

    fn crash_and_restart(
        &mut self,
        node: NodeId,
        crash: Crash,
        lasts: u64,
    ) -> Result<bool, Broken> {
        let was_up = self.host(node).is_up();
        self.crash(node, crash)?;
        self.arrange(lasts, Event::Restart { at: node });
        Ok(was_up)
    }

    /// A disk is full: the node stops, and does not start before there is room, whatever else
    /// would start it.
    fn fill_disk(&mut self, node: NodeId, lasts: u64) -> Result<bool, Broken> {
        let until = self.now + lasts;
        let host = self.host(node);
        host.full_until = host.full_until.max(until);
        self.crash_and_restart(node, Crash::Kill { flying: false }, lasts)
    }

    /// A node comes back with another disk, unless that would destroy too much.
    fn replace_disk(
        &mut self,
        node: NodeId,
        with: Replacement,
        lasts: u64,
    ) -> Result<bool, Broken> {
        let (disk, lost) = match with {
            Replacement::Empty => Default::default(),
            Replacement::Copy => match self.host(node).aside.clone() {
                Some(aside) => aside,
                None => {
                    // There will be one for the next time.
                    self.put_copy_aside(node);
                    return Ok(false);
                }
            },
        };
        if !self.may_replace(node, &disk) {
            *self.fault_counts.entry("disk spared by the atlas").or_default() += 1;
            return Ok(false);
        }
        self.crash(node, Crash::Kill { flying: true })?;
        let records = self.oracle.losses.take_records(node);
        if with == Replacement::Copy {
            let host = self.host(node);
            host.aside = Some((host.disk.contents().clone(), records.clone()));
        }
        let before = self.host(node).disk.replace(disk.clone());
        self.oracle.losses.put_records(node, lost);
        self.oracle.note_replaced(node, &before, &records, &disk, self.now);
        self.host(node).is_astray = true;
        self.check_disk(node)?;
        self.arrange(lasts, Event::Restart { at: node });
        Ok(true)
    }

    /// Puts a copy of what is on a disk aside, as a backup would.
    fn put_copy_aside(&mut self, node: NodeId) {
        let records = self.oracle.losses.records_of(node);
        let host = self.host(node);
        host.aside = Some((host.disk.contents().clone(), records));
    }

    /// Messages in these directions are lost for a while.
    pub(crate) fn cut(&mut self, ways: Ways, lasts: u64) {
        if self.phase != Phase::Safety {
            return;
        }
        self.trace.note(self.now, &[11], || format!("cut {ways:?}"));
        self.network.cut(&ways);
        ways.iter().for_each(|way| self.tell_ends(*way, false));
        self.arrange(lasts, Event::Mend(ways));
    }

    /// Messages in these directions are held for a while.
    pub(crate) fn clog(&mut self, ways: &Ways, lasts: u64) {
        if self.phase == Phase::Safety {
            self.trace.note(self.now, &[12], || format!("clog {ways:?}"));
            self.network.clog(ways, self.now + lasts);
        }
    }

    /// Messages pass again, unless another cut lies over this one.
    pub(crate) fn mend(&mut self, ways: &[(NodeId, NodeId)]) {
        self.trace.note(self.now, &[8], || format!("mend {ways:?}"));
        self.network.mend(ways);
        ways.iter().for_each(|way| self.tell_ends(*way, true));
    }

    /// Arranges that both ends hear of their connection, if they hear of it.
    pub(crate) fn tell_ends(&mut self, (a, b): (NodeId, NodeId), is_up: bool) {
        for (at, peer) in [(a, b), (b, a)] {
            if let Some(after) = self.network.notice() {
                self.arrange(after, Event::Link { at, peer, is_up });
            }
        }
    }

    pub(crate) fn crash(&mut self, at: NodeId, crash: Crash) -> Result<(), Broken> {
        if !self.host(at).is_up() {
            return Ok(());
        }
        self.host(at).crash(crash);
        if crash.loses_buffered() {
            self.oracle.losses.power_lost(at, self.now);
        }
        self.oracle.forget_bases(at);
        self.check_disk(at)?;
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

    /// Counts one more effect of a node that is to die in the middle of what it does.
    /// Returns whether it has died.
    pub(crate) fn meets_doom(&mut self, at: NodeId) -> Result<bool, Broken> {
        let host = self.host(at);
        let Some((effects, lasts)) = host.doom else { return Ok(false) };
        if effects != 0 {
            host.doom = Some((effects - 1, lasts));
            return Ok(false);
        }
        host.doom = None;
        self.trace.note(self.now, &[13, u64::from(at.number())], || format!("{at} dies at work"));
        let flying = self.disk_dice.chance(500);
        self.crash(at, Crash::Kill { flying })?;
        self.arrange(lasts, Event::Restart { at });
        Ok(true)
    }

    /// A process starts, unless it runs.
    pub(crate) fn start(&mut self, at: NodeId) -> Result<(), Broken> {
        let (now, limits) = (self.now, mutant::limits(self.mutant, self.limits));
        let host = self.hosts.get_mut(&at).expect("events name nodes of the layout");
        if host.is_up() {
            return Ok(());
        }
        if let Some(until) = host.is_full(now) {
            self.arrange(until - now, Event::Restart { at });
            return Ok(());
        }
        host.start(now, &self.layout, limits, &mut self.node_dice);
        let incarnation = host.incarnation;
        let (times, lasts) = host.loops;
        if times != 0 {
            host.loops = (times - 1, lasts);
            host.doom = Some((self.disk_dice.between(0, RECOVERY_EFFECTS), lasts));
        }
        let words = [6, u64::from(at.number()), incarnation.bits()];
        self.trace.note(now, &words, || format!("{at} starts as {incarnation}"));
        let others: Vec<NodeId> =
            self.hosts.values().filter(|host| host.is_up()).map(|host| host.id).collect();
        others.into_iter().filter(|o| *o != at).for_each(|o| self.tell_ends((at, o), true));
        self.arrange_wake(at);
        match self.hosts.get(&at) {
            Some(host) if self.oracle.look == Look::Everywhere => self.check_clock(host),
            Some(_) | None => Ok(()),
        }
    }

    /// Ends all that is wrong: what is cut passes, what is down starts, what is damaged is
    /// taken away. What stands still goes on in a while.
    pub(crate) fn end_faults(&mut self) -> Result<(), Broken> {
        self.network.set_faulty(false);
        for at in self.layout.members.keys().copied().collect::<Vec<_>>() {
            let rate = self.host(at).usual_rate;
            self.set_rate(at, rate);
            self.host(at).end_faults();
            self.take_damaged_away(at)?;
            self.start(at)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario;
    use crate::swarm::Plan;

    #[test]
    fn a_full_disk_keeps_its_node_down_until_there_is_room_whatever_would_start_it() {
        let plan = Plan::draw(1);
        let layout = scenario::layout(&plan);
        let mut world = World::new(1, plan, layout, None);
        let node = NodeId::new(1);
        world.start(node).unwrap();
        world.cause(Fault::Full { node, lasts: 1_000 }).unwrap();
        world.arrange(10, Event::Restart { at: node });
        world.run_until(999).unwrap();
        assert!(!world.host(node).is_up());
        world.run_until(1_000).unwrap();
        assert!(world.host(node).is_up());
    }
}
