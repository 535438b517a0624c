//! What this node holds of one peer: at most one connection, and what is queued for it.
//!
//! Queueing only appends to a buffer. The write happens in [`Link::flush`], once for all
//! that a turn of the event loop has queued, directly from there: waking a task to do it
//! would cost as much again as the write. Only when the kernel takes no more does the
//! connection's own task go on, in [`Line::push_on`].

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, BytesMut};
use model::NodeId;
use node::Message;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;

/// A queue that has grown beyond this gives its memory back when it is empty.
const QUEUE_BYTES_KEPT: usize = 256 << 10;

/// What became of messages, since the start.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) sent: AtomicU64,
    pub(crate) received: AtomicU64,
    /// Dropped for want of a connection, or of room in the queue.
    pub(crate) dropped: AtomicU64,
    /// Dropped because no frame holds them. Apart, because trying again does not help.
    pub(crate) too_large: AtomicU64,
    pub(crate) writes: AtomicU64,
    /// Put into the queue.
    pub(crate) bytes: AtomicU64,
}

/// One peer.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) peer: NodeId,
    line: Mutex<Option<Arc<Line>>>,
    /// Where it is said to be reached, if that is known.
    address: Mutex<Option<String>>,
    /// Its address is another one now.
    pub(crate) moved: Notify,
    /// The most bytes that wait. Every message costs some, so this bounds their number as well.
    pub(crate) queue_bytes_max: usize,
    pub(crate) tally: Tally,
}

/// What became of a message that was to be sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Sent {
    /// It waits for the next flush.
    Queued {
        /// How many bytes it has.
        bytes: usize,
    },
    /// There is no connection, or the queue is full.
    Dropped,
    /// No frame holds it, at any time.
    TooLarge {
        /// How many bytes it has.
        bytes: usize,
    },
}

/// One connection to a peer that has proved who it is.
#[derive(Debug)]
pub(crate) struct Line {
    writer: OwnedWriteHalf,
    queue: Mutex<Queue>,
    queue_bytes_max: usize,
    /// The kernel takes no more for now.
    full: Notify,
    /// Another connection took this one's place.
    pub(crate) replaced: Notify,
    /// Counts reads, to tell a silent peer from a quiet moment.
    pub(crate) reads: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    bytes: BytesMut,
    is_blocked: bool,
}

/// Locks, also after a panic elsewhere: every change to what is behind these locks is
/// complete in itself.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Link {
    pub(crate) fn new(peer: NodeId, address: Option<String>, queue_bytes_max: usize) -> Self {
        let (line, address, tally) = (Mutex::default(), Mutex::new(address), Tally::default());
        Self { peer, line, address, moved: Notify::new(), queue_bytes_max, tally }
    }

    pub(crate) fn address(&self) -> Option<String> {
        lock(&self.address).clone()
    }

    /// Takes note of where the peer is said to be. The connection that is there stays.
    pub(crate) fn locate(&self, address: String) {
        let mut known = lock(&self.address);
        if known.as_ref() != Some(&address) {
            tracing::info!(peer = %self.peer, address, before = ?known, "the peer has another address");
            *known = Some(address);
            self.moved.notify_one();
        }
    }

    /// Puts a connection in the place of the present one. Returns whether there was one,
    /// which ends.
    pub(crate) fn install(&self, line: &Arc<Line>) -> bool {
        let former = lock(&self.line).replace(Arc::clone(line));
        if let Some(former) = &former {
            former.replaced.notify_one();
        }
        former.is_some()
    }

    /// Takes a connection out that has ended. Returns whether it was still in place.
    pub(crate) fn remove(&self, line: &Arc<Line>) -> bool {
        let mut present = lock(&self.line);
        let is_present = present.as_ref().is_some_and(|present| Arc::ptr_eq(present, line));
        if is_present {
            *present = None;
        }
        is_present
    }

    pub(crate) fn is_connected(&self) -> bool {
        lock(&self.line).is_some()
    }

    /// Queues a message, or drops it: without a connection, or with a full queue, it will
    /// not arrive in time to be of use. One that no frame holds is dropped as well.
    pub(crate) fn send(&self, message: &Message) -> Sent {
        let line = lock(&self.line);
        let sent = line.as_ref().map_or(Sent::Dropped, |line| line.enqueue(message));
        drop(line);
        let count = match sent {
            Sent::Queued { bytes } => {
                self.tally.bytes.fetch_add(bytes as u64, Relaxed);
                &self.tally.sent
            }
            Sent::Dropped => &self.tally.dropped,
            Sent::TooLarge { .. } => &self.tally.too_large,
        };
        count.fetch_add(1, Relaxed);
        sent
    }

    /// Writes what is queued, as far as the kernel takes it.
    pub(crate) fn flush(&self) {
        if let Some(line) = &*lock(&self.line) {
            line.flush(&self.tally);
        }
    }
}

impl Line {
    pub(crate) fn new(writer: OwnedWriteHalf, queue_bytes_max: usize) -> Self {
        Self {
            writer,
            queue: Mutex::default(),
            queue_bytes_max,
            full: Notify::new(),
            replaced: Notify::new(),
            reads: AtomicU64::new(0),
        }
    }

    fn enqueue(&self, message: &Message) -> Sent {
        let mut queue = lock(&self.queue);
        if self.queue_bytes_max <= queue.bytes.len() {
            return Sent::Dropped;
        }
        let before = queue.bytes.len();
        match wire::encode(message, &mut queue.bytes) {
            Ok(()) => Sent::Queued { bytes: queue.bytes.len() - before },
            Err(wire::WireError::TooLarge { bytes, .. }) => Sent::TooLarge { bytes },
            Err(error) => unreachable!("writing a message reads nothing: {error}"),
        }
    }

    fn flush(&self, tally: &Tally) {
        let mut queue = lock(&self.queue);
        if queue.bytes.is_empty() || queue.is_blocked {
            return;
        }
        tally.writes.fetch_add(1, Relaxed);
        // A broken connection also shows on the reading side, where it is dealt with.
        if let Ok(false) = queue.write_to(&self.writer) {
            queue.is_blocked = true;
            self.full.notify_one();
        }
    }

    /// Goes on writing whenever the kernel had taken no more. Ends with the connection.
    pub(crate) async fn push_on(&self) -> io::Error {
        loop {
            self.full.notified().await;
            loop {
                if let Err(error) = self.writer.writable().await {
                    return error;
                }
                let mut queue = lock(&self.queue);
                match queue.write_to(&self.writer) {
                    Ok(true) => {
                        queue.is_blocked = false;
                        break;
                    }
                    Ok(false) => {}
                    Err(error) => return error,
                }
            }
        }
    }
}

impl Queue {
    /// Writes until all is written, or nothing more can be. Returns whether it is all.
    fn write_to(&mut self, writer: &OwnedWriteHalf) -> io::Result<bool> {
        while !self.bytes.is_empty() {
            match writer.try_write(&self.bytes) {
                Ok(written) => self.bytes.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        if QUEUE_BYTES_KEPT < self.bytes.capacity() {
            self.bytes = BytesMut::new();
        } else {
            self.bytes.clear();
        }
        Ok(true)
    }
}
