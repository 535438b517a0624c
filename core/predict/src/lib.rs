//! What N, R and W buy: how fast reads and writes are, and how old what they return may be.
//!
//! A table whose reads and writes meet (R + W > N) pays for it with the latency of its
//! slower replicas. One whose reads and writes may miss each other is faster, and now and
//! then returns the value before the last. How often, and for how long after the write,
//! follows from how long messages take; this crate computes it, so that the choice is made
//! on figures.
//!
//! The model is that of probabilistically bounded staleness (Bailis et al., VLDB 2012). An
//! operation sends to all N replicas at once, and each takes four legs of its own:
//!
//! ```text
//!  write   ──W[i]──► replica i ──A[i]──►  acknowledged when W of N are back: at w
//!                        │
//!  read    ──R[i]──► replica i ──S[i]──►  answered when R of N are back
//! ```
//!
//! A read that begins t after the acknowledgement returns the write if it came to one of the
//! first R replicas that answered before the read did: `W[i] <= w + t + R[i]`. One trial
//! draws all legs and gives the least `t` for which that holds, so that one pass over many
//! trials answers for every `t`: see [`Trial`].
//!
//! Legs come from published distributions, from a file, or from what the nodes of a running
//! cluster have seen of each other ([`Seen`]). Only the last tell replicas apart, and know that
//! a coordinator may be a replica itself.
//!
//! What the model leaves out: failures, read repair, and queues that grow together. It sends
//! reads to all replicas, and waits for the first R.

mod curve;
mod legs;
mod prediction;
mod seen;
mod trial;

pub use curve::{Estimate, Samples};
pub use legs::{Distribution, Legs, Sample, Shape, SiteDelay};
pub use prediction::{Prediction, misses_last};
pub use seen::{Coordinator, RoundTrips, Seen, View};
pub use trial::Trial;

use thiserror::Error;

/// How many replicas there are, and how many answers are awaited.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Quorum {
    n: usize,
    r: usize,
    w: usize,
}

/// There is no such quorum, or no such distribution. Nothing was computed.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum Impossible {
    /// N, R or W do not go together.
    #[error("n={n} r={r} w={w}: N is 1 to {}, R and W are 1 to N", Quorum::REPLICAS_MAX)]
    Quorum {
        /// Replicas.
        n: usize,
        /// Answers awaited by a read.
        r: usize,
        /// Answers awaited by a write.
        w: usize,
    },
    /// Nothing was measured.
    #[error("there are no samples: a distribution needs at least one")]
    NoSamples,
    /// A time that cannot be.
    #[error(
        "sample {index}: {millis:?} ms is no time: write a number of milliseconds from 0 to {}",
        Legs::MILLIS_MAX
    )]
    Time {
        /// Which sample, from 0.
        index: usize,
        /// What it says.
        millis: f64,
    },
}

impl Quorum {
    /// The most replicas that a prediction takes.
    pub const REPLICAS_MAX: usize = 15;

    /// Takes N, R and W that go together.
    ///
    /// # Errors
    ///
    /// [`Impossible::Quorum`].
    pub const fn new(n: usize, r: usize, w: usize) -> Result<Self, Impossible> {
        if 1 <= r && r <= n && 1 <= w && w <= n && n <= Self::REPLICAS_MAX {
            Ok(Self { n, r, w })
        } else {
            Err(Impossible::Quorum { n, r, w })
        }
    }

    /// Replicas.
    pub const fn n(self) -> usize {
        self.n
    }

    /// Answers awaited by a read.
    pub const fn r(self) -> usize {
        self.r
    }

    /// Answers awaited by a write.
    pub const fn w(self) -> usize {
        self.w
    }

    /// Whether every read meets every write that was acknowledged before it.
    pub const fn meets(self) -> bool {
        self.n < self.r + self.w
    }
}
