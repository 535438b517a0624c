//! Messages for tests: any of every kind.

#![allow(dead_code, reason = "each test uses a part")]

mod feed;
#[path = "../../../codec/tests/arbitrary/mod.rs"]
pub(crate) mod parts;

mod compare;
mod repair;
mod salvage;

use std::time::Duration;

use causality::Incarnation;
use model::{
    Ack, Blocker, Cast, Declare, Declared, DiskId, DiskStatus, DiskStep, Enrolment, Explain,
    Explained, Failure, Fate, Forgetting, Get, HintStatus, Holding, KeyspaceId, Kind, Lag, List,
    Listed, Listing, Malformed, Mutation, NodeId, NodeStatus, Policy, Put, Read, ReadOptions,
    Recall, Recalled, Receipt, Refusal, Reply, Request, Seen, Session, ShardId, SiblingRules,
    Spread, Standing, Status, Suspect, TableId, Told, Voting, WriteOptions, Written,
};
use node::{
    Alike, Cause, Clocks, Digest, Doubt, Doubted, Fetch, Fetched, Forgot, Forward, Forwarded,
    Found, Known, Lack, Lacking, Merge, Merged, Message, RequestId, Rest, Scan, Scanned, Sent,
    Stamp, Sums, Verdict, Vouch, Vouched, Want,
};
use parts::{
    ballots, bytes, catalogs, contexts, dot_sets, dots, durabilities, keys, keyspaces, levels,
    marked_objects, names, objects, ranges, replica_maps, sibling_rules, spreads, tables, tokens,
    values, votings,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use replica::{PageNeed, Span};

fn times() -> impl Strategy<Value = Duration> {
    (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(seconds, nanos)| Duration::new(seconds, nanos))
}

fn standings() -> impl Strategy<Value = Standing> {
    prop_oneof![
        Just(Standing::Up),
        Just(Standing::Suspected),
        Just(Standing::Down),
        Just(Standing::Unknown),
    ]
}

fn nodes() -> impl Strategy<Value = NodeId> {
    any::<u16>().prop_map(NodeId::new)
}

fn requests_ids() -> impl Strategy<Value = RequestId> {
    any::<u64>().prop_map(RequestId)
}

fn addresses() -> impl Strategy<Value = model::Address> {
    (any::<u32>(), keys())
        .prop_map(|(table, key)| model::Address { table: TableId::new(table), key })
}

prop_compose! {
    fn acks()(node in nodes(), durable: bool, stands_for in option::of(nodes())) -> Ack {
        Ack { node, durable, stands_for }
    }
}

prop_compose! {
    fn hints()(
        target in nodes(),
        (count, bytes) in any::<(u64, u64)>(),
        oldest in times(),
    ) -> HintStatus {
        HintStatus { target, count, bytes, oldest }
    }
}

/// In whole milliseconds, or not known.
fn staleness() -> impl Strategy<Value = Option<Duration>> {
    option::of(any::<u32>().prop_map(|millis| Duration::from_millis(millis.into())))
}

prop_compose! {
    fn receipts()(
        kind in kinds(),
        dot in option::of(dots()),
        keyspace: u32,
        index: u16,
        acks in vec(acks(), 0..4),
        wanted: u8,
        replicas: u8,
        cast in option::of(any::<(u16, u16)>()),
        staleness in staleness(),
    ) -> Receipt {
        let cast = cast.map(|(got, of)| Cast { got, of });
        let shard = ShardId { keyspace: KeyspaceId::new(keyspace), index };
        Receipt { kind, dot, shard, acks, wanted, replicas, cast, staleness }
    }
}

prop_compose! {
    fn lags()(
        (behind, ahead, gaps, marked) in any::<(u64, u64, u64, u64)>(),
        since in option::of(times()),
    ) -> Lag {
        Lag { behind, ahead, gaps, marked, since }
    }
}

prop_compose! {
    fn node_states()(
        node in nodes(),
        alive: bool,
        region in names(),
        zone in names(),
        standing in standings(),
        lag in option::of(lags().boxed()),
        (enrolled, joining) in any::<(Option<u128>, Option<u128>)>(),
    ) -> NodeStatus {
        let (enrolled, joining) = (enrolled.map(DiskId::new), joining.map(DiskId::new));
        NodeStatus { node, alive, region, zone, standing, lag, enrolled, joining }
    }
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Any), Just(Kind::Partial), Just(Kind::Sloppy), Just(Kind::Strict)]
}

