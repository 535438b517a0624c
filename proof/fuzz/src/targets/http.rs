//! Requests through the routes of the door, to a node that keeps everything in one map.
//!
//! The head of a request is taken apart by the HTTP library before any of this; what is
//! fuzzed is what the door makes of paths, queries, headers and bodies. Each answer must
//! be one that the description of the API declares.

use std::cell::RefCell;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Method, Request, Uri};
use bytes::Bytes;
use client::fuzzed;
use http_body_util::BodyExt as _;
use hyper::Response;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use model::Key;
use tokio::runtime::Runtime;

use super::Target;
use crate::cut::{Cut, long_part};
use crate::door::{Answer, Api, State};

const BASE: usize = 512 << 10;

pub(super) const TARGETS: &[Target] = &[
    Target {
        seeds: request_seeds,
        dictionary: WORDS,
        base: BASE,
        per_byte: 512,
        ..Target::new("http-request", request)
    },
    Target { seeds: key_seeds, base: BASE, per_byte: 512, ..Target::new("http-key", key) },
    Target {
        seeds: batch_seeds,
        dictionary: BATCH_WORDS,
        base: BASE,
        per_byte: 4096,
        ..Target::new("http-batch", batch)
    },
    Target {
        seeds: declare_seeds,
        dictionary: DECLARE_WORDS,
        base: BASE,
        per_byte: 512,
        ..Target::new("http-declare", declare)
    },
];

/// The door, and the runtime it wants.
struct House {
    runtime: Runtime,
    api: Api,
}

impl House {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.expect("a runtime without threads");
        let api = runtime.block_on(Api::new());
        Self { runtime, api }
    }

    /// Forgets what the inputs before did.
    fn tidy(&self) {
        let mut state = self.api.node.state();
        let State { keyspaces, tables, objects, asked, last, .. } = &mut *state;
        keyspaces.truncate(1);
        tables.truncate(2);
        objects.clear();
        (*asked, *last) = (0, None);
    }

    fn send(&self, request: Request<Body>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let service = TowerToHyperService::new(self.api.router.clone());
        let (head, body) = self.runtime.block_on(async {
            let (head, body) = service.call(request).await.expect("no way to fail").into_parts();
            (head, body.collect().await.expect("a body in memory").to_bytes())
        });
        let answer = Answer { status: head.status.as_u16(), headers: head.headers, body };
        answer.check(method.as_str(), &path);
        assert!(answer.status != 500, "{method} {path}");
        answer
    }
}

fn with_house<T>(run: impl FnOnce(&House) -> T) -> T {
    thread_local!(static HOUSE: RefCell<Option<House>> = const { RefCell::new(None) });
    HOUSE.with_borrow_mut(|house| {
        let house = house.get_or_insert_with(House::new);
        house.tidy();
        run(house)
    })
}

fn of(
    method: &str,
    target: &[u8],
    headers: &[(&[u8], &[u8])],
    body: &[u8],
) -> Option<Request<Body>> {
    let mut request = Request::new(Body::from(Bytes::copy_from_slice(body)));
    *request.method_mut() = Method::from_bytes(method.as_bytes()).ok()?;
    *request.uri_mut() = Uri::from_maybe_shared(Bytes::copy_from_slice(target)).ok()?;
    // The server takes no other forms of a target.
    if !request.uri().path().starts_with('/') || request.uri().authority().is_some() {
        return None;
    }
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name).ok()?;
        request.headers_mut().append(name, HeaderValue::from_bytes(value).ok()?);
    }
    Some(request)
}

const WORDS: &[&str] = &[
    "PUT ",
    "DELETE ",
    "HEAD ",
    "/v1/kv/ks/t/",
    "/v1/list/ks/t/",
    "/v1/scan/ks/t",
    "/v1/batch",
    "/v1/keyspaces/",
    "/tables/",
    "/v1/status",
    "/health",
    "?sort=",
    "&level=",
    "&r=",
    "&pr=",
    "&w=",
    "&pw=",
    "&dw=",
    "&timeout=",
    "&receipt=full",
    "&limit=",
    "&cursor=",
    "&values=false",
    "QUORUM",
    "%00",
    "%2F",
    "merganser-context:",
    "content-type:",
    "content-encoding:gzip",
    "content-range:",
    "accept:multipart/mixed",
    "content-length:",
    "\n\n",
];

