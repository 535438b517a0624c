//! Dots for keys that are written again and again.
//!
//! A context is a set of runs: dots of one incarnation that follow each other cost no more than one of
//! them. But dots are counted for a whole shard, so that a key that is written in turn with others
//! has each of its dots alone, and its context grows with every write until all replicas have
//! acknowledged (R5). While one is away for a day, nobody has.
//!
//! ```text
//! in turn     hot a1, cold a2, hot a3, cold a4, hot a5     hot: a1 a3 a5 ..      a run for each write
//! in a lane   hot a1, cold a2, hot h1, cold a3, hot h2     hot: a1 h1-h2 ..      one run for all
//! ```
//!
//! So a key of which the context has become long writes under another name of the same life, a *lane*,
//! that no other key of the shard has at the time. To everybody else that is an incarnation like any other:
//! nothing is changed in what a dot or a context means.
//!
//! **Few.** An incarnation is a line of every clock, for ever. A life has eight lanes, which are handed
//! on: when a key was not written for a while, the next long one goes on counting where it ended. A run
//! ends there for both, and no dot is minted twice.

use causality::{Dot, Incarnation};
use model::Address;
use mutant::{Mutant, is};

/// After so many writes of other keys a lane may be handed on. A key that is written less often than
/// that would have no run of any length in it.
const WRITES_APART: u64 = 256;

/// The lanes of one life in one shard.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Lanes {
    lanes: Vec<Lane>,
    /// How many writes went through a lane, or looked for one in vain.
    writes: u64,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Lane {
    incarnation: Incarnation,
    /// The number of its last dot.
    minted: u64,
    /// The key that has it, and when it was last written.
    holder: Option<(Address, u64)>,
}

impl Lanes {
    pub(crate) fn of(life: Incarnation) -> Self {
        let lane = |incarnation| Lane { incarnation, minted: 0, holder: None };
        Self { lanes: life.lanes().map(lane).collect(), writes: 0 }
    }

    /// The lane of a key: the one that it has, or a free one if its context is long.
    pub(crate) fn find(&mut self, address: &Address, is_long: bool) -> Option<usize> {
        let holds = |lane: &Lane| lane.holder.as_ref().is_some_and(|(of, _)| of == address);
        let held = self.lanes.iter().position(holds);
        if held.is_none() && !is_long {
            return None;
        }
        self.writes += 1;
        let writes = self.writes;
        let is_free =
            |lane: &Lane| lane.holder.as_ref().is_none_or(|(_, last)| last + WRITES_APART < writes);
        held.or_else(|| self.lanes.iter().position(is_free))
    }

    /// The next dot of a lane.
    pub(crate) fn next(&self, lane: usize) -> Dot {
        let lane = self.lanes.get(lane).expect("a lane is found before it is used");
        Dot::new(lane.incarnation, lane.minted + 1)
    }

    /// The next dot of a lane is that of a write of this key.
    pub(crate) fn minted(&mut self, lane: usize, address: &Address) {
        let lane = self.lanes.get_mut(lane).expect("a lane is found before it is used");
        let begins_anew = is(Mutant::LaneBeginsAnew) && lane.minted % 3 == 2;
        lane.minted = if begins_anew { 0 } else { lane.minted + 1 };
        lane.holder = Some((address.clone(), self.writes));
    }
}
