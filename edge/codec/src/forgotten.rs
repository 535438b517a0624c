//! What a shard has forgotten, as bytes.
//!
//! A shard keeps the dots of all tombstones that it has dropped, and gains some with every batch that
//! it drops. Written whole, the set would cost more with each of them. So the dots of an
//! incarnation lie in chunks of [`DOTS`] numbers, and forgetting one writes one chunk.
//!
//! ```text
//! storage key = keyspace (4)  shard (2)  incarnation (8)  chunk (8)      all big-endian
//! body        = runs, as in `dots`
//! ```
//!
//! `chunk` is what the numbers of its dots come to, divided by [`DOTS`]. A run that goes over the
//! end of a chunk is in both, each with its part. The keys begin with that of the
//! [clock](mod@crate::clock) of the incarnation, so that they follow it.

use bytes::{BufMut, Bytes};
use causality::{Incarnation, Run};
use model::ShardId;

use crate::{Malformed, clock};

/// How many numbers one chunk is for. Part of the format.
pub const DOTS: u64 = 4_096;

/// How long the keys are. Those of clocks, which lie beside them, are shorter.
pub const KEY_BYTES: usize = 22;

/// Returns where a chunk lies.
pub fn chunk_key(shard: ShardId, incarnation: Incarnation, number: u64) -> Vec<u8> {
    let mut bytes = clock::clock_key(shard, incarnation);
    bytes.extend(number.to_be_bytes());
    bytes
}

/// Reads what [`chunk_key`] makes.
///
/// # Errors
///
/// [`Malformed`] if the bytes are shorter or longer.
pub fn decode_key(bytes: &[u8]) -> Result<(ShardId, Incarnation, u64), Malformed> {
    let (clock, number) = bytes.split_last_chunk::<8>().ok_or(Malformed::Truncated)?;
    let (shard, incarnation) = clock::decode_key(clock)?;
    Ok((shard, incarnation, u64::from_be_bytes(*number)))
}

/// Appends the runs of a chunk, which the key names. At least one.
pub fn encode(runs: &[Run], out: &mut impl BufMut) {
    clock::encode(runs, out);
}

/// Reads the runs of the chunk `number` of `incarnation`.
///
/// # Errors
///
/// [`Malformed`] if the bytes are not what [`encode`] makes, or have a dot of another chunk.
pub fn decode(incarnation: Incarnation, number: u64, bytes: &Bytes) -> Result<Vec<Run>, Malformed> {
    let runs = clock::decode(incarnation, bytes)?.runs().to_vec();
    let is_here = |run: &Run| (run.first / DOTS, run.last / DOTS) == (number, number);
    if runs.iter().all(is_here) {
        Ok(runs)
    } else {
        Err(Malformed::Invalid("a dot of another chunk"))
    }
}

#[cfg(test)]
mod tests {
    use model::KeyspaceId;
    use proptest::prelude::*;

    use super::*;

    const A: Incarnation = Incarnation::new(7);

    fn read(number: u64, first: u64, last: u64) -> Result<Vec<Run>, Malformed> {
        let mut body = Vec::new();
        encode(&[Run { incarnation: A, first, last }], &mut body);
        decode(A, number, &body.into())
    }

    #[test]
    fn a_chunk_has_its_own_dots_and_no_other() {
        let greatest = u64::MAX / DOTS;
        for (number, first, last) in
            [(0, 1, 4_095), (1, 4_096, 8_191), (greatest, u64::MAX - 4_095, u64::MAX)]
        {
            let all = vec![Run { incarnation: A, first, last }];
            assert_eq!(read(number, first, last), Ok(all));
            let foreign = Err(Malformed::Invalid("a dot of another chunk"));
            assert_eq!(read(number + 1, first, last), foreign);
            if first != 1 {
                assert_eq!(read(number, first - 1, last), foreign);
            }
            if last != u64::MAX {
                assert_eq!(read(number, first, last + 1), foreign);
            }
        }
    }

    proptest! {
        #[test]
        fn chunk_keys_read_back_and_follow_the_clock(
            (keyspace, index) in any::<(u32, u16)>(),
            (incarnation, number, other) in any::<(u64, u64, u64)>(),
        ) {
            let shard = ShardId { keyspace: KeyspaceId::new(keyspace), index };
            let incarnation = Incarnation::new(incarnation);
            let key = chunk_key(shard, incarnation, number);
            prop_assert_eq!(key.len(), KEY_BYTES);
            prop_assert!(key.starts_with(&clock::clock_key(shard, incarnation)));
            prop_assert!(clock::decode_key(&key).is_err(), "it is taken for a clock");
            prop_assert_eq!(decode_key(&key), Ok((shard, incarnation, number)));
            prop_assert_eq!(decode_key(&key[..21]), Err(Malformed::Truncated));
            let other_key = chunk_key(shard, incarnation, other);
            prop_assert_eq!(key.cmp(&other_key), number.cmp(&other));
        }
    }
}
