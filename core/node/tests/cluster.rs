//! Three or more nodes on an instant network: what a client sees when all goes well, and
//! when a node is away. Bad networks and bad disks are the simulator's business.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot go on should stop"
)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use catalog::Acceptor;
use causality::{DotSet, Incarnation};
use model::{
    Address, Declare, Declared, Durability, Failure, Get, Key, Kind, Level, Limits, List, Listed,
    Mutation, Name, NodeId, Now, Object, Policy, Put, Range, Read, ReadOptions, Refusal, Reply,
    Request, ShardId, TableId, Value, WriteOptions, Written,
};
use node::{After, Config, Disk, Effect, Forwarded, Input, Message, Node, Ticket};
use placement::{Layout, Member};
use replica::{Change, Page, PageNeed, Span, Store, StoreError};

/// A disk that keeps everything at once.
#[derive(Default)]
struct Memory {
    objects: BTreeMap<(ShardId, TableId, Key), Object>,
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
            .take(need.objects_max + 1)
            .collect();
        let more = need.objects_max < objects.len();
        objects.truncate(need.objects_max);
        Ok(Page { objects, more })
    }

    fn commit(&mut self, change: Change) {
        let Address { table, key } = change.address;
        self.objects.insert((change.shard, table, key), change.object);
    }
}

impl Disk for Memory {
    fn keep_acceptor(&mut self, _: &Acceptor) {}
}

/// Nodes, their disks, and the messages between them, all delivered at once.
struct Cluster {
    nodes: BTreeMap<NodeId, (Node, Memory)>,
    down: BTreeSet<NodeId>,
    now: Now,
    inputs: VecDeque<(NodeId, Input)>,
    answers: BTreeMap<Ticket, Reply>,
    tickets: u64,
}

impl Cluster {
    fn new(size: u16) -> Self {
        let member = Member { region: name("here"), zone: name("z") };
        let ids: Vec<NodeId> = (1..=size).map(NodeId::new).collect();
        let members = ids.iter().map(|id| (*id, member.clone())).collect();
        let layout = Layout { version: 1, members };
        let node = |id: &NodeId| {
            let config = Config {
                id: *id,
                incarnation: Incarnation::new(u64::from(id.number())),
                layout: layout.clone(),
                limits: Limits { siblings_max: 3, ..Limits::default() },
                seed: u64::from(id.number()),
            };
            let node = Node::new(config, BTreeMap::new(), Acceptor::default(), Now::default());
            (*id, (node, Memory::default()))
        };
        let mut cluster = Self {
            nodes: ids.iter().map(node).collect(),
            down: BTreeSet::new(),
            now: Now::default(),
            inputs: VecDeque::new(),
            answers: BTreeMap::new(),
            tickets: 0,
        };
        for (a, b) in ids.iter().flat_map(|a| ids.iter().map(move |b| (*a, *b))) {
            if a != b {
                cluster.inputs.push_back((a, Input::Connected(b)));
            }
        }
        cluster.settle();
        cluster
    }

    /// A cluster with a table of so many replicas.
    fn with_table(size: u16, replicas: u8) -> Self {
        let mut cluster = Self::new(size);
        cluster.ask(1, Request::Declare(keyspace(8, replicas)));
        cluster.ask(1, Request::Declare(table(Durability::Synced)));
        cluster
    }

    fn settle(&mut self) {
        while let Some((at, input)) = self.inputs.pop_front() {
            if self.down.contains(&at) {
                continue;
            }
            let Some((node, disk)) = self.nodes.get_mut(&at) else { continue };
            let mut effects = Vec::new();
            node.step(self.now, input, disk, &mut effects);
            for effect in effects {
                match effect {
                    Effect::Send { to, message, .. } => {
                        self.inputs.push_back((to, Input::Received { from: at, message }));
                    }
                    Effect::Answer { ticket, reply } => {
                        let before = self.answers.insert(ticket, reply);
                        assert_eq!(before, None, "{ticket:?} was answered twice");
                    }
                }
            }
        }
    }

