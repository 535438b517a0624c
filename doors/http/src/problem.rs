//! Answers that are no success, as `application/problem+json`.
//!
//! A client program must be able to act on a failure without reading prose: whether to
//! correct the request, to retry it, or to read before deciding. Every failure therefore
//! has a [`Code`] that never changes its meaning, and the facts that belong to it as
//! fields. The table below is the only place that gives a code its status and title.
//!
//! Source: RFC 9457.

use std::fmt;

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use model::{Failure, Malformed, Refusal};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};

use crate::health::TableHealthJson;
use crate::receipt::{self, ReceiptJson};
use crate::status::HintsJson;

/// The media type of a problem.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// The header that carries the tokens of a session.
pub(crate) const SESSION: HeaderName = HeaderName::from_static("merganser-session");

/// The header that carries a context token.
pub(crate) const CONTEXT: HeaderName = HeaderName::from_static("merganser-context");

/// The header that carries an idempotency key.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The header that says that a write had come before: of a request, that it was sent before, and
/// of an answer, that it is known.
pub(crate) const REPEATED: HeaderName = HeaderName::from_static("merganser-repeated");

/// Of values, which are whatever their writers sent: keeps a browser from taking one for a
/// page that may do things in our name.
pub(crate) const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// The header that says what is wrong with an answer that is a success.
pub(crate) const WARNING: HeaderName = HeaderName::from_static("merganser-warning");

/// That only a disk had a value that does not come back.
pub(crate) const RECOVERED: HeaderName = HeaderName::from_static("merganser-recovered");

/// The header that carries a receipt.
pub(crate) const RECEIPT: HeaderName = HeaderName::from_static("merganser-receipt");

macro_rules! codes {
    ($($name:ident $code:literal $status:literal $title:literal),+ $(,)?) => {
        /// What went wrong, for programs. The text and the status of a code never change.
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        pub(crate) enum Code { $(#[doc = $title] $name),+ }

        impl Code {
            /// Every code.
            pub(crate) const ALL: &[Code] = &[$(Code::$name),+];

            /// The code as clients see it.
            pub(crate) fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code),+ }
            }

            /// The status of every answer with this code.
            pub(crate) fn status(self) -> u16 {
                match self { $(Self::$name => $status),+ }
            }

            /// One line for people, the same for every occurrence.
            pub(crate) fn title(self) -> &'static str {
                match self { $(Self::$name => $title),+ }
            }
        }
    };
}

