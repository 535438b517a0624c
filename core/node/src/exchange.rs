//! Clock exchange: replicas bring each other up to date without a read.
//!
//! A replica misses writes: it was down, cut off, or the network lost a message. Nobody can
//! be sure to have told it everything, and nobody has to remember what was not told. The clock
//! of each replica says exactly which writes it has, so comparing clocks says exactly
//! which it lacks, and the log of whoever has them says under which keys they are.
//!
//! ```text
//! every second  n1 ──Clocks: s7 is 5e1f..──► n2        s7 is 5e1f.. here, too: done, and
//!                                                      said in few bytes from then on (alike.rs)
//!                                            n2        s7 is something else here: n2 asks
//!               n1 ◄──Lack: s7, my clock──── n2        up to so many bytes, and many shards
//!                                                      in one (grouped.rs)
//!               n1 ──Merge "map"───────────► n2        each key once, as it is at this moment;
//!               n1 ──Sent: "tea", "rum";───► n2        small ones all in one
//!                    goes on at a7             n2        n2 asks again, at its own pace
//! ```
//!
//! **Pull.** Who lacks something asks for it. A node that was away for an hour is the one that
//! knows how much it can bear beside its clients, so it says how much is sent at once, and
//! when. A lost message costs one interval, and every message can arrive twice.
//!
//! **Evidence.** An object is sent only for dots that it carries, as a value or in its
//! context (R4). The log may name a key whose record was lost; then the dot stays a *gap*,
//! which is counted, and closed only by a replica that can produce it.
//!
//! **State never overtakes data (R11).** Clocks are sent when what they speak of is on disk,
//! behind the data on the same stream. A node may rely on them for ever: see [`acks`].
//!
//! What it does not do: it does not look at values, and it does not find what a disk has lost
//! while the clock still speaks of it. Hash trees have to find that.
//!
//! Source: clocks per shard instead of trees after DottedDB (Goncalves et al., SRDS 2017);
//! hints as places in the log after Cassandra's mutation tracking (CEP-45).

pub(crate) mod acks;
pub(crate) mod alike;
pub(crate) mod blockers;
pub(crate) mod grouped;
pub(crate) mod owed;
pub(crate) mod prune;
pub(crate) mod pulls;
pub(crate) mod reap;
pub(crate) mod throttle;
pub(crate) mod trim;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use antientropy::{Salt, Tree};
use causality::{Dot, DotSet};
use model::{Lag, NodeId, Now, ShardId};
use mutant::{Mutant, is};
use rand::RngExt;
use replica::{Replica, Sum};
use xxhash_rust::xxh3::Xxh3;

use crate::message::{Clocks, Lack, Stamp, Sums};
use crate::trees::{Account, Place, Scrub, Watched};
use crate::{After, Disk, Message, Node, Turn};
use acks::Acks;
use alike::Said;
use prune::Lines;
use pulls::{Price, Pulls};
use reap::Tombstones;
use trim::Contexts;

/// The stamps remembered. An echo that takes longer than so many intervals says nothing.
const STAMPS_MAX: usize = 64;

/// What this node knows of the clocks of others, and what it asks them for.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) acks: Acks,
    pub(crate) pulls: Pulls,
    /// When the others are told about clocks next.
    due: Now,
    /// Our own last stamps, and when they were made.
    stamps: VecDeque<(Stamp, Now)>,
    /// The last stamp heard from each node.
    echoes: BTreeMap<NodeId, Stamp>,
    said: Said,
    /// Messages of clients' requests since the last round, to see how busy this node is.
    pub(crate) served: u64,
    is_busy: bool,
    /// When the logs are looked through next, and from which shard on, while there is something
    /// to drop.
    pruning: Option<(Now, ShardId)>,
    /// Replicas that lack a write of which the line was dropped, as it is on disk.
    pub(crate) marks: BTreeSet<(ShardId, NodeId)>,
    /// Dots of which the line was dropped although somebody may lack them.
    pub(crate) dropped: u64,
}

