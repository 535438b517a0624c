//! What a run comes to: a report if nothing was wrong, a violation otherwise.

use std::collections::BTreeMap;
use std::fmt;

use crate::invariant::Invariant;
use crate::swarm::Worlds;

/// What happened in a run that found nothing wrong.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Report {
    /// The seed that the run came from.
    pub seed: u64,
    /// Its world, in a few words.
    pub plan: String,
    /// Steps of the simulation.
    pub events: u64,
    /// Microseconds of simulated time.
    pub simulated: u64,
    /// How many of them clients were at work.
    pub under_load: u64,
    /// Whether it was a world that destroys everything.
    pub destroys: bool,
    /// Requests, by kind and outcome.
    pub requests: BTreeMap<(&'static str, &'static str), u64>,
    /// Faults, by kind, and how often something rare was seen.
    pub faults: BTreeMap<&'static str, u64>,
    /// A hash over all events: the same seed gives the same.
    pub trace: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [seconds, load] = [self.simulated, self.under_load].map(|micros| micros / 1_000_000);
        writeln!(f, "seed {}: no violation ({})", self.seed, self.plan)?;
        writeln!(
            f,
            "  {} events in {seconds} simulated seconds, {load} of them under load",
            self.events
        )?;
        let requests = self.requests.iter().map(|((kind, end), n)| format!("{kind} {end} {n}"));
        writeln!(f, "  {}", requests.collect::<Vec<_>>().join(", "))?;
        let faults = self.faults.iter().map(|(kind, n)| format!("{kind} {n}"));
        writeln!(f, "  faults: {}", faults.collect::<Vec<_>>().join(", "))?;
        write!(f, "  trace {:016x}", self.trace)
    }
}

/// An invariant that does not hold, before the run that showed it is told.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    pub(crate) invariant: Invariant,
    pub(crate) detail: String,
    /// The key it is about, as the oracle numbers them.
    pub(crate) key: Option<usize>,
}

impl Broken {
    pub(crate) fn new(invariant: Invariant, detail: impl Into<String>) -> Self {
        Self { invariant, detail: detail.into(), key: None }
    }

    pub(crate) fn of(invariant: Invariant, key: usize, detail: impl Into<String>) -> Self {
        Self { invariant, detail: detail.into(), key: Some(key) }
    }
}

/// A run in which something was wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Violation {
    /// The seed that shows it again.
    pub seed: u64,
    /// The world, in full.
    pub plan: String,
    /// What does not hold.
    pub invariant: Invariant,
    /// How it was seen.
    pub detail: String,
    /// When, in microseconds of simulated time.
    pub at: u64,
    /// How many faults had come by then, those left out included.
    pub faults: u64,
    /// Whether it was a world that destroys everything.
    pub destroys: bool,
    /// Of what kind the world was.
    pub worlds: Worlds,
    /// The writes to the key that it is about, in the order of their requests.
    pub history: Vec<String>,
    /// The last events before it.
    pub events: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {:?} does not hold: {}", self.seed, self.invariant, self.detail)?;
        writeln!(f, "  promised: {}", self.invariant.promise())?;
        writeln!(f, "  at {} us, in {}", self.at, self.plan)?;
        for (what, lines) in [("history of the key", &self.history), ("events", &self.events)] {
            writeln!(f, "  {what}:")?;
            lines.iter().try_for_each(|line| writeln!(f, "    {line}"))?;
        }
        let how = if self.destroys { " --destroy" } else { "" };
        let how = format!("{}{how}", self.worlds.option());
        writeln!(f, "  again with:   merganser sim replay --seed {}{how} --trace", self.seed)?;
        write!(f, "  smaller with: merganser sim shrink --seed {}{how}", self.seed)
    }
}

impl std::error::Error for Violation {}
