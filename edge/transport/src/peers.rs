//! All other nodes of the cluster.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use model::NodeId;
use node::Message;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::traffic::{self, Counts, Traffic};
use crate::{accept, dial};

/// Where everything goes that comes from peers.
pub trait Inbox: Send + Sync + 'static {
    /// Takes the messages of one read, in order. They came as so many bytes, and hold
    /// about as much memory.
    fn received(&self, from: NodeId, messages: Vec<Message>, bytes: usize);

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
    /// The other nodes, and where they listen, as `host:port`, if that is known.
    pub peers: BTreeMap<NodeId, Option<String>>,
    /// The most bytes that wait for one peer. A message beyond is dropped: a peer that far
    /// behind learns it too late to be of use. At it one more is let in, however large.
    pub queue_bytes_max: usize,
}

/// What all tasks of the transport share.
#[derive(Debug)]
pub(crate) struct Shared<I> {
    pub(crate) node: NodeId,
    pub(crate) identity: wire::Identity,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) inbox: Arc<I>,
}

impl<I> Shared<I> {
    /// Says that a peer has fallen silent, unless that was said a moment ago. Returns whether
    /// it was said.
    pub(crate) fn miss(&self, peer: NodeId) -> bool {
        let kept_back = self.traffic.complain((Some(peer), "silent"));
        if let Some(kept_back) = kept_back {
            tracing::warn!(%peer, kept_back, "nothing is heard from the peer: it, or the network to it, stands still");
        }
        kept_back.is_some()
    }
}

/// The connections to all other nodes. They close when this is dropped.
#[derive(Debug)]
pub struct Peers {
    traffic: Arc<Traffic>,
    _tasks: JoinSet<()>,
}

impl Peers {
    /// Dials the peers with larger numbers and accepts those with smaller ones, which it dials
    /// only if they do not come. Must be called inside a tokio runtime.
    pub fn start<I: Inbox>(config: Config, listener: TcpListener, inbox: Arc<I>) -> Self {
        let node = config.identity.node;
        let others = config.peers.into_iter().filter(|(peer, _)| *peer != node);
        let traffic = Arc::new(Traffic::new(others, config.queue_bytes_max));
        let identity = config.identity;
        let shared = Arc::new(Shared { node, identity, traffic: Arc::clone(&traffic), inbox });
        let mut tasks = JoinSet::new();
        for link in traffic.links.values() {
            tasks.spawn(dial::keep(Arc::clone(&shared), Arc::clone(link)));
        }
        tasks.spawn(accept::listen(shared, listener));
        tasks.spawn(traffic::report(Arc::clone(&traffic)));
        Self { traffic, _tasks: tasks }
    }

    /// Queues a message. It leaves with the next [`flush`](Self::flush), or is dropped.
    pub fn send(&self, to: NodeId, message: &Message) {
        self.traffic.send(to, message);
    }

    /// Writes what is queued: one call to the kernel for each peer that has something
    /// coming.
    pub fn flush(&self) {
        for link in self.traffic.links.values() {
            link.flush();
        }
    }

    /// Looks for a peer at this address from now on.
    pub fn locate(&self, peer: NodeId, address: String) {
        if let Some(link) = self.traffic.links.get(&peer) {
            link.locate(address);
        }
    }

    /// What became of messages so far.
    pub fn counts(&self) -> Counts {
        self.traffic.counts()
    }
}
