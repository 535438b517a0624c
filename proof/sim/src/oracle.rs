//! The oracle: what really happened, and what must therefore be seen.
//!
//! It knows every write that any client ever asked for, with the exact context handed in,
//! and learns the dot of each at the moment a node mints it. That is the true causal
//! history, and it decides without looking at any replica's reasoning: a value may be
//! dropped only where a write that had read it has been heard of, and must be dropped
//! there.
//!
//! ```text
//! w1 put "tea"  {}         -> a1          an object with context {a1 a2} must hold
//! w2 put "milk" {a1}       -> a2            exactly {a2: milk}: w2 had read w1
//! w3 put "rum"  {}         -> b1          with context {a1 a2 b1}: {a2: milk, b1: rum}
//! ```
//!
//! Every object that is stored or handed to a client is checked against this. To be fast
//! enough for millions of objects, a check looks only at what an object has heard of
//! since the last one that was found right; see [`Base`].
//!
//! It relies on contexts being exact: an object that has heard of a write has heard of
//! everything that write had read.

use std::collections::{BTreeMap, BTreeSet};

use causality::{Dot, DotSet, Incarnation};
use model::{
    Address, Key, Limits, Mark, Marks, Name, NodeId, Object, ShardId, Table, Token, Value,
};

use crate::disk::Contents;
use crate::invariant::Invariant;
use crate::levels::{Places, Poll};
use crate::losses::Losses;
use crate::outcomes::Dead;
use crate::report::Broken;

/// One key of the workload.
#[derive(Clone, Debug)]
pub(crate) struct Spot {
    pub(crate) keyspace: Name,
    pub(crate) table: Table,
    pub(crate) key: Key,
    pub(crate) shard: ShardId,
    /// Its replicas.
    pub(crate) replicas: Vec<NodeId>,
}

impl Spot {
    pub(crate) fn address(&self) -> Address {
        Address { table: self.table.id, key: self.key.clone() }
    }

    pub(crate) fn place(&self) -> (ShardId, Address) {
        (self.shard, self.address())
    }
}

/// A write, by the order of requests.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct WriteId(pub(crate) usize);

/// What became of a write, as its client was told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// Nobody has said yet.
    Open,
    /// It is acknowledged.
    Acked,
    /// It may have happened.
    Unknown,
    /// It did not happen, and will not.
    Refused,
}

/// One write that a client asked for.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) spot: usize,
    pub(crate) at: NodeId,
    /// The value, or nothing for a delete.
    pub(crate) value: Option<Value>,
    pub(crate) context: DotSet,
    /// The marks of the context.
    pub(crate) marks: Marks,
    pub(crate) token: Option<Token>,
    /// Whether its client said that it had sent it before, or the node that accepted it knew
    /// that another had been asked: its mark is remembered for longer.
    pub(crate) repeated: bool,
    /// Of a write with a token: the first attempt, or itself.
    pub(crate) family: Option<WriteId>,
    pub(crate) begun: u64,
    pub(crate) ended: u64,
    pub(crate) outcome: Outcome,
    pub(crate) dot: Option<Dot>,
    /// Who said to have it, and whether on disk.
    pub(crate) acks: Vec<model::Ack>,
}

/// An object that was found right. Any object that has heard of more needs to be checked
/// only where it differs.
#[derive(Clone, Default)]
struct Base {
    context: DotSet,
    values: Vec<Dot>,
}

/// Who looks at an object.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Viewer {
    /// A replica that stores it.
    Replica(NodeId),
    /// A guest that keeps it for others, and forgets it when they have it.
    Guest(NodeId),
    /// A client that was handed it.
    Client,
}

/// Where the oracle looks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Look {
    /// At each object stored, each answer, each disk after each loss, and in quiet.
    #[default]
    Everywhere,
    /// At answers only, as a client could.
    Answers,
    /// Only when everything is over: at the disks, and at what can be read.
    Quiet,
}

