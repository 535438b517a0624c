//! Shards of which a disk has lost something, found by their node alone, and what others think of them.

use model::{DiskStep, RepairMode, StartRepair, Suspect};
use node::{Cause, Counts, Merge, RequestId};

use super::harness::*;

/// Longer than any test: nothing is scrubbed.
const NEVER: Duration = Duration::from_secs(30 * 86_400);

/// Replicas that hold so many keys.
fn filled(nodes: u16, keys: u32, scrub_interval: Duration) -> Cluster {
    let mut cluster = Cluster::with_limits(nodes, Limits { scrub_interval, ..limits() });
    for number in 0..keys {
        cluster.put(1, &format!("k{number}"), &format!("v{number}"), &none());
    }
    cluster.wait(3_000);
    cluster
}

fn disk(cluster: &mut Cluster, node: u16) -> &mut Memory {
    &mut cluster.nodes.get_mut(&NodeId::new(node)).unwrap().1
}

fn node(cluster: &Cluster, id: u16) -> &Node {
    &cluster.nodes.get(&NodeId::new(id)).unwrap().0
}

fn counts(cluster: &Cluster, id: u16) -> Counts {
    node(cluster, id).counts()
}

fn suspects(cluster: &Cluster, id: u16) -> Vec<Suspect> {
    node(cluster, id).status(cluster.now).suspects
}

fn waits_for(cluster: &Cluster, id: u16) -> Vec<u16> {
    let [ref suspect] = suspects(cluster, id)[..] else { return Vec::new() };
    suspect.waits_for.iter().map(|node| node.number()).collect()
}

fn tombstones(cluster: &Cluster, id: u16) -> (u64, Vec<u16>) {
    let forgetting = node(cluster, id).status(cluster.now).forgetting;
    let by = forgetting.blockers.iter().map(|blocker| blocker.node.number()).collect();
    (forgetting.waiting, by)
}

/// A node starts anew, with the clock that its disk speaks of, when the disk has lost a record.
fn restart_without(cluster: &mut Cluster, id: u16, lost: usize) -> (ShardId, TableId, Key) {
    let clock = clock_of(cluster, id);
    let lost = disk(cluster, id).objects.keys().nth(lost).unwrap().clone();
    disk(cluster, id).objects.remove(&lost);
    cluster.stop(id);
    start(cluster, id, (lost.0, clock));
    lost
}

fn clock_of(cluster: &mut Cluster, id: u16) -> DotSet {
    let mut clock = none();
    for object in disk(cluster, id).objects.values() {
        let _ = clock.union(object.context());
    }
    clock
}

/// A node that was stopped starts with this clock.
fn start(cluster: &mut Cluster, id: u16, (shard, clock): (ShardId, DotSet)) {
    let me = NodeId::new(id);
    cluster.down.remove(&me);
    let (_, memory) = cluster.nodes.remove(&me).unwrap();
    cluster.lives += 1;
    let limits = Limits { scrub_interval: NEVER, ..limits() };
    let config = Config { limits, ..config(me, cluster.lives, &cluster.layout) };
    let clocks = [(shard, clock)].into();
    let node = Node::new(config, clocks, memory.acceptor.clone(), cluster.now)
        .with_sums(memory.sums.clone());
    cluster.nodes.insert(me, (node, memory));
    let others: Vec<NodeId> = cluster.nodes.keys().copied().filter(|other| *other != me).collect();
    for other in others.into_iter().filter(|other| !cluster.down.contains(other)) {
        cluster.inputs.push_back((me, Input::Connected(other)));
        cluster.inputs.push_back((other, Input::Connected(me)));
    }
    cluster.settle();
}

fn delete(cluster: &mut Cluster, at: u16, key: &str) {
    let context = cluster.get(at, key, Level::One).object.context().clone();
    let delete =
        mutate(super::harness::key(key, ""), Mutation::Delete, &context, WriteOptions::default());
    let reply = cluster.ask(at, delete);
    assert!(matches!(reply, Reply::Written(_)), "{reply:?}");
}

/// Nobody is told what any tree comes to, so that nobody finds a difference.
fn no_questions(from: NodeId, _: NodeId, message: &Message) -> bool {
    let is_own = from == NodeId::new(3);
    matches!(message, Message::Compare(_)) && !is_own
}