prop_compose! {
    fn read_options()(
        r in option::of(levels()),
        pr in option::of(levels()),
        spread in prop_oneof![Just(Spread::default()), spreads()],
        min in kinds(),
    ) -> ReadOptions {
        ReadOptions { r, pr, spread, min }
    }
}

prop_compose! {
    fn write_options()(
        (w, pw, dw) in (option::of(levels()), option::of(levels()), option::of(levels())),
        spread in prop_oneof![Just(Spread::default()), spreads()],
        min in kinds(),
    ) -> WriteOptions {
        WriteOptions { w, pw, dw, spread, min }
    }
}

prop_compose! {
    fn puts()(
        (keyspace, table, key) in (names(), names(), keys()),
        value in option::of(values()),
        (context, marks) in contexts(),
        (token, repeated) in (option::of(tokens()), any::<bool>()),
        options in write_options(),
        sessions in option::of(vec(sessions(), 0..3)),
        timeout in times(),
    ) -> Put {
        let mutation = value.map_or(Mutation::Delete, Mutation::Store);
        Put {
            keyspace, table, key, mutation, context, token, repeated, marks, sessions, options,
            timeout,
        }
    }
}

fn seen() -> impl Strategy<Value = Seen> {
    prop_oneof![Just(Seen::All), contexts().prop_map(|(dots, _)| Seen::Dots(dots))]
}

fn sessions() -> impl Strategy<Value = Session> {
    (any::<u32>(), any::<u16>(), seen()).prop_map(|(keyspace, index, seen)| {
        let keyspace = KeyspaceId::new(keyspace);
        Session { shard: ShardId { keyspace, index }, seen }
    })
}

fn known() -> impl Strategy<Value = Known> {
    (contexts(), contexts()).prop_map(|((lacking, _), (settled, _))| Known { lacking, settled })
}

prop_compose! {
    fn gets()(
        (keyspace, table, key) in (names(), names(), keys()),
        options in read_options(),
        monotonic: bool,
        sessions in option::of(vec(sessions(), 0..3)),
        timeout in times(),
    ) -> Get {
        Get { keyspace, table, key, options, monotonic, sessions, timeout }
    }
}

prop_compose! {
    fn lists()(
        (keyspace, table) in (names(), names()),
        range in ranges(),
        limit: usize,
        options in read_options(),
        timeout in times(),
    ) -> List {
        List { keyspace, table, range, limit, options, timeout }
    }
}

prop_compose! {
    fn recalls()(
        (keyspace, table) in (names(), names()),
        key in keys(),
        token in tokens(),
        timeout in times(),
    ) -> Recall {
        Recall { keyspace, table, key, token, timeout }
    }
}

fn explained() -> impl Strategy<Value = Explained> {
    let told = (objects(), any::<bool>()).prop_map(|(object, durable)| Told { object, durable });
    let holding = (nodes(), any::<bool>(), option::of(told))
        .prop_map(|(node, is_guest, told)| Holding { node, is_guest, told });
    (receipts(), vec(holding, 0..4), vec(nodes(), 0..3), objects(), objects()).prop_map(
        |(receipt, holdings, asks, shown, merged)| Explained {
            shard: receipt.shard,
            kind: receipt.kind,
            holdings,
            asks,
            shown,
            merged,
        },
    )
}

