//! Sloppy keyspaces: who stands in for replicas that are away, what that is worth, and how
//! they get what they missed.

use model::Token;

use super::harness::*;

/// The replicas of a key, and the others.
pub(crate) fn sides(cluster: &mut Cluster, key: &str) -> (Vec<u16>, Vec<u16>) {
    let written = cluster.put(1, key, "first", &none());
    cluster.wait(300);
    let at = |node: &u16| {
        let (_, disk) = cluster.nodes.get(&NodeId::new(*node)).unwrap();
        let is_key = |(shard, _, found): &(ShardId, TableId, Key)| {
            *shard == written.receipt.shard && found.partition() == key.as_bytes()
        };
        disk.objects.keys().any(is_key)
    };
    cluster.nodes.keys().map(|node| node.number()).partition(at)
}

fn guests_of(written: &Written) -> Vec<(NodeId, NodeId)> {
    let guests = written.receipt.acks.iter();
    guests.filter_map(|ack| Some((ack.node, ack.stands_for?))).collect()
}

/// Every replica of the key holds exactly these values.
fn assert_all_hold(cluster: &Cluster, replicas: &[u16], key: &str, wanted: &[&str]) {
    for replica in replicas {
        let (_, disk) = cluster.nodes.get(&NodeId::new(*replica)).unwrap();
        let is_key = |(_, _, found): &&(ShardId, TableId, Key)| found.partition() == key.as_bytes();
        let place = disk.objects.keys().find(is_key).unwrap();
        assert_eq!(texts(disk.objects.get(place).unwrap()), wanted, "n{replica}");
    }
}

#[test]
fn with_two_of_three_replicas_away_guests_take_the_write_and_hand_it_over_later() {
    let mut cluster = Cluster::with_sloppy_table(5, 3);
    let (replicas, _) = sides(&mut cluster, "k");
    let before = cluster.get(1, "k", Level::All).object;
    let (here, away) = (replicas[0], [replicas[1], replicas[2]]);
    away.iter().for_each(|node| cluster.stop(*node));

    let written = cluster.put(here, "k", "second", before.context());
    assert_eq!((written.receipt.kind, written.receipt.wanted), (Kind::Sloppy, 2));
    let [(_, stood_for)] = guests_of(&written)[..] else { panic!("{written:?}") };
    assert!(away.contains(&stood_for.number()));
    // Readers find it where it went, also without the replica that accepted it.
    let read = cluster.get(here, "k", Level::Quorum);
    assert_eq!((texts(&read.object), read.receipt.kind), (vec!["second".into()], Kind::Sloppy));

    assert_eq!(cluster.hints(), 2);
    away.iter().for_each(|node| cluster.start(*node));
    cluster.wait(3_000);
    assert_eq!(cluster.hints(), 0);
    assert_all_hold(&cluster, &replicas, "k", &["second"]);
}

#[test]
fn without_any_replica_the_node_that_is_asked_mints_and_each_replica_is_owed_the_write() {
    let mut cluster = Cluster::with_sloppy_table(5, 3);
    let (replicas, others) = sides(&mut cluster, "k");
    replicas.iter().for_each(|node| cluster.stop(*node));
    let asked = others[0];

    let written = cluster.put(asked, "k", "one", &none());
    assert_eq!((written.receipt.kind, written.receipt.acks.len()), (Kind::Any, 2));
    let again = cluster.put(asked, "k", "two", &written.context);
    let dots = [written, again].map(|written| written.receipt.dot.unwrap());
    assert_eq!(dots[0].incarnation, dots[1].incarnation);
    assert_eq!([dots[0].seq, dots[1].seq], [1, 2]);
    let read = cluster.get(others[1], "k", Level::Quorum);
    assert_eq!((texts(&read.object), read.receipt.kind), (vec!["two".into()], Kind::Any));

    replicas.iter().for_each(|node| cluster.start(*node));
    cluster.wait(4_000);
    assert_eq!(cluster.hints(), 0);
    // Nobody had read the first value when all replicas were away.
    assert_all_hold(&cluster, &replicas, "k", &["first", "two"]);
}

