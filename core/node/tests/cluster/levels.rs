//! Levels that are about regions, zones and votes; and what an answer must be worth.

use model::{Holder, Spread};
use node::{Forward, RequestId};

use super::harness::*;

/// Three nodes here and three there, all replicas of every key.
fn two_regions(read: Level, write: Level, voting: Voting) -> Cluster {
    let places = [("eu", "a"), ("eu", "b"), ("eu", "c"), ("us", "a"), ("us", "b"), ("us", "c")];
    let mut cluster = Cluster::at(&places);
    let replicas = [(name("eu"), 3), (name("us"), 3)].into();
    let keyspace = Declare::Keyspace { name: name("ks"), shards: 8, replicas, sloppy: false };
    let table = declared("t", Durability::Synced, read, write, voting);
    assert!(matches!(cluster.ask(1, Request::Declare(keyspace)), Reply::Declared(_)));
    assert!(matches!(cluster.ask(1, Request::Declare(table)), Reply::Declared(_)));
    cluster
}

fn may_miss() -> Voting {
    Voting { may_miss: true, ..Voting::default() }
}

fn at(w: Level) -> WriteOptions {
    WriteOptions { w: Some(w), ..WriteOptions::default() }
}

fn heavy(votes: &[(u16, u8)]) -> Voting {
    let votes = votes.iter().map(|(node, votes)| (Holder::Node(NodeId::new(*node)), *votes));
    Voting { votes: votes.collect(), ..Voting::default() }
}

#[test]
fn a_region_goes_on_alone_at_local_levels_and_each_quorum_waits_for_the_other() {
    let mut cluster = two_regions(Level::LocalQuorum, Level::LocalQuorum, may_miss());
    (4..=6).for_each(|node| cluster.stop(node));
    let written = cluster.put(1, "k", "v", &none());
    assert_eq!((written.receipt.wanted, written.receipt.kind), (2, Kind::Partial));
    assert_eq!(texts(&cluster.get(2, "k", Level::LocalQuorum).object), ["v"]);
    let Reply::Failed(Failure::NotAttempted { wanted, alive, lacks, .. }) =
        cluster.ask(1, put("k", "w", &none(), at(Level::EachQuorum)))
    else {
        panic!("attempted")
    };
    assert_eq!((wanted, alive, lacks.as_str()), (4, 3, "0 of 2 replicas in us"));
}

#[test]
fn what_is_local_to_a_write_is_the_region_where_it_was_asked_for() {
    let mut cluster = Cluster::at(&[("eu", "a"), ("eu", "a"), ("us", "a")]);
    let replicas = [(name("eu"), 2), (name("us"), 1)].into();
    let keyspace = Declare::Keyspace { name: name("ks"), shards: 8, replicas, sloppy: false };
    cluster.ask(1, Request::Declare(keyspace));
    let voting = Voting { weakest_write: Some(Level::LocalOne), ..may_miss() };
    let table = declared("t", Durability::Synced, Level::One, Level::LocalOne, voting);
    cluster.ask(1, Request::Declare(table));
    // Two of three are one of eu at least, and need not be the one of us.
    let asked = put("k", "v", &none(), at(Level::Quorum));
    let refused = refusal(cluster.ask(3, asked.clone()));
    assert!(matches!(refused, Refusal::Weak { weakest: Level::LocalOne, .. }), "{refused:?}");
    // It was asked for in eu, and taken up in us.
    let (node, disk) = cluster.nodes.get_mut(&NodeId::new(3)).unwrap();
    let message = Message::Forward(Forward { request: RequestId(7), asked });
    let mut effects = Vec::new();
    let from = NodeId::new(1);
    node.step(cluster.now, Input::Received { from, message }, disk, &mut effects);
    let merges =
        |effect: &&Effect| matches!(effect, Effect::Send { message: Message::Merge(_), .. });
    assert_eq!(effects.iter().filter(merges).count(), 2, "{effects:?}");
}

