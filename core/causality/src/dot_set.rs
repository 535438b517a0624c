//! Exact sets of dots, small when the dots are dense.
//!
//! A shard clock holds millions of dots, nearly all of them in a few unbroken runs; the
//! context of an object holds a handful of scattered ones. One representation serves
//! both: runs of consecutive numbers, sorted, in one allocation.
//!
//! ```text
//! {a1 a2 a3 a7 b4}   =   [a 1..=3] [a 7..=7] [b 4..=4]
//! ```
//!
//! Unlike a version vector, a gap stays a gap: `a7` says nothing about `a4`.

use std::fmt;

use lattice::{Change, Lattice};

use crate::{Dot, Incarnation};

/// Consecutive dots of one incarnation. Invariant: `1 <= first <= last`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Run {
    /// Whose dots.
    pub incarnation: Incarnation,
    /// The smallest number in the run, at least 1.
    pub first: u64,
    /// The greatest number in the run.
    pub last: u64,
}

impl Run {
    fn of(dot: Dot) -> Self {
        Self { incarnation: dot.incarnation, first: dot.seq, last: dot.seq }
    }

    /// Returns whether the two overlap, or could be joined without a gap.
    fn touches(&self, other: &Run) -> bool {
        self.incarnation == other.incarnation
            && self.first <= other.last.saturating_add(1)
            && other.first <= self.last.saturating_add(1)
    }

    fn covers(&self, other: &Run) -> bool {
        self.incarnation == other.incarnation
            && self.first <= other.first
            && other.last <= self.last
    }
}

/// The runs given were not the normal form of a set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("runs of dots that are empty, out of order or overlapping")
    }
}

impl std::error::Error for Malformed {}

/// An exact set of dots.
///
/// Invariant: the runs are sorted, disjoint, and no two could be joined into one. Equal
/// sets are therefore equal representations, and equal bytes.
#[derive(Clone, Default, Eq, Hash, PartialEq)]
pub struct DotSet {
    runs: Vec<Run>,
}

impl DotSet {
    /// The empty set.
    pub const fn new() -> Self {
        Self { runs: Vec::new() }
    }

    /// Accepts the normal form of a set, as [`runs`](Self::runs) gives it.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the runs are not in normal form. Bytes from outside could
    /// otherwise stand for one set in two ways.
    pub fn from_runs(runs: Vec<Run>) -> Result<Self, Malformed> {
        let each_is_a_run = runs.iter().all(|run| 1 <= run.first && run.first <= run.last);
        let in_order = runs.is_sorted_by(|a, b| a < b && !a.touches(b));
        if each_is_a_run && in_order { Ok(Self { runs }) } else { Err(Malformed) }
    }

    /// The set in normal form: sorted, disjoint, as few runs as possible.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The runs of one incarnation, in order.
    pub fn runs_of(&self, incarnation: Incarnation) -> &[Run] {
        let start = self.runs.partition_point(|run| run.incarnation < incarnation);
        let runs = self.runs.get(start..).unwrap_or_default();
        let len = runs.partition_point(|run| run.incarnation == incarnation);
        runs.get(..len).unwrap_or_default()
    }

    /// Returns whether there are no dots.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The number of dots, `u64::MAX` if there are more.
    pub fn len(&self) -> u64 {
        self.runs.iter().fold(0_u64, |len, run| len.saturating_add(run.last - run.first + 1))
    }

    /// Returns whether the set has `dot`.
    pub fn contains(&self, dot: Dot) -> bool {
        self.run_at(dot).is_some_and(|run| run.covers(&Run::of(dot)))
    }

    /// Returns whether the set has every dot of `other`.
    pub fn is_superset(&self, other: &DotSet) -> bool {
        other.runs.iter().all(|run| {
            let first = Dot::new(run.incarnation, run.first);
            self.run_at(first).is_some_and(|ours| ours.covers(run))
        })
    }

    /// Adds `dot`.
    pub fn insert(&mut self, dot: Dot) -> Change {
        if self.contains(dot) {
            return Change::Unchanged;
        }
        self.insert_run(Run::of(dot));
        Change::Grew
    }

    /// Takes `dot` out, if it is there.
    pub fn remove(&mut self, dot: Dot) {
        let after = self.end_of_runs_starting_by(dot);
        let Some(index) = after.checked_sub(1) else { return };
        let Some(run) = self.runs.get(index).copied().filter(|run| run.covers(&Run::of(dot)))
        else {
            return;
        };
        let below = Run { last: dot.seq - 1, ..run };
        let above = Run { first: dot.seq.saturating_add(1), ..run };
        let rest = [below, above].into_iter().filter(|rest| rest.first <= rest.last);
        // A dot numbered `u64::MAX` has nothing above it, although `above` saturates.
        let rest = rest.filter(|rest| !rest.covers(&Run::of(dot)));
        self.runs.splice(index..after, rest);
    }

