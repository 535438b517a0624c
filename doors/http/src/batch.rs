//! Many puts, gets and deletes in one request, each with its own outcome.
//!
//! A batch saves round trips and nothing else: its operations run at the same time, in no
//! order, and one that fails leaves the others alone. The batch itself is refused only if
//! it cannot be read; an operation that makes no sense fails by itself.
//!
//! A small batch can ask for more than a node has memory for: a thousand gets of the largest
//! values are 8 GiB. Only some gets are under way at once, and when the values that were
//! read come to more than an answer may have, the gets that are left are refused.

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use causality::DotSet;
use model::{
    Get, Key, Kind, Level, Marks, Mutation, Name, Put, Read, ReadOptions, Spread, Token, Value,
    WriteOptions, Written,
};
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::Node;
use crate::body::{self, Held};
use crate::budget::{Budget, Share};
use crate::door::Door;
use crate::json::{self, FromObject, LevelJson, ValueJson};
use crate::kv;
use crate::openapi::BatchProblems;
use crate::params::{self, Query};
use crate::path::Scope;
use crate::problem::{Code, Problem, ProblemJson};
use crate::receipt::ReceiptJson;
use crate::sent;

/// The most operations of one batch: a fair share of what a node coordinates at once.
const OPERATIONS_MAX: usize = 1000;

/// The most bytes of a batch: a few of the largest values, in base64.
const BATCH_BYTES_MAX: usize = 32 << 20;

/// The most bytes of the values and contexts of one answer, as they are sent: twice the
/// bytes of a request.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The most gets of a batch that are under way at once. What they find is in memory before
/// it is counted.
const GETS_AT_ONCE: usize = 16;

/// Operations to run at the same time.
#[derive(Deserialize, ToSchema)]
#[schema(as = Batch)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchJson {
    /// At most 1000.
    #[serde(deserialize_with = "at_most")]
    #[schema(max_items = 1000)]
    operations: Vec<OperationJson>,
    /// Milliseconds that the client waits, 5000 if left out.
    #[schema(minimum = 1, maximum = 60000)]
    timeout: Option<u64>,
}

/// One operation of a batch.
#[derive(Deserialize, ToSchema)]
#[schema(as = Operation)]
#[serde(deny_unknown_fields)]
pub(crate) struct OperationJson {
    /// What to do.
    op: OpJson,
    /// In which keyspace.
    #[schema(pattern = "^[a-z0-9][a-z0-9_.-]{0,63}$", min_length = 1, max_length = 64)]
    keyspace: String,
    /// In which table.
    #[schema(pattern = "^[a-z0-9][a-z0-9_.-]{0,63}$", min_length = 1, max_length = 64)]
    table: String,
    /// The partition key as text.
    key: Option<String>,
    /// The partition key in base64, instead of `key`.
    key_base64: Option<String>,
    /// The sort key as text, empty if left out.
    sort: Option<String>,
    /// The sort key in base64, instead of `sort`.
    sort_base64: Option<String>,
    /// Of a put: the value in base64.
    value: Option<String>,
    /// Of a put: the media type of the value.
    content_type: Option<String>,
    /// Of a put or delete: the context of a read.
    context: Option<String>,
    /// Of a put or delete: a UUID of version 7, made for this operation. The same operation with
    /// the same key, at any node, within an hour, has one effect. Each operation has its own.
    #[serde(rename = "idempotency_key")]
    token: Option<String>,
    /// Whether the header of the batch says that it was sent before.
    #[serde(skip)]
    repeated: bool,
    /// Sets `r` or `w`.
    level: Option<LevelJson>,
    /// Of a get: replicas that must answer.
    r: Option<LevelJson>,
    /// Of a get: how many of these must be primaries.
    pr: Option<LevelJson>,
    /// Of a put or delete: replicas that must have the write.
    w: Option<LevelJson>,
    /// Of a put or delete: how many of these must be primaries.
    pw: Option<LevelJson>,
    /// Of a put or delete: how many of these must have the write on disk.
    dw: Option<LevelJson>,
    /// How many different nodes must take part.
    #[schema(minimum = 1)]
    min_nodes: Option<u8>,
    /// In how many different zones somebody must take part.
    #[schema(minimum = 1)]
    min_zones: Option<u8>,
    /// `strict`: wait until every opposite request must meet this one, or fail.
    #[schema(example = "strict")]
    min: Option<String>,
}

