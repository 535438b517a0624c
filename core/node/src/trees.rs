//! The hash trees of the shards that are kept here, and what is done for them in the background.
//!
//! Clocks say which writes a replica was told of, and not what its disk still has. So each shard
//! has a tree, whose sum goes out with its clock: two replicas with one clock and two sums
//! [compare] their trees, down to the keys that differ, and bring each other what is
//! missing there.
//!
//! ```text
//! start      nothing is known; the shard is read in small steps             no sum is told
//! whole      each change is told to the tree in the turn that stages it     the sum is told,
//!                                                                           if it is [what it should be](account)
//! scrub      leaf after leaf is read again, all within the interval         what differs is found
//! ```
//!
//! Trees are not stored: reading a shard after a start is what also finds what was lost
//! while nobody looked. And a tree follows changes only. What a disk loses by itself is found
//! when its leaf is scrubbed; the tree then says what is there, and the next sum that
//! goes out tells the others.

pub(crate) mod account;
pub(crate) mod compare;
mod pages;
pub(crate) mod repair;
mod settle;
mod stored;
pub(crate) mod suspect;

use std::collections::BTreeMap;
use std::time::Duration;

use antientropy::{Tree, Verdict};
use model::{NodeId, Now, ShardId, TableId};
use mutant::{Mutant, is};
use rand::RngExt;
use replica::StoreError;

pub(crate) use account::Account;
pub(crate) use compare::Comparison;
use repair::{Done, Job};
pub use stored::{Place, sum_of};
pub(crate) use stored::{Stored, Watched};

use crate::exchange::Kept;
use crate::{Counts, Disk, Node, RequestId, Turn};

/// The most objects that are read in one step. Clients wait meanwhile.
const OBJECTS_MAX: usize = 1_024;
const OBJECTS_MAX_BUSY: usize = 64;

/// How long everybody else has the node between two steps.
const PAUSE: Duration = Duration::from_micros(100);
const PAUSE_BUSY: Duration = Duration::from_millis(2);

/// About how many bytes of objects are read in one step, where they are large.
const STEP_BYTES: usize = 1 << 20;

/// What is taken for the size of an object before any was read.
const OBJECT_BYTES: usize = 16 << 10;

/// What a leaf counts for that is read: it has about as many objects.
const LEAF: usize = 64;

/// What this node does for its trees, and with those of others.
#[derive(Debug, Default)]
pub(crate) struct Trees {
    /// When they are seen to next, and from which shard on, while there is something to do.
    tending: Option<(Now, ShardId)>,
    pub(crate) comparisons: BTreeMap<RequestId, Comparison>,
    /// When a shard was last shown to be the same as at another replica, or compared to the end.
    pub(crate) proofs: BTreeMap<(ShardId, NodeId), Now>,
    /// When a shard was last shown to be the same.
    pub(crate) equals: BTreeMap<(ShardId, NodeId), Now>,
    /// Who is not compared with again before some moment, because the last comparison found nothing,
    /// or came to no end.
    pub(crate) resting: BTreeMap<(ShardId, NodeId), Now>,
    /// When the connection to a node was made last: whatever was proven before says nothing of its
    /// disk, which may be another one.
    pub(crate) met: BTreeMap<NodeId, Now>,
    /// The repair that an operator has asked for last.
    pub(crate) job: Option<Job>,
    /// What a comparison that was made for it has come to.
    pub(crate) done: Option<Done>,
}

/// Which leaf of a shard is read again next, and when.
#[derive(Debug, Default)]
pub(crate) struct Scrub {
    at: Option<Place>,
    due: Option<Now>,
    /// About how many bytes the objects have that were read last.
    object_bytes: Option<usize>,
}

impl Trees {
    /// A shard was shown to be the same here and at another replica.
    pub(crate) fn show_equal(&mut self, shard: ShardId, with: NodeId, now: Now) {
        self.proofs.insert((shard, with), now);
        self.equals.insert((shard, with), now);
    }

