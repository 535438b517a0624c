//! Waiting for what is kept for others.

use std::time::{Duration, Instant};

use model::HintStatus;
use serde_json::json;

use crate::support::{Answer, Api, hints};

const WAIT: &str = "/v1/hints/wait?timeout=600";

/// What is said if the node shows these, look for look: its uptime in milliseconds, and of which
/// node it keeps something for how long.
async fn wait(target: &str, looks: &[(u64, &[(u16, u64)])]) -> Answer {
    let api = Api::new().await;
    let kept = |kept: &[(u16, u64)]| -> Vec<HintStatus> {
        kept.iter().map(|(node, millis)| hints(*node, Duration::from_millis(*millis))).collect()
    };
    let looks = looks.iter().map(|(up, left)| (Duration::from_millis(*up), kept(left)));
    // The first one is over when somebody looks.
    api.node.state().looks = [(Duration::ZERO, Vec::new())].into_iter().chain(looks).collect();
    api.send("POST", target, &[], "").await
}

#[tokio::test]
async fn nothing_that_is_kept_is_handed_over() {
    let answer = wait(WAIT, &[(1_000, &[])]).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"node": 1})));
}

#[tokio::test]
async fn what_was_kept_is_waited_for_and_what_has_come_since_is_not() {
    let begun = Instant::now();
    let looks: [(u64, &[(u16, u64)]); 3] =
        [(60_000, &[(2, 7_000), (3, 0)]), (61_500, &[(3, 2_000)]), (62_500, &[(2, 400), (3, 900)])];
    assert_eq!(wait(WAIT, &looks).await.status, 200);
    assert!(Duration::from_millis(450) < begun.elapsed(), "it looks three times");
}

#[tokio::test]
async fn what_is_left_in_the_end_is_named_with_whom_it_is_for() {
    let looks: [(u64, &[(u16, u64)]); 2] =
        [(60_000, &[(2, 7_000), (3, 9_000)]), (60_250, &[(2, 7_000), (3, 100)])];
    let begun = Instant::now();
    let answer = wait(WAIT, &looks).await;
    assert!(Duration::from_millis(600) <= begun.elapsed(), "until the time is over");
    assert_eq!(answer.problem(), "504 hints_left");
    let problem = answer.json();
    let detail = problem["detail"].as_str().unwrap();
    assert_eq!(detail, "n1 keeps 3 objects for n2, the oldest for 7 s; nothing of it was dropped");
    let left = json!([{"node": 2, "count": 3, "bytes": 400, "oldest_seconds": 7}]);
    assert_eq!(problem["hints"], left);
}

#[tokio::test]
async fn a_wait_that_goes_on_does_not_mean_what_has_come_since_it_began() {
    let kept: [(u64, &[(u16, u64)]); 1] = [(60_000, &[(2, 7_000)])];
    assert_eq!(wait("/v1/hints/wait?age=7001&timeout=1", &kept).await.status, 200);
    let left = wait("/v1/hints/wait?age=7000&timeout=1", &kept).await;
    assert_eq!(left.problem(), "504 hints_left");
    let of_a_former_life: [(u64, &[(u16, u64)]); 1] = [(1_000, &[(2, 90_000)])];
    let left = wait("/v1/hints/wait?age=80000&timeout=1", &of_a_former_life).await;
    assert_eq!(left.problem(), "504 hints_left");
}

#[tokio::test]
async fn a_wait_takes_the_timeout_of_other_requests_and_says_if_the_node_stands_still() {
    let api = Api::new().await;
    for query in ["timeout=0", "timeout=60001", "age=0", "age=x", "within=1", "r=ONE"] {
        let answer = api.send("POST", &format!("/v1/hints/wait?{query}"), &[], "").await;
        assert_eq!(answer.problem(), "400 malformed_request", "{query}");
    }
    assert_eq!(api.get("/v1/hints/wait").await.problem(), "405 method_not_allowed");
    api.node.state().vitals = None;
    assert_eq!(api.send("POST", WAIT, &[], "").await.problem(), "503 not_live");
}
