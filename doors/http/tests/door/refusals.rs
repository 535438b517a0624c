//! What is refused, how, and that nothing is changed by it.

use axum::body::Body;
use model::{Failure, Level, Malformed, Name, Refusal};

use crate::support::{Api, VALUE_BYTES_MAX};

const KEY: &str = "/v1/kv/ks/t/key";

#[tokio::test]
async fn an_idempotency_key_is_a_uuid_that_says_its_time_or_nothing() {
    let api = Api::new().await;
    let kept = api.node.state().kept();
    for text in ["once", "", "017f22e2-79b0-4cc3-98c4-dc0c0c07398f", "\"once\""] {
        let refused = api.send("PUT", KEY, &[("idempotency-key", text)], "v").await;
        assert_eq!(refused.problem(), "400 token_malformed", "{text:?}");
    }
    assert_eq!(api.node.state().kept(), kept);
    let token = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f";
    for text in [token.to_owned(), format!("\"{token}\""), token.to_uppercase()] {
        let written = api.send("PUT", KEY, &[("idempotency-key", &text)], "v").await;
        assert_eq!(written.header("merganser-repeated"), None, "{text:?}: it had not come before");
        assert!(written.header("merganser-receipt").is_some(), "{text:?}");
    }
}

#[tokio::test]
async fn a_request_says_that_it_was_sent_before_or_nothing() {
    let api = Api::new().await;
    let kept = api.node.state().kept();
    let batch =
        r#"{"operations":[{"op":"put","keyspace":"ks","table":"t","key":"b","value":"dg=="}]}"#;
    let json = ("content-type", "application/json");
    for said in ["false", "1", ""] {
        let repeated = ("merganser-repeated", said);
        let refused = api.send("PUT", KEY, &[repeated], "v").await;
        assert_eq!(refused.problem(), "400 malformed_request", "{said:?}");
        let refused = api.send("POST", "/v1/batch", &[json, repeated], batch).await;
        assert_eq!(refused.problem(), "400 malformed_request", "{said:?}");
    }
    assert_eq!(api.node.state().kept(), kept);
    let repeated = ("merganser-repeated", "true");
    for (headers, is_repeated) in [(vec![json], false), (vec![json, repeated], true)] {
        assert_eq!(api.send("PUT", KEY, &headers[1..], "v").await.status, 204);
        assert_eq!(api.node.state().last_put().repeated, is_repeated);
        assert_eq!(api.send("DELETE", KEY, &headers[1..], "").await.status, 204);
        assert_eq!(api.node.state().last_put().repeated, is_repeated);
        assert_eq!(api.send("POST", "/v1/batch", &headers, batch).await.status, 200);
        assert_eq!(api.node.state().last_put().repeated, is_repeated);
    }
}

