//! The clock of one shard replica, and the transactions.

use std::collections::{BTreeMap, BTreeSet};

use causality::{Dot, DotSet, Incarnation, Run};
use crdt::MARKS_MAX;
use lattice::Lattice;
use model::{Address, Limits, Mark, Marks, Mutation, Object, ShardId};
use mutant::{Mutant, is};
use thiserror::Error;

use crate::bent::{self, without_first};
use crate::forgotten::{chunks, values_in, without};
use crate::lanes::Lanes;
use crate::{Change, Reaped, Reaping, Store, StoreError, Trimmed};

/// Why a mutation was not applied. Nothing was changed, and no dot was minted.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
pub enum Refused {
    /// The key would hold more concurrent values than it may.
    #[error("the key holds {siblings} concurrent values, the most is {max}")]
    ManySiblings {
        /// How many it holds.
        siblings: usize,
        /// How many it may hold.
        max: usize,
    },
    /// The key's concurrent values would have more bytes together than they may.
    #[error("the concurrent values would have {bytes} bytes together, the most is {max}")]
    LargeObject {
        /// How many they would have.
        bytes: usize,
        /// How many they may have.
        max: usize,
    },
    /// The write has read nothing, and must have where there is something.
    #[error("the key holds {siblings} values, and the write has read none")]
    Blind {
        /// How many it holds.
        siblings: usize,
    },
    /// The token of the write has named another one.
    #[error("the token was used for another write")]
    TokenReused,
    /// Whether the token of the write was used before is not known any more.
    #[error("more than {max} writes came after the token")]
    TokenForgotten {
        /// How many are remembered.
        max: usize,
    },
    /// The object cannot be read.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// A mutation that has become an object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stored {
    /// The name of the write.
    pub dot: Dot,
    /// The write as an object: its value, and exactly what its client had read. This is
    /// what travels to the other replicas.
    pub object: Object,
    /// What the client has read and written.
    pub context: DotSet,
    /// How many values the key holds here with it.
    pub siblings: usize,
    /// Whether the write was known here. No dot was minted, and the object is all that is
    /// held under the key: others may lack the write, or what came after it.
    pub repeated: bool,
}

/// What a client asks of a replica.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Asked {
    /// What to do.
    pub mutation: Mutation,
    /// What the client had read, and is superseded.
    pub read: DotSet,
    /// The marks of that, as far as the client was told.
    pub marks: Marks,
    /// What this write is known by when it comes again, if it may.
    pub mark: Option<Mark>,
    /// Whether a write that has read nothing is refused where there is a value.
    pub requires_context: bool,
}

impl Asked {
    /// A write that does not come again.
    pub fn once(mutation: Mutation, read: DotSet) -> Self {
        Self { mutation, read, marks: Marks::new(), mark: None, requires_context: false }
    }
}

/// Refuses one more concurrent value than a key may hold.
///
/// # Errors
///
/// [`Refused`], of the values that it would hold.
pub fn check_siblings(siblings: usize, merged: &Object, limits: &Limits) -> Result<(), Refused> {
    let Limits { siblings_max, object_bytes_max, .. } = *limits;
    if siblings_max < merged.width() {
        return Err(Refused::ManySiblings { siblings, max: siblings_max });
    }
    let bytes = merged.values().values().map(|value| value.body.len()).sum();
    if object_bytes_max < bytes {
        return Err(Refused::LargeObject { bytes, max: object_bytes_max });
    }
    Ok(())
}

/// What becomes of a write that may be known here, if it is, or if that cannot be told.
fn known(here: &Object, mark: Mark, read: &DotSet) -> Result<Option<Stored>, Refused> {
    match here.of_token(mark.token) {
        Some((_, known)) if known.write() != mark.write() => Err(Refused::TokenReused),
        Some((dot, _)) => {
            let mut context = read.clone();
            let _ = context.insert(dot);
            let (object, siblings) = (here.clone(), here.width());
            Ok(Some(Stored { dot, object, context, siblings, repeated: true }))
        }
        None if here.may_have_forgotten(mark.token) => {
            Err(Refused::TokenForgotten { max: MARKS_MAX })
        }
        None => Ok(None),
    }
}

