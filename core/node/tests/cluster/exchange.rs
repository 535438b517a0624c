//! What replicas bring each other without a read.

use crate::harness::*;

impl Cluster {
    /// A node that was away is back, in the same life.
    pub(crate) fn come_back(&mut self, node: u16) {
        let node = NodeId::new(node);
        self.down.remove(&node);
        for other in self.layout.members.keys().copied().filter(|other| *other != node) {
            self.inputs.push_back((node, Input::Connected(other)));
            self.inputs.push_back((other, Input::Connected(node)));
        }
        self.settle();
    }

    fn disk(&self, node: u16) -> &Memory {
        &self.nodes.get(&NodeId::new(node)).unwrap().1
    }

    fn objects(&self, node: u16) -> Vec<Object> {
        self.disk(node).objects.values().cloned().collect()
    }

    fn lag(&mut self, at: u16, with: u16) -> model::Lag {
        let Reply::Status(status) = self.ask(at, Request::Status) else { panic!("no status") };
        let seen = status.nodes.iter().find(|seen| seen.node == NodeId::new(with));
        seen.unwrap().lag.unwrap()
    }
}

#[test]
fn a_replica_that_was_away_has_everything_within_two_seconds_and_nobody_has_read() {
    let mut cluster = Cluster::with_table(3, 3);
    cluster.stop(3);
    let first = cluster.put(1, "k0", "first", &none());
    cluster.put(2, "k0", "second", &first.context);
    for number in 1..400 {
        cluster.put(1, &format!("k{number}"), "v", &none());
    }
    cluster.wait(3_000);
    assert_eq!(cluster.disk(3).objects.len(), 0);
    assert_eq!(cluster.lag(1, 3).ahead, 401);
    cluster.come_back(3);
    cluster.wait(2_000);
    assert_eq!(cluster.objects(3), cluster.objects(1));
    let key = |text: &str| key(text, "");
    let address = |(_, _, at): &&(ShardId, TableId, Key)| *at == key("k0");
    let held = cluster.disk(3).objects.keys().find(address).unwrap().clone();
    assert_eq!(texts(cluster.disk(3).objects.get(&held).unwrap()), ["second"]);
    let lag = cluster.lag(1, 3);
    assert_eq!((lag.ahead, lag.behind, lag.gaps, lag.marked), (0, 0, 0, 0));
}

#[test]
fn lines_of_the_log_stay_while_a_replica_is_away_and_go_when_all_have_them() {
    let mut cluster = Cluster::with_table(3, 3);
    cluster.put(1, "k0", "before", &none());
    cluster.wait(3_000);
    let logged = |cluster: &Cluster, node| cluster.disk(node).log.len();
    assert_eq!([1, 2, 3].map(|node| logged(&cluster, node)), [0, 0, 0]);
    cluster.stop(3);
    cluster.put(1, "k1", "meanwhile", &none());
    cluster.wait(3_000);
    assert_eq!([1, 2].map(|node| logged(&cluster, node)), [1, 1]);
    cluster.come_back(3);
    cluster.wait(4_000);
    assert_eq!([1, 2, 3].map(|node| logged(&cluster, node)), [0, 0, 0]);
}

#[test]
fn a_dot_whose_record_was_lost_is_a_gap_and_is_not_covered() {
    let mut cluster = Cluster::with_table(2, 2);
    cluster.stop(2);
    let options = WriteOptions { w: Some(Level::One), ..WriteOptions::default() };
    let Reply::Written(_) = cluster.ask(1, put("k", "v", &none(), options)) else { panic!() };
    let (_, disk) = cluster.nodes.get_mut(&NodeId::new(1)).unwrap();
    disk.objects.clear();
    cluster.come_back(2);
    cluster.wait(3_000);
    assert_eq!(cluster.disk(2).objects.len(), 0);
    let lag = cluster.lag(2, 1);
    assert_eq!((lag.gaps, cluster.lag(1, 2).ahead), (1, 1));
    assert_eq!(cluster.disk(1).log.len(), 1, "it may come back");
}

#[test]
fn a_full_log_drops_its_oldest_lines_and_marks_who_lacks_them() {
    let limits = Limits { log_entries_max: 5, ..limits() };
    let mut cluster = Cluster::with_limits(3, limits);
    cluster.stop(3);
    let mut context = none();
    for number in 0..12 {
        context = cluster.put(1, "k", &number.to_string(), &context).context;
    }
    cluster.wait(3_000);
    assert_eq!([1, 2].map(|node| cluster.disk(node).log.len()), [5, 5]);
    assert_eq!((cluster.lag(1, 3).marked, cluster.lag(1, 2).marked), (1, 0));
    assert_eq!(cluster.disk(1).marks.len(), 1);
    // The last write carries all that it superseded, so that this replica is whole all the same.
    cluster.come_back(3);
    cluster.wait(4_000);
    assert_eq!(cluster.objects(3), cluster.objects(1));
    assert_eq!((cluster.lag(1, 3).marked, cluster.disk(1).marks.len()), (0, 0));
}

