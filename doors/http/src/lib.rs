//! The HTTP door: what a client says in HTTP/1.1 becomes a [`model::Request`], and the
//! node's [`model::Reply`] becomes an answer.
//!
//! A door decides nothing about data. It reads names, keys, levels and tokens, refuses
//! what cannot be a request, asks the node once, and renders what came back so that a
//! client can tell the three failures apart: *refused*, *not attempted* and *unknown*.
//!
//! ```text
//! request ─ params, body ─► model::Request ─► Node::ask ─► model::Reply ─ kv, listing ─► answer
//!                 │                                               │
//!                 └──────────────── problem ◄─────────────────────┘
//! ```
//!
//! Reading and writing one key is the hot path: values travel as raw bytes, nothing on it
//! builds or parses JSON, and the body that came from the connection is the body that
//! the node gets. Everything else may be plain instead of fast.
//!
//! Every answer is declared in the OpenAPI document of [`openapi`], and the tests check
//! each answer they see against it.
//!
//! Not here: TLS, authentication and HTTP/2.

mod backup;
mod batch;
mod body;
mod budget;
mod changes;
mod connection;
mod date;
mod door;
mod evict;
mod explain;
mod gate;
mod health;
mod hints;
mod json;
mod keyspaces;
mod kv;
mod listing;
pub mod openapi;
mod outcome;
mod params;
mod path;
mod problem;
mod receipt;
mod repair;
mod salvage;
mod sent;
mod server;
mod siblings;
mod status;
mod tables;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post, put};
use bytes::Bytes;
use codec::token::TokenKey;
use model::{Region, Reply, Request, Status, TableHealth};
use tokio::sync::mpsc::Receiver;

use crate::door::Door;

pub use crate::backup::NoBackup;
pub use crate::gate::Gate;
pub use crate::server::{ServeLimits, serve};

/// The node behind the door.
pub trait Node: Clone + Send + Sync + 'static {
    /// Answers one request. The node keeps the request's own deadline: the door waits for
    /// as long as this takes.
    ///
    /// # Cancellation
    ///
    /// The door drops the future if the client goes away. A write that was begun must
    /// then go on.
    fn ask(&self, request: Request) -> impl Future<Output = Reply> + Send;

    /// How the node is, or nothing if it does not say so soon.
    fn vitals(&self) -> impl Future<Output = Option<Vitals>> + Send;

    /// What the node has counted, as text for Prometheus, or nothing if it does not say so soon.
    fn metrics(&self) -> impl Future<Output = Option<String>> + Send;

    /// Begins to send everything that the node's disk holds at this moment, in pieces that come as
    /// they are taken. Who drops the receiver ends it.
    fn backup(&self) -> impl Future<Output = Result<Receiver<Bytes>, NoBackup>> + Send;
}

/// How a node is.
#[derive(Clone, Debug)]
pub struct Vitals {
    /// What it says of itself and the others.
    pub status: Box<Status>,
    /// What the tables can do.
    pub tables: Vec<TableHealth>,
    /// How long the disk has been at work at one group of changes.
    pub disk_waits: Duration,
    /// Bytes left on the disk, if that is known.
    pub disk_free: Option<u64>,
    /// Whether newcomers are refused.
    pub is_overloaded: bool,
}

/// What the door has to know beside the node.
#[derive(Clone)]
pub struct Config {
    /// The secret that seals contexts and cursors, the same on every node of the cluster.
    pub token_key: TokenKey,
    /// The region of the answering node, for keyspaces that give a plain number of
    /// replicas.
    pub region: Region,
    /// How many nodes that region has. A keyspace that does not say how many replicas it
    /// wants gets as many, up to three.
    pub nodes_in_region: u8,
    /// The most bytes of one value. Longer bodies are refused before they are read.
    pub value_bytes_max: usize,
    /// The most who watch tables at once.
    pub feeds_max: usize,
}

/// Who may watch at once, if nobody says: an idle one costs some messages between nodes in five
/// seconds, and a busy one as much as it is told.
pub const FEEDS_DEFAULT: usize = 256;

/// The most bytes of request bodies in memory at once, if nobody says: 256 MiB, which is 32
/// of the largest values or a quarter of a million small ones, and fits into a machine of
/// 1 GiB.
pub const BODIES_BYTES_DEFAULT: usize = 256 << 20;

/// The routes of the API, answered by `node`, with [`BODIES_BYTES_DEFAULT`].
///
/// The router does not limit connections or the time that a client takes to send its
/// headers; [`serve`] does.
pub fn router<N: Node>(node: N, config: Config) -> Router {
    router_within(node, config, BODIES_BYTES_DEFAULT)
}

/// As [`router`], with at most `bodies_bytes_max` bytes of request bodies in memory at once,
/// those of all requests together, and half as many of large answers that clients have not taken.
///
/// A body that has no room is refused with 503 `overloaded`, before it is read if it says how
/// long it is. Reading a batch takes up to twice its bytes, which count once.
pub fn router_within<N: Node>(node: N, config: Config, bodies_bytes_max: usize) -> Router {
    let door = Arc::new(Door::new(node, config, bodies_bytes_max));
    Router::new()
        // The key may be any bytes, also such as are no UTF-8: these routes take the path
        // apart themselves.
        .route("/v1/kv/{*place}", get(kv::get::<N>).put(kv::put::<N>).delete(kv::delete::<N>))
        .route("/v1/outcome/{*place}", get(outcome::outcome::<N>))
        .route("/v1/explain/{*place}", get(explain::explain::<N>))
        .route("/v1/list/{*place}", get(listing::list::<N>))
        .route("/v1/scan/{*place}", get(listing::scan::<N>))
        .route("/v1/changes/{*place}", get(changes::changes::<N>))
        .route("/v1/batch", post(batch::batch::<N>))
        .route("/v1/keyspaces", get(keyspaces::all::<N>))
        .route("/v1/keyspaces/{keyspace}", put(keyspaces::create::<N>).get(keyspaces::one::<N>))
        .route("/v1/keyspaces/{keyspace}/tables", get(tables::all::<N>))
        .route(
            "/v1/keyspaces/{keyspace}/tables/{table}",
            put(tables::create::<N>).get(tables::one::<N>),
        )
        .route("/v1/backup", get(backup::backup::<N>))
        .route("/v1/hints/wait", post(hints::wait::<N>))
        .route("/v1/nodes/{node}/evict", post(evict::evict::<N>))
        .route("/v1/salvage", post(salvage::salvage::<N>))
        .route(
            "/v1/repair",
            post(repair::start::<N>).get(repair::show::<N>).delete(repair::cancel::<N>),
        )
        .route("/v1/status", get(status::status::<N>))
        .route("/v1/openapi.json", get(openapi::document))
        .route("/health", get(health::health::<N>))
        .route("/health/live", get(health::live::<N>))
        .route("/health/ready", get(health::readiness::<N>))
        .route("/health/shards", get(health::shards::<N>))
        .route("/metrics", get(health::metrics::<N>))
        .fallback(problem::no_such_route)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .with_state(door)
}
