//! Where a list or scan goes on, as text for clients.
//!
//! A page of keys ends with a cursor, which the client hands back to get the next page,
//! to any node. It gives no right to anything. But a list that goes on at the wrong place
//! leaves keys out and looks complete, so a cursor is sealed as a [context](crate::token)
//! is: one of another table, or one that was edited, is refused.
//!
//! ```text
//! cursor = base64url( version (1)  0  partition  after?           tag (16) )   a list
//!          base64url( version (1)  1  shard  (partition  sort)?   tag (16) )   a scan
//! tag    = keyed BLAKE3 of everything before it, and of keyspace and table
//! ```
//!
//! The cursor of a list repeats its partition key: a caller compares it with the one that
//! the client asks for, because a cursor of another list would skip keys of this one. The
//! key of the tag is derived from that of contexts, so that neither passes for the other.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{BufMut, Bytes};
use model::{Key, Name, Range, SHARDS_MAX};
use thiserror::Error;

use crate::reader::Reader;
use crate::token::{self, TokenKey};
use crate::{Malformed, varint};

/// The version of the cursor format.
const VERSION: u8 = 1;

/// The most bytes of a cursor as text: both parts of the longest key, their lengths, and the
/// tag.
const TEXT_BYTES_MAX: usize = (2 * model::PART_BYTES_MAX + 64) / 3 * 4;

/// Why a cursor is not accepted.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum CursorError {
    /// It was changed, or never was one.
    #[error("the cursor is not one that was issued; pass it exactly as it was received")]
    Malformed,
    /// A later version of the program made it.
    #[error("the cursor has format version {0}, which this node does not know yet")]
    Newer(u8),
    /// It was not made by this cluster for this table, or was changed since.
    #[error("the cursor was not issued by this cluster for this table, or was changed")]
    Foreign,
}

impl From<Malformed> for CursorError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// What cursors are about.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// In which keyspace the list is.
    pub keyspace: &'a Name,
    /// Of which table.
    pub table: &'a Name,
}

/// Makes the cursor that goes on at `range` of the table at `place`.
pub fn seal(key: &TokenKey, place: &Place<'_>, range: &Range) -> String {
    let mut cursor = encode(range);
    let tag = tag(key, place, &cursor);
    cursor.extend(tag);
    URL_SAFE_NO_PAD.encode(cursor)
}

fn encode(range: &Range) -> Vec<u8> {
    let mut out = vec![VERSION];
    match range {
        Range::Partition { partition, after } => {
            out.push(0);
            put(partition, &mut out);
            if let Some(sort) = after {
                put(sort, &mut out);
            }
        }
        Range::Table { shard, after } => {
            out.push(1);
            varint::put(u64::from(*shard), &mut out);
            if let Some(key) = after {
                put(key.partition(), &mut out);
                put(key.sort(), &mut out);
            }
        }
    }
    out
}

fn tag(key: &TokenKey, place: &Place<'_>, claim: &[u8]) -> [u8; token::TAG_BYTES] {
    let Place { keyspace, table } = *place;
    key.for_cursors().tag([keyspace.as_str().as_bytes(), table.as_str().as_bytes(), claim])
}

/// Returns the range that a cursor goes on at, if this cluster made it for `place`.
///
/// # Errors
///
/// [`CursorError`] for anything else.
pub fn open(key: &TokenKey, place: &Place<'_>, cursor: &str) -> Result<Range, CursorError> {
    if TEXT_BYTES_MAX < cursor.len() {
        return Err(CursorError::Malformed);
    }
    let cursor = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| CursorError::Malformed)?;
    match cursor.first() {
        Some(&version) if VERSION < version => return Err(CursorError::Newer(version)),
        Some(&VERSION) => {}
        Some(_) | None => return Err(CursorError::Malformed),
    }
    let (claim, theirs) = cursor.split_last_chunk().ok_or(CursorError::Malformed)?;
    if !token::same(&tag(key, place, claim), theirs) {
        return Err(CursorError::Foreign);
    }
    decode(&Bytes::copy_from_slice(claim))
}

fn decode(claim: &Bytes) -> Result<Range, CursorError> {
    let mut reader = Reader::new(claim);
    let version = reader.byte()?;
    let range = match (version, reader.byte()?) {
        (VERSION, 0) => read_list(&mut reader)?,
        (VERSION, 1) => read_scan(&mut reader)?,
        _ => return Err(CursorError::Malformed),
    };
    reader.finish()?;
    Ok(range)
}

fn read_list(reader: &mut Reader<'_>) -> Result<Range, CursorError> {
    let partition = reader.sized()?;
    let after = if reader.rest().is_empty() { None } else { Some(reader.sized()?) };
    let key = checked(partition, after.clone().unwrap_or_default())?;
    Ok(Range::Partition { partition: key.partition().clone(), after })
}

fn read_scan(reader: &mut Reader<'_>) -> Result<Range, CursorError> {
    let shard = reader.number()?;
    if SHARDS_MAX <= shard {
        return Err(CursorError::Malformed);
    }
    let more = !reader.rest().is_empty();
    let after = if more { Some(checked(reader.sized()?, reader.sized()?)?) } else { None };
    Ok(Range::Table { shard, after })
}

fn checked(partition: Bytes, sort: Bytes) -> Result<Key, CursorError> {
    Key::new(partition, sort).map_err(|_| CursorError::Malformed)
}

fn put(part: &[u8], out: &mut Vec<u8>) {
    varint::put_len(part.len(), out);
    out.put_slice(part);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_cannot_exist_are_refused_even_if_they_were_sealed() {
        let refused = |bytes: &'static [u8], why: &str| {
            assert_eq!(decode(&Bytes::from_static(bytes)), Err(CursorError::Malformed), "{why}");
        };
        refused(&[1, 0, 0], "an empty partition key");
        refused(&[1, 1, 0xff, 0xff, 3], "a shard above all");
        refused(&[1, 1, 0, 1, b'a'], "a key without a sort key");
        refused(&[1, 2], "an unknown kind");
        refused(&[1, 1, 0, 1, b'a', 0, 0], "bytes after the end");
    }
}
