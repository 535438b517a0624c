//! The state of a node, as it tells it.

use std::time::Duration;

use crate::{DiskId, Keyspace, NodeId, Region, ShardId, Table, Zone};
/// The state of a node, as it sees itself and the others.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Status {
    /// The node asked.
    pub node: NodeId,
    /// Its present incarnation.
    pub incarnation: causality::Incarnation,
    /// How long it has been up.
    pub uptime: Duration,
    /// Every node of the layout, itself included.
    pub nodes: Vec<NodeStatus>,
    /// The version of the catalog this node has.
    pub catalog_version: u64,
    /// The keyspaces it knows.
    pub keyspaces: Vec<Keyspace>,
    /// The tables it knows.
    pub tables: Vec<Table>,
    /// Requests it coordinates at this moment.
    pub requests: usize,
    /// Merges sent because a read had found a replica behind.
    pub read_repairs: u64,
    /// Writes whose place was forgotten although some replica may lack them: the log was full.
    pub log_dropped: u64,
    /// What it keeps for replicas that were away, by node. Those who are owed nothing are
    /// left out.
    pub hints: Vec<HintStatus>,
    /// Its disk.
    pub disk: DiskStatus,
    /// How far it has come with forgetting what was deleted.
    pub forgetting: Forgetting,
    /// Shards whose disk has lost something, and that are not whole again.
    pub suspects: Vec<Suspect>,
}

/// What a disk is to the cluster.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Enrolment {
    /// Its node never had one, as far as this catalog knows.
    New,
    /// The node serves with it.
    Enrolled,
    /// The node serves with it, and another one was about to take its place.
    Challenged,
    /// Its node had another one, and nobody knows yet that this is to take its place.
    Unannounced,
    /// It is being made whole, to take the place of another.
    Joining,
    /// Another has taken its place, or its node was evicted.
    Retired,
}

/// The disk of the node that was asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DiskStatus {
    /// Which.
    pub disk: DiskId,
    /// What it is to the cluster.
    pub enrolment: Enrolment,
    /// How many shards it is to keep.
    pub shards: u64,
    /// How many of them are whole. All, unless it takes the place of another.
    pub whole: u64,
}

/// How far a node has come with forgetting tombstones, over all shards that it keeps.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Forgetting {
    /// Tombstones that it knows of, and that wait until all replicas have what they speak of.
    pub waiting: u64,
    /// Whether there may be more than it knows of: it remembers some of each shard, and finds the
    /// others when it has done with those.
    pub more: bool,
    /// Tombstones that all have, and that stay because a write which they know may be tried
    /// again.
    pub for_retries: u64,
    /// Dots that are forgotten.
    pub dots: u64,
    /// In how many runs these are, which is what it costs to remember them.
    pub runs: u64,
    /// Who is waited for.
    pub blockers: Vec<Blocker>,
}

/// A shard that does not hold what its disk should hold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Suspect {
    /// Which.
    pub shard: ShardId,
    /// For how long that is known, in this life of the node.
    pub since: Duration,
    /// The replicas with which it has to be compared before it is whole again. Where there is none at
    /// all, an operator has to repair it.
    pub waits_for: Vec<NodeId>,
}

/// A replica that is not known to have what a tombstone speaks of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Blocker {
    /// Which.
    pub node: NodeId,
    /// For how long it has lacked the same, or was not heard of in this life of the node that says so.
    /// Some seconds where nothing is wrong.
    pub since: Duration,
}

/// What a guest keeps for one replica.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HintStatus {
    /// For which.
    pub target: NodeId,
    /// How many objects.
    pub count: u64,
    /// Roughly how many bytes they have together.
    pub bytes: u64,
    /// For how long it has kept the oldest, to the second.
    pub oldest: Duration,
}

/// One node, as another sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NodeStatus {
    /// Which.
    pub node: NodeId,
    /// Whether it answers to the node that was asked.
    pub alive: bool,
    /// Its site.
    pub region: Region,
    /// Its failure domain within the site.
    pub zone: Zone,
    /// What the nodes of the cluster tell each other of it.
    pub standing: Standing,
    /// How far it and the node that was asked are apart. Nothing if they keep no shard together.
    pub lag: Option<Lag>,
    /// The disk that it is to serve with. Nothing if it never had one, or was evicted.
    pub enrolled: Option<DiskId>,
    /// The disk that is being made whole to take its place.
    pub joining: Option<DiskId>,
}

/// How far two replicas are apart, as one of them sees it, over all shards that both keep.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Lag {
    /// Writes that the other one has and this one lacks.
    pub behind: u64,
    /// Writes that this one has and the other one lacks.
    pub ahead: u64,
    /// Writes that the other one has heard of and could not produce.
    pub gaps: u64,
    /// Shards of which the other one lacks something that the log cannot bring it any more.
    pub marked: u64,
    /// This node has everything that the other one had so long ago, in every shard. Nothing if
    /// that is not known yet.
    pub since: Option<Duration>,
}

/// What the cluster says of a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// It answers somebody.
    Up,
    /// It answered nobody who asked, and may still object.
    Suspected,
    /// It did not object.
    Down,
    /// Nothing was heard of it.
    Unknown,
}
