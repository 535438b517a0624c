//! Asking what became of a write.

use serde_json::json;

use crate::support::Api;

const KEY: &str = "/v1/kv/ks/t/key";
const TOKEN: &str = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f";

#[tokio::test]
async fn a_write_is_known_by_its_key_and_the_key_that_was_written() {
    let api = Api::new().await;
    let ask = format!("/v1/outcome/{TOKEN}/ks/t/key");
    let before = api.get(&ask).await;
    assert_eq!(before.status, 200);
    let unseen = json!({
        "outcome": "not_seen", "final": false, "guests": [], "without": [2], "silent": [3]
    });
    assert_eq!(before.json(), unseen);
    let written = api.send("PUT", KEY, &[("idempotency-key", TOKEN)], "one").await;
    let after = api.get(&ask).await.json();
    assert_eq!((&after["outcome"], after.get("final")), (&json!("applied"), None));
    let dot = after["receipt"]["dot"].as_str().unwrap().to_owned();
    assert!(written.header("merganser-receipt").unwrap().ends_with(&dot), "{dot}");
    api.put(KEY, Some(written.context()), "two").await;
    assert_eq!(api.get(&ask).await.json()["outcome"], "superseded");
    let elsewhere = api.get(&format!("{ask}?sort=x&timeout=10")).await;
    assert_eq!(elsewhere.json()["outcome"], "not_seen");
}

#[tokio::test]
async fn a_question_that_names_no_write_is_refused() {
    let api = Api::new().await;
    for (ask, problem) in [
        ("not-a-uuid/ks/t/key".to_owned(), "400 token_malformed"),
        ("017f22e2-79b0-4cc3-98c4-dc0c0c07398f/ks/t/key".to_owned(), "400 token_malformed"),
        (format!("{TOKEN}/ks/t"), "404 no_such_route"),
        (format!("{TOKEN}/nowhere/t/key"), "404 unknown_keyspace"),
        (format!("{TOKEN}/ks/t/key?r=1"), "400 malformed_request"),
    ] {
        assert_eq!(api.get(&format!("/v1/outcome/{ask}")).await.problem(), problem, "{ask}");
    }
}