/// The true history, and the checks against it.
#[derive(Default)]
pub(crate) struct Oracle {
    pub(crate) look: Look,
    pub(crate) spots: Vec<Spot>,
    found: BTreeMap<(ShardId, Address), usize>,
    pub(crate) writes: Vec<Write>,
    /// The writes to each key, in the order of requests.
    pub(crate) by_spot: BTreeMap<usize, Vec<WriteId>>,
    /// The attempts of writes with tokens, by the first.
    pub(crate) families: BTreeMap<WriteId, Vec<WriteId>>,
    by_dot: BTreeMap<(ShardId, Dot), WriteId>,
    /// All dots of the writes to each key.
    named: BTreeMap<usize, DotSet>,
    /// Those that any replica has forgotten.
    forgotten: BTreeMap<usize, DotSet>,
    /// When which replica has forgotten which.
    forgotten_at: BTreeMap<(NodeId, usize), Vec<(u64, DotSet)>>,
    /// When which replica knew no more that it has forgotten which.
    unforgotten_at: BTreeMap<(NodeId, usize), Vec<(u64, DotSet)>>,
    /// The writes whose context has a dot.
    covered_by: BTreeMap<(ShardId, Dot), Vec<WriteId>>,
    bases: BTreeMap<(Viewer, usize), Base>,
    /// What was said to be superseded, by key, where the record of what had superseded it was
    /// lost. See [`Losses`].
    claims: BTreeMap<usize, DotSet>,
    pub(crate) losses: Losses,
    pub(crate) dead: Dead,
    pub(crate) places: Places,
}

impl Oracle {
    pub(crate) fn new(spots: Vec<Spot>, places: Places, look: Look) -> Self {
        let found = spots.iter().enumerate().map(|(index, spot)| (spot.place(), index)).collect();
        Self { look, spots, found, places, ..Self::default() }
    }

    /// How the replicas of a key are counted, where the region does not matter.
    pub(crate) fn poll_anywhere<'a>(&'a self, spot: &'a Spot) -> Poll<'a> {
        let at = spot.replicas.first().expect("every shard has a replica");
        self.poll(spot, *at)
    }

    /// How a node counts the replicas of a key.
    pub(crate) fn poll<'a>(&'a self, spot: &'a Spot, at: NodeId) -> Poll<'a> {
        self.places.poll(&spot.table, spot.shard.index, at)
    }

    /// A client asks for a write.
    pub(crate) fn begin(&mut self, mut write: Write) -> WriteId {
        let id = WriteId(self.writes.len());
        let same = write.family.or_else(|| self.same_write(&write));
        write.family = write.token.map(|_| same.unwrap_or(id));
        if let Some(first) = write.family {
            self.families.entry(first).or_default().push(id);
        }
        self.by_spot.entry(write.spot).or_default().push(id);
        self.writes.push(write);
        id
    }

    pub(crate) fn write(&self, id: WriteId) -> &Write {
        self.writes.get(id.0).expect("write ids come from begin")
    }

    pub(crate) fn write_mut(&mut self, id: WriteId) -> &mut Write {
        self.writes.get_mut(id.0).expect("write ids come from begin")
    }

    pub(crate) fn spot(&self, index: usize) -> &Spot {
        self.spots.get(index).expect("the workload asks for its own keys only")
    }

    pub(crate) fn spot_of(&self, place: &(ShardId, Address)) -> Result<usize, Broken> {
        let invented = || Broken::new(Invariant::NothingIsInvented, format!("stored at {place:?}"));
        self.found.get(place).copied().ok_or_else(invented)
    }

    /// A replica crashed, and may have forgotten what it had not synced.
    pub(crate) fn forget_bases(&mut self, node: NodeId) {
        self.bases.retain(|(viewer, _), _| *viewer != Viewer::Replica(node));
    }

    /// A replica lost the record of one key.
    pub(crate) fn forget_base(&mut self, node: NodeId, spot: usize) {
        self.bases.remove(&(Viewer::Replica(node), spot));
    }