/// What an operation does.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, ToSchema)]
#[schema(as = Op)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OpJson {
    /// Write a value.
    Put,
    /// Read a value.
    Get,
    /// Delete what was read.
    Delete,
}

/// What the operations came to, in the order in which they were given.
#[derive(Serialize, ToSchema)]
#[schema(as = Outcomes)]
pub(crate) struct OutcomesJson {
    outcomes: Vec<OutcomeJson>,
}

/// What one operation came to.
#[derive(Serialize, ToSchema)]
#[schema(as = Outcome)]
pub(crate) struct OutcomeJson {
    /// The status that the operation would have been answered with by itself.
    status: u16,
    /// Whether a write had come before, with the same idempotency key.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    repeated: bool,
    /// Of a get that found something: the concurrent values.
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<Vec<ValueJson>>,
    /// What to pass when writing the key again.
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<String>,
    /// Who took part.
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<ReceiptJson>,
    /// Why there is nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<ProblemJson>,
}

impl From<Problem> for OutcomeJson {
    fn from(problem: Problem) -> Self {
        let status = problem.status();
        let problem = Some(problem.into_json());
        Self { status, repeated: false, values: None, context: None, receipt: None, problem }
    }
}

/// Run many operations at once.
///
/// The values and contexts of an answer come to at most 64 MiB. A get that would exceed that,
/// and each that has not begun by then, has the outcome 503 `overloaded`: ask for it again in
/// another batch, or alone.
#[utoipa::path(
    post,
    path = "/v1/batch",
    operation_id = "batch",
    tag = "kv",
    params(
        ("Merganser-Repeated" = Option<String>, Header,
            description = "true: the batch was sent before, and not answered. The idempotency \
                keys in it are remembered for longer then."),
    ),
    request_body(content = BatchJson, content_type = "application/json"),
    responses(
        (status = 200, description = "The outcome of each operation.", body = OutcomesJson,
            content_type = "application/json"),
        BatchProblems,
    ),
)]
pub(crate) async fn batch<N: Node>(
    State(door): State<Arc<Door<N>>>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    Query::parse(head.uri.query(), &[])?;
    body::check_media_type(&head.headers)?;
    kv::refuse_session(&head.headers)?;
    kv::refuse_conditions(&head.headers)?;
    let repeated = kv::is_repeated(&head.headers)?;
    let Held { content: mut batch, share } =
        body::json::<BatchJson>(&door.bodies, body, BATCH_BYTES_MAX).await?;
    batch.operations.iter_mut().for_each(|operation| operation.repeated = repeated);
    let timeout = batch.timeout.map_or(Ok(params::timeout_default()), params::timeout)?;
    let gets = Arc::new(Gets::new(door.answers.share(), timeout));
    let outcomes = run_all(&door, &gets, batch.operations, timeout).await;
    drop(share);
    let answer = kv::json(StatusCode::OK, &OutcomesJson { outcomes });
    Ok(sent::holding(gets.take_share(&door.answers), answer))
}

/// What the gets of one batch share.
struct Gets {
    /// Places among those under way.
    places: Semaphore,
    /// Bytes of the answer, those that had no room in it included.
    bytes: AtomicUsize,
    /// The answer's share of the memory for bodies.
    share: Mutex<Share>,
    deadline: Instant,
}

impl Gets {
    fn new(share: Share, timeout: Duration) -> Self {
        let (bytes, share) = (AtomicUsize::new(0), Mutex::new(share));
        let places = Semaphore::new(GETS_AT_ONCE);
        Self { places, bytes, share, deadline: Instant::now() + timeout }
    }

    /// The answer's share of a budget, when all gets are done.
    fn take_share(&self, budget: &Arc<Budget>) -> Share {
        let mut share = self.share.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut share, budget.share())
    }

    /// Reads one key, if there is still room in the answer. A get that waits for its place
    /// has that much less time.
    async fn read<N: Node>(&self, door: &Door<N>, get: Get) -> Result<Read, Problem> {
        let place = tokio::time::timeout_at(self.deadline, self.places.acquire()).await;
        let Ok(_place) = place else {
            let detail = "the gets before this one took all the time; ask for fewer at once";
            return Err(Problem::new(Code::Overloaded, detail));
        };
        self.add(0)?;
        let timeout = self.deadline.saturating_duration_since(Instant::now());
        door.read(Get { timeout, ..get }).await
    }

    /// Counts bytes of the answer.
    ///
    /// # Errors
    ///
    /// `overloaded` if there is no room for them. There is none for later ones, then.
    fn add(&self, bytes: usize) -> Result<(), Problem> {
        if ANSWER_BYTES_MAX < self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes {
            let detail = "the answers of this batch are too large together; ask for this key again";
            return Err(Problem::new(Code::Overloaded, detail));
        }
        if !self.share.lock().unwrap_or_else(PoisonError::into_inner).take(bytes) {
            let detail = "the node has no memory for this answer; ask for this key again";
            return Err(Problem::new(Code::Overloaded, detail));
        }
        Ok(())
    }
}