fn request_seeds() -> Vec<Vec<u8>> {
    [
        "PUT /v1/kv/ks/t/hello?w=2&sort=%61 \ncontent-type:text/plain\n\nvalue",
        "GET /v1/kv/ks/t/held?r=QUORUM&pr=1&receipt=full \n\n",
        "GET /v1/kv/ks/t/held \naccept:multipart/mixed;q=0.5, application/json\n\n",
        "DELETE /v1/kv/ks/t/held?level=ALL&dw=1 \nmerganser-context:AQ\n\n",
        "GET /v1/list/ks/t/held?limit=7&values=false&timeout=1000 \n\n",
        "GET /v1/scan/ks/t?cursor=AQAA&limit=1 \n\n",
        "POST /v1/batch \ncontent-type:application/json\n\n{\"operations\":[]}",
        "PUT /v1/keyspaces/new \n\n{\"replicas\":2}",
        "GET /v1/keyspaces/ks/tables/t \n\n",
        "HEAD /v1/status \n\n",
        "GET /v1/openapi.json \n\n",
        "PATCH /v1/kv/ks/t/%ff%00%2F?sort=+&sort= \n\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}

/// A request as text: a line, headers, an empty line, the body.
fn request(input: &[u8]) {
    let mut lines = input.splitn(2, |byte| *byte == b'\n');
    let (line, mut rest) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let mut words = line.split(|byte| *byte == b' ');
    let method = std::str::from_utf8(words.next().unwrap_or_default()).unwrap_or_default();
    let target = words.next().unwrap_or_default();
    let mut headers = Vec::new();
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (line, after) = rest.split_at(end);
        rest = &after[1..];
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { break };
        headers.push((&line[..colon], &line[colon + 1..]));
    }
    let Some(request) = of(method, target, &headers, rest) else { return };
    with_house(|house| {
        let held = of("PUT", b"/v1/kv/ks/t/held", &[], b"1").expect("a request");
        house.send(held);
        house.send(of("PUT", b"/v1/kv/ks/t/held", &[], b"2").expect("a request"));
        let answer = house.send(request);
        assert!(
            answer.status < 500
                || answer.status == 501
                || answer.status == 503
                || answer.status == 504
        );
    });
}

fn key_seeds() -> Vec<Vec<u8>> {
    let one = |mask: u8, partition: &[u8], sort: &[u8], body: &[u8]| {
        [&[mask][..], &long_part(partition), &long_part(sort), body].concat()
    };
    vec![
        one(0, b"alice", b"", b"value"),
        one(0xff, b"a/b%c?d#e", b"&=+ ", b""),
        one(0x55, b"\0\xff\x80", b"\xfe", b"\0"),
        one(3, b"..", b".", b"{}"),
    ]
}

/// Escapes what has to be, and other bytes as the mask says.
fn escaped(bytes: &[u8], mask: u8) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, &byte) in bytes.iter().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if plain && mask >> (index % 8) & 1 == 0 {
            out.push(byte);
        } else {
            out.extend(format!("%{byte:02X}").bytes());
        }
    }
    out
}

/// Any bytes are a key, however they are escaped: what is put under it is what is got, by
/// the client as by the node, and a delete with the context of that read leaves nothing.
fn key(input: &[u8]) {
    let mut cut = Cut(input);
    let (mask, partition, sort, value) = (cut.byte(), cut.long_part(), cut.long_part(), cut.0);
    let key = Key::new(Bytes::copy_from_slice(partition), Bytes::copy_from_slice(sort));
    let mut target = [&b"/v1/kv/ks/t/"[..], &escaped(partition, mask)].concat();
    if !sort.is_empty() || mask & 1 == 1 {
        target.extend([&b"?sort="[..], &escaped(sort, mask)].concat());
    }
    let Some(put) = of("PUT", &target, &[], value) else { return };
    let again = |method: &str, headers: &[(&[u8], &[u8])]| {
        of(method, &target, headers, b"").expect("a request as before")
    };
    with_house(|house| {
        let answer = house.send(put);
        let Ok(key) = key else { return assert!(400 <= answer.status && answer.status < 500) };
        assert_eq!(answer.status, 204);
        let held: Vec<Key> =
            house.api.node.state().objects.keys().map(|(_, key)| key.clone()).collect();
        assert_eq!(held, [key]);
        let got = house.send(again("GET", &[]));
        assert_eq!((got.status, &got.body[..]), (200, value));
        let mut response = Response::new(got.body.clone());
        *response.headers_mut() = got.headers.clone();
        let read = fuzzed::answer(&response, false).expect("the client reads what the door writes");
        assert!(read.receipt.is_some(), "{:?}", got.headers);
        let context = read.context.expect("a read has a context");
        assert_eq!(context.as_str(), got.context());
        let header = (&b"merganser-context"[..], context.as_str().as_bytes());
        assert_eq!(house.send(again("DELETE", &[header])).status, 204);
        assert_eq!(house.send(again("GET", &[])).problem(), "404 deleted");
    });
}

