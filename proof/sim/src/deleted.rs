//! What was deleted does not come back.
//!
//! A replica that has missed a delete still holds the value, and shows it when it is asked alone:
//! that is a weak answer, and no more. It is a *resurrection* if nobody could be left who holds it:
//!
//! ```text
//! shown     by a replica, after the delete was acknowledged and settled: all replicas have
//!           said that it is on their disk, or one has forgotten the tombstone, which it may
//!           only when that is so. Before the read began
//! held      in the end, when everybody has heard everything, although an acknowledged delete
//!           had read it
//! ```
//!
//! A replica that has lost its disk, the record, or was given up is excused for what it shows, as
//! the guarantees say; what is held in the end has no excuse but that the delete was acknowledged
//! from memory, and all who did lost their power. Both need nothing but what clients see.

use causality::Dot;
use model::{Ack, NodeId, Read};

use crate::invariant::Invariant;
use crate::oracle::{Look, Oracle, Outcome, Write, WriteId};
use crate::report::Broken;
use crate::world::World;

impl Oracle {
    /// The acknowledged deletes that had read a value.
    pub(crate) fn deletes_of(
        &self,
        spot: usize,
        value: Dot,
    ) -> impl Iterator<Item = (WriteId, &Write)> {
        self.superseding(spot, value)
            .map(|id| (id, self.write(id)))
            .filter(|(_, write)| write.value.is_none() && write.outcome == Outcome::Acked)
    }

    /// Since when nobody can be left who has not heard of a delete.
    fn settled_at(&self, spot: usize, write: &Write) -> Option<u64> {
        let replicas = &self.spot(spot).replicas;
        let has = |node: &NodeId| write.acks.iter().any(|ack| is_on_disk(ack) && ack.node == *node);
        let by_all = replicas.iter().all(has).then_some(write.ended);
        let forgotten = replicas
            .iter()
            .filter_map(|node| write.dot.and_then(|dot| self.first_forgotten(*node, spot, dot)));
        forgotten.chain(by_all).min()
    }

    /// In the end nothing is held that was deleted.
    pub(crate) fn check_gone(
        &self,
        spot: usize,
        read: &Read,
        destroys: bool,
    ) -> Result<(), Broken> {
        for dot in read.object.values().keys() {
            let must = |(_, write): &(WriteId, &Write)| {
                let was_durable = !destroys && write.acks.iter().any(|ack| ack.durable);
                was_durable || self.losses.keepers(write, u64::MAX).next().is_some()
            };
            if let Some((id, _)) = self.deletes_of(spot, *dot).find(must) {
                let detail = format!("at the end {dot} is held, which w{} had deleted", id.0);
                return Err(Broken::of(Invariant::DeletedStaysAway, spot, detail));
            }
        }
        Ok(())
    }
}

fn is_on_disk(ack: &Ack) -> bool {
    ack.is_primary() && ack.durable
}

impl World {
    /// A read shows nothing whose delete was settled before it began.
    pub(crate) fn check_deleted(&self, spot: usize, begun: u64, read: &Read) -> Result<(), Broken> {
        if self.oracle.look == Look::Quiet {
            return Ok(());
        }
        let losses = &self.oracle.losses;
        for dot in read.object.values().keys() {
            for (id, write) in self.oracle.deletes_of(spot, *dot) {
                let Some(at) = self.oracle.settled_at(spot, write).filter(|at| *at < begun) else {
                    continue;
                };
                let is_outside = |node: NodeId| {
                    let host = self.hosts.get(&node);
                    host.is_none_or(|host| {
                        host.given_up.is_some() || host.outside_at.is_some_and(|at| begun <= at)
                    })
                };
                // A single replica forgets what only its memory has, and loses both with its power.
                let may_lack = |node, dot| {
                    losses.may_lack(node, spot, dot, at)
                        || losses.has_lost_unsynced(node, spot, dot)
                };
                let lacks =
                    |node| write.dot.is_some_and(|dot| may_lack(node, dot)) || is_outside(node);
                let mut readers = read.receipt.acks.iter().filter(|ack| ack.is_primary());
                if let Some(reader) = readers.find(|ack| !lacks(ack.node)) {
                    let detail = format!(
                        "a {} read begun at {begun} shows {dot}, which w{} had deleted: acknowledged at {}, settled at {at}, and {} took part",
                        read.receipt.kind.as_str(),
                        id.0,
                        write.ended,
                        reader.node
                    );
                    return Err(Broken::of(Invariant::DeletedStaysAway, spot, detail));
                }
            }
        }
        Ok(())
    }
}
