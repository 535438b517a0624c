//! Requests of clients, and their answers.

use std::time::Duration;

use bytes::Bytes;
use causality::DotSet;
use crdt::{Marks, Token};

use crate::{
    DiskId, Durability, Explain, Explained, Failure, Key, Keyspace, Level, Name, NodeId, Object,
    Policy, ReadOptions, Recall, Recalled, Receipt, Repair, RepairStatus, ReplicaMap, Salvage,
    Salvaged, Session, SiblingRules, Status, Table, Value, Voting, Watch, Watched, WriteOptions,
};

/// What a client asks of a node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Request {
    /// Write or delete one key. Answered by [`Reply::Written`].
    Put(Put),
    /// Read one key. Answered by [`Reply::Read`].
    Get(Get),
    /// Tell what each replica holds of a key. Answered by [`Reply::Explained`].
    Explain(Explain),
    /// Read keys in order. Answered by [`Reply::Listed`].
    List(List),
    /// Tell what has changed in a table. Answered by [`Reply::Watched`].
    Watch(Watch),
    /// Tell what became of a write. Answered by [`Reply::Recalled`].
    Recall(Recall),
    /// Declare a keyspace or a table. Answered by [`Reply::Declared`].
    Declare(Declare),
    /// Tell the state of this node. Answered by [`Reply::Status`].
    Status,
    /// Begin, show or end a repair. Answered by [`Reply::Repair`].
    Repair(Repair),
    /// Take in what only a disk has that does not come back. Answered by [`Reply::Salvaged`].
    Salvage(Box<Salvage>),
}

/// Answers to [`Request`], each under the variant that its documentation names, or
/// [`Failed`](Reply::Failed).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reply {
    /// Answers [`Request::Put`].
    Written(Written),
    /// Answers [`Request::Get`].
    Read(Read),
    /// Answers [`Request::Explain`].
    Explained(Box<Explained>),
    /// Answers [`Request::List`].
    Listed(Listed),
    /// Answers [`Request::Watch`].
    Watched(Watched),
    /// Answers [`Request::Recall`].
    Recalled(Recalled),
    /// Answers [`Request::Declare`].
    Declared(Declared),
    /// Answers [`Request::Status`].
    Status(Box<Status>),
    /// Answers [`Request::Repair`].
    Repair(Box<RepairStatus>),
    /// Answers [`Request::Salvage`].
    Salvaged(Box<Salvaged>),
    /// Answers any request that did not succeed.
    Failed(Failure),
}

/// What a write does to its key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Mutation {
    /// Store this value.
    Store(Value),
    /// Remove what the client had read.
    Delete,
}

/// Write or delete one key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Put {
    /// In which keyspace.
    pub keyspace: Name,
    /// In which table.
    pub table: Name,
    /// Under which key.
    pub key: Key,
    /// What to do.
    pub mutation: Mutation,
    /// The writes that the client had read, and that this one supersedes. A client that
    /// never read the key passes the empty set, and supersedes nothing.
    pub context: DotSet,
    /// The client's name for this write. If it comes again, at whatever node, it is the same
    /// write. None if the client does not repeat it.
    pub token: Option<Token>,
    /// Whether somebody was asked for it before who did not answer, and who may have accepted it.
    pub repeated: bool,
    /// The marks of dots in the context, as they were handed out with it.
    pub marks: Marks,
    /// How many replicas must have it.
    pub options: WriteOptions,
    /// What the client's session has seen, by shard: the replica that accepts the write has it.
    /// Nothing if the client is in no session.
    pub sessions: Option<Vec<Session>>,
    /// How long the client waits.
    pub timeout: Duration,
}

/// What a write came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Written {
    /// The context to pass when writing again without reading: what the client had read,
    /// and this write.
    pub context: DotSet,
    /// The marks of dots in the context, to pass with it.
    pub marks: Marks,
    /// Whether this node had heard of the write before: it came with the same token.
    pub repeated: bool,
    /// What the client's session has seen of the shard now.
    pub session: Option<Session>,
    /// Who took part.
    pub receipt: Receipt,
}

