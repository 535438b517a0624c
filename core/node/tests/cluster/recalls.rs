//! What a client is told that asks what became of its write.

use model::{Ack, Fate, Recall, Recalled, Token};

use super::harness::*;

/// The nodes of these tests begin at the first millisecond, and so do tokens.
fn token(number: u128) -> Token {
    Token::new(1_000, number)
}

fn write(number: u128, mutation: Mutation, context: &DotSet, w: Level) -> Request {
    let options = WriteOptions { w: Some(w), ..WriteOptions::default() };
    let Request::Put(put) = mutate(key("k", ""), mutation, context, options) else {
        unreachable!("it is a put");
    };
    Request::Put(Put { token: Some(token(number)), ..put })
}

fn store(text: &'static str) -> Mutation {
    let body = Bytes::from_static(text.as_bytes());
    Mutation::Store(Value { content_type: Bytes::from_static(b"text/plain"), body })
}

fn written(cluster: &mut Cluster, at: u16, request: Request) -> Written {
    match cluster.ask(at, request) {
        Reply::Written(written) => written,
        other => panic!("{other:?}"),
    }
}

fn recall(cluster: &mut Cluster, at: u16, number: u128) -> Recalled {
    let (keyspace, table, key) = (name("ks"), name("t"), key("k", ""));
    let timeout = Duration::from_secs(5);
    let recall = Recall { keyspace, table, key, token: token(number), timeout };
    match cluster.ask(at, Request::Recall(recall)) {
        Reply::Recalled(recalled) => recalled,
        other => panic!("{other:?}"),
    }
}

fn nodes(ids: &[u16]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId::new).collect()
}

fn who_has_it(recalled: &Recalled) -> Vec<Ack> {
    recalled.receipt.as_ref().map(|receipt| receipt.acks.clone()).unwrap_or_default()
}

#[test]
fn a_write_is_told_of_by_exactly_those_who_have_it_on_disk() {
    let mut cluster = Cluster::with_table(3, 3);
    cluster.stop(3);
    let first = written(&mut cluster, 1, write(1, store("one"), &none(), Level::Two));
    let told = recall(&mut cluster, 2, 1);
    assert_eq!((told.fate, &told.silent, &told.without), (Fate::Applied, &nodes(&[3]), &vec![]));
    let on_disk = |node| Ack::of_replica(NodeId::new(node), true);
    assert_eq!(who_has_it(&told), [on_disk(1), on_disk(2)]);
    let receipt = told.receipt.unwrap();
    assert_eq!((receipt.dot, receipt.kind), (first.receipt.dot, Kind::Strict));
    // Nobody asked for the second one yet.
    let told = recall(&mut cluster, 2, 2);
    assert_eq!(told.fate, Fate::NotSeen { is_final: false });
    assert_eq!((told.without, told.silent, told.receipt), (nodes(&[1, 2]), nodes(&[3]), None));
}

#[test]
fn who_asks_what_became_of_a_write_brings_it_to_those_who_lack_it() {
    let mut cluster = Cluster::with_table(3, 3);
    cluster.stop(2);
    cluster.stop(3);
    written(&mut cluster, 1, write(1, store("one"), &none(), Level::One));
    cluster.start(2);
    cluster.start(3);
    let told = recall(&mut cluster, 3, 1);
    assert_eq!((who_has_it(&told).len(), told.without), (1, nodes(&[2, 3])));
    assert_eq!(told.receipt.unwrap().kind, Kind::Partial);
    let told = recall(&mut cluster, 3, 1);
    assert_eq!((who_has_it(&told).len(), told.without), (3, vec![]));
}

#[test]
fn what_was_overwritten_is_superseded_and_a_delete_is_not() {
    let mut cluster = Cluster::with_table(3, 3);
    let first = written(&mut cluster, 1, write(1, store("one"), &none(), Level::All));
    let gone = written(&mut cluster, 2, write(2, Mutation::Delete, &first.context, Level::All));
    assert_eq!(recall(&mut cluster, 3, 1).fate, Fate::Superseded);
    assert_eq!(recall(&mut cluster, 3, 2).fate, Fate::Applied);
    written(&mut cluster, 2, write(3, store("three"), &gone.context, Level::All));
    let fates = [1, 2, 3].map(|number| recall(&mut cluster, 1, number).fate);
    assert_eq!(fates, [Fate::Superseded, Fate::Applied, Fate::Applied]);
}

#[test]
fn that_nobody_has_seen_a_write_is_final_when_nobody_takes_it_and_all_have_said_so() {
    let mut cluster = Cluster::with_table(3, 3);
    let fate = |cluster: &mut Cluster| recall(cluster, 1, 7).fate;
    assert_eq!(fate(&mut cluster), Fate::NotSeen { is_final: false });
    cluster.wait(3_605_000);
    assert_eq!(fate(&mut cluster), Fate::Expired, "a slow clock may take it for five minutes");
    cluster.wait(300_000);
    assert_eq!(fate(&mut cluster), Fate::NotSeen { is_final: true });
    cluster.stop(3);
    assert_eq!(fate(&mut cluster), Fate::Expired, "n3 may have it");
}

#[test]
fn what_only_guests_keep_is_found_and_is_worth_nothing_yet() {
    let mut cluster = Cluster::with_sloppy_table(5, 3);
    let first = cluster.put(1, "k", "first", &none());
    cluster.wait(300);
    let shard = first.receipt.shard;
    let keeps = |(_, disk): &(Node, Memory)| disk.objects.keys().any(|(s, ..)| *s == shard);
    let (replicas, others): (Vec<u16>, Vec<u16>) =
        (1..=5).partition(|id| keeps(cluster.nodes.get(&NodeId::new(*id)).unwrap()));
    replicas.iter().for_each(|node| cluster.stop(*node));
    written(&mut cluster, others[0], write(1, store("kept"), &none(), Level::Any));
    let told = recall(&mut cluster, others[1], 1);
    assert_eq!((told.fate, told.silent), (Fate::Applied, nodes(&replicas)));
    assert!(told.guests.contains(&NodeId::new(others[0])), "{:?}", told.guests);
    let receipt = told.receipt.unwrap();
    assert_eq!((receipt.acks, receipt.kind), (vec![], Kind::Any));
}
