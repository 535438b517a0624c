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
//! What a guest keeps is a copy as long as its replica has not heard of the write. One that has
//! lost the record says "old news" to the hint, and the guest drops it; one whose disk is about
//! to be replaced may have said "I have it" just before. Where the disk of that replica is given
//! up it is none: the node may come back with this disk, take it, and be started with an empty
//! one then.
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
use model::{NodeId, Object};
use node::HintPlace;

use crate::disk::{Contents, Place};
use crate::host::Host;
use crate::mutant::Mutant;
use crate::oracle::{Oracle, Outcome, Spot, Write, WriteId};
use crate::world::World;

/// What a fault does to the copies on a disk.
#[derive(Clone, Copy)]
pub(crate) enum Harm<'a> {
    /// Nothing.
    None,
    /// It is replaced by another.
    Disk(NodeId, &'a Contents),
    /// It is given up, and its node may serve with it for a while.
    GivenUp(NodeId),
    /// The record of the key is lost, or is what it was.
    Record(NodeId, Option<&'a Object>),
    /// What is kept there for a replica is lost, or is what it was.
    Hint(NodeId, NodeId, Option<&'a Object>),
}

/// Where guests keep a key for its replicas.
fn hints_of(spot: &Spot) -> impl Iterator<Item = HintPlace> + '_ {
    let address = spot.address();
    spot.replicas.iter().map(move |target| HintPlace { target: *target, address: address.clone() })
}

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
        // Whoever has heard of it takes no hint of it.
        let spoils = |spot: &Spot, dot| self.plan.sloppy && with.has_heard(spot.shard, dot);
        self.may_take(node, Harm::Disk(node, with), spoils)
    }

    /// Whether a disk may be given up, which takes what waits for its node with it.
    pub(crate) fn may_give_up(&self, node: NodeId) -> bool {
        let takes = |spot: &Spot, dot| {
            let hint = HintPlace { target: node, address: spot.address() };
            self.hosts.values().any(|host| host.disk.has_synced_hint(&hint, dot))
        };
        self.may_take(node, Harm::GivenUp(node), takes)
    }

    /// Whether what a disk has may be gone, and what else harm to it concerns.
    fn may_take(
        &self,
        node: NodeId,
        harm: Harm<'_>,
        concerns_too: impl Fn(&Spot, Dot) -> bool,
    ) -> bool {
        if !self.plan.may_replace_disks() || !self.is_catalog_safe_without(node) {
            return false;
        }
        let Some(host) = self.hosts.get(&node) else { return false };
        let is_safe = |index: usize, spot: &Spot| {
            let place = spot.place();
            let concerns = |dot: Dot| {
                host.disk.has_synced(&place, dot)
                    || hints_of(spot).any(|hint| host.disk.has_synced_hint(&hint, dot))
                    || concerns_too(spot, dot)
            };
            self.is_safe(index, concerns, harm)
        };
        let spots = self.oracle.spots.iter().enumerate();
        self.destroys_all() || spots.into_iter().all(|(index, spot)| is_safe(index, spot))
    }

    /// Whether a record may be lost, damaged, or rolled back to `older`.
    pub(crate) fn may_lose(&self, node: NodeId, place: &Place, older: Option<&Object>) -> bool {
        let Ok(spot) = self.oracle.spot_of(place) else { return false };
        self.destroys_all() || self.is_safe(spot, |_| true, Harm::Record(node, older))
    }

    /// Whether what a guest keeps may be lost, damaged, or rolled back to `older`.
    pub(crate) fn may_lose_hint(
        &self,
        node: NodeId,
        spot: usize,
        hint: &HintPlace,
        older: Option<&Object>,
    ) -> bool {
        let Some(host) = self.hosts.get(&node) else { return false };
        let concerns = |dot| host.disk.has_synced_hint(hint, dot);
        let harm = Harm::Hint(node, hint.target, older);
        self.destroys_all() || self.is_safe(spot, concerns, harm)
    }

    /// Whether each acknowledged write under a key that harm concerns has a copy after it.
    fn is_safe(&self, spot: usize, concerns: impl Fn(Dot) -> bool, harm: Harm<'_>) -> bool {
        self.oracle.writes_of(spot).all(|(id, write)| {
            let dot = write.dot.filter(|_| self.oracle.may_count(id));
            dot.is_none_or(|dot| !concerns(dot) || self.is_anywhere(spot, dot, harm))
        })
    }

    fn destroys_all(&self) -> bool {
        self.plan.destroys || self.mutant == Some(Mutant::AtlasOpen)
    }

    /// Whether some disk has a readable copy of a write, or would have after harm: a replica, or
    /// a guest that keeps it for one which has not heard of it and will take it. Disks that are
    /// given up do not count.
    pub(crate) fn is_anywhere(&self, spot: usize, dot: Dot, harm: Harm<'_>) -> bool {
        let spot = self.oracle.spot(spot);
        let place = spot.place();
        let has_heard_of =
            |object: Option<&Object>| object.is_some_and(|object| object.context().contains(dot));
        let is_given_up = |host: &Host| match harm {
            Harm::GivenUp(node) if node == host.id => true,
            // An empty one is another.
            Harm::Disk(node, with) if node == host.id && with.id.is_none() => false,
            Harm::None | Harm::Disk(..) | Harm::GivenUp(_) | Harm::Record(..) | Harm::Hint(..) => {
                host.given_up.is_some()
            }
        };
        let has_object = |host: &Host| match harm {
            Harm::Disk(node, with) if node == host.id => has_heard_of(with.objects.get(&place)),
            Harm::Record(node, older) if node == host.id => has_heard_of(older),
            Harm::None | Harm::Disk(..) | Harm::GivenUp(_) | Harm::Record(..) | Harm::Hint(..) => {
                host.disk.has_copy(&place, dot)
                    && (matches!(harm, Harm::None) || !self.is_old_record(host, &place))
            }
        };
        let has_hint = |host: &Host, hint: &HintPlace| match harm {
            Harm::Disk(node, with) if node == host.id => {
                has_heard_of(with.hints.get(hint).map(|hint| &hint.object))
            }
            Harm::Hint(node, target, older) if (node, target) == (host.id, hint.target) => {
                has_heard_of(older)
            }
            Harm::None | Harm::Disk(..) | Harm::GivenUp(_) | Harm::Record(..) | Harm::Hint(..) => {
                host.disk.has_hint(hint, dot)
            }
        };
        let waits_for_it = |target: &Host| {
            let has_heard_after = match harm {
                Harm::Disk(node, with) if node == target.id => with.has_heard(place.0, dot),
                Harm::None
                | Harm::Disk(..)
                | Harm::GivenUp(_)
                | Harm::Record(..)
                | Harm::Hint(..) => false,
            };
            // A disk that is about to go may have said that it has it, on the way to the guest.
            !has_heard_after && !target.disk.contents().has_heard(place.0, dot)
        };
        let counts = || self.hosts.values().filter(|host| !is_given_up(host));
        let is_hinted = |hint: HintPlace| {
            counts().any(|host| host.id == hint.target && waits_for_it(host))
                && counts().any(|host| has_hint(host, &hint))
        };
        counts().any(has_object) || self.plan.sloppy && hints_of(spot).any(is_hinted)
    }

    /// Whether a record holds what anybody has forgotten since, as an old copy of a disk does. It
    /// is not read any more, and thrown away in the end.
    fn is_old_record(&self, host: &Host, place: &Place) -> bool {
        let Some(object) = host.disk.view().objects.get(place) else { return false };
        let mut forgotten =
            self.hosts.values().filter_map(|host| host.disk.view().forgotten(place.0));
        forgotten.any(|dots| object.values().keys().any(|dot| dots.contains(*dot)))
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

#[cfg(test)]
mod tests;
