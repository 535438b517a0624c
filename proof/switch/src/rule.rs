//! What is done to the packets that go from one port to another.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, RngExt};

/// A jitter is at most so many times its mean.
const JITTER_FACTOR_MAX: f64 = 8.0;

/// What happens to packets in one direction between two ports. The default is a perfect cable.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rule {
    /// Nothing gets through.
    pub blocked: bool,
    /// The part of TCP segments that end their connection, from 0 to 1: the segment is lost, and
    /// both ends are told, each in the name of the other, that there is no such connection. Firewalls
    /// do that, and routers that were restarted. What is not TCP is left alone.
    pub reset: f64,
    /// How long every packet takes at least.
    pub delay: Duration,
    /// How much longer it takes on average: often less, sometimes several times as much.
    pub jitter: Duration,
    /// The part of packets that is lost, from 0 to 1.
    pub loss: f64,
    /// The part of packets that arrives twice, from 0 to 1.
    pub duplication: f64,
    /// The part of packets that is held back and overtaken by later ones, from 0 to 1. All
    /// others keep their order, whatever their jitter is: most real networks do that, and
    /// TCP takes a reordered packet for a lost one.
    pub reordering: f64,
    /// How long a packet is held back in order to be overtaken.
    pub held: Duration,
}

/// What becomes of one packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fate {
    /// The rule lets nothing through.
    Blocked,
    /// It is lost by chance.
    Lost,
    /// It arrives after a time.
    Forwarded {
        /// When, counted from its departure.
        after: Duration,
        /// Whether later packets overtake it.
        is_held: bool,
        /// Whether it arrives twice.
        is_doubled: bool,
    },
}

impl Rule {
    /// A rule that lets nothing through.
    pub fn blocked() -> Self {
        Self { blocked: true, ..Self::default() }
    }

    /// Whether this changes anything.
    pub fn is_perfect(&self) -> bool {
        *self == Self { held: self.held, ..Self::default() }
    }

    /// Draws whether a packet is to end its connection.
    pub(crate) fn resets(&self, rng: &mut SmallRng) -> bool {
        !self.blocked && chance(rng, self.reset)
    }

    /// Draws what becomes of a packet that does not.
    pub(crate) fn fate(&self, rng: &mut SmallRng) -> Fate {
        if self.blocked {
            return Fate::Blocked;
        }
        if chance(rng, self.loss) {
            return Fate::Lost;
        }
        let is_held = chance(rng, self.reordering);
        let held = if is_held { self.held } else { Duration::ZERO };
        let after = self.delay + self.jitter(rng) + held;
        Fate::Forwarded { after, is_held, is_doubled: chance(rng, self.duplication) }
    }

    /// Exponentially distributed: waiting in queues looks like that.
    fn jitter(&self, rng: &mut SmallRng) -> Duration {
        if self.jitter.is_zero() {
            return Duration::ZERO;
        }
        let factor = -(1.0 - rng.random::<f64>()).ln();
        self.jitter.mul_f64(factor.min(JITTER_FACTOR_MAX))
    }
}

fn chance(rng: &mut impl Rng, part: f64) -> bool {
    0.0 < part && rng.random::<f64>() < part
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const DRAWS: usize = 10_000;

    fn fates(rule: Rule) -> Vec<Fate> {
        let mut rng = SmallRng::seed_from_u64(1);
        (0..DRAWS).map(|_| rule.fate(&mut rng)).collect()
    }

    fn part(fates: &[Fate], is: impl Fn(&Fate) -> bool) -> f64 {
        fates.iter().filter(|fate| is(fate)).count() as f64 / fates.len() as f64
    }

    #[test]
    fn a_perfect_cable_forwards_everything_at_once_and_a_block_nothing() {
        let at_once = Fate::Forwarded { after: Duration::ZERO, is_held: false, is_doubled: false };
        assert!(fates(Rule::default()).iter().all(|fate| *fate == at_once));
        assert!(fates(Rule::blocked()).iter().all(|fate| *fate == Fate::Blocked));
    }

    #[test]
    fn parts_are_what_the_rule_says() {
        let rule = Rule { loss: 0.1, duplication: 0.2, reordering: 0.3, ..Rule::default() };
        let fates = fates(rule);
        assert!((0.09..0.11).contains(&part(&fates, |fate| *fate == Fate::Lost)));
        let doubled = |fate: &Fate| matches!(fate, Fate::Forwarded { is_doubled: true, .. });
        assert!((0.16..0.20).contains(&part(&fates, doubled)), "a fifth of nine tenths");
        let held = |fate: &Fate| matches!(fate, Fate::Forwarded { is_held: true, .. });
        assert!((0.25..0.29).contains(&part(&fates, held)), "three tenths of nine");
    }

    #[test]
    fn a_packet_takes_its_delay_and_on_average_its_jitter_and_longer_if_it_is_held() {
        let milli = Duration::from_millis;
        let rule = Rule { delay: milli(100), jitter: milli(10), ..Rule::default() };
        let taken = |rule: Rule| -> Vec<Duration> {
            fates(rule)
                .iter()
                .map(|fate| match fate {
                    Fate::Forwarded { after, .. } => *after,
                    Fate::Blocked | Fate::Lost => panic!("{fate:?}"),
                })
                .collect()
        };
        let times = taken(rule);
        assert!(times.iter().all(|time| (milli(100)..=milli(180)).contains(time)));
        let mean = times.iter().sum::<Duration>() / u32::try_from(DRAWS).unwrap();
        assert!((milli(109)..milli(111)).contains(&mean), "{mean:?}");
        let held = taken(Rule { reordering: 1.0, held: milli(50), ..rule });
        assert!(held.iter().all(|time| milli(150) <= *time));
    }
}
