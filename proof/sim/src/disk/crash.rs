//! What a crash takes from a disk, and what it leaves.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use causality::DotSet;

use super::contents::Record;
use super::{Place, SimDisk};
use crate::mutant::Mutant;

/// What a crash does to data that was not synced.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Crash {
    /// The process dies. The group in flight is kept or not.
    Kill {
        /// Whether the group in flight is kept.
        flying: bool,
    },
    /// The machine loses power, and so many of the committed groups.
    Power {
        /// How many of the newest committed groups are lost, as drawn; at most all.
        lost: u64,
    },
    /// An `fsync` fails, and the process ends itself. The kernel may have dropped what it
    /// could not write.
    SyncFailed {
        /// How many of the newest committed groups are lost; at most all.
        lost: u64,
    },
}

impl Crash {
    /// Whether it meets machines whose process is down, too.
    pub(crate) fn is_of_power(self) -> bool {
        matches!(self, Crash::Power { .. })
    }
}

impl SimDisk {
    /// Loses what a crash loses. What is left is what a starting node finds. Returns what had
    /// been handed to the operating system and is gone.
    pub(crate) fn crash(&mut self, crash: Crash) -> Vec<(Place, DotSet)> {
        let mut kept = std::mem::take(&mut self.left);
        kept.append(&mut self.committed);
        let mut lost = VecDeque::new();
        match crash {
            Crash::Kill { flying } => kept.extend(self.flying.take().filter(|_| flying)),
            Crash::Power { lost: count } | Crash::SyncFailed { lost: count } => {
                let count = usize::try_from(count).unwrap_or(usize::MAX);
                lost = kept.split_off(kept.len().saturating_sub(count));
                self.lied.clear();
            }
        }
        let mut left = std::mem::take(&mut self.lied);
        left.append(&mut kept);
        self.mutate_lost(&lost);
        let mut view = self.synced.clone();
        left.iter().flatten().for_each(|record| view.take(record));
        let is_left =
            |place: &Place| left.iter().flatten().any(|it| it.place().as_ref() == Some(place));
        let (healing, damaged): (BTreeSet<Place>, BTreeSet<Place>) =
            std::mem::take(&mut self.healing).into_iter().partition(is_left);
        self.damaged.extend(damaged);
        *self = Self {
            mutant: self.mutant,
            view,
            left,
            healing,
            synced: std::mem::take(&mut self.synced),
            fresh: std::mem::take(&mut self.fresh),
            damaged: std::mem::take(&mut self.damaged),
            was_damaged: std::mem::take(&mut self.was_damaged),
            previous: std::mem::take(&mut self.previous),
            fresh_hints: std::mem::take(&mut self.fresh_hints),
            damaged_hints: std::mem::take(&mut self.damaged_hints),
            previous_hints: std::mem::take(&mut self.previous_hints),
            ..Self::default()
        };
        if matches!(crash, Crash::Power { .. }) {
            // Memory is gone, so whatever is there is on disk.
            self.write_back();
        }
        self.missing(&lost)
    }

    /// What groups had heard of that is not to be seen any more, by place.
    fn missing(&self, lost: &VecDeque<Vec<Record>>) -> Vec<(Place, DotSet)> {
        let mut missing = BTreeMap::<Place, DotSet>::new();
        for record in lost.iter().flatten() {
            let Record::Change(change) = record else { continue };
            let place = (change.shard, change.address.clone());
            let _ = missing.entry(place).or_default().union(change.object.context());
        }
        for (place, heard) in &mut missing {
            if let Some(object) = self.view.objects.get(place) {
                *heard = heard.difference(object.context());
            }
        }
        missing.into_iter().filter(|(_, heard)| !heard.is_empty()).collect()
    }

    /// What a mutant does to a disk at a crash: of the groups that are lost, clocks are
    /// kept and objects are not; or all clocks are gone.
    fn mutate_lost(&mut self, lost: &VecDeque<Vec<Record>>) {
        match self.mutant {
            Some(Mutant::BatchTorn) => {
                let never_committed = self.flying.iter().flatten().chain(&self.open);
                for record in lost.iter().flatten().chain(never_committed) {
                    if let Record::Change(change) = record {
                        self.synced.take_clock(change.shard, &change.clock);
                    }
                }
            }
            Some(Mutant::ClockLost) => self.synced.clocks.clear(),
            Some(Mutant::SyncedIsLost) if !lost.is_empty() => {
                let older =
                    self.previous.iter().map(|(place, older)| (place.clone(), older.clone()));
                self.synced.objects.extend(older);
            }
            Some(_) | None => {}
        }
    }
}
