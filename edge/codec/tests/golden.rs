//! Bytes that were written once and must be readable for ever.
//!
//! Each file in `golden` is one example of a format in hexadecimal. When a test here fails
//! the encoding has changed, and the data of every user with it: add a version instead.
//! `GOLDEN_WRITE=1 cargo test -p codec --test golden` writes the files that do not exist.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use catalog::{Acceptor, Ballot, Catalog, Disks};
use causality::{Dot, DotSet, Incarnation, Run};
use codec::record::{self, Kind};
use codec::token::{self, Place, TokenKey};
use codec::{catalog as contracts, clock, cursor, feed, forgotten, hint, key, log, object, sum};
use model::{
    Address, DiskId, Durability, Holder, Key, Keyspace, KeyspaceId, Level, Mark, Name, NodeId,
    Object, Policy, Position, Range, Reading, ShardId, SiblingRules, Spread, Table, TableId, Token,
    Value, Voting,
};

const A: Incarnation = Incarnation::new(0x0a0a_0a0a_0a0a_0a0a);
const B: Incarnation = Incarnation::new(0xb0b0_b0b0_b0b0_b0b0);

fn hex(bytes: &[u8]) -> String {
    let lines = bytes.chunks(16).map(|line| {
        let digits: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        digits.join(" ") + "\n"
    });
    lines.collect()
}

