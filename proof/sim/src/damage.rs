//! Faults, carried out: what becomes of processes, clocks, and the ways between nodes.

use model::NodeId;

use crate::disk::{Contents, Crash};
use crate::faults::{Fault, FaultKind, Replacement, Ways};
use crate::host::Doom;
use crate::losses::Records;
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
            self.count_as(kind);
        }
        Ok(())
    }

    fn count_as(&mut self, kind: FaultKind) {
        *self.fault_counts.entry(kind.name()).or_default() += 1;
    }

    /// Gives the fault that comes now its number, and says whether it is to happen.
    pub(crate) fn count_fault(&mut self) -> bool {
        self.fault_number += 1;
        !self.left_out.contains(&self.fault_number)
    }

    /// Carries out a fault. Returns whether it has happened: there was something to break, and
    /// nothing that must not be broken. What happens later is counted then.
    fn cause(&mut self, fault: Fault) -> Result<bool, Broken> {
        match fault {
            Fault::Crash(crashes) => {
                let mut any = false;
                for (node, crash, lasts) in crashes {
                    any |= self.crash_and_restart(node, crash, lasts)?;
                }
                return Ok(any);
            }
            Fault::Full { node, lasts } => {
                let until = self.now + lasts;
                let host = self.host(node);
                host.full_until = host.full_until.max(until);
                return Ok(false);
            }
            Fault::Doom { node, effects, lasts } => {
                let kind = FaultKind::KillAtEffect;
                let host = self.host(node);
                host.doom = Some(Doom { effects, lasts, kind }).filter(|_| host.is_up());
                return Ok(false);
            }
            Fault::Loop { node, times, lasts } => {
                self.host(node).loops = (times, lasts);
                self.crash_and_restart(node, Crash::Kill { flying: true }, lasts)?;
                return Ok(false);
            }
            Fault::Replace { node, with, lasts } => return self.replace_disk(node, with, lasts),
            Fault::Copy(node) => self.put_copy_aside(node),
            Fault::Pause(node, lasts) => {
                let until = self.now + lasts;
                self.troubles.of_node(node, until);
                let host = self.host(node);
                host.paused_until = host.paused_until.max(until);
                return Ok(host.is_up());
            }
            Fault::Jump(node, micros) => {
                let now = self.now;
                self.troubles.of_node(node, now);
                self.host(node).jump(now, micros);
                self.arrange_wake(node);
                return Ok(self.host(node).is_up());
            }
            Fault::Rate { node, rate, lasts } => {
                self.set_rate(node, rate);
                let until = self.now + lasts;
                self.troubles.of_node(node, until);
                self.arrange(lasts, Event::Steady { at: node });
                return Ok(self.host(node).is_up());
            }
            Fault::SlowDisk { node, factor, lasts } => {
                let until = self.now + lasts;
                self.host(node).slow_disk = (factor, until);
            }
            Fault::SlowNode { node, step, lasts } => {
                let until = self.now + lasts;
                self.troubles.of_node(node, until);
                self.host(node).slow_steps = (step, until);
            }
            Fault::Cuts(cuts) => {
                let any = cuts.iter().flat_map(|(.., ways)| ways).any(|(from, to)| from != to);
                for (after, lasts, ways) in cuts {
                    self.arrange(after, Event::Cut { ways, lasts });
                }
                return Ok(any);
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
        let happened = self.crash(node, crash)?;
        self.arrange(lasts, Event::Restart { at: node });
        Ok(happened)
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
                // One that was replaced is refused, and somebody would have to empty it.
                Some(aside) if aside.0.id == self.host(node).disk.contents().id => aside,
                Some(_) | None => {
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
        self.stop_for_disk(node)?;
        if with == Replacement::Copy {
            self.put_copy_aside(node);
        }
        self.put_disk(node, &disk, lost, lasts)?;
        Ok(true)
    }

    /// A process dies, and what it had left to the operating system comes to its disk.
    pub(crate) fn stop_for_disk(&mut self, node: NodeId) -> Result<(), Broken> {
        self.crash(node, Crash::Kill { flying: true })?;
        self.host(node).disk.write_back();
        self.note_synced(node);
        Ok(())
    }

    /// A node that is down starts with this disk, which had lost these records.
    pub(crate) fn put_disk(
        &mut self,
        node: NodeId,
        disk: &Contents,
        lost: Records,
        lasts: u64,
    ) -> Result<(), Broken> {
        let is_empty = disk.id.is_none();
        let before = self.host(node).disk.replace(disk.clone());
        self.oracle.losses.put_records(node, lost);
        self.oracle.note_replaced(node, &before, disk, self.now);
        let unhealed = self.healing.forget(node);
        *self.requests.entry(("losses", "with a disk that was replaced")).or_default() += unhealed;
        let now = self.now;
        let host = self.host(node);
        host.is_astray = true;
        if is_empty {
            (host.replaced_at, host.outside_at, host.given_up) = (Some(now), Some(now), None);
        }
        self.check_disk(node)?;
        self.arrange(lasts, Event::Restart { at: node });
        Ok(())
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
        self.note_cut(&ways);
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
        self.note_mended();
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

    /// A process dies, or a machine loses power, whether its process is up or not. Returns
    /// whether anything changed.
    pub(crate) fn crash(&mut self, at: NodeId, crash: Crash) -> Result<bool, Broken> {
        let was_up = self.host(at).is_up();
        if !was_up && !crash.is_of_power() {
            return Ok(false);
        }
        let forgotten = self.host(at).disk.view().all_forgotten();
        let lost = self.host(at).crash(crash);
        if let Some(host) = self.hosts.get(&at) {
            self.oracle.note_unforgotten((at, self.now), &forgotten, host.disk.view());
        }
        for (place, dots) in &lost {
            let spot = self.oracle.spot_of(place)?;
            self.oracle.losses.unsynced_lost(at, spot, dots);
        }
        self.note_synced(at);
        self.oracle.forget_bases(at);
        self.check_disk(at)?;
        if !was_up {
            if !lost.is_empty() {
                *self.fault_counts.entry("power lost while down").or_default() += 1;
            }
            return Ok(!lost.is_empty());
        }
        self.abandon_requests(at)?;
        self.note_down(at);
        let others: Vec<NodeId> =
            self.hosts.values().filter(|host| host.is_up()).map(|host| host.id).collect();
        others.into_iter().for_each(|other| self.tell_ends((at, other), false));
        Ok(true)
    }

    /// What a disk has synced it must keep, whatever it had lost before.
    pub(crate) fn note_synced(&mut self, at: NodeId) {
        for place in self.host(at).disk.take_fresh() {
            let Some(object) = self.hosts.get(&at).and_then(|host| host.disk.synced_object(&place))
            else {
                continue;
            };
            if let Ok(spot) = self.oracle.spot_of(&place) {
                self.oracle.losses.regain(at, spot, object.context(), self.now);
            }
        }
        self.note_synced_hints(at);
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
        let Some(Doom { effects, lasts, kind }) = host.doom else { return Ok(false) };
        if effects != 0 {
            host.doom = Some(Doom { effects: effects - 1, lasts, kind });
            return Ok(false);
        }
        host.doom = None;
        self.count_as(kind);
        self.trace.note(self.now, &[13, u64::from(at.number())], || format!("{at} dies at work"));
        let flying = self.disk_dice.chance(500);
        self.crash(at, Crash::Kill { flying })?;
        self.arrange(lasts, Event::Restart { at });
        Ok(true)
    }

    /// There is no room for a group: its node stops. The group may be there all the same.
    pub(crate) fn find_no_room(&mut self, at: NodeId, until: u64) -> Result<(), Broken> {
        self.count_as(FaultKind::DiskFull);
        let words = [15, u64::from(at.number())];
        self.trace.note(self.now, &words, || format!("{at} finds no room and stops"));
        let flying = self.disk_dice.chance(500);
        self.crash(at, Crash::Kill { flying })?;
        self.arrange(until - self.now, Event::Restart { at });
        Ok(())
    }

    /// A process starts, unless it runs.
    pub(crate) fn start(&mut self, at: NodeId) -> Result<(), Broken> {
        let (now, limits) = (self.now, mutant::limits(self.mutant, self.limits));
        let host = self.hosts.get_mut(&at).expect("events name nodes of the layout");
        if host.is_up() {
            return Ok(());
        }
        if let Some(until) = host.is_full(now) {
            self.count_as(FaultKind::DiskFull);
            self.arrange(until - now, Event::Restart { at });
            return Ok(());
        }
        self.troubles.of_node(at, now);
        host.start(now, &self.layout, limits, &mut self.node_dice);
        let incarnation = host.incarnation;
        let ((times, lasts), dice) = (host.loops, &mut self.disk_dice);
        if times != 0 {
            host.loops = (times - 1, lasts);
            let effects = dice.between(0, RECOVERY_EFFECTS);
            host.doom = Some(Doom { effects, lasts, kind: FaultKind::CrashLoop });
        }
        self.note_synced(at);
        self.note_up(at);
        self.found_kept(at);
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
    /// taken away where nothing looks for it. What stands still goes on in a while.
    pub(crate) fn end_faults(&mut self) -> Result<(), Broken> {
        self.network.set_faulty(false);
        self.note_mended();
        for at in self.layout.members.keys().copied().collect::<Vec<_>>() {
            let rate = self.host(at).usual_rate;
            self.set_rate(at, rate);
            self.host(at).end_faults();
            if !self.plan.scrubs {
                self.take_damaged_away(at)?;
            }
            self.take_old_away(at)?;
            self.take_damaged_hints_away(at)?;
            self.start(at)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Work;
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
        world.run_until(100).unwrap();
        assert!(world.host(node).is_up(), "it has written nothing");
        let work = Work::Commit;
        let life = world.host(node).life;
        world.arrange(0, Event::Done { at: node, life, work });
        world.arrange(10, Event::Restart { at: node });
        world.run_until(999).unwrap();
        assert!(!world.host(node).is_up());
        world.run_until(1_000).unwrap();
        assert!(world.host(node).is_up());
    }
}
