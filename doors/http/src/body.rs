//! Bodies of requests: never more of them in memory than the route allows.
//!
//! A body that declares its length is refused by that; one that does not is read piece by
//! piece until it is over the cap. A body that came in one piece, as small values do, is
//! handed on as it came from the connection, without a copy.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;

use crate::problem::{Code, Problem};

/// The most bytes of a JSON body, except a batch.
pub(crate) const JSON_BYTES_MAX: usize = 1 << 20;

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

/// Reads a whole body.
///
/// # Errors
///
/// `value_too_large` or `body_too_large` beyond the cap, `request_timeout` if it takes too
/// long, `malformed_request` if it breaks off.
///
/// # Cancellation
///
/// What was read is lost, and the connection with it.
pub(crate) async fn read(body: Body, cap: Cap) -> Result<Bytes, Problem> {
    tokio::time::timeout(BODY_TIMEOUT, collect(body, cap)).await.unwrap_or_else(|_| {
        let detail = format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs());
        Err(Problem::new(Code::RequestTimeout, detail))
    })
}

async fn collect(mut body: Body, cap: Cap) -> Result<Bytes, Problem> {
    if (cap.bytes() as u64) < body.size_hint().lower() {
        return Err(cap.exceeded());
    }
    let Some(first) = piece(&mut body).await? else { return Ok(Bytes::new()) };
    if cap.bytes() < first.len() {
        return Err(cap.exceeded());
    }
    let Some(second) = piece(&mut body).await? else { return Ok(first) };
    let mut whole = BytesMut::from(first);
    let mut next = Some(second);
    while let Some(data) = next {
        if cap.bytes() - whole.len() < data.len() {
            return Err(cap.exceeded());
        }
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

/// Whether a JSON body must say that it is one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Declaration {
    /// It must. A browser sends a POST for any page that asks it to, unless the body says
    /// that it is JSON: then it asks us first, and we do not agree.
    Required,
    /// It may say what it likes: no page can send a PUT elsewhere without asking first, and
    /// `curl -d` calls everything a form.
    Unchecked,
}

/// Reads a JSON body. An empty one counts as `{}`.
///
/// # Errors
///
/// As [`read`], and `malformed_request` for an undeclared media type and for what is not the
/// JSON of a `T`, with the line and column.
///
/// # Cancellation
///
/// As [`read`].
pub(crate) async fn json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
    cap: usize,
    declaration: Declaration,
) -> Result<T, Problem> {
    check_media_type(headers, declaration)?;
    let body = read(body, Cap::Json(cap)).await?;
    let text: &[u8] = if body.is_empty() { b"{}" } else { &body };
    serde_json::from_slice(text)
        .map_err(|error| Problem::malformed(format_args!("the JSON body is refused: {error}")))
}

fn check_media_type(headers: &HeaderMap, declaration: Declaration) -> Result<(), Problem> {
    let declared = headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes());
    let media_type = declared.and_then(|declared| declared.split(|byte| *byte == b';').next());
    let is_json = media_type.is_some_and(|media_type| {
        media_type.trim_ascii().eq_ignore_ascii_case(b"application/json")
    });
    if is_json || declaration == Declaration::Unchecked {
        Ok(())
    } else {
        Err(Problem::malformed("the Content-Type must be application/json"))
    }
}
