//! Connections: slow, greedy, rude and many.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderName};
use causality::DotSet;
use http_door::{Gate, ServeLimits, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::{Answer, Api};

pub(crate) struct Server {
    pub(crate) api: Api,
    address: std::net::SocketAddr,
    pub(crate) stop: Option<oneshot::Sender<()>>,
    pub(crate) task: JoinHandle<()>,
}

pub(crate) async fn start(limits: ServeLimits) -> Server {
    serve_api(Api::new().await, limits).await
}

/// A gate that a test opens and shuts.
struct Door(AtomicBool);

impl Gate for Door {
    fn is_open(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

async fn serve_api(api: Api, limits: ServeLimits) -> Server {
    serve_behind(api, limits, Arc::new(Door(true.into()))).await
}

async fn serve_behind(api: Api, limits: ServeLimits, gate: Arc<dyn Gate>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let router = api.router.clone();
    let task = tokio::spawn(serve(listener, router, limits, gate, async {
        let _ = stopped.await;
    }));
    Server { api, address, stop: Some(stop), task }
}

fn quick() -> ServeLimits {
    ServeLimits {
        header_timeout: Duration::from_millis(300),
        quiet_timeout: Duration::from_millis(1500),
        drain_timeout: Duration::from_secs(2),
        ..ServeLimits::default()
    }
}

impl Server {
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends these bytes and returns all that comes back before the server closes.
    async fn converse(&self, bytes: impl AsRef<[u8]>) -> Vec<Answer> {
        let mut stream = self.connect().await;
        stream.write_all(bytes.as_ref()).await.unwrap();
        read_to_end(stream).await
    }
}

/// A request that a spare place does not take, on a connection that ends with its answer.
const GET_A_KEY: &str = "GET /v1/kv/ks/t/k HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

async fn read_to_end(mut stream: TcpStream) -> Vec<Answer> {
    let mut bytes = Vec::new();
    let all = stream.read_to_end(&mut bytes);
    tokio::time::timeout(Duration::from_secs(20), all).await.expect("it closes").unwrap();
    split(&bytes)
}

fn split(bytes: &[u8]) -> Vec<Answer> {
    let mut answers = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let end = rest.windows(4).position(|at| at == b"\r\n\r\n").expect("whole headers");
        let head = str::from_utf8(&rest[..end]).unwrap();
        let mut headers = HeaderMap::new();
        for line in head.split("\r\n").skip(1) {
            let (name, value) = line.split_once(": ").unwrap();
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = headers.get("content-length").map_or("0", |value| value.to_str().unwrap());
        let (body, after) = rest[end + 4..].split_at(length.parse().unwrap());
        answers.push(Answer { status, headers, body: body.to_vec().into() });
        rest = after;
    }
    answers
}

#[tokio::test]
async fn requests_sent_at_once_are_answered_in_order() {
    let server = start(quick()).await;
    let answers = server
        .converse(
            "PUT /v1/kv/ks/t/k HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nmilk\
             GET /v1/kv/ks/t/k HTTP/1.1\r\nhost: x\r\n\r\n\
             PUT /v1/kv/ks/t/l HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nmi\r\n2\r\nlk\r\n0\r\n\r\n\
             GET /v1/kv/ks/t/l HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        )
        .await;
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [204, 200, 204, 200]);
    assert_eq!((&answers[1].body[..], &answers[3].body[..]), (&b"milk"[..], &b"milk"[..]));
}

#[tokio::test]
async fn what_is_no_http_is_told_so_in_the_same_form() {
    let server = start(quick()).await;
    let long_path = format!("GET /v1/kv/ks/t/{} HTTP/1.1\r\nhost: x\r\n\r\n", "k".repeat(66_000));
    let large_header = format!("GET /health HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(150_000));
    let many_headers = format!("GET /health HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(200));
    for (bytes, problem) in [
        ("\0\0\0\x10garbage\r\n\r\n", "400 malformed_request"),
        ("GET /health HTTP/1.1\r\nbad header\r\n\r\n", "400 malformed_request"),
        (
            "PUT /v1/kv/ks/t/k HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
            "400 malformed_request",
        ),
        (&long_path, "414 key_too_large"),
        (&large_header, "431 headers_too_large"),
        (&many_headers, "431 headers_too_large"),
    ] {
        let answers = server.converse(bytes).await;
        assert_eq!(answers.len(), 1, "{bytes:.60}");
        assert_eq!(answers[0].problem(), problem, "{bytes:.60}");
        answers[0].check("GET", "/health");
    }
    assert!(server.api.node.state().objects.is_empty());
}

#[tokio::test]
async fn a_hundred_megabytes_are_refused_unread_and_the_answer_arrives() {
    let server = start(quick()).await;
    for framing in ["content-length: 104857600", "transfer-encoding: chunked"] {
        let mut stream = server.connect().await;
        let head = format!("PUT /v1/kv/ks/t/k HTTP/1.1\r\nhost: x\r\n{framing}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        // Like a client that looks for an answer only after it has sent everything.
        let mut piece = Vec::from("100000\r\n");
        piece.extend(vec![b'x'; 1 << 20]);
        piece.extend(b"\r\n");
        for _ in 0..100 {
            stream.write_all(&piece).await.expect("the server reads on");
        }
        let answers = read_to_end(stream).await;
        assert_eq!(answers[0].problem(), "413 value_too_large", "{framing}");
    }
    assert!(server.api.node.state().objects.is_empty());
}

#[tokio::test]
async fn a_client_that_waits_for_permission_is_refused_before_it_sends() {
    let server = start(quick()).await;
    let answers = server
        .converse(
            "PUT /v1/kv/ks/t/k HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n\
             content-length: 104857600\r\n\r\n",
        )
        .await;
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].problem(), "413 value_too_large");
}

#[tokio::test]
async fn a_client_that_dribbles_its_headers_is_cut_off() {
    let server = start(quick()).await;
    let mut stream = server.connect().await;
    // The second request of a connection has no more time than the first.
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let began = Instant::now();
    for byte in b"GET /health HTTP/1.1\r\nhost: a-rather-long-name" {
        if stream.write_all(&[*byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let answers = read_to_end(stream).await;
    assert_eq!(answers[1].problem(), "408 request_timeout");
    // Before it would have been cut off for being quiet.
    assert!(began.elapsed() < Duration::from_millis(1400), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_quiet_connection_is_kept_longer_than_a_slow_one() {
    let server = start(quick()).await;
    let mut stream = server.connect().await;
    let request = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n";
    stream.write_all(request).await.unwrap();
    // Twice the time for headers.
    tokio::time::sleep(Duration::from_millis(700)).await;
    stream.write_all(request).await.unwrap();
    let answers = read_to_end(stream).await;
    assert_eq!(answers.len(), 2, "closed after the second, for being quiet");
    assert_eq!(answers[1].status, 200);
}

#[tokio::test]
async fn connections_beyond_the_limit_are_turned_away() {
    let server = start(ServeLimits { connections_max: 2, ..quick() }).await;
    let request = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = server.connect().await;
        stream.write_all(request).await.unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        held.push(stream);
    }
    let answers = server.converse(GET_A_KEY).await;
    assert_eq!(answers[0].problem(), "503 overloaded");
    assert_eq!(answers[0].header("retry-after"), Some("1"));
    drop(held);
    // The places are free again after a moment.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let answers = server.converse(GET_A_KEY).await;
    assert_eq!(answers[0].status, 404, "a spare place would answer 503");
}

#[tokio::test]
async fn a_place_that_comes_free_is_given_out_as_such_while_there_are_spare_connections() {
    let header_timeout = Duration::from_secs(5);
    let server = start(ServeLimits { connections_max: 1, header_timeout, ..quick() }).await;
    let ordinary = server.connect().await;
    let spare = server.connect().await;
    assert_eq!(server.converse(GET_A_KEY).await[0].problem(), "503 overloaded");
    drop(ordinary);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.converse(GET_A_KEY).await[0].status, 404, "nobody has the only place");
    let answers = read_to_end(spare).await;
    assert_eq!(answers[0].problem(), "408 request_timeout", "the spare one was there meanwhile");
}

#[tokio::test]
async fn beyond_the_limit_some_may_ask_once_how_the_node_is_and_the_rest_is_turned_away_unheard() {
    let header_timeout = Duration::from_secs(5);
    let server = start(ServeLimits { connections_max: 1, header_timeout, ..quick() }).await;
    let mut first = server.connect().await;
    first.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut start = [0; 12];
    first.read_exact(&mut start).await.unwrap();
    for path in ["/health", "/health/live", "/metrics", "/v1/status"] {
        let twice = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").repeat(2);
        let answers = server.converse(&twice).await;
        assert_eq!((answers.len(), answers[0].status), (1, 200), "{path}");
        assert_eq!(answers[0].header("connection"), Some("close"));
    }
    let (mut held, began) = (Vec::new(), Instant::now());
    for _ in 0..128 {
        held.push(server.connect().await);
    }
    let answers = read_to_end(server.connect().await).await;
    assert_eq!(answers[0].problem(), "503 overloaded");
    assert_eq!(answers[0].header("retry-after"), Some("1"));
    // Those say nothing, and have less time than others.
    let answers = read_to_end(held.swap_remove(0)).await;
    assert_eq!(answers[0].problem(), "408 request_timeout");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_handler_that_panics_answers_and_keeps_the_connection() {
    let server = start(quick()).await;
    server.api.node.state().panics = true;
    let answers = server
        .converse(
            "GET /v1/kv/ks/t/k HTTP/1.1\r\nhost: x\r\n\r\n\
             GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        )
        .await;
    assert_eq!(answers[0].problem(), "500 internal");
    answers[0].check("GET", "/v1/kv/ks/t/k");
    assert_eq!(answers[1].status, 200);
}

#[tokio::test]
async fn a_server_that_stops_closes_quiet_connections_at_once() {
    let mut server = start(ServeLimits { quiet_timeout: Duration::from_secs(60), ..quick() }).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.stop.take().unwrap().send(()).unwrap();
    let began = Instant::now();
    assert_eq!(read_to_end(stream).await[0].status, 200);
    server.task.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_server_that_stops_waits_for_no_one_for_ever() {
    let mut server = start(quick()).await;
    let mut stream = server.connect().await;
    let head = "PUT /v1/kv/ks/t/k HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.stop.take().unwrap().send(()).unwrap();
    let began = Instant::now();
    server.task.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

/// A server whose key `k` holds 16 MiB that read like refusals of an HTTP library, and a
/// connection that takes little at once.
async fn with_a_large_value(limits: ServeLimits) -> (Server, TcpStream, Vec<u8>) {
    let server = start(limits).await;
    let refusal = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    let value = refusal.repeat((16 << 20) / refusal.len()).into_bytes();
    server.api.put("/v1/kv/ks/t/k", None, "").await;
    server.api.replace(DotSet::new(), value.clone().into());
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 << 10).unwrap();
    let mut stream = socket.connect(server.address).await.unwrap();
    stream.write_all(b"GET /v1/kv/ks/t/k HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    (server, stream, value)
}

#[tokio::test]
async fn a_slow_download_ends_unharmed_and_so_does_what_was_asked_meanwhile() {
    let quiet_timeout = Duration::from_millis(600);
    let limits = ServeLimits { quiet_timeout, ..quick() };
    let (_server, mut stream, value) = with_a_large_value(limits).await;
    let began = Instant::now();
    let mut bytes = vec![0; 16 << 20];
    for (index, piece) in bytes.chunks_mut(128 << 10).enumerate() {
        if index == 8 {
            let next = b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
            stream.write_all(next).await.unwrap();
        }
        stream.read_exact(piece).await.expect("the server writes on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(2 * quiet_timeout < began.elapsed(), "{:?}", began.elapsed());
    stream.read_to_end(&mut bytes).await.unwrap();
    let answers = split(&bytes);
    assert!(answers[0].body == value, "the value was changed on its way");
    assert_eq!(answers[1].status, 200);
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_cut_off() {
    let quiet_timeout = Duration::from_millis(600);
    let (server, mut stream, value) =
        with_a_large_value(ServeLimits { quiet_timeout, ..quick() }).await;
    tokio::time::sleep(3 * quiet_timeout).await;
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    assert!(bytes.len() < value.len(), "{} bytes came", bytes.len());
    assert!(bytes.starts_with(b"HTTP/1.1 200"));
    drop(server);
}

#[tokio::test]
async fn a_body_that_has_no_room_beside_others_is_refused_unread_until_they_are_done() {
    let server = serve_api(Api::within(64 << 10).await, quick()).await;
    let put = |key: &str, length: usize, more: &str| {
        format!(
            "PUT /v1/kv/ks/t/{key} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\
             connection: close\r\n{more}\r\n"
        )
    };
    let mut slow = server.connect().await;
    slow.write_all(put("slow", 60_000, "").as_bytes()).await.unwrap();
    slow.write_all(&vec![b'x'; 40_000]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;

    let refused = server.converse(put("k", 30_000, "expect: 100-continue\r\n")).await;
    assert_eq!((refused.len(), refused[0].problem()), (1, "503 overloaded".to_owned()));
    refused[0].check("PUT", "/v1/kv/ks/t/k");
    let chunked =
        "PUT /v1/kv/ks/t/k HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n7530\r\n";
    let refused = server.converse(format!("{chunked}{}", "x".repeat(30_000))).await;
    assert_eq!(refused[0].problem(), "503 overloaded");
    let small = server.converse(put("small", 1_000, "") + &"x".repeat(1_000)).await;
    assert_eq!(small[0].status, 204);
    assert_eq!(server.api.node.state().objects.len(), 1);

    slow.write_all(&vec![b'x'; 20_000]).await.unwrap();
    assert_eq!(read_to_end(slow).await[0].status, 204);
    let accepted = server.converse(put("k", 60_000, "") + &"x".repeat(60_000)).await;
    assert_eq!(accepted[0].status, 204);
}

#[tokio::test]
async fn large_answers_that_nobody_takes_leave_no_room_for_others_until_they_are_taken() {
    let api = Api::within(40 << 20).await;
    api.put("/v1/kv/ks/t/k", None, "small").await;
    let small = api.get("/v1/kv/ks/t/k").await;
    // More than the system's buffers for a connection.
    api.replace(DotSet::new(), vec![b'x'; 24 << 20].into());
    let patient = ServeLimits { quiet_timeout: Duration::from_secs(20), ..quick() };
    let server = serve_api(api, patient).await;
    let get = "GET /v1/kv/ks/t/k HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let mut slow = server.connect().await;
    slow.write_all(get.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;

    let refused = server.converse(get).await;
    assert_eq!(refused[0].problem(), "503 overloaded");
    refused[0].check("GET", "/v1/kv/ks/t/k");
    let listed = server.converse(get.replace("/v1/kv/ks/t/k", "/v1/list/ks/t/k")).await;
    assert_eq!(listed[0].problem(), "503 overloaded");
    let status = server.converse(get.replace("/v1/kv/ks/t/k", "/v1/keyspaces")).await;
    assert_eq!((status[0].status, small.status), (200, 200), "small answers need no room");

    assert_eq!(read_to_end(slow).await[0].body.len(), 24 << 20);
    assert_eq!(server.converse(get).await[0].body.len(), 24 << 20);
}

#[tokio::test]
async fn a_shut_gate_refuses_at_once_without_reading_the_body_and_lets_the_operator_in() {
    let gate = Arc::new(Door(false.into()));
    let server = serve_behind(Api::new().await, quick(), Arc::clone(&gate) as _).await;
    let began = Instant::now();
    // Of the body of 1 MB not a byte is sent.
    let head = "PUT /v1/kv/ks/t/k HTTP/1.1\r\nhost: n1\r\ncontent-length: 1000000\r\n\r\n";
    let answers = server.converse(head).await;
    assert_eq!(answers[0].problem(), "503 overloaded");
    assert_eq!(answers[0].header("retry-after"), Some("1"));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let health = "GET /health HTTP/1.1\r\nhost: n1\r\nconnection: close\r\n\r\n";
    assert_eq!(server.converse(health).await[0].status, 200);
}

#[tokio::test]
async fn a_client_that_was_refused_is_answered_on_the_same_connection_when_there_is_room() {
    let gate = Arc::new(Door(false.into()));
    let server = serve_behind(Api::new().await, quick(), Arc::clone(&gate) as _).await;
    let mut stream = server.connect().await;
    let ask = "GET /v1/kv/ks/t/k HTTP/1.1\r\nhost: n1\r\n\r\n";
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 503");
    gate.0.store(true, Ordering::Relaxed);
    let last = ask.replace("host: n1", "host: n1\r\nconnection: close");
    stream.write_all(last.as_bytes()).await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    let rest = String::from_utf8_lossy(&rest);
    assert!(rest.contains("HTTP/1.1 404") && !rest.contains("HTTP/1.1 503"), "{rest}");
}
