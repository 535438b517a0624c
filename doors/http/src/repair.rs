//! Repairs: begun, watched and ended at the node that is asked.
//!
//! A node does one repair at a time, of what it keeps itself. It goes on when whoever has begun it
//! goes away, until it is at its end or is cancelled: who wants to know asks again. A
//! repair of a whole cluster is one at each node, and which pairs each of them does is for the one
//! who begins them to say, with `with`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use model::{
    Extent, Key, Name, NodeId, Obstacle, PairState, Proof, Repair, RepairJob, RepairMode,
    RepairPair, RepairState, RepairStatus, StartRepair, Stretch,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::Node;
use crate::door::Door;
use crate::json::TextOrBase64;
use crate::kv::json;
use crate::openapi::{NodeProblems, RepairCancelParams, RepairParams, RepairProblems};
use crate::params::{self, Query};
use crate::problem::Problem;

/// How long a pair may come no further, if nobody says: longer than a node takes to be started
/// anew and to read what it holds.
const PATIENCE_DEFAULT: Duration = Duration::from_secs(600);

/// What is passed over by an incremental repair, if nobody says.
const WITHIN_DEFAULT: Duration = Duration::from_secs(3_600);

/// What a query says of a repair.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) id: Option<u64>,
    pub(crate) mode: Option<&'static str>,
    pub(crate) within: Option<Duration>,
    pub(crate) keyspace: Option<Name>,
    pub(crate) table: Option<Name>,
    pub(crate) shards: Vec<u16>,
    pub(crate) from: Option<Bytes>,
    pub(crate) to: Option<Bytes>,
    pub(crate) with: Vec<u16>,
    pub(crate) patience: Option<Duration>,
}

/// What a mode can be.
pub(crate) const MODES: [&str; 3] = ["full", "incremental", "preview"];

impl Asked {
    /// What is asked for.
    ///
    /// # Errors
    ///
    /// `malformed_request` for a part of something that is not named.
    fn start(self) -> Result<StartRepair, Problem> {
        let mode = match self.mode.unwrap_or("full") {
            "incremental" => RepairMode::Incremental { age: self.within.unwrap_or(WITHIN_DEFAULT) },
            "preview" => RepairMode::Preview,
            _ => RepairMode::Full,
        };
        if self.within.is_some() && !matches!(mode, RepairMode::Incremental { .. }) {
            return Err(Problem::malformed("within goes with mode=incremental"));
        }
        let key = |bytes: Option<Bytes>| bytes.map(|bytes| Key::new(bytes, Bytes::new()));
        let (from, to) = (key(self.from).transpose()?, key(self.to).transpose()?);
        if from.is_some() && to.is_some() && to <= from {
            return Err(Problem::malformed("no key is from `from` on and before `to`"));
        }
        let is_part = from.is_some() || to.is_some();
        let table = match self.table {
            Some(table) => Some(Stretch { table, from, to }),
            None if is_part => return Err(Problem::malformed("from and to need a table")),
            None => None,
        };
        let of = match self.keyspace {
            Some(keyspace) => {
                Some(Extent { keyspace, shards: self.shards.into_iter().collect(), table })
            }
            None if table.is_some() || !self.shards.is_empty() => {
                return Err(Problem::malformed("a table or a shard needs a keyspace"));
            }
            None => None,
        };
        Ok(StartRepair {
            id: self.id,
            mode,
            of,
            with: self.with.into_iter().map(NodeId::new).collect(),
            patience: self.patience.unwrap_or(PATIENCE_DEFAULT),
        })
    }
}

/// What a node knows of repairs.
#[derive(Serialize, ToSchema)]
#[schema(as = Repairs)]
pub(crate) struct RepairsJson {
    /// The node asked.
    node: u16,
    /// The repair that is under way here, or the last one since the node was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<RepairJson>,
    /// Each shard that the node keeps, with each other replica of it.
    proofs: Vec<ProofJson>,
}

/// A repair.
#[derive(Serialize, ToSchema)]
#[schema(as = Repair)]
pub(crate) struct RepairJson {
    /// Its number.
    #[schema(example = "00c0ffee00c0ffee")]
    id: String,
    /// How thorough it is: full, incremental or preview.
    mode: &'static str,
    /// Whether it is under way: running, ended or cancelled.
    state: &'static str,
    /// How long it has taken.
    seconds: f64,
    /// Whether it has ended, and every pair of it was proved equal, or was proven lately enough for
    /// an incremental one, or, in a preview, was found not to differ.
    proved: bool,
    /// Shard by shard.
    pairs: Vec<PairJson>,
}

