//! What disks lose behind the backs of their nodes, and how hash trees find it.

use node::Counts;

use super::harness::*;

/// So often everything is read again in these tests, in milliseconds.
const SCRUB: u64 = 10_000;

fn cluster() -> Cluster {
    let scrub_interval = Duration::from_millis(SCRUB);
    Cluster::with_limits(3, Limits { scrub_interval, ..limits() })
}

fn named(number: u32) -> String {
    format!("k{number}")
}

/// Three replicas that hold so many keys.
fn filled(keys: u32) -> Cluster {
    let mut cluster = cluster();
    for number in 0..keys {
        cluster.put(1, &named(number), &format!("v{number}"), &none());
    }
    cluster.wait(3_000);
    cluster
}

fn disk(cluster: &mut Cluster, node: u16) -> &mut Memory {
    &mut cluster.nodes.get_mut(&NodeId::new(node)).unwrap().1
}

fn counts(cluster: &Cluster, node: u16) -> Counts {
    cluster.nodes.get(&NodeId::new(node)).unwrap().0.counts()
}

fn all_counts(cluster: &Cluster, count: fn(&Counts) -> u64) -> u64 {
    (1..=3).map(|node| count(&counts(cluster, node))).sum()
}

/// Whether all hold the same, and their trees say so.
fn are_equal(cluster: &Cluster) -> bool {
    let disks: Vec<_> = cluster.nodes.values().map(|(_, disk)| &disk.objects).collect();
    let first = disks.first().unwrap();
    let mut shards = first.keys().map(|(shard, ..)| *shard).collect::<Vec<_>>();
    shards.dedup();
    let sums = |shard: &ShardId| {
        let sums: BTreeSet<_> =
            cluster.nodes.values().map(|(node, _)| node.tree_sum(*shard)).collect();
        sums.len() == 1 && sums.iter().all(Option::is_some)
    };
    disks.iter().all(|disk| disk == first) && shards.iter().all(sums)
}

#[test]
fn a_lost_record_is_put_back_without_a_read_within_one_scrub() {
    let mut cluster = filled(200);
    assert!(are_equal(&cluster));
    let (lost, _) = disk(&mut cluster, 2).objects.iter().nth(77).unwrap();
    let lost = lost.clone();
    disk(&mut cluster, 2).objects.remove(&lost);
    assert!(!are_equal(&cluster));
    cluster.wait(SCRUB * 5 / 4 + 3_000);
    assert!(are_equal(&cluster), "{:?}", counts(&cluster, 2));
    assert_eq!(counts(&cluster, 2).lost_writes_restored, 1);
    assert_eq!(counts(&cluster, 2).leaves_damaged, 1);
    assert!(all_counts(&cluster, |counts| counts.differences) >= 1);
}

#[test]
fn what_several_have_lost_comes_from_whoever_has_it() {
    let mut cluster = filled(200);
    let all: Vec<_> = disk(&mut cluster, 1).objects.keys().cloned().collect();
    for (at, place) in all.iter().enumerate() {
        // Each third of the keys is lost at two of the three.
        for node in (1..=3).filter(|node| usize::from(*node) != at % 3 + 1) {
            disk(&mut cluster, node).objects.remove(place);
        }
    }
    cluster.wait(SCRUB * 5 / 4 + 10_000);
    assert!(are_equal(&cluster));
    assert_eq!(disk(&mut cluster, 1).objects.len(), 200);
    assert_eq!(all_counts(&cluster, |counts| counts.lost_writes_restored), 400);
}

#[test]
fn of_two_states_of_a_key_both_get_what_they_lack() {
    let mut cluster = filled(3);
    let first = cluster.get(1, "k1", Level::All).object;
    let old = disk(&mut cluster, 1).objects.clone();
    cluster.put(1, "k1", "later", first.context());
    cluster.wait(2_000);
    // One is as it was before, and another has lost what came before.
    disk(&mut cluster, 1).objects = old;
    cluster.wait(SCRUB * 5 / 4 + 3_000);
    assert!(are_equal(&cluster));
    assert_eq!(texts(&cluster.get(1, "k1", Level::One).object), ["later"]);
}

#[test]
fn what_is_older_than_what_the_one_that_asks_holds_does_not_travel() {
    let mut cluster = filled(100);
    let old = disk(&mut cluster, 3).objects.clone();
    for number in 0..20 {
        let first = cluster.get(1, &named(number), Level::All).object;
        cluster.put(1, &named(number), "later", first.context());
    }
    cluster.wait(2_000);
    disk(&mut cluster, 3).objects = old;
    cluster.holds = |from, _, message| {
        from == NodeId::new(3)
            && matches!(message, Message::Merge(merge) if !merge.object.is_bottom())
    };
    cluster.wait(SCRUB * 5 / 4 + 3_000);
    assert!(are_equal(&cluster));
    assert!(cluster.held.is_empty(), "{:?}", cluster.held.front());
}

