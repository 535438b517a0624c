//! The disk of one node, in memory, with everything a real one does to data.
//!
//! A change is *staged* at once and visible to reads. Staged changes are handed to the
//! operating system as one group, which takes a while; groups are made durable by an
//! `fsync`, which takes longer. What a crash loses depends on how far a group has come:
//!
//! ```text
//!            staged ──► group in flight ──► committed ──► synced
//! kill       lost       lost or kept        kept          kept
//! power      lost       lost                a suffix of the groups is lost   kept
//! fsync fails  lost     lost                a suffix of the groups is lost   kept
//! ```
//!
//! A group is never torn, and groups are lost from the last one backwards only: there is
//! one journal, and the real storage promises to find where it ends and to refuse one with
//! a hole, which its own tests have to show. A torn or reordered tail is therefore here
//! what the storage makes of it. Long after it was synced, a record may vanish, turn into
//! what it was earlier, or fail its checksum, although the clock that speaks of it stays:
//! files rot, and software has bugs. And the whole disk may be replaced. Effects that promise
//! something wait here for the group they speak of.

mod contents;
mod crash;
mod hints;
mod store;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use causality::{Dot, DotSet, Run};
use model::{Address, DiskId, NodeId, Object, ShardId};
use node::{After, Hint, HintPlace, Message};
use replica::Change;

pub(crate) use self::contents::Contents;
use self::contents::Record;
pub(crate) use self::crash::Crash;
use crate::mutant::{self, Mutant};

/// Where one object is.
pub(crate) type Place = (ShardId, Address);

/// The disk of one node.
#[derive(Default)]
pub(crate) struct SimDisk {
    pub(crate) mutant: Option<Mutant>,
    view: Contents,
    synced: Contents,
    /// Groups that a former life left to the operating system, and that nobody has synced.
    left: VecDeque<Vec<Record>>,
    open: Vec<Record>,
    flying: Option<Vec<Record>>,
    committed: VecDeque<Vec<Record>>,
    /// How many committed groups the running `fsync` covers.
    syncing: Option<usize>,
    /// Groups closed, committed and synced so far in this life.
    closed_count: u64,
    committed_count: u64,
    synced_count: u64,
    waiting: VecDeque<(u64, After, NodeId, Message)>,
    touched: Vec<(Place, DotSet)>,
    /// What was dropped from logs since this was asked last.
    forgotten: Vec<(ShardId, Run)>,
    /// The objects of which something was forgotten since this was asked last, before and after.
    reaped: Vec<(Place, Object, Object)>,
    /// What shards have newly forgotten since this was asked last.
    adopted: Vec<(ShardId, DotSet)>,
    hinted: Vec<(HintPlace, Object)>,
    /// The places synced since this was asked last.
    fresh: Vec<Place>,
    /// What was said to be synced and is not. For mutants.
    lied: VecDeque<Vec<Record>>,
    overwrite: Option<Object>,
    unreadable: bool,
    /// Places whose record has flipped bits, and fails its checksum.
    damaged: BTreeSet<Place>,
    /// The same, of now or before: a request may have met what is healed by its end.
    was_damaged: BTreeSet<Place>,
    /// Those whose record was replaced, and is not synced: a crash brings the damaged one back.
    healing: BTreeSet<Place>,
    /// What each record was before it was written last.
    previous: BTreeMap<Place, Object>,
    /// The same three of what is kept for others.
    fresh_hints: Vec<HintPlace>,
    damaged_hints: BTreeSet<HintPlace>,
    /// Whether hints were lost or damaged in this life, which the process does not know.
    hints_differ: bool,
    previous_hints: BTreeMap<HintPlace, Hint>,
}

/// What the disk begins to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Work {
    /// Handing a group to the operating system.
    Commit,
    /// An `fsync` that somebody waits for.
    Sync,
    /// An `fsync` that nobody waits for.
    LazySync,
}

impl SimDisk {
    pub(crate) fn new(mutant: Option<Mutant>) -> Self {
        Self { mutant, ..Self::default() }
    }

    /// What reads see.
    pub(crate) fn view(&self) -> &Contents {
        &self.view
    }

    /// Returns whether what is synced under a key has heard of a dot.
    pub(crate) fn has_synced(&self, place: &Place, dot: Dot) -> bool {
        let is_held =
            self.synced.objects.get(place).is_some_and(|object| object.context().contains(dot));
        is_held || self.synced.forgotten(place.0).is_some_and(|dots| dots.contains(dot))
    }

