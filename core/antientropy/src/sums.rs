//! What any range of keys comes to, and how it is cut.
//!
//! Two trees may be cut differently, and a range that one asks about then begins in the
//! middle of a leaf of the other. Its sum is made of what the tree knows, and of at most two
//! pieces of leaves that are read:
//!
//! ```text
//!  asked         [from                                        to)
//!  leaves   ..├────────┼────────┼────────┼────────┼────────┼────────┤..
//!                [ read ][   coarser parts, where they fit  ][ read )
//! ```

use crate::message::Parts;
use crate::range::scan;
use crate::{Items, KeyRange, Summary, Tree, TreeKey};

/// How many parts a range is cut into, rather than into fewer and coarser ones. The parts of
/// a range that differs are 15 on average: a range of eight on average, where one key in eight
/// begins one, is met with a probability that grows with its length.
const PARTS_GOAL: usize = 16;

/// The most parts of one range in a message. That a range has more, and none of the cuts
/// is one of the next level too, has a probability of 10⁻¹⁵.
pub(crate) const PARTS_MAX: usize = 256;

/// How a range is cut.
pub(crate) struct Cuts<K> {
    pub(crate) level: u8,
    /// Strictly within the range, in order.
    pub(crate) at: Vec<K>,
}

impl<K: TreeKey> Tree<K> {
    /// What is held in a range comes to. Reads up to two leaves, if the range does not begin
    /// and end with leaves.
    ///
    /// # Errors
    ///
    /// That of the store.
    ///
    /// # Panics
    ///
    /// If the store reads keys out of order.
    pub fn summary<S: Items<K>>(
        &self,
        range: &KeyRange<K>,
        store: &S,
    ) -> Result<Summary, S::Error> {
        let Some((from, to)) = self.leaves_within(range) else { return self.read(range, store) };
        let mut sum = self.sum(self.levels.len(), from, to);
        if from != range.from.as_ref() {
            let head = KeyRange { from: range.from.clone(), to: from.cloned() };
            sum = sum.plus(self.read(&head, store)?);
        }
        if to != range.to.as_ref() {
            let tail = KeyRange { from: to.cloned(), to: range.to.clone() };
            sum = sum.plus(self.read(&tail, store)?);
        }
        Ok(sum)
    }

    /// The cuts of the first level that has some, or of a finer one if they are not too many.
    /// No cuts if the range is within one leaf.
    pub(crate) fn cuts(&self, range: &KeyRange<K>) -> Cuts<K> {
        let mut cuts = Cuts { level: 0, at: Vec::new() };
        for level in (0..self.levels.len()).rev() {
            let finer = self.cuts_at(level, range);
            if !cuts.at.is_empty() && finer.len() >= PARTS_GOAL {
                break;
            }
            cuts = Cuts { level: u8::try_from(level).unwrap_or(u8::MAX), at: finer };
        }
        cuts
    }

    /// The cuts of one level.
    pub(crate) fn cuts_at(&self, level: usize, range: &KeyRange<K>) -> Vec<K> {
        let level = self.levels.get(level);
        level
            .map_or_else(Vec::new, |level| level.cuts(range).take(PARTS_MAX - 1).cloned().collect())
    }

    /// Cuts, and what lies between them, as it is sent.
    pub(crate) fn parts<S: Items<K>>(
        &self,
        range: &KeyRange<K>,
        cuts: &Cuts<K>,
        store: &S,
    ) -> Result<Parts, S::Error> {
        let sums = self.part_sums(range, &cuts.at, store)?;
        Ok(Parts { level: cuts.level, cuts: self.salt.sequence(cuts.at.iter()), sums })
    }

    /// The sums of the parts of a range.
    pub(crate) fn part_sums<S: Items<K>>(
        &self,
        range: &KeyRange<K>,
        cuts: &[K],
        store: &S,
    ) -> Result<Vec<u64>, S::Error> {
        range.parts(cuts).map(|part| Ok(self.summary(&part, store)?.sum)).collect()
    }

    /// Where leaves begin and end that lie within a range wholly, if there are such places.
    fn leaves_within<'a>(
        &'a self,
        range: &'a KeyRange<K>,
    ) -> Option<(Option<&'a K>, Option<&'a K>)> {
        self.fit(0, range.from.as_ref(), range.to.as_ref())
    }

    /// The widest range within this one that begins and ends with parts of a level.
    fn fit<'a>(
        &'a self,
        level: usize,
        from: Option<&'a K>,
        to: Option<&'a K>,
    ) -> Option<(Option<&'a K>, Option<&'a K>)> {
        let level = self.levels.get(level)?;
        let first = match from {
            Some(key) => Some(level.start_from(key)?),
            None => None,
        };
        let last = match to {
            Some(_) => Some(level.start_up_to(to)?),
            None => None,
        };
        match (first, last) {
            (Some(first), Some(last)) if last < first => None,
            (first, last) => Some((first, last)),
        }
    }

    /// The sum of whole leaves, from levels below this one, the coarsest that fit.
    fn sum(&self, below: usize, from: Option<&K>, to: Option<&K>) -> Summary {
        let Some(level) = below.checked_sub(1) else { return Summary::default() };
        let Some((first, last)) = self.fit(level, from, to) else {
            return self.sum(level, from, to);
        };
        let mut sum =
            self.levels.get(level).map(|level| level.sum(first, last)).unwrap_or_default();
        if first != from {
            sum = sum.plus(self.sum(level, from, first));
        }
        if last != to {
            sum = sum.plus(self.sum(level, last, to));
        }
        sum
    }

    fn read<S: Items<K>>(&self, range: &KeyRange<K>, store: &S) -> Result<Summary, S::Error> {
        let mut sum = Summary::default();
        scan(store, range, |key, digest| sum.add(&self.salt, key, digest))?;
        Ok(sum)
    }
}