#[test]
fn beside_clients_what_was_missed_comes_at_the_configured_rate_and_else_at_once() {
    let rate = 1 << 20; // 256 small objects a second
    let mut cluster = Cluster::with_limits(3, Limits { catch_up_rate: rate, ..limits() });
    // Writes to one key, 400 a second: enough that a node calls itself busy.
    let mut context = none();
    let mut serve = |cluster: &mut Cluster, seconds| {
        for _ in 0..10 * seconds {
            for _ in 0..40 {
                context = cluster.put(1, "busy", "v", &context).context;
            }
            cluster.wait(100);
        }
        cluster.disk(3).objects.len()
    };
    cluster.stop(3);
    (0..3_000).for_each(|number| drop(cluster.put(1, &format!("k{number}"), "v", &none())));
    serve(&mut cluster, 2);
    cluster.come_back(3);
    let before = serve(&mut cluster, 2);
    let came = serve(&mut cluster, 4) - before;
    assert!((400..=1_100).contains(&came), "{came} objects in four seconds");
    cluster.wait(6_000);
    assert_eq!(cluster.objects(3), cluster.objects(1));
}

#[test]
fn what_is_read_is_as_old_as_the_last_word_of_the_replica_that_is_silent() {
    let mut cluster = Cluster::with_table(3, 3);
    cluster.put(1, "k", "v", &none());
    cluster.wait(3_000);
    let shard = *cluster.disk(1).objects.keys().next().map(|(shard, _, _)| shard).unwrap();
    let staleness = |cluster: &Cluster, at| {
        let (node, _) = cluster.nodes.get(&NodeId::new(at)).unwrap();
        node.staleness(shard, cluster.now).unwrap()
    };
    assert!(staleness(&cluster, 1) < Duration::from_secs(3));
    cluster.stop(3);
    cluster.wait(20_000);
    assert!(Duration::from_secs(20) <= staleness(&cluster, 1));
    cluster.come_back(3);
    // A connection says nothing about what the other end has.
    assert!(Duration::from_secs(20) <= staleness(&cluster, 1));
    cluster.wait(4_000);
    assert!(staleness(&cluster, 1) < Duration::from_secs(3));
}

#[test]
fn a_read_is_as_old_as_the_freshest_of_its_replicas_and_one_of_all_lacks_nothing() {
    let mut cluster = Cluster::with_table(3, 3);
    cluster.put(1, "k", "v", &none());
    let staleness = |cluster: &mut Cluster, r| cluster.get(1, "k", r).receipt.staleness;
    assert_eq!(staleness(&mut cluster, Level::One), None, "nobody has been heard of yet");
    assert_eq!(staleness(&mut cluster, Level::All), Some(Duration::ZERO));
    cluster.wait(3_000);
    assert!(staleness(&mut cluster, Level::One).unwrap() < Duration::from_secs(3));
    cluster.stop(3);
    cluster.wait(20_000);
    assert!(Duration::from_secs(20) <= staleness(&mut cluster, Level::One).unwrap());
    assert!(Duration::from_secs(20) <= staleness(&mut cluster, Level::Quorum).unwrap(), "strict");
}

#[test]
fn a_list_is_as_old_as_its_oldest_page() {
    let mut cluster = Cluster::with_table(3, 3);
    cluster.put(1, "k", "v", &none());
    let all = || Range::Table { shard: 0, after: None };
    assert_eq!(cluster.list(all(), 10).receipt.staleness, None);
    cluster.wait(3_000);
    assert!(cluster.list(all(), 10).receipt.staleness.unwrap() < Duration::from_secs(3));
}

#[test]
fn where_guests_may_have_what_no_replica_knows_nobody_says_how_old_a_read_is() {
    let mut cluster = Cluster::with_sloppy_table(4, 3);
    cluster.put(1, "k", "v", &none());
    cluster.wait(3_000);
    for r in [Level::One, Level::All] {
        assert_eq!(cluster.get(1, "k", r).receipt.staleness, None, "{r}");
    }
}