/// A shard that this node keeps.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) replica: Replica,
    /// What the clock comes to, until it changes.
    hash: Option<u64>,
    pub(crate) lines: Lines,
    pub(crate) tombstones: Tombstones,
    pub(crate) contexts: Contexts,
    pub(crate) tree: Tree<Place>,
    pub(crate) scrub: Scrub,
    pub(crate) account: Account,
}

impl Kept {
    /// The shard as it was found. What its disk holds has to be read first.
    pub(crate) fn new(
        replica: Replica,
        salt: Salt,
        context_runs_max: usize,
        sum: Option<Sum>,
    ) -> Self {
        let account = Account::found(sum, &salt, replica.clock().is_empty());
        let lines = Lines::found(replica.clock());
        let (tree, scrub) = (Tree::unread(salt), Scrub::default());
        let (tombstones, contexts) = (Tombstones::default(), Contexts::new(context_runs_max));
        Self { replica, hash: None, lines, tombstones, contexts, tree, scrub, account }
    }

    /// Changes the replica, on a disk that tells the tree.
    pub(crate) fn change<D: Disk, T>(
        &mut self,
        disk: &mut D,
        change: impl FnOnce(&mut Replica, &mut Watched<'_, D>) -> T,
    ) -> T {
        self.hash = None;
        let Self { replica, tree, tombstones, contexts, account, .. } = self;
        let done = change(replica, &mut Watched::new(disk, tree, (tombstones, contexts), account));
        if replica.take_missed() {
            account.miss();
        }
        done
    }

    /// What is told of it, if anything was ever written to it.
    fn sums(&mut self, shard: ShardId) -> Option<Sums> {
        let tree = self.tree.total().map(|total| total.sum);
        let is_suspect = self.account.suspicion().is_some();
        let is_told = !self.replica.clock().is_empty();
        is_told.then(|| Sums { shard, clock: self.hash(), tree, is_suspect })
    }

    fn hash(&mut self) -> u64 {
        let clock = self.replica.clock();
        *self.hash.get_or_insert_with(|| hash(clock))
    }
}

/// What a clock comes to. Part of what nodes say to each other: it must not change.
fn hash(clock: &DotSet) -> u64 {
    let mut hash = Xxh3::new();
    for run in clock.runs() {
        hash.update(&run.incarnation.bits().to_le_bytes());
        hash.update(&run.first.to_le_bytes());
        hash.update(&run.last.to_le_bytes());
    }
    hash.digest()
}

impl Exchange {
    /// Begins a while after the start. The first stamp is drawn, so that echoes of a former life
    /// say nothing.
    pub(crate) fn new(now: Now, first: u64) -> Self {
        Self {
            acks: Acks::default(),
            pulls: Pulls::default(),
            due: now,
            stamps: VecDeque::from([(Stamp(first), now)]),
            echoes: BTreeMap::new(),
            said: Said::default(),
            served: 0,
            is_busy: false,
            pruning: None,
            marks: BTreeSet::new(),
            dropped: 0,
        }
    }

    /// When [`Node::exchange`] or [`Node::prune`] has something to do.
    pub(crate) fn wake_at(&self) -> Now {
        let due = self.pulls.wake_at().map_or(self.due, |at| at.min(self.due));
        self.pruning.map_or(due, |(at, _)| at.min(due))
    }

    /// The next round begins at once.
    pub(crate) fn hurry(&mut self) {
        self.due = Now::default();
    }

    /// Whether this node has clients that would notice much that happens beside their requests.
    pub(crate) fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// Whether this node or another has clients that would notice much that happens beside
    /// their requests.
    pub(crate) fn is_busy_with(&self, node: NodeId) -> bool {
        self.is_busy || self.pulls.is_busy(Some(node))
    }

    /// A new stamp for what is said at this moment.
    fn stamp(&mut self, now: Now) {
        let (Stamp(last), _) = self.stamps.back().copied().unwrap_or_default();
        self.stamps.push_back((Stamp(last.wrapping_add(1)), now));
        if STAMPS_MAX < self.stamps.len() {
            self.stamps.pop_front();
        }
    }

