//! A live node, and peers and clients that say anything at all.
//!
//! Decoders guard against bytes that mean nothing. This is about messages that mean
//! something and make no sense: answers to questions nobody asked, catalogs that contradict
//! each other, votes from nowhere, numbers at the end of their range. The node must not
//! panic, must answer every client once, and must not mint a dot twice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use antientropy::{Answer, Answers, Listing, Within};
use bytes::Bytes;
use catalog::{Acceptor, Catalog};
use causality::{Dot, Incarnation};
use model::{
    Address, Declare, DiskId, Durability, Key, Level, Limits, Name, NodeId, Now, Object, Policy,
    ShardId, SiblingRules, TableId, Voting,
};
use node::{
    Cause, Compared, Config, Disk, Effect, Examined, Fetched, Forward, Found, Input, Leaves, Merge,
    Merged, Message, Node, Scanned, Sent, Ticket, Verdict,
};
use placement::{Layout, Member};
use replica::{Change, Page, PageNeed, Span, Store, StoreError};

use super::Target;
use super::wire::{assert_travels, body};
use crate::cut::{Cut, long_part};

pub(super) const TARGETS: &[Target] =
    &[Target { seeds, base: 4 << 20, per_byte: 4096, ..Target::new("node", live) }];

const ME: NodeId = NodeId::new(1);
/// The longest that a client here waits. A door lets none wait for more than a minute.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many steps may follow from each other at one moment.
const AT_ONCE_MAX: u32 = 64;

const LIFE: Incarnation = Incarnation::new(0xfeed);
const DISK: DiskId = DiskId::new(0xd15c);

/// A disk that keeps everything at once.
#[derive(Default)]
struct Memory {
    objects: BTreeMap<(ShardId, TableId, Key), Object>,
    log: replica::Log,
}

impl Memory {
    /// The shard in which a value is held. A dot names a write within its shard.
    fn shard_of(&self, address: &Address, dot: Dot) -> Option<ShardId> {
        let is_it = |(key, object): &(&(ShardId, TableId, Key), &Object)| {
            (key.1, &key.2) == (address.table, &address.key) && object.values().contains_key(&dot)
        };
        self.objects.iter().find(is_it).map(|((shard, _, _), _)| *shard)
    }
}

impl Store for Memory {
    fn object(&self, shard: ShardId, address: &Address) -> Result<Option<Object>, StoreError> {
        Ok(self.objects.get(&(shard, address.table, address.key.clone())).cloned())
    }

    fn scan(
        &self,
        shard: ShardId,
        table: TableId,
        span: &Span,
        need: PageNeed,
    ) -> Result<Page, StoreError> {
        let fits = |key: &Key| {
            span.partition.as_ref().is_none_or(|partition| partition == key.partition())
                && span.after.as_ref().is_none_or(|after| after < key)
        };
        let here =
            self.objects.iter().filter(|((s, t, key), _)| (*s, *t) == (shard, table) && fits(key));
        let mut objects: Vec<_> = here
            .map(|((_, _, key), object)| (key.clone(), object.clone()))
            .take(need.objects_max.saturating_add(1))
            .collect();
        let more = need.objects_max < objects.len();
        objects.truncate(need.objects_max);
        Ok(Page { objects, more, ..Page::default() })
    }

    fn log(
        &self,
        shard: ShardId,
        within: causality::Run,
        entries_max: usize,
    ) -> Result<Vec<replica::Entry>, StoreError> {
        Ok(self.log.read(shard, within, entries_max))
    }

    fn commit(&mut self, change: Change) {
        self.log.take(&change);
        let Address { table, key } = change.address;
        self.objects.insert((change.shard, table, key), change.object);
    }

    fn forget(&mut self, shard: ShardId, runs: &[causality::Run]) {
        self.log.forget(shard, runs);
    }

    fn reap(&mut self, reaping: replica::Reaping) {
        for (Address { table, key }, _) in reaping.tombstones {
            self.objects.remove(&(reaping.shard, table, key));
        }
        for replica::Trimmed { address: Address { table, key }, after, .. } in reaping.trimmed {
            self.objects.insert((reaping.shard, table, key), after);
        }
    }
}

impl Disk for Memory {
    fn keep_acceptor(&mut self, _: &Acceptor) {}

