//! What one node hears of another, directly.

use std::time::Duration;

use model::Now;
use mutant::{Mutant, is};

/// How long a node may be silent before it is probed. Half a second keeps the traffic of
/// an idle cluster at a few messages per second and pair.
const PROBE_INTERVAL: Duration = Duration::from_millis(500);

/// How long a node may be silent before it counts as away: three lost probes in a
/// row. Above the pauses of a busy machine, below the patience of a client.
const SILENCE_MAX: Duration = Duration::from_millis(2_000);

/// How long a node that said it hears nothing still counts: it is asked at once, and what it said
/// may be old, from a connection that was stuck. A round trip between any two continents.
const OBJECTION: Duration = Duration::from_millis(1_000);

/// How long a node that was lost once has to be heard before it is asked first again. Each
/// further loss doubles it, so that a link that comes and goes is asked last.
const PROBATION: Duration = Duration::from_millis(250);

/// The most doublings: 16 s.
const DOUBLINGS_MAX: u32 = 6;

/// After so long without a loss, the losses before are forgotten.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);

/// Whether a node answers to this one.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Reach {
    /// It is heard, and hears.
    Steady,
    /// It is heard, and was lost lately. Asked after those that are steady.
    Shaky,
    /// It is not heard, or does not hear. Asked last, and not counted on.
    Away,
}

/// One direct link, from the end of this node.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Link {
    heard: Option<Now>,
    /// Since when it is heard without a gap.
    since: Now,
    probed: Option<Now>,
    /// Since when the other end has said that it does not hear this one.
    deaf: Option<Now>,
    losses: u32,
}

impl Link {
    pub(crate) fn heard(&mut self, now: Now) {
        let was_lost = self.heard.is_none() && self.probed.is_some();
        if was_lost && is(Mutant::DeadForEver) {
            return;
        }
        if !self.is_heard(now) {
            self.lost(now);
            self.since = now;
        }
        self.heard = Some(now);
    }

    /// The other end says whether it hears this one.
    pub(crate) fn told(&mut self, hears_us: bool, now: Now) {
        if hears_us {
            if self.deaf.take().is_some() {
                self.since = now;
            }
        } else if self.deaf.is_none() {
            self.count_loss(now);
            self.deaf = Some(now);
        }
    }

    pub(crate) fn connected(&mut self, now: Now) {
        self.heard(now);
        self.deaf = None;
    }

    pub(crate) fn lost(&mut self, now: Now) {
        if self.heard.take().is_some() {
            self.count_loss(now);
        }
    }

    fn count_loss(&mut self, now: Now) {
        if FORGIVEN_AFTER <= now.since(self.since) {
            self.losses = 0;
        }
        self.losses = DOUBLINGS_MAX.min(self.losses + 1);
    }

    /// Whether it is heard, in this direction alone.
    pub(crate) fn is_heard(&self, now: Now) -> bool {
        self.heard.is_some_and(|heard| now.since(heard) < SILENCE_MAX)
    }

    /// Whether the other end does not hear this one, and has had the time to object.
    fn is_deaf(&self, now: Now) -> bool {
        self.deaf.is_some_and(|since| OBJECTION <= now.since(since))
    }

    pub(crate) fn reach(&self, now: Now) -> Reach {
        if !self.is_heard(now) || self.is_deaf(now) {
            return Reach::Away;
        }
        if self.deaf.is_some() {
            return Reach::Shaky;
        }
        let probation = PROBATION * (1 << self.losses);
        let has_passed = self.losses == 0 || probation <= now.since(self.since);
        if has_passed { Reach::Steady } else { Reach::Shaky }
    }

    /// Whether a probe is due, which is then taken for sent.
    pub(crate) fn probe(&mut self, now: Now) -> bool {
        let is_due = self.probe_due() <= now;
        if is_due {
            self.probed = Some(now);
        }
        is_due
    }

    /// Who is said to be deaf is probed although it is heard: it says that it hears again only
    /// when asked, and its answer may have been lost.
    pub(crate) fn probe_due(&self) -> Now {
        let heard = self.heard.filter(|_| self.deaf.is_none());
        match heard.max(self.probed) {
            None => Now::default(),
            Some(last) => last + PROBE_INTERVAL,
        }
    }
}
