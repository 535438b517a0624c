//! What is kept for a replica that is away, as bytes.
//!
//! ```text
//! key   target (2, big-endian)  table (4, big-endian)  partition and sort key, in order
//! body  since, in milliseconds (varint)  object
//! ```
//!
//! All hints for one replica lie side by side, so that they can be handed over without
//! passing those for others. The shard is not in the key: which one it is follows from the
//! key and the contract, and who keeps it may have changed since.

use bytes::{BufMut, Bytes};
use model::{Address, NodeId, Object};

use crate::reader::Reader;
use crate::{Malformed, key, object, varint};

/// The bytes in front of an object's own key.
const TARGET_BYTES: usize = size_of::<u16>();

/// Where a hint lies.
pub fn hint_key(target: NodeId, address: &Address) -> Vec<u8> {
    let mut bytes = prefix_of(target);
    bytes.extend(key::object_key(address.table, 0, &address.key));
    bytes
}

/// What the keys of all hints for one replica begin with.
pub fn prefix_of(target: NodeId) -> Vec<u8> {
    target.number().to_be_bytes().to_vec()
}

/// Reads where a hint lies.
///
/// # Errors
///
/// [`Malformed`] if the bytes are not what [`hint_key`] makes.
pub fn decode_key(bytes: &Bytes) -> Result<(NodeId, Address), Malformed> {
    let Some((target, _)) = bytes.split_first_chunk::<TARGET_BYTES>() else {
        return Err(Malformed::Invalid("a hint for nobody"));
    };
    let (table, shard, key) = key::decode_key(&bytes.slice(TARGET_BYTES..))?;
    if shard != 0 {
        return Err(Malformed::Invalid("a hint in a shard"));
    }
    Ok((NodeId::new(u16::from_be_bytes(*target)), Address { table, key }))
}

/// Appends a hint.
pub fn encode(since_millis: u64, object: &Object, out: &mut impl BufMut) {
    varint::put(since_millis, out);
    object::encode_marked(object, out);
}

/// Reads a hint that fills the bytes.
///
/// # Errors
///
/// [`Malformed`] if the bytes are not what [`encode`] makes.
pub fn decode(bytes: &Bytes) -> Result<(u64, Object), Malformed> {
    let mut reader = Reader::new(bytes);
    let since_millis = reader.varint()?;
    let object = object::read_marked(&mut reader)?;
    reader.finish()?;
    Ok((since_millis, object))
}

#[cfg(test)]
mod tests {
    use causality::{Dot, DotSet, Incarnation};
    use model::{Key, TableId, Value};

    use super::*;

    fn address() -> Address {
        let key = Key::new(Bytes::from_static(b"k\0"), Bytes::from_static(b"s")).unwrap();
        Address { table: TableId::new(7), key }
    }

    #[test]
    fn a_hint_is_read_as_it_was_written_and_every_truncation_is_malformed() {
        let value = Value { content_type: Bytes::new(), body: Bytes::from_static(b"v") };
        let object = Object::written(Dot::new(Incarnation::new(5), 1), DotSet::new(), value);
        let mut bytes = Vec::new();
        encode(1_700_000_000_000, &object, &mut bytes);
        let bytes = Bytes::from(bytes);
        assert_eq!(decode(&bytes), Ok((1_700_000_000_000, object)));
        for cut in 0..bytes.len() {
            assert!(decode(&bytes.slice(..cut)).is_err(), "{cut} bytes");
        }
    }

    #[test]
    fn the_key_of_a_hint_says_for_whom_and_what_it_is() {
        let key = Bytes::from(hint_key(NodeId::new(513), &address()));
        assert_eq!(key[..2], [2, 1]);
        assert_eq!(decode_key(&key), Ok((NodeId::new(513), address())));
        assert!(decode_key(&key.slice(..1)).is_err());
    }
}