#[tokio::test]
async fn what_is_no_request_never_reaches_the_node() {
    let api = Api::new().await;
    let before = api.node.state().asked;
    let long_key = format!("/v1/kv/ks/t/{}", "k".repeat(60_000));
    let long_sort = format!("{KEY}?sort={}", "s".repeat(8193));
    for (method, target, problem) in [
        ("GET", long_key.as_str(), "414 key_too_large"),
        ("PUT", long_key.as_str(), "414 key_too_large"),
        ("GET", &long_sort, "414 key_too_large"),
        ("GET", "/v1/kv/ks/t/", "400 malformed_key"),
        ("GET", "/v1/kv/Ks/t/k", "400 malformed_name"),
        ("GET", "/v1/kv/ks//k", "400 malformed_name"),
        ("GET", "/v1/kv/ks/t%2Fu/k", "400 malformed_name"),
        ("GET", "/v1/kv/ks/t/%", "400 malformed_request"),
        ("GET", "/v1/kv/ks/t/%4", "400 malformed_request"),
        ("GET", "/v1/kv/ks/t/%zz", "400 malformed_request"),
        ("GET", "/v1/kv/%zz/t/k", "400 malformed_request"),
        ("GET", "/v1/kv/ks/t/k?sort=%", "400 malformed_request"),
        ("GET", "/v1/kv/ks/t/k?level=MOST", "400 malformed_request"),
        ("GET", "/v1/kv/ks/t/k?r=999", "400 level_out_of_range"),
        ("GET", "/v1/kv/ks/t/k?r=-1", "400 level_out_of_range"),
        ("GET", "/v1/kv/ks/t/k?r=", "400 malformed_request"),
        ("GET", "/v1/kv/ks/t/k?r=1&r=1", "400 malformed_request"),
        ("GET", "/v1/kv/ks/t/k?r=1&level=1", "400 malformed_request"),
        ("GET", "/v1/kv/ks/t/k?w=1", "400 malformed_request"),
        ("GET", "/v1/kv/ks/t/k?cursor=x", "400 malformed_request"),
        ("PUT", "/v1/kv/ks/t/k?r=1", "400 malformed_request"),
        ("PUT", "/v1/kv/ks/t/k?timeout=0", "400 malformed_request"),
        ("PUT", "/v1/kv/ks/t/k?timeout=60001", "400 malformed_request"),
        ("PUT", "/v1/kv/ks/t/k?receipt=yes", "400 malformed_request"),
        ("DELETE", "/v1/kv/ks/t/k?r=1", "400 malformed_request"),
        ("GET", "/v1/list/ks/t/", "400 malformed_key"),
        ("GET", "/v1/list/ks/t/k?limit=0", "400 malformed_request"),
        ("GET", "/v1/list/ks/t/k?limit=1001", "400 malformed_request"),
        ("GET", "/v1/list/ks/t/k?values=no", "400 malformed_request"),
        ("GET", "/v1/scan/ks/T", "400 malformed_name"),
        ("GET", "/v1/scan/ks/t?sort=a", "400 malformed_request"),
        ("GET", "/v1/status?verbose=1", "400 malformed_request"),
        ("GET", "/v1/keyspaces?x", "400 malformed_request"),
        ("PUT", "/v1/keyspaces/ks?shards=64", "400 malformed_request"),
        ("POST", "/v1/batch?timeout=1", "400 malformed_request"),
        ("GET", "/health?x=1", "400 malformed_request"),
        ("GET", "/", "404 no_such_route"),
        ("GET", "/v1/kv", "404 no_such_route"),
        ("GET", "/v1/kv/ks/t", "404 no_such_route"),
        ("GET", "/v1/kv/ks/t/a/b", "404 no_such_route"),
        ("GET", "/v1/list/ks/t", "404 no_such_route"),
        ("GET", "/v1/scan/ks/t/k", "404 no_such_route"),
        ("GET", "/v1/keyspaces/", "404 no_such_route"),
        ("GET", "/v1/keyspaces/ks/tables/", "404 no_such_route"),
        ("GET", "/V1/status", "404 no_such_route"),
        ("POST", KEY, "405 method_not_allowed"),
        ("PATCH", KEY, "405 method_not_allowed"),
        ("OPTIONS", KEY, "405 method_not_allowed"),
        ("GET", "/v1/batch", "405 method_not_allowed"),
        ("DELETE", "/v1/keyspaces/ks", "405 method_not_allowed"),
        ("PUT", "/v1/status", "405 method_not_allowed"),
        ("POST", "/health", "405 method_not_allowed"),
        ("BREW", "/health", "405 method_not_allowed"),
    ] {
        let answer = api.send(method, target, &[], "").await;
        assert_eq!(answer.problem(), problem, "{method} {target:.80}");
    }
    assert_eq!(api.node.state().asked, before);
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let api = Api::new().await;
    for (target, allow) in [
        (KEY, "GET,HEAD,PUT,DELETE"),
        ("/v1/keyspaces/ks", "PUT,GET,HEAD"),
        ("/v1/status", "GET,HEAD"),
    ] {
        assert_eq!(api.send("POST", target, &[], "").await.header("allow"), Some(allow));
    }
    assert_eq!(api.get("/v1/batch").await.header("allow"), Some("POST"));
}

#[tokio::test]
async fn what_does_not_exist_is_named() {
    let api = Api::new().await;
    for (target, problem) in [
        ("/v1/kv/none/t/k", "404 unknown_keyspace"),
        ("/v1/kv/ks/none/k", "404 unknown_table"),
        ("/v1/list/ks/none/k", "404 unknown_table"),
        ("/v1/scan/none/t", "404 unknown_keyspace"),
    ] {
        assert_eq!(api.get(target).await.problem(), problem, "{target}");
    }
    assert_eq!(api.put("/v1/kv/ks/none/k", None, "v").await.problem(), "404 unknown_table");
    assert!(api.node.state().objects.is_empty());
}

#[tokio::test]
async fn a_level_beyond_the_replicas_is_refused_with_their_number() {
    let api = Api::new().await;
    for target in ["/v1/kv/ks/t/k?w=4", "/v1/kv/ks/t/k?w=0", "/v1/kv/ks/t/k?dw=4"] {
        let answer = api.put(target, None, "v").await;
        assert_eq!(answer.problem(), "400 level_out_of_range", "{target}");
        assert_eq!(answer.json()["replicas"], 3);
    }
    assert_eq!(api.get("/v1/scan/ks/t?r=4").await.problem(), "400 level_out_of_range");
    assert!(api.node.state().objects.is_empty());
}

