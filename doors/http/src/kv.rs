//! One key: write it, delete it, read it.
//!
//! This is the hot path. A value is the body of its request and of its answer, with the
//! `Content-Type` that its writer gave; everything else that belongs to it travels in two
//! headers.
//!
//! | the key holds | answer of a read |
//! | --- | --- |
//! | one value | 200, the value |
//! | several | 300, all of them: see [`siblings`] |
//! | none any more | 404 `deleted`, with the context of the delete |
//! | none ever | 404 `not_found` |

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use causality::{Dot, DotSet};
use model::{Get, Key, Marks, Mutation, Object, Put, Read, Session, Token, Value, Written};
use serde::Serialize;

use crate::Node;
use crate::body::{self, Cap, Held};
use crate::door::Door;
use crate::json::{ValueJson, ValuesJson, WrittenJson};
use crate::openapi::{KeyPath, ReadParams, ReadProblems, WriteParams, WriteProblems};
use crate::params::{self, Detail, Query};
use crate::path::{self, Scope};
use crate::problem::{
    CONTEXT, Code, Facts, IDEMPOTENCY_KEY, NOSNIFF, Problem, RECEIPT, RECOVERED, REPEATED, SESSION,
};
use crate::receipt::{self, ReceiptJson};
use crate::sent;
use crate::siblings;

/// What a value is that does not say.
const CONTENT_TYPE_DEFAULT: &[u8] = b"application/octet-stream";

/// The most bytes of a content type: it is stored with every value.
const CONTENT_TYPE_BYTES_MAX: usize = 255;

/// The key and the query of a request under `/v1/kv/`.
struct Target {
    scope: Scope,
    key: Key,
    query: Query,
}

impl Target {
    fn of(head: &Parts, accepted: &[params::Param]) -> Result<Self, Problem> {
        let [keyspace, table, key] = path::segments(head.uri.path(), "/v1/kv/")?;
        let mut query = Query::parse(head.uri.query(), accepted)?;
        let key = path::key(key, std::mem::take(&mut query.sort))?;
        Ok(Self { scope: path::scope(keyspace, table)?, key, query })
    }
}

/// Write a value.
///
/// The value is the body, with its Content-Type. It supersedes what the context says was
/// read, and nothing else: without a context it joins the values that are there.
#[utoipa::path(
    put,
    path = "/v1/kv/{keyspace}/{table}/{key}",
    operation_id = "put",
    tag = "kv",
    params(
        KeyPath, WriteParams,
        ("Merganser-Context" = Option<String>, Header, description = "The context of a read."),
        ("Merganser-Session" = Option<String>, Header,
            description = "The tokens of a session, with commas between them; empty to begin one."),
        ("Idempotency-Key" = Option<String>, Header,
            description = "A UUID of version 7, made for this write. The same write with the same \
                key, at any node, within an hour, has one effect."),
        ("Merganser-Repeated" = Option<String>, Header,
            description = "true: it was sent before, and not answered. If it is accepted, its \
                key is remembered for longer."),
    ),
    request_body(content_type = "*/*", description = "The value: any bytes, also none."),
    responses(
        (status = 204, description = "Written.", headers(
            ("Merganser-Context" = String, description = "What to pass when writing again."),
            ("Merganser-Warning" = Option<String>,
                description = "context-too-large: no node takes this context back."),
            ("Merganser-Receipt" = String, description = "Who took part."),
            ("Merganser-Session" = Option<String>,
                description = "Of a session: what it has seen of the shard. Replaces the token of that shard."),
            ("Merganser-Repeated" = Option<String>,
                description = "true: the write had come before, with the same idempotency key."),
        )),
        (status = 200, description = "Written; with receipt=full.", body = WrittenJson,
            content_type = "application/json"),
        WriteProblems,
    ),
)]
pub(crate) async fn put<N: Node>(
    State(door): State<Arc<Door<N>>>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let target = Target::of(&head, params::WRITE)?;
    let context = context(&door, &target, &head.headers)?;
    let token = token(&head.headers)?;
    refuse_conditions(&head.headers)?;
    refuse_partial_content(&head.headers)?;
    let content_type = match single(&head.headers, &header::CONTENT_TYPE)? {
        Some(given) => content_type(given.as_bytes())?,
        None => default_content_type(),
    };
    let cap = Cap::Value(door.config.value_bytes_max);
    let Held { content: body, share } = body::read(&door.bodies, body, cap).await?;
    let mutation = Mutation::Store(Value { content_type, body });
    let sessions = sessions(&head.headers)?;
    let answer = write(&door, target, mutation, context, token, sessions).await;
    drop(share);
    answer
}

