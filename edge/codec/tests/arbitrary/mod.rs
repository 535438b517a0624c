//! Values for tests: any that the core types allow, with a preference for edges.
//!
//! The tests of `wire` use this file too, because the same values travel.

#![allow(dead_code, reason = "each test uses a part")]

use std::collections::BTreeMap;

use bytes::Bytes;
use catalog::{Acceptor, Ballot, Catalog, Disks};
use causality::{Dot, DotSet, Incarnation};
use model::{
    DiskId, Durability, Holder, Key, Keyspace, KeyspaceId, Level, Mark, Marks, Name, NodeId,
    Object, Policy, Position, Range, Reading, ReplicaMap, SHARDS_MAX, SiblingRules, Spread, Table,
    TableId, Token, VOTES_MAX, Value, Voting,
};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;

pub(crate) fn bytes(len: std::ops::Range<usize>) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), len).prop_map(Bytes::from)
}

prop_compose! {
    pub(crate) fn dots()(
        incarnation in prop_oneof![0..3_u64, any::<u64>()],
        seq in prop_oneof![4 => 1..24_u64, 1 => 1..=u64::MAX, 1 => Just(u64::MAX)],
    ) -> Dot {
        Dot::new(Incarnation::new(incarnation), seq)
    }
}

pub(crate) fn dot_sets() -> impl Strategy<Value = DotSet> {
    vec(dots(), 0..20).prop_map(|dots| dots.into_iter().collect())
}

prop_compose! {
    pub(crate) fn values()(
        content_type in prop_oneof![
            Just(Bytes::from("application/json")),
            Just(Bytes::from("application/octet-stream")),
            Just(Bytes::new()),
            bytes(0..20),
        ],
        body in bytes(0..40),
    ) -> Value {
        Value { content_type, body }
    }
}

prop_compose! {
    pub(crate) fn objects()(values in btree_map(dots(), values(), 0..5), seen in dot_sets()) -> Object {
        let mut context = seen;
        let _ = context.union(&values.keys().copied().collect());
        Object::from_parts(values, context).expect("the dots were just added")
    }
}

pub(crate) fn tokens() -> impl Strategy<Value = Token> {
    (0..1_u64 << 48, any::<u128>()).prop_map(|(millis, random)| Token::new(millis, random))
}

prop_compose! {
    /// A set of dots, and the marks of some of them.
    pub(crate) fn contexts()(
        marked in btree_map(dots(), (tokens(), any::<u64>()), 0..5),
        seen in dot_sets(),
    ) -> (DotSet, Marks) {
        let mut context = seen;
        let _ = context.union(&marked.keys().copied().collect());
        let mark = |(token, fingerprint)| Mark { token, fingerprint };
        (context, marked.into_iter().map(|(dot, parts)| (dot, mark(parts))).collect())
    }
}

/// Objects with marks, some of which are of values.
pub(crate) fn marked_objects() -> impl Strategy<Value = Object> {
    (objects(), contexts(), tokens()).prop_map(|(object, (seen, mut marks), token)| {
        let (values, mut context) = object.into_parts();
        let _ = context.union(&seen);
        marks.extend(values.keys().map(|dot| (*dot, Mark { token, fingerprint: dot.seq })));
        let object = Object::from_parts(values, context).expect("nothing was taken out");
        object.marked(marks)
    })
}

prop_compose! {
    pub(crate) fn keys()(partition in bytes(1..12), sort in bytes(0..12)) -> Key {
        Key::new(partition, sort).expect("short parts, and the first is not empty")
    }
}

pub(crate) fn names() -> impl Strategy<Value = Name> {
    let characters = vec(proptest::sample::select(b"abz019_-.".to_vec()), 0..12);
    characters.prop_map(|rest| {
        Name::new(&format!("a{}", String::from_utf8_lossy(&rest))).expect("characters of names")
    })
}

pub(crate) fn levels() -> impl Strategy<Value = Level> {
    prop_oneof![
        Just(Level::One),
        Just(Level::Two),
        Just(Level::Three),
        Just(Level::Quorum),
        Just(Level::All),
        Just(Level::Any),
        Just(Level::LocalOne),
        Just(Level::LocalQuorum),
        Just(Level::EachQuorum),
        any::<u8>().prop_map(Level::Count),
    ]
}

pub(crate) fn durabilities() -> impl Strategy<Value = Durability> {
    prop_oneof![Just(Durability::Synced), Just(Durability::Buffered)]
}