#[test]
fn a_record_that_went_while_nobody_looked_is_missed_by_the_node_itself_and_brought() {
    let mut cluster = filled(3, 200, NEVER);
    // The others ask nothing: it is the node itself that finds out.
    cluster.holds = no_questions;
    let lost = restart_without(&mut cluster, 3, 77);
    assert_eq!(counts(&cluster, 3).suspicions, 0, "nothing was read yet");
    while counts(&cluster, 3).suspicions == 0 {
        cluster.wait(100);
    }
    assert_eq!(waits_for(&cluster, 3), [1, 2]);
    cluster.wait(8_000);
    assert_eq!(suspects(&cluster, 3), []);
    assert!(disk(&mut cluster, 3).objects.contains_key(&lost));
    let sums: Vec<_> = (1..=3).map(|id| disk(&mut cluster, id).sums.clone()).collect();
    assert_eq!((&sums[0], &sums[1]), (&sums[1], &sums[2]), "all come to the same");
    let again = restart_without(&mut cluster, 3, 5);
    cluster.wait(8_000);
    assert!(disk(&mut cluster, 3).objects.contains_key(&again));
    assert_eq!((counts(&cluster, 3).suspicions, suspects(&cluster, 3)), (1, vec![]));
    assert_eq!((counts(&cluster, 1).suspicions, counts(&cluster, 2).suspicions), (0, 0));
}

#[test]
fn a_suspect_asks_by_itself_and_nobody_asks_it_so_that_nothing_is_brought_twice() {
    let mut cluster = filled(3, 200, NEVER);
    let begun = |cluster: &Cluster| [1, 2].map(|id| counts(cluster, id).comparisons);
    let before = begun(&cluster);
    let lost = restart_without(&mut cluster, 3, 77);
    cluster.wait(8_000);
    assert!(disk(&mut cluster, 3).objects.contains_key(&lost));
    assert_eq!((counts(&cluster, 3).suspicions, suspects(&cluster, 3)), (1, vec![]));
    assert!(0 < counts(&cluster, 3).comparisons);
    assert_eq!(begun(&cluster), before, "the others have begun none");
}

#[test]
fn a_record_that_is_written_again_before_it_is_missed_is_missed_all_the_same() {
    let mut cluster = filled(3, 50, Duration::from_secs(10));
    let (lost, _) = disk(&mut cluster, 2).objects.iter().nth(7).unwrap();
    let lost = lost.clone();
    disk(&mut cluster, 2).objects.remove(&lost);
    let text = String::from_utf8(lost.2.partition().to_vec()).unwrap();
    let context = cluster.get(1, &text, Level::One).object.context().clone();
    cluster.put(1, &text, "later", &context);
    assert!(disk(&mut cluster, 2).objects.contains_key(&lost));
    cluster.wait(16_000);
    assert_eq!((counts(&cluster, 2).suspicions, suspects(&cluster, 2)), (1, vec![]));
}

/// What was said once is said again, by the first node to the second.
fn repeat(cluster: &mut Cluster, address: Address, object: Object) {
    let (request, cause) = (RequestId::NOBODY, Cause::Write);
    let merge = Merge { request, address, object, sync: true, cause, stands_for: None };
    let (from, message) = (NodeId::new(1), Message::Merge(merge));
    cluster.inputs.push_back((NodeId::new(2), Input::Received { from, message }));
    cluster.settle();
}

#[test]
fn a_value_that_comes_again_where_its_record_was_lost_is_missed_at_once() {
    let mut cluster = filled(3, 50, NEVER);
    let (place, first) = disk(&mut cluster, 2).objects.iter().nth(7).unwrap();
    let (place, first) = (place.clone(), first.clone());
    let address = Address { table: place.1, key: place.2.clone() };
    let text = String::from_utf8(place.2.partition().to_vec()).unwrap();
    cluster.put(1, &text, "later", first.context());
    let later = disk(&mut cluster, 2).objects[&place].clone();
    cluster.wait(2_000);
    repeat(&mut cluster, address.clone(), first);
    cluster.wait(4_000);
    assert_eq!(counts(&cluster, 2).suspicions, 0, "that it is old is known here");
    disk(&mut cluster, 2).objects.remove(&place);
    repeat(&mut cluster, address, later.clone());
    assert_eq!(disk(&mut cluster, 2).objects.get(&place), None, "who says it may not know better");
    cluster.wait(8_000);
    assert_eq!((counts(&cluster, 2).suspicions, suspects(&cluster, 2)), (1, vec![]));
    assert_eq!(disk(&mut cluster, 2).objects.get(&place), Some(&later));
}

