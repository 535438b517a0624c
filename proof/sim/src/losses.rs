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

use crate::bytes;
use crate::dice::Dice;
use crate::disk::{Contents, Place};
use crate::oracle::{Oracle, Write};
use crate::report::Broken;
use crate::swarm::DiskPlan;
use crate::world::{Event, Phase, World};

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
    fn record_lost(&mut self, node: NodeId, spot: usize, object: &Object, older: Option<&Object>) {
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

    /// A disk was replaced, and under this key lacks some dots, and has others.
    fn replaced(&mut self, node: NodeId, spot: usize, gone: &DotSet, has: &DotSet) {
        let lacks = self.replaced.entry((node, spot)).or_default();
        let _ = lacks.union(gone);
        *lacks = lacks.difference(has);
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

    /// Those who acknowledged a write and cannot have lost it since.
    pub(crate) fn keepers<'a>(&'a self, write: &'a Write) -> impl Iterator<Item = NodeId> + 'a {
        let lost = |node| write.dot.is_some_and(|dot| self.has_lost(node, write.spot, dot));
        self.holders(write).filter(move |node| !lost(*node))
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
    ) {
        self.forget_bases(node);
        for index in 0..self.spots.len() {
            let place = self.spot(index).place();
            let mut gone = DotSet::new();
            for had in before
                .objects
                .get(&place)
                .map(Object::context)
                .into_iter()
                .chain(records.get(&index).map(|lost| &lost.context))
            {
                let _ = gone.union(had);
            }
            if !gone.is_empty() {
                let bottom = Object::default();
                let has = after.objects.get(&place).unwrap_or(&bottom);
                self.losses.replaced(node, index, &gone, has.context());
            }
        }
    }
}

/// What happens to a record.
#[derive(Clone, Copy, Debug)]
enum Damage {
    /// It vanishes.
    Lost,
    /// It is what it was before it was written last.
    RolledBack,
    /// Some of its bits are flipped.
    Flipped,
}

/// Damages records.
pub(crate) struct Rot {
    dice: Dice,
    /// Mean microseconds between two records. Zero for none.
    gap: u64,
    /// Weights of each kind of damage.
    weights: [u32; 3],
}

impl Rot {
    pub(crate) fn new(plan: &DiskPlan, dice: Dice) -> Self {
        Self { dice, gap: plan.rot, weights: plan.rots }
    }

    fn draw(&mut self) -> Damage {
        let [lost, rolled_back, flipped] = self.weights;
        self.dice.weighted(&[
            (lost, Damage::Lost),
            (rolled_back, Damage::RolledBack),
            (flipped, Damage::Flipped),
        ])
    }
}

impl World {
    /// Arranges that the next record is damaged, if records are.
    pub(crate) fn arrange_rot(&mut self) {
        if self.rot.gap != 0 {
            let gap = self.rot.dice.micros(self.rot.gap, 0);
            self.arrange(gap, Event::Rot);
        }
    }

    /// A record is damaged, whether its node is up or not, and nobody is told.
    pub(crate) fn rot(&mut self) -> Result<(), Broken> {
        if self.phase != Phase::Safety {
            return Ok(());
        }
        self.arrange_rot();
        let nodes: Vec<NodeId> = self.layout.members.keys().copied().collect();
        let (at, damage) = (self.rot.dice.pick(&nodes), self.rot.draw());
        let (pick, bits) = (self.rot.dice.bits(), self.rot.dice.bits());
        if !self.count_fault() {
            return Ok(());
        }
        let places = self.host(at).disk.settled_places();
        let index = usize::try_from(pick % (places.len() as u64).max(1)).unwrap_or(0);
        let Some(place) = places.get(index) else { return Ok(()) };
        match damage {
            Damage::Lost => self.lose_record(at, place),
            Damage::RolledBack => self.roll_record_back(at, place),
            Damage::Flipped => self.flip_record(at, place, bits),
        }
    }

    fn lose_record(&mut self, at: NodeId, place: &Place) -> Result<(), Broken> {
        if !self.may_lose(at, place, None) {
            return self.spare();
        }
        let Some(object) = self.host(at).disk.lose(place) else { return Ok(()) };
        self.note_lost(at, place, &object, None, "record lost")
    }

    fn roll_record_back(&mut self, at: NodeId, place: &Place) -> Result<(), Broken> {
        let Some(older) = self.host(at).disk.previous(place).cloned() else { return Ok(()) };
        if !self.may_lose(at, place, Some(&older)) {
            return self.spare();
        }
        let Some(object) = self.host(at).disk.roll_back(place, older.clone()) else {
            return Ok(());
        };
        self.note_lost(at, place, &object, Some(&older), "record rolled back")
    }

    /// The record is really encoded, damaged and read again: that must fail.
    fn flip_record(&mut self, at: NodeId, place: &Place, bits: u64) -> Result<(), Broken> {
        if !self.may_lose(at, place, None) {
            return self.spare();
        }
        let Some(object) = self.host(at).disk.synced_object(place).cloned() else { return Ok(()) };
        bytes::damage_record(place, &object, bits, self.mutant)?;
        self.host(at).disk.damage(place);
        *self.fault_counts.entry("record flipped").or_default() += 1;
        self.trace.note(self.now, &[14, u64::from(at.number())], || {
            format!("{at} cannot read {place:?}")
        });
        Ok(())
    }

    /// Records with flipped bits are thrown away, as an operator would.
    pub(crate) fn take_damaged_away(&mut self, at: NodeId) -> Result<(), Broken> {
        let damaged: Vec<Place> = self.host(at).disk.damaged().iter().cloned().collect();
        for place in damaged {
            let Some(object) = self.host(at).disk.lose(&place) else { continue };
            self.note_lost(at, &place, &object, None, "record thrown away")?;
        }
        Ok(())
    }

    fn spare(&mut self) -> Result<(), Broken> {
        *self.fault_counts.entry("record spared by the atlas").or_default() += 1;
        Ok(())
    }

    fn note_lost(
        &mut self,
        at: NodeId,
        place: &Place,
        object: &Object,
        older: Option<&Object>,
        name: &'static str,
    ) -> Result<(), Broken> {
        let Ok(spot) = self.oracle.spot_of(place) else { return Ok(()) };
        self.oracle.losses.record_lost(at, spot, object, older);
        self.oracle.forget_base(at, spot);
        *self.fault_counts.entry(name).or_default() += 1;
        let words = [10, u64::from(at.number()), spot as u64];
        self.trace.note(self.now, &words, || format!("{name}: {at} {object:?} at {place:?}"));
        self.check_copies(at, spot)
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
        assert_eq!(losses.keepers(&write).collect::<Vec<_>>(), [N1, N2], "that was before");
        losses.power_lost(N1, 30);
        losses.power_lost(N2, 30);
        assert_eq!(losses.keepers(&write).collect::<Vec<_>>(), [N1]);
    }

    #[test]
    fn a_lost_record_takes_one_copy_and_leaves_the_knowledge_of_it() {
        let (mut losses, write) = (Losses::default(), acknowledged());
        let value = Value { content_type: "".into(), body: "milk".into() };
        let object = Object::written(dot(2), [dot(1)].into_iter().collect(), value);
        losses.record_lost(N1, 0, &object, None);
        assert_eq!(losses.keepers(&write).collect::<Vec<_>>(), [N2]);
        assert_eq!(losses.witnesses(&write).collect::<Vec<_>>(), [N1, N2]);
        assert!(losses.was_superseded(N1, 0, dot(1)));
        assert!(!losses.was_superseded(N1, 0, dot(2)), "it was held");
        assert!(!losses.has_lost(N1, 1, dot(2)), "under another key nothing is lost");
    }
}
