//! The envelope of everything stored.
//!
//! A disk returns flipped bits, and sometimes the right bytes of the wrong place. A later
//! program leaves behind what this one cannot read. Both must be noticed before the bytes
//! are believed, and told apart, because an operator has to do something else after each.
//!
//! ```text
//! record = version (1)  kind (1)  checksum (8)  body
//! ```
//!
//! The checksum covers the version, the kind, the *storage key* and the body, so a record
//! that is whole but lies under another key fails. These ten bytes stay as they are in
//! every later version: a damaged version byte is therefore found to be damage, and a
//! record that passes but has a greater version was really written by a later program.

use bytes::Bytes;
use model::Object;
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{Malformed, VERSION, VERSION_EXTENDED, object};

/// The bytes before the body.
pub const HEADER_BYTES: usize = 10;

/// What a body is an encoding of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// See [`object`].
    Object,
    /// See [`clock`](crate::clock).
    Clock,
    /// See [`catalog`](crate::catalog).
    Acceptor,
    /// What the store keeps about itself. The body is the store's.
    Meta,
    /// See [`log`](crate::log).
    Log,
    /// See [`hint`](crate::hint).
    Hint,
    /// See [`forgotten`](crate::forgotten).
    Forgotten,
    /// See [`sum`](crate::sum).
    Sum,
}

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Self::Object => 1,
            Self::Clock => 2,
            Self::Acceptor => 3,
            Self::Meta => 4,
            Self::Log => 5,
            Self::Hint => 6,
            Self::Forgotten => 7,
            Self::Sum => 8,
        }
    }
}

/// A record that cannot be used.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum RecordError {
    /// The record is whole. A later program wrote it, and this one must leave it alone.
    #[error("the record has format version {found}, this program reads up to {VERSION_EXTENDED}")]
    Newer {
        /// Its version.
        found: u8,
    },
    /// The record is not what was written under this key.
    #[error("{0}")]
    Corrupt(&'static str),
}

/// Makes the record to store under `key`. The body is written by `body`, straight into
/// the record.
pub fn seal(kind: Kind, key: &[u8], body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut record = Vec::with_capacity(128);
    seal_into(kind, key, &mut record, body);
    record
}

/// Makes the record to store under `key` in `record`, which is emptied first. For callers
/// that know how much room to make, or reuse it.
pub fn seal_into(kind: Kind, key: &[u8], record: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    seal_version(VERSION, kind, key, record, body);
}

/// Makes the record of an object in `record`, which is emptied first.
pub fn seal_object(key: &[u8], object: &Object, record: &mut Vec<u8>) {
    if object.marks().is_empty() {
        return seal_into(Kind::Object, key, record, |out| object::encode(object, out));
    }
    let body = |out: &mut Vec<u8>| object::encode_marked(object, out);
    seal_version(VERSION_EXTENDED, Kind::Object, key, record, body);
}

/// Returns the object in the record that was found under `key`.
///
/// # Errors
///
/// [`BodyError`]; nothing of the record may be used.
pub fn open_object(key: &[u8], record: &Bytes) -> Result<Object, BodyError> {
    let (version, body) = open_version(VERSION_EXTENDED, Kind::Object, key, record)?;
    Ok(if version == VERSION { object::decode(&body)? } else { object::decode_marked(&body)? })
}

/// Makes the record of a line of a log, whose write added so much to the sum of its shard.
pub fn seal_line(key: &[u8], adds: u64, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    if adds == 0 {
        return seal(Kind::Log, key, body);
    }
    let mut record = Vec::with_capacity(128);
    let adding = |out: &mut Vec<u8>| {
        out.extend(adds.to_le_bytes());
        body(out);
    };
    seal_version(VERSION_EXTENDED, Kind::Log, key, &mut record, adding);
    record
}

/// Returns what the write of a line added to the sum, and the body of the line.
///
/// # Errors
///
/// [`BodyError`]; nothing of the record may be used.
pub fn open_line(key: &[u8], record: &Bytes) -> Result<(u64, Bytes), BodyError> {
    let (version, body) = open_version(VERSION_EXTENDED, Kind::Log, key, record)?;
    if version == VERSION {
        return Ok((0, body));
    }
    let adds = *body.first_chunk().ok_or(Malformed::Truncated)?;
    match u64::from_le_bytes(adds) {
        0 => Err(Malformed::Invalid("a line that adds nothing").into()),
        adds => Ok((adds, body.slice(size_of::<u64>()..))),
    }
}

