//! What disks have lost, and what may therefore be missing.
//!
//! A promise about a write stands as long as somebody who made it can keep it. Three faults
//! take that away, and the oracle has to know exactly how much, or it would either cry
//! wolf or look away:
//!
//! - *power* is lost, and with it what was not synced, whether the process that wrote it is up
//!   or was killed before: object and clock together;
//! - a *record* vanishes from one disk, or turns into what it was earlier, without a word.
//!   The clock there still says that its writes were applied, so only a repair brings
//!   them back to this replica;
//! - a *disk* is replaced, by nothing or by an old copy: objects and clock together.
//!
//! What guests keep for others is lost in the same three ways. No clock speaks of it, so what is
//! lost there is the copy and nothing else, and it excuses that guest alone.
//!
//! ```text
//! n1 loses the record {a2: milk} {a1 a2}
//! allowed      n1 answers without a2
//! allowed      n1 says that a1 is superseded, and cannot say by what any more
//! allowed      a repair brings a1 back to n1 from a replica that has not heard of a2
//! forbidden    a1 is held at n1 again by any other road: its clock stays in force there
//! forbidden    anybody else drops a2: nobody has read it and written again
//! ```
//!
//! The second line needs a word. What has been read by a write stays in the contexts that
//! arrive at `n1`, but the dot of a value that `n1` has lost is left out of them, as it has no
//! evidence of its own. So a claim may travel without the write that it rests on. It can begin
//! at a replica that lost the record of that very value, and nowhere else: whoever makes such
//! a claim first must be one, and only what was claimed so may be missing elsewhere. A delete
//! is never left out, and excuses nothing.

use std::collections::{BTreeMap, BTreeSet};

use causality::{Dot, DotSet};
use model::{Ack, NodeId, Object};
use node::HintPlace;

use crate::disk::Contents;
use crate::oracle::{Oracle, Write};

/// What was lost, where.
///
/// A loss excuses nobody for longer than it lasts: what a disk has again, it must keep.
#[derive(Default)]
pub(crate) struct Losses {
    /// What nodes had handed to the operating system, not synced, and lost with their power.
    unsynced: Dots,
    /// What nodes had on disk and lost, with a record or with the disk.
    lacks: Dots,
    /// The part of it that went with a disk, so that the clock does not know it either.
    unheard: Dots,
    /// The records that vanished or turned old, for as long as their disk is there.
    records: BTreeMap<NodeId, Records>,
    /// All dots of the records that vanished anywhere, by key.
    by_spot: BTreeMap<usize, DotSet>,
    /// What guests had on disk for a replica and lost, by guest, replica and key.
    hints: BTreeMap<(NodeId, NodeId, usize), DotSet>,
    /// Nodes that have had another disk, which may be an old copy of the one before.
    replaced: BTreeSet<NodeId>,
    /// Nodes whose disk was given up once: the others forget without it.
    given_up: BTreeSet<NodeId>,
    /// What came back, and when.
    regained: BTreeMap<(NodeId, usize), Vec<(u64, DotSet)>>,
}

/// Dots by node and key.
type Dots = BTreeMap<(NodeId, usize), DotSet>;

/// The records that vanished from one disk, by key.
pub(crate) type Records = BTreeMap<usize, Lost>;

/// What one node lost under one key, in one record or in several.
#[derive(Clone, Default)]
pub(crate) struct Lost {
    context: DotSet,
    /// The part of the context that was superseded there.
    superseded: DotSet,
    /// Values that are there again, although they were superseded, in an older record.
    back: DotSet,
}

impl Losses {
    /// What was handed to the operating system is gone with the power.
    pub(crate) fn unsynced_lost(&mut self, node: NodeId, spot: usize, dots: &DotSet) {
        add(&mut self.unsynced, (node, spot), dots);
    }

    /// A record is gone, or is what it was `older`.
    pub(crate) fn record_lost(
        &mut self,
        node: NodeId,
        spot: usize,
        object: &Object,
        older: Option<&Object>,
        now: u64,
    ) {
        let bottom = Object::default();
        let older = older.unwrap_or(&bottom);
        self.regain(node, spot, older.context(), now);
        let gone = object.context().difference(older.context());
        add(&mut self.lacks, (node, spot), &gone);
        let _ = self.by_spot.entry(spot).or_default().union(&gone);
        let lost = self.records.entry(node).or_default().entry(spot).or_default();
        let held: DotSet = object.values().keys().copied().collect();
        let back: DotSet = older.values().keys().copied().collect();
        let _ = lost.context.union(&gone);
        // What was lost before may be back, too: an older record may be any older one.
        lost.context = lost.context.difference(older.context());
        let _ = lost.superseded.union(&object.context().difference(&held));
        lost.superseded = lost.superseded.difference(&back);
        let _ = lost.back.union(&back.difference(&held));
    }