#[test]
fn a_node_that_starts_with_all_its_records_suspects_nothing() {
    let mut cluster = filled(3, 100, NEVER);
    for number in 0..10 {
        delete(&mut cluster, 1, &format!("k{number}"));
    }
    for id in [1, 2, 3] {
        cluster.wait(4_000);
        cluster.limit(id, Limits { scrub_interval: NEVER, ..limits() });
    }
    cluster.wait(4_000);
    assert_eq!((1..=3).map(|id| counts(&cluster, id).suspicions).sum::<u64>(), 0);
    assert!((1..=3).all(|id| node(&cluster, id).suspect_shards().count() == 0));
}

#[test]
fn nothing_is_forgotten_while_a_replica_is_suspect_and_it_is_named_as_who_holds_that_back() {
    let mut cluster = filled(3, 50, NEVER);
    cluster.stop(2);
    restart_without(&mut cluster, 3, 7);
    cluster.wait(4_000);
    assert_eq!(waits_for(&cluster, 3), [2], "it cannot be compared with who is away");
    delete(&mut cluster, 1, "k11");
    let evict = DiskStep::IsGone(DiskId::new(2));
    cluster.holds = |from, to, message| {
        let third = NodeId::new(3);
        (from == third || to == third) && matches!(message, Message::Compare(_))
    };
    // Nobody but n3 is left to wait for, and what it has acknowledged does not count.
    let declare = Declare::Disk { node: NodeId::new(2), step: evict };
    restart_without(&mut cluster, 3, 9);
    cluster.wait(3_000);
    let reply = cluster.ask(1, Request::Declare(declare));
    assert!(matches!(reply, Reply::Declared(_)), "{reply:?}");
    cluster.wait(5_000);
    assert_eq!(waits_for(&cluster, 3), [1]);
    assert_eq!(tombstones(&cluster, 1), (1, vec![3]));
    cluster.holds = |_, _, _| false;
    cluster.held.clear();
    cluster.wait(15_000);
    assert_eq!(suspects(&cluster, 3), []);
    assert_eq!((tombstones(&cluster, 1), tombstones(&cluster, 3)), ((0, vec![]), (0, vec![])));
}

/// Of two suspects the greater asks nothing, and is whole by what the lesser has found out.
#[test]
fn of_two_suspects_one_asks_and_both_are_whole() {
    let mut cluster = filled(2, 200, NEVER);
    cluster.holds =
        |from, _, message| matches!(message, Message::Compare(_)) && from == NodeId::new(2);
    let clock = clock_of(&mut cluster, 1);
    let all = disk(&mut cluster, 1).objects.clone();
    [1, 2].into_iter().for_each(|id| cluster.stop(id));
    for (id, lost) in [(1, 20), (2, 150)] {
        let lost = all.keys().nth(lost).unwrap();
        disk(&mut cluster, id).objects.remove(lost);
        start(&mut cluster, id, (lost.0, clock.clone()));
    }
    cluster.wait(15_000);
    for id in [1, 2] {
        assert_eq!((counts(&cluster, id).suspicions, suspects(&cluster, id)), (1, vec![]), "n{id}");
        assert!(disk(&mut cluster, id).objects == all, "n{id} lacks something");
    }
    assert!(cluster.held.is_empty(), "both have asked");
    assert_eq!((counts(&cluster, 1).comparisons, counts(&cluster, 2).comparisons), (1, 0));
}

#[test]
fn what_the_one_that_is_asked_has_lost_as_well_it_finds_out_by_being_asked() {
    let mut cluster = filled(3, 50, NEVER);
    let lost = restart_without(&mut cluster, 1, 7);
    disk(&mut cluster, 2).objects.remove(&lost);
    cluster.wait(30_000);
    for id in [1, 2] {
        assert_eq!((counts(&cluster, id).suspicions, suspects(&cluster, id)), (1, vec![]), "n{id}");
        assert!(disk(&mut cluster, id).objects.contains_key(&lost), "n{id}");
    }
}

