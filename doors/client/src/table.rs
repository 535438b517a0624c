//! Reading and writing the keys of one table.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde::Deserialize;

use crate::key::{Content, Context, Dot, Key, Value};
use crate::level::{ReadOptions, WriteOptions};
use crate::list::{ListOptions, Pages};
use crate::retry::Safety;
use crate::send::{Call, REPEATED};
use crate::session::SESSION;
use crate::watch::{Feed, WatchOptions};
use crate::{Client, Error, Identity, Problem, Receipt, Token};

const CONTEXT: HeaderName = HeaderName::from_static("merganser-context");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const RECOVERED: HeaderName = HeaderName::from_static("merganser-recovered");
const RECEIPT: HeaderName = HeaderName::from_static("merganser-receipt");

/// What need not be escaped in a path or a query.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// One table of one keyspace.
#[derive(Clone, Debug)]
pub struct Table {
    client: Client,
    /// `KEYSPACE/TABLE`, escaped.
    path: String,
}

/// What a read found.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The values: none if there is nothing, several if writers did not know of each other.
    pub values: Vec<Value>,
    /// What was read, to hand back with the write that replaces it. A key that was deleted
    /// has a context and no values; one that was never written has neither.
    pub context: Option<Context>,
    /// Who took part.
    pub receipt: Option<Receipt>,
}

/// What a write came to.
#[derive(Clone, Debug)]
pub struct Written {
    /// To hand back with the next write if nothing was read in between: it covers what this
    /// write replaced, and this write.
    pub context: Option<Context>,
    /// Who took part.
    pub receipt: Option<Receipt>,
    /// What it was known by.
    pub token: Option<Token>,
    /// Whether it had been heard of before: an earlier attempt had arrived.
    pub repeated: bool,
}

impl Table {
    pub(crate) fn new(client: Client, keyspace: &str, table: &str) -> Self {
        let path = format!("{}/{}", escaped(keyspace.as_bytes()), escaped(table.as_bytes()));
        Self { client, path }
    }

    /// Reads a key.
    ///
    /// # Errors
    ///
    /// See [`Error`]. A key that does not exist is no error but an [`Answer`] without values.
    pub async fn get(&self, key: &Key, options: &ReadOptions) -> Result<Answer, Error> {
        Ok(self.read(key, options, HeaderMap::new()).await?.0)
    }

    /// As [`get`](Self::get), and what the session has seen if the headers say that it is one.
    pub(crate) async fn read(
        &self,
        key: &Key,
        options: &ReadOptions,
        headers: HeaderMap,
    ) -> Result<(Answer, Option<HeaderValue>), Error> {
        let mut target = self.target(key, options.named());
        if options.full {
            add_to_query(&mut target, "receipt", "full");
        }
        if options.monotonic {
            add_to_query(&mut target, "monotonic", "true");
        }
        let call = Call { headers, tells_timeout: true, ..Call::look(target) };
        let answer = self.client.send(&call).await?;
        Ok((Answer::read(&answer, options.full)?, answer.headers().get(SESSION).cloned()))
    }

    /// Stores a value.
    ///
    /// With a context, the value replaces what was read with that context. Without, it
    /// replaces nothing: if the key holds something, it holds one value more afterwards.
    ///
    /// # Errors
    ///
    /// See [`Error`]. After [`Error::Unknown`] the value may have been stored:
    /// [`outcome`](Self::outcome) tells, or the same put under the token of the error.
    pub async fn put(
        &self,
        key: &Key,
        content: &Content,
        context: Option<&Context>,
        options: &WriteOptions,
    ) -> Result<Written, Error> {
        let headers = HeaderMap::with_capacity(4);
        Ok(self.store(key, content, context, options, headers).await?.0)
    }

    /// As [`put`](Self::put), and what the session has seen.
    pub(crate) async fn store(
        &self,
        key: &Key,
        content: &Content,
        context: Option<&Context>,
        options: &WriteOptions,
        mut headers: HeaderMap,
    ) -> Result<(Written, Option<HeaderValue>), Error> {
        headers.insert(CONTENT_TYPE, content.content_type.clone());
        self.write(Method::PUT, key, headers, content.body.clone(), context, options).await
    }