fn recalled() -> impl Strategy<Value = Recalled> {
    let fates = proptest::sample::select(vec![
        Fate::Applied,
        Fate::Superseded,
        Fate::NotSeen { is_final: false },
        Fate::NotSeen { is_final: true },
        Fate::Expired,
    ]);
    let some = || vec(nodes(), 0..3);
    (fates, option::of(receipts()), some(), some(), some()).prop_map(
        |(fate, receipt, guests, without, silent)| Recalled {
            fate,
            receipt,
            guests,
            without,
            silent,
        },
    )
}

fn declares() -> impl Strategy<Value = Declare> {
    let keyspace = (names(), any::<u16>(), replica_maps(), any::<bool>()).prop_map(
        |(name, shards, replicas, sloppy)| Declare::Keyspace { name, shards, replicas, sloppy },
    );
    let votings = prop_oneof![Just(Voting::default()), votings()];
    let siblings = prop_oneof![Just(SiblingRules::default()), sibling_rules()];
    let table = (names(), names(), durabilities(), levels(), levels(), votings, siblings).prop_map(
        |(keyspace, name, durability, read, write, voting, siblings)| {
            let policy = Policy::Siblings;
            Declare::Table { keyspace, name, policy, durability, read, write, voting, siblings }
        },
    );
    let step = (0..4_u8, any::<u128>().prop_map(DiskId::new)).prop_map(|(step, disk)| match step {
        0 => DiskStep::Joins(disk),
        1 => DiskStep::IsWhole(disk),
        2 => DiskStep::IsBack(disk),
        _ => DiskStep::IsGone(disk),
    });
    let disk = (any::<u16>(), step)
        .prop_map(|(node, step)| Declare::Disk { node: NodeId::new(node), step });
    prop_oneof![keyspace, table, disk]
}

pub(crate) fn requests() -> impl Strategy<Value = Request> {
    prop_oneof![
        puts().prop_map(Request::Put),
        gets().prop_map(Request::Get),
        lists().prop_map(Request::List),
        feed::watches().prop_map(Request::Watch),
        recalls().prop_map(Request::Recall),
        (names(), names(), keys(), times()).prop_map(|(keyspace, table, key, timeout)| {
            Request::Explain(Explain { keyspace, table, key, timeout })
        }),
        declares().prop_map(Request::Declare),
        Just(Request::Status),
        repair::repairs().prop_map(Request::Repair),
        salvage::salvages().prop_map(|salvage| Request::Salvage(Box::new(salvage))).boxed(),
    ]
}

