//! Nodes that come back with another disk.

use model::{Declared, DiskStep, Enrolment, Failure, Refusal};

use super::harness::*;

const FIRST: u128 = 3;
const SECOND: u128 = 33;
const THIRD: u128 = 333;

fn node(cluster: &Cluster, id: u16) -> &Node {
    &cluster.nodes.get(&NodeId::new(id)).unwrap().0
}

fn enrolment(cluster: &Cluster, id: u16) -> Enrolment {
    node(cluster, id).enrolment()
}

fn objects(cluster: &Cluster, id: u16) -> usize {
    cluster.nodes.get(&NodeId::new(id)).unwrap().1.objects.len()
}

/// So many nodes that all hold so many keys.
fn filled(nodes: u16, keys: u32) -> Cluster {
    let mut cluster = Cluster::with_table(nodes, u8::try_from(nodes).unwrap());
    for number in 0..keys {
        cluster.put(1, &format!("k{number}"), &format!("v{number}"), &none());
    }
    cluster.wait(2_000);
    cluster
}

fn give_up(cluster: &mut Cluster, at: u16, node: u16, disk: u128) -> Reply {
    let (node, step) = (NodeId::new(node), DiskStep::IsGone(DiskId::new(disk)));
    cluster.ask(at, Request::Declare(Declare::Disk { node, step }))
}

#[test]
fn whoever_is_there_when_something_is_declared_is_enrolled_and_others_enrol_themselves() {
    let mut cluster = Cluster::new(3);
    cluster.stop(3);
    // Nobody has heard of n3 in these lives.
    (1..=2).for_each(|id| cluster.limit(id, Limits::default()));
    cluster.stop(3);
    cluster.ask(1, Request::Declare(keyspace(8, 3)));
    assert_eq!(node(&cluster, 1).catalog_version(), 2, "one change enrols, and one declares");
    cluster.ask(1, Request::Declare(table(Durability::Synced)));
    assert_eq!(enrolment(&cluster, 1), Enrolment::Enrolled);
    assert_eq!(enrolment(&cluster, 2), Enrolment::Enrolled);
    cluster.start_with(3, FIRST);
    assert_eq!(enrolment(&cluster, 3), Enrolment::New);
    assert!(!node(&cluster, 3).takes_part());
    cluster.wait(3_000);
    assert_eq!(enrolment(&cluster, 3), Enrolment::Enrolled);
    assert!(node(&cluster, 3).takes_part());
}

#[test]
fn a_node_that_was_enrolled_serves_alone_when_it_comes_back() {
    let mut cluster = filled(3, 1);
    (1..=3).for_each(|id| cluster.stop(id));
    cluster.start_from(3, FIRST);
    assert!(node(&cluster, 3).takes_part());
    assert_eq!(texts(&cluster.get(3, "k0", Level::One).object), ["v0"]);
}

#[test]
fn a_new_disk_takes_part_in_nothing_until_it_has_copied_enough_others() {
    let mut cluster = filled(3, 50);
    cluster.stop(2);
    cluster.stop(3);
    cluster.start_with(3, SECOND);
    cluster.wait(10_000);
    // One of the other two is not enough: the write could be with the one that is away.
    assert_eq!(enrolment(&cluster, 3), Enrolment::Joining);
    assert_eq!(objects(&cluster, 3), 50, "it has copied who is there");
    let status = node(&cluster, 3).status(cluster.now);
    assert_eq!((status.disk.whole, status.disk.shards), (0, 8));
    let two = WriteOptions { w: Some(Level::Two), ..WriteOptions::default() };
    let Reply::Failed(failure) = cluster.ask(1, put("k0", "more", &none(), two)) else {
        panic!("a disk that is not whole has acknowledged a write");
    };
    assert!(matches!(failure, Failure::NotAttempted { alive: 1, .. }), "{failure:?}");
    let read = cluster.ask(1, get("k0", Level::Two));
    assert!(matches!(read, Reply::Failed(Failure::NotAttempted { .. })), "{read:?}");
    cluster.start(2);
    cluster.wait(5_000);
    assert_eq!(enrolment(&cluster, 3), Enrolment::Enrolled);
    cluster.stop(1);
    cluster.stop(2);
    assert_eq!(texts(&cluster.get(3, "k7", Level::One).object), ["v7"]);
}