/// Delete what was read.
///
/// Removes the values that the context says were read. Values written since, by others,
/// stay.
#[utoipa::path(
    delete,
    path = "/v1/kv/{keyspace}/{table}/{key}",
    operation_id = "delete",
    tag = "kv",
    params(
        KeyPath, WriteParams,
        ("Merganser-Context" = Option<String>, Header, description = "The context of a read."),
        ("Merganser-Session" = Option<String>, Header,
            description = "The tokens of a session, with commas between them; empty to begin one."),
        ("Idempotency-Key" = Option<String>, Header,
            description = "A UUID of version 7, made for this write. The same write with the same \
                key, at any node, within an hour, has one effect."),
        ("Merganser-Repeated" = Option<String>, Header,
            description = "true: it was sent before, and not answered. If it is accepted, its \
                key is remembered for longer."),
    ),
    responses(
        (status = 204, description = "Deleted.", headers(
            ("Merganser-Context" = String, description = "What to pass when writing again."),
            ("Merganser-Warning" = Option<String>,
                description = "context-too-large: no node takes this context back."),
            ("Merganser-Receipt" = String, description = "Who took part."),
            ("Merganser-Session" = Option<String>,
                description = "Of a session: what it has seen of the shard. Replaces the token of that shard."),
            ("Merganser-Repeated" = Option<String>,
                description = "true: the write had come before, with the same idempotency key."),
        )),
        (status = 200, description = "Deleted; with receipt=full.", body = WrittenJson,
            content_type = "application/json"),
        WriteProblems,
    ),
)]
pub(crate) async fn delete<N: Node>(
    State(door): State<Arc<Door<N>>>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, _) = request.into_parts();
    let target = Target::of(&head, params::WRITE)?;
    let context = context(&door, &target, &head.headers)?;
    let token = token(&head.headers)?;
    refuse_conditions(&head.headers)?;
    let sessions = sessions(&head.headers)?;
    write(&door, target, Mutation::Delete, context, token, sessions).await
}

async fn write<N: Node>(
    door: &Door<N>,
    target: Target,
    mutation: Mutation,
    (context, marks): (DotSet, Marks),
    (token, repeated): (Option<Token>, bool),
    sessions: Option<Vec<Session>>,
) -> Result<Response, Problem> {
    let Target { scope, key, query } = target;
    let put = Put {
        keyspace: scope.keyspace.clone(),
        table: scope.table.clone(),
        key: key.clone(),
        mutation,
        context,
        token,
        repeated,
        marks,
        options: query.write_options(),
        sessions,
        timeout: query.timeout,
    };
    let Written { context, marks, repeated, session, receipt } = door.write(put).await?;
    let context = door.seal(&scope, &key, &context, &marks);
    let line = receipt::header(&receipt);
    let mut response = match query.receipt {
        Detail::Line => StatusCode::NO_CONTENT.into_response(),
        Detail::Full => {
            let (context, receipt) = (context.clone(), (&receipt).into());
            json(StatusCode::OK, &WrittenJson { context, repeated, receipt })
        }
    };
    label(&mut response, context, line);
    receipt::add_session(response.headers_mut(), session.as_ref());
    if repeated {
        response.headers_mut().insert(REPEATED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Read a value.
///
/// Several concurrent values are answered with 300, and one context for all of them: write
/// with it what they come to together.
#[utoipa::path(
    get,
    path = "/v1/kv/{keyspace}/{table}/{key}",
    operation_id = "get",
    tag = "kv",
    params(
        KeyPath, ReadParams,
        ("Merganser-Session" = Option<String>, Header,
            description = "The tokens of a session, with commas between them; empty to begin one."),
        ("Accept" = Option<String>, Header,
            description = "For several values: application/json or multipart/mixed."),
    ),
    responses(
        (status = 200, description = "The one value, with the Content-Type of its writer. With \
            receipt=full a JSON object of the schema Values.",
            content((String = "*/*"), (ValuesJson = "application/json")),
            headers(
                ("Merganser-Context" = String, description = "What to pass when writing."),
                ("Merganser-Warning" = Option<String>,
                    description = "context-too-large: no node takes this context back."),
                ("X-Content-Type-Options" = String,
                    description = "nosniff: a browser must not guess another type."),
                ("Merganser-Receipt" = String, description = "Who took part."),
                ("Merganser-Recovered" = Option<bool>,
                    description = "true: only a disk had the value that does not come back, from which it was taken in later."),
            ("Merganser-Session" = Option<String>,
                description = "Of a session: what it has seen of the shard. Replaces the token of that shard."),
            )),
        (status = 300, description = "Several concurrent values.",
            content((ValuesJson = "application/json"), (String = "multipart/mixed")),
            headers(
                ("Merganser-Context" = String, description = "What to pass when writing."),
                ("Merganser-Warning" = Option<String>,
                    description = "context-too-large: no node takes this context back."),
                ("X-Content-Type-Options" = String,
                    description = "nosniff: a browser must not guess another type."),
                ("Merganser-Receipt" = String, description = "Who took part."),
            ("Merganser-Session" = Option<String>,
                description = "Of a session: what it has seen of the shard. Replaces the token of that shard."),
            )),
        ReadProblems,
    ),
)]
pub(crate) async fn get<N: Node>(
    State(door): State<Arc<Door<N>>>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, _) = request.into_parts();
    let Target { scope, key, query } = Target::of(&head, params::READ)?;
    let get = Get {
        keyspace: scope.keyspace.clone(),
        table: scope.table.clone(),
        key: key.clone(),
        options: query.read_options(),
        monotonic: query.monotonic,
        sessions: sessions(&head.headers)?,
        timeout: query.timeout,
    };
    let read = present(&door, &scope, &key, door.read(get).await?)?;
    let context = door.seal(&scope, &key, read.object.context(), read.object.marks());
    let line = receipt::header(&read.receipt);
    let mut response = match (query.receipt, only(&read.object)) {
        (Detail::Full, _) => full(context.clone(), &read),
        (Detail::Line, Some((dot, value))) => raw(value, read.object.is_recovered(*dot)),
        (Detail::Line, None) => siblings::render(&head.headers, context.clone(), &read.object),
    };
    label(&mut response, context, line);
    receipt::add_session(response.headers_mut(), read.session.as_ref());
    sent::within(&door.answers, response)
}

