//! What changes in a table, as it changes.
//!
//! A program that keeps an index, a cache or a copy wants to be told, and to go on where it stopped,
//! at whatever node. So each answer ends with a cursor, which says what was told: whoever hands it
//! back is told the rest. Nothing is remembered of him here.
//!
//! | `Accept` | answer |
//! | --- | --- |
//! | `text/event-stream` | [`stream`]: events as they come, until one side ends it |
//! | anything else | one page of changes, when there are some or `wait` is over |
//!
//! A watcher is told the state of each key that has changed, at least once, and not each write. He
//! holds a place for as long as he waits, of which there are [`Config::feeds_max`], so that those who
//! wait leave room for those who ask.
//!
//! [`Config::feeds_max`]: crate::Config::feeds_max

mod stream;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::Response;
use model::{Changed, Position, Watch, Watched};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, watch};
use utoipa::ToSchema;

use crate::Node;
use crate::door::Door;
use crate::json::{TextOrBase64, ValueJson};
use crate::kv;
use crate::openapi::{ChangesParams, ChangesProblems, TablePath};
use crate::params::{self, Query};
use crate::path::{self, Scope};
use crate::problem::{Code, Problem};
use crate::sent;

/// Where a browser goes on, by itself, when its stream broke.
static LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// How long replicas may take to say what there is, beside what the client waits for news.
const GATHER_MAX: Duration = Duration::from_secs(8);

/// Tells a handler when the server stops, if it is served by one.
#[derive(Clone)]
pub(crate) struct Stopping(pub(crate) watch::Receiver<bool>);

impl Stopping {
    /// Is ready when the server stops.
    async fn stopped(this: Option<&mut Self>) {
        if let Some(Self(stopping)) = this
            && stopping.wait_for(|stop| *stop).await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }
}

/// What has changed in a table.
#[derive(Serialize, ToSchema)]
#[schema(as = Changes)]
pub(crate) struct ChangesJson {
    /// Each key that has changed, once, as it is now. Empty if nothing has.
    changes: Vec<ChangeJson>,
    /// What to pass as `since` to be told the rest.
    cursor: String,
    /// The table is still being read from its beginning.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    reading: bool,
    /// So many writes that were told before nobody knows who answers: what is told of their keys may
    /// be older than what was told before, until they are told again.
    #[serde(skip_serializing_if = "is_none")]
    #[schema(required = false)]
    rewound: u64,
    /// Shards of which nobody answered. What has changed there is told later.
    #[serde(skip_serializing_if = "is_none")]
    #[schema(required = false)]
    silent_shards: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_none(count: &u64) -> bool {
    *count == 0
}

/// One key that has changed.
#[derive(Serialize, ToSchema)]
#[schema(as = Change)]
pub(crate) struct ChangeJson {
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
    /// Whether it holds no value any more.
    deleted: bool,
    /// What to pass when writing the key; absent if even that it was deleted is forgotten.
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<String>,
    /// The concurrent values; absent if it was deleted, or they were not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<Vec<ValueJson>>,
}

impl ChangeJson {
    fn new<N: Node>(door: &Door<N>, scope: &Scope, changed: &Changed, values: bool) -> Self {
        let Changed { key, object } = changed;
        let partition = TextOrBase64::from(key.partition());
        let sort = crate::listing::sort(key);
        let deleted = object.values().is_empty();
        let context = || door.seal(scope, key, object.context(), object.marks());
        Self {
            key: partition.text,
            key_base64: partition.base64,
            sort: sort.text,
            sort_base64: sort.base64,
            deleted,
            context: (!object.is_bottom()).then(context),
            values: (values && !deleted).then(|| ValueJson::all(object)),
        }
    }
}

/// What somebody watches, and how.
struct Feed<N> {
    door: Arc<Door<N>>,
    scope: Scope,
    position: Position,
    limit: usize,
    values: bool,
    stopping: Option<Stopping>,
    _place: OwnedSemaphorePermit,
}

impl<N: Node> Feed<N> {
    /// What has changed since the position. Waits so long until something has, or until the
    /// server stops.
    async fn page(&mut self, wait: Duration) -> Result<Watched, Problem> {
        let Scope { keyspace, table } = self.scope.clone();
        let (since, timeout) = (self.position.clone(), wait + GATHER_MAX);
        let watch = Watch { keyspace, table, since, limit: self.limit, wait, timeout };
        let stopping = Stopping::stopped(self.stopping.as_mut());
        let watched = tokio::select! {
            watched = self.door.watch(watch) => watched?,
            () = stopping => Watched { position: self.position.clone(), ..Watched::default() },
        };
        self.position.clone_from(&watched.position);
        Ok(watched)
    }

