//! Chance, out of one seed.
//!
//! Every draw of a run comes from generators that are seeded by the run's seed, one for
//! each part of the world. A part that draws once more, because it was changed or because
//! a deliberate bug changed its course, thereby leaves the draws of the others alone, and
//! two runs stay comparable. There are no floating point numbers: their functions differ
//! between machines, and a seed must mean the same everywhere.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Which part of the world draws.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    Plan,
    Network,
    Disk,
    Nodes,
    Workload,
    Faults,
    Contracts,
    Rot,
    Clocks,
    Levels,
    Logs,
    Tokens,
    Guests,
    Outcomes,
    Monotonic,
    Sessions,
    Rooms,
    Trees,
    Repairs,
    Watchers,
    Contexts,
    Aimed,
    Evictions,
    Rules,
}

/// The chance of one part of the world.
pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    pub(crate) fn new(seed: u64, part: Part) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(part as u64 + 1);
        Self(rng)
    }

    /// Sixty-four random bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Returns whether something happens that happens `permille` times in a thousand.
    pub(crate) fn chance(&mut self, permille: u32) -> bool {
        self.0.random_range(0..1000_u32) < permille
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0.random_range(low..=high)
    }

    /// An index below `len`, which is not zero.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        self.0.random_range(0..len)
    }

    /// One of several things.
    pub(crate) fn pick<T: Copy>(&mut self, things: &[T]) -> T {
        *things.get(self.index(things.len())).expect("an index below the length")
    }

    /// One of several things, each as often as its weight says.
    pub(crate) fn weighted<T: Copy>(&mut self, things: &[(u32, T)]) -> T {
        let total: u32 = things.iter().map(|(weight, _)| weight).sum();
        let mut left = self.0.random_range(0..total.max(1));
        for (weight, thing) in things {
            if left < *weight {
                return *thing;
            }
            left -= weight;
        }
        things.last().expect("there is something to choose from").1
    }

    /// A duration in microseconds around `mean`, with a tail: mostly up to twice the mean,
    /// `tail` times in a thousand up to fifty times it.
    pub(crate) fn micros(&mut self, mean: u64, tail: u32) -> u64 {
        if self.chance(tail) { self.between(mean, mean * 50) } else { self.between(1, mean * 2) }
    }
}
