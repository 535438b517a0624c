//! Which keys are used how often.
//!
//! Uniform use is kind to caches and to concurrency; real use is neither. Zipf's law says
//! that the k-th most used key is used in proportion to 1/k^theta: with theta 0.99 and a
//! million keys, the hottest takes 7% of all requests.
//!
//! Source: the generator of Gray et al., "Quickly Generating Billion-Record Synthetic
//! Databases" (SIGMOD 1994), which YCSB uses too.

use std::fmt;
use std::str::FromStr;

use rand::{Rng, RngExt};

/// How keys are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Distribution {
    /// Each alike.
    Uniform,
    /// By Zipf's law with this theta, above 0 and below 1.
    Zipf(f64),
}

impl FromStr for Distribution {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let theta = match text.split_once(':') {
            None if text == "uniform" => return Ok(Self::Uniform),
            None if text == "zipf" => Some(0.99),
            Some(("zipf", theta)) => theta.parse().ok(),
            None | Some(_) => None,
        };
        match theta {
            Some(theta) if 0.0 < theta && theta < 1.0 => Ok(Self::Zipf(theta)),
            Some(_) | None => {
                Err("write uniform, zipf, or zipf:THETA with 0 < THETA < 1".to_owned())
            }
        }
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform => f.write_str("uniform"),
            Self::Zipf(theta) => write!(f, "zipf:{theta}"),
        }
    }
}

/// Draws numbers below a count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draw {
    count: u64,
    zipf: Option<Zipf>,
}

#[derive(Clone, Copy, Debug)]
struct Zipf {
    theta: f64,
    zeta: f64,
    alpha: f64,
    eta: f64,
}

impl Draw {
    /// Prepares to draw from `0..count`. For Zipf this takes a moment (20 ms per million).
    pub(crate) fn new(distribution: Distribution, count: u64) -> Self {
        assert!(0 < count, "there is nothing to draw from");
        let zipf = match distribution {
            Distribution::Uniform => None,
            Distribution::Zipf(theta) => Some(Zipf::new(theta, count)),
        };
        Self { count, zipf }
    }

    /// Draws one; with Zipf, 0 is the most frequent.
    pub(crate) fn draw(&self, random: &mut impl Rng) -> u64 {
        match &self.zipf {
            None => random.random_range(0..self.count),
            Some(zipf) => zipf.rank(random.random(), self.count).min(self.count - 1),
        }
    }
}

impl Zipf {
    fn new(theta: f64, count: u64) -> Self {
        let zeta_of = |count: u64| (1..=count).map(|rank| (rank as f64).powf(-theta)).sum::<f64>();
        let zeta = zeta_of(count);
        let tail = (2.0 / count as f64).powf(1.0 - theta);
        let eta = (1.0 - tail) / (1.0 - zeta_of(2.min(count)) / zeta);
        Self { theta, zeta, alpha: 1.0 / (1.0 - theta), eta }
    }

    fn rank(&self, uniform: f64, count: u64) -> u64 {
        let scaled = uniform * self.zeta;
        if scaled < 1.0 {
            0
        } else if scaled < 1.0 + 0.5_f64.powf(self.theta) {
            1
        } else {
            (count as f64 * (self.eta * uniform - self.eta + 1.0).powf(self.alpha)) as u64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distributions_are_read_as_written() {
        for text in ["uniform", "zipf:0.5"] {
            assert_eq!(text.parse::<Distribution>().unwrap().to_string(), text);
        }
        assert_eq!("zipf".parse(), Ok(Distribution::Zipf(0.99)));
        for text in ["", "zipf:1", "zipf:0", "zipf:x", "normal", "uniform:1"] {
            assert!(text.parse::<Distribution>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn zipf_draws_each_rank_as_often_as_the_law_says() {
        let (count, draws) = (1_000, 400_000);
        let draw = Draw::new(Distribution::Zipf(0.99), count);
        let mut random = rand::rng();
        let mut seen = vec![0_u32; 1_000];
        for _ in 0..draws {
            seen[usize::try_from(draw.draw(&mut random)).unwrap()] += 1;
        }
        let zeta: f64 = (1..=count).map(|rank| (rank as f64).powf(-0.99)).sum();
        for rank in [1_u32, 2] {
            let expected = f64::from(rank).powf(-0.99) / zeta * f64::from(draws);
            let got = f64::from(seen[rank as usize - 1]);
            assert!((got / expected - 1.0).abs() < 0.05, "rank {rank}: {got} of {expected}");
        }
        // The method approximates the tail; the share of the hottest tenth is right.
        let share = |from: u32, to: u32| -> f64 {
            (from..=to).map(|rank| f64::from(rank).powf(-0.99)).sum::<f64>() / zeta
        };
        let hottest: u32 = seen[..100].iter().sum();
        assert!((f64::from(hottest) / f64::from(draws) - share(1, 100)).abs() < 0.02);
    }

    #[test]
    fn a_single_key_can_be_drawn() {
        for distribution in [Distribution::Uniform, Distribution::Zipf(0.99)] {
            for count in [1, 2, 3] {
                let draw = Draw::new(distribution, count);
                assert!((0..100).all(|_| draw.draw(&mut rand::rng()) < count));
            }
        }
    }
}
