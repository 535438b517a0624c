//! What disks have, looked at after each loss and at each start of a node.
//!
//! Whether an acknowledged write is lost shows at once, on the disks, and not only when
//! somebody reads it at the end. So after each crash, each record that is lost and each disk
//! that is replaced, the disk must still have all that was said to be durable there and that
//! this very loss did not take; and of all that was said to be durable anywhere, some disk
//! has a copy. A node that starts finds a clock that says what its objects have heard.

use std::collections::BTreeMap;

use causality::{Dot, DotSet};
use model::{Ack, NodeId, ShardId};

use crate::atlas::Harm;
use crate::host::Host;
use crate::invariant::Invariant;
use crate::oracle::{Look, Outcome, WriteId};
use crate::report::Broken;
use crate::world::World;

impl World {
    /// After a crash of a node, or when its disk was replaced.
    pub(crate) fn check_disk(&self, at: NodeId) -> Result<(), Broken> {
        (0..self.oracle.spots.len()).try_for_each(|spot| self.check_copies(at, spot))
    }

    /// What a node has said to have on disk under one key is there, or was lost with the record
    /// or the disk, and then there is a copy elsewhere. What a guest has said to have for a
    /// node is at one of the two.
    pub(crate) fn check_copies(&self, at: NodeId, spot: usize) -> Result<(), Broken> {
        if self.oracle.look != Look::Everywhere {
            return Ok(());
        }
        let Some(host) = self.hosts.get(&at) else { return Ok(()) };
        for (id, write) in self.oracle.writes_of(spot) {
            let concerns = |ack: &&Ack| ack.node == at || ack.stands_for == Some(at);
            let Some(dot) = write.dot.filter(|_| write.outcome == Outcome::Acked) else { continue };
            for ack in write.acks.iter().filter(|ack| ack.durable).filter(concerns) {
                let place = self.oracle.spot(spot).place();
                let is_damaged = host.disk.damaged().contains(&place);
                if !is_damaged && !self.is_or_was_on_disk(ack, spot, dot) {
                    let at = ack.node;
                    let detail = format!("{} was on the disk of {at}, and is gone", told(id, dot));
                    return Err(Broken::of(Invariant::DurableIsOnDisk, spot, detail));
                }
                if !self.plan.destroys && !self.is_anywhere(spot, dot, Harm::None) {
                    let detail =
                        format!("{} was on the disk of {at}, and is on none", told(id, dot));
                    return Err(Broken::of(Invariant::AcknowledgedIsKept, spot, detail));
                }
            }
        }
        Ok(())
    }

    /// What guests have said to have is there or handed over, and when nothing has been away
    /// for a while they have nothing left.
    pub(crate) fn check_hints(&self) -> Result<(), Broken> {
        for at in self.hosts.keys() {
            self.check_disk(*at)?;
        }
        let hints = |host: &&Host| !host.disk.view().hints.is_empty();
        match self.hosts.values().find(hints) {
            None => Ok(()),
            Some(host) => {
                let count = host.disk.view().hints.len();
                let detail = format!("{} keeps {count} hints, and nobody is away", host.id);
                Err(Broken::new(Invariant::HintsAreHandedOver, detail))
            }
        }
    }

    /// The clocks of all nodes.
    pub(crate) fn check_clocks(&self) -> Result<(), Broken> {
        self.hosts.values().try_for_each(|host| self.check_clock(host))
    }

    /// The clock of each shard is what its objects have heard of, no more and no less, and
    /// those that were lost had.
    pub(crate) fn check_clock(&self, host: &Host) -> Result<(), Broken> {
        let view = host.disk.view();
        let mut heard: BTreeMap<ShardId, DotSet> = BTreeMap::new();
        for ((shard, _), object) in &view.objects {
            let _ = heard.entry(*shard).or_default().union(object.context());
        }
        for (shard, forgotten) in view.all_forgotten() {
            let _ = heard.entry(shard).or_default().union(&forgotten);
        }
        for (index, lost) in self.oracle.losses.all_of(host.id) {
            let _ = heard.entry(self.oracle.spot(index).shard).or_default().union(lost);
        }
        let clocks = view.clocks();
        if clocks != heard {
            let detail = format!("{} has clocks {clocks:?} over {heard:?}", host.id);
            return Err(Broken::new(Invariant::ClocksAreExact, detail));
        }
        Ok(())
    }
}

fn told(id: WriteId, dot: Dot) -> String {
    format!("w{} ({dot})", id.0)
}
