//! How long single answers took, finely enough to predict from.

use std::time::Duration;

/// In which quarter of a doubling a number is, counted from four on, below which there are none: 4,
/// 5, 6 and 7 are the first four, and the next have two numbers each.
pub(crate) fn quarter(number: u64) -> usize {
    let octave = number.max(4).ilog2() - 2;
    // The two bits below the highest one.
    let quarter = (number.max(4) >> octave) & 3;
    usize::try_from(u64::from(4 * octave) + quarter).unwrap_or(usize::MAX)
}

/// Where a quarter of a doubling ends, and the next begins.
pub(crate) fn quarter_end(quarter: usize) -> u64 {
    (u64::try_from(quarter % 4).unwrap_or_default() + 5) << (quarter / 4)
}

/// How many times fell between which bounds: one range up to 64 microseconds, then four to each
/// doubling up to some 17 seconds, and the rest. A fixed size, and above the first range never
/// wrong by more than a quarter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Times {
    ranges: [u64; Times::RANGES],
    micros: u64,
}

impl Default for Times {
    fn default() -> Self {
        Self { ranges: [0; Self::RANGES], micros: 0 }
    }
}

impl Times {
    /// So many quarters of doublings are in the first range, which ends at 64.
    const FIRST: usize = 16;

    /// How many ranges there are, eighteen doublings between the first and the last, which is
    /// open.
    const RANGES: usize = 1 + 4 * 18 + 1;

    /// Counts one.
    pub fn record(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let range = Self::range(micros).min(Self::RANGES - 1);
        if let Some(count) = self.ranges.get_mut(range) {
            *count += 1;
        }
        self.micros = self.micros.saturating_add(micros);
    }

    fn range(micros: u64) -> usize {
        quarter(micros).saturating_sub(Self::FIRST - 1)
    }

    /// Where a range ends, in microseconds.
    fn end(range: usize) -> u64 {
        quarter_end(range + Self::FIRST - 1)
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.ranges.iter().sum()
    }

    /// Their sum.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.micros)
    }

    /// The upper bound of each range, and how many fell into it. The last bound stands for
    /// none.
    pub fn ranges(&self) -> impl Iterator<Item = (Duration, u64)> {
        let end = |range: usize| Duration::from_micros(Self::end(range));
        self.ranges.iter().enumerate().map(move |(range, count)| (end(range), *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_below_the_end_of_its_range_and_above_that_of_the_one_before() {
        for micros in [64, 79, 80, 95, 96, 127, 128, 159, 160, 1_000, 999_999, 16_777_215] {
            let range = Times::range(micros);
            let (from, to) = (Times::end(range - 1), Times::end(range));
            assert!((from..to).contains(&micros), "{micros} in {from}..{to}");
            assert!(to * 4 <= from * 5, "no range is wider than a quarter: {from}..{to}");
        }
    }

    #[test]
    fn the_shortest_times_have_one_range_and_the_longest_another() {
        let mut times = Times::default();
        for micros in [0, 1, 63, 16_777_216, u64::MAX] {
            times.record(Duration::from_micros(micros));
        }
        let counts: Vec<u64> = times.ranges().map(|(_, count)| count).collect();
        assert_eq!((counts[0], counts[73], times.count()), (3, 2, 5));
        let (last_end, _) = times.ranges().nth(72).unwrap();
        assert_eq!(last_end, Duration::from_micros(1 << 24));
    }
}
