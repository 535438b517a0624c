//! Batches: each operation has its own outcome.

use causality::DotSet;
use serde_json::{Value, json};

use crate::support::{Answer, Api, VALUE_BYTES_MAX};

async fn send(api: &Api, body: String) -> Answer {
    api.send("POST", "/v1/batch", &[("content-type", "application/json")], body).await
}

async fn outcomes(api: &Api, operations: &Value) -> Vec<Value> {
    let answer = send(api, json!({"operations": operations}).to_string()).await;
    assert_eq!(answer.status, 200);
    answer.json()["outcomes"].as_array().unwrap().clone()
}

fn op(op: &str, key: &str, more: &Value) -> Value {
    let mut operation = json!({"op": op, "keyspace": "ks", "table": "t", "key": key});
    for (field, value) in more.as_object().unwrap() {
        operation[field] = value.clone();
    }
    operation
}

#[tokio::test]
async fn each_operation_is_answered_as_it_would_be_alone() {
    let api = Api::new().await;
    api.put("/v1/kv/ks/t/one", None, "milk").await;
    for value in ["milk", "rum"] {
        api.put("/v1/kv/ks/t/two", None, value).await;
    }
    let context = api.get("/v1/kv/ks/t/one").await.context().to_owned();
    let nothing = json!({});
    let outcomes = outcomes(
        &api,
        &json!([
            op("get", "two", &json!({"r": 1})),
            op("put", "new", &json!({"value": "cnVt", "content_type": "text/plain", "w": "ALL"})),
            op("delete", "one", &json!({"context": context})),
            op("get", "none", &nothing),
            op("get", "x", &json!({"table": "none"})),
            op("put", "two", &json!({"value": "", "context": context})),
        ]),
    )
    .await;
    let statuses: Vec<_> = outcomes.iter().map(|outcome| outcome["status"].clone()).collect();
    assert_eq!(statuses, [300, 204, 204, 404, 404, 400]);
    assert_eq!(outcomes[0]["values"].as_array().unwrap().len(), 2);
    assert_eq!(outcomes[0]["receipt"]["wanted"], 1);
    assert_eq!(outcomes[1]["receipt"]["wanted"], 3);
    assert_eq!(outcomes[3]["problem"]["code"], "not_found");
    assert_eq!(outcomes[4]["problem"]["code"], "unknown_table");
    assert_eq!(outcomes[5]["problem"]["code"], "context_invalid");
    let new = api.get("/v1/kv/ks/t/new").await;
    assert_eq!((&new.body[..], new.header("content-type")), (&b"rum"[..], Some("text/plain")));
    let deleted = api.get("/v1/kv/ks/t/one").await;
    assert_eq!(deleted.problem(), "404 deleted");
    let context = outcomes[2]["context"].as_str().unwrap();
    api.put("/v1/kv/ks/t/one", Some(context), "again").await;
    assert_eq!(api.get("/v1/kv/ks/t/one").await.body, "again");
}

#[tokio::test]
async fn an_operation_that_makes_no_sense_fails_alone() {
    let api = Api::new().await;
    let large = "A".repeat(VALUE_BYTES_MAX / 3 * 4 + 8);
    for (operation, code) in [
        (op("put", "k", &json!({})), "malformed_request"),
        (op("put", "k", &json!({"value": "?"})), "malformed_request"),
        (op("put", "k", &json!({"value": large})), "value_too_large"),
        (op("put", "k", &json!({"value": "", "r": 1})), "malformed_request"),
        (op("put", "k", &json!({"value": "", "w": 1, "level": 1})), "malformed_request"),
        (op("put", "k", &json!({"value": "", "content_type": "a\r\nb"})), "malformed_request"),
        (op("put", "k", &json!({"value": "", "content_type": "é"})), "malformed_request"),
        (op("put", "k", &json!({"value": "", "key_base64": "aw=="})), "malformed_request"),
        (op("put", "k", &json!({"value": "", "w": 4})), "level_out_of_range"),
        (op("get", "k", &json!({"w": 1})), "malformed_request"),
        (op("get", "k", &json!({"context": ""})), "malformed_request"),
        (op("delete", "k", &json!({"value": ""})), "malformed_request"),
        (op("get", "", &json!({})), "malformed_key"),
        (op("get", &"k".repeat(8193), &json!({})), "key_too_large"),
        (op("get", "k", &json!({"keyspace": "No"})), "malformed_name"),
        (json!({"op": "get", "keyspace": "ks", "table": "t"}), "malformed_request"),
    ] {
        let good = op("put", "good", &json!({"value": ""}));
        let outcomes = outcomes(&api, &json!([operation, good])).await;
        assert_eq!(outcomes[0]["problem"]["code"], code, "{operation}");
        assert_eq!(outcomes[0]["status"], outcomes[0]["problem"]["status"]);
        assert_eq!(outcomes[1]["status"], 204);
    }
    assert_eq!(api.node.state().objects.len(), 1);
}