    /// Adds every dot of `other`.
    pub fn union(&mut self, other: &DotSet) -> Change {
        if self.is_superset(other) {
            return Change::Unchanged;
        }
        if other.runs.len() <= 4 {
            other.runs.iter().for_each(|run| self.insert_run(*run));
        } else {
            self.zip(other);
        }
        Change::Grew
    }

    /// The dots of one set that another lacks, as runs. Empty if `self` is a subset.
    ///
    /// Costs as much as `self` has runs, times the logarithm of what `other` has, and what of
    /// `other` overlaps them, so that a key's few dots can be held against the clock of a shard
    /// with a hundred thousand holes.
    pub fn difference(&self, other: &DotSet) -> DotSet {
        let mut rest = Vec::new();
        for run in &self.runs {
            // Nothing is above the greatest number.
            let mut first = Some(run.first);
            for theirs in other.overlapping(run) {
                let hole = first.filter(|first| *first < theirs.first);
                rest.extend(hole.map(|first| Run { first, last: theirs.first - 1, ..*run }));
                first = theirs.last.checked_add(1);
            }
            let end = first.filter(|first| *first <= run.last);
            rest.extend(end.map(|first| Run { first, ..*run }));
        }
        DotSet { runs: rest }
    }

    /// The dots that both sets have. Costs what [`difference`](Self::difference) does, with the
    /// smaller set as `self`.
    pub fn intersection(&self, other: &DotSet) -> DotSet {
        if other.runs.len() < self.runs.len() {
            return other.intersection(self);
        }
        let both = self.runs.iter().flat_map(|run| {
            let cut = |theirs: &Run| Run {
                first: run.first.max(theirs.first),
                last: run.last.min(theirs.last),
                ..*run
            };
            other.overlapping(run).map(cut)
        });
        DotSet { runs: both.collect() }
    }

    /// The runs that have a dot of `run`, in order.
    fn overlapping(&self, run: &Run) -> impl Iterator<Item = &Run> {
        let before = |ours: &Run| (ours.incarnation, ours.last) < (run.incarnation, run.first);
        let start = self.runs.partition_point(before);
        let from_there = self.runs.get(start..).unwrap_or_default().iter();
        let (incarnation, last) = (run.incarnation, run.last);
        from_there.take_while(move |ours| ours.incarnation == incarnation && ours.first <= last)
    }

    /// The run that would hold `dot`: the last that starts at or below it.
    fn run_at(&self, dot: Dot) -> Option<&Run> {
        self.end_of_runs_starting_by(dot).checked_sub(1).and_then(|index| self.runs.get(index))
    }

    fn end_of_runs_starting_by(&self, dot: Dot) -> usize {
        self.runs.partition_point(|run| (run.incarnation, run.first) <= (dot.incarnation, dot.seq))
    }

    /// Adds a run in place. The common case, the next number of a known incarnation,
    /// moves nothing.
    fn insert_run(&mut self, run: Run) {
        let at = self
            .runs
            .partition_point(|ours| (ours.incarnation, ours.first) < (run.incarnation, run.first));
        let touched = at
            .checked_sub(1)
            .filter(|&index| self.runs.get(index).is_some_and(|before| before.touches(&run)));
        let start = touched.unwrap_or(at);
        let mut joined = run;
        let mut end = start;
        while let Some(ours) = self.runs.get(end).filter(|ours| ours.touches(&joined)) {
            joined.first = joined.first.min(ours.first);
            joined.last = joined.last.max(ours.last);
            end += 1;
        }
        self.runs.splice(start..end, [joined]);
    }

    /// Merges two sorted lists of runs in one pass.
    fn zip(&mut self, other: &DotSet) {
        let mut all = Vec::with_capacity(self.runs.len() + other.runs.len());
        all.extend_from_slice(&self.runs);
        all.extend_from_slice(&other.runs);
        all.sort_unstable();
        self.runs.clear();
        for run in all {
            match self.runs.last_mut() {
                Some(last) if last.touches(&run) => last.last = last.last.max(run.last),
                Some(_) | None => self.runs.push(run),
            }
        }
    }
}

impl Lattice for DotSet {
    fn merge(&mut self, other: Self) -> Change {
        self.union(&other)
    }
}

impl FromIterator<Dot> for DotSet {
    fn from_iter<I: IntoIterator<Item = Dot>>(dots: I) -> Self {
        let mut set = Self::new();
        dots.into_iter().for_each(|dot| set.insert_run(Run::of(dot)));
        set
    }
}

