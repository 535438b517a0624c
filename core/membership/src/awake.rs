//! Time in which this node listened.

use std::time::Duration;

use model::Now;

/// How much later than asked for a node may be woken before it counts as having slept.
const LATE_MIN: Duration = Duration::from_millis(100);

/// A clock that stands still while its node does.
///
/// A process that was stopped for a minute, or that gets no processor, has heard nothing,
/// and would accuse everybody of silence. But it can tell: it was to be woken long ago. What
/// it was late by is time in which it did not listen, and nobody was silent in it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Awake {
    slept: Duration,
}

impl Awake {
    /// Takes note that the node steps now and was to be woken at `wake_at`.
    pub(crate) fn step(&mut self, now: Now, wake_at: Now) {
        let late = now.since(wake_at);
        if LATE_MIN < late {
            self.slept += late;
        }
    }

    /// A moment on this clock.
    pub(crate) fn read(&self, now: Now) -> Now {
        let slept = u64::try_from(self.slept.as_micros()).unwrap_or(u64::MAX);
        Now::from_micros(now.as_micros().saturating_sub(slept))
    }

    /// When this clock will show a moment, if the node stays awake.
    pub(crate) fn when(&self, moment: Now) -> Now {
        moment + self.slept
    }
}
