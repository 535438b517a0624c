//! Repairs: what is asked of the node, and how its answer looks.

use std::time::Duration;

use bytes::Bytes;
use model::{
    Extent, Key, KeyspaceId, Name, NodeId, Obstacle, PairState, Proof, Refusal, Repair,
    RepairFigures, RepairJob, RepairMode, RepairPair, RepairState, RepairStatus, Request, ShardId,
    StartRepair, Stretch,
};
use serde_json::json;

use crate::support::Api;

/// A node with a repair under way, whose number is 7.
fn under_way() -> RepairStatus {
    let asked = asked(RepairMode::Full);
    let shard = ShardId { keyspace: KeyspaceId::new(1), index: 4 };
    let pair = |with: u16, state: PairState| RepairPair {
        keyspace: name("ks"),
        shard,
        with: NodeId::new(with),
        state,
        figures: RepairFigures { keys: 10, read: 20, differences: 1, ..RepairFigures::default() },
        keys: vec![(name("t"), key(b"k", b"")), (name("t"), key(b"\xff", b"s"))],
    };
    let pairs = vec![pair(2, PairState::Proved), pair(3, PairState::Blocked(Obstacle::Away))];
    let proof = |with: u16, ago: Option<Duration>, is_overdue: bool| Proof {
        keyspace: name("ks"),
        shard,
        with: NodeId::new(with),
        ago,
        is_overdue,
    };
    let (state, took) = (RepairState::Running, Duration::from_millis(2_500));
    RepairStatus {
        node: NodeId::new(1),
        job: Some(RepairJob { id: 7, asked, state, took, pairs }),
        proofs: vec![proof(2, Some(Duration::from_secs(3)), false), proof(3, None, true)],
    }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn key(partition: &'static [u8], sort: &'static [u8]) -> Key {
    Key::new(Bytes::from_static(partition), Bytes::from_static(sort)).unwrap()
}

fn asked(mode: RepairMode) -> StartRepair {
    let patience = Duration::from_secs(600);
    StartRepair { id: Some(7), mode, of: None, with: [].into(), patience }
}

#[tokio::test]
async fn a_repair_is_of_everything_or_of_what_the_query_names() {
    let api = Api::new().await;
    let extent = |shards: &[u16], table: Option<Stretch>| {
        let shards = shards.iter().copied().collect();
        Some(Extent { keyspace: name("ks"), shards, table })
    };
    let stretch = |from, to| Some(Stretch { table: name("t"), from, to });
    let within = Duration::from_millis(90);
    let start = |mode, of| StartRepair { of, ..asked(mode) };
    for (query, expected) in [
        ("", start(RepairMode::Full, None)),
        ("&mode=preview&keyspace=ks", start(RepairMode::Preview, extent(&[], None))),
        (
            "&mode=incremental&within=90&keyspace=ks&shard=3,0",
            start(RepairMode::Incremental { age: within }, extent(&[0, 3], None)),
        ),
        ("&keyspace=ks&table=t", start(RepairMode::Full, extent(&[], stretch(None, None)))),
        (
            "&keyspace=ks&table=t&from=a%2F&to=%ff",
            start(
                RepairMode::Full,
                extent(&[], stretch(Some(key(b"a/", b"")), Some(key(b"\xff", b"")))),
            ),
        ),
        (
            "&with=2,3&patience=1000",
            StartRepair {
                with: [NodeId::new(2), NodeId::new(3)].into(),
                patience: Duration::from_secs(1),
                ..asked(RepairMode::Full)
            },
        ),
    ] {
        let answer = api.send("POST", &format!("/v1/repair?id=0007{query}"), &[], "").await;
        assert_eq!(answer.status, 200, "{query}");
        let last = api.node.state().last.clone();
        assert_eq!(last, Some(Request::Repair(Repair::Start(Box::new(expected)))), "{query}");
    }
}

#[tokio::test]
async fn what_is_no_repair_never_reaches_the_node() {
    let api = Api::new().await;
    let before = api.node.state().asked;
    for (query, problem, says) in [
        ("table=t", "400 malformed_request", "keyspace"),
        ("shard=1", "400 malformed_request", "keyspace"),
        ("keyspace=ks&from=a", "400 malformed_request", "table"),
        ("keyspace=ks&table=t&from=b&to=a", "400 malformed_request", "no key"),
        ("keyspace=ks&table=t&from=", "400 malformed_key", "empty"),
        ("keyspace=Ks", "400 malformed_name", "no name"),
        ("keyspace=ks&shard=1,", "400 malformed_request", "numbers"),
        ("keyspace=ks&shard=65536", "400 malformed_request", "numbers"),
        ("with=n2", "400 malformed_request", "numbers"),
        ("mode=fast", "400 malformed_request", "full, incremental or preview"),
        ("within=5", "400 malformed_request", "mode=incremental"),
        ("patience=0", "400 malformed_request", "from 1"),
        ("id=xyz", "400 malformed_request", "hexadecimal"),
        ("age=5", "400 malformed_request", "does not apply"),
    ] {
        let answer = api.send("POST", &format!("/v1/repair?{query}"), &[], "").await;
        assert_eq!(answer.problem(), problem, "{query}");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(says), "{query}: {detail}");
    }
    assert_eq!(api.node.state().asked, before);
}

