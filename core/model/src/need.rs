//! What an operation waits for, and whether two operations must meet.
//!
//! A level names a number, but the number alone does not say whose answers count: those of
//! one region, of each region, of nodes with several votes, of nodes in different zones. A
//! [`Need`] says it as a list of demands, each a sum over groups of nodes:
//!
//! ```text
//! QUORUM of 5                  n1 n2 n3 n4 n5               1 each   at least 3
//! EACH_QUORUM, two regions     n1 n2 n3   and   n4 n5       1 each   at least 2, and 2
//! n1 has two votes of four     n1 n2 n3                     2 1 1    at least 3
//! two zones                    {n1 n2} {n3}                 1 each   at least 2
//! ```
//!
//! More answers never make a need unmet. That is all that the state machines of requests
//! rely on, and what makes the one question that matters decidable: two needs *meet* if no
//! set of nodes satisfies the one while the rest satisfies the other. There are at most
//! 2^15 sets, so they are all tried, once, when a table is declared.

use std::collections::{BTreeMap, BTreeSet};

use crate::{NodeId, Region, Zone};

/// One replica of a shard as levels count it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Voter {
    /// Which.
    pub node: NodeId,
    /// Its site.
    pub region: Region,
    /// Its failure domain within the site.
    pub zone: Zone,
    /// How much its answer counts.
    pub votes: u8,
}

/// Nodes of which one is as good as all, and what their answer counts.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Group {
    nodes: Vec<NodeId>,
    weight: u8,
}

/// So much weight must have answered.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Demand {
    groups: Vec<Group>,
    at_least: u16,
}

/// What an operation waits for. The empty need is met by nothing at all.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Need {
    demands: Vec<Demand>,
}

impl Demand {
    fn is_met(&self, has: &impl Fn(NodeId) -> bool) -> bool {
        let counts = |group: &&Group| group.nodes.iter().any(|node| has(*node));
        let sum: u16 = self.groups.iter().filter(counts).map(|group| u16::from(group.weight)).sum();
        self.at_least <= sum
    }
}

impl Need {
    /// Also waits for so many votes of these voters.
    #[must_use]
    pub fn and_votes<'a>(
        mut self,
        voters: impl IntoIterator<Item = &'a Voter>,
        at_least: u16,
    ) -> Self {
        let group = |voter: &Voter| Group { nodes: vec![voter.node], weight: voter.votes };
        self.demands.push(Demand { groups: voters.into_iter().map(group).collect(), at_least });
        self
    }

    /// Also waits for so many different nodes, whatever their votes.
    #[must_use]
    pub fn and_nodes<'a>(
        mut self,
        voters: impl IntoIterator<Item = &'a Voter>,
        at_least: u16,
    ) -> Self {
        let group = |voter: &Voter| Group { nodes: vec![voter.node], weight: 1 };
        self.demands.push(Demand { groups: voters.into_iter().map(group).collect(), at_least });
        self
    }

    /// Also waits for nodes in so many different zones. Zones of two regions are different
    /// ones, whatever their names.
    #[must_use]
    pub fn and_zones<'a>(
        mut self,
        voters: impl IntoIterator<Item = &'a Voter>,
        at_least: u16,
    ) -> Self {
        let mut zones: BTreeMap<(&Region, &Zone), Vec<NodeId>> = BTreeMap::new();
        for voter in voters {
            zones.entry((&voter.region, &voter.zone)).or_default().push(voter.node);
        }
        let groups = zones.into_values().map(|nodes| Group { nodes, weight: 1 }).collect();
        self.demands.push(Demand { groups, at_least });
        self
    }

    /// Whether the nodes that have answered are enough.
    pub fn is_met(&self, has: impl Fn(NodeId) -> bool) -> bool {
        self.demands.iter().all(|demand| demand.is_met(&has))
    }

    /// Whether every set of nodes that meets this need shares a node with every set that
    /// meets the other, for voters of which there are at most fifteen.
    pub fn meets(&self, other: &Self, voters: &[Voter]) -> bool {
        let nodes: Vec<NodeId> = voters.iter().map(|voter| voter.node).collect();
        (0..1_u32 << nodes.len()).all(|set| {
            let inside = |node: NodeId| is_in(set, &nodes, node);
            !(self.is_met(inside) && other.is_met(|node| !inside(node) && nodes.contains(&node)))
        })
    }

    /// Whether nodes that have answered share one with every set that meets the need.
    pub fn must_meet(&self, has: &BTreeSet<NodeId>) -> bool {
        !self.is_met(|node| !has.contains(&node))
    }
}

