//! What a node counts of how long others take.

use super::harness::*;

const N1: NodeId = NodeId::new(1);
const N3: NodeId = NodeId::new(3);

/// Begins a request at n1, and keeps back what it sends to n3.
fn begin_without_n3(cluster: &mut Cluster, request: Request) -> Vec<Message> {
    let (node, disk) = cluster.nodes.get_mut(&N1).unwrap();
    let (mut effects, mut kept) = (Vec::new(), Vec::new());
    node.step(cluster.now, Input::Requested { ticket: Ticket(0), request }, disk, &mut effects);
    for effect in effects {
        match effect {
            Effect::Send { to: N3, message, .. } => kept.push(message),
            Effect::Send { to, message, .. } => {
                cluster.inputs.push_back((to, Input::Received { from: N1, message }));
            }
            Effect::Located { .. } | Effect::Answer { .. } => {}
        }
    }
    cluster.settle();
    kept
}

#[test]
fn a_replica_that_acknowledges_long_after_the_client_was_answered_is_timed_like_the_first() {
    let mut cluster = Cluster::with_table(3, 3);
    let request = put("k", "v", &none(), WriteOptions::default());
    let kept = begin_without_n3(&mut cluster, request);
    assert!(matches!(cluster.answers.get(&Ticket(0)), Some(Reply::Written(_))));
    cluster.now = cluster.now + Duration::from_millis(90);
    for message in kept {
        cluster.inputs.push_back((N3, Input::Received { from: N1, message }));
    }
    cluster.settle();
    let counts = cluster.nodes[&N1].0.counts();
    let writes = |node: u16| counts.replicas[&NodeId::new(node)].writes;
    let all = [1, 2, 3].map(|node| (writes(node).count(), writes(node).sum().as_millis()));
    assert_eq!(all, [(1, 0), (1, 0), (1, 90)]);
}

/// How many writes n1 has timed of these nodes, and how long they took.
fn timed(cluster: &Cluster, nodes: [u16; 3]) -> [(u64, u128); 3] {
    let counts = cluster.nodes.get(&N1).unwrap().0.counts();
    let writes = |node: u16| counts.replicas.get(&NodeId::new(node)).map(|of| of.writes);
    nodes.map(|node| {
        writes(node).map_or((0, 0), |writes| (writes.count(), writes.sum().as_millis()))
    })
}

/// Four nodes, a key that n1 and n3 keep, with the third who does, and the one who is their guest.
/// One write was timed of each of the three.
fn with_a_guest() -> (Cluster, String, u16, u16) {
    let mut cluster = Cluster::with_sloppy_table(4, 3);
    for key in ('a'..='z').map(String::from) {
        let options = WriteOptions { w: Some(Level::All), ..WriteOptions::default() };
        cluster.ask(1, put(&key, "v", &none(), options));
        match timed(&cluster, [2, 3, 4]).map(|(count, _)| count) {
            [1, 1, 0] => return (cluster, key, 2, 4),
            [0, 1, 1] => return (cluster, key, 4, 2),
            _ => cluster = Cluster::with_sloppy_table(4, 3),
        }
    }
    panic!("no key that n1 and n3 keep")
}

#[test]
fn a_slow_replica_is_timed_although_a_guest_stood_in_for_it_and_the_guest_is_not() {
    let (mut cluster, key, third, guest) = with_a_guest();
    cluster.holds = |_, to, message| to == N3 && matches!(message, Message::Merge(_));
    let options = WriteOptions { w: Some(Level::All), ..WriteOptions::default() };
    let ticket = cluster.begin(1, put(&key, "again", &none(), options));
    cluster.wait(300);
    let answer = cluster.answers.remove(&ticket);
    let Some(Reply::Written(written)) = answer else { panic!("{answer:?}") };
    assert!(written.receipt.acks.iter().any(|ack| ack.stands_for == Some(N3)), "{written:?}");
    cluster.wait(100);
    cluster.holds = |_, _, _| false;
    let held = std::mem::take(&mut cluster.held);
    cluster.inputs.extend(held);
    cluster.settle();
    assert_eq!(timed(&cluster, [third, 3, guest]), [(2, 0), (2, 400), (0, 0)]);
}

#[test]
fn with_a_replica_away_and_a_guest_in_its_place_the_others_are_timed_as_ever() {
    let (mut cluster, key, third, guest) = with_a_guest();
    cluster.stop(3);
    let written = cluster.put(1, &key, "again", &none());
    assert_eq!(written.receipt.acks.len(), 2);
    assert_eq!(timed(&cluster, [1, third, 3]), [(2, 0), (2, 0), (1, 0)]);
    assert_eq!(timed(&cluster, [guest; 3])[0], (0, 0));
}

#[test]
fn a_read_that_waits_for_the_disk_says_nothing_of_how_fast_reads_are() {
    let mut cluster = Cluster::with_table(3, 3);
    cluster.get(1, "k", Level::All);
    let Request::Get(asked) = get("k", Level::All) else { panic!("a read") };
    let read = cluster.ask(1, Request::Get(Get { monotonic: true, ..asked }));
    assert!(matches!(read, Reply::Read(_)), "{read:?}");
    let counts = cluster.nodes[&N1].0.counts();
    assert_eq!([1, 2, 3].map(|node| counts.replicas[&NodeId::new(node)].reads.count()), [1; 3]);
}