    /// The places whose objects are synced and not about to be written again.
    pub(crate) fn settled_places(&self) -> Vec<Place> {
        let mut moving: BTreeSet<Place> = self.moving().filter_map(Record::place).collect();
        moving.extend(self.damaged.iter().cloned());
        self.synced.objects.keys().filter(|place| !moving.contains(place)).cloned().collect()
    }

    /// What was staged and is not synced.
    fn moving(&self) -> impl Iterator<Item = &Record> {
        let left = self.left.iter().flatten();
        let committed = self.committed.iter().flatten().chain(self.flying.iter().flatten());
        left.chain(committed).chain(&self.open)
    }

    /// Loses the record of one object, and nothing else: the clock stays as it is.
    pub(crate) fn lose(&mut self, place: &Place) -> Option<Object> {
        self.damaged.remove(place);
        self.healing.remove(place);
        self.view.objects.remove(place);
        self.synced.objects.remove(place)
    }

    /// The places changed since this was asked last, and what the clocks took in with each.
    pub(crate) fn take_touched(&mut self) -> Vec<(Place, DotSet)> {
        std::mem::take(&mut self.touched)
    }

    /// The runs dropped from logs since this was asked last.
    pub(crate) fn take_forgotten(&mut self) -> Vec<(ShardId, Run)> {
        std::mem::take(&mut self.forgotten)
    }

    /// The objects of which something was forgotten since this was asked last, before and after.
    pub(crate) fn take_reaped(&mut self) -> Vec<(Place, Object, Object)> {
        std::mem::take(&mut self.reaped)
    }

    /// What shards have newly forgotten since this was asked last.
    pub(crate) fn take_adopted(&mut self) -> Vec<(ShardId, DotSet)> {
        std::mem::take(&mut self.adopted)
    }

    /// The places whose objects were synced since this was asked last.
    pub(crate) fn take_fresh(&mut self) -> Vec<Place> {
        std::mem::take(&mut self.fresh)
    }

    /// Makes the next commit store this object instead of the merged one. For mutants.
    pub(crate) fn overwrite_next(&mut self, object: Option<Object>) {
        self.overwrite = object;
    }

    /// Makes all reads fail, or work again.
    pub(crate) fn set_unreadable(&mut self, unreadable: bool) {
        self.unreadable = unreadable;
    }

    /// Keeps a message until what is staged now has come as far as it says. Returns it
    /// if that is so already.
    pub(crate) fn hold(&mut self, after: After, to: NodeId, message: Message) -> Option<Message> {
        let group = if self.open.is_empty() { self.closed_count } else { self.closed_count + 1 };
        if self.has_come(after, group) {
            return Some(message);
        }
        self.waiting.push_back((group, after, to, message));
        None
    }

