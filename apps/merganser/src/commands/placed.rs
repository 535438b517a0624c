//! Where the keys of a keyspace are, and who votes on them, worked out from the state that a node
//! tells.
//!
//! It is worked out here and not asked for: placement is a function of the layout and the keyspace,
//! and a node tells both.

use client::{KeyspaceInfo, Status, TableInfo};
use model::{
    Holder, Keyspace, KeyspaceId, Level, Name, NodeId, Policy, ReplicaMap, ShardId, SiblingRules,
    Spread, Table, TableId, Voter, Voting,
};
use placement::{Layout, Member, Placement};

use super::error::{CliError, Exit};

/// A keyspace and where its shards are.
pub(super) struct Placed {
    keyspace: Keyspace,
    layout: Layout,
    placement: Placement,
}

impl Placed {
    /// Finds a keyspace in what a node tells.
    pub(super) fn new(status: &Status, keyspace: &str) -> Result<Self, CliError> {
        let layout = layout(status)?;
        let found = status.keyspaces.iter().find(|found| found.name == keyspace);
        let found = found.ok_or_else(|| no_keyspace(status, keyspace))?;
        let keyspace = keyspace_of(found).ok_or_else(unreadable)?;
        let placement = Placement::new(&layout, &keyspace);
        let placement = placement.map_err(|few| CliError::failed(few.to_string()))?;
        Ok(Self { keyspace, layout, placement })
    }

    /// What was declared.
    pub(super) fn keyspace(&self) -> &Keyspace {
        &self.keyspace
    }

    /// Finds one of its tables.
    pub(super) fn table(&self, status: &Status, name: &str) -> Result<Table, CliError> {
        let keyspace = self.keyspace.name.as_str();
        let mut tables = status.tables.iter();
        let found = tables.find(|found| found.keyspace == keyspace && found.name == name);
        let found = found.ok_or_else(|| no_table(status, keyspace, name))?;
        table_of(&self.keyspace, found).ok_or_else(unreadable)
    }

    /// The replicas of one of its shards.
    pub(super) fn replicas(&self, index: u16) -> &[NodeId] {
        self.placement.replicas(ShardId { keyspace: self.keyspace.id, index })
    }

    /// Who votes on the keys of a table in one of its shards, and with how many votes.
    pub(super) fn voters(&self, index: u16, table: &Table) -> Vec<Voter> {
        let votes = |voter: Voter| Voter { votes: table.voting.votes_of(&voter), ..voter };
        self.layout.voters(self.replicas(index)).into_iter().map(votes).collect()
    }
}

/// There is no such keyspace.
fn no_keyspace(status: &Status, asked: &str) -> CliError {
    let there: Vec<&str> = status.keyspaces.iter().map(|found| found.name.as_str()).collect();
    unknown(&format!("there is no keyspace {asked:?}"), &there)
        .remedy(format!("create it with `merganser keyspace create {asked}`, or ask for another"))
}

/// There is no such table in that keyspace.
fn no_table(status: &Status, keyspace: &str, asked: &str) -> CliError {
    let tables = status.tables.iter().filter(|found| found.keyspace == keyspace);
    let there: Vec<&str> = tables.map(|found| found.name.as_str()).collect();
    unknown(&format!("there is no table {asked:?} in the keyspace {keyspace:?}"), &there).remedy(
        format!("create it with `merganser table create {keyspace} {asked} --policy siblings`, or ask for another"),
    )
}

fn unknown(what: &str, there: &[&str]) -> CliError {
    let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
    CliError::new(Exit::NotFound, format!("{what}; there are: {there}"))
}

/// A node has told something that makes no sense here.
pub(super) fn unreadable() -> CliError {
    CliError::failed("the node tells of a contract that this program does not understand")
}

fn layout(status: &Status) -> Result<Layout, CliError> {
    let member = |node: &client::NodeState| {
        let place = node.region.as_deref().zip(node.zone.as_deref());
        let (region, zone) = place?;
        let member = Member { region: Name::new(region).ok()?, zone: Name::new(zone).ok()? };
        Some((NodeId::new(node.node), member))
    };
    let members = status.nodes.iter().map(member).collect::<Option<_>>();
    let members = members.ok_or_else(|| {
        CliError::failed("the node does not tell where nodes are; it is older than this program")
    })?;
    Ok(Layout { version: 1, members })
}

fn keyspace_of(info: &KeyspaceInfo) -> Option<Keyspace> {
    let replicas = info.replicas.iter().map(|(region, n)| Some((Name::new(region).ok()?, *n)));
    Some(Keyspace {
        id: KeyspaceId::new(info.id.parse().ok()?),
        name: Name::new(&info.name).ok()?,
        shards: info.shards,
        replicas: replicas.collect::<Option<ReplicaMap>>()?,
        sloppy: info.sloppy,
    })
}

fn table_of(keyspace: &Keyspace, info: &TableInfo) -> Option<Table> {
    let votes = info.votes.iter().map(|(who, votes)| Some((Holder::parse(who)?, *votes)));
    let weakest = |level: &Option<String>| match level {
        None => Some(None),
        Some(level) => Level::parse(level).map(Some),
    };
    Some(Table {
        id: TableId::new(info.id.parse().ok()?),
        keyspace: keyspace.id,
        name: Name::new(&info.name).ok()?,
        policy: Policy::parse(&info.policy)?,
        durability: model::Durability::parse(&info.durability)?,
        read: Level::parse(&info.read)?,
        write: Level::parse(&info.write)?,
        voting: Voting {
            votes: votes.collect::<Option<_>>()?,
            spread: Spread { nodes: info.min_nodes, zones: info.min_zones },
            weakest_read: weakest(&info.weakest_read)?,
            weakest_write: weakest(&info.weakest_write)?,
            may_miss: info.may_miss,
        },
        siblings: SiblingRules {
            require_context: info.require_context,
            warn: info.siblings_warn,
            max: info.siblings_max,
            bytes_max: info.siblings_bytes_max,
        },
    })
}