    fn begin(&mut self, at: u16, request: Request) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.inputs.push_back((NodeId::new(at), Input::Requested { ticket, request }));
        self.settle();
        ticket
    }

    fn ask(&mut self, at: u16, request: Request) -> Reply {
        let ticket = self.begin(at, request);
        self.answers.remove(&ticket).unwrap_or_else(|| panic!("no answer"))
    }

    /// Lets time pass, in steps short enough that no probe is missed.
    fn wait(&mut self, millis: u64) {
        for _ in 0..millis.div_ceil(100) {
            self.now = self.now + Duration::from_millis(100);
            let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
            self.inputs.extend(ids.into_iter().map(|id| (id, Input::Woken)));
            self.settle();
        }
    }

    fn stop(&mut self, node: u16) {
        self.down.insert(NodeId::new(node));
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        self.inputs.extend(ids.into_iter().map(|id| (id, Input::Lost(NodeId::new(node)))));
        self.settle();
    }

    fn put(&mut self, at: u16, key: &str, text: &str, context: &DotSet) -> Written {
        match self.ask(at, put(key, text, context, WriteOptions::default())) {
            Reply::Written(written) => written,
            other => panic!("{other:?}"),
        }
    }

    fn get(&mut self, at: u16, key: &str, r: Level) -> Read {
        match self.ask(at, get(key, r)) {
            Reply::Read(read) => read,
            other => panic!("{other:?}"),
        }
    }

    fn list(&mut self, range: Range, limit: usize) -> Listed {
        let options = ReadOptions::default();
        let list = List {
            keyspace: name("ks"),
            table: name("t"),
            range,
            limit,
            options,
            timeout: Duration::from_secs(5),
        };
        match self.ask(2, Request::List(list)) {
            Reply::Listed(listed) => listed,
            other => panic!("{other:?}"),
        }
    }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn key(partition: &str, sort: &str) -> Key {
    Key::new(Bytes::copy_from_slice(partition.as_bytes()), Bytes::copy_from_slice(sort.as_bytes()))
        .unwrap()
}

fn keyspace(shards: u16, replicas: u8) -> Declare {
    Declare::Keyspace { name: name("ks"), shards, replicas: [(name("here"), replicas)].into() }
}

fn table(durability: Durability) -> Declare {
    Declare::Table {
        keyspace: name("ks"),
        name: name("t"),
        policy: Policy::Siblings,
        durability,
        read: Level::Quorum,
        write: Level::Quorum,
    }
}

fn mutate(key: Key, mutation: Mutation, context: &DotSet, options: WriteOptions) -> Request {
    Request::Put(Put {
        keyspace: name("ks"),
        table: name("t"),
        key,
        mutation,
        context: context.clone(),
        options,
        timeout: Duration::from_secs(5),
    })
}

fn put(partition: &str, text: &str, context: &DotSet, options: WriteOptions) -> Request {
    let body = Bytes::copy_from_slice(text.as_bytes());
    let value = Value { content_type: Bytes::from_static(b"text/plain"), body };
    mutate(key(partition, ""), Mutation::Store(value), context, options)
}

fn get(partition: &str, r: Level) -> Request {
    Request::Get(Get {
        keyspace: name("ks"),
        table: name("t"),
        key: key(partition, ""),
        options: ReadOptions { r: Some(r), pr: None },
        timeout: Duration::from_secs(5),
    })
}

fn texts(object: &Object) -> Vec<String> {
    let text = |value: &Value| String::from_utf8(value.body.to_vec()).unwrap();
    object.values().values().map(text).collect()
}

fn none() -> DotSet {
    DotSet::new()
}