/// One shard, and the other replica that it is compared with.
#[derive(Serialize, ToSchema)]
#[schema(as = RepairPair)]
pub(crate) struct PairJson {
    /// The name of its keyspace.
    keyspace: String,
    /// Its number in the keyspace.
    shard: u16,
    /// The other replica.
    with: u16,
    /// waiting, reading, comparing, blocked, proved, passed (it was proven lately enough), compared
    /// (of a preview) or failed.
    state: &'static str,
    /// Of one that is blocked or has failed: away, silent, unread, disk, differing, changing,
    /// joining or cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'static str>,
    /// The same for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// Keys that the node holds of it, as far as was known when it began.
    keys: u64,
    /// Keys that were read again, at both replicas.
    read: u64,
    /// Ranges that are left to be asked about.
    ranges_left: u64,
    /// How often it was compared to the end.
    passes: u64,
    /// Keys that were found to differ, each time they were.
    differences: u64,
    /// Objects that came to the node.
    brought: u64,
    /// Objects that went to the other one.
    sent: u64,
    /// How many bytes they have, roughly.
    bytes: u64,
    /// The first keys that differed.
    differing: Vec<DifferingJson>,
}

/// A key that differed.
#[derive(Serialize, ToSchema)]
#[schema(as = Differing)]
pub(crate) struct DifferingJson {
    /// In which table.
    table: String,
    /// The partition key, if it is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// The partition key in base64, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    /// The sort key, if it is UTF-8 and not empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    sort: Option<String>,
    /// The sort key in base64, if it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    sort_base64: Option<String>,
}

/// When two replicas of a shard were last shown to be equal.
#[derive(Serialize, ToSchema)]
#[schema(as = Proof)]
pub(crate) struct ProofJson {
    /// The name of its keyspace.
    keyspace: String,
    /// Its number in the keyspace.
    shard: u16,
    /// The other replica.
    with: u16,
    /// How long ago the two were shown to be equal; missing if they were not since the node was
    /// started.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
    /// Whether they were not shown to be equal, nor compared to the end, for twice the interval in
    /// which they should be. Only said by the node with the lesser number.
    overdue: bool,
}

impl From<&RepairStatus> for RepairsJson {
    fn from(status: &RepairStatus) -> Self {
        Self {
            node: status.node.number(),
            job: status.job.as_ref().map(RepairJson::from),
            proofs: status.proofs.iter().map(ProofJson::from).collect(),
        }
    }
}

impl From<&RepairJob> for RepairJson {
    fn from(job: &RepairJob) -> Self {
        let is_well = |pair: &RepairPair| match pair.state {
            PairState::Proved | PairState::Passed => true,
            PairState::Compared => pair.figures.differences == 0,
            PairState::Waiting
            | PairState::Reading
            | PairState::Comparing
            | PairState::Blocked(_)
            | PairState::Failed(_) => false,
        };
        Self {
            id: format!("{:016x}", job.id),
            mode: match job.asked.mode {
                RepairMode::Full => "full",
                RepairMode::Incremental { .. } => "incremental",
                RepairMode::Preview => "preview",
            },
            state: match job.state {
                RepairState::Running => "running",
                RepairState::Ended => "ended",
                RepairState::Cancelled => "cancelled",
            },
            seconds: job.took.as_secs_f64(),
            proved: job.state == RepairState::Ended
                && !job.pairs.is_empty()
                && job.pairs.iter().all(is_well),
            pairs: job.pairs.iter().map(PairJson::from).collect(),
        }
    }
}

impl From<&RepairPair> for PairJson {
    fn from(pair: &RepairPair) -> Self {
        let (state, obstacle) = match pair.state {
            PairState::Waiting => ("waiting", None),
            PairState::Reading => ("reading", None),
            PairState::Comparing => ("comparing", None),
            PairState::Blocked(obstacle) => ("blocked", Some(obstacle)),
            PairState::Proved => ("proved", None),
            PairState::Passed => ("passed", None),
            PairState::Compared => ("compared", None),
            PairState::Failed(obstacle) => ("failed", Some(obstacle)),
        };
        let figures = pair.figures;
        Self {
            keyspace: pair.keyspace.to_string(),
            shard: pair.shard.index,
            with: pair.with.number(),
            state,
            why: obstacle.map(why),
            detail: obstacle.map(|obstacle| detail(obstacle, pair.with)),
            keys: figures.keys,
            read: figures.read,
            ranges_left: figures.ranges_left,
            passes: figures.passes,
            differences: figures.differences,
            brought: figures.brought,
            sent: figures.sent,
            bytes: figures.bytes,
            differing: pair.keys.iter().map(DifferingJson::from).collect(),
        }
    }
}