#[test]
fn what_comes_late_is_not_taken_in_by_a_disk_that_is_being_made_whole() {
    let mut cluster = filled(3, 3);
    cluster.holds = |_, to, message| matches!(message, Message::Merge(_)) && to == NodeId::new(3);
    let first = cluster.put(1, "late", "tea", &none());
    cluster.holds = |_, _, _| false;
    let held = std::mem::take(&mut cluster.held);
    assert!(!held.is_empty());
    cluster.wait(3_000);
    cluster.put(1, "late", "rum", &first.context);
    cluster.wait(3_000);
    cluster.stop(2);
    cluster.stop(3);
    cluster.start_with(3, SECOND);
    cluster.wait(1_000);
    assert_eq!(enrolment(&cluster, 3), Enrolment::Joining);
    let before = objects(&cluster, 3);
    cluster.inputs.extend(held);
    cluster.settle();
    assert_eq!(objects(&cluster, 3), before);
    cluster.start(2);
    cluster.wait(6_000);
    cluster.stop(1);
    cluster.stop(2);
    assert_eq!(texts(&cluster.get(3, "late", Level::One).object), ["rum"]);
}

#[test]
fn a_write_that_is_passed_on_finds_a_replica_whose_disk_is_whole() {
    let mut cluster = Cluster::with_table(5, 3);
    let written = cluster.put(1, "k", "tea", &none());
    cluster.wait(2_000);
    let replicas = written.receipt.acks;
    let lost = replicas.first().unwrap().node.number();
    let outside = (1..=5).find(|id| replicas.iter().all(|ack| ack.node.number() != *id)).unwrap();
    cluster.stop(lost);
    let another = replicas.last().unwrap().node.number();
    cluster.stop(another);
    cluster.start_with(lost, 99);
    cluster.wait(1_000);
    assert!(!node(&cluster, lost).takes_part());
    let one = WriteOptions { w: Some(Level::One), ..WriteOptions::default() };
    for at in [outside, lost] {
        let Reply::Written(_) = cluster.ask(at, put("k", "rum", &written.context, one)) else {
            panic!("nobody has taken it through n{at}");
        };
    }
}

#[test]
fn two_disks_that_were_lost_at_once_wait_for_each_other_until_one_is_given_up() {
    let mut cluster = filled(3, 20);
    cluster.stop(2);
    cluster.stop(3);
    cluster.start_with(2, 22);
    cluster.start_with(3, SECOND);
    cluster.wait(10_000);
    assert_eq!(enrolment(&cluster, 2), Enrolment::Joining);
    assert_eq!(enrolment(&cluster, 3), Enrolment::Joining);
    let reply = give_up(&mut cluster, 1, 2, 2);
    assert_eq!(reply, Reply::Declared(Declared::Disk { node: NodeId::new(2), created: true }));
    cluster.wait(6_000);
    assert_eq!(enrolment(&cluster, 3), Enrolment::Enrolled, "n1 is all that there is to copy");
    cluster.wait(6_000);
    assert_eq!(enrolment(&cluster, 2), Enrolment::Enrolled);
    assert_eq!((objects(&cluster, 2), objects(&cluster, 3)), (20, 20));
}

#[test]
fn a_disk_that_was_replaced_never_serves_again() {
    let mut cluster = filled(3, 5);
    let old = cluster.nodes.get(&NodeId::new(3)).unwrap().1.clone();
    cluster.stop(3);
    cluster.start_with(3, SECOND);
    cluster.wait(5_000);
    assert_eq!(enrolment(&cluster, 3), Enrolment::Enrolled);
    cluster.stop(3);
    cluster.nodes.get_mut(&NodeId::new(3)).unwrap().1 = old;
    cluster.start_from(3, FIRST);
    cluster.wait(5_000);
    assert_eq!(enrolment(&cluster, 3), Enrolment::Retired);
    assert!(!node(&cluster, 3).takes_part());
}

#[test]
fn a_disk_that_was_only_missed_comes_back_and_the_other_is_retired() {
    let mut cluster = filled(3, 5);
    let old = cluster.nodes.get(&NodeId::new(3)).unwrap().1.clone();
    cluster.stop(3);
    cluster.stop(2);
    cluster.start_with(3, SECOND);
    cluster.wait(3_000);
    assert_eq!(enrolment(&cluster, 3), Enrolment::Joining);
    cluster.stop(3);
    cluster.nodes.get_mut(&NodeId::new(3)).unwrap().1 = old;
    cluster.start_from(3, FIRST);
    cluster.wait(3_000);
    assert_eq!(enrolment(&cluster, 3), Enrolment::Enrolled);
    cluster.stop(3);
    cluster.start_with(3, SECOND);
    cluster.wait(3_000);
    assert_eq!(enrolment(&cluster, 3), Enrolment::Retired);
}

