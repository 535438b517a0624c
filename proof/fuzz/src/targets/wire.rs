//! What comes from peers: bodies, frames in pieces of any size, and the handshake.

use bytes::{BufMut as _, Bytes, BytesMut};
use causality::Incarnation;
use model::{ClusterId, NodeId};
use node::Message;
use wire::{Frames, Handshake, HandshakeError, HandshakeKey, Identity, Progress, Side};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Target;
use crate::cut::{Cut, long_part};

pub(super) const TARGETS: &[Target] = &[
    Target { seeds: message_seeds, per_byte: 512, ..Target::new("message", message) },
    Target { seeds: stream_seeds, base: 1 << 20, per_byte: 1024, ..Target::new("stream", stream) },
    Target { seeds: handshake_seeds, base: 16 << 10, ..Target::new("handshake", handshake) },
];

pub(super) fn body(message: &Message) -> Vec<u8> {
    let mut out = BytesMut::new();
    wire::encode_message(message, &mut out);
    out.to_vec()
}

fn message_seeds() -> Vec<Vec<u8>> {
    samples::messages().iter().map(body).collect()
}

/// The body of one frame. Headers may have parts that are not known, so the bytes need not
/// be the same again: the message must be.
fn message(input: &[u8]) {
    if let Ok(Some(message)) = wire::decode_message(Bytes::copy_from_slice(input)) {
        assert_travels(&message);
    }
}

/// Checks that a message arrives as it is sent.
pub(super) fn assert_travels(message: &Message) {
    let bytes = body(message);
    let again = wire::decode_message(bytes.clone().into()).expect("it was just encoded");
    let again = again.expect("this version knows its own messages");
    assert_eq!(again, *message);
    assert_eq!(body(&again), bytes);
}

fn framed(body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).expect("inputs are short");
    let sum = xxh3_64_with_seed(body, len.into());
    [&len.to_le_bytes()[..], &sum.to_le_bytes(), body].concat()
}

fn stream_seeds() -> Vec<Vec<u8>> {
    let messages = samples::messages();
    let bodies = messages.iter().map(|message| long_part(&body(message)));
    let several: Vec<Vec<u8>> = bodies.take(40).collect();
    let well = several.chunks(4).map(|some| [&[1, 7, 0, 0][..], &some.concat()].concat());
    let raw = messages
        .iter()
        .take(4)
        .map(|message| [&[0, 3, 0, 0][..], &framed(&body(message))].concat());
    well.chain(raw).collect()
}

/// A connection's bytes, in pieces: the reader must make the same of them as of the whole.
fn stream(input: &[u8]) {
    let mut cut = Cut(input);
    let (mode, step, at, mask) = (cut.byte(), cut.byte(), cut.byte(), cut.byte());
    let mut bytes = Vec::new();
    if mode % 2 == 0 {
        bytes.extend(cut.0);
    } else {
        while !cut.is_empty() {
            bytes.extend(framed(cut.long_part()));
        }
        if let Some(byte) = bytes.get_mut(usize::from(at) * 31) {
            *byte ^= mask;
        }
    }
    let (whole, error) = read_in_pieces(&bytes, bytes.len());
    let (pieces, error_in_pieces) = read_in_pieces(&bytes, usize::from(step) % 61 + 1);
    assert_eq!(whole, pieces);
    assert_eq!(error, error_in_pieces);
    whole.iter().for_each(assert_travels);
}

fn read_in_pieces(bytes: &[u8], size: usize) -> (Vec<Message>, bool) {
    let (frames, mut buffer, mut out) = (Frames::default(), BytesMut::new(), Vec::new());
    for piece in bytes.chunks(size.max(1)) {
        buffer.put_slice(piece);
        loop {
            match frames.decode(&mut buffer) {
                Ok(Some(message)) => out.push(message),
                Ok(None) => break,
                Err(_) => return (out, true),
            }
        }
    }
    (out, false)
}

fn identity(node: u16) -> Identity {
    Identity {
        cluster: ClusterId::new(7),
        node: NodeId::new(node),
        incarnation: Incarnation::new(node.into()),
        layout: 99,
        members: [1, 2, 3].map(NodeId::new).into(),
        key: HandshakeKey::derive(&[5; 32]),
    }
}

struct End {
    handshake: Handshake,
    out: BytesMut,
    stands: Result<Progress, HandshakeError>,
}

impl End {
    fn new(node: u16, side: Side) -> Self {
        let mut out = BytesMut::new();
        let handshake = Handshake::start(&identity(node), side, [node as u8; 16], &mut out);
        Self { handshake, out, stands: Ok(Progress::Open) }
    }

    fn hear(&mut self, bytes: &[u8]) {
        let mut buffer = BytesMut::new();
        for piece in bytes.chunks(17) {
            buffer.put_slice(piece);
            if self.stands == Ok(Progress::Open) {
                self.stands = self.handshake.step(&mut buffer, &mut self.out);
            }
        }
    }

    fn is_done(&self) -> bool {
        matches!(self.stands, Ok(Progress::Done(_)))
    }
}

fn handshake_seeds() -> Vec<Vec<u8>> {
    let hello = End::new(1, Side::Dialler { expected: NodeId::new(2) }).out;
    let edits = [&[1, 0, 0][..], &[1, 1, 8, 1], &[1, 2, 40, 9, 3, 3, 1], &[1, 4, 0, 0, 2, 1, 0]];
    let raw = [[&[0][..], &hello].concat()];
    raw.into_iter().chain(edits.map(<[u8]>::to_vec)).collect()
}

/// Either what a stranger sends, or two nodes between which somebody changes bytes.
fn handshake(input: &[u8]) {
    let mut cut = Cut(input);
    let mut listener = End::new(2, Side::Listener);
    let mode = cut.byte();
    if mode % 2 == 0 {
        listener.hear(cut.0);
        return assert!(!listener.is_done(), "a stranger got in");
    }
    let mut dialler = End::new(1, Side::Dialler { expected: NodeId::new(2) });
    let mut intact = true;
    for _ in 0..2 {
        let (there, back) = (dialler.out.split(), listener.out.split());
        listener.hear(&carried(&there, &mut cut, &mut intact));
        dialler.hear(&carried(&back, &mut cut, &mut intact));
    }
    let [sent, heard] = [dialler.is_done(), listener.is_done()];
    assert_eq!(intact && sent && heard, intact, "two nodes that belong together part");
    // The last proof of the listener is the only thing that the dialler alone hears.
    assert!(intact || !(sent && heard), "a changed byte was not noticed");
}

/// One frame, or two, on their way: edits of place and mask, each of the bodies framed anew.
fn carried(bytes: &[u8], cut: &mut Cut<'_>, intact: &mut bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while let Some((len, after)) = rest.split_first_chunk() {
        let len = u32::from_le_bytes(*len) as usize;
        let sent = &after[8..8 + len];
        let mut body = sent.to_vec();
        rest = &after[8 + len..];
        for _ in 0..cut.byte() % 4 {
            let (at, mask) = (usize::from(cut.byte()), cut.byte());
            if let Some(byte) = body.get_mut(at) {
                *byte ^= mask;
            } else if mask % 8 == 7 {
                body.push(mask);
            }
        }
        // Two changes can undo each other.
        *intact &= body == sent;
        out.extend(framed(&body));
    }
    out
}
