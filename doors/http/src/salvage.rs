//! Taking in what only a disk has that does not come back.
//!
//! This is for `merganser salvage`, which reads the directory. Whoever can ask it could make up
//! writes that never were, as whoever can evict a node could make the cluster forget
//! some: it belongs behind the same fence. What it cannot do is to delete anything.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use causality::DotSet;
use codec::{Reader, object};
use model::{Key, Name, NodeId, Object, Salvage, Salvaged};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Node;
use crate::body::{self, Held};
use crate::door::Door;
use crate::evict::disk_named;
use crate::json::{bytes, decode_base64};
use crate::kv::{content_type, json};
use crate::openapi::{SalvageParams, SalvageProblems};
use crate::params::{self, Query};
use crate::problem::Problem;
use crate::receipt::ReceiptJson;

/// Room for everything in a body but the value: keys, and contexts of many gaps.
const BESIDE_VALUE_BYTES: usize = 1 << 20;

/// What was found on a disk.
#[derive(Deserialize, ToSchema)]
#[schema(as = Salvage)]
#[serde(deny_unknown_fields)]
pub(crate) struct SalvageJson {
    /// The node that the disk was of.
    #[schema(example = 3)]
    node: u16,
    /// The disk. The node must never serve with it again: it was given up, or replaced.
    #[schema(example = "00000000000000000000000000c0ffee")]
    disk: String,
    /// In which keyspace.
    #[schema(pattern = "^[a-z0-9][a-z0-9_.-]{0,63}$", min_length = 1, max_length = 64)]
    keyspace: String,
    /// In which table.
    #[schema(pattern = "^[a-z0-9][a-z0-9_.-]{0,63}$", min_length = 1, max_length = 64)]
    table: String,
    /// In which shard the disk has the key.
    shard: u16,
    /// The partition key as text.
    key: Option<String>,
    /// The partition key in base64, instead of `key`.
    key_base64: Option<String>,
    /// The sort key as text, empty if left out.
    sort: Option<String>,
    /// The sort key in base64, instead of `sort`.
    sort_base64: Option<String>,
    /// What was found, in base64: an object and its marks, as `docs/formats.md` says. Its context is
    /// what is asked about, and its values are taken in if nobody has heard of them.
    #[schema(content_encoding = "base64")]
    object: String,
}

/// What became of it.
#[derive(Serialize, ToSchema)]
#[schema(as = Salvaged)]
pub(crate) struct SalvagedJson {
    /// The writes that no replica has ever heard of.
    unheard: Vec<RunJson>,
    /// Those of them that are known by another name: their clients had sent them again.
    twins: Vec<RunJson>,
    /// Those of them whose values are on the disks of all replicas now, marked as recovered.
    recovered: Vec<RunJson>,
    /// Who has them, if anything was taken in.
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<ReceiptJson>,
}

/// Writes of one life of a node, without gaps.
#[derive(Serialize, ToSchema)]
#[schema(as = Run)]
pub(crate) struct RunJson {
    /// Which life.
    #[schema(example = "00c0ffee00c0ffee")]
    incarnation: String,
    /// The number of the first.
    first: u64,
    /// The number of the last.
    last: u64,
}

impl RunJson {
    fn all(dots: &DotSet) -> Vec<Self> {
        let run = |run: &causality::Run| Self {
            incarnation: run.incarnation.to_string(),
            first: run.first,
            last: run.last,
        };
        dots.runs().iter().map(run).collect()
    }
}

impl From<Salvaged> for SalvagedJson {
    fn from(salvaged: Salvaged) -> Self {
        Self {
            unheard: RunJson::all(&salvaged.unheard),
            twins: RunJson::all(&salvaged.twins),
            recovered: RunJson::all(&salvaged.recovered),
            receipt: salvaged.receipt.as_ref().map(ReceiptJson::from),
        }
    }
}

impl SalvageJson {
    fn asked(self, query: &Query) -> Result<Salvage, Problem> {
        let partition = bytes("key", self.key, self.key_base64)?.unwrap_or_default();
        let sort = bytes("sort", self.sort, self.sort_base64)?.unwrap_or_default();
        Ok(Salvage {
            keyspace: Name::new(&self.keyspace)?,
            table: Name::new(&self.table)?,
            key: Key::new(partition, sort)?,
            shard: self.shard,
            node: NodeId::new(self.node),
            disk: disk_named(&self.disk)?,
            found: found(&decode_base64("object", &self.object)?)?,
            timeout: query.timeout,
        })
    }
}

fn found(bytes: &Bytes) -> Result<Object, Problem> {
    let mut reader = Reader::new(bytes);
    let found = object::read_marked(&mut reader);
    let found = found.and_then(|found| reader.finish().map(|()| found));
    let found = found.map_err(|error| Problem::malformed(format_args!("object: {error}")))?;
    // What a put would refuse could be a header line that nobody meant.
    found.values().values().try_for_each(|value| content_type(&value.content_type).map(drop))?;
    match found.is_bottom() {
        true => Err(Problem::malformed("the object has heard of nothing")),
        false => Ok(found),
    }
}

/// Take in what only a disk has that does not come back.
///
/// All replicas are asked whether they have ever heard of it, and nothing is done if one does not
/// answer. A value that nobody has heard of is stored beside whatever the key holds, under
/// its own dot, and is marked as recovered. Repeating it changes nothing.
#[utoipa::path(
    post,
    path = "/v1/salvage",
    operation_id = "salvage",
    tag = "node",
    params(SalvageParams),
    request_body(content = SalvageJson, content_type = "application/json"),
    responses(
        (status = 200, description = "All replicas have answered.", body = SalvagedJson,
            content_type = "application/json"),
        SalvageProblems,
    ),
)]
pub(crate) async fn salvage<N: Node>(
    State(door): State<Arc<Door<N>>>,
    request: Request,
) -> Result<Response, Problem> {
    let query = Query::parse(request.uri().query(), params::SALVAGE)?;
    body::check_media_type(request.headers())?;
    let cap = door.config.value_bytes_max.div_ceil(3) * 4 + BESIDE_VALUE_BYTES;
    let Held { content, share: _share } =
        body::json::<SalvageJson>(&door.bodies, request.into_body(), cap).await?;
    let salvaged = door.salvage(content.asked(&query)?).await?;
    Ok(json(StatusCode::OK, &SalvagedJson::from(*salvaged)))
}