/// A write with the marks of what it supersedes, so that whoever hears of it knows their twins.
fn marked(object: Object, here: &Object, told: Marks, mine: Option<(Dot, Mark)>) -> Object {
    if here.marks().is_empty() && told.is_empty() && mine.is_none() {
        return object;
    }
    let mut marks = here.marks_in(object.context());
    marks.extend(told);
    if is(Mutant::MarksNotSent) {
        marks.clear();
    }
    marks.extend(mine);
    object.marked(marks)
}

/// What a repair has done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Repaired {
    /// Whether anything was missing here.
    pub change: lattice::Change,
    /// How many of the writes that it brought were here before, and had been lost.
    pub lost: u64,
    /// Whether more is held here now than it brought.
    pub is_ahead: bool,
    /// Dots that it brought and that are forgotten here: whoever holds them is to be told.
    pub forgotten: DotSet,
}

/// One shard as one node holds it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Replica {
    shard: ShardId,
    incarnation: Incarnation,
    /// The number of the last dot minted here. Starts at zero in every life of the node,
    /// because the incarnation is new.
    minted: u64,
    /// The dots of keys that are written again and again.
    lanes: Lanes,
    clock: DotSet,
    /// The part of the clock of which no object speaks any more.
    forgotten: DotSet,
    /// Whether a value has come that this disk must have lost.
    has_missed: bool,
}

impl Replica {
    /// A replica as found on disk, in the life `incarnation`, which must be a new one.
    pub fn new(shard: ShardId, incarnation: Incarnation, clock: DotSet) -> Self {
        let is_new = clock.runs().iter().all(|run| !run.incarnation.is_of(incarnation));
        assert!(
            is_new || is(Mutant::IncarnationReadBack),
            "incarnation {incarnation} is not new in shard {shard}"
        );
        let minted = bent::minted(&clock, incarnation);
        let (lanes, forgotten) = (Lanes::of(incarnation), DotSet::new());
        Self { shard, incarnation, minted, lanes, clock, forgotten, has_missed: false }
    }

    /// The same replica, which has forgotten these dots in a former life.
    #[must_use]
    pub fn with_forgotten(mut self, forgotten: DotSet) -> Self {
        debug_assert!(self.clock.is_superset(&forgotten), "what is forgotten was known");
        self.forgotten = forgotten;
        self
    }

    /// Every dot that was ever applied here.
    pub fn clock(&self) -> &DotSet {
        &self.clock
    }

    /// The dots that no object here speaks of any more.
    pub fn forgotten(&self) -> &DotSet {
        &self.forgotten
    }

    /// Makes a client's mutation an object, under a new dot, and merges it.
    ///
    /// `read` is what the client had read, and is superseded. The limits bound the values of
    /// a key; a write that does not add to their number is accepted above them, too.
    ///
    /// # Errors
    ///
    /// [`Refused`]; nothing was changed.
    pub fn apply<S: Store>(
        &mut self,
        store: &mut S,
        address: &Address,
        mutation: Mutation,
        read: DotSet,
        limits: &Limits,
    ) -> Result<Stored, Refused> {
        self.apply_marked(store, address, Asked::once(mutation, read), limits)
    }

