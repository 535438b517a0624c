//! Log lines about reads that fail.
//!
//! A disk that no longer reads fails every request that needs it, thousands of times a
//! second, while clients notice nothing: other replicas answer them. An operator has to
//! hear of it, and does not want a full disk of log as well. So there is a line at once, and
//! one every half a minute with the number of those that were kept back.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long there is no further line after one.
const QUIET: Duration = Duration::from_secs(30);

/// When the last line was written, and what was kept back since.
#[derive(Debug, Default)]
pub(crate) struct FailedReads(Mutex<Option<(Instant, u64)>>);

impl FailedReads {
    /// Notes one. Returns how many were kept back before it, if there is to be a line.
    pub(crate) fn note(&self, now: Instant) -> Option<u64> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *last {
            Some((at, kept_back)) if now.saturating_duration_since(*at) < QUIET => {
                *kept_back += 1;
                None
            }
            other => other.replace((now, 0)).map_or(Some(0), |(_, kept_back)| Some(kept_back)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_line_at_once_and_one_every_half_a_minute_with_a_count() {
        let (failed, start) = (FailedReads::default(), Instant::now());
        let at = |seconds| failed.note(start + Duration::from_secs(seconds));
        let lines = [at(0), at(1), at(29), at(30), at(31), at(90), at(91)];
        assert_eq!(lines, [Some(0), None, None, Some(2), None, Some(1), None]);
    }
}