#[test]
fn only_the_disk_that_a_node_is_enrolled_with_can_be_given_up() {
    let mut cluster = filled(3, 1);
    let reply = give_up(&mut cluster, 1, 3, THIRD);
    assert!(matches!(reply, Reply::Failed(Failure::Refused(Refusal::Contract(_)))), "{reply:?}");
    assert_eq!(enrolment(&cluster, 3), Enrolment::Enrolled);
    give_up(&mut cluster, 1, 3, FIRST);
    cluster.wait(1_000);
    assert_eq!(enrolment(&cluster, 3), Enrolment::Retired);
    let reply = cluster.ask(3, put("k0", "more", &none(), WriteOptions::default()));
    assert!(matches!(reply, Reply::Written(_)), "through the others: {reply:?}");
    assert_eq!(node(&cluster, 3).status(cluster.now).disk.enrolment, Enrolment::Retired);
}

#[test]
fn logs_do_not_wait_for_who_was_given_up() {
    let mut cluster = filled(3, 1);
    cluster.stop(3);
    for number in 0..20 {
        cluster.put(1, &format!("more{number}"), "v", &none());
    }
    cluster.wait(5_000);
    let lines = |cluster: &Cluster| cluster.nodes.get(&NodeId::new(1)).unwrap().1.log.len();
    assert!(20 <= lines(&cluster), "n3 may ask for them");
    give_up(&mut cluster, 1, 3, FIRST);
    cluster.wait(5_000);
    assert_eq!(lines(&cluster), 0);
}

#[test]
fn nothing_rests_on_what_the_disk_before_had_acknowledged() {
    let mut cluster = filled(3, 1);
    cluster.stop(2);
    let written = cluster.put(1, "k0", "with n3", &none());
    cluster.wait(3_000);
    let (shard, dot) = (written.receipt.shard, written.receipt.dot.unwrap());
    assert!(node(&cluster, 1).is_quorum_settled(shard, dot));
    cluster.stop(3);
    cluster.start_with(3, SECOND);
    cluster.wait(3_000);
    assert_eq!(enrolment(&cluster, 3), Enrolment::Joining);
    assert!(!node(&cluster, 1).is_quorum_settled(shard, dot));
    cluster.start(2);
    cluster.wait(6_000);
    assert!(node(&cluster, 1).is_quorum_settled(shard, dot));
}

#[test]
fn a_disk_that_has_nobody_to_copy_waits_for_the_word_of_an_operator() {
    let mut cluster = Cluster::with_table(3, 1);
    cluster.wait(2_000);
    cluster.stop(3);
    cluster.start_with(3, SECOND);
    cluster.wait(10_000);
    // It may only not be mounted, and what it holds is nowhere else.
    assert_eq!(enrolment(&cluster, 3), Enrolment::Joining);
    give_up(&mut cluster, 1, 3, FIRST);
    cluster.wait(3_000);
    assert_eq!(enrolment(&cluster, 3), Enrolment::Enrolled);
}

#[test]
fn a_shard_that_is_written_whenever_it_is_compared_is_copied_all_the_same() {
    let mut cluster = filled(3, 20);
    cluster.stop(3);
    cluster.start_with(3, SECOND);
    let mut context = cluster.get(1, "k3", Level::Two).object.context().clone();
    // Each answer is out of date when it comes.
    cluster.holds =
        |_, to, message| matches!(message, Message::Compared(_)) && to == NodeId::new(3);
    for round in 0..150 {
        context = cluster.put(1, "k3", &format!("hot{round}"), &context).context;
        let held = std::mem::take(&mut cluster.held);
        cluster.inputs.extend(held);
        cluster.wait(100);
    }
    assert_eq!(enrolment(&cluster, 3), Enrolment::Enrolled);
    assert_eq!(objects(&cluster, 3), 20);
}

#[test]
fn a_node_that_was_given_up_and_does_not_know_it_brings_nothing_to_others() {
    let mut cluster = filled(3, 1);
    let lost = NodeId::new(3);
    cluster.holds = |from, to, _| (from == NodeId::new(3)) != (to == NodeId::new(3));
    let step = DiskStep::IsGone(DiskId::new(FIRST));
    let told = cluster.begin(1, Request::Declare(Declare::Disk { node: lost, step }));
    cluster.wait(3_000);
    assert!(matches!(cluster.answers.remove(&told), Some(Reply::Declared(_))));
    let one = WriteOptions { w: Some(Level::One), ..WriteOptions::default() };
    let alone = cluster.ask(3, put("alone", "tea", &none(), one));
    assert!(matches!(alone, Reply::Written(_)), "{alone:?}");
    cluster.held.clear();
    // It hears the others again, but not yet that it was given up.
    cluster.holds = |_, to, message| {
        let tells = matches!(
            message,
            Message::Probe { .. } | Message::Probed { .. } | Message::Learn { .. }
        );
        tells && to == NodeId::new(3)
    };
    assert!(node(&cluster, 3).takes_part());
    let read = cluster.begin(3, get("alone", Level::Quorum));
    let written = cluster.begin(3, put("k0", "rum", &none(), WriteOptions::default()));
    cluster.wait(10_000);
    for ticket in [read, written] {
        let told = cluster.answers.remove(&ticket);
        assert!(matches!(told, Some(Reply::Failed(_))), "{told:?}");
    }
    for at in [1, 2] {
        assert!(texts(&cluster.get(at, "alone", Level::One).object).is_empty());
        assert_eq!(texts(&cluster.get(at, "k0", Level::One).object), ["v0"]);
    }
    cluster.holds = |_, _, _| false;
    cluster.wait(3_000);
    assert_eq!(enrolment(&cluster, lost.number()), Enrolment::Retired);
}