codes! {
    MalformedRequest  "malformed_request"   400 "The request cannot be read",
    MalformedName     "malformed_name"      400 "The name cannot exist",
    MalformedKey      "malformed_key"       400 "The key cannot exist",
    PolicyRequired    "policy_required"     400 "A table needs a conflict policy",
    InvalidContract   "invalid_contract"    400 "The contract cannot be kept",
    LevelOutOfRange   "level_out_of_range"  400 "No number of replicas can meet the level",
    LevelTooWeak      "level_too_weak"      400 "The table allows no request as weak as this",
    NoLocalReplicas   "no_local_replicas"   400 "The region of the node keeps no replicas",
    MayMissRequired   "may_miss_required"   400 "Requests at the table's levels can miss writes",
    ContextInvalid    "context_invalid"     400 "The context is not one that this cluster gave for this key",
    SessionInvalid    "session_invalid"     400 "The session token is not one that this version gives",
    SessionNotKept    "session_not_kept"    400 "A request of this kind is in no session",
    ContextRequired   "context_required"    428 "The write needs the context of a read",
    TokenMalformed    "token_malformed"     400 "The idempotency key is no UUID of version 7",
    TokenFromFuture   "token_from_future"   400 "The idempotency key is of a time to come",
    TokenExpired      "token_expired"       410 "The idempotency key is too old",
    TokenReused       "token_reused"        422 "The idempotency key was used for another write",
    CursorInvalid     "cursor_invalid"      400 "The cursor is not one that this cluster gave for this list",
    CursorExpired     "cursor_expired"      410 "What has changed since the cursor is not remembered any more",
    CursorTooLarge    "cursor_too_large"    422 "The table cannot be watched, its cursor would be too large",
    UnknownKeyspace   "unknown_keyspace"    404 "There is no such keyspace",
    UnknownTable      "unknown_table"       404 "There is no such table",
    UnknownShard      "unknown_shard"       404 "There is no such shard",
    NotFound          "not_found"           404 "Nobody who answered has heard of the key",
    Deleted           "deleted"             404 "The key was deleted",
    NoSuchRoute       "no_such_route"       404 "There is nothing at this path",
    MethodNotAllowed  "method_not_allowed"  405 "The method does not apply to this path",
    RequestTimeout    "request_timeout"     408 "The request did not arrive in time",
    ExistsDifferently "exists_differently"  409 "The name exists with another contract",
    OtherDisk         "other_disk"          409 "The node is not enrolled with this disk",
    DiskNotRetired    "disk_not_retired"    409 "The disk was not given up",
    MayBeDeleted      "may_be_deleted"      409 "What was found may have been deleted",
    RepairRuns        "repair_runs"         409 "A repair is under way at the node",
    BackupUnderWay    "backup_under_way"    409 "The node sends a backup to somebody else",
    TooManySiblings   "too_many_siblings"   409 "The key holds too many concurrent values",
    ValueTooLarge     "value_too_large"     413 "The value is too large",
    BodyTooLarge      "body_too_large"      413 "The body is too large",
    KeyTooLarge       "key_too_large"       414 "The key is too large",
    HeadersTooLarge   "headers_too_large"   431 "The headers are too large",
    Internal          "internal"            500 "The node made a mistake",
    DiskFailed        "disk_failed"         500 "The node's disk failed",
    NotAttempted      "not_attempted"       503 "Too few replicas are alive, nothing was changed",
    Overloaded        "overloaded"          503 "The node has too much to do",
    TooManyFeeds      "too_many_feeds"      503 "Too many are watching tables through this node",
    NodeJoining       "node_joining"        503 "The disk of the node is not whole yet, nothing was changed",
    HintsFull         "hints_full"          503 "No node that could stand in for replicas has room, nothing was changed",
    NotLive           "not_live"            503 "The node does not come to it",
    NotReady          "not_ready"           503 "The node cannot serve",
    ShardsLacking     "shards_lacking"      503 "Not all shards can be read and written",
    NoMajority        "no_majority"         503 "Too few nodes are alive to declare anything",
    UnknownOutcome    "unknown_outcome"     504 "Too few replicas answered in time; a write may have been applied",
    TooFewAnswers     "too_few_answers"     504 "Too few replicas answered a read in time, nothing was changed",
    SessionBehind     "session_behind"      503 "Nobody who could be asked has all that the session has seen",
    WeakerThanWanted  "weaker_than_wanted"  504 "The answer is worth less than was demanded",
    HintsLeft         "hints_left"          504 "Not everything that is kept for others was handed over in time",
    NotSettled        "not_settled"         504 "What was read is at too few replicas, a later read could return less",
}

/// A failure on its way to the client.
pub(crate) struct Problem {
    code: Code,
    detail: String,
    // Boxed: most problems have none, and every `Result` would carry them.
    facts: Option<Box<Facts>>,
}

/// What belongs to some problems.
#[derive(Default)]
pub(crate) struct Facts {
    /// How many were needed.
    pub(crate) wanted: Option<u64>,
    /// How many answered.
    pub(crate) got: Option<u64>,
    /// How many are believed to be alive.
    pub(crate) alive: Option<u64>,
    /// N.
    pub(crate) replicas: Option<u64>,
    /// Who took part.
    pub(crate) receipt: Option<model::Receipt>,
    /// A sealed context.
    pub(crate) context: Option<String>,
    /// What the session has seen.
    pub(crate) session: Option<model::Session>,
    /// What tables can do.
    pub(crate) tables: Option<Vec<TableHealthJson>>,
    /// What is kept for others.
    pub(crate) hints: Option<Vec<HintsJson>>,
    /// The repair that is under way.
    pub(crate) repair: Option<u64>,
}

