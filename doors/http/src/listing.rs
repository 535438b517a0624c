//! Keys in order: those of one partition key, or of a whole table, page by page.
//!
//! A page ends with a cursor if there is more. The cursor is a place among the keys and
//! not a state of the node, so the next page can come from any node, at any time, and shows
//! what is there then.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use bytes::Bytes;
use model::{Key, List, Listing, Range};
use serde::Serialize;
use utoipa::ToSchema;

use crate::Node;
use crate::door::Door;
use crate::json::{TextOrBase64, ValueJson};
use crate::kv;
use crate::kv::json;
use crate::openapi::{KeyPath, ListParams, ListProblems, TablePath};
use crate::params::{self, Query};
use crate::path::{self, Scope};
use crate::problem::{Code, Problem};
use crate::receipt::ReceiptJson;
use crate::sent;

/// One page of keys.
#[derive(Serialize, ToSchema)]
#[schema(as = Page)]
pub(crate) struct PageJson {
    /// Keys that hold a value, in order.
    entries: Vec<EntryJson>,
    /// Where to go on; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
    /// Who took part in the last shard that was read.
    receipt: ReceiptJson,
}

/// One key and what it holds.
#[derive(Serialize, ToSchema)]
#[schema(as = Entry)]
pub(crate) struct EntryJson {
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
    /// What to pass when writing the key.
    context: String,
    /// The concurrent values; absent if they were not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<Vec<ValueJson>>,
}

/// List the keys under one partition key.
#[utoipa::path(
    get,
    path = "/v1/list/{keyspace}/{table}/{key}",
    operation_id = "list",
    tag = "list",
    params(KeyPath, ListParams),
    responses(
        (status = 200, description = "A page of keys, by sort key.", body = PageJson,
            content_type = "application/json"),
        ListProblems,
    ),
)]
pub(crate) async fn list<N: Node>(
    State(door): State<Arc<Door<N>>>,
    request: Request,
) -> Result<Response, Problem> {
    kv::refuse_session(request.headers())?;
    let [keyspace, table, key] = path::segments(request.uri().path(), "/v1/list/")?;
    let partition = path::key(key, Bytes::new())?.partition().clone();
    let first = Range::Partition { partition, after: None };
    page(&door, path::scope(keyspace, table)?, first, request.uri()).await
}

/// Scan a whole table.
#[utoipa::path(
    get,
    path = "/v1/scan/{keyspace}/{table}",
    operation_id = "scan",
    tag = "list",
    params(TablePath, ListParams),
    responses(
        (status = 200, description = "A page of keys, shard by shard.", body = PageJson,
            content_type = "application/json"),
        ListProblems,
    ),
)]
pub(crate) async fn scan<N: Node>(
    State(door): State<Arc<Door<N>>>,
    request: Request,
) -> Result<Response, Problem> {
    kv::refuse_session(request.headers())?;
    let [keyspace, table] = path::segments(request.uri().path(), "/v1/scan/")?;
    let first = Range::Table { shard: 0, after: None };
    page(&door, path::scope(keyspace, table)?, first, request.uri()).await
}

/// The range that a cursor goes on at, if it is one of the list that begins with `first`.
fn goes_on(range: Range, first: &Range) -> Result<Range, Problem> {
    let fits = match (first, &range) {
        (Range::Partition { partition: ours, .. }, Range::Partition { partition, .. }) => {
            ours == partition
        }
        (Range::Table { .. }, Range::Table { .. }) => true,
        (Range::Partition { .. }, Range::Table { .. })
        | (Range::Table { .. }, Range::Partition { .. }) => false,
    };
    if fits {
        return Ok(range);
    }
    Err(Problem::new(Code::CursorInvalid, "the cursor belongs to another list"))
}

/// Answers with the page that the query of `uri` asks for, `first` if it has no cursor.
async fn page<N: Node>(
    door: &Door<N>,
    scope: Scope,
    first: Range,
    uri: &Uri,
) -> Result<Response, Problem> {
    let query = Query::parse(uri.query(), params::LIST)?;
    let range = match query.cursor.as_deref() {
        None => first,
        Some(cursor) => goes_on(door.open_cursor(&scope, cursor)?, &first)?,
    };
    let list = List {
        keyspace: scope.keyspace.clone(),
        table: scope.table.clone(),
        range,
        limit: query.limit,
        options: query.read_options(),
        timeout: query.timeout,
    };
    let listed = door.list(list).await?;
    let entries = listed.listings.iter();
    let page = PageJson {
        entries: entries.map(|listing| entry(door, &scope, listing, query.values)).collect(),
        cursor: listed.next.as_ref().map(|next| door.seal_cursor(&scope, next)),
        receipt: ReceiptJson::from(&listed.receipt),
    };
    sent::within(&door.answers, json(StatusCode::OK, &page))
}

fn entry<N: Node>(door: &Door<N>, scope: &Scope, listing: &Listing, values: bool) -> EntryJson {
    let Listing { key, object } = listing;
    let partition = TextOrBase64::from(key.partition());
    let sort = sort(key);
    EntryJson {
        key: partition.text,
        key_base64: partition.base64,
        sort: sort.text,
        sort_base64: sort.base64,
        context: door.seal(scope, key, object.context(), object.marks()),
        values: values.then(|| ValueJson::all(object)),
    }
}

/// The sort key as JSON has it: not at all if it is empty.
pub(crate) fn sort(key: &Key) -> TextOrBase64 {
    if key.sort().is_empty() {
        return TextOrBase64 { text: None, base64: None };
    }
    TextOrBase64::from(key.sort())
}
