//! Where an object is stored, as bytes that sort as keys do.
//!
//! A list reads the keys under one partition key in the order of their sort keys, and a
//! store only knows bytes. So the bytes must sort as (table, shard, partition key, sort
//! key) does, and the keys of one partition key must lie together, with no other between
//! them, whatever bytes users put into either part.
//!
//! ```text
//! storage key = table (1..5)  shard (2, big-endian)  partition, escaped  00 01  sort
//! table:        one byte below 240; else 240 + length, and the number in as few bytes
//! escaped:      00 -> 00 ff,  any other byte as it is
//!
//! ("a", "")    61 00 01
//! ("a", "z")   61 00 01 7a
//! ("a\0", "")  61 00 ff 00 01          above all of "a", because 01 < ff
//! ("ab", "")   61 62 00 01
//! ```
//!
//! The table is short because storage engines compare keys all the time: lsm-tree keeps a
//! key of up to 20 bytes in place, and fetches a longer one from elsewhere for each
//! comparison.
//!
//! Source: the tuple encoding of `FoundationDB` escapes zero bytes in this way.

use bytes::Bytes;
use model::{Key, TableId};

use crate::Malformed;

/// Ends a partition key. Below every byte of a longer one, and below an escaped zero.
const END: [u8; 2] = [0, 1];

/// A zero byte inside a partition key.
const ZERO: [u8; 2] = [0, 0xff];

/// Tables below this number take one byte. Above, the first byte is this and the number
/// of bytes that follow, so that larger numbers still sort higher.
const LONG_TABLE: u8 = 240;

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
    let (table, rest) = decode_table(bytes)?;
    let (shard, rest) = rest.split_first_chunk().ok_or(Malformed::Truncated)?;
    let end = end_of_partition(rest)?;
    let start = bytes.len() - rest.len();
    let partition = unescape(&bytes.slice(start..start + end));
    let sort = bytes.slice(start + end + END.len()..);
    let key = Key::new(partition, sort).map_err(|_| Malformed::Invalid("a key out of bounds"))?;
    Ok((table, u16::from_be_bytes(*shard), key))
}

fn prefix_with_room(table: TableId, shard: u16, room: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(5 + size_of::<u16>() + room + 16);
    encode_table(table, &mut bytes);
    bytes.extend(shard.to_be_bytes());
    bytes
}

fn encode_table(table: TableId, bytes: &mut Vec<u8>) {
    match u8::try_from(table.number()) {
        Ok(short) if short < LONG_TABLE => bytes.push(short),
        Ok(_) | Err(_) => {
            let number = table.number().to_be_bytes();
            let zeros = number.iter().take_while(|&&byte| byte == 0).count();
            let rest = number.get(zeros..).unwrap_or_default();
            bytes.push(LONG_TABLE + u8::try_from(rest.len()).unwrap_or_default());
            bytes.extend(rest);
        }
    }
}

/// Reads the table that a storage key begins with, and returns what follows.
fn decode_table(bytes: &[u8]) -> Result<(TableId, &[u8]), Malformed> {
    let (&first, rest) = bytes.split_first().ok_or(Malformed::Truncated)?;
    if first < LONG_TABLE {
        return Ok((TableId::new(first.into()), rest));
    }
    let length = usize::from(first - LONG_TABLE);
    let (digits, rest) = rest.split_at_checked(length).ok_or(Malformed::Truncated)?;
    let number = digits
        .iter()
        .try_fold(0_u32, |number, &digit| Some(number.checked_mul(256)? | u32::from(digit)));
    let table = TableId::new(number.ok_or(Malformed::Invalid("a table out of range"))?);
    let mut shortest = Vec::with_capacity(5);
    encode_table(table, &mut shortest);
    if bytes.starts_with(&shortest) && shortest.len() == length + 1 {
        Ok((table, rest))
    } else {
        Err(Malformed::Invalid("a table in more bytes than it needs"))
    }
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

    #[test]
    fn tables_sort_by_number_and_have_one_encoding() {
        let numbers = [0, 1, 239, 240, 255, 256, 65_535, 65_536, 1 << 24, u32::MAX];
        let prefixes = numbers.map(|number| prefix_of(TableId::new(number), 3));
        assert!(prefixes.is_sorted());
        for (number, prefix) in numbers.into_iter().zip(&prefixes) {
            let (table, rest) = decode_table(prefix).unwrap();
            assert_eq!((table.number(), rest), (number, &[0, 3][..]));
        }
        for longer in [&[241, 7][..], &[242, 0, 255], &[245, 0, 0, 0, 1, 0], &[241]] {
            assert!(decode_table(longer).is_err(), "{longer:?}");
        }
    }

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
