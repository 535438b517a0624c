//! The context that a client reads and hands back.
//!
//! A context says which writes the next one supersedes, so whoever can make one up can
//! delete what he never read. Clients get their context as a token: opaque text with a
//! keyed hash that only nodes of the cluster can make, bound to the key that was read. A
//! token of another key, table or cluster is refused, and so is one that was cut short by
//! a proxy or edited by hand.
//!
//! ```text
//! token = base64url( version (1)  place (4)  dot set  marks  tag (16) )
//! tag   = keyed BLAKE3 of everything before it, and of keyspace, table and key
//! ```
//!
//! The marks say which of the dots were written with an idempotency key. Where none was, they
//! are left out, and the version is the first.
//!
//! `place` is a plain hash of keyspace, table and key. It protects nothing; it lets a
//! refusal say that the token belongs to another key, the most common mistake.
//!
//! A token is not secret and does not expire: what it allows, a client may do at any time
//! by reading the key.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use causality::DotSet;
use model::{Key, Marks, Name};
use thiserror::Error;
use xxhash_rust::xxh3::Xxh3;

use crate::reader::Reader;
use crate::{Malformed, dots, marks};

/// The version of the token format. Tokens live as long as clients keep them.
const VERSION: u8 = 1;

/// The version of tokens with marks.
const VERSION_MARKED: u8 = 2;

/// The most bytes of a token as text: room for some twenty thousand gaps between the dots
/// of one incarnation. A context that long is a runaway, and headers in front of a node
/// usually end far earlier.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;

const PLACE_BYTES: usize = 4;
pub(crate) const TAG_BYTES: usize = 16;

/// What tokens of one cluster are authenticated with.
#[derive(Clone)]
pub struct TokenKey([u8; 32]);

impl TokenKey {
    /// Derives the key from the secret of a cluster. The secret itself is never used, and
    /// cannot be found from the key.
    pub fn derive(secret: &[u8; 32]) -> Self {
        Self(blake3::derive_key("merganser 2026 context token", secret))
    }

    /// The key of cursors, which is another one: the tag of a cursor is none of a token.
    pub(crate) fn for_cursors(&self) -> Self {
        Self(blake3::derive_key("merganser 2026 cursor", &self.0))
    }

    /// The key of the cursors of feeds, another one again.
    pub(crate) fn for_feeds(&self) -> Self {
        Self(blake3::derive_key("merganser 2026 feed", &self.0))
    }

    /// The keyed hash of a list of parts.
    pub(crate) fn tag<const N: usize>(&self, parts: [&[u8]; N]) -> [u8; TAG_BYTES] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for part in parts {
            // With the length in front, no two lists of parts are the same bytes.
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let hash = hasher.finalize();
        *hash.as_bytes().first_chunk().expect("a hash is longer than a tag")
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(..)")
    }
}

/// What a context is about.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// In which keyspace the key is.
    pub keyspace: &'a Name,
    /// In which table.
    pub table: &'a Name,
    /// The key that was read.
    pub key: &'a Key,
}

/// Why a token is not accepted. Nothing may be taken from it.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum ContextError {
    /// It has more bytes than any token.
    #[error("the context is longer than {TEXT_BYTES_MAX} bytes")]
    TooLong,
    /// It has characters that no token has.
    #[error("the context is not base64url text; pass it exactly as it was received")]
    NotText,
    /// It ends early.
    #[error("the context was cut short; pass it exactly as it was received")]
    Truncated,
    /// The next version of the program made it, as while a cluster is upgraded.
    #[error("the context has format version {0}, which this node does not know yet")]
    Newer(u8),
    /// It was made for another key.
    #[error("the context belongs to another key or table; read this key first")]
    Foreign,
    /// It was not made by this cluster, or was changed since.
    #[error("the context was not issued by this cluster, or was changed")]
    Forged,
}

/// Makes the token for what was read at `place`.
pub fn seal(key: &TokenKey, place: &Place<'_>, context: &DotSet) -> String {
    seal_marked(key, place, context, &Marks::new())
}

/// Makes the token for what was read at `place`, with the marks of it.
pub fn seal_marked(key: &TokenKey, place: &Place<'_>, context: &DotSet, marks: &Marks) -> String {
    let mut token = Vec::with_capacity(64);
    token.push(if marks.is_empty() { VERSION } else { VERSION_MARKED });
    token.extend(place_of(place));
    dots::encode(context, &mut token);
    if !marks.is_empty() {
        marks::encode(marks, context, &mut token);
    }
    let tag = tag(key, place, &token);
    token.extend(tag);
    URL_SAFE_NO_PAD.encode(token)
}

