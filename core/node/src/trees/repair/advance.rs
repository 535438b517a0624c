//! What a repair does next.

use std::collections::BTreeSet;
use std::time::Duration;

use antientropy::KeyRange;
use model::{NodeId, Now, Obstacle, PairState, RepairMode, RepairState, ShardId};
use mutant::{Mutant, is};

use super::{Done, Job, Pair, Step, Told, add};
use crate::exchange::throttle;
use crate::message::{Examine, Examined};
use crate::trees::compare::PATIENCE;
use crate::trees::{PAUSE, PAUSE_BUSY, Stored};
use crate::{After, Disk, Message, Node, Turn};

/// How often a pair is compared to the end, at most. What differs as often comes back each time.
const PASSES_MAX: u64 = 8;

/// How often a comparison of a pair is broken off, at most: by a network that loses much, or by
/// somebody who says nonsense.
const BREAKS_MAX: u32 = 100;

/// After how many intervals of the clock exchange a pair is tried again that comes no further.
const REST: u32 = 2;

impl Node {
    /// Goes on with the repair, if it has something to do.
    pub(crate) fn advance_repair<D: Disk>(&mut self, turn: &mut Turn<'_, D>) {
        let is_over = self.trees.done.is_some();
        let is_due = |job: &mut Job| job.is_running() && (is_over || job.due <= turn.now);
        let Some(mut job) = self.trees.job.take_if(is_due) else { return };
        if let Some(done) = self.trees.done.take() {
            self.hear_done(&mut job, done, turn.now);
        }
        match job.at {
            Some(at) => self.repair_pair(&mut job, at, turn),
            None => self.next_pair(&mut job, turn),
        }
        self.trees.job = Some(job);
    }

    /// Gives the next pair its turn, of those whose time has come.
    fn next_pair<D: Disk>(&mut self, job: &mut Job, turn: &mut Turn<'_, D>) {
        let open = || job.pairs.iter().filter(|(_, pair)| !pair.state.is_final());
        let Some(due) = open().map(|(_, pair)| pair.retry).min() else {
            job.ended = Some((turn.now, RepairState::Ended));
            return;
        };
        let next = open().find(|(_, pair)| pair.retry <= turn.now).map(|(at, _)| *at);
        (job.at, job.due) = (next, due);
        if let Some(at) = next {
            self.repair_pair(job, at, turn);
        }
    }