    /// When [`Node::tend`], [`Node::compare`] or [`Node::advance_repair`] has something to do.
    pub(crate) fn wake_at(&self) -> Option<Now> {
        let tending = self.tending.map(|(at, _)| at);
        let comparing = self.comparisons.values().filter_map(Comparison::wake_at).min();
        let repairing = self.job.as_ref().and_then(Job::wake_at);
        let done = self.done.as_ref().map(|done| done.at);
        [tending, comparing, repairing, done].into_iter().flatten().min()
    }
}

impl Node {
    /// The sum of everything that a shard holds, if its tree is whole.
    pub fn tree_sum(&self, shard: ShardId) -> Option<u64> {
        Some(self.shards.get(&shard)?.tree.total()?.sum)
    }

    /// How long ago it was last shown that a shard is the same here and at another replica, or they
    /// were compared to the end, of the pair of which that is longest ago. Each pair is told by
    /// the lesser number, so that this is nothing at the node with the greatest.
    pub fn unproven(&self, now: Now) -> Option<Duration> {
        let shards = self.contracts.kept_by(self.config.id);
        let pairs = shards.flat_map(|(shard, nodes)| nodes.iter().map(move |node| (shard, *node)));
        let others = pairs.filter(|(_, node)| self.config.id < *node);
        let proof = |pair| self.trees.proofs.get(&pair).copied().unwrap_or(self.started);
        others.map(proof).min().map(|oldest| now.since(oldest))
    }

    /// Something does not fit to the tree of a shard: it is compared with the disk now, and not
    /// sometime.
    pub(crate) fn hurry_scrub(&mut self, shard: ShardId, now: Now) {
        let interval = self.config.limits.scrub_interval;
        if let Some(kept) = self.shards.get_mut(&shard) {
            kept.scrub.hurry(now, interval);
        }
    }

    /// The tables of a keyspace, in order.
    pub(crate) fn tables_of(&self, shard: ShardId) -> Vec<TableId> {
        let tables = self.in_force().tables.values();
        let mut tables: Vec<TableId> =
            tables.filter(|table| table.keyspace == shard.keyspace).map(|table| table.id).collect();
        tables.sort_unstable();
        if is(Mutant::FirstTableOnly) {
            tables.truncate(1);
        }
        tables
    }

    /// A round begins in which all shards are seen to, if none is under way.
    pub(crate) fn begin_tending(&mut self, now: Now) {
        if self.trees.tending.is_none() {
            self.trees.tending = self.shards.keys().next().map(|first| (now, *first));
        }
    }

    /// Reads some of what trees have to read, and goes on with it in a while if there is more.
    pub(crate) fn tend<D: Disk>(&mut self, turn: &mut Turn<'_, D>) {
        let Some((_, from)) = self.trees.tending.filter(|(at, _)| *at <= turn.now) else { return };
        let is_busy = self.exchange.is_busy();
        let (mut left, pause) = match is_busy {
            true => (OBJECTS_MAX_BUSY, PAUSE_BUSY),
            false => (OBJECTS_MAX, PAUSE),
        };
        let shards: Vec<ShardId> = self.shards.range(from..).map(|(shard, _)| *shard).collect();
        for shard in shards {
            self.tend_shard(shard, &mut left, turn);
            if left == 0 {
                self.trees.tending = Some((turn.now + pause, shard));
                return;
            }
        }
        self.trees.tending = None;
    }

    /// Reads on in a shard, and holds what is there against what should be.
    fn tend_shard<D: Disk>(&mut self, shard: ShardId, left: &mut usize, turn: &mut Turn<'_, D>) {
        let was_whole = self.shards.get(&shard).is_some_and(|kept| kept.tree.is_whole());
        self.tend_tree(shard, left, turn);
        self.look_at_sum(shard, !was_whole, turn);
    }

