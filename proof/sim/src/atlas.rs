//! The atlas: where the copies are, and which of them must not be destroyed.
//!
//! A database cannot keep what every disk has lost, so a run that destroys all copies of a
//! write can only look away from it. Looking away is how checkers go blind. In the normal
//! mode the plan therefore knows, for each acknowledged write, which disks have it, and a
//! fault that would destroy the last synced copy is not carried out. In return nothing
//! excuses a write that is missing at the end.
//!
//! ```text
//! w7 acknowledged by n1 n2, synced at n1 n2 n3
//! n1 is wiped      allowed: n2 and n3 have it
//! n3 loses it      allowed: n2 has it
//! n2 is wiped      spared
//! ```
//!
//! Power loss needs no atlas: it takes only what was never synced. A write to a *buffered*
//! table that was acknowledged from memory may be lost with it, and the oracle knows that.
//!
//! There is one more thing on a disk that others rely on: the node's vote on catalogs. A
//! node that comes back empty has forgotten what it promised, and nothing in the engine
//! keeps it from voting. So disks are replaced only in worlds where nobody declares
//! anything meanwhile, and only while a majority of the others have the newest catalog on
//! disk: a majority then always meets somebody who remembers. This is a real limit of
//! the database, and the guarantees say so.
//!
//! In the other mode, [`Plan::destroys`](crate::Plan), there is no atlas. Everything may be
//! destroyed, and only lies are violations: invented values, false claims, receipts that
//! are not true, a node that panics.

use causality::Dot;
use model::NodeId;

use crate::disk::{Contents, Place};
use crate::mutant::Mutant;
use crate::oracle::{Oracle, Outcome, Write, WriteId};
use crate::world::World;

impl Write {
    /// Whether it is acknowledged, or may be soon: its acknowledgement may be on its way.
    fn may_count(&self) -> bool {
        matches!(self.outcome, Outcome::Acked | Outcome::Open)
    }
}

impl Oracle {
    /// The same of a write that was tried several times: the acknowledgement of a later attempt
    /// speaks of the dot of an earlier one, which was not acknowledged itself.
    fn may_count(&self, id: WriteId) -> bool {
        self.write(id).may_count() || self.family(id).iter().any(|id| self.write(*id).may_count())
    }
}

impl World {
    /// Whether a disk may be replaced by other contents.
    pub(crate) fn may_replace(&self, node: NodeId, with: &Contents) -> bool {
        if !self.plan.may_replace_disks() || !self.is_catalog_safe_without(node) {
            return false;
        }
        let Some(host) = self.hosts.get(&node) else { return false };
        self.destroys_all()
            || self.oracle.spots.iter().enumerate().all(|(index, spot)| {
                let place = spot.place();
                let kept = with.objects.get(&place);
                let is_kept = |dot| kept.is_some_and(|object| object.context().contains(dot));
                self.oracle.writes_of(index).all(|(id, write)| {
                    let counts = |_: &Dot| self.oracle.may_count(id);
                    let Some(dot) = write.dot.filter(counts) else { return true };
                    is_kept(dot)
                        || !host.disk.has_synced(&place, dot)
                        || self.is_synced_elsewhere(node, &place, dot)
                })
            })
    }

    /// Whether a record may be lost, damaged, or rolled back to `older`.
    pub(crate) fn may_lose(
        &self,
        node: NodeId,
        place: &Place,
        older: Option<&model::Object>,
    ) -> bool {
        let Ok(spot) = self.oracle.spot_of(place) else { return false };
        let is_kept = |dot| older.is_some_and(|object| object.context().contains(dot));
        self.destroys_all()
            || self.oracle.writes_of(spot).all(|(id, write)| {
                write
                    .dot
                    .filter(|_| self.oracle.may_count(id))
                    .is_none_or(|dot| is_kept(dot) || self.is_synced_elsewhere(node, place, dot))
            })
    }

    fn destroys_all(&self) -> bool {
        self.plan.destroys || self.mutant == Some(Mutant::AtlasOpen)
    }

    fn is_synced_elsewhere(&self, node: NodeId, place: &Place, dot: causality::Dot) -> bool {
        self.hosts.values().any(|host| host.id != node && host.disk.has_copy(place, dot))
    }

    /// Whether a majority has the newest catalog on disk, this node not counted.
    fn is_catalog_safe_without(&self, node: NodeId) -> bool {
        let accepted = |host: &crate::host::Host| host.disk.contents().acceptor.accepted;
        let newest = self.hosts.values().map(accepted).max();
        let others = self.hosts.values().filter(|host| host.id != node);
        let count = others.filter(|host| Some(accepted(host)) == newest).count();
        self.hosts.len() < 2 * count
    }
}