/// Lines that have to stay, because somebody lacks a part of them, are not all that is ever looked
/// at: those behind them are dropped.
#[test]
fn lines_that_stay_do_not_keep_others_from_being_dropped() {
    const STAY: u64 = 150;
    let mut cluster = Cluster::with_limits(3, Limits { siblings_max: 3, ..limits() });
    let lines = |cluster: &Cluster| cluster.nodes[&NodeId::new(1)].1.log.len();
    let one = WriteOptions { w: Some(Level::One), ..WriteOptions::default() };
    let write = |cluster: &mut Cluster, key: &str, context: &DotSet| match cluster
        .ask(2, put(key, "v", context, one))
    {
        Reply::Written(written) => written.context,
        other => panic!("{other:?}"),
    };
    // n1 hears of two writes at a time, of which n3 has only the first.
    for key in (0..STAY).map(|key| format!("k{key}")) {
        cluster.holds =
            |_, to, message| to == NodeId::new(1) && matches!(message, Message::Merge(_));
        let context = write(&mut cluster, &key, &none());
        cluster.holds =
            |_, to, message| to != NodeId::new(2) && matches!(message, Message::Merge(_));
        write(&mut cluster, &key, &context);
    }
    cluster.holds = |from, to, message| {
        [from, to].contains(&NodeId::new(3))
            && matches!(message, Message::Merge(_) | Message::Sent(_))
    };
    cluster.held.clear();
    cluster.wait(5_000);
    assert_eq!(lines(&cluster), STAY as usize);
    cluster.holds = |_, to, message| {
        let is_held = |address: &Address| address.key.partition()[0] == b'k';
        to == NodeId::new(3)
            && match message {
                Message::Merge(merge) => is_held(&merge.address),
                Message::Sent(sent) => sent.objects.iter().any(|(address, _)| is_held(address)),
                _ => false,
            }
    };
    (0..20).for_each(|key| drop(write(&mut cluster, &format!("m{key}"), &none())));
    assert_eq!(lines(&cluster), STAY as usize + 20);
    // What n3 asks for is answered and lost, and it asks one after the other.
    cluster.wait(20_000);
    assert_eq!(lines(&cluster), STAY as usize);
}

/// A frame and a header for each small object would be more than what there is to say of it.
#[test]
fn what_is_small_comes_together_and_what_is_large_alone() {
    let mut cluster = Cluster::with_limits(2, limits());
    cluster.stop(2);
    let one = WriteOptions { w: Some(Level::One), ..WriteOptions::default() };
    for number in 0..20 {
        cluster.ask(1, put(&format!("k{number}"), "small", &none(), one));
    }
    cluster.ask(1, put("large", &"v".repeat(10_000), &none(), one));
    // Clients are gone: it is not held back for them.
    cluster.wait(3_000);
    cluster.holds = |_, to, message| {
        to == NodeId::new(2) && matches!(message, Message::Merge(_) | Message::Sent(_))
    };
    cluster.come_back(2);
    cluster.wait(1_500);
    let brought = cluster.held.iter().filter_map(|(_, input)| match input {
        Input::Received { message: Message::Merge(_), .. } => Some(0),
        Input::Received { message: Message::Sent(sent), .. } => Some(sent.objects.len()),
        _ => None,
    });
    assert_eq!(brought.collect::<Vec<_>>()[..2], [0, 20]);
    assert!(cluster.objects(2).is_empty());
    cluster.holds = |_, _, _| false;
    let held = std::mem::take(&mut cluster.held);
    cluster.inputs.extend(held);
    cluster.settle();
    assert_eq!(cluster.objects(2), cluster.objects(1));
}

/// A peer of another version does not ask for them together.
#[test]
fn who_does_not_ask_for_objects_together_is_sent_each_by_itself() {
    let mut cluster = Cluster::with_limits(2, limits());
    cluster.stop(2);
    let one = WriteOptions { w: Some(Level::One), ..WriteOptions::default() };
    for number in 0..20 {
        cluster.ask(1, put(&format!("k{number}"), "small", &none(), one));
    }
    cluster.wait(3_000);
    cluster.holds = |_, to, message| to == NodeId::new(1) && matches!(message, Message::Lack(_));
    cluster.come_back(2);
    cluster.wait(1_500);
    let mut held = std::mem::take(&mut cluster.held);
    for (_, input) in &mut held {
        if let Input::Received { message: Message::Lack(lack), .. } = input {
            lack.is_together = false;
        }
    }
    cluster.holds = |_, _, message| matches!(message, Message::Sent(_));
    cluster.inputs.extend(held);
    cluster.settle();
    assert_eq!(cluster.objects(2), cluster.objects(1));
    let has_objects = |(_, input): &(NodeId, Input)| matches!(input, Input::Received { message: Message::Sent(sent), .. } if !sent.objects.is_empty());
    assert!(!cluster.held.iter().any(has_objects));
}

/// Its answers would differ from those of others, and each read would have to ask again.
#[test]
fn who_lacks_more_than_it_is_sent_at_once_is_not_asked_first() {
    let mut cluster = Cluster::with_table(3, 3);
    cluster.stop(3);
    for number in 0..2_000 {
        cluster.put(1, &format!("k{number}"), "missed", &none());
    }
    cluster.start(3);
    cluster.wait(1_500);
    // It answers as soon as the others.
    cluster.get(1, "k1", Level::All);
    cluster.holds = |_, to, message| to.number() == 3 && matches!(message, Message::Fetch(_));
    (0..50).for_each(|number| drop(cluster.get(1, &format!("k{number}"), Level::Two)));
    assert!(cluster.held.is_empty(), "{} of 50 reads asked it", cluster.held.len());
    cluster.wait(6_000);
    for _ in 0..50 {
        cluster.begin(1, get("k1", Level::Two));
    }
    let asked = cluster.held.len();
    assert!((10..40).contains(&asked), "{asked} of 50 reads asked one of two equals");
}
