//! A node: everything one server decides, as a function.
//!
//! [`Node::step`] is fed one [`Input`] and answers with [`Effect`]s. It does no IO, reads
//! no clock and draws no random number that was not seeded by its caller. Two drivers call
//! it: the server, with real sockets and a real disk, and the simulator, with neither. What
//! the simulator has shown is therefore shown of the code that runs.
//!
//! ```text
//!            Requested, Received, Connected, Lost, Woken
//!                               │
//!   requests ── coordinator (Put, Get, List) ── placement      whom to ask, when to answer
//!   shards   ── replica, one per shard                         what is held here
//!   exchange ── clocks                                         what others have, and lack
//!   guest    ── hints, handoff                                 what is kept for others
//!   declare  ── catalog                                        which tables exist
//!   membership                                                 who is alive
//!                               │
//!            Send, Answer                    Disk: staged changes
//! ```
//!
//! **Commit before promise.** What a step stages on the [`Disk`] is not durable when the
//! step returns. Each message says by [`After`] how durable everything staged has to be
//! before it may leave. Only acknowledgements wait; a write is on its way to the other
//! replicas while this node's disk still works.
//!
//! A node that is its own replica sends itself a message like any other, through the
//! driver: there is no local special case to get wrong.

mod contracts;
mod declare;
mod doubt;
mod effect;
mod enrol;
mod exchange;
mod explain;
mod feed;
mod flight;
mod forward;
mod get;
mod guest;
mod handoff;
mod health;
mod hints;
mod join;
mod levels;
mod list;
mod measure;
mod message;
mod pace;
mod put;
mod recall;
mod room;
mod salvage;
mod session;
mod shards;
mod shown;
mod status;
mod tokens;
mod trees;

use std::collections::{BTreeMap, BTreeSet};

use catalog::{Acceptor, Ballot, Catalog};
use causality::{DotSet, Incarnation};
use membership::{Membership, Peer, Reach};
use model::{
    DiskId, Keyspace, Limits, Name, NodeId, Now, Refusal, Region, Reply, Request, ShardId, Table,
};
use mutant::{Mutant, is};
use placement::Layout;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use replica::{Replica, Sum};

pub use antientropy::Salt;
pub use effect::{After, Disk, Effect, Input, Ticket};
pub use hints::{Hint, HintPlace, Owed};
pub use measure::{Counts, Latencies, Replied, Times};
pub use message::{
    Alike, Bring, Cause, Changes, Clocks, Compare, Compared, Digest, Doubt, Doubted, Examine,
    Examined, Fetch, Fetched, Follow, Followed, Forgot, Forward, Forwarded, Found, Known, Lack,
    Lacking, Leaves, Merge, Merged, Message, Recognise, Recognised, Recognition, RequestId, Rest,
    Scan, Scanned, Sent, Spared, Stamp, Stand, Sums, Told, Verdict, Vouch, Vouched, Want,
};
pub use trees::{Place, sum_of};

use contracts::{Contracts, Site};
use exchange::{Exchange, Kept};
use flight::{Client, Flight};

/// What a node is told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which node of the layout it is.
    pub id: NodeId,
    /// Sixty-four fresh random bits, never used before (R1).
    pub incarnation: Incarnation,
    /// Which disk it serves with.
    pub disk: DiskId,
    /// Which nodes there are.
    pub layout: Layout,
    /// What clients may send.
    pub limits: Limits,
    /// Where others reach this node, as `host:port`. What the others are told.
    pub address: String,
    /// The milliseconds of the wall clock at the start. Orders the lives of this node in what
    /// others know of it, where a clock that was set back is put up with, and tells how old the
    /// tokens of clients are.
    pub started_millis: u64,
    /// The secret of hash trees, the same at all nodes.
    pub salt: Salt,
    /// Seeds every choice the node makes by chance.
    pub seed: u64,
}

