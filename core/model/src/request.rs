//! Requests of clients, and their answers.
//!
//! Failures come in three kinds that must never be mixed, because the client has to do
//! something else after each:
//!
//! | failure | what is known | what to do |
//! | --- | --- | --- |
//! | refused | nothing was changed | what the text says: mostly, correct the request |
//! | not attempted | nothing was changed: too few replicas were known alive | retry, anywhere |
//! | unknown | of a write: too few answered in time; some may have it | read, then decide |
//!
//! A read changes nothing, however it fails, so the third kind does not exist for it: a read that
//! too few replicas answered in time says only that, and can be repeated anywhere.

use std::time::Duration;

use bytes::Bytes;
use causality::DotSet;
use crdt::{Marks, Token};
use thiserror::Error;

use crate::{
    Durability, Key, Keyspace, Level, Malformed, Name, NodeId, Object, Policy, ReadOptions,
    Receipt, Region, ReplicaMap, Table, Value, Voting, WriteOptions, Zone,
};

/// What a client asks of a node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Request {
    /// Write or delete one key. Answered by [`Reply::Written`].
    Put(Put),
    /// Read one key. Answered by [`Reply::Read`].
    Get(Get),
    /// Read keys in order. Answered by [`Reply::Listed`].
    List(List),
    /// Declare a keyspace or a table. Answered by [`Reply::Declared`].
    Declare(Declare),
    /// Tell the state of this node. Answered by [`Reply::Status`].
    Status,
}

/// Answers to [`Request`], each under the variant that its documentation names, or
/// [`Failed`](Reply::Failed).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reply {
    /// Answers [`Request::Put`].
    Written(Written),
    /// Answers [`Request::Get`].
    Read(Read),
    /// Answers [`Request::List`].
    Listed(Listed),
    /// Answers [`Request::Declare`].
    Declared(Declared),
    /// Answers [`Request::Status`].
    Status(Box<Status>),
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
    /// The marks of dots in the context, as they were handed out with it.
    pub marks: Marks,
    /// How many replicas must have it.
    pub options: WriteOptions,
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
    /// How long the client waits.
    pub timeout: Duration,
}

/// What a read found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Read {
    /// The merge of what the replicas hold; of a write that was tried twice, one value. Bottom if none has heard of the key; without
    /// values but with a context if it was deleted.
    pub object: Object,
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
    },
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
}

/// The state of a node, as it sees itself and the others.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Status {
    /// The node asked.
    pub node: NodeId,
    /// Its present incarnation.
    pub incarnation: causality::Incarnation,
    /// How long it has been up.
    pub uptime: Duration,
    /// Every node of the layout, itself included.
    pub nodes: Vec<NodeStatus>,
    /// The version of the catalog this node has.
    pub catalog_version: u64,
    /// The keyspaces it knows.
    pub keyspaces: Vec<Keyspace>,
    /// The tables it knows.
    pub tables: Vec<Table>,
    /// Requests it coordinates at this moment.
    pub requests: usize,
    /// Merges sent because a read had found a replica behind.
    pub read_repairs: u64,
    /// Writes whose place was forgotten although some replica may lack them: the log was full.
    pub log_dropped: u64,
    /// What it keeps for replicas that were away, by node. Those who are owed nothing are
    /// left out.
    pub hints: Vec<HintStatus>,
}

/// What a guest keeps for one replica.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HintStatus {
    /// For which.
    pub target: NodeId,
    /// How many objects.
    pub count: u64,
    /// Roughly how many bytes they have together.
    pub bytes: u64,
    /// For how long it has kept the oldest, to the second.
    pub oldest: Duration,
}

/// One node, as another sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NodeStatus {
    /// Which.
    pub node: NodeId,
    /// Whether it answers to the node that was asked.
    pub alive: bool,
    /// Its site.
    pub region: Region,
    /// Its failure domain within the site.
    pub zone: Zone,
    /// What the nodes of the cluster tell each other of it.
    pub standing: Standing,
    /// How far it and the node that was asked are apart. Nothing if they keep no shard together.
    pub lag: Option<Lag>,
}

