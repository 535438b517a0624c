//! Mutants: deliberate bugs, to see whether the oracle would notice.
//!
//! A checker that has never failed proves nothing. Each mutant breaks one rule on which
//! the database relies. Most do so from outside: in the driver, on the simulated disk, or
//! by bending messages on their way. Those called `Inside` are at the very lines of the core
//! that keep the rules, behind the feature `mutants`; see the crate `mutant`. A run with a
//! mutant must be found wrong within few seeds, and the same seed without it must pass.
//!
//! What a world needs to show them, beyond a few writes to one key:
//!
//! | mutant | needs |
//! | --- | --- |
//! | `MergeOverwrites`, `SiblingsDropped`, `AbsenceDeletes` inside | concurrent writes to one key |
//! | `RepairOverwrites` | a replica that missed a write and has another, and a read |
//! | `AckBeforeSync`, `SyncLies`, `AckCountedTwice` | none for the look at disks; a power loss, or a replica that missed the write, for clients |
//! | `IncarnationReused`, `ClockLost` | a restart |
//! | `BatchTorn` | a power loss before an `fsync` |
//! | `ContextWidened`, `ContextFilled` | two keys in one shard |
//! | `ContextStripped` | a write that had read another |
//! | `AbsenceDeletes` | a replica without the key |
//! | `KeySkipped` | a list of a key that was acknowledged |
//! | `SyncedIsLost` | a loss of power, and a key that was written twice |
//! | `AtlasOpen` | a disk or record that the atlas would have spared |
//! | `LostIsClaimed` | a lost record, and a read |
//! | `RecoveredCountsAsSynced` | a process that is back before what was sent to its former life |
//! | `LargeTaken` | values about as large as they may be |
//! | `OldNewsTaken` | a lost record, and a superseded value that comes late or from a replica that is behind |
//! | `OldNewsClaimed` | a lost record, and another value under that key since |
//!
//! The last two are the reason why disks here lose records: as long as each replica holds
//! the context of all that its clock says, merging drops old news by itself, and no run
//! can tell whether the filter is there.

#[cfg(feature = "mutants")]
pub use ::mutant::Mutant as Inside;
use causality::{DotSet, Run};
use lattice::Lattice;
use model::{Limits, NodeId, Object};
use node::{Cause, Found, Input, Merge, Message, RequestId, Scanned};

use crate::every::every;
use crate::world::World;

every! {
    /// One deliberate bug.
    #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
    pub enum Mutant as OUTSIDE {
        /// A replica stores what it was sent instead of merging it.
        MergeOverwrites,
        /// As before, but only where a read repairs.
        RepairOverwrites,
        /// A replica keeps one of several concurrent values.
        SiblingsDropped,
        /// Acknowledgements of durable writes leave before the `fsync` is done.
        AckBeforeSync,
        /// `fsync` says that it is done, and is not.
        SyncLies,
        /// A node that starts takes what its former life left to the operating system for synced.
        RecoveredCountsAsSynced,
        /// A node starts again under the incarnation of its former life, and does not find the
        /// dots of that life on its disk.
        IncarnationReused,
        /// The clocks of the shards are not there after a restart.
        ClockLost,
        /// A crash keeps the clock of a change and loses its object.
        BatchTorn,
        /// Contexts travel as "everything up to n".
        ContextWidened,
        /// Contexts travel without what was superseded.
        ContextStripped,
        /// A replica that has no such key answers that all was deleted.
        AbsenceDeletes,
        /// A replica says of what its disk has lost that it was superseded.
        LostIsClaimed,
        /// The acknowledgement of one replica is heard as that of another, too.
        AckCountedTwice,
        /// A page of a scan lacks its first key, while clients are at work. The lists at the
        /// end are whole, so that only the check of each page can notice.
        KeySkipped,
        /// A loss of power takes a record back to what it was before it was synced last.
        SyncedIsLost,
        /// Faults destroy the last copy of what was acknowledged. Not a bug of the database but
        /// of the plan, and what is lost then must be missed.
        AtlasOpen,
        /// Records are given their checksum when they are damaged already.
        DamageSealed,
        /// Context tokens are bound to no key.
        TokensUnbound,
        /// A node takes values that are larger than they may be.
        LargeTaken,
        /// A node panics when it hears that another is gone.
        NodePanics,
    } with {
        /// A rule of the core is broken at the line that keeps it.
        #[cfg(feature = "mutants")]
        Inside(Inside),
    }
}

impl Mutant {
    /// All of them.
    #[cfg(feature = "mutants")]
    pub fn all() -> impl Iterator<Item = Mutant> {
        let inside = Inside::ALL.iter().map(|inside| Mutant::Inside(*inside));
        Mutant::OUTSIDE.iter().copied().chain(inside)
    }
}

/// Lets the replicas of this thread break the rule that a mutant breaks, or none.
pub(crate) fn set_inside(mutant: Option<Mutant>) {
    #[cfg(feature = "mutants")]
    ::mutant::set(match mutant {
        Some(Mutant::Inside(inside)) => Some(inside),
        Some(_) | None => None,
    });
    #[cfg(not(feature = "mutants"))]
    let _ = mutant;
}

