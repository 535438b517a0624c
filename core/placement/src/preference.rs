//! From a layout and a contract to preference lists.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use model::{Keyspace, NodeId, Region, ShardId};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::Layout;

/// Returns the shard of `keyspace` that holds the keys with this partition key.
pub fn shard_of(keyspace: &Keyspace, partition: &[u8]) -> ShardId {
    // The number of shards is a power of two up to 4096, so that the mask is exact.
    let mask = u64::from(keyspace.shards.saturating_sub(1));
    let index = u16::try_from(xxh3_64(partition) & mask).unwrap_or_default();
    ShardId { keyspace: keyspace.id, index }
}

/// A keyspace asks for more replicas in a region than the region has nodes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TooFewNodes {
    /// The region.
    pub region: Region,
    /// How many replicas were asked for.
    pub wanted: u8,
    /// How many nodes there are.
    pub nodes: usize,
}

impl fmt::Display for TooFewNodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { region, wanted, nodes } = self;
        write!(f, "region {region} has {nodes} nodes and cannot keep {wanted} replicas")
    }
}

impl std::error::Error for TooFewNodes {}

/// The preference lists of all shards of one keyspace.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Placement {
    lists: Vec<Vec<NodeId>>,
    /// Who may stand in, by shard. Empty unless the keyspace is sloppy.
    guests: Vec<Vec<NodeId>>,
}

impl Placement {
    /// Places the shards of `keyspace` on the nodes of `layout`.
    ///
    /// # Errors
    ///
    /// [`TooFewNodes`] if some region has fewer nodes than replicas.
    pub fn new(layout: &Layout, keyspace: &Keyspace) -> Result<Self, TooFewNodes> {
        let mut lists = vec![Vec::new(); usize::from(keyspace.shards)];
        for (region, &wanted) in &keyspace.replicas {
            let nodes: Vec<NodeId> = layout.nodes_of(region).collect();
            if nodes.len() < usize::from(wanted) {
                return Err(TooFewNodes { region: region.clone(), wanted, nodes: nodes.len() });
            }
            let mut shares = Shares::new(layout, &nodes, lists.len() * usize::from(wanted));
            for (index, list) in lists.iter_mut().enumerate() {
                list.extend(shares.place(keyspace, index, wanted));
            }
        }
        let guests = match keyspace.sloppy {
            true => (0..).zip(&lists).map(|(index, list)| guests(layout, keyspace, index, list)),
            false => return Ok(Self { lists, guests: Vec::new() }),
        };
        let guests = guests.collect();
        Ok(Self { lists, guests })
    }

    /// The replicas of each shard, by shard.
    pub fn lists(&self) -> impl Iterator<Item = &[NodeId]> {
        self.lists.iter().map(Vec::as_slice)
    }

    /// The replicas of a shard, in the order to ask them. Empty if there is no such shard.
    pub fn replicas(&self, shard: ShardId) -> &[NodeId] {
        self.lists.get(usize::from(shard.index)).map(Vec::as_slice).unwrap_or_default()
    }

    /// The nodes that may stand in for replicas of a shard, in the order in which they do. None
    /// in a strict keyspace.
    pub fn guests(&self, shard: ShardId) -> &[NodeId] {
        self.guests.get(usize::from(shard.index)).map(Vec::as_slice).unwrap_or_default()
    }
}

/// The nodes that keep no replica of a shard, in the order in which they stand in: the same
/// for all who ask, so that readers look where writers went.
fn guests(layout: &Layout, keyspace: &Keyspace, index: usize, list: &[NodeId]) -> Vec<NodeId> {
    let others = layout.members.keys().filter(|node| !list.contains(node));
    let mut guests: Vec<NodeId> = others.copied().collect();
    guests.sort_by_key(|node| (rank(keyspace, index, *node), *node));
    guests
}

/// The nodes of one region while shards are dealt out to them.
struct Shares<'a> {
    layout: &'a Layout,
    /// How many replicas each node has been given.
    given: BTreeMap<NodeId, usize>,
    /// How many it should have at the most.
    share: usize,
}

impl<'a> Shares<'a> {
    fn new(layout: &'a Layout, nodes: &[NodeId], replicas: usize) -> Self {
        let share = replicas.div_ceil(nodes.len().max(1));
        Self { layout, given: nodes.iter().map(|node| (*node, 0)).collect(), share }
    }

    fn place(&mut self, keyspace: &Keyspace, index: usize, wanted: u8) -> Vec<NodeId> {
        let mut list: Vec<NodeId> = Vec::with_capacity(usize::from(wanted));
        for _ in 0..wanted {
            let zones: BTreeSet<_> = list.iter().filter_map(|node| self.zone(*node)).collect();
            let best = self.given.iter().filter(|(node, _)| !list.contains(node)).min_by_key(
                |(node, given)| {
                    let crowded = self.zone(**node).is_some_and(|zone| zones.contains(zone));
                    let full = self.share <= **given;
                    (crowded, full, rank(keyspace, index, **node))
                },
            );
            let Some((&node, _)) = best else { break };
            list.push(node);
            *self.given.entry(node).or_default() += 1;
        }
        list
    }

    fn zone(&self, node: NodeId) -> Option<&'a model::Zone> {
        self.layout.members.get(&node).map(|member| &member.zone)
    }
}

