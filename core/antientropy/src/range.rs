//! Stretches of keys, and reading what is stored in them.

use crate::{Digest, TreeKey};

/// The keys from `from` (with it) to `to` (without it).
///
/// Without a `from` it begins before all keys, without a `to` it ends after all of them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyRange<K> {
    /// The least key that is meant.
    pub from: Option<K>,
    /// The least key above that is not.
    pub to: Option<K>,
}

impl<K: TreeKey> KeyRange<K> {
    /// All keys.
    pub const ALL: Self = Self { from: None, to: None };

    /// Whether the key is meant.
    pub fn contains(&self, key: &K) -> bool {
        self.from.as_ref().is_none_or(|from| from <= key)
            && self.to.as_ref().is_none_or(|to| key < to)
    }

    /// Whether no key can be meant, as `to` is not above `from`.
    pub fn is_empty(&self) -> bool {
        matches!((&self.from, &self.to), (Some(from), Some(to)) if to <= from)
    }

    /// Whether all keys of `next` are above those that are meant here.
    pub(crate) fn is_before(&self, next: &Self) -> bool {
        matches!((&self.to, &next.from), (Some(to), Some(from)) if to <= from)
    }

    /// What lies between cuts, which are in order and strictly within.
    pub(crate) fn parts<'a>(&'a self, cuts: &'a [K]) -> impl Iterator<Item = Self> + 'a {
        let from = std::iter::once(self.from.as_ref()).chain(cuts.iter().map(Some));
        let to = cuts.iter().map(Some).chain(std::iter::once(self.to.as_ref()));
        from.zip(to).map(|(from, to)| Self { from: from.cloned(), to: to.cloned() })
    }

    /// Whether the key lies within, and cuts off something on either side.
    pub(crate) fn can_be_cut_at(&self, key: &K) -> bool {
        self.from.as_ref().is_none_or(|from| from < key)
            && self.to.as_ref().is_none_or(|to| key < to)
    }
}

/// What a replica holds under its keys: its store, seen by the trees.
///
/// What is read is as of the moment that the tree is of: a caller reads within the turn in
/// which it brings the tree up to date, or a key could be counted twice, or never.
pub trait Items<K> {
    /// What a store says when it cannot be read.
    type Error;

    /// Reads keys of a range with the digests of their objects, in order, at most so many.
    /// Fewer than that are all there are.
    ///
    /// # Errors
    ///
    /// That of the store. What asked for it has changed nothing.
    fn read(&self, range: &KeyRange<K>, items_max: usize) -> Result<Vec<(K, Digest)>, Self::Error>;
}

/// Reads a whole range, a page at a time, and hands over one object after the other.
pub(crate) fn scan<K: TreeKey, S: Items<K>>(
    store: &S,
    range: &KeyRange<K>,
    mut each: impl FnMut(&K, Digest),
) -> Result<(), S::Error> {
    let mut rest = range.clone();
    // A page begins with the last key of the one before, as keys have no successor.
    let mut seen: Option<K> = None;
    loop {
        let page = store.read(&rest, PAGE_ITEMS)?;
        assert!(is_read_of(&rest, &page), "a store reads in order, and what it is asked for");
        for (key, digest) in page.iter().filter(|(key, _)| seen.as_ref() != Some(key)) {
            each(key, *digest);
        }
        match page.last() {
            Some((last, _)) if page.len() == PAGE_ITEMS => {
                rest.from = Some(last.clone());
                seen = Some(last.clone());
            }
            Some(_) | None => return Ok(()),
        }
    }
}

/// How many keys are held in memory at once while a range is read.
const PAGE_ITEMS: usize = 1_024;

/// Whether items are in order, each key once, and all in the range.
pub(crate) fn is_read_of<K: TreeKey>(range: &KeyRange<K>, items: &[(K, Digest)]) -> bool {
    items.iter().all(|(key, _)| range.contains(key))
        && items.iter().zip(items.iter().skip(1)).all(|((a, _), (b, _))| a < b)
}
