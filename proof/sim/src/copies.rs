//! What disks have, looked at after each loss and at each start of a node.
//!
//! Whether an acknowledged write is lost shows at once, on the disks, and not only when
//! somebody reads it at the end. So after each crash, each record that is lost and each disk
//! that is replaced, the disk must still have all that was said to be durable there and that
//! this very loss did not take; and of all that was said to be durable anywhere, some disk
//! has a copy. A node that starts finds a clock that says what its objects have heard.

use std::collections::BTreeMap;

use causality::{Dot, DotSet};
use model::{NodeId, ShardId};

use crate::host::Host;
use crate::invariant::Invariant;
use crate::oracle::{Look, Outcome, Write, WriteId};
use crate::report::Broken;
use crate::world::World;

impl World {
    /// After a crash of a node, or when its disk was replaced.
    pub(crate) fn check_disk(&self, at: NodeId) -> Result<(), Broken> {
        (0..self.oracle.spots.len()).try_for_each(|spot| self.check_copies(at, spot))
    }

    /// What a node has said to have on disk under one key is there, or was lost with the record
    /// or the disk, and then there is a copy elsewhere.
    pub(crate) fn check_copies(&self, at: NodeId, spot: usize) -> Result<(), Broken> {
        if self.oracle.look != Look::Everywhere {
            return Ok(());
        }
        let Some(host) = self.hosts.get(&at) else { return Ok(()) };
        let mut place = None;
        for (id, write) in self.oracle.writes_of(spot) {
            let Some(dot) = durable_at(write, at) else { continue };
            let place = place.get_or_insert_with(|| self.oracle.spot(spot).place());
            if host.disk.has_copy(place, dot) {
                continue;
            }
            let has_lost = self.oracle.losses.has_lost(at, spot, dot);
            if !has_lost && !host.disk.damaged().contains(place) {
                let detail = format!("{} was on the disk of {at}, and is gone", told(id, dot));
                return Err(Broken::of(Invariant::DurableIsOnDisk, spot, detail));
            }
            let any = self.hosts.values().any(|host| host.disk.has_copy(place, dot));
            if !any && !self.plan.destroys {
                let detail = format!("{} was on the disk of {at}, and is on none", told(id, dot));
                return Err(Broken::of(Invariant::AcknowledgedIsKept, spot, detail));
            }
        }
        Ok(())
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

/// The dot of a write that was acknowledged, to its client, by the disk of this node.
fn durable_at(write: &Write, at: NodeId) -> Option<Dot> {
    let is_durable = || write.acks.iter().any(|ack| ack.node == at && ack.durable);
    write.dot.filter(|_| write.outcome == Outcome::Acked && is_durable())
}

fn told(id: WriteId, dot: Dot) -> String {
    format!("w{} ({dot})", id.0)
}