    /// The same for a write that may come again. If it is known here, nothing is changed, and
    /// it only remains to tell the others.
    ///
    /// # Errors
    ///
    /// [`Refused`]; nothing was changed.
    pub fn apply_marked<S: Store>(
        &mut self,
        store: &mut S,
        address: &Address,
        asked: Asked,
        limits: &Limits,
    ) -> Result<Stored, Refused> {
        let here = self.held(store, address)?;
        let Asked { mutation, mut read, marks, mark, requires_context } = asked;
        let known = |mark| known(&here, mark, &read).transpose();
        if let Some(stored) = mark.filter(|_| !is(Mutant::RepetitionMinted)).and_then(known) {
            return stored;
        }
        let siblings = here.width();
        if requires_context && read.is_empty() && 0 < siblings && !is(Mutant::BlindPutTaken) {
            return Err(Refused::Blind { siblings });
        }
        if is(Mutant::DeleteTakesAll) && matches!(mutation, Mutation::Delete) {
            let _ = read.union(here.context());
        }
        let own_runs = here.context().runs_of(self.incarnation).len();
        let lane = self.lanes.find(address, limits.own_runs_max < own_runs);
        let is_reused = is(Mutant::DotReused) && self.minted % 7 == 6;
        let next = Dot::new(self.incarnation, self.minted + u64::from(!is_reused));
        let dot = lane.map_or(next, |lane| self.lanes.next(lane));
        let object = match mutation {
            Mutation::Store(value) => Object::written(dot, read, value),
            Mutation::Delete => Object::deleted(dot, read),
        };
        let object = marked(object, &here, marks, mark.map(|mark| (dot, mark)));
        let mut merged = here;
        let _ = merged.merge(object.clone());
        if is(Mutant::SiblingDropped) && limits.siblings_max <= siblings {
            merged = without_first(merged);
        }
        let is_limited = !is(Mutant::SiblingsUnlimited);
        if is_limited && 0 < siblings && siblings < merged.width() {
            check_siblings(siblings, &merged, limits)?;
        }
        match lane {
            Some(lane) => self.lanes.minted(lane, address),
            None => self.minted = dot.seq,
        }
        let siblings = merged.width();
        self.commit(store, address, merged, object.context());
        let context = object.context().clone();
        Ok(Stored { dot, object, context, siblings, repeated: false })
    }

    /// Merges an object that came over any road.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the object here cannot be read; nothing was changed.
    pub fn merge<S: Store>(
        &mut self,
        store: &mut S,
        address: &Address,
        incoming: Object,
    ) -> Result<lattice::Change, StoreError> {
        let mut here = self.held(store, address)?;
        let mut incoming = self.without_old_news(&here, incoming);
        incoming.forget(&self.forgotten);
        if self.is_forgotten_tombstone(&here, &incoming) {
            return Ok(lattice::Change::Unchanged);
        }
        let context = incoming.context().clone();
        if here.merge(incoming) == lattice::Change::Unchanged {
            return Ok(lattice::Change::Unchanged);
        }
        self.commit(store, address, here, &context);
        Ok(lattice::Change::Grew)
    }

    /// Merges what a read has found and this replica lacks (R7). It may put back a value that was
    /// here before. What speaks against one is what is held here under the key, and the dots that are
    /// forgotten. A dot that the clock knows, and neither of them, is of a record that this
    /// disk has lost.
    ///
    /// A record that fails its check is lost like one that vanished: what the repair brings takes
    /// its place.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] if the disk cannot be read; nothing was changed.
    pub fn repair<S: Store>(
        &mut self,
        store: &mut S,
        address: &Address,
        mut incoming: Object,
    ) -> Result<Repaired, StoreError> {
        let found = store.object(self.shard, address);
        let is_damaged = matches!(found, Err(StoreError::Corrupt(_)));
        let mut here = match found {
            Err(StoreError::Corrupt(_)) if !is(Mutant::DamagedStays) => Object::default(),
            found => found?.unwrap_or_default(),
        };
        let forgotten = incoming.context().intersection(&self.forgotten);
        incoming.drop_values(&forgotten);
        // A damaged record is replaced, also by what is forgotten, and goes then.
        if !is_damaged || forgotten != *incoming.context() {
            incoming.forget(&forgotten);
        }
        if here.is_bottom() && incoming.is_bottom() {
            let change = lattice::Change::Unchanged;
            return Ok(Repaired { change, lost: 0, is_ahead: false, forgotten });
        }
        let brings = incoming.context().clone();
        let news = brings.difference(&self.clock);
        let lost = brings.difference(here.context()).difference(&news);
        let lost = lost.difference(&self.forgotten).len();
        let values = incoming.values().len();
        let superseded = values_in(&here, &self.forgotten);
        here.drop_values(&superseded);
        let change = here.merge(incoming);
        // Of two objects that have heard of the same, the merged one holds what both hold.
        let is_ahead = *here.context() != brings || here.values().len() != values;
        if change == lattice::Change::Grew || !superseded.is_empty() {
            self.commit(store, address, here, &brings);
        }
        Ok(Repaired { change, lost, is_ahead, forgotten })
    }

