//! Deleted data that is forgotten, who holds that back, and what may not come back meanwhile.

use causality::Dot;
use model::{DiskStep, Forgetting, Marks, Token};
use node::Forgot;

use super::harness::*;

/// After so long, three intervals of the exchange, all have forgotten what all have acknowledged.
const SOON: u64 = 3_000;

fn cluster() -> Cluster {
    Cluster::with_limits(3, limits())
}

fn forgetting(cluster: &Cluster, id: u16) -> Forgetting {
    let (node, _) = cluster.nodes.get(&NodeId::new(id)).unwrap();
    node.status(cluster.now).forgetting
}

/// Who holds back what is deleted, as a node says, and for how many seconds.
fn blocked(cluster: &Cluster, id: u16) -> Vec<(u16, u64)> {
    let blockers = forgetting(cluster, id).blockers;
    blockers.iter().map(|blocker| (blocker.node.number(), blocker.since.as_secs())).collect()
}

/// How many objects each of three disks holds.
fn held(cluster: &Cluster) -> Vec<usize> {
    cluster.nodes.values().map(|(_, disk)| disk.objects.len()).collect()
}

fn delete(cluster: &mut Cluster, at: u16, partition: &str, context: &DotSet) {
    let delete = mutate(key(partition, ""), Mutation::Delete, context, WriteOptions::default());
    let reply = cluster.ask(at, delete);
    assert!(matches!(reply, Reply::Written(_)), "{reply:?}");
}

fn evict(cluster: &mut Cluster, at: u16, id: u16) {
    let (node, step) = (NodeId::new(id), DiskStep::IsGone(DiskId::new(id.into())));
    let reply = cluster.ask(at, Request::Declare(Declare::Disk { node, step }));
    assert!(matches!(reply, Reply::Declared(_)), "{reply:?}");
}

/// A cluster in which `k` was written when all were there, and deleted when one was not.
fn deleted_without(away: u16) -> Cluster {
    let mut cluster = cluster();
    let written = cluster.put(away, "k", "tea", &none());
    cluster.wait(SOON);
    cluster.stop(away);
    delete(&mut cluster, away % 3 + 1, "k", &written.context);
    cluster
}

#[test]
fn what_is_deleted_is_gone_at_all_within_three_intervals_and_only_its_dots_are_kept() {
    let mut cluster = cluster();
    for number in 0..20 {
        let written = cluster.put(1, &format!("k{number}"), "tea", &none());
        delete(&mut cluster, 1, &format!("k{number}"), &written.context);
    }
    assert_eq!(held(&cluster), [20, 20, 20]);
    assert_eq!((forgetting(&cluster, 1).waiting, forgetting(&cluster, 1).dots), (20, 0));
    cluster.wait(SOON);
    assert_eq!(held(&cluster), [0, 0, 0]);
    let expected = Forgetting { dots: 40, runs: 1, ..Forgetting::default() };
    for id in 1..=3 {
        assert_eq!(forgetting(&cluster, id), expected);
        let (node, _) = cluster.nodes.get(&NodeId::new(id)).unwrap();
        assert_eq!(node.counts().tombstones_forgotten, 20);
    }
    let read = cluster.get(2, "k7", Level::All).object;
    assert!(read.is_bottom(), "{read:?}");
}

#[test]
fn a_tombstone_waits_for_a_node_that_is_away_and_the_answer_says_for_whom_and_since_when() {
    for away in 1..=3 {
        let mut cluster = deleted_without(away);
        cluster.wait(60_000);
        assert_eq!(held(&cluster), [1, 1, 1]);
        for id in (1..=3).filter(|id| *id != away) {
            assert_eq!(forgetting(&cluster, id).waiting, 1);
            let blocked = blocked(&cluster, id);
            let [(node, 57..=60)] = blocked[..] else { panic!("{blocked:?}") };
            assert_eq!(node, away);
        }
        cluster.start(away);
        cluster.wait(2 * SOON);
        assert_eq!(held(&cluster), [0, 0, 0]);
        assert_eq!((forgetting(&cluster, 1).waiting, blocked(&cluster, 1)), (0, vec![]));
    }
}

#[test]
fn a_replica_that_is_only_a_moment_behind_is_not_the_one_that_is_waited_for() {
    let mut cluster = deleted_without(3);
    for number in 0..60 {
        let written = cluster.put(1, &format!("k{number}"), "tea", &none());
        delete(&mut cluster, 1, &format!("k{number}"), &written.context);
        cluster.wait(500);
    }
    let [ref others @ .., (3, 27..=30)] = blocked(&cluster, 1)[..] else {
        panic!("{:?}", blocked(&cluster, 1));
    };
    assert!(others.iter().all(|(node, seconds)| *node == 2 && *seconds < 4), "{others:?}");
}

