//! Comparing a shard with another replica, and bringing each other what differs.
//!
//! ```text
//! n1 ◄──Clocks: s7 is 5e1f.. and sums up to 90c2..── n2     the same clock, another sum
//! n1 ──Compare  sums of ranges────────────────────► n2      n1 asks, as the lesser number
//! n1 ◄──────────Compared  two keys differ───────── n2
//! n1 ──Bring "tea"────────────────────────────────► n2      what n2 holds, first
//! n1 ◄───────────────────────Merge "tea"────────── n2
//! n1 ──Merge "rum"────────────────────────────────► n2      what only n1 holds, and what n1
//!                                                           holds besides what n2 does
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

use std::collections::{BTreeSet, VecDeque};

use antientropy::{Difference, Exchange, KeyRange, Limits, Outcome, respond};
use model::{Address, NodeId, Now, ShardId};
use mutant::{Mutant, is};

use crate::exchange::acks::Trust;
use crate::exchange::throttle;
use crate::message::{Compare, Compared};
use crate::trees::pages::Pages;
use crate::trees::repair::Told;
use crate::trees::{Place, Stored};
use crate::{After, Disk, Message, Node, RequestId, Turn};

/// How many comparisons of this node are under way at once.
const COMPARISONS_MAX: usize = 16;
const COMPARISONS_MAX_BUSY: usize = 1;
/// A node with a new disk serves nobody, and the cluster has one replica less until it does.
const COPIES_MAX_BUSY: usize = 4;

/// The most questions of one comparison. Only of a peer that makes up new ranges for ever there are
/// more.
const ROUNDS_MAX: u64 = 20_000;

/// How many intervals of the clock exchange an answer is waited for, or the next object.
pub(crate) const PATIENCE: u32 = 4;

/// After how many intervals a comparison is tried again that has found nothing, and one that came
/// to no end.
const REST: u32 = 5;
const REST_BROKEN_OFF: u32 = 2;

/// How much one message may ask, and how much is read to answer it: some milliseconds.
const LIMITS: Limits = Limits { ranges_max: 256, bytes_max: 128 << 10, items_max: 8_192 };
const LIMITS_BUSY: Limits = Limits { ranges_max: 16, bytes_max: 16 << 10, items_max: 512 };

/// Why a comparison is made.
pub(crate) enum Purpose {
    /// It began by itself.
    Itself,
    /// A new disk is filled.
    Copy,
    /// A repair is to be told what comes of it.
    Repair(Box<Told>),
}

/// One comparison that this node has begun.
#[derive(Debug)]
pub(crate) struct Comparison {
    pub(crate) shard: ShardId,
    pub(crate) with: NodeId,
    /// Whether everything that the other one holds is copied to a new disk.
    pub(crate) is_copy: bool,
    exchange: Exchange<Place>,
    /// What is left to be copied page by page, where comparing came to no end.
    pub(crate) pages: Option<Pages>,
    pub(crate) found: VecDeque<Difference<Place>>,
    /// What was asked for last, in this order.
    pub(crate) asked: Vec<Address>,
    /// Objects that were asked for and have not come.
    pub(crate) awaited: BTreeSet<Address>,
    /// How many of those that were asked for last have come.
    pub(crate) brought: usize,
    /// What was brought and sent since the last step, in bytes.
    pub(crate) weight: u64,
    /// When it goes on. Nothing while an answer is waited for.
    pub(crate) resumes: Option<Now>,
    /// When it is given up, if no answer comes.
    pub(crate) until: Now,
    /// Whether a part of the answers could not be used: it comes to no end.
    pub(crate) is_cut_short: bool,
    /// What it is to tell a repair. Nothing if it began by itself.
    pub(crate) told: Option<Box<Told>>,
}

impl Comparison {
    pub(crate) fn wake_at(&self) -> Option<Now> {
        self.resumes
    }

    /// Whether everything that was found is settled, as far as this node can tell.
    fn is_settled(&self) -> bool {
        self.found.is_empty() && self.awaited.is_empty()
    }

    /// What it has come to so far.
    pub(crate) fn outcome(&self) -> Outcome {
        self.exchange.outcome()
    }

    /// How many ranges are left to be asked about.
    pub(crate) fn ranges_left(&self) -> u64 {
        self.exchange.left() as u64
    }

    /// An object has gone. Nothing has, if it has no bytes.
    pub(crate) fn sent(&mut self, bytes: u64) {
        self.weight += throttle::cost(bytes);
        if let Some(told) = self.told.as_mut().filter(|_| bytes != 0) {
            told.sent += 1;
            told.bytes += bytes;
        }
    }

