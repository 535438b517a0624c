use causality::{DotSet, Incarnation};
use model::{
    Ack, Durability, Key, KeyspaceId, Level, Policy, ShardId, SiblingRules, Table, TableId, Value,
    Voting,
};
use node::{Disk, Hint};
use replica::{Change, Store};

use super::*;
use crate::levels::Places;
use crate::oracle::Look;
use crate::scenario::{self, name};
use crate::swarm::Plan;

const N1: NodeId = NodeId::new(1);
const N2: NodeId = NodeId::new(2);
const N4: NodeId = NodeId::new(4);

fn dot() -> Dot {
    Dot::new(Incarnation::new(0xa), 1)
}

fn object() -> Object {
    let value = Value { content_type: "".into(), body: "v".into() };
    Object::written(dot(), DotSet::new(), value)
}

fn spot() -> Spot {
    let keyspace = KeyspaceId::new(1);
    let table = Table {
        id: TableId::new(1),
        keyspace,
        name: name("table"),
        policy: Policy::Siblings,
        durability: Durability::Synced,
        read: Level::Quorum,
        write: Level::Quorum,
        voting: Voting::default(),
        siblings: SiblingRules::default(),
    };
    let key = Key::new("k".into(), "".into()).unwrap();
    let shard = ShardId { keyspace, index: 0 };
    let replicas = (1..=3).map(NodeId::new).collect();
    Spot { keyspace: name("space"), table, key, shard, replicas }
}

fn sync(world: &mut World, node: NodeId) {
    let disk = &mut world.host(node).disk;
    disk.begin();
    disk.finish_commit();
    disk.begin();
    disk.finish_sync();
}

/// A cluster in which n4 has acknowledged a write as the guest of n1, and nobody else has it.
fn world() -> (World, WriteId) {
    let plan =
        Plan { nodes: 4, replicas: 3, regions: 1, sloppy: true, declares: 0, ..Plan::draw(1) };
    let layout = scenario::layout(&plan);
    let mut world = World::new(1, plan, layout, None);
    world.oracle = Oracle::new(vec![spot()], Places::default(), Look::Everywhere);
    let write = world.oracle.begin(Write {
        spot: 0,
        at: N4,
        value: None,
        context: DotSet::new(),
        marks: Default::default(),
        token: None,
        repeated: false,
        family: None,
        begun: 0,
        ended: 0,
        outcome: Outcome::Acked,
        dot: Some(dot()),
        acks: vec![Ack { node: N4, durable: true, stands_for: Some(N1) }],
    });
    let hint = Hint { since_millis: 0, object: object() };
    let place = HintPlace { target: N1, address: spot().address() };
    world.host(N4).disk.keep_hint(&place, Some(&hint));
    sync(&mut world, N4);
    (world, write)
}

/// What a replica takes from somebody.
fn bring_to(world: &mut World, node: NodeId) {
    let (shard, address) = spot().place();
    let news: DotSet = [dot()].into_iter().collect();
    let clock = vec![(dot().incarnation, news.runs().to_vec())];
    let change = Change { shard, address, object: object(), clock, news, sum: None };
    world.host(node).disk.commit(change);
    sync(world, node);
}

#[test]
fn the_only_copy_may_wait_for_an_empty_disk_and_not_for_one_that_is_given_up() {
    let (mut world, _) = world();
    assert!(world.may_replace(N1, &Contents::default()));
    assert!(!world.may_give_up(N1), "n1 may take it, and be started with an empty disk then");
    bring_to(&mut world, N2);
    assert!(world.may_give_up(N1));
}

#[test]
fn what_a_disk_may_have_acknowledged_to_its_guest_waits_for_the_next_disk_no_more() {
    let (mut world, _) = world();
    bring_to(&mut world, N1);
    assert!(!world.may_replace(N1, &Contents::default()), "n4 may be told to drop it");
    bring_to(&mut world, N2);
    assert!(world.may_replace(N1, &Contents::default()));
}

#[test]
fn what_waits_for_a_disk_that_is_given_up_is_no_copy_until_there_is_another_disk() {
    let (mut world, _) = world();
    bring_to(&mut world, N2);
    let place = spot().place();
    assert!(world.may_lose(N2, &place, None));
    world.host(N1).given_up = Some(0);
    assert!(!world.may_lose(N2, &place, None));
    world.host(N1).given_up = None;
    assert!(world.may_lose(N2, &place, None));
}

#[test]
fn nobody_relies_on_what_a_guest_acknowledges_for_a_disk_that_is_given_up() {
    let (mut world, write) = world();
    world.leave_out_given_up(write);
    assert_eq!(world.oracle.write(write).acks.len(), 1);
    world.host(N1).given_up = Some(0);
    world.leave_out_given_up(write);
    assert_eq!(world.oracle.write(write).acks, []);
}
