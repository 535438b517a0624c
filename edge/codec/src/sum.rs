//! What a shard comes to, as bytes.
//!
//! Each change of a shard carries the sum of all its records, so that a start can tell whether they are
//! all there. The sum lies before the clocks of the shard, whose keys begin with its own.
//!
//! ```text
//! storage key = keyspace (4)  shard (2)      both big-endian
//! body        = tag (8)  total (8)           both little-endian
//! ```
//!
//! `tag` tells secrets apart: under another secret than that of the tag the total says nothing.

use bytes::{BufMut, Bytes};
use model::{KeyspaceId, ShardId};

use crate::reader::Reader;
use crate::{Malformed, clock};

/// How long the keys are. Those of clocks, which lie beside them, are longer.
pub const KEY_BYTES: usize = 6;

/// Returns where the sum of a shard lies.
pub fn sum_key(shard: ShardId) -> Vec<u8> {
    clock::prefix_of(shard)
}

/// Reads what [`sum_key`] makes.
///
/// # Errors
///
/// [`Malformed`] if the bytes are shorter or longer.
pub fn decode_key(bytes: &[u8]) -> Result<ShardId, Malformed> {
    let (keyspace, rest) = bytes.split_first_chunk().ok_or(Malformed::Truncated)?;
    let (index, rest) = rest.split_first_chunk().ok_or(Malformed::Truncated)?;
    if !rest.is_empty() {
        return Err(Malformed::Trailing);
    }
    let keyspace = KeyspaceId::new(u32::from_be_bytes(*keyspace));
    Ok(ShardId { keyspace, index: u16::from_be_bytes(*index) })
}

/// Appends a tag and a total.
pub fn encode((tag, total): (u64, u64), out: &mut impl BufMut) {
    out.put_u64_le(tag);
    out.put_u64_le(total);
}

/// Reads what [`encode`] makes.
///
/// # Errors
///
/// [`Malformed`] if the bytes are shorter or longer.
pub fn decode(bytes: &Bytes) -> Result<(u64, u64), Malformed> {
    let mut reader = Reader::new(bytes);
    let (tag, total) = (reader.fixed()?, reader.fixed()?);
    reader.finish()?;
    Ok((tag, total))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sums_read_back_and_lie_before_the_clocks_of_their_shard(
            (keyspace, index) in any::<(u32, u16)>(),
            (tag, total, incarnation) in any::<(u64, u64, u64)>(),
        ) {
            let shard = ShardId { keyspace: KeyspaceId::new(keyspace), index };
            let key = sum_key(shard);
            prop_assert_eq!(key.len(), KEY_BYTES);
            prop_assert_eq!(decode_key(&key), Ok(shard));
            let clock = clock::clock_key(shard, causality::Incarnation::new(incarnation));
            prop_assert!(key < clock && decode_key(&clock).is_err(), "a clock is taken for it");
            prop_assert!(clock::decode_key(&key).is_err(), "it is taken for a clock");
            let mut body = Vec::new();
            encode((tag, total), &mut body);
            let bytes = Bytes::from(body);
            prop_assert_eq!(decode(&bytes), Ok((tag, total)));
            prop_assert_eq!(decode(&bytes.slice(1..)), Err(Malformed::Truncated));
        }
    }
}
