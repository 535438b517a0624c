//! Nodes, their disks, and the messages between them, all delivered at once.

pub(crate) use std::cell::Cell;
pub(crate) use std::collections::{BTreeMap, BTreeSet, VecDeque};
pub(crate) use std::time::Duration;

pub(crate) use bytes::Bytes;
pub(crate) use catalog::{Acceptor, Ballot};
pub(crate) use causality::{DotSet, Incarnation};
pub(crate) use model::{
    Address, Declare, Declared, DiskId, Durability, Failure, Get, Key, Kind, Level, Limits, List,
    Listed, Mutation, Name, NodeId, Now, Object, Policy, Put, Range, Read, ReadOptions, Refusal,
    Reply, Request, Seen, Session, ShardId, SiblingRules, TableId, Value, Voting, WriteOptions,
    Written,
};
pub(crate) use node::{
    After, Config, Disk, Effect, Forwarded, Hint, HintPlace, Input, Message, Node, Owed, Salt,
    Ticket,
};
pub(crate) use placement::{Layout, Member};
pub(crate) use replica::{Change, Page, PageNeed, Span, Store, StoreError};

/// A disk that keeps everything at once.
#[derive(Clone, Default)]
pub(crate) struct Memory {
    pub(crate) objects: BTreeMap<(ShardId, TableId, Key), Object>,
    pub(crate) acceptor: Acceptor,
    pub(crate) log: replica::Log,
    pub(crate) marks: BTreeSet<(ShardId, NodeId)>,
    pub(crate) hints: BTreeMap<HintPlace, Hint>,
    pub(crate) sums: BTreeMap<ShardId, replica::Sum>,
    /// How many bytes of values were stored anew at once, at most, since some of their context was
    /// forgotten.
    pub(crate) trimmed_bytes_max: usize,
    /// How many objects were read, one by one.
    pub(crate) reads: Cell<u64>,
    /// Whether it has fallen behind.
    pub(crate) is_busy: bool,
    /// Whether no object can be read for a while.
    pub(crate) is_unreadable: bool,
}

impl Memory {
    /// What a start finds.
    pub(crate) fn owed(&self) -> BTreeMap<NodeId, Owed> {
        let mut owed: BTreeMap<NodeId, Owed> = BTreeMap::new();
        for (place, hint) in &self.hints {
            owed.entry(place.target).or_default().add(&place.address, hint);
        }
        owed
    }
}

impl Store for Memory {
    fn object(&self, shard: ShardId, address: &Address) -> Result<Option<Object>, StoreError> {
        if self.is_unreadable {
            return Err(StoreError::Io("a test".into()));
        }
        self.reads.set(self.reads.get() + 1);
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
        self.sums.extend(change.sum.map(|sum| (change.shard, sum)));
        let Address { table, key } = change.address;
        self.objects.insert((change.shard, table, key), change.object);
    }

    fn forget(&mut self, shard: ShardId, runs: &[causality::Run]) {
        self.log.forget(shard, runs);
    }

    fn reap(&mut self, reaping: replica::Reaping) {
        self.sums.extend(reaping.sum.map(|sum| (reaping.shard, sum)));
        for (Address { table, key }, _) in reaping.tombstones {
            self.objects.remove(&(reaping.shard, table, key));
        }
        let values = reaping.trimmed.iter().flat_map(|trimmed| trimmed.after.values().values());
        let bytes = values.map(|value| value.body.len()).sum();
        self.trimmed_bytes_max = self.trimmed_bytes_max.max(bytes);
        for replica::Trimmed { address: Address { table, key }, after, .. } in reaping.trimmed {
            self.objects.insert((reaping.shard, table, key), after);
        }
    }
}

impl Disk for Memory {
    fn keep_acceptor(&mut self, acceptor: &Acceptor) {
        self.acceptor = acceptor.clone();
    }

    fn mark(&mut self, shard: ShardId, node: NodeId, lacks: bool) {
        if lacks {
            self.marks.insert((shard, node));
        } else {
            self.marks.remove(&(shard, node));
        }
    }

    fn is_busy(&self) -> bool {
        self.is_busy
    }

    fn keep_sum(&mut self, shard: ShardId, sum: replica::Sum) {
        self.sums.insert(shard, sum);
    }

