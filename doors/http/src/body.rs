//! Bodies of requests: never more of them in memory than the route allows, and all of them
//! together never more than the node allows.
//!
//! A body that declares its length is refused by that; one that does not is read piece by
//! piece until it is over the cap. A body that came in one piece, as small values do, is
//! handed on as it came from the connection, without a copy.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;

use crate::budget::{Budget, Share};
use crate::json::FromObject;
use crate::problem::{Code, Problem};

/// The most bytes of a JSON body, except a batch.
const JSON_BYTES_MAX: usize = 1 << 20;

/// The time a whole body may take to arrive. 8 MiB over a 2 Mbit/s link takes half of it.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// The cap of a body, and what its excess is called.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cap {
    /// A raw value of at most so many bytes.
    Value(usize),
    /// A JSON document of at most so many bytes.
    Json(usize),
}

impl Cap {
    fn bytes(self) -> usize {
        match self {
            Self::Value(bytes) | Self::Json(bytes) => bytes,
        }
    }

    fn exceeded(self) -> Problem {
        match self {
            Self::Value(max) => {
                Problem::new(Code::ValueTooLarge, format!("the most bytes of a value are {max}"))
            }
            Self::Json(max) => {
                Problem::new(Code::BodyTooLarge, format!("the most bytes of this body are {max}"))
            }
        }
    }
}

/// A body in memory.
pub(crate) struct Held<T> {
    /// The bytes, or what they say.
    pub(crate) content: T,
    /// Its share of the memory for bodies, to be kept until the request is answered.
    pub(crate) share: Share,
}

/// Reads a whole body.
///
/// # Errors
///
/// `value_too_large` or `body_too_large` beyond the cap, `overloaded` if there is no room
/// for it beside others, `request_timeout` if it takes too long, `malformed_request` if it
/// breaks off.
///
/// # Cancellation
///
/// What was read is lost, and the connection with it.
pub(crate) async fn read(
    budget: &Arc<Budget>,
    body: Body,
    cap: Cap,
) -> Result<Held<Bytes>, Problem> {
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if cap.bytes() < declared {
        return Err(cap.exceeded());
    }
    if !budget.has(declared) {
        return Err(no_room());
    }
    let mut share = budget.share();
    let whole = tokio::time::timeout(BODY_TIMEOUT, collect(body, cap, &mut share)).await;
    let whole = whole.unwrap_or_else(|_| {
        let detail = format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs());
        Err(Problem::new(Code::RequestTimeout, detail))
    });
    Ok(Held { content: whole?, share })
}

fn no_room() -> Problem {
    let detail = "the node has no memory for another body; retry after a moment";
    Problem::new(Code::Overloaded, detail)
}

async fn collect(mut body: Body, cap: Cap, share: &mut Share) -> Result<Bytes, Problem> {
    let mut room = |have: usize, more: &Bytes| {
        if cap.bytes() - have < more.len() {
            return Err(cap.exceeded());
        }
        if share.grow(more.len()) { Ok(()) } else { Err(no_room()) }
    };
    let Some(first) = piece(&mut body).await? else { return Ok(Bytes::new()) };
    room(0, &first)?;
    let Some(second) = piece(&mut body).await? else { return Ok(first) };
    let mut whole = BytesMut::from(first);
    let mut next = Some(second);
    while let Some(data) = next {
        room(whole.len(), &data)?;
        whole.extend_from_slice(&data);
        next = piece(&mut body).await?;
    }
    Ok(whole.freeze())
}

/// The next piece of data, nothing at the end. Trailers are skipped: none has a meaning.
async fn piece(body: &mut Body) -> Result<Option<Bytes>, Problem> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::malformed("the body broke off"))?;
        if let Ok(data) = frame.into_data()
            && !data.is_empty()
        {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// Reads the contract of a declaration. It may call itself what it likes: no page can send a
/// PUT elsewhere without asking first, and `curl -d` calls everything a form.
///
/// # Errors
///
/// As [`json`].
///
/// # Cancellation
///
/// As [`read`].
pub(crate) async fn contract<T: DeserializeOwned>(
    budget: &Arc<Budget>,
    request: Request,
) -> Result<Held<T>, Problem> {
    json(budget, request.into_body(), JSON_BYTES_MAX).await
}

/// Reads a JSON body. An empty one counts as `{}`.
///
/// # Errors
///
/// As [`read`], and `malformed_request` for what is not the JSON object of a `T`, with the line and
/// column.
///
/// # Cancellation
///
/// As [`read`].
pub(crate) async fn json<T: DeserializeOwned>(
    budget: &Arc<Budget>,
    body: Body,
    cap: usize,
) -> Result<Held<T>, Problem> {
    let Held { content, share } = read(budget, body, Cap::Json(cap)).await?;
    let text: &[u8] = if content.is_empty() { b"{}" } else { &content };
    let FromObject(content) = serde_json::from_slice(text)
        .map_err(|error| Problem::malformed(format_args!("the JSON body is refused: {error}")))?;
    Ok(Held { content, share })
}

/// Refuses a body that does not say that it is JSON. A browser sends a POST for any page that
/// asks it to, unless the body says so: then it asks us first, and we do not agree.
///
/// # Errors
///
/// `malformed_request`.
pub(crate) fn check_media_type(headers: &HeaderMap) -> Result<(), Problem> {
    let declared = headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes());
    let media_type = declared.and_then(|declared| declared.split(|byte| *byte == b';').next());
    let is_json = media_type.is_some_and(|media_type| {
        media_type.trim_ascii().eq_ignore_ascii_case(b"application/json")
    });
    if is_json {
        Ok(())
    } else {
        Err(Problem::malformed("the Content-Type must be application/json"))
    }
}
