//! What only a disk has that never serves again.

use causality::Dot;
use model::{DiskStep, Mark, Salvage, Salvaged, Token};

use super::harness::*;

const FIRST: u128 = 3;
const SECOND: u128 = 33;

/// Everything that n3's disk held, and a cluster that has given it up. Before that n3 wrote `alone` as
/// nobody could hear it.
fn given_up(alone: &[(&str, &str)]) -> (Cluster, Memory) {
    let mut cluster = Cluster::with_table(3, 3);
    cluster.put(3, "shared", "tea", &none());
    let read = cluster.put(3, "deleted", "rum", &none());
    cluster.wait(2_000);
    cluster.holds = |from, to, _| from == NodeId::new(3) && to != NodeId::new(3);
    for (key, text) in alone {
        let one = WriteOptions { w: Some(Level::One), ..WriteOptions::default() };
        let written = cluster.ask(3, put(key, text, &none(), one));
        assert!(matches!(written, Reply::Written(_)), "{written:?}");
    }
    cluster.holds = |_, _, _| false;
    cluster.held.clear();
    cluster.stop(3);
    let disk = cluster.nodes.get(&NodeId::new(3)).unwrap().1.clone();
    let delete = mutate(key("deleted", ""), Mutation::Delete, &read.context, Default::default());
    assert!(matches!(cluster.ask(1, delete), Reply::Written(_)));
    assert!(matches!(give_up(&mut cluster), Reply::Declared(_)));
    (cluster, disk)
}

fn give_up(cluster: &mut Cluster) -> Reply {
    let step = DiskStep::IsGone(DiskId::new(FIRST));
    cluster.ask(1, Request::Declare(Declare::Disk { node: NodeId::new(3), step }))
}

/// What the disk holds under a key, and in which shard.
fn found(disk: &Memory, partition: &str) -> (u16, Object) {
    let is_meant = |(_, _, place): &&(ShardId, TableId, Key)| *place == key(partition, "");
    let place = disk.objects.keys().find(is_meant).unwrap();
    (place.0.index, disk.objects.get(place).unwrap().clone())
}

fn asked(partition: &str, (shard, found): (u16, Object)) -> Request {
    Request::Salvage(Box::new(Salvage {
        keyspace: name("ks"),
        table: name("t"),
        key: key(partition, ""),
        shard,
        node: NodeId::new(3),
        disk: DiskId::new(FIRST),
        found,
        timeout: Duration::from_secs(5),
    }))
}

fn salvage(cluster: &mut Cluster, at: u16, key: &str, found: (u16, Object)) -> Salvaged {
    match cluster.ask(at, asked(key, found)) {
        Reply::Salvaged(salvaged) => *salvaged,
        other => panic!("{other:?}"),
    }
}

fn dots(object: &Object) -> DotSet {
    object.values().keys().copied().collect()
}

#[test]
fn what_nobody_has_heard_of_is_taken_in_once_beside_what_is_there_and_is_seen_to_be() {
    let (mut cluster, disk) = given_up(&[("k", "lost"), ("shared", "lost too")]);
    cluster.put(1, "k", "newer", &none());
    let lost = found(&disk, "k");
    let salvaged = salvage(&mut cluster, 1, "k", lost.clone());
    assert_eq!(salvaged.recovered, dots(&lost.1));
    let acks = salvaged.receipt.unwrap().acks;
    assert!(acks.len() == 2 && acks.iter().all(|ack| ack.durable), "{acks:?}");
    for at in [1, 2] {
        let read = cluster.get(at, "k", Level::One).object;
        let recovered = |dot: &Dot| read.is_recovered(*dot);
        assert_eq!(read.values().len(), 2);
        assert_eq!(read.values().keys().filter(|dot| recovered(dot)).count(), 1);
    }
    let again = salvage(&mut cluster, 2, "k", lost);
    assert!(again.unheard.is_empty() && again.recovered.is_empty(), "{again:?}");
    // Of two values the other replicas know one.
    let salvaged = salvage(&mut cluster, 2, "shared", found(&disk, "shared"));
    assert_eq!(salvaged.recovered.len(), 1);
    let mut all = texts(&cluster.get(1, "shared", Level::One).object);
    all.sort_unstable();
    assert_eq!(all, ["lost too", "tea"]);
}

#[test]
fn what_was_deleted_since_stays_deleted_also_if_it_was_recovered_before() {
    let (mut cluster, disk) = given_up(&[("k", "lost")]);
    let salvaged = salvage(&mut cluster, 1, "deleted", found(&disk, "deleted"));
    assert!(salvaged.unheard.is_empty(), "{salvaged:?}");
    assert!(cluster.get(2, "deleted", Level::Two).object.values().is_empty());
    salvage(&mut cluster, 1, "k", found(&disk, "k"));
    let read = cluster.get(1, "k", Level::Two).object;
    let delete = mutate(key("k", ""), Mutation::Delete, read.context(), Default::default());
    assert!(matches!(cluster.ask(2, delete), Reply::Written(_)));
    let again = salvage(&mut cluster, 2, "k", found(&disk, "k"));
    assert!(again.unheard.is_empty(), "{again:?}");
    assert!(cluster.get(1, "k", Level::Two).object.values().is_empty());
}