#[test]
fn of_two_siblings_each_is_brought_to_who_holds_only_the_other() {
    let mut cluster = filled(10);
    let first = cluster.get(1, "k1", Level::All).object;
    cluster.put(1, "k1", "one", first.context());
    cluster.put(1, "k1", "two", first.context());
    cluster.wait(2_000);
    let place = |(place, object): (&(ShardId, TableId, Key), &Object)| {
        (object.values().len() == 2).then(|| (place.clone(), object.clone()))
    };
    let (place, both) = disk(&mut cluster, 1).objects.iter().find_map(place).unwrap();
    let [one, two] = both.values().keys().copied().collect::<Vec<_>>()[..] else { panic!() };
    for (node, lost) in [(1, one), (2, one), (3, two)] {
        let mut left = both.clone();
        left.leave_out(lost);
        disk(&mut cluster, node).objects.insert(place.clone(), left);
    }
    cluster.wait(SCRUB * 5 / 4 + 3_000);
    assert!(are_equal(&cluster));
    assert_eq!(disk(&mut cluster, 1).objects.get(&place), Some(&both));
}

#[test]
fn replicas_that_are_equal_send_each_other_no_object_and_compare_nothing() {
    let mut cluster = filled(200);
    cluster.holds = |_, _, message| {
        matches!(message, Message::Merge(_) | Message::Compare(_) | Message::Bring(_))
    };
    cluster.wait(2 * SCRUB);
    assert!(cluster.held.is_empty(), "{:?}", cluster.held.front());
    assert!(counts(&cluster, 1).leaves_scrubbed >= 1, "it was read all the same");
    assert_eq!(all_counts(&cluster, |counts| counts.leaves_damaged), 0);
}

#[test]
fn a_node_that_starts_reads_what_it_holds_before_it_tells_what_that_comes_to() {
    let mut cluster = filled(200);
    let lost = disk(&mut cluster, 3).objects.keys().nth(5).unwrap().clone();
    let mut clock = none();
    for object in disk(&mut cluster, 3).objects.values() {
        let _ = clock.union(object.context());
    }
    disk(&mut cluster, 3).objects.remove(&lost);
    let (_, memory) = cluster.nodes.remove(&NodeId::new(3)).unwrap();
    let config = config(NodeId::new(3), 1, &cluster.layout);
    let clocks = [(lost.0, clock)].into();
    let node = Node::new(config, clocks, memory.acceptor.clone(), cluster.now);
    cluster.nodes.insert(NodeId::new(3), (node, memory));
    for other in [1, 2] {
        cluster.inputs.push_back((NodeId::new(3), Input::Connected(NodeId::new(other))));
    }
    cluster.settle();
    let (node, _) = cluster.nodes.get(&NodeId::new(3)).unwrap();
    assert_eq!(node.tree_sum(lost.0), None);
    cluster.wait(4_000);
    assert!(are_equal(&cluster), "the scrub of a day did not have to begin");
    assert_eq!(counts(&cluster, 3).lost_writes_restored, 1);
    assert_eq!(counts(&cluster, 3).leaves_damaged, 0, "it was never counted");
}

#[test]
fn a_lost_message_ends_a_comparison_and_the_next_finds_the_rest() {
    let mut cluster = filled(200);
    for number in 0..20 {
        let (lost, _) = disk(&mut cluster, 2).objects.iter().nth(number * 5).unwrap();
        let lost = lost.clone();
        disk(&mut cluster, 2).objects.remove(&lost);
    }
    cluster.holds = |_, to, message| match message {
        Message::Compared(_) => true,
        Message::Bring(_) => to == NodeId::new(1),
        _ => false,
    };
    cluster.wait(SCRUB * 5 / 4 + 3_000);
    assert!(!cluster.held.is_empty() && !are_equal(&cluster));
    cluster.holds = |_, _, _| false;
    cluster.held.clear();
    cluster.wait(20_000);
    assert!(are_equal(&cluster));
}

/// A cluster of which the third node has lost its disk, when all of its logs were empty.
fn wiped() -> Cluster {
    let mut cluster = filled(200);
    let config = config(NodeId::new(3), 1, &cluster.layout);
    let (_, memory) = cluster.nodes.remove(&NodeId::new(3)).unwrap();
    assert!(memory.log.is_empty(), "no log can bring what was lost");
    let node = Node::new(config, BTreeMap::new(), memory.acceptor.clone(), cluster.now);
    cluster.nodes.insert(NodeId::new(3), (node, Memory::default()));
    for other in [1, 2] {
        cluster.inputs.push_back((NodeId::new(3), Input::Connected(NodeId::new(other))));
    }
    cluster.settle();
    cluster
}

