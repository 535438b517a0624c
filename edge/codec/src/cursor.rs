//! Where a list or scan goes on, as text for clients.
//!
//! A page of keys ends with a cursor, which the client hands back to get the next page,
//! to any node. It is a place among keys and gives no right to anything, so it is not
//! authenticated; it is only checked to be a place that can exist.
//!
//! ```text
//! cursor = base64url( version (1)  0  partition  after? )          a list
//!          base64url( version (1)  1  shard  (partition  sort)? )  a scan
//! ```
//!
//! The cursor of a list repeats its partition key: a caller compares it with the one that
//! the client asks for, because a cursor of another list would skip keys of this one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{BufMut, Bytes};
use model::{Key, Range, SHARDS_MAX};
use thiserror::Error;

use crate::reader::Reader;
use crate::{Malformed, varint};

/// The version of the cursor format.
const VERSION: u8 = 1;

/// The most bytes of a cursor as text: both parts of the longest key, and their lengths.
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
}

impl From<Malformed> for CursorError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// Makes the cursor that goes on at `range`.
pub fn encode(range: &Range) -> String {
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
    URL_SAFE_NO_PAD.encode(out)
}

/// Returns the range that a cursor goes on at.
///
/// # Errors
///
/// [`CursorError`] if the text is no cursor, or names a place that cannot exist.
pub fn decode(cursor: &str) -> Result<Range, CursorError> {
    if TEXT_BYTES_MAX < cursor.len() {
        return Err(CursorError::Malformed);
    }
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| CursorError::Malformed)?.into();
    let mut reader = Reader::new(&bytes);
    let version = reader.byte()?;
    if VERSION < version {
        return Err(CursorError::Newer(version));
    }
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