#[test]
fn one_replica_that_has_heard_of_it_is_enough() {
    let (mut cluster, disk) = given_up(&[("k", "lost")]);
    let (shard, lost) = found(&disk, "k");
    // A copy arrives late, and n2 alone is told, and told that it was deleted.
    let (dot, table) =
        (*lost.values().keys().next().unwrap(), disk.objects.keys().next().unwrap().1);
    let deleted = Object::deleted(Dot::new(Incarnation::new(77), 1), [dot].into_iter().collect());
    cluster.holds = |_, _, message| {
        matches!(message, Message::Clocks(_) | Message::Alike(_) | Message::Lack(_))
    };
    let merge = node::Merge {
        request: node::RequestId::NOBODY,
        address: Address { table, key: key("k", "") },
        object: deleted,
        sync: false,
        cause: node::Cause::Write,
        stands_for: None,
    };
    let told = Input::Received { from: NodeId::new(1), message: Message::Merge(merge) };
    cluster.inputs.push_back((NodeId::new(2), told));
    cluster.settle();
    let salvaged = salvage(&mut cluster, 1, "k", (shard, lost));
    assert!(salvaged.unheard.is_empty(), "{salvaged:?}");
    assert!(cluster.get(1, "k", Level::One).object.is_bottom());
}

#[test]
fn what_brings_no_values_only_asks() {
    let (mut cluster, disk) = given_up(&[("k", "lost")]);
    let (shard, lost) = found(&disk, "k");
    let asks = Object::from_parts(BTreeMap::new(), lost.context().clone()).unwrap();
    let told = salvage(&mut cluster, 1, "k", (shard, asks));
    assert_eq!((told.unheard, told.receipt), (dots(&lost), None));
    assert!(cluster.get(1, "k", Level::Two).object.is_bottom());
}

#[test]
fn a_replica_that_cannot_be_asked_could_be_the_one_that_knows() {
    let (mut cluster, disk) = given_up(&[("k", "lost")]);
    let lost = || asked("k", found(&disk, "k"));
    cluster.holds =
        |from, _, message| from == NodeId::new(2) && matches!(message, Message::Recognised(_));
    let ticket = cluster.begin(1, lost());
    cluster.wait(6_000);
    let failed = |reply: &Reply| match reply {
        Reply::Failed(Failure::NotAttempted { lacks, .. }) => lacks.contains("n2"),
        _ => false,
    };
    assert!(failed(&cluster.answers[&ticket]), "{:?}", cluster.answers);
    cluster.holds = |_, _, _| false;
    // A disk that is new and not whole yet says nothing either.
    cluster.holds = |_, _, message| matches!(message, Message::Vouched(_));
    cluster.start_with(3, SECOND);
    cluster.wait(2_000);
    let reply = cluster.ask(1, lost());
    assert!(matches!(reply, Reply::Failed(Failure::NotAttempted { .. })), "{reply:?}");
    cluster.holds = |_, _, _| false;
    cluster.wait(20_000);
    let reply = cluster.ask(1, lost());
    assert!(matches!(reply, Reply::Salvaged(_)), "{reply:?}");
    assert_eq!(texts(&cluster.get(3, "k", Level::One).object), ["lost"]);
}

#[test]
fn one_that_is_away_when_it_is_taken_in_leaves_the_outcome_unknown_and_it_can_be_done_again() {
    let (mut cluster, disk) = given_up(&[("k", "lost")]);
    let lost = || asked("k", found(&disk, "k"));
    cluster.holds = |_, to, message| to == NodeId::new(2) && matches!(message, Message::Merge(_));
    let ticket = cluster.begin(1, lost());
    cluster.stop(2);
    let reply = &cluster.answers[&ticket];
    assert!(
        matches!(reply, Reply::Failed(Failure::Unknown { got: 1, wanted: 2, .. })),
        "{reply:?}"
    );
    assert_eq!(texts(&cluster.get(1, "k", Level::One).object), ["lost"]);
    let reply = cluster.ask(1, lost());
    assert!(matches!(reply, Reply::Failed(Failure::NotAttempted { .. })), "{reply:?}");
}