    fn hint(&self, place: &HintPlace) -> Result<Option<Hint>, StoreError> {
        Ok(self.hints.get(place).cloned())
    }

    fn hints(
        &self,
        target: NodeId,
        after: Option<&Address>,
        need: PageNeed,
    ) -> Result<Vec<(Address, Hint)>, StoreError> {
        let fits = |place: &&HintPlace| {
            place.target == target && after.is_none_or(|after| after < &place.address)
        };
        let found = self.hints.iter().filter(|(place, _)| fits(place));
        let found = found.map(|(place, hint)| (place.address.clone(), hint.clone()));
        Ok(found.take(need.objects_max).collect())
    }

    fn keep_hint(&mut self, place: &HintPlace, hint: Option<&Hint>) {
        match hint {
            Some(hint) => self.hints.insert(place.clone(), hint.clone()),
            None => self.hints.remove(place),
        };
    }
}

/// Nodes, their disks, and the messages between them, all delivered at once.
pub(crate) struct Cluster {
    pub(crate) nodes: BTreeMap<NodeId, (Node, Memory)>,
    pub(crate) down: BTreeSet<NodeId>,
    pub(crate) now: Now,
    pub(crate) inputs: VecDeque<(NodeId, Input)>,
    pub(crate) answers: BTreeMap<Ticket, Reply>,
    pub(crate) tickets: u64,
    /// How often a node was started with another disk, and some more.
    pub(crate) lives: u64,
    pub(crate) layout: Layout,
    /// Which messages the network keeps, from whom and to whom, and those it has.
    pub(crate) holds: fn(NodeId, NodeId, &Message) -> bool,
    pub(crate) held: VecDeque<(NodeId, Input)>,
}

/// What is not said otherwise: nothing is remembered for watchers.
pub(crate) fn limits() -> Limits {
    Limits { changes_retention: Duration::ZERO, ..Limits::default() }
}

/// A node in one of its lives.
pub(crate) fn config(id: NodeId, life: u64, layout: &Layout) -> Config {
    Config {
        id,
        incarnation: Incarnation::new((life << 32) | u64::from(id.number())),
        disk: DiskId::new(id.number().into()),
        layout: layout.clone(),
        limits: Limits { siblings_max: 3, hint_bytes_max: 9 << 19, ..limits() },
        address: format!("host{}:7100", id.number()),
        started_millis: life,
        salt: Salt::new([7; 32]),
        seed: life,
    }
}

impl Cluster {
    pub(crate) fn new(size: u16) -> Self {
        Self::at(&vec![("here", "z"); usize::from(size)])
    }

    /// A cluster of nodes in these regions and zones.
    pub(crate) fn at(places: &[(&str, &str)]) -> Self {
        let ids: Vec<NodeId> = (1..).take(places.len()).map(NodeId::new).collect();
        let member =
            |(region, zone): &(&str, &str)| Member { region: name(region), zone: name(zone) };
        let members = ids.iter().copied().zip(places.iter().map(member)).collect();
        let layout = Layout { version: 1, members };
        let node = |id: &NodeId| {
            let config = config(*id, 0, &layout);
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
            lives: 7,
            layout: layout.clone(),
            holds: |_, _, _| false,
            held: VecDeque::new(),
        };
        for (a, b) in ids.iter().flat_map(|a| ids.iter().map(move |b| (*a, *b))) {
            if a != b {
                cluster.inputs.push_back((a, Input::Connected(b)));
            }
        }
        cluster.settle();
        cluster
    }

    /// A cluster with a table at all its nodes, which have these limits.
    pub(crate) fn with_limits(size: u16, limits: Limits) -> Self {
        let mut cluster = Self::new(size);
        (1..=size).for_each(|id| cluster.limit(id, limits));
        cluster.ask(1, Request::Declare(keyspace(1, size.try_into().unwrap())));
        cluster.ask(1, Request::Declare(table(Durability::Synced)));
        cluster
    }

