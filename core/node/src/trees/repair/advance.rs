//! What a repair does next.

use std::collections::BTreeSet;
use std::time::Duration;

use antientropy::KeyRange;
use model::{NodeId, Now, Obstacle, PairState, RepairMode, RepairState, ShardId};
use mutant::{Mutant, is};

use super::{At, Done, Job, Pair, Step, Told, add};
use crate::exchange::throttle;
use crate::message::{Examine, Examined};
use crate::trees::compare::{PATIENCE, Purpose};
use crate::trees::{PAUSE, PAUSE_BUSY, Place, Stored};
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
        if !self.trees.job.as_ref().is_some_and(Job::is_running) {
            // A comparison that outlived its repair has nobody to tell.
            self.trees.done = None;
            return;
        }
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

    /// Does the next step for the pair that has its turn.
    fn repair_pair<D: Disk>(&mut self, job: &mut Job, at: At, turn: &mut Turn<'_, D>) {
        let (now, interval) = (turn.now, self.config.limits.exchange_interval);
        if !self.membership.is_alive(at.1, now) {
            return job.block(Obstacle::Away, interval * REST, now);
        }
        // Who joins says nothing of what it holds, and takes in nothing that it has not asked for.
        if !self.takes_part() || self.in_force().joining(at.1).is_some() {
            return job.block(Obstacle::Joining, interval * REST, now);
        }
        job.due = now;
        let Some(step) = job.pairs.get(&at).map(|pair| pair.step.clone()) else { return };
        match step {
            Step::Begin => self.begin_pair(job, at, turn),
            Step::Here(from) => self.read_here(job, at, from, turn),
            Step::There(from, None) => self.read_there(job, at, from, turn),
            Step::There(_, Some((_, until))) if now < until => job.due = until,
            Step::There(from, Some(_)) => {
                job.put(at, Step::There(from, None));
                job.block(Obstacle::Silent, interval * REST, now);
            }
            Step::Compare => self.compare_pair(job, at, turn),
            Step::Comparing(request) => {
                let is_under_way = self.trees.comparisons.contains_key(&request);
                job.due = now + interval;
                if !is_under_way && self.trees.done.is_none() {
                    job.put(at, Step::Compare);
                    job.block(Obstacle::Silent, interval * REST, now);
                }
            }
        }
    }

    fn begin_pair<D: Disk>(&mut self, job: &mut Job, at: At, turn: &mut Turn<'_, D>) {
        let reads = job.reads() && !is(Mutant::RepairReadsNothing);
        let is_passed = match job.asked.mode {
            RepairMode::Incremental { age } => self.is_proven_within(at, age, turn.now),
            RepairMode::Full | RepairMode::Preview => false,
        };
        let keys = self.keys_in(at.0, &job.range, turn);
        let from = job.range.from.clone();
        let is_read = job.read.contains(&at.0);
        let Some(pair) = job.pairs.get_mut(&at) else { return };
        pair.figures.keys = keys;
        if is_passed {
            pair.state = PairState::Passed;
            job.at = None;
            return;
        }
        pair.step = match reads {
            true if is_read => Step::There(from, None),
            true => Step::Here(from),
            false => Step::Compare,
        };
        self.repair_pair(job, at, turn);
    }

    /// Reads some of what is held here. Once it is, it is for other pairs of the shard, too.
    fn read_here<D: Disk>(
        &mut self,
        job: &mut Job,
        at: At,
        from: Option<Place>,
        turn: &mut Turn<'_, D>,
    ) {
        let interval = self.config.limits.exchange_interval;
        let range = KeyRange { from, to: job.range.to.clone() };
        let is_busy = self.exchange.is_busy_with(at.1);
        let leaves = match self.read_leaves(at.0, &range, is_busy, turn) {
            Ok(Some(leaves)) => leaves,
            Ok(None) => return job.block(Obstacle::Unread, interval / 4, turn.now),
            Err(_) => return job.block(Obstacle::Disk, interval * REST, turn.now),
        };
        job.due = turn.now + self.pause_for(at.1, leaves.bytes);
        if leaves.next.is_none() {
            job.read.insert(at.0);
        }
        let from = job.range.from.clone();
        let Some(pair) = job.pairs.get_mut(&at) else { return };
        pair.state = PairState::Reading;
        pair.figures.read += leaves.keys;
        pair.step = match leaves.next {
            Some(next) => Step::Here(Some(next)),
            None => Step::There(from, None),
        };
    }

    /// Asks the other replica to read some of what it holds.
    fn read_there<D: Disk>(
        &mut self,
        job: &mut Job,
        at: At,
        from: Option<Place>,
        turn: &mut Turn<'_, D>,
    ) {
        let until = turn.now + self.config.limits.exchange_interval * PATIENCE;
        let request = self.new_request();
        job.put(at, Step::There(from.clone(), Some((request, until))));
        job.due = until;
        let range = KeyRange { from, to: job.range.to.clone() };
        let examine = Examine { request, shard: at.0, range };
        turn.send(at.1, Message::Examine(examine), After::Now);
    }

    fn compare_pair<D: Disk>(&mut self, job: &mut Job, at: At, turn: &mut Turn<'_, D>) {
        let told = Told { job: job.id, is_preview: job.is_preview(), ..Told::default() };
        let (range, purpose) = (job.range.clone(), Purpose::Repair(Box::new(told)));
        // If there is no room for one, it is tried again soon.
        job.due = turn.now + self.config.limits.exchange_interval / 4;
        let step = self.begin_comparison(at, range, purpose, turn).map(Step::Comparing);
        let Some(pair) = job.pairs.get_mut(&at) else { return };
        pair.state = PairState::Comparing;
        pair.step = step.unwrap_or(Step::Compare);
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
            return job.block(Obstacle::Silent, self.config.limits.exchange_interval * REST, now);
        }
        pair.figures.passes += 1;
        if outcome.unsettled == 0 {
            pair.narrow(*told);
        }
        let is_proved = pair.open.as_ref().is_some_and(BTreeSet::is_empty);
        pair.state = match () {
            () if is_preview && outcome.unsettled == 0 => PairState::Compared,
            () if is_proved => PairState::Proved,
            () if PASSES_MAX <= pair.figures.passes => PairState::Failed(pair.obstacle()),
            () => PairState::Comparing,
        };
        if is_all && is_proved {
            if outcome.differences == 0 || self.may_put_back(at.0, Some(at.1)) {
                self.lacks_nothing_of(at.0, at.1);
            }
            self.trees.show_equal(at.0, at.1, now);
        }
        // What was found may still be on its way; more and more time is given.
        let passes = u32::try_from(pair.figures.passes).unwrap_or(u32::MAX);
        pair.retry = now + self.config.limits.exchange_interval / 4 * passes;
        job.at = None;
    }

    /// Whether a pair was shown to be equal lately, and since the other one is there.
    fn is_proven_within(&self, at: At, age: Duration, now: Now) -> bool {
        let met = self.trees.met.get(&at.1).copied().unwrap_or(self.started);
        let equal = self.trees.equals.get(&at).filter(|equal| met <= **equal);
        equal.is_some_and(|equal| now.since(*equal) <= age)
    }

    /// How many keys are held here of a range. None, if that cannot be read.
    fn keys_in<D: Disk>(
        &mut self,
        shard: ShardId,
        range: &KeyRange<Place>,
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

    /// What was read is paid for with time, where there are clients.
    fn pause_for(&self, with: NodeId, bytes: u64) -> Duration {
        match self.exchange.is_busy_with(with) {
            true => throttle::time(bytes, self.config.limits.catch_up_rate).max(PAUSE_BUSY),
            false => PAUSE,
        }
    }
}

impl Job {
    fn put(&mut self, at: At, step: Step) {
        if let Some(pair) = self.pairs.get_mut(&at) {
            (pair.state, pair.step) = (step.state(), step);
        }
    }

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
