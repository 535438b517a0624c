//! The tree of one shard, and how it follows changes.

use std::collections::BTreeSet;

use crate::level::Level;
use crate::rebuild::Reading;
use crate::{Digest, Items, KeyRange, Salt, Summary, TreeKey};

/// How strong a key begins a leaf: one in 64 does.
pub(crate) const LEAF_STRENGTH: u32 = 2;

/// Sums over the objects of a shard, by ranges of keys that are cut finer level by level.
///
/// A change costs three hashes and one look-up in each level, of which there are five for a
/// million keys. Memory holds the keys that leaves begin at, one in 64.
///
/// A key that begins a leaf and is new cuts a leaf whose objects the tree does not have. The
/// cut is *overdue* until the caller has time for [`cut`](Self::cut). Sums are right without
/// it: the leaf is longer meanwhile, and two trees that are cut differently are still
/// compared exactly, for a few bytes more.
///
/// Invariant: where no cut is overdue, equal trees are equal sets of keys and digests and the
/// other way around, however they came about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tree<K> {
    pub(crate) salt: Salt,
    pub(crate) all: Summary,
    /// Leaves first. The last level has a cut, unless it is the only one.
    pub(crate) levels: Vec<Level<K>>,
    /// Keys that are to begin a leaf and do not yet.
    pub(crate) overdue: BTreeSet<K>,
    pub(crate) reading: Reading<K>,
}

impl<K: TreeKey> Tree<K> {
    /// The tree of a shard without objects.
    pub fn new(salt: Salt) -> Self {
        Self {
            salt,
            all: Summary::default(),
            levels: vec![Level::uncut(Summary::default())],
            overdue: BTreeSet::new(),
            reading: Reading::Whole,
        }
    }

    /// The secret of its hashes.
    pub fn salt(&self) -> &Salt {
        &self.salt
    }

    /// What everything comes to, or nothing while the tree is being rebuilt. Its
    /// [`sum`](Summary::sum) is what replicas send each other while they agree.
    pub fn total(&self) -> Option<Summary> {
        self.is_whole().then_some(self.all)
    }

    /// How many leaves there are.
    pub fn leaves(&self) -> usize {
        self.leaf_level().len()
    }

    /// How many keys are to begin a leaf and do not yet.
    pub fn cuts_overdue(&self) -> usize {
        self.overdue.len()
    }

    /// Takes in that what is held under a key has changed: from this digest, or none if it
    /// was not held, to that one, or none if it is held no more.
    ///
    /// A wrong `old` makes the sum wrong, which only a scrub finds. While the tree is being
    /// rebuilt, changes above the reading point do not count: they will be read.
    pub fn change(&mut self, key: &K, old: Option<Digest>, new: Option<Digest>) {
        if old == new || !self.reading.has_passed(key) {
            return;
        }
        let item = |digest| Summary { count: 1, sum: self.salt.item(key, digest) };
        let gone = old.map(item).unwrap_or_default();
        let come = new.map(item).unwrap_or_default();
        self.adjust(Some(key), gone, come);
        if old.is_some() == new.is_some() || self.salt.strength(key) < LEAF_STRENGTH {
            return;
        }
        if new.is_some() {
            self.begin(key);
        } else {
            self.end(key);
        }
    }

    /// Makes up to so many of the cuts that are overdue, and reads for each the leaf that it
    /// begins, of about 64 keys.
    ///
    /// # Errors
    ///
    /// That of the store. This cut and those after it stay overdue.
    ///
    /// # Panics
    ///
    /// If the store reads keys out of order.
    pub fn cut<S: Items<K>>(&mut self, store: &S, cuts_max: usize) -> Result<(), S::Error> {
        for _ in 0..cuts_max {
            // From the end, so that each leaf ends where the one before it began.
            let Some(at) = self.overdue.last() else { return Ok(()) };
            let to = self.leaf_level().start_above(Some(at)).cloned();
            let leaf = KeyRange { from: Some(at.clone()), to: to.or_else(|| self.reading.point()) };
            let mut above = Summary::default();
            crate::range::scan(store, &leaf, |key, digest| above.add(&self.salt, key, digest))?;
            if let Some(at) = self.overdue.pop_last() {
                self.cut_at(&at, above);
            }
        }
        Ok(())
    }

    /// Replaces one summand by another, in everything that holds the key, or that comes first.
    pub(crate) fn adjust(&mut self, key: Option<&K>, gone: Summary, come: Summary) {
        self.all = self.all.minus(gone).plus(come);
        for level in &mut self.levels {
            let part = level.part_mut(key);
            *part = part.minus(gone).plus(come);
        }
    }

    fn begin(&mut self, key: &K) {
        if !self.leaf_level().begins_at(Some(key)) {
            self.overdue.insert(key.clone());
        }
    }

    /// A key that is no more begins nothing. Two ranges become one without reading anything.
    pub(crate) fn end(&mut self, key: &K) {
        self.overdue.remove(key);
        for level in &mut self.levels {
            level.join(key);
        }
        while self.levels.len() > 1 && self.levels.last().is_some_and(Level::is_uncut) {
            self.levels.pop();
        }
    }

    /// Cuts all levels that the key is strong enough for. `leaf` is what comes after it in
    /// its leaf; what comes after it in a coarser range is summed up from the finer level.
    pub(crate) fn cut_at(&mut self, at: &K, leaf: Summary) {
        let strength = self.salt.strength(at);
        let levels = strength.saturating_sub(LEAF_STRENGTH) as usize + 1;
        while self.levels.len() < levels {
            self.levels.push(Level::uncut(self.all));
        }
        let mut above = leaf;
        let mut finer: Option<&Level<K>> = None;
        for level in self.levels.iter_mut().take(levels) {
            if let Some(finer) = finer {
                above = finer.sum(Some(at), level.start_above(Some(at)));
            }
            level.cut(at.clone(), above);
            finer = Some(level);
        }
    }

    pub(crate) fn leaf_level(&self) -> &Level<K> {
        self.levels.first().expect("a tree has leaves")
    }
}
