//! Keys and values.

use bytes::Bytes;
use thiserror::Error;

use crate::TableId;

/// The most bytes that the partition key may have, and the sort key. Long enough for a
/// URL or a path; short enough that a page of keys fits into one message.
pub const PART_BYTES_MAX: usize = 8 * 1024;

/// A name or key that cannot exist.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
pub enum Malformed {
    /// See [`Name`](crate::Name) for what a name may be.
    #[error(
        "{0:?} is no name: use 1 to 64 of a-z, 0-9, '_', '-', '.', beginning with a letter or digit"
    )]
    Name(String),
    /// The partition key has no bytes.
    #[error("the partition key is empty")]
    EmptyKey,
    /// One part of the key is longer than [`PART_BYTES_MAX`].
    #[error("the {part} key has {bytes} bytes, the most is {PART_BYTES_MAX}")]
    LongKey {
        /// `partition` or `sort`.
        part: &'static str,
        /// How long it is.
        bytes: usize,
    },
}

/// Where an object lives inside its table.
///
/// Keys with one partition key live in one shard and are ordered by sort key, bytewise.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Key {
    partition: Bytes,
    sort: Bytes,
}

impl Key {
    /// Accepts a key. The sort key may be empty, and is for most tables.
    ///
    /// # Errors
    ///
    /// [`Malformed::EmptyKey`] and [`Malformed::LongKey`].
    pub fn new(partition: Bytes, sort: Bytes) -> Result<Self, Malformed> {
        if partition.is_empty() {
            return Err(Malformed::EmptyKey);
        }
        for (part, bytes) in [("partition", partition.len()), ("sort", sort.len())] {
            if PART_BYTES_MAX < bytes {
                return Err(Malformed::LongKey { part, bytes });
            }
        }
        Ok(Self { partition, sort })
    }

    /// The part that decides the shard.
    pub fn partition(&self) -> &Bytes {
        &self.partition
    }

    /// The part that orders keys of one partition key. Often empty.
    pub fn sort(&self) -> &Bytes {
        &self.sort
    }
}

/// Where an object lives in the cluster.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Address {
    /// In which table.
    pub table: TableId,
    /// Under which key.
    pub key: Key,
}

/// What a client wrote: bytes, and what kind of bytes it said they are.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Value {
    /// A media type such as `application/json`. Never interpreted, only handed back.
    pub content_type: Bytes,
    /// The bytes themselves.
    pub body: Bytes,
}
