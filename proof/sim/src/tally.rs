//! Many worlds of one kind, until something was tried often enough, and what became of it.
//!
//! A claim such as "a million deletes, and none comes back" is worth what was tried. So this runs
//! worlds of one kind until so many deletes were acknowledged, or so many losses inflicted, and
//! counts beside them what they had to survive. A world ends at its first violation; the others go on,
//! and violations are counted by the promise they break.
//!
//! The numbers depend on the first seed alone, not on how many threads there were: worlds are
//! taken in batches of one size, and the last batch is run to its end.

use std::collections::BTreeMap;
use std::fmt;

use crate::Options;
use crate::invariant::Invariant;
use crate::many::run_all;
use crate::report::Violation;
use crate::summary::Summary;
use crate::swarm::Worlds;

/// Worlds between two looks at how far it has come.
const BATCH: u64 = 50;

/// What is to be tried how often.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Goal {
    /// So many acknowledged deletes.
    Deletes(u64),
    /// So many records lost, rolled back or damaged.
    Losses(u64),
    /// So many worlds.
    Worlds(u64),
}

/// What came of it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    /// The first seed.
    pub first: u64,
    /// Of what kind the worlds were.
    pub worlds: Worlds,
    /// Those without a violation, put together.
    pub summary: Summary,
    /// Those with one, by what was broken.
    pub violations: BTreeMap<&'static str, Vec<Violation>>,
}

impl Goal {
    /// The worlds in which it is tried.
    fn worlds(self, otherwise: Worlds) -> Worlds {
        match self {
            Goal::Deletes(_) => Worlds::Deletes,
            Goal::Losses(_) => Worlds::Losses,
            Goal::Worlds(_) => otherwise,
        }
    }

    fn is_reached(self, tally: &Tally) -> bool {
        match self {
            Goal::Deletes(count) => count <= tally.deletes(),
            Goal::Losses(count) => count <= tally.losses(),
            Goal::Worlds(count) => count <= tally.count(),
        }
    }
}

/// Runs worlds from a seed on, on so many threads, until enough was tried. `tell` hears now and then
/// how far it has come.
pub fn tally(
    goal: Goal,
    first: u64,
    threads: usize,
    options: &Options,
    mut tell: impl FnMut(&Tally),
) -> Tally {
    let worlds = goal.worlds(options.worlds);
    let options = Options { worlds, ..options.clone() };
    let mut whole = Tally { first, worlds, ..Tally::default() };
    while !goal.is_reached(&whole) {
        let count = match goal {
            Goal::Worlds(count) => BATCH.min(count - whole.count()),
            Goal::Deletes(_) | Goal::Losses(_) => BATCH,
        };
        let next = first + whole.count();
        let (summary, violations) = run_all(next..next + count, threads, &options);
        whole.summary.merge(&summary);
        for violation in violations {
            let of = whole.violations.entry(class(violation.invariant)).or_default();
            of.push(violation);
        }
        tell(&whole);
    }
    whole
}

const RETURNED: &str = "resurrections";
const DROPPED: &str = "losses that became deletes";
const LOST: &str = "lost versions";
const UNHEALED: &str = "losses not healed in time";
const OTHER: &str = "other violations";

/// What broken promises mean for data.
const CLASSES: &[(&str, &[Invariant])] = {
    use Invariant::*;
    &[
        (RETURNED, &[DeletedStaysAway, SupersededStaysAway, NoFalseSibling]),
        (DROPPED, &[NoFalseDominance]),
        (LOST, &[AcknowledgedIsKept, HistoryIsHeld]),
        (UNHEALED, &[LossesAreHealed, ReplicasConverge]),
    ]
};

/// What a broken promise means for data.
fn class(invariant: Invariant) -> &'static str {
    let of = CLASSES.iter().find(|(_, invariants)| invariants.contains(&invariant));
    of.map_or(OTHER, |(class, _)| class)
}

