//! The node's own state.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use model::Enrolment;
use serde::Serialize;
use utoipa::ToSchema;

use crate::Node;
use crate::door::Door;
use crate::keyspaces::KeyspaceJson;
use crate::kv::json;
use crate::openapi::NodeProblems;
use crate::params::Query;
use crate::problem::Problem;
use crate::tables::TableJson;

/// The state of a node, as it sees itself and the others.
#[derive(Serialize, ToSchema)]
#[schema(as = Status)]
pub(crate) struct StatusJson {
    /// The node asked.
    node: u16,
    /// Its present incarnation.
    #[schema(example = "00c0ffee00c0ffee")]
    incarnation: String,
    /// How long it has been up.
    uptime_seconds: u64,
    /// The version of the program.
    version: &'static str,
    /// Every node of the layout.
    nodes: Vec<NodeJson>,
    /// The version of the catalog that this node has.
    catalog_version: u64,
    /// The keyspaces it knows.
    keyspaces: Vec<KeyspaceJson>,
    /// The tables it knows.
    tables: Vec<TableJson>,
    /// Requests it coordinates at this moment.
    requests: u64,
    /// Merges sent because a read had found a replica behind.
    read_repairs: u64,
    /// What it keeps for replicas that were away.
    hints: Vec<HintsJson>,
    /// Writes whose place was forgotten although some replica may lack them: the log was full.
    log_dropped: u64,
    /// Its disk.
    disk: DiskJson,
    /// How far it has come with forgetting what was deleted.
    forgetting: ForgettingJson,
    /// Shards that do not hold what its disk should hold, and are not whole again. Empty where nothing
    /// is wrong.
    suspect: Vec<SuspectJson>,
}

/// A shard of which the disk of the node that was asked has lost something.
#[derive(Serialize, ToSchema)]
#[schema(as = Suspect)]
pub(crate) struct SuspectJson {
    /// In which keyspace.
    keyspace: String,
    /// Which shard of it.
    shard: u16,
    /// For how long that is known.
    since_seconds: f64,
    /// The replicas with which it has to be compared before it is whole again. If there is none, it is
    /// about to be whole, or nobody else keeps the shard and an operator has to repair it.
    waits_for: Vec<u16>,
}

/// How far a node has come with forgetting what was deleted, over all shards that it keeps.
#[derive(Serialize, ToSchema)]
#[schema(as = Forgetting)]
pub(crate) struct ForgettingJson {
    /// Tombstones that it knows of, and that wait until all replicas have what they speak of.
    tombstones_waiting: u64,
    /// Whether there may be more: some of each shard are remembered, and the others found later.
    more: bool,
    /// Tombstones that all replicas have, and that stay because a write which they know of may be
    /// tried again.
    kept_for_retries: u64,
    /// Writes that are forgotten, of which nothing is left but their dots.
    forgotten: u64,
    /// In how many runs these lie, which is what it costs to remember them.
    forgotten_runs: u64,
    /// Replicas that are waited for. Some seconds where nothing is wrong.
    tombstones_blocked: Vec<BlockerJson>,
}

/// A replica that is not known to have what a tombstone speaks of.
#[derive(Serialize, ToSchema)]
#[schema(as = Blocker)]
pub(crate) struct BlockerJson {
    /// Which.
    by: u16,
    /// For how long it has lacked the same, or was not heard of since the node that was asked
    /// began.
    since_seconds: f64,
}

impl From<&model::Forgetting> for ForgettingJson {
    fn from(forgetting: &model::Forgetting) -> Self {
        let blocker = |blocker: &model::Blocker| BlockerJson {
            by: blocker.node.number(),
            since_seconds: blocker.since.as_secs_f64(),
        };
        Self {
            tombstones_waiting: forgetting.waiting,
            more: forgetting.more,
            kept_for_retries: forgetting.for_retries,
            forgotten: forgetting.dots,
            forgotten_runs: forgetting.runs,
            tombstones_blocked: forgetting.blockers.iter().map(blocker).collect(),
        }
    }
}

/// The disk of the node that was asked.
#[derive(Serialize, ToSchema)]
#[schema(as = Disk)]
pub(crate) struct DiskJson {
    /// Its name, drawn when the data directory was made.
    #[schema(example = "00000000000000000000000000c0ffee")]
    disk: String,
    /// What it is to the cluster.
    state: EnrolmentJson,
    /// How many shards it is to keep.
    shards: u64,
    /// How many of them are whole: all, unless it takes the place of another disk.
    shards_whole: u64,
}

/// `enrolled`: the node serves with it. `new`: the node never had one, and this is about to be
/// enrolled. `challenged`: another was about to take its place, and a majority is to hear that it is back. `joining`: it takes the place of another, and is being made whole. `retired`: another has
/// taken its place, or the node was evicted; it never serves again.
#[derive(Serialize, ToSchema)]
#[schema(as = Enrolment)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EnrolmentJson {
    New,
    Enrolled,
    Challenged,
    Joining,
    Retired,
}

impl From<&model::DiskStatus> for DiskJson {
    fn from(status: &model::DiskStatus) -> Self {
        let state = match status.enrolment {
            Enrolment::New => EnrolmentJson::New,
            Enrolment::Enrolled => EnrolmentJson::Enrolled,
            Enrolment::Challenged => EnrolmentJson::Challenged,
            Enrolment::Unannounced | Enrolment::Joining => EnrolmentJson::Joining,
            Enrolment::Retired => EnrolmentJson::Retired,
        };
        let (shards, shards_whole) = (status.shards, status.whole);
        Self { disk: status.disk.to_string(), state, shards, shards_whole }
    }
}

