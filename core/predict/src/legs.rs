//! How long messages take.

use rand::{Rng, RngExt as _};

use crate::{Impossible, Seen};

/// What one replica took for its four legs, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// From the coordinator to the replica, and onto its disk.
    pub write: f64,
    /// The acknowledgement, back.
    pub ack: f64,
    /// The question of a read.
    pub read: f64,
    /// Its answer.
    pub response: f64,
}

/// One part of a mixture, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// Never below `least`, and with a tail that falls with the power `exponent`.
    Pareto {
        /// The shortest time there is.
        least: f64,
        /// The larger, the shorter the tail.
        exponent: f64,
    },
    /// The tail of a queue.
    Exponential {
        /// One over the mean.
        rate: f64,
    },
}

/// A body of fast answers and a tail of slow ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distribution {
    /// The share of the body, from 0 to 1.
    pub body_share: f64,
    /// Most answers.
    pub body: Shape,
    /// The rest.
    pub tail: Shape,
}

/// Replicas at other sites.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SiteDelay {
    /// Added to each leg between an operation and every replica but the one at its own site,
    /// in milliseconds. Which one that is differs from operation to operation.
    pub millis: f64,
}

/// Where the legs of a replica come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Legs {
    /// From distributions, each leg by itself.
    Drawn {
        /// To the replica and onto its disk.
        write: Distribution,
        /// The three other legs.
        other: Distribution,
        /// What distance adds.
        sites: Option<SiteDelay>,
    },
    /// From what was measured: the four legs of one replica stay together, since a replica
    /// that is slow is slow in all of them.
    Measured(Vec<Sample>),
    /// From what nodes have seen of each other, each pair by itself.
    Seen(Seen),
}

impl Shape {
    fn draw(self, rng: &mut impl Rng) -> f64 {
        // From the open end: the logarithm of 0 is no time.
        let u = 1.0 - rng.random::<f64>();
        match self {
            Self::Pareto { least, exponent } => least * u.powf(-1.0 / exponent),
            Self::Exponential { rate } => -u.ln() / rate,
        }
    }
}

impl Distribution {
    fn draw(&self, rng: &mut impl Rng) -> f64 {
        let shape = if rng.random::<f64>() < self.body_share { self.body } else { self.tail };
        shape.draw(rng)
    }
}

const fn mixture(body_share: f64, least: f64, exponent: f64, rate: f64) -> Distribution {
    Distribution {
        body_share,
        body: Shape::Pareto { least, exponent },
        tail: Shape::Exponential { rate },
    }
}

/// The distributions that Bailis et al. fitted to stores in production (VLDB 2012, table 3).
impl Legs {
    const SSD: Distribution = mixture(0.9122, 0.235, 10.0, 1.66);
    const DISK: Distribution = mixture(0.38, 1.05, 1.51, 0.183);

    /// A store on solid state disks at `LinkedIn`.
    pub const fn lnkd_ssd() -> Self {
        Self::Drawn { write: Self::SSD, other: Self::SSD, sites: None }
    }

    /// The same on spinning disks.
    pub const fn lnkd_disk() -> Self {
        Self::Drawn { write: Self::DISK, other: Self::SSD, sites: None }
    }

    /// Riak at Yammer. The exponent of the writes is that of the published code; the paper
    /// prints 3.35.
    pub const fn ymmr() -> Self {
        let write = mixture(0.939, 3.0, 3.5, 0.0028);
        let other = mixture(0.982, 1.5, 3.8, 0.0217);
        Self::Drawn { write, other, sites: None }
    }

    /// Replicas on several continents, 75 ms apart.
    pub const fn wan() -> Self {
        let sites = Some(SiteDelay { millis: 75.0 });
        Self::Drawn { write: Self::DISK, other: Self::SSD, sites }
    }

    /// From measured times.
    ///
    /// # Errors
    ///
    /// [`Impossible::NoSamples`], or [`Impossible::Time`] for one that is negative, no number, or
    /// above [`MILLIS_MAX`](Self::MILLIS_MAX).
    pub fn measured(samples: Vec<Sample>) -> Result<Self, Impossible> {
        for (index, sample) in samples.iter().enumerate() {
            for millis in [sample.write, sample.ack, sample.read, sample.response] {
                if !(0.0..=Self::MILLIS_MAX).contains(&millis) {
                    return Err(Impossible::Time { index, millis });
                }
            }
        }
        if samples.is_empty() { Err(Impossible::NoSamples) } else { Ok(Self::Measured(samples)) }
    }

    /// The longest time that is taken, eleven days: sums of two are far from where numbers end,
    /// and exact to the nanosecond.
    pub const MILLIS_MAX: f64 = 1e9;

    /// Draws the legs of all replicas of one write and one read.
    pub(crate) fn draw(&self, replicas: &mut [Sample], rng: &mut impl Rng) {
        match self {
            Self::Drawn { write, other, sites } => {
                for replica in replicas.iter_mut() {
                    *replica = Sample {
                        write: write.draw(rng),
                        ack: other.draw(rng),
                        read: other.draw(rng),
                        response: other.draw(rng),
                    };
                }
                if let Some(sites) = sites {
                    sites.add_to(replicas, rng);
                }
            }
            Self::Measured(samples) => {
                for replica in replicas {
                    let index = rng.random_range(0..samples.len());
                    *replica = samples.get(index).copied().unwrap_or_default();
                }
            }
            Self::Seen(seen) => seen.draw(replicas, rng),
        }
    }
}

impl SiteDelay {
    fn add_to(self, replicas: &mut [Sample], rng: &mut impl Rng) {
        let beside_writer = rng.random_range(0..replicas.len());
        let beside_reader = rng.random_range(0..replicas.len());
        for (index, replica) in replicas.iter_mut().enumerate() {
            if index != beside_writer {
                replica.write += self.millis;
                replica.ack += self.millis;
            }
            if index != beside_reader {
                replica.read += self.millis;
                replica.response += self.millis;
            }
        }
    }
}