/// Bends a message as a mutant says, and leaves it alone if there is none.
pub(crate) fn bend(mutant: Option<Mutant>, message: &mut Message, known: impl Fn() -> DotSet) {
    match (mutant, message) {
        (Some(Mutant::ContextWidened), Message::Merge(Merge { object, .. })) => {
            *object = with_context(object, &widened(object.context()));
        }
        (Some(Mutant::ContextStripped), Message::Merge(Merge { object, .. })) => {
            *object = with_context(object, &object.values().keys().copied().collect());
        }
        (Some(Mutant::AbsenceDeletes), Message::Fetched(fetched)) => {
            let absent = Found::Full(Object::default());
            if fetched.found == absent {
                let context = known();
                fetched.found = Found::Full(
                    Object::from_parts(Default::default(), context).expect("it has no values"),
                );
            }
        }
        (Some(Mutant::LostIsClaimed), Message::Fetched(fetched)) => {
            if let Found::Full(object) = &mut fetched.found {
                let mut context = object.context().clone();
                let _ = context.union(&known());
                *object = with_context(object, &context);
            }
        }
        (Some(Mutant::KeySkipped), Message::Scanned(Scanned { page: Some((objects, _)), .. }))
            if 1 < objects.len() =>
        {
            objects.remove(0);
        }
        (_, _) => {}
    }
}

/// Whether a node goes on under the incarnation that its disk speaks of.
pub(crate) fn reads_back(mutant: Option<Mutant>) -> bool {
    #[cfg(feature = "mutants")]
    return mutant == Some(Mutant::Inside(Inside::IncarnationReadBack));
    #[cfg(not(feature = "mutants"))]
    {
        let _ = mutant;
        false
    }
}

/// The limits that a node keeps to.
pub(crate) fn limits(mutant: Option<Mutant>, limits: Limits) -> Limits {
    if mutant != Some(Mutant::LargeTaken) {
        return limits;
    }
    let value_bytes_max = 2 * limits.value_bytes_max;
    Limits { value_bytes_max, ..limits }
}

fn with_context(object: &Object, context: &DotSet) -> Object {
    Object::from_parts(object.values().clone(), context.clone())
        .expect("every context here has the dots of the values")
}

/// The set that a version vector would stand for.
fn widened(context: &DotSet) -> DotSet {
    let mut wide = DotSet::new();
    for run in context.runs() {
        let run = Run { first: 1, ..*run };
        let _ = wide.merge(DotSet::from_runs(vec![run]).expect("one run from one is a set"));
    }
    wide
}

/// The object without all but one of its values, which stay in its context.
pub(crate) fn with_one_value(object: &Object) -> Object {
    let one = object.values().iter().next_back().map(|(dot, value)| (*dot, value.clone()));
    Object::from_parts(one.into_iter().collect(), object.context().clone())
        .expect("the context has the dots of all values")
}

impl World {
    /// The object that a mutant stores instead of merging it.
    pub(crate) fn overwriting(&self, input: &Input) -> Option<model::Object> {
        let Input::Received { message: Message::Merge(Merge { object, cause, .. }), .. } = input
        else {
            return None;
        };
        let overwrites = match self.mutant {
            Some(Mutant::MergeOverwrites) => true,
            Some(Mutant::RepairOverwrites) => *cause == Cause::ReadRepair,
            Some(_) | None => false,
        };
        overwrites.then(|| object.clone())
    }

    /// Remembers what a node asks for, to bend the answers.
    pub(crate) fn remember_fetch(&mut self, at: NodeId, message: &Message) {
        let is_bent = matches!(self.mutant, Some(Mutant::AbsenceDeletes | Mutant::LostIsClaimed));
        if let (true, Message::Fetch(fetch)) = (is_bent, message) {
            let known = self.oracle.spots.iter().find(|spot| spot.address() == fetch.address);
            known.map(|spot| self.fetching.insert((at, fetch.request), spot.place()));
        }
    }

    /// What a mutant pretends to know under the key that a node asks for: what any node has
    /// heard of, or what the one that answers has lost.
    pub(crate) fn pretended(&self, at: NodeId, from: NodeId, request: u64) -> DotSet {
        let mut known = DotSet::new();
        if let Some(place) = self.fetching.get(&(at, RequestId(request))) {
            if self.mutant == Some(Mutant::LostIsClaimed) {
                let spot = self.oracle.spot_of(place).ok();
                let lost = spot.and_then(|spot| self.oracle.losses.of_node(from, spot));
                return lost.cloned().unwrap_or_default();
            }
            let objects = self.hosts.values().filter_map(|h| h.disk.view().objects.get(place));
            for object in objects {
                let _ = known.union(object.context());
            }
        }
        known
    }

    /// Those in whose name a message is sent, too.
    pub(crate) fn forgers(&self, message: &Message) -> Vec<NodeId> {
        let forges = self.mutant == Some(Mutant::AckCountedTwice);
        let forged = forges && matches!(message, Message::Merged(_));
        self.layout.members.keys().copied().filter(|_| forged).collect()
    }
}