#[test]
fn nobody_waits_for_a_node_that_is_given_up_and_its_new_disk_is_never_shown_what_was_deleted() {
    let mut cluster = deleted_without(3);
    cluster.wait(10_000);
    assert_eq!(held(&cluster), [1, 1, 1]);
    evict(&mut cluster, 1, 3);
    cluster.wait(SOON);
    assert_eq!(held(&cluster), [0, 0, 1]);
    assert_eq!((forgetting(&cluster, 1).waiting, blocked(&cluster, 1)), (0, vec![]));
    cluster.start_with(3, 33);
    cluster.wait(3 * SOON);
    assert_eq!(held(&cluster), [0, 0, 0]);
    assert_eq!(forgetting(&cluster, 3).dots, 2, "it was told what is forgotten");
    let read = cluster.get(3, "k", Level::All).object;
    assert!(read.is_bottom(), "{read:?}");
}

#[test]
fn a_key_that_is_written_again_waits_for_nobody() {
    let mut cluster = deleted_without(3);
    cluster.wait(SOON);
    assert_eq!(forgetting(&cluster, 2).waiting, 1);
    cluster.put(1, "k", "rum", &none());
    cluster.wait(SOON);
    assert_eq!((forgetting(&cluster, 2).waiting, blocked(&cluster, 2)), (0, vec![]));
}

#[test]
fn more_tombstones_than_are_remembered_are_found_and_forgotten_all_the_same() {
    let mut cluster = cluster();
    cluster.stop(3);
    for number in 0..1_500 {
        let written = cluster.put(1, &format!("k{number}"), "tea", &none());
        delete(&mut cluster, 1, &format!("k{number}"), &written.context);
    }
    cluster.wait(SOON);
    let told = forgetting(&cluster, 1);
    assert_eq!((told.waiting, told.more), (1_024, true));
    cluster.start(3);
    cluster.wait(20_000);
    assert_eq!(held(&cluster), [0, 0, 0]);
    let told = forgetting(&cluster, 1);
    assert_eq!((told.waiting, told.more, told.dots), (0, false, 3_000));
}

#[test]
fn a_delete_of_what_came_with_a_token_stays_as_long_as_anybody_may_ask_for_that() {
    let (retry_window, token_ahead_max) = (Duration::from_secs(10), Duration::from_secs(5));
    let mut cluster = Cluster::with_limits(3, Limits { retry_window, token_ahead_max, ..limits() });
    let token = Token::new(cluster.now.as_micros() / 1_000, 1);
    let once = |context: &DotSet, marks: &Marks| {
        let Request::Put(put) = put("k", "once", context, WriteOptions::default()) else {
            unreachable!("it is a put");
        };
        Request::Put(Put { token: Some(token), marks: marks.clone(), ..put })
    };
    let Reply::Written(written) = cluster.ask(1, once(&none(), &Marks::new())) else {
        panic!("it is taken");
    };
    let read = cluster.get(1, "k", Level::All).object;
    let Request::Put(put) =
        mutate(key("k", ""), Mutation::Delete, read.context(), WriteOptions::default())
    else {
        unreachable!("it is a put");
    };
    let reply = cluster.ask(2, Request::Put(Put { marks: read.marks().clone(), ..put }));
    assert!(matches!(reply, Reply::Written(_)), "{reply:?}");
    cluster.wait(9_000);
    assert_eq!(held(&cluster), [1, 1, 1]);
    let told = forgetting(&cluster, 1);
    assert_eq!((told.waiting, told.for_retries, blocked(&cluster, 1)), (0, 1, vec![]));
    let Reply::Written(again) = cluster.ask(3, once(&none(), &Marks::new())) else {
        panic!("it is known");
    };
    assert_eq!((again.repeated, again.receipt.dot), (true, written.receipt.dot));
    cluster.wait(20_000);
    assert_eq!(held(&cluster), [1, 1, 1], "twice as long as such a token is taken");
    cluster.wait(SOON);
    assert_eq!(held(&cluster), [0, 0, 0]);
    assert_eq!(forgetting(&cluster, 1).for_retries, 0);
}

