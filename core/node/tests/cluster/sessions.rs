//! Sessions: which part of what a client brings along counts, and what becomes of a request when
//! nobody has it.

use causality::Dot;
use model::KeyspaceId;

use super::harness::*;

/// Begins this request in a session.
fn within(mut request: Request, sessions: Vec<Session>) -> Request {
    match &mut request {
        Request::Get(get) => get.sessions = Some(sessions),
        Request::Put(put) => put.sessions = Some(sessions),
        other => panic!("{other:?}"),
    }
    request
}

fn read(key: &str, sessions: &[Session]) -> Request {
    within(get(key, Level::One), sessions.to_vec())
}

fn write(key: &str, sessions: &[Session], context: &DotSet) -> Request {
    within(put(key, "next", context, WriteOptions::default()), sessions.to_vec())
}

/// A session that has seen a write of which no node has heard.
fn unknown(shard: ShardId) -> Session {
    let mut session = Session::new(shard);
    session.sees(&[Dot::new(Incarnation::new(77 << 40), 3)].into_iter().collect());
    session
}

/// The answer, once the time of the request is over.
fn ended(cluster: &mut Cluster, at: u16, request: Request) -> Reply {
    let ticket = cluster.begin(at, request);
    cluster.wait(6_000);
    cluster.answers.remove(&ticket).unwrap()
}

#[test]
fn what_was_seen_of_other_shards_and_keyspaces_is_not_asked_for() {
    let mut cluster = Cluster::with_table(3, 3);
    let shard = cluster.put(1, "k", "first", &none()).receipt.shard;
    let other_shard = ShardId { index: (shard.index + 1) % 8, ..shard };
    let other_keyspace =
        ShardId { keyspace: KeyspaceId::new(shard.keyspace.number() + 1), ..shard };
    let beyond = ShardId { index: u16::MAX, ..shard };
    let others: Vec<Session> = [other_shard, other_keyspace, beyond]
        .map(|shard| Session { seen: Seen::All, ..unknown(shard) })
        .into_iter()
        .chain([unknown(other_shard), unknown(other_keyspace)])
        .collect();
    for node in 1..=3 {
        let Reply::Read(found) = cluster.ask(node, read("k", &others)) else { panic!("n{node}") };
        let session = found.session.unwrap();
        assert_eq!(session.shard, shard);
        assert!(session.lacking(&none()).is_some(), "it is not as wide as those of others");
        let Reply::Written(written) =
            cluster.ask(node, write("k", &others, found.object.context()))
        else {
            panic!("n{node}")
        };
        assert_eq!(written.session.unwrap().shard, shard);
    }
}

#[test]
fn what_nobody_has_heard_of_is_behind_for_reads_and_writes_and_changes_nothing() {
    let mut cluster = Cluster::with_table(3, 3);
    let shard = cluster.put(1, "k", "first", &none()).receipt.shard;
    let other = Session::new(ShardId { index: (shard.index + 1) % 8, ..shard });
    for sessions in [vec![unknown(shard)], vec![other, unknown(shard)]] {
        for request in [read("k", &sessions), write("k", &sessions, &none())] {
            let reply = ended(&mut cluster, 2, request);
            let Reply::Failed(Failure::SessionBehind { missing, asked }) = &reply else {
                panic!("{reply:?}")
            };
            assert_eq!(*missing, Some(1));
            assert!(!asked.is_empty(), "{reply:?}");
        }
    }
    assert_eq!(texts(&cluster.get(1, "k", Level::All).object), ["first"]);
}