/// Three nodes, of which n1 and n2 have given up n3, whose network is back before it has heard of
/// that. What n1 asks of n2 takes long.
fn with_one_that_does_not_know() -> Cluster {
    let mut cluster = filled(3, 1);
    cluster.holds = |from, to, _| (from == NodeId::new(3)) != (to == NodeId::new(3));
    let step = DiskStep::IsGone(DiskId::new(FIRST));
    let gone = Declare::Disk { node: NodeId::new(3), step };
    let told = cluster.begin(1, Request::Declare(gone));
    cluster.wait(3_000);
    assert!(matches!(cluster.answers.remove(&told), Some(Reply::Declared(_))));
    cluster.held.clear();
    cluster.holds = |from, to, message| {
        let tells = matches!(
            message,
            Message::Probe { .. } | Message::Probed { .. } | Message::Learn { .. }
        );
        let asks = matches!(message, Message::Merge(_) | Message::Fetch(_) | Message::Scan(_));
        let is_slow = from == NodeId::new(1) && to == NodeId::new(2) && asks;
        tells && to == NodeId::new(3) || is_slow
    };
    assert!(node(&cluster, 3).takes_part());
    cluster
}

#[test]
fn what_a_node_answers_that_was_given_up_counts_for_nothing() {
    let mut cluster = with_one_that_does_not_know();
    let written = cluster.begin(1, put("new", "rum", &none(), WriteOptions::default()));
    let read = cluster.begin(1, get("k0", Level::Quorum));
    let range = Range::Table { shard: 0, after: None };
    let options = ReadOptions { r: Some(Level::Quorum), ..ReadOptions::default() };
    let timeout = Duration::from_secs(5);
    let (keyspace, table, limit) = (name("ks"), name("t"), 10);
    let list = List { keyspace, table, range, limit, options, timeout };
    let listed = cluster.begin(1, Request::List(list));
    cluster.wait(1_500);
    for ticket in [written, read, listed] {
        assert_eq!(cluster.answers.get(&ticket), None, "n2 has not answered");
    }
    assert_ne!(node(&cluster, 1).counts().evicted_messages, 0);
    let held = std::mem::take(&mut cluster.held);
    cluster.holds = |_, _, _| false;
    cluster.inputs.extend(held);
    cluster.settle();
    let who = |acks: &[model::Ack]| acks.iter().map(|ack| ack.node.number()).collect::<Vec<_>>();
    let Some(Reply::Written(written)) = cluster.answers.remove(&written) else { panic!() };
    assert_eq!(who(&written.receipt.acks), [1, 2]);
    let Some(Reply::Read(read)) = cluster.answers.remove(&read) else { panic!() };
    assert_eq!((who(&read.receipt.acks), texts(&read.object)), (vec![1, 2], vec!["v0".to_owned()]));
    assert!(matches!(cluster.answers.remove(&listed), Some(Reply::Listed(_))));
}

#[test]
fn a_watcher_does_not_follow_a_node_that_was_given_up() {
    let mut cluster = with_one_that_does_not_know();
    // n1 and n2 tell nothing: only n3 would be left to ask.
    cluster.holds = |_, to, message| {
        let tells = matches!(
            message,
            Message::Probe { .. } | Message::Probed { .. } | Message::Learn { .. }
        );
        let is_three = to == NodeId::new(3);
        tells && is_three || matches!(message, Message::Follow(_)) && !is_three
    };
    let watch = model::Watch {
        keyspace: name("ks"),
        table: name("t"),
        since: model::Position::beginning(),
        limit: 10,
        wait: Duration::ZERO,
        timeout: Duration::from_secs(8),
    };
    let watched = cluster.begin(1, Request::Watch(watch));
    cluster.wait(10_000);
    let told = cluster.answers.remove(&watched);
    assert!(matches!(told, Some(Reply::Failed(Failure::NotAttempted { .. }))), "{told:?}");
    let asked_three = cluster.held.iter().any(|(to, _)| *to == NodeId::new(3));
    assert!(asked_three, "it is there, and does not hear that it was given up");
}
