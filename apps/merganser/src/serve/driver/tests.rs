//! A disk that syncs when the test says so, and a network that remembers: what leaves the
//! driver, and when.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use catalog::{Acceptor, Catalog};
use causality::Incarnation;
use model::{
    Address, Declare, DiskId, Get, Key, Level, Limits, Mutation, Name, NodeId, Now, Object, Policy,
    Put, Request, ShardId, SiblingRules, TableId, Value, Voting, WriteOptions,
};
use node::{Merged, Verdict};
use placement::{Layout, Member};
use replica::{Change, Page, PageNeed, Span, Store, StoreError};
use storage::Done;
use transport::Inbox as _;

use super::*;

const N1: NodeId = NodeId::new(1);
const N2: NodeId = NodeId::new(2);

const STAGED_BYTES_MAX: usize = 1 << 20;

/// Keeps objects in memory, and says that a group is done when the test wants it to.
#[derive(Default)]
struct FakeDisk {
    objects: BTreeMap<(ShardId, Address), Object>,
    staged: usize,
    staged_bytes: usize,
    is_behind: bool,
    /// The groups handed over: how durable, and how many changes.
    groups: Vec<(Durability, usize)>,
    done: Option<Done>,
}

impl Store for FakeDisk {
    fn object(&self, shard: ShardId, address: &Address) -> Result<Option<Object>, StoreError> {
        Ok(self.objects.get(&(shard, address.clone())).cloned())
    }

    fn scan(&self, _: ShardId, _: TableId, _: &Span, _: PageNeed) -> Result<Page, StoreError> {
        Ok(Page::default())
    }

    fn log(
        &self,
        _: ShardId,
        _: causality::Run,
        _: usize,
    ) -> Result<Vec<replica::Entry>, StoreError> {
        Ok(Vec::new())
    }

    fn commit(&mut self, change: Change) {
        self.objects.insert((change.shard, change.address), change.object);
        self.staged += 1;
    }

    fn forget(&mut self, _: ShardId, _: &[causality::Run]) {}

    fn reap(&mut self, reaping: replica::Reaping) {
        for (address, _) in reaping.tombstones {
            self.objects.remove(&(reaping.shard, address));
        }
        for trimmed in reaping.trimmed {
            self.objects.insert((reaping.shard, trimmed.address), trimmed.after);
        }
        self.staged += 1;
    }
}

impl node::Disk for FakeDisk {
    fn keep_acceptor(&mut self, _: &Acceptor) {
        self.staged += 1;
    }

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

    fn keep_hint(&mut self, _: &node::HintPlace, _: Option<&node::Hint>) {
        self.staged += 1;
    }
}

impl Disk for FakeDisk {
    fn staged(&self) -> usize {
        self.staged
    }

    fn staged_bytes(&self) -> usize {
        self.staged_bytes
    }

    fn is_behind(&self) -> bool {
        self.is_behind
    }

    fn flush(&mut self, durability: Durability, done: Done) {
        assert!(self.done.is_none(), "one group at a time");
        self.groups.push((durability, std::mem::take(&mut self.staged)));
        self.done = Some(done);
    }

    fn flushed(&mut self) {
        assert!(self.done.is_none(), "it is not done");
    }

    fn flush_now(&mut self) -> Result<(), FlushError> {
        assert!(self.done.is_none(), "one group at a time");
        self.groups.push((Durability::Buffered, std::mem::take(&mut self.staged)));
        Ok(())
    }

    fn close(self) -> Result<(), FlushError> {
        Ok(())
    }
}

/// What was sent, in order.
#[derive(Default)]
struct FakeNetwork(VecDeque<(NodeId, Message)>);

impl Network for FakeNetwork {
    fn send(&mut self, to: NodeId, message: &Message) {
        self.0.push_back((to, message.clone()));
    }

    fn flush(&mut self) {}

    fn locate(&mut self, _: NodeId, _: String) {}

    fn counts(&self) -> transport::Counts {
        transport::Counts::default()
    }
}

type Answer = oneshot::Receiver<Reply>;