#[test]
fn a_node_whose_region_keeps_no_replicas_refuses_local_levels() {
    let mut cluster = Cluster::at(&[("eu", "a"), ("eu", "b"), ("us", "a")]);
    let replicas = [(name("eu"), 2)].into();
    cluster.ask(
        1,
        Request::Declare(Declare::Keyspace {
            name: name("ks"),
            shards: 8,
            replicas,
            sloppy: false,
        }),
    );
    cluster.ask(1, Request::Declare(table(Durability::Synced)));
    let refused = refusal(cluster.ask(3, put("k", "v", &none(), at(Level::LocalOne))));
    assert!(matches!(&refused, Refusal::NotLocal { what: "w", .. }), "{refused:?}");
    assert!(refused.to_string().contains("us keeps no replicas"), "{refused}");
    cluster.put(3, "k", "v", &none());
}

#[test]
fn what_was_written_in_each_region_is_read_strictly_in_one() {
    let mut cluster = two_regions(Level::LocalQuorum, Level::EachQuorum, Voting::default());
    let written = cluster.put(1, "k", "v", &none());
    assert_eq!((written.receipt.kind, written.receipt.wanted), (Kind::Strict, 4));
    let read = cluster.get(5, "k", Level::LocalQuorum);
    assert_eq!(texts(&read.object), ["v"]);
    assert_eq!((read.receipt.kind, read.receipt.wanted), (Kind::Strict, 2));
    let here = [4, 5, 6].map(NodeId::new);
    assert!(read.receipt.acks.iter().all(|ack| here.contains(&ack.node)), "{:?}", read.receipt);
    assert_eq!(cluster.get(5, "k", Level::One).receipt.kind, Kind::Partial);
}

#[test]
fn a_table_whose_reads_can_miss_writes_is_refused_unless_it_says_so() {
    let mut cluster = Cluster::new(3);
    cluster.ask(1, Request::Declare(keyspace(8, 3)));
    let mut ask = |read, write, voting| {
        cluster.ask(1, Request::Declare(declared("t", Durability::Synced, read, write, voting)))
    };
    let refused = refusal(ask(Level::One, Level::Quorum, Voting::default()));
    assert!(matches!(refused, Refusal::MayMiss { what: "a read", .. }), "{refused}");
    let refused = refusal(ask(Level::All, Level::One, Voting::default()));
    assert!(matches!(refused, Refusal::MayMiss { what: "a write", .. }), "{refused}");
    let refused = refusal(ask(Level::Count(4), Level::Quorum, may_miss()));
    assert!(matches!(refused, Refusal::Level { what: "read", replicas: 3, .. }), "{refused}");
    assert!(matches!(ask(Level::One, Level::One, may_miss()), Reply::Declared(_)));
}

#[test]
fn votes_are_counted_and_must_meet() {
    let mut cluster = Cluster::new(3);
    cluster.ask(1, Request::Declare(keyspace(8, 3)));
    let mut ask = |read, write, voting| {
        cluster.ask(1, Request::Declare(declared("t", Durability::Synced, read, write, voting)))
    };
    // Five votes: 3 and 2 fit side by side, as n1 with n3 and n2 alone.
    let five = || heavy(&[(1, 2), (2, 2)]);
    let refused = refusal(ask(Level::Count(2), Level::Count(3), five()));
    assert!(matches!(refused, Refusal::MayMiss { .. }), "{refused}");
    let refused = refusal(ask(Level::Count(3), Level::Count(3), heavy(&[(9, 2)])));
    assert!(refused.to_string().contains("n9"), "{refused}");
    assert!(matches!(ask(Level::Count(3), Level::Count(3), five()), Reply::Declared(_)));
    let written = cluster.put(3, "k", "v", &none());
    assert_eq!((written.receipt.kind, written.receipt.wanted), (Kind::Strict, 2));
    cluster.stop(1);
    assert_eq!(cluster.put(3, "k", "w", &none()).receipt.kind, Kind::Strict);
    cluster.stop(2);
    let reply = cluster.ask(3, put("k", "x", &none(), WriteOptions::default()));
    let Reply::Failed(Failure::NotAttempted { lacks, .. }) = reply else { panic!("{reply:?}") };
    assert_eq!(lacks, "1 of 3 votes");
}

