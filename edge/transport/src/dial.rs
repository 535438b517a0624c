//! Keeping a connection to a peer that this node dials.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use model::NodeId;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::backoff::Backoff;
use crate::connection::{End, carry, log_end};
use crate::handshake::{self, HANDSHAKE_MAX, Refused};
use crate::link::Link;
use crate::peers::{Inbox, Shared};

/// How long the operating system may try to connect. It tries at once and after one second; its
/// third try would come after three, and the next after seven. We are back sooner by ourselves.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// A connection that lived this long was a good one: the next failure is a new story.
const GOOD_LIFE: Duration = Duration::from_secs(5);

/// Why there is no connection this time.
#[derive(Debug, Error)]
enum Failed {
    /// Nobody is there, or the network does not let us.
    #[error("{0}")]
    Unreachable(std::io::Error),
    /// Nobody answered in time.
    #[error("no answer within {} s", CONNECT_MAX.as_secs())]
    Late,
    /// Somebody is there, and it is not the peer we want, or it does not want us.
    #[error("{0}")]
    Refused(#[from] Refused),
}

impl Failed {
    /// Which of the reasons it is, without what the other end said.
    fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Late => "no answer",
            Self::Refused(refused) => refused.kind(),
        }
    }
}

/// How long a node waits for a peer with a smaller number to dial it. The peer may know no
/// address, or one that was right once.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often it is looked whether there is still a connection that the peer has made.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Dials a peer, carries messages, and dials again, until the process ends.
pub(crate) async fn keep<I: Inbox>(shared: Arc<Shared<I>>, link: Arc<Link>) {
    let mut backoff = Backoff::new();
    loop {
        missing(&link, shared.node).await;
        let Some(address) = link.address() else {
            link.moved.notified().await;
            continue;
        };
        let started = Instant::now();
        match dial(&shared, &link, &address).await {
            Ok((stream, early)) => {
                let end = carry(&shared, &link, stream, early).await;
                log_end(link.peer, &end);
                if GOOD_LIFE <= started.elapsed() && !matches!(end, End::Garbage(_)) {
                    backoff = Backoff::new();
                }
            }
            Err(failed) => complain(&shared, &link, &address, &failed),
        }
        // At another address there may be more luck.
        let _ = timeout(backoff.next(rand::random()), link.moved.notified()).await;
    }
}

/// Ends when there is no connection, and it is for this node to make one.
async fn missing(link: &Link, node: NodeId) {
    let patience = if node < link.peer { Duration::ZERO } else { PATIENCE };
    let mut since = Instant::now();
    while link.is_connected() || since.elapsed() < patience {
        sleep(LOOK_EVERY).await;
        if link.is_connected() {
            since = Instant::now();
        }
    }
}

async fn dial<I: Inbox>(
    shared: &Shared<I>,
    link: &Link,
    address: &str,
) -> Result<(TcpStream, BytesMut), Failed> {
    let connecting = timeout(CONNECT_MAX, TcpStream::connect(address));
    let mut stream = connecting.await.map_err(|_| Failed::Late)?.map_err(Failed::Unreachable)?;
    stream.set_nodelay(true).map_err(Failed::Unreachable)?;
    let shaking = handshake::dial(&shared.identity, link.peer, &mut stream);
    let early = timeout(HANDSHAKE_MAX, shaking).await.map_err(|_| Refused::Late)??;
    Ok((stream, early))
}

/// A peer that is away is an everyday matter, and membership reports it. One that refuses
/// us needs somebody to correct a configuration.
fn complain<I: Inbox>(shared: &Shared<I>, link: &Link, address: &str, failed: &Failed) {
    let kind = (Some(link.peer), failed.kind());
    let Some(kept_back) = shared.traffic.complain(kind) else { return };
    match failed {
        Failed::Unreachable(_) | Failed::Late => {
            tracing::info!(peer = %link.peer, address, reason = %failed, "cannot connect, will go on trying");
        }
        Failed::Refused(_) => {
            tracing::warn!(peer = %link.peer, address, reason = %failed, kept_back, "no connection, will go on trying");
        }
    }
}