    fn tend_tree<D: Disk>(&mut self, shard: ShardId, left: &mut usize, turn: &mut Turn<'_, D>) {
        let tables = self.tables_of(shard);
        let spread = self.rng.random_range(0.75..1.0);
        let interval = self.config.limits.scrub_interval.mul_f64(spread);
        let Some(kept) = self.shards.get_mut(&shard) else { return };
        let runs_max = kept.contexts.runs_max;
        let stored = Stored::new(&*turn.disk, shard, &tables).with_contexts(runs_max);
        while 0 < *left {
            let done = kept.tend(&stored, *left, (turn.now, interval), &mut self.counts);
            self.counts.records_unreadable += stored.unreadable.take();
            stored.tombstones.take().iter().for_each(|place| kept.tombstones.note(place));
            stored.long.take().into_iter().for_each(|address| kept.contexts.find(address));
            match done {
                Ok(0) => return,
                Ok(objects) => *left = left.saturating_sub(objects),
                // It is tried again in the next round.
                Err(_) => {
                    self.counts.failed_scrubs += 1;
                    return;
                }
            }
        }
    }
}

impl Kept {
    /// Does what comes next for the tree. Returns how many objects that counts for: none if
    /// nothing is due.
    fn tend<D: Disk>(
        &mut self,
        stored: &Stored<'_, D>,
        objects_max: usize,
        (now, interval): (Now, Duration),
        counts: &mut Counts,
    ) -> Result<usize, StoreError> {
        let Self { tree, scrub, .. } = self;
        if !tree.is_whole() {
            let read = tree.read_on(stored, scrub.in_one_step(objects_max));
            let (objects, bytes) = stored.read.take();
            scrub.object_bytes = bytes.checked_div(objects).or(scrub.object_bytes);
            scrub.begin(now, interval, tree);
            return read.map(|_| objects_max);
        }
        let found = self.find_tombstones(stored, objects_max)?;
        stored.read.take();
        if found != 0 {
            return Ok(found);
        }
        let Self { tree, scrub, .. } = self;
        // A cut that fails does not keep other leaves from being scrubbed.
        let cut = (tree.cuts_overdue() != 0).then(|| tree.cut(stored, 1));
        let is_due = scrub.due.is_none_or(|due| due <= now) && !is(Mutant::NothingScrubbed);
        if let Some(cut) = cut.filter(|cut| cut.is_ok() || !is_due) {
            return cut.map(|()| LEAF);
        }
        if !is_due {
            return Ok(0);
        }
        let leaf = match is(Mutant::ScrubChangesNothing) {
            true => tree.check(scrub.at.as_ref(), stored),
            false => tree.scrub(scrub.at.as_ref(), stored),
        };
        scrub.rest(now, interval, tree);
        // One that cannot be read is passed over: the next may be elsewhere on the disk.
        let next = tree.leaf(scrub.at.as_ref()).and_then(|leaf| leaf.to);
        scrub.at = leaf.as_ref().map_or(next, |check| check.as_ref()?.leaf.to.clone());
        if let Some(check) = leaf? {
            counts.leaves_scrubbed += 1;
            counts.leaves_damaged += u64::from(check.verdict != Verdict::Sound);
        }
        Ok(LEAF)
    }
}

impl Scrub {
    /// The first leaf is due when its part of the interval is over.
    fn begin(&mut self, now: Now, interval: Duration, tree: &Tree<Place>) {
        (self.at, self.due) = (None, Some(now + part(interval, tree)));
    }

    /// The next leaf is due a part of the interval after this one was, however late this one is.
    fn rest(&mut self, now: Now, interval: Duration, tree: &Tree<Place>) {
        self.due = Some(self.due.unwrap_or(now) + part(interval, tree));
    }

    /// All leaves are due, from the first on, unless they are already.
    fn hurry(&mut self, now: Now, interval: Duration) {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let ago = |time| Now::from_micros(now.as_micros().saturating_sub(micros(time)));
        if self.due.is_none_or(|due| ago(interval / 2) < due) {
            (self.at, self.due) = (None, Some(ago(interval)));
        }
    }

    /// How many objects are read in one step, at most so many: few, where they are large.
    pub(crate) fn in_one_step(&self, objects_max: usize) -> usize {
        let some = STEP_BYTES / self.object_bytes.unwrap_or(OBJECT_BYTES).max(1);
        objects_max.min(some).max(1)
    }
}

/// The part of an interval that one leaf has.
fn part(interval: Duration, tree: &Tree<Place>) -> Duration {
    interval / u32::try_from(tree.leaves()).unwrap_or(u32::MAX).max(1)
}
