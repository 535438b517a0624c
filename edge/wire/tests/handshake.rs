//! Who gets in, and what the others are told.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use bytes::{BufMut as _, BytesMut};
use causality::Incarnation;
use model::{ClusterId, NodeId};
use wire::{Handshake, HandshakeError, HandshakeKey, Identity, Peer, Progress, Side};

const N1: NodeId = NodeId::new(1);
const N2: NodeId = NodeId::new(2);
const N3: NodeId = NodeId::new(3);

fn identity(node: NodeId) -> Identity {
    Identity {
        cluster: ClusterId::new(7),
        node,
        incarnation: Incarnation::new(node.number().into()),
        layout: 99,
        members: [N1, N2, N3].into(),
        key: HandshakeKey::derive(&[5; 32]),
    }
}

/// One end: what it wrote last, and how it stands.
struct End {
    handshake: Handshake,
    out: BytesMut,
    stands: Result<Progress, HandshakeError>,
}

impl End {
    fn new(identity: &Identity, side: Side) -> Self {
        let mut out = BytesMut::new();
        let handshake =
            Handshake::start(identity, side, [identity.node.number() as u8; 16], &mut out);
        Self { handshake, out, stands: Ok(Progress::Open) }
    }

    fn hear(&mut self, bytes: &mut BytesMut) {
        if self.stands == Ok(Progress::Open) {
            self.stands = self.handshake.step(bytes, &mut self.out);
        }
    }
}

/// Lets two ends shake hands: what the dialler and the listener make of it.
fn shake(dialler: &Identity, listener: &Identity) -> [Result<Progress, HandshakeError>; 2] {
    let mut dialler = End::new(dialler, Side::Dialler { expected: N2 });
    let mut listener = End::new(listener, Side::Listener);
    for _ in 0..3 {
        let (mut there, mut back) = (dialler.out.split(), listener.out.split());
        listener.hear(&mut there);
        dialler.hear(&mut back);
    }
    [dialler.stands, listener.stands]
}

fn peer(node: NodeId) -> Result<Progress, HandshakeError> {
    let incarnation = Incarnation::new(node.number().into());
    Ok(Progress::Done(Peer { node, incarnation, version: wire::VERSION }))
}

#[test]
fn nodes_that_belong_together_find_out_who_the_other_is() {
    assert_eq!(shake(&identity(N1), &identity(N2)), [peer(N2), peer(N1)]);
}

#[test]
fn bytes_may_arrive_one_by_one_and_messages_right_behind() {
    let mut dialler = End::new(&identity(N1), Side::Dialler { expected: N2 });
    let mut listener = End::new(&identity(N2), Side::Listener);
    dialler.hear(&mut listener.out.split());
    dialler.out.put_slice(b"message");
    let mut buffer = BytesMut::new();
    for byte in dialler.out.split() {
        buffer.put_u8(byte);
        listener.hear(&mut buffer);
    }
    assert_eq!(listener.stands, peer(N1));
    assert_eq!(buffer, &b"message"[..]);
}

#[test]
fn nodes_that_differ_are_told_in_what() {
    let ours = identity(N1);
    let theirs = Identity { cluster: ClusterId::new(8), ..identity(N2) };
    let [dialler, _] = shake(&ours, &theirs);
    let (cluster, node) = (ClusterId::new(8), N2);
    let expected = HandshakeError::OtherCluster { node, theirs: cluster, ours: ours.cluster };
    assert_eq!(dialler, Err(expected));
    let theirs = Identity { layout: 100, ..identity(N2) };
    let expected = HandshakeError::OtherLayout { node, theirs: 100, ours: 99 };
    assert_eq!(shake(&ours, &theirs)[0], Err(expected));
    let expected = HandshakeError::OtherNode { expected: N2, found: N3 };
    assert_eq!(shake(&ours, &identity(N3))[0], Err(expected));
    assert_eq!(shake(&ours, &identity(N1))[0], Err(HandshakeError::SameNode(N1)));
    let stranger = identity(NodeId::new(4));
    let [_, listener] = shake(&stranger, &identity(N2));
    assert_eq!(listener, Err(HandshakeError::UnknownNode(NodeId::new(4))));
}