    /// The messages that need not wait any longer, in the order in which they came.
    pub(crate) fn release(&mut self) -> Vec<(NodeId, Message)> {
        let waiting = std::mem::take(&mut self.waiting);
        let (free, held): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|(group, after, ..)| self.has_come(*after, *group));
        self.waiting = held.into();
        free.into_iter().map(|(_, _, to, message)| (to, message)).collect()
    }

    fn has_come(&self, after: After, group: u64) -> bool {
        match after {
            After::Now => true,
            After::Committed => group <= self.committed_count,
            After::Synced | After::SyncedSometime if self.mutant == Some(Mutant::AckBeforeSync) => {
                group <= self.committed_count
            }
            After::Synced | After::SyncedSometime => group <= self.synced_count,
        }
    }

    /// Begins what there is to do and is not being done, and says what.
    pub(crate) fn begin(&mut self) -> Vec<Work> {
        let mut work = Vec::new();
        if self.flying.is_none() && !self.open.is_empty() {
            self.flying = Some(std::mem::take(&mut self.open));
            self.closed_count += 1;
            work.push(Work::Commit);
        }
        if self.syncing.is_none() && !self.committed.is_empty() {
            self.syncing = Some(self.committed.len());
            let urgent = self.waiting.iter().any(|(_, after, ..)| *after == After::Synced);
            work.push(if urgent { Work::Sync } else { Work::LazySync });
        }
        work
    }

    /// The group in flight has been handed over.
    pub(crate) fn finish_commit(&mut self) {
        self.committed.extend(self.flying.take());
        self.committed_count += 1;
    }

    /// The running `fsync` is done. It covers what was left by a former life, too.
    pub(crate) fn finish_sync(&mut self) {
        let count = self.syncing.take().unwrap_or(0);
        self.synced_count += count as u64;
        let groups: Vec<_> = self.left.drain(..).chain(self.committed.drain(..count)).collect();
        self.settle(groups);
    }

    /// A process starts: what a former life left to the operating system is synced before
    /// anything is promised.
    pub(crate) fn open(&mut self) {
        self.hints_differ = false;
        if self.mutant != Some(Mutant::RecoveredCountsAsSynced) {
            let left: Vec<_> = self.left.drain(..).collect();
            self.settle(left);
        }
    }

    /// Brings everything to disk that was handed to the operating system, as it does by itself
    /// in a while.
    pub(crate) fn write_back(&mut self) {
        for group in std::mem::take(&mut self.left) {
            self.keep(group);
        }
    }

    /// These groups were said to be synced.
    fn settle(&mut self, groups: Vec<Vec<Record>>) {
        for group in groups {
            if self.mutant == Some(Mutant::SyncLies) {
                self.lied.push_back(group);
            } else {
                self.keep(group);
            }
        }
    }

    /// This group is on disk.
    fn keep(&mut self, group: Vec<Record>) {
        for record in group {
            self.fresh.extend(record.place());
            if let Some(place) = record.place() {
                self.healing.remove(&place);
            }
            self.previous.extend(self.synced.replaced_by(&record));
            self.note_hint(&record);
            self.synced.take(&record);
        }
    }

    /// How far what was written has come, in words.
    pub(crate) fn tell_groups(&self) -> String {
        let Self { open, flying, committed, left, waiting, .. } = self;
        let flying = flying.as_ref().map_or(0, Vec::len);
        let committed: usize = left.iter().chain(committed).map(Vec::len).sum();
        let (open, waiting) = (open.len(), waiting.len());
        format!(
            "{open} changes staged, {flying} in flight, {committed} not synced; {waiting} messages wait for them"
        )
    }

    /// Which disk it is. One that was never started from is given a name now.
    pub(crate) fn id(&mut self, fresh: impl FnOnce() -> u64) -> DiskId {
        let id = self.synced.id.unwrap_or_else(|| DiskId::new(fresh().into()));
        (self.view.id, self.synced.id) = (Some(id), Some(id));
        id
    }

    /// What would be left after a loss of power.
    pub(crate) fn contents(&self) -> &Contents {
        &self.synced
    }

    /// Puts another disk in the place of this one, and returns what was on it. The process
    /// is down, and what it had left was written back.
    pub(crate) fn replace(&mut self, with: Contents) -> Contents {
        let before = std::mem::take(&mut self.synced);
        *self = Self { mutant: self.mutant, view: with.clone(), synced: with, ..Self::default() };
        before
    }

    /// Flips bits in the record of one object: it cannot be read any more.
    pub(crate) fn damage(&mut self, place: &Place) {
        self.damaged.insert(place.clone());
        self.was_damaged.insert(place.clone());
    }

    /// Returns whether there is a readable, synced copy of a write.
    pub(crate) fn has_copy(&self, place: &Place, dot: Dot) -> bool {
        let is_damaged = self.damaged.contains(place) || self.healing.contains(place);
        self.has_synced(place, dot) && !is_damaged
    }

    /// The places whose records cannot be read.
    pub(crate) fn damaged(&self) -> &BTreeSet<Place> {
        &self.damaged
    }

    /// Whether the record there could ever not be read.
    pub(crate) fn was_damaged(&self, place: &Place) -> bool {
        self.was_damaged.contains(place)
    }

    /// The places whose records cannot be read, with what they held.
    pub(crate) fn damaged_objects(&self) -> Vec<(Place, Object)> {
        let object = |place: &Place| Some((place.clone(), self.view.objects.get(place)?.clone()));
        self.damaged.iter().filter_map(object).collect()
    }

    /// The object under a key as it is on disk.
    pub(crate) fn synced_object(&self, place: &Place) -> Option<&Object> {
        self.synced.objects.get(place)
    }

    /// What a record was before it was written last.
    pub(crate) fn previous(&self, place: &Place) -> Option<&Object> {
        self.previous.get(place)
    }

    /// Puts an earlier version of a record in its place. The clock stays as it is.
    pub(crate) fn roll_back(&mut self, place: &Place, older: Object) -> Option<Object> {
        self.view.objects.insert(place.clone(), older.clone());
        self.synced.objects.insert(place.clone(), older)
    }

    fn stage(&mut self, record: Record) {
        self.view.take(&record);
        self.open.push(record);
    }

    fn mutated(&mut self, mut change: Change) -> Change {
        if let Some(object) = self.overwrite.take() {
            change.object = object;
        }
        if self.mutant == Some(Mutant::SiblingsDropped) && 1 < change.object.values().len() {
            change.object = mutant::with_one_value(&change.object);
        }
        change
    }
}