impl Driver<FakeDisk, FakeNetwork> {
    /// One of two nodes, both of which keep every key of the tables `synced` and `buffered`.
    fn fake(id: NodeId) -> Self {
        let zone = |zone: &str| Member { region: name("here"), zone: name(zone) };
        let layout = Layout { version: 1, members: [(N1, zone("a")), (N2, zone("b"))].into() };
        let incarnation = Incarnation::new(id.number().into());
        let config = node::Config {
            id,
            incarnation,
            disk: DiskId::new(id.number().into()),
            layout,
            limits: Limits::default(),
            address: String::new(),
            started_millis: 1,
            salt: node::Salt::new([7; 32]),
            seed: 1,
        };
        let acceptor = Acceptor { learned: tables(), ..Acceptor::default() };
        let node = Node::new(config, BTreeMap::new(), acceptor, Now::default());
        let mailbox = Arc::new(Mailbox::new(100, STAGED_BYTES_MAX));
        let (disk, network) = (FakeDisk::default(), FakeNetwork::default());
        Self::new(id, node, disk, network, mailbox, STAGED_BYTES_MAX, Instant::now())
    }

    /// One turn, so long after the start.
    fn turn_at(&mut self, after: Duration) {
        let turn = self.turn(Now::default() + after, &mut Vec::new());
        assert_eq!(turn.expect("the disk is well"), Turn::Over);
    }

    /// The disk is done with the group in flight.
    fn done(&mut self) {
        let done = self.disk.done.take().expect("a group is in flight");
        done(Ok(()));
    }

    /// A client asks, so long after the start.
    fn ask(&mut self, request: Request, after: Duration) -> Answer {
        let (answer, answered) = oneshot::channel();
        let asked_at = self.started + after;
        self.mailbox.post_asked(Asked { request, answer, asked_at });
        answered
    }

    /// So many clients write to one table, and a turn follows.
    fn write(&mut self, writes: usize, table: &str, after: Duration) -> Vec<Answer> {
        let ask = |_| self.ask(Request::Put(put(table)), after);
        let answers = (0..writes).map(ask).collect();
        self.turn_at(after);
        answers
    }

