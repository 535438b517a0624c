//! What goes to all peers, and what becomes of it.
//!
//! Messages may be dropped at any time, and every conversation of the nodes survives it; so
//! nobody would notice a link that drops all the time. It is counted, and while the counts
//! grow the log says so, twice a minute. A message that no frame holds has a line of its
//! own: that write reaches the other replicas at no time, until somebody resolves its key.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::NodeId;
use node::{Merge, Message};

use crate::complaints::{Complaints, Kind};
use crate::link::{Link, Sent};

/// How often the log tells of messages that were dropped.
const REPORT_INTERVAL: Duration = Duration::from_secs(30);

/// All links, and what is known about them together.
#[derive(Debug)]
pub(crate) struct Traffic {
    pub(crate) links: BTreeMap<NodeId, Arc<Link>>,
    /// Messages to nodes that are not in the configuration.
    strays: AtomicU64,
    complaints: Mutex<Complaints>,
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
    /// Messages dropped, because no frame holds them.
    pub too_large: u64,
    /// Messages handed to the inbox.
    pub received: u64,
    /// Calls to the kernel that wrote queued messages.
    pub writes: u64,
    /// Bytes put into a queue.
    pub bytes: u64,
}

impl Traffic {
    pub(crate) fn new(
        peers: impl Iterator<Item = (NodeId, Option<String>)>,
        queue_bytes_max: usize,
    ) -> Self {
        let link = |(peer, address)| (peer, Arc::new(Link::new(peer, address, queue_bytes_max)));
        Self {
            links: peers.map(link).collect(),
            strays: AtomicU64::new(0),
            complaints: Mutex::default(),
        }
    }

    /// Queues a message, or drops it.
    pub(crate) fn send(&self, to: NodeId, message: &Message) {
        let Some(link) = self.links.get(&to) else {
            self.strays.fetch_add(1, Relaxed);
            return;
        };
        match link.send(message) {
            Sent::Queued { .. } | Sent::Dropped => {}
            Sent::TooLarge { bytes } => self.complain_of_size(to, message, bytes),
        }
    }

    fn complain_of_size(&self, to: NodeId, message: &Message, bytes: usize) {
        let Some(kept_back) = self.complain((Some(to), "too large")) else { return };
        let (kind, max) = (kind(message), wire::FRAME_BYTES_MAX);
        if let Message::Merge(Merge { address, .. }) = message {
            tracing::warn!(%to, kind, table = %address.table, key = ?address.key, bytes, max, kept_back, "a key is too large to be sent: resolve its siblings, or delete it");
        } else {
            tracing::warn!(%to, kind, bytes, max, kept_back, "a message is too large to be sent");
        }
    }

    /// Says whether to log a complaint of this kind now, and how many were kept back.
    pub(crate) fn complain(&self, kind: Kind) -> Option<u64> {
        let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        complaints.make(kind, Instant::now())
    }

    /// What became of messages so far.
    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts { dropped: self.strays.load(Relaxed), ..Counts::default() };
        for link in self.links.values() {
            counts.connected += usize::from(link.is_connected());
            counts.sent += link.tally.sent.load(Relaxed);
            counts.dropped += link.tally.dropped.load(Relaxed);
            counts.too_large += link.tally.too_large.load(Relaxed);
            counts.received += link.tally.received.load(Relaxed);
            counts.writes += link.tally.writes.load(Relaxed);
            counts.bytes += link.tally.bytes.load(Relaxed);
        }
        counts
    }
}

impl Counts {
    /// Returns whether messages were lost here since `before`.
    fn is_worse_than(&self, before: &Self) -> bool {
        (before.dropped, before.too_large) != (self.dropped, self.too_large)
    }
}

/// Logs the counts whenever messages were dropped since the last time.
pub(crate) async fn report(traffic: Arc<Traffic>) {
    let mut before = Counts::default();
    loop {
        tokio::time::sleep(REPORT_INTERVAL).await;
        let counts = traffic.counts();
        if counts.is_worse_than(&before) {
            tracing::info!(
                dropped = counts.dropped - before.dropped,
                too_large = counts.too_large - before.too_large,
                sent = counts.sent - before.sent,
                received = counts.received - before.received,
                writes = counts.writes - before.writes,
                connected = counts.connected,
                peers = traffic.links.len(),
                "messages to peers were dropped since the last report"
            );
        }
        before = counts;
    }
}

/// What a message is, in one word.
fn kind(message: &Message) -> &'static str {
    match message {
        Message::Merge(_) => "merge",
        Message::Merged(_) => "merged",
        Message::Fetch(_) => "fetch",
        Message::Fetched(_) => "fetched",
        Message::Scan(_) => "scan",
        Message::Scanned(_) => "scanned",
        Message::Forward(_) => "forward",
        Message::Forwarded(_) => "forwarded",
        Message::Probe { .. } => "probe",
        Message::Probed { .. } => "probed",
        Message::Prepare { .. } => "prepare",
        Message::Promised { .. } => "promised",
        Message::Accept { .. } => "accept",
        Message::Accepted { .. } => "accepted",
        Message::Rejected { .. } => "rejected",
        Message::Learn { .. } => "learn",
        Message::Gossip { .. } => "gossip",
        Message::Holding { .. } => "holding",
        Message::Take { .. } => "take",
        Message::Clocks(_) => "clocks",
        Message::Alike(_) => "alike",
        Message::Lack(_) => "lack",
        Message::Sent(_) => "sent",
        Message::Compare(_) => "compare",
        Message::Compared(_) => "compared",
        Message::Bring(_) => "bring",
        Message::Spared(_) => "spared",
        Message::Forgot(_) => "forgot",
        Message::Follow(_) => "follow",
        Message::Followed(_) => "followed",
        Message::Vouch(_) => "vouch",
        Message::Vouched(_) => "vouched",
        Message::Doubt(_) => "doubt",
        Message::Doubted(_) => "doubted",
        Message::Examine(_) => "examine",
        Message::Examined(_) => "examined",
        Message::Recognise(_) => "recognise",
        Message::Recognised(_) => "recognised",
    }
}