    fn repair_pair<D: Disk>(
        &mut self,
        job: &mut Job,
        (shard, with): (ShardId, NodeId),
        turn: &mut Turn<'_, D>,
    ) {
        if !self.membership.is_alive(with, turn.now) {
            return job.block(Obstacle::Away, self.repair_rest(), turn.now);
        }
        let reads = job.reads() && !is(Mutant::RepairReadsNothing);
        let (range, is_read) = (job.range.clone(), job.read.contains(&shard));
        let age = self.proven((shard, with), turn.now);
        let Some(pair) = job.pairs.get_mut(&(shard, with)) else { return };
        let interval = self.config.limits.exchange_interval;
        job.due = turn.now;
        match pair.step.clone() {
            Step::Begin => {
                if let (RepairMode::Incremental { age: max }, Some(age)) = (job.asked.mode, age)
                    && age <= max
                {
                    pair.state = PairState::Passed;
                    job.at = None;
                    return;
                }
                pair.figures.keys = self.keys_in(shard, &range, turn);
                pair.step = match reads {
                    true if is_read => Step::There(range.from, None),
                    true => Step::Here(range.from),
                    false => Step::Compare,
                };
                self.repair_pair(job, (shard, with), turn);
            }
            Step::Here(from) => {
                pair.state = PairState::Reading;
                let rest = KeyRange { from, to: range.to.clone() };
                let is_busy = self.exchange.is_busy_with(with);
                let leaves = match self.read_leaves(shard, &rest, is_busy, turn) {
                    Ok(Some(leaves)) => leaves,
                    Ok(None) => return job.block(Obstacle::Unread, interval / 4, turn.now),
                    Err(_) => return job.block(Obstacle::Disk, self.repair_rest(), turn.now),
                };
                pair.figures.read += leaves.keys;
                pair.step = match leaves.next {
                    Some(next) => Step::Here(Some(next)),
                    None => Step::There(range.from, None),
                };
                if !matches!(pair.step, Step::Here(_)) {
                    job.read.insert(shard);
                }
                job.due = turn.now + self.pause_for(with, leaves.bytes);
            }
            Step::There(from, None) => {
                pair.state = PairState::Reading;
                let until = turn.now + interval * PATIENCE;
                let request = self.new_request();
                pair.step = Step::There(from.clone(), Some((request, until)));
                let range = KeyRange { from, to: range.to };
                let examine = Examine { request, shard, range };
                turn.send(with, Message::Examine(examine), After::Now);
                job.due = until;
            }
            Step::There(from, Some((_, until))) => {
                job.due = until;
                if until <= turn.now {
                    pair.step = Step::There(from, None);
                    job.block(Obstacle::Silent, self.repair_rest(), turn.now);
                }
            }
            Step::Compare => {
                pair.state = PairState::Comparing;
                let is_preview = job.asked.mode == RepairMode::Preview;
                let told = Told { job: job.id, is_preview, ..Told::default() };
                let told = Some(Box::new(told));
                // Others have their turn, and it is tried again soon if there is no room.
                job.due = turn.now + interval / 4;
                if let Some(request) = self.begin_comparison((shard, with), range, told, turn) {
                    pair.step = Step::Comparing(request);
                }
            }
            Step::Comparing(request) => {
                let is_under_way = self.trees.comparisons.contains_key(&request);
                job.due = turn.now + interval;
                if !is_under_way && self.trees.done.is_none() {
                    pair.step = Step::Compare;
                    job.block(Obstacle::Silent, self.repair_rest(), turn.now);
                }
            }
        }
    }

    /// The other replica has read a part of what its disk holds.
    pub(crate) fn examined<D: Disk>(
        &mut self,
        from: NodeId,
        examined: Examined,
        turn: &mut Turn<'_, D>,
    ) {
        let Examined { request, leaves } = examined;
        let bytes = leaves.as_ref().map_or(0, |leaves| leaves.bytes);
        let pause = self.pause_for(from, bytes);
        let rest = self.config.limits.exchange_interval / 4;
        let Some(job) = self.trees.job.as_mut().filter(|job| job.is_running()) else { return };
        let Some((at, pair)) = job.at.and_then(|at| Some((at, job.pairs.get_mut(&at)?))) else {
            return;
        };
        let Step::There(asked, Some((awaited, _))) = &pair.step else { return };
        if at.1 != from || *awaited != request {
            return;
        }
        let Some(leaves) = leaves else {
            pair.step = Step::There(asked.clone(), None);
            return job.block(Obstacle::Unread, rest, turn.now);
        };
        // Nobody is asked for the same leaves for ever.
        let is_further = leaves.next.is_none() || *asked < leaves.next;
        pair.figures.read += leaves.keys;
        pair.step = match leaves.next.filter(|_| is_further) {
            Some(next) => Step::There(Some(next), None),
            None => Step::Compare,
        };
        pair.blocked = None;
        job.due = turn.now + pause;
    }