    /// What was sent since this was asked last, of what replicas say of merges.
    fn sent_merged(&mut self) -> Vec<Merged> {
        let sent = self.network.0.drain(..).filter_map(|(_, message)| {
            if let Message::Merged(merged) = message { Some(merged) } else { None }
        });
        sent.collect()
    }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn tables() -> Catalog {
    let mut catalog = Catalog::default();
    let replicas = [(name("here"), 2)].into();
    let keyspace = Declare::Keyspace { name: name("demo"), shards: 1, replicas, sloppy: false };
    catalog.declare(&keyspace).unwrap();
    for durability in [Durability::Synced, Durability::Buffered] {
        let table = Declare::Table {
            keyspace: name("demo"),
            name: name(durability.as_str()),
            policy: Policy::Siblings,
            durability,
            read: Level::One,
            write: Level::One,
            voting: Voting { may_miss: true, ..Voting::default() },
            siblings: SiblingRules::default(),
        };
        catalog.declare(&table).unwrap();
    }
    catalog.enrol((1..=2).map(|id| (NodeId::new(id), DiskId::new(id.into()))));
    catalog
}

/// A write that is answered when the node that coordinates it has kept it.
fn put(table: &str) -> Put {
    Put {
        sessions: None,
        keyspace: name("demo"),
        table: name(table),
        key: Key::new("key".into(), "".into()).unwrap(),
        mutation: Mutation::Store(Value { content_type: "".into(), body: "value".into() }),
        context: Default::default(),
        token: None,
        repeated: false,
        marks: Default::default(),
        options: WriteOptions::default(),
        timeout: ms(300),
    }
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn is_written(answer: &mut Answer) -> bool {
    matches!(answer.try_recv(), Ok(Reply::Written(_)))
}

fn is_open(answer: &mut Answer) -> bool {
    answer.try_recv() == Err(oneshot::error::TryRecvError::Empty)
}

#[test]
fn a_write_is_neither_answered_nor_acknowledged_before_it_is_on_disk() {
    let (mut one, mut two) = (Driver::fake(N1), Driver::fake(N2));
    let mut answers = one.write(1, "synced", ms(1));
    let (to, merge) = one.network.0.pop_front().expect("a write leaves at once");
    assert!(to == N2 && matches!(merge, Message::Merge(_)), "{merge:?}");
    two.mailbox.received(N1, vec![merge.clone()], 1);
    two.turn_at(ms(2));
    // The same again stages nothing, and is not on disk all the same.
    two.mailbox.received(N1, vec![merge], 1);
    for after in [3, 100, 200] {
        one.turn_at(ms(after));
        two.turn_at(ms(after));
        assert!(is_open(&mut answers[0]), "answered after {after} ms, and not on disk");
        assert_eq!(two.sent_merged(), [], "acknowledged after {after} ms, and not on disk");
    }
    assert_eq!((&one.disk.groups, &two.disk.groups), (&vec![SYNCED_ONE], &vec![SYNCED_ONE]));
    one.done();
    one.turn_at(ms(201));
    assert!(is_written(&mut answers[0]));
    two.done();
    two.turn_at(ms(201));
    let verdicts: Vec<_> = two.sent_merged().into_iter().map(|merged| merged.verdict).collect();
    assert_eq!(verdicts, [Verdict::Durable; 2]);
}

/// A group of one change that has to be on disk.
const SYNCED_ONE: (Durability, usize) = (Durability::Synced, 1);

#[test]
fn what_comes_while_a_group_is_on_its_way_waits_for_the_next() {
    let mut driver = Driver::fake(N1);
    let mut first = driver.write(1, "synced", ms(1));
    let mut second = driver.write(2, "synced", ms(2));
    driver.done();
    driver.turn_at(ms(3));
    assert!(is_written(&mut first[0]) && is_open(&mut second[0]) && is_open(&mut second[1]));
    assert_eq!(driver.disk.groups, [SYNCED_ONE, (Durability::Synced, 2)]);
    driver.done();
    driver.turn_at(ms(4));
    assert!(is_written(&mut second[0]) && is_written(&mut second[1]));
}

#[test]
fn a_group_that_fails_ends_the_driver_and_nobody_is_told_that_it_was_kept() {
    let mut driver = Driver::fake(N1);
    let mut answers = driver.write(1, "synced", ms(1));
    let done = driver.disk.done.take().expect("a group is in flight");
    done(Err(FlushError::Poisoned));
    assert!(driver.turn(Now::default() + ms(2), &mut Vec::new()).is_err());
    assert!(is_open(&mut answers[0]));
    drop(driver);
    assert_eq!(answers[0].try_recv(), Err(oneshot::error::TryRecvError::Closed));
}

#[test]
fn a_lone_client_never_waits_for_others() {
    let mut driver = Driver::fake(N1);
    for round in 1..10 {
        driver.write(1, "synced", ms(round));
        assert_eq!(driver.disk.groups.len() as u64, round, "its group has left");
        driver.done();
        driver.turn_at(ms(round));
    }
}

/// A driver that has just brought a group of ten writes to disk, and handed over nothing
/// since.
fn after_ten(at: Duration) -> Driver<FakeDisk, FakeNetwork> {
    let mut driver = Driver::fake(N1);
    driver.write(10, "synced", at);
    driver.done();
    driver.turn_at(at);
    assert_eq!(driver.disk.groups, [(Durability::Synced, 10)]);
    driver
}

#[test]
fn a_group_waits_for_those_who_were_just_answered_until_all_are_back() {
    let mut driver = after_ten(ms(5));
    driver.write(4, "synced", ms(5));
    driver.write(5, "synced", ms(5));
    assert_eq!(driver.disk.groups.len(), 1, "one is missing");
    let mut last = driver.write(1, "synced", ms(5));
    assert_eq!(driver.disk.groups[1..], [(Durability::Synced, 10)]);
    assert!(is_open(&mut last[0]), "it has left, and is not on disk");
}

#[test]
fn a_group_waits_for_those_who_do_not_come_back_a_millisecond_at_the_most() {
    let mut driver = after_ten(ms(5));
    driver.write(4, "synced", ms(5));
    driver.turn_at(Duration::from_micros(5_999));
    assert_eq!(driver.disk.groups.len(), 1, "the millisecond is not over");
    assert_eq!(driver.flushes_at(), Some(Now::default() + ms(6)), "it wakes itself");
    driver.turn_at(ms(6));
    assert_eq!(driver.disk.groups[1..], [(Durability::Synced, 4)]);
}

#[test]
fn what_was_only_buffered_is_synced_a_second_later_and_once() {
    let mut driver = Driver::fake(N1);
    let mut answers = driver.write(1, "buffered", ms(100));
    assert!(is_written(&mut answers[0]), "nobody waits for the disk");
    driver.write(1, "buffered", ms(600));
    let buffered = [(Durability::Buffered, 1); 2];
    driver.turn_at(ms(1_099));
    assert_eq!(driver.disk.groups, buffered);
    assert_eq!(driver.flushes_at(), Some(Now::default() + ms(1_100)), "it wakes itself");
    driver.turn_at(ms(1_100));
    assert_eq!(driver.disk.groups[2..], [(Durability::Synced, 0)]);
    driver.turn_at(ms(5_000));
    driver.done();
    driver.turn_at(ms(9_000));
    assert_eq!((driver.disk.groups.len(), driver.flushes_at()), (3, None));
}

#[test]
fn what_was_buffered_during_a_sync_is_synced_as_well_also_behind_a_slow_database() {
    let mut driver = Driver::fake(N1);
    driver.write(1, "synced", ms(1));
    let mut answers = driver.write(1, "buffered", ms(2));
    driver.disk.is_behind = true;
    driver.done();
    driver.turn_at(ms(3));
    assert_eq!(driver.disk.groups[1..], [(Durability::Buffered, 1)]);
    assert!(is_open(&mut answers[0]), "it is not handed over yet");
    driver.done();
    driver.turn_at(ms(4));
    assert!(is_written(&mut answers[0]));
    driver.turn_at(ms(1_003));
    assert_eq!(driver.disk.groups[2..], [(Durability::Synced, 0)]);
}

#[test]
fn the_time_of_a_request_begins_when_it_is_asked() {
    let mut driver = Driver::fake(N1);
    driver.mailbox.connected(N2);
    let all = WriteOptions { w: Some(Level::All), ..WriteOptions::default() };
    let request = || Request::Put(Put { options: all, ..put("buffered") });
    let mut late = driver.ask(request(), ms(0));
    let mut later = driver.ask(request(), ms(100));
    driver.turn_at(ms(300));
    let refusal = driver.mailbox.overloaded();
    assert_eq!(late.try_recv(), Ok(refusal), "its 300 ms were over");
    assert_eq!(driver.disk.groups, [(Durability::Buffered, 1)], "it changed nothing");
    driver.turn_at(ms(399));
    assert!(is_open(&mut later));
    driver.turn_at(ms(400));
    let answer = later.try_recv().expect("its 300 ms are over");
    assert!(matches!(answer, Reply::Failed(model::Failure::Unknown { .. })), "{answer:?}");
}

/// Asks, and expects to be refused at once if the driver is choked.
async fn is_refused(driver: &Driver<FakeDisk, FakeNetwork>) -> bool {
    let Put { keyspace, table, key, timeout, .. } = put("synced");
    let options = Default::default();
    let get = Get { keyspace, table, key, options, monotonic: false, sessions: None, timeout };
    let asked = driver.mailbox.ask(Request::Get(get));
    tokio::time::timeout(Duration::ZERO, asked).await.is_ok()
}

#[tokio::test]
async fn a_driver_that_waits_for_its_disk_refuses_clients_until_the_disk_has_caught_up() {
    for is_full_of_bytes in [true, false] {
        let mut driver = Driver::fake(N1);
        driver.write(1, "synced", ms(1));
        let mut waits = driver.ask(Request::Status, ms(1));
        assert!(!is_refused(&driver).await);
        if is_full_of_bytes {
            driver.disk.staged_bytes = STAGED_BYTES_MAX + 1;
        } else {
            let merged = Merged { request: node::RequestId(0), verdict: Verdict::Durable };
            for _ in 0..=HELD_MAX {
                let message = Message::Merged(merged.clone());
                driver.admit(Effect::Send { to: N2, message, after: After::Synced });
            }
        }
        driver.turn_at(ms(2));
        assert!(is_refused(&driver).await);
        assert_eq!(waits.try_recv(), Ok(driver.mailbox.overloaded()));
        driver.done();
        driver.turn_at(ms(3));
        assert!(!is_refused(&driver).await);
    }
}

#[test]
fn a_read_that_has_waited_longer_than_its_asker_would_is_dropped_and_a_write_is_not() {
    let mut two = Driver::fake(N2);
    let table = tables().tables.values().next().expect("there are two").id;
    let address = Address { table, key: Key::new("key".into(), "".into()).unwrap() };
    let fetch = |request, left| {
        let (request, address) = (node::RequestId(request), address.clone());
        let left = Duration::from_millis(left);
        Message::Fetch(node::Fetch {
            request,
            address,
            want: node::Want::Full,
            sync: false,
            left,
            seen: None,
        })
    };
    let merge = Message::Merge(node::Merge {
        request: node::RequestId(4),
        address: address.clone(),
        object: Object::default(),
        sync: false,
        cause: node::Cause::Write,
        stands_for: None,
    });
    // Read from the connection, and then the driver comes to it a second later.
    two.mailbox.received(N1, vec![fetch(1, 900), fetch(2, 0), fetch(3, 5_000), merge], 1);
    two.turn_at(two.started.elapsed() + Duration::from_secs(1));
    let request = |message: &Message| {
        if let Message::Fetched(fetched) = message {
            return Some(fetched.request.0);
        }
        if let Message::Merged(merged) = message { Some(merged.request.0) } else { None }
    };
    let sent = two.network.0.iter();
    let answered: Vec<u64> = sent.filter_map(|(_, message)| request(message)).collect();
    assert_eq!(answered, [2, 3, 4], "zero says nothing about how long the asker waits");
}

#[test]
fn what_peers_say_goes_before_what_clients_ask() {
    let mut one = Driver::fake(N1);
    let _answer = one.ask(Request::Put(put("buffered")), Duration::ZERO);
    one.mailbox.received(
        N2,
        vec![Message::Probe { catalog_version: 0, deaf: false, disk: None }],
        1,
    );
    one.turn_at(Duration::from_millis(1));
    let is_probed = |message: &Message| matches!(message, Message::Probed { .. });
    let is_merge = |message: &Message| matches!(message, Message::Merge(_));
    let sent: Vec<&Message> = one.network.0.iter().map(|(_, message)| message).collect();
    let probed = sent.iter().position(|message| is_probed(message));
    let merge = sent.iter().position(|message| is_merge(message));
    assert!(probed.is_some() && merge.is_none_or(|merge| probed < Some(merge)), "{sent:?}");
}

#[test]
fn a_disk_that_does_not_come_back_is_seen_by_those_who_look_after_the_node() {
    let mut one = Driver::fake(N1);
    let _answers = one.write(1, "synced", Duration::ZERO);
    std::thread::sleep(Duration::from_millis(20));
    let examined = one.examine();
    assert!(Duration::from_millis(20) <= examined.disk_waits, "{:?}", examined.disk_waits);
    one.done();
    one.turn_at(Duration::from_millis(40));
    let examined = one.examine();
    assert_eq!((examined.disk_waits, examined.measured.syncs.count()), (Duration::ZERO, 1));
}

#[test]
fn how_requests_end_is_counted_by_kind_and_outcome() {
    let mut one = Driver::fake(N1);
    let mut answers = one.write(3, "buffered", Duration::ZERO);
    let mut late = put("buffered");
    late.timeout = Duration::from_millis(10);
    answers.push(one.ask(Request::Put(late), Duration::ZERO));
    one.turn_at(Duration::from_millis(20));
    let measured = one.examine().measured;
    let count = |outcome| measured.requests(Kind::Put, outcome).count();
    use super::super::measured::Outcome;
    assert_eq!((count(Outcome::Met), count(Outcome::Overloaded)), (3, 1));
}
