//! Which nodes exist, and where.

use std::collections::BTreeMap;

use model::{NodeId, Region, Voter, Zone};
use xxhash_rust::xxh3::Xxh3;

/// Where a node stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Member {
    /// Its site.
    pub region: Region,
    /// Its failure domain within the site.
    pub zone: Zone,
}

/// Which nodes exist and where, as one version that all nodes share.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Layout {
    /// Grows with every change.
    pub version: u64,
    /// The nodes.
    pub members: BTreeMap<NodeId, Member>,
}

impl Layout {
    /// A number that two nodes compare to find out whether they were given the same
    /// layout. Nodes that were not would look for one key on different replicas.
    pub fn fingerprint(&self) -> u64 {
        let mut hash = Xxh3::new();
        hash.update(&self.version.to_le_bytes());
        for (node, member) in &self.members {
            hash.update(&node.number().to_le_bytes());
            for name in [&member.region, &member.zone] {
                hash.update(name.as_str().as_bytes());
                hash.update(&[0]);
            }
        }
        hash.digest()
    }

    /// The replicas of a shard where they stand, each with one vote.
    pub fn voters(&self, replicas: &[NodeId]) -> Vec<Voter> {
        let voter = |node: &NodeId| {
            let Member { region, zone } = self.members.get(node)?.clone();
            Some(Voter { node: *node, region, zone, votes: 1 })
        };
        replicas.iter().filter_map(voter).collect()
    }

    /// The nodes of one region.
    pub fn nodes_of<'a>(&'a self, region: &'a Region) -> impl Iterator<Item = NodeId> + 'a {
        self.members.iter().filter(move |(_, member)| member.region == *region).map(|(id, _)| *id)
    }
}