/// Returns the context in a token that this cluster made for `place`.
///
/// # Errors
///
/// [`ContextError`] for anything else.
pub fn open(key: &TokenKey, place: &Place<'_>, token: &str) -> Result<DotSet, ContextError> {
    open_marked(key, place, token).map(|(context, _)| context)
}

/// Returns the context in a token that this cluster made for `place`, and the marks of it.
///
/// # Errors
///
/// [`ContextError`] for anything else.
pub fn open_marked(
    key: &TokenKey,
    place: &Place<'_>,
    token: &str,
) -> Result<(DotSet, Marks), ContextError> {
    if TEXT_BYTES_MAX < token.len() {
        return Err(ContextError::TooLong);
    }
    let token = Bytes::from(URL_SAFE_NO_PAD.decode(token).map_err(|_| ContextError::NotText)?);
    let is_marked = match token.first() {
        None => return Err(ContextError::Truncated),
        Some(&VERSION) => false,
        Some(&VERSION_MARKED) => true,
        Some(&version) if version == VERSION_MARKED + 1 => {
            return Err(ContextError::Newer(version));
        }
        // Text that somebody made up, as far as anyone can tell.
        Some(_) => return Err(ContextError::Forged),
    };
    let (claim, theirs) = token.split_last_chunk().ok_or(ContextError::Truncated)?;
    let body_start = 1 + PLACE_BYTES;
    if claim.len() < body_start {
        return Err(ContextError::Truncated);
    }
    let context = read(&token.slice(body_start..claim.len()), is_marked);
    if !same(&tag(key, place, claim), theirs) {
        return Err(diagnose(claim, place, &context));
    }
    // The tag is ours, so only a fault of our own can make the rest unreadable.
    context.map_err(|_| ContextError::Forged)
}

fn read(body: &Bytes, is_marked: bool) -> Result<(DotSet, Marks), Malformed> {
    let mut reader = Reader::new(body);
    let context = dots::read(&mut reader)?;
    let marks = if is_marked { marks::read(&mut reader, &context)? } else { Marks::new() };
    reader.finish()?;
    Ok((context, marks))
}

/// Says what is probably wrong with a token whose tag does not fit.
fn diagnose<T>(claim: &[u8], place: &Place<'_>, context: &Result<T, Malformed>) -> ContextError {
    match context {
        Err(Malformed::Truncated) => ContextError::Truncated,
        Ok(_) if claim.get(1..=PLACE_BYTES) != Some(&place_of(place)[..]) => ContextError::Foreign,
        Ok(_) | Err(Malformed::Trailing | Malformed::Newer(_) | Malformed::Invalid(_)) => {
            ContextError::Forged
        }
    }
}

/// Compares in a time that does not depend on where the difference is. The comparison of
/// [`blake3::Hash`] has this property, and the padding is the same on both sides.
pub(crate) fn same(ours: &[u8; TAG_BYTES], theirs: &[u8; TAG_BYTES]) -> bool {
    let padded = |tag: &[u8; TAG_BYTES]| {
        let mut bytes = [0; blake3::OUT_LEN];
        let (start, _) = bytes.split_at_mut(TAG_BYTES);
        start.copy_from_slice(tag);
        blake3::Hash::from_bytes(bytes)
    };
    padded(ours) == padded(theirs)
}

fn tag(key: &TokenKey, place: &Place<'_>, claim: &[u8]) -> [u8; TAG_BYTES] {
    let [keyspace, table, partition, sort] = parts(place);
    key.tag([keyspace, table, partition, sort, claim])
}

fn place_of(place: &Place<'_>) -> [u8; PLACE_BYTES] {
    let mut hasher = Xxh3::new();
    for part in parts(place) {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    // The low half is as good as any.
    (hasher.digest() as u32).to_le_bytes()
}

fn parts<'a>(place: &Place<'a>) -> [&'a [u8]; 4] {
    let Place { keyspace, table, key } = *place;
    [keyspace.as_str().as_bytes(), table.as_str().as_bytes(), key.partition(), key.sort()]
}
