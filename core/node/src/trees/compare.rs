//! Comparing a shard with another replica, and bringing each other what differs.
//!
//! ```text
//! n1 ◄──Clocks: s7 is 5e1f.. and sums up to 90c2..── n2     the same clock, another sum
//! n1 ──Compare  sums of ranges────────────────────► n2      n1 asks, as the lesser number
//! n1 ◄──────────Compared  two keys differ───────── n2
//! n1 ──Bring "tea"────────────────────────────────► n2      what n2 holds, first
//! n1 ◄───────────────────────Merge "tea"────────── n2
//! n1 ──Merge "rum"────────────────────────────────► n2      what only n1 holds, and what n1
//!                                                           holds besides what came
//! ```
//!
//! Objects that were found this way are merged as [repairs](replica::Replica::repair): one may be
//! put back that was here before, and was lost.
//!
//! **When.** Where clocks are equal and sums are not; and where the logs cannot bring what is
//! missing, because it was dropped from them, or never was in them. A shard that is written
//! all the time may never be seen with equal clocks: if nothing was proven of it for long, it
//! is compared anyway, and what is on its way then is brought once more than needed.
//!
//! **Beside clients.** One comparison of a shard at a time, and few of all; differences are
//! settled some at a time, and while there are clients what is brought is paid for with time, like
//! everything else that is brought up to date.
//!
//! A message that is lost ends a comparison after a while, and the next clocks that differ
//! begin another. What it had found is settled by then.

use std::collections::VecDeque;
use std::time::Duration;

use antientropy::{Difference, Digest, Exchange, KeyRange, Limits, respond};
use model::{Address, NodeId, Now, Object, ShardId};
use mutant::{Mutant, is};

use crate::exchange::throttle;
use crate::message::{Bring, Compare, Compared};
use crate::trees::{Place, Stored};
use crate::{After, Cause, Disk, Merge, Message, Node, RequestId, Turn};

/// How many comparisons of this node are under way at once.
const COMPARISONS_MAX: usize = 16;
const COMPARISONS_MAX_BUSY: usize = 4;

/// How many differences are settled at once.
const SETTLED_AT_ONCE: usize = 256;
const SETTLED_AT_ONCE_BUSY: usize = 32;

/// How many intervals of the clock exchange an answer is waited for, or the next object.
const PATIENCE: u32 = 4;

/// After how many intervals a comparison that has found nothing is tried again.
const REST: u32 = 10;

/// How much one message may ask, and how much is read to answer it: some milliseconds.
const LIMITS: Limits = Limits { ranges_max: 256, bytes_max: 128 << 10, items_max: 8_192 };
const LIMITS_BUSY: Limits = Limits { ranges_max: 16, bytes_max: 16 << 10, items_max: 512 };

/// How long everybody else has the node between two steps.
const PAUSE: Duration = Duration::from_micros(100);

/// Questions with more ranges are of nobody.
const RANGES_MAX: usize = 4_096;

/// One comparison that this node has begun.
#[derive(Debug)]
pub(crate) struct Comparison {
    shard: ShardId,
    with: NodeId,
    exchange: Exchange<Place>,
    found: VecDeque<Difference<Place>>,
    /// Objects that were asked for and have not come.
    awaited: usize,
    /// How many of those that were asked for last have come.
    brought: usize,
    /// What was brought and sent since the last step, in bytes.
    weight: u64,
    /// When it goes on. Nothing while an answer is waited for.
    resumes: Option<Now>,
    /// When it is given up, if no answer comes.
    until: Now,
}

impl Comparison {
    pub(crate) fn wake_at(&self) -> Option<Now> {
        self.resumes
    }

    /// Whether everything that was found is settled, as far as this node can tell.
    fn is_settled(&self) -> bool {
        self.found.is_empty() && self.awaited == 0
    }
}

