//! What disks have lost comes back without a read, and trees say what is stored.
//!
//! Clocks do not see a record that vanished, so it is hash trees that must find it: the scrub of the
//! one that lost it, and the comparison with one that has it. When all faults have ended and
//! so much time has passed as both take, each replica is looked at *before* anybody reads.
//! What it can read it holds exactly like the others.
//!
//! And a sum that a node tells is that of what its disk holds at that moment. A tree that had
//! missed a change would tell the others of differences that are none, for ever, or hide one.

use std::time::Duration;

use model::{NodeId, ShardId};
use node::Salt;

use crate::host::Host;
use crate::invariant::Invariant;
use crate::oracle::Look;
use crate::report::Broken;
use crate::swarm::Plan;
use crate::tokens::plain;
use crate::world::World;

/// Within which time everything that is stored is read again, where it is.
const SCRUB: Duration = Duration::from_secs(4);

/// Longer than any world lasts.
const NEVER: Duration = Duration::from_secs(24 * 3_600);

/// How long a shard goes without a proof before it is compared although it is written.
pub(crate) const REPAIR: Duration = Duration::from_secs(3);

/// How long it takes at most until nothing that can be healed is left to be healed, in
/// microseconds: a scrub, a rest of those who had found nothing, and some comparisons, one
/// after the other.
pub(crate) const HEALED: u64 = 16_000_000;

/// Within which time everything that is stored is read again.
pub(crate) fn scrub_interval(plan: &Plan) -> Duration {
    if plan.scrubs { SCRUB } else { NEVER }
}

impl World {
    /// Waits until everything is healed, where something is there to heal it, and looks.
    pub(crate) fn be_healed(&mut self) -> Result<(), Broken> {
        let is_found = self.plan.scrubs || self.plan.disk.rot == 0;
        if !is_found || self.oracle.look == Look::Answers {
            return Ok(());
        }
        self.go_on(HEALED)?;
        self.check_healed()?;
        self.check_sums()?;
        self.hosts.values().try_for_each(|host| self.check_trees(host))
    }

    /// Records that cannot be read are replaced by what others hold of them. What nobody holds is
    /// thrown away, as an operator would.
    pub(crate) fn heal_damaged(&mut self) -> Result<(), Broken> {
        if self.hosts.values().all(|host| host.disk.damaged().is_empty()) {
            return Ok(());
        }
        self.go_on(HEALED)?;
        for host in self.hosts.values() {
            for place in host.disk.damaged() {
                let holds = |other: &&Host| {
                    other.id != host.id
                        && !other.disk.damaged().contains(place)
                        && other.disk.view().objects.contains_key(place)
                };
                if let Some(other) = self.hosts.values().find(holds) {
                    let detail = format!(
                        "{} cannot read {place:?}, long after all faults, which {} holds",
                        host.id, other.id
                    );
                    return Err(Broken::new(Invariant::LossesAreHealed, detail));
                }
            }
        }
        self.layout.members.clone().into_keys().try_for_each(|at| self.take_damaged_away(at))
    }

    /// All replicas hold the same under each key.
    fn check_healed(&self) -> Result<(), Broken> {
        for (index, spot) in self.oracle.spots.iter().enumerate() {
            let known = |node: &NodeId| {
                let known = self.oracle.remembered(index, &self.known(*node, index));
                (*node, plain(&known))
            };
            let mut held = spot.replicas.iter().map(known);
            let Some((first, expected)) = held.next() else { continue };
            if let Some((node, other)) = held.find(|(_, other)| *other != expected) {
                let detail = format!(
                    "long after all faults {first} holds {expected:?} and {node} {other:?}"
                );
                return Err(Broken::of(Invariant::LossesAreHealed, index, detail));
            }
        }
        Ok(())
    }

    /// The sums that a node tells are those of what it holds.
    fn check_trees(&self, host: &Host) -> Result<(), Broken> {
        let Some(node) = &host.node else { return Ok(()) };
        let shards = self.oracle.spots.iter().filter(|spot| spot.replicas.contains(&host.id));
        for shard in shards.map(|spot| spot.shard) {
            let Some(told) = node.tree_sum(shard) else { continue };
            // Nothing reads again what an operator has changed.
            if !self.plan.scrubs && self.sums.thrown_away.contains(&(host.id, shard)) {
                continue;
            }
            let is = sum_of(host, shard);
            if told != is {
                let detail =
                    format!("{} tells {told:x} of {shard}, which comes to {is:x}", host.id);
                return Err(Broken::new(Invariant::TreesAreTrue, detail));
            }
        }
        Ok(())
    }
}

/// What a disk holds of a shard comes to this.
fn sum_of(host: &Host, shard: ShardId) -> u64 {
    let objects = host.disk.view().objects.iter();
    let held = objects.filter(|((of, _), _)| *of == shard);
    node::sum_of(salt(), held.map(|((_, address), object)| (address, object)))
}

/// The secret of all trees here.
pub(crate) fn salt() -> Salt {
    Salt::new([7; 32])
}
