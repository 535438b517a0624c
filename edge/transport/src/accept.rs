//! Letting peers in that dial this node.
//!
//! Anybody who reaches the port can connect, so until a connection has proved that it comes
//! from a node of the cluster it costs little and not for long: their number is capped, the
//! handshake has a deadline and reads a few small frames.
//!
//! The cap must not keep the cluster's own nodes out. Where a connection comes from does not
//! tell them apart: behind one address may be a node and a stranger. How long it takes does: a
//! node proves itself within two round trips, while those who fill the places say nothing. So
//! the newest is always taken, and the one that has proved nothing for longest makes room.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::connection::{carry, log_end};
use crate::handshake::{self, HANDSHAKE_MAX, Refused};
use crate::link::Link;
use crate::peers::{Inbox, Shared};

/// The most connections that have not yet proved anything. To keep a node out, so many
/// strangers have to come within the two round trips of its handshake, each time it tries.
const UNPROVEN_MAX: usize = 64;

/// How long to wait when the process has no file descriptor left for another connection.
const EXHAUSTED_WAIT: Duration = Duration::from_millis(100);

/// The connections that have not yet proved anything, the oldest first.
#[derive(Debug, Default)]
struct Unproven(VecDeque<oneshot::Sender<()>>);

/// The place of one connection among the [`Unproven`]. It is free once this is dropped, and
/// rings when another connection needs it.
type Place = oneshot::Receiver<()>;

impl Unproven {
    /// A place for one more. If none is free, the oldest connection loses its own.
    fn enter(&mut self) -> Place {
        self.0.retain(|taken| !taken.is_closed());
        if UNPROVEN_MAX <= self.0.len()
            && let Some(oldest) = self.0.pop_front()
        {
            // It may have proved itself in this moment, and then needs no place.
            let _ = oldest.send(());
        }
        let (taken, place) = oneshot::channel();
        self.0.push_back(taken);
        place
    }
}

/// Accepts connections until the process ends.
pub(crate) async fn listen<I: Inbox>(shared: Arc<Shared<I>>, listener: TcpListener) {
    let mut unproven = Unproven::default();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, from)) => {
                let place = unproven.enter();
                connections.spawn(welcome(Arc::clone(&shared), stream, from, place));
            }
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
    mut place: Place,
) {
    let admitted = tokio::select! {
        shaken = timeout(HANDSHAKE_MAX, admit(&shared, &mut stream)) => {
            shaken.unwrap_or(Err(Refused::Late))
        }
        _ = &mut place => Err(Refused::Crowded),
    };
    drop(place);
    match admitted {
        Ok((link, early)) => {
            let end = carry(&shared, &link, stream, early).await;
            log_end(link.peer, &end);
        }
        Err(refused) => complain(&shared, from, refused.kind(), &refused),
    }
}

/// Finds out who it is. A node with a larger number is let in where there is no connection.
async fn admit<I: Inbox>(
    shared: &Shared<I>,
    stream: &mut TcpStream,
) -> Result<(Arc<Link>, BytesMut), Refused> {
    stream.set_nodelay(true)?;
    let (peer, early) = handshake::accept(&shared.identity, stream).await?;
    let link = shared.traffic.links.get(&peer);
    let link = link.filter(|link| peer < shared.node || !link.is_connected());
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