    /// The stamp of what is said to a node, and what was heard from it last.
    fn stamps_for(&self, node: NodeId) -> (Stamp, Stamp) {
        let (stamp, _) = self.stamps.back().copied().unwrap_or_default();
        (stamp, self.echoes.get(&node).copied().unwrap_or_default())
    }

    /// When the stamp was made that a node repeats. What the node says with it is said later.
    fn hear(&mut self, from: NodeId, stamp: Stamp, echo: Stamp, now: Now) -> Option<Now> {
        self.echoes.insert(from, stamp);
        if is(Mutant::StampIgnored) {
            return Some(now);
        }
        let made = self.stamps.iter().find(|(ours, _)| *ours == echo);
        made.map(|(_, at)| *at)
    }
}

impl Node {
    /// Tells the others what the clocks here come to, if it is time.
    pub(crate) fn exchange<D: Disk>(&mut self, turn: &mut Turn<'_, D>) {
        if turn.now < self.exchange.due {
            return self.pull(turn);
        }
        let interval = self.config.limits.exchange_interval;
        // Nodes that started together should not all speak at the same moment.
        let jitter = self.rng.random_range(0.75..1.25);
        self.exchange.due = turn.now + interval.mul_f64(jitter);
        self.exchange.is_busy = self.is_busy(interval);
        self.exchange.served = 0;
        self.exchange.stamp(turn.now);
        self.exchange.pulls.expire(turn.now);
        self.see_to_enrolment(turn);
        self.join(turn);
        let shards: Vec<ShardId> = self.shards.keys().copied().collect();
        shards.into_iter().for_each(|shard| self.look(shard));
        for (to, shards) in self.clocks_by_node() {
            let clocks = self.clocks_of(to, shards);
            let alike = self.exchange.shorten(to, &clocks);
            let message = alike.map_or_else(|| Message::Clocks(clocks), Message::Alike);
            // A write that waits for no disk should not wait for one because of this.
            let after = match is(Mutant::ClocksOvertake) {
                true => After::Now,
                false => After::SyncedSometime,
            };
            turn.send(to, message, after);
        }
        self.pull(turn);
        self.expire_comparisons(turn.now);
        self.see_to_suspects(turn);
        self.begin_tending(turn.now);
        if self.exchange.pruning.is_none() {
            for kept in self.shards.values_mut() {
                kept.lines.begin();
                kept.contexts.begin();
            }
            self.exchange.pruning = self.shards.keys().next().map(|first| (turn.now, *first));
        }
    }

    /// What the clocks come to of all shards that are kept here and at another node, by node.
    fn clocks_by_node(&mut self) -> BTreeMap<NodeId, Vec<Sums>> {
        let found: Vec<ShardId> = self.recovered.keys().copied().collect();
        for shard in found {
            self.kept(shard);
        }
        if !self.takes_part() {
            return BTreeMap::new();
        }
        let mut told: BTreeMap<NodeId, Vec<Sums>> = BTreeMap::new();
        for (shard, replicas) in self.contracts.kept_by(self.config.id) {
            let others = replicas.iter().copied().filter(|node| *node != self.config.id);
            let sums = self.shards.get_mut(&shard).and_then(|kept| kept.sums(shard));
            others.for_each(|node| told.entry(node).or_default().extend(sums));
        }
        told
    }

    /// The same of those that one other node keeps.
    fn clocks_for(&mut self, node: NodeId) -> Vec<Sums> {
        let shared = self.contracts.kept_by(self.config.id);
        let shared = shared.filter(|(_, replicas)| replicas.contains(&node));
        let sums = |(shard, _)| self.shards.get_mut(&shard).and_then(|kept| kept.sums(shard));
        shared.filter_map(sums).collect()
    }