#[test]
fn two_suspects_who_wait_for_a_third_compare_themselves_now_and_then() {
    let mut cluster = filled(3, 50, NEVER);
    cluster.stop(3);
    for (id, lost) in [(1, 5), (2, 30)] {
        restart_without(&mut cluster, id, lost);
    }
    cluster.wait(60_000);
    assert_eq!((waits_for(&cluster, 1), waits_for(&cluster, 2)), (vec![3, 2], vec![3, 1]));
    let comparisons = counts(&cluster, 1).comparisons;
    assert!((1..=15).contains(&comparisons), "{comparisons} in a minute");
    assert_eq!(counts(&cluster, 2).comparisons, 0);
    cluster.start(3);
    cluster.wait(30_000);
    assert_eq!((suspects(&cluster, 1), suspects(&cluster, 2)), (vec![], vec![]));
}

#[test]
fn what_a_suspect_replica_brings_is_not_put_back_by_those_who_have_heard_of_it() {
    let mut cluster = filled(3, 50, NEVER);
    let first = cluster.get(1, "k7", Level::All).object;
    let old = disk(&mut cluster, 3).objects.clone();
    cluster.put(1, "k7", "later", first.context());
    cluster.wait(2_000);
    // n3 holds what it held, and n1 has lost the evidence that it is old, which n2 has. n1 does not
    // know that until n3 brings it.
    let is_it = |(_, _, held): &(ShardId, TableId, Key)| *held == key("k7", "");
    let place = old.keys().find(|place| is_it(place)).unwrap().clone();
    disk(&mut cluster, 3).objects.insert(place.clone(), old[&place].clone());
    restart_without(&mut cluster, 3, 3);
    disk(&mut cluster, 1).objects.remove(&place);
    let clock = clock_of(&mut cluster, 2);
    cluster.stop(2);
    cluster.wait(15_000);
    assert_eq!(waits_for(&cluster, 3), [2]);
    assert_eq!(waits_for(&cluster, 1), [3, 2], "what was brought has shown that something is lost");
    assert!(!disk(&mut cluster, 1).objects.contains_key(&place), "who is suspect has brought it");
    start(&mut cluster, 2, (place.0, clock));
    cluster.wait(15_000);
    assert_eq!(suspects(&cluster, 3), []);
    assert_eq!((counts(&cluster, 1).suspicions, suspects(&cluster, 1)), (1, vec![]));
    for id in [1, 2, 3] {
        let object = disk(&mut cluster, id).objects.get(&place).cloned().unwrap();
        assert_eq!(texts(&object), ["later"], "at n{id}");
    }
}

#[test]
fn a_shard_without_other_replicas_is_suspect_until_an_operator_repairs_it() {
    let mut cluster = filled(1, 50, NEVER);
    let lost = restart_without(&mut cluster, 1, 7);
    cluster.wait(60_000);
    assert_eq!(suspects(&cluster, 1).len(), 1);
    assert_eq!(waits_for(&cluster, 1), [0; 0]);
    let asked = |mode| StartRepair {
        id: None,
        mode,
        of: None,
        with: BTreeSet::new(),
        patience: Duration::from_secs(60),
    };
    for (mode, left) in [(RepairMode::Preview, 1), (RepairMode::Full, 0)] {
        let start = model::Repair::Start(Box::new(asked(mode)));
        assert!(matches!(cluster.ask(1, Request::Repair(start)), Reply::Repair(_)));
        cluster.wait(3_000);
        assert_eq!(suspects(&cluster, 1).len(), left, "{mode:?}");
    }
    assert!(!disk(&mut cluster, 1).objects.contains_key(&lost));
    cluster.limit(1, Limits { scrub_interval: NEVER, ..limits() });
    cluster.wait(3_000);
    assert_eq!(counts(&cluster, 1).suspicions, 0, "what is there is all there is");
}

#[test]
fn a_directory_without_a_sum_is_believed_once_and_has_one_then() {
    let mut cluster = filled(3, 50, NEVER);
    let had = disk(&mut cluster, 3).sums.clone();
    disk(&mut cluster, 3).sums.clear();
    let lost = restart_without(&mut cluster, 3, 7);
    cluster.wait(8_000);
    assert_eq!(counts(&cluster, 3).suspicions, 0, "nobody can know");
    assert!(disk(&mut cluster, 3).objects.contains_key(&lost), "the others find that it differs");
    assert_eq!(disk(&mut cluster, 3).sums, had);
}
