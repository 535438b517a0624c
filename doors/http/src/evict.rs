//! Giving up the disk of a node.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use model::{Declare, Declared, DiskId, DiskStep, NodeId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::Node;
use crate::body::{self, Held};
use crate::door::Door;
use crate::keyspaces::created_or_existed;
use crate::kv::json;
use crate::openapi::EvictProblems;
use crate::params::Query;
use crate::problem::{Code, Problem};

/// Which node.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "for the document")]
pub(crate) struct NodePath {
    /// Its number.
    #[param(example = 3)]
    node: u16,
}

/// The disk that is given up.
#[derive(Deserialize, ToSchema)]
#[schema(as = Evict)]
#[serde(deny_unknown_fields)]
pub(crate) struct EvictJson {
    /// As the status of a node shows it as the one that this node is enrolled with.
    #[schema(example = "00000000000000000000000000c0ffee")]
    disk: String,
}

/// What became of it.
#[derive(Serialize, ToSchema)]
#[schema(as = Evicted)]
pub(crate) struct EvictedJson {
    /// Which node.
    node: u16,
    /// The disk that it never serves with again.
    disk: String,
}

/// Give up the disk of a node.
///
/// Nobody waits for it any more, and the node never serves with it again. Repeating it changes
/// nothing; giving up another disk than the one that the node is enrolled with is refused.
#[utoipa::path(
    post,
    path = "/v1/nodes/{node}/evict",
    operation_id = "evict",
    tag = "node",
    params(NodePath),
    request_body(content = EvictJson, content_type = "application/json"),
    responses(
        (status = 201, description = "It is given up.", body = EvictedJson,
            content_type = "application/json"),
        (status = 200, description = "It was given up before.", body = EvictedJson,
            content_type = "application/json"),
        EvictProblems,
    ),
)]
pub(crate) async fn evict<N: Node>(
    State(door): State<Arc<Door<N>>>,
    request: Request,
) -> Result<Response, Problem> {
    let node = numbered(&request)?;
    let Held { content: EvictJson { disk }, share: _share } =
        body::contract::<EvictJson>(&door.bodies, request).await?;
    let step = DiskStep::IsGone(disk_named(&disk)?);
    let declared = door.declare(Declare::Disk { node, step }).await;
    // What is refused of it is that the node has another disk.
    match declared.map_err(|problem| problem.recoded(Code::InvalidContract, Code::OtherDisk))? {
        Declared::Disk { node, created } => {
            let evicted = EvictedJson { node: node.number(), disk };
            Ok(json(created_or_existed(created), &evicted))
        }
        Declared::Keyspace { .. } | Declared::Table { .. } => {
            Err(Problem::internal("the node declared something else"))
        }
    }
}

fn numbered(request: &Request) -> Result<NodeId, Problem> {
    Query::parse(request.uri().query(), &[])?;
    let below = request.uri().path().strip_prefix("/v1/nodes/").unwrap_or_default();
    let node = below.split('/').next().unwrap_or_default();
    let wrong = |_| Problem::malformed(format_args!("{node} is not the number of a node"));
    node.strip_prefix('n').unwrap_or(node).parse().map(NodeId::new).map_err(wrong)
}

/// Reads the name of a disk.
///
/// # Errors
///
/// `malformed_request` if it is none.
pub(crate) fn disk_named(disk: &str) -> Result<DiskId, Problem> {
    let is_name = disk.len() == 32 && disk.bytes().all(|byte| byte.is_ascii_hexdigit());
    let bits = is_name.then(|| u128::from_str_radix(disk, 16).ok()).flatten();
    let wrong = || {
        Problem::malformed(format_args!(
            "{disk} is not the name of a disk, which has 32 hexadecimal digits"
        ))
    };
    bits.map(DiskId::new).ok_or_else(wrong)
}
