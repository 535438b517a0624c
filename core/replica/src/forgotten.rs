//! What a shard has forgotten, and what is kept in its place.
//!
//! A tombstone may go when everything that it speaks of is on the disks of all replicas (R5). What is
//! left of it is its dots: the shard keeps the exact set of all dots that it has forgotten. They were
//! superseded, or deletes, and every replica knows it; so a value under one of them is no news to
//! anybody, whatever road it comes by, and whoever brings it has a disk that lost something.
//!
//! ```text
//! n1  {} {a1 b2}   deleted      every clock has a1 and b2     n1  nothing     forgotten {a1 b2}
//! n3  {a1: "tea"}  its record turned into what it was once
//! n3 ──"tea" as a repair──► n1      a1 is forgotten here: n3 is told that a1 is superseded
//! ```
//!
//! Without the set nobody could tell a value that was deleted long ago from one that this
//! disk alone has lost, and which a repair has to bring back (R7).
//!
//! The context of an object that lives goes the same way. Each overwrite adds to it the dot of the
//! value that it takes the place of; when all replicas know of one that it was superseded, it is
//! forgotten here, and taken out there. An object is never stored with a dot that is forgotten.
//!
//! It costs little: runs of dots that are neighbours are one, and a shard cannot have more runs of
//! forgotten dots than it has values and gaps between them. On disk it lies in [`Chunk`]s, so
//! that forgetting one more dot writes at most a few KiB.

use causality::{DotSet, Incarnation, Run};
use model::{Address, Object, ShardId};

use crate::Sum;

/// How many dots of one incarnation lie in one record, at most.
pub const CHUNK_DOTS: u64 = 4_096;

/// The forgotten dots of one incarnation of which the numbers, divided by [`CHUNK_DOTS`], are the same.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Chunk {
    /// Whose dots.
    pub incarnation: Incarnation,
    /// What their numbers come to, divided by [`CHUNK_DOTS`].
    pub number: u64,
    /// All of them, in order.
    pub runs: Vec<Run>,
}

/// An object of which some dots are forgotten.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Trimmed {
    /// Where it lives.
    pub address: Address,
    /// As it was.
    pub before: Object,
    /// As it is without them.
    pub after: Object,
}

/// Tombstones and dots of other objects that are forgotten, and what is kept in their place. All of
/// it becomes durable, or nothing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reaping {
    /// The shard that forgets.
    pub shard: ShardId,
    /// What is dropped, as it was.
    pub tombstones: Vec<(Address, Object)>,
    /// What is stored anew.
    pub trimmed: Vec<Trimmed>,
    /// The chunks of the shard's forgotten dots that have gained some.
    pub chunks: Vec<Chunk>,
    /// For each incarnation of which the shard's clock gained dots, all its runs. Only what another
    /// replica has forgotten adds to a clock.
    pub clock: Vec<(Incarnation, Vec<Run>)>,
    /// What the shard comes to then, if somebody keeps account of it.
    pub sum: Option<Sum>,
}

impl Reaping {
    /// Everything that the chunks have.
    pub fn forgotten(&self) -> DotSet {
        let mut all = DotSet::new();
        for chunk in &self.chunks {
            let _ = all.union(&DotSet::from_runs(chunk.runs.clone()).expect("chunks are in order"));
        }
        all
    }
}

/// What became of tombstones that were to be forgotten.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Reaped {
    /// How many are forgotten.
    pub forgotten: u64,
    /// Those that have to stay for now.
    pub stay: Vec<(Address, Object)>,
}

/// The chunks that have a dot of `news`, as they are in `all`.
pub(crate) fn chunks(all: &DotSet, news: &DotSet) -> Vec<Chunk> {
    let mut chunks: Vec<Chunk> = Vec::new();
    for run in news.runs() {
        for number in run.first / CHUNK_DOTS..=run.last / CHUNK_DOTS {
            let is_it =
                |chunk: &Chunk| (chunk.incarnation, chunk.number) == (run.incarnation, number);
            if !chunks.last().is_some_and(is_it) {
                let runs = part(all.runs_of(run.incarnation), number);
                chunks.push(Chunk { incarnation: run.incarnation, number, runs });
            }
        }
    }
    chunks
}

/// The part of some runs that lies in one chunk.
fn part(runs: &[Run], number: u64) -> Vec<Run> {
    let (first, last) = (number * CHUNK_DOTS, number * CHUNK_DOTS + (CHUNK_DOTS - 1));
    let from = runs.partition_point(|run| run.last < first);
    let here = runs.iter().skip(from).take_while(|run| run.first <= last);
    here.map(|run| Run { first: run.first.max(first), last: run.last.min(last), ..*run }).collect()
}

/// An object without these dots, of which nothing may be held any more. Nothing if that leaves it as
/// it is.
pub(crate) fn without(object: &Object, dots: &DotSet) -> Option<Object> {
    let mut rest = object.clone();
    rest.drop_values(dots);
    rest.forget(dots);
    (rest != *object).then_some(rest)
}

/// The values of an object that have one of these dots.
pub(crate) fn values_in(object: &Object, dots: &DotSet) -> DotSet {
    object.values().keys().copied().filter(|dot| dots.contains(*dot)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(runs: &[(u64, u64, u64)]) -> DotSet {
        let run = |(of, first, last): &(u64, u64, u64)| Run {
            incarnation: Incarnation::new(*of),
            first: *first,
            last: *last,
        };
        DotSet::from_runs(runs.iter().map(run).collect()).expect("in order")
    }

    #[test]
    fn a_chunk_is_written_whole_and_others_are_not() {
        let all = set(&[(7, 1, 5), (7, 4_000, 9_000), (7, 20_000, 20_001), (9, 1, 1)]);
        let news = set(&[(7, 4_090, 4_100), (9, 1, 1)]);
        let found: Vec<(u64, u64, usize)> = chunks(&all, &news)
            .iter()
            .map(|chunk| (chunk.incarnation.bits(), chunk.number, chunk.runs.len()))
            .collect();
        assert_eq!(found, [(7, 0, 2), (7, 1, 1), (9, 0, 1)]);
    }

    #[test]
    fn chunks_together_are_the_set() {
        let all = set(&[(7, 1, 5), (7, 4_095, 4_096), (7, 8_000, 13_000), (9, 1, 9_999)]);
        let runs = chunks(&all, &all).into_iter().flat_map(|chunk| chunk.runs);
        let mut sum = DotSet::new();
        runs.for_each(|run| {
            let _ = sum.union(&DotSet::from_runs(vec![run]).expect("one run is a set"));
        });
        assert_eq!(sum, all);
    }
}
