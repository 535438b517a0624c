//! Whether the node is well, for those who decide by it.
//!
//! Three questions, because three machines ask them. Whoever restarts processes asks whether
//! the node is *live*: does its loop turn? A node that merely lacks its peers must not be
//! restarted for it. Whoever sends clients to nodes asks whether it is *ready*: can it begin
//! and keep what it is given? Whoever is woken at night asks what the *tables* can do: in which
//! shards reads and writes at the default level succeed now, and whose absence is to blame.
//!
//! ```text
//! /health/live     503: restart it
//! /health/ready    503: send clients elsewhere
//! /health/shards   503: bring nodes back, or ask for less
//! /health          all three: ok, degraded (clients may notice) or failing (503)
//! ```

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use model::{DiskStatus, Enrolment, TableHealth};
use serde::Serialize;
use utoipa::ToSchema;

use crate::door::Door;
use crate::kv::json;
use crate::openapi::{LiveProblems, ReadyProblems, ShardsProblems};
use crate::params::Query;
use crate::problem::{Code, Facts, Problem};
use crate::{Node, Vitals};

/// How long a group of changes may be on its way to the disk before the disk is said to hang.
/// Disks that are merely slow take a second at the worst.
const DISK_STALL: Duration = Duration::from_secs(5);

/// With less than this left the next compaction can fill the disk, which ends the node.
const DISK_FREE_MIN: u64 = 64 << 20;

/// How long a node that was started waits for the others, before it is ready without them. Whoever
/// dials again does so every second.
const MEETING: Duration = Duration::from_secs(2);

/// That all is well, or what is not.
#[derive(Serialize, ToSchema)]
#[schema(as = Health)]
pub(crate) struct HealthJson {
    /// `ok`, or `degraded`: requests may fail, and the reasons say why.
    #[schema(example = "ok")]
    status: &'static str,
    /// What is not as it should be.
    reasons: Vec<String>,
}

/// What one table can do now at its default levels.
#[derive(Serialize, ToSchema)]
#[schema(as = TableHealth)]
pub(crate) struct TableHealthJson {
    keyspace: String,
    table: String,
    /// How many shards it has.
    shards: u16,
    /// In how many of them reads can be done.
    reads: u16,
    /// In how many of them writes can be done.
    writes: u16,
    /// In how many the loss of one more node ends reads.
    fragile_reads: u16,
    /// In how many the loss of one more node ends writes.
    fragile_writes: u16,
    /// Nodes that are away and keep shards in which something cannot be done.
    missing: Vec<u16>,
}

/// What the tables can do now.
#[derive(Serialize, ToSchema)]
#[schema(as = Shards)]
pub(crate) struct ShardsJson {
    tables: Vec<TableHealthJson>,
}

impl From<&TableHealth> for TableHealthJson {
    fn from(health: &TableHealth) -> Self {
        Self {
            keyspace: health.keyspace.to_string(),
            table: health.table.to_string(),
            shards: health.shards,
            reads: health.reads.shards,
            writes: health.writes.shards,
            fragile_reads: health.reads.fragile,
            fragile_writes: health.writes.fragile,
            missing: health.missing.iter().map(|node| node.number()).collect(),
        }
    }
}

/// What keeps a node from doing what it is given.
fn unready(vitals: &Vitals) -> Vec<String> {
    let mut reasons = Vec::new();
    if DISK_STALL <= vitals.disk_waits {
        let seconds = vitals.disk_waits.as_secs();
        reasons.push(format!("the disk has taken {seconds} s for one group of changes"));
    }
    if let Some(free) = vitals.disk_free
        && free < DISK_FREE_MIN
    {
        reasons.push(format!("the disk has {} MiB left", free >> 20));
    }
    reasons.extend(outside(vitals));
    let away = away(vitals);
    if vitals.status.uptime < MEETING && !away.is_empty() {
        let millis = vitals.status.uptime.as_millis();
        reasons.push(format!("it was started {millis} ms ago, and has not met {away} yet"));
    }
    reasons
}

/// Why the node takes no part, if it does not.
fn outside(vitals: &Vitals) -> Option<String> {
    let DiskStatus { disk, enrolment, shards, whole } = vitals.status.disk;
    match enrolment {
        Enrolment::Enrolled => None,
        Enrolment::New if vitals.status.keyspaces.is_empty() => None,
        Enrolment::New | Enrolment::Challenged => {
            Some("its disk is not enrolled yet, which takes a majority of the nodes".to_owned())
        }
        Enrolment::Unannounced | Enrolment::Joining => Some(format!(
            "its disk takes the place of another, and {whole} of {shards} shards are whole"
        )),
        Enrolment::Retired => Some(format!(
            "its disk {disk} was replaced or given up and never serves again: move the data \
             directory away, and start the node with an empty one"
        )),
    }
}

/// Who does not answer this node.
fn away(vitals: &Vitals) -> String {
    let away = vitals.status.nodes.iter().filter(|node| !node.alive);
    away.map(|node| node.node.to_string()).collect::<Vec<_>>().join(" ")
}

