//! Dropping lines of the log.
//!
//! A line is of use as long as some replica may ask for its dots, and for a while after, as those
//! may who watch a table. When all have had them on disk for so long, it is dropped: in the
//! background, some at a time, beside clients. The log of a healthy shard is therefore about as long
//! as what was written in the last ten minutes; or in the last second or two, if nobody watches and
//! `changes_retention` says so.
//!
//! While a replica is away nothing is settled, and the log grows with every write. It has a
//! bound, because an absence has none. Beyond it the oldest lines are dropped, and each
//! replica that lacks one of them is *marked*, on disk: the exchange alone cannot make it whole
//! any more. The mark goes when its clock is equal to ours.
//!
//! Which lines there are is not known after a start, and nobody waits for it to be found out. What
//! is known is where none are: the log of what is settled is looked through once.

use std::collections::VecDeque;
use std::time::Duration;

use causality::{DotSet, Run};
use model::{NodeId, Now, ShardId};
use mutant::{Mutant, is};

use crate::{Disk, Node, Turn};

/// The most lines looked at in one step: a fraction of a millisecond. Clients wait meanwhile.
const ENTRIES_MAX: usize = 32;

/// How many lines it counts for to look for the first of a run. After an absence what is settled
/// is in thousands of runs, most of them of one dot.
const SEEK: usize = 4;

/// How long clients have the node for themselves between two steps. With the figures above, some
/// 25,000 lines are dropped in a second, or 5,000 that are scattered.
const PAUSE: Duration = Duration::from_micros(1250);

/// How long until it is looked again whether the disk has caught up.
const PAUSE_BUSY: Duration = Duration::from_millis(20);

/// How many moments are remembered of what was settled when. A line that is kept for a while is
/// kept for a sixteenth longer than that, at the most.
const MOMENTS_MAX: u32 = 16;

/// What was settled when, so that lines can stay for a while after.
#[derive(Debug, Default)]
struct Settled {
    moments: VecDeque<(Now, DotSet)>,
    /// What was settled so long ago that its lines may go.
    old: DotSet,
}

impl Settled {
    /// What is settled now, and was when it was looked at so long ago.
    fn since(&mut self, retention: Duration, settled: &DotSet, now: Now) -> DotSet {
        if retention.is_zero() {
            return settled.clone();
        }
        let is_due = |(at, last): &(Now, DotSet)| {
            retention / MOMENTS_MAX <= now.since(*at) && last != settled
        };
        if self.moments.back().is_none_or(is_due) {
            self.moments.push_back((now, settled.clone()));
        }
        while self.moments.front().is_some_and(|(at, _)| retention <= now.since(*at)) {
            self.old = self.moments.pop_front().map(|(_, dots)| dots).unwrap_or_default();
        }
        self.old.intersection(settled)
    }
}

/// What is known of the log of a shard.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// Dots of the clock that have no line.
    absent: DotSet,
    /// Dots of which nobody has looked in this life whether they have one.
    unseen: DotSet,
    /// Dots of lines that had to stay when this round looked at them: some of their dots are
    /// settled and some are not. Looked at again and again, they would be all that is looked at.
    stay: DotSet,
    settled: Settled,
}

impl Lines {
    /// Whether the line of one of these dots is known to be gone.
    pub(crate) fn lack(&self, dots: &DotSet) -> bool {
        !self.absent.intersection(dots).is_empty()
    }

    /// A new round begins, in which all lines are looked at.
    pub(crate) fn begin(&mut self) {
        self.stay = DotSet::new();
    }

    /// The log as it was found, under this clock.
    pub(crate) fn found(clock: &DotSet) -> Self {
        Self { unseen: clock.clone(), ..Self::default() }
    }

    /// Looks through a part of the log, and drops the lines of which all dots may go. Returns
    /// how many lines that counts for, and the dots of those that were dropped.
    fn sweep<D: Disk>(
        &mut self,
        shard: ShardId,
        part: &DotSet,
        may_go: &DotSet,
        entries_max: usize,
        disk: &mut D,
    ) -> (usize, DotSet) {
        let (mut looked, mut gone) = (0, DotSet::new());
        for run in part.difference(&self.absent).runs() {
            let left = entries_max.saturating_sub(looked);
            if left == 0 {
                break;
            }
            let Ok(entries) = disk.log(shard, *run, left) else { break };
            looked += SEEK.max(entries.len());
            let end = entries.last().filter(|_| entries.len() == left).map(|last| last.run.last);
            let looked_at = set(Run { last: end.unwrap_or(run.last).min(run.last), ..*run });
            self.unseen = self.unseen.difference(&looked_at);
            let (mut go, mut stay) = (Vec::new(), DotSet::new());
            for entry in &entries {
                let line = set(entry.run);
                if may_go.is_superset(&line) {
                    let _ = gone.union(&line);
                    go.push(entry.run);
                } else {
                    let _ = stay.union(&line);
                }
            }
            let _ = self.absent.union(&looked_at.difference(&stay));
            let _ = self.stay.union(&stay);
            disk.forget(shard, &go);
        }
        let _ = self.absent.union(&gone);
        (looked, gone)
    }

    /// How many dots have a line, or may have one.
    fn len(&self, clock: &DotSet) -> u64 {
        clock.len().saturating_sub(self.absent.len())
    }