/// Returns the read if it found a value, else the problem that says which kind of nothing
/// it found.
pub(crate) fn present<N: Node>(
    door: &Door<N>,
    scope: &Scope,
    key: &Key,
    read: Read,
) -> Result<Read, Problem> {
    if !read.object.values().is_empty() {
        return Ok(read);
    }
    let (receipt, session) = (Some(read.receipt), read.session);
    if read.object.is_bottom() {
        let facts = Facts { receipt, session, ..Facts::default() };
        return Err(
            Problem::new(Code::NotFound, "nobody who answered has heard of the key").with(facts)
        );
    }
    let context = Some(door.seal(scope, key, read.object.context(), read.object.marks()));
    let facts = Facts { receipt, context, session, ..Facts::default() };
    Err(Problem::new(Code::Deleted, "the key was deleted; pass the context to write it again")
        .with(facts))
}

/// The value of a key that has only one.
fn only(object: &Object) -> Option<(&Dot, &Value)> {
    let mut values = object.values().iter();
    values.next().filter(|_| values.next().is_none())
}

fn full(context: String, read: &Read) -> Response {
    let values = ValueJson::all(&read.object);
    let status = if values.len() == 1 { StatusCode::OK } else { StatusCode::MULTIPLE_CHOICES };
    let receipt = Some(ReceiptJson::from(&read.receipt));
    json(status, &ValuesJson { values, context, receipt })
}

fn raw(value: &Value, is_recovered: bool) -> Response {
    let content_type = HeaderValue::from_maybe_shared(value.content_type.clone());
    // Checked when it was written; a value from elsewhere must still be readable.
    let content_type =
        content_type.unwrap_or_else(|_| HeaderValue::from_static("application/octet-stream"));
    let mut response = Response::new(value.body.clone().into());
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    if is_recovered {
        response.headers_mut().insert(RECOVERED, HeaderValue::from_static("true"));
    }
    response
}