    /// A node says what its clocks come to. Those that are not like ours are asked for.
    pub(crate) fn clocks<D: Disk>(
        &mut self,
        from: NodeId,
        clocks: &Clocks,
        turn: &mut Turn<'_, D>,
    ) {
        let since = self.exchange.hear(from, clocks.stamp, clocks.echo, turn.now);
        self.exchange.hear_all(from, clocks);
        self.exchange.pulls.hear(from, clocks);
        self.hear_suspects(from, clocks);
        if !self.is_to_be_believed(from, clocks.catalog_version) || !self.takes_part() {
            return;
        }
        for Sums { shard, clock: theirs, tree, is_suspect } in clocks.shards.iter().copied() {
            if !self.is_shared(shard, from) {
                continue;
            }
            let is_same = self.kept(shard).hash() == theirs;
            if is_same {
                let clock = self.shards.get(&shard).map(|kept| kept.replica.clock());
                let clock = clock.expect("it was looked at above");
                self.exchange.acks.equal(from, shard, clock, since);
                self.unmark(shard, from, turn.disk);
            } else if !is(Mutant::NothingPulled) {
                self.exchange.pulls.want(shard, from, theirs);
            }
            self.exchange.acks.stands(from, shard, is_suspect, tree.is_some());
            self.summed((shard, from), tree, is_same, turn);
        }
        self.exchange_absent(from, clocks, since, turn.now);
        self.pull(turn);
    }

    /// Shards that a node does not speak of are empty there, and the same where they are empty here.
    fn exchange_absent(&mut self, from: NodeId, clocks: &Clocks, since: Option<Now>, now: Now) {
        let told: BTreeSet<ShardId> = clocks.shards.iter().map(|sums| sums.shard).collect();
        let nothing = DotSet::new();
        for (shard, replicas) in self.contracts.kept_by(self.config.id) {
            if replicas.contains(&from) && !told.contains(&shard) {
                self.exchange.acks.heard(from, shard, DotSet::new(), since, &nothing);
                // There is nothing to read, and nothing that could be missing.
                self.exchange.acks.stands(from, shard, false, true);
                let kept = self.shards.get(&shard).map(|kept| kept.replica.clock());
                if kept.or(self.recovered.get(&shard)).is_none_or(DotSet::is_empty) {
                    self.trees.show_equal(shard, from, now);
                }
            }
        }
    }

    /// Asks for what is lacking, as much at once as this node can bear.
    fn pull<D: Disk>(&mut self, turn: &mut Turn<'_, D>) {
        let mut lacks: Vec<(NodeId, Lack)> = Vec::new();
        while let Some(pull) = self.exchange.pulls.next(self.exchange.is_busy, turn.now) {
            let kept = self.kept(pull.shard);
            if pull.hash.is_some_and(|theirs| theirs == kept.hash()) {
                continue;
            }
            let clock = kept.replica.clock().clone();
            let request = self.new_request();
            let (stamp, echo) = self.exchange.stamps_for(pull.from);
            let (shard, after) = (pull.shard, pull.after);
            let credit = self.credit(pull.from);
            let lack = Lack {
                request,
                shard,
                clock,
                after,
                credit,
                is_together: true,
                catalog_version: self.in_force().version,
                stamp,
                echo,
                others: Vec::new(),
            };
            lacks.push((pull.from, lack));
            let until = turn.now + self.config.limits.exchange_interval;
            let price = self.price(pull.from, credit);
            self.exchange.pulls.begin(request, pull, until, price, turn.now);
        }
        for (to, lack) in self.grouped(lacks) {
            turn.send(to, Message::Lack(lack), After::Synced);
        }
    }

    /// What may come for a credit costs, where there are clients who would wait for it.
    fn price(&self, from: NodeId, credit: usize) -> Price {
        let objects = (credit / owed::OBJECT_BYTES_MIN) as u64;
        let bytes = objects * throttle::OBJECT_COST_MIN;
        let bytes = if self.exchange.is_busy_with(from) { bytes } else { 0 };
        Price { bytes, per_second: self.config.limits.catch_up_rate }
    }