#[test]
fn a_write_waits_for_as_many_zones_as_the_table_says_whoever_has_the_votes() {
    let mut cluster = Cluster::at(&[("here", "a"), ("here", "a"), ("here", "b")]);
    cluster.ask(1, Request::Declare(keyspace(8, 3)));
    let voting = Voting { spread: Spread { nodes: 0, zones: 2 }, ..Voting::default() };
    let table = declared("t", Durability::Synced, Level::Quorum, Level::Quorum, voting);
    cluster.ask(1, Request::Declare(table));
    cluster.stop(3);
    let reply = cluster.ask(1, put("k", "v", &none(), WriteOptions::default()));
    let Reply::Failed(Failure::NotAttempted { lacks, .. }) = reply else { panic!("{reply:?}") };
    assert_eq!(lacks, "1 of 2 zones");
    let three = WriteOptions { spread: Spread { nodes: 0, zones: 3 }, ..WriteOptions::default() };
    let refused = refusal(cluster.ask(1, put("k", "v", &none(), three)));
    assert!(matches!(refused, Refusal::Level { what: "min_zones", replicas: 2, .. }), "{refused}");
}

#[test]
fn a_request_weaker_than_the_table_allows_is_refused() {
    let mut cluster = Cluster::new(3);
    cluster.ask(1, Request::Declare(keyspace(8, 3)));
    let voting = Voting {
        weakest_read: Some(Level::Two),
        weakest_write: Some(Level::Quorum),
        ..Voting::default()
    };
    let table = declared("t", Durability::Synced, Level::Quorum, Level::Quorum, voting.clone());
    cluster.ask(1, Request::Declare(table));
    let refused = refusal(cluster.ask(1, get("k", Level::One)));
    assert!(matches!(refused, Refusal::Weak { what: "r", .. }), "{refused}");
    let refused = refusal(cluster.ask(1, put("k", "v", &none(), at(Level::Any))));
    let says = "w=ANY is weaker than QUORUM, the weakest that the table allows";
    assert_eq!(refused.to_string(), says);
    assert!(cluster.get(1, "k", Level::All).object.is_bottom());
    // It is what is waited for that counts, and not the name.
    let both = WriteOptions { pw: Some(Level::All), ..at(Level::One) };
    assert!(matches!(cluster.ask(1, put("k", "v", &none(), both)), Reply::Written(_)));
    let weak = declared("weak", Durability::Synced, Level::All, Level::One, voting);
    let refused = refusal(cluster.ask(1, Request::Declare(weak)));
    assert!(matches!(refused, Refusal::Weak { what: "write", .. }), "{refused}");
}

#[test]
fn who_demands_a_strict_answer_gets_one_or_an_error_that_says_what_was_done() {
    let mut cluster = Cluster::with_table(3, 3);
    let strict = |w| WriteOptions { min: Kind::Strict, ..at(w) };
    // One acknowledgement would be enough for the level; it waits for a second.
    let reply = cluster.ask(1, put("k", "v", &none(), strict(Level::One)));
    let Reply::Written(written) = reply else { panic!("{reply:?}") };
    assert_eq!((written.receipt.kind, written.receipt.wanted), (Kind::Strict, 2));
    // Nobody is told: n2 and n3 seem alive, and say nothing.
    cluster.down.extend([NodeId::new(2), NodeId::new(3)]);
    let write = cluster.begin(1, put("k", "w", &none(), strict(Level::One)));
    cluster.wait(6_000);
    let reply = cluster.answers.remove(&write);
    let Some(Reply::Failed(Failure::Weaker { receipt })) = reply else { panic!("{reply:?}") };
    assert_eq!((receipt.kind, receipt.acks.len()), (Kind::Partial, 1));
    assert!(receipt.dot.is_some(), "it is written, and the receipt says where");
    let reply = cluster.ask(1, put("k", "x", &none(), strict(Level::One)));
    let Reply::Failed(failure @ Failure::NotAttempted { .. }) = reply else { panic!("{reply:?}") };
    assert!(failure.to_string().contains("opposite request"), "{failure}");
}