    /// A disk has these dots under a key. Those that it lacked are there again, and it must
    /// keep them. A read that began before may have met the node without them.
    pub(crate) fn regain(&mut self, node: NodeId, spot: usize, has: &DotSet, now: u64) {
        let place = (node, spot);
        let mut back = DotSet::new();
        for lacked in [&mut self.unsynced, &mut self.lacks, &mut self.unheard] {
            let _ = back.union(&take(lacked, place, has));
        }
        if !back.is_empty() {
            self.regained.entry(place).or_default().push((now, back));
        }
    }

    pub(crate) fn lacked_since(&self, node: NodeId, spot: usize, dot: Dot, begun: u64) -> bool {
        let regained = self.regained.get(&(node, spot)).map(Vec::as_slice).unwrap_or_default();
        regained.iter().any(|(at, dots)| begun <= *at && dots.contains(dot))
    }

    /// A disk was replaced. The one before had some dots under this key; this one has these,
    /// and its clock knows of those.
    fn replaced(&mut self, node: NodeId, spot: usize, had: &DotSet, now_has: &Has, now: u64) {
        let place = (node, spot);
        self.regain(node, spot, &now_has.object, now);
        add(&mut self.lacks, place, &had.difference(&now_has.object));
        if let Some(lacks) = self.lacks.get(&place).cloned() {
            self.unheard.insert(place, lacks.difference(&now_has.clock));
        }
    }

    /// The records that one disk has lost, to go with a copy of it.
    pub(crate) fn records_of(&self, node: NodeId) -> Records {
        self.records.get(&node).cloned().unwrap_or_default()
    }

    /// Another disk comes, which had lost these. What the one before had lost is no matter any
    /// more.
    pub(crate) fn put_records(&mut self, node: NodeId, records: Records) {
        self.records.insert(node, records);
    }

    /// Whether any record was lost.
    pub(crate) fn has_any(&self) -> bool {
        !self.by_spot.is_empty()
    }

    /// Whether any node has had another disk.
    pub(crate) fn has_replaced(&self) -> bool {
        !self.replaced.is_empty()
    }

    /// All dots that a record lost anywhere under this key had heard of.
    pub(crate) fn of_spot(&self, spot: usize) -> Option<&DotSet> {
        self.by_spot.get(&spot)
    }

    /// What the lost records of one node under this key had heard of.
    pub(crate) fn of_node(&self, node: NodeId, spot: usize) -> Option<&DotSet> {
        self.lost(node, spot).map(|lost| &lost.context)
    }

    fn lost(&self, node: NodeId, spot: usize) -> Option<&Lost> {
        self.records.get(&node)?.get(&spot)
    }

    /// Whether what a node holds under a key may be what it was once.
    pub(crate) fn may_be_old(&self, node: NodeId, spot: usize) -> bool {
        self.replaced.contains(&node)
            || self.given_up.contains(&node)
            || self.lost(node, spot).is_some()
    }

    /// The disk of a node is given up, and the node may come back with it.
    pub(crate) fn give_up(&mut self, node: NodeId) {
        self.given_up.insert(node);
    }

    /// Whether the disk of a node was given up once, so that guests kept nothing for it then.
    pub(crate) fn was_given_up(&self, node: NodeId) -> bool {
        self.given_up.contains(&node)
    }

    /// What one node lost, by key.
    pub(crate) fn all_of(&self, node: NodeId) -> impl Iterator<Item = (usize, &DotSet)> {
        let records = self.records.get(&node).into_iter().flatten();
        records.map(|(spot, lost)| (*spot, &lost.context))
    }

    /// Returns whether a node had a dot on its disk and lost it, record or disk, and has it not
    /// got back.
    pub(crate) fn has_lost(&self, node: NodeId, spot: usize, dot: Dot) -> bool {
        has(&self.lacks, (node, spot), dot)
    }

    /// Whether a node had not synced a dot and lost it with its power, and has it not got back.
    pub(crate) fn has_lost_unsynced(&self, node: NodeId, spot: usize, dot: Dot) -> bool {
        has(&self.unsynced, (node, spot), dot)
    }

    /// What a guest had kept for a replica is gone.
    pub(crate) fn hint_lost(
        &mut self,
        (guest, target): (NodeId, NodeId),
        spot: usize,
        dots: &DotSet,
    ) {
        let _ = self.hints.entry((guest, target, spot)).or_default().union(dots);
    }

    /// A guest has these on disk for a replica, and must keep them.
    pub(crate) fn hint_regained(
        &mut self,
        (guest, target): (NodeId, NodeId),
        spot: usize,
        has: &DotSet,
    ) {
        if let Some(lost) = self.hints.get_mut(&(guest, target, spot)) {
            *lost = lost.difference(has);
        }
    }

    /// Returns whether a guest had a dot on its disk for a replica and lost it.
    pub(crate) fn has_lost_hint(
        &self,
        (guest, target): (NodeId, NodeId),
        spot: usize,
        dot: Dot,
    ) -> bool {
        self.hints.get(&(guest, target, spot)).is_some_and(|lost| lost.contains(dot))
    }

