//! Who holds forgetting back (R5).
//!
//! A tombstone stays until all replicas are known to have what it speaks of. One replica that is away
//! keeps all of them, and no timer ends that: an operator brings it back, or gives it up. So
//! a node tells how many tombstones wait, for whom, and since when.
//!
//! ```text
//! n3 is away                        n1 holds {} {a1 b2}, and n3 lacks b2: since ten minutes
//! n3 is only a moment behind        what it lacked a second ago it has now, and lacks c9: since now
//! ```
//!
//! **Since when.** A replica that is always a moment behind lacks something at each look. It is
//! waited for since it lacks *the same*: what it lacked when it was first met so is kept until it has all of
//! that, and then it begins anew.
//!
//! Nothing of it is stored. A node that starts has heard of nobody, and waits since then.

use std::collections::BTreeMap;

use causality::{DotSet, Run};
use model::{Blocker, Forgetting, NodeId, Now, ShardId};

use crate::Node;
use crate::exchange::acks::Acks;

/// Of what the tombstones of one shard speak of, so many runs are kept to see who lacks it: some
/// 3 KiB, and as much for each replica that does.
const OPEN_MAX: usize = 128;

/// Who holds back the tombstones of one shard.
#[derive(Debug, Default)]
pub(crate) struct Blockers {
    /// What they speak of and is not settled: a part of it, if it is much.
    open: DotSet,
    nodes: BTreeMap<NodeId, Lacking>,
}

/// A replica that lacks some of it.
#[derive(Debug)]
struct Lacking {
    /// It does not have all of this.
    dots: DotSet,
    since: Now,
}

impl Blockers {
    /// A tombstone speaks of this, and not all of it is settled.
    pub(crate) fn add(&mut self, context: &DotSet, settled: &DotSet) {
        let left = OPEN_MAX.saturating_sub(self.open.runs().len());
        let news: Vec<Run> =
            context.difference(settled).runs().iter().take(left).copied().collect();
        let _ = self.open.union(&DotSet::from_runs(news).expect("the first runs of a set"));
    }

    /// This is settled now.
    pub(crate) fn settle(&mut self, settled: &DotSet) {
        self.open = self.open.difference(settled);
    }

    /// No tombstone waits.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Looks who of these lacks something.
    fn look(&mut self, shard: ShardId, others: &[NodeId], acks: &Acks, now: Now) {
        self.nodes.retain(|node, _| others.contains(node));
        for node in others {
            if self.open.is_empty() || acks.has(shard, *node, &self.open) {
                self.nodes.remove(node);
                continue;
            }
            let lacking = self.nodes.get(node);
            if lacking.is_none_or(|lacking| acks.has(shard, *node, &lacking.dots)) {
                self.nodes.insert(*node, Lacking { dots: self.open.clone(), since: now });
            }
        }
    }
}

impl Node {
    /// Looks who holds back the tombstones of a shard, of those who have to have heard of deletes.
    pub(crate) fn look_for_blockers(&mut self, shard: ShardId, others: &[NodeId], now: Now) {
        let Some(kept) = self.shards.get_mut(&shard) else { return };
        let tombstones = &mut kept.tombstones;
        match tombstones.waiting() {
            0 => tombstones.blockers.clear(),
            _ => tombstones.blockers.look(shard, others, &self.exchange.acks, now),
        }
    }

    /// How far this node has come with forgetting tombstones. Looks at each shard, so it is nothing
    /// for each request.
    pub fn forgetting(&self, now: Now) -> Forgetting {
        let mut forgetting = Forgetting::default();
        let mut count = |forgotten: &DotSet| {
            forgetting.dots += forgotten.len();
            forgetting.runs += forgotten.runs().len() as u64;
        };
        self.forgotten.values().for_each(&mut count);
        self.shards.values().for_each(|kept| count(kept.replica.forgotten()));
        if !self.takes_part() {
            return forgetting;
        }
        let mut since: BTreeMap<NodeId, Now> = BTreeMap::new();
        for kept in self.shards.values() {
            let tombstones = &kept.tombstones;
            forgetting.waiting += tombstones.waiting() as u64;
            forgetting.for_retries += tombstones.for_retries() as u64;
            forgetting.more |= tombstones.may_be_more() || kept.tree.total().is_none();
            for (node, lacking) in &tombstones.blockers.nodes {
                let first = since.entry(*node).or_insert(lacking.since);
                *first = lacking.since.min(*first);
            }
        }
        forgetting.more |= !self.recovered.is_empty();
        let blocker = |(node, at)| Blocker { node, since: now.since(at) };
        forgetting.blockers = since.into_iter().map(blocker).collect();
        forgetting
    }
}

#[cfg(test)]
mod tests {
    use causality::{Dot, Incarnation};
    use model::KeyspaceId;

    use super::*;

    const N2: NodeId = NodeId::new(2);
    const N3: NodeId = NodeId::new(3);
    const SHARD: ShardId = ShardId { keyspace: KeyspaceId::new(1), index: 0 };

    fn at(second: u64) -> Now {
        Now::from_micros(second * 1_000_000)
    }

    fn dots(seqs: impl IntoIterator<Item = u64>) -> DotSet {
        seqs.into_iter().map(|seq| Dot::new(Incarnation::new(9), seq)).collect()
    }

    fn since(blockers: &Blockers) -> Vec<(NodeId, Now)> {
        blockers.nodes.iter().map(|(node, lacking)| (*node, lacking.since)).collect()
    }

    #[test]
    fn who_is_a_moment_behind_is_waited_for_since_a_moment_and_who_is_away_since_it_went() {
        let (mut blockers, mut acks) = (Blockers::default(), Acks::default());
        [N2, N3].into_iter().for_each(|node| acks.stands(node, SHARD, false, true));
        for second in 1..=60 {
            let ours = dots(1..=second);
            acks.heard(N2, SHARD, dots(1..second), None, &ours);
            blockers.add(&dots([second]), &dots([]));
            blockers.look(SHARD, &[N2, N3], &acks, at(second));
        }
        assert_eq!(since(&blockers), [(N2, at(60)), (N3, at(1))]);
        acks.heard(N3, SHARD, dots(1..=60), None, &dots([]));
        blockers.look(SHARD, &[N2, N3], &acks, at(61));
        assert_eq!(since(&blockers), [(N2, at(60))]);
        blockers.settle(&dots(1..=60));
        blockers.look(SHARD, &[N2, N3], &acks, at(62));
        assert_eq!(since(&blockers), []);
    }

    #[test]
    fn who_has_a_part_of_what_it_lacked_is_waited_for_as_before_and_who_is_given_up_is_not() {
        let (mut blockers, mut acks) = (Blockers::default(), Acks::default());
        blockers.add(&dots([1, 3, 5]), &dots([]));
        blockers.look(SHARD, &[N2, N3], &acks, at(1));
        acks.heard(N2, SHARD, dots([1, 5]), None, &dots([]));
        blockers.look(SHARD, &[N2, N3], &acks, at(2));
        assert_eq!(since(&blockers), [(N2, at(1)), (N3, at(1))]);
        blockers.look(SHARD, &[N2], &acks, at(3));
        assert_eq!(since(&blockers), [(N2, at(1))]);
    }

    #[test]
    fn what_tombstones_speak_of_is_not_kept_without_end() {
        let mut blockers = Blockers::default();
        for seq in 0..10_000 {
            blockers.add(&dots([2 * seq + 1]), &dots([]));
        }
        assert_eq!(blockers.open.runs().len(), OPEN_MAX);
    }
}