/// A cluster in which `k` is deleted and forgotten, and n3 runs from a copy of its disk from before.
fn with_an_old_copy() -> Cluster {
    let mut cluster = cluster();
    let written = cluster.put(1, "k", "tea", &none());
    cluster.wait(SOON);
    let copy = cluster.nodes.get(&NodeId::new(3)).unwrap().1.clone();
    delete(&mut cluster, 1, "k", &written.context);
    cluster.wait(SOON);
    assert_eq!(held(&cluster), [0, 0, 0]);
    let clocks = [(written.receipt.shard, written.context)].into();
    let config = config(NodeId::new(3), 9, &cluster.layout);
    let node = Node::new(config, clocks, copy.acceptor.clone(), cluster.now);
    cluster.nodes.insert(NodeId::new(3), (node, copy));
    for other in [1, 2] {
        cluster.inputs.push_back((NodeId::new(3), Input::Connected(NodeId::new(other))));
    }
    cluster.settle();
    cluster
}

#[test]
fn what_an_old_disk_brings_back_is_not_shown_to_a_quorum_and_goes_when_it_is_read() {
    let mut cluster = with_an_old_copy();
    assert_eq!(texts(&cluster.get(3, "k", Level::One).object), ["tea"], "alone it knows no better");
    for (at, level) in [(1, Level::All), (2, Level::All), (3, Level::All), (3, Level::Quorum)] {
        let mut cluster = with_an_old_copy();
        let read = cluster.get(at, "k", level);
        assert_eq!(texts(&read.object), [""; 0], "through n{at} at {level:?}");
        let asked = if level == Level::All { 3 } else { 2 };
        assert_eq!(read.receipt.acks.len(), asked);
        assert_eq!(held(&cluster), [0, 0, 1]);
        let counts = cluster.nodes[&NodeId::new(at)].0.counts();
        assert_eq!(counts.refuted_values, 1);
        cluster.wait(2 * SOON);
        assert_eq!(held(&cluster), [0, 0, 0]);
    }
}

#[test]
fn what_an_old_disk_brings_back_goes_though_nobody_reads_it() {
    let mut cluster = with_an_old_copy();
    assert_eq!(held(&cluster), [0, 0, 1]);
    cluster.wait(2 * SOON);
    assert_eq!(held(&cluster), [0, 0, 0]);
    assert_eq!(forgetting(&cluster, 3).dots, 2);
    let old_copies = cluster.nodes.values().map(|(node, _)| node.counts().old_copies);
    assert_eq!(old_copies.map(|count| 0 < count).collect::<Vec<_>>(), [false, false, true]);
}

#[test]
fn while_a_shard_is_searched_for_tombstones_its_log_is_pruned_all_the_same() {
    let mut cluster = cluster();
    for number in 0..2_000 {
        cluster.put(1, &format!("lives{number}"), "tea", &none());
    }
    cluster.wait(10_000);
    assert!(cluster.nodes[&NodeId::new(1)].1.log.is_empty());
    cluster.stop(3);
    // More than are remembered: the others have to be looked for among all that is there.
    for number in 0..1_100 {
        let written = cluster.put(1, &format!("k{number}"), "tea", &none());
        delete(&mut cluster, 1, &format!("k{number}"), &written.context);
    }
    cluster.start(3);
    cluster.wait(2_000);
    let lines = |cluster: &Cluster| cluster.nodes[&NodeId::new(1)].1.log.len();
    let before = lines(&cluster);
    cluster.wait(2_000);
    assert!(lines(&cluster) + 300 < before, "{before} lines, then {}", lines(&cluster));
    cluster.wait(20_000);
    assert_eq!((lines(&cluster), held(&cluster)), (0, vec![2_000; 3]));
}

/// How many runs the context of a key has at each of three disks.
fn runs(cluster: &Cluster, partition: &str) -> Vec<usize> {
    let key = key(partition, "");
    let of = |disk: &Memory| {
        let mut objects = disk.objects.iter();
        let object = objects.find(|((_, _, at), _)| *at == key).map(|(_, object)| object);
        object.map_or(0, |object| object.context().runs().len())
    };
    cluster.nodes.values().map(|(_, disk)| of(disk)).collect()
}

/// Overwrites a key so often, and another one after each time, so that no two dots are neighbours.
fn overwrite(cluster: &mut Cluster, times: u32, pause: u64) {
    for number in 0..times {
        let read = cluster.get(1, "hot", Level::Quorum).object;
        cluster.put(1, "hot", &number.to_string(), read.context());
        cluster.put(1, &format!("cold{number}"), "tea", &none());
        cluster.wait(pause);
    }
}

#[test]
fn a_key_that_is_overwritten_for_ever_does_not_grow() {
    let mut cluster = cluster();
    overwrite(&mut cluster, 400, 100);
    let most = 16 + 40;
    for runs in runs(&cluster, "hot") {
        assert!(runs <= most, "{runs} runs, while it was written each tenth of a second");
    }
    cluster.wait(SOON);
    let settled = runs(&cluster, "hot");
    assert!(settled.iter().all(|runs| *runs <= 16 + 2), "{settled:?}");
    let read = cluster.get(2, "hot", Level::All).object;
    let texts: Vec<_> = read.values().values().map(|value| value.body.clone()).collect();
    assert_eq!(texts, ["399"], "and is what was written last");
}