#[test]
fn a_write_at_one_node_is_read_at_another_with_receipts() {
    let mut cluster = Cluster::with_table(3, 3);
    let written = cluster.put(1, "k", "hello", &none());
    assert_eq!((written.receipt.kind, written.receipt.wanted), (Kind::Strict, 2));
    assert_eq!(written.receipt.durable(), 2);
    let read = cluster.get(3, "k", Level::Quorum);
    assert_eq!(texts(&read.object), ["hello"]);
    assert_eq!(read.receipt.kind, Kind::Strict);
    assert_eq!(cluster.get(3, "k", Level::One).receipt.kind, Kind::Partial);
    assert!(cluster.get(2, "other", Level::All).object.is_bottom());
}

#[test]
fn concurrent_writers_leave_siblings_and_a_reader_of_both_leaves_one() {
    let mut cluster = Cluster::with_table(3, 3);
    cluster.put(1, "k", "one", &none());
    cluster.put(2, "k", "two", &none());
    let read = cluster.get(3, "k", Level::Quorum);
    assert_eq!(texts(&read.object), ["one", "two"]);
    cluster.put(3, "k", "three", read.object.context());
    assert_eq!(texts(&cluster.get(1, "k", Level::All).object), ["three"]);
}

#[test]
fn a_delete_removes_what_was_read_and_leaves_its_context() {
    let mut cluster = Cluster::with_table(3, 3);
    let written = cluster.put(1, "k", "short-lived", &none());
    let delete =
        |context: &DotSet| mutate(key("k", ""), Mutation::Delete, context, WriteOptions::default());
    let refused = cluster.ask(2, delete(&none()));
    assert_eq!(refused, Reply::Failed(Refusal::EmptyDelete.into()));
    assert!(matches!(cluster.ask(2, delete(&written.context)), Reply::Written(_)));
    assert!(cluster.get(3, "k", Level::Quorum).object.is_tombstone());
}

#[test]
fn writes_go_on_with_one_node_away_and_read_repair_brings_it_up_to_date() {
    let mut cluster = Cluster::with_table(3, 3);
    cluster.stop(3);
    let written = cluster.put(1, "k", "while away", &none());
    assert_eq!(written.receipt.acks.len(), 2);
    let all = WriteOptions { w: Some(Level::All), ..WriteOptions::default() };
    assert_eq!(
        cluster.ask(1, put("k", "too much", &none(), all)),
        Reply::Failed(Failure::NotAttempted { wanted: 3, alive: 2, replicas: 3 })
    );
    cluster.down.clear();
    cluster.wait(3_000);
    let read = cluster.get(3, "k", Level::Quorum);
    assert_eq!(texts(&read.object), ["while away"]);
    let repaired = cluster.get(3, "k", Level::One);
    assert_eq!(texts(&repaired.object), ["while away"], "n3 itself holds it");
}

#[test]
fn a_replica_that_hangs_is_hedged_and_a_write_it_misses_is_unknown() {
    let mut cluster = Cluster::with_table(3, 3);
    cluster.put(1, "k", "before", &none());
    // Nobody is told: n2 and n3 seem alive, and say nothing.
    cluster.down.extend([NodeId::new(2), NodeId::new(3)]);
    let write = cluster.begin(1, put("k", "after", &none(), WriteOptions::default()));
    let read = cluster.begin(1, get("k", Level::Quorum));
    assert!(cluster.answers.is_empty());
    cluster.down.remove(&NodeId::new(3));
    cluster.wait(300);
    let Some(Reply::Read(read)) = cluster.answers.remove(&read) else { panic!("not hedged") };
    assert_eq!(read.receipt.acks.len(), 2);
    cluster.wait(5_000);
    let failed = cluster.answers.remove(&write);
    assert!(
        matches!(failed, Some(Reply::Failed(Failure::Unknown { wanted: 2, got: 1, .. }))),
        "{failed:?}"
    );
}

