//! What a disk has for others, and what becomes of it.
//!
//! Hints rot like objects do. One that cannot be read is stepped over where all are handed over,
//! and is an error for whoever asks for just that one, as the real storage has it.

use std::collections::{BTreeMap, BTreeSet};

use causality::Dot;
use model::{NodeId, Object};
use node::{Hint, HintPlace, Owed};

use super::SimDisk;
use super::contents::Record;

impl SimDisk {
    /// The hints taken in since this was asked last.
    pub(crate) fn take_hinted(&mut self) -> Vec<(HintPlace, Object)> {
        std::mem::take(&mut self.hinted)
    }

    /// The hints synced since this was asked last.
    pub(crate) fn take_fresh_hints(&mut self) -> Vec<HintPlace> {
        std::mem::take(&mut self.fresh_hints)
    }

    /// A record is about to be kept: notes what it replaces, if it is a hint.
    pub(super) fn note_hint(&mut self, record: &Record) {
        let Record::Hint(place, after) = record else { return };
        match (self.synced.hints.get(place), after) {
            (Some(before), Some(_)) => {
                self.previous_hints.insert(place.clone(), before.clone());
            }
            (_, None) => drop(self.previous_hints.remove(place)),
            (None, Some(_)) => {}
        }
        self.fresh_hints.extend(after.is_some().then(|| place.clone()));
    }

    /// What is synced of a hint.
    pub(crate) fn synced_hint(&self, place: &HintPlace) -> Option<&Hint> {
        self.synced.hints.get(place)
    }

    /// Returns whether what is synced of a hint has heard of a dot.
    pub(crate) fn has_synced_hint(&self, place: &HintPlace, dot: Dot) -> bool {
        self.synced_hint(place).is_some_and(|hint| hint.object.context().contains(dot))
    }

    /// The same of one that can be read.
    pub(crate) fn has_hint(&self, place: &HintPlace, dot: Dot) -> bool {
        self.has_synced_hint(place, dot) && !self.damaged_hints.contains(place)
    }

    /// The hints that are synced, whole and not about to be written or dropped.
    pub(crate) fn settled_hints(&self) -> Vec<HintPlace> {
        let moving: BTreeSet<&HintPlace> = self.moving().filter_map(Record::hint_place).collect();
        let is_settled =
            |place: &&HintPlace| !moving.contains(place) && !self.damaged_hints.contains(*place);
        self.synced.hints.keys().filter(is_settled).cloned().collect()
    }

    /// What a process sees of a hint.
    pub(crate) fn seen_hint(&self, place: &HintPlace) -> Option<&Hint> {
        self.view.hints.get(place)
    }

    /// How many bytes the process has to take its hints for. Nothing if some of them have changed
    /// without it.
    pub(crate) fn hint_bytes(&self) -> Option<u64> {
        let is_whole = |(place, _): &(&HintPlace, &Hint)| !self.damaged_hints.contains(*place);
        let hints = self.view.hints.iter().filter(is_whole);
        let bytes = || hints.map(|(place, hint)| hint.bytes(&place.address)).sum();
        (!self.hints_differ).then(bytes)
    }

    /// Loses a hint.
    pub(crate) fn lose_hint(&mut self, place: &HintPlace) -> Option<Hint> {
        self.hints_differ = true;
        self.damaged_hints.remove(place);
        self.view.hints.remove(place);
        self.synced.hints.remove(place)
    }

    /// What a hint was before it was written last.
    pub(crate) fn previous_hint(&self, place: &HintPlace) -> Option<&Hint> {
        self.previous_hints.get(place)
    }

    /// Puts an earlier version of a hint in its place.
    pub(crate) fn roll_hint_back(&mut self, place: &HintPlace, older: &Hint) -> Option<Hint> {
        self.hints_differ = true;
        self.view.hints.insert(place.clone(), older.clone());
        self.synced.hints.insert(place.clone(), older.clone())
    }

    /// Flips bits in a hint: it cannot be read any more.
    pub(crate) fn damage_hint(&mut self, place: &HintPlace) {
        self.hints_differ = true;
        self.damaged_hints.insert(place.clone());
    }

    /// The hints that cannot be read.
    pub(crate) fn damaged_hints(&self) -> &BTreeSet<HintPlace> {
        &self.damaged_hints
    }

    /// Whether anything on it cannot be read.
    pub(crate) fn has_damage(&self) -> bool {
        !self.damaged.is_empty() || !self.damaged_hints.is_empty()
    }

    /// How much is kept for whom, as a starting node finds it.
    pub(crate) fn owed(&self) -> BTreeMap<NodeId, Owed> {
        let mut owed: BTreeMap<NodeId, Owed> = BTreeMap::new();
        let is_whole = |place: &HintPlace| !self.damaged_hints.contains(place);
        for (place, hint) in self.view.hints.iter().filter(|(place, _)| is_whole(place)) {
            owed.entry(place.target).or_default().add(&place.address, hint);
        }
        owed
    }
}
