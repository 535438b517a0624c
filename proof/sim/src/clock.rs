//! The monotonic clock of one machine, which is right about nothing.
//!
//! All a node knows of time is [`Now`], a reading of the monotonic clock of its machine.
//! Such clocks are set to nothing, run at different speeds, and now and then do what no
//! manual says: stand still, or jump ahead as after a machine was moved to another host.
//! The one thing they never do is go back. A timer of a node fires when *its* clock says
//! so, and a deadline is kept if it is kept by the clock of the node that was asked.
//!
//! ```text
//! reading
//!    │            ╱   rate 2000: twice as fast as true time
//!    │      ┊───╱     rate 0: stands
//!    │    ╱ ┊         a jump
//!    │  ╱
//!    └──────────── true time, which only the simulation knows
//! ```
//!
//! There is no wall clock here, and none in the core: nothing that it decides depends on
//! the time of day. Steps of the wall clock are to be simulated when hybrid clocks come.

use model::{NodeId, Now};

use crate::dice::Dice;
use crate::world::World;

/// Parts of the rate of a clock that keeps true time.
pub(crate) const TRUE_RATE: u64 = 1_000;

/// How fast a clock runs that is off by up to so many thousandths: half the speed or twice
/// the speed if `most` is 500.
pub(crate) fn draw_rate(most: u64, dice: &mut Dice) -> u64 {
    let slow = TRUE_RATE - most.min(TRUE_RATE / 2);
    let fast = TRUE_RATE * TRUE_RATE / slow;
    let any = dice.between(slow, fast);
    dice.pick(&[slow, fast, TRUE_RATE, any])
}

/// One clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// Since when it has run at this rate, in true time, and what it showed then.
    since: u64,
    reading: u64,
    /// Thousandths of a microsecond that it advances in a microsecond. Zero if it stands.
    rate: u64,
}

impl Clock {
    pub(crate) fn new(now: u64, reading: u64, rate: u64) -> Self {
        Self { since: now, reading, rate }
    }

    /// What it shows.
    pub(crate) fn read(&self, now: u64) -> Now {
        let passed = now.saturating_sub(self.since);
        Now::from_micros(self.reading + passed * self.rate / TRUE_RATE)
    }

    /// The first moment of true time at which it shows this, if it goes on as it does.
    /// Nothing if it stands.
    pub(crate) fn when(&self, reading: Now) -> Option<u64> {
        let ahead = reading.as_micros().saturating_sub(self.reading);
        if ahead == 0 {
            return Some(self.since);
        }
        let parts = u128::from(ahead) * u128::from(TRUE_RATE);
        let micros = parts.checked_div(u128::from(self.rate))?;
        let exact = micros * u128::from(self.rate) == parts;
        Some(self.since + u64::try_from(micros).unwrap_or(u64::MAX >> 1) + u64::from(!exact))
    }

    /// Runs at another rate from now on.
    pub(crate) fn run_at(&mut self, now: u64, rate: u64) {
        *self = Self::new(now, self.read(now).as_micros(), rate);
    }

    /// Jumps ahead.
    pub(crate) fn jump(&mut self, now: u64, micros: u64) {
        *self = Self::new(now, self.read(now).as_micros() + micros, self.rate);
    }
}

impl World {
    /// A clock runs at another rate from now on, and timers fire by it.
    pub(crate) fn set_rate(&mut self, at: NodeId, rate: u64) {
        let now = self.now;
        self.trace.note(now, &[11, u64::from(at.number()), rate], || {
            format!("the clock of {at} runs at {rate} of {TRUE_RATE}")
        });
        self.troubles.of_node(at, now);
        self.host(at).set_rate(now, rate);
        self.arrange_wake(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_shows_what_it_was_asked_for_at_the_moment_it_names_and_not_before() {
        for rate in [1, 500, 999, 1_000, 1_001, 1_999, 2_000] {
            let clock = Clock::new(100, 7_000, rate);
            for ahead in [0, 1, 2, 3, 10, 999, 1_000, 123_457] {
                let wanted = Now::from_micros(7_000 + ahead);
                let at = clock.when(wanted).unwrap();
                assert!(wanted <= clock.read(at), "rate {rate}, {ahead} ahead");
                assert!(ahead == 0 || clock.read(at - 1) < wanted, "rate {rate}, {ahead} ahead");
            }
        }
    }

    #[test]
    fn a_clock_that_stands_never_gets_there_and_goes_on_from_where_it_stood() {
        let mut clock = Clock::new(0, 50, TRUE_RATE);
        clock.run_at(10, 0);
        assert_eq!(clock.read(1_000), Now::from_micros(60));
        assert_eq!(clock.when(Now::from_micros(61)), None);
        clock.run_at(1_000, 2_000);
        clock.jump(1_001, 5);
        assert_eq!(clock.read(1_002), Now::from_micros(69));
    }
}