#[test]
fn any_node_takes_a_request_for_any_key() {
    let mut cluster = Cluster::with_table(5, 3);
    for index in 0..40_u16 {
        let at = index % 5 + 1;
        cluster.put(at, &format!("k{index}"), &format!("v{index}"), &none());
        let read = cluster.get((at + 1) % 5 + 1, &format!("k{index}"), Level::Quorum);
        assert_eq!(texts(&read.object), [format!("v{index}")]);
    }
}

#[test]
fn a_write_is_passed_on_to_the_next_replica_if_one_does_not_know_the_table() {
    let mut cluster = Cluster::with_table(5, 1);
    let mut tried = BTreeSet::new();
    for index in 0..20 {
        let (node, disk) = cluster.nodes.get_mut(&NodeId::new(1)).unwrap();
        let request = put(&format!("k{index}"), "v", &none(), WriteOptions::default());
        let ticket = Ticket(1_000 + index);
        let mut effects = Vec::new();
        node.step(cluster.now, Input::Requested { ticket, request }, disk, &mut effects);
        let [Effect::Send { to, message: Message::Forward(forward), .. }] = effects.as_slice()
        else {
            continue;
        };
        let unknown = Refusal::UnknownTable { keyspace: name("ks"), table: name("t") };
        let reply = Reply::Failed(unknown.into());
        let message = Message::Forwarded(Forwarded { request: forward.request, reply });
        tried.insert(*to);
        let from = *to;
        effects.clear();
        node.step(cluster.now, Input::Received { from, message }, disk, &mut effects);
        let [Effect::Answer { reply: Reply::Failed(failure), .. }] = effects.as_slice() else {
            panic!("{effects:?}");
        };
        assert_eq!(*failure, Failure::NotAttempted { wanted: 1, alive: 1, replicas: 1 });
    }
    assert!(1 < tried.len(), "keys of several other nodes: {tried:?}");
}

#[test]
fn a_list_has_every_key_once_and_in_order_whatever_the_page() {
    let mut cluster = Cluster::with_table(3, 3);
    for index in 0..30 {
        let value = Value { content_type: Bytes::new(), body: Bytes::new() };
        let mutation = Mutation::Store(value);
        let at = key("p", &format!("{index:02}"));
        cluster.ask(1, mutate(at, mutation, &none(), WriteOptions::default()));
    }
    let deleted = key("p", "07");
    let read = cluster.list(Range::Partition { partition: "p".into(), after: None }, 100);
    let context = read.listings[7].object.context().clone();
    cluster.ask(1, mutate(deleted.clone(), Mutation::Delete, &context, WriteOptions::default()));

    for limit in [1, 7, 100] {
        let mut next = Some(Range::Partition { partition: "p".into(), after: None });
        let mut keys = Vec::new();
        while let Some(range) = next {
            let listed = cluster.list(range, limit);
            assert!(listed.listings.len() <= limit);
            keys.extend(listed.listings.into_iter().map(|listing| listing.key));
            next = listed.next;
        }
        assert_eq!(keys.len(), 29, "limit {limit}");
        assert!(keys.is_sorted() && !keys.contains(&deleted));
    }
}

#[test]
fn a_scan_of_a_table_goes_through_all_shards() {
    let mut cluster = Cluster::with_table(3, 3);
    for index in 0..50 {
        cluster.put(1, &format!("k{index}"), "v", &none());
    }
    let mut next = Some(Range::Table { shard: 0, after: None });
    let mut keys = BTreeSet::new();
    while let Some(range) = next {
        let listed = cluster.list(range, 9);
        keys.extend(listed.listings.into_iter().map(|listing| listing.key));
        next = listed.next;
    }
    assert_eq!(keys.len(), 50);
}