impl Node {
    /// Another replica of a shard has told a sum, with a clock that is like ours or not.
    pub(crate) fn summed<D: Disk>(
        &mut self,
        (shard, with): (ShardId, NodeId),
        theirs: Option<u64>,
        is_same_clock: bool,
        turn: &mut Turn<'_, D>,
    ) {
        let (Some(ours), Some(theirs)) = (self.tree_sum(shard), theirs) else { return };
        if ours == theirs {
            if is_same_clock {
                self.trees.proofs.insert((shard, with), turn.now);
            }
            return;
        }
        let last = self.trees.proofs.get(&(shard, with)).copied().unwrap_or(self.started);
        let is_overdue = self.config.limits.repair_interval < turn.now.since(last);
        let is_resting =
            self.trees.resting.get(&(shard, with)).is_some_and(|until| turn.now < *until);
        let is_ours = self.config.id < with;
        let is_due = is_ours && (is_same_clock || is_overdue) || self.needs_more(shard, with);
        if is_due && !is_resting && !is(Mutant::NothingCompared) {
            self.begin_comparison(shard, with, turn);
        }
    }

    /// Whether logs do not reach back to what one of the two lacks, as far as this node knows.
    fn needs_more(&self, shard: ShardId, with: NodeId) -> bool {
        self.exchange.marks.contains(&(shard, with)) || self.exchange.acks.has_gaps(shard, with)
    }

    fn begin_comparison<D: Disk>(&mut self, shard: ShardId, with: NodeId, turn: &mut Turn<'_, D>) {
        let active = &self.trees.comparisons;
        let is_compared = active.values().any(|comparison| comparison.shard == shard);
        let (limits, max) = match self.exchange.is_busy_with(with) {
            true => (LIMITS_BUSY, COMPARISONS_MAX_BUSY),
            false => (LIMITS, COMPARISONS_MAX),
        };
        if is_compared || max <= active.len() {
            return;
        }
        let comparison = Comparison {
            shard,
            with,
            exchange: Exchange::new(KeyRange::ALL, limits),
            found: VecDeque::new(),
            awaited: 0,
            brought: 0,
            weight: 0,
            resumes: None,
            until: turn.now,
        };
        self.counts.comparisons += 1;
        let request = self.new_request();
        self.go_on(request, comparison, turn);
    }

    /// Goes on with comparisons whose time has come.
    pub(crate) fn compare<D: Disk>(&mut self, turn: &mut Turn<'_, D>) {
        let is_due = |comparison: &Comparison| comparison.resumes.is_some_and(|at| at <= turn.now);
        let due = self.trees.comparisons.iter().filter(|(_, comparison)| is_due(comparison));
        let due: Vec<RequestId> = due.map(|(request, _)| *request).collect();
        for request in due {
            if let Some(comparison) = self.trees.comparisons.remove(&request) {
                self.go_on(request, comparison, turn);
            }
        }
    }

    /// Gives up comparisons that are not answered.
    pub(crate) fn expire_comparisons(&mut self, now: Now) {
        self.trees
            .comparisons
            .retain(|_, comparison| comparison.resumes.is_some() || now < comparison.until);
    }

    /// A node can answer no more.
    pub(crate) fn comparisons_lost(&mut self, node: NodeId) {
        self.trees.comparisons.retain(|_, comparison| comparison.with != node);
    }

    /// Settles some of what was found, or asks the next questions.
    fn go_on<D: Disk>(
        &mut self,
        request: RequestId,
        mut comparison: Comparison,
        turn: &mut Turn<'_, D>,
    ) {
        comparison.resumes = None;
        comparison.until = turn.now + self.config.limits.exchange_interval * PATIENCE;
        if !comparison.is_settled() {
            self.settle(request, &mut comparison, turn);
            if comparison.awaited == 0 {
                self.pause(&mut comparison, turn.now);
            }
            self.trees.comparisons.insert(request, comparison);
            return;
        }
        let shard = comparison.shard;
        let tables = self.tables_of(shard);
        let Some(kept) = self.shards.get(&shard) else { return };
        let stored = Stored::new(&*turn.disk, shard, &tables);
        match comparison.exchange.ask(&kept.tree, &stored) {
            Ok(Some(questions)) => {
                let compare = Compare { request, shard, questions };
                turn.send(comparison.with, Message::Compare(compare), After::Now);
                self.trees.comparisons.insert(request, comparison);
            }
            Ok(None) => self.compared_all(&comparison, turn.now),
            // The tree is read anew, or cannot be read. It will be tried again.
            Err(_) => {}
        }
    }