#[test]
fn while_a_replica_is_away_nothing_is_forgotten_and_when_it_is_back_all_is() {
    let mut cluster = cluster();
    let first = cluster.put(3, "hot", "seen by n3", &none());
    cluster.wait(SOON);
    cluster.stop(3);
    overwrite(&mut cluster, 600, 0);
    cluster.wait(SOON);
    let here: Vec<usize> = runs(&cluster, "hot");
    let few = 33..=40;
    assert!(here.iter().take(2).all(|runs| few.contains(runs)), "{here:?}");
    let read = cluster.get(1, "hot", Level::Quorum).object;
    assert!(
        first
            .context
            .runs()
            .iter()
            .all(|run| { read.context().contains(Dot::new(run.incarnation, run.first)) }),
        "what n3 holds was superseded, and it does not know by what"
    );
    cluster.start(3);
    cluster.wait(4 * SOON);
    let all = runs(&cluster, "hot");
    assert!(all.iter().all(|runs| *runs <= 16 + 2), "{all:?}");
    assert_eq!(cluster.get(3, "hot", Level::One).object.values().len(), 1);
}

#[test]
fn a_context_that_cannot_be_read_for_a_while_is_looked_at_again() {
    let mut cluster = cluster();
    overwrite(&mut cluster, 60, 0);
    let fail = |cluster: &mut Cluster, fails: bool| {
        cluster.nodes.values_mut().for_each(|(_, disk)| disk.is_unreadable = fails);
    };
    fail(&mut cluster, true);
    cluster.wait(SOON);
    fail(&mut cluster, false);
    assert!(runs(&cluster, "hot").iter().all(|runs| 32 < *runs));
    cluster.wait(SOON);
    assert!(runs(&cluster, "hot").iter().all(|runs| *runs <= 16 + 2));
}

#[test]
fn contexts_of_large_objects_are_trimmed_a_few_at_once() {
    let mut cluster = cluster();
    let text = "x".repeat(400 << 10);
    let keys: Vec<String> = (0..8).map(|number| format!("hot{number}")).collect();
    for _ in 0..30 {
        for key in &keys {
            let read = cluster.get(1, key, Level::Quorum).object;
            cluster.put(1, key, &text, read.context());
        }
    }
    cluster.wait(2 * SOON);
    for (key, runs) in keys.iter().map(|key| (key, runs(&cluster, key))) {
        assert!(runs.iter().all(|runs| *runs <= 16 + 2), "{key}: {runs:?}");
    }
    let most = cluster.nodes.values().map(|(_, disk)| disk.trimmed_bytes_max).max().unwrap();
    assert!(0 < most && most <= 4 * text.len(), "{most} bytes at once, of {}", text.len());
}

#[test]
fn large_contexts_that_wait_for_a_replica_are_not_read_without_end() {
    let mut cluster = cluster();
    cluster.stop(3);
    let text = "x".repeat(1 << 20);
    for _ in 0..20 {
        for key in ["a", "b", "c", "d", "e", "f", "g", "h"] {
            let read = cluster.get(1, key, Level::Quorum).object;
            cluster.put(1, key, &text, read.context());
        }
    }
    cluster.wait(SOON);
    let reads = |cluster: &Cluster| cluster.nodes[&NodeId::new(1)].1.reads.get();
    let before = reads(&cluster);
    cluster.wait(8 * SOON);
    let looked = reads(&cluster) - before;
    assert!(
        looked <= 4 * 8,
        "{looked} reads of eight records, each looked at once in eight rounds"
    );
}

#[test]
fn while_a_disk_is_behind_it_is_given_nothing_to_forget() {
    let mut cluster = cluster();
    overwrite(&mut cluster, 60, 0);
    let written = cluster.put(1, "deleted", "tea", &none());
    delete(&mut cluster, 1, "deleted", &written.context);
    let behind = |cluster: &mut Cluster, is_busy: bool| {
        cluster.nodes.values_mut().for_each(|(_, disk)| disk.is_busy = is_busy);
    };
    behind(&mut cluster, true);
    let before = held(&cluster);
    cluster.wait(SOON);
    assert_eq!(held(&cluster), before);
    assert!(runs(&cluster, "hot").iter().all(|runs| 32 < *runs));
    behind(&mut cluster, false);
    cluster.wait(SOON);
    assert_eq!(held(&cluster), [before[0] - 1; 3]);
    assert!(runs(&cluster, "hot").iter().all(|runs| *runs <= 16 + 2));
}

