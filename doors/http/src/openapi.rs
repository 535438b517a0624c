//! The description of this API, generated from the code that serves it.
//!
//! Handlers carry their own description; this module puts them together, and adds what
//! many of them share: path parameters, the query parameters by the lists that the parser
//! itself uses, and the problems that each can answer with, by the one table of codes.
//!
//! A description is worth something only if it holds. [`check`] says whether it declares an
//! answer, and the tests ask it about every answer that they see.
//!
//! Two answers belong to no operation, because the document cannot describe a path or
//! method that it does not have: `no_such_route` and `method_not_allowed`. They stand
//! among the reusable responses.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{
    ContentBuilder, HeaderBuilder, OpenApi, Ref, RefOr, Required, Response as Declared,
    ResponseBuilder,
};
use utoipa::{IntoParams, IntoResponses, OpenApi as _};

use crate::params::{self, Param, Query};
use crate::problem::{Code, PROBLEM_JSON, Problem, ProblemJson};
use crate::{
    backup, batch, changes, evict, explain, health, hints, keyspaces, kv, listing, outcome, repair,
    salvage, status, tables,
};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Merganser",
        description = "An always-writable replicated database. A conflict is always \
            represented, a weaker answer is always labelled, and nothing acknowledged is lost.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        kv::put,
        kv::get,
        kv::delete,
        outcome::outcome,
        explain::explain,
        batch::batch,
        listing::list,
        listing::scan,
        changes::changes,
        keyspaces::all,
        keyspaces::create,
        keyspaces::one,
        tables::all,
        tables::create,
        tables::one,
        status::status,
        evict::evict,
        backup::backup,
        hints::wait,
        salvage::salvage,
        repair::start,
        repair::show,
        repair::cancel,
        health::health,
        health::live,
        health::readiness,
        health::shards,
        health::metrics,
        document,
    ),
    components(schemas(ProblemJson))
)]
struct Api;

/// The names of the two answers that belong to no operation, and their codes.
const ANYWHERE: [(&str, Code); 2] =
    [("NoSuchRoute", Code::NoSuchRoute), ("MethodNotAllowed", Code::MethodNotAllowed)];

/// The whole description.
pub fn describe() -> OpenApi {
    let mut api = Api::openapi();
    let components = api.components.get_or_insert_default();
    for (name, code) in ANYWHERE {
        components.responses.insert(name.to_owned(), RefOr::T(declare(&[code])));
    }
    // The attributes can only say that a body may be left out by letting it be `null`, too.
    let keyspace = api.paths.paths.get_mut("/v1/keyspaces/{keyspace}");
    let declare = keyspace.and_then(|item| item.put.as_mut());
    if let Some(RefOr::T(body)) = declare.and_then(|operation| operation.request_body.as_mut()) {
        body.required = Some(Required::False);
    }
    api
}

fn description() -> &'static OpenApi {
    static DESCRIPTION: OnceLock<OpenApi> = OnceLock::new();
    DESCRIPTION.get_or_init(describe)
}

/// Look at this document.
#[utoipa::path(
    get,
    path = "/v1/openapi.json",
    operation_id = "openapi",
    tag = "node",
    responses(
        (status = 200, description = "The description of this API, in OpenAPI 3.1.",
            body = Object, content_type = "application/json"),
        PlainProblems,
    ),
)]
pub(crate) async fn document(request: Request) -> Result<Response, Problem> {
    static DOCUMENT: OnceLock<Bytes> = OnceLock::new();
    Query::parse(request.uri().query(), &[])?;
    let document = DOCUMENT
        .get_or_init(|| description().to_json().expect("the description is plain data").into());
    let mut response = document.clone().into_response();
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}