fn refusals() -> impl Strategy<Value = Refusal> {
    let parts = prop_oneof![Just("partition"), Just("sort")];
    let things = prop_oneof![Just("keyspace"), Just("table")];
    let options =
        proptest::sample::select(vec!["r", "pr", "w", "pw", "dw", "read", "write", "min_zones"]);
    let units = proptest::sample::select(vec!["replicas", "votes", "zones"]);
    let misses = prop_oneof![Just("a read"), Just("a write")];
    prop_oneof![
        any::<String>().prop_map(|name| Malformed::Name(name).into()),
        Just(Malformed::EmptyKey.into()),
        (parts, any::<usize>()).prop_map(|(part, bytes)| Malformed::LongKey { part, bytes }.into()),
        names().prop_map(Refusal::UnknownKeyspace),
        (names(), names()).prop_map(|(keyspace, table)| Refusal::UnknownTable { keyspace, table }),
        (things, names(), any::<String>()).prop_map(|(what, name, difference)| Refusal::Exists {
            what,
            name,
            difference
        }),
        any::<String>().prop_map(Refusal::Contract),
        (options.clone(), any::<u8>(), any::<u8>(), units)
            .prop_map(|(what, asked, replicas, of)| Refusal::Level { what, asked, replicas, of }),
        (options.clone(), levels(), names()).prop_map(|(what, level, region)| {
            Refusal::NotLocal { what, level: level.to_string(), region }
        }),
        (options, levels(), levels()).prop_map(|(what, asked, weakest)| Refusal::Weak {
            what,
            asked,
            weakest
        }),
        (misses, vec(nodes(), 0..4), vec(nodes(), 0..4))
            .prop_map(|(what, nodes, written)| { Refusal::MayMiss { what, nodes, written } }),
        any::<(usize, usize)>().prop_map(|(bytes, max)| Refusal::LargeValue { bytes, max }),
        any::<(usize, usize)>().prop_map(|(siblings, max)| Refusal::ManySiblings { siblings, max }),
        any::<usize>().prop_map(|siblings| Refusal::BlindPut { siblings }),
        any::<(usize, usize)>().prop_map(|(bytes, max)| Refusal::LargeObject { bytes, max }),
        prop_oneof![
            any::<u64>().prop_map(|id| Refusal::RepairRuns { id }),
            any::<u64>().prop_map(|dots| Refusal::MayBeDeleted { dots }),
        ],
        (nodes(), any::<u128>())
            .prop_map(|(node, disk)| (node, Box::new(DiskId::new(disk))))
            .prop_map(|(node, disk)| Refusal::DiskNotRetired { node, disk }),
        (names(), any::<(u16, u16)>()).prop_map(|(keyspace, (shard, shards))| {
            Refusal::NoSuchShard { keyspace, shard, shards }
        }),
        Just(Refusal::EmptyDelete),
        any::<u16>().prop_map(|shard| Refusal::CursorExpired { shard }),
        Just(Refusal::TokenReused),
        any::<(u64, u64)>().prop_map(|(seconds, max)| Refusal::TokenExpired { seconds, max }),
        any::<(u64, u64)>().prop_map(|(seconds, max)| Refusal::TokenFromFuture { seconds, max }),
        any::<usize>().prop_map(|max| Refusal::TokenForgotten { max }),
        (vec(nodes(), 0..4), any::<(u64, u64, u64)>()).prop_map(|(nodes, (kept, needs, max))| {
            Refusal::HintsFull { nodes, kept, needs, max }
        }),
        any::<usize>().prop_map(|max| Refusal::Overloaded { max }),
        any::<String>().prop_map(Refusal::Disk),
        any::<(usize, usize)>().prop_map(|(alive, nodes)| Refusal::NoMajority { alive, nodes }),
    ]
}

fn failures() -> impl Strategy<Value = Failure> {
    prop_oneof![
        3 => refusals().prop_map(Failure::Refused),
        1 => any::<(u8, u8, u8, String)>().prop_map(|(wanted, alive, replicas, lacks)| {
            Failure::NotAttempted { wanted, alive, replicas, lacks }
        }),
        1 => (any::<u8>(), any::<u8>(), option::of(receipts()), any::<String>())
            .prop_map(|(wanted, got, receipt, lacks)| Failure::Unknown { wanted, got, receipt, lacks }),
        1 => (any::<u8>(), any::<u8>(), receipts(), any::<String>())
            .prop_map(|(wanted, got, receipt, lacks)| Failure::TooFewAnswers { wanted, got, receipt, lacks }),
        1 => receipts().prop_map(|receipt| Failure::Weaker { receipt }),
        1 => receipts().prop_map(|receipt| Failure::Unsettled { receipt }),
        1 => (option::of(0..u64::MAX), vec(nodes(), 0..4))
            .prop_map(|(missing, asked)| Failure::SessionBehind { missing, asked }),
    ]
}

fn disk_states() -> impl Strategy<Value = DiskStatus> {
    let enrolments = prop_oneof![
        Just(Enrolment::New),
        Just(Enrolment::Enrolled),
        Just(Enrolment::Challenged),
        Just(Enrolment::Unannounced),
        Just(Enrolment::Joining),
        Just(Enrolment::Retired),
    ];
    (any::<(u128, u64, u64)>(), enrolments).prop_map(|((disk, shards, whole), enrolment)| {
        DiskStatus { disk: DiskId::new(disk), enrolment, shards, whole }
    })
}

