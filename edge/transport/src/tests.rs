//! Real sockets on loopback: what arrives, what happens when a peer goes away, comes back,
//! or is not one.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use causality::Incarnation;
use model::{ClusterId, NodeId};
use node::Message;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use wire::{HandshakeKey, Identity};

use crate::{Config, Inbox, Peers};

const N1: NodeId = NodeId::new(1);
const N2: NodeId = NodeId::new(2);

/// How long a test waits for what must happen. Less than the silence after which any
/// connection ends, which would hide one that should have ended before.
const PATIENCE: Duration = Duration::from_secs(4);

/// Before it is dropped, what waits for one peer.
const QUEUE_BYTES_MAX: usize = 64 << 20;

/// Writes down what happens, one line each.
#[derive(Debug, Default)]
struct Diary(Mutex<Vec<String>>);

impl Inbox for Diary {
    fn received(&self, from: NodeId, messages: Vec<Message>, bytes: usize) {
        assert!(messages.len() * 12 < bytes, "each has a head and a body: {bytes}");
        for message in messages {
            let Message::Probe { catalog_version, .. } = message else { panic!("{message:?}") };
            self.note(format!("{from}: {catalog_version}"));
        }
    }

    fn connected(&self, peer: NodeId) {
        self.note(format!("connected {peer}"));
    }

    fn lost(&self, peer: NodeId) {
        self.note(format!("lost {peer}"));
    }

