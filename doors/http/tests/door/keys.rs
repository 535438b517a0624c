//! Writing, reading and deleting one key.

use causality::{Dot, Incarnation};
use serde_json::json;

use crate::support::{Api, VALUE_BYTES_MAX};

const KEY: &str = "/v1/kv/ks/t/key";

#[tokio::test]
async fn a_value_is_read_back_as_it_was_written() {
    let api = Api::new().await;
    let html = [("content-type", "text/html; charset=utf-8")];
    let written = api.send("PUT", KEY, &html, "<p>hello").await;
    assert_eq!((written.status, written.body.len()), (204, 0));
    let read = api.get(KEY).await;
    assert_eq!((read.status, &read.body[..]), (200, &b"<p>hello"[..]));
    assert_eq!(read.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(
        written.header("merganser-receipt"),
        Some("strict; acks=n1,n2; durable=2; wanted=2; of=3; shard=ks1/17; dot=0000000000000abc:4")
    );
    assert_eq!(
        read.header("merganser-receipt"),
        Some("strict; acks=n1,n2; wanted=2; of=3; shard=ks1/17")
    );
}

#[tokio::test]
async fn a_value_may_be_empty_and_any_bytes_up_to_the_limit() {
    let api = Api::new().await;
    api.send("PUT", KEY, &[], "").await;
    let read = api.get(KEY).await;
    assert_eq!((read.status, read.body.len()), (200, 0));
    assert_eq!(read.header("content-type"), Some("application/octet-stream"));
    let context = read.context().to_owned();
    let largest = vec![0xff; VALUE_BYTES_MAX];
    let headers = [("merganser-context", context.as_str())];
    assert_eq!(api.send("PUT", KEY, &headers, largest.clone()).await.status, 204);
    assert_eq!(api.get(KEY).await.body, largest);
}

#[tokio::test]
async fn keys_are_bytes_and_each_escape_is_one_of_them() {
    let api = Api::new().await;
    let targets =
        ["%00%ff", "a%2Fb", "a+b", "a%20b", "%25", "a?sort=%ff", "a?sort=+", "a", "A", "%C3%A4"];
    for target in targets {
        let target = format!("/v1/kv/ks/t/{target}");
        assert_eq!(api.get(&target).await.problem(), "404 not_found", "{target}");
        assert_eq!(api.put(&target, None, &target).await.status, 204);
    }
    for target in targets {
        let target = format!("/v1/kv/ks/t/{target}");
        assert_eq!(api.get(&target).await.body, target);
    }
    assert_eq!(api.get("/v1/kv/ks/t/%61?sort=").await.body, "/v1/kv/ks/t/a");
}

#[tokio::test]
async fn two_writers_with_one_context_leave_two_siblings_and_a_third_leaves_one() {
    let api = Api::new().await;
    let first = api.put(KEY, None, "first").await;
    for value in ["milk", "rum"] {
        api.put(KEY, Some(first.context()), value).await;
    }
    let siblings = api.get(KEY).await;
    assert_eq!(siblings.status, 300);
    let values = siblings.json()["values"].clone();
    assert_eq!(values[0]["value"], "bWlsaw==");
    assert_eq!(values[1]["value"], "cnVt");
    assert_eq!(values[1]["content_type"], "application/octet-stream");
    assert_eq!(values.as_array().unwrap().len(), 2);
    assert_eq!(siblings.json()["context"], siblings.context());
    api.put(KEY, Some(siblings.context()), "both").await;
    assert_eq!(api.get(KEY).await.body, "both");
}

#[tokio::test]
async fn siblings_come_as_parts_to_who_prefers_them() {
    let api = Api::new().await;
    let text = [("content-type", "text/plain")];
    api.send("PUT", KEY, &text, "milk").await;
    api.send("PUT", KEY, &text, "--merganser-\r\n--\r\n").await;
    let accept = [("accept", "multipart/mixed, application/json;q=0.5")];
    let answer = api.send("GET", KEY, &accept, "").await;
    assert_eq!(answer.status, 300);
    let content_type = answer.header("content-type").unwrap();
    let boundary = content_type.strip_prefix("multipart/mixed; boundary=").unwrap();
    let part = "Content-Type: text/plain\r\n\r\n";
    let expected = format!(
        "--{boundary}\r\n{part}milk\r\n--{boundary}\r\n{part}--merganser-\r\n--\r\n\r\n--{boundary}--\r\n"
    );
    assert_eq!(answer.body, expected);
    // The parts have no place for a context, so it must be in the header.
    api.put(KEY, Some(answer.context()), "one").await;
    assert_eq!(api.send("GET", KEY, &accept, "").await.body, "one");
}

#[tokio::test]
async fn a_deleted_key_is_told_from_one_never_written_by_its_context() {
    let api = Api::new().await;
    let never = api.get(KEY).await;
    assert_eq!(never.problem(), "404 not_found");
    assert_eq!(never.header("merganser-context"), None);
    let written = api.put(KEY, None, "value").await;
    let headers = [("merganser-context", written.context())];
    assert_eq!(api.send("DELETE", KEY, &headers, "").await.status, 204);
    let deleted = api.get(KEY).await;
    assert_eq!(deleted.problem(), "404 deleted");
    assert_eq!(deleted.json()["context"], deleted.context());
    api.put(KEY, Some(deleted.context()), "again").await;
    assert_eq!(api.get(KEY).await.body, "again");
}

#[tokio::test]
async fn a_delete_removes_what_its_context_had_read_and_nothing_else() {
    let api = Api::new().await;
    let seen = api.put(KEY, None, "seen").await;
    api.put(KEY, None, "unseen").await;
    api.send("DELETE", KEY, &[("merganser-context", seen.context())], "").await;
    assert_eq!(api.get(KEY).await.body, "unseen");
    assert_eq!(api.send("DELETE", KEY, &[], "").await.status, 204);
    assert_eq!(api.get(KEY).await.body, "unseen");
}

#[tokio::test]
async fn the_context_of_a_write_serves_for_the_next_without_a_read() {
    let api = Api::new().await;
    let mut context = None;
    for value in ["1", "2", "3"] {
        let written = api.put(KEY, context.as_deref(), value).await;
        context = Some(written.context().to_owned());
    }
    assert_eq!(api.get(KEY).await.body, "3");
}

#[tokio::test]
async fn a_full_receipt_makes_every_body_json() {
    let api = Api::new().await;
    let target = "/v1/kv/ks/t/key?receipt=full&level=ALL";
    let written = api.put(target, None, "milk").await;
    assert_eq!(written.status, 200);
    let ack = |node, durable| json!({"node": node, "durable": durable});
    assert_eq!(
        written.json(),
        json!({
            "context": written.context(),
            "receipt": {
                "kind": "strict", "wanted": 3, "replicas": 3, "shard": "ks1/17",
                "acks": [ack(1, true), ack(2, true), ack(3, true)],
                "dot": "0000000000000abc:4",
            },
        })
    );
    let read = api.get("/v1/kv/ks/t/key?receipt=full&r=1").await;
    assert_eq!(read.status, 200);
    assert_eq!(
        read.json(),
        json!({
            "values": [{
                "content_type": "application/octet-stream",
                "value": "bWlsaw==",
                "dot": "0000000000000abc:4",
            }],
            "context": read.context(),
            "receipt": {
                "kind": "strict", "wanted": 1, "replicas": 3, "shard": "ks1/17",
                "acks": [{"node": 1}],
            },
        })
    );
    api.put(target, None, "rum").await;
    assert_eq!(api.get("/v1/kv/ks/t/key?receipt=full").await.status, 300);
    let nothing = api.get("/v1/kv/ks/t/other?receipt=full").await;
    assert_eq!(nothing.json()["receipt"]["wanted"], 2);
}

#[tokio::test]
async fn what_the_query_asks_for_reaches_the_node() {
    let api = Api::new().await;
    api.put("/v1/kv/ks/t/k?sort=s%00&w=TWO&pw=1&dw=3&timeout=250", None, "v").await;
    let asked = format!("{:?}", api.node.state().last.clone().unwrap());
    for part in [
        "w: Some(Two)",
        "pw: Some(Count(1))",
        "dw: Some(Count(3))",
        "timeout: 250ms",
        r#"sort: b"s\0""#,
    ] {
        assert!(asked.contains(part), "{part} in {asked}");
    }
    api.get("/v1/kv/ks/t/k?level=quorum&pr=ONE").await;
    let asked = format!("{:?}", api.node.state().last.clone().unwrap());
    assert!(asked.contains("r: Some(Quorum), pr: Some(One)"), "{asked}");
    assert!(asked.contains("timeout: 5s"), "{asked}");
}

#[tokio::test]
async fn head_says_what_get_would() {
    let api = Api::new().await;
    api.put(KEY, None, "value").await;
    let head = api.send("HEAD", KEY, &[], "").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some("5"));
    assert_eq!(head.context(), api.get(KEY).await.context());
    for target in ["/health", "/v1/status", "/v1/keyspaces", "/v1/scan/ks/t", "/v1/openapi.json"] {
        assert_eq!(api.send("HEAD", target, &[], "").await.status, 200, "{target}");
    }
    assert_eq!(api.send("HEAD", "/v1/kv/ks/t/none", &[], "").await.status, 404);
}