/// A failure, with the facts that belong to it (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemJson {
    /// Names the kind of problem; ends in the code.
    #[schema(format = "uri")]
    r#type: String,
    /// The kind of problem in one line.
    title: &'static str,
    /// The status of the answer.
    status: u16,
    /// What happened here, and what to do about it.
    detail: String,
    /// The kind of problem, for programs. Never changes its meaning.
    #[schema(schema_with = codes)]
    code: &'static str,
    /// How many replicas or nodes were needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    wanted: Option<u64>,
    /// How many answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    got: Option<u64>,
    /// How many are believed to be alive.
    #[serde(skip_serializing_if = "Option::is_none")]
    alive: Option<u64>,
    /// How many there are in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    replicas: Option<u64>,
    /// Who took part, if the request came so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<ReceiptJson>,
    /// Of a deleted key: what to pass when writing it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<String>,
    /// What each table can do now.
    #[serde(skip_serializing_if = "Option::is_none")]
    tables: Option<Vec<TableHealthJson>>,
    /// What is kept for which node, and was waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    hints: Option<Vec<HintsJson>>,
    /// The number of the repair that is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    repair: Option<String>,
}

fn codes() -> Object {
    let codes = Code::ALL.iter().map(|code| code.as_str());
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(codes)).build()
}

impl Problem {
    /// A problem without facts.
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), facts: None }
    }

    /// The same under another code, if it has this one: where the code is of something general.
    pub(crate) fn recoded(self, from: Code, to: Code) -> Self {
        let code = if self.code.as_str() == from.as_str() { to } else { self.code };
        Self { code, ..self }
    }

    /// A request that cannot be read. `detail` says where and why.
    pub(crate) fn malformed(detail: impl fmt::Display) -> Self {
        Self::new(Code::MalformedRequest, detail.to_string())
    }

    /// A mistake of the node or the door. The text goes to the log as well.
    pub(crate) fn internal(detail: &'static str) -> Self {
        tracing::error!(detail, "a request could not be answered");
        Self::new(Code::Internal, detail)
    }

    /// Adds facts.
    pub(crate) fn with(mut self, facts: Facts) -> Self {
        self.facts = Some(Box::new(facts));
        self
    }

    /// What went wrong.
    pub(crate) fn status(&self) -> u16 {
        self.code.status()
    }

    /// The kind of problem, for programs.
    pub(crate) fn code(&self) -> &'static str {
        self.code.as_str()
    }

    /// The problem as JSON.
    pub(crate) fn into_json(self) -> ProblemJson {
        let facts = self.facts.map(|facts| *facts).unwrap_or_default();
        ProblemJson {
            r#type: format!("https://merganser.dev/problems/{}", self.code.as_str()),
            title: self.code.title(),
            status: self.code.status(),
            detail: self.detail,
            code: self.code.as_str(),
            wanted: facts.wanted,
            got: facts.got,
            alive: facts.alive,
            replicas: facts.replicas,
            receipt: facts.receipt.as_ref().map(ReceiptJson::from),
            context: facts.context,
            tables: facts.tables,
            hints: facts.hints,
            repair: facts.repair.map(|id| format!("{id:016x}")),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status()).expect("the table has statuses only");
        let facts = self.facts.as_deref();
        let receipt = facts.and_then(|facts| facts.receipt.as_ref()).map(receipt::header);
        let context = facts.and_then(|facts| facts.context.clone());
        let session = facts.and_then(|facts| facts.session.clone());
        let body = serde_json::to_vec(&self.into_json()).expect("a problem is plain data");
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        receipt.map(|receipt| headers.insert(RECEIPT, receipt));
        receipt::add_session(headers, session.as_ref());
        if let Some(context) = context {
            receipt::add_context(headers, context);
        }
        response
    }
}

