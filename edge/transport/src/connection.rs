//! One connection from its handshake to its end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::BytesMut;
use model::NodeId;
use thiserror::Error;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;

use crate::link::{Line, Link};
use crate::peers::{Inbox, Shared};

/// Room for one read. As much as a socket holds at a time on loopback, so that one read
/// empties it.
const READ_BYTES: usize = 64 << 10;

/// How long a peer may say nothing. Nodes probe each other every second or so: one that is
/// silent for this long has lost power or its network, and TCP alone would take a quarter
/// of an hour to say so. Nor is TCP quick to notice that the network is back: it repeats what
/// was lost after waits that double, so that a connection that was cut for seven seconds
/// carries nothing for another six. A new one is made at once; so this is not much longer
/// than it takes until the peer counts as not alive.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// After how long a silence the log says so. A little more than the node waits before it
/// counts a peer as not alive.
const SILENCE_TOLD: Duration = Duration::from_secs(3);

/// How often a connection is asked whether anything was read. Nodes probe each other twice
/// as often.
const SILENCE_TICK: Duration = Duration::from_secs(1);

/// Why a connection ended.
#[derive(Debug, Error)]
pub(crate) enum End {
    /// The peer closed it: it was stopped, or died.
    #[error("the peer closed the connection")]
    Closed,
    /// The operating system ended it.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// What came is not what a node of this cluster sends.
    #[error("the peer sent what no node sends: {0}")]
    Garbage(wire::WireError),
    /// Nothing was heard for too long.
    #[error("nothing was heard for {} s", SILENCE_MAX.as_secs())]
    Silent,
    /// The peer connected once more.
    #[error("another connection of the same peer took its place")]
    Replaced,
}

/// Carries messages over a connection that has passed its handshake, until it ends.
/// `early` is what was read already.
///
/// # Cancellation
///
/// The connection closes, and the inbox is not told; only for the end of the process.
pub(crate) async fn carry<I: Inbox>(
    shared: &Shared<I>,
    link: &Link,
    stream: TcpStream,
    early: BytesMut,
) -> End {
    let (reader, writer) = stream.into_split();
    let line = Arc::new(Line::new(writer, link.queue_bytes_max));
    if link.install(&line) {
        shared.inbox.lost(link.peer);
    }
    shared.inbox.connected(link.peer);
    tracing::info!(peer = %link.peer, "connected");
    let end = tokio::select! {
        end = read(shared, link, &line, reader, early) => end,
        error = line.push_on() => End::Io(error),
        () = silence(shared, link, &line) => End::Silent,
        () = line.replaced.notified() => End::Replaced,
    };
    if link.remove(&line) {
        shared.inbox.lost(link.peer);
    }
    end
}

/// Hands over all whole frames of each read at once.
async fn read<I: Inbox>(
    shared: &Shared<I>,
    link: &Link,
    line: &Line,
    mut reader: OwnedReadHalf,
    mut buffer: BytesMut,
) -> End {
    loop {
        if let Err(garbage) = hand_over(&*shared.inbox, link, &mut buffer) {
            return End::Garbage(garbage);
        }
        shared.inbox.room().await;
        buffer.reserve(READ_BYTES);
        match reader.read_buf(&mut buffer).await {
            Ok(0) => return End::Closed,
            Ok(_) => line.reads.fetch_add(1, Relaxed),
            Err(error) => return End::Io(error),
        };
    }
}

/// Decodes the whole frames in the buffer and leaves the rest.
fn hand_over<I: Inbox>(
    inbox: &I,
    link: &Link,
    buffer: &mut BytesMut,
) -> Result<(), wire::WireError> {
    let before = buffer.len();
    let mut messages = Vec::new();
    let decoded = loop {
        match wire::decode(buffer) {
            Ok(Some(message)) => messages.push(message),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    if !messages.is_empty() {
        link.tally.received.fetch_add(messages.len() as u64, Relaxed);
        inbox.received(link.peer, messages, before - buffer.len());
    }
    decoded
}

/// Ends when nothing was read for [`SILENCE_MAX`]. Before, it tells of a peer that falls
/// silent, and of one that is heard again. A node that has no room does not read, and blames
/// nobody for it.
async fn silence<I: Inbox>(shared: &Shared<I>, link: &Link, line: &Line) {
    let mut before = line.reads.load(Relaxed);
    let mut silent = Duration::ZERO;
    let mut is_told = false;
    while silent < SILENCE_MAX {
        shared.inbox.room().await;
        tokio::time::sleep(SILENCE_TICK).await;
        let reads = line.reads.load(Relaxed);
        if reads == before {
            silent += SILENCE_TICK;
            if silent == SILENCE_TOLD {
                is_told = shared.miss(link.peer);
            }
        } else {
            if is_told {
                tracing::info!(peer = %link.peer, "the peer is heard again");
            }
            (before, silent, is_told) = (reads, Duration::ZERO, false);
        }
    }
}

/// Logs the end of a connection, at the level of who has to act.
pub(crate) fn log_end(peer: NodeId, end: &End) {
    match end {
        End::Closed | End::Io(_) | End::Silent | End::Replaced => {
            tracing::info!(%peer, reason = %end, "connection ended");
        }
        End::Garbage(_) => tracing::warn!(%peer, reason = %end, "connection closed"),
    }
}