    /// A node stored an object while it worked on `cause`, a client's write: learns the
    /// dot if it was minted now.
    pub(crate) fn learn(
        &mut self,
        id: WriteId,
        spot: usize,
        minter: Incarnation,
        object: &Object,
    ) -> Result<(), Broken> {
        let write = self.write(id);
        let shard = self.spot(spot).shard;
        let is_new =
            |dot: &Dot| dot.incarnation.is_of(minter) && !self.by_dot.contains_key(&(shard, *dot));
        let minted = match &write.value {
            Some(value) => {
                let mine = object.values().iter().filter(|(_, held)| *held == value);
                let new = mine.clone().map(|(dot, _)| *dot).find(is_new);
                // A dot that is not new was minted twice, which is for `mint` to say, or is that
                // of an earlier attempt.
                let is_tried = |dot: &Dot| {
                    self.family(id).iter().any(|twin| self.write(*twin).dot == Some(*dot))
                };
                new.or_else(|| mine.map(|(dot, _)| *dot).find(|dot| !is_tried(dot)))
            }
            None => dots(object.context()).find(is_new),
        };
        match minted {
            Some(dot) if write.dot != Some(dot) => {
                self.mint(id, dot)?;
                let is_repeated = object.marks().get(&dot).is_some_and(Mark::is_repeated);
                let named = self.by_dot.get(&(shard, dot)).copied().unwrap_or(id);
                self.write_mut(named).repeated |= is_repeated;
                Ok(())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether a dot of this key's shard names a write already.
    pub(crate) fn is_known(&self, spot: usize, dot: Dot) -> bool {
        self.by_dot.contains_key(&(self.spot(spot).shard, dot))
    }

    /// A write was accepted under this dot.
    pub(crate) fn mint(&mut self, id: WriteId, dot: Dot) -> Result<(), Broken> {
        let write = self.write(id);
        let spot = write.spot;
        let id = if write.dot.is_some() && write.token.is_some() { self.split(id) } else { id };
        let write = self.write(id);
        if let Some(first) = write.dot {
            let detail = format!("w{} was accepted as {first} and again as {dot}", id.0);
            return Err(Broken::of(Invariant::WritesHappenOnce, spot, detail));
        }
        if write.outcome == Outcome::Refused {
            let detail = format!("w{} was refused and then accepted as {dot}", id.0);
            return Err(Broken::of(Invariant::RefusedStaysAway, spot, detail));
        }
        self.check_dead(id)?;
        if let Some(other) = self.name(dot, id) {
            let detail = format!("{dot} was minted for w{} and for w{}", other.0, id.0);
            return Err(Broken::of(Invariant::DotsAreUnique, spot, detail));
        }
        Ok(())
    }

    /// A dot names a write, and the write supersedes what its client had read.
    pub(crate) fn name(&mut self, dot: Dot, id: WriteId) -> Option<WriteId> {
        let shard = self.spot(self.write(id).spot).shard;
        for read in dots(&self.write(id).context.clone()) {
            self.covered_by.entry((shard, read)).or_default().push(id);
        }
        let write = self.write_mut(id);
        write.dot = Some(dot);
        let spot = write.spot;
        let _ = self.named.entry(spot).or_default().insert(dot);
        self.by_dot.insert((shard, dot), id)
    }

    /// A replica has forgotten these, of whatever keys they are.
    pub(crate) fn note_forgotten(
        &mut self,
        (at, now): (NodeId, u64),
        shard: ShardId,
        dots: &DotSet,
    ) {
        for spot in 0..self.spots.len() {
            let of_key = match self.spot(spot).shard == shard {
                true => self.of_key(spot, dots),
                false => continue,
            };
            if !of_key.is_empty() {
                let _ = self.forgotten.entry(spot).or_default().union(&of_key);
                self.forgotten_at.entry((at, spot)).or_default().push((now, of_key));
            }
        }
    }

    /// A replica goes on with a disk on which less is forgotten: its own without what it had not
    /// synced, or an older one.
    pub(crate) fn note_unforgotten(
        &mut self,
        (at, now): (NodeId, u64),
        before: &BTreeMap<ShardId, DotSet>,
        after: &Contents,
    ) {
        for spot in 0..self.spots.len() {
            let shard = self.spot(spot).shard;
            let Some(had) = before.get(&shard) else { continue };
            let still = after.forgotten(shard).cloned().unwrap_or_default();
            let lost = self.of_key(spot, &had.difference(&still));
            if !lost.is_empty() {
                self.unforgotten_at.entry((at, spot)).or_default().push((now, lost));
            }
        }
    }

    /// What a replica had forgotten of a key at some moment, or has since, and knows no more that it
    /// has.
    pub(crate) fn unforgotten_since(&self, at: NodeId, spot: usize, moment: u64) -> DotSet {
        let mut since = DotSet::new();
        for (then, dots) in self.unforgotten_at.get(&(at, spot)).into_iter().flatten() {
            if moment <= *then {
                let _ = since.union(dots);
            }
        }
        since
    }

    /// What a replica had forgotten of a key before some moment, whether or not it still has.
    pub(crate) fn forgotten_before(&self, at: NodeId, spot: usize, moment: u64) -> DotSet {
        let mut before = DotSet::new();
        for (then, dots) in self.forgotten_at.get(&(at, spot)).into_iter().flatten() {
            if *then < moment {
                let _ = before.union(dots);
            }
        }
        before
    }

    /// When a replica had first forgotten a dot of a key.
    pub(crate) fn first_forgotten(&self, at: NodeId, spot: usize, dot: Dot) -> Option<u64> {
        let forgotten = self.forgotten_at.get(&(at, spot))?;
        forgotten.iter().find(|(_, dots)| dots.contains(dot)).map(|(then, _)| *then)
    }

    /// The writes that had read what a dot of this key's shard names.
    pub(crate) fn superseding(&self, spot: usize, dot: Dot) -> impl Iterator<Item = WriteId> + '_ {
        let of_dot = self.covered_by.get(&(self.spot(spot).shard, dot));
        let of_key = move |id: &WriteId| self.write(*id).spot == spot;
        of_dot.into_iter().flatten().copied().filter(of_key)
    }

    /// What any replica has forgotten of a key.
    pub(crate) fn forgotten_of(&self, spot: usize) -> Option<&DotSet> {
        self.forgotten.get(&spot)
    }

    /// All dots of the writes to a key.
    pub(crate) fn named_at(&self, spot: usize) -> Option<&DotSet> {
        self.named.get(&spot)
    }

    /// Checks an object that is stored under a key, or was handed to a client. Returns what it
    /// has heard of since this viewer was last shown an object under this key.
    pub(crate) fn check(
        &mut self,
        viewer: Viewer,
        spot: usize,
        object: &Object,
    ) -> Result<DotSet, Broken> {
        let base = self.bases.remove(&(viewer, spot)).unwrap_or_default();
        let grown = object.context().is_superset(&base.context);
        if !grown && matches!(viewer, Viewer::Replica(_)) {
            let lost = base.context.difference(object.context());
            let detail = format!("{viewer:?} has forgotten {lost:?}");
            return Err(Broken::of(Invariant::ReplicasOnlyGrow, spot, detail));
        }
        let base = if grown { base } else { Base::default() };
        self.check_values(viewer, spot, object)?;
        let fresh = self.check_dropped(viewer, spot, object, &base)?;
        let values = object.values().keys().copied().collect();
        self.bases.insert((viewer, spot), Base { context: object.context().clone(), values });
        Ok(fresh)
    }

    /// A repair has changed what a replica holds. A value that it had heard of since its record was
    /// lost does not come back by that.
    pub(crate) fn note_repaired(&mut self, node: NodeId, spot: usize, object: &Object) {
        let values: DotSet = object.values().keys().copied().collect();
        let base = self.bases.get(&(Viewer::Replica(node), spot));
        let values = base.map_or(values.clone(), |base| values.difference(&base.context));
        self.losses.brought_back(node, spot, &values);
    }

    /// What the table of a write and the nodes allow together.
    pub(crate) fn limits_of(&self, id: WriteId, limits: &Limits) -> Limits {
        let rules = self.spot(self.write(id).spot).table.siblings;
        let max = rules.max.map_or(limits.siblings_max, usize::from);
        Limits { siblings_max: max.min(limits.siblings_max), ..*limits }
    }

    /// Whether a write may be refused for having read nothing: its table wants it to, and others have
    /// written there.
    pub(crate) fn may_be_blind(&self, id: WriteId) -> bool {
        let write = self.write(id);
        let spot = self.spot(write.spot);
        spot.table.siblings.require_context
            && write.context.is_empty()
            && self.writes_of(write.spot).any(|(other, write)| other != id && write.value.is_some())
    }

    /// A write that was just accepted has not added to the siblings of a key that has as many
    /// as it may, and has read something if its table wants that.
    pub(crate) fn check_siblings(
        &self,
        at: NodeId,
        id: WriteId,
        object: &Object,
        limits: &Limits,
    ) -> Result<(), Broken> {
        let spot = self.write(id).spot;
        let Some(before) = self.bases.get(&(Viewer::Replica(at), spot)) else { return Ok(()) };
        let max = self.limits_of(id, limits).siblings_max;
        let (had, has) = (before.values.len(), object.width());
        if 0 < had && had < has && self.may_be_blind(id) {
            let detail =
                format!("{at} has accepted a write beside {had} values of which it had read none");
            return Err(Broken::of(Invariant::LimitsHold, spot, detail));
        }
        if 0 < had && had < has && max < has {
            let detail = format!("{at} has accepted sibling number {has}, of at most {max}");
            return Err(Broken::of(Invariant::LimitsHold, spot, detail));
        }
        Ok(())
    }

    /// Whether a value that every replica knew to be superseded, and has forgotten, may be back because a
    /// disk is what it was once. What is written there then had not read it.
    fn may_be_old(&self, viewer: Viewer, spot: usize, dot: Dot) -> bool {
        let is_forgotten = self.is_forgotten(spot, dot);
        let is_old = |node: &NodeId| self.losses.may_be_old(*node, spot);
        is_forgotten
            && match viewer {
                Viewer::Replica(node) => is_old(&node),
                // He may have been answered by guests alone.
                Viewer::Client => self.places.sloppy || self.spot(spot).replicas.iter().any(is_old),
                // It holds what it was given, and was not told by what that was superseded.
                Viewer::Guest(_) => true,
            }
    }

    /// Each value was written, here, by the write that its dot names, and nothing that
    /// this object has heard of supersedes it.
    fn check_values(&self, viewer: Viewer, spot: usize, object: &Object) -> Result<(), Broken> {
        for (dot, value) in object.values() {
            let id = self.expect_named(viewer, spot, *dot)?;
            if self.write(id).value.as_ref() != Some(value) {
                let detail = format!("{viewer:?} has a foreign value under {dot} of w{}", id.0);
                return Err(Broken::of(Invariant::NothingIsInvented, spot, detail));
            }
            let cover = self.cover(spot, *dot, object.context());
            if let Some(cover) = cover.filter(|_| !self.may_be_old(viewer, spot, *dot)) {
                let detail = format!(
                    "{viewer:?} holds {dot} (w{}) beside w{}, which had read it",
                    id.0, cover.0
                );
                return Err(Broken::of(Invariant::NoFalseSibling, spot, detail));
            }
            self.check_twins(viewer, spot, (id, *dot), object)?;
            let Viewer::Replica(node) = viewer else { continue };
            if self.losses.was_superseded(node, spot, *dot) {
                let detail = format!("{dot} (w{}) is back at {node}, which had dropped it", id.0);
                return Err(Broken::of(Invariant::SupersededStaysAway, spot, detail));
            }
        }
        Ok(())
    }

    /// Each write that this object has heard of and does not hold is a delete, or
    /// superseded by one that it has heard of, or was said to be by a replica that lost the
    /// record of what had superseded it. Returns what it has heard of since the last look.
    fn check_dropped(
        &mut self,
        viewer: Viewer,
        spot: usize,
        object: &Object,
        base: &Base,
    ) -> Result<DotSet, Broken> {
        let fresh = object.context().difference(&base.context);
        for dot in dots(&fresh).chain(base.values.iter().copied()) {
            let id = self.expect_named(viewer, spot, dot)?;
            let is_delete = self.write(id).value.is_none();
            if is_delete || object.values().contains_key(&dot) {
                continue;
            }
            let is_covered = self.cover(spot, dot, object.context()).is_some();
            if is_covered || self.is_forgotten(spot, dot) || self.is_claimed(spot, dot) {
                continue;
            }
            let may_claim = self.may_claim(viewer, spot, dot);
            if !may_claim && self.is_gone_with_twin(viewer, spot, (id, dot), object) {
                continue;
            }
            if !may_claim {
                let detail = format!(
                    "{viewer:?} has dropped {dot} (w{}), which nothing in {:?} had read",
                    id.0,
                    object.context()
                );
                return Err(Broken::of(Invariant::NoFalseDominance, spot, detail));
            }
            let _ = self.claims.entry(spot).or_default().insert(dot);
        }
        Ok(fresh)
    }

    /// Whether a viewer may say that a write is superseded without being able to say by what:
    /// a replica that has lost the record of a value that had superseded it, and leaves the
    /// dot of that value out of what arrives. The dot of a delete is never left out.
    pub(crate) fn may_claim(&self, viewer: Viewer, spot: usize, dot: Dot) -> bool {
        let Viewer::Replica(node) = viewer else { return false };
        let lost = self.losses.of_node(node, spot);
        lost.is_some_and(|lost| self.is_read_by_value_in(spot, dot, lost))
    }

    /// Whether a replica has said that a write is superseded, and may not have been able to say
    /// by what. Who does not look at replicas has to guess it from what was lost.
    pub(crate) fn is_claimed(&self, spot: usize, dot: Dot) -> bool {
        if self.look == Look::Everywhere {
            return self.claims.get(&spot).is_some_and(|claims| claims.contains(dot));
        }
        let lost = self.losses.of_spot(spot);
        lost.is_some_and(|lost| self.is_read_by_value_in(spot, dot, lost))
    }

    fn is_read_by_value_in(&self, spot: usize, dot: Dot, lost: &DotSet) -> bool {
        let covers = self.covered_by.get(&(self.spot(spot).shard, dot));
        covers
            .into_iter()
            .flatten()
            .map(|id| self.write(*id))
            .any(|cover| cover.value.is_some() && cover.dot.is_some_and(|dot| lost.contains(dot)))
    }

    /// The write that a dot names, if it was one to this key.
    fn expect_named(&self, viewer: Viewer, spot: usize, dot: Dot) -> Result<WriteId, Broken> {
        self.named(spot, dot).ok_or_else(|| {
            let detail = format!("{viewer:?} has {dot}, which is no write to this key");
            Broken::of(Invariant::NothingIsInvented, spot, detail)
        })
    }

    /// The write to this key that a dot names.
    pub(crate) fn named(&self, spot: usize, dot: Dot) -> Option<WriteId> {
        let id = self.by_dot.get(&(self.spot(spot).shard, dot)).copied();
        id.filter(|id| self.write(*id).spot == spot)
    }

    /// A write in `context` that had read `dot`.
    pub(crate) fn cover(&self, spot: usize, dot: Dot, context: &DotSet) -> Option<WriteId> {
        let covers = self.covered_by.get(&(self.spot(spot).shard, dot))?;
        let heard = |id: &&WriteId| self.write(**id).dot.is_some_and(|dot| context.contains(dot));
        covers.iter().find(heard).copied()
    }

    /// Whether a dot was forgotten by some replica, or a write that had read it. That it was superseded was
    /// looked at then.
    pub(crate) fn is_forgotten(&self, spot: usize, dot: Dot) -> bool {
        let all = self.forgotten_of(spot);
        all.is_some_and(|all| all.contains(dot) || self.cover(spot, dot, all).is_some())
    }

    /// Whether some write had read a dot, or a twin of it, or may be gone without a trace.
    pub(crate) fn is_ever_superseded(&self, spot: usize, dot: Dot) -> bool {
        let shard = self.spot(spot).shard;
        let family = self.named(spot, dot).map(|id| self.family(id)).unwrap_or_default();
        let twins = family.iter().filter_map(|twin| self.write(*twin).dot);
        twins
            .chain([dot])
            .any(|dot| self.is_claimed(spot, dot) || self.covered_by.contains_key(&(shard, dot)))
    }

    /// Whether a key may hold no value although a write to it, `dot`, was heard of: of those
    /// that have superseded it, one after the other, one is a delete, or may be gone without a
    /// trace.
    pub(crate) fn may_be_gone(&self, spot: usize, dot: Dot) -> bool {
        let shard = self.spot(spot).shard;
        let (mut next, mut seen) = (vec![dot], BTreeSet::new());
        while let Some(dot) = next.pop() {
            if self.is_claimed(spot, dot) || self.may_be_old(Viewer::Client, spot, dot) {
                return true;
            }
            for cover in self.covered_by.get(&(shard, dot)).into_iter().flatten() {
                let write = self.write(*cover);
                if write.value.is_none() {
                    return true;
                }
                next.extend(write.dot.filter(|dot| seen.insert(*dot)));
            }
            // What has superseded its twin has superseded it.
            let twins = self.named(spot, dot).map(|id| self.family(id)).unwrap_or_default();
            let twins = twins.iter().filter_map(|twin| self.write(*twin).dot);
            next.extend(twins.filter(|dot| seen.insert(*dot)));
        }
        false
    }
}

/// The dots of a set, one by one.
pub(crate) fn dots(set: &DotSet) -> impl Iterator<Item = Dot> + '_ {
    set.runs().iter().flat_map(|run| {
        let incarnation = run.incarnation;
        (run.first..=run.last).map(move |seq| Dot::new(incarnation, seq))
    })
}