#[test]
fn where_guests_are_few_they_stand_in_for_those_whom_the_level_cannot_do_without() {
    let places: Vec<(&str, &str)> = [("a", "z"); 3].into_iter().chain([("b", "z"); 5]).collect();
    let mut cluster = Cluster::at(&places);
    let replicas = [(name("a"), 3), (name("b"), 3)].into();
    let keyspace = Declare::Keyspace { name: name("ks"), shards: 8, replicas, sloppy: true };
    cluster.ask(1, Request::Declare(keyspace));
    let voting = Voting { may_miss: true, ..Voting::default() };
    let local = Level::LocalQuorum;
    cluster.ask(1, Request::Declare(declared("t", Durability::Synced, local, local, voting)));
    let (replicas, _) = sides(&mut cluster, "k");
    let near: Vec<u16> = replicas.into_iter().filter(|node| 3 < *node).collect();
    // Of five nodes three are left, of which two keep nothing; and five replicas are away.
    [1, 2, 3, near[1], near[2]].into_iter().for_each(|node| cluster.stop(node));
    let written = cluster.put(near[0], "k", "second", &none());
    let [(_, stood_for)] = guests_of(&written)[..] else { panic!("{written:?}") };
    assert!(near.contains(&stood_for.number()), "{written:?}");
    let read = cluster.get(near[0], "k", local);
    assert!(texts(&read.object).contains(&"second".into()), "{read:?}");
}

#[test]
fn hints_survive_a_restart_of_their_guest() {
    let mut cluster = Cluster::with_sloppy_table(4, 3);
    let (replicas, _) = sides(&mut cluster, "k");
    cluster.stop(replicas[2]);
    let written = cluster.put(replicas[0], "k", "second", &none());
    let guest = (1..=4).find(|node| !replicas.contains(node)).unwrap();
    assert_eq!((written.receipt.kind, cluster.hints()), (Kind::Strict, 1));
    cluster.restart(guest);
    cluster.start(replicas[2]);
    cluster.wait(3_000);
    assert_eq!(cluster.hints(), 0);
    assert_all_hold(&cluster, &replicas, "k", &["first", "second"]);
}

#[test]
fn what_was_kept_for_a_node_that_is_no_replica_any_more_is_as_old_for_those_who_are() {
    let mut cluster = Cluster::with_sloppy_table(5, 3);
    let (replicas, others) = sides(&mut cluster, "k");
    let (_, disk) = cluster.nodes.get(&NodeId::new(replicas[0])).unwrap();
    let ((_, table, key), object) = disk.objects.iter().next().unwrap();
    let address = Address { table: *table, key: key.clone() };
    let hint = Hint { since_millis: 0, object: object.clone() };
    replicas.iter().for_each(|node| cluster.stop(*node));
    let [guest, target] = [others[0], others[1]].map(NodeId::new);
    let (_, disk) = cluster.nodes.get_mut(&guest).unwrap();
    disk.hints.insert(HintPlace { target, address }, hint);
    cluster.restart(guest.number());
    cluster.wait(3_000);
    let (_, disk) = cluster.nodes.get(&guest).unwrap();
    let kept: Vec<_> =
        disk.hints.iter().map(|(place, hint)| (place.target.number(), hint.since_millis)).collect();
    assert_eq!(kept, [0, 1, 2].map(|index| (replicas[index], 0)));
}

#[test]
fn guests_do_not_count_for_pw_nor_in_a_strict_keyspace_nor_for_more_than_is_demanded() {
    let mut cluster = Cluster::with_sloppy_table(5, 3);
    let (replicas, _) = sides(&mut cluster, "k");
    replicas[1..].iter().for_each(|node| cluster.stop(*node));
    let pw = WriteOptions { pw: Some(Level::Two), ..WriteOptions::default() };
    let strict = WriteOptions { min: Kind::Strict, ..WriteOptions::default() };
    for options in [pw, strict] {
        let reply = cluster.ask(replicas[0], put("k", "v", &none(), options));
        assert!(matches!(reply, Reply::Failed(Failure::NotAttempted { .. })), "{reply:?}");
    }
    let sloppy = WriteOptions { min: Kind::Sloppy, ..WriteOptions::default() };
    let reply = cluster.ask(replicas[0], put("k", "v", &none(), sloppy));
    assert!(matches!(reply, Reply::Written(_)), "{reply:?}");

    let mut cluster = Cluster::with_table(5, 3);
    let (replicas, _) = sides(&mut cluster, "k");
    replicas[1..].iter().for_each(|node| cluster.stop(*node));
    let reply = cluster.ask(replicas[0], put("k", "v", &none(), WriteOptions::default()));
    assert!(matches!(reply, Reply::Failed(Failure::NotAttempted { .. })), "{reply:?}");
    assert_eq!(cluster.hints(), 0);
}