#[test]
fn a_disk_that_may_still_serve_is_refused_and_so_is_a_key_of_another_shard() {
    let (mut cluster, disk) = given_up(&[("k", "lost")]);
    let (shard, lost) = found(&disk, "k");
    let of = |node, disk, shard| {
        let Request::Salvage(salvage) = asked("k", (shard, lost.clone())) else { panic!() };
        let (node, disk) = (NodeId::new(node), DiskId::new(disk));
        Request::Salvage(Box::new(Salvage { node, disk, ..*salvage }))
    };
    for (node, disk) in [(1, 1), (3, SECOND), (2, FIRST)] {
        let reply = cluster.ask(1, of(node, disk, shard));
        let Reply::Failed(Failure::Refused(refusal)) = &reply else { panic!("{reply:?}") };
        assert!(matches!(refusal, Refusal::DiskNotRetired { .. }), "{refusal}");
    }
    let reply = cluster.ask(1, of(3, FIRST, (shard + 1) % 8));
    let refused = matches!(reply, Reply::Failed(Failure::Refused(Refusal::Contract(_))));
    assert!(refused, "{reply:?}");
    assert!(cluster.get(1, "k", Level::Two).object.is_bottom());
}

#[test]
fn what_a_replica_is_yet_to_write_in_this_life_cannot_be_made_up() {
    let (mut cluster, disk) = given_up(&[("k", "lost")]);
    let (shard, _) = found(&disk, "k");
    let value = Value { content_type: Bytes::new(), body: Bytes::from_static(b"made up") };
    let next = Dot::new(Incarnation::new(2), 1_000);
    let made_up = Object::written(next, none(), value);
    let told = salvage(&mut cluster, 1, "k", (shard, made_up));
    assert!(told.unheard.is_empty(), "{told:?}");
    assert!(cluster.get(1, "k", Level::Two).object.is_bottom());
}

#[test]
fn a_write_that_its_client_has_sent_again_elsewhere_is_known_by_another_name() {
    let (mut cluster, disk) = given_up(&[("k", "lost")]);
    let token = Token::new(0, 7);
    let with_token = || {
        let Request::Put(again) = put("k", "lost", &none(), Default::default()) else { panic!() };
        Request::Put(Put { token: Some(token), repeated: true, ..again })
    };
    let Reply::Written(written) = cluster.ask(1, with_token()) else { panic!() };
    let held = cluster.get(1, "k", Level::Two).object;
    let mark: Mark = *held.marks().values().next().unwrap();
    assert!(written.context.contains(*held.marks().keys().next().unwrap()));
    let (shard, lost) = found(&disk, "k");
    let dot = *lost.values().keys().next().unwrap();
    let lost = lost.marked([(dot, mark.write())].into());
    let told = salvage(&mut cluster, 2, "k", (shard, lost));
    assert_eq!((told.twins.len(), told.recovered.len()), (1, 0), "{told:?}");
    assert_eq!(cluster.get(1, "k", Level::Two).object.values().len(), 1);
}

#[test]
fn a_key_holds_no_more_values_for_it_than_it_may() {
    let (mut cluster, disk) = given_up(&[("k", "lost")]);
    for text in ["a", "b", "c"] {
        cluster.put(1, "k", text, &none());
    }
    let reply = cluster.ask(1, asked("k", found(&disk, "k")));
    let full = Refusal::ManySiblings { siblings: 3, max: 3 };
    assert_eq!(reply, Reply::Failed(full.into()));
    assert_eq!(cluster.get(1, "k", Level::Two).object.values().len(), 3);
}

#[test]
fn what_may_have_been_sent_again_and_deleted_and_forgotten_is_left_to_the_operator() {
    for waits in [8_000_000, 1_000] {
        let (mut cluster, disk) = given_up(&[("k", "lost")]);
        let token = Token::new(0, 7);
        let options = WriteOptions::default();
        let Request::Put(again) = put("k", "lost", &none(), options) else { panic!() };
        let again = Put { token: Some(token), repeated: true, ..again };
        assert!(matches!(cluster.ask(1, Request::Put(again)), Reply::Written(_)));
        let held = cluster.get(1, "k", Level::Two).object;
        let mark = *held.marks().values().next().unwrap();
        let delete = mutate(key("k", ""), Mutation::Delete, held.context(), options);
        let Request::Put(delete) = delete else { panic!() };
        let delete = Put { marks: held.marks().clone(), ..delete };
        assert!(matches!(cluster.ask(1, Request::Put(delete)), Reply::Written(_)));
        cluster.wait(waits);
        let (shard, lost) = found(&disk, "k");
        let dot = *lost.values().keys().next().unwrap();
        let lost = (shard, lost.marked([(dot, mark.write())].into()));
        let told = cluster.ask(2, asked("k", lost));
        match (waits, told) {
            (1_000, Reply::Salvaged(told)) => assert_eq!(told.twins.len(), 1, "{told:?}"),
            (_, told) => {
                assert_eq!(told, Reply::Failed(Refusal::MayBeDeleted { dots: 1 }.into()));
            }
        }
        assert!(texts(&cluster.get(1, "k", Level::Two).object).is_empty());
    }
}