/// One node.
#[derive(Debug)]
pub struct Node {
    config: Config,
    /// The region that this node stands in.
    here: Region,
    started: Now,
    /// How much further the wall clock went than the monotonic one since then.
    ahead_millis: u64,
    rng: ChaCha8Rng,
    acceptor: Acceptor,
    contracts: Contracts,
    shards: BTreeMap<ShardId, Kept>,
    /// What counts the dots that are minted here for shards that are kept elsewhere.
    minters: BTreeMap<ShardId, Replica>,
    /// The clocks found on disk, until the shard is first used.
    recovered: BTreeMap<ShardId, DotSet>,
    /// What was found on disk to be forgotten, as long.
    forgotten: BTreeMap<ShardId, DotSet>,
    /// What the disk says that each shard should come to, as long.
    sums: BTreeMap<ShardId, Sum>,
    membership: Membership,
    exchange: Exchange,
    flights: BTreeMap<RequestId, Flight>,
    /// How many of them are answers in doubt.
    doubting: usize,
    timers: BTreeSet<(Now, RequestId)>,
    /// Which request each attempt to change the catalog belongs to.
    ballots: BTreeMap<Ballot, RequestId>,
    /// The declaration of this node that is being voted on.
    proposing: Option<RequestId>,
    last_request: u64,
    taken: forward::Taken,
    read_repairs: u64,
    pace: pace::Pace,
    counts: Counts,
    awaited: measure::Awaited,
    hints: hints::Ledger,
    handoffs: handoff::Handoffs,
    trees: trees::Trees,
    waiting: feed::tell::Waiting,
    laggards: feed::Laggards,
    /// Whether the disk of this node is the one that it is to serve with.
    takes_part: bool,
    /// The disks that nodes have said they run on.
    disks_heard: BTreeMap<NodeId, DiskId>,
    joins: join::Joins,
    /// The declaration of its disk that is in hand.
    asks_itself: Option<RequestId>,
}

/// What one step works with.
struct Turn<'a, D> {
    now: Now,
    disk: &'a mut D,
    out: &'a mut Vec<Effect>,
}

impl<D> Turn<'_, D> {
    fn send(&mut self, to: NodeId, message: Message, after: After) {
        self.out.push(Effect::Send { to, message, after });
    }
}

