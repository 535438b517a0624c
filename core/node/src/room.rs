//! Room for hints.
//!
//! A guest keeps so many bytes for others and no more, and what it has taken in it never drops.
//! So it has to know *before* it takes something in what that comes to: the key, the values, all
//! that is known of other writes, and what has its place there already and goes. A write that a
//! guest accepts itself it keeps for every replica, so that it costs as many times as much; it is
//! kept for all of them or for none.
//!
//! ```text
//! for n1   nothing                  ->  k {a1: "tea"}              90 bytes more
//! for n2   k {b1: "milk"}           ->  k {a1: "tea"}, b1 known     1 byte less
//! for n3   k {a1: "tea"}            ->  the same                    nothing
//! ```

use causality::Run;
use lattice::{Change, Lattice};
use model::{Address, NodeId, Object, ShardId, TableId};
use mutant::{Mutant, is};
use replica::{Entry, Page, PageNeed, Span, Store, StoreError};

use crate::Disk;
use crate::hints::{Hint, HintPlace, Ledger};

/// Why something is not kept. Nothing was changed.
#[derive(Debug)]
pub(crate) enum NotKept {
    /// There is no room for so many bytes more.
    Full { needs: u64 },
    /// What is kept already cannot be read.
    Unreadable,
}

/// The hints of this node as a replica without a clock: what is committed is to be kept for each
/// of the targets.
pub(crate) struct Area<'a, D> {
    pub(crate) disk: &'a mut D,
    pub(crate) ledger: &'a mut Ledger,
    pub(crate) targets: &'a [NodeId],
    pub(crate) bytes_max: u64,
    pub(crate) now_millis: u64,
    /// What was committed and is not kept yet.
    pub(crate) committed: Option<Object>,
}

/// One hint that takes the place of another.
struct Replacement {
    place: HintPlace,
    before: Option<Hint>,
    after: Hint,
}

impl<D: Disk> Area<'_, D> {
    /// Keeps an object for all targets or for none: since when, if it was kept before for another
    /// one.
    pub(crate) fn keep(
        &mut self,
        address: &Address,
        object: &Object,
        since_millis: Option<u64>,
    ) -> Result<(), NotKept> {
        if is(Mutant::HintNotKept) {
            return Ok(());
        }
        let mut replacements = Vec::with_capacity(self.targets.len());
        for target in self.targets {
            let place = HintPlace { target: *target, address: address.clone() };
            replacements.extend(self.replacement(place, object, since_millis)?);
        }
        self.check_room(&replacements)?;
        for Replacement { place, before, after } in replacements {
            self.ledger.change(&place, before.as_ref(), Some(&after));
            self.disk.keep_hint(&place, Some(&after));
        }
        Ok(())
    }

    /// What would take the place of a hint. Nothing if it would stay as it is.
    fn replacement(
        &self,
        place: HintPlace,
        object: &Object,
        since_millis: Option<u64>,
    ) -> Result<Option<Replacement>, NotKept> {
        let before = match self.disk.hint(&place) {
            Err(_) if is(Mutant::DamagedHintReplaced) => None,
            before => before.map_err(|_| NotKept::Unreadable)?,
        };
        let mut after = match &before {
            Some(before) if !is(Mutant::HintReplaced) => before.clone(),
            Some(_) | None => Hint { since_millis: self.now_millis, object: Object::default() },
        };
        if let Some(since_millis) = since_millis {
            // Whoever waits for what was kept long ago waits for this, too.
            after.since_millis = after.since_millis.min(since_millis);
        }
        let is_older = before.as_ref().is_some_and(|was| after.since_millis < was.since_millis);
        let is_same = after.object.merge(object.clone()) == Change::Unchanged && !is_older;
        Ok((!is_same).then_some(Replacement { place, before, after }))
    }

    fn check_room(&self, replacements: &[Replacement]) -> Result<(), NotKept> {
        let (mut more, mut less) = (0, 0);
        for Replacement { place, before, after } in replacements {
            more += weight(after, &place.address);
            less += before.as_ref().map_or(0, |before| weight(before, &place.address));
        }
        let bytes_max =
            if is(Mutant::HintRefusedEarly) { self.bytes_max / 2 } else { self.bytes_max };
        let needs = more.saturating_sub(less);
        let is_full = 0 < needs && bytes_max < self.ledger.bytes().saturating_add(needs);
        match is_full && !is(Mutant::HintCapIgnored) {
            true => Err(NotKept::Full { needs }),
            false => Ok(()),
        }
    }
}

fn weight(hint: &Hint, address: &Address) -> u64 {
    if is(Mutant::HintValuesCounted) {
        return hint.object.values().values().map(|value| value.body.len() as u64).sum();
    }
    hint.bytes(address)
}

/// All that is kept at a key for these.
pub(crate) fn merged<D: Disk>(
    disk: &D,
    targets: &[NodeId],
    address: &Address,
) -> Result<Object, StoreError> {
    let mut merged = Object::default();
    for target in targets {
        let place = HintPlace { target: *target, address: address.clone() };
        if let Some(hint) = disk.hint(&place)? {
            let _ = merged.merge(hint.object);
        }
    }
    Ok(merged)
}

impl<D: Disk> Store for Area<'_, D> {
    fn object(&self, _: ShardId, address: &Address) -> Result<Option<Object>, StoreError> {
        merged(self.disk, self.targets, address).map(Some)
    }

    fn scan(&self, _: ShardId, _: TableId, _: &Span, _: PageNeed) -> Result<Page, StoreError> {
        Ok(Page::default())
    }

    fn log(&self, _: ShardId, _: Run, _: usize) -> Result<Vec<Entry>, StoreError> {
        Ok(Vec::new())
    }

    fn forget(&mut self, _: ShardId, _: &[Run]) {}

    fn reap(&mut self, _: replica::Reaping) {}

    fn commit(&mut self, change: replica::Change) {
        self.committed = Some(change.object);
    }
}