/// How far two replicas are apart, as one of them sees it, over all shards that both keep.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Lag {
    /// Writes that the other one has and this one lacks.
    pub behind: u64,
    /// Writes that this one has and the other one lacks.
    pub ahead: u64,
    /// Writes that the other one has heard of and could not produce.
    pub gaps: u64,
    /// Shards of which the other one lacks something that the log cannot bring it any more.
    pub marked: u64,
    /// This node has everything that the other one had so long ago, in every shard. Nothing if
    /// that is not known yet.
    pub since: Option<Duration>,
}

/// What the cluster says of a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// It answers somebody.
    Up,
    /// It answered nobody who asked, and may still object.
    Suspected,
    /// It did not object.
    Down,
    /// Nothing was heard of it.
    Unknown,
}

/// Bounds on what a client may send. Configured per node, alike on all nodes of a cluster.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// The most bytes of one value.
    pub value_bytes_max: usize,
    /// The most values that one key may hold concurrently. A blind write beyond is
    /// refused: nothing is dropped to make room.
    pub siblings_max: usize,
    /// The most bytes that the concurrent values of one key may have together, if there
    /// are several. The object has to fit into one message between nodes, also when several
    /// replicas have filled it at the same time.
    pub object_bytes_max: usize,
    /// The most requests that one node coordinates at once. More are refused at once.
    pub requests_max: usize,
    /// The most keys, tombstones included, that one replica looks at for one page of a list.
    pub page_objects_max: usize,
    /// How often replicas tell each other what their clocks come to, about.
    pub exchange_interval: Duration,
    /// How many bytes a replica that lacks something is sent at once, about. A thirtieth of it
    /// while it has clients to serve.
    pub exchange_bytes_max: usize,
    /// How many writes of one shard a node remembers the places of, so that replicas which lack
    /// them can be sent them. Beyond it the oldest are forgotten, and who lacks them is marked.
    pub log_entries_max: usize,
    /// How old a token may be, by the clock of the node that is asked. An older one is refused,
    /// because nobody may remember any longer whether it was used.
    pub retry_window: Duration,
    /// How far a token may be ahead of that clock.
    pub token_ahead_max: Duration,
    /// The most bytes that one node keeps for replicas that are away. A write that would
    /// exceed them is taken to another guest: what was taken in is never dropped.
    pub hint_bytes_max: u64,
}

impl Default for Limits {
    /// 8 MiB values, because larger ones delay their neighbours on a connection;
    /// 100 siblings, where Riak warns that an application has stopped resolving; 16 MiB
    /// together, so that what three replicas accepted blindly still fits into 64 MiB;
    /// 10,000 requests, which at 8 KiB each is 80 MiB; 1,000 keys for a page, which a disk
    /// reads in one go; clocks every second, which costs ten bytes for each shard, and 4 MiB
    /// at once, which takes a network some hundredths of a second; 100,000 writes of a shard, which
    /// are about 10 MB on disk; an hour for retries, in which a client restarts and a network
    /// is mended; five minutes between clocks, which anybody's time service keeps; 1 GiB of
    /// hints, a small part of a disk, and hours of writes at a laptop's pace.
    fn default() -> Self {
        Self {
            value_bytes_max: 8 << 20,
            siblings_max: 100,
            object_bytes_max: 16 << 20,
            requests_max: 10_000,
            page_objects_max: 1_000,
            exchange_interval: Duration::from_secs(1),
            exchange_bytes_max: 4 << 20,
            log_entries_max: 100_000,
            retry_window: Duration::from_secs(3_600),
            token_ahead_max: Duration::from_secs(300),
            hint_bytes_max: 1 << 30,
        }
    }
}