    fn mark(&mut self, _: ShardId, _: NodeId, _: bool) {}

    fn is_busy(&self) -> bool {
        false
    }

    fn keep_sum(&mut self, _: ShardId, _: replica::Sum) {}

    fn hint(&self, _: &node::HintPlace) -> Result<Option<node::Hint>, StoreError> {
        Ok(None)
    }

    fn hints(
        &self,
        _: NodeId,
        _: Option<&Address>,
        _: PageNeed,
    ) -> Result<Vec<(Address, node::Hint)>, StoreError> {
        Ok(Vec::new())
    }

    fn keep_hint(&mut self, _: &node::HintPlace, _: Option<&node::Hint>) {}
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn layout() -> Layout {
    let member = Member { region: name("here"), zone: name("z") };
    Layout { version: 1, members: (1..=3).map(|id| (NodeId::new(id), member.clone())).collect() }
}

fn catalog() -> Catalog {
    let mut catalog = Catalog::default();
    let keyspace = Declare::Keyspace {
        name: name("ks"),
        shards: 4,
        replicas: [(name("here"), 3)].into(),
        sloppy: false,
    };
    let table = Declare::Table {
        keyspace: name("ks"),
        name: name("t"),
        policy: Policy::Siblings,
        durability: Durability::Synced,
        read: Level::Quorum,
        write: Level::Quorum,
        voting: Voting::default(),
        siblings: SiblingRules::default(),
    };
    for declare in [keyspace, table] {
        catalog.declare(&declare).expect("a contract like any other");
    }
    catalog.enrol([(ME, DISK)]);
    catalog
}

/// The node, and what it is owed and owes.
struct World {
    node: Node,
    disk: Memory,
    now: Now,
    /// What it said to others, and waits to be answered.
    asked: VecDeque<(NodeId, Message)>,
    waiting: BTreeSet<Ticket>,
    tickets: u64,
    /// What each dot of this node was given to.
    minted: BTreeMap<(ShardId, Dot), (Address, Object)>,
}

impl World {
    fn new() -> Self {
        let limits = Limits { siblings_max: 3, requests_max: 8, ..Limits::default() };
        let config = Config {
            id: ME,
            incarnation: LIFE,
            disk: DISK,
            layout: layout(),
            limits,
            address: String::new(),
            started_millis: 1,
            salt: node::Salt::new([7; 32]),
            seed: 1,
        };
        let acceptor = Acceptor { learned: catalog(), ..Acceptor::default() };
        let node = Node::new(config, BTreeMap::new(), acceptor, Now::default());
        let (asked, waiting, minted) = (VecDeque::new(), BTreeSet::new(), BTreeMap::new());
        let (disk, now) = (Memory::default(), Now::default());
        Self { node, disk, now, asked, waiting, tickets: 0, minted }
    }

    fn step(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut effects = Vec::new();
            self.node.step(self.now, input, &mut self.disk, &mut effects);
            for effect in effects {
                match effect {
                    Effect::Send { to: ME, message, .. } => {
                        inputs.push_back(Input::Received { from: ME, message })
                    }
                    Effect::Send { to, message, .. } => self.sent(to, message),
                    Effect::Located { .. } => {}
                    Effect::Answer { ticket, .. } => {
                        assert!(
                            self.waiting.remove(&ticket),
                            "{ticket:?} was answered and nobody waited"
                        );
                    }
                }
            }
        }
    }

    fn sent(&mut self, to: NodeId, message: Message) {
        assert_travels(&message);
        if let Message::Merge(Merge { address, object, cause: Cause::Write, .. }) = &message
            && let Some(dot) = object.values().keys().find(|dot| dot.incarnation == LIFE)
        {
            let shard = self.disk.shard_of(address, *dot).expect("what it minted is held here");
            let write = (address.clone(), object.clone());
            let before = self.minted.entry((shard, *dot)).or_insert_with(|| write.clone());
            assert_eq!(*before, write, "{dot:?} names two writes");
        }
        if self.asked.len() < 64 {
            self.asked.push_back((to, message));
        }
    }