    /// A node begins anew with these limits.
    pub(crate) fn limit(&mut self, id: u16, limits: Limits) {
        let id = NodeId::new(id);
        let (node, disk) = self.nodes.get_mut(&id).unwrap();
        let config = Config { limits, ..config(id, 1, &self.layout) };
        *node = Node::new(config, BTreeMap::new(), disk.acceptor.clone(), self.now)
            .with_sums(disk.sums.clone());
        for other in self.layout.members.keys().filter(|other| **other != id) {
            self.inputs.push_back((id, Input::Connected(*other)));
        }
        self.settle();
    }

    /// A cluster with a table of so many replicas.
    pub(crate) fn with_table(size: u16, replicas: u8) -> Self {
        let mut cluster = Self::new(size);
        cluster.ask(1, Request::Declare(keyspace(8, replicas)));
        cluster.ask(1, Request::Declare(table(Durability::Synced)));
        cluster
    }

    /// The same with a keyspace whose replicas have guests.
    pub(crate) fn with_sloppy_table(size: u16, replicas: u8) -> Self {
        let mut cluster = Self::new(size);
        let replicas = [(name("here"), replicas)].into();
        let keyspace = Declare::Keyspace { name: name("ks"), shards: 8, replicas, sloppy: true };
        cluster.ask(1, Request::Declare(keyspace));
        cluster.ask(1, Request::Declare(table(Durability::Synced)));
        cluster
    }

    /// A stopped node is there again, in a new life.
    pub(crate) fn start(&mut self, node: u16) {
        self.down.remove(&NodeId::new(node));
        self.restart(node);
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for id in ids.into_iter().filter(|id| *id != NodeId::new(node)) {
            self.inputs.push_back((id, Input::Connected(NodeId::new(node))));
        }
        self.settle();
    }

    /// How many hints all nodes keep.
    pub(crate) fn hints(&self) -> usize {
        self.nodes.values().map(|(_, disk)| disk.hints.len()).sum()
    }

    pub(crate) fn settle(&mut self) {
        while let Some((at, input)) = self.inputs.pop_front() {
            if self.down.contains(&at) {
                continue;
            }
            let Some((node, disk)) = self.nodes.get_mut(&at) else { continue };
            let mut effects = Vec::new();
            node.step(self.now, input, disk, &mut effects);
            for effect in effects {
                match effect {
                    Effect::Located { .. } => {}
                    Effect::Send { to, message, .. } => {
                        let is_held = (self.holds)(at, to, &message);
                        let way = if is_held { &mut self.held } else { &mut self.inputs };
                        way.push_back((to, Input::Received { from: at, message }));
                    }
                    Effect::Answer { ticket, reply } => {
                        let before = self.answers.insert(ticket, reply);
                        assert_eq!(before, None, "{ticket:?} was answered twice");
                    }
                }
            }
        }
    }