    /// A repair has put these values where records were lost. What superseded them was lost, too,
    /// if anything did.
    pub(crate) fn brought_back(&mut self, node: NodeId, spot: usize, values: &DotSet) {
        let lost = self.records.get_mut(&node).and_then(|records| records.get_mut(&spot));
        let Some(lost) = lost else { return };
        let left = lost.superseded.difference(values);
        let _ = lost.back.union(&lost.superseded.difference(&left));
        lost.superseded = left;
    }

    /// Returns whether a dot was superseded at a node by what the node lost later.
    pub(crate) fn was_superseded(&self, node: NodeId, spot: usize, dot: Dot) -> bool {
        self.lost(node, spot).is_some_and(|lost| lost.superseded.contains(dot))
    }

    /// Those who acknowledged a write and have had it ever since a read began, whatever they
    /// lost.
    pub(crate) fn keepers<'a>(
        &'a self,
        write: &'a Write,
        begun: u64,
    ) -> impl Iterator<Item = NodeId> + 'a {
        let lacks = move |ack: &Ack, dot| {
            self.has_lost(ack.node, write.spot, dot) || self.is_excused(ack, write, dot, begun)
        };
        // A guest hands over what it has acknowledged, and need not have it any more.
        let keeps =
            move |ack: &&Ack| ack.is_primary() && !write.dot.is_some_and(|dot| lacks(ack, dot));
        write.acks.iter().filter(keeps).map(|ack| ack.node)
    }

    /// Those who acknowledged a write and must still know that they applied it, and that this
    /// value was superseded by it: their clocks say so, although the record may have vanished.
    pub(crate) fn witnesses<'a>(
        &'a self,
        write: &'a Write,
        value: Dot,
        begun: u64,
    ) -> impl Iterator<Item = NodeId> + 'a {
        let is_back =
            move |node| self.lost(node, write.spot).is_some_and(|lost| lost.back.contains(value));
        let forgets = move |ack: &Ack, dot| {
            let place = (ack.node, write.spot);
            has(&self.unheard, place, dot) || self.is_excused(ack, write, dot, begun)
        };
        let knows = move |ack: &&Ack| {
            let has_forgotten = || write.dot.is_some_and(|dot| forgets(ack, dot));
            ack.is_primary() && !is_back(ack.node) && !has_forgotten()
        };
        write.acks.iter().filter(knows).map(|ack| ack.node)
    }

    /// Whether a node did not have what it acknowledged from memory, or did not have it all the
    /// time since.
    fn is_excused(&self, ack: &Ack, write: &Write, dot: Dot, begun: u64) -> bool {
        let place = (ack.node, write.spot);
        let with_power = !ack.durable && has(&self.unsynced, place, dot);
        with_power || self.lacked_since(ack.node, write.spot, dot, begun)
    }
}

/// What a disk has under one key.
struct Has {
    object: DotSet,
    clock: DotSet,
}

fn has(dots: &Dots, place: (NodeId, usize), dot: Dot) -> bool {
    dots.get(&place).is_some_and(|dots| dots.contains(dot))
}

fn add(dots: &mut Dots, place: (NodeId, usize), more: &DotSet) {
    if !more.is_empty() {
        let _ = dots.entry(place).or_default().union(more);
    }
}

/// Takes out what these have, and returns it.
fn take(dots: &mut Dots, place: (NodeId, usize), has: &DotSet) -> DotSet {
    let Some(lacked) = dots.get_mut(&place) else { return DotSet::new() };
    let left = lacked.difference(has);
    let taken = lacked.difference(&left);
    *lacked = left;
    if lacked.is_empty() {
        dots.remove(&place);
    }
    taken
}

impl Oracle {
    /// A node has another disk.
    pub(crate) fn note_replaced(
        &mut self,
        node: NodeId,
        before: &Contents,
        after: &Contents,
        now: u64,
    ) {
        self.forget_bases(node);
        self.note_unforgotten((node, now), &before.all_forgotten(), after);
        self.losses.replaced.insert(node);
        let clocks = after.clocks();
        for index in 0..self.spots.len() {
            let place = self.spot(index).place();
            let known = [before, after].map(|on| self.known(index, on).context().clone());
            let clock = clocks.get(&place.0).cloned().unwrap_or_default();
            let [had, now_has] = known;
            let has = Has { object: now_has, clock };
            self.losses.replaced(node, index, &had, &has, now);
            for target in self.spot(index).replicas.clone() {
                let hint = HintPlace { target, address: place.1.clone() };
                let context_of = |on: &Contents| {
                    on.hints
                        .get(&hint)
                        .map(|hint| hint.object.context().clone())
                        .unwrap_or_default()
                };
                let (had, has) = (context_of(before), context_of(after));
                self.losses.hint_lost((node, target), index, &had.difference(&has));
                self.losses.hint_regained((node, target), index, &has);
            }
        }
    }
}

#[cfg(test)]
mod tests;
