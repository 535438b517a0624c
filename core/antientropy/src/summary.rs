//! What a range comes to: how many keys, and a sum of their hashes.

use crate::{Digest, Salt, TreeKey};

/// The number of keys in a range, and the wrapping sum of the hashes of keys and digests.
///
/// Sums have no order: a change takes the old hash out and puts the new one in, and the sum of
/// two ranges is that of both. Two ranges that differ have the same sum with a probability of
/// 2⁻⁶⁴. Wider sums would be safe against somebody who sees hashes and searches for sets that
/// cancel out; nobody who could change what is stored sees any.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Summary {
    /// How many keys there are.
    pub count: u64,
    /// The sum: 0 of nothing. These are the eight bytes that replicas compare.
    pub sum: u64,
}

impl Summary {
    /// Takes in an object.
    pub(crate) fn add<K: TreeKey>(&mut self, salt: &Salt, key: &K, digest: Digest) {
        *self = self.plus(Self { count: 1, sum: salt.item(key, digest) });
    }

    /// What two ranges without common keys come to. A caller that took out what was never put
    /// in makes it wrap around, and a scrub finds it.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self { count: self.count.wrapping_add(other.count), sum: self.sum.wrapping_add(other.sum) }
    }

    /// What is left of a range without a part of it.
    pub(crate) fn minus(self, other: Self) -> Self {
        Self { count: self.count.wrapping_sub(other.count), sum: self.sum.wrapping_sub(other.sum) }
    }

    pub(crate) fn of<K: TreeKey>(salt: &Salt, items: &[(K, Digest)]) -> Self {
        let mut summary = Self::default();
        for (key, digest) in items {
            summary.add(salt, key, *digest);
        }
        summary
    }
}