/// # Cancellation
///
/// Operations that are under way are no longer waited for; see [`Node::ask`].
async fn run_all<N: Node>(
    door: &Arc<Door<N>>,
    gets: &Arc<Gets>,
    operations: Vec<OperationJson>,
    timeout: Duration,
) -> Vec<OutcomeJson> {
    let mut outcomes: Vec<_> = operations.iter().map(|_| None).collect();
    let mut running = JoinSet::new();
    for (index, operation) in operations.into_iter().enumerate() {
        let (door, gets) = (Arc::clone(door), Arc::clone(gets));
        running.spawn(async move { (index, run(&door, &gets, operation, timeout).await) });
    }
    while let Some(ended) = running.join_next().await {
        // One that panicked is the one without an outcome at the end.
        if let Ok((index, outcome)) = ended
            && let Some(place) = outcomes.get_mut(index)
        {
            *place = Some(outcome.unwrap_or_else(OutcomeJson::from));
        }
    }
    let lost = || Problem::internal("the operation ended without an outcome").into();
    outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(lost)).collect()
}

async fn run<N: Node>(
    door: &Door<N>,
    gets: &Gets,
    operation: OperationJson,
    timeout: Duration,
) -> Result<OutcomeJson, Problem> {
    let operation = Operation::check(door, operation)?;
    let Operation { scope, key, action } = operation;
    let (keyspace, table) = (scope.keyspace.clone(), scope.table.clone());
    match action {
        Action::Get(options) => {
            let key_read = key.clone();
            let get = Get {
                keyspace,
                table,
                key: key_read,
                options,
                monotonic: false,
                sessions: None,
                timeout,
            };
            let read = kv::present(door, &scope, &key, gets.read(door, get).await?)?;
            let context = door.seal(&scope, &key, read.object.context(), read.object.marks());
            gets.add(context.len() + ValueJson::bytes(&read.object))?;
            let values = ValueJson::all(&read.object);
            Ok(OutcomeJson {
                status: if values.len() == 1 { 200 } else { 300 },
                repeated: false,
                values: Some(values),
                context: Some(context),
                receipt: Some((&read.receipt).into()),
                problem: None,
            })
        }
        Action::Write(write) => {
            let Write { mutation, context: (context, marks), token, repeated, options } = *write;
            let key = key.clone();
            let put = Put {
                keyspace,
                table,
                key,
                mutation,
                context,
                token,
                repeated,
                marks,
                options,
                sessions: None,
                timeout,
            };
            let key = put.key.clone();
            let Written { context, marks, repeated, receipt, session: _ } = door.write(put).await?;
            Ok(OutcomeJson {
                status: 204,
                repeated,
                values: None,
                context: Some(door.seal(&scope, &key, &context, &marks)),
                receipt: Some((&receipt).into()),
                problem: None,
            })
        }
    }
}

/// An operation that makes sense.
struct Operation {
    scope: Scope,
    key: Key,
    action: Action,
}

enum Action {
    Get(ReadOptions),
    Write(Box<Write>),
}

struct Write {
    mutation: Mutation,
    context: (DotSet, Marks),
    token: Option<Token>,
    repeated: bool,
    options: WriteOptions,
}