    /// Every range was looked at. If nothing was found, something is wrong with one of the trees,
    /// which its scrub will find.
    fn compared_all(&mut self, comparison: &Comparison, now: Now) {
        let outcome = comparison.exchange.outcome();
        let pair = (comparison.shard, comparison.with);
        self.counts.differences += outcome.differences;
        if outcome.unsettled == 0 {
            self.trees.proofs.insert(pair, now);
        }
        let is_in_vain = outcome.differences == 0 && outcome.vanished != 0;
        if is_in_vain || self.needs_more(comparison.shard, comparison.with) {
            let rest = self.config.limits.exchange_interval * REST;
            self.trees.resting.insert(pair, now + rest);
        }
    }

    /// Answers questions about the tree of a shard. Nothing is said while it is being read.
    pub(crate) fn answer_questions<D: Disk>(
        &mut self,
        from: NodeId,
        compare: &Compare,
        turn: &mut Turn<'_, D>,
    ) {
        let Compare { request, shard, questions } = compare;
        if !self.is_shared(*shard, from) {
            return;
        }
        let tables = self.tables_of(*shard);
        let limits = if self.exchange.is_busy_with(from) { LIMITS_BUSY } else { LIMITS };
        let limits = Limits { ranges_max: RANGES_MAX, ..limits };
        self.kept(*shard);
        let Some(kept) = self.shards.get(shard) else { return };
        let stored = Stored::new(&*turn.disk, *shard, &tables);
        let answers = respond(&kept.tree, &stored, questions, &limits).ok();
        let compared = Compared { request: *request, answers };
        turn.send(from, Message::Compared(compared), After::Now);
    }

    /// Another replica has answered questions about its tree.
    pub(crate) fn hear_answers<D: Disk>(
        &mut self,
        from: NodeId,
        compared: Compared,
        turn: &mut Turn<'_, D>,
    ) {
        let Compared { request, answers } = compared;
        // What comes twice would be asked on twice, and then four times.
        let is_awaited = |comparison: &Comparison| {
            let round = comparison.exchange.outcome().rounds;
            comparison.with == from
                && comparison.resumes.is_none()
                && comparison.is_settled()
                && answers.as_ref().is_none_or(|answers| answers.round == round)
        };
        if !self.trees.comparisons.get(&request).is_some_and(is_awaited) {
            return;
        }
        let Some(mut comparison) = self.trees.comparisons.remove(&request) else { return };
        let Some(answers) = answers else { return };
        let shard = comparison.shard;
        let tables = self.tables_of(shard);
        let Some(kept) = self.shards.get(&shard) else { return };
        let stored = Stored::new(&*turn.disk, shard, &tables);
        let mut found = Vec::new();
        let heard = comparison.exchange.step(answers, &kept.tree, &stored, &mut found);
        comparison.found.extend(found);
        if heard.is_ok() || !comparison.found.is_empty() {
            self.go_on(request, comparison, turn);
        }
    }

    /// Asks for what the other one holds of some keys, and sends what only this one does.
    fn settle<D: Disk>(
        &mut self,
        request: RequestId,
        comparison: &mut Comparison,
        turn: &mut Turn<'_, D>,
    ) {
        let with = comparison.with;
        let most = match self.exchange.is_busy_with(with) {
            true => SETTLED_AT_ONCE_BUSY,
            false => SETTLED_AT_ONCE,
        };
        let bytes_max = self.config.limits.exchange_bytes_max as u64;
        let mut wanted = Vec::new();
        for _ in 0..most {
            if bytes_max < comparison.weight {
                break;
            }
            let Some(difference) = comparison.found.pop_front() else { break };
            let Difference { key: Place(address), theirs, .. } = difference;
            if theirs.is_some() {
                wanted.push(address);
            } else if !is(Mutant::OnlyOursKeptBack) {
                comparison.weight +=
                    send_repair(RequestId::NOBODY, comparison.shard, address, with, turn);
            }
        }
        (comparison.awaited, comparison.brought) = (wanted.len(), 0);
        if !wanted.is_empty() {
            let bring = Bring { request, shard: comparison.shard, addresses: wanted };
            turn.send(with, Message::Bring(bring), After::Now);
        }
    }

