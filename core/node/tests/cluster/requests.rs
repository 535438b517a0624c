//! Reads, writes, deletes and lists.

use super::harness::*;

#[test]
fn a_write_at_one_node_is_read_at_another_with_receipts() {
    let mut cluster = Cluster::with_table(3, 3);
    let written = cluster.put(1, "k", "hello", &none());
    assert_eq!((written.receipt.kind, written.receipt.wanted), (Kind::Strict, 2));
    assert_eq!(written.receipt.durable(), 2);
    let read = cluster.get(3, "k", Level::Quorum);
    assert_eq!(texts(&read.object), ["hello"]);
    assert_eq!(read.receipt.kind, Kind::Strict);
    assert_eq!(cluster.get(3, "k", Level::One).receipt.kind, Kind::Partial);
    assert!(cluster.get(2, "other", Level::All).object.is_bottom());
}

#[test]
fn concurrent_writers_leave_siblings_and_a_reader_of_both_leaves_one() {
    let mut cluster = Cluster::with_table(3, 3);
    cluster.put(1, "k", "one", &none());
    cluster.put(2, "k", "two", &none());
    let read = cluster.get(3, "k", Level::Quorum);
    assert_eq!(texts(&read.object), ["one", "two"]);
    cluster.put(3, "k", "three", read.object.context());
    assert_eq!(texts(&cluster.get(1, "k", Level::All).object), ["three"]);
}

#[test]
fn a_delete_removes_what_was_read_and_leaves_its_context() {
    let mut cluster = Cluster::with_table(3, 3);
    let written = cluster.put(1, "k", "short-lived", &none());
    let delete =
        |context: &DotSet| mutate(key("k", ""), Mutation::Delete, context, WriteOptions::default());
    let refused = cluster.ask(2, delete(&none()));
    assert_eq!(refused, Reply::Failed(Refusal::EmptyDelete.into()));
    assert!(matches!(cluster.ask(2, delete(&written.context)), Reply::Written(_)));
    assert!(cluster.get(3, "k", Level::Quorum).object.is_tombstone());
}

#[test]
fn writes_go_on_with_one_node_away_and_read_repair_brings_it_up_to_date() {
    let mut cluster = Cluster::with_table(3, 3);
    cluster.stop(3);
    let written = cluster.put(1, "k", "while away", &none());
    assert_eq!(written.receipt.acks.len(), 2);
    let all = WriteOptions { w: Some(Level::All), ..WriteOptions::default() };
    assert_eq!(
        cluster.ask(1, put("k", "too much", &none(), all)),
        Reply::Failed(Failure::NotAttempted {
            wanted: 3,
            alive: 2,
            replicas: 3,
            lacks: String::new()
        })
    );
    cluster.down.clear();
    cluster.wait(3_000);
    let read = cluster.get(3, "k", Level::Quorum);
    assert_eq!(texts(&read.object), ["while away"]);
    let repaired = cluster.get(3, "k", Level::One);
    assert_eq!(texts(&repaired.object), ["while away"], "n3 itself holds it");
}

#[test]
fn a_replica_that_hangs_is_hedged_and_a_write_it_misses_is_unknown() {
    let mut cluster = Cluster::with_table(3, 3);
    cluster.put(1, "k", "before", &none());
    // Nobody is told: n2 and n3 seem alive, and say nothing.
    cluster.down.extend([NodeId::new(2), NodeId::new(3)]);
    let write = cluster.begin(1, put("k", "after", &none(), WriteOptions::default()));
    let read = cluster.begin(1, get("k", Level::Quorum));
    assert!(cluster.answers.is_empty());
    cluster.down.remove(&NodeId::new(3));
    cluster.wait(300);
    let Some(Reply::Read(read)) = cluster.answers.remove(&read) else { panic!("not hedged") };
    assert_eq!(read.receipt.acks.len(), 2);
    cluster.wait(5_000);
    let failed = cluster.answers.remove(&write);
    assert!(
        matches!(failed, Some(Reply::Failed(Failure::Unknown { wanted: 2, got: 1, .. }))),
        "{failed:?}"
    );
}

