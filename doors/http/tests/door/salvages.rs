//! Taking in what only a disk has that does not come back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use causality::{Dot, DotSet, Incarnation};
use model::{DiskId, Failure, NodeId, Object, Refusal, Request, Value};
use serde_json::{Value as Json, json};

use crate::support::{Answer, Api, VALUE_BYTES_MAX};

const DISK: &str = "000000000000000000000000000000c3";
const KEY: &str = "/v1/kv/ks/t/key";

fn found(value: Vec<u8>) -> Object {
    let value = Value { content_type: Bytes::from_static(b"text/plain"), body: value.into() };
    Object::written(Dot::new(Incarnation::new(0xdead), 7), DotSet::new(), value)
}

fn encoded(object: &Object) -> String {
    let mut bytes = Vec::new();
    codec::object::encode_marked(object, &mut bytes);
    STANDARD.encode(bytes)
}

fn asked(object: &Object) -> Json {
    json!({
        "node": 3, "disk": DISK, "keyspace": "ks", "table": "t", "shard": 4, "key": "key",
        "object": encoded(object),
    })
}

async fn salvage(api: &Api, asked: &Json) -> Answer {
    let headers = [("content-type", "application/json")];
    api.send("POST", "/v1/salvage?timeout=9000", &headers, asked.to_string()).await
}

#[tokio::test]
async fn what_was_recovered_is_seen_to_be_wherever_it_is_read() {
    let api = Api::new().await;
    let answer = salvage(&api, &asked(&found(b"tea".to_vec()))).await;
    let runs = json!([{"incarnation": "000000000000dead", "first": 7, "last": 7}]);
    let told = answer.json();
    assert_eq!((answer.status, &told["unheard"], &told["recovered"]), (200, &runs, &runs));
    assert_eq!((&told["twins"], told["receipt"].is_object()), (&json!([]), true));
    let Some(Request::Salvage(salvage)) = api.node.state().last.clone() else { panic!() };
    assert_eq!((salvage.node, salvage.disk, salvage.shard), (NodeId::new(3), DiskId::new(0xc3), 4));
    assert_eq!(salvage.timeout.as_millis(), 9_000);

    let read = api.get(KEY).await;
    assert_eq!((&read.body[..], read.header("merganser-recovered")), (&b"tea"[..], Some("true")));
    let full = api.get(&format!("{KEY}?receipt=full")).await.json();
    assert_eq!(full["values"][0]["recovered"], true);
    api.put(KEY, None, "milk").await;
    let both = api.get(KEY).await.json();
    let recovered = |at: usize| both["values"][at].get("recovered").cloned();
    assert_eq!((recovered(0), recovered(1)), (None, Some(true.into())));
    let parts = api.send("GET", KEY, &[("accept", "multipart/mixed")], "").await;
    let text = String::from_utf8(parts.body.to_vec()).unwrap();
    assert!(text.contains("text/plain\r\nMerganser-Recovered: true\r\n\r\ntea\r\n"), "{text}");
    assert_eq!(text.matches("Recovered").count(), 1);
    let listed = api.get("/v1/list/ks/t/key").await.json();
    assert_eq!(listed["entries"][0]["values"][1]["recovered"], true, "{listed}");
    api.put(KEY, Some(parts.context()), "both read").await;
    assert_eq!(api.get(KEY).await.header("merganser-recovered"), None);
}

#[tokio::test]
async fn the_largest_value_fits() {
    let api = Api::new().await;
    let answer = salvage(&api, &asked(&found(vec![7; VALUE_BYTES_MAX]))).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn what_is_no_object_of_a_disk_is_refused() {
    let api = Api::new().await;
    let before = api.node.state().asked;
    for (field, value) in [
        ("disk", json!("c3")),
        ("node", json!(70_000)),
        ("key", json!("")),
        ("keyspace", json!("A")),
        ("object", json!("AA==")),
        ("object", json!("!")),
        ("object", json!("")),
        ("preview", json!(true)),
    ] {
        let mut wrong = asked(&found(Vec::new()));
        wrong[field] = value;
        let answer = salvage(&api, &wrong).await;
        assert!(answer.problem().starts_with("400 "), "{field}: {}", answer.problem());
    }
    for content_type in ["", "text/plain\r\nMerganser-Recovered: true", "text/pl\u{e4}in"] {
        let content_type = Bytes::copy_from_slice(content_type.as_bytes());
        let value = Value { content_type, body: Bytes::new() };
        let object = Object::written(Dot::new(Incarnation::new(0xdead), 7), DotSet::new(), value);
        let answer = salvage(&api, &asked(&object)).await;
        assert_eq!(answer.problem(), "400 malformed_request", "{object:?}");
    }
    // Any page may send a form.
    let form = api.send("POST", "/v1/salvage", &[], asked(&found(Vec::new())).to_string()).await;
    assert_eq!(form.problem(), "400 malformed_request");
    assert_eq!(api.node.state().asked, before, "the node was asked");
}

#[tokio::test]
async fn each_failure_says_what_to_do() {
    let api = Api::new().await;
    let (node, disk) = (NodeId::new(3), Box::new(DiskId::new(0xc3)));
    let lacks = "all have to be asked, and n2 is away".to_owned();
    let not_asked = Failure::NotAttempted { wanted: 2, alive: 1, replicas: 3, lacks };
    for (failure, problem, says) in [
        (Refusal::DiskNotRetired { node, disk }.into(), "409 disk_not_retired", "evict n3"),
        (not_asked, "503 not_attempted", "n2 is away"),
        (Refusal::MayBeDeleted { dots: 1 }.into(), "409 may_be_deleted", "write it anew"),
        (
            Refusal::ManySiblings { siblings: 9, max: 9 }.into(),
            "409 too_many_siblings",
            "the most is 9",
        ),
        (Refusal::Contract("another shard".into()).into(), "400 invalid_contract", "another"),
    ] {
        api.node.state().failure = Some(failure);
        let answer = salvage(&api, &asked(&found(Vec::new()))).await;
        assert_eq!(answer.problem(), problem);
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(says), "{detail}");
    }
}
