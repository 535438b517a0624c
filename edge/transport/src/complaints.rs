//! Log lines about peers that would repeat for ever.
//!
//! A peer with the wrong secret is refused every five seconds until somebody corrects it,
//! and a port scanner may try a hundred times a second. An operator wants one line that
//! says so, and a reminder, not a full disk.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a complaint stays quiet after it was made.
const QUIET: Duration = Duration::from_secs(30);

/// How many complaints are told apart. Beyond, they share one line.
const KINDS_MAX: usize = 64;

/// Which complaints were made lately.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    made: BTreeMap<String, Made>,
}

#[derive(Debug)]
struct Made {
    at: Instant,
    kept_back: u64,
}

impl Complaints {
    /// Says whether to log a complaint of this kind; if so, how many like it were kept back
    /// since the last one. The kind must not contain what a stranger can vary at will.
    pub(crate) fn make(&mut self, kind: &str, now: Instant) -> Option<u64> {
        let kind =
            if self.made.len() < KINDS_MAX || self.made.contains_key(kind) { kind } else { "" };
        match self.made.get_mut(kind) {
            Some(made) if now.saturating_duration_since(made.at) < QUIET => {
                made.kept_back += 1;
                None
            }
            Some(made) => {
                let kept_back = made.kept_back;
                *made = Made { at: now, kept_back: 0 };
                Some(kept_back)
            }
            None => {
                self.made.insert(kind.to_owned(), Made { at: now, kept_back: 0 });
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_made_once_and_then_every_thirty_seconds_with_a_count() {
        let (mut complaints, start) = (Complaints::default(), Instant::now());
        let mut heard = Vec::new();
        for second in 0..65 {
            heard.extend(complaints.make("wrong secret", start + Duration::from_secs(second)));
        }
        assert_eq!(heard, [0, 29, 29]);
        assert_eq!(complaints.make("wrong cluster", start), Some(0), "another kind");
    }

    #[test]
    fn kinds_beyond_the_bound_share_one_line() {
        let (mut complaints, now) = (Complaints::default(), Instant::now());
        let heard = (0..1000).filter(|n| complaints.make(&n.to_string(), now).is_some()).count();
        assert_eq!(heard, KINDS_MAX + 1);
    }
}
