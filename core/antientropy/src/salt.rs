//! The hashes that trees are made of, all keyed, so that clients cannot choose them.
//!
//! A client chooses its keys and values. With a public hash it could choose keys that all
//! begin a leaf, or pairs whose sums cancel; it does not know the salt, and no client is ever
//! shown anything that was made with it.

use std::fmt;

/// 64 bits that differ when what is stored under a key differs.
///
/// Whoever makes them sees to it that clients cannot craft two objects with one digest.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Digest(pub u64);

/// A key as the trees see it.
pub trait TreeKey: Ord + Clone {
    /// Appends bytes that name this key and no other.
    ///
    /// All replicas append the same. They need not sort as the keys do, and their number is
    /// taken for the size of the key in a message.
    fn append_to(&self, bytes: &mut Vec<u8>);
}

impl TreeKey for Vec<u8> {
    fn append_to(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(self);
    }
}

/// The secret of the trees of one shard, the same at all its replicas.
#[derive(Clone, Eq, PartialEq)]
pub struct Salt {
    cuts: [u8; 32],
    items: [u8; 32],
    tag: u64,
}

impl Salt {
    /// Derives the keys of the hashes from 32 bytes that no client knows.
    pub fn new(secret: [u8; 32]) -> Self {
        let tag = blake3::derive_key("merganser 2026 hash tree tag", &secret);
        Self {
            cuts: blake3::derive_key("merganser 2026 hash tree cuts", &secret),
            items: blake3::derive_key("merganser 2026 hash tree items", &secret),
            tag: first_u64(&tag),
        }
    }

    /// Tells salts apart without giving them away. Two replicas with different ones would
    /// find every key to differ.
    pub fn tag(&self) -> u64 {
        self.tag
    }

    /// How strong a cut the key is: a third of the trailing zeros of its hash. One key in
    /// eight is of strength 1 or more, one in 64 of 2 or more.
    pub(crate) fn strength<K: TreeKey>(&self, key: &K) -> u32 {
        first_u64(&keyed(&self.cuts, key, &[])).trailing_zeros() / 3
    }

    /// The hash of a key with its digest, of which sums are made. A digest has always eight
    /// bytes and comes last, so that no two pairs are hashed as the same bytes.
    pub fn item<K: TreeKey>(&self, key: &K, digest: Digest) -> u64 {
        first_u64(&keyed(&self.items, key, &digest.0.to_le_bytes()))
    }

    /// A hash of keys in their order.
    pub(crate) fn sequence<'k, K: TreeKey + 'k>(&self, keys: impl Iterator<Item = &'k K>) -> u64 {
        let mut hasher = blake3::Hasher::new_keyed(&self.cuts);
        for key in keys {
            hasher.update(&keyed(&self.cuts, key, &[]));
        }
        first_u64(hasher.finalize().as_bytes())
    }
}

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Salt({:016x})", self.tag)
    }
}

fn keyed<K: TreeKey>(secret: &[u8; 32], key: &K, end: &[u8]) -> [u8; 32] {
    let mut bytes = Vec::with_capacity(64);
    key.append_to(&mut bytes);
    bytes.extend_from_slice(end);
    *blake3::keyed_hash(secret, &bytes).as_bytes()
}

fn first_u64(bytes: &[u8; 32]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *bytes;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}