    /// Removes what was read with the context. Without a context it removes nothing.
    ///
    /// # Errors
    ///
    /// See [`Error`]. After [`Error::Unknown`] it may have been removed:
    /// [`outcome`](Self::outcome) tells, or the same delete under the token of the error.
    pub async fn delete(
        &self,
        key: &Key,
        context: Option<&Context>,
        options: &WriteOptions,
    ) -> Result<Written, Error> {
        let headers = HeaderMap::with_capacity(2);
        Ok(self.remove(key, context, options, headers).await?.0)
    }

    /// As [`delete`](Self::delete), and what the session has seen.
    pub(crate) async fn remove(
        &self,
        key: &Key,
        context: Option<&Context>,
        options: &WriteOptions,
        headers: HeaderMap,
    ) -> Result<(Written, Option<HeaderValue>), Error> {
        self.write(Method::DELETE, key, headers, Bytes::new(), context, options).await
    }

    /// Lists the keys under one partition key, by sort key.
    pub fn list(&self, partition: &[u8], options: &ListOptions) -> Pages {
        let target = format!("/v1/list/{}/{}", self.path, escaped(partition));
        Pages::new(self.client.clone(), target, options)
    }

    /// Lists all keys of the table, in no order that means anything.
    pub fn scan(&self, options: &ListOptions) -> Pages {
        Pages::new(self.client.clone(), format!("/v1/scan/{}", self.path), options)
    }

    /// Watches the table. Asks no one yet.
    pub fn watch(&self, options: &WatchOptions) -> Feed {
        Feed::new(&self.client, format!("/v1/changes/{}", self.path), options)
    }

    async fn write(
        &self,
        method: Method,
        key: &Key,
        mut headers: HeaderMap,
        body: Bytes,
        context: Option<&Context>,
        options: &WriteOptions,
    ) -> Result<(Written, Option<HeaderValue>), Error> {
        if let Some(context) = context {
            headers.insert(CONTEXT, context.header());
        }
        let token = options.identity.token();
        let safety = match token {
            Some(token) => {
                headers.insert(IDEMPOTENCY_KEY, token.header());
                if let Identity::Known(_) = options.identity {
                    headers.insert(REPEATED, HeaderValue::from_static("true"));
                }
                Safety::Known
            }
            None => Safety::Once,
        };
        let target = self.target(key, options.named());
        let call = Call { method, target, headers, body, safety, tells_timeout: true };
        let answer = self.client.send(&call).await.map_err(|err| err.of_write(token))?;
        if answer.status().is_success() {
            let (context, receipt) = (context_of(&answer)?, receipt_of(&answer));
            let repeated = answer.headers().contains_key(REPEATED);
            let session = answer.headers().get(SESSION).cloned();
            Ok((Written { context, receipt, token, repeated }, session))
        } else {
            Err(refused(&answer))
        }
    }