    fn cursor(&self) -> Result<String, Problem> {
        self.door.seal_feed(&self.scope, &self.position)
    }

    fn change(&self, changed: &Changed) -> ChangeJson {
        ChangeJson::new(&self.door, &self.scope, changed, self.values)
    }
}

/// Watch a table.
///
/// With `Accept: text/event-stream` the answer is a stream of server-sent events, which goes on
/// until one side ends it: `change`, with a Change as its data; `live`, when all that there was has
/// been told; `rewound` and `silent`, when what is told may be older or less than it should be; and
/// `problem`, the last, with a Problem. Else it is one page.
///
/// Each key that has changed is told at least once, as it is at that moment, and each time no older
/// than the time before. What is told is on the disk of a replica.
#[utoipa::path(
    get,
    path = "/v1/changes/{keyspace}/{table}",
    operation_id = "changes",
    tag = "changes",
    params(
        TablePath, ChangesParams,
        ("Accept" = Option<String>, Header,
            description = "text/event-stream for a stream of events, else one page comes."),
        ("Last-Event-ID" = Option<String>, Header,
            description = "The cursor to go on from, before `since`: browsers send it by themselves."),
    ),
    responses(
        (status = 200, description = "What has changed.",
            content((ChangesJson = "application/json"), (String = "text/event-stream"))),
        ChangesProblems,
    ),
)]
pub(crate) async fn changes<N: Node>(
    State(door): State<Arc<Door<N>>>,
    mut request: Request,
) -> Result<Response, Problem> {
    kv::refuse_session(request.headers())?;
    let [keyspace, table] = path::segments(request.uri().path(), "/v1/changes/")?;
    let scope = path::scope(keyspace, table)?;
    let query = Query::parse(request.uri().query(), params::CHANGES)?;
    let position = position(&door, &scope, &query, request.headers())?;
    let place = Arc::clone(&door.feeds).try_acquire_owned().map_err(|_| no_place(&door))?;
    let stopping = request.extensions_mut().remove::<Stopping>();
    let (limit, values) = (query.limit, query.values);
    let mut feed = Feed { door, scope, position, limit, values, stopping, _place: place };
    if wants_stream(request.headers()) {
        return stream::begin(feed).await;
    }
    let was_reading = feed.position.reading.is_some();
    let watched = feed.page(query.wait).await?;
    let page = ChangesJson {
        changes: watched.changes.iter().map(|changed| feed.change(changed)).collect(),
        cursor: feed.cursor()?,
        reading: was_reading && feed.position.reading.is_some(),
        rewound: watched.rewound,
        silent_shards: watched.silent.into(),
    };
    sent::within(&feed.door.answers, kv::json(StatusCode::OK, &page))
}

fn no_place<N>(door: &Door<N>) -> Problem {
    let max = door.config.feeds_max;
    let detail = format!(
        "{max} are watching through this node already, which is feeds_max; watch through another node, or raise it"
    );
    Problem::new(Code::TooManyFeeds, detail)
}

/// Where the client wants to begin.
fn position<N: Node>(
    door: &Door<N>,
    scope: &Scope,
    query: &Query,
    headers: &HeaderMap,
) -> Result<Position, Problem> {
    let last = kv::single(headers, &LAST_EVENT_ID)?;
    let last = last.map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned());
    match last.filter(|id| !id.is_empty()).as_deref().or(query.since.as_deref()) {
        None | Some("now") => Ok(Position::default()),
        Some("beginning") => Ok(Position::beginning()),
        Some(cursor) => door.open_feed(scope, cursor),
    }
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok());
    let mut types = lines.flat_map(|line| line.split(','));
    types.any(|one| {
        let media_type = one.split(';').next().unwrap_or_default().trim();
        media_type.eq_ignore_ascii_case("text/event-stream")
    })
}