impl Tally {
    /// Worlds, with and without violations.
    pub fn count(&self) -> u64 {
        let violations: usize = self.violations.values().map(Vec::len).sum();
        self.summary.seeds + violations as u64
    }

    /// Deletes acknowledged in worlds without a violation.
    pub fn deletes(&self) -> u64 {
        self.counted("deletes", "acknowledged")
    }

    /// Records lost, rolled back or damaged in worlds without a violation.
    pub fn losses(&self) -> u64 {
        self.counted("losses", "of records")
    }

    /// In how many worlds something came back.
    pub fn returned(&self) -> u64 {
        self.violations.get(RETURNED).map_or(0, |all| all.len() as u64)
    }

    fn counted(&self, kind: &'static str, end: &'static str) -> u64 {
        self.summary.requests.get(&(kind, end)).copied().unwrap_or(0)
    }

    fn faults(&self, kind: &'static str) -> u64 {
        self.summary.faults.get(kind).copied().unwrap_or(0)
    }

    /// Everything that was counted, in the order of the table.
    pub fn rows(&self) -> Vec<(&'static str, u64)> {
        let mut rows = vec![
            ("worlds", self.count()),
            ("deletes acknowledged", self.deletes()),
            ("tombstones forgotten", self.counted("tombstones", "forgotten")),
            ("nodes down for over 15 s", self.counted("outages", "of a node, over 15 s")),
            ("ways cut for over 15 s", self.counted("outages", "of a way, over 15 s")),
            ("partitions begun", self.partitions()),
            ("disks given up", self.counted("disks", "given up")),
            ("disks wiped", self.faults("disk wiped")),
            ("old copies restored", self.faults("copy restored")),
            ("hints handed over", self.counted("hints", "handed over")),
            ("hints older than 15 s", self.counted("hints", "older than 15 s")),
            ("hints of what was deleted", self.counted("hints", "of what was deleted")),
            ("records lost", self.faults("record lost")),
            ("records rolled back", self.faults("record rolled back")),
            ("records damaged", self.faults("record flipped")),
            ("hints lost or damaged", self.hints_lost()),
            ("losses", self.losses()),
        ];
        rows.extend(HEALED.iter().map(|name| (*name, self.counted("losses", name))));
        for class in [RETURNED, DROPPED, LOST, UNHEALED, OTHER] {
            rows.push((class, self.violations.get(class).map_or(0, |all| all.len() as u64)));
        }
        rows
    }

    fn partitions(&self) -> u64 {
        let kinds = ["split", "isolation", "partial cut", "one-way cut", "bridge"];
        kinds.iter().map(|kind| self.faults(kind)).sum()
    }

    fn hints_lost(&self) -> u64 {
        let kinds = ["hint lost", "hint rolled back", "hint flipped"];
        kinds.iter().map(|kind| self.faults(kind)).sum()
    }
}

const HEALED: &[&str] = &[
    "healed within 4 s",
    "healed within 8 s",
    "healed within 12 s",
    "healed within 16 s",
    "healed later, under writes",
    "of what was not healed yet",
    "with a disk that was replaced",
    "of what nobody else held",
    "where nothing is scrubbed",
];

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.first + self.count();
        writeln!(f, "worlds of {}, seeds {} to {}", self.worlds.name(), self.first, end - 1)?;
        let hours = self.summary.hours();
        writeln!(f, "  {:<34}{hours:>14.1}", "simulated hours under load")?;
        for (name, count) in self.rows() {
            writeln!(f, "  {name:<34}{count:>14}")?;
        }
        for (class, violations) in &self.violations {
            for violation in violations.iter().take(5) {
                let Violation { seed, invariant, detail, .. } = violation;
                let detail: String = detail.chars().take(300).collect();
                writeln!(f, "  {class}: seed {seed}, {invariant:?}: {detail}")?;
            }
        }
        write!(
            f,
            "  seconds of core time              {:>14.0}",
            self.summary.core_time.as_secs_f64()
        )
    }
}
