//! Asking what each replica holds.

use serde_json::json;

use crate::support::Api;

const KEY: &str = "/v1/kv/ks/t/key";

#[tokio::test]
async fn each_replica_is_shown_with_what_it_holds_and_what_it_lacks() {
    let api = Api::new().await;
    api.put(KEY, None, "one").await;
    let told = api.get("/v1/explain/ks/t/key?timeout=100").await;
    assert_eq!(told.status, 200);
    let told = told.json();
    let dot = told["values"][0]["dot"].clone();
    assert_eq!(told["values"][0]["held_by"], json!([1]));
    assert_eq!(told["values"][0]["bytes"], 3);
    let [full, empty, silent] = [0, 1, 2].map(|index| told["replicas"][index].clone());
    assert_eq!((&full["values"], &full["equal"]), (&json!([dot]), &json!(true)));
    assert_eq!((&empty["lacks"], &empty["equal"]), (&json!([dot]), &json!(false)));
    assert_eq!((&silent["answered"], &silent["lacks"]), (&json!(false), &json!([])));
    assert_eq!((&told["read"]["asks"], &told["read"]["kind"]), (&json!([2]), &json!("partial")));
    assert_eq!((&told["read"]["shows"], &told["read"]["misses"]), (&json!([]), &json!([dot])));
}

#[tokio::test]
async fn a_question_about_no_table_is_refused() {
    let api = Api::new().await;
    for (ask, problem) in [
        ("nowhere/t/key", "404 unknown_keyspace"),
        ("ks/t", "404 no_such_route"),
        ("ks/t/key?r=1", "400 malformed_request"),
    ] {
        assert_eq!(api.get(&format!("/v1/explain/{ask}")).await.problem(), problem, "{ask}");
    }
}
