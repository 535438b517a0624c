//! Whether one more request is let in: by how long those before it wait.
//!
//! A node with too much to do must not do all of it late. Ten thousand requests that wait for
//! a second each are of no more use than five hundred that wait for fifty milliseconds: the
//! node does the same work per second, and its clients give up. A bound on the *number* of
//! requests does not help, because how many are too many depends on what they cost. The time
//! that the oldest one waits says it, whatever the reason is.
//!
//! ```text
//!  oldest waits      state       a newcomer is let in
//!  below TARGET      calm        always
//!  above, shortly    calm        always: a burst is no overload, and drains by itself
//!  above, for GRACE  overloaded  while fewer wait than were begun in the last TARGET
//!  nobody was refused for RELIEF, and the oldest waits below TARGET: calm again
//! ```
//!
//! So an overloaded node keeps as many waiting as it can begin in time, and says at once to
//! the others that there is no room. What it accepts it still does in the order it came.
//!
//! Requests of other nodes are not counted here, and are never refused: they are parts of
//! what somebody has begun.
//!
//! Source: Nichols and Jacobson, "Controlling Queue Delay" (2012), for the least wait over a
//! while as the one sign of a standing queue.

use std::time::Duration;

use model::Now;

/// How long the oldest request may wait before the node begins with it. A write passes the
/// queues of three or four nodes, itself included, so it takes some four times that, and still
/// less than a client's patience. With 20 ms a machine that was merely shared refused requests
/// that it could have carried out.
const TARGET: Duration = Duration::from_millis(50);

/// For how long it must have waited too long, without a break, before anybody is refused.
const GRACE: Duration = Duration::from_millis(100);

/// How long nobody must have been refused before the node takes itself for calm.
const RELIEF: Duration = Duration::from_millis(200);

/// So many may wait in any case, so that a node that stood still for a moment begins again.
const ROOM_MIN: usize = 32;

/// The state of the entrance.
#[derive(Debug, Default)]
pub(super) struct Admission {
    /// Since when the oldest has waited for too long, at every look.
    late_since: Option<Now>,
    /// Since when nobody was refused, while overloaded.
    overloaded: Option<Now>,
    was_refused: bool,
    /// The stretch of time in which requests that are begun are counted, and how many.
    counted_since: Now,
    begun: usize,
    /// How many were begun per [`TARGET`] in the stretch before.
    room: usize,
}

impl Admission {
    /// Takes note of how long the oldest waits. To be called at each turn of the driver.
    pub(super) fn look(&mut self, now: Now, oldest: Duration) {
        self.count(now);
        let is_late = TARGET < oldest;
        self.late_since = is_late.then(|| self.late_since.unwrap_or(now));
        if std::mem::take(&mut self.was_refused) {
            self.overloaded = Some(now);
        }
        let has_been_late = self.late_since.is_some_and(|since| GRACE <= now.since(since));
        match self.overloaded {
            None if has_been_late => self.overloaded = Some(now),
            Some(since) if !is_late && RELIEF <= now.since(since) => self.overloaded = None,
            None | Some(_) => {}
        }
    }

    /// Takes note of requests that the node has begun with.
    pub(super) fn begin(&mut self, requests: usize) {
        self.begun += requests;
    }

    /// Returns whether one more may wait, beside those that do.
    pub(super) fn admits(&self, waiting: usize) -> bool {
        self.overloaded.is_none() || waiting < self.room()
    }

    /// How many may wait while the node is overloaded.
    pub(super) fn room(&self) -> usize {
        self.room.max(ROOM_MIN)
    }

    /// Takes note of a refusal.
    pub(super) fn refuse(&mut self) {
        self.was_refused = self.overloaded.is_some();
    }

    /// Whether the node is overloaded.
    pub(super) fn is_overloaded(&self) -> bool {
        self.overloaded.is_some()
    }

    fn count(&mut self, now: Now) {
        let passed = now.since(self.counted_since);
        if passed < TARGET {
            return;
        }
        let share = TARGET.as_secs_f64() / passed.as_secs_f64();
        self.room = (self.begun as f64 * share) as usize;
        (self.begun, self.counted_since) = (0, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Now {
        Now::from_micros(millis * 1_000)
    }

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Looks every ten milliseconds, from one time to another, at an oldest that waits so long.
    fn looks(admission: &mut Admission, from: u64, to: u64, oldest: u64, begun: usize) {
        for time in (from..to).step_by(10) {
            admission.look(at(time), millis(oldest));
            admission.begin(begun);
        }
    }

    #[test]
    fn a_burst_is_let_in_and_a_standing_queue_is_not() {
        let mut admission = Admission::default();
        looks(&mut admission, 0, 90, 60, 0);
        assert!(admission.admits(1_000_000), "nine tenths of the grace");
        admission.look(at(90), millis(20));
        looks(&mut admission, 100, 190, 60, 0);
        assert!(admission.admits(1_000_000), "the grace began anew");
        admission.look(at(210), millis(60));
        assert!(!admission.admits(1_000_000));
    }

    #[test]
    fn an_overloaded_node_lets_as_many_wait_as_it_begins_in_time() {
        let mut admission = Admission::default();
        looks(&mut admission, 0, 300, 60, 20);
        assert!(admission.is_overloaded());
        assert!((90..=110).contains(&admission.room()), "{}", admission.room());
        assert!(admission.admits(admission.room() - 1) && !admission.admits(admission.room()));
        looks(&mut admission, 300, 600, 60, 0);
        assert!(admission.admits(ROOM_MIN - 1), "a node that stood still can begin again");
    }

    #[test]
    fn it_is_over_when_nobody_was_refused_for_a_while_and_not_before() {
        let mut admission = Admission::default();
        looks(&mut admission, 0, 300, 60, 20);
        for time in (300..1_000).step_by(10) {
            admission.refuse();
            admission.look(at(time), millis(10));
        }
        assert!(admission.is_overloaded(), "some are still refused");
        looks(&mut admission, 1_000, 1_250, 10, 20);
        assert!(!admission.is_overloaded());
        assert!(admission.admits(1_000_000));
    }
}