/// Read one key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Get {
    /// In which keyspace.
    pub keyspace: Name,
    /// In which table.
    pub table: Name,
    /// Under which key.
    pub key: Key,
    /// How many replicas must answer.
    pub options: ReadOptions,
    /// Whether no later read that says so, too, may return less: what is read is at so many
    /// replicas before it is answered that every read at the table's level meets it.
    pub monotonic: bool,
    /// What the client's session has seen, by shard: nothing of it is missing in the answer.
    /// Nothing if the client is in no session.
    pub sessions: Option<Vec<Session>>,
    /// How long the client waits.
    pub timeout: Duration,
}

/// What a read found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Read {
    /// The merge of what the replicas hold; of a write that was tried twice, one value. Bottom if none has heard of the key; without
    /// values but with a context if it was deleted.
    pub object: Object,
    /// What the client's session has seen of the shard now.
    pub session: Option<Session>,
    /// Who took part.
    pub receipt: Receipt,
}

/// Which keys to list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Range {
    /// The keys of one partition key, by sort key, beginning after the given one.
    Partition {
        /// The partition key.
        partition: Bytes,
        /// Sort keys at or below this one are left out.
        after: Option<Bytes>,
    },
    /// All keys of the table, shard by shard, beginning after the given place.
    Table {
        /// The shard to begin with.
        shard: u16,
        /// Keys of that shard at or below this one are left out.
        after: Option<Key>,
    },
}

/// Read keys in order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct List {
    /// In which keyspace.
    pub keyspace: Name,
    /// In which table.
    pub table: Name,
    /// Which keys.
    pub range: Range,
    /// How many at the most. Fewer can come although there are more: `next` tells.
    pub limit: usize,
    /// How many replicas of each shard must answer.
    pub options: ReadOptions,
    /// How long the client waits.
    pub timeout: Duration,
}

/// One key of a list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listing {
    /// The key.
    pub key: Key,
    /// What it holds: at least one value.
    pub object: Object,
}

/// What a list found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listed {
    /// Keys that hold a value, in order.
    pub listings: Vec<Listing>,
    /// Where to go on; nothing if this was all.
    pub next: Option<Range>,
    /// Who took part in the last shard read.
    pub receipt: Receipt,
}

/// A change of the catalog, or a look at it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Declare {
    /// Create a keyspace. Repeating it with the same contract changes nothing.
    Keyspace {
        /// Its name.
        name: Name,
        /// Into how many shards; a power of two.
        shards: u16,
        /// How many replicas in which region.
        replicas: ReplicaMap,
        /// Whether guests stand in for replicas that are away.
        sloppy: bool,
    },
    /// Create a table. Repeating it with the same contract changes nothing.
    Table {
        /// The keyspace it is in.
        keyspace: Name,
        /// Its name.
        name: Name,
        /// What becomes of concurrent values.
        policy: Policy,
        /// When a replica says that it has a write.
        durability: Durability,
        /// The default level of reads.
        read: Level,
        /// The default level of writes.
        write: Level,
        /// How replicas are counted.
        voting: Voting,
        /// How many concurrent values its keys may hold.
        siblings: SiblingRules,
    },
    /// Say what became of the disk of a node. Refused if that cannot be, because of what became
    /// of it before.
    Disk {
        /// Which node.
        node: NodeId,
        /// What became of it.
        step: DiskStep,
    },
}

/// What becomes of the disk of a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DiskStep {
    /// This one is to take the place of the one before, once it is whole.
    Joins(DiskId),
    /// This one is whole, and the one before never comes back.
    IsWhole(DiskId),
    /// This one was not lost after all, and what was to take its place is retired.
    IsBack(DiskId),
    /// The node is evicted: it does not come back with this disk, and nobody waits for it.
    IsGone(DiskId),
}

/// What a declaration came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Declared {
    /// The keyspace as it is.
    Keyspace {
        /// The contract.
        keyspace: Keyspace,
        /// Whether it was made by this request.
        created: bool,
    },
    /// The table as it is.
    Table {
        /// The contract.
        table: Table,
        /// Whether it was made by this request.
        created: bool,
    },
    /// What became of the disk of a node is known.
    Disk {
        /// Which node.
        node: NodeId,
        /// Whether it was not known before.
        created: bool,
    },
}