/// Why a request did not succeed, and what remains of it.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
pub enum Failure {
    /// Nothing was changed. Repeating the request as it is helps only where the text says so.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// Nothing was changed, because the level could not have been met.
    #[error(
        "not attempted: {wanted} of {replicas} replicas are needed and {alive} are known alive{}; nothing was changed", remark(.lacks)
    )]
    NotAttempted {
        /// How many replicas the level needs, at the least.
        wanted: u8,
        /// How many replicas this node believes to be alive.
        alive: u8,
        /// N.
        replicas: u8,
        /// What those alive are too few for, where the numbers do not say it.
        lacks: String,
    },
    /// Too few replicas answered a write in time. It was not undone: replicas that took it
    /// keep it.
    #[error(
        "unknown outcome: {got} of the {wanted} replicas that are needed answered in time{}; a write may have been applied by some and is not undone", remark(.lacks)
    )]
    Unknown {
        /// How many replicas the level needs, at the least.
        wanted: u8,
        /// How many answered.
        got: u8,
        /// Who took part, if the request came so far.
        receipt: Option<Receipt>,
        /// What those that answered are too few for, where the numbers do not say it.
        lacks: String,
    },
    /// Too few replicas answered a read in time. A read changes nothing.
    #[error(
        "too few answers: {got} of the {wanted} replicas that are needed answered in time{}; nothing was changed, so the read can be repeated", remark(.lacks)
    )]
    TooFewAnswers {
        /// How many replicas the level needs, at the least.
        wanted: u8,
        /// How many answered.
        got: u8,
        /// Which they are.
        receipt: Receipt,
        /// What those that answered are too few for, where the numbers do not say it.
        lacks: String,
    },
    /// The level was met, and what was met is worth less than the client demanded. A write is
    /// at the replicas of the receipt, and is not undone; whether others have it is unknown.
    #[error(
        "the level was met, and the answer is {}, which is less than was demanded; {}", .receipt.kind.as_str(), remains(.receipt)
    )]
    Weaker {
        /// Who took part, and what that is worth.
        receipt: Receipt,
    },
}

fn names(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(" ")
}

fn remark(lacks: &str) -> String {
    if lacks.is_empty() { String::new() } else { format!(" ({lacks})") }
}

/// What is left of a request that met its level, and was worth too little.
fn remains(receipt: &Receipt) -> &'static str {
    match receipt.dot {
        Some(_) => {
            "the write is at the replicas in the receipt, may be at others, and is not undone"
        }
        None => "nothing was changed",
    }
}