/// Returns whether the description declares such an answer. `path` is that of a request,
/// without the query; `code` is that of the problem, if the answer is one.
///
/// # Errors
///
/// What the description lacks.
pub fn check(
    method: &str,
    path: &str,
    status: u16,
    content_type: Option<&str>,
    code: Option<&str>,
) -> Result<(), String> {
    let says = format!("{method} {path}: {status} {content_type:?} {code:?}");
    let media_type = content_type.map(|line| line.split(';').next().unwrap_or(line).trim());
    let declared = match find(method, path) {
        // An empty segment at the end stands for no keyspace or table, though a template
        // does not say so.
        _ if code == Some("no_such_route") && path.ends_with('/') => {
            component("NoSuchRoute", status)
        }
        // The routes of keys take whatever is below them, and know which methods they have
        // before they know whether it names a key.
        _ if code == Some("method_not_allowed") && is_below_keys(path) => {
            component("MethodNotAllowed", status)
        }
        Found::Operation(operation) => operation.responses.responses.get(&status.to_string()),
        Found::OtherMethod => component("MethodNotAllowed", status),
        Found::Nothing => component("NoSuchRoute", status),
    };
    let Some(RefOr::T(declared)) = declared else {
        return Err(format!("{says}: the status is not declared"));
    };
    let declares = |media_type: &str| declared.content.contains_key(media_type);
    match media_type {
        None if declared.content.is_empty() => {}
        Some(media_type) if declares(media_type) || declares("*/*") => {}
        _ => return Err(format!("{says}: the content type is not declared")),
    }
    match code {
        Some(code) if !declared.description.contains(&format!("`{code}`")) => {
            Err(format!("{says}: the code is not declared"))
        }
        _ => Ok(()),
    }
}

fn component(name: &str, status: u16) -> Option<&'static RefOr<Declared>> {
    let (_, code) = ANYWHERE.iter().find(|(other, _)| *other == name)?;
    description().components.as_ref()?.responses.get(name).filter(|_| code.status() == status)
}

enum Found {
    Operation(&'static Operation),
    OtherMethod,
    Nothing,
}

fn is_below_keys(path: &str) -> bool {
    ["/v1/kv/", "/v1/list/", "/v1/scan/", "/v1/changes/", "/v1/outcome/", "/v1/explain/"]
        .iter()
        .any(|prefix| path.starts_with(prefix))
}

fn find(method: &str, path: &str) -> Found {
    let fits = |template: &str| {
        let (template, path) = (template.split('/'), path.split('/'));
        template.clone().count() == path.clone().count()
            && template.zip(path).all(|(ours, theirs)| ours.starts_with('{') || ours == theirs)
    };
    let mut paths = description().paths.paths.iter();
    let Some((_, item)) = paths.find(|(template, _)| fits(template)) else {
        return Found::Nothing;
    };
    let operation = match method {
        // A HEAD is answered as a GET is, without the body.
        "GET" | "HEAD" => &item.get,
        "PUT" => &item.put,
        "POST" => &item.post,
        "DELETE" => &item.delete,
        _ => &None,
    };
    operation.as_ref().map_or(Found::OtherMethod, Found::Operation)
}

/// Declares what any operation can be answered with.
const ANY: &[Code] = &[
    Code::MalformedRequest,
    Code::RequestTimeout,
    Code::KeyTooLarge,
    Code::HeadersTooLarge,
    Code::Internal,
    Code::Overloaded,
];

macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident: [$($code:ident),*]),+ $(,)?) => { $(
        $(#[$doc])*
        pub(crate) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Declared>> {
                by_status(&[$(Code::$code),*])
            }
        }
    )+ };
}

