//! Which replica answers soon, and how long is too long.
//!
//! A replica that has become ten times slower does not fail. It answers each read that asks it, and makes
//! it ten times slower: one slow disk of three is felt in most reads. Two things help, and each
//! alone does not.
//!
//! *Choice.* Of two replicas drawn by chance, the one is asked first that answered faster lately
//! and owes fewer answers. Always to ask the fastest would send all coordinators to the same
//! node at once. What is known of a replica that was not asked fades, so that it is tried again.
//! One that has just come back is taken for slow: its caches are cold, and it is handed what it
//! missed. Were it taken for fast, as one is of which nothing is known, everybody would ask it
//! first, and wait for it. One that lacks much is asked last by those who bring it what it lacks,
//! however fast it is: its answers differ from others, and a read has to ask again.
//!
//! *Hedge.* A read that has taken longer than nineteen of twenty recent reads of its table asks
//! one more replica. That is paid for: each read adds a twentieth to an account, and no hedge is
//! made without one in it. So they add one request to twenty at the most, also when
//! everything is slow because there is too much to do.
//!
//! ```text
//! n2 2 ms, owes 1    n3 21 ms, owes 1       asked: n2        n3 halves every two seconds, until it is tried
//! nineteen of twenty within 3.1 ms           hedged: after 3.1 ms
//! ```
//!
//! Source: Mitzenmacher, "The Power of Two Choices" (2001); Dean and Barroso, "The Tail at
//! Scale" (CACM 2013).

use std::collections::BTreeMap;
use std::time::Duration;

use model::{NodeId, Now, TableId};
use mutant::{Mutant, is};
use rand::{Rng, RngExt};

use crate::measure::{quarter, quarter_end};

/// How slow a replica is taken for that has just come back, at least.
const PRESUMED: Duration = Duration::from_millis(50);

/// How long a replica is asked last after it was seen to lack much.
const LAGS: Duration = Duration::from_secs(5);

/// After so long without an answer, half of what is known of a replica is forgotten.
const HALF_LIFE: Duration = Duration::from_secs(2);

/// No read is hedged earlier: a timer is not more precise.
const HEDGE_MIN: Duration = Duration::from_millis(1);

/// When a read of a table is hedged of which little is known.
const HEDGE_UNKNOWN: Duration = Duration::from_millis(50);

/// What a hedge costs, in what each read adds: one hedge for twenty reads.
const HEDGE_PRICE: u32 = 20;

/// The most hedges that can be saved up.
const HEDGES_MAX: u32 = 10;

/// What is known of the answers to come.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    nodes: BTreeMap<NodeId, Pulse>,
    tables: BTreeMap<TableId, Recent>,
    saved: u32,
    /// Reads that began.
    pub(crate) reads: u64,
    /// Replicas asked because others took long.
    pub(crate) hedges: u64,
}

/// How one replica has answered lately.
#[derive(Clone, Copy, Debug, Default)]
struct Pulse {
    micros: u64,
    at: Now,
    owes: u32,
    /// Until when it is taken to lack much of what others have.
    lags_until: Now,
    /// Whether it has not answered since it came back.
    is_presumed: bool,
}

impl Pulse {
    /// Whether it is asked last, and how long it is expected to take.
    fn score(&self, now: Now) -> (bool, u64) {
        (now < self.lags_until, self.faded(now).saturating_mul(u64::from(self.owes) + 1))
    }

    /// What is still known of how long it takes.
    fn faded(&self, now: Now) -> u64 {
        let halvings = now.since(self.at).as_micros() / HALF_LIFE.as_micros();
        let micros = self.micros.checked_shr(halvings.try_into().unwrap_or(u32::MAX));
        micros.unwrap_or_default()
    }

    fn record(&mut self, took: Duration, now: Now) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let is_first = self.micros == 0 || self.is_presumed;
        self.micros = if is_first { micros } else { (self.micros * 7 + micros) / 8 };
        self.at = now;
    }
}

