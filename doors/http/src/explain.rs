//! What each replica holds of a key, and what a read makes of it.
//!
//! Values are named by their dots, and not sent: whoever wonders why an answer is what it is
//! wants to know who has what, not to read it all again.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use causality::Dot;
use model::{Explain, Explained, Holding, NodeId, Object, Value};
use serde::Serialize;
use utoipa::ToSchema;

use crate::Node;
use crate::door::Door;
use crate::kv::{json, refuse_session};
use crate::openapi::{ExplainParams, ExplainProblems, KeyPath};
use crate::params::{self, Query};
use crate::path;
use crate::problem::Problem;

/// What everybody holds under a key.
#[derive(Serialize, ToSchema)]
#[schema(as = Explanation)]
pub(crate) struct ExplanationJson {
    /// The shard that the key is in.
    #[schema(example = "ks1/17")]
    shard: String,
    /// Its replicas.
    replicas: Vec<HoldingJson>,
    /// Nodes that stand in for replicas, in a sloppy keyspace.
    guests: Vec<HoldingJson>,
    /// Every value that somebody holds.
    values: Vec<VersionJson>,
    /// What a read at the table's level would do now.
    read: ReadJson,
}

/// What one node holds; of a guest, what it keeps for others.
#[derive(Serialize, ToSchema)]
#[schema(as = Holding)]
pub(crate) struct HoldingJson {
    node: u16,
    /// Whether it answered.
    answered: bool,
    /// Whether what it holds is on its disk.
    on_disk: bool,
    /// Whether it holds exactly what all who answered hold together.
    equal: bool,
    /// The values that it holds, by their dots.
    values: Vec<String>,
    /// Values that others hold and it has never heard of.
    lacks: Vec<String>,
    /// Values that others hold and it has dropped, because somebody who had read them wrote.
    superseded: Vec<String>,
    /// How many writes it has heard of, with those whose values were superseded.
    heard_of: u64,
    /// How many of them it knows by their idempotency keys.
    tokens: usize,
}

/// One value.
#[derive(Serialize, ToSchema)]
#[schema(as = Version)]
pub(crate) struct VersionJson {
    /// The write that made it.
    #[schema(example = "00c0ffee00c0ffee:4")]
    dot: String,
    /// How large it is.
    bytes: usize,
    content_type: String,
    /// Who holds it, guests too.
    held_by: Vec<u16>,
    /// Whether all who answered hold it together: nobody has superseded it.
    current: bool,
}

/// What a read at the table's level would do now.
#[derive(Serialize, ToSchema)]
#[schema(as = ReadNow)]
pub(crate) struct ReadJson {
    /// Whom it would ask first. Nobody: it would not be attempted.
    asks: Vec<u16>,
    /// What its answer would be worth.
    kind: &'static str,
    /// The values that it would show if these answer what they answered here.
    shows: Vec<String>,
    /// Values that it would not show, and all who answered hold together.
    misses: Vec<String>,
    /// Values that it would show although somebody knows that they are superseded.
    outdated: Vec<String>,
}

fn numbers<'a>(nodes: impl IntoIterator<Item = &'a NodeId>) -> Vec<u16> {
    nodes.into_iter().map(|node| node.number()).collect()
}

/// The values of the one that the other lacks.
fn beyond(object: &Object, other: &Object) -> Vec<String> {
    let values = object.values().keys();
    values.filter(|dot| !other.values().contains_key(dot)).map(Dot::to_string).collect()
}

impl HoldingJson {
    fn new(holding: &Holding, versions: &BTreeMap<Dot, Value>, merged: &Object) -> Self {
        let node = holding.node.number();
        let Some(told) = &holding.told else {
            return Self {
                node,
                answered: false,
                on_disk: false,
                equal: false,
                values: Vec::new(),
                lacks: Vec::new(),
                superseded: Vec::new(),
                heard_of: 0,
                tokens: 0,
            };
        };
        let object = &told.object;
        let others = || versions.keys().filter(|dot| !object.values().contains_key(dot));
        let has_heard = |dot: &&Dot| object.context().contains(**dot);
        Self {
            node,
            answered: true,
            on_disk: told.durable,
            equal: object == merged,
            values: object.values().keys().map(Dot::to_string).collect(),
            lacks: others().filter(|dot| !has_heard(dot)).map(Dot::to_string).collect(),
            superseded: others().filter(has_heard).map(Dot::to_string).collect(),
            heard_of: object.context().runs().iter().map(|run| run.last - run.first + 1).sum(),
            tokens: object.marks().len(),
        }
    }
}

impl From<&Explained> for ExplanationJson {
    fn from(explained: &Explained) -> Self {
        let Explained { shard, holdings, asks, kind, shown, merged } = explained;
        let mut versions: BTreeMap<Dot, Value> = BTreeMap::new();
        let mut held_by: BTreeMap<Dot, Vec<u16>> = BTreeMap::new();
        for holding in holdings {
            let told = holding.told.iter().flat_map(|told| told.object.values());
            for (dot, value) in told {
                versions.insert(*dot, value.clone());
                held_by.entry(*dot).or_default().push(holding.node.number());
            }
        }
        let of = |guests: bool| {
            let some = holdings.iter().filter(|holding| holding.is_guest == guests);
            some.map(|holding| HoldingJson::new(holding, &versions, merged)).collect()
        };
        let version = |(dot, value): (&Dot, &Value)| VersionJson {
            dot: dot.to_string(),
            bytes: value.body.len(),
            content_type: String::from_utf8_lossy(&value.content_type).into_owned(),
            held_by: held_by.get(dot).cloned().unwrap_or_default(),
            current: merged.values().contains_key(dot),
        };
        Self {
            shard: shard.to_string(),
            replicas: of(false),
            guests: of(true),
            values: versions.iter().map(version).collect(),
            read: ReadJson {
                asks: numbers(asks),
                kind: kind.as_str(),
                shows: shown.values().keys().map(Dot::to_string).collect(),
                misses: beyond(merged, shown),
                outdated: beyond(shown, merged),
            },
        }
    }
}

/// Explain a key.
///
/// Each replica, and in a sloppy keyspace each guest, is asked on its own what it holds, and
/// whoever answers within the timeout is shown. Nothing is changed, and nobody is repaired.
#[utoipa::path(
    get,
    path = "/v1/explain/{keyspace}/{table}/{key}",
    operation_id = "explain",
    tag = "kv",
    params(KeyPath, ExplainParams),
    responses(
        (status = 200, description = "Who holds what.", body = ExplanationJson,
            content_type = "application/json"),
        ExplainProblems,
    ),
)]
pub(crate) async fn explain<N: Node>(
    State(door): State<Arc<Door<N>>>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, _) = request.into_parts();
    refuse_session(&head.headers)?;
    let [keyspace, table, key] = path::segments(head.uri.path(), "/v1/explain/")?;
    let mut query = Query::parse(head.uri.query(), params::OUTCOME)?;
    let key = path::key(key, std::mem::take(&mut query.sort))?;
    let path::Scope { keyspace, table } = path::scope(keyspace, table)?;
    let explain = Explain { keyspace, table, key, timeout: query.timeout };
    let explained = door.explain(explain).await?;
    Ok(json(StatusCode::OK, &ExplanationJson::from(&*explained)))
}