/// The place of a node in the order of one shard: a hash that depends on nothing else.
fn rank(keyspace: &Keyspace, index: usize, node: NodeId) -> u64 {
    let shard = (u64::from(keyspace.id.number()) << 32) | index as u64;
    xxh3_64_with_seed(&shard.to_le_bytes(), u64::from(node.number()))
}

#[cfg(test)]
mod tests {
    use model::{KeyspaceId, Name};
    use proptest::prelude::*;

    use super::*;
    use crate::Member;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn layout(nodes: u16, zones: u16) -> Layout {
        let member =
            |node: u16| Member { region: name("here"), zone: name(&format!("z{}", node % zones)) };
        let members = (0..nodes).map(|node| (NodeId::new(node), member(node))).collect();
        Layout { version: 1, members }
    }

    fn keyspace(shards: u16, replicas: u8) -> Keyspace {
        Keyspace {
            id: KeyspaceId::new(1),
            name: name("catalog"),
            shards,
            replicas: BTreeMap::from([(name("here"), replicas)]),
            sloppy: false,
        }
    }

    fn lists(layout: &Layout, keyspace: &Keyspace) -> Vec<Vec<NodeId>> {
        Placement::new(layout, keyspace).unwrap().lists
    }

    proptest! {
        #[test]
        fn replicas_are_distinct_and_balanced(nodes in 1..12_u16, replicas in 1..6_u8) {
            prop_assume!(u16::from(replicas) <= nodes);
            let mut given = BTreeMap::new();
            for list in lists(&layout(nodes, 1), &keyspace(64, replicas)) {
                prop_assert_eq!(list.iter().collect::<BTreeSet<_>>().len(), usize::from(replicas));
                list.iter().for_each(|node| *given.entry(*node).or_insert(0_usize) += 1);
            }
            let share = (64 * usize::from(replicas)).div_ceil(usize::from(nodes));
            for (node, given) in given {
                prop_assert!(given <= share + usize::from(replicas), "{node} has {given} of {share}");
            }
        }

        #[test]
        fn one_node_more_takes_its_share_and_moves_little_else(
            nodes in 3..12_u16, replicas in 1..4_u8,
        ) {
            let keyspace = keyspace(128, replicas);
            let before = lists(&layout(nodes, 1), &keyspace);
            let after = lists(&layout(nodes + 1, 1), &keyspace);
            let lost = |(a, b): (&Vec<NodeId>, &Vec<NodeId>)| {
                a.iter().filter(|node| !b.contains(node)).count()
            };
            let moved: usize = before.iter().zip(&after).map(lost).sum();
            let all = 128 * usize::from(replicas);
            let share = all.div_ceil(usize::from(nodes) + 1);
            // The bound on load moves some shards between nodes that were there before.
            prop_assert!(moved <= share + all / 4, "{moved} of {all} moved, the share is {share}");
        }

        #[test]
        fn replicas_are_spread_over_zones(zones in 2..5_u16, replicas in 2..5_u8) {
            let layout = layout(zones * 3, zones);
            for list in lists(&layout, &keyspace(64, replicas)) {
                let used: BTreeSet<_> = list.iter().map(|node| &layout.members[node].zone).collect();
                prop_assert_eq!(used.len(), usize::from(replicas.min(u8::try_from(zones).unwrap())));
            }
        }
    }

    #[test]
    fn every_shard_is_somebodys() {
        let keyspace = keyspace(16, 1);
        let hit: BTreeSet<u16> =
            (0..1000_u32).map(|key| shard_of(&keyspace, &key.to_le_bytes()).index).collect();
        assert_eq!(hit.len(), 16);
    }

    #[test]
    fn one_node_more_moves_about_its_share() {
        let keyspace = keyspace(256, 3);
        let (before, after) = (lists(&layout(5, 1), &keyspace), lists(&layout(6, 1), &keyspace));
        let kept =
            |(a, b): (&Vec<NodeId>, &Vec<NodeId>)| a.iter().filter(|n| b.contains(n)).count();
        let kept: usize = before.iter().zip(&after).map(kept).sum();
        assert!(256 * 3 * 6 / 10 < kept, "only {kept} of {} replicas stayed", 256 * 3);
    }

    #[test]
    fn guests_are_all_who_keep_no_replica_in_an_order_that_a_node_more_does_not_change() {
        let sloppy = Keyspace { sloppy: true, ..keyspace(64, 3) };
        let (five, six) = (layout(5, 1), layout(6, 1));
        let placement = Placement::new(&five, &sloppy).unwrap();
        for index in 0..64 {
            let shard = ShardId { keyspace: sloppy.id, index };
            let (replicas, found) = (placement.replicas(shard), placement.guests(shard));
            assert!(found.len() == 2 && found.iter().all(|guest| !replicas.contains(guest)));
            let mut more = guests(&six, &sloppy, usize::from(index), replicas);
            more.retain(|node| *node != NodeId::new(5));
            assert_eq!(more, found);
        }
        let first = |index| placement.guests(ShardId { keyspace: sloppy.id, index })[0];
        assert!((0..64).any(|index| first(index) != first(0)), "one node stands in for all");
        let strict = Placement::new(&five, &keyspace(64, 3)).unwrap();
        assert_eq!(strict.guests(ShardId { keyspace: sloppy.id, index: 0 }), []);
    }

    #[test]
    fn too_few_nodes_are_refused() {
        let refused = Placement::new(&layout(2, 1), &keyspace(16, 3));
        assert_eq!(refused, Err(TooFewNodes { region: name("here"), wanted: 3, nodes: 2 }));
    }
}
