//! Where an object is stored, as bytes that sort as keys do.
//!
//! A list reads the keys under one partition key in the order of their sort keys, and a
//! store only knows bytes. So the bytes must sort as (table, shard, partition key, sort
//! key) does, and the keys of one partition key must lie together, with no other between
//! them, whatever bytes users put into either part.
//!
//! ```text
//! storage key = table (4, big-endian)  shard (2, big-endian)  partition, escaped  00 01  sort
//! escaped:      00 -> 00 ff,  any other byte as it is
//!
//! ("a", "")    61 00 01
//! ("a", "z")   61 00 01 7a
//! ("a\0", "")  61 00 ff 00 01          above all of "a", because 01 < ff
//! ("ab", "")   61 62 00 01
//! ```
//!
//! Source: the tuple encoding of `FoundationDB` escapes zero bytes in this way.

use bytes::Bytes;
use model::{Key, TableId};

use crate::Malformed;

/// Ends a partition key. Below every byte of a longer one, and below an escaped zero.
const END: [u8; 2] = [0, 1];

/// A zero byte inside a partition key.
const ZERO: [u8; 2] = [0, 0xff];

/// Returns where the object under `key` is stored.
pub fn object_key(table: TableId, shard: u16, key: &Key) -> Vec<u8> {
    let mut bytes = prefix_of_partition(table, shard, key.partition());
    bytes.extend(key.sort());
    bytes
}

/// Returns what exactly the keys of one table in one shard begin with.
pub fn prefix_of(table: TableId, shard: u16) -> Vec<u8> {
    prefix_with_room(table, shard, 0)
}

/// Returns what exactly the keys of one table in one shard with one partition key begin
/// with.
pub fn prefix_of_partition(table: TableId, shard: u16, partition: &[u8]) -> Vec<u8> {
    let mut bytes = prefix_with_room(table, shard, partition.len() + END.len());
    for part in partition.split_inclusive(|&byte| byte == 0) {
        match part.split_last() {
            Some((0, before)) => {
                bytes.extend(before);
                bytes.extend(ZERO);
            }
            Some(_) | None => bytes.extend(part),
        }
    }
    bytes.extend(END);
    bytes
}

/// Returns the least bytes above everything that begins with `prefix`, to end a range
/// with. Nothing if there are none: every byte of the prefix is the greatest.
pub fn end_of(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte < u8::MAX)?;
    let mut end = prefix.get(..=last)?.to_vec();
    *end.last_mut()? += 1;
    Some(end)
}

/// Reads a storage key. The parts are not copied unless the partition key has an escape.
///
/// # Errors
///
/// [`Malformed`] if the bytes are not what [`object_key`] makes.
pub fn decode_key(bytes: &Bytes) -> Result<(TableId, u16, Key), Malformed> {
    let (table, rest) = bytes.split_first_chunk().ok_or(Malformed::Truncated)?;
    let (shard, rest) = rest.split_first_chunk().ok_or(Malformed::Truncated)?;
    let end = end_of_partition(rest)?;
    let start = size_of::<u32>() + size_of::<u16>();
    let partition = unescape(&bytes.slice(start..start + end));
    let sort = bytes.slice(start + end + END.len()..);
    let key = Key::new(partition, sort).map_err(|_| Malformed::Invalid("a key out of bounds"))?;
    Ok((TableId::new(u32::from_be_bytes(*table)), u16::from_be_bytes(*shard), key))
}

fn prefix_with_room(table: TableId, shard: u16, room: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size_of::<u32>() + size_of::<u16>() + room + 16);
    bytes.extend(table.number().to_be_bytes());
    bytes.extend(shard.to_be_bytes());
    bytes
}

/// Finds the end of the escaped partition key that `rest` begins with.
fn end_of_partition(rest: &[u8]) -> Result<usize, Malformed> {
    let mut at = 0;
    loop {
        let rest = rest.get(at..).ok_or(Malformed::Truncated)?;
        let zero = rest.iter().position(|&byte| byte == 0).ok_or(Malformed::Truncated)?;
        match rest.get(zero + 1) {
            Some(1) => return Ok(at + zero),
            Some(0xff) => at += zero + ZERO.len(),
            Some(_) => return Err(Malformed::Invalid("an unknown escape in a storage key")),
            None => return Err(Malformed::Truncated),
        }
    }
}

fn unescape(escaped: &Bytes) -> Bytes {
    if !escaped.contains(&0) {
        return escaped.clone();
    }
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut after_zero = false;
    for &byte in escaped {
        if !after_zero {
            bytes.push(byte);
        }
        after_zero = byte == 0;
    }
    bytes.into()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const TABLE: TableId = TableId::new(7);

    /// Bytes that are mostly the ones with a meaning here.
    fn bytes(len: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
        vec(prop_oneof![Just(0), Just(1), Just(0xfe), Just(0xff), any::<u8>()], len)
    }

    prop_compose! {
        fn keys()(partition in bytes(1..6), sort in bytes(0..6)) -> Key {
            Key::new(partition.into(), sort.into()).unwrap()
        }
    }

    proptest! {
        #[test]
        fn storage_keys_sort_as_keys_do(a in keys(), b in keys()) {
            let (x, y) = (object_key(TABLE, 3, &a), object_key(TABLE, 3, &b));
            let parts = |key: &Key| (key.partition().clone(), key.sort().clone());
            prop_assert_eq!(x.cmp(&y), parts(&a).cmp(&parts(&b)));
        }

        #[test]
        fn a_prefix_holds_its_own_partition_key_and_no_other(a in keys(), b in keys()) {
            let prefix = prefix_of_partition(TABLE, 3, a.partition());
            let inside = object_key(TABLE, 3, &b).starts_with(&prefix);
            prop_assert_eq!(inside, a.partition() == b.partition());
        }

        #[test]
        fn storage_keys_read_back(key in keys(), table: u32, shard: u16) {
            let table = TableId::new(table);
            let stored = Bytes::from(object_key(table, shard, &key));
            prop_assert!(stored.starts_with(&prefix_of(table, shard)));
            prop_assert_eq!(decode_key(&stored), Ok((table, shard, key)));
        }

        #[test]
        fn any_bytes_are_refused_or_the_encoding_of_their_key(stored in bytes(0..16)) {
            let stored = Bytes::from(stored);
            if let Ok((table, shard, key)) = decode_key(&stored) {
                prop_assert_eq!(object_key(table, shard, &key), stored);
            }
        }

        #[test]
        fn a_range_ends_above_its_prefix_and_nothing_else(prefix in bytes(1..6), other in bytes(0..8)) {
            let inside = other.starts_with(&prefix);
            let below = end_of(&prefix).is_none_or(|end| other < end);
            prop_assert_eq!(inside, prefix <= other && below);
        }
    }

    #[test]
    fn a_storage_key_cut_before_its_sort_key_is_refused() {
        let key = Key::new(Bytes::from("a\0b"), Bytes::from("sort")).unwrap();
        let stored = Bytes::from(object_key(TABLE, 3, &key));
        for cut in 0..stored.len() - key.sort().len() {
            assert_eq!(decode_key(&stored.slice(..cut)), Err(Malformed::Truncated), "{cut}");
        }
    }
}
