//! The names of many objects at once.
//!
//! A message that brings a hundred small objects should be little more than these. So the table
//! is said once for all that are in it, and a key is its two lengths and its bytes:
//!
//! ```text
//! batch = table (4)  keys { length  partition  length  sort }       protobuf around it
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};
use model::{Address, TableId};
use prost::{Message, decode_length_delimiter, encode_length_delimiter};

use crate::parts::{Key, Usable, wrong};

/// Keys of one table.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Batch {
    #[prost(fixed32, tag = "1")]
    table: u32,
    #[prost(bytes = "bytes", tag = "2")]
    keys: Bytes,
}

impl Batch {
    /// As few as there are tables, if those of each come one after the other.
    pub(crate) fn put<'a>(addresses: impl Iterator<Item = &'a Address>) -> Vec<Self> {
        let mut batches: Vec<(TableId, BytesMut)> = Vec::new();
        for Address { table, key } in addresses {
            if batches.last().is_none_or(|(last, _)| last != table) {
                batches.push((*table, BytesMut::new()));
            }
            if let Some((_, keys)) = batches.last_mut() {
                put_sized(key.partition(), keys);
                put_sized(key.sort(), keys);
            }
        }
        let batch = |(table, keys): (TableId, BytesMut)| Self {
            table: table.number(),
            keys: keys.freeze(),
        };
        batches.into_iter().map(batch).collect()
    }

    /// All of them, in the order in which they were put.
    pub(crate) fn take(batches: Vec<Self>) -> Usable<Vec<Address>> {
        let mut addresses = Vec::new();
        for Self { table, mut keys } in batches {
            let table = TableId::new(table);
            while !keys.is_empty() {
                let (partition, sort) = (take_sized(&mut keys)?, take_sized(&mut keys)?);
                addresses.push(Address { table, key: Key { partition, sort }.take()? });
            }
        }
        Ok(addresses)
    }
}

fn put_sized(bytes: &Bytes, out: &mut BytesMut) {
    encode_length_delimiter(bytes.len(), out).expect("a growing buffer has room");
    out.put_slice(bytes);
}

fn take_sized(keys: &mut Bytes) -> Usable<Bytes> {
    let length = decode_length_delimiter(&mut *keys)?;
    if keys.remaining() < length {
        return Err(wrong("a key that ends early"));
    }
    Ok(keys.split_to(length))
}