#[test]
fn a_replica_that_says_nothing_gets_a_guest_before_the_client_gives_up() {
    let mut cluster = Cluster::with_sloppy_table(5, 3);
    let (replicas, _) = sides(&mut cluster, "k");
    // Nobody is told: they seem alive, and say nothing.
    cluster.down.extend(replicas[1..].iter().map(|node| NodeId::new(*node)));
    let write = cluster.begin(replicas[0], put("k", "v", &none(), WriteOptions::default()));
    assert!(cluster.answers.is_empty());
    cluster.wait(400);
    let reply = cluster.answers.remove(&write);
    let Some(Reply::Written(written)) = reply else { panic!("{reply:?}") };
    assert_eq!((written.receipt.kind, guests_of(&written).len()), (Kind::Sloppy, 1));
}

#[test]
fn a_full_guest_refuses_what_it_could_not_keep_and_drops_nothing() {
    let mut cluster = Cluster::with_sloppy_table(4, 3);
    let (replicas, _) = sides(&mut cluster, "k");
    cluster.stop(replicas[1]);
    cluster.stop(replicas[2]);
    let big = "x".repeat(1 << 20);
    // Each hint has a megabyte, and a guest keeps four.
    for index in 0..16 {
        let two = WriteOptions { w: Some(Level::Two), ..WriteOptions::default() };
        let reply = cluster.ask(replicas[0], put(&format!("k{index}"), &big, &none(), two));
        if let Reply::Failed(failure) = reply {
            assert!(failure.to_string().contains("has no room for what is kept"), "{failure}");
        }
    }
    let most = cluster.nodes.values().map(|(_, disk)| disk.hints.len()).max().unwrap();
    assert_eq!(most, 4);
    let hints = cluster.hints();
    cluster.start(replicas[1]);
    cluster.start(replicas[2]);
    cluster.wait(5_000);
    assert!(0 < hints && cluster.hints() == 0);
}

/// A guest that keeps a write for one replica is asked to accept the very same one, when no
/// replica is there any more.
#[test]
fn a_write_that_comes_again_to_a_guest_is_owed_to_every_replica() {
    let mut cluster = Cluster::with_sloppy_table(4, 3);
    let (replicas, others) = sides(&mut cluster, "k");
    let again = || {
        let Request::Put(put) = put("k", "once", &none(), at_one()) else { unreachable!() };
        Request::Put(Put { token: Some(Token::new(1_000, 1)), ..put })
    };
    cluster.stop(replicas[2]);
    assert!(matches!(cluster.ask(replicas[0], again()), Reply::Written(_)));
    assert_eq!(cluster.hints(), 1);
    replicas[..2].iter().for_each(|node| cluster.stop(*node));
    let Reply::Written(written) = cluster.ask(others[0], again()) else { panic!("refused") };
    assert!(written.repeated, "{written:?}");
    assert_eq!((written.receipt.kind, cluster.hints()), (Kind::Any, 3));
}

fn at_one() -> WriteOptions {
    WriteOptions { w: Some(Level::One), ..WriteOptions::default() }
}

/// A replica is slow, and has what it was sent all the same.
#[test]
fn an_acknowledgement_that_is_later_than_its_session_drops_the_hint_too() {
    let mut cluster = Cluster::with_sloppy_table(4, 3);
    let (replicas, _) = sides(&mut cluster, "k");
    let before = cluster.get(1, "k", Level::All).object;
    cluster.stop(replicas[2]);
    cluster.put(replicas[0], "k", "second", before.context());
    assert_eq!(cluster.hints(), 1);
    cluster.holds = |_, _, message| matches!(message, Message::Merged(_));
    cluster.start(replicas[2]);
    cluster.wait(4_500);
    let late = cluster.held.pop_front().unwrap();
    assert!(!cluster.held.is_empty(), "it was sent again meanwhile");
    assert_eq!(cluster.hints(), 1);
    cluster.inputs.push_back(late);
    cluster.settle();
    assert_eq!(cluster.hints(), 0);
}