/// What may make requests fail though the node is ready.
fn degraded(vitals: &Vitals) -> Vec<String> {
    let mut reasons = Vec::new();
    let nodes = vitals.status.nodes.len();
    let count = vitals.status.nodes.iter().filter(|node| !node.alive).count();
    if 0 < count {
        reasons.push(format!("{count} of {nodes} nodes do not answer: {}", away(vitals)));
    }
    if nodes / 2 < count {
        reasons.push("most nodes are away: nothing can be declared".to_owned());
    }
    if vitals.is_overloaded {
        reasons.push("there is more to do than can be done in time".to_owned());
    }
    reasons.extend(vitals.tables.iter().filter(|table| !table.is_whole()).map(lack));
    reasons
}

fn lack(health: &TableHealth) -> String {
    let missing: Vec<String> = health.missing.iter().map(ToString::to_string).collect();
    format!(
        "{}/{}: of {} shards, {} can be read and {} written at the default level; missing: {}",
        health.keyspace,
        health.table,
        health.shards,
        health.reads.shards,
        health.writes.shards,
        missing.join(" ")
    )
}

fn not_live() -> Problem {
    Problem::new(Code::NotLive, "the node's loop did not turn within a second")
}

fn ready(vitals: &Vitals) -> Result<(), Problem> {
    let reasons = unready(vitals);
    if reasons.is_empty() {
        return Ok(());
    }
    Err(Problem::new(Code::NotReady, reasons.join("; ")))
}

/// What the node says of itself, if its loop turns. These requests take no parameters.
async fn examine<N: Node>(door: &Door<N>, uri: &Uri) -> Result<Vitals, Problem> {
    Query::parse(uri.query(), &[])?;
    door.vitals().await.ok_or_else(not_live)
}

/// Whether the node is live and ready, and what is wrong beyond it.
async fn well<N: Node>(door: &Door<N>, uri: &Uri) -> Result<Response, Problem> {
    let vitals = examine(door, uri).await?;
    ready(&vitals)?;
    Ok(answer(degraded(&vitals)))
}

fn answer(reasons: Vec<String>) -> Response {
    let status = if reasons.is_empty() { "ok" } else { "degraded" };
    json(StatusCode::OK, &HealthJson { status, reasons })
}

/// Ask whether the node is well.
///
/// 200 if it is live and ready; what is wrong beyond it is listed, with the status `degraded`.
#[utoipa::path(
    get,
    path = "/health",
    operation_id = "health",
    tag = "node",
    responses(
        (status = 200, description = "It can serve; perhaps not everything.", body = HealthJson,
            content_type = "application/json"),
        ReadyProblems,
    ),
)]
pub(crate) async fn health<N: Node>(
    State(door): State<Arc<Door<N>>>,
    request: Request,
) -> Result<Response, Problem> {
    well(&door, request.uri()).await
}

/// Ask whether the node's loop turns.
///
/// A process for which this fails for a while should be restarted.
#[utoipa::path(
    get,
    path = "/health/live",
    operation_id = "health_live",
    tag = "node",
    responses(
        (status = 200, description = "It does.", body = HealthJson,
            content_type = "application/json"),
        LiveProblems,
    ),
)]
pub(crate) async fn live<N: Node>(
    State(door): State<Arc<Door<N>>>,
    request: Request,
) -> Result<Response, Problem> {
    examine(&door, request.uri()).await?;
    Ok(answer(Vec::new()))
}

/// Ask whether clients should be sent to this node. The same as `/health`, under the name that
/// balancers ask for.
#[utoipa::path(
    get,
    path = "/health/ready",
    operation_id = "health_ready",
    tag = "node",
    responses(
        (status = 200, description = "They may.", body = HealthJson,
            content_type = "application/json"),
        ReadyProblems,
    ),
)]
pub(crate) async fn readiness<N: Node>(
    State(door): State<Arc<Door<N>>>,
    request: Request,
) -> Result<Response, Problem> {
    well(&door, request.uri()).await
}

/// Ask what the tables can do at their default levels, as this node sees it.
#[utoipa::path(
    get,
    path = "/health/shards",
    operation_id = "health_shards",
    tag = "node",
    responses(
        (status = 200, description = "Everything.", body = ShardsJson,
            content_type = "application/json"),
        ShardsProblems,
    ),
)]
pub(crate) async fn shards<N: Node>(
    State(door): State<Arc<Door<N>>>,
    request: Request,
) -> Result<Response, Problem> {
    let vitals = examine(&door, request.uri()).await?;
    let tables: Vec<_> = vitals.tables.iter().map(TableHealthJson::from).collect();
    let lacking: Vec<String> =
        vitals.tables.iter().filter(|table| !table.is_whole()).map(lack).collect();
    if lacking.is_empty() {
        return Ok(json(StatusCode::OK, &ShardsJson { tables }));
    }
    let facts = Facts { tables: Some(tables), ..Facts::default() };
    Err(Problem::new(Code::ShardsLacking, lacking.join("; ")).with(facts))
}

/// What the node has counted, in the text format of Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "metrics",
    tag = "node",
    responses(
        (status = 200, description = "Metrics, in OpenMetrics text.", body = String,
            content_type = "application/openmetrics-text"),
        LiveProblems,
    ),
)]
pub(crate) async fn metrics<N: Node>(
    State(door): State<Arc<Door<N>>>,
    request: Request,
) -> Result<Response, Problem> {
    Query::parse(request.uri().query(), &[])?;
    let text = door.metrics().await.ok_or_else(not_live)?;
    let mut response = (StatusCode::OK, text).into_response();
    let kind =
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}