#[test]
fn any_node_takes_a_request_for_any_key() {
    let mut cluster = Cluster::with_table(5, 3);
    for index in 0..40_u16 {
        let at = index % 5 + 1;
        cluster.put(at, &format!("k{index}"), &format!("v{index}"), &none());
        let read = cluster.get((at + 1) % 5 + 1, &format!("k{index}"), Level::Quorum);
        assert_eq!(texts(&read.object), [format!("v{index}")]);
    }
}

#[test]
fn a_write_is_passed_on_to_the_next_replica_if_one_does_not_know_the_table() {
    let mut cluster = Cluster::with_table(5, 1);
    let mut tried = BTreeSet::new();
    for index in 0..20 {
        let (node, disk) = cluster.nodes.get_mut(&NodeId::new(1)).unwrap();
        let request = put(&format!("k{index}"), "v", &none(), WriteOptions::default());
        let ticket = Ticket(1_000 + index);
        let mut effects = Vec::new();
        node.step(cluster.now, Input::Requested { ticket, request }, disk, &mut effects);
        let [Effect::Send { to, message: Message::Forward(forward), .. }] = effects.as_slice()
        else {
            continue;
        };
        let unknown = Refusal::UnknownTable { keyspace: name("ks"), table: name("t") };
        let reply = Reply::Failed(unknown.into());
        let message = Message::Forwarded(Forwarded { request: forward.request, reply });
        tried.insert(*to);
        let from = *to;
        effects.clear();
        node.step(cluster.now, Input::Received { from, message }, disk, &mut effects);
        let [Effect::Answer { reply: Reply::Failed(failure), .. }] = effects.as_slice() else {
            panic!("{effects:?}");
        };
        let lacks = String::new();
        assert_eq!(*failure, Failure::NotAttempted { wanted: 1, alive: 1, replicas: 1, lacks });
    }
    assert!(1 < tried.len(), "keys of several other nodes: {tried:?}");
}

#[test]
fn a_list_has_every_key_once_and_in_order_whatever_the_page() {
    let mut cluster = Cluster::with_table(3, 3);
    for index in 0..30 {
        let value = Value { content_type: Bytes::new(), body: Bytes::new() };
        let mutation = Mutation::Store(value);
        let at = key("p", &format!("{index:02}"));
        cluster.ask(1, mutate(at, mutation, &none(), WriteOptions::default()));
    }
    let deleted = key("p", "07");
    let read = cluster.list(Range::Partition { partition: "p".into(), after: None }, 100);
    let context = read.listings[7].object.context().clone();
    cluster.ask(1, mutate(deleted.clone(), Mutation::Delete, &context, WriteOptions::default()));

    for limit in [1, 7, 100] {
        let mut next = Some(Range::Partition { partition: "p".into(), after: None });
        let mut keys = Vec::new();
        while let Some(range) = next {
            let listed = cluster.list(range, limit);
            assert!(listed.listings.len() <= limit);
            keys.extend(listed.listings.into_iter().map(|listing| listing.key));
            next = listed.next;
        }
        assert_eq!(keys.len(), 29, "limit {limit}");
        assert!(keys.is_sorted() && !keys.contains(&deleted));
    }
}

#[test]
fn a_scan_of_a_table_goes_through_all_shards() {
    let mut cluster = Cluster::with_table(3, 3);
    for index in 0..50 {
        cluster.put(1, &format!("k{index}"), "v", &none());
    }
    let mut next = Some(Range::Table { shard: 0, after: None });
    let mut keys = BTreeSet::new();
    while let Some(range) = next {
        let listed = cluster.list(range, 9);
        keys.extend(listed.listings.into_iter().map(|listing| listing.key));
        next = listed.next;
    }
    assert_eq!(keys.len(), 50);
}