    fn request(&mut self, mut request: model::Request) {
        match &mut request {
            model::Request::Put(put) => put.timeout = put.timeout.min(PATIENCE),
            model::Request::Get(get) => get.timeout = get.timeout.min(PATIENCE),
            model::Request::List(list) => list.timeout = list.timeout.min(PATIENCE),
            model::Request::Explain(explain) => explain.timeout = explain.timeout.min(PATIENCE),
            model::Request::Recall(recall) => recall.timeout = recall.timeout.min(PATIENCE),
            model::Request::Watch(watch) => watch.timeout = watch.timeout.min(PATIENCE),
            model::Request::Salvage(salvage) => salvage.timeout = salvage.timeout.min(PATIENCE),
            model::Request::Declare(_) | model::Request::Status | model::Request::Repair(_) => {}
        }
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.waiting.insert(ticket);
        self.step(Input::Requested { ticket, request });
    }

    /// Answers one of the questions that are open as a peer might, from whoever it says.
    fn answer(&mut self, which: u8, how: u8, object: Object) {
        let Some(at) = usize::from(which).checked_rem(self.asked.len()) else { return };
        let Some((to, question)) = self.asked.get(at).cloned() else { return };
        if how & 0x80 == 0 {
            self.asked.remove(at);
        }
        let from = if how & 0x40 == 0 { to } else { NodeId::new(u16::from(how % 5)) };
        if let Some(message) = answer_to(question, how, object) {
            self.step(Input::Received { from, message });
        }
    }

    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        let mut at_once = 0;
        while let Some(at) = self.node.wake_at().filter(|at| *at <= until) {
            at_once = if at <= self.now { at_once + 1 } else { 0 };
            self.now = self.now.max(at);
            self.step(Input::Woken);
            // One thing can follow from another at the same moment, but a node that wants to be woken
            // at once, for ever, is one that hangs.
            assert!(at_once < AT_ONCE_MAX, "woken for nothing");
        }
        self.now = until;
    }
}

/// Objects that come with an answer, some of them under a key.
fn told_together(how: u8, object: &Object) -> Vec<(Address, Object)> {
    let tables = catalog().tables;
    let table = tables.values().next().filter(|_| !how.is_multiple_of(3)).map(|table| table.id);
    let address = |table| Address { table, key: samples::first_key() };
    table.into_iter().map(|table| (address(table), object.clone())).collect()
}

