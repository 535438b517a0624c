//! Guests that have no room: who takes the write instead, and what the client is told.

use super::guests::sides;
use super::harness::*;

/// What a guest keeps in these tests: four hints of a megabyte.
const HINT_BYTES_MAX: u64 = 9 << 19;

/// Five nodes of which two keep nothing under the key, and are the only ones that are there.
fn guests_alone() -> (Cluster, Vec<u16>, [u16; 2]) {
    let mut cluster = Cluster::with_sloppy_table(5, 3);
    let (replicas, others) = sides(&mut cluster, "k");
    replicas.iter().for_each(|node| cluster.stop(*node));
    let others = others.try_into().unwrap();
    (cluster, replicas, others)
}

/// Writes a value of a megabyte under a key of its own.
fn ask(cluster: &mut Cluster, at: u16, index: usize) -> Reply {
    let value = Value { content_type: Bytes::new(), body: "x".repeat(1 << 20).into() };
    let store = Mutation::Store(value);
    cluster.ask(at, mutate(key("k", &format!("{index}")), store, &none(), WriteOptions::default()))
}

fn kept(cluster: &Cluster, node: u16) -> u64 {
    let (_, disk) = cluster.nodes.get(&NodeId::new(node)).unwrap();
    disk.hints.iter().map(|(place, hint)| hint.bytes(&place.address)).sum()
}

#[test]
fn a_guest_without_room_has_another_one_accept_the_write_and_without_any_says_who_is_full() {
    let (mut cluster, _, [asked, other]) = guests_alone();
    let dot = |reply: Reply| {
        let Reply::Written(written) = reply else { panic!("{reply:?}") };
        written.receipt.dot.unwrap().incarnation
    };
    // It keeps three copies, and the other one.
    let first = dot(ask(&mut cluster, asked, 1));
    let second = dot(ask(&mut cluster, asked, 2));
    assert_ne!(first, second, "the other one has accepted it");
    let hints = cluster.hints();
    let before = [asked, other].map(|node| kept(&cluster, node));

    let Reply::Failed(failure) = ask(&mut cluster, asked, 3) else { panic!("it was taken") };
    let Failure::Refused(Refusal::HintsFull { nodes, kept: told, needs, max }) = &failure else {
        panic!("{failure}")
    };
    assert_eq!(nodes, &[NodeId::new(asked), NodeId::new(other)], "{failure}");
    assert_eq!((*told, *max), (before[0], HINT_BYTES_MAX));
    assert!(3 << 20 < *needs && *needs < 4 << 20, "{failure}");
    assert_eq!([asked, other].map(|node| kept(&cluster, node)), before, "nothing was changed");
    assert_eq!(cluster.hints(), hints);
}

#[test]
fn what_was_refused_by_the_node_that_was_asked_is_one_write_wherever_it_is_accepted() {
    let (mut cluster, replicas, [asked, _]) = guests_alone();
    (0..2).for_each(|index| drop(ask(&mut cluster, asked, index)));
    replicas.iter().for_each(|node| cluster.start(*node));
    cluster.wait(5_000);
    assert_eq!(cluster.hints(), 0);
    for replica in replicas {
        let (_, disk) = cluster.nodes.get(&NodeId::new(replica)).unwrap();
        let widths: Vec<usize> = disk.objects.values().map(|o| o.values().len()).collect();
        assert_eq!(widths, [1, 1, 1], "n{replica}");
    }
}

#[test]
fn room_is_given_back_when_hints_are_handed_over_and_not_only_after_a_restart() {
    let (mut cluster, replicas, [asked, other]) = guests_alone();
    for index in 0..3 {
        let reply = ask(&mut cluster, asked, index);
        assert!(matches!(reply, Reply::Written(_)), "{reply:?}");
        replicas.iter().for_each(|node| cluster.start(*node));
        cluster.wait(5_000);
        let kept = [asked, other].map(|node| kept(&cluster, node));
        assert_eq!((cluster.hints(), kept), (0, [0, 0]));
        replicas.iter().for_each(|node| cluster.stop(*node));
    }
}

#[test]
fn a_guest_that_accepts_writes_counts_all_that_it_keeps_of_them_and_not_only_values() {
    let (mut cluster, _, [asked, other]) = guests_alone();
    cluster.stop(other);
    let one = WriteOptions { w: Some(Level::One), ..WriteOptions::default() };
    let long = "s".repeat(1 << 10);
    let mut taken = 0;
    for index in 0..2_000 {
        let empty = Value { content_type: Bytes::new(), body: Bytes::new() };
        let key = key("k", &format!("{long}{index}"));
        let reply = cluster.ask(asked, mutate(key, Mutation::Store(empty), &none(), one));
        taken += usize::from(matches!(reply, Reply::Written(_)));
    }
    let kept = kept(&cluster, asked);
    assert!(HINT_BYTES_MAX - 4_096 < kept && kept <= HINT_BYTES_MAX, "{kept} bytes");
    assert_eq!(cluster.hints(), 3 * taken);
}

#[test]
fn where_one_guest_is_full_and_the_other_overloaded_the_client_is_told_what_passes() {
    let (mut cluster, _, [asked, other]) = guests_alone();
    assert!(matches!(ask(&mut cluster, asked, 1), Reply::Written(_)));
    cluster.limit(other, Limits { requests_max: 0, ..Limits::default() });
    cluster.wait(1_000);
    let reply = ask(&mut cluster, asked, 2);
    assert_eq!(reply, Reply::Failed(Failure::Refused(Refusal::Overloaded { max: 0 })));
}