#[tokio::test]
async fn a_context_that_was_not_given_for_this_key_changes_nothing() {
    let api = Api::new().await;
    let other_cluster = Api::new().await;
    let token = api.put(KEY, None, "kept").await.context().to_owned();
    let of = |target: &'static str| api.put(target, None, "x");
    let foreign = [
        of("/v1/kv/ks/t/other").await,
        of("/v1/kv/ks/u/key").await,
        of("/v1/kv/ks/t/key?sort=s").await,
    ];
    let mut contexts: Vec<String> =
        foreign.iter().map(|answer| answer.context().to_owned()).collect();
    // Two parts of a key must not be told apart by their length alone.
    contexts.push(of("/v1/kv/ks/t/ke?sort=y").await.context().to_owned());
    contexts.extend((0..token.len()).map(|len| token[..len].to_owned()));
    contexts.extend((0..token.len()).map(|at| {
        let mut forged = token.clone().into_bytes();
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(forged).unwrap()
    }));
    contexts.extend([format!("{token}A"), format!("{token}="), format!(" {token}{token}")]);
    contexts.push("AAAA".repeat(16 * 1024 + 1));
    let before = api.node.state().kept();
    for context in contexts {
        let headers = [("merganser-context", context.as_str())];
        for method in ["PUT", "DELETE"] {
            let answer = api.send(method, KEY, &headers, "lost").await;
            assert_eq!(answer.problem(), "400 context_invalid", "{method} {context:.80}");
        }
    }
    let twice = [("merganser-context", token.as_str()), ("merganser-context", token.as_str())];
    let answer = api.send("PUT", KEY, &twice, "lost").await;
    assert_eq!(answer.problem(), "400 malformed_request");
    let after = api.node.state().kept();
    assert_eq!(before, after);
    // The same secret makes the same cluster, so this token is good there.
    assert_eq!(other_cluster.put(KEY, Some(&token), "x").await.status, 204);
}

#[tokio::test]
async fn a_content_type_that_could_not_be_a_header_again_is_refused() {
    let api = Api::new().await;
    let longest = format!("text/{}", "x".repeat(250));
    let longer = format!("{longest}x");
    for content_type in [longer.as_str(), "text/é", "text/\tplain", ""] {
        let answer = api.send("PUT", KEY, &[("content-type", content_type)], "v").await;
        assert_eq!(answer.problem(), "400 malformed_request", "{content_type:.40}");
    }
    for name in ["content-encoding", "content-range"] {
        let answer = api.send("PUT", KEY, &[(name, "gzip")], "v").await;
        assert_eq!(answer.problem(), "400 malformed_request", "{name}");
    }
    let twice = [("content-type", "a/b"), ("content-type", "a/c")];
    assert_eq!(api.send("PUT", KEY, &twice, "v").await.problem(), "400 malformed_request");
    assert!(api.node.state().objects.is_empty());
    let answer = api.send("PUT", KEY, &[("content-type", &longest)], "v").await;
    assert_eq!(answer.status, 204);
    assert_eq!(api.get(KEY).await.header("content-type"), Some(longest.as_str()));
}

#[tokio::test]
async fn conditions_are_refused_and_not_ignored() {
    let api = Api::new().await;
    for condition in ["if-match", "if-none-match", "if-unmodified-since", "if-range"] {
        for method in ["PUT", "DELETE"] {
            let answer = api.send(method, KEY, &[(condition, "*")], "v").await;
            assert_eq!(answer.problem(), "400 malformed_request", "{method} {condition}");
        }
    }
    assert!(api.node.state().objects.is_empty());
}

