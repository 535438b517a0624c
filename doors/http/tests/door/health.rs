//! What is said to those who look after the node.

use std::time::Duration;

use model::{Ability, Enrolment, NodeId, TableHealth};
use serde_json::json;

use crate::support::Api;

fn table(readable: u16, writable: u16) -> TableHealth {
    TableHealth {
        keyspace: model::Name::new("ks").unwrap(),
        table: model::Name::new("t").unwrap(),
        shards: 8,
        reads: Ability { shards: readable, fragile: 1 },
        writes: Ability { shards: writable, fragile: 2 },
        missing: [NodeId::new(3)].into(),
    }
}

#[tokio::test]
async fn a_node_that_is_well_says_so_four_times() {
    let api = Api::new().await;
    let well = json!({"status": "ok", "reasons": []});
    for path in ["/health", "/health/live", "/health/ready"] {
        assert_eq!(api.get(path).await.json(), well, "{path}");
    }
    assert_eq!(api.get("/health/shards").await.json(), json!({"tables": []}));
    let metrics = api.get("/metrics").await;
    assert_eq!(metrics.status, 200);
    assert!(metrics.header("content-type").unwrap().contains("openmetrics"));
}

#[tokio::test]
async fn a_node_whose_loop_stands_still_is_neither_live_nor_ready() {
    let api = Api::new().await;
    api.node.state().vitals = None;
    for path in ["/health", "/health/live", "/health/ready", "/health/shards", "/metrics"] {
        assert_eq!(api.get(path).await.problem(), "503 not_live", "{path}");
    }
}

#[tokio::test]
async fn a_node_whose_disk_hangs_or_is_full_is_live_and_not_ready() {
    let api = Api::new().await;
    let fail = |waits, free| {
        let mut state = api.node.state();
        let vitals = state.vitals.as_mut().unwrap();
        (vitals.disk_waits, vitals.disk_free) = (waits, free);
    };
    for (waits, free, says) in
        [(Duration::from_secs(6), Some(1 << 40), "6 s"), (Duration::ZERO, Some(1 << 20), "1 MiB")]
    {
        fail(waits, free);
        assert_eq!(api.get("/health/live").await.status, 200);
        for path in ["/health", "/health/ready"] {
            let answer = api.get(path).await;
            assert_eq!(answer.problem(), "503 not_ready", "{path}");
            let detail = answer.json()["detail"].to_string();
            assert!(detail.contains(says), "{detail}");
        }
    }
    fail(Duration::from_secs(4), None);
    assert_eq!(api.get("/health/ready").await.status, 200, "slow is not dead");
}

#[tokio::test]
async fn a_node_that_was_just_started_is_ready_when_it_has_met_the_others_or_has_waited() {
    let api = Api::new().await;
    let started = |millis| api.node.state().looks[0].0 = Duration::from_millis(millis);
    started(300);
    assert_eq!(api.get("/health/ready").await.status, 200, "there is nobody to meet");
    api.node.state().is_lonely = true;
    let answer = api.get("/health/ready").await;
    assert_eq!(answer.problem(), "503 not_ready");
    assert!(answer.json()["detail"].to_string().contains("has not met n2 yet"));
    assert_eq!(api.get("/health/live").await.status, 200);
    started(2_000);
    assert_eq!(api.get("/health/ready").await.status, 200);
}

#[tokio::test]
async fn shards_that_cannot_be_written_are_named_with_who_is_missing() {
    let api = Api::new().await;
    let tables = |health| api.node.state().vitals.as_mut().unwrap().tables = vec![health];
    tables(table(8, 8));
    let all = api.get("/health/shards").await;
    assert_eq!((all.status, all.json()["tables"][0]["fragile_writes"].clone()), (200, 2.into()));
    tables(table(8, 5));
    let answer = api.get("/health/shards").await;
    assert_eq!(answer.problem(), "503 shards_lacking");
    let lacking = &answer.json()["tables"][0];
    assert_eq!((lacking["writes"].clone(), lacking["missing"].clone()), (5.into(), json!([3])));
    let whole = api.get("/health").await;
    assert_eq!((whole.status, whole.json()["status"].clone()), (200, "degraded".into()));
}

#[tokio::test]
async fn a_node_whose_disk_is_not_whole_is_not_ready_and_says_what_to_do() {
    let api = Api::new().await;
    let mut said = Vec::new();
    for enrolment in
        [Enrolment::Joining, Enrolment::Unannounced, Enrolment::Retired, Enrolment::New]
    {
        api.node.state().enrolment = enrolment;
        let answer = api.get("/health/ready").await;
        assert_eq!(answer.problem(), "503 not_ready", "{enrolment:?}");
        said.push(answer.json()["detail"].as_str().unwrap().to_owned());
    }
    assert!(said[0].contains("3 of 8 shards are whole") && said[0] == said[1], "{said:?}");
    assert!(said[2].contains("start the node with an empty one"), "{said:?}");
}