#[test]
fn bad_requests_are_refused_and_change_nothing() {
    let mut cluster = Cluster::with_table(3, 3);
    let mut unknown = put("k", "v", &none(), WriteOptions::default());
    if let Request::Put(put) = &mut unknown {
        put.table = name("nowhere");
    }
    assert!(matches!(refusal(cluster.ask(1, unknown)), Refusal::UnknownTable { .. }));
    let level = |w| WriteOptions { w: Some(w), ..WriteOptions::default() };
    for w in [Level::Count(0), Level::Count(4)] {
        let refused = cluster.ask(1, put("k", "v", &none(), level(w)));
        assert!(matches!(refusal(refused), Refusal::Level { what: "w", .. }));
    }
    let large = "x".repeat(Limits::default().value_bytes_max + 1);
    let refused = cluster.ask(1, put("k", &large, &none(), WriteOptions::default()));
    assert!(matches!(refusal(refused), Refusal::LargeValue { .. }));
    assert!(cluster.get(1, "k", Level::All).object.is_bottom());
    for index in 0..3 {
        cluster.put(1, "full", &format!("{index}"), &none());
    }
    let refused = cluster.ask(2, put("full", "more", &none(), WriteOptions::default()));
    assert_eq!(refusal(refused), Refusal::ManySiblings { siblings: 3, max: 3 });
}

#[test]
fn a_table_may_demand_contexts_and_allow_fewer_siblings_than_the_nodes() {
    let mut cluster = Cluster::new(3);
    cluster.ask(1, Request::Declare(keyspace(8, 3)));
    let rules =
        SiblingRules { require_context: true, max: Some(2), warn: Some(2), bytes_max: Some(10) };
    let mut declare = table(Durability::Synced);
    let Declare::Table { siblings, .. } = &mut declare else { panic!("it is a table") };
    *siblings = SiblingRules { max: Some(1), ..rules };
    assert!(matches!(
        refusal(cluster.ask(1, Request::Declare(declare.clone()))),
        Refusal::Contract(_)
    ));
    let Declare::Table { siblings, .. } = &mut declare else { panic!("it is a table") };
    *siblings = rules;
    assert!(matches!(cluster.ask(1, Request::Declare(declare)), Reply::Declared(_)));
    let write = |text: &str, read: &DotSet| put("k", text, read, WriteOptions::default());
    let first = cluster.put(1, "k", "first", &none()).context;
    let blind = cluster.ask(2, write("blind", &none()));
    assert_eq!(refusal(blind), Refusal::BlindPut { siblings: 1 });
    // Two that have read the same are concurrent, and a third is one too many.
    cluster.put(1, "k", "left", &first);
    cluster.put(2, "k", "right", &first);
    let third = cluster.ask(3, write("third", &first));
    assert_eq!(refusal(third), Refusal::ManySiblings { siblings: 2, max: 2 });
    let counted = |cluster: &Cluster| {
        let counts = cluster.nodes.values().map(|(node, _)| node.counts());
        counts.fold((0, 0), |sum, counts| {
            (sum.0 + counts.siblings_created, sum.1 + counts.siblings_warned)
        })
    };
    assert_eq!(counted(&cluster), (1, 1));
    let read = cluster.get(3, "k", Level::All).object.context().clone();
    cluster.put(3, "k", "one", &read);
    let read = cluster.get(1, "k", Level::All).object.context().clone();
    cluster.put(1, "k", "larger than ten bytes, but alone", &read);
    let beside = cluster.ask(2, write("beside", &read));
    assert_eq!(refusal(beside), Refusal::LargeObject { bytes: 38, max: 10 });
}

#[test]
fn equal_values_that_were_written_at_once_are_one_answer() {
    let mut cluster = Cluster::with_table(3, 3);
    cluster.put(1, "k", "same", &none());
    cluster.put(2, "k", "other", &none());
    cluster.put(3, "k", "same", &none());
    let read = cluster.get(1, "k", Level::All).object;
    assert_eq!(read.values().len(), 2, "{read:?}");
    assert_eq!(read.context().len(), 3, "whoever has read it has read all");
    cluster.put(2, "k", "resolved", read.context());
    assert_eq!(cluster.get(3, "k", Level::All).object.values().len(), 1);
}