    fn target(&self, key: &Key, options: impl Iterator<Item = (&'static str, String)>) -> String {
        let mut target = self.path_of("/v1/kv/", key);
        add_options(&mut target, options);
        target
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The path of a key below a route, and its sort key.
    pub(crate) fn path_of(&self, route: &str, key: &Key) -> String {
        let mut target = String::with_capacity(64 + key.partition.len() + key.sort.len());
        target.push_str(route);
        target.push_str(&self.path);
        target.push('/');
        target.extend(percent_encode(&key.partition, PLAIN));
        if !key.sort.is_empty() {
            target.push_str("?sort=");
            target.extend(percent_encode(&key.sort, PLAIN));
        }
        target
    }
}

impl Answer {
    pub(crate) fn read(answer: &Response<Bytes>, full: bool) -> Result<Self, Error> {
        match answer.status() {
            StatusCode::OK if !full => Ok(Self {
                values: vec![Value {
                    content_type: content_type_of(answer),
                    body: answer.body().clone(),
                    dot: None,
                    recovered: answer.headers().contains_key(RECOVERED),
                }],
                context: context_of(answer)?,
                receipt: receipt_of(answer),
            }),
            StatusCode::OK | StatusCode::MULTIPLE_CHOICES => {
                Self::from_json(answer.body(), context_of(answer)?, receipt_of(answer))
            }
            StatusCode::NOT_FOUND => {
                let problem = Problem::read(404, answer.body());
                if !matches!(problem.code.as_str(), "deleted" | "not_found") {
                    return Err(Error::Refused(Box::new(problem)));
                }
                let (context, receipt) = (context_of(answer)?, receipt_of(answer));
                Ok(Self { values: Vec::new(), context, receipt })
            }
            _ => Err(refused(answer)),
        }
    }

    fn from_json(
        body: &[u8],
        context: Option<Context>,
        receipt: Option<Receipt>,
    ) -> Result<Self, Error> {
        let raw: RawAnswer = parse(body)?;
        let context = match raw.context {
            Some(token) => Some(Context::new(&token)?),
            None => context,
        };
        let values = raw.values.into_iter().map(RawValue::read).collect::<Result<_, _>>()?;
        Ok(Self { values, context, receipt: raw.receipt.or(receipt) })
    }
}

#[derive(Deserialize)]
struct RawAnswer {
    values: Vec<RawValue>,
    context: Option<String>,
    receipt: Option<Receipt>,
}

/// A value as JSON carries it.
#[derive(Deserialize)]
pub(crate) struct RawValue {
    content_type: String,
    value: String,
    dot: Option<String>,
    #[serde(default)]
    recovered: bool,
}

impl RawValue {
    pub(crate) fn read(self) -> Result<Value, Error> {
        let body = STANDARD
            .decode(&self.value)
            .map_err(|err| Error::protocol(format!("a value is no base64: {err}")))?;
        let Self { content_type, dot, recovered, .. } = self;
        Ok(Value { content_type, body: body.into(), dot: dot.map(Dot), recovered })
    }
}

/// What stands for an answer that is not what was asked for.
pub(crate) fn refused(answer: &Response<Bytes>) -> Error {
    let status = answer.status();
    if status.is_client_error() {
        Error::Refused(Box::new(Problem::read(status.as_u16(), answer.body())))
    } else {
        Error::protocol(format!("status {status} was not expected"))
    }
}

/// Reads a JSON body.
pub(crate) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Error> {
    serde_json::from_slice(body)
        .map_err(|err| Error::protocol(format!("its JSON is unreadable: {err}")))
}

/// Escapes bytes for a path or a query.
pub(crate) fn escaped(bytes: &[u8]) -> String {
    percent_encode(bytes, PLAIN).collect()
}

/// Adds one parameter, whose value needs no escaping.
pub(crate) fn add_to_query(target: &mut String, name: &str, value: &str) {
    target.push(if target.contains('?') { '&' } else { '?' });
    target.push_str(name);
    target.push('=');
    target.push_str(value);
}

/// Adds the options that were given.
pub(crate) fn add_options<'a>(
    target: &mut String,
    options: impl Iterator<Item = (&'a str, String)>,
) {
    for (name, value) in options {
        add_to_query(target, name, &value);
    }
}

fn content_type_of(answer: &Response<Bytes>) -> String {
    let header = answer.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    header.map_or_else(String::new, |bytes| String::from_utf8_lossy(bytes).into_owned())
}

fn context_of(answer: &Response<Bytes>) -> Result<Option<Context>, Error> {
    let Some(header) = answer.headers().get(CONTEXT) else { return Ok(None) };
    let token = header.to_str().map_err(|_| Error::protocol("the context is no text"))?;
    Context::new(token).map(Some)
}

fn receipt_of(answer: &Response<Bytes>) -> Option<Receipt> {
    Receipt::from_header(answer.headers().get(RECEIPT)?.to_str().ok()?)
}