impl fmt::Debug for DotSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, run) in self.runs.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(f, "{space}{}:{}", run.incarnation, run.first)?;
            if run.first < run.last {
                write!(f, "..={}", run.last)?;
            }
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// The same set, the slow way.
    type Naive = BTreeSet<Dot>;

    fn dots() -> impl Strategy<Value = Vec<Dot>> {
        let dot = (0..3_u64, 1..24_u64).prop_map(|(i, seq)| Dot::new(Incarnation::new(i), seq));
        proptest::collection::vec(dot, 0..24)
    }

    fn expand(set: &DotSet) -> Naive {
        let dots = |run: &Run| {
            let incarnation = run.incarnation;
            (run.first..=run.last).map(move |seq| Dot::new(incarnation, seq))
        };
        set.runs().iter().flat_map(dots).collect()
    }

    fn assert_normal(set: &DotSet) {
        assert_eq!(DotSet::from_runs(set.runs().to_vec()).as_ref(), Ok(set));
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_set(a in dots(), b in dots()) {
            let (x, y): (DotSet, DotSet) = (a.iter().copied().collect(), b.iter().copied().collect());
            let (naive_x, naive_y): (Naive, Naive) = (a.iter().copied().collect(), b.iter().copied().collect());
            assert_normal(&x);
            prop_assert_eq!(expand(&x), naive_x.clone());
            prop_assert_eq!(x.len(), naive_x.len() as u64);
            prop_assert_eq!(x.is_superset(&y), naive_x.is_superset(&naive_y));
            for dot in &b {
                prop_assert_eq!(x.contains(*dot), naive_x.contains(dot));
            }
            let mut union = x.clone();
            let change = union.union(&y);
            assert_normal(&union);
            prop_assert_eq!(expand(&union), &naive_x | &naive_y);
            prop_assert_eq!(change == Change::Unchanged, union == x);
            let difference = x.difference(&y);
            assert_normal(&difference);
            prop_assert_eq!(expand(&difference), &naive_x - &naive_y);
            let intersection = x.intersection(&y);
            assert_normal(&intersection);
            prop_assert_eq!(expand(&intersection), &naive_x & &naive_y);
            let mut less = x.clone();
            b.iter().for_each(|dot| less.remove(*dot));
            assert_normal(&less);
            prop_assert_eq!(less, difference);
        }

        #[test]
        fn grows_and_shrinks_as_a_plain_set(
            steps in proptest::collection::vec((any::<bool>(), 0..3_u64, 1..12_u64), 0..48),
        ) {
            let (mut set, mut naive) = (DotSet::new(), Naive::new());
            for (is_insert, incarnation, seq) in steps {
                let dot = Dot::new(Incarnation::new(incarnation), seq);
                if is_insert {
                    prop_assert_eq!(set.insert(dot) == Change::Grew, naive.insert(dot));
                } else {
                    set.remove(dot);
                    naive.remove(&dot);
                }
                assert_normal(&set);
                prop_assert_eq!(expand(&set), naive.clone());
                prop_assert_eq!(set.is_empty(), naive.is_empty());
                let own = set.runs_of(dot.incarnation).to_vec();
                let of: Naive =
                    naive.iter().copied().filter(|d| d.incarnation == dot.incarnation).collect();
                prop_assert_eq!(expand(&DotSet::from_runs(own).unwrap()), of);
            }
        }

        #[test]
        fn obeys_the_laws(a in dots(), b in dots(), c in dots()) {
            let set = |dots: Vec<Dot>| dots.into_iter().collect::<DotSet>();
            lattice::laws::check(&set(a), &set(b), &set(c));
        }
    }

    #[test]
    fn a_gap_stays_a_gap() {
        let a = Incarnation::new(1);
        let set: DotSet = [Dot::new(a, 1), Dot::new(a, 3)].into_iter().collect();
        assert!(!set.contains(Dot::new(a, 2)));
        assert_eq!(set.runs().len(), 2);
    }

    #[test]
    fn the_greatest_number_can_be_held_compared_and_removed() {
        let dot = Dot::new(Incarnation::new(1), u64::MAX);
        let mut set: DotSet = [dot].into_iter().collect();
        assert!(set.contains(dot));
        assert!(set.difference(&set).is_empty());
        assert_eq!(set.intersection(&set), set);
        set.remove(dot);
        assert!(set.is_empty());
    }

    #[test]
    fn runs_out_of_normal_form_are_refused() {
        let run = |first, last| Run { incarnation: Incarnation::new(1), first, last };
        for runs in [
            vec![run(0, 1)],
            vec![run(2, 1)],
            vec![run(1, 2), run(3, 4)],
            vec![run(4, 4), run(1, 2)],
            vec![run(1, 3), run(3, 4)],
        ] {
            assert_eq!(DotSet::from_runs(runs.clone()), Err(Malformed), "{runs:?}");
        }
    }
}