#[tokio::test]
async fn a_second_repair_is_refused_with_the_number_of_the_first() {
    let api = Api::new().await;
    for (failure, problem) in [
        (Refusal::RepairRuns { id: 7 }, "409 repair_runs"),
        (Refusal::UnknownKeyspace(name("ks")), "404 unknown_keyspace"),
        (Refusal::NoSuchShard { keyspace: name("ks"), shard: 9, shards: 8 }, "404 unknown_shard"),
    ] {
        api.node.state().failure = Some(failure.into());
        let answer = api.send("POST", "/v1/repair?keyspace=ks&shard=9", &[], "").await;
        assert_eq!(answer.problem(), problem);
        let named = &answer.json()["repair"];
        assert_eq!(*named == "0000000000000007", problem.ends_with("runs"), "{named}");
    }
}

#[tokio::test]
async fn what_is_told_of_a_repair_says_pair_by_pair_how_far_it_is() {
    let api = Api::new().await;
    api.node.state().repairs = under_way();
    let answer = api.send("GET", "/v1/repair", &[], "").await;
    assert_eq!(api.node.state().last, Some(Request::Repair(Repair::Show)));
    let told = answer.json();
    let job = &told["job"];
    assert_eq!(
        (&job["id"], &job["state"], &job["proved"], &job["seconds"]),
        (&json!("0000000000000007"), &json!("running"), &json!(false), &json!(2.5))
    );
    let (first, second) = (&job["pairs"][0], &job["pairs"][1]);
    assert_eq!((&first["state"], &first["shard"]), (&json!("proved"), &json!(4)));
    assert_eq!(first.get("why"), None);
    assert_eq!((&second["state"], &second["why"]), (&json!("blocked"), &json!("away")));
    assert!(second["detail"].as_str().unwrap().contains("n3 is away"));
    let differing = json!([
        {"table": "t", "key": "k"},
        {"table": "t", "key_base64": "/w==", "sort": "s"},
    ]);
    assert_eq!(first["differing"], differing);
    let proofs = json!([
        {"keyspace": "ks", "shard": 4, "with": 2, "seconds": 3.0, "overdue": false},
        {"keyspace": "ks", "shard": 4, "with": 3, "overdue": true},
    ]);
    assert_eq!(told["proofs"], proofs);
}

#[tokio::test]
async fn a_repair_is_cancelled_by_its_number_or_whichever_it_is() {
    let api = Api::new().await;
    for (target, id) in [("/v1/repair", None), ("/v1/repair?id=c0ffee", Some(0xc0_ffee))] {
        assert_eq!(api.send("DELETE", target, &[], "").await.status, 200);
        assert_eq!(api.node.state().last, Some(Request::Repair(Repair::Cancel(id))));
    }
    let refused = api.send("DELETE", "/v1/repair?mode=full", &[], "").await;
    assert_eq!(refused.problem(), "400 malformed_request");
}