#[test]
fn a_lost_disk_is_filled_again_although_no_log_reaches_back() {
    let mut cluster = wiped();
    assert_eq!(disk(&mut cluster, 3).objects.len(), 0);
    cluster.wait(8_000);
    assert!(are_equal(&cluster), "long before it would be overdue");
    assert_eq!(disk(&mut cluster, 3).objects.len(), 200);
    assert_eq!(counts(&cluster, 3).lost_writes_restored, 0, "its clock is as new as its disk");
}

#[test]
fn a_shard_that_is_written_all_the_time_is_compared_when_that_is_overdue() {
    let mut cluster = cluster();
    let limits = Limits {
        scrub_interval: Duration::from_millis(SCRUB),
        repair_interval: Duration::from_secs(20),
        ..limits()
    };
    (1..=3).for_each(|node| cluster.limit(node, limits));
    for number in 0..50 {
        cluster.put(1, &named(number), "v", &none());
    }
    cluster.wait(2_000);
    let lost = disk(&mut cluster, 2).objects.keys().nth(7).unwrap().clone();
    disk(&mut cluster, 2).objects.remove(&lost);
    // What is told of clocks is out of date when it arrives; and nobody answers the one that knows what
    // its disk has lost.
    let asks = |from: NodeId, message: &Message| {
        from == NodeId::new(2) && matches!(message, Message::Compare(_))
    };
    let write_on = |cluster: &mut Cluster, steps: u32| {
        for step in 0..steps {
            cluster.put(1, &format!("w{step}"), "v", &none());
            cluster.holds = |from, _, message| {
                let is_asking = matches!(message, Message::Compare(_)) && from == NodeId::new(2);
                is_asking || matches!(message, Message::Clocks(_) | Message::Alike(_))
            };
            cluster.wait(100);
            cluster.put(2, &format!("x{step}"), "v", &none());
            let held = std::mem::take(&mut cluster.held);
            let is_told = |(_, input): &(NodeId, Input)| match input {
                Input::Received { from, message } => !asks(*from, message),
                _ => true,
            };
            cluster.inputs.extend(held.into_iter().filter(is_told));
            cluster.holds =
                |from, _, message| matches!(message, Message::Compare(_)) && from == NodeId::new(2);
            cluster.settle();
        }
    };
    write_on(&mut cluster, 150);
    assert!(!disk(&mut cluster, 2).objects.contains_key(&lost), "it is not overdue yet");
    write_on(&mut cluster, 200);
    assert!(disk(&mut cluster, 2).objects.contains_key(&lost));
}

#[test]
fn more_than_may_be_sent_at_once_is_brought_piece_by_piece() {
    let mut cluster = filled(200);
    let limits = Limits {
        scrub_interval: Duration::from_millis(SCRUB),
        exchange_bytes_max: 16 << 10,
        ..limits()
    };
    (1..=3).for_each(|node| cluster.limit(node, limits));
    // They have begun anew, and compare what they hold as soon as they have one clock.
    let lost: Vec<_> = disk(&mut cluster, 3).objects.keys().take(100).cloned().collect();
    for place in &lost {
        disk(&mut cluster, 3).objects.remove(place);
    }
    cluster.put(1, "more", "v", &none());
    let mut most = 0;
    for _ in 0..300 {
        let before = disk(&mut cluster, 3).objects.len();
        cluster.wait(100);
        most = most.max(disk(&mut cluster, 3).objects.len() - before);
    }
    assert_eq!(disk(&mut cluster, 3).objects.len(), 201);
    assert!(most < 50, "{most} came at once");
}

#[test]
fn large_objects_that_are_newer_here_are_sent_piece_by_piece() {
    for old in [1, 3] {
        let scrub_interval = Duration::from_millis(SCRUB);
        let limits = Limits { scrub_interval, exchange_bytes_max: 256 << 10, ..limits() };
        let mut cluster = Cluster::with_limits(3, limits);
        let large = "v".repeat(64 << 10);
        let contexts: Vec<DotSet> =
            (0..40).map(|number| cluster.put(2, &named(number), &large, &none()).context).collect();
        cluster.wait(3_000);
        let before = disk(&mut cluster, old).objects.clone();
        for (number, context) in (0..).zip(&contexts) {
            cluster.put(2, &named(number), &large, context);
        }
        cluster.wait(3_000);
        disk(&mut cluster, old).objects = before.clone();
        let mut most = 0;
        let mut left = 40;
        for _ in 0..300 {
            cluster.wait(100);
            let here = &disk(&mut cluster, old).objects;
            let now = before.iter().filter(|(place, object)| here.get(place) == Some(object));
            let now = now.count();
            most = most.max(left - now);
            left = now;
        }
        assert_eq!(left, 0, "all are new again");
        // Two may send at once.
        assert!(most <= 12, "{most} came at once to n{old}");
    }
}
