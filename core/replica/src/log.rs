//! The log of a shard: which write changed which key.
//!
//! A replica that was away lacks some dots, and its clock says exactly which. Whoever has
//! them must find the objects that carry them, without looking at all objects. So each
//! change leaves a line behind: these dots were taken in with the object that lives there.
//!
//! ```text
//! clock of n1 {a1..=9 b1..=4}     clock of n2 {a1..=6 b1..=4}     n2 lacks a7 a8 a9
//! log of n1   a7 -> "tea"   a8 -> "rum"   a9 -> "tea"             so send "tea" and "rum", once each
//! ```
//!
//! There are no values in the log: what is sent is the object as it is at that moment,
//! which has heard of everything that it superseded. And the log is no evidence. If the
//! object at the address does not have the dot, because its record was lost, then nothing
//! may be said of the dot (R4).
//!
//! A line is staged in one [`Change`] with the object and the clock (R8), so that the log has
//! each dot of the clock until it is [forgotten](crate::Store::forget).

use std::collections::BTreeMap;
use std::ops::Bound::{Included, Unbounded};

use causality::{Dot, DotSet, Run};
use model::{Address, ShardId};

use crate::Change;

/// One line: the dots of the run were taken in with the object at the address.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Entry {
    /// The dots.
    pub run: Run,
    /// Where the object lives.
    pub address: Address,
}

/// The logs of all shards, in memory: for disks that are no disks, and as the description of
/// what a log on a disk has to do.
///
/// A line lies under the *last* dot of its run. Whoever looks for the dots from some number on
/// then begins there and goes up, and never has to look back for a run that began before.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Log(BTreeMap<(ShardId, Dot), Entry>);

impl Log {
    /// Takes in the lines of a change.
    pub fn take(&mut self, change: &Change) {
        for run in change.news.runs() {
            let entry = Entry { run: *run, address: change.address.clone() };
            self.0.insert((change.shard, last_of(run)), entry);
        }
    }

    /// Drops the lines of these runs.
    pub fn forget(&mut self, shard: ShardId, runs: &[Run]) {
        for run in runs {
            self.0.remove(&(shard, last_of(run)));
        }
    }

    /// The first lines that have a dot of `within`, in order, at most so many.
    pub fn read(&self, shard: ShardId, within: Run, entries_max: usize) -> Vec<Entry> {
        let first = (shard, Dot::new(within.incarnation, within.first));
        let from_there = self.0.range((Included(first), Unbounded));
        let here = from_there.take_while(|((of, dot), entry)| {
            (*of, dot.incarnation) == (shard, within.incarnation) && entry.run.first <= within.last
        });
        here.map(|(_, entry)| entry.clone()).take(entries_max).collect()
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The dots that the log of a shard has.
    pub fn dots(&self, shard: ShardId) -> DotSet {
        let mut dots = DotSet::new();
        for ((of, _), entry) in &self.0 {
            if *of == shard {
                let run = DotSet::from_runs(vec![entry.run]).expect("one run is a set");
                let _ = dots.union(&run);
            }
        }
        dots
    }
}

fn last_of(run: &Run) -> Dot {
    Dot::new(run.incarnation, run.last)
}