prop_compose! {
    fn forgettings()(
        (waiting, more, for_retries, dots, runs) in any::<(u64, bool, u64, u64, u64)>(),
        blockers in vec((nodes(), times()), 0..3),
    ) -> Forgetting {
        let blocker = |(node, since)| Blocker { node, since };
        let blockers = blockers.into_iter().map(blocker).collect();
        Forgetting { waiting, more, for_retries, dots, runs, blockers }
    }
}

prop_compose! {
    fn statuses()(
        (node, incarnation, uptime) in (nodes(), any::<u64>(), times()),
        nodes in vec(node_states(), 0..4),
        catalog_version: u64,
        keyspaces in vec(keyspaces(), 0..3),
        tables in vec(tables(), 0..3),
        requests: usize,
        read_repairs: u64,
        log_dropped: u64,
        hints in vec(hints(), 0..3),
        disk in disk_states(),
        forgetting in forgettings(),
        suspects in vec((shards(), times(), vec(nodes(), 0..3)), 0..3),
    ) -> Status {
        let suspect = |(shard, since, waits_for)| Suspect { shard, since, waits_for };
        let suspects = suspects.into_iter().map(suspect).collect();
        let incarnation = Incarnation::new(incarnation);
        Status {
            node, incarnation, uptime, nodes, catalog_version, keyspaces, tables, requests, read_repairs, log_dropped,
            hints, disk, forgetting, suspects,
        }
    }
}

fn any_objects() -> impl Strategy<Value = model::Object> {
    prop_oneof![objects(), marked_objects()]
}

pub(crate) fn replies() -> impl Strategy<Value = Reply> {
    let listing = (keys(), any_objects()).prop_map(|(key, object)| Listing { key, object });
    prop_oneof![
        (contexts(), any::<bool>(), option::of(sessions()), receipts()).prop_map(
            |((context, marks), repeated, session, receipt)| {
                Reply::Written(Written { context, marks, repeated, session, receipt })
            }
        ),
        (any_objects(), option::of(sessions()), receipts()).prop_map(
            |(object, session, receipt)| { Reply::Read(Read { object, session, receipt }) }
        ),
        (vec(listing, 0..4), option::of(ranges()), receipts()).prop_map(
            |(listings, next, receipt)| Reply::Listed(Listed { listings, next, receipt })
        ),
        (keyspaces(), any::<bool>()).prop_map(|(keyspace, created)| {
            Reply::Declared(Declared::Keyspace { keyspace, created })
        }),
        (tables(), any::<bool>())
            .prop_map(|(table, created)| Reply::Declared(Declared::Table { table, created })),
        feed::watched().prop_map(Reply::Watched).boxed(),
        any::<(u16, bool)>().prop_map(|(node, created)| {
            Reply::Declared(Declared::Disk { node: NodeId::new(node), created })
        }),
        recalled().prop_map(Reply::Recalled),
        explained().prop_map(|explained| Reply::Explained(Box::new(explained))).boxed(),
        statuses().prop_map(|status| Reply::Status(Box::new(status))).boxed(),
        repair::repair_statuses().prop_map(|status| Reply::Repair(Box::new(status))).boxed(),
        salvage::salvaged().prop_map(|salvaged| Reply::Salvaged(Box::new(salvaged))).boxed(),
        failures().prop_map(Reply::Failed).boxed(),
    ]
}

fn lefts() -> impl Strategy<Value = Duration> {
    any::<u64>().prop_map(Duration::from_millis)
}