#[test]
fn only_acknowledgements_wait_for_the_disk() {
    let mut cluster = Cluster::with_table(3, 3);
    let (node, disk) = cluster.nodes.get_mut(&NodeId::new(1)).unwrap();
    let request = put("k", "v", &none(), WriteOptions::default());
    let mut effects = Vec::new();
    node.step(cluster.now, Input::Requested { ticket: Ticket(99), request }, disk, &mut effects);
    let after = |to: u16| {
        let to_node = |effect: &&Effect| matches!(effect, Effect::Send { to: node, .. } if node.number() == to);
        match effects.iter().find(to_node) {
            Some(Effect::Send { after, .. }) => *after,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((after(1), after(2), after(3)), (After::Synced, After::Now, After::Now));
}

#[test]
fn what_a_monotonic_read_shows_is_at_so_many_replicas_that_the_next_cannot_miss_it() {
    let mut cluster = Cluster::with_table(3, 3);
    let (node, disk) = cluster.nodes.get_mut(&NodeId::new(1)).unwrap();
    let request = put("k", "v", &none(), WriteOptions::default());
    // What it sends is lost.
    let ticket = Ticket(99);
    node.step(cluster.now, Input::Requested { ticket, request }, disk, &mut Vec::new());
    let have = |cluster: &Cluster| {
        let disks = cluster.nodes.values().map(|(_, disk)| disk);
        disks.filter(|disk| !disk.objects.is_empty()).count()
    };
    assert_eq!(texts(&cluster.get(1, "k", Level::One).object), ["v"]);
    assert_eq!(have(&cluster), 1);
    let Request::Get(read) = get("k", Level::One) else { panic!("it is a read") };
    let read = Request::Get(Get { monotonic: true, ..read });
    let Reply::Read(found) = cluster.ask(1, read.clone()) else { panic!("it is answered") };
    assert_eq!(texts(&found.object), ["v"]);
    assert_eq!(found.receipt.acks.len(), 2, "as many as the table says");
    assert_eq!(have(&cluster), 2);
    cluster.stop(1);
    assert_eq!(texts(&cluster.get(2, "k", Level::Quorum).object), ["v"]);
    cluster.stop(2);
    let failed = cluster.ask(3, read);
    assert!(matches!(failed, Reply::Failed(Failure::NotAttempted { .. })), "{failed:?}");
}

#[test]
fn a_write_that_a_replica_has_no_room_for_goes_to_the_next() {
    let mut cluster = Cluster::with_table(4, 3);
    cluster.limit(2, Limits { requests_max: 0, ..Limits::default() });
    (0..60).for_each(|number| drop(cluster.put(1, &format!("k{number}"), "v", &none())));
    let refused = cluster.ask(2, put("k", "v", &none(), WriteOptions::default()));
    assert!(matches!(refused, Reply::Failed(Failure::Refused(Refusal::Overloaded { max: 0 }))));
}

#[test]
fn a_read_puts_back_what_a_disk_has_lost_and_says_how_much_that_was() {
    let mut cluster = Cluster::with_table(3, 3);
    cluster.put(1, "k", "v", &none());
    let restored =
        |cluster: &Cluster, node| cluster.nodes[&NodeId::new(node)].0.counts().lost_writes_restored;
    cluster.nodes.get_mut(&NodeId::new(2)).unwrap().1.objects.clear();
    assert_eq!(texts(&cluster.get(1, "k", Level::All).object), ["v"]);
    assert_eq!(cluster.nodes[&NodeId::new(2)].1.objects.len(), 1);
    assert_eq!((1..=3).map(|node| restored(&cluster, node)).collect::<Vec<_>>(), [0, 1, 0]);
    cluster.get(1, "k", Level::All);
    assert_eq!(restored(&cluster, 2), 1, "nothing is put back twice");
}
