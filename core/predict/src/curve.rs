//! Many samples of one time, and what can be said of it.

/// A quantile, and how sure it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The sample at this place, in milliseconds.
    pub millis: f64,
    /// With 95 % certainty it is not below this.
    pub low: f64,
    /// Nor above this.
    pub high: f64,
}

/// Samples of one time, in milliseconds, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Sorts them.
    pub fn new(mut samples: Vec<f64>) -> Self {
        samples.sort_unstable_by(f64::total_cmp);
        Self(samples)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The share of samples that are at most so long.
    pub fn share_within(&self, millis: f64) -> f64 {
        let within = self.0.partition_point(|sample| *sample <= millis);
        within as f64 / self.0.len().max(1) as f64
    }

    /// The time within which so large a share of the samples is, from 0 to 1. The bounds are
    /// order statistics: how many samples lie below the true quantile is binomial.
    pub fn quantile(&self, share: f64) -> Estimate {
        let count = self.0.len() as f64;
        let (middle, spread) = (share * count, 1.96 * (count * share * (1.0 - share)).sqrt());
        let at = |place: f64| {
            let last = self.0.len().saturating_sub(1);
            let index = (place.ceil() - 1.0).clamp(0.0, last as f64) as usize;
            self.0.get(index).copied().unwrap_or_default()
        };
        Estimate { millis: at(middle), low: at(middle - spread), high: at(middle + spread + 1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples_and_their_bounds_are_around_them() {
        let samples = Samples::new((1..=10_000).rev().map(f64::from).collect());
        let Estimate { millis, low, high } = samples.quantile(0.99);
        assert_eq!(millis, 9_900.0);
        assert_eq!((low, high), (9_881.0, 9_921.0), "1.96 times 9.95 on both sides");
        assert_eq!(samples.quantile(1.0).millis, 10_000.0);
        assert_eq!(samples.quantile(0.0).millis, 1.0);
    }

    #[test]
    fn the_share_within_a_time_counts_what_is_exactly_as_long() {
        let samples = Samples::new(vec![0.0, 0.0, 1.0, 2.0]);
        let shares = [-1.0, 0.0, 0.5, 1.0, 9.0].map(|millis| samples.share_within(millis));
        assert_eq!(shares, [0.0, 0.5, 0.5, 0.75, 1.0]);
    }

    #[test]
    fn no_samples_say_nothing_and_do_not_panic() {
        let samples = Samples::default();
        assert_eq!((samples.quantile(0.5).millis, samples.share_within(1.0)), (0.0, 0.0));
    }
}
