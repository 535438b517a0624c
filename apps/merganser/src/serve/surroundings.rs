//! What the driver acts on, as it sees it: a disk and a network. There is one of each, and
//! tests have their own, which do nothing until they are told.

use model::{Durability, NodeId};
use node::Message;
use storage::{Done, FlushError, Storage};
use transport::{Counts, Peers};

/// A disk that takes changes group by group. [`Storage`] says what each of these promises.
pub(super) trait Disk: node::Disk {
    /// The changes staged since the last flush.
    fn staged(&self) -> usize;

    /// Roughly their bytes.
    fn staged_bytes(&self) -> usize;

    /// Returns whether [`flush_now`](Self::flush_now) would block.
    fn is_behind(&self) -> bool;

    /// Hands over all that is staged. `done` is called from anywhere, at some time.
    fn flush(&mut self, durability: Durability, done: Done);

    /// Retires the group in flight, after it was done.
    fn flushed(&mut self);

    /// Hands all that is staged to the operating system, at once.
    ///
    /// # Errors
    ///
    /// [`FlushError`]. Nothing later succeeds.
    fn flush_now(&mut self) -> Result<(), FlushError>;

    /// Brings everything to disk.
    ///
    /// # Errors
    ///
    /// [`FlushError`]; the disk is let go of all the same.
    fn close(self) -> Result<(), FlushError>;
}

/// What carries messages to the other nodes.
pub(super) trait Network {
    /// Queues a message, or drops it.
    fn send(&mut self, to: NodeId, message: &Message);

    /// Lets out what is queued.
    fn flush(&mut self);

    /// Looks for a node at this address from now on.
    fn locate(&mut self, node: NodeId, address: String);

    /// What became of messages so far.
    fn counts(&self) -> Counts;
}

impl Disk for Storage {
    fn staged(&self) -> usize {
        Self::staged(self)
    }

    fn staged_bytes(&self) -> usize {
        Self::staged_bytes(self)
    }

    fn is_behind(&self) -> bool {
        Self::is_behind(self)
    }

    fn flush(&mut self, durability: Durability, done: Done) {
        Self::flush(self, durability, done);
    }

    fn flushed(&mut self) {
        Self::flushed(self);
    }

    fn flush_now(&mut self) -> Result<(), FlushError> {
        Self::flush_now(self)
    }

    fn close(self) -> Result<(), FlushError> {
        Self::close(self)
    }
}

impl Network for Peers {
    fn send(&mut self, to: NodeId, message: &Message) {
        Self::send(self, to, message);
    }

    fn flush(&mut self) {
        Self::flush(self);
    }

    fn locate(&mut self, node: NodeId, address: String) {
        Self::locate(self, node, address);
    }

    fn counts(&self) -> Counts {
        Self::counts(self)
    }
}