    fn room(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

impl Diary {
    fn note(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// Waits until so many lines are there.
    async fn until(&self, lines: usize) -> Vec<String> {
        let waited = tokio::time::timeout(PATIENCE, async {
            while self.lines().len() < lines {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(waited.await.is_ok(), "waited for {lines} lines in vain: {:?}", self.lines());
        self.lines()
    }
}

/// Two nodes of one cluster, of which either can be started, stopped and started again.
struct Pair {
    addresses: BTreeMap<NodeId, String>,
}

impl Pair {
    async fn new() -> Self {
        let mut addresses = BTreeMap::new();
        for node in [N1, N2] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            addresses.insert(node, listener.local_addr().unwrap().to_string());
        }
        Self { addresses }
    }

    async fn start(&self, node: NodeId) -> (Peers, Arc<Diary>) {
        self.start_as(identity(node)).await
    }

    async fn start_as(&self, identity: Identity) -> (Peers, Arc<Diary>) {
        let known = self.addresses.iter().map(|(node, at)| (*node, Some(at.clone()))).collect();
        self.start_knowing(identity, known).await
    }

    async fn start_knowing(
        &self,
        identity: Identity,
        mut peers: BTreeMap<NodeId, Option<String>>,
    ) -> (Peers, Arc<Diary>) {
        let listener = self.listen(identity.node).await;
        peers.remove(&identity.node);
        let diary = Arc::new(Diary::default());
        (
            Peers::start(
                Config { identity, peers, queue_bytes_max: QUEUE_BYTES_MAX },
                listener,
                Arc::clone(&diary),
            ),
            diary,
        )
    }

    /// The former listener closes in its own time.
    async fn listen(&self, node: NodeId) -> TcpListener {
        loop {
            match TcpListener::bind(&self.addresses[&node]).await {
                Ok(listener) => return listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }
}

fn identity(node: NodeId) -> Identity {
    Identity {
        cluster: ClusterId::new(7),
        node,
        incarnation: Incarnation::new(u64::from(node.number())),
        layout: 99,
        members: [N1, N2].into(),
        key: HandshakeKey::derive(&[5; 32]),
    }
}

fn send(peers: &Peers, to: NodeId, numbers: std::ops::Range<u64>) {
    for catalog_version in numbers {
        peers.send(to, &Message::Probe { catalog_version, deaf: false, disk: None });
    }
    peers.flush();
}

#[tokio::test]
async fn messages_arrive_in_order_and_leave_in_one_write_however_many_they_are() {
    let pair = Pair::new().await;
    let (one, at_one) = pair.start(N1).await;
    let (two, at_two) = pair.start(N2).await;
    assert_eq!(at_one.until(1).await, ["connected n2"]);
    assert_eq!(at_two.until(1).await, ["connected n1"]);
    send(&one, N2, 0..100);
    send(&two, N1, 0..1);
    let mut expected = vec!["connected n1".to_owned()];
    expected.extend((0..100).map(|n| format!("n1: {n}")));
    assert_eq!(at_two.until(101).await, expected);
    assert_eq!(at_one.until(2).await, ["connected n2", "n2: 0"]);
    let counts = one.counts();
    assert_eq!((counts.sent, counts.writes, counts.dropped, counts.received), (100, 1, 0, 1));
}

#[tokio::test]
async fn a_peer_that_comes_back_is_connected_again_whichever_of_the_two_it_was() {
    let pair = Pair::new().await;
    let (one, at_one) = pair.start(N1).await;
    for life in 0..2 {
        let (two, at_two) = pair.start(N2).await;
        at_two.until(1).await;
        send(&two, N1, life..life + 1);
        at_one.until(3 * life as usize + 2).await;
        drop(two);
        at_one.until(3 * life as usize + 3).await;
    }
    let lines = ["connected n2", "n2: 0", "lost n2", "connected n2", "n2: 1", "lost n2"];
    assert_eq!(at_one.lines(), lines);
    drop(one);

    let (_two, at_two) = pair.start(N2).await;
    let (_one, _) = pair.start(N1).await;
    assert_eq!(at_two.until(1).await, ["connected n1"]);
}

#[tokio::test]
async fn a_message_to_a_peer_that_is_away_is_dropped_and_counted() {
    let pair = Pair::new().await;
    let (one, _) = pair.start(N1).await;
    send(&one, N2, 0..3);
    send(&one, NodeId::new(9), 0..1);
    let counts = one.counts();
    assert_eq!((counts.connected, counts.sent, counts.dropped), (0, 0, 4));
}

#[tokio::test]
async fn a_peer_that_does_not_read_loses_messages_and_bounds_the_queue() {
    let pair = Pair::new().await;
    let (one, at_one) = pair.start(N1).await;
    let listener = pair.listen(N2).await;
    let (mut stream, _) = listener.accept().await.unwrap();
    crate::handshake::accept(&identity(N2), &mut stream).await.unwrap();
    at_one.until(1).await;
    let large = large_message();
    for _ in 0..100 {
        one.send(N2, &large);
        one.flush();
    }
    let counts = one.counts();
    assert_eq!(counts.sent + counts.dropped, 100);
    assert!(
        20 < counts.dropped && 60 <= counts.sent,
        "of 100 MiB, 64 and what the kernel takes: {counts:?}"
    );
}

#[tokio::test]
async fn a_message_that_fits_no_frame_is_counted_apart_and_the_next_one_arrives() {
    let pair = Pair::new().await;
    let (one, at_one) = pair.start(N1).await;
    let (_two, at_two) = pair.start(N2).await;
    at_one.until(1).await;
    one.send(N2, &forward(wire::FRAME_BYTES_MAX));
    let counts = one.counts();
    assert_eq!((counts.sent, counts.dropped, counts.too_large), (0, 0, 1));
    send(&one, N2, 5..6);
    assert_eq!(at_two.until(2).await, ["connected n1", "n1: 5"]);
}

#[tokio::test]
async fn a_slow_peer_gets_everything_that_was_queued_and_what_follows() {
    let pair = Pair::new().await;
    let (one, at_one) = pair.start(N1).await;
    let listener = pair.listen(N2).await;
    let (mut stream, _) = listener.accept().await.unwrap();
    let (_, mut buffer) = crate::handshake::accept(&identity(N2), &mut stream).await.unwrap();
    at_one.until(1).await;
    let large = large_message();
    for batch in [30, 1] {
        for _ in 0..batch {
            one.send(N2, &large);
        }
        one.flush();
        let all = tokio::time::timeout(PATIENCE, async {
            for _ in 0..batch {
                assert_eq!(read_message(&mut stream, &mut buffer).await, large);
            }
        });
        assert!(all.await.is_ok(), "a batch of {batch} did not arrive");
    }
}

async fn read_message(stream: &mut TcpStream, buffer: &mut bytes::BytesMut) -> Message {
    loop {
        if let Some(message) = wire::decode(buffer).unwrap() {
            return message;
        }
        assert_ne!(stream.read_buf(buffer).await.unwrap(), 0, "closed");
    }
}

/// A write of so many bytes on its way to a node that can coordinate it.
fn forward(bytes: usize) -> Message {
    let name = model::Name::new("name").unwrap();
    let key = model::Key::new("key".into(), bytes::Bytes::new()).unwrap();
    let value = model::Value { content_type: "".into(), body: vec![0; bytes].into() };
    let put = model::Put {
        sessions: None,
        keyspace: name.clone(),
        table: name,
        key,
        mutation: model::Mutation::Store(value),
        context: Default::default(),
        token: None,
        repeated: false,
        marks: Default::default(),
        options: Default::default(),
        timeout: PATIENCE,
    };
    let request = node::RequestId(1);
    Message::Forward(node::Forward { request, asked: model::Request::Put(put) })
}

/// A message of one mebibyte.
fn large_message() -> Message {
    let name = |number: usize| model::Name::new(&format!("{number:064}")).unwrap();
    let mut catalog = catalog::Catalog::default();
    let keyspace = |number| model::Keyspace {
        id: model::KeyspaceId::new(1),
        name: name(number),
        shards: 64,
        replicas: (0..4).map(|region| (name(region), 3)).collect(),
        sloppy: false,
    };
    catalog.keyspaces = (0..3_000).map(|number| (name(number), keyspace(number))).collect();
    let message = Message::Learn { catalog };
    let mut bytes = bytes::BytesMut::new();
    wire::encode(&message, &mut bytes).unwrap();
    assert!((900_000..1_300_000).contains(&bytes.len()), "{}", bytes.len());
    message
}

/// Whether the other end closes the connection, rather than wait for more.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    read.is_ok()
}

#[tokio::test]
async fn garbage_closes_its_connection_and_no_other() {
    let pair = Pair::new().await;
    let (one, _) = pair.start(N1).await;
    let (_two, at_two) = pair.start(N2).await;
    at_two.until(1).await;
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 64], &[255; 4096]] {
        let mut stranger = TcpStream::connect(&pair.addresses[&N2]).await.unwrap();
        stranger.write_all(garbage).await.unwrap();
        assert!(is_closed(&mut stranger).await, "{garbage:?} was waited for");
    }
    send(&one, N2, 0..1);
    assert_eq!(at_two.until(2).await, ["connected n1", "n1: 0"]);
}

#[tokio::test]
async fn garbage_after_the_handshake_closes_the_connection_too() {
    let pair = Pair::new().await;
    let (_two, at_two) = pair.start(N2).await;
    let mut impostor = TcpStream::connect(&pair.addresses[&N2]).await.unwrap();
    crate::handshake::dial(&identity(N1), N2, &mut impostor).await.unwrap();
    at_two.until(1).await;
    impostor.write_all(&[255; 64]).await.unwrap();
    assert!(is_closed(&mut impostor).await);
    assert_eq!(at_two.until(2).await, ["connected n1", "lost n1"]);
}

#[tokio::test]
async fn the_newer_of_two_connections_of_one_peer_stays() {
    let pair = Pair::new().await;
    let (two, at_two) = pair.start(N2).await;
    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(&pair.addresses[&N2]).await.unwrap();
        crate::handshake::dial(&identity(N1), N2, &mut stream).await.unwrap();
        streams.push(stream);
        at_two.until(2 * streams.len() - 1).await;
    }
    assert_eq!(at_two.lines(), ["connected n1", "lost n1", "connected n1"]);
    assert!(is_closed(&mut streams[0]).await);
    send(&two, N1, 0..1);
    assert!(0 < streams[1].read(&mut [0; 64]).await.unwrap());
}

#[tokio::test]
async fn nodes_that_do_not_belong_together_do_not_connect() {
    let other_cluster = Identity { cluster: ClusterId::new(8), ..identity(N1) };
    let other_secret = Identity { key: HandshakeKey::derive(&[6; 32]), ..identity(N1) };
    let other_layout = Identity { layout: 98, ..identity(N1) };
    for stranger in [other_cluster, other_secret, other_layout] {
        let pair = Pair::new().await;
        let (_two, at_two) = pair.start(N2).await;
        let (_one, at_one) = pair.start_as(stranger.clone()).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!((at_one.lines(), at_two.lines()), (vec![], vec![]), "{stranger:?}");
    }
}

#[tokio::test]
async fn a_crowd_that_says_nothing_does_not_keep_a_peer_out() {
    let pair = Pair::new().await;
    let (_two, at_two) = pair.start(N2).await;
    let mut crowd = Vec::new();
    for _ in 0..200 {
        crowd.push(TcpStream::connect(&pair.addresses[&N2]).await.unwrap());
    }
    let (_one, _) = pair.start(N1).await;
    // Less than a silent connection is waited for, so that none has made room by itself.
    let soon = Duration::from_secs(2);
    let came = tokio::time::timeout(soon, at_two.until(1)).await;
    assert_eq!(came.expect("the peer was kept out"), ["connected n1"]);
    let closed = tokio::time::timeout(soon, is_closed(&mut crowd[0])).await;
    assert_eq!(closed, Ok(true), "the oldest made room");
}

#[tokio::test]
async fn a_peer_whose_address_is_learned_is_dialled_at_once() {
    let pair = Pair::new().await;
    let (_two, at_two) = pair.start_knowing(identity(N2), [(N1, None)].into()).await;
    let (one, _) = pair.start_knowing(identity(N1), [(N2, None)].into()).await;
    one.locate(N2, pair.addresses[&N2].clone());
    let soon = Duration::from_secs(2);
    let came = tokio::time::timeout(soon, at_two.until(1)).await;
    assert_eq!(came.expect("it was not dialled"), ["connected n1"]);
}

#[tokio::test]
async fn a_node_that_is_not_dialled_by_the_smaller_one_dials_it_after_a_while() {
    let pair = Pair::new().await;
    let (_one, at_one) = pair.start_knowing(identity(N1), [(N2, None)].into()).await;
    let (_two, _) = pair.start(N2).await;
    let came = tokio::time::timeout(Duration::from_secs(8), at_one.until(1)).await;
    assert_eq!(came.expect("nobody dialled"), ["connected n2"]);
}

#[tokio::test]
async fn the_node_with_the_larger_number_is_not_let_in_beside_a_connection() {
    let pair = Pair::new().await;
    let (_one, at_one) = pair.start(N1).await;
    let (_two, _) = pair.start(N2).await;
    at_one.until(1).await;
    let mut stream = TcpStream::connect(&pair.addresses[&N1]).await.unwrap();
    // From here it looks fine; the other end then closes.
    crate::handshake::dial(&identity(N2), N1, &mut stream).await.unwrap();
    assert!(is_closed(&mut stream).await);
    assert_eq!(at_one.lines(), ["connected n2"]);
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_let_go_before_a_client_gives_up() {
    let pair = Pair::new().await;
    let (_one, at_one) = pair.start(N1).await;
    let listener = pair.listen(N2).await;
    let (mut stream, _) = listener.accept().await.unwrap();
    let said = crate::handshake::accept(&identity(N2), &mut stream).await;
    assert!(said.is_ok());
    at_one.until(1).await;
    let soon = Duration::from_secs(8);
    let (dialled_again, _) = tokio::time::timeout(soon, listener.accept()).await.unwrap().unwrap();
    assert!(dialled_again.peer_addr().is_ok());
    assert_eq!(at_one.lines(), ["connected n2", "lost n2"]);
}