impl Node {
    /// A node as its disk has it, in a new life.
    pub fn new(
        config: Config,
        recovered: BTreeMap<ShardId, DotSet>,
        acceptor: Acceptor,
        now: Now,
    ) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
        let last_request = rng.random::<u64>() >> 1;
        let last_request = if is(Mutant::RequestIdsRepeat) { 0 } else { last_request };
        let me = Peer::new(config.id, config.started_millis, config.address.clone());
        let gossip = ChaCha8Rng::seed_from_u64(rng.random());
        let exchange = Exchange::new(now, rng.random());
        let membership = Membership::new(me, config.layout.members.keys().copied(), gossip, now);
        let contracts = Contracts::new(&config.layout, &acceptor.learned);
        let here = region_of(&config.layout, config.id);
        let mut node = Self {
            config,
            here,
            started: now,
            ahead_millis: 0,
            rng,
            acceptor,
            contracts,
            shards: BTreeMap::new(),
            minters: BTreeMap::new(),
            recovered,
            forgotten: BTreeMap::new(),
            sums: BTreeMap::new(),
            membership,
            exchange,
            flights: BTreeMap::new(),
            doubting: 0,
            timers: BTreeSet::new(),
            ballots: BTreeMap::new(),
            proposing: None,
            last_request,
            taken: forward::Taken::default(),
            read_repairs: 0,
            pace: pace::Pace::default(),
            counts: Counts::default(),
            awaited: measure::Awaited::default(),
            hints: hints::Ledger::default(),
            handoffs: handoff::Handoffs::default(),
            trees: trees::Trees::default(),
            waiting: feed::tell::Waiting::default(),
            laggards: feed::Laggards::new(),
            takes_part: false,
            disks_heard: BTreeMap::new(),
            joins: join::Joins::default(),
            asks_itself: None,
        };
        node.look_at_disks();
        node
    }

    /// The node, which has marked in a former life that these replicas lack something.
    pub fn with_marks(mut self, marks: BTreeSet<(ShardId, NodeId)>) -> Self {
        self.exchange.marks = marks;
        self
    }

    /// The node, whose shards have forgotten these dots in a former life.
    #[must_use]
    pub fn with_forgotten(mut self, forgotten: BTreeMap<ShardId, DotSet>) -> Self {
        self.forgotten = forgotten;
        self
    }

    /// The node, whose disk says that its shards should come to this.
    #[must_use]
    pub fn with_sums(mut self, sums: BTreeMap<ShardId, Sum>) -> Self {
        self.sums = sums;
        self
    }

    /// The same node with the hints that its disk has.
    #[must_use]
    pub fn with_hints(mut self, hints: BTreeMap<NodeId, Owed>) -> Self {
        if !is(Mutant::HintsForgotten) {
            self.hints = hints::Ledger::new(hints, self.config.started_millis);
        }
        self
    }

    /// Takes in what happened, and appends what is to be done.
    pub fn step<D: Disk>(&mut self, now: Now, input: Input, disk: &mut D, out: &mut Vec<Effect>) {
        let mut turn = Turn { now, disk, out };
        self.membership.step(now);
        match input {
            Input::Requested { ticket, request } => {
                self.requested(Client::Ticket(ticket), request, &mut turn);
            }
            Input::Received { from, message } => {
                self.membership.heard(from, now);
                self.received(from, message, &mut turn);
            }
            Input::Connected(node) => {
                self.membership.connected(node, now);
                self.disks_heard.remove(&node);
                self.pace.returned(node, now);
                self.exchange_connected(node, now);
                self.probe(node, &mut turn);
            }
            Input::Lost(node) => {
                self.membership.lost(node, now);
                self.disks_heard.remove(&node);
                self.exchange_lost(node);
                self.lost(node, &mut turn);
            }
            Input::Woken => self.woken(&mut turn),
        }
        self.tell(&mut turn);
    }

    /// Tells what membership has to say: to other nodes, and to the driver.
    fn tell<D: Disk>(&mut self, turn: &mut Turn<'_, D>) {
        for packet in self.membership.packets() {
            let gossip = Message::Gossip { packet: packet.bytes.into() };
            turn.send(packet.to, gossip, After::Now);
        }
        for peer in self.membership.located() {
            let address = peer.address().to_owned();
            turn.out.push(Effect::Located { node: peer.node(), address });
        }
    }

    /// When the node wants to be woken, at the latest.
    pub fn wake_at(&self) -> Option<Now> {
        let timer = self.timers.first().map(|(at, _)| *at);
        let exchange = Some(self.exchange.wake_at());
        let handoff = self.handoffs.wake_at(&self.hints);
        let all = [timer, self.membership.wake_at(), exchange, handoff, self.trees.wake_at()];
        all.into_iter().chain([self.waiting.wake_at()]).flatten().min()
    }

    /// How many requests of clients the node has in hand.
    pub fn requests(&self) -> usize {
        self.flights.len() - self.doubting - usize::from(self.is_asking_itself())
    }

    /// The version of the catalog in force here.
    pub fn catalog_version(&self) -> u64 {
        self.in_force().version
    }

    fn requested<D: Disk>(&mut self, client: Client, request: Request, turn: &mut Turn<'_, D>) {
        self.exchange.served += 1;
        let max = self.config.limits.requests_max;
        let requests = self.requests();
        let is_early = is(Mutant::OverloadedEarly) && max <= 2 * requests;
        let is_full = is_early || max <= requests && !is(Mutant::QueueUnbounded);
        if is_full && !matches!(request, Request::Status | Request::Repair(_)) {
            let refusal = match is(Mutant::DiskBlamed) {
                true => Refusal::Disk("a deliberate bug".into()),
                false => Refusal::Overloaded { max },
            };
            return self.answer(client, Reply::Failed(refusal.into()), turn);
        }
        let started = match request {
            Request::Put(put) => self.put(client, put, turn),
            Request::Get(get) => self.get(client, &get, turn),
            Request::List(list) => self.list(client, list, turn),
            Request::Watch(watch) => self.watch(client, watch, turn),
            Request::Recall(recall) => self.recall(client, recall, turn),
            Request::Explain(explain) => self.explain(client, explain, turn),
            Request::Declare(declare) => self.declare(client, declare, turn),
            Request::Status => {
                let status = self.status(turn.now);
                self.answer(client, Reply::Status(Box::new(status)), turn);
                Ok(())
            }
            Request::Repair(repair) => self.repair_asked(client, repair, turn),
            Request::Salvage(salvage) => self.salvage(client, *salvage, turn),
        };
        if let Err(failure) = started {
            self.answer(client, Reply::Failed(failure), turn);
        }
    }

    fn received<D: Disk>(&mut self, from: NodeId, message: Message, turn: &mut Turn<'_, D>) {
        let Some(message) = self.hear_of_data(from, message, turn) else { return };
        match message {
            Message::Merge(merge) => self.merge(from, merge, turn),
            Message::Merged(merged) => self.merged(from, &merged, turn),
            Message::Fetch(fetch) => self.fetch(from, &fetch, turn),
            Message::Fetched(fetched) => self.fetched(from, fetched, turn),
            Message::Scan(scan) => self.scan(from, &scan, turn),
            Message::Scanned(scanned) => {
                if let Some(scanned) = self.take_page(from, scanned, turn) {
                    self.scanned(from, scanned, turn);
                }
            }
            Message::Forward(forward) => {
                if !self.taken.insert(from, forward.request) {
                    return;
                }
                let client = Client::Node { node: from, request: forward.request };
                self.requested(client, forward.asked, turn);
            }
            Message::Forwarded(forwarded) => self.forwarded(forwarded, turn),
            Message::Probe { catalog_version, deaf, disk } => {
                self.hear_disk(from, disk);
                self.membership.told(from, !deaf, turn.now);
                if deaf {
                    // Whatever it hears of us ends that, and it has to say so.
                    self.probe(from, turn);
                }
                let probed = Message::Probed { catalog_version: self.in_force().version };
                // Who hears of a version may count on it: a loss of power does not undo it.
                turn.send(from, probed, After::Synced);
                self.teach(from, catalog_version, turn);
            }
            Message::Probed { catalog_version } => {
                self.membership.told(from, true, turn.now);
                self.teach(from, catalog_version, turn);
                self.spread(from, catalog_version, turn);
            }
            Message::Prepare { ballot } => self.prepare(from, ballot, turn),
            Message::Promised { ballot, accepted, catalog } => {
                let event = catalog::Event::Promised { node: from, accepted, catalog };
                self.voted(ballot, event, turn);
            }
            Message::Accept { ballot, catalog } => self.accept(from, ballot, &catalog, turn),
            Message::Accepted { ballot } => {
                self.voted(ballot, catalog::Event::Accepted(from), turn);
            }
            Message::Rejected { ballot, promised } => {
                self.voted(ballot, catalog::Event::Rejected(promised), turn);
            }
            Message::Learn { catalog } => self.learn(&catalog, turn),
            Message::Holding { .. } => self.offered(from, turn),
            Message::Take { bytes } => self.hand_over(from, bytes, turn),
            Message::Gossip { packet } => {
                // What cannot be read is of a version to come, and says nothing.
                let _ = self.membership.gossip(&packet, turn.now);
            }
            Message::Clocks(clocks) => self.clocks(from, &clocks, turn),
            Message::Alike(alike) => self.alike(from, alike, turn),
            Message::Lack(lack) => self.lack(from, lack, turn),
            Message::Sent(sent) => self.sent(from, sent, turn),
            Message::Compare(compare) => self.answer_questions(from, &compare, turn),
            Message::Compared(compared) => self.hear_answers(from, compared, turn),
            Message::Bring(bring) => self.bring(from, bring, turn),
            Message::Doubt(doubt) => self.doubt(from, &doubt, turn),
            Message::Doubted(doubted) => self.doubted(from, doubted, turn),
            Message::Spared(spared) => self.spared(from, &spared, turn),
            Message::Forgot(forgot) => self.forgot(from, forgot, turn),
            Message::Follow(follow) => self.follow(from, follow, turn),
            Message::Followed(followed) => self.followed(from, followed, turn),
            Message::Vouch(vouch) => self.vouch(from, &vouch, turn),
            Message::Vouched(vouched) => self.vouched(from, &vouched, turn),
            Message::Examine(examine) => self.examine(from, &examine, turn),
            Message::Examined(examined) => self.examined(from, examined, turn),
            Message::Recognise(recognise) => self.recognise(from, &recognise, turn),
            Message::Recognised(recognised) => self.recognised(from, recognised, turn),
        }
    }

    fn woken<D: Disk>(&mut self, turn: &mut Turn<'_, D>) {
        for node in self.membership.probe(turn.now) {
            self.probe(node, turn);
        }
        self.hand_off(turn);
        while let Some((_, id)) = self.timers.first().copied().filter(|(at, _)| *at <= turn.now) {
            self.timer(id, turn);
        }
        self.tell_waiting(turn);
        self.exchange(turn);
        self.prune(turn);
        self.tend(turn);
        self.compare(turn);
        self.advance_repair(turn);
    }

    fn probe<D: Disk>(&mut self, node: NodeId, turn: &mut Turn<'_, D>) {
        let deaf = !self.membership.hears(node, turn.now);
        let (catalog_version, disk) = (self.in_force().version, Some(self.config.disk));
        let probe = Message::Probe { catalog_version, deaf, disk };
        turn.send(node, probe, After::Now);
    }

    fn answer<D: Disk>(&mut self, client: Client, reply: Reply, turn: &mut Turn<'_, D>) {
        match client {
            Client::Ticket(ticket) => turn.out.push(Effect::Answer { ticket, reply }),
            Client::Node { node, request } => {
                let forwarded = Message::Forwarded(Forwarded { request, reply });
                turn.send(node, forwarded, After::Now);
            }
            Client::Nobody => {}
        }
    }

    /// The catalog in force.
    fn in_force(&self) -> &Catalog {
        &self.acceptor.learned
    }

    /// Finds the table, and which nodes keep the shard that a partition key is in.
    fn locate(&self, keyspace: &Name, table: &Name, partition: &[u8]) -> Result<Site, Refusal> {
        let (keyspace, table) = self.in_force().table(keyspace, table)?;
        let mut shard = placement::shard_of(keyspace, partition);
        if is(Mutant::ShardWrong) && self.config.id.number() == 1 {
            shard.index = (shard.index + 1) % keyspace.shards;
        }
        Ok(self.site(keyspace, table, shard))
    }

    fn site(&self, keyspace: &Keyspace, table: &Table, shard: ShardId) -> Site {
        let replicas = self.contracts.replicas(shard).to_vec();
        let voters = self.contracts.voters(shard, table);
        Site { n: keyspace.n(), table: table.clone(), shard, replicas, voters }
    }

    /// The replicas in the order to ask them: this node, then those whose links are steady, the
    /// near ones first and by their [`pace`], then those whose links are not, then the rest.
    fn in_order(&mut self, site: &Site, now: Now) -> Vec<NodeId> {
        let (mut near, mut far, mut shaky, mut away) = (vec![], vec![], vec![], vec![]);
        let mut first = None;
        for voter in site.voters.iter() {
            let reach = self.membership.reach(voter.node, now);
            let others = match reach {
                _ if !self.serves(voter.node, now) => &mut away,
                _ if voter.node == self.config.id => {
                    first = Some(voter.node);
                    continue;
                }
                Reach::Steady if voter.region == self.here => &mut near,
                Reach::Steady => &mut far,
                Reach::Shaky => &mut shaky,
                Reach::Away => &mut away,
            };
            others.push(voter.node);
        }
        for nodes in [&mut near, &mut far] {
            self.pace.order(nodes, now, &mut self.rng);
        }
        first.into_iter().chain(near).chain(far).chain(shaky).chain(away).collect()
    }
}

fn region_of(layout: &Layout, node: NodeId) -> Region {
    let member = layout.members.get(&node);
    member.expect("a node is in the layout that it is started with").region.clone()
}
