//! Lies that clients could tell apart, each told once.

use std::time::Duration;

use model::{Declare, Get, List, Name, NodeId, Now, Range};

use super::*;
use crate::oracle::Write;
use crate::swarm::Plan;
use crate::{scenario, workload};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn key() -> model::Key {
    model::Key::new("k".into(), "".into()).unwrap()
}

fn world() -> World {
    let plan = Plan { sloppy: false, ..Plan::draw(1) };
    let layout = scenario::layout(&plan);
    let mut world = World::new(1, plan, layout, None);
    // What is told of nodes is not judged here: there are none.
    world.oracle.look = Look::Quiet;
    world
}

fn open(op: Op, request: Request, healthy: bool) -> Open {
    let (at, client, begun, deadline) = (NodeId::new(1), None, 0, Now::default());
    let behind = Vec::new();
    Open { at, request, op, client, begun, deadline, healthy, behind }
}

fn get(table: &str) -> Request {
    let (keyspace, table, timeout) = (name("space"), name(table), Duration::ZERO);
    Request::Get(Get {
        keyspace,
        table,
        key: key(),
        options: ReadOptions::default(),
        monotonic: false,
        sessions: None,
        timeout,
    })
}

fn put(mutation: Mutation) -> Request {
    let (context, options) = Default::default();
    let (keyspace, table, timeout) = (name("space"), name("table"), Duration::ZERO);
    Request::Put(Put {
        keyspace,
        table,
        key: key(),
        mutation,
        context,
        token: None,
        repeated: false,
        marks: Default::default(),
        sessions: None,
        options,
        timeout,
    })
}

fn list() -> List {
    let range = Range::Table { shard: 0, after: None };
    let (keyspace, table, timeout) = (name("space"), name("table"), Duration::ZERO);
    List { keyspace, table, range, limit: 1, options: ReadOptions::default(), timeout }
}

fn declare() -> Declare {
    let replicas = [(name("here"), 1)].into();
    Declare::Keyspace { name: name("space"), shards: 1, replicas, sloppy: false }
}

/// One request of each kind. The oracle knows of the write.
fn one_of_each(world: &mut World) -> Vec<(Op, Request)> {
    let (context, acks) = Default::default();
    let (at, outcome, value) = (NodeId::new(1), Outcome::Open, None);
    let write = Write {
        spot: 0,
        at,
        value,
        context,
        marks: Default::default(),
        token: None,
        repeated: false,
        family: None,
        begun: 0,
        ended: 0,
        outcome,
        dot: None,
        acks,
    };
    let id = world.oracle.begin(write);
    vec![
        (Op::Write { id, options: WriteOptions::default() }, put(Mutation::Delete)),
        (Op::Read { spot: 0, options: ReadOptions::default(), monotonic: false }, get("table")),
        (Op::List(Box::new(list())), Request::List(list())),
        (Op::Declare(declare()), Request::Declare(declare())),
    ]
}

#[test]
fn without_faults_no_kind_of_request_may_fail() {
    let mut world = world();
    for (op, request) in one_of_each(&mut world) {
        let too_few = match fits(&too_few_answers(), &op) {
            true => too_few_answers(),
            false => Failure::Unknown { wanted: 2, got: 1, receipt: None, lacks: String::new() },
        };
        let not_attempted =
            Failure::NotAttempted { wanted: 2, alive: 1, replicas: 3, lacks: String::new() };
        for failure in [too_few, not_attempted] {
            let reply = Reply::Failed(failure);
            let faulty = world.judge(&open(op.clone(), request.clone(), false), &reply);
            assert!(faulty.is_ok(), "{op:?} may fail while there are faults");
            let broken = world.judge(&open(op.clone(), request.clone(), true), &reply);
            let broken = broken.map_err(|broken| broken.invariant);
            assert_eq!(broken, Err(Invariant::HealthyRequestsSucceed), "{op:?}");
        }
    }
}

fn too_few_answers() -> Failure {
    let receipt = Receipt {
        kind: Kind::Partial,
        dot: None,
        shard: model::ShardId { keyspace: model::KeyspaceId::new(1), index: 0 },
        acks: vec![model::Ack::of_replica(NodeId::new(1), false)],
        wanted: 2,
        replicas: 3,
        cast: None,
        staleness: None,
    };
    Failure::TooFewAnswers { wanted: 2, got: 1, receipt, lacks: String::new() }
}

#[test]
fn nothing_is_unknown_of_a_read_and_a_write_does_not_end_as_one() {
    let mut world = world();
    let unknown = || Failure::Unknown { wanted: 2, got: 1, receipt: None, lacks: String::new() };
    for (op, request) in one_of_each(&mut world) {
        let is_read = matches!(op, Op::Read { .. } | Op::List(_));
        let wrong = if is_read { unknown() } else { too_few_answers() };
        let judged = world.judge(&open(op.clone(), request, false), &Reply::Failed(wrong));
        let judged = judged.map_err(|broken| broken.invariant);
        assert_eq!(judged, Err(Invariant::RefusalsAreTrue), "{op:?}");
    }
}

#[test]
fn what_does_not_exist_is_refused_by_name_and_in_no_other_way() {
    let mut world = world();
    let asked = || open(Op::Nowhere, get(workload::NOWHERE), false);
    let refusal =
        |table: &str| Refusal::UnknownTable { keyspace: name("space"), table: name(table) };
    let mut judge = |failure| world.judge(&asked(), &Reply::Failed(failure)).is_ok();
    assert!(judge(refusal(workload::NOWHERE).into()));
    assert!(!judge(refusal("table").into()), "another table");
    assert!(!judge(Failure::Unknown { wanted: 2, got: 1, receipt: None, lacks: String::new() }));
}

#[test]
fn a_delete_that_names_nothing_and_a_value_beyond_the_limit_must_not_be_accepted() {
    let mut world = world();
    world.limits.value_bytes_max = 3;
    let value = |body: &'static str| {
        Mutation::Store(model::Value { content_type: "".into(), body: body.into() })
    };
    let proper = |mutation| world.check_proper(&open(Op::Ask, put(mutation), false)).is_ok();
    assert!(proper(value("123")));
    assert!(!proper(value("1234")));
    assert!(!proper(Mutation::Delete));
}
