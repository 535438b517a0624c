//! May this request be sent once more?
//!
//! A repeated read harms nobody, and neither does a write with a token: nodes know it again. A
//! write without one can: the first may have been applied, and without having read it the
//! second becomes a sibling of the first, or brings back what someone has replaced meanwhile.
//! So it is repeated only when it is certain that the first changed nothing: it was never sent,
//! or the server says so.
//!
//! ```text
//!                                      read, or write    write
//!                                      with a token      without
//! never sent                           again             again
//! 503 not_attempted, overloaded,
//!     no_majority, session_behind,
//!     hints_full, too_many_feeds;
//!     500 disk_failed                  again             again
//! sent, then silence or a broken line  again             unknown
//! other 5xx (504 unknown_outcome,
//!     of reads 504 too_few_answers ...) again            unknown
//! anything else                        done              done
//! ```
//!
//! A write with a token that was sent in vain once may have been applied by then, whatever is
//! said of later attempts: that a node refuses one of them says nothing of the first. So what
//! follows an attempt in vain is either success, or unknown.

use std::time::Duration;

/// Pause before the second attempt at an endpoint; doubled for each further attempt.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// The longest pause: a cluster that comes back is noticed within about this.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Whether a request may be applied twice.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Safety {
    /// Reads, and declarations that say the same when repeated.
    Repeatable,
    /// Writes that nodes know again.
    Known,
    /// Writes that they do not.
    Once,
}

/// What became of one attempt, as far as it matters here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome<'a> {
    /// The server cannot have seen it.
    Unsent,
    /// The server may have seen it.
    Lost,
    /// The server answered.
    Answered {
        /// The HTTP status.
        status: u16,
        /// The code of the problem document, if there is one.
        code: &'a str,
    },
}

/// What to do next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// The answer is final.
    Done,
    /// Try once more, if there is time.
    Again,
    /// Give up: it may have been applied.
    Unknown,
}

/// Judges one attempt by the table above.
pub(crate) fn judge(safety: Safety, outcome: Outcome<'_>) -> Verdict {
    let unless_once = match safety {
        Safety::Repeatable | Safety::Known => Verdict::Again,
        Safety::Once => Verdict::Unknown,
    };
    match outcome {
        Outcome::Unsent => Verdict::Again,
        Outcome::Answered { status, code } if says_unchanged(status, code) => Verdict::Again,
        Outcome::Lost | Outcome::Answered { status: 500.., .. } => unless_once,
        Outcome::Answered { .. } => Verdict::Done,
    }
}

/// Whether an answer promises that nothing was changed, though it is the server's fault.
///
/// A node says `disk_failed` if it cannot read what a write is to be merged with, before it
/// keeps anything. A node that cannot keep what it accepted stops without an answer.
pub(crate) fn says_unchanged(status: u16, code: &str) -> bool {
    matches!(
        (status, code),
        (
            503,
            "not_attempted"
                | "overloaded"
                | "no_majority"
                | "session_behind"
                | "hints_full"
                | "too_many_feeds"
                | "node_joining"
        ) | (500, "disk_failed")
    )
}

/// The longest pause after so many attempts, when each of the endpoints was tried. Another
/// endpoint is tried at once.
pub(crate) fn pause(attempts: u32, endpoints: u32) -> Duration {
    match attempts.checked_sub(endpoints) {
        Some(beyond) => PAUSE_MIN.saturating_mul(1 << beyond.min(10)).min(PAUSE_MAX),
        None => Duration::ZERO,
    }
}

/// Spreads a pause over all of its length, so that clients that failed together do not
/// return together.
pub(crate) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.0..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_without_a_token_is_repeated_only_when_it_changed_nothing() {
        let answered = |status, code| Outcome::Answered { status, code };
        for (outcome, repeatable, once) in [
            (Outcome::Unsent, Verdict::Again, Verdict::Again),
            (Outcome::Lost, Verdict::Again, Verdict::Unknown),
            (answered(503, "not_attempted"), Verdict::Again, Verdict::Again),
            (answered(503, "overloaded"), Verdict::Again, Verdict::Again),
            (answered(503, "hints_full"), Verdict::Again, Verdict::Again),
            (answered(503, "no_majority"), Verdict::Again, Verdict::Again),
            (answered(503, "session_behind"), Verdict::Again, Verdict::Again),
            (answered(503, "http_503"), Verdict::Again, Verdict::Unknown),
            (answered(504, "unknown_outcome"), Verdict::Again, Verdict::Unknown),
            (answered(504, "not_attempted"), Verdict::Again, Verdict::Unknown),
            (answered(500, "disk_failed"), Verdict::Again, Verdict::Again),
            (answered(500, "internal"), Verdict::Again, Verdict::Unknown),
            (answered(409, "too_many_siblings"), Verdict::Done, Verdict::Done),
            (answered(404, "deleted"), Verdict::Done, Verdict::Done),
            (answered(204, ""), Verdict::Done, Verdict::Done),
        ] {
            assert_eq!(judge(Safety::Repeatable, outcome), repeatable, "{outcome:?}");
            assert_eq!(judge(Safety::Known, outcome), repeatable, "{outcome:?}");
            assert_eq!(judge(Safety::Once, outcome), once, "{outcome:?}");
        }
    }

    #[test]
    fn pauses_double_up_to_a_second() {
        let millis: Vec<u128> = (1..=9).map(|attempts| pause(attempts, 2).as_millis()).collect();
        assert_eq!(millis, [0, 20, 40, 80, 160, 320, 640, 1_000, 1_000]);
        let pause = jittered(Duration::from_millis(100));
        assert!((0..=100).contains(&pause.as_millis()));
    }
}
