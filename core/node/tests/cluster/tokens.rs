//! Writes that are tried again with the same token.

use model::{MARKS_MAX, Marks, Token};

use super::harness::*;

/// The nodes of these tests begin at the first millisecond, and so do tokens.
fn token(number: u128) -> Token {
    Token::new(1_000, number)
}

fn put_with(text: &str, token: Token, context: &DotSet, marks: &Marks) -> Request {
    let Request::Put(put) = put("k", text, context, WriteOptions::default()) else {
        unreachable!("it is a put");
    };
    Request::Put(Put { token: Some(token), marks: marks.clone(), ..put })
}

fn written(reply: Reply) -> Written {
    match reply {
        Reply::Written(written) => written,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_same_token_at_another_node_is_the_same_write() {
    let mut cluster = Cluster::with_table(3, 3);
    let ask = |cluster: &mut Cluster, at| {
        written(cluster.ask(at, put_with("once", token(1), &none(), &Marks::new())))
    };
    let (first, again) = (ask(&mut cluster, 1), ask(&mut cluster, 2));
    assert_eq!(again.receipt.dot, first.receipt.dot);
    assert_eq!((first.repeated, again.repeated), (false, true));
    assert_eq!(again.context, first.context);
    assert_eq!(texts(&cluster.get(3, "k", Level::All).object), ["once"]);
}

#[test]
fn a_sibling_that_is_written_again_is_counted_once() {
    let mut cluster = Cluster::with_table(3, 3);
    cluster.put(1, "k", "other", &none());
    for _ in 0..3 {
        written(cluster.ask(1, put_with("once", token(1), &none(), &Marks::new())));
    }
    let created = cluster.nodes.values().map(|(node, _)| node.counts().siblings_created);
    assert_eq!(created.sum::<u64>(), 1);
}

#[test]
fn two_nodes_that_could_not_know_of_each_other_make_one_write_of_it() {
    let mut cluster = Cluster::with_table(3, 3);
    let one = |request| {
        let Request::Put(mut put) = request else { unreachable!("it is a put") };
        put.options.w = Some(Level::One);
        Request::Put(put)
    };
    cluster.stop(2);
    cluster.stop(3);
    written(cluster.ask(1, one(put_with("once", token(1), &none(), &Marks::new()))));
    cluster.stop(1);
    cluster.down.remove(&NodeId::new(2));
    cluster.wait(3_000);
    let second = one(put_with("once", token(1), &none(), &Marks::new()));
    assert!(!written(cluster.ask(2, second)).repeated, "n2 has not heard of the first");
    let seen = cluster.get(2, "k", Level::One).object;
    cluster.down.clear();
    cluster.wait(3_000);
    let read = cluster.get(3, "k", Level::All).object;
    assert_eq!(texts(&read), ["once"], "both are there, and one is shown");
    assert_eq!(read.context().len(), 2);
    // Who has read one of them has read the write.
    written(cluster.ask(3, put_with("after", token(2), seen.context(), seen.marks())));
    assert_eq!(texts(&cluster.get(1, "k", Level::All).object), ["after"]);
}

#[test]
fn a_token_is_good_for_one_write_and_for_an_hour() {
    let mut cluster = Cluster::with_table(3, 3);
    written(cluster.ask(1, put_with("one", token(1), &none(), &Marks::new())));
    let other = cluster.ask(2, put_with("two", token(1), &none(), &Marks::new()));
    assert_eq!(other, Reply::Failed(Refusal::TokenReused.into()));
    let early = Token::new(3_600_000, 3);
    let early = cluster.ask(1, put_with("two", early, &none(), &Marks::new()));
    assert!(matches!(early, Reply::Failed(Failure::Refused(Refusal::TokenFromFuture { .. }))));
    cluster.wait(3_700_000);
    let late = cluster.ask(1, put_with("one", token(1), &none(), &Marks::new()));
    assert!(matches!(late, Reply::Failed(Failure::Refused(Refusal::TokenExpired { .. }))));
}

#[test]
fn a_wall_clock_that_goes_ahead_is_followed_and_one_that_is_set_back_is_not() {
    let mut cluster = Cluster::with_table(1, 1);
    let ask = |cluster: &mut Cluster, millis| {
        let context = cluster.get(1, "k", Level::One).object.context().clone();
        cluster.ask(1, put_with("v", Token::new(millis, millis.into()), &context, &Marks::new()))
    };
    let tell = |cluster: &mut Cluster, millis| {
        let now = cluster.now;
        cluster.nodes.get_mut(&NodeId::new(1)).unwrap().0.tell_time(now, millis);
    };
    // The machine slept for two hours.
    let early = ask(&mut cluster, 7_200_000);
    assert!(matches!(early, Reply::Failed(Failure::Refused(Refusal::TokenFromFuture { .. }))));
    tell(&mut cluster, 7_200_000);
    written(ask(&mut cluster, 7_200_000));
    tell(&mut cluster, 0);
    let late = ask(&mut cluster, 1_000);
    assert!(matches!(late, Reply::Failed(Failure::Refused(Refusal::TokenExpired { .. }))));
    cluster.wait(1_000);
    tell(&mut cluster, 7_200_500);
    written(ask(&mut cluster, 7_200_900));
}

#[test]
fn a_forwarded_write_with_a_token_goes_to_the_next_replica_when_one_is_lost() {
    let mut cluster = Cluster::with_table(4, 3);
    let replicas: BTreeSet<NodeId> =
        cluster.get(1, "k", Level::All).receipt.acks.iter().map(|ack| ack.node).collect();
    let outside = (1..=4).find(|id| !replicas.contains(&NodeId::new(*id))).unwrap();
    // The one that is asked first stands still: it is silent, and nobody has noticed yet.
    for silent in replicas {
        cluster.down.insert(silent);
        let number = u128::from(silent.number());
        let text = format!("by n{number}");
        let ticket = cluster.begin(outside, put_with(&text, token(number), &none(), &Marks::new()));
        cluster.wait(4_900);
        let reply = cluster.answers.remove(&ticket);
        assert!(matches!(reply, Some(Reply::Written(_))), "{silent} is silent: {reply:?}");
        cluster.down.clear();
        cluster.wait(3_000);
    }
}

/// All that a node says is lost, and all that it is told, but for what is forwarded to it.
fn is_cut(node: u16, from: NodeId, to: NodeId, message: &Message) -> bool {
    let node = NodeId::new(node);
    from == node || (to == node && !matches!(message, Message::Forward(_)))
}

#[test]
fn a_first_attempt_that_stayed_alone_does_not_come_back_however_often_its_key_is_overwritten() {
    let cuts: [fn(NodeId, NodeId, &Message) -> bool; 4] = [
        |from, to, message| is_cut(1, from, to, message),
        |from, to, message| is_cut(2, from, to, message),
        |from, to, message| is_cut(3, from, to, message),
        |from, to, message| is_cut(4, from, to, message),
    ];
    let mut alone = 0;
    for (cut, is_cut) in (1..).zip(cuts) {
        let mut cluster = Cluster::with_table(4, 3);
        let replicas: BTreeSet<u16> = cluster
            .get(1, "k", Level::All)
            .receipt
            .acks
            .iter()
            .map(|ack| ack.node.number())
            .collect();
        let outside = (1..=4).find(|id| !replicas.contains(id)).unwrap();
        let Some(other) = replicas.iter().find(|id| **id != cut && cut != outside) else {
            continue;
        };
        cluster.holds = is_cut;
        let first = cluster.begin(outside, put_with("first", token(1), &none(), &Marks::new()));
        cluster.wait(4_900);
        let Reply::Written(mut seen) = cluster.answers.remove(&first).unwrap() else { panic!() };
        let has_it = cluster.nodes[&NodeId::new(cut)].1.objects.values().next().is_some();
        alone += u8::from(has_it);
        for number in 0..2 * MARKS_MAX as u128 {
            let next = put_with("after", token(2 + number), &seen.context, &seen.marks);
            seen = written(cluster.ask(*other, next));
        }
        cluster.holds = |_, _, _| false;
        cluster.held.clear();
        cluster.wait(5_000);
        let read = cluster.get(*other, "k", Level::All).object;
        assert_eq!(texts(&read), ["after"], "n{cut} was cut off");
    }
    assert_eq!(alone, 1, "one of them is the first that is asked");
}