impl Pace {
    /// A replica has come back. It is as slow as the slowest, until it has shown something else or
    /// that has faded.
    pub(crate) fn returned(&mut self, node: NodeId, now: Now) {
        let others = self.nodes.iter().filter(|(other, _)| **other != node);
        let slowest = others.map(|(_, pulse)| pulse.faded(now)).max().unwrap_or_default();
        let micros = slowest.max(PRESUMED.as_micros() as u64);
        let pulse = self.nodes.entry(node).or_default();
        *pulse = Pulse { micros, at: now, is_presumed: true, ..*pulse };
    }

    /// A replica was seen to lack more than it can be sent at once.
    pub(crate) fn lags(&mut self, node: NodeId, now: Now) {
        self.nodes.entry(node).or_default().lags_until = now + LAGS;
    }

    /// A replica is asked.
    pub(crate) fn asked(&mut self, node: NodeId) {
        self.nodes.entry(node).or_default().owes += 1;
    }

    /// A replica that was asked has answered.
    pub(crate) fn answered(&mut self, node: NodeId, took: Duration, now: Now) {
        let pulse = self.nodes.entry(node).or_default();
        pulse.owes = pulse.owes.saturating_sub(1);
        pulse.record(took, now);
        pulse.is_presumed = false;
    }

    /// A replica that was asked is no longer waited for. It took so long at the least.
    pub(crate) fn given_up(&mut self, node: NodeId, took: Duration, now: Now) {
        let pulse = self.nodes.entry(node).or_default();
        pulse.owes = pulse.owes.saturating_sub(1);
        // That it was asked before it came back says nothing of it now.
        let is_before = pulse.is_presumed && now.since(pulse.at) < took;
        if u128::from(pulse.faded(now)) <= took.as_micros() && !is_before {
            pulse.record(took, now);
            pulse.is_presumed = false;
        }
    }

    /// Puts replicas into the order to ask them.
    pub(crate) fn order(&self, nodes: &mut [NodeId], now: Now, rng: &mut impl Rng) {
        let score =
            |node: &NodeId| self.nodes.get(node).map_or((false, 0), |pulse| pulse.score(now));
        for first in 0..nodes.len().saturating_sub(1) {
            let Some(rest) = nodes.get_mut(first..) else { return };
            let one = rng.random_range(0..rest.len());
            let other = (one + rng.random_range(1..rest.len())) % rest.len();
            let at = |index: usize| rest.get(index).map(score);
            let better = if at(other) < at(one) { other } else { one };
            rest.swap(0, better);
        }
    }

    /// A read of a table begins. Returns after how long it is hedged.
    pub(crate) fn begin(&mut self, table: TableId) -> Duration {
        self.reads += 1;
        self.saved = (self.saved + 1).min(HEDGES_MAX * HEDGE_PRICE);
        self.tables.get(&table).map_or(HEDGE_UNKNOWN, |recent| recent.long)
    }

    /// A read of a table was answered.
    pub(crate) fn end(&mut self, table: TableId, took: Duration) {
        self.tables.entry(table).or_default().record(took);
    }

    /// Whether a read may ask one more replica.
    pub(crate) fn may_hedge(&self) -> bool {
        HEDGE_PRICE <= self.saved || is(Mutant::HedgesUnpaid)
    }

    /// A read has asked one more replica.
    pub(crate) fn hedged(&mut self) {
        self.saved = self.saved.saturating_sub(HEDGE_PRICE);
        self.hedges += 1;
    }
}

/// How long reads took lately: how many fell into which range. There are four ranges to a
/// doubling.
#[derive(Debug)]
struct Recent {
    ranges: [u16; Recent::RANGES],
    count: u16,
    /// Nineteen of twenty took no longer.
    long: Duration,
}

impl Default for Recent {
    fn default() -> Self {
        Self { ranges: [0; Self::RANGES], count: 0, long: HEDGE_UNKNOWN }
    }
}

