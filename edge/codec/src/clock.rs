//! The clocks of shard replicas as bytes.
//!
//! A clock changes with every write, and a shard may know thousands of incarnations, of
//! which one write changes one. Each incarnation's runs are therefore a record of their
//! own, and the clock of a shard is what lies under one prefix.
//!
//! ```text
//! storage key = keyspace (4, big-endian)  shard (2, big-endian)  incarnation (8, big-endian)
//! body        = runs, as in `dots`
//! ```

use bytes::{BufMut, Bytes};
use causality::{DotSet, Incarnation, Run};
use model::{KeyspaceId, ShardId};

use crate::reader::Reader;
use crate::{Malformed, dots};

/// Returns where the runs of one incarnation in one shard are stored.
pub fn clock_key(shard: ShardId, incarnation: Incarnation) -> Vec<u8> {
    let mut bytes = prefix_of(shard);
    bytes.extend(incarnation.bits().to_be_bytes());
    bytes
}

/// Returns what exactly the clock keys of one shard begin with.
pub fn prefix_of(shard: ShardId) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(14);
    bytes.extend(shard.keyspace.number().to_be_bytes());
    bytes.extend(shard.index.to_be_bytes());
    bytes
}

/// Reads what [`clock_key`] makes.
///
/// # Errors
///
/// [`Malformed`] if the bytes are shorter or longer.
pub fn decode_key(bytes: &[u8]) -> Result<(ShardId, Incarnation), Malformed> {
    let (keyspace, rest) = bytes.split_first_chunk().ok_or(Malformed::Truncated)?;
    let (index, rest) = rest.split_first_chunk().ok_or(Malformed::Truncated)?;
    let (incarnation, rest) = rest.split_first_chunk().ok_or(Malformed::Truncated)?;
    if !rest.is_empty() {
        return Err(Malformed::Trailing);
    }
    let keyspace = KeyspaceId::new(u32::from_be_bytes(*keyspace));
    let shard = ShardId { keyspace, index: u16::from_be_bytes(*index) };
    Ok((shard, Incarnation::new(u64::from_be_bytes(*incarnation))))
}

/// Appends the runs of one incarnation, which the key names. At least one.
pub fn encode(runs: &[Run], out: &mut impl BufMut) {
    dots::put_runs(runs, out);
}

/// Reads the runs of `incarnation`.
///
/// # Errors
///
/// [`Malformed`] if the bytes are not what [`encode`] makes.
pub fn decode(incarnation: Incarnation, bytes: &Bytes) -> Result<DotSet, Malformed> {
    let mut reader = Reader::new(bytes);
    let mut runs = Vec::new();
    dots::read_runs(incarnation, &mut reader, &mut runs)?;
    reader.finish()?;
    DotSet::from_runs(runs).map_err(|_| Malformed::Invalid("runs of dots out of order"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn clock_keys_read_back(keyspace: u32, index: u16, incarnation: u64) {
            let shard = ShardId { keyspace: KeyspaceId::new(keyspace), index };
            let incarnation = Incarnation::new(incarnation);
            let key = clock_key(shard, incarnation);
            prop_assert!(key.starts_with(&prefix_of(shard)));
            prop_assert_eq!(decode_key(&key), Ok((shard, incarnation)));
            prop_assert_eq!(decode_key(&key[..13]), Err(Malformed::Truncated));
        }
    }
}