    /// A comparison is over.
    fn hear_done(&mut self, job: &mut Job, done: Done, now: Now) {
        let Done { pair: at, told, outcome, is_to_the_end, .. } = done;
        let (is_preview, is_all) = (job.is_preview(), job.range == KeyRange::ALL);
        let Some(pair) = job.pairs.get_mut(&at).filter(|_| told.job == job.id) else { return };
        pair.step = Step::Compare;
        add(&mut pair.figures, &mut pair.keys, &told);
        if told.brought != 0 || told.sent != 0 || is_to_the_end {
            pair.blocked = None;
        }
        job.at = Some(at);
        if !is_to_the_end {
            pair.breaks += 1;
            return job.block(Obstacle::Silent, self.repair_rest(), now);
        }
        pair.figures.passes += 1;
        if outcome.unsettled == 0 {
            pair.narrow(*told);
        }
        let is_proved = pair.open.as_ref().is_some_and(BTreeSet::is_empty);
        pair.state = match () {
            () if is_preview => PairState::Compared,
            () if is_proved => PairState::Proved,
            () if PASSES_MAX <= pair.figures.passes => PairState::Failed(pair.obstacle()),
            () => PairState::Comparing,
        };
        if is_all && is_proved {
            self.trees.proofs.insert(at, now);
        }
        // What was found may still be on its way; more and more time is given.
        let passes = u32::try_from(pair.figures.passes).unwrap_or(u32::MAX);
        pair.retry = now + self.config.limits.exchange_interval / 4 * passes;
        job.at = None;
    }

    /// How long ago a pair was shown to be equal, since the other one is there.
    fn proven(&self, pair: (ShardId, NodeId), now: Now) -> Option<Duration> {
        let met = self.trees.met.get(&pair.1).copied().unwrap_or(self.started);
        let at = self.trees.proofs.get(&pair).filter(|at| met <= **at);
        at.map(|at| now.since(*at))
    }

    /// How many keys are held here of a range. None, if that cannot be read.
    fn keys_in<D: Disk>(
        &mut self,
        shard: ShardId,
        range: &KeyRange<crate::trees::Place>,
        turn: &Turn<'_, D>,
    ) -> u64 {
        let tables = self.tables_of(shard);
        let kept = self.kept(shard);
        let stored = Stored::new(&*turn.disk, shard, &tables);
        match kept.tree.is_whole() {
            true => kept.tree.summary(range, &stored).map_or(0, |summary| summary.count),
            false => 0,
        }
    }

    fn repair_rest(&self) -> Duration {
        self.config.limits.exchange_interval * REST
    }

    /// What was read is paid for with time, where there are clients.
    fn pause_for(&self, with: NodeId, bytes: u64) -> Duration {
        match self.exchange.is_busy_with(with) {
            true => throttle::time(bytes, self.config.limits.catch_up_rate).max(PAUSE_BUSY),
            false => PAUSE,
        }
    }
}

impl Job {
    /// The pair that has its turn comes no further. It is tried again after a while, and given up
    /// when the patience is over.
    fn block(&mut self, obstacle: Obstacle, rest: Duration, now: Now) {
        let patience = self.asked.patience;
        let Some(pair) = self.at.take().and_then(|at| self.pairs.get_mut(&at)) else { return };
        let since = *pair.blocked.get_or_insert(now);
        let is_given_up = patience <= now.since(since) || BREAKS_MAX <= pair.breaks;
        pair.state = match is_given_up {
            true => PairState::Failed(obstacle),
            false => PairState::Blocked(obstacle),
        };
        pair.retry = now + rest.min(patience);
        self.due = now;
    }
}

impl Pair {
    /// A comparison has found these to differ, and all others to be equal.
    fn narrow(&mut self, told: Told) {
        if is(Mutant::RepairProvedAtOnce) {
            self.open = Some(BTreeSet::new());
        }
        let Told { found, is_more, .. } = told;
        self.open = match self.open.take() {
            // Too many to know that any of them is equal.
            open if is_more => open,
            Some(open) => Some(open.intersection(&found).copied().collect()),
            None => Some(found),
        };
    }

    /// What keeps it from being proved.
    fn obstacle(&self) -> Obstacle {
        match &self.open {
            Some(open) => Obstacle::Differing { keys: open.len() as u64 },
            None => Obstacle::Changing,
        }
    }
}
