//! Log lines about peers that would repeat for ever.
//!
//! A peer with the wrong secret is refused every two seconds until somebody corrects it,
//! and a port scanner may try a hundred times a second. An operator wants one line that
//! says so, and a reminder, not a full disk.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use model::NodeId;

/// How long a complaint stays quiet after it was made.
const QUIET: Duration = Duration::from_secs(30);

/// How many complaints are told apart. Beyond, they share one line.
const KINDS_MAX: usize = 64;

/// What a complaint is about: a peer from the configuration, or whoever came; and one of
/// the things that this program complains about. Nothing in it comes from the other end,
/// which could vary it at will, and have a line each time.
pub(crate) type Kind = (Option<NodeId>, &'static str);

/// What complaints share that are too many to be told apart.
const OTHER: Kind = (None, "");

/// Which complaints were made lately.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    made: BTreeMap<Kind, Made>,
}

#[derive(Debug)]
struct Made {
    at: Instant,
    kept_back: u64,
}

impl Complaints {
    /// Says whether to log a complaint of this kind; if so, how many like it were kept back
    /// since the last one.
    pub(crate) fn make(&mut self, kind: Kind, now: Instant) -> Option<u64> {
        let is_told_apart = self.made.len() < KINDS_MAX || self.made.contains_key(&kind);
        let kind = if is_told_apart { kind } else { OTHER };
        match self.made.get_mut(&kind) {
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
                self.made.insert(kind, Made { at: now, kept_back: 0 });
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
        let secret = (None, "wrong secret");
        let mut heard = Vec::new();
        for second in 0..65 {
            heard.extend(complaints.make(secret, start + Duration::from_secs(second)));
        }
        assert_eq!(heard, [0, 29, 29]);
        assert_eq!(complaints.make((None, "wrong cluster"), start), Some(0), "another kind");
        let of_a_peer = (Some(NodeId::new(1)), "wrong secret");
        assert_eq!(complaints.make(of_a_peer, start), Some(0), "another end");
    }

    #[test]
    fn kinds_beyond_the_bound_share_one_line() {
        let (mut complaints, now) = (Complaints::default(), Instant::now());
        let kinds = (0..1000).map(|peer| (Some(NodeId::new(peer)), "wrong secret"));
        let heard = kinds.filter(|kind| complaints.make(*kind, now).is_some()).count();
        assert_eq!(heard, KINDS_MAX + 1);
    }
}
