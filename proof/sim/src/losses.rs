//! What disks have lost, and what may therefore be missing.
//!
//! A promise about a write stands as long as somebody who made it can keep it. Three faults
//! take that away, and the oracle has to know exactly how much, or it would either cry
//! wolf or look away:
//!
//! - *power* is lost, and with it what was not synced: object and clock together;
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

use std::collections::{BTreeMap, BTreeSet};

use causality::{Dot, DotSet};
use model::{Ack, NodeId, Object};

use crate::disk::Contents;
use crate::oracle::{Oracle, Write};

/// What was lost, where.
#[derive(Default)]
pub(crate) struct Losses {
    /// When each machine last lost what was not synced, in microseconds of simulated time.
    power: BTreeMap<NodeId, u64>,
    /// The records that vanished or turned old.
    records: BTreeMap<NodeId, Records>,
    /// All dots of the records that vanished anywhere, by key.
    by_spot: BTreeMap<usize, DotSet>,
    /// What nodes had when their disk was replaced, and had no more afterwards: their clocks
    /// do not know it either.
    replaced: BTreeMap<(NodeId, usize), DotSet>,
    /// What came back, and when: with an older disk, or in an older record.
    regained: BTreeMap<(NodeId, usize), Vec<(u64, DotSet)>>,
    /// Where a record turned into an earlier one.
    rolled_back: BTreeSet<(NodeId, usize)>,
}

/// The records that vanished from one disk, by key.
pub(crate) type Records = BTreeMap<usize, Lost>;

/// What one node lost under one key, in one record or in several.
#[derive(Clone, Default)]
pub(crate) struct Lost {
    context: DotSet,
    /// The part of the context that was superseded there.
    superseded: DotSet,
}

impl Losses {
    pub(crate) fn power_lost(&mut self, node: NodeId, now: u64) {
        self.power.insert(node, now);
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
        if let Some(older) = older {
            let lacked = self.of_node(node, spot).cloned().unwrap_or_default();
            self.regain(node, spot, &lacked.difference(object.context()), older.context(), now);
        }
        let lost = self.records.entry(node).or_default().entry(spot).or_default();
        let held: DotSet = object.values().keys().copied().collect();
        let gone = match older {
            Some(older) => object.context().difference(older.context()),
            None => object.context().clone(),
        };
        let _ = lost.context.union(&gone);
        let _ = lost.superseded.union(&object.context().difference(&held));
        let _ = self.by_spot.entry(spot).or_default().union(&gone);
        if let Some(older) = older {
            // What was lost before may be back, too: an older record may be any older one.
            lost.context = lost.context.difference(older.context());
            let back: DotSet = older.values().keys().copied().collect();
            lost.superseded = lost.superseded.difference(&back);
            self.rolled_back.insert((node, spot));
        }
    }

    /// What a node lacked of these dots is there again. A read that began before may have met
    /// the node without them.
    fn regain(&mut self, node: NodeId, spot: usize, lacked: &DotSet, has: &DotSet, now: u64) {
        let back = lacked.difference(&lacked.difference(has));
        if !back.is_empty() {
            self.regained.entry((node, spot)).or_default().push((now, back));
        }
    }

    fn lacked_since(&self, node: NodeId, spot: usize, dot: Dot, begun: u64) -> bool {
        let regained = self.regained.get(&(node, spot)).map(Vec::as_slice).unwrap_or_default();
        regained.iter().any(|(at, dots)| begun <= *at && dots.contains(dot))
    }

    /// A disk was replaced. The one before had some dots under this key, and had lost others;
    /// this one has these.
    fn replaced(
        &mut self,
        node: NodeId,
        spot: usize,
        had: &DotSet,
        lost: &DotSet,
        has: &DotSet,
        now: u64,
    ) {
        let mut lacked = self.replaced.remove(&(node, spot)).unwrap_or_default();
        let _ = lacked.union(lost);
        self.regain(node, spot, &lacked.difference(had), has, now);
        let _ = lacked.union(had);
        if !lacked.is_empty() {
            self.replaced.insert((node, spot), lacked.difference(has));
        }
    }

    /// The records that one disk has lost, to go with a copy of it.
    pub(crate) fn records_of(&self, node: NodeId) -> Records {
        self.records.get(&node).cloned().unwrap_or_default()
    }

    /// A disk goes, and what it had lost is no matter any more.
    pub(crate) fn take_records(&mut self, node: NodeId) -> Records {
        self.records.remove(&node).unwrap_or_default()
    }

    /// A disk comes, which had lost these.
    pub(crate) fn put_records(&mut self, node: NodeId, records: Records) {
        self.records.insert(node, records);
    }

    /// All dots that a record lost anywhere under this key had heard of.
    pub(crate) fn of_spot(&self, spot: usize) -> Option<&DotSet> {
        self.by_spot.get(&spot)
    }

    /// What the lost records of one node under this key had heard of.
    pub(crate) fn of_node(&self, node: NodeId, spot: usize) -> Option<&DotSet> {
        self.records.get(&node)?.get(&spot).map(|lost| &lost.context)
    }

    /// What one node lost, by key.
    pub(crate) fn all_of(&self, node: NodeId) -> impl Iterator<Item = (usize, &DotSet)> {
        let records = self.records.get(&node).into_iter().flatten();
        records.map(|(spot, lost)| (*spot, &lost.context))
    }

