//! Keyspaces and tables: agreed on by a majority, and known to all.

use super::harness::*;

#[test]
fn a_declaration_is_known_everywhere_before_it_is_answered() {
    let mut cluster = Cluster::new(3);
    assert!(matches!(
        cluster.ask(2, Request::Declare(keyspace(8, 3))),
        Reply::Declared(Declared::Keyspace { created: true, .. })
    ));
    for at in 1..=3 {
        assert!(matches!(
            cluster.ask(at, Request::Declare(keyspace(8, 3))),
            Reply::Declared(Declared::Keyspace { created: false, .. })
        ));
    }
    assert!(matches!(
        cluster.ask(3, Request::Declare(keyspace(16, 3))),
        Reply::Failed(Failure::Refused(Refusal::Exists { .. }))
    ));
    assert!(matches!(
        cluster.ask(3, Request::Declare(table(Durability::Buffered))),
        Reply::Declared(Declared::Table { created: true, .. })
    ));
}

#[test]
fn a_minority_declares_nothing_and_still_reads_and_writes() {
    let mut cluster = Cluster::with_table(3, 3);
    cluster.stop(2);
    cluster.stop(3);
    assert_eq!(
        cluster.ask(
            1,
            Request::Declare(Declare::Keyspace {
                name: name("more"),
                shards: 8,
                replicas: [(name("here"), 1)].into(),
                sloppy: false,
            })
        ),
        Reply::Failed(Refusal::NoMajority { alive: 1, nodes: 3 }.into())
    );
    let one = WriteOptions { w: Some(Level::One), ..WriteOptions::default() };
    assert!(matches!(cluster.ask(1, put("k", "v", &none(), one)), Reply::Written(_)));
    assert_eq!(texts(&cluster.get(1, "k", Level::One).object), ["v"]);
}

#[test]
fn a_node_that_was_away_learns_the_catalog_from_a_probe() {
    let mut cluster = Cluster::new(3);
    cluster.stop(3);
    cluster.ask(1, Request::Declare(keyspace(8, 3)));
    cluster.ask(1, Request::Declare(table(Durability::Synced)));
    cluster.down.clear();
    cluster.wait(1_000);
    cluster.put(3, "k", "v", &none());
}

#[test]
fn a_restarted_node_knows_the_catalog_and_keeps_its_promises() {
    let mut cluster = Cluster::with_table(3, 3);
    cluster.restart(3);
    cluster.put(3, "k", "v", &none());
    let (node, disk) = cluster.nodes.get_mut(&NodeId::new(3)).unwrap();
    let promised = disk.acceptor.promised;
    let older = Ballot { round: promised.round - 1, node: NodeId::new(1) };
    let message = Message::Prepare { ballot: older };
    let mut effects = Vec::new();
    let from = NodeId::new(1);
    node.step(cluster.now, Input::Received { from, message }, disk, &mut effects);
    let [Effect::Send { message, .. }] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!(*message, Message::Rejected { ballot: older, promised });
}