fn answer_to(question: Message, how: u8, object: Object) -> Option<Message> {
    let verdicts = [Verdict::Durable, Verdict::Buffered, Verdict::Failed, Verdict::Full];
    Some(match question {
        Message::Merge(Merge { request, .. }) => {
            let verdict = verdicts[usize::from(how) % verdicts.len()];
            Message::Merged(Merged { request, verdict })
        }
        Message::Fetch(fetch) => {
            let staleness = how.is_multiple_of(5).then(|| Duration::from_millis(how.into()));
            let digest = node::Digest(how.into());
            let found = [Found::Full(object), Found::Digest(digest), Found::Failed];
            let found = found.into_iter().nth(usize::from(how) % 3)?;
            let (request, durable) = (fetch.request, fetch.sync);
            let forgets = how.is_multiple_of(3);
            Message::Fetched(Fetched { request, found, durable, staleness, known: None, forgets })
        }
        Message::Scan(scan) => {
            let staleness = how.is_multiple_of(5).then(|| Duration::from_millis(how.into()));
            let key = scan.span.after.unwrap_or_else(samples::first_key);
            let page =
                (!how.is_multiple_of(3)).then(|| (vec![(key, object)], how.is_multiple_of(2)));
            let forgets = how.is_multiple_of(7);
            Message::Scanned(Scanned { request: scan.request, page, staleness, forgets })
        }
        Message::Prepare { ballot } => {
            Message::Promised { ballot, accepted: Acceptor::default().accepted, catalog: catalog() }
        }
        Message::Accept { ballot, .. } => Message::Accepted { ballot },
        Message::Lack(lack) => Message::Sent(Sent {
            request: lack.request,
            objects: told_together(how, &object),
            next: how.is_multiple_of(2).then_some(lack.after).flatten(),
            gaps: u64::from(how),
            forgets: how.is_multiple_of(2),
            others: vec![node::Rest::default(); usize::from(how % 4)],
        }),
        Message::Compare(compare) => {
            let table = catalog().tables.values().next()?.id;
            let place = node::Place(Address { table, key: samples::first_key() });
            let digest = antientropy::Digest(how.into());
            let listing = Listing { to: None, sum: u64::from(how), fingerprints: vec![how.into()] };
            let answers = [
                Answer::Compared(vec![(u16::from(how % 3), Within::Leaf(listing.clone()))]),
                Answer::Cut { level: how % 3, at: vec![place.clone()], sums: vec![1, how.into()] },
                Answer::Listed(listing),
                Answer::Compared(vec![(
                    u16::from(how % 3),
                    Within::Lacked { sum: how.into(), key: place.clone(), digest },
                )]),
                Answer::Named { sum: how.into(), items: vec![(place, digest)] },
            ];
            let answer = answers.into_iter().nth(usize::from(how) % 5)?;
            let round = compare.questions.round;
            let answers =
                (!how.is_multiple_of(7)).then(|| Answers { round, answers: vec![answer] });
            Message::Compared(Compared { request: compare.request, answers })
        }
        Message::Bring(bring) if how.is_multiple_of(4) => {
            let numbers = (0..u32::from(how)).collect();
            Message::Spared(node::Spared { request: bring.request, numbers })
        }
        Message::Bring(bring) => {
            let address = bring.addresses.into_iter().next()?;
            let (request, sync, cause) = (bring.request, false, Cause::Repair);
            Message::Merge(Merge { request, address, object, sync, cause, stands_for: None })
        }
        Message::Examine(examine) => {
            let table = catalog().tables.values().next()?.id;
            let place = node::Place(Address { table, key: samples::first_key() });
            let next = how.is_multiple_of(3).then_some(place);
            let leaves = Leaves { next, keys: u64::from(how), bytes: u64::from(how) };
            let leaves = (!how.is_multiple_of(5)).then_some(leaves);
            Message::Examined(Examined { request: examine.request, leaves })
        }
        Message::Follow(follow) => {
            let told = |shard: u16| told_of(how.wrapping_add(shard.to_le_bytes()[0]), &object);
            let shards = follow.shards.iter().map(|(shard, _)| (*shard, told(*shard))).collect();
            Message::Followed(node::Followed { request: follow.request, shards })
        }
        Message::Holding { .. } => Message::Take { bytes: u64::from(how) },
        Message::Probe { .. } => Message::Probed { catalog_version: u64::from(how) },
        Message::Vouch(vouch) => Message::Vouched(node::Vouched {
            request: vouch.request,
            forgotten: object.context().clone(),
            more: how.is_multiple_of(2),
        }),
        Message::Doubt(node::Doubt { request, shard, keys }) => {
            let mut forgotten = causality::DotSet::new();
            for dots in keys.values() {
                let _ = forgotten.union(dots);
            }
            let held = keys.into_keys().map(|address| (address, object.clone()));
            let held = held.take(usize::from(how)).collect();
            Message::Doubted(node::Doubted { request, shard, forgotten, held })
        }
        Message::Recognise(recognise) => {
            let (unheard, held) = (recognise.dots, object);
            let forgets = how.is_multiple_of(2);
            let found = node::Recognition { unheard, held, forgets };
            let found = (!how.is_multiple_of(5)).then_some(found);
            Message::Recognised(node::Recognised { request: recognise.request, found })
        }
        Message::Merged(_)
        | Message::Vouched(_)
        | Message::Doubted(_)
        | Message::Fetched(_)
        | Message::Scanned(_)
        | Message::Forward(_)
        | Message::Forwarded(_)
        | Message::Gossip { .. }
        | Message::Take { .. }
        | Message::Clocks(_)
        | Message::Alike(_)
        | Message::Sent(_)
        | Message::Spared(_)
        | Message::Forgot(_)
        | Message::Followed(_)
        | Message::Compared(_)
        | Message::Examined(_)
        | Message::Recognised(_)
        | Message::Probed { .. }
        | Message::Promised { .. }
        | Message::Accepted { .. }
        | Message::Rejected { .. }
        | Message::Learn { .. } => return None,
    })
}

