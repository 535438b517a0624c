//! The catalog in force, made ready for the questions that every request asks: which replicas
//! keep a key, with how many votes, and who may stand in for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use catalog::Catalog;
use model::{Address, Electorate, Keyspace, KeyspaceId, NodeId, ShardId, Table, TableId, Voter};
use placement::{Layout, Placement};

/// Where one key lives.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) n: u8,
    pub(crate) table: Table,
    pub(crate) shard: ShardId,
    pub(crate) replicas: Vec<NodeId>,
    pub(crate) voters: Arc<[Voter]>,
}

impl Site {
    pub(crate) fn electorate(&self) -> Electorate<'_> {
        Electorate { voters: &self.voters, table: &self.table }
    }
}

/// The catalog in force, made ready for questions by number.
#[derive(Debug)]
pub(crate) struct Contracts {
    keyspaces: BTreeMap<KeyspaceId, Placed>,
    tables: BTreeMap<TableId, KeyspaceId>,
}

/// A keyspace, and the replicas of its shards.
#[derive(Debug)]
struct Placed {
    keyspace: Keyspace,
    placement: Placement,
    /// By shard, each with one vote.
    voters: Vec<Arc<[Voter]>>,
}

impl Contracts {
    pub(crate) fn new(layout: &Layout, catalog: &Catalog) -> Self {
        let placed = |keyspace: &Keyspace| {
            let placement = Placement::new(layout, keyspace).ok()?;
            let voters = placement.lists().map(|list| layout.voters(list).into()).collect();
            Some((keyspace.id, Placed { keyspace: keyspace.clone(), placement, voters }))
        };
        Self {
            keyspaces: catalog.keyspaces.values().filter_map(placed).collect(),
            tables: catalog.tables.values().map(|table| (table.id, table.keyspace)).collect(),
        }
    }

    /// The replicas of a shard. None if this layout cannot keep the keyspace.
    pub(crate) fn replicas(&self, shard: ShardId) -> &[NodeId] {
        let found = self.keyspaces.get(&shard.keyspace);
        found.map(|placed| placed.placement.replicas(shard)).unwrap_or_default()
    }

    /// The shards that a node keeps, with all their replicas.
    pub(crate) fn kept_by(&self, node: NodeId) -> impl Iterator<Item = (ShardId, &[NodeId])> {
        let shards = |(id, placed): (&KeyspaceId, &'_ Placed)| {
            let keyspace = *id;
            (0..placed.keyspace.shards).map(move |index| ShardId { keyspace, index })
        };
        let all = self.keyspaces.iter().flat_map(shards);
        all.map(|shard| (shard, self.replicas(shard)))
            .filter(move |(_, replicas)| replicas.contains(&node))
    }

    /// Who may stand in for replicas of a shard. Nobody in a strict keyspace.
    pub(crate) fn guests(&self, shard: ShardId) -> &[NodeId] {
        let found = self.keyspaces.get(&shard.keyspace);
        found.map(|placed| placed.placement.guests(shard)).unwrap_or_default()
    }

    pub(crate) fn is_sloppy(&self, shard: ShardId) -> bool {
        self.keyspaces.get(&shard.keyspace).is_some_and(|placed| placed.keyspace.sloppy)
    }

    /// The shard of a key, if the table is known.
    pub(crate) fn shard_of(&self, address: &Address) -> Option<ShardId> {
        let keyspace = self.keyspace_of(address.table)?;
        Some(placement::shard_of(keyspace, address.key.partition()))
    }

    /// The shard of a partition of a keyspace, if that is known.
    pub(crate) fn shard_in(&self, keyspace: KeyspaceId, partition: &[u8]) -> Option<ShardId> {
        let placed = self.keyspaces.get(&keyspace)?;
        Some(placement::shard_of(&placed.keyspace, partition))
    }

    /// The replicas of a shard, with the votes that a table gives them.
    pub(crate) fn voters(&self, shard: ShardId, table: &Table) -> Arc<[Voter]> {
        let placed = self.keyspaces.get(&shard.keyspace);
        let voters = placed.and_then(|placed| placed.voters.get(usize::from(shard.index)));
        let voters = voters.cloned().unwrap_or_default();
        if table.voting.votes.is_empty() {
            return voters;
        }
        let with = |voter: &Voter| Voter { votes: table.voting.votes_of(voter), ..voter.clone() };
        voters.iter().map(with).collect()
    }

    /// How many shards a keyspace has here.
    pub(crate) fn shards(&self, keyspace: KeyspaceId) -> u16 {
        self.keyspaces.get(&keyspace).map_or(0, |placed| placed.keyspace.shards)
    }

    /// The keyspace a table is in.
    pub(crate) fn keyspace_of(&self, table: TableId) -> Option<&Keyspace> {
        let id = self.tables.get(&table)?;
        self.keyspaces.get(id).map(|placed| &placed.keyspace)
    }
}