#[tokio::test]
async fn a_contract_is_read_as_json_whatever_curl_calls_it() {
    let api = Api::new().await;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let answer = api.send("PUT", "/v1/keyspaces/new", &form, r#"{"shards":8}"#).await;
    assert_eq!(answer.status, 201);
    let answer = api.send("PUT", "/v1/keyspaces/newer", &form, "shards=8").await;
    assert_eq!(answer.problem(), "400 malformed_request");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_and_nothing_is_written() {
    let api = Api::new().await;
    let value = vec![0; VALUE_BYTES_MAX + 1];
    assert_eq!(api.send("PUT", KEY, &[], value).await.problem(), "413 value_too_large");
    let json = " ".repeat((1 << 20) + 1);
    let answer = api.send("PUT", "/v1/keyspaces/new", &[], Body::from(json)).await;
    assert_eq!(answer.problem(), "413 body_too_large");
    assert!(api.node.state().objects.is_empty());
    assert_eq!(api.node.state().keyspaces.len(), 1);
}

#[tokio::test]
async fn each_failure_of_the_node_has_its_own_code_and_facts() {
    let api = Api::new().await;
    let name = || Name::new("ks").unwrap();
    let receipt = {
        api.put(KEY, None, "v").await;
        let Some(model::Reply::Read(read)) = ask(&api).await else { panic!("no read") };
        read.receipt
    };
    let weaker = receipt.clone();
    let failures: Vec<(Failure, &str, &[&str])> = vec![
        (
            Failure::NotAttempted { wanted: 2, alive: 1, replicas: 3, lacks: String::new() },
            "503 not_attempted",
            &["wanted", "alive", "replicas"],
        ),
        (
            Failure::Unknown { wanted: 2, got: 1, receipt: None, lacks: String::new() },
            "504 unknown_outcome",
            &["wanted", "got"],
        ),
        (
            Failure::Unknown { wanted: 2, got: 1, receipt: Some(receipt), lacks: String::new() },
            "504 unknown_outcome",
            &["wanted", "got", "replicas", "receipt"],
        ),
        (
            Failure::Weaker { receipt: weaker.clone() },
            "504 weaker_than_wanted",
            &["got", "replicas", "receipt"],
        ),
        (
            Refusal::Weak { what: "w", asked: Level::One, weakest: Level::Quorum }.into(),
            "400 level_too_weak",
            &[],
        ),
        (
            Refusal::NotLocal { what: "w", level: "LOCAL_ONE".to_owned(), region: name() }.into(),
            "400 no_local_replicas",
            &[],
        ),
        (Refusal::Overloaded { max: 9 }.into(), "503 overloaded", &[]),
        (
            Refusal::HintsFull { nodes: vec![model::NodeId::new(4)], kept: 9, needs: 2, max: 10 }
                .into(),
            "503 hints_full",
            &[],
        ),
        (Refusal::Joining { node: model::NodeId::new(4) }.into(), "503 node_joining", &[]),
        (Refusal::Disk("full".to_owned()).into(), "500 disk_failed", &[]),
        (Refusal::ManySiblings { siblings: 100, max: 100 }.into(), "409 too_many_siblings", &[]),
        (Refusal::BlindPut { siblings: 1 }.into(), "428 context_required", &[]),
        (Refusal::LargeValue { bytes: 9, max: 8 }.into(), "413 value_too_large", &[]),
        (Refusal::EmptyDelete.into(), "428 context_required", &[]),
        (Refusal::TokenReused.into(), "422 token_reused", &[]),
        (Refusal::TokenExpired { seconds: 2, max: 1 }.into(), "410 token_expired", &[]),
        (Refusal::TokenFromFuture { seconds: 2, max: 1 }.into(), "400 token_from_future", &[]),
        (Refusal::TokenForgotten { max: 128 }.into(), "410 token_expired", &[]),
        (Refusal::UnknownKeyspace(name()).into(), "404 unknown_keyspace", &[]),
        (Refusal::Malformed(Malformed::EmptyKey).into(), "400 malformed_key", &[]),
    ];
    for (failure, problem, facts) in failures {
        api.node.state().failure = Some(failure.clone());
        let answer = api.put(KEY, None, "v").await;
        assert_eq!(answer.problem(), problem, "{failure:?}");
        let json = answer.json();
        for fact in ["wanted", "got", "alive", "replicas", "receipt", "context"] {
            assert_eq!(json.get(fact).is_some(), facts.contains(&fact), "{failure:?}: {fact}");
        }
        assert_eq!(answer.header("merganser-receipt").is_some(), facts.contains(&"receipt"));
        assert_eq!(json["detail"], failure.to_string());
    }
    let (wanted, got, lacks) = (2, 1, String::new());
    api.node.state().failure = Some(Failure::Unsettled { receipt: weaker.clone() });
    let answer = api.get(KEY).await;
    assert_eq!(
        (answer.problem(), &answer.json()["replicas"]),
        ("504 not_settled".into(), &3.into())
    );
    let failure = Failure::TooFewAnswers { wanted, got, receipt: weaker, lacks };
    api.node.state().failure = Some(failure.clone());
    let answer = api.get(KEY).await;
    assert_eq!(answer.problem(), "504 too_few_answers");
    assert_eq!(answer.json()["got"], 1);
    assert!(answer.header("merganser-receipt").is_some());
    assert!(!failure.to_string().contains("may have been applied"), "{failure}");
    api.node.state().failure = Some(Refusal::NoMajority { alive: 1, nodes: 3 }.into());
    let answer = api.send("PUT", "/v1/keyspaces/new", &[], "").await;
    assert_eq!(answer.problem(), "503 no_majority");
    assert_eq!((&answer.json()["wanted"], &answer.json()["alive"]), (&2.into(), &1.into()));
}

async fn ask(api: &Api) -> Option<model::Reply> {
    use http_door::Node;
    api.get(KEY).await;
    let last = api.node.state().last.clone();
    Some(api.node.ask(last?).await)
}
