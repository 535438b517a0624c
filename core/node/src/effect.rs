//! What happens to a node, and what it wants done.
use catalog::Acceptor;
use model::{Address, NodeId, Reply, Request, ShardId};
use replica::{PageNeed, StoreError, Sum};

use crate::{Hint, HintPlace, Message};

/// The driver's name for a client that waits for an answer.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Ticket(pub u64);

/// What happened to a node.
#[derive(Clone, Debug)]
pub enum Input {
    /// A client asked for something. Answered by [`Effect::Answer`].
    Requested {
        /// Who waits.
        ticket: Ticket,
        /// What for.
        request: Request,
    },
    /// A node, possibly this one, said something.
    Received {
        /// Who.
        from: NodeId,
        /// What.
        message: Message,
    },
    /// A connection to a node was made, and it has shown who it is.
    Connected(NodeId),
    /// The connection to a node broke. What was on its way may be lost.
    Lost(NodeId),
    /// The time came that [`Node::wake_at`](crate::Node::wake_at) named.
    Woken,
}

/// When an effect may leave the node.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum After {
    /// At once: it promises nothing about this node's disk.
    Now,
    /// When everything ever staged has been handed to the operating system.
    Committed,
    /// When everything ever staged is on disk. The disk is asked to bring it there at once.
    Synced,
    /// When everything ever staged is on disk, whenever that is: the disk is not hurried, and does
    /// it within about a second anyway.
    SyncedSometime,
}

/// What a node wants done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Effect {
    /// Send a message. A message to this very node comes back as [`Input::Received`].
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
        /// When.
        after: After,
    },
    /// Answer a client.
    Answer {
        /// Which.
        ticket: Ticket,
        /// With what.
        reply: Reply,
    },
    /// Look for a node at this address from now on. A hint: whoever answers there has to show
    /// that it is that node.
    Located {
        /// Which.
        node: NodeId,
        /// Where, as `host:port`. Empty if it did not say.
        address: String,
    },
}

/// The disk of one node: its objects, what it keeps for others, and its vote on catalogs.
///
/// Hints are staged, and become durable, in one batch with everything else.
pub trait Disk: replica::Store {
    /// Stages what this node must remember to vote on catalogs.
    fn keep_acceptor(&mut self, acceptor: &Acceptor);

    /// Stages that a replica of a shard lacks something that the log cannot bring it any more, or
    /// that it has it.
    fn mark(&mut self, shard: ShardId, node: NodeId, lacks: bool);

    /// Whether it has fallen behind, so that what nobody waits for is staged later: until then it is
    /// kept in memory.
    fn is_busy(&self) -> bool;

    /// Stages what a shard should come to, where no change says it.
    fn keep_sum(&mut self, shard: ShardId, sum: Sum);

    /// Reads one hint. Nothing if none is kept there.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; nothing was changed.
    fn hint(&self, place: &HintPlace) -> Result<Option<Hint>, StoreError>;

    /// Reads hints for one replica, in an order that does not change, after one of them or
    /// from the first. At least one if there is one, however little is wanted.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; nothing was changed.
    fn hints(
        &self,
        target: NodeId,
        after: Option<&Address>,
        need: PageNeed,
    ) -> Result<Vec<(Address, Hint)>, StoreError>;

    /// Stages a hint, or that there is none any more.
    fn keep_hint(&mut self, place: &HintPlace, hint: Option<&Hint>);
}
