//! Declaring keyspaces and tables, and looking at the node.

use model::Refusal;
use serde_json::json;

use crate::support::{Answer, Api};

async fn declare(api: &Api, target: &str, body: &'static str) -> Answer {
    api.send("PUT", target, &[("content-type", "application/json; charset=utf-8")], body).await
}

#[tokio::test]
async fn a_keyspace_that_says_nothing_has_three_replicas_here() {
    let api = Api::empty();
    let created = declare(&api, "/v1/keyspaces/ks", "").await;
    assert_eq!(created.status, 201);
    let keyspace = json!({"name": "ks", "id": 1, "shards": 64, "sloppy": false, "replicas": {"north": 3}, "n": 3});
    assert_eq!(created.json(), keyspace);
    let again = declare(&api, "/v1/keyspaces/ks", r#"{"replicas":3,"shards":64}"#).await;
    assert_eq!((again.status, again.json()), (200, keyspace.clone()));
    assert_eq!(api.get("/v1/keyspaces/ks").await.json(), keyspace);
    assert_eq!(api.get("/v1/keyspaces").await.json(), json!({"keyspaces": [keyspace]}));
}

#[tokio::test]
async fn replicas_are_a_number_here_or_one_for_each_region() {
    let api = Api::empty();
    let one = declare(&api, "/v1/keyspaces/a", r#"{"replicas":2}"#).await;
    assert_eq!(one.json()["replicas"], json!({"north": 2}));
    let many = declare(&api, "/v1/keyspaces/b", r#"{"replicas":{"north":2,"south":1}}"#).await;
    assert_eq!(many.json()["n"], 3);
}

#[tokio::test]
async fn a_table_must_say_what_becomes_of_concurrent_values() {
    let api = Api::empty();
    declare(&api, "/v1/keyspaces/ks", "").await;
    let table = "/v1/keyspaces/ks/tables/t";
    for body in ["", "{}", r#"{"durability":"synced"}"#, r#"{"policy":null}"#] {
        let answer = declare(&api, table, body).await;
        assert_eq!(answer.problem(), "400 policy_required", "{body}");
    }
    assert_eq!(api.node.state().tables, []);
    let created = declare(&api, table, r#"{"policy":"siblings","read":1,"write":"ALL"}"#).await;
    assert_eq!(created.status, 201);
    let expected = json!({
        "name": "t", "id": 1, "keyspace": "ks", "policy": "siblings", "durability": "synced",
        "read": "1", "write": "ALL", "votes": {}, "min_nodes": 0, "min_zones": 0,
        "may_miss": false, "require_context": false,
    });
    assert_eq!(created.json(), expected);
    assert_eq!(api.get(table).await.json(), expected);
    assert_eq!(api.get("/v1/keyspaces/ks/tables").await.json(), json!({"tables": [expected]}));
    let again = declare(&api, table, r#"{"policy":"siblings","read":1,"write":"all"}"#).await;
    assert_eq!(again.status, 200);
}

#[tokio::test]
async fn a_contract_that_cannot_be_is_refused_and_nothing_is_declared() {
    let api = Api::new().await;
    let before = api.node.state().kept();
    let (ks, t) = ("/v1/keyspaces/new", "/v1/keyspaces/ks/tables/new");
    for (target, body, problem) in [
        ("/v1/keyspaces/ks", r#"{"shards":128}"#, "409 exists_differently"),
        (
            "/v1/keyspaces/ks/tables/t",
            r#"{"policy":"siblings","read":"ONE"}"#,
            "409 exists_differently",
        ),
        ("/v1/keyspaces/none/tables/t", r#"{"policy":"siblings"}"#, "404 unknown_keyspace"),
        ("/v1/keyspaces/New", "", "400 malformed_name"),
        ("/v1/keyspaces/a%2Fb", "", "400 malformed_name"),
        ("/v1/keyspaces/%ff", "", "400 malformed_name"),
        (ks, r#"{"replicas":{"No":1}}"#, "400 malformed_name"),
        (ks, r#"{"replicas":0}"#, "400 invalid_contract"),
        (ks, r#"{"replicas":256}"#, "400 malformed_request"),
        (ks, r#"{"replicas":-1}"#, "400 malformed_request"),
        (ks, r#"{"replicas":{"a":1,"a":2}}"#, "400 malformed_request"),
        (ks, r#"{"shards":64,"shards":64}"#, "400 malformed_request"),
        (ks, r#"{"shardz":64}"#, "400 malformed_request"),
        (ks, r#"{"shards":"#, "400 malformed_request"),
        (ks, "[64,3]", "400 malformed_request"),
        (ks, " [64,{\"north\":3}]", "400 malformed_request"),
        (t, r#"["siblings",null,null,null]"#, "400 malformed_request"),
        (ks, "[]x", "400 malformed_request"),
        (t, r#"{"policy":"lww"}"#, "400 invalid_contract"),
        (t, r#"{"policy":"siblings","durability":"never"}"#, "400 invalid_contract"),
        (t, r#"{"policy":"siblings","read":"MOST"}"#, "400 malformed_request"),
        (t, r#"{"policy":"siblings","votes":{"one":1}}"#, "400 invalid_contract"),
        (t, r#"{"policy":"siblings","votes":{"n1":-1}}"#, "400 malformed_request"),
        (t, r#"{"policy":"siblings","read":{}}"#, "400 malformed_request"),
    ] {
        assert_eq!(declare(&api, target, body).await.problem(), problem, "{target} {body}");
    }
    let after = api.node.state().kept();
    assert_eq!(before, after);
}

#[tokio::test]
async fn malformed_json_is_refused_with_its_position() {
    let api = Api::new().await;
    let answer = declare(&api, "/v1/keyspaces/new", "{\n  \"shards\": sixty\n}").await;
    assert_eq!(answer.problem(), "400 malformed_request");
    let detail = answer.json()["detail"].clone();
    assert!(detail.as_str().unwrap().contains("line 2 column 13"), "{detail}");
}

#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    let api = Api::new().await;
    for (target, problem) in [
        ("/v1/keyspaces/none", "404 unknown_keyspace"),
        ("/v1/keyspaces/none/tables", "404 unknown_keyspace"),
        ("/v1/keyspaces/none/tables/t", "404 unknown_keyspace"),
        ("/v1/keyspaces/ks/tables/none", "404 unknown_table"),
        ("/v1/keyspaces/ks/tables/No", "400 malformed_name"),
    ] {
        assert_eq!(api.get(target).await.problem(), problem, "{target}");
    }
}

#[tokio::test]
async fn the_status_names_nodes_keyspaces_and_tables() {
    let api = Api::new().await;
    let status = api.get("/v1/status").await.json();
    assert_eq!(status["node"], 1);
    assert_eq!(status["incarnation"], "0000000000000abc");
    assert_eq!(status["uptime_seconds"], 7);
    let disk = "00000000000000000000000000000001";
    let node = json!({"node": 1, "alive": true, "region": "north", "zone": "a", "standing": "up", "disk": disk});
    assert_eq!(status["nodes"], json!([node]));
    let expected = json!({"disk": disk, "state": "enrolled", "shards": 8, "shards_whole": 3});
    assert_eq!(status["disk"], expected);
    let expected = json!({
        "tombstones_waiting": 4, "more": true, "kept_for_retries": 2, "forgotten": 1000, "forgotten_runs": 3,
        "tombstones_blocked": [{"by": 2, "since_seconds": 61.5}],
    });
    assert_eq!(status["forgetting"], expected);
    let suspect = json!({"keyspace": "ks", "shard": 3, "since_seconds": 1.5, "waits_for": [2]});
    assert_eq!(status["suspect"], json!([suspect]));
    assert_eq!(status["keyspaces"][0]["name"], "ks");
    assert_eq!(status["tables"][1]["keyspace"], "ks");
}

#[tokio::test]
async fn the_description_is_openapi_3_1_and_names_each_operation_once() {
    let api = Api::empty();
    let document = api.get("/v1/openapi.json").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = Vec::new();
    for path in document["paths"].as_object().unwrap().values() {
        for operation in path.as_object().unwrap().values() {
            ids.push(operation["operationId"].as_str().unwrap().to_owned());
        }
    }
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), count), (29, 29), "{ids:?}");
}

#[tokio::test]
async fn what_must_have_a_form_is_described_with_it() {
    let document = Api::empty().get("/v1/openapi.json").await.json();
    let mut levels = 0;
    for path in document["paths"].as_object().unwrap().values() {
        for operation in path.as_object().unwrap().values() {
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let name = parameter["name"].as_str().unwrap();
                let pattern = match name {
                    "keyspace" | "table" => "^[a-z0-9][a-z0-9_.-]{0,63}$",
                    "level" | "r" | "pr" | "w" | "pw" | "dw" => {
                        levels += 1;
                        "^(ANY|ONE|TWO|THREE|QUORUM|ALL|LOCAL_ONE|LOCAL_QUORUM|EACH_QUORUM|[1-9][0-9]{0,2})$"
                    }
                    _ => continue,
                };
                assert_eq!(parameter["schema"]["pattern"], pattern, "{name}");
                assert_eq!(parameter["schema"]["minLength"], 1, "{name}");
            }
        }
    }
    assert_eq!(levels, 17);
    let body = &document["paths"]["/v1/keyspaces/{keyspace}"]["put"]["requestBody"];
    let schema = json!({"$ref": "#/components/schemas/DeclareKeyspace"});
    assert_eq!(body["content"]["application/json"]["schema"], schema);
    assert_ne!(body["required"], true, "an empty body declares a keyspace");
}

#[tokio::test]
async fn every_reference_in_the_description_leads_somewhere() {
    let document = Api::empty().get("/v1/openapi.json").await.json();
    let text = document.to_string();
    let references = text.split("\"$ref\":\"#").skip(1).map(|rest| rest.split('"').next().unwrap());
    let mut count = 0;
    for reference in references {
        assert!(document.pointer(reference).is_some(), "{reference}");
        count += 1;
    }
    assert!(20 < count, "{count}");
}

#[tokio::test]
async fn a_table_is_shown_with_all_that_it_was_declared_with() {
    let api = Api::new().await;
    let body = r#"{"policy":"siblings","read":"local_quorum","write":"EACH_QUORUM","votes":
        {"n1":2,"eu/a":0},"min_nodes":2,"min_zones":1,"weakest_read":"LOCAL_ONE",
        "weakest_write":2,"may_miss":true,"require_context":true,"siblings_warn":3,"siblings_max":9,
        "siblings_bytes_max":70000}"#;
    let table = declare(&api, "/v1/keyspaces/ks/tables/new", body).await.json();
    let wanted = serde_json::json!({
        "name": "new", "id": table["id"], "keyspace": "ks", "policy": "siblings",
        "durability": "synced", "read": "LOCAL_QUORUM", "write": "EACH_QUORUM",
        "votes": {"n1": 2, "eu/a": 0}, "min_nodes": 2, "min_zones": 1,
        "weakest_read": "LOCAL_ONE", "weakest_write": "2", "may_miss": true,
        "require_context": true, "siblings_warn": 3, "siblings_max": 9, "siblings_bytes_max": 70_000,
    });
    assert_eq!(table, wanted);
    assert_eq!(declare(&api, "/v1/keyspaces/ks/tables/new", body).await.json(), wanted);
    for never in [r#""siblings_max":0"#, r#""siblings_warn":3,"siblings_max":2"#] {
        let body = format!(r#"{{"policy":"siblings",{never}}}"#);
        let refused = declare(&api, "/v1/keyspaces/ks/tables/never", body.leak()).await;
        assert_eq!(refused.problem(), "400 invalid_contract", "{never}");
    }
}

#[tokio::test]
async fn the_disk_of_a_node_is_given_up_by_its_name() {
    let api = Api::new().await;
    let post = async |target: &str, body: &'static str| {
        api.send("POST", target, &[("content-type", "application/json")], body).await
    };
    let body = r#"{"disk":"000000000000000000000000000000c3"}"#;
    let first = post("/v1/nodes/3/evict", body).await;
    let expected = json!({"node": 3, "disk": "000000000000000000000000000000c3"});
    assert_eq!((first.status, first.json()), (201, expected.clone()));
    let again = post("/v1/nodes/n3/evict", body).await;
    assert_eq!((again.status, again.json()), (200, expected));
    for (target, body) in [
        ("/v1/nodes/three/evict", body),
        ("/v1/nodes/70000/evict", body),
        ("/v1/nodes/3/evict", r#"{"disk":"c3"}"#),
        ("/v1/nodes/3/evict", r#"{"disk":"+00000000000000000000000000000c3"}"#),
        ("/v1/nodes/3/evict", r#"{"disk":3}"#),
        ("/v1/nodes/3/evict", "{}"),
        ("/v1/nodes/3/evict?force=true", body),
    ] {
        let answer = post(target, body).await;
        assert!(answer.problem().starts_with("400 "), "{target} {body}: {}", answer.problem());
    }
    api.node.state().failure = Some(Refusal::Contract("n3 has another disk".to_owned()).into());
    assert_eq!(post("/v1/nodes/3/evict", body).await.problem(), "409 other_disk");
}
