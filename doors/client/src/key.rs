//! What is read and written: keys, contents, values and contexts.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use hyper::header::HeaderValue;

use crate::Error;

/// Where a value lives in its table: a partition key and a sort key, any bytes each. Keys
/// with one partition key live together and are ordered by sort key. An empty sort key is
/// the same as none.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Key {
    /// The partition key.
    pub partition: Bytes,
    /// The sort key.
    pub sort: Bytes,
}

impl Key {
    /// A key without a sort key.
    pub fn new(partition: impl Into<Bytes>) -> Self {
        Self { partition: partition.into(), sort: Bytes::new() }
    }

    /// A key with a sort key.
    pub fn with_sort(partition: impl Into<Bytes>, sort: impl Into<Bytes>) -> Self {
        Self { partition: partition.into(), sort: sort.into() }
    }
}

impl From<&str> for Key {
    fn from(partition: &str) -> Self {
        Self::new(Bytes::copy_from_slice(partition.as_bytes()))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.partition.escape_ascii())?;
        if !self.sort.is_empty() {
            write!(f, " / {}", self.sort.escape_ascii())?;
        }
        Ok(())
    }
}

/// What a write stores: bytes, and what they are.
#[derive(Clone, Debug)]
pub struct Content {
    pub(crate) content_type: HeaderValue,
    /// The bytes.
    pub body: Bytes,
}

impl Content {
    /// Bytes of the given content type.
    ///
    /// # Errors
    ///
    /// [`Error::Protocol`] if the type cannot stand in a header.
    pub fn new(content_type: &str, body: impl Into<Bytes>) -> Result<Self, Error> {
        let content_type = HeaderValue::from_str(content_type)
            .map_err(|_| Error::protocol(format!("{content_type:?} is no content type")))?;
        Ok(Self { content_type, body: body.into() })
    }

    /// Bytes of no particular type (`application/octet-stream`).
    pub fn bytes(body: impl Into<Bytes>) -> Self {
        let content_type = HeaderValue::from_static("application/octet-stream");
        Self { content_type, body: body.into() }
    }

    /// Text (`text/plain; charset=utf-8`).
    pub fn text(text: impl Into<String>) -> Self {
        let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
        Self { content_type, body: text.into().into() }
    }

    /// JSON that is already rendered (`application/json`).
    pub fn json(body: impl Into<Bytes>) -> Self {
        let content_type = HeaderValue::from_static("application/json");
        Self { content_type, body: body.into() }
    }

    /// What the bytes are.
    pub fn content_type(&self) -> &str {
        // Made from text, here and above.
        self.content_type.to_str().unwrap_or_default()
    }
}

/// One value of a key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Value {
    /// What the bytes are, as the writer said.
    pub content_type: String,
    /// The bytes.
    pub body: Bytes,
    /// The write that made it. Unknown for a single value unless asked for with
    /// [`ReadOptions::full`](crate::ReadOptions::full).
    pub dot: Option<Dot>,
    /// Whether only a disk had it that does not come back, from which it was taken in later: see
    /// [`Client::salvage`](crate::Client::salvage).
    pub recovered: bool,
}

impl Value {
    /// The bytes as text, with what is no UTF-8 replaced.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }
}

/// The name of one write, `INCARNATION:SEQUENCE`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Dot(pub(crate) String);

impl Dot {
    /// The dot as the server writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What was read, sealed by the server: hand it back with the write that replaces it. It is
/// bound to its key; with another it is refused.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Context(Box<str>);

impl Context {
    /// A context that was kept as text.
    ///
    /// # Errors
    ///
    /// [`Error::Protocol`] if the text cannot be one: it has other characters than
    /// `A-Z`, `a-z`, `0-9`, `-` and `_`, or none.
    pub fn new(token: &str) -> Result<Self, Error> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if !token.is_empty() && token.bytes().all(fits) {
            // A copy of exactly this size: a slice of the answer would keep all of it.
            Ok(Self(token.into()))
        } else {
            Err(Error::protocol("the context is no base64url text"))
        }
    }

    /// The context as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).expect("base64url can stand in a header")
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_that_cannot_be_one_is_refused_before_it_is_sent() {
        for text in ["", "a b", "a\r\nX: y", "a=", "ä"] {
            assert!(Context::new(text).is_err(), "{text:?}");
        }
        assert_eq!(Context::new("Az09-_").unwrap().as_str(), "Az09-_");
    }
}