    /// Forgets tombstones of which everything is settled (R5): their objects go, their dots stay.
    /// `is_needed` tells of those that are good for something else.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] if the disk cannot be read; nothing was changed.
    pub fn reap<S: Store>(
        &mut self,
        store: &mut S,
        addresses: &[Address],
        settled: &DotSet,
        is_needed: impl Fn(&Object) -> bool,
    ) -> Result<Reaped, StoreError> {
        let (mut tombstones, mut dots, mut stay) = (Vec::new(), DotSet::new(), Vec::new());
        // What is named twice is forgotten once.
        for address in addresses.iter().collect::<BTreeSet<_>>() {
            let object = match store.object(self.shard, address) {
                Ok(Some(object)) if object.is_tombstone() => object,
                // What cannot be read is for others to bring.
                Ok(_) | Err(StoreError::Corrupt(_)) => continue,
                Err(error) => return Err(error),
            };
            if !settled.is_superset(object.context()) || is_needed(&object) {
                stay.push((address.clone(), object));
                continue;
            }
            let _ = dots.union(object.context());
            tombstones.push((address.clone(), object));
        }
        let forgotten = tombstones.len() as u64;
        if forgotten != 0 {
            self.keep_forgotten(store, (tombstones, Vec::new()), &dots);
        }
        Ok(Reaped { forgotten, stay })
    }

    /// Forgets dots under their keys: those that every replica knows to be superseded, or that another
    /// one has forgotten. Returns how many objects had any of them.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] if the disk cannot be read; nothing was changed.
    pub fn forget<S: Store>(
        &mut self,
        store: &mut S,
        keys: &BTreeMap<Address, DotSet>,
    ) -> Result<u64, StoreError> {
        let (mut tombstones, mut trimmed, mut all) = (Vec::new(), Vec::new(), DotSet::new());
        for (address, dots) in keys {
            let before = match store.object(self.shard, address) {
                Ok(before) => before.unwrap_or_default(),
                // What cannot be read is for others to bring.
                Err(StoreError::Corrupt(_)) => Object::default(),
                Err(error) => return Err(error),
            };
            let _ = all.union(dots);
            match without(&before, dots) {
                Some(after) if after.is_bottom() => tombstones.push((address.clone(), before)),
                Some(after) => trimmed.push(Trimmed { address: address.clone(), before, after }),
                None => {}
            }
        }
        let forgotten = (tombstones.len() + trimmed.len()) as u64;
        self.keep_forgotten(store, (tombstones, trimmed), &all);
        Ok(forgotten)
    }

    /// Takes over what another replica has forgotten (R6): this one need not hear of it, and is not
    /// to hold a value of it.
    pub fn adopt<S: Store>(&mut self, store: &mut S, forgotten: &DotSet) {
        self.keep_forgotten(store, Default::default(), forgotten);
    }

    fn keep_forgotten<S: Store>(
        &mut self,
        store: &mut S,
        (tombstones, trimmed): (Vec<(Address, Object)>, Vec<Trimmed>),
        dots: &DotSet,
    ) {
        let dots = if is(Mutant::ForgottenNotKept) { &DotSet::new() } else { dots };
        let news = dots.difference(&self.forgotten);
        let _ = self.forgotten.union(&news);
        let clock = self.take_in(&news.difference(&self.clock));
        let chunks = chunks(&self.forgotten, &news);
        let (shard, sum) = (self.shard, None);
        store.reap(Reaping { shard, tombstones, trimmed, chunks, clock, sum });
    }