#[test]
fn what_was_seen_twice_counts_together_and_more_than_a_token_can_say_counts_as_all() {
    let mut cluster = Cluster::with_table(3, 3);
    let shard = cluster.put(1, "k", "first", &none()).receipt.shard;
    let both = [Session::new(shard), unknown(shard)];
    let reply = ended(&mut cluster, 1, read("k", &both));
    assert!(matches!(reply, Reply::Failed(Failure::SessionBehind { .. })), "{reply:?}");
    let all = [Session::new(shard), Session { seen: Seen::All, ..unknown(shard) }];
    let reply = ended(&mut cluster, 1, write("k", &all, &none()));
    let Reply::Failed(Failure::SessionBehind { missing, .. }) = &reply else { panic!("{reply:?}") };
    assert_eq!(*missing, None);
    // All replicas together have it, whatever it is.
    let Reply::Read(found) = cluster.ask(1, read("k", &all)) else { panic!("all are there") };
    assert_eq!((texts(&found.object), found.receipt.acks.len()), (vec!["first".into()], 3));
    cluster.stop(3);
    let reply = ended(&mut cluster, 1, read("k", &all));
    assert!(matches!(reply, Reply::Failed(_)), "one of them is away: {reply:?}");
}

/// A client waits for what is overloaded. What is behind a session may never come.
#[test]
fn a_guest_that_cannot_keep_a_session_says_that_the_replicas_are_overloaded_if_they_are() {
    let mut cluster = Cluster::with_sloppy_table(5, 3);
    let written = cluster.put(1, "k", "first", &none());
    let mut session = Session::new(written.receipt.shard);
    session.sees(&written.context);
    let has = |node: &u16| !cluster.nodes[&NodeId::new(*node)].1.objects.is_empty();
    let (replicas, guests): (Vec<u16>, Vec<u16>) = (1..=5).partition(has);
    replicas.iter().for_each(|node| {
        cluster.limit(*node, Limits { requests_max: 0, ..Limits::default() });
    });
    let request = || write("k", std::slice::from_ref(&session), &none());
    let reply = ended(&mut cluster, guests[0], request());
    assert_eq!(reply, Reply::Failed(Failure::Refused(Refusal::Overloaded { max: 0 })));
    replicas.iter().for_each(|node| cluster.stop(*node));
    let reply = ended(&mut cluster, guests[0], request());
    assert!(matches!(reply, Reply::Failed(Failure::SessionBehind { .. })), "{reply:?}");
}

/// Whether a message between two nodes is part of a read, or of what it brings to replicas.
fn is_of_read(from: NodeId, to: NodeId, message: &Message) -> bool {
    use Message::{Fetch, Fetched, Merge, Merged};
    from != to && matches!(message, Fetch(_) | Fetched(_) | Merge(_) | Merged(_))
}

/// It takes two round trips: to ask them, and to bring them what was found. Whoever begins again
/// before the answers are there comes too late for each.
#[test]
fn a_monotonic_read_of_a_session_waits_for_far_replicas_and_asks_them_once() {
    const FAR: usize = 4;
    let mut cluster = Cluster::with_table(3, 3);
    cluster.holds = is_of_read;
    let near = WriteOptions { w: Some(Level::One), ..WriteOptions::default() };
    let written = match cluster.ask(1, put("k", "near", &none(), near)) {
        Reply::Written(written) => written,
        other => panic!("{other:?}"),
    };
    cluster.held.clear();
    let mut session = Session::new(written.receipt.shard);
    session.sees(&written.context);
    let mut request = within(get("k", Level::Quorum), vec![session]);
    let Request::Get(asked) = &mut request else { panic!("{request:?}") };
    asked.monotonic = true;
    let ticket = cluster.begin(1, request);
    let (mut on_the_way, mut fetches) = (VecDeque::new(), 0);
    for _ in 0..=2 * 2 * FAR {
        let sent = std::mem::take(&mut cluster.held);
        let is_fetch = |(_, input): &&(NodeId, Input)| {
            matches!(input, Input::Received { message: Message::Fetch(_), .. })
        };
        fetches += sent.iter().filter(is_fetch).count();
        on_the_way.push_back(sent);
        if on_the_way.len() > FAR {
            cluster.inputs.extend(on_the_way.pop_front().unwrap());
        }
        cluster.wait(100);
    }
    let reply = cluster.answers.remove(&ticket);
    let Some(Reply::Read(read)) = reply else { panic!("{reply:?} after {fetches} questions") };
    assert_eq!((texts(&read.object), fetches), (vec!["near".into()], 2));
}
