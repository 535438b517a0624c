//! Letting peers in that dial this node.
//!
//! Anybody who reaches the port can connect, so until a connection has proved that it comes
//! from a node of the cluster it costs little and not for long: their number is capped, the
//! handshake has a deadline and reads a few small frames.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::connection::{carry, log_end};
use crate::handshake::{self, HANDSHAKE_MAX, Refused};
use crate::link::Link;
use crate::peers::{Inbox, Shared};

/// The most connections that have not yet proved anything. More are closed at once: a
/// cluster's own nodes come one at a time and come again.
const UNPROVEN_MAX: usize = 64;

/// How long to wait when the process has no file descriptor left for another connection.
const EXHAUSTED_WAIT: Duration = Duration::from_millis(100);

/// Accepts connections until the process ends.
pub(crate) async fn listen<I: Inbox>(shared: Arc<Shared<I>>, listener: TcpListener) {
    let unproven = Arc::new(Semaphore::new(UNPROVEN_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, from)) => match Arc::clone(&unproven).try_acquire_owned() {
                Ok(permit) => {
                    connections.spawn(welcome(Arc::clone(&shared), stream, from, permit));
                }
                Err(_) => {
                    complain(&shared, from, "crowd", &"too many connections that prove nothing");
                }
            },
            Err(error) => {
                complain(&shared, SocketAddr::from(([0, 0, 0, 0], 0)), "accept", &error);
                sleep(EXHAUSTED_WAIT).await;
            }
        }
    }
}

async fn welcome<I: Inbox>(
    shared: Arc<Shared<I>>,
    mut stream: TcpStream,
    from: SocketAddr,
    permit: OwnedSemaphorePermit,
) {
    let shaking = timeout(HANDSHAKE_MAX, admit(&shared, &mut stream));
    let admitted = shaking.await.unwrap_or(Err(Refused::Late));
    drop(permit);
    match admitted {
        Ok((link, early)) => {
            let end = carry(&shared, &link, stream, early).await;
            log_end(link.peer, &end);
        }
        Err(refused) => complain(&shared, from, refused.kind(), &refused),
    }
}

/// Finds out who it is. Only nodes with smaller numbers dial this one.
async fn admit<I: Inbox>(
    shared: &Shared<I>,
    stream: &mut TcpStream,
) -> Result<(Arc<Link>, BytesMut), Refused> {
    stream.set_nodelay(true)?;
    let (peer, early) = handshake::accept(&shared.identity, stream).await?;
    let link = shared.traffic.links.get(&peer).filter(|_| peer < shared.node);
    let link = link.ok_or(Refused::Uninvited(peer))?;
    Ok((Arc::clone(link), early))
}

fn complain<I: Inbox>(
    shared: &Shared<I>,
    from: SocketAddr,
    kind: &'static str,
    reason: &dyn std::fmt::Display,
) {
    if let Some(kept_back) = shared.traffic.complain((None, kind)) {
        tracing::warn!(%from, %reason, kept_back, "refused a connection on the peer port");
    }
}