/// Why a record is not what it is taken for.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum BodyError {
    /// The record cannot be used.
    #[error("{0}")]
    Record(#[from] RecordError),
    /// The record is whole, and its body is not of its kind.
    #[error("{0}")]
    Body(#[from] Malformed),
}

fn seal_version(
    version: u8,
    kind: Kind,
    key: &[u8],
    record: &mut Vec<u8>,
    body: impl FnOnce(&mut Vec<u8>),
) {
    record.clear();
    record.extend([version, kind.byte()]);
    record.extend([0; size_of::<u64>()]);
    body(record);
    let (header, body) = record.split_at_mut(HEADER_BYTES);
    let checksum = checksum(version, kind.byte(), key, body);
    let (_, place) = header.split_at_mut(2);
    place.copy_from_slice(&checksum.to_le_bytes());
}

/// Returns the body of the record that was found under `key`, not copied.
///
/// # Errors
///
/// [`RecordError`]; nothing of the record may be used.
pub fn open(kind: Kind, key: &[u8], record: &Bytes) -> Result<Bytes, RecordError> {
    open_version(VERSION, kind, key, record).map(|(_, body)| body)
}

/// The version and the body of a record of up to the version `most`.
fn open_version(
    most: u8,
    kind: Kind,
    key: &[u8],
    record: &Bytes,
) -> Result<(u8, Bytes), RecordError> {
    let Some((&[version, found], rest)) = record.split_first_chunk() else { return Err(SHORT) };
    let Some((sum, body)) = rest.split_first_chunk() else { return Err(SHORT) };
    if checksum(version, found, key, body) != u64::from_le_bytes(*sum) {
        return Err(RecordError::Corrupt("the checksum does not fit the key and the bytes"));
    }
    if VERSION_EXTENDED < version {
        return Err(RecordError::Newer { found: version });
    }
    if !(VERSION..=most).contains(&version) || found != kind.byte() {
        return Err(RecordError::Corrupt("the record is of another kind"));
    }
    Ok((version, record.slice(HEADER_BYTES..)))
}

const SHORT: RecordError = RecordError::Corrupt("the record is shorter than its header");

/// The hash of the key seeds that of the body: two passes without a copy.
fn checksum(version: u8, kind: u8, key: &[u8], body: &[u8]) -> u64 {
    let seed = u64::from(u16::from_le_bytes([version, kind]));
    xxh3_64_with_seed(body, xxh3_64_with_seed(key, seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Bytes {
        seal(Kind::Object, b"key", |out| out.extend(b"body")).into()
    }

    #[test]
    fn a_record_opens_under_its_own_key_and_kind_only() {
        assert_eq!(open(Kind::Object, b"key", &record()), Ok(Bytes::from("body")));
        for (kind, key) in [(Kind::Object, &b"kex"[..]), (Kind::Clock, b"key")] {
            let opened = open(kind, key, &record());
            assert!(matches!(opened, Err(RecordError::Corrupt(_))), "{opened:?}");
        }
    }

    #[test]
    fn every_truncation_and_every_flipped_bit_is_corrupt() {
        let record = record();
        for cut in 0..record.len() {
            let opened = open(Kind::Object, b"key", &record.slice(..cut));
            assert!(matches!(opened, Err(RecordError::Corrupt(_))), "{cut} bytes: {opened:?}");
        }
        for bit in 0..record.len() * 8 {
            let mut flipped = record.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let opened = open(Kind::Object, b"key", &flipped.into());
            assert!(matches!(opened, Err(RecordError::Corrupt(_))), "bit {bit}: {opened:?}");
        }
    }

    #[test]
    fn a_whole_record_of_a_later_version_is_newer_and_not_corrupt() {
        let next = VERSION_EXTENDED + 1;
        let sum = checksum(next, 99, b"key", b"whatever");
        let mut later = vec![next, 99];
        later.extend(sum.to_le_bytes());
        later.extend(b"whatever");
        let opened = open(Kind::Object, b"key", &later.into());
        assert_eq!(opened, Err(RecordError::Newer { found: next }));
    }

    #[test]
    fn room_that_is_reused_leaves_nothing_behind() {
        let mut room = vec![7; 500];
        seal_into(Kind::Object, b"key", &mut room, |out| out.extend(b"body"));
        assert_eq!(room, record());
    }
}
