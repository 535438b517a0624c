//! What nodes say to each other, as bytes.
//!
//! Two nodes that talk may run different versions of the program, may have been started
//! with different layouts, and may not be what they claim. The network between them loses
//! the end of things and, seldom, flips a bit. This crate turns [`Message`]s into frames
//! and back such that damage is noticed, and checks in a [`Handshake`] that the two ends
//! belong together before the first message.
//!
//! ```text
//! connection = hello ──►  ◄── hello   proof ──►  ◄── proof   then frames, both ways
//! frame      = length (4, little-endian)  checksum (8)  body
//! body       = length of header  header (protobuf)  objects, one after the other
//! ```
//!
//! Who, where and why is in the header. Objects follow it in the encoding of [`codec`], in
//! the order in which the header speaks of them: they are written once, straight into the
//! buffer that is sent, and what is received is not copied out of the buffer that was read.
//!
//! A header may gain fields and kinds in a later version. Fields that are not known are
//! ignored; a message whose kind is not known, or that says something by a number that is
//! not known, is skipped as a whole, and the connection stays open. Its sender gets no
//! answer and treats this node as silent, as it must be able to anyway. Everything else
//! that is unexpected is damage or an impostor, and the connection has to end.
//!
//! It does no IO. It does not encrypt.

mod batch;
mod compare;
mod exchange;
mod explain;
mod failure;
mod feed;
mod frame;
mod handshake;
mod header;
mod hello;
mod message;
mod parts;
mod recall;
mod repair;
mod reply;
mod request;
mod salvage;

pub use frame::{FRAME_BYTES_MAX, Frames};
pub use handshake::{Handshake, HandshakeError, HandshakeKey, Identity, Peer, Progress, Side};
pub use hello::Hello;
pub use message::{decode_message, encode_message};

use bytes::BytesMut;
use node::Message;
use thiserror::Error;

/// The version of messages that this program speaks. Grows when an object or a field
/// changes its meaning, and not when a header gains a field.
pub const VERSION: u16 = 1;

/// The oldest version that this program can speak with a peer.
pub const VERSION_MIN: u16 = 1;

/// Appends a message as one frame of at most [`FRAME_BYTES_MAX`].
///
/// # Errors
///
/// [`WireError::TooLarge`]; the buffer is as it was.
pub fn encode(message: &Message, out: &mut BytesMut) -> Result<(), WireError> {
    Frames::default().encode(message, out)
}

/// Takes the next message out of what was received, or nothing if its end is not there yet.
///
/// # Errors
///
/// [`WireError`]; what is left in the buffer means nothing, and the connection must end.
pub fn decode(buffer: &mut BytesMut) -> Result<Option<Message>, WireError> {
    Frames::default().decode(buffer)
}

/// Bytes that no node sends, or a message that cannot be sent.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum WireError {
    /// A frame has more bytes than either side accepts.
    #[error("a frame of {bytes} bytes, the most is {max}")]
    TooLarge {
        /// How many it has, or says it has.
        bytes: usize,
        /// How many it may have.
        max: usize,
    },
    /// The frame is not what was sent.
    #[error("the checksum of a frame does not fit its bytes")]
    Checksum,
    /// The header is not what any version sends.
    #[error("{0}")]
    Malformed(&'static str),
    /// The header is no protobuf.
    #[error("{0}")]
    Header(#[from] prost::DecodeError),
    /// An object, set or contract is not what any version sends.
    #[error("{0}")]
    Part(#[from] codec::Malformed),
}