/// Why a request is not acceptable. The text tells what to do.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
pub enum Refusal {
    /// The name or key cannot exist.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// There is no such keyspace.
    #[error("there is no keyspace {0}; create it with PUT /v1/keyspaces/{0}")]
    UnknownKeyspace(Name),
    /// There is no such table in the keyspace.
    #[error(
        "there is no table {table} in keyspace {keyspace}; create it with PUT /v1/keyspaces/{keyspace}/tables/{table}"
    )]
    UnknownTable {
        /// The keyspace, which exists.
        keyspace: Name,
        /// The table, which does not.
        table: Name,
    },
    /// The name exists with another contract, which cannot be changed.
    #[error("{what} {name} exists with another contract: {difference}")]
    Exists {
        /// `keyspace` or `table`.
        what: &'static str,
        /// Its name.
        name: Name,
        /// What differs.
        difference: String,
    },
    /// The contract cannot be kept.
    #[error("{0}")]
    Contract(String),
    /// A level that no number of answers can meet.
    #[error("{what}={asked} is out of range: there are {replicas} {of}")]
    Level {
        /// Which option.
        what: &'static str,
        /// The number it comes to.
        asked: u8,
        /// How many there are.
        replicas: u8,
        /// Of what: `replicas`, `votes` or `zones`.
        of: &'static str,
    },
    /// A level of the coordinator's region, which keeps no replicas.
    #[error(
        "{what}={level} is about the region of the node that was asked, and {region} keeps no replicas of this keyspace; ask a node of a region that does, or use a level of all regions"
    )]
    NotLocal {
        /// Which option.
        what: &'static str,
        /// What it says.
        level: String,
        /// The region of the node that was asked.
        region: Region,
    },
    /// The table allows no request as weak as this.
    #[error("{what}={asked} is weaker than {weakest}, the weakest that the table allows")]
    Weak {
        /// Which option.
        what: &'static str,
        /// What it says.
        asked: Level,
        /// The least that it may say.
        weakest: Level,
    },
    /// A table at whose levels writes can be missed, and that does not say so.
    #[error(
        "{what} at the table's level can miss a write: one could be answered by {}, and the other by {}. Choose levels that meet, or declare may_miss", names(.nodes), names(.written)
    )]
    MayMiss {
        /// What can miss a write: `a read` or `a write`.
        what: &'static str,
        /// Replicas that suffice for it.
        nodes: Vec<NodeId>,
        /// Replicas that suffice for the write, and none of which is among the others.
        written: Vec<NodeId>,
    },
    /// The value has too many bytes.
    #[error("the value has {bytes} bytes, the most is {max}")]
    LargeValue {
        /// How many it has.
        bytes: usize,
        /// How many it may have.
        max: usize,
    },
    /// A write without a context would add one more concurrent value than the key may hold.
    #[error(
        "the key holds {siblings} concurrent values, the most is {max}; read it, and write with the context"
    )]
    ManySiblings {
        /// How many it holds.
        siblings: usize,
        /// How many it may hold.
        max: usize,
    },
    /// A write without a context would make the concurrent values of the key too large to
    /// travel together, and the key could never be read again.
    #[error(
        "the concurrent values of the key would have {bytes} bytes together, the most is {max}; read it, and write with the context"
    )]
    LargeObject {
        /// How many they would have.
        bytes: usize,
        /// How many they may have.
        max: usize,
    },
    /// A delete removes exactly what its context names.
    #[error(
        "a delete removes what its context names, and this one has none; read the key, and delete it with the context of that read"
    )]
    EmptyDelete,
    /// The token is older than retries may be.
    #[error(
        "the idempotency key was made {seconds} s ago by the clock of this node, and is taken for at most {max} s; ask for the outcome, or read, and write with a new one"
    )]
    TokenExpired {
        /// How old it is.
        seconds: u64,
        /// How old it may be.
        max: u64,
    },
    /// The token is of a time that has not come.
    #[error(
        "the idempotency key is of a time {seconds} s from now by the clock of this node, at most {max} s are accepted; check the clocks"
    )]
    TokenFromFuture {
        /// How far ahead it is.
        seconds: u64,
        /// How far ahead it may be.
        max: u64,
    },
    /// The token has named another write.
    #[error(
        "the idempotency key was used for another write to this key: other bytes, another type or another context; use a new one for each write"
    )]
    TokenReused,
    /// So many writes to the key have come after the token that nobody remembers it.
    #[error(
        "more than {max} writes to this key are younger than the idempotency key, and whether it was used before is not known any more; read the key, and write with a new one"
    )]
    TokenForgotten {
        /// How many are remembered.
        max: usize,
    },
    /// The node has as much to do as it can bear.
    #[error(
        "the node has as much to do as it can bear (at most {max} requests at once); retry after a moment"
    )]
    Overloaded {
        /// How many it may coordinate at once.
        max: usize,
    },
    /// The node's own disk failed it.
    #[error("the node cannot read or write its disk: {0}")]
    Disk(String),
    /// The catalog cannot be changed while most nodes are away.
    #[error(
        "{alive} of {nodes} nodes are known alive; declaring keyspaces and tables needs a majority. Data in existing tables is not affected"
    )]
    NoMajority {
        /// How many nodes are known alive.
        alive: usize,
        /// How many there are.
        nodes: usize,
    },
}
