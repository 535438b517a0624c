//! Finding out who is at the other end, before any message is believed.
//!
//! What is said and checked is decided in [`wire::Handshake`]; here are the socket under it,
//! and the deadline.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use model::NodeId;
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use wire::{Handshake, HandshakeError, Identity, Progress, Side};

/// How long both ends have to prove who they are: two round trips, also across the world.
pub(crate) const HANDSHAKE_MAX: Duration = Duration::from_secs(5);

/// Why a connection carries no messages.
#[derive(Debug, Error)]
pub(crate) enum Refused {
    /// This node does not accept the peer.
    #[error("{0}")]
    Handshake(#[from] HandshakeError),
    /// The peer went away in the middle: perhaps it does not accept this node.
    #[error(
        "the other end closed the connection before it had proved who it is; its log may say why"
    )]
    Closed,
    /// The peer took too long.
    #[error("the other end did not prove who it is within {} s", HANDSHAKE_MAX.as_secs())]
    Late,
    /// Too many others came after it, and it had proved nothing yet.
    #[error("too many connections that prove nothing: the oldest made room for another")]
    Crowded,
    /// This node has dialled the peer, and is connected with it.
    #[error("{0} dialled this node, which is connected with it")]
    Uninvited(NodeId),
    /// The operating system ended the connection.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Refused {
    /// Which of the reasons it is, without what the other end said.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Handshake(error) => error.kind(),
            Self::Closed => "closed",
            Self::Late => "late",
            Self::Crowded => "crowd",
            Self::Uninvited(_) => "uninvited",
            Self::Io(_) => "io",
        }
    }
}

/// Shakes hands with the node `expected`, which this one has dialled. Returns what was read
/// beyond.
pub(crate) async fn dial(
    identity: &Identity,
    expected: NodeId,
    stream: &mut TcpStream,
) -> Result<BytesMut, Refused> {
    let (_, early) = shake(identity, Side::Dialler { expected }, stream).await?;
    Ok(early)
}

/// Shakes hands with whoever has dialled this node. Returns who it is, and what was read
/// beyond.
pub(crate) async fn accept(
    identity: &Identity,
    stream: &mut TcpStream,
) -> Result<(NodeId, BytesMut), Refused> {
    shake(identity, Side::Listener, stream).await
}

async fn shake(
    identity: &Identity,
    side: Side,
    stream: &mut TcpStream,
) -> Result<(NodeId, BytesMut), Refused> {
    let (mut said, mut heard) = (BytesMut::new(), BytesMut::new());
    let mut handshake = Handshake::start(identity, side, rand::random(), &mut said);
    loop {
        stream.write_all_buf(&mut said).await?;
        if stream.read_buf(&mut heard).await? == 0 {
            return Err(Refused::Closed);
        }
        let progress = handshake.step(&mut heard, &mut said);
        // Also in the end what was written has to leave: the other end waits for it.
        stream.write_all_buf(&mut said).await?;
        if let Progress::Done(peer) = progress? {
            return Ok((peer.node, heard));
        }
    }
}
