//! What a node counts of its own work.
//!
//! Plain numbers in the node itself: it runs on one thread, so that counting costs an addition,
//! and no lock and no atomic operation is on the way of a request. Whoever wants to see them
//! asks between two steps.

mod awaited;
mod times;

use std::collections::BTreeMap;
use std::time::Duration;

use model::{NodeId, Now, Table};

pub(crate) use awaited::Awaited;
pub use times::Times;
pub(crate) use times::{quarter, quarter_end};

use crate::{Merged, Node, Verdict};

/// How many latencies fell between which bounds. The bounds double, from 64 microseconds to
/// some 33 seconds: a fixed size, and never wrong by more than a factor of two.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Latencies {
    buckets: [u64; Latencies::BUCKETS],
    micros: u64,
}

impl Latencies {
    /// How many ranges there are. The last is open.
    const BUCKETS: usize = 20;

    /// The upper bound of the first range.
    const FIRST_MICROS: u64 = 64;

    /// Counts one.
    pub fn record(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let range = (micros / Self::FIRST_MICROS).checked_ilog2().map_or(0, |log| log + 1);
        let last = Self::BUCKETS - 1;
        let range = usize::try_from(range).unwrap_or(last).min(last);
        if let Some(count) = self.buckets.get_mut(range) {
            *count += 1;
        }
        self.micros = self.micros.saturating_add(micros);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Their sum.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.micros)
    }

    /// The upper bound of each range, and how many fell into it. The last bound stands for
    /// none.
    pub fn ranges(&self) -> impl Iterator<Item = (Duration, u64)> {
        let bound = |range: usize| Duration::from_micros(Self::FIRST_MICROS << range);
        self.buckets.iter().enumerate().map(move |(range, count)| (bound(range), *count))
    }
}

/// What a node has counted since it was started.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Writes accepted here after which their key held several values.
    pub siblings_created: u64,
    /// The most values that a key held after a write that was accepted here.
    pub siblings_max: usize,
    /// Writes accepted here that left their key with as many values as its table warns of.
    pub siblings_warned: u64,
    /// Merges sent because a read had found a replica behind.
    pub read_repairs: u64,
    /// Writes of records that this node's disk had lost, put back because a read had found them
    /// missing.
    pub lost_writes_restored: u64,
    /// Comparisons of hash trees that this node has begun.
    pub comparisons: u64,
    /// Keys that they have found to differ.
    pub differences: u64,
    /// Values that this node knew to be forgotten and others still held, in answers of theirs to a
    /// read or a comparison.
    pub refuted_values: u64,
    /// Messages of nodes whose disks were given up, and who had not heard of that.
    pub evicted_messages: u64,
    /// How often a disk was found to be an older copy of what it was, or to have been copied from one
    /// that had lost something: another replica had forgotten what it had never heard of. By shard.
    pub old_copies: u64,
    /// Tombstones that were forgotten, because all replicas had what they spoke of.
    pub tombstones_forgotten: u64,
    /// Objects of which superseded dots were forgotten here.
    pub contexts_trimmed: u64,
    /// Leaves of hash trees that were read again, to see whether the disk still has what it had.
    pub leaves_scrubbed: u64,
    /// Those of them in which it had not.
    pub leaves_damaged: u64,
    /// Attempts to read a part of a shard for a tree that failed, as the disk or the storage engine
    /// did.
    pub failed_scrubs: u64,
    /// Records that failed their check when they were read for a tree, each time they did.
    pub records_unreadable: u64,
    /// Times that a shard was found not to hold what its disk should hold.
    pub suspicions: u64,
    /// Writes that this node keeps, or has kept, for replicas that were away.
    pub hints_taken: u64,
    /// Writes that it did not keep for others: there was no room, or it is no guest there.
    pub hints_refused: u64,
    /// Objects that it has handed over.
    pub hints_delivered: u64,
    /// Reads of single keys that began here.
    pub reads: u64,
    /// Replicas asked because those that were asked took longer than usual.
    pub hedges: u64,
    /// How long replicas took to answer, from when they were asked. This node is one of them.
    pub replicas: BTreeMap<NodeId, Replied>,
}

/// How long one replica took.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Replied {
    /// For reads of single keys that do not wait for its disk.
    pub reads: Times,
    /// For writes; with its disk, unless the table is buffered.
    pub writes: Times,
    /// For parts of lists.
    pub lists: Latencies,
}

impl Node {
    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        let (reads, hedges) = self.hedges();
        Counts { read_repairs: self.read_repairs, reads, hedges, ..self.counts.clone() }
    }

    /// How many reads of single keys began here, and for how many of them one more replica was
    /// asked because others took longer than usual. One of twenty, at the most.
    pub fn hedges(&self) -> (u64, u64) {
        (self.pace.reads, self.pace.hedges)
    }

    /// Counts the values of a key that was just written here.
    pub(crate) fn count_siblings(&mut self, values: usize, table: &Table) {
        if 1 < values {
            self.counts.siblings_created += 1;
        }
        if table.siblings.warn.is_some_and(|warn| usize::from(warn) <= values) {
            self.counts.siblings_warned += 1;
        }
        self.counts.siblings_max = self.counts.siblings_max.max(values);
    }

    /// Counts how long a replica took to answer the read of a key.
    pub(crate) fn count_read(&mut self, from: NodeId, took: Duration) {
        self.counts.replicas.entry(from).or_default().reads.record(took);
    }

    /// Counts how long a replica took to answer with a part of a list.
    pub(crate) fn count_list(&mut self, from: NodeId, took: Duration) {
        self.counts.replicas.entry(from).or_default().lists.record(took);
    }

    /// Counts how long a replica took to acknowledge a write, if that write is timed, also when
    /// its client was answered long ago.
    pub(crate) fn count_merged(&mut self, from: NodeId, merged: &Merged, now: Now) {
        let Some(took) = self.awaited.answered(merged.request, from, now) else { return };
        match merged.verdict {
            Verdict::Durable | Verdict::Buffered => {
                self.counts.replicas.entry(from).or_default().writes.record(took);
            }
            Verdict::Failed | Verdict::Full => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_counted_in_the_first_range_whose_bound_it_does_not_reach() {
        let mut latencies = Latencies::default();
        for micros in [0, 63, 64, 127, 128, 1_000_000, u64::MAX] {
            latencies.record(Duration::from_micros(micros));
        }
        let counts: Vec<u64> = latencies.ranges().map(|(_, count)| count).collect();
        assert_eq!(counts[..3], [2, 2, 1]);
        assert_eq!(counts[14], 1, "a second is below 64 us * 2^14, which is 1.05 s");
        assert_eq!((counts[19], latencies.count()), (1, 7));
    }
}