#[track_caller]
fn assert_golden(name: &str, bytes: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("GOLDEN_WRITE").is_some() && !path.exists() {
        std::fs::write(&path, hex(bytes)).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    assert_eq!(hex(bytes), kept, "the encoding of {name} has changed");
}

/// What one of the files says.
fn kept(name: &str) -> Bytes {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let kept = std::fs::read_to_string(path).unwrap();
    kept.split_whitespace().map(|digits| u8::from_str_radix(digits, 16).unwrap()).collect()
}

fn name(name: &str) -> Name {
    Name::new(name).unwrap()
}

fn read() -> Key {
    Key::new(Bytes::from("sat\0ellite"), Bytes::from("epoch")).unwrap()
}

/// Two values and a tombstone's worth of history.
fn siblings() -> Object {
    let value = |content_type: &'static str, body: &'static str| Value {
        content_type: content_type.into(),
        body: body.into(),
    };
    let values = [
        (Dot::new(A, 7), value("application/json", "{}")),
        (Dot::new(A, 8), value("image/png", "png")),
        (Dot::new(B, 300), value("", "")),
    ];
    let seen = [Dot::new(A, 1), Dot::new(A, 2), Dot::new(B, 3)];
    let context = values.iter().map(|(dot, _)| *dot).chain(seen).collect();
    Object::from_parts(values.into(), context).unwrap()
}

fn contracts() -> Catalog {
    let keyspace = Keyspace {
        id: KeyspaceId::new(1),
        name: name("default"),
        shards: 64,
        replicas: [(name("eu-west"), 3), (name("svalbard"), 1)].into(),
        sloppy: false,
    };
    let table = Table {
        id: TableId::new(2),
        keyspace: keyspace.id,
        name: name("tle"),
        policy: Policy::Siblings,
        durability: Durability::Buffered,
        read: Level::Quorum,
        write: Level::Count(2),
        voting: Voting { may_miss: true, ..Voting::default() },
        siblings: SiblingRules::default(),
    };
    Catalog {
        version: 2,
        last_id: 2,
        keyspaces: [(keyspace.name.clone(), keyspace)].into(),
        tables: [((table.keyspace, table.name.clone()), table)].into(),
        disks: BTreeMap::new(),
    }
}

#[test]
fn objects_in_their_records() {
    let key = key::object_key(TableId::new(2), 17, &read());
    assert_golden("object-key.hex", &key);
    let record = record::seal(Kind::Object, &key, |out| object::encode(&siblings(), out));
    assert_golden("object-record.hex", &record);
}

fn marked() -> Object {
    let token = |random| Token::new(1_800_000_000_000, random);
    let mark = |random| Mark { token: token(random), fingerprint: 0x0102_0304_0506_0708 };
    siblings().marked([(Dot::new(A, 1), mark(1)), (Dot::new(B, 300), mark(2))].into())
}

#[test]
fn objects_with_marks_in_their_records() {
    let key = key::object_key(TableId::new(2), 17, &read());
    let mut record = Vec::new();
    record::seal_object(&key, &marked(), &mut record);
    assert_golden("object-record-2.hex", &record);
    let first = kept("object-record.hex");
    assert_eq!(record::open_object(&key, &first), Ok(siblings()), "the first version is read");
    record::seal_object(&key, &siblings(), &mut record);
    assert_eq!(record, first, "and is written where there are no marks");
}

#[test]
fn contexts_with_marks() {
    let (keyspace, table, key) = (name("default"), name("tle"), read());
    let place = Place { keyspace: &keyspace, table: &table, key: &key };
    let secret = TokenKey::derive(&[1; 32]);
    let token = token::seal_marked(&secret, &place, marked().context(), marked().marks());
    assert_golden("token-2.hex", token.as_bytes());
}

#[test]
fn tombstones() {
    let context = siblings().context().clone();
    let mut bytes = Vec::new();
    object::encode(&Object::deleted(Dot::new(B, 301), context), &mut bytes);
    assert_golden("tombstone.hex", &bytes);
}

#[test]
fn clocks_in_their_records() {
    let shard = ShardId { keyspace: KeyspaceId::new(1), index: 17 };
    let key = clock::clock_key(shard, A);
    assert_golden("clock-key.hex", &key);
    let set: DotSet = [1, 2, 3, 5, 900].into_iter().map(|seq| Dot::new(A, seq)).collect();
    let record = record::seal(Kind::Clock, &key, |out| clock::encode(set.runs_of(A), out));
    assert_golden("clock-record.hex", &record);
}

#[test]
fn forgotten_dots_in_their_records() {
    let shard = ShardId { keyspace: KeyspaceId::new(1), index: 17 };
    let key = forgotten::chunk_key(shard, A, 2);
    assert_golden("forgotten-key.hex", &key);
    let run = |first, last| Run { incarnation: A, first, last };
    let runs = [run(8_192, 8_192), run(8_200, 9_000), run(12_287, 12_287)];
    let record = record::seal(Kind::Forgotten, &key, |out| forgotten::encode(&runs, out));
    assert_golden("forgotten-record.hex", &record);
    let body = record::open(Kind::Forgotten, &key, &kept("forgotten-record.hex")).unwrap();
    assert_eq!(forgotten::decode(A, 2, &body), Ok(runs.to_vec()));
}

#[test]
fn sums_in_their_records() {
    let shard = ShardId { keyspace: KeyspaceId::new(1), index: 17 };
    let key = sum::sum_key(shard);
    let told = (0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210);
    let record = record::seal(Kind::Sum, &key, |out| sum::encode(told, out));
    assert_golden("sum-record.hex", &record);
    let body = record::open(Kind::Sum, &key, &kept("sum-record.hex")).unwrap();
    assert_eq!(sum::decode(&body), Ok(told));
}

#[test]
fn lines_of_a_log_in_their_records() {
    let shard = ShardId { keyspace: KeyspaceId::new(1), index: 17 };
    let run = Run { incarnation: A, first: 299, last: 300 };
    let key = log::log_key(shard, Dot::new(A, 300));
    assert_golden("log-key.hex", &key);
    let address = Address { table: TableId::new(2), key: read() };
    let record = record::seal(Kind::Log, &key, |out| log::encode(&run, &address, out));
    assert_golden("log-record.hex", &record);
    let body = record::open(Kind::Log, &key, &kept("log-record.hex")).unwrap();
    assert_eq!(log::decode(Dot::new(A, 300), &body), Ok((run, address.clone())));
    assert_eq!(record::open_line(&key, &kept("log-record.hex")), Ok((0, body.clone())));
    let line = |out: &mut Vec<u8>| log::encode(&run, &address, out);
    assert_eq!(record::seal_line(&key, 0, line), record, "who adds nothing says nothing of it");
    assert_golden("log-record-2.hex", &record::seal_line(&key, 0x0102_0304, line));
    assert_eq!(record::open_line(&key, &kept("log-record-2.hex")), Ok((0x0102_0304, body)));
}

#[test]
fn acceptors_in_their_records() {
    let ballot = |round| Ballot { round, node: NodeId::new(3) };
    let (promised, accepted) = (ballot(300), ballot(299));
    let learned = Catalog::default();
    let acceptor = Acceptor { promised, accepted, catalog: contracts(), learned };
    let body = |out: &mut Vec<u8>| contracts::encode_acceptor(&acceptor, out);
    // The first version said nothing of votes. Two of four may miss each other.
    let first = kept("acceptor-record.hex");
    let body_of = record::open(Kind::Acceptor, b"acceptor", &first).unwrap();
    assert_eq!(contracts::decode_acceptor(&body_of), Ok(acceptor.clone()));
    // The second said nothing of guests.
    let second = kept("acceptor-record-2.hex");
    let body_of = record::open(Kind::Acceptor, b"acceptor", &second).unwrap();
    assert_eq!(contracts::decode_acceptor(&body_of), Ok(acceptor.clone()));
    // The third said nothing of disks.
    let third = kept("acceptor-record-3.hex");
    let body_of = record::open(Kind::Acceptor, b"acceptor", &third).unwrap();
    assert_eq!(contracts::decode_acceptor(&body_of), Ok(acceptor.clone()));
    // The fourth said nothing of siblings.
    let fourth = kept("acceptor-record-4.hex");
    let body_of = record::open(Kind::Acceptor, b"acceptor", &fourth).unwrap();
    assert_eq!(contracts::decode_acceptor(&body_of), Ok(acceptor.clone()));
    assert_golden("acceptor-record-5.hex", &record::seal(Kind::Acceptor, b"acceptor", body));
}

#[test]
fn tables_whose_replicas_are_counted_in_other_ways() {
    let mut catalog = contracts();
    let table = catalog.tables.values_mut().next().unwrap();
    (table.read, table.write) = (Level::LocalQuorum, Level::EachQuorum);
    let zone = Holder::Zone(name("eu-west"), name("a"));
    table.voting = Voting {
        votes: [(Holder::Node(NodeId::new(300)), 2), (zone, 0)].into(),
        spread: Spread { nodes: 2, zones: 1 },
        weakest_read: Some(Level::LocalOne),
        weakest_write: Some(Level::Count(2)),
        may_miss: false,
    };
    assert_eq!(contracts::decode(&kept("catalog-2.hex")), Ok(catalog.clone()));
    catalog.keyspaces.values_mut().for_each(|keyspace| keyspace.sloppy = true);
    assert_eq!(contracts::decode(&kept("catalog-3.hex")), Ok(catalog.clone()));
    let disk = |bits: u128| DiskId::new(bits << 64 | 7);
    let replaced = Disks {
        enrolled: Some(disk(1)),
        joining: Some(disk(2)),
        retired: [disk(3), disk(4)].into(),
    };
    let evicted = Disks { retired: [disk(5)].into(), ..Disks::default() };
    catalog.disks = [(NodeId::new(1), replaced), (NodeId::new(300), evicted)].into();
    assert_eq!(contracts::decode(&kept("catalog-4.hex")), Ok(catalog.clone()));
    let rules =
        SiblingRules { require_context: true, warn: Some(5), max: None, bytes_max: Some(65_536) };
    catalog.tables.values_mut().for_each(|table| table.siblings = rules);
    let mut bytes = Vec::new();
    contracts::encode(&catalog, &mut bytes);
    assert_golden("catalog-5.hex", &bytes);
    assert_eq!(contracts::decode(&bytes.into()), Ok(catalog));
}

#[test]
fn hints_in_their_records() {
    let address = model::Address { table: TableId::new(2), key: read() };
    let key = hint::hint_key(NodeId::new(300), &address);
    assert_golden("hint-key.hex", &key);
    let body = |out: &mut Vec<u8>| hint::encode(1_700_000_000_000, &siblings(), out);
    assert_golden("hint-record.hex", &record::seal(Kind::Hint, &key, body));
}

#[test]
fn tokens_and_cursors() {
    let (keyspace, table, key) = (name("default"), name("tle"), read());
    let place = Place { keyspace: &keyspace, table: &table, key: &key };
    let secret = TokenKey::derive(&[1; 32]);
    let token = token::seal(&secret, &place, siblings().context());
    assert_golden("token.hex", token.as_bytes());
    let place = cursor::Place { keyspace: &keyspace, table: &table };
    let (partition, after) = (read().partition().clone(), Some(read().sort().clone()));
    let list = cursor::seal(&secret, &place, &Range::Partition { partition, after });
    assert_golden("list-cursor.hex", list.as_bytes());
    let scan = cursor::seal(&secret, &place, &Range::Table { shard: 17, after: Some(read()) });
    assert_golden("scan-cursor.hex", scan.as_bytes());
}

#[test]
fn cursors_of_feeds() {
    let (keyspace, table) = (name("default"), name("tle"));
    let place = cursor::Place { keyspace: &keyspace, table: &table };
    let secret = TokenKey::derive(&[1; 32]);
    let clock: DotSet = [Dot::new(A, 1), Dot::new(A, 2), Dot::new(B, 300)].into_iter().collect();
    let reading = Reading { shard: 18, after: Some(read()) };
    let followed = [(3, DotSet::new()), (17, clock)].into();
    let position = Position { followed, reading: Some(reading) };
    let cursor = feed::seal(&secret, &place, &position).unwrap();
    assert_golden("feed-cursor.hex", cursor.as_bytes());
    assert_eq!(feed::open(&secret, &place, &cursor), Ok(position));
}