fn is_in(set: u32, nodes: &[NodeId], node: NodeId) -> bool {
    nodes.iter().position(|other| *other == node).is_some_and(|index| set >> index & 1 == 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn voter(node: u16, region: &str, zone: &str, votes: u8) -> Voter {
        let name = |text: &str| crate::Name::new(text).unwrap();
        Voter { node: NodeId::new(node), region: name(region), zone: name(zone), votes }
    }

    fn set(nodes: &[u16]) -> BTreeSet<NodeId> {
        nodes.iter().copied().map(NodeId::new).collect()
    }

    fn met(need: &Need, nodes: &[u16]) -> bool {
        let nodes = set(nodes);
        need.is_met(|node| nodes.contains(&node))
    }

    #[test]
    fn a_heavy_node_counts_twice_and_not_as_two_nodes() {
        let voters = [voter(1, "here", "a", 2), voter(2, "here", "b", 1), voter(3, "here", "c", 1)];
        let need = Need::default().and_votes(&voters, 3);
        assert!(met(&need, &[1, 2]) && met(&need, &[1, 3]));
        assert!(!met(&need, &[2, 3]) && !met(&need, &[1]));
        let guarded = need.and_nodes(&voters, 3);
        assert!(!met(&guarded, &[1, 2]) && met(&guarded, &[1, 2, 3]));
    }

    #[test]
    fn zones_of_two_regions_are_different_whatever_their_names() {
        let voters = [voter(1, "eu", "a", 1), voter(2, "eu", "a", 1), voter(3, "us", "a", 1)];
        let need = Need::default().and_zones(&voters, 2);
        assert!(!met(&need, &[1, 2]) && met(&need, &[1, 3]));
    }

    #[test]
    fn what_a_majority_of_each_region_wrote_is_met_by_a_majority_of_one() {
        let voters: Vec<Voter> =
            (1..=6).map(|node| voter(node, if node <= 3 { "eu" } else { "us" }, "a", 1)).collect();
        let (eu, us) = voters.split_at(3);
        let each = Need::default().and_votes(eu, 2).and_votes(us, 2);
        let local = Need::default().and_votes(us, 2);
        let quorum = Need::default().and_votes(&voters, 4);
        assert!(each.meets(&local, &voters) && quorum.meets(&quorum, &voters));
        let other = Need::default().and_votes(eu, 2);
        assert!(!local.meets(&other, &voters), "majorities of two regions are apart");
        assert!(local.must_meet(&set(&[1, 5, 6])) && !local.must_meet(&set(&[1, 2, 3, 4])));
    }

    #[test]
    fn the_empty_need_is_met_by_nobody_and_meets_nothing() {
        let voters = [voter(1, "here", "a", 1)];
        let all = Need::default().and_votes(&voters, 1);
        assert!(Need::default().is_met(|_| false));
        assert!(!Need::default().meets(&all, &voters));
    }

    proptest! {
        /// Weighted voting: two needs meet exactly if their votes do not fit side by side,
        /// where votes can be split so; for single votes that is R + W > N.
        #[test]
        fn single_votes_meet_when_they_do_not_fit_side_by_side(n in 1_u16..8, r in 1_u16..8, w in 1_u16..8) {
            prop_assume!(r <= n && w <= n);
            let voters: Vec<Voter> = (1..=n).map(|node| voter(node, "here", "a", 1)).collect();
            let (reads, writes) = (Need::default().and_votes(&voters, r), Need::default().and_votes(&voters, w));
            prop_assert_eq!(reads.meets(&writes, &voters), n < r + w);
        }

        #[test]
        fn more_votes_than_there_are_always_meet(votes in proptest::collection::vec(0_u8..5, 1..8), r in 1_u16..20, w in 1_u16..20) {
            let voters: Vec<Voter> = (1_u16..).zip(&votes).map(|(node, votes)| voter(node, "here", "a", *votes)).collect();
            let all: u16 = votes.iter().map(|votes| u16::from(*votes)).sum();
            let (reads, writes) = (Need::default().and_votes(&voters, r), Need::default().and_votes(&voters, w));
            prop_assert_eq!(reads.meets(&writes, &voters), writes.meets(&reads, &voters));
            if all < r + w {
                prop_assert!(reads.meets(&writes, &voters));
            }
        }

        /// What a receipt claims is what the declaration proved, for the sets at hand.
        #[test]
        fn sets_that_meet_a_need_must_meet_what_it_meets(votes in proptest::collection::vec(1_u8..4, 1..7), r in 1_u16..12, w in 1_u16..12, mask in 0_u32..128) {
            let voters: Vec<Voter> = (1_u16..).zip(&votes).map(|(node, votes)| voter(node, "here", "a", *votes)).collect();
            let (reads, writes) = (Need::default().and_votes(&voters, r), Need::default().and_votes(&voters, w));
            let has: BTreeSet<NodeId> = voters.iter().enumerate().filter(|(index, _)| mask >> index & 1 == 1).map(|(_, voter)| voter.node).collect();
            if writes.is_met(|node| has.contains(&node)) && writes.meets(&reads, &voters) {
                prop_assert!(reads.must_meet(&has));
            }
        }
    }
}