fn data() -> impl Strategy<Value = Message> {
    let causes = prop_oneof![
        Just(Cause::Write),
        Just(Cause::ReadRepair),
        Just(Cause::Exchange),
        Just(Cause::Handoff),
        Just(Cause::Repair)
    ];
    let verdicts = prop_oneof![
        Just(Verdict::Durable),
        Just(Verdict::Buffered),
        Just(Verdict::Failed),
        Just(Verdict::Full)
    ];
    let wants = prop_oneof![Just(Want::Full), Just(Want::Digest)];
    let found = prop_oneof![
        any_objects().prop_map(Found::Full),
        any::<u64>().prop_map(|digest| Found::Digest(Digest(digest))),
        Just(Found::Failed),
    ];
    prop_oneof![
        (requests_ids(), addresses(), any_objects(), any::<bool>(), causes, option::of(nodes()))
            .prop_map(|(request, address, object, sync, cause, stands_for)| {
                Message::Merge(Merge { request, address, object, sync, cause, stands_for })
            }),
        any::<(u64, u64)>().prop_map(|(count, bytes)| Message::Holding { count, bytes }),
        any::<u64>().prop_map(|bytes| Message::Take { bytes }),
        (requests_ids(), verdicts)
            .prop_map(|(request, verdict)| Message::Merged(Merged { request, verdict })),
        (requests_ids(), addresses(), wants, any::<bool>(), lefts(), option::of(seen())).prop_map(
            |(request, address, want, sync, left, seen)| {
                let seen = seen.map(Box::new);
                Message::Fetch(Fetch { request, address, want, sync, left, seen })
            }
        ),
        (requests_ids(), found, any::<bool>(), staleness(), option::of(known())).prop_map(
            |(request, found, durable, staleness, known)| {
                let (known, forgets) = (known.map(Box::new), request.0 % 3 == 0);
                Message::Fetched(Fetched { request, found, durable, staleness, known, forgets })
            },
        ),
    ]
}

prop_compose! {
    fn scans()(
        (request, table, shard) in (requests_ids(), any::<u32>(), any::<u16>()),
        partition in option::of(bytes(0..9)),
        after in option::of(keys()),
        (objects_max, bytes_max) in any::<(usize, usize)>(),
        left in lefts(),
    ) -> Message {
        let (span, need) = (Span { partition, after }, PageNeed { objects_max, bytes_max });
        Message::Scan(Scan { request, table: TableId::new(table), shard, span, need, left })
    }
}

fn agreement() -> impl Strategy<Value = Message> {
    prop_oneof![
        any::<(u64, bool, Option<u128>)>().prop_map(|(catalog_version, deaf, disk)| {
            Message::Probe { catalog_version, deaf, disk: disk.map(DiskId::new) }
        }),
        any::<u64>().prop_map(|catalog_version| Message::Probed { catalog_version }),
        ballots().prop_map(|ballot| Message::Prepare { ballot }),
        (ballots(), ballots(), catalogs()).prop_map(|(ballot, accepted, catalog)| {
            Message::Promised { ballot, accepted, catalog }
        }),
        (ballots(), catalogs()).prop_map(|(ballot, catalog)| Message::Accept { ballot, catalog }),
        ballots().prop_map(|ballot| Message::Accepted { ballot }),
        (ballots(), ballots())
            .prop_map(|(ballot, promised)| Message::Rejected { ballot, promised }),
        catalogs().prop_map(|catalog| Message::Learn { catalog }),
        vec(any::<u8>(), 0..50).prop_map(|packet| Message::Gossip { packet: packet.into() }),
    ]
}

fn shards() -> impl Strategy<Value = ShardId> {
    (0..3_u32, any::<u16>())
        .prop_map(|(keyspace, index)| ShardId { keyspace: KeyspaceId::new(keyspace), index })
}

fn stamps() -> impl Strategy<Value = Stamp> {
    any::<u64>().prop_map(Stamp)
}

