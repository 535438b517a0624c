//! Paths, taken apart by hand.
//!
//! A key is any bytes, so its path segment need not be text once it is decoded, and it may
//! contain an escaped `/`. The router would decode the path before it looks at it.
//!
//! Escapes are `%` and two hexadecimal digits (RFC 3986). A `+` is a `+`.

use std::borrow::Cow;

use bytes::Bytes;
use model::{Key, Name};

use crate::problem::{Problem, nothing_at};

/// Undoes percent-encoding. Copies only if something is escaped.
///
/// # Errors
///
/// `malformed_request` for a `%` without two hexadecimal digits.
pub(crate) fn decode(escaped: &str) -> Result<Cow<'_, [u8]>, Problem> {
    if !escaped.contains('%') {
        return Ok(Cow::Borrowed(escaped.as_bytes()));
    }
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first != b'%' {
            bytes.push(first);
            rest = after;
            continue;
        }
        let digits = after.first_chunk::<2>();
        let byte = digits.and_then(|[high, low]| hexadecimal(*high, *low)).ok_or_else(|| {
            let at = escaped.len() - rest.len();
            Problem::malformed(format_args!("the '%' at byte {at} lacks two hex digits"))
        })?;
        bytes.push(byte);
        rest = after.get(2..).unwrap_or_default();
    }
    Ok(Cow::Owned(bytes))
}

fn hexadecimal(high: u8, low: u8) -> Option<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// A table, as a path or a batch names it.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    pub(crate) keyspace: Name,
    pub(crate) table: Name,
}

/// The segments of a path below `prefix`, exactly `N` of them, still escaped.
///
/// # Errors
///
/// `no_such_route` for fewer or more.
pub(crate) fn segments<'a, const N: usize>(
    path: &'a str,
    prefix: &str,
) -> Result<[&'a str; N], Problem> {
    let below = path.strip_prefix(prefix);
    let mut parts = below.ok_or_else(|| nothing_at(path))?.split('/');
    let mut segments = [""; N];
    for segment in &mut segments {
        *segment = parts.next().ok_or_else(|| nothing_at(path))?;
    }
    if parts.next().is_some() { Err(nothing_at(path)) } else { Ok(segments) }
}

/// Reads a name out of its path segment.
pub(crate) fn name(segment: &str) -> Result<Name, Problem> {
    Ok(Name::new(&String::from_utf8_lossy(&decode(segment)?))?)
}

/// Reads a table out of its two path segments.
pub(crate) fn scope(keyspace: &str, table: &str) -> Result<Scope, Problem> {
    Ok(Scope { keyspace: name(keyspace)?, table: name(table)? })
}

/// Reads a key out of its path segment and the query.
pub(crate) fn key(segment: &str, sort: Bytes) -> Result<Key, Problem> {
    Ok(Key::new(Bytes::copy_from_slice(&decode(segment)?), sort)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_byte_can_be_escaped_and_plain_text_is_not_copied() {
        assert!(matches!(decode("plain+~").ok(), Some(Cow::Borrowed(b"plain+~"))));
        assert_eq!(decode("%00%fF%2f%25x").ok().unwrap().as_ref(), b"\x00\xff/%x");
    }

    #[test]
    fn an_escape_without_two_digits_is_refused() {
        for text in ["%", "%2", "a%zz", "%%41", "%+1"] {
            assert!(decode(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_path_has_exactly_the_segments_of_its_route() {
        let [keyspace, key] = segments("/v1/x/ks/a%2Fb", "/v1/x/").ok().unwrap();
        assert_eq!((keyspace, key), ("ks", "a%2Fb"));
        for path in ["/v1/x/ks", "/v1/x/ks/a/b", "/v1/y/ks/a"] {
            assert!(segments::<2>(path, "/v1/x/").is_err(), "{path}");
        }
    }
}