/// A get whose fields are the items of an array.
fn fields_in_order() -> String {
    let mut fields = vec![json!("get"), json!("ks"), json!("t"), json!("k")];
    fields.resize(16, Value::Null);
    json!({"operations": [fields]}).to_string()
}

#[tokio::test]
async fn a_batch_that_cannot_be_read_does_nothing() {
    let api = Api::new().await;
    let before = api.node.state().asked;
    let get = op("get", "k", &json!({}));
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for body in [
        String::new(),
        "{".to_owned(),
        deep.clone(),
        format!(r#"{{"operations":{deep}}}"#),
        json!({"operations": [get], "timeouts": 1}).to_string(),
        json!({"operations": [get], "timeout": 0}).to_string(),
        json!({"operations": [get], "timeout": 60_001}).to_string(),
        json!({"operations": [op("get", "k", &json!({"levle": "ONE"}))]}).to_string(),
        json!({"operations": [op("get", "k", &json!({"level": "MOST"}))]}).to_string(),
        json!({"operations": [op("swap", "k", &json!({}))]}).to_string(),
        json!({"operations": vec![get; 1001]}).to_string(),
        r#"{"operations":[],"operations":[]}"#.to_owned(),
        r#"[[{"op":"get","keyspace":"ks","table":"t","key":"k"}]]"#.to_owned(),
        r#"[[{"op":"get","keyspace":"ks","table":"t","key":"k"}],null]"#.to_owned(),
        fields_in_order(),
    ] {
        let answer = send(&api, body.clone()).await;
        assert_eq!(answer.problem(), "400 malformed_request", "{:.80}", body);
    }
    for headers in [&[][..], &[("content-type", "text/plain")]] {
        let answer = api.send("POST", "/v1/batch", headers, r#"{"operations":[]}"#).await;
        assert_eq!(answer.problem(), "400 malformed_request");
    }
    let answer = send(&api, " ".repeat((32 << 20) + 1)).await;
    assert_eq!(answer.problem(), "413 body_too_large");
    assert_eq!(api.node.state().asked, before);
}

#[tokio::test]
async fn a_thousand_operations_keep_their_order() {
    let api = Api::new().await;
    let put = |n: usize| op("put", &format!("k{n}"), &json!({"value": ""}));
    let outcomes = outcomes(&api, &(0..1000).map(put).collect()).await;
    assert_eq!(outcomes.len(), 1000);
    for (n, outcome) in outcomes.iter().enumerate() {
        let context = outcome["context"].as_str().unwrap();
        assert_eq!(api.put(&format!("/v1/kv/ks/t/k{n}"), Some(context), "").await.status, 204);
    }
}

#[tokio::test]
async fn an_operation_that_panics_is_one_outcome() {
    let api = Api::new().await;
    api.node.state().panics = true;
    let outcomes = outcomes(&api, &json!([op("get", "k", &json!({}))])).await;
    assert_eq!(outcomes[0]["problem"]["code"], "internal");
}

#[tokio::test]
async fn gets_beyond_what_an_answer_may_have_are_refused_and_the_rest_is_answered() {
    let api = Api::new().await;
    api.put("/v1/kv/ks/t/large", None, "").await;
    // Three of them are 60 MiB in base64.
    api.replace(DotSet::new(), vec![0; 15 << 20].into());
    let before = api.node.state().asked;
    let mut operations = vec![op("get", "large", &json!({})); 40];
    operations.push(op("put", "new", &json!({"value": ""})));
    let answer = send(&api, json!({"operations": operations}).to_string()).await;
    assert!(answer.body.len() < 65 << 20, "{}", answer.body.len());
    let answer = answer.json();
    let outcomes = answer["outcomes"].as_array().unwrap();
    let code = |outcome: &&Value| outcome["problem"]["code"] == "overloaded";
    assert_eq!(outcomes.iter().filter(|outcome| outcome["status"] == 200).count(), 3);
    assert_eq!(outcomes.iter().filter(code).count(), 37);
    assert_eq!(outcomes[40]["status"], 204);
    let asked = api.node.state().asked - before;
    assert!(asked < 30, "{asked} operations reached the node");
}
