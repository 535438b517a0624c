//! What the client makes of the answers of a server.

use bytes::Bytes;
use client::fuzzed;
use hyper::Response;
use hyper::header::{HeaderName, HeaderValue};

use super::Target;
use crate::cut::Cut;

pub(super) const TARGETS: &[Target] =
    &[Target { seeds, dictionary: WORDS, per_byte: 256, ..Target::new("client-answer", answer) }];

const WORDS: &[&str] = &[
    "{\"values\":[{\"content_type\":\"",
    "\"value\":\"",
    "\"dot\":\"",
    "\"context\":\"",
    "\"receipt\":{",
    "\"kind\":\"strict\"",
    "\"acks\":[",
    "\"node\":\"n1\"",
    "\"wanted\":",
    "\"replicas\":",
    "\"durable\":",
    "\"entries\":[{\"key\":\"",
    "\"key_base64\":\"",
    "\"cursor\":",
    "\"outcomes\":[",
    "\"status\":200",
    "\"problem\":{\"code\":\"",
    "\"shard\":",
    "null",
    "true",
    "[[[[",
    "{\"a\":",
];

const RECEIPT: &str = "kind=strict;acks=n1,n2;wanted=2;of=3;shard=1/17;dot=abc-1";

fn seeds() -> Vec<Vec<u8>> {
    let bodies: [(u8, &str); 8] = [
        (0, "the value"),
        (
            1,
            r#"{"values":[{"content_type":"text/plain","value":"bWlsaw==","dot":"0abc-7"}],"context":"AQ","receipt":{"kind":"strict","acks":[{"node":"n1","durable":true}],"wanted":2,"replicas":3}}"#,
        ),
        (
            2,
            r#"{"type":"t","title":"T","status":504,"detail":"D","code":"deleted","wanted":2,"got":1}"#,
        ),
        (
            3,
            r#"{"outcomes":[{"status":200,"values":[{"content_type":"a/b","value":"AA=="}],"context":"AQ"},{"status":404,"problem":{"code":"deleted","context":"AQ"}}]}"#,
        ),
        (
            4,
            r#"{"entries":[{"key":"a","sort_base64":"/w==","context":"AQ","values":[]},{"key_base64":"/wA="}],"cursor":"Ag","receipt":null}"#,
        ),
        (
            5,
            r#"{"node":1,"incarnation":"00ab","uptime_seconds":1,"nodes":[{"node":2,"alive":true}],"catalog_version":1,"keyspaces":[],"requests":0,"read_repairs":0}"#,
        ),
        (6, r#"{"name":"ks","id":1,"shards":64,"replicas":{"north":3}}"#),
        (
            7,
            r#"{"name":"t","keyspace":"ks","id":2,"policy":"siblings","durability":"synced","read":"QUORUM","write":2}"#,
        ),
    ];
    let seed = |(kind, body): (u8, &str)| {
        let headers = [&[RECEIPT.len() as u8][..], RECEIPT.as_bytes(), &[2], b"AQ", &[3], b"a/b"];
        [&[kind, 0][..], &headers.concat(), body.as_bytes()].concat()
    };
    bodies.map(seed).into()
}

/// What was asked, the status, three headers, and the body.
fn answer(input: &[u8]) {
    let mut cut = Cut(input);
    let (kind, status) = (cut.byte(), cut.byte());
    let mut response = Response::new(Bytes::new());
    for name in ["merganser-receipt", "merganser-context", "content-type"] {
        let part = cut.part();
        if let Ok(value) = HeaderValue::from_bytes(part)
            && !part.is_empty()
        {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
        if let Some(receipt) = std::str::from_utf8(part).ok().and_then(fuzzed::receipt) {
            assert!(receipt.acks.len() <= part.len());
        }
    }
    let body = Bytes::copy_from_slice(cut.0);
    *response.body_mut() = body.clone();
    let statuses = [200, 300, 404, 400, 503];
    let status = statuses[usize::from(status) % statuses.len()];
    *response.status_mut() = hyper::StatusCode::from_u16(status).expect("a status");
    match kind % 8 {
        0 | 1 => {
            let answer = fuzzed::answer(&response, kind % 8 == 1);
            // A plain answer is the value, whatever it is.
            if let (0, 200, Ok(answer)) = (kind % 8, status, answer) {
                assert_eq!(
                    answer.values.iter().map(|value| &value.body).collect::<Vec<_>>(),
                    [&body]
                );
            }
        }
        2 => assert_eq!(fuzzed::problem(status, &body).status, status),
        3 => {
            if let Ok(outcomes) = fuzzed::outcomes(&body) {
                assert_eq!(outcomes.len(), 2);
            }
        }
        4 => drop(fuzzed::page(&body)),
        5 => assert_json_again(fuzzed::status(&body)),
        6 => assert_json_again(fuzzed::keyspace(&body)),
        _ => assert_json_again(fuzzed::table(&body)),
    }
}

/// What was read can be printed, and read again.
fn assert_json_again<T, E>(read: Result<T, E>)
where
    T: serde::Serialize + serde::de::DeserializeOwned,
{
    if let Ok(value) = read {
        let text = serde_json::to_string(&value).expect("our own types are plain data");
        let again: T = serde_json::from_str(&text).expect("it was just written");
        assert_eq!(serde_json::to_string(&again).expect("plain data"), text);
    }
}
