//! How long to wait before dialling again.

use std::time::Duration;

/// The first wait. A peer that merely restarts is back within this order.
const WAIT_MIN: Duration = Duration::from_millis(50);

/// The longest wait. A node that was away is found within this time after its return and
/// about another second, in which the operating system tries again: sooner than a client
/// gives up, which waits five.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// Waits that double with every failure, each shortened by chance.
#[derive(Debug)]
pub(crate) struct Backoff {
    ceiling: Duration,
}

impl Backoff {
    /// Begins with the shortest wait.
    pub(crate) fn new() -> Self {
        Self { ceiling: WAIT_MIN }
    }

    /// The next wait. `chance`, in `0..1`, picks a point in the upper half of the range:
    /// without it all nodes would dial a returning peer in the same moment.
    pub(crate) fn next(&mut self, chance: f64) -> Duration {
        let wait = self.ceiling.mul_f64(0.5 + chance / 2.0);
        self.ceiling = (self.ceiling * 2).min(WAIT_MAX);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_50_milliseconds_to_2_seconds_and_chance_halves_them_at_most() {
        let waits = |chance: f64| -> Vec<u128> {
            let mut backoff = Backoff::new();
            (0..9).map(|_| backoff.next(chance).as_millis()).collect()
        };
        assert_eq!(waits(1.0), [50, 100, 200, 400, 800, 1600, 2000, 2000, 2000]);
        assert_eq!(waits(0.0), [25, 50, 100, 200, 400, 800, 1000, 1000, 1000]);
    }
}
