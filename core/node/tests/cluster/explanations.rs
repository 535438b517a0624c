//! What each replica holds, asked of each on its own.

use model::{Explain, Explained, Holding};

use super::harness::*;

fn explain(cluster: &mut Cluster, at: u16, key: &str) -> Explained {
    let asked = Explain {
        keyspace: name("ks"),
        table: name("t"),
        key: super::harness::key(key, ""),
        timeout: Duration::from_secs(1),
    };
    match cluster.ask(at, Request::Explain(asked)) {
        Reply::Explained(explained) => *explained,
        other => panic!("{other:?}"),
    }
}

fn held(holding: &Holding) -> Option<Vec<String>> {
    holding.told.as_ref().map(|told| texts(&told.object))
}

#[test]
fn a_replica_that_missed_a_write_is_shown_without_it_and_stays_so() {
    let mut cluster = Cluster::with_table(3, 3);
    let before = cluster.put(1, "k", "old", &none());
    cluster.wait(300);
    cluster.stop(3);
    cluster.put(1, "k", "new", &before.context);
    let away = explain(&mut cluster, 1, "k");
    let of = |explained: &Explained, node: u16| {
        let found = explained.holdings.iter().find(|holding| holding.node == NodeId::new(node));
        held(found.unwrap())
    };
    assert_eq!((of(&away, 1), of(&away, 3)), (Some(vec!["new".into()]), None));
    assert_eq!(away.asks, [NodeId::new(1), NodeId::new(2)]);
    assert_eq!((away.kind, texts(&away.merged)), (Kind::Strict, vec!["new".into()]));

    // Back, and asked before it hears of anything.
    cluster.start(3);
    for _ in 0..2 {
        let back = explain(&mut cluster, 1, "k");
        let seen = (of(&back, 2), of(&back, 3));
        assert_eq!(seen, (Some(vec!["new".into()]), Some(vec!["old".into()])));
    }
}

#[test]
fn guests_are_shown_with_what_they_keep_for_others() {
    let mut cluster = Cluster::with_sloppy_table(5, 3);
    let first = explain(&mut cluster, 1, "k");
    let replicas: Vec<u16> = first
        .holdings
        .iter()
        .filter(|holding| !holding.is_guest)
        .map(|holding| holding.node.number())
        .collect();
    assert_eq!((replicas.len(), first.holdings.len()), (3, 5));
    replicas[1..].iter().for_each(|node| cluster.stop(*node));
    cluster.put(replicas[0], "k", "kept", &none());
    let explained = explain(&mut cluster, replicas[0], "k");
    let holding = |is_guest: bool| {
        let some = explained.holdings.iter().filter(move |holding| holding.is_guest == is_guest);
        some.filter_map(held).filter(|texts| *texts == ["kept"]).count()
    };
    assert_eq!((holding(false), holding(true)), (1, 2));
    assert_eq!((explained.kind, explained.asks.len()), (Kind::Sloppy, 2));
}
