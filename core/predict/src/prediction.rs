//! The answer: latencies, and how soon after a write a read returns it.

use rand::Rng;

use crate::{Legs, Quorum, Samples, Trial};

/// What a quorum buys with these legs.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// What was asked about.
    pub quorum: Quorum,
    /// How long reads take.
    pub reads: Samples,
    /// How long writes take.
    pub writes: Samples,
    /// How long after its acknowledgement a write is returned by every read that begins then.
    pub stale: Samples,
}

impl Prediction {
    /// Draws so many trials, which takes about a microsecond and 24 bytes each.
    pub fn compute(quorum: Quorum, legs: &Legs, trials: usize, rng: &mut impl Rng) -> Self {
        let mut trial = Trial::new(quorum.n());
        let mut times = [(); 3].map(|()| Vec::with_capacity(trials));
        for _ in 0..trials {
            trial.draw(legs, rng);
            let [reads, writes, stale] = &mut times;
            reads.push(trial.read_millis(quorum.r()));
            writes.push(trial.write_millis(quorum.w()));
            stale.push(trial.stale_millis(quorum.r(), quorum.w()));
        }
        let [reads, writes, stale] = times.map(Samples::new);
        Self { quorum, reads, writes, stale }
    }

    /// The probability that a read which begins so long after the acknowledgement of the
    /// last write returns it, from 0 to 1.
    pub fn returns_latest(&self, millis: f64) -> f64 {
        self.stale.share_within(millis)
    }
}

/// The probability that a read meets none of the last `k` writes, if a write only ever came
/// to the W replicas that acknowledged it. Writes go on to all replicas, so that this is what
/// is left in the worst case, however long ago the write was.
pub fn misses_last(quorum: Quorum, k: u32) -> f64 {
    let (n, r, w) = (quorum.n(), quorum.r(), quorum.w());
    // C(n - w, r) / C(n, r), as a product: none of the r that are asked is among the w.
    let misses: f64 =
        (0..r).map(|asked| (n - asked).saturating_sub(w) as f64 / (n - asked) as f64).product();
    misses.powf(f64::from(k))
}