fn exchange() -> impl Strategy<Value = Message> {
    let told = (shards(), any::<u64>(), option::of(any::<u64>()), any::<bool>())
        .prop_map(|(shard, clock, tree, is_suspect)| Sums { shard, clock, tree, is_suspect });
    let clocks = (stamps(), stamps(), any::<bool>(), vec(told, 0..6));
    let alike = any::<(u16, u16, bool, u64)>().prop_map(|(stamp, echo, is_busy, sum)| {
        Message::Alike(Alike { stamp, echo, is_busy, sum })
    });
    let others = vec((any::<u16>(), dot_sets(), option::of(dots())), 0..4);
    let lack = (requests_ids(), shards(), dot_sets(), option::of(dots()), any::<u32>(), stamps());
    let objects = vec((addresses(), any_objects()), 0..4);
    let sent = (requests_ids(), objects, option::of(dots()), any::<u64>(), any::<bool>());
    let rest = (option::of(dots()), 0..3_u64, any::<bool>());
    let rests = vec(rest.prop_map(|(next, gaps, forgets)| Rest { next, gaps, forgets }), 0..4);
    let disk = any::<u128>().prop_map(DiskId::new);
    let vouch = (requests_ids(), shards(), disk, option::of(dots())).prop_map(
        |(request, shard, disk, after)| Message::Vouch(Vouch { request, shard, disk, after }),
    );
    let vouched =
        (requests_ids(), dot_sets(), any::<bool>()).prop_map(|(request, forgotten, more)| {
            Message::Vouched(Vouched { request, forgotten, more })
        });
    let keys = || proptest::collection::btree_map(addresses(), dot_sets(), 0..4);
    let doubt = (requests_ids(), shards(), keys())
        .prop_map(|(request, shard, keys)| Message::Doubt(Doubt { request, shard, keys }));
    let held = vec((addresses(), marked_objects()), 0..4);
    let doubted = (requests_ids(), shards(), dot_sets(), held).prop_map(
        |(request, shard, forgotten, held)| {
            Message::Doubted(Doubted { request, shard, forgotten, held })
        },
    );
    let forgot =
        (shards(), keys()).prop_map(|(shard, keys)| Message::Forgot(Forgot { shard, keys }));
    prop_oneof![
        vouch,
        vouched,
        forgot,
        doubt,
        doubted,
        clocks.prop_map(|(stamp, echo, is_busy, shards)| {
            let catalog_version = stamp.0 / 5;
            let (hears_alike, hears_others) = (echo.0 % 2 == 0, echo.0 % 3 == 0);
            Message::Clocks(Clocks {
                stamp,
                echo,
                is_busy,
                catalog_version,
                hears_alike,
                hears_others,
                shards,
            })
        }),
        alike,
        (lack, others).prop_map(|((request, shard, clock, after, credit, stamp), others)| {
            let other = |(index, clock, after)| {
                let shard = ShardId { index, ..shard };
                Lacking { shard, clock, after }
            };
            let credit = usize::try_from(credit).unwrap();
            let echo = Stamp(!stamp.0);
            let catalog_version = stamp.0 / 3;
            Message::Lack(Lack {
                request,
                shard,
                clock,
                after,
                credit,
                is_together: stamp.0 % 2 == 0,
                catalog_version,
                stamp,
                echo,
                others: others.into_iter().map(other).collect(),
            })
        }),
        (sent, rests).prop_map(|((request, objects, next, gaps, forgets), others)| {
            Message::Sent(Sent { request, objects, next, gaps, forgets, others })
        }),
    ]
}

/// Any message.
pub(crate) fn messages() -> impl Strategy<Value = Message> {
    let page = option::of((vec((keys(), any_objects()), 0..4), any::<bool>()));
    prop_oneof![
        // Boxed: all strategies in one would not fit on the stack of a thread.
        2 => data().boxed(),
        1 => exchange().boxed(),
        1 => compare::comparisons().boxed(),
        1 => feed::follows().boxed(),
        1 => salvage::recognitions().boxed(),
        1 => scans().boxed(),
        1 => (requests_ids(), page, staleness()).prop_map(|(request, page, staleness)| {
            let forgets = request.0 % 3 == 0;
            Message::Scanned(Scanned { request, page, staleness, forgets })
        }),
        2 => (requests_ids(), requests().boxed())
            .prop_map(|(request, asked)| Message::Forward(Forward { request, asked })).boxed(),
        2 => (requests_ids(), replies().boxed())
            .prop_map(|(request, reply)| Message::Forwarded(Forwarded { request, reply })).boxed(),
        2 => agreement().boxed(),
    ]
}
