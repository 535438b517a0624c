//! What disks have lost, and what may therefore be missing.
//!
//! A promise about a write stands as long as somebody who made it can keep it. Two faults
//! take that away, and the oracle has to know exactly how much, or it would either cry
//! wolf or look away:
//!
//! - *power* is lost, and with it what was not synced: object and clock together;
//! - a *record* vanishes from one disk, without a word. The clock there still says that its
//!   writes were applied, so no ordinary road brings them back to this replica.
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
//! arrive at `n1`, but a dot that `n1` has lost is left out of them, as it has no evidence
//! of its own. So a claim may travel without the write that it rests on; that write is then
//! one of those lost under this key, and nothing else may excuse the claim.

use std::collections::BTreeMap;

use causality::{Dot, DotSet};
use model::{Ack, NodeId, Object};

use crate::dice::Dice;
use crate::oracle::Write;
use crate::world::{Event, Phase, World};

/// What was lost, where.
#[derive(Default)]
pub(crate) struct Losses {
    /// When each machine lost power last, in microseconds of simulated time.
    power: BTreeMap<NodeId, u64>,
    /// The records that vanished, by node and key.
    records: BTreeMap<(NodeId, usize), Lost>,
    /// All dots of the records that vanished anywhere, by key.
    by_spot: BTreeMap<usize, DotSet>,
}

/// What one node lost under one key, in one record or in several.
#[derive(Default)]
struct Lost {
    context: DotSet,
    /// The part of the context that was superseded there.
    superseded: DotSet,
}

impl Losses {
    pub(crate) fn power_lost(&mut self, node: NodeId, now: u64) {
        self.power.insert(node, now);
    }

    fn record_lost(&mut self, node: NodeId, spot: usize, object: &Object) {
        let lost = self.records.entry((node, spot)).or_default();
        let held: DotSet = object.values().keys().copied().collect();
        let _ = lost.context.union(object.context());
        let _ = lost.superseded.union(&object.context().difference(&held));
        let _ = self.by_spot.entry(spot).or_default().union(object.context());
    }

    /// All dots that a record lost anywhere under this key had heard of.
    pub(crate) fn of_spot(&self, spot: usize) -> Option<&DotSet> {
        self.by_spot.get(&spot)
    }

    /// What the lost records of one node under this key had heard of.
    pub(crate) fn of_node(&self, node: NodeId, spot: usize) -> Option<&DotSet> {
        self.records.get(&(node, spot)).map(|lost| &lost.context)
    }

    /// What one node lost, by key.
    pub(crate) fn all_of(&self, node: NodeId) -> impl Iterator<Item = (usize, &DotSet)> {
        self.records
            .range((node, 0)..=(node, usize::MAX))
            .map(|((_, spot), lost)| (*spot, &lost.context))
    }

    /// Returns whether a node had a dot on its disk and lost the record.
    pub(crate) fn has_lost(&self, node: NodeId, spot: usize, dot: Dot) -> bool {
        self.of_node(node, spot).is_some_and(|lost| lost.contains(dot))
    }

    /// Returns whether a dot was superseded at a node by what the node lost later.
    pub(crate) fn was_superseded(&self, node: NodeId, spot: usize, dot: Dot) -> bool {
        self.records.get(&(node, spot)).is_some_and(|lost| lost.superseded.contains(dot))
    }

    /// Those who acknowledged a write and cannot have lost it since.
    pub(crate) fn keepers<'a>(&'a self, write: &'a Write) -> impl Iterator<Item = NodeId> + 'a {
        let lost = |node| write.dot.is_some_and(|dot| self.has_lost(node, write.spot, dot));
        self.witnesses(write).filter(move |node| !lost(*node))
    }

    /// Those who acknowledged a write and must still know that they applied it: their
    /// clocks say so, although the record may have vanished.
    pub(crate) fn witnesses<'a>(&'a self, write: &'a Write) -> impl Iterator<Item = NodeId> + 'a {
        let knows = |ack: &&Ack| {
            ack.durable || self.power.get(&ack.node).is_none_or(|lost| *lost < write.begun)
        };
        write.acks.iter().filter(knows).map(|ack| ack.node)
    }
}

/// Makes records vanish.
pub(crate) struct Rot {
    dice: Dice,
    /// Mean microseconds between two records. Zero for none.
    gap: u64,
}

impl Rot {
    pub(crate) fn new(gap: u64, dice: Dice) -> Self {
        Self { dice, gap }
    }
}

impl World {
    /// Arranges that the next record vanishes, if records do.
    pub(crate) fn arrange_rot(&mut self) {
        if self.rot.gap != 0 {
            let gap = self.rot.dice.micros(self.rot.gap, 0);
            self.arrange(gap, Event::Rot);
        }
    }

    /// A record vanishes from a disk, whether its node is up or not, and nobody is told.
    pub(crate) fn lose_record(&mut self) {
        if self.phase != Phase::Safety {
            return;
        }
        self.arrange_rot();
        let nodes: Vec<NodeId> = self.layout.members.keys().copied().collect();
        let at = self.rot.dice.pick(&nodes);
        let host = self.hosts.get_mut(&at).expect("all members of the layout are hosts");
        let places = host.disk.settled_places();
        if places.is_empty() {
            return;
        }
        let place =
            places.get(self.rot.dice.index(places.len())).expect("an index below the length");
        let lost = host.disk.lose(place);
        let Ok(spot) = self.oracle.spot_of(place) else { return };
        let Some(object) = lost else { return };
        self.oracle.losses.record_lost(at, spot, &object);
        self.oracle.forget_base(at, spot);
        *self.fault_counts.entry("record lost").or_default() += 1;
        let words = [10, u64::from(at.number()), spot as u64];
        self.trace.note(self.now, &words, || format!("{at} loses {object:?} at {place:?}"));
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
        losses.record_lost(N1, 0, &object);
        assert_eq!(losses.keepers(&write).collect::<Vec<_>>(), [N2]);
        assert_eq!(losses.witnesses(&write).collect::<Vec<_>>(), [N1, N2]);
        assert!(losses.was_superseded(N1, 0, dot(1)));
        assert!(!losses.was_superseded(N1, 0, dot(2)), "it was held");
        assert!(!losses.has_lost(N1, 1, dot(2)), "under another key nothing is lost");
    }
}