problems! {
    /// Of what does not ask the node.
    PlainProblems: [],
    /// Of what asks the node about itself.
    NodeProblems: [DiskFailed],
    /// Of the question whether the node's loop turns.
    LiveProblems: [NotLive],
    /// Of the question whether the node can serve.
    ReadyProblems: [NotLive, NotReady],
    /// Of the question what the tables can do.
    ShardsProblems: [NotLive, ShardsLacking],
    /// Of a backup.
    BackupProblems: [DiskFailed, BackupUnderWay, NodeJoining],
    /// Of the wait for what is kept for others.
    WaitProblems: [NotLive, HintsLeft],
    /// Of giving up the disk of a node.
    EvictProblems: [DiskFailed, OtherDisk, BodyTooLarge, NoMajority, NotAttempted, UnknownOutcome],
    /// Of taking in what only a disk has.
    SalvageProblems: [
        DiskFailed, MalformedName, MalformedKey, InvalidContract, UnknownKeyspace, UnknownTable,
        DiskNotRetired, MayBeDeleted, TooManySiblings, ValueTooLarge, BodyTooLarge, NotAttempted, UnknownOutcome
    ],
    /// Of the beginning of a repair.
    RepairProblems: [
        DiskFailed, MalformedName, MalformedKey, UnknownKeyspace, UnknownTable, UnknownShard,
        RepairRuns
    ],
    /// Of a look at a keyspace.
    OneKeyspaceProblems: [DiskFailed, MalformedName, UnknownKeyspace],
    /// Of a look at a table.
    OneTableProblems: [DiskFailed, MalformedName, UnknownKeyspace, UnknownTable],
    /// Of the declaration of a keyspace.
    CreateKeyspaceProblems: [
        DiskFailed, MalformedName, InvalidContract, LevelOutOfRange, ExistsDifferently,
        BodyTooLarge, NoMajority, NotAttempted, UnknownOutcome
    ],
    /// Of the declaration of a table.
    CreateTableProblems: [
        DiskFailed, MalformedName, PolicyRequired, InvalidContract, LevelOutOfRange, LevelTooWeak,
        NoLocalReplicas, MayMissRequired, UnknownKeyspace, ExistsDifferently, BodyTooLarge, NoMajority, NotAttempted,
        UnknownOutcome
    ],
    /// Of a write.
    WriteProblems: [
        DiskFailed, MalformedName, MalformedKey, LevelOutOfRange, LevelTooWeak, NoLocalReplicas,
        WeakerThanWanted, SessionInvalid, SessionBehind, ContextInvalid, TokenMalformed, TokenFromFuture, TokenExpired, TokenReused,
        ContextRequired, UnknownKeyspace, UnknownTable, TooManySiblings, ValueTooLarge,
        NotAttempted, NodeJoining, HintsFull, UnknownOutcome
    ],
    /// Of a read.
    ReadProblems: [
        DiskFailed, MalformedName, MalformedKey, LevelOutOfRange, LevelTooWeak, NoLocalReplicas,
        WeakerThanWanted, UnknownKeyspace,
        UnknownTable, NotFound, Deleted, NotAttempted, TooFewAnswers, NotSettled, SessionInvalid, SessionBehind
    ],
    /// Of the question what became of a write.
    OutcomeProblems: [
        DiskFailed, MalformedName, MalformedKey, TokenMalformed, UnknownKeyspace, UnknownTable,
        TooFewAnswers, SessionNotKept
    ],
    /// Of the question what each replica holds.
    ExplainProblems: [
        DiskFailed, MalformedName, MalformedKey, UnknownKeyspace, UnknownTable, SessionNotKept
    ],
    /// Of a list or scan.
    ListProblems: [
        DiskFailed, MalformedName, MalformedKey, LevelOutOfRange, LevelTooWeak, NoLocalReplicas,
        WeakerThanWanted, CursorInvalid, SessionNotKept,
        UnknownKeyspace, UnknownTable, NotAttempted, TooFewAnswers
    ],
    /// Of a feed.
    ChangesProblems: [
        DiskFailed, MalformedName, CursorInvalid, CursorExpired, CursorTooLarge, TooManyFeeds,
        SessionNotKept, UnknownKeyspace, UnknownTable, NotAttempted
    ],
    /// Of a batch as a whole.
    BatchProblems: [BodyTooLarge, SessionNotKept],
}

fn by_status(codes: &[Code]) -> BTreeMap<String, RefOr<Declared>> {
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in ANY.iter().chain(codes) {
        by_status.entry(code.status()).or_default().push(*code);
    }
    let declared = by_status.into_iter();
    declared.map(|(status, codes)| (status.to_string(), RefOr::T(declare(&codes)))).collect()
}

/// Declares an answer with one of these codes, which have the same status.
fn declare(codes: &[Code]) -> Declared {
    let lines = codes.iter().map(|code| format!("`{}`: {}.", code.as_str(), code.title()));
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let mut response = ResponseBuilder::new()
        .description(lines.collect::<Vec<_>>().join(" "))
        .content(PROBLEM_JSON, content);
    for (name, description, of) in [
        ("Retry-After", "Seconds after which to try again.", Code::Overloaded),
        ("Allow", "The methods that apply.", Code::MethodNotAllowed),
        ("Merganser-Context", "Of a deleted key: what to pass when writing.", Code::Deleted),
        ("Merganser-Warning", "context-too-large: no node takes it back.", Code::Deleted),
        ("Merganser-Receipt", "Who took part.", Code::UnknownOutcome),
    ] {
        if codes.iter().any(|code| code.status() == of.status()) {
            let text = ObjectBuilder::new().schema_type(Type::String);
            let header = HeaderBuilder::new().schema(Some(text)).description(Some(description));
            response = response.header(name, header.build());
        }
    }
    response.build()
}

