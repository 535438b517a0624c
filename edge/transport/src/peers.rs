//! All other nodes of the cluster.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use model::NodeId;
use node::Message;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::complaints::Complaints;
use crate::link::Link;
use crate::{accept, dial};

/// Where everything goes that comes from peers.
pub trait Inbox: Send + Sync + 'static {
    /// Takes the messages of one read, in order.
    fn received(&self, from: NodeId, messages: Vec<Message>);

    /// A connection to a peer was made, and it has proved who it is.
    fn connected(&self, peer: NodeId);

    /// The connection to a peer broke. What was on its way, in both directions, may be lost.
    fn lost(&self, peer: NodeId);

    /// Ends when there is room for more. Until then the connection is not read from.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost.
    fn room(&self) -> impl Future<Output = ()> + Send;
}

/// What connections are made of.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who this node is, and what it shares with the others.
    pub identity: wire::Identity,
    /// The other nodes, and where they listen, as `host:port`.
    pub peers: BTreeMap<NodeId, String>,
}

/// What became of messages since the start, over all peers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Peers connected at this moment.
    pub connected: usize,
    /// Messages put into a queue.
    pub sent: u64,
    /// Messages dropped, because there was no connection or the queue was full.
    pub dropped: u64,
    /// Messages handed to the inbox.
    pub received: u64,
    /// Calls to the kernel that wrote queued messages.
    pub writes: u64,
}

/// What all tasks of the transport share.
#[derive(Debug)]
pub(crate) struct Shared<I> {
    pub(crate) node: NodeId,
    pub(crate) identity: wire::Identity,
    pub(crate) links: BTreeMap<NodeId, Arc<Link>>,
    pub(crate) inbox: Arc<I>,
    complaints: Mutex<Complaints>,
}

impl<I> Shared<I> {
    /// Says whether to log a complaint of this kind now, and how many were kept back.
    pub(crate) fn complain(&self, kind: &str) -> Option<u64> {
        let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        complaints.make(kind, Instant::now())
    }
}

/// The connections to all other nodes. They close when this is dropped.
#[derive(Debug)]
pub struct Peers {
    links: BTreeMap<NodeId, Arc<Link>>,
    /// Messages to nodes that are not in the configuration.
    strays: AtomicU64,
    _tasks: JoinSet<()>,
}

impl Peers {
    /// Dials the peers with larger numbers and accepts those with smaller ones. Must be
    /// called inside a tokio runtime.
    pub fn start<I: Inbox>(config: Config, listener: TcpListener, inbox: Arc<I>) -> Self {
        let node = config.identity.node;
        let links: BTreeMap<_, _> = config
            .peers
            .keys()
            .filter(|peer| **peer != node)
            .map(|peer| (*peer, Arc::new(Link::new(*peer))))
            .collect();
        let shared = Arc::new(Shared {
            node,
            identity: config.identity,
            links: links.clone(),
            inbox,
            complaints: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        for (peer, link) in links.range(node..) {
            if let Some(address) = config.peers.get(peer) {
                tasks.spawn(dial::keep(Arc::clone(&shared), Arc::clone(link), address.clone()));
            }
        }
        tasks.spawn(accept::listen(shared, listener));
        Self { links, strays: AtomicU64::new(0), _tasks: tasks }
    }

    /// Queues a message. It leaves with the next [`flush`](Self::flush), or is dropped.
    pub fn send(&self, to: NodeId, message: &Message) {
        match self.links.get(&to) {
            Some(link) => link.send(message),
            None => {
                self.strays.fetch_add(1, Relaxed);
            }
        }
    }

    /// Writes what is queued: one call to the kernel for each peer that has something
    /// coming.
    pub fn flush(&self) {
        for link in self.links.values() {
            link.flush();
        }
    }

    /// What became of messages so far.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts { dropped: self.strays.load(Relaxed), ..Counts::default() };
        for link in self.links.values() {
            counts.connected += usize::from(link.is_connected());
            counts.sent += link.tally.sent.load(Relaxed);
            counts.dropped += link.tally.dropped.load(Relaxed);
            counts.received += link.tally.received.load(Relaxed);
            counts.writes += link.tally.writes.load(Relaxed);
        }
        counts
    }
}
