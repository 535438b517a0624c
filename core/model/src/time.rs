//! Time as the core sees it: an input.

use std::ops::Add;
use std::time::Duration;

/// A reading of a node's monotonic clock, in microseconds since some fixed moment of
/// that node's life. Readings of two nodes cannot be compared.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Now(u64);

impl Now {
    /// A reading of so many microseconds.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// The reading in microseconds.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// How much later `self` is than `earlier`, zero if it is not.
    pub fn since(self, earlier: Now) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Now {
    type Output = Now;

    fn add(self, later: Duration) -> Now {
        let micros = u64::try_from(later.as_micros()).unwrap_or(u64::MAX);
        Now(self.0.saturating_add(micros))
    }
}
