//! What became of a write, by its idempotency key.
//!
//! A client that was told `unknown_outcome`, or nothing, has the key that it had sent. Where
//! that is known is known under the key that was written, so the path names both.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use model::{Fate, NodeId, Recall, Recalled};
use serde::Serialize;
use utoipa::ToSchema;

use crate::Node;
use crate::door::Door;
use crate::kv::{json, parse_token, refuse_session};
use crate::openapi::{OutcomeParams, OutcomePath, OutcomeProblems};
use crate::params::{self, Query};
use crate::path;
use crate::problem::Problem;
use crate::receipt::ReceiptJson;

/// What became of a write.
#[derive(Serialize, ToSchema)]
#[schema(as = Outcome)]
pub(crate) struct OutcomeJson {
    /// `applied`: it is in effect. `superseded`: it was, and has been overwritten or deleted
    /// since; of a delete `applied` is always said. `not_seen`: those in `without` have not
    /// heard of it. `expired`: nobody takes it any more, and whether it was taken is not known
    /// to those who answered.
    #[schema(pattern = "^(applied|superseded|not_seen|expired)$")]
    outcome: &'static str,
    /// Of `not_seen`: whether it will stay so. Otherwise the write may be on its way, or at
    /// those who are silent, and may be sent once more with the same idempotency key.
    #[serde(rename = "final", skip_serializing_if = "Option::is_none")]
    is_final: Option<bool>,
    /// The replicas that have it, which of them on disk, and what a write to these is worth.
    /// Absent if nobody has heard of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<ReceiptJson>,
    /// Guests that keep it for replicas which were away.
    guests: Vec<u16>,
    /// Replicas and guests that answered and have not heard of it.
    without: Vec<u16>,
    /// Replicas and guests that have not answered.
    silent: Vec<u16>,
}

impl From<&Recalled> for OutcomeJson {
    fn from(recalled: &Recalled) -> Self {
        let numbers = |nodes: &[NodeId]| nodes.iter().map(|node| node.number()).collect();
        let (outcome, is_final) = match recalled.fate {
            Fate::Applied => ("applied", None),
            Fate::Superseded => ("superseded", None),
            Fate::NotSeen { is_final } => ("not_seen", Some(is_final)),
            Fate::Expired => ("expired", None),
        };
        Self {
            outcome,
            is_final,
            receipt: recalled.receipt.as_ref().map(ReceiptJson::from),
            guests: numbers(&recalled.guests),
            without: numbers(&recalled.without),
            silent: numbers(&recalled.silent),
        }
    }
}

/// Ask what became of a write.
///
/// All replicas of the key are asked, and all guests, and whoever answers within the timeout
/// is counted. Nothing is changed, but that replicas which are behind are brought up to date.
#[utoipa::path(
    get,
    path = "/v1/outcome/{token}/{keyspace}/{table}/{key}",
    operation_id = "outcome",
    tag = "kv",
    params(OutcomePath, OutcomeParams),
    responses(
        (status = 200, description = "What is known of it.", body = OutcomeJson,
            content_type = "application/json"),
        OutcomeProblems,
    ),
)]
pub(crate) async fn outcome<N: Node>(
    State(door): State<Arc<Door<N>>>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, _) = request.into_parts();
    refuse_session(&head.headers)?;
    let [token, keyspace, table, key] = path::segments(head.uri.path(), "/v1/outcome/")?;
    let mut query = Query::parse(head.uri.query(), params::OUTCOME)?;
    let token = parse_token(&String::from_utf8_lossy(&path::decode(token)?))?;
    let key = path::key(key, std::mem::take(&mut query.sort))?;
    let path::Scope { keyspace, table } = path::scope(keyspace, table)?;
    let recall = Recall { keyspace, table, key, token, timeout: query.timeout };
    let recalled = door.recall(recall).await?;
    Ok(json(StatusCode::OK, &OutcomeJson::from(&recalled)))
}
