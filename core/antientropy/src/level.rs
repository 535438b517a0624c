//! One level of a tree: the shard cut at all keys of some strength or more.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::{KeyRange, Summary, TreeKey};

/// Parts of a shard that follow each other without a gap.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Level<K> {
    /// The part before the first cut.
    first: Summary,
    /// The others, each by the key that it begins at.
    parts: BTreeMap<K, Summary>,
}

impl<K: TreeKey> Level<K> {
    /// A level without cuts.
    pub(crate) fn uncut(all: Summary) -> Self {
        Self { first: all, parts: BTreeMap::new() }
    }

    pub(crate) fn is_uncut(&self) -> bool {
        self.parts.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.parts.len() + 1
    }

    /// Whether a part begins here. One begins before all keys.
    pub(crate) fn begins_at(&self, from: Option<&K>) -> bool {
        from.is_none_or(|from| self.parts.contains_key(from))
    }

    /// The part that holds a key, or the first one.
    pub(crate) fn part_mut(&mut self, key: Option<&K>) -> &mut Summary {
        let part = key.and_then(|key| self.parts.range_mut(..=key).next_back());
        part.map_or(&mut self.first, |(_, part)| part)
    }

    /// The last part.
    pub(crate) fn last_mut(&mut self) -> &mut Summary {
        self.parts.values_mut().next_back().unwrap_or(&mut self.first)
    }

    /// Where the part that holds a key begins and ends.
    pub(crate) fn range_of(&self, key: Option<&K>) -> KeyRange<K> {
        let from = key.and_then(|key| self.parts.range(..=key).next_back());
        KeyRange { from: from.map(|(start, _)| start.clone()), to: self.start_above(key).cloned() }
    }

    /// The first cut above a key, or of all.
    pub(crate) fn start_above(&self, key: Option<&K>) -> Option<&K> {
        self.parts
            .range((key.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded))
            .next()
            .map(|(start, _)| start)
    }

    /// The first cut at a key or above.
    pub(crate) fn start_from(&self, key: &K) -> Option<&K> {
        self.parts.range(key..).next().map(|(start, _)| start)
    }

    /// The last cut at a key or below, or of all.
    pub(crate) fn start_up_to(&self, key: Option<&K>) -> Option<&K> {
        self.parts
            .range((Bound::Unbounded, key.map_or(Bound::Unbounded, Bound::Included)))
            .next_back()
            .map(|(start, _)| start)
    }

    /// The cuts strictly within a range, which is not empty.
    pub(crate) fn cuts<'a>(&'a self, range: &'a KeyRange<K>) -> impl Iterator<Item = &'a K> {
        let from = range.from.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        self.parts
            .range((from, Bound::Unbounded))
            .map(|(start, _)| start)
            .take_while(|start| range.to.as_ref().is_none_or(|to| *start < to))
    }

    /// The sum of the parts that begin in a range, which begins and ends with parts.
    pub(crate) fn sum(&self, from: Option<&K>, to: Option<&K>) -> Summary {
        let first = if from.is_none() { self.first } else { Summary::default() };
        let bound = from.map_or(Bound::Unbounded, Bound::Included);
        self.parts
            .range((bound, Bound::Unbounded))
            .take_while(|(start, _)| to.is_none_or(|to| *start < to))
            .fold(first, |sum, (_, part)| sum.plus(*part))
    }

    /// Cuts a part in two: what is from the key on comes to `above`.
    pub(crate) fn cut(&mut self, at: K, above: Summary) {
        let part = self.part_mut(Some(&at));
        *part = part.minus(above);
        self.parts.insert(at, above);
    }

    /// Makes one part of two again, if one begins at the key.
    pub(crate) fn join(&mut self, at: &K) {
        if let Some(above) = self.parts.remove(at) {
            let part = self.part_mut(Some(at));
            *part = part.plus(above);
        }
    }
}
