//! How long nodes and ways were away, and what came late because of it.
//!
//! A promise about outages of any length says something only where there were long ones. So each
//! time a node is back, or a way between two, it is counted if that took longer than [`LONG`]:
//! longer than everything that nodes do by a timer in these worlds, and than the latest message.

use std::collections::BTreeMap;

use model::NodeId;
use node::{Cause, Message};

use crate::faults::Ways;
use crate::network::LATE_MAX;
use crate::oracle::Spot;
use crate::world::World;

/// Microseconds: longer than any message is on its way.
const LONG: u64 = LATE_MAX;

/// Who is away since when.
#[derive(Default)]
pub(crate) struct Outages {
    down: BTreeMap<NodeId, u64>,
    cut: BTreeMap<(NodeId, NodeId), u64>,
}

impl World {
    fn count_long(&mut self, since: u64, name: &'static str) {
        if LONG <= self.now.saturating_sub(since) {
            *self.requests.entry(("outages", name)).or_default() += 1;
        }
    }

    /// A process has died.
    pub(crate) fn note_down(&mut self, at: NodeId) {
        self.outages.down.entry(at).or_insert(self.now);
    }

    /// A process has started.
    pub(crate) fn note_up(&mut self, at: NodeId) {
        if let Some(since) = self.outages.down.remove(&at) {
            self.count_long(since, "of a node, over 15 s");
        }
    }

    /// Ways were cut.
    pub(crate) fn note_cut(&mut self, ways: &Ways) {
        let now = self.now;
        for way in ways {
            self.outages.cut.entry(*way).or_insert(now);
        }
    }

    /// Some ways may be whole again.
    pub(crate) fn note_mended(&mut self) {
        let is_cut = |(from, to): &(NodeId, NodeId)| self.network.is_cut(*from, *to);
        let whole: Vec<_> = self.outages.cut.keys().copied().filter(|way| !is_cut(way)).collect();
        for way in whole {
            let since = self.outages.cut.remove(&way);
            self.count_long(since.unwrap_or(self.now), "of a way, over 15 s");
        }
    }

    /// A guest hands over what was written long ago, or deleted meanwhile.
    pub(crate) fn note_late_hint(&mut self, message: &Message) {
        let Message::Merge(merge) = message else { return };
        let of =
            |spot: &Spot| spot.table.id == merge.address.table && spot.key == merge.address.key;
        let index = (merge.cause == Cause::Handoff).then(|| self.oracle.spots.iter().position(of));
        let Some(index) = index.flatten() else { return };
        let values = merge.object.values().keys();
        let mut written = values.clone().filter_map(|dot| self.oracle.named(index, *dot));
        let is_late = written.any(|id| self.oracle.write(id).begun + LONG <= self.now);
        let is_deleted =
            values.clone().any(|dot| self.oracle.deletes_of(index, *dot).next().is_some());
        *self.requests.entry(("hints", "handed over")).or_default() += 1;
        if is_late {
            *self.requests.entry(("hints", "older than 15 s")).or_default() += 1;
        }
        if is_deleted {
            *self.requests.entry(("hints", "of what was deleted")).or_default() += 1;
        }
    }
}
