//! The log of a shard as bytes: which dots were taken in with which object.
//!
//! One write leaves one entry, so its size is paid with every write. The dots are in the
//! storage key and not in the body, and an address is written as briefly as it can be.
//!
//! ```text
//! storage key = keyspace (4)  shard (2)  incarnation (8)  last (8)      all big-endian
//! body        = dots  table  length of partition key  partition key  sort key
//! ```
//!
//! `last` is the number of the last dot of the entry's run, and `dots` how many the run has
//! beyond one. Entries lie under their last dot so that a search for the dots from some number
//! on begins at that number and goes up.

use bytes::{Buf, BufMut, Bytes};
use causality::{Dot, Run};
use model::{Address, Key, ShardId, TableId};

use crate::reader::Reader;
use crate::{Malformed, clock, varint};

/// Returns where the entry lies whose run ends with `last`.
pub fn log_key(shard: ShardId, last: Dot) -> Vec<u8> {
    let mut bytes = clock::clock_key(shard, last.incarnation);
    bytes.extend(last.seq.to_be_bytes());
    bytes
}

/// Reads what [`log_key`] makes.
///
/// # Errors
///
/// [`Malformed`] if the bytes are shorter or longer, or the dot has no number.
pub fn decode_key(bytes: &[u8]) -> Result<(ShardId, Dot), Malformed> {
    let (clock, seq) = bytes.split_last_chunk::<8>().ok_or(Malformed::Truncated)?;
    let (shard, incarnation) = clock::decode_key(clock)?;
    let seq = u64::from_be_bytes(*seq);
    if seq == 0 { Err(NO_DOT) } else { Ok((shard, Dot::new(incarnation, seq))) }
}

/// Appends what lies there.
pub fn encode(run: &Run, address: &Address, out: &mut impl BufMut) {
    varint::put(run.last - run.first, out);
    varint::put(address.table.number().into(), out);
    varint::put_len(address.key.partition().len(), out);
    out.put_slice(address.key.partition());
    out.put_slice(address.key.sort());
}

/// Reads the entry whose run ends with `last`. The parts of the key are not copied.
///
/// # Errors
///
/// [`Malformed`] if the bytes are not what [`encode`] makes.
pub fn decode(last: Dot, bytes: &Bytes) -> Result<(Run, Address), Malformed> {
    let mut reader = Reader::new(bytes);
    let first = last.seq.checked_sub(reader.varint()?).filter(|first| 0 < *first);
    let first = first.ok_or(NO_DOT)?;
    let table = TableId::new(reader.number()?);
    let partition = reader.sized()?;
    let mut sort = bytes.clone();
    sort.advance(bytes.len() - reader.rest().len());
    let key = Key::new(partition, sort).map_err(|_| Malformed::Invalid("a key out of bounds"))?;
    let run = Run { incarnation: last.incarnation, first, last: last.seq };
    Ok((run, Address { table, key }))
}

const NO_DOT: Malformed = Malformed::Invalid("a dot below the first");

#[cfg(test)]
mod tests {
    use causality::Incarnation;
    use model::KeyspaceId;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn entries_read_back_and_lie_in_the_order_of_their_last_dots(
            (index, incarnation, other) in any::<(u16, u64, u64)>(),
            (first, more) in (1..u64::MAX / 2, 0..1000_u64),
            table in any::<u32>(),
            partition in proptest::collection::vec(any::<u8>(), 1..40),
            sort in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let shard = ShardId { keyspace: KeyspaceId::new(3), index };
            let incarnation = Incarnation::new(incarnation);
            let run = Run { incarnation, first, last: first + more };
            let last = Dot::new(incarnation, run.last);
            let key = log_key(shard, last);
            prop_assert_eq!(decode_key(&key), Ok((shard, last)));
            let above = Dot::new(incarnation, run.last + 1 + other % 1000);
            prop_assert!(key < log_key(shard, above));
            let key = Key::new(partition.into(), sort.into()).unwrap();
            let address = Address { table: TableId::new(table), key };
            let mut body = Vec::new();
            encode(&run, &address, &mut body);
            prop_assert_eq!(decode(last, &body.clone().into()), Ok((run, address)));
            let too_many = Dot::new(incarnation, more);
            prop_assert!(decode(too_many, &body.into()).is_err());
        }
    }
}
