//! The header of a session: what is taken, what is refused, and who passes it on.

use causality::{Dot, Incarnation};
use model::{KeyspaceId, Request, Seen, Session, ShardId};

use crate::support::{Answer, Api};

const KEY: &str = "/v1/kv/ks/t/k";

const HEADER: &str = "merganser-session";

/// The token of a session that has seen one write in a shard.
fn token(keyspace: u32, shard: u16, seq: u64) -> (String, Session) {
    let mut session = Session::new(ShardId { keyspace: KeyspaceId::new(keyspace), index: shard });
    let dot = Dot::new(Incarnation::new(0xabc << 24), seq);
    session.sees(&[dot].into_iter().collect());
    (codec::session::encode(&session), session)
}

async fn in_session(api: &Api, method: &str, target: &str, lines: &[&str]) -> Answer {
    let lines: Vec<(&str, &str)> = lines.iter().map(|line| (HEADER, *line)).collect();
    api.send(method, target, &lines, "v").await
}

/// What the node was told of the session.
fn told(api: &Api) -> Option<Vec<Session>> {
    match api.node.state().last.clone() {
        Some(Request::Get(get)) => get.sessions,
        Some(Request::Put(put)) => put.sessions,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_no_token_of_a_session_is_refused_and_nobody_is_asked() {
    let api = Api::new().await;
    let asked = api.node.state().asked;
    let (good, _) = token(1, 17, 4);
    let long = "A".repeat(65);
    let newer = format!("Ag{}", &good[2..]);
    let with_more = format!("{good}A");
    let both = format!("{good},{long}");
    let torn = &good[..good.len() - 2];
    for bad in ["no token", "%41", "AQERAA==", "AQERAAA", &long, &newer, &with_more, &both, torn] {
        for method in ["GET", "PUT", "DELETE"] {
            let answer = in_session(&api, method, KEY, &[bad]).await;
            assert_eq!(answer.problem(), "400 session_invalid", "{method} {bad}");
            let answer = in_session(&api, method, KEY, &[&good, bad]).await;
            assert_eq!(answer.problem(), "400 session_invalid", "{method} {bad} in another line");
        }
    }
    let bytes = [(HEADER, "caf\u{e9}")];
    assert_eq!(api.send("GET", KEY, &bytes, "").await.problem(), "400 session_invalid");
    assert_eq!(api.node.state().asked, asked);
}

#[tokio::test]
async fn all_tokens_reach_the_node_which_knows_whose_shard_they_are_of() {
    let api = Api::new().await;
    let (ours, ours_seen) = token(1, 17, 4);
    let (other_shard, other_shard_seen) = token(1, 18, 5);
    let (other_keyspace, other_keyspace_seen) = token(2, 17, 6);
    let two = format!(" {ours} ,,{other_shard}");
    let lines = [&*two, "", &other_keyspace];
    let all = vec![ours_seen.clone(), other_shard_seen, other_keyspace_seen];
    for method in ["PUT", "GET"] {
        let answer = in_session(&api, method, KEY, &lines).await;
        assert_eq!(told(&api).as_ref(), Some(&all), "{method}");
        assert_eq!(answer.header(HEADER), Some(&*ours), "{method}");
    }
    assert_eq!(codec::session::decode(&ours).unwrap().seen, ours_seen.seen);
    assert_ne!(ours_seen.seen, Seen::All);
}

#[tokio::test]
async fn an_empty_header_begins_a_session_and_none_is_in_none() {
    let api = Api::new().await;
    for (method, status) in [("GET", 404), ("PUT", 204), ("GET", 200), ("DELETE", 204)] {
        let begun = in_session(&api, method, KEY, &[""]).await;
        assert_eq!((begun.status, told(&api)), (status, Some(Vec::new())), "{method}");
        assert!(begun.header(HEADER).is_some_and(|token| token.len() <= 64), "{method}");
    }
    let plain = api.get(KEY).await;
    assert_eq!((told(&api), plain.header(HEADER)), (None, None));
}

#[tokio::test]
async fn requests_that_would_not_keep_to_a_session_refuse_it() {
    let api = Api::new().await;
    let asked = api.node.state().asked;
    let (good, _) = token(1, 17, 4);
    let outcome = "/v1/outcome/017f22e2-79b0-7cc3-98c4-dc0c0c07398f/ks/t/k";
    for header in [&*good, "", "no token"] {
        for (method, target) in [
            ("GET", "/v1/list/ks/t/k"),
            ("GET", "/v1/scan/ks/t"),
            ("GET", outcome),
            ("GET", "/v1/explain/ks/t/k"),
        ] {
            let answer = in_session(&api, method, target, &[header]).await;
            assert_eq!(answer.problem(), "400 session_not_kept", "{method} {target} {header:?}");
        }
        let json = [("content-type", "application/json"), (HEADER, header)];
        let batch = r#"{"operations":[]}"#;
        let answer = api.send("POST", "/v1/batch", &json, batch).await;
        assert_eq!(answer.problem(), "400 session_not_kept", "{header:?}");
    }
    assert_eq!(api.node.state().asked, asked);
    let json = [("content-type", "application/json")];
    let within = r#"{"operations":[{"get":{"keyspace":"ks","table":"t","key":"k","session":""}}]}"#;
    let answer = api.send("POST", "/v1/batch", &json, within).await;
    assert_eq!(answer.problem(), "400 malformed_request", "nor is it taken for one operation");
}