impl Recent {
    /// Up to 16 s and more.
    const RANGES: usize = 96;

    /// When so many were counted, they count half.
    const COUNT_MAX: u16 = 1_024;

    /// `long` is found anew after so many.
    const EVERY: u16 = 32;

    fn record(&mut self, took: Duration) {
        let range = quarter(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        if let Some(count) = self.ranges.get_mut(range.min(Self::RANGES - 1)) {
            *count += 1;
        }
        self.count += 1;
        if self.count.is_multiple_of(Self::EVERY) {
            self.long = self.find_long();
        }
        if Self::COUNT_MAX <= self.count {
            self.ranges.iter_mut().for_each(|count| *count /= 2);
            self.count = self.ranges.iter().sum();
        }
    }

    /// The upper end of the range in which the nineteenth of twenty is.
    fn find_long(&self) -> Duration {
        let mut left = self.count - self.count / 20;
        for (range, count) in self.ranges.iter().enumerate() {
            left = left.saturating_sub(*count);
            if left == 0 {
                return HEDGE_MIN.max(Duration::from_micros(quarter_end(range)));
            }
        }
        HEDGE_UNKNOWN
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const TABLE: TableId = TableId::new(1);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// How often each of three is asked first.
    fn firsts(pace: &Pace, now: Now) -> [usize; 3] {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut firsts = [0; 3];
        for _ in 0..1_000 {
            let mut nodes = [1, 2, 3].map(NodeId::new);
            pace.order(&mut nodes, now, &mut rng);
            firsts[usize::from(nodes[0].number()) - 1] += 1;
        }
        firsts
    }

    #[test]
    fn the_slowest_of_three_is_never_asked_first_until_what_is_known_of_it_has_faded() {
        let (mut pace, mut now) = (Pace::default(), Now::from_micros(0));
        for (node, took) in [(1, 2), (2, 2), (3, 20)] {
            pace.asked(NodeId::new(node));
            pace.answered(NodeId::new(node), ms(took), now);
        }
        let asked = firsts(&pace, now);
        assert!(asked[2] == 0 && 400 < asked[0] && 400 < asked[1], "{asked:?}");
        for _ in 0..9 {
            now = now + ms(1_000);
            for node in [1, 2] {
                pace.answered(NodeId::new(node), ms(2), now);
            }
        }
        assert!(500 < firsts(&pace, now)[2], "it is tried again after eight seconds");
    }

    #[test]
    fn who_comes_back_is_asked_last_until_it_has_answered_or_some_seconds_are_over() {
        let (mut pace, mut now) = (Pace::default(), Now::from_micros(0));
        let answers = |pace: &mut Pace, nodes: &[u16], now| {
            for node in nodes {
                pace.asked(NodeId::new(*node));
                pace.answered(NodeId::new(*node), ms(2), now);
            }
        };
        answers(&mut pace, &[1, 2, 3], now);
        pace.asked(NodeId::new(3));
        pace.returned(NodeId::new(3), now);
        assert_eq!(firsts(&pace, now)[2], 0);
        pace.given_up(NodeId::new(3), ms(900), now);
        assert_eq!(firsts(&pace, now)[2], 0, "it was asked before it came back");
        answers(&mut pace, &[3], now);
        assert!(200 < firsts(&pace, now)[2], "one answer says more than what was presumed");
        pace.returned(NodeId::new(3), now);
        now = now + ms(4_000);
        answers(&mut pace, &[1, 2], now);
        assert_eq!(firsts(&pace, now)[2], 0);
        now = now + ms(6_000);
        answers(&mut pace, &[1, 2], now);
        assert!(500 < firsts(&pace, now)[2], "it is tried");
        pace.given_up(NodeId::new(1), ms(5_000), now);
        now = now + ms(3_600_000);
        answers(&mut pace, &[2], now);
        pace.returned(NodeId::new(3), now);
        now = now + ms(12_000);
        answers(&mut pace, &[2], now);
        assert!(300 < firsts(&pace, now)[2], "who was slow an hour ago is no measure");
        (1..=3).for_each(|node| pace.returned(NodeId::new(node), now));
        assert!(
            firsts(&pace, now).iter().all(|asked| 200 < *asked),
            "when all come back, none is the last"
        );
    }

    #[test]
    fn who_is_back_and_answers_nothing_is_not_asked_first_however_long_that_goes_on() {
        let (mut pace, mut now) = (Pace::default(), Now::from_micros(0));
        pace.returned(NodeId::new(3), now);
        for _ in 0..60 {
            now = now + ms(1_000);
            pace.given_up(NodeId::new(3), ms(900), now);
            [1, 2].map(NodeId::new).iter().for_each(|node| pace.answered(*node, ms(2), now));
        }
        assert_eq!(firsts(&pace, now)[2], 0);
    }

    #[test]
    fn who_lacks_much_is_asked_last_while_it_is_seen_to_however_fast_it_is() {
        let (mut pace, now) = (Pace::default(), Now::from_micros(0));
        [(1, 20), (2, 40), (3, 1)].iter().for_each(|(node, took)| {
            pace.answered(NodeId::new(*node), ms(*took), now);
        });
        assert!(600 < firsts(&pace, now)[2]);
        pace.lags(NodeId::new(3), now);
        assert_eq!(firsts(&pace, now)[2], 0);
        pace.lags(NodeId::new(3), now + ms(4_000));
        assert_eq!(firsts(&pace, now + ms(8_900))[2], 0);
        assert!(firsts(&pace, now + ms(9_000))[2] > 600, "it has not been seen to for a while");
        (1..=3).for_each(|node| pace.lags(NodeId::new(node), now));
        assert!(600 < firsts(&pace, now)[2], "of those that lag the fastest is first");
    }

    #[test]
    fn of_two_that_are_as_fast_the_one_that_owes_less_is_asked() {
        let (mut pace, now) = (Pace::default(), Now::from_micros(0));
        for node in 1..=3 {
            pace.answered(NodeId::new(node), ms(2), now);
        }
        pace.asked(NodeId::new(1));
        assert_eq!(firsts(&pace, now)[0], 0);
        pace.given_up(NodeId::new(1), ms(1), now);
        assert!(200 < firsts(&pace, now)[0], "who owes nothing is as good as the others");
    }

    #[test]
    fn a_read_is_hedged_after_what_nineteen_of_twenty_took() {
        let mut pace = Pace::default();
        assert_eq!(pace.begin(TABLE), HEDGE_UNKNOWN);
        for read in 0..320 {
            pace.end(TABLE, if read % 20 == 7 { ms(90) } else { Duration::from_micros(2_900) });
        }
        let after = pace.begin(TABLE);
        assert!((Duration::from_micros(2_900)..ms(4)).contains(&after), "{after:?}");
        for _ in 0..2_000 {
            pace.end(TABLE, ms(40));
        }
        let after = pace.begin(TABLE);
        assert!((ms(40)..ms(50)).contains(&after), "it forgets what was long ago: {after:?}");
    }

    #[test]
    fn no_more_than_one_read_of_twenty_is_hedged_and_ten_can_be_saved_up() {
        let mut pace = Pace::default();
        let hedge_all = |pace: &mut Pace, reads: u32| {
            let before = pace.hedges;
            for _ in 0..reads {
                pace.begin(TABLE);
                if pace.may_hedge() {
                    pace.hedged();
                }
            }
            pace.hedges - before
        };
        assert_eq!(hedge_all(&mut pace, 19), 0);
        assert_eq!(hedge_all(&mut pace, 2_001), 101);
        assert_eq!(hedge_all(&mut pace, 1), 0);
        for _ in 0..10_000 {
            let _ = pace.begin(TABLE);
        }
        let mut burst = 0;
        while pace.may_hedge() && burst < 100 {
            pace.hedged();
            burst += 1;
        }
        assert_eq!(burst, 10);
    }
}
