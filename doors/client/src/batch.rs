//! Many operations in one request. They run at the same time, and each has its own outcome:
//! a batch is no transaction.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use crate::catalog::{json_headers, render};
use crate::key::{Content, Context, Key, Value};
use crate::retry::{self, Safety};
use crate::send::{Call, millis};
use crate::table::{RawValue, parse, refused};
use crate::{
    Answer, Client, Demands, Error, Level, Problem, ReadOptions, Receipt, Token, WriteOptions,
    Written,
};

/// One operation of a batch.
#[derive(Clone, Debug)]
pub struct Operation {
    is_read: bool,
    token: Option<Token>,
    raw: RawOperation,
}

/// What one operation of a batch came to.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Of a get: what it found.
    Read(Answer),
    /// Of a put or delete.
    Written(Written),
}

#[derive(Clone, Debug, Default, Serialize)]
struct RawOperation {
    op: &'static str,
    keyspace: String,
    table: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sort: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sort_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r: Option<Level>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pr: Option<Level>,
    #[serde(skip_serializing_if = "Option::is_none")]
    w: Option<Level>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pw: Option<Level>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dw: Option<Level>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_nodes: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_zones: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<String>,
}

impl Operation {
    /// Reads a key, as [`Table::get`](crate::Table::get).
    pub fn get(keyspace: &str, table: &str, key: &Key, options: &ReadOptions) -> Self {
        let raw = RawOperation { r: options.r, pr: options.pr, ..raw("get", keyspace, table, key) };
        Self { is_read: true, token: None, raw: raw.demanding(options.demands) }
    }

    /// Stores a value, as [`Table::put`](crate::Table::put).
    pub fn put(
        keyspace: &str,
        table: &str,
        key: &Key,
        content: &Content,
        context: Option<&Context>,
        options: &WriteOptions,
    ) -> Self {
        let raw = RawOperation {
            value: Some(STANDARD.encode(&content.body)),
            content_type: Some(content.content_type().to_owned()),
            ..raw("put", keyspace, table, key)
        };
        Self::of_write(raw.writing(context, options), options)
    }

    /// Removes what was read with the context, as [`Table::delete`](crate::Table::delete).
    pub fn delete(
        keyspace: &str,
        table: &str,
        key: &Key,
        context: Option<&Context>,
        options: &WriteOptions,
    ) -> Self {
        let raw = raw("delete", keyspace, table, key).writing(context, options);
        Self::of_write(raw, options)
    }

    fn of_write(raw: RawOperation, options: &WriteOptions) -> Self {
        let token = options.identity.token();
        let idempotency_key = token.map(|token| token.to_string());
        Self { is_read: false, token, raw: RawOperation { idempotency_key, ..raw } }
    }
}

fn raw(op: &'static str, keyspace: &str, table: &str, key: &Key) -> RawOperation {
    let (key_text, key_base64) = part(&key.partition);
    let (sort, sort_base64) = if key.sort.is_empty() { (None, None) } else { part(&key.sort) };
    RawOperation {
        op,
        keyspace: keyspace.to_owned(),
        table: table.to_owned(),
        key: key_text,
        key_base64,
        sort,
        sort_base64,
        ..RawOperation::default()
    }
}

impl RawOperation {
    fn writing(self, context: Option<&Context>, options: &WriteOptions) -> Self {
        let context = context.map(|context| context.as_str().to_owned());
        let raw = Self { context, w: options.w, pw: options.pw, dw: options.dw, ..self };
        raw.demanding(options.demands)
    }

    fn demanding(self, demands: Demands) -> Self {
        let Demands { min_nodes, min_zones, strict } = demands;
        Self { min_nodes, min_zones, min: strict.then_some("strict"), ..self }
    }
}

/// Writes a part of a key as text, or as base64 if it is none.
fn part(bytes: &[u8]) -> (Option<String>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(STANDARD.encode(bytes))),
    }
}