impl Operation {
    fn check<N: Node>(door: &Door<N>, json: OperationJson) -> Result<Self, Problem> {
        refuse_foreign_fields(&json)?;
        let (spread, min) = demands(&json)?;
        let partition = json::bytes("key", json.key, json.key_base64)?;
        let partition = partition.ok_or_else(|| Problem::malformed("the key is missing"))?;
        let sort = json::bytes("sort", json.sort, json.sort_base64)?.unwrap_or_default();
        let key = Key::new(partition, sort)?;
        let scope = Scope { keyspace: Name::new(&json.keyspace)?, table: Name::new(&json.table)? };
        let context = match &json.context {
            Some(token) => door.open(&scope, &key, token)?,
            None => Default::default(),
        };
        let token = json.token.as_deref().map(kv::parse_token).transpose()?;
        let repeated = json.repeated;
        let level = |level: Option<LevelJson>| level.map(|level| level.0);
        let count = |own: Option<LevelJson>| -> Option<Level> { level(own.or(json.level)) };
        let (w, pw, dw) = (count(json.w), level(json.pw), level(json.dw));
        let write = WriteOptions { w, pw, dw, spread, min };
        let write = |mutation| {
            Action::Write(Box::new(Write { mutation, context, token, repeated, options: write }))
        };
        let action = match json.op {
            OpJson::Get => {
                Action::Get(ReadOptions { r: count(json.r), pr: level(json.pr), spread, min })
            }
            OpJson::Delete => write(Mutation::Delete),
            OpJson::Put => {
                let max = door.config.value_bytes_max;
                let value = value(json.value, json.content_type, max)?;
                write(Mutation::Store(value))
            }
        };
        Ok(Self { scope, key, action })
    }
}

fn demands(json: &OperationJson) -> Result<(Spread, Kind), Problem> {
    let least = |name: &str, number: Option<u8>| match number {
        Some(0) => Err(Problem::malformed(format_args!("{name} is a number from 1 on"))),
        number => Ok(number.unwrap_or_default()),
    };
    let nodes = least("min_nodes", json.min_nodes)?;
    let zones = least("min_zones", json.min_zones)?;
    let kind = json.min.as_deref().map_or(Some(Kind::default()), Kind::parse);
    let kind = kind.ok_or_else(|| Problem::malformed("min is strict, sloppy, partial or any"))?;
    Ok((Spread { nodes, zones }, kind))
}

fn value(
    value: Option<String>,
    content_type: Option<String>,
    bytes_max: usize,
) -> Result<Value, Problem> {
    let value = value.ok_or_else(|| Problem::malformed("a put needs a value"))?;
    let body: Bytes = json::decode_base64("value", &value)?;
    if bytes_max < body.len() {
        let detail = format!("the value has {} bytes, the most is {bytes_max}", body.len());
        return Err(Problem::new(Code::ValueTooLarge, detail));
    }
    let content_type = match content_type {
        Some(given) => kv::content_type(given.as_bytes())?,
        None => kv::default_content_type(),
    };
    Ok(Value { content_type, body })
}

/// Refuses fields that the operation has no use for: whoever sent them meant something.
fn refuse_foreign_fields(json: &OperationJson) -> Result<(), Problem> {
    let reads = json.r.is_some() || json.pr.is_some();
    let writes = json.w.is_some() || json.pw.is_some() || json.dw.is_some();
    let stores = json.value.is_some() || json.content_type.is_some();
    let foreign = match json.op {
        OpJson::Get if writes => Some("w, pw and dw do not apply to a get"),
        OpJson::Get if stores || json.context.is_some() => {
            Some("value, content_type and context do not apply to a get")
        }
        OpJson::Get if json.token.is_some() => Some("idempotency_key does not apply to a get"),
        OpJson::Put | OpJson::Delete if reads => Some("r and pr apply to a get only"),
        OpJson::Delete if stores => Some("value and content_type apply to a put only"),
        _ if json.level.is_some() && (json.r.is_some() || json.w.is_some()) => {
            Some("level sets r or w: give one of them")
        }
        OpJson::Get | OpJson::Put | OpJson::Delete => None,
    };
    foreign.map_or(Ok(()), |detail| Err(Problem::malformed(detail)))
}

/// Reads a list of at most [`OPERATIONS_MAX`]. Counting afterwards would be too late: a
/// batch of 32 MiB can hold a million operations, and each is larger here than there.
fn at_most<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<OperationJson>, D::Error> {
    deserializer.deserialize_seq(AtMost(PhantomData))
}

struct AtMost<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for AtMost<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {OPERATIONS_MAX}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        let mut items = Vec::new();
        while let Some(FromObject(item)) = seq.next_element()? {
            if items.len() == OPERATIONS_MAX {
                return Err(de::Error::invalid_length(OPERATIONS_MAX + 1, &self));
            }
            items.push(item);
        }
        Ok(items)
    }
}