/// What a node keeps for a replica that was away.
#[derive(Serialize, ToSchema)]
#[schema(as = Hints)]
pub(crate) struct HintsJson {
    /// For which.
    node: u16,
    /// How many objects.
    count: u64,
    /// Roughly how many bytes they have together.
    bytes: u64,
    /// For how long it has kept the oldest.
    oldest_seconds: u64,
}

impl From<&model::HintStatus> for HintsJson {
    fn from(hints: &model::HintStatus) -> Self {
        Self {
            node: hints.target.number(),
            count: hints.count,
            bytes: hints.bytes,
            oldest_seconds: hints.oldest.as_secs(),
        }
    }
}

/// One node, as another sees it.
#[derive(Serialize, ToSchema)]
#[schema(as = NodeStatus)]
pub(crate) struct NodeJson {
    /// Which.
    node: u16,
    /// Whether it answers to the node that was asked.
    alive: bool,
    /// Its site.
    region: String,
    /// Its failure domain within the site.
    zone: String,
    /// What the nodes of the cluster tell each other of it.
    standing: StandingJson,
    /// How far it and the node that was asked are apart; missing if they keep no shard together.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag: Option<LagJson>,
    /// The disk that it is to serve with; missing if it never had one, or was evicted.
    #[serde(skip_serializing_if = "Option::is_none")]
    disk: Option<String>,
    /// The disk that is being made whole to take its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    joining: Option<String>,
}

/// How far another replica and the node that was asked are apart, over all shards that both keep.
#[derive(Serialize, ToSchema)]
#[schema(as = Lag)]
pub(crate) struct LagJson {
    /// Writes that the other one has and the node that was asked lacks.
    behind: u64,
    /// Writes that the node that was asked has and the other one lacks.
    ahead: u64,
    /// Writes that the other one has heard of and could not produce.
    gaps: u64,
    /// Shards of which the other one lacks something that the log cannot bring it any more.
    needs_repair: u64,
    /// The node that was asked has everything that the other one had so many seconds ago;
    /// missing if that is not known yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    since_seconds: Option<f64>,
}

impl From<&model::Lag> for LagJson {
    fn from(lag: &model::Lag) -> Self {
        let model::Lag { behind, ahead, gaps, marked, since } = *lag;
        let since_seconds = since.map(|since| since.as_secs_f64());
        Self { behind, ahead, gaps, needs_repair: marked, since_seconds }
    }
}

/// `up`: it answers somebody. `suspected`: it answered nobody who asked. `down`: and did not
/// object. `unknown`: nothing was heard of it.
#[derive(Serialize, ToSchema)]
#[schema(as = Standing)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StandingJson {
    Up,
    Suspected,
    Down,
    Unknown,
}

impl From<&model::NodeStatus> for NodeJson {
    fn from(node: &model::NodeStatus) -> Self {
        let standing = match node.standing {
            model::Standing::Up => StandingJson::Up,
            model::Standing::Suspected => StandingJson::Suspected,
            model::Standing::Down => StandingJson::Down,
            model::Standing::Unknown => StandingJson::Unknown,
        };
        Self {
            node: node.node.number(),
            alive: node.alive,
            region: node.region.to_string(),
            zone: node.zone.to_string(),
            standing,
            lag: node.lag.as_ref().map(LagJson::from),
            disk: node.enrolled.map(|disk| disk.to_string()),
            joining: node.joining.map(|disk| disk.to_string()),
        }
    }
}

impl From<&model::Status> for StatusJson {
    fn from(status: &model::Status) -> Self {
        let keyspace_of = |table: &model::Table| {
            let keyspace = status.keyspaces.iter().find(|keyspace| keyspace.id == table.keyspace);
            keyspace.map_or("", |keyspace| keyspace.name.as_str())
        };
        let suspect = |suspect: &model::Suspect| {
            let found = |keyspace: &&model::Keyspace| keyspace.id == suspect.shard.keyspace;
            let keyspace = status.keyspaces.iter().find(found);
            SuspectJson {
                keyspace: keyspace.map_or_else(String::new, |found| found.name.to_string()),
                shard: suspect.shard.index,
                since_seconds: suspect.since.as_secs_f64(),
                waits_for: suspect.waits_for.iter().map(|node| node.number()).collect(),
            }
        };
        let nodes = status.nodes.iter();
        let tables = status.tables.iter();
        Self {
            node: status.node.number(),
            incarnation: status.incarnation.to_string(),
            uptime_seconds: status.uptime.as_secs(),
            version: env!("CARGO_PKG_VERSION"),
            nodes: nodes.map(NodeJson::from).collect(),
            catalog_version: status.catalog_version,
            keyspaces: status.keyspaces.iter().map(KeyspaceJson::from).collect(),
            tables: tables.map(|table| TableJson::new(keyspace_of(table), table)).collect(),
            requests: status.requests as u64,
            read_repairs: status.read_repairs,
            hints: status.hints.iter().map(HintsJson::from).collect(),
            log_dropped: status.log_dropped,
            disk: DiskJson::from(&status.disk),
            forgetting: ForgettingJson::from(&status.forgetting),
            suspect: status.suspects.iter().map(suspect).collect(),
        }
    }
}

/// Look at the state of the node.
#[utoipa::path(
    get,
    path = "/v1/status",
    operation_id = "status",
    tag = "node",
    responses(
        (status = 200, description = "The state of the node.", body = StatusJson,
            content_type = "application/json"),
        NodeProblems,
    ),
)]
pub(crate) async fn status<N: Node>(
    State(door): State<Arc<Door<N>>>,
    request: Request,
) -> Result<Response, Problem> {
    Query::parse(request.uri().query(), &[])?;
    Ok(json(StatusCode::OK, &StatusJson::from(&*door.status().await?)))
}