#[test]
fn a_declaration_is_known_everywhere_before_it_is_answered() {
    let mut cluster = Cluster::new(3);
    assert!(matches!(
        cluster.ask(2, Request::Declare(keyspace(8, 3))),
        Reply::Declared(Declared::Keyspace { created: true, .. })
    ));
    for at in 1..=3 {
        assert!(matches!(
            cluster.ask(at, Request::Declare(keyspace(8, 3))),
            Reply::Declared(Declared::Keyspace { created: false, .. })
        ));
    }
    assert!(matches!(
        cluster.ask(3, Request::Declare(keyspace(16, 3))),
        Reply::Failed(Failure::Refused(Refusal::Exists { .. }))
    ));
    assert!(matches!(
        cluster.ask(3, Request::Declare(table(Durability::Buffered))),
        Reply::Declared(Declared::Table { created: true, .. })
    ));
}

#[test]
fn a_minority_declares_nothing_and_still_reads_and_writes() {
    let mut cluster = Cluster::with_table(3, 3);
    cluster.stop(2);
    cluster.stop(3);
    assert_eq!(
        cluster.ask(
            1,
            Request::Declare(Declare::Keyspace {
                name: name("more"),
                shards: 8,
                replicas: [(name("here"), 1)].into(),
            })
        ),
        Reply::Failed(Refusal::NoMajority { alive: 1, nodes: 3 }.into())
    );
    let one = WriteOptions { w: Some(Level::One), ..WriteOptions::default() };
    assert!(matches!(cluster.ask(1, put("k", "v", &none(), one)), Reply::Written(_)));
    assert_eq!(texts(&cluster.get(1, "k", Level::One).object), ["v"]);
}

#[test]
fn a_node_that_was_away_learns_the_catalog_from_a_probe() {
    let mut cluster = Cluster::new(3);
    cluster.stop(3);
    cluster.ask(1, Request::Declare(keyspace(8, 3)));
    cluster.ask(1, Request::Declare(table(Durability::Synced)));
    cluster.down.clear();
    cluster.wait(1_000);
    cluster.put(3, "k", "v", &none());
}

#[test]
fn bad_requests_are_refused_and_change_nothing() {
    let mut cluster = Cluster::with_table(3, 3);
    let refusal = |reply| match reply {
        Reply::Failed(Failure::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    };
    let mut unknown = put("k", "v", &none(), WriteOptions::default());
    if let Request::Put(put) = &mut unknown {
        put.table = name("nowhere");
    }
    assert!(matches!(refusal(cluster.ask(1, unknown)), Refusal::UnknownTable { .. }));
    let level = |w| WriteOptions { w: Some(w), ..WriteOptions::default() };
    for w in [Level::Count(0), Level::Count(4)] {
        let refused = cluster.ask(1, put("k", "v", &none(), level(w)));
        assert!(matches!(refusal(refused), Refusal::Level { what: "w", .. }));
    }
    let large = "x".repeat(Limits::default().value_bytes_max + 1);
    let refused = cluster.ask(1, put("k", &large, &none(), WriteOptions::default()));
    assert!(matches!(refusal(refused), Refusal::LargeValue { .. }));
    assert!(cluster.get(1, "k", Level::All).object.is_bottom());
    for index in 0..3 {
        cluster.put(1, "full", &format!("{index}"), &none());
    }
    let refused = cluster.ask(2, put("full", "more", &none(), WriteOptions::default()));
    assert_eq!(refusal(refused), Refusal::ManySiblings { siblings: 3, max: 3 });
}

#[test]
fn only_acknowledgements_wait_for_the_disk() {
    let mut cluster = Cluster::with_table(3, 3);
    let (node, disk) = cluster.nodes.get_mut(&NodeId::new(1)).unwrap();
    let request = put("k", "v", &none(), WriteOptions::default());
    let mut effects = Vec::new();
    node.step(cluster.now, Input::Requested { ticket: Ticket(99), request }, disk, &mut effects);
    let after = |to: u16| {
        let to_node = |effect: &&Effect| matches!(effect, Effect::Send { to: node, .. } if node.number() == to);
        match effects.iter().find(to_node) {
            Some(Effect::Send { after, .. }) => *after,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((after(1), after(2), after(3)), (After::Synced, After::Now, After::Now));
}
