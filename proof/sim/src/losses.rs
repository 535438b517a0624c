//! What disks have lost, and what may therefore be missing.
//!
//! A promise about a write stands as long as somebody who made it can keep it. Three faults
//! take that away, and the oracle has to know exactly how much, or it would either cry
//! wolf or look away:
//!
//! - *power* is lost, and with it what was not synced, whether the process that wrote it is up
//!   or was killed before: object and clock together;
//! - a *record* vanishes from one disk, or turns into what it was earlier, without a word.
//!   The clock there still says that its writes were applied, so no ordinary road brings
//!   them back to this replica;
//! - a *disk* is replaced, by nothing or by an old copy: objects and clock together.
//!
//! ```text
//! n1 loses the record {a2: milk} {a1 a2}
//! allowed      n1 answers without a2
//! allowed      n1 says that a1 is superseded, and cannot say by what any more
//! forbidden    a1 is held at n1 again: what superseded it there stays in force
//! forbidden    anybody else drops a2: nobody has read it and written again
//! ```
//!
//! The second line needs a word. What has been read by a write stays in the contexts that
//! arrive at `n1`, but the dot of a value that `n1` has lost is left out of them, as it has no
//! evidence of its own. So a claim may travel without the write that it rests on. It can begin
//! at a replica that lost the record of that very value, and nowhere else: whoever makes such
//! a claim first must be one, and only what was claimed so may be missing elsewhere. A delete
//! is never left out, and excuses nothing.

use std::collections::BTreeMap;

use causality::{Dot, DotSet};
use model::{Ack, NodeId, Object};

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
        let bottom = Object::default();
        let clocks = after.clocks();
        for index in 0..self.spots.len() {
            let place = self.spot(index).place();
            let context_in =
                |on: &Contents| on.objects.get(&place).unwrap_or(&bottom).context().clone();
            let clock = clocks.get(&place.0).cloned().unwrap_or_default();
            let has = Has { object: context_in(after), clock };
            self.losses.replaced(node, index, &context_in(before), &has, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use causality::Incarnation;
    use model::Value;

    use super::*;
    use crate::oracle::Outcome;

    const N1: NodeId = NodeId::new(1);
    const N2: NodeId = NodeId::new(2);

    fn dot(seq: u64) -> Dot {
        Dot::new(Incarnation::new(0xa), seq)
    }

    /// A write that both nodes acknowledged, the first of them from its disk.
    fn acknowledged() -> Write {
        let ack = Ack::of_replica;
        Write {
            spot: 0,
            at: N1,
            value: None,
            context: DotSet::new(),
            marks: Default::default(),
            token: None,
            family: None,
            begun: 10,
            ended: 20,
            outcome: Outcome::Acked,
            dot: Some(dot(2)),
            acks: vec![ack(N1, true), ack(N2, false)],
        }
    }

    fn keepers(losses: &Losses, begun: u64) -> Vec<NodeId> {
        losses.keepers(&acknowledged(), begun).collect()
    }

    fn has(object: &DotSet) -> Has {
        Has { object: object.clone(), clock: object.clone() }
    }

    #[test]
    fn power_takes_what_was_not_synced_and_leaves_the_rest() {
        let mut losses = Losses::default();
        losses.unsynced_lost(N2, 0, &[dot(1)].into_iter().collect());
        assert_eq!(keepers(&losses, 40), [N1, N2], "that was another write");
        let both = [dot(1), dot(2)].into_iter().collect();
        losses.unsynced_lost(N1, 0, &both);
        losses.unsynced_lost(N2, 0, &both);
        assert_eq!(keepers(&losses, 40), [N1], "what was durable must not be lost with it");
    }

    #[test]
    fn what_a_disk_has_again_is_lost_no_more() {
        let mut losses = Losses::default();
        let both = [dot(1), dot(2)].into_iter().collect();
        losses.unsynced_lost(N2, 0, &both);
        losses.regain(N2, 0, &both, 50);
        assert_eq!(keepers(&losses, 49), [N1], "the read may have come before");
        assert_eq!(keepers(&losses, 51), [N1, N2]);
    }

    #[test]
    fn what_came_back_was_not_there_for_those_who_had_asked_before() {
        let mut losses = Losses::default();
        let (both, none) = ([dot(1), dot(2)].into_iter().collect(), DotSet::new());
        losses.replaced(N1, 0, &both, &has(&none), 30);
        assert!(losses.has_lost(N1, 0, dot(2)));
        losses.replaced(N1, 0, &none, &has(&both), 50);
        assert!(!losses.has_lost(N1, 0, dot(2)));
        assert_eq!(keepers(&losses, 49), [N2]);
        assert_eq!(keepers(&losses, 51), [N1, N2]);
    }

    #[test]
    fn what_a_later_write_brought_to_a_new_disk_was_not_there_before_it_either() {
        let mut losses = Losses::default();
        let (both, none) = ([dot(1), dot(2)].into_iter().collect(), DotSet::new());
        losses.replaced(N1, 0, &both, &has(&none), 30);
        losses.replaced(N1, 0, &both, &has(&both), 50);
        assert_eq!(keepers(&losses, 49), [N2]);
        assert_eq!(keepers(&losses, 51), [N1, N2]);
    }

    #[test]
    fn a_lost_record_takes_one_copy_and_leaves_the_knowledge_of_it() {
        let (mut losses, write) = (Losses::default(), acknowledged());
        let value = Value { content_type: "".into(), body: "milk".into() };
        let object = Object::written(dot(2), [dot(1)].into_iter().collect(), value);
        losses.record_lost(N1, 0, &object, None, 30);
        assert_eq!(keepers(&losses, 40), [N2]);
        assert_eq!(losses.witnesses(&write, dot(1), 40).collect::<Vec<_>>(), [N1, N2]);
        assert!(losses.was_superseded(N1, 0, dot(1)));
        assert!(!losses.was_superseded(N1, 0, dot(2)), "it was held");
        assert!(!losses.has_lost(N1, 1, dot(2)), "under another key nothing is lost");
    }

    #[test]
    fn a_record_that_turned_old_excuses_the_values_that_it_brings_back_and_no_others() {
        let (mut losses, write) = (Losses::default(), acknowledged());
        let value = || Value { content_type: "".into(), body: "milk".into() };
        let older = Object::written(dot(1), DotSet::new(), value());
        let object = Object::written(dot(2), [dot(1)].into_iter().collect(), value());
        losses.record_lost(N1, 0, &object, Some(&older), 30);
        let witnesses = |value| losses.witnesses(&write, value, 40).collect::<Vec<_>>();
        assert_eq!(witnesses(dot(1)), [N2]);
        assert_eq!(witnesses(dot(9)), [N1, N2]);
    }
}