    /// Returns whether a node had a dot on its disk and lost it, record or disk.
    pub(crate) fn has_lost(&self, node: NodeId, spot: usize, dot: Dot) -> bool {
        let with_disk = || self.replaced.get(&(node, spot)).is_some_and(|gone| gone.contains(dot));
        self.of_node(node, spot).is_some_and(|lost| lost.contains(dot)) || with_disk()
    }

    /// Returns whether a dot was superseded at a node by what the node lost later.
    pub(crate) fn was_superseded(&self, node: NodeId, spot: usize, dot: Dot) -> bool {
        let lost = self.records.get(&node).and_then(|records| records.get(&spot));
        lost.is_some_and(|lost| lost.superseded.contains(dot))
    }

    /// Those who acknowledged a write and have had it ever since a read began, whatever they
    /// lost.
    pub(crate) fn keepers<'a>(
        &'a self,
        write: &'a Write,
        begun: u64,
    ) -> impl Iterator<Item = NodeId> + 'a {
        let lacks = move |node, dot| {
            self.has_lost(node, write.spot, dot) || self.lacked_since(node, write.spot, dot, begun)
        };
        self.holders(write).filter(move |node| !write.dot.is_some_and(|dot| lacks(*node, dot)))
    }

    /// Those who acknowledged a write and must still know that they applied it: their
    /// clocks say so, although the record may have vanished.
    pub(crate) fn witnesses<'a>(&'a self, write: &'a Write) -> impl Iterator<Item = NodeId> + 'a {
        let knows = |node: &NodeId| {
            let place = (*node, write.spot);
            !self.rolled_back.contains(&place) && !self.replaced.contains_key(&place)
        };
        self.holders(write).filter(knows)
    }

    /// Those who acknowledged a write and have not lost it with their power.
    fn holders<'a>(&'a self, write: &'a Write) -> impl Iterator<Item = NodeId> + 'a {
        let knows = |ack: &&Ack| {
            ack.durable || self.power.get(&ack.node).is_none_or(|lost| *lost < write.begun)
        };
        write.acks.iter().filter(knows).map(|ack| ack.node)
    }
}

impl Oracle {
    /// A node has another disk. The one before had lost some records already.
    pub(crate) fn note_replaced(
        &mut self,
        node: NodeId,
        before: &Contents,
        records: &Records,
        after: &Contents,
        now: u64,
    ) {
        self.forget_bases(node);
        let bottom = Object::default();
        for index in 0..self.spots.len() {
            let place = self.spot(index).place();
            let context_in =
                |on: &Contents| on.objects.get(&place).unwrap_or(&bottom).context().clone();
            let (had, has) = (context_in(before), context_in(after));
            let lost = records.get(&index).map(|lost| lost.context.clone()).unwrap_or_default();
            self.losses.replaced(node, index, &had, &lost, &has, now);
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
        let ack = |node, durable| Ack { node, durable };
        Write {
            spot: 0,
            at: N1,
            value: None,
            context: DotSet::new(),
            begun: 10,
            ended: 20,
            outcome: Outcome::Acked,
            dot: Some(dot(2)),
            acks: vec![ack(N1, true), ack(N2, false)],
        }
    }

    #[test]
    fn power_takes_what_was_not_synced_and_leaves_the_rest() {
        let (mut losses, write) = (Losses::default(), acknowledged());
        losses.power_lost(N2, 5);
        assert_eq!(losses.keepers(&write, 40).collect::<Vec<_>>(), [N1, N2], "that was before");
        losses.power_lost(N1, 30);
        losses.power_lost(N2, 30);
        assert_eq!(losses.keepers(&write, 40).collect::<Vec<_>>(), [N1]);
    }

    #[test]
    fn what_came_back_was_not_there_for_those_who_had_asked_before() {
        let (mut losses, write) = (Losses::default(), acknowledged());
        let (both, none) = ([dot(1), dot(2)].into_iter().collect(), DotSet::new());
        losses.replaced(N1, 0, &both, &none, &none, 30);
        assert!(losses.has_lost(N1, 0, dot(2)));
        losses.replaced(N1, 0, &none, &none, &both, 50);
        assert!(!losses.has_lost(N1, 0, dot(2)));
        assert_eq!(losses.keepers(&write, 49).collect::<Vec<_>>(), [N2]);
        assert_eq!(losses.keepers(&write, 51).collect::<Vec<_>>(), [N1, N2]);
    }

    #[test]
    fn a_lost_record_takes_one_copy_and_leaves_the_knowledge_of_it() {
        let (mut losses, write) = (Losses::default(), acknowledged());
        let value = Value { content_type: "".into(), body: "milk".into() };
        let object = Object::written(dot(2), [dot(1)].into_iter().collect(), value);
        losses.record_lost(N1, 0, &object, None, 30);
        assert_eq!(losses.keepers(&write, 40).collect::<Vec<_>>(), [N2]);
        assert_eq!(losses.witnesses(&write).collect::<Vec<_>>(), [N1, N2]);
        assert!(losses.was_superseded(N1, 0, dot(1)));
        assert!(!losses.was_superseded(N1, 0, dot(2)), "it was held");
        assert!(!losses.has_lost(N1, 1, dot(2)), "under another key nothing is lost");
    }
}