/// An answer with a JSON body.
pub(crate) fn json<T: Serialize>(status: StatusCode, body: &T) -> Response {
    let body = serde_json::to_vec(body).expect("our own types are plain data");
    let mut response = (status, body).into_response();
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn label(response: &mut Response, context: String, receipt: HeaderValue) {
    receipt::add_context(response.headers_mut(), context);
    response.headers_mut().insert(RECEIPT, receipt);
}

/// The context that a client passes, empty if it passes none.
fn context<N: Node>(
    door: &Door<N>,
    target: &Target,
    headers: &HeaderMap,
) -> Result<(DotSet, Marks), Problem> {
    let Some(token) = single(headers, &CONTEXT)? else { return Ok(Default::default()) };
    let token = String::from_utf8_lossy(token.as_bytes());
    door.open(&target.scope, &target.key, &token)
}

/// The idempotency key that a client passes, with or without quotation marks around it, and
/// whether it has sent the write before.
fn token(headers: &HeaderMap) -> Result<(Option<Token>, bool), Problem> {
    let repeated = is_repeated(headers)?;
    let Some(line) = single(headers, &IDEMPOTENCY_KEY)? else { return Ok((None, repeated)) };
    let token = parse_token(&String::from_utf8_lossy(line.as_bytes()))?;
    Ok((Some(token), repeated))
}

/// Whether a client says that it has sent this before, and had no answer.
///
/// # Errors
///
/// It says something else.
pub(crate) fn is_repeated(headers: &HeaderMap) -> Result<bool, Problem> {
    match single(headers, &REPEATED)?.map(HeaderValue::as_bytes) {
        None => Ok(false),
        Some(b"true") => Ok(true),
        Some(_) => {
            let detail = format_args!("{REPEATED} is true, or not given");
            Err(Problem::malformed(detail))
        }
    }
}

/// The tokens of the client's session, any number of them in any number of lines. An empty line
/// begins a session. Nothing if there is none.
fn sessions(headers: &HeaderMap) -> Result<Option<Vec<Session>>, Problem> {
    let invalid = || {
        let detail = "pass the tokens of a session exactly as they were received, or an empty \
            header to begin one";
        Problem::new(Code::SessionInvalid, detail)
    };
    let mut sessions = None;
    for line in headers.get_all(&SESSION) {
        let line = line.to_str().map_err(|_| invalid())?;
        let tokens = line.split(',').map(str::trim).filter(|token| !token.is_empty());
        let all = sessions.get_or_insert_with(Vec::new);
        for token in tokens {
            all.push(codec::session::decode(token).map_err(|_| invalid())?);
        }
    }
    Ok(sessions)
}

/// Refuses a session where it would not be kept to: silence would be taken for a promise.
///
/// # Errors
///
/// `session_not_kept`.
pub(crate) fn refuse_session(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.contains_key(&SESSION) {
        let detail = "a session is of reads and writes of one key each, under /v1/kv/: what this \
            shows could be less than the session has seen; leave the header Merganser-Session away";
        return Err(Problem::new(Code::SessionNotKept, detail));
    }
    Ok(())
}

/// Reads an idempotency key.
///
/// # Errors
///
/// `token_malformed`.
pub(crate) fn parse_token(text: &str) -> Result<Token, Problem> {
    let quoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    Token::parse(quoted.unwrap_or(text)).ok_or_else(|| {
        let detail = "an idempotency key is a UUID of version 7, which says when it was made";
        Problem::new(Code::TokenMalformed, detail)
    })
}

/// The one header line of this name. Two would mean different things to us and to a proxy.
pub(crate) fn single<'a>(
    headers: &'a HeaderMap,
    name: &header::HeaderName,
) -> Result<Option<&'a HeaderValue>, Problem> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next();
    match lines.next() {
        None => Ok(first),
        Some(_) => Err(Problem::malformed(format_args!("the header {name} is given twice"))),
    }
}

/// Refuses a body that is not the whole value as it is meant: stored as it comes, it would
/// be read back as something else.
fn refuse_partial_content(headers: &HeaderMap) -> Result<(), Problem> {
    for name in [header::CONTENT_ENCODING, header::CONTENT_RANGE] {
        if headers.contains_key(&name) {
            let detail = format!("{name} is not supported: the body must be the value itself");
            return Err(Problem::malformed(detail));
        }
    }
    Ok(())
}

/// Refuses conditions: a write is taken wherever it comes, so nobody can promise that nothing was
/// there before. To ignore them would be to promise it.
pub(crate) fn refuse_conditions(headers: &HeaderMap) -> Result<(), Problem> {
    let conditions =
        [header::IF_MATCH, header::IF_NONE_MATCH, header::IF_UNMODIFIED_SINCE, header::IF_RANGE];
    match conditions.iter().find(|name| headers.contains_key(*name)) {
        Some(name) => Err(Problem::malformed(format_args!(
            "{name} is not supported: hand back the context of what you have read instead"
        ))),
        None => Ok(()),
    }
}

/// What a value is that does not say.
pub(crate) fn default_content_type() -> Bytes {
    Bytes::from_static(CONTENT_TYPE_DEFAULT)
}

/// Accepts a content type to store with a value.
///
/// # Errors
///
/// `malformed_request` if it could not be a header line again, or is too long.
pub(crate) fn content_type(given: &[u8]) -> Result<Bytes, Problem> {
    let visible = given.iter().all(|byte| matches!(byte, b' '..=b'~'));
    if visible && (1..=CONTENT_TYPE_BYTES_MAX).contains(&given.len()) {
        return Ok(Bytes::copy_from_slice(given));
    }
    let most = CONTENT_TYPE_BYTES_MAX;
    Err(Problem::malformed(format_args!("a Content-Type is 1 to {most} visible ASCII characters")))
}