impl From<Malformed> for Problem {
    fn from(malformed: Malformed) -> Self {
        let code = match malformed {
            Malformed::Name(_) => Code::MalformedName,
            Malformed::EmptyKey => Code::MalformedKey,
            Malformed::LongKey { .. } => Code::KeyTooLarge,
        };
        Self::new(code, malformed.to_string())
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        let code = match refusal {
            Refusal::Malformed(malformed) => return malformed.into(),
            Refusal::UnknownKeyspace(_) => Code::UnknownKeyspace,
            Refusal::UnknownTable { .. } => Code::UnknownTable,
            Refusal::Exists { .. } => Code::ExistsDifferently,
            Refusal::Contract(_) => Code::InvalidContract,
            Refusal::LargeValue { .. } => Code::ValueTooLarge,
            Refusal::ManySiblings { .. } | Refusal::LargeObject { .. } => Code::TooManySiblings,
            Refusal::EmptyDelete | Refusal::BlindPut { .. } => Code::ContextRequired,
            Refusal::Weak { .. } => Code::LevelTooWeak,
            Refusal::NotLocal { .. } => Code::NoLocalReplicas,
            Refusal::MayMiss { .. } => Code::MayMissRequired,
            Refusal::TokenExpired { .. } | Refusal::TokenForgotten { .. } => Code::TokenExpired,
            Refusal::TokenFromFuture { .. } => Code::TokenFromFuture,
            Refusal::TokenReused => Code::TokenReused,
            Refusal::Overloaded { .. } => Code::Overloaded,
            Refusal::CursorExpired { .. } => Code::CursorExpired,
            Refusal::HintsFull { .. } => Code::HintsFull,
            Refusal::Joining { .. } => Code::NodeJoining,
            Refusal::Disk(_) => Code::DiskFailed,
            Refusal::NoSuchShard { .. } => Code::UnknownShard,
            Refusal::DiskNotRetired { .. } => Code::DiskNotRetired,
            Refusal::MayBeDeleted { .. } => Code::MayBeDeleted,
            Refusal::RepairRuns { id } => {
                return Self::new(Code::RepairRuns, detail)
                    .with(Facts { repair: Some(id), ..Facts::default() });
            }
            Refusal::Level { asked, replicas, .. } => {
                return Self::new(Code::LevelOutOfRange, detail).with(Facts {
                    wanted: Some(asked.into()),
                    replicas: Some(replicas.into()),
                    ..Facts::default()
                });
            }
            Refusal::NoMajority { alive, nodes } => {
                return Self::new(Code::NoMajority, detail).with(Facts {
                    wanted: Some((nodes / 2 + 1) as u64),
                    alive: Some(alive as u64),
                    ..Facts::default()
                });
            }
        };
        Self::new(code, detail)
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        let detail = failure.to_string();
        match failure {
            Failure::Refused(refusal) => refusal.into(),
            Failure::NotAttempted { wanted, alive, replicas, lacks: _ } => {
                Self::new(Code::NotAttempted, detail).with(Facts {
                    wanted: Some(wanted.into()),
                    alive: Some(alive.into()),
                    replicas: Some(replicas.into()),
                    ..Facts::default()
                })
            }
            Failure::Weaker { receipt } => Self::new(Code::WeakerThanWanted, detail).with(Facts {
                got: Some(receipt.acks.len() as u64),
                replicas: Some(receipt.replicas.into()),
                receipt: Some(receipt),
                ..Facts::default()
            }),
            Failure::SessionBehind { .. } => Self::new(Code::SessionBehind, detail),
            Failure::Unsettled { receipt } => Self::new(Code::NotSettled, detail).with(Facts {
                got: Some(receipt.acks.len() as u64),
                replicas: Some(receipt.replicas.into()),
                receipt: Some(receipt),
                ..Facts::default()
            }),
            Failure::TooFewAnswers { wanted, got, receipt, lacks: _ } => {
                Self::new(Code::TooFewAnswers, detail).with(Facts {
                    wanted: Some(wanted.into()),
                    got: Some(got.into()),
                    replicas: Some(receipt.replicas.into()),
                    receipt: Some(receipt),
                    ..Facts::default()
                })
            }
            Failure::Unknown { wanted, got, receipt, lacks: _ } => {
                Self::new(Code::UnknownOutcome, detail).with(Facts {
                    wanted: Some(wanted.into()),
                    got: Some(got.into()),
                    replicas: receipt.as_ref().map(|receipt| receipt.replicas.into()),
                    receipt,
                    ..Facts::default()
                })
            }
        }
    }
}

/// Answers a path that has no route.
pub(crate) async fn no_such_route(request: Request) -> Problem {
    let path: String = request.uri().path().chars().take(200).collect();
    nothing_at(&path)
}

/// The problem of a path that leads nowhere.
pub(crate) fn nothing_at(path: &str) -> Problem {
    let hint = match path.strip_prefix("/v1/") {
        Some(rest) if rest.split('/').count() > 4 => "; a '/' inside a key is written %2F",
        _ => "; GET /v1/openapi.json tells what there is",
    };
    Problem::new(Code::NoSuchRoute, format!("there is nothing at {path}{hint}"))
}

/// Answers a method that its route does not have. The router adds `Allow`.
pub(crate) async fn method_not_allowed(request: Request) -> Problem {
    let detail = format!("{} does not apply here; see the header Allow", request.method());
    Problem::new(Code::MethodNotAllowed, detail)
}