#[test]
fn a_context_of_which_another_node_says_what_is_forgotten_already_is_remembered_all_the_same() {
    let mut cluster = cluster();
    cluster.stop(3);
    overwrite(&mut cluster, 60, 0);
    cluster.wait(SOON);
    let place =
        cluster.nodes[&NodeId::new(1)].1.objects.keys().find(|place| place.2 == key("hot", ""));
    let (shard, table, key) = place.unwrap().clone();
    let keys = [(Address { table, key }, none())].into();
    let message = Message::Forgot(Forgot { shard, keys });
    cluster.inputs.push_back((NodeId::new(1), Input::Received { from: NodeId::new(2), message }));
    cluster.settle();
    cluster.start(3);
    cluster.wait(4 * SOON);
    let all = runs(&cluster, "hot");
    assert!(all.iter().all(|runs| *runs <= 16 + 2), "{all:?}");
}

/// A read of what only the first node holds. It asks the others whether they have forgotten it; before
/// they hear of that, they have heard of the value, and it was overwritten and is forgotten. Returns what
/// they are asked.
fn in_doubt(asked: Request) -> (Cluster, Ticket, VecDeque<(NodeId, Input)>) {
    let mut cluster = Cluster::with_limits(3, Limits { context_runs_max: 0, ..limits() });
    overwrite(&mut cluster, 10, 100);
    cluster.wait(SOON);
    assert!(0 < forgetting(&cluster, 2).dots);
    cluster.holds =
        |from, to, message| from != to && matches!(message, Message::Merge(_) | Message::Doubt(_));
    let read = cluster.get(2, "hot", Level::One).object;
    let w = WriteOptions { w: Some(Level::One), ..WriteOptions::default() };
    let late = cluster.ask(1, put("hot", "late", read.context(), w));
    assert!(matches!(late, Reply::Written(_)), "{late:?}");
    let ticket = cluster.begin(1, asked);
    let is_doubt = |held: &(NodeId, Input)| {
        matches!(&held.1, Input::Received { message: Message::Doubt(_), .. })
    };
    let held = std::mem::take(&mut cluster.held);
    let (doubts, mut merges): (VecDeque<_>, VecDeque<_>) = held.into_iter().partition(is_doubt);
    assert_eq!(doubts.len(), 2);
    cluster.holds = |_, _, _| false;
    cluster.inputs.append(&mut merges);
    cluster.settle();
    overwrite(&mut cluster, 10, 100);
    cluster.wait(SOON);
    (cluster, ticket, doubts)
}

/// A read at all replicas that may take a minute.
fn patient_get() -> Request {
    let Request::Get(one) = get("hot", Level::All) else { panic!() };
    Request::Get(Get { timeout: Duration::from_secs(60), ..one })
}

#[test]
fn what_took_the_place_of_a_value_while_it_was_in_doubt_is_shown_instead() {
    let all = ReadOptions { r: Some(Level::All), ..ReadOptions::default() };
    let list = Request::List(List {
        keyspace: name("ks"),
        table: name("t"),
        range: Range::Partition { partition: "hot".into(), after: None },
        limit: 1,
        options: all,
        timeout: Duration::from_secs(60),
    });
    for asked in [list, patient_get()] {
        let (mut cluster, ticket, mut doubts) = in_doubt(asked);
        cluster.inputs.append(&mut doubts);
        cluster.settle();
        let object = match cluster.answers.remove(&ticket) {
            Some(Reply::Listed(listed)) => {
                listed.listings.into_iter().find(|it| it.key == key("hot", "")).unwrap().object
            }
            Some(Reply::Read(read)) => read.object,
            other => panic!("{other:?}"),
        };
        assert_eq!(texts(&object), ["9"], "what was written last");
    }
}

#[test]
fn a_doubt_is_not_answered_where_what_took_the_place_of_a_value_cannot_be_read() {
    let (mut cluster, ticket, mut doubts) = in_doubt(patient_get());
    for id in [2, 3] {
        cluster.nodes.get_mut(&NodeId::new(id)).unwrap().1.is_unreadable = true;
    }
    cluster.inputs.append(&mut doubts);
    cluster.settle();
    assert_eq!(cluster.answers.get(&ticket), None, "nobody says that nothing is there");
    cluster.wait(61_000);
    let reply = cluster.answers.remove(&ticket).unwrap();
    assert!(matches!(reply, Reply::Failed(Failure::TooFewAnswers { .. })), "{reply:?}");
}