#[test]
fn who_does_not_know_the_secret_is_refused_by_both_ends() {
    let stranger = Identity { key: HandshakeKey::derive(&[6; 32]), ..identity(N1) };
    let refused = [N2, N1].map(|node| Err(HandshakeError::BadProof(node)));
    assert_eq!(shake(&stranger, &identity(N2)), refused);
}

/// Splits what an end wrote into its hello and its proof.
fn split(mut out: BytesMut) -> [BytesMut; 2] {
    let len = u32::from_le_bytes(*out.first_chunk().unwrap()) as usize + 12;
    let hello = out.split_to(len);
    [hello, out]
}

#[test]
fn a_proof_that_is_sent_back_to_its_maker_or_replayed_is_refused() {
    let listener = || End::new(&identity(N2), Side::Listener);
    // What a dialler once sent to this listener, which had another nonce then.
    let mut earlier = BytesMut::new();
    Handshake::start(&identity(N2), Side::Listener, [77; 16], &mut earlier);
    let mut dialler = End::new(&identity(N1), Side::Dialler { expected: N2 });
    dialler.hear(&mut earlier);
    let mut replayed = listener();
    replayed.hear(&mut dialler.out);
    assert_eq!(replayed.stands, Err(HandshakeError::BadProof(N1)));
    // A stranger that repeats the listener's own proof.
    let mut hello = End::new(&identity(N1), Side::Dialler { expected: N2 }).out;
    let mut reflected = listener();
    reflected.hear(&mut hello);
    let [_, mut proof] = split(reflected.out.split());
    reflected.hear(&mut proof);
    assert_eq!(reflected.stands, Err(HandshakeError::BadProof(N1)));
}

/// A hello as any version writes it, with what may differ.
fn hello(version: u16, version_min: u16, appended: &[u8]) -> BytesMut {
    let mut body = BytesMut::new();
    body.put_slice(b"mergansr");
    body.put_u16_le(version);
    body.put_u16_le(version_min);
    body.put_u64_le(7);
    body.put_u16_le(2);
    body.put_u64_le(2);
    body.put_u64_le(99);
    body.put_slice(&[3; 16]);
    body.put_slice(appended);
    let mut out = BytesMut::new();
    out.put_u32_le(body.len() as u32);
    out.put_u64_le(xxhash_rust::xxh3::xxh3_64_with_seed(&body, body.len() as u64));
    out.put_slice(&body);
    out
}

#[test]
fn versions_that_do_not_meet_say_which_node_to_upgrade() {
    let node = N2;
    let meets = |version, version_min| {
        let mut dialler = End::new(&identity(N1), Side::Dialler { expected: N2 });
        dialler.hear(&mut hello(version, version_min, b""));
        dialler.stands
    };
    let (ours, theirs) = (wire::VERSION, wire::VERSION + 1);
    assert_eq!(meets(theirs, theirs), Err(HandshakeError::Newer { node, theirs, ours }));
    let (ours, theirs) = (wire::VERSION_MIN, wire::VERSION_MIN - 1);
    assert_eq!(meets(theirs, theirs), Err(HandshakeError::Older { node, theirs, ours }));
    assert_eq!(meets(wire::VERSION + 1, wire::VERSION), Ok(Progress::Open));
}

#[test]
fn what_a_later_version_appends_to_its_hello_is_accepted() {
    let mut dialler = End::new(&identity(N1), Side::Dialler { expected: N2 });
    dialler.hear(&mut hello(wire::VERSION + 1, wire::VERSION, b"compression: yes"));
    assert_eq!(dialler.stands, Ok(Progress::Open));
}

#[test]
fn the_hello_has_the_layout_that_every_version_reads() {
    let mut out = BytesMut::new();
    Handshake::start(&identity(N2), Side::Listener, [3; 16], &mut out);
    assert_eq!(out, hello(wire::VERSION, wire::VERSION_MIN, b""));
}

#[test]
fn whatever_else_knocks_is_a_stranger() {
    for knock in [
        &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00",
        &[0; 64],
    ] {
        let mut listener = End::new(&identity(N1), Side::Listener);
        listener.hear(&mut BytesMut::from(knock));
        assert_eq!(listener.stands, Err(HandshakeError::Stranger), "{knock:?}");
    }
}

#[test]
fn the_key_does_not_print() {
    assert_eq!(format!("{:?}", identity(N1).key), "HandshakeKey(..)");
}