    /// What is held under a key. A value that is forgotten is there only because a record turned into
    /// what it was once.
    fn held<S: Store>(&self, store: &S, address: &Address) -> Result<Object, StoreError> {
        let mut here = store.object(self.shard, address)?.unwrap_or_default();
        here.drop_values(&self.forgotten);
        Ok(here)
    }

    /// Returns whether a value has come, since this was asked last, whose dot the clock knows and of which
    /// nothing here says that it was superseded: the record that held it, or said so, is lost.
    pub fn take_missed(&mut self) -> bool {
        std::mem::take(&mut self.has_missed)
    }

    /// Looks at an object that is not to be merged, for whether this disk must have lost what it holds.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the object here cannot be read.
    pub fn witness<S: Store>(
        &mut self,
        store: &S,
        address: &Address,
        incoming: &Object,
    ) -> Result<(), StoreError> {
        let here = self.held(store, address)?;
        self.note_missed(&here, &self.old_news(&here, incoming));
        Ok(())
    }

    /// R3: drops each value that was here before and is no more, and its dot with it.
    fn without_old_news(&mut self, here: &Object, mut incoming: Object) -> Object {
        let old = self.old_news(here, &incoming);
        if let Some(bent) = bent::bend(&self.clock, here, &incoming, &old) {
            return bent;
        }
        self.note_missed(here, &old);
        old.into_iter().for_each(|dot| incoming.leave_out(dot));
        incoming
    }

    /// The values that were here before and are no more.
    fn old_news(&self, here: &Object, incoming: &Object) -> Vec<Dot> {
        let is_old = |dot: &Dot| self.clock.contains(*dot) && !here.values().contains_key(dot);
        incoming.values().keys().copied().filter(is_old).collect()
    }

    fn note_missed(&mut self, here: &Object, old: &[Dot]) {
        let is_known = |dot: &Dot| here.context().contains(*dot) || self.forgotten.contains(*dot);
        self.has_missed |= !old.iter().all(is_known);
    }

    /// Whether a tombstone arrives that this replica once had, and needs no more.
    fn is_forgotten_tombstone(&self, here: &Object, incoming: &Object) -> bool {
        here.is_bottom()
            && incoming.values().is_empty()
            && self.clock.is_superset(incoming.context())
    }

    /// Stages the object and the clock, which has heard of `taken_in`, as one change.
    fn commit<S: Store>(
        &mut self,
        store: &mut S,
        address: &Address,
        mut object: Object,
        taken_in: &DotSet,
    ) {
        // A tombstone of which everything is forgotten goes as one.
        if !self.forgotten.is_superset(object.context()) {
            object.forget(&self.forgotten);
        }
        let news = taken_in.difference(&self.clock);
        let clock = self.take_in(&news);
        let (object, clock) = bent::commit(object, clock);
        let news = if is(Mutant::LogNotStored) { DotSet::new() } else { news };
        let (shard, address) = (self.shard, address.clone());
        store.commit(Change { shard, address, object, clock, news, sum: None });
    }

    /// Adds to the clock. Returns all runs of each incarnation that gained any.
    fn take_in(&mut self, news: &DotSet) -> Vec<(Incarnation, Vec<Run>)> {
        let minted_here = || news.runs().iter().any(|run| run.incarnation.is_of(self.incarnation));
        if !is(Mutant::ClockNotAdvanced) || minted_here() {
            let _ = self.clock.union(news);
        }
        let touched: BTreeSet<Incarnation> =
            news.runs().iter().map(|run| run.incarnation).collect();
        let all = |incarnation| (incarnation, self.clock.runs_of(incarnation).to_vec());
        touched.into_iter().map(all).collect()
    }
}
