//! A store that is a map.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Bound;

use antientropy::{Digest, Items, KeyRange, Salt, Tree};

/// What a replica holds.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Shelf(pub(crate) BTreeMap<Vec<u8>, Digest>);

impl Shelf {
    /// Changes what is held, and tells the tree.
    pub(crate) fn put(&mut self, tree: &mut Tree<Vec<u8>>, key: &[u8], new: Option<Digest>) {
        let old = match new {
            Some(digest) => self.0.insert(key.to_vec(), digest),
            None => self.0.remove(key),
        };
        tree.change(&key.to_vec(), old, new);
    }
}

impl Items<Vec<u8>> for Shelf {
    type Error = Infallible;

    fn read(
        &self,
        range: &KeyRange<Vec<u8>>,
        items_max: usize,
    ) -> Result<Vec<(Vec<u8>, Digest)>, Infallible> {
        let from = range.from.as_ref().map_or(Bound::Unbounded, Bound::Included);
        let to = range.to.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let items = self.0.range::<Vec<u8>, _>((from, to)).take(items_max);
        Ok(items.map(|(key, digest)| (key.clone(), *digest)).collect())
    }
}

/// The secret of all trees of these tests.
pub(crate) fn salt() -> Salt {
    Salt::new([7; 32])
}