pub(crate) fn replica_maps() -> impl Strategy<Value = ReplicaMap> {
    btree_map(names(), any::<u8>(), 0..4)
}

prop_compose! {
    pub(crate) fn keyspaces()(
        id: u32,
        name in names(),
        shards: u16,
        replicas in replica_maps(),
        sloppy: bool,
    ) -> Keyspace {
        Keyspace { id: KeyspaceId::new(id), name, shards, replicas, sloppy }
    }
}

fn holders() -> impl Strategy<Value = Holder> {
    prop_oneof![
        any::<u16>().prop_map(|node| Holder::Node(NodeId::new(node))),
        (names(), names()).prop_map(|(region, zone)| Holder::Zone(region, zone)),
    ]
}

prop_compose! {
    pub(crate) fn spreads()(nodes: u8, zones: u8) -> Spread {
        Spread { nodes, zones }
    }
}

prop_compose! {
    pub(crate) fn votings()(
        votes in btree_map(holders(), 0..=VOTES_MAX, 0..4),
        spread in spreads(),
        weakest_read in option::of(levels()),
        weakest_write in option::of(levels()),
        may_miss: bool,
    ) -> Voting {
        Voting { votes, spread, weakest_read, weakest_write, may_miss }
    }
}

prop_compose! {
    pub(crate) fn sibling_rules()(
        require_context: bool,
        warn in option::of(1..=u16::MAX),
        max in option::of(1..=u16::MAX),
        bytes_max in option::of(1..=u32::MAX),
    ) -> SiblingRules {
        SiblingRules { require_context, warn, max, bytes_max }
    }
}

prop_compose! {
    pub(crate) fn tables()(
        id: u32,
        keyspace: u32,
        name in names(),
        durability in durabilities(),
        read in levels(),
        write in levels(),
        voting in votings(),
        siblings in sibling_rules(),
    ) -> Table {
        let (id, keyspace) = (TableId::new(id), KeyspaceId::new(keyspace));
        let policy = Policy::Siblings;
        Table { id, keyspace, name, policy, durability, read, write, voting, siblings }
    }
}

/// Distinct disks, of which the last two are enrolled or joining, or neither.
fn disks() -> impl Strategy<Value = Disks> {
    (btree_set(any::<u128>().prop_map(DiskId::new), 2..5), any::<(bool, bool)>()).prop_map(
        |(mut retired, (is_enrolled, is_joining))| {
            let enrolled = retired.pop_last().filter(|_| is_enrolled);
            let joining = retired.pop_first().filter(|_| is_joining);
            Disks { enrolled, joining, retired }
        },
    )
}

prop_compose! {
    pub(crate) fn catalogs()(
        version: u64,
        last_id: u32,
        keyspaces in vec(keyspaces(), 0..4),
        tables in vec(tables(), 0..4),
        disks in btree_map(any::<u16>().prop_map(NodeId::new), disks(), 0..3),
    ) -> Catalog {
        let keyspaces: BTreeMap<_, _> =
            keyspaces.into_iter().map(|keyspace| (keyspace.name.clone(), keyspace)).collect();
        let tables: BTreeMap<_, _> =
            tables.into_iter().map(|table| ((table.keyspace, table.name.clone()), table)).collect();
        Catalog { version, last_id, keyspaces, tables, disks }
    }
}

pub(crate) fn ballots() -> impl Strategy<Value = Ballot> {
    any::<(u64, u16)>().prop_map(|(round, node)| Ballot { round, node: NodeId::new(node) })
}

prop_compose! {
    pub(crate) fn acceptors()(
        promised in ballots(),
        accepted in ballots(),
        catalog in catalogs(),
        learned in catalogs(),
    ) -> Acceptor {
        Acceptor { promised, accepted, catalog, learned }
    }
}

pub(crate) fn ranges() -> impl Strategy<Value = Range> {
    prop_oneof![
        (bytes(1..12), option::of(bytes(0..12)))
            .prop_map(|(partition, after)| Range::Partition { partition, after }),
        (0..SHARDS_MAX, option::of(keys()))
            .prop_map(|(shard, after)| Range::Table { shard, after }),
    ]
}

prop_compose! {
    pub(crate) fn positions()(
        followed in btree_map(0..SHARDS_MAX, dot_sets(), 0..5),
        (shard, after) in (0..SHARDS_MAX, option::of(keys())),
        is_read: bool,
    ) -> Position {
        let reading = is_read.then_some(Reading { shard, after });
        Position { followed, reading }
    }
}