    /// The first dots that have a line, of the incarnation that has most.
    fn oldest(&self, clock: &DotSet, count: u64) -> DotSet {
        let logged = clock.difference(&self.absent);
        let runs = || logged.runs().chunk_by(|a, b| a.incarnation == b.incarnation);
        let dots = |runs: &[Run]| runs.iter().map(|run| run.last - run.first + 1).sum::<u64>();
        let most = runs().max_by_key(|runs| dots(runs)).and_then(<[Run]>::first);
        let first = |run: &Run| Run { last: run.last.min(run.first + count.max(1) - 1), ..*run };
        most.map(|run| set(first(run))).unwrap_or_default()
    }
}

fn set(run: Run) -> DotSet {
    DotSet::from_runs(vec![run]).expect("a part of a run is a set")
}

/// So many dots of a set, lowest first.
fn first_of(dots: &DotSet, mut count: u64) -> DotSet {
    let mut first = Vec::new();
    for run in dots.runs() {
        if count == 0 {
            break;
        }
        let last = run.last.min(run.first.saturating_add(count - 1));
        count -= last - run.first + 1;
        first.push(Run { last, ..*run });
    }
    DotSet::from_runs(first).expect("parts of runs in order")
}

impl Node {
    /// Drops some lines of logs that nobody needs any more, and goes on with it in a while if
    /// there may be more.
    pub(crate) fn prune<D: Disk>(&mut self, turn: &mut Turn<'_, D>) {
        let Some(from) = self.exchange.pruning.filter(|(at, _)| *at <= turn.now) else { return };
        if !self.takes_part() {
            self.exchange.pruning = None;
            return;
        }
        if turn.disk.is_busy() {
            self.exchange.pruning = Some((turn.now + PAUSE_BUSY, from.1));
            return;
        }
        let mut left = ENTRIES_MAX;
        let shards: Vec<ShardId> = self.shards.range(from.1..).map(|(shard, _)| *shard).collect();
        for shard in shards {
            self.prune_shard(shard, &mut left, turn);
            self.reap(shard, &mut left, turn);
            self.trim(shard, &mut left, turn);
            if left == 0 {
                self.exchange.pruning = Some((turn.now + PAUSE, shard));
                return;
            }
        }
        self.exchange.pruning = None;
    }

    fn prune_shard<D: Disk>(&mut self, shard: ShardId, left: &mut usize, turn: &mut Turn<'_, D>) {
        let (now, disk) = (turn.now, &mut *turn.disk);
        let others = self.awaited(shard);
        let Some(kept) = self.shards.get_mut(&shard) else { return };
        let clock = kept.replica.clock();
        let asked = if is(Mutant::LogPrunedEarly) { others.get(..1) } else { None };
        let settled = self.exchange.acks.settled(shard, asked.unwrap_or(&others), clock);
        let lines = &mut kept.lines;
        let old = lines.settled.since(self.config.limits.changes_retention, &settled, now);
        if !is(Mutant::LogKept) {
            let part = old.difference(&lines.stay);
            *left = left.saturating_sub(lines.sweep(shard, &part, &old, *left, disk).0);
        }
        let max = self.config.limits.log_entries_max as u64;
        if lines.len(clock) <= max {
            return;
        }
        let unseen = lines.unseen.clone();
        *left = left.saturating_sub(lines.sweep(shard, &unseen, &DotSet::new(), *left, disk).0);
        // What is kept for watchers only goes before what a replica lacks.
        if lines.unseen.is_empty() && !is(Mutant::LogKept) {
            let over = lines.len(clock).saturating_sub(max);
            let part = first_of(&settled.difference(&lines.absent), over);
            *left = left.saturating_sub(lines.sweep(shard, &part, &settled, *left, disk).0);
        }
        let mut gone = DotSet::new();
        while 0 < *left && lines.unseen.is_empty() && max < lines.len(clock) {
            let before = lines.len(clock);
            let oldest = lines.oldest(clock, before - max);
            let (looked, dropped) = lines.sweep(shard, &oldest, clock, *left, disk);
            *left = left.saturating_sub(looked);
            let _ = gone.union(&dropped);
            if lines.len(clock) == before {
                break;
            }
        }
        self.mark(shard, &others, &gone, disk);
    }

    /// Marks those who lack a write that the log can no longer bring them.
    fn mark<D: Disk>(&mut self, shard: ShardId, others: &[NodeId], gone: &DotSet, disk: &mut D) {
        self.exchange.dropped += gone.len();
        for node in others {
            let lacks = !self.exchange.acks.has(shard, *node, gone);
            let is_marked = lacks && !is(Mutant::NeedsRepairNotMarked);
            if is_marked && self.exchange.marks.insert((shard, *node)) {
                disk.mark(shard, *node, true);
            }
        }
    }

    /// A replica has all that there is: whatever it lacked, it has it.
    pub(crate) fn unmark<D: Disk>(&mut self, shard: ShardId, node: NodeId, disk: &mut D) {
        if self.exchange.marks.remove(&(shard, node)) {
            disk.mark(shard, node, false);
        }
    }

    /// The other replicas of a shard, but for those that were evicted and have no new disk yet. One that
    /// is joining is awaited.
    pub(crate) fn awaited(&self, shard: ShardId) -> Vec<NodeId> {
        let mut others = self.others(shard);
        others.retain(|node| !self.in_force().is_evicted(*node));
        others
    }

    /// The other replicas of a shard.
    pub(crate) fn others(&self, shard: ShardId) -> Vec<NodeId> {
        let replicas = self.contracts.replicas(shard).iter().copied();
        replicas.filter(|node| *node != self.config.id).collect()
    }
}