impl Client {
    /// Runs up to 1000 operations at the same time, and gives their outcomes in order.
    ///
    /// Each write has a token of its own, so that a batch is repeated like a read, unless one
    /// of them is unsafe to repeat: then only if it was certainly not attempted. What fails
    /// within it is not repeated: its error has its token.
    ///
    /// # Errors
    ///
    /// See [`Error`]: the outer one is about the batch as a whole, the inner ones about one
    /// operation each.
    pub async fn batch(
        &self,
        operations: &[Operation],
    ) -> Result<Vec<Result<Outcome, Error>>, Error> {
        #[derive(Serialize)]
        struct Batch<'a> {
            operations: Vec<&'a RawOperation>,
            timeout: u64,
        }
        let reads_only = operations.iter().all(|operation| operation.is_read);
        let is_known = |operation: &Operation| operation.is_read || operation.token.is_some();
        let timeout = u64::try_from(millis(self.shared.options.timeout)).unwrap_or(60_000);
        let operations_raw = operations.iter().map(|operation| &operation.raw).collect();
        let call = Call {
            method: Method::POST,
            headers: json_headers(),
            body: render(&Batch { operations: operations_raw, timeout })?,
            safety: match reads_only {
                true => Safety::Repeatable,
                false if operations.iter().all(is_known) => Safety::Known,
                false => Safety::Once,
            },
            ..Call::look("/v1/batch".to_owned())
        };
        let answer = self.send(&call).await?;
        if answer.status() != StatusCode::OK {
            return Err(refused(&answer));
        }
        outcomes(operations, answer.body())
    }
}

#[derive(Deserialize)]
struct RawOutcomes {
    outcomes: Vec<RawOutcome>,
}

#[derive(Deserialize)]
struct RawOutcome {
    status: u16,
    values: Option<Vec<RawValue>>,
    context: Option<String>,
    receipt: Option<Receipt>,
    #[serde(default)]
    repeated: bool,
    problem: Option<serde_json::Value>,
}

pub(crate) fn outcomes(
    operations: &[Operation],
    body: &Bytes,
) -> Result<Vec<Result<Outcome, Error>>, Error> {
    let raw: RawOutcomes = parse(body)?;
    if raw.outcomes.len() != operations.len() {
        return Err(Error::protocol("there are not as many outcomes as operations"));
    }
    Ok(operations.iter().zip(raw.outcomes).map(|(operation, raw)| raw.read(operation)).collect())
}

impl RawOutcome {
    fn read(self, operation: &Operation) -> Result<Outcome, Error> {
        let context = match &self.context {
            Some(token) => Some(Context::new(token)?),
            None => None,
        };
        let Some(problem) = self.problem else {
            return Ok(if operation.is_read {
                let values = self.values.unwrap_or_default().into_iter();
                let values: Vec<Value> = values.map(RawValue::read).collect::<Result<_, _>>()?;
                Outcome::Read(Answer { values, context, receipt: self.receipt })
            } else {
                let (receipt, token, repeated) = (self.receipt, operation.token, self.repeated);
                Outcome::Written(Written { context, receipt, token, repeated })
            });
        };
        let token = problem.get("context").and_then(|token| token.as_str());
        let context = match (context, token) {
            (None, Some(token)) => Some(Context::new(token)?),
            (context, _) => context,
        };
        let problem = Problem::read(self.status, problem.to_string().as_bytes());
        match problem.code.as_str() {
            "deleted" | "not_found" if operation.is_read => {
                Ok(Outcome::Read(Answer { values: Vec::new(), context, receipt: self.receipt }))
            }
            _ => Err(failed(operation, problem)),
        }
    }
}

fn failed(operation: &Operation, problem: Problem) -> Error {
    let problem = Box::new(problem);
    match problem.status {
        status if retry::says_unchanged(status, &problem.code) => Error::NotAttempted(problem),
        500.. if operation.is_read => {
            Error::NoAnswer { why: problem.to_string(), problem: Some(problem) }
        }
        500.. => {
            let (why, token) = (problem.to_string(), operation.token);
            Error::Unknown { why, problem: Some(problem), token }
        }
        _ => Error::Refused(problem),
    }
}