    /// An object has come.
    pub(crate) fn came(&mut self, bytes: u64) {
        if let Some(told) = &mut self.told {
            told.brought += 1;
            told.bytes += bytes;
        }
    }

    /// What differs is to be settled; in a preview it is only told of.
    fn find(&mut self, found: Vec<Difference<Place>>) {
        match &mut self.told {
            Some(told) => {
                told.note(&found);
                self.found.extend(found.into_iter().filter(|_| !told.is_preview));
            }
            None => self.found.extend(found),
        }
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
            self.lacks_nothing_of(shard, with);
            return self.trees.show_equal(shard, with, turn.now);
        }
        let last = self.trees.proofs.get(&(shard, with)).copied().unwrap_or(self.started);
        let is_overdue = self.config.limits.repair_interval < turn.now.since(last);
        let is_resting =
            self.trees.resting.get(&(shard, with)).is_some_and(|until| turn.now < *until);
        let is_ours = self.config.id < with;
        let interval = self.config.limits.exchange_interval;
        let tombstones = self.shards.get(&shard).map(|kept| &kept.tombstones);
        let is_alike = tombstones.is_some_and(|tombstones| tombstones.differ(turn.now, interval));
        let is_same_clock = is_same_clock && !is_alike;
        // A suspect asks by itself. To be asked meanwhile would bring it everything twice.
        let asks = self.exchange.acks.trust_in(shard, with) == Trust::Suspect;
        let is_new = is_same_clock && (!asks || self.is_suspect(shard));
        let is_due = is_ours && (is_new || is_overdue) || self.needs_more(shard, with);
        if is_due && !is_resting && !is(Mutant::NothingCompared) {
            self.begin_comparison((shard, with), KeyRange::ALL, Purpose::Itself, turn);
        }
    }

    /// Whether logs do not reach back to what one of the two lacks, as far as this node knows.
    fn needs_more(&self, shard: ShardId, with: NodeId) -> bool {
        self.exchange.marks.contains(&(shard, with)) || self.exchange.acks.has_gaps(shard, with)
    }

    /// Begins one, if there is room. Returns its number.
    pub(crate) fn begin_comparison<D: Disk>(
        &mut self,
        (shard, with): (ShardId, NodeId),
        range: KeyRange<Place>,
        purpose: Purpose,
        turn: &mut Turn<'_, D>,
    ) -> Option<RequestId> {
        let (is_copy, told) = match purpose {
            Purpose::Itself => (false, None),
            Purpose::Copy => (true, None),
            Purpose::Repair(told) => (false, Some(told)),
        };
        let active = &self.trees.comparisons;
        let is_compared = active.values().any(|comparison| comparison.shard == shard);
        let (limits, max) = match self.exchange.is_busy_with(with) {
            true if is_copy => (LIMITS_BUSY, COPIES_MAX_BUSY),
            true => (LIMITS_BUSY, COMPARISONS_MAX_BUSY),
            false => (LIMITS, COMPARISONS_MAX),
        };
        if is_compared || max <= active.len() {
            return None;
        }
        let comparison = Comparison {
            shard,
            with,
            is_copy,
            exchange: Exchange::new(range, limits),
            pages: None,
            found: VecDeque::new(),
            asked: Vec::new(),
            awaited: BTreeSet::new(),
            brought: 0,
            weight: 0,
            resumes: None,
            until: turn.now,
            is_cut_short: false,
            told,
        };
        self.counts.comparisons += 1;
        let request = self.new_request();
        self.go_on(request, comparison, turn);
        Some(request)
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
        let is_over = |_: &RequestId, comparison: &mut Comparison| {
            comparison.resumes.is_none() && comparison.until <= now
        };
        let over: Vec<_> = self.trees.comparisons.extract_if(.., is_over).collect();
        over.into_iter().for_each(|(_, comparison)| self.break_off(comparison, now));
    }

    /// A comparison came to no end. The next begins after a while, so that others have their turn.
    pub(crate) fn break_off(&mut self, comparison: Comparison, now: Now) {
        if comparison.told.is_some() {
            return self.trees.ended(comparison, false, now);
        }
        let rest = self.config.limits.exchange_interval * REST_BROKEN_OFF;
        self.trees.resting.insert((comparison.shard, comparison.with), now + rest);
    }

    /// How many more shards can be copied from a node at once.
    pub(crate) fn copies_left(&self, from: NodeId) -> usize {
        let is_busy = self.exchange.is_busy_with(from);
        let max = if is_busy { COPIES_MAX_BUSY } else { COMPARISONS_MAX };
        max.saturating_sub(self.trees.comparisons.len())
    }

    /// Whether this node has asked that one for an object, under this name, and it has not come.
    pub(crate) fn awaits(&self, from: NodeId, request: RequestId, address: &Address) -> bool {
        let found = self.trees.comparisons.get(&request);
        found.is_some_and(|comparison| {
            comparison.with == from && comparison.awaited.contains(address)
        })
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
            if comparison.awaited.is_empty() {
                self.pause(&mut comparison, turn.now);
            }
            self.trees.comparisons.insert(request, comparison);
            return;
        }
        if comparison.is_cut_short {
            return self.break_off(comparison, turn.now);
        }
        if comparison.pages.is_some() {
            return self.ask_page(comparison, turn);
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
            Ok(None) => self.compared_all(comparison, turn),
            // The tree is read anew, or cannot be read. It will be tried again.
            Err(_) => self.break_off(comparison, turn.now),
        }
    }

    /// Every range was looked at. If some differed and nothing in them did, one of the trees may
    /// not say what is stored: ours is looked at now.
    fn compared_all<D: Disk>(&mut self, comparison: Comparison, turn: &mut Turn<'_, D>) {
        let now = turn.now;
        let outcome = comparison.outcome();
        let (shard, with) = (comparison.shard, comparison.with);
        if comparison.told.is_some() {
            return self.trees.ended(comparison, true, now);
        }
        if comparison.is_copy && outcome.unsettled == 0 {
            return self.copied(shard, with, turn);
        }
        if comparison.is_copy {
            let pages = Some(Pages::new(self.tables_of(shard)));
            return self.ask_page(Comparison { pages, ..comparison }, turn);
        }
        let is_to_the_end = outcome.unsettled == 0 && outcome.vanished == 0;
        // What was brought by one that is suspect may have been left out.
        let is_taken = outcome.differences == 0 || self.may_put_back(shard, Some(with));
        if is_to_the_end && is_taken {
            self.lacks_nothing_of(shard, with);
        }
        if is_to_the_end && outcome.differences == 0 {
            self.trees.show_equal(shard, with, now);
        } else if is_to_the_end {
            self.trees.proofs.insert((shard, with), now);
        }
        if outcome.vanished != 0 {
            self.hurry_scrub(shard, now);
        }
        if !is_to_the_end || !is_taken || self.needs_more(shard, with) {
            let rest = self.config.limits.exchange_interval * REST;
            self.trees.resting.insert((shard, with), now + rest);
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
        self.kept(*shard);
        let Some(kept) = self.shards.get(shard) else { return };
        // Whoever asks may be less busy than this node.
        let (ranges_max, items_max) = (LIMITS.ranges_max, kept.scrub.in_one_step(limits.items_max));
        let limits = Limits { ranges_max, items_max, ..limits };
        let stored = Stored::new(&*turn.disk, *shard, &tables);
        let answers = respond(&kept.tree, &stored, questions, &limits).ok();
        if answers.as_ref().is_some_and(|answers| answers.contradict(questions)) {
            self.hurry_scrub(*shard, turn.now);
        }
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
            let round = comparison.outcome().rounds;
            comparison.with == from
                && comparison.resumes.is_none()
                && comparison.is_settled()
                && answers.as_ref().is_none_or(|answers| answers.round == round)
        };
        if !self.trees.comparisons.get(&request).is_some_and(is_awaited) {
            return;
        }
        let Some(mut comparison) = self.trees.comparisons.remove(&request) else { return };
        let is_too_long = ROUNDS_MAX < comparison.outcome().rounds;
        let Some(answers) = answers.filter(|_| !is_too_long) else {
            return self.break_off(comparison, turn.now);
        };
        let shard = comparison.shard;
        let tables = self.tables_of(shard);
        let Some(kept) = self.shards.get(&shard) else { return };
        let stored = Stored::new(&*turn.disk, shard, &tables);
        let mut found = Vec::new();
        let heard = comparison.exchange.step(answers, &kept.tree, &stored, &mut found);
        self.counts.differences += found.len() as u64;
        comparison.find(found);
        // What it has found is true all the same, and is settled first.
        comparison.is_cut_short = heard.is_err();
        self.go_on(request, comparison, turn);
    }
}