const BATCH_WORDS: &[&str] = &[
    "{\"operations\":[",
    "{\"op\":\"put\"",
    "{\"op\":\"get\"",
    "{\"op\":\"delete\"",
    "\"keyspace\":\"ks\"",
    "\"table\":\"t\"",
    "\"key\":\"",
    "\"key_base64\":\"",
    "\"sort\":\"",
    "\"value\":\"",
    "\"content_type\":\"",
    "\"context\":\"",
    "\"r\":",
    "\"w\":\"ALL\"",
    "\"pr\":",
    "\"pw\":",
    "\"dw\":",
    "\"timeout\":",
    "null",
    "\\u0000",
];

fn batch_seeds() -> Vec<Vec<u8>> {
    [
        r#"{"operations":[{"op":"put","keyspace":"ks","table":"t","key":"a","value":"bWlsaw==","content_type":"text/plain","w":2},{"op":"get","keyspace":"ks","table":"t","key":"a","r":"ALL"},{"op":"delete","keyspace":"ks","table":"u","key_base64":"/wA=","context":"AQ"}]}"#,
        r#"{"operations":[{"op":"get","keyspace":"ks","table":"x","key":"a","sort":"b"}],"timeout":1000}"#,
        r#"{"operations":[]}"#,
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}

fn batch(input: &[u8]) {
    with_house(|house| {
        let request = of("POST", b"/v1/batch", &[(b"content-type", b"application/json")], input);
        let answer = house.send(request.expect("a request"));
        if answer.status == 200 {
            let outcomes = answer.json();
            let count = outcomes["outcomes"].as_array().map(Vec::len);
            assert!(count.is_some_and(|count| count <= input.len()));
        } else {
            assert!(house.api.node.state().objects.is_empty(), "a refused batch did something");
        }
    });
}

const DECLARE_WORDS: &[&str] = &[
    "{\"replicas\":",
    "{\"north\":3}",
    "\"shards\":",
    "{\"policy\":\"siblings\"",
    "\"durability\":\"buffered\"",
    "\"read\":",
    "\"write\":",
    "\"QUORUM\"",
    "null",
    "4096",
    "255",
    "-1",
    "1e3",
];

fn declare_seeds() -> Vec<Vec<u8>> {
    [
        "\0new\n{\"replicas\":{\"north\":3,\"south\":2},\"shards\":64}",
        "\0new\n{\"replicas\":3}",
        "\0ks\n{\"replicas\":{\"north\":3}}",
        "\x01new\n{\"policy\":\"siblings\",\"durability\":\"buffered\",\"read\":\"ONE\",\"write\":2}",
        "\x01t\n{\"policy\":\"siblings\"}",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}

/// A contract: of a keyspace or a table, the name, and the body. Declared again, it exists.
fn declare(input: &[u8]) {
    let mut cut = Cut(input);
    let kind = cut.byte();
    let end = cut.0.iter().position(|byte| *byte == b'\n').unwrap_or(cut.0.len());
    let (name, body) = (cut.bytes(end), cut.0.get(1..).unwrap_or_default());
    let folder = if kind % 2 == 0 { "/v1/keyspaces/" } else { "/v1/keyspaces/ks/tables/" };
    let target = [folder.as_bytes(), &escaped(name, kind >> 1)].concat();
    let put = || of("PUT", &target, &[], body);
    let Some(first) = put() else { return };
    with_house(|house| {
        let status = house.send(first).status;
        if matches!(status, 200 | 201) {
            let again = house.send(put().expect("a request as before"));
            assert_eq!(again.status, 200, "the same contract, declared again");
            let got = house.send(of("GET", &target, &[], b"").expect("a request"));
            assert_eq!((got.status, &got.body), (200, &again.body));
            if kind % 2 == 0 {
                fuzzed::keyspace(&got.body).expect("the client reads what the door writes");
            } else {
                fuzzed::table(&got.body).expect("the client reads what the door writes");
            }
        }
    });
}