    /// Brings what this node holds under some keys, up to so many bytes. Whoever asked counts the
    /// answers, so that nothing is an answer, too: for now, nothing.
    pub(crate) fn bring<D: Disk>(&self, from: NodeId, bring: Bring, turn: &mut Turn<'_, D>) {
        let Bring { request, shard, addresses } = bring;
        if !self.is_shared(shard, from) {
            return;
        }
        let mut left = self.config.limits.exchange_bytes_max as u64;
        for address in addresses.into_iter().take(SETTLED_AT_ONCE) {
            let weight = match left {
                0 => send(request, address, Object::default(), from, turn),
                _ => send_repair(request, shard, address, from, turn),
            };
            left = left.saturating_sub(weight);
        }
    }

    /// Takes in an object that a comparison has found. If more is held here, it goes back.
    pub(crate) fn take_repair<D: Disk>(
        &mut self,
        from: NodeId,
        merge: Merge,
        shard: ShardId,
        turn: &mut Turn<'_, D>,
    ) {
        let Merge { request, address, object, .. } = merge;
        let (weight, is_nothing) = (throttle::weight(&object), object.is_bottom());
        let repaired = self.mend(shard, &address, object, turn);
        let Some(comparison) = self.trees.comparisons.get_mut(&request) else { return };
        if comparison.with != from || comparison.awaited == 0 {
            return;
        }
        comparison.awaited -= 1;
        if is_nothing {
            // It was too much for once. The digest only says that something is held.
            let (key, theirs) = (Place(address.clone()), Some(Digest(0)));
            comparison.found.push_back(Difference { key, ours: None, theirs });
        } else {
            comparison.brought += 1;
        }
        comparison.weight += weight;
        comparison.until = turn.now + self.config.limits.exchange_interval * PATIENCE;
        let is_ahead = repaired.is_ok_and(|repaired| repaired.is_ahead);
        if is_ahead && !is(Mutant::AheadKeptBack) {
            comparison.weight += send_repair(RequestId::NOBODY, shard, address, from, turn);
        }
        if comparison.awaited == 0
            && let Some(mut comparison) = self.trees.comparisons.remove(&request)
            && comparison.brought != 0
        {
            self.pause(&mut comparison, turn.now);
            self.trees.comparisons.insert(request, comparison);
        }
    }

    /// The next step is made when what was brought is paid for.
    fn pause(&self, comparison: &mut Comparison, now: Now) {
        let bytes = std::mem::take(&mut comparison.weight);
        let pause = match self.exchange.is_busy_with(comparison.with) {
            true => throttle::time(bytes, self.config.limits.catch_up_rate),
            false => PAUSE,
        };
        comparison.resumes = Some(now + pause.max(PAUSE));
    }
}

/// Sends what is held under a key; nothing, if it cannot be read. Returns what it counts for.
fn send_repair<D: Disk>(
    request: RequestId,
    shard: ShardId,
    address: Address,
    to: NodeId,
    turn: &mut Turn<'_, D>,
) -> u64 {
    let object = turn.disk.object(shard, &address).ok().flatten().unwrap_or_default();
    send(request, address, object, to, turn)
}

fn send<D: Disk>(
    request: RequestId,
    address: Address,
    object: Object,
    to: NodeId,
    turn: &mut Turn<'_, D>,
) -> u64 {
    let weight = throttle::weight(&object);
    let (sync, cause) = (false, Cause::Repair);
    let merge = Merge { request, address, object, sync, cause, stands_for: None };
    turn.send(to, Message::Merge(merge), After::Now);
    weight
}