#[tokio::test]
async fn a_context_that_no_node_would_take_back_comes_with_a_warning() {
    let api = Api::new().await;
    let written = api.put("/v1/kv/ks/t/k", None, "milk").await;
    assert_eq!(written.header("merganser-warning"), None);
    let gaps = |count: u64| (1..count).map(|n| Dot::new(Incarnation::new(0xabc), 2 * n + 1));
    for (count, warning) in [(10_000, None), (40_000, Some("context-too-large"))] {
        api.replace(gaps(count).collect(), "milk".into());
        let answer = api.get("/v1/kv/ks/t/k").await;
        assert_eq!(answer.body, "milk");
        assert_eq!(answer.header("merganser-warning"), warning, "{count} gaps");
        let again = api.put("/v1/kv/ks/t/k", Some(answer.context()), "tea").await;
        assert_eq!(again.status == 204, warning.is_none(), "{count} gaps");
    }
}

#[tokio::test]
async fn no_browser_may_take_a_value_for_something_else() {
    let api = Api::new().await;
    let multipart = [("accept", "multipart/mixed")];
    for values in ["<script>", "<p>"] {
        api.put("/v1/kv/ks/t/k", None, values).await;
        let answer = api.send("GET", "/v1/kv/ks/t/k", &multipart, "").await;
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
}