/// What a peer might tell a watcher of a shard.
fn told_of(how: u8, object: &Object) -> node::Told {
    let (key, clock) = (samples::first_key(), object.context().clone());
    let entries = vec![(key.clone(), object.clone())];
    match how % 6 {
        0 => node::Told::Same,
        1 => node::Told::Changed(node::Changes {
            entries,
            clock,
            more: how & 0x40 == 0,
            ..node::Changes::default()
        }),
        2 => node::Told::Read { entries, after: (how & 0x40 == 0).then_some(key) },
        3 => node::Told::Behind(clock),
        4 => node::Told::Gone,
        _ => node::Told::Failed,
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let message = |message: &Message| [&[0, 2][..], &long_part(&body(message))].concat();
    let request = |request: model::Request| {
        let forward = Message::Forward(Forward { request: node::RequestId(1), asked: request });
        [&[1][..], &long_part(&body(&forward))].concat()
    };
    let (put, get) = requests();
    let come = [3, 2, 3, 3];
    let answers = [[4, 0, 0, 0, 0], [4, 0, 1, 0, 0]].concat();
    let drawn = samples::messages();
    let mut seeds: Vec<Vec<u8>> =
        drawn.chunks(6).map(|some| some.iter().flat_map(message).collect()).collect();
    seeds.push(
        [&come[..], &request(put.clone()), &answers, &request(get.clone()), &answers].concat(),
    );
    seeds.push([&come[..], &request(get.clone()), &[2, 200], &answers, &[2, 255]].concat());
    for (declare, wait) in [(keyspace(), 9), (keyspace(), 200)] {
        seeds.push(
            [&come[..], &request(declare), &answers, &answers, &[2, wait], &answers].concat(),
        );
    }
    let all = [request(put), request(get), vec![5, 2, 2, 50], answers].concat();
    seeds.push([&come[..], &all].concat());
    seeds
}

fn keyspace() -> model::Request {
    let replicas = [(name("here"), 2)].into();
    model::Request::Declare(Declare::Keyspace {
        name: name("new"),
        shards: 8,
        replicas,
        sloppy: false,
    })
}

fn requests() -> (model::Request, model::Request) {
    let (keyspace, table, timeout) = (name("ks"), name("t"), Duration::from_secs(5));
    let value =
        model::Value { content_type: Bytes::from_static(b"a/b"), body: Bytes::from_static(b"v") };
    let put = model::Put {
        sessions: None,
        token: None,
        repeated: false,
        marks: Default::default(),
        keyspace: keyspace.clone(),
        table: table.clone(),
        key: samples::first_key(),
        mutation: model::Mutation::Store(value),
        context: causality::DotSet::new(),
        options: model::WriteOptions::default(),
        timeout,
    };
    let options = model::ReadOptions::default();
    let (key, monotonic) = (samples::first_key(), timeout.as_millis() % 2 == 0);
    let get = model::Get { keyspace, table, key, options, monotonic, sessions: None, timeout };
    (model::Request::Put(put), model::Request::Get(get))
}

/// A sequence of things that happen, each a byte that says which and what belongs to it.
fn live(input: &[u8]) {
    let mut cut = Cut(input);
    let mut world = World::new();
    while !cut.is_empty() {
        match cut.byte() % 6 {
            0 => {
                let from = NodeId::new(u16::from(cut.byte() % 5));
                let bytes = Bytes::copy_from_slice(cut.long_part());
                if let Ok(Some(message)) = wire::decode_message(bytes) {
                    world.step(Input::Received { from, message });
                }
            }
            1 => {
                let bytes = Bytes::copy_from_slice(cut.long_part());
                if let Ok(Some(Message::Forward(forward))) = wire::decode_message(bytes) {
                    world.request(forward.asked);
                }
            }
            2 => world.wait(Duration::from_millis(u64::from(cut.byte()) * 20)),
            3 => world.step(Input::Connected(NodeId::new(u16::from(cut.byte() % 5)))),
            4 => {
                let (which, how) = (cut.byte(), cut.byte());
                let object = codec::object::decode(&Bytes::copy_from_slice(cut.long_part()));
                world.answer(which, how, object.unwrap_or_default());
            }
            _ => world.step(Input::Lost(NodeId::new(u16::from(cut.byte() % 5)))),
        }
        assert!(world.waiting.len() <= 8, "more requests than the node may have");
    }
    // Every request has a deadline, and some time beyond for the answer of another node.
    world.wait(4 * PATIENCE);
    assert!(world.waiting.is_empty(), "{:?} are never answered", world.waiting);
}