fn why(obstacle: Obstacle) -> &'static str {
    match obstacle {
        Obstacle::Away => "away",
        Obstacle::Silent => "silent",
        Obstacle::Unread => "unread",
        Obstacle::Disk => "disk",
        Obstacle::Differing { .. } => "differing",
        Obstacle::Changing => "changing",
        Obstacle::Joining => "joining",
        Obstacle::Cancelled => "cancelled",
    }
}

fn detail(obstacle: Obstacle, with: NodeId) -> String {
    match obstacle {
        Obstacle::Away => format!("{with} is away; start it, or see who cannot reach it"),
        Obstacle::Silent => format!(
            "{with} does not answer to the end: it has too much to do, or messages are lost, or it is of an earlier version"
        ),
        Obstacle::Unread => {
            format!("this node or {with} was started lately, and still reads what it holds")
        }
        Obstacle::Disk => "the disk of this node cannot be read; see its log".to_owned(),
        Obstacle::Differing { keys } => format!(
            "{keys} keys differ each time they are compared: nobody can produce what is missing, or it does not arrive; see them with `merganser explain`"
        ),
        Obstacle::Changing => {
            "parts of it change each time they are compared; repair it when less is written"
                .to_owned()
        }
        Obstacle::Joining => format!(
            "the disk of this node or of {with} is new, and copies what the others hold; see `merganser status`"
        ),
        Obstacle::Cancelled => "the repair was cancelled before it came to this".to_owned(),
    }
}

impl From<&(Name, Key)> for DifferingJson {
    fn from((table, key): &(Name, Key)) -> Self {
        let (partition, sort) =
            (TextOrBase64::from(key.partition()), TextOrBase64::from(key.sort()));
        Self {
            table: table.to_string(),
            key: partition.text,
            key_base64: partition.base64,
            sort: sort.text.filter(|sort| !sort.is_empty()),
            sort_base64: sort.base64,
        }
    }
}

impl From<&Proof> for ProofJson {
    fn from(proof: &Proof) -> Self {
        Self {
            keyspace: proof.keyspace.to_string(),
            shard: proof.shard.index,
            with: proof.with.number(),
            seconds: proof.ago.map(|ago| ago.as_secs_f64()),
            overdue: proof.is_overdue,
        }
    }
}

/// Begin a repair at this node.
///
/// It compares the shards that this node keeps with their other replicas, brings both what they
/// lack, and goes on without whoever has begun it. Without parameters everything is compared,
/// after both have read what their disks hold. There is one repair at a time at a node. Who
/// gives it a number may ask twice: it is begun once.
#[utoipa::path(
    post,
    path = "/v1/repair",
    operation_id = "repair_start",
    tag = "node",
    params(RepairParams),
    responses(
        (status = 200, description = "It has begun, or had before by this number.",
            body = RepairsJson, content_type = "application/json"),
        RepairProblems,
    ),
)]
pub(crate) async fn start<N: Node>(
    State(door): State<Arc<Door<N>>>,
    request: Request,
) -> Result<Response, Problem> {
    let query = Query::parse(request.uri().query(), params::REPAIR)?;
    let start = Box::new(query.repair.start()?);
    let status = door.repair(Repair::Start(start)).await?;
    Ok(json(StatusCode::OK, &RepairsJson::from(&*status)))
}

/// Look how far the repair at this node is, and when what it keeps was last proven equal.
#[utoipa::path(
    get,
    path = "/v1/repair",
    operation_id = "repair_show",
    tag = "node",
    responses(
        (status = 200, description = "What the node knows of repairs.", body = RepairsJson,
            content_type = "application/json"),
        NodeProblems,
    ),
)]
pub(crate) async fn show<N: Node>(
    State(door): State<Arc<Door<N>>>,
    request: Request,
) -> Result<Response, Problem> {
    Query::parse(request.uri().query(), &[])?;
    let status = door.repair(Repair::Show).await?;
    Ok(json(StatusCode::OK, &RepairsJson::from(&*status)))
}

/// Cancel the repair at this node.
///
/// What it has brought stays. Where none is under way, or none of this number, nothing is
/// changed.
#[utoipa::path(
    delete,
    path = "/v1/repair",
    operation_id = "repair_cancel",
    tag = "node",
    params(RepairCancelParams),
    responses(
        (status = 200, description = "It is not under way any more.", body = RepairsJson,
            content_type = "application/json"),
        NodeProblems,
    ),
)]
pub(crate) async fn cancel<N: Node>(
    State(door): State<Arc<Door<N>>>,
    request: Request,
) -> Result<Response, Problem> {
    let query = Query::parse(request.uri().query(), params::REPAIR_CANCEL)?;
    let status = door.repair(Repair::Cancel(query.repair.id)).await?;
    Ok(json(StatusCode::OK, &RepairsJson::from(&*status)))
}
