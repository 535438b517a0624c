//! Several values in one answer: as JSON, or as `multipart/mixed`.
//!
//! JSON is what a program gets that asks for nothing in particular; the values are in
//! base64 there, a third larger. `multipart/mixed` carries them as they are, each as a part
//! with its own `Content-Type`.
//!
//! ```text
//! --merganser-7c1f…\r\n
//! Content-Type: text/plain\r\n
//! \r\n
//! milk\r\n
//! --merganser-7c1f…--\r\n
//! ```
//!
//! Source: RFC 2046 section 5.1; RFC 9110 section 12.5.1.

use std::hash::{BuildHasher, Hasher, RandomState};

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
use model::{Object, Value};

use crate::json::{ValueJson, ValuesJson};
use crate::kv;
use crate::problem::NOSNIFF;

/// Answers with all values of an object, in the form that the client prefers.
pub(crate) fn render(headers: &HeaderMap, context: String, object: &Object) -> Response {
    if prefers_multipart(headers) {
        let values = object.values().iter();
        return multipart(values.map(|(dot, value)| (value, object.is_recovered(*dot))));
    }
    let values = ValuesJson { values: ValueJson::all(object), context, receipt: None };
    kv::json(StatusCode::MULTIPLE_CHOICES, &values)
}

fn multipart<'a>(values: impl Iterator<Item = (&'a Value, bool)> + Clone) -> Response {
    let boundary = boundary(&values.clone().map(|(value, _)| value));
    let mut body = BytesMut::new();
    for (Value { content_type, body: value }, is_recovered) in values {
        for piece in [b"--", boundary.as_bytes(), b"\r\nContent-Type: ", content_type] {
            body.put_slice(piece);
        }
        if is_recovered {
            body.put_slice(b"\r\nMerganser-Recovered: true");
        }
        for piece in [b"\r\n\r\n", &**value, b"\r\n"] {
            body.put_slice(piece);
        }
    }
    body.put_slice(format!("--{boundary}--\r\n").as_bytes());
    let content_type = format!("multipart/mixed; boundary={boundary}");
    let content_type = HeaderValue::from_maybe_shared(Bytes::from(content_type))
        .expect("a boundary is hexadecimal");
    let mut response = (StatusCode::MULTIPLE_CHOICES, body.freeze()).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    response
}

/// A boundary that no value has at the beginning of a line. It is random, so that nobody
/// can write values which contain the next hundred candidates.
fn boundary<'a>(values: &(impl Iterator<Item = &'a Value> + Clone)) -> String {
    loop {
        let random = || RandomState::new().build_hasher().finish();
        let boundary = format!("merganser-{:016x}{:016x}", random(), random());
        if !values.clone().any(|value| has_line(&value.body, &boundary)) {
            return boundary;
        }
    }
}

fn has_line(body: &[u8], boundary: &str) -> bool {
    let delimits = |line: &[u8]| {
        line.strip_prefix(b"--").is_some_and(|rest| rest.starts_with(boundary.as_bytes()))
    };
    body.split(|byte| matches!(byte, b'\n' | b'\r')).any(delimits)
}

/// Returns whether `multipart/mixed` is more welcome than `application/json`.
fn prefers_multipart(headers: &HeaderMap) -> bool {
    let accept: Vec<&str> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .collect();
    quality(&accept, "application/json") < quality(&accept, "multipart/mixed")
}

/// How welcome a media type is, in thousandths: by the most specific range that has it.
fn quality(accept: &[&str], media_type: &str) -> u16 {
    let whole_family = media_type.split('/').next().unwrap_or_default();
    let ranges = accept.iter().filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let range = parts.next()?;
        let specificity = match range.split_once('/')? {
            ("*", "*") => 1,
            (family, "*") if family.eq_ignore_ascii_case(whole_family) => 2,
            _ if range.eq_ignore_ascii_case(media_type) => 3,
            _ => return None,
        };
        let q = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        Some((specificity, q.map_or(1000, thousandths)))
    });
    ranges.max().map_or(0, |(_, quality)| quality)
}

fn thousandths(q: &str) -> u16 {
    let q: f32 = q.parse().unwrap_or(0.0);
    // From 0 to 1000 whatever was said; what is no number counts as 0.
    (q.clamp(0.0, 1.0) * 1000.0) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(accept: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        prefers_multipart(&headers)
    }

    #[test]
    fn multipart_is_sent_only_to_who_prefers_it() {
        for accept in ["multipart/mixed", "multipart/*", "text/html, Multipart/Mixed;q=0.1"] {
            assert!(accepts(accept), "{accept}");
        }
        for accept in [
            "*/*",
            "application/json",
            "multipart/mixed, application/json",
            "multipart/mixed;q=0.5, */*",
            "multipart/mixed;q=0",
            "multipart/mixed;q=nan, application/json;q=0.001",
            "nonsense",
        ] {
            assert!(!accepts(accept), "{accept}");
        }
        assert!(!prefers_multipart(&HeaderMap::new()));
    }

    #[test]
    fn a_boundary_is_found_where_a_reader_would_find_it() {
        assert!(has_line(b"--b", "b"));
        assert!(has_line(b"x\r\n--b--\r\n", "b"));
        assert!(!has_line(b"x --b", "b"));
        assert!(!has_line(b"-b\n--a", "b"));
    }
}