    pub(crate) fn begin(&mut self, at: u16, request: Request) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.inputs.push_back((NodeId::new(at), Input::Requested { ticket, request }));
        self.settle();
        ticket
    }

    pub(crate) fn ask(&mut self, at: u16, request: Request) -> Reply {
        let ticket = self.begin(at, request);
        self.answers.remove(&ticket).unwrap_or_else(|| panic!("no answer"))
    }

    /// Lets time pass, in steps short enough that no probe is missed.
    pub(crate) fn wait(&mut self, millis: u64) {
        for _ in 0..millis.div_ceil(100) {
            self.now = self.now + Duration::from_millis(100);
            let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
            self.inputs.extend(ids.into_iter().map(|id| (id, Input::Woken)));
            self.settle();
        }
    }

    pub(crate) fn stop(&mut self, node: u16) {
        self.down.insert(NodeId::new(node));
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        self.inputs.extend(ids.into_iter().map(|id| (id, Input::Lost(NodeId::new(node)))));
        self.settle();
    }

    /// A stopped node comes back with an empty disk of this name.
    pub(crate) fn start_with(&mut self, node: u16, disk: u128) {
        let id = NodeId::new(node);
        self.nodes.get_mut(&id).unwrap().1 = Memory::default();
        self.start_from(node, disk);
    }

    /// A stopped node comes back, and its disk says that it is of this name.
    pub(crate) fn start_from(&mut self, node: u16, disk: u128) {
        let id = NodeId::new(node);
        self.lives += 1;
        let config = Config { disk: DiskId::new(disk), ..config(id, self.lives, &self.layout) };
        let (_, memory) = self.nodes.remove(&id).unwrap();
        let started = Node::new(config, BTreeMap::new(), memory.acceptor.clone(), self.now)
            .with_sums(memory.sums.clone());
        self.nodes.insert(id, (started, memory));
        self.down.remove(&id);
        let others: Vec<NodeId> = self.nodes.keys().copied().filter(|at| *at != id).collect();
        for other in others.into_iter().filter(|other| !self.down.contains(other)) {
            self.inputs.push_back((id, Input::Connected(other)));
            self.inputs.push_back((other, Input::Connected(id)));
        }
        self.settle();
    }

    /// Lets a node begin a new life with what its disk has. No clock is recovered: that is
    /// the business of other tests.
    pub(crate) fn restart(&mut self, id: u16) {
        let id = NodeId::new(id);
        let (_, disk) = self.nodes.remove(&id).unwrap();
        let config = config(id, 1, &self.layout);
        let node = Node::new(config, BTreeMap::new(), disk.acceptor.clone(), self.now)
            .with_hints(disk.owed())
            .with_sums(disk.sums.clone());
        self.nodes.insert(id, (node, disk));
        for other in self.layout.members.keys().filter(|other| **other != id) {
            self.inputs.push_back((id, Input::Connected(*other)));
        }
    }

    pub(crate) fn put(&mut self, at: u16, key: &str, text: &str, context: &DotSet) -> Written {
        match self.ask(at, put(key, text, context, WriteOptions::default())) {
            Reply::Written(written) => written,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn get(&mut self, at: u16, key: &str, r: Level) -> Read {
        match self.ask(at, get(key, r)) {
            Reply::Read(read) => read,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn list(&mut self, range: Range, limit: usize) -> Listed {
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

/// Why a request was refused.
pub(crate) fn refusal(reply: Reply) -> Refusal {
    match reply {
        Reply::Failed(Failure::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn key(partition: &str, sort: &str) -> Key {
    Key::new(Bytes::copy_from_slice(partition.as_bytes()), Bytes::copy_from_slice(sort.as_bytes()))
        .unwrap()
}

pub(crate) fn keyspace(shards: u16, replicas: u8) -> Declare {
    let replicas = [(name("here"), replicas)].into();
    Declare::Keyspace { name: name("ks"), shards, replicas, sloppy: false }
}

pub(crate) fn table(durability: Durability) -> Declare {
    declared("t", durability, Level::Quorum, Level::Quorum, Voting::default())
}

pub(crate) fn declared(
    table: &str,
    durability: Durability,
    read: Level,
    write: Level,
    voting: Voting,
) -> Declare {
    let (keyspace, name, policy) = (name("ks"), name(table), Policy::Siblings);
    let siblings = SiblingRules::default();
    Declare::Table { keyspace, name, policy, durability, read, write, voting, siblings }
}

pub(crate) fn mutate(
    key: Key,
    mutation: Mutation,
    context: &DotSet,
    options: WriteOptions,
) -> Request {
    Request::Put(Put {
        keyspace: name("ks"),
        table: name("t"),
        key,
        mutation,
        context: context.clone(),
        token: None,
        repeated: false,
        marks: Default::default(),
        sessions: None,
        options,
        timeout: Duration::from_secs(5),
    })
}

pub(crate) fn put(partition: &str, text: &str, context: &DotSet, options: WriteOptions) -> Request {
    let body = Bytes::copy_from_slice(text.as_bytes());
    let value = Value { content_type: Bytes::from_static(b"text/plain"), body };
    mutate(key(partition, ""), Mutation::Store(value), context, options)
}

pub(crate) fn get(partition: &str, r: Level) -> Request {
    Request::Get(Get {
        keyspace: name("ks"),
        table: name("t"),
        key: key(partition, ""),
        options: ReadOptions { r: Some(r), ..ReadOptions::default() },
        monotonic: false,
        sessions: None,
        timeout: Duration::from_secs(5),
    })
}

pub(crate) fn texts(object: &Object) -> Vec<String> {
    let text = |value: &Value| String::from_utf8(value.body.to_vec()).unwrap();
    object.values().values().map(text).collect()
}

pub(crate) fn none() -> DotSet {
    DotSet::new()
}
