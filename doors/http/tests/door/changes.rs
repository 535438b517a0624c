//! Watching a table.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderValue, Request as HttpRequest};
use bytes::Bytes;
use causality::{Dot, DotSet, Incarnation};
use http_body_util::BodyExt;
use http_door::ServeLimits;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use model::{
    Changed, Failure, Key, Object, Position, Reading, Refusal, Request, Value, Watch, Watched,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::sockets::{Server, start};
use crate::support::{Api, FEEDS_MAX};

fn dot(seq: u64) -> Dot {
    Dot::new(Incarnation::new(0xabc), seq)
}

fn at(seq: u64) -> Position {
    let told: DotSet = (1..=seq).map(dot).collect();
    Position { followed: [(0, told)].into(), reading: None }
}

fn stored(key: &str, seq: u64) -> Changed {
    let value = Value { content_type: "text/plain".into(), body: "milk".into() };
    changed(key, Object::written(dot(seq), DotSet::new(), value))
}

fn deleted(key: &str, seq: u64) -> Changed {
    changed(key, Object::deleted(dot(seq), DotSet::new()))
}

fn changed(key: &str, object: Object) -> Changed {
    let key = Key::new(Bytes::copy_from_slice(key.as_bytes()), Bytes::new()).unwrap();
    Changed { key, object }
}

fn page(changes: Vec<Changed>, position: Position) -> Watched {
    Watched { changes, position, ..Watched::default() }
}

impl Api {
    /// What a watcher will be told.
    fn tells(&self, pages: impl IntoIterator<Item = Watched>) {
        self.node.state().watched.extend(pages.into_iter().map(Ok));
    }

    /// A stream without a connection.
    async fn stream(&self, target: &str) -> Body {
        let mut request = HttpRequest::new(Body::empty());
        *request.uri_mut() = target.parse().unwrap();
        let stream = HeaderValue::from_static("text/event-stream");
        request.headers_mut().insert("accept", stream);
        let service = TowerToHyperService::new(self.router.clone());
        service.call(request).await.unwrap().into_body()
    }

    fn last_watch(&self) -> Watch {
        let state = self.node.state();
        let Some(Request::Watch(watch)) = &state.last else { panic!("{:?}", state.last) };
        watch.clone()
    }
}

#[tokio::test]
async fn a_page_of_changes_ends_with_the_cursor_of_the_next() {
    let api = Api::new().await;
    let forgotten = changed("gone", Object::default());
    let changes = vec![stored("k", 1), deleted("d", 2), forgotten];
    api.tells([Watched { changes, position: at(2), rewound: 7, silent: 3 }]);
    let answer = api.get("/v1/changes/ks/t?limit=9").await;
    let page = answer.json();
    assert_eq!(answer.status, 200);
    assert_eq!((api.last_watch().since, api.last_watch().limit), (Position::default(), 9));
    assert!(api.last_watch().wait.is_zero());
    let changes = page["changes"].as_array().unwrap();
    assert_eq!((&changes[0]["key"], &changes[0]["deleted"]), (&"k".into(), &false.into()));
    assert_eq!(changes[0]["values"][0]["value"], "bWlsaw==");
    assert!(changes[1]["deleted"] == true && changes[1]["values"].is_null());
    assert!(changes[1]["context"].is_string(), "it can be written again");
    assert!(changes[2]["deleted"] == true && changes[2]["context"].is_null());
    assert_eq!((&page["rewound"], &page["silent_shards"]), (&7.into(), &3.into()));
    assert!(page["reading"].is_null());
    let cursor = page["cursor"].as_str().unwrap();
    let next = api.get(&format!("/v1/changes/ks/t?since={cursor}&wait=1&values=false")).await;
    assert_eq!(api.last_watch().since, at(2));
    assert_eq!(api.last_watch().wait, Duration::from_millis(1));
    assert_eq!(next.json()["cursor"], *cursor, "nothing has changed");
    assert!(next.json()["rewound"].is_null() && next.json()["silent_shards"].is_null());
}

#[tokio::test]
async fn the_last_event_of_a_client_goes_before_what_its_address_says() {
    let api = Api::new().await;
    api.tells([page(vec![], at(4))]);
    let page = api.get("/v1/changes/ks/t?since=beginning").await.json();
    assert_eq!(api.last_watch().since, Position::beginning());
    let cursor = page["cursor"].as_str().unwrap();
    let target = "/v1/changes/ks/t?since=beginning";
    api.send("GET", target, &[("last-event-id", cursor)], "").await;
    assert_eq!(api.last_watch().since, at(4));
    api.send("GET", target, &[("last-event-id", "")], "").await;
    assert_eq!(api.last_watch().since, Position::beginning(), "none was heard of");
}

#[tokio::test]
async fn what_is_no_cursor_of_this_table_is_refused_before_the_node_is_asked() {
    let api = Api::new().await;
    let cursor = api.get("/v1/changes/ks/t").await.json()["cursor"].as_str().unwrap().to_owned();
    let before = api.node.state().asked;
    let mut altered = cursor.clone();
    altered.replace_range(3..4, if altered.as_bytes()[3] == b'B' { "C" } else { "B" });
    for (target, problem) in [
        (format!("/v1/changes/ks/u?since={cursor}"), "400 cursor_invalid"),
        (format!("/v1/changes/ks/t?since={altered}"), "400 cursor_invalid"),
        ("/v1/changes/ks/t?since=yesterday".to_owned(), "400 cursor_invalid"),
        ("/v1/changes/ks/t?since=".to_owned(), "400 cursor_invalid"),
        (format!("/v1/changes/ks/t?since={}", "A".repeat(61_441)), "400 cursor_invalid"),
        ("/v1/changes/ks/t?cursor=a".to_owned(), "400 malformed_request"),
        ("/v1/changes/ks/t?wait=60001".to_owned(), "400 malformed_request"),
        ("/v1/changes/ks".to_owned(), "404 no_such_route"),
    ] {
        assert_eq!(api.get(&target).await.problem(), problem, "{target:.60}");
    }
    assert_eq!(api.node.state().asked, before);
    let listed = api.get("/v1/scan/ks/t?limit=1").await;
    assert_eq!(listed.status, 200);
    let answer = api.get("/v1/changes/ks/nothing").await;
    assert_eq!(answer.problem(), "404 unknown_table");
    let expired = Failure::Refused(Refusal::CursorExpired { shard: 3 });
    api.node.state().watched.push_back(Err(expired));
    let answer = api.get(&format!("/v1/changes/ks/t?since={cursor}")).await;
    assert_eq!(answer.problem(), "410 cursor_expired");
    assert!(answer.json()["detail"].as_str().unwrap().contains("follow it from"));
}

#[tokio::test]
async fn a_cursor_that_no_node_would_take_back_is_not_given() {
    let api = Api::new().await;
    let scattered: DotSet = (1..30_000).map(|seq| dot(2 * seq)).collect();
    let position = Position { followed: [(0, scattered)].into(), reading: None };
    api.tells([page(vec![], position)]);
    assert_eq!(api.get("/v1/changes/ks/t").await.problem(), "422 cursor_too_large");
}

/// A stream, as it comes.
struct Stream {
    stream: TcpStream,
    text: String,
}

impl Stream {
    async fn open(server: &Server, target: &str, headers: &str) -> Self {
        let mut stream = server.connect().await;
        let head = format!(
            "GET {target} HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n{headers}\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        Self { stream, text: String::new() }
    }

    /// Reads until these words have come. What is between the chunks stays.
    async fn until(&mut self, words: &str) -> &str {
        let mut bytes = [0; 4096];
        while !self.text.contains(words) {
            let read = self.stream.read(&mut bytes);
            let read = tokio::time::timeout(Duration::from_secs(10), read).await;
            let count = read.unwrap_or_else(|_| panic!("no {words} in {}", self.text)).unwrap();
            assert!(0 < count, "it ended before {words}: {}", self.text);
            self.text.push_str(str::from_utf8(&bytes[..count]).unwrap());
        }
        &self.text
    }

    /// The last cursor that came.
    fn cursor(&self) -> String {
        let lines = self.text.lines().filter_map(|line| line.strip_prefix("id: "));
        lines.collect::<Vec<_>>().pop().expect("a cursor").to_owned()
    }
}

#[tokio::test]
async fn a_stream_has_an_event_for_each_change_and_a_cursor_behind_each_page() {
    let server = start(ServeLimits::default()).await;
    server.api.tells([
        page(vec![], at(1)),
        page(vec![stored("a", 2), stored("b", 3)], at(3)),
        Watched { silent: 2, ..page(vec![], at(3)) },
        Watched { rewound: 1, ..page(vec![deleted("a", 4)], at(4)) },
    ]);
    let mut stream = Stream::open(&server, "/v1/changes/ks/t", "").await;
    let text = stream.until("\"deleted\":true").await.to_owned();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.contains("text/event-stream"));
    let body = text.split_once("\r\n\r\n").unwrap().1;
    let lines: Vec<&str> = body.lines().map(|line| line.split('"').next().unwrap()).collect();
    let lines: Vec<&str> = lines
        .into_iter()
        .filter(|line| line.contains(": "))
        .map(|line| &line[..line.len().min(9)])
        .collect();
    assert_eq!(
        lines,
        [
            "retry: 10",
            "id: AQEKv",
            "event: ch",
            "data: {",
            "id: AQEKv",
            "event: ch",
            "data: {",
            "event: si",
            "data: {",
            ": nothing",
            "event: re",
            "data: {",
            "event: si",
            "data: {",
            "id: AQEKv",
            "event: ch",
            "data: {"
        ]
        .map(|line| if line.starts_with("id: ") { lines[1] } else { line }),
        "{body}"
    );
    // Whoever was cut off goes on behind the last page.
    let id = format!("last-event-id: {}\r\n", stream.cursor());
    drop(stream);
    let mut again = Stream::open(&server, "/v1/changes/ks/t?since=beginning", &id).await;
    again.until("id: ").await;
    assert_eq!(server.api.last_watch().since, at(4));
}

#[tokio::test]
async fn a_stream_from_the_beginning_says_when_all_that_there_was_has_come() {
    let server = start(ServeLimits::default()).await;
    let reading = Position { reading: Some(Reading { shard: 1, after: None }), ..at(1) };
    server.api.tells([page(vec![stored("a", 1)], reading), page(vec![stored("b", 2)], at(2))]);
    let mut stream = Stream::open(&server, "/v1/changes/ks/t?since=beginning", "").await;
    let text = stream.until("event: live").await;
    let place = |words| text.find(words).unwrap();
    assert!(place("\"b\"") < place("event: live") && place("\"a\"") < place("\"b\""));
    assert_eq!(text.matches("id: ").count(), 2);
}

#[tokio::test]
async fn what_cannot_be_begun_is_refused_and_what_cannot_go_on_ends_with_the_problem() {
    let server = start(ServeLimits::default()).await;
    let expired = || Err(Failure::Refused(Refusal::CursorExpired { shard: 3 }));
    server.api.node.state().watched.push_back(expired());
    let mut stream = Stream::open(&server, "/v1/changes/ks/t", "").await;
    let text = stream.until("cursor_expired").await;
    assert!(text.starts_with("HTTP/1.1 410 "), "{text}");
    // What may be over in a second is waited for.
    let lacks = String::new();
    let away = Failure::NotAttempted { wanted: 1, alive: 0, replicas: 3, lacks };
    server.api.node.state().watched.extend([
        Ok(page(vec![], at(1))),
        Err(away),
        Ok(page(vec![stored("a", 2)], at(2))),
        expired(),
    ]);
    let mut stream = Stream::open(&server, "/v1/changes/ks/t", "").await;
    let text = stream.until("\r\n0\r\n\r\n").await;
    let place = |words| text.find(words).unwrap_or_else(|| panic!("no {words} in {text}"));
    assert!(place(": not_attempted") < place("event: change"));
    assert!(place("event: change") < place("event: problem"));
    assert!(place("event: problem") < place("\"code\":\"cursor_expired\""));
}

#[tokio::test]
async fn more_than_may_watch_are_refused_until_one_goes_away() {
    let server = start(ServeLimits::default()).await;
    let mut streams = Vec::new();
    for _ in 0..FEEDS_MAX {
        let mut stream = Stream::open(&server, "/v1/changes/ks/t", "").await;
        stream.until("id: ").await;
        streams.push(stream);
    }
    let refused = server.api.get("/v1/changes/ks/t").await;
    assert_eq!(refused.problem(), "503 too_many_feeds");
    assert_eq!(server.api.get("/v1/scan/ks/t").await.status, 200, "others are let in");
    drop(streams.pop());
    let began = Instant::now();
    while server.api.get("/v1/changes/ks/t").await.status != 200 {
        assert!(began.elapsed() < Duration::from_secs(5), "its place is still taken");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_server_that_stops_waits_for_no_watcher() {
    let mut server = start(ServeLimits::default()).await;
    let mut stream = Stream::open(&server, "/v1/changes/ks/t", "").await;
    stream.until("id: ").await;
    let mut polls = server.connect().await;
    let head = "GET /v1/changes/ks/t?wait=60000 HTTP/1.1\r\nhost: x\r\n\r\n";
    polls.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let began = Instant::now();
    drop(server.stop.take());
    stream.until("\r\n0\r\n\r\n").await;
    let mut answer = String::new();
    polls.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"changes\":[]"), "{answer}");
    drop((stream, polls));
    server.task.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn who_hears_of_no_change_hears_something_all_the_same() {
    let api = Api::new().await;
    api.tells([page(vec![], at(1))]);
    let mut body = api.stream("/v1/changes/ks/t").await;
    let began = tokio::time::Instant::now();
    let mut text = String::new();
    for beats in 0..4 {
        let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
        text.push_str(str::from_utf8(&piece).unwrap());
        assert_eq!(began.elapsed(), Duration::from_secs(15) * beats);
    }
    assert_eq!(text.matches(": nothing has changed\n\n").count(), 3, "{text}");
    // Nothing is asked for as long as nothing is taken.
    let asked = api.node.state().asked;
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(api.node.state().asked, asked);
}