macro_rules! path_params {
    ($($(#[$doc:meta])* $name:ident: [$($param:literal $description:literal),+]),+ $(,)?) => { $(
        $(#[$doc])*
        pub(crate) struct $name;

        impl IntoParams for $name {
            fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
                vec![$(in_path($param, $description)),+]
            }
        }
    )+ };
}

path_params! {
    /// The path of a keyspace.
    KeyspacePath: ["keyspace" "The keyspace."],
    /// The path of a table.
    TablePath: ["keyspace" "The keyspace.", "table" "The table."],
    /// The path of a key.
    KeyPath: [
        "keyspace" "The keyspace.",
        "table" "The table.",
        "key" "The partition key: any bytes, percent-encoded in one segment."
    ],
    /// The path of a write to a key.
    OutcomePath: [
        "token" "The idempotency key of the write.",
        "keyspace" "The keyspace.",
        "table" "The table.",
        "key" "The partition key: any bytes, percent-encoded in one segment."
    ],
}

/// What a name looks like: see [`model::Name`].
pub(crate) const NAME_PATTERN: &str = "^[a-z0-9][a-z0-9_.-]{0,63}$";

/// What an idempotency key looks like: see [`model::Token`].
const TOKEN_PATTERN: &str =
    "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-7[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}$";

fn in_path(name: &str, description: &str) -> Parameter {
    let schema = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1));
    let schema = match name {
        "key" => schema,
        "token" => schema.pattern(Some(TOKEN_PATTERN)),
        _ => schema.pattern(Some(NAME_PATTERN)).max_length(Some(64)),
    };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some(description))
        .schema(Some(schema))
        .build()
}

macro_rules! query_params {
    ($($(#[$doc:meta])* $name:ident: $accepted:expr),+ $(,)?) => { $(
        $(#[$doc])*
        pub(crate) struct $name;

        impl IntoParams for $name {
            fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
                $accepted.iter().copied().map(Param::declared).collect()
            }
        }
    )+ };
}

query_params! {
    /// What a read of one key takes.
    ReadParams: params::READ,
    /// What a write of one key takes.
    WriteParams: params::WRITE,
    /// What the question for an outcome takes.
    OutcomeParams: params::OUTCOME,
    /// What the question what each replica holds takes.
    ExplainParams: params::OUTCOME,
    /// What a list takes.
    ListParams: params::LIST,
    /// What a feed takes.
    ChangesParams: params::CHANGES,
    /// What the wait for what is kept for others takes.
    WaitParams: params::WAIT,
    /// What the taking in of what only a disk has takes.
    SalvageParams: params::SALVAGE,
    /// What a repair takes.
    RepairParams: params::REPAIR,
    /// What the end of a repair takes.
    RepairCancelParams: params::REPAIR_CANCEL,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_an_answer_of_something() {
        let document = describe().to_json().unwrap();
        for code in Code::ALL {
            assert!(document.contains(&format!("`{}`", code.as_str())), "{code:?}");
        }
    }

    #[test]
    fn an_answer_that_is_not_declared_is_noticed() {
        let json = Some("application/json");
        let problem = Some(PROBLEM_JSON);
        assert_eq!(check("GET", "/health", 200, json, None), Ok(()));
        for (method, path, status, content_type, code) in [
            ("GET", "/health", 201, json, None),
            ("GET", "/health", 200, Some("text/plain"), None),
            ("GET", "/health", 200, None, None),
            ("GET", "/v1/status", 500, problem, Some("not_found")),
            ("PUT", "/health", 200, json, None),
            ("GET", "/nowhere", 200, json, None),
        ] {
            assert!(check(method, path, status, content_type, code).is_err(), "{method} {path}");
        }
        assert_eq!(check("PUT", "/health", 405, problem, Some("method_not_allowed")), Ok(()));
        assert_eq!(check("GET", "/x", 404, problem, Some("no_such_route")), Ok(()));
    }
}
