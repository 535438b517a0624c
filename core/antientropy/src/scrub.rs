//! Comparing the tree with what is really stored, leaf by leaf.
//!
//! A tree follows changes; what a disk loses by itself changes nothing in it, and the replica
//! would go on to tell others that it has what it lost. A scrub reads every leaf from the
//! store. Where it differs, the tree takes over what is there, so that the next exchange
//! finds what is missing, and the caller is told.

use crate::range::scan;
use crate::tree::LEAF_STRENGTH;
use crate::{Items, KeyRange, Summary, Tree, TreeKey};

/// What reading one leaf showed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Check<K> {
    /// The keys that were read. The next leaf begins at its end.
    pub leaf: KeyRange<K>,
    /// Whether they are what the tree says.
    pub verdict: Verdict,
}

/// Whether the store holds what the tree says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It does.
    Sound,
    /// It does not: an object was lost, came back or was changed behind the tree's back.
    Damaged {
        /// What the changes came to.
        tree: Summary,
        /// What is there.
        store: Summary,
    },
}

/// A leaf as it was read.
struct Read<K> {
    leaf: KeyRange<K>,
    tree: Summary,
    store: Summary,
    /// The keys in it that are to begin a leaf, each with what comes before it.
    cuts: Vec<(K, Summary)>,
}

impl<K: TreeKey> Read<K> {
    fn check(&self) -> Check<K> {
        let (tree, store) = (self.tree, self.store);
        let verdict = if tree == store { Verdict::Sound } else { Verdict::Damaged { tree, store } };
        Check { leaf: self.leaf.clone(), verdict }
    }
}

impl<K: TreeKey> Tree<K> {
    /// The range of the leaf that holds a key, or of the first one. Nothing above the reading
    /// point of a tree that is being rebuilt.
    pub fn leaf(&self, at: Option<&K>) -> Option<KeyRange<K>> {
        let mut leaf = self.leaf_level().range_of(at);
        let point = self.reading.point();
        let is_read = match at {
            Some(at) => self.reading.has_passed(at),
            None => self.is_whole() || point.is_some(),
        };
        leaf.to = leaf.to.or(point);
        is_read.then_some(leaf)
    }

    /// Reads the leaf that holds a key, or the first one, and says whether it is sound.
    /// Nothing where there is no [`leaf`](Self::leaf).
    ///
    /// # Errors
    ///
    /// That of the store.
    ///
    /// # Panics
    ///
    /// If the store reads keys out of order.
    pub fn check<S: Items<K>>(
        &self,
        at: Option<&K>,
        store: &S,
    ) -> Result<Option<Check<K>>, S::Error> {
        Ok(self.read_leaf(at, store)?.map(|read| read.check()))
    }

    /// Does what [`check`](Self::check) does, and then makes the tree say what was read. Cuts
    /// that were overdue in it are made.
    ///
    /// # Errors
    ///
    /// That of the store. Nothing has changed.
    ///
    /// # Panics
    ///
    /// If the store reads keys out of order.
    pub fn scrub<S: Items<K>>(
        &mut self,
        at: Option<&K>,
        store: &S,
    ) -> Result<Option<Check<K>>, S::Error> {
        let Some(read) = self.read_leaf(at, store)? else { return Ok(None) };
        let check = read.check();
        self.take(read);
        Ok(Some(check))
    }

    fn read_leaf<S: Items<K>>(
        &self,
        at: Option<&K>,
        store: &S,
    ) -> Result<Option<Read<K>>, S::Error> {
        let Some(leaf) = self.leaf(at) else { return Ok(None) };
        let next = self.leaf_level().start_above(at);
        let tree = self.leaf_level().sum(leaf.from.as_ref(), next);
        let mut read = Read { tree, store: Summary::default(), cuts: Vec::new(), leaf };
        let Read { leaf, store: sum, cuts, .. } = &mut read;
        scan(store, leaf, |key, digest| {
            if self.salt.strength(key) >= LEAF_STRENGTH {
                cuts.push((key.clone(), *sum));
            }
            sum.add(&self.salt, key, digest);
        })?;
        Ok(Some(read))
    }

    fn take(&mut self, read: Read<K>) {
        let Read { leaf, tree, store, cuts } = read;
        self.adjust(leaf.from.as_ref(), tree, store);
        self.overdue.retain(|key| !leaf.contains(key));
        // The key that began the leaf is gone: so is its cut, at every level.
        let gone = |from: &K| cuts.first().is_none_or(|(at, _)| at != from);
        if let Some(from) = leaf.from.filter(gone) {
            self.end(&from);
        }
        let mut rest = store;
        for (at, below) in cuts.into_iter().rev() {
            if !self.leaf_level().begins_at(Some(&at)) {
                self.cut_at(&at, rest.minus(below));
                rest = below;
            }
        }
    }
}