    /// How many bytes of one shard a node may send here at once. Where there are clients to serve
    /// it is less, because they wait while it is looked up.
    fn credit(&self, from: NodeId) -> usize {
        let of_one = self.config.limits.exchange_bytes_max / pulls::PULLS_MAX;
        if self.exchange.is_busy_with(from) { of_one / 8 } else { of_one }
    }

    /// Whether clients would notice much that happens beside their requests.
    fn is_busy(&self, since: Duration) -> bool {
        const PER_SECOND: f64 = 20.0;
        let per_second = self.exchange.served as f64 / since.as_secs_f64().max(0.001);
        PER_SECOND < per_second
    }

    /// Looks whether a shard has caught up with what was heard of it.
    fn look(&mut self, shard: ShardId) {
        if let Some(kept) = self.shards.get(&shard) {
            self.exchange.acks.look(shard, kept.replica.clock());
        }
    }

    /// A connection to a node was made, which says nothing about what it has.
    pub(crate) fn exchange_connected(&mut self, node: NodeId, now: Now) {
        self.trees.met.insert(node, now);
        self.exchange.acks.connected(node);
        if is(Mutant::ConnectedIsFresh) {
            self.exchange.acks.trust(node, now);
        }
    }

    /// The connection to a node broke.
    pub(crate) fn exchange_lost(&mut self, node: NodeId) {
        self.exchange.pulls.lost(node);
        self.exchange.said.lost(node);
        self.comparisons_lost(node);
    }

    /// How old what is read of a shard here can be, at most: a write that was acknowledged by any
    /// replica before that is here. Nothing if one of the others was not heard of yet, in this
    /// life of the node.
    pub fn staleness(&self, shard: ShardId, now: Now) -> Option<Duration> {
        let here = self.config.id;
        let others = self.contracts.replicas(shard).iter().copied().filter(|node| *node != here);
        self.exchange.acks.staleness(shard, others, now)
    }

    /// Whether most replicas of a shard have a write on disk, as far as this node knows.
    pub fn is_quorum_settled(&self, shard: ShardId, dot: Dot) -> bool {
        let others = self.others(shard);
        let here = self.shards.get(&shard).is_some_and(|kept| kept.replica.clock().contains(dot));
        let count = self.exchange.acks.count(shard, &others, dot) + usize::from(here);
        others.len() + 1 < 2 * count
    }

    /// How far this node and another are apart. Nothing if they keep no shard together.
    pub(crate) fn lag(&self, node: NodeId, now: Now) -> Option<Lag> {
        let shards = self.contracts.kept_by(self.config.id).map(|(shard, _)| shard);
        let mut shared = shards.filter(|shard| self.is_shared(*shard, node)).peekable();
        shared.peek()?;
        let mut lag = Lag { since: Some(Duration::ZERO), ..Lag::default() };
        let nothing = DotSet::new();
        for shard in shared {
            let kept = self.shards.get(&shard).map(|kept| kept.replica.clock());
            let clock = kept.or(self.recovered.get(&shard)).unwrap_or(&nothing);
            self.exchange.acks.add_lag(shard, node, clock, &mut lag);
            lag.marked += u64::from(self.exchange.marks.contains(&(shard, node)));
            let since = self.exchange.acks.staleness(shard, [node], now);
            lag.since = lag.since.zip(since).map(|(a, b)| a.max(b));
        }
        Some(lag)
    }

    /// Whether a shard is kept here, by a node that takes part, and by another node.
    pub(crate) fn is_shared(&self, shard: ShardId, with: NodeId) -> bool {
        with != self.config.id
            && self.contracts.replicas(shard).contains(&with)
            && self.keeps(shard)
    }

    /// Whether what a node says of its clock, with this version of the catalog, can be relied on: this
    /// node knows whose disks are being replaced, as far as that one does, and it is none of them.
    pub(crate) fn is_to_be_believed(&self, node: NodeId, version: u64) -> bool {
        version <= self.in_force().version && self.in_force().joining(node).is_none()
    }
}
