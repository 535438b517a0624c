//! What replicas bring each other without a read, and the logs that it rests on.
//!
//! Reads repair, so a run that reads everything cannot tell whether anything else does. When
//! the faults have ended, and again when all late messages have arrived, each replica is
//! therefore looked at *before* anybody reads: it must have heard of every write that
//! another one can produce. One that cannot be produced is no matter here: its record is lost, or its
//! line in the log was dropped while all had it, and then a disk was lost.
//!
//! A line may be dropped only when every replica of the shard has its dots on disk, or is marked
//! as needing repair. That is looked at on the true disks, at the moment when it is dropped.

use causality::{Dot, DotSet, Run};
use model::{NodeId, ShardId};

use crate::disk::{Place, SimDisk};
use crate::host::Host;
use crate::invariant::Invariant;
use crate::oracle::{Look, Outcome, Spot, WriteId, dots};
use crate::report::Broken;
use crate::world::World;

impl SimDisk {
    /// Whether another replica can be sent a write from here.
    fn can_produce(&self, place: &Place, dot: Dot) -> bool {
        let object = self.view().objects.get(place);
        object.is_some_and(|object| object.context().contains(dot))
            && !self.damaged().contains(place)
    }

    /// Whether the log knows where the object is that came with a dot.
    fn has_logged(&self, shard: ShardId, dot: Dot) -> bool {
        let run = Run { incarnation: dot.incarnation, first: dot.seq, last: dot.seq };
        !self.view().log.read(shard, run, 1).is_empty()
    }
}

impl World {
    /// Each replica has all writes that were acknowledged before a moment, or all writes.
    pub(crate) fn check_exchanged(&self, before: Option<u64>) -> Result<(), Broken> {
        if self.oracle.look == Look::Answers {
            return Ok(());
        }
        for (index, spot) in self.oracle.spots.iter().enumerate() {
            for (id, write) in self.oracle.writes_of(index) {
                let is_old = |before| write.outcome == Outcome::Acked && write.ended < before;
                let Some(dot) = write.dot.filter(|_| before.is_none_or(is_old)) else { continue };
                self.check_everywhere(index, spot, id, dot)?;
            }
        }
        Ok(())
    }

    fn check_everywhere(
        &self,
        index: usize,
        spot: &Spot,
        id: WriteId,
        dot: Dot,
    ) -> Result<(), Broken> {
        let (shard, place) = (spot.shard, spot.place());
        let hosts = || spot.replicas.iter().filter_map(|node| self.hosts.get(node));
        for host in hosts().filter(|host| !host.disk.view().has_heard(shard, dot)) {
            let owes = |other: &&Host| {
                let is_logged = other.disk.has_logged(shard, dot) || !host.is_astray;
                is_logged && other.disk.can_produce(&place, dot)
            };
            if let Some(other) = hosts().find(owes) {
                let detail = format!("{} lacks w{} ({dot}), which {} has", host.id, id.0, other.id);
                return Err(Broken::of(Invariant::ExchangeConverges, index, detail));
            }
        }
        Ok(())
    }

    /// What a node has just taken into a clock is in the log with it.
    pub(crate) fn check_logged(
        &self,
        at: NodeId,
        spot: usize,
        gained: &DotSet,
    ) -> Result<(), Broken> {
        let Some(host) = self.hosts.get(&at) else { return Ok(()) };
        let shard = self.oracle.spot(spot).shard;
        match dots(gained).find(|dot| !host.disk.has_logged(shard, *dot)) {
            None => Ok(()),
            Some(dot) => {
                let detail = format!("the clock of {at} takes in {dot}, and the log does not");
                Err(Broken::of(Invariant::LogReachesBack, spot, detail))
            }
        }
    }

    /// What a node has just dropped from its log is on all disks.
    pub(crate) fn check_forgotten(&mut self, at: NodeId) -> Result<(), Broken> {
        for (shard, run) in self.host(at).disk.take_forgotten() {
            let spot = self.oracle.spots.iter().find(|spot| spot.shard == shard);
            let replicas = spot.map(|spot| spot.replicas.as_slice()).unwrap_or_default();
            let others = replicas.iter().filter_map(|node| self.hosts.get(node));
            let run = DotSet::from_runs(vec![run]).expect("a run of a log is a set");
            for host in others.filter(|host| !host.is_astray && host.id != at) {
                let has = |dot: &Dot| host.disk.contents().has_heard(shard, *dot);
                if let Some(dot) = dots(&run).find(|dot| !has(dot)) {
                    let detail = format!(
                        "{at} drops {dot} of {shard} from its log, and {} does not have it on disk",
                        host.id
                    );
                    return Err(Broken::new(Invariant::LogReachesBack, detail));
                }
            }
        }
        Ok(())
    }
}
