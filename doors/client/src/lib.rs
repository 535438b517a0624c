//! The Rust client of Merganser.
//!
//! A client of a database in which every node takes every request has three things to get
//! right. It has to find a node that answers. It has to repeat a request only where that
//! cannot do harm. And it has to hand back, with each write, the *context* of what it had
//! read, because that is how the database knows what the write replaces.
//!
//! ```no_run
//! # async fn example() -> Result<(), client::Error> {
//! use client::{Client, Content, Key, Options, ReadOptions, WriteOptions};
//!
//! let client = Client::new(["http://127.0.0.1:7001", "http://127.0.0.1:7002"], Options::default())?;
//! let carts = client.table("shop", "carts");
//! let key = Key::from("alice");
//!
//! let found = carts.get(&key, &ReadOptions::default()).await?;
//! // Two carts, if two shops wrote at once: the application decides what they come to.
//! let merged = found.values.iter().map(|value| value.text()).collect::<Vec<_>>().join(",");
//! // The context makes the new value replace all that were read, and nothing else.
//! let written = carts
//!     .put(&key, &Content::text(format!("{merged},milk")), found.context.as_ref(), &WriteOptions::default())
//!     .await?;
//! println!("{} replicas have it", written.receipt.map_or(0, |receipt| receipt.acks.len()));
//! # Ok(())
//! # }
//! ```
//!
//! **Retries.** Reads are repeated at the next endpoint until the time is up. So are writes:
//! each has a [`Token`], made for it unless the caller brings one, by which every node knows
//! it again, so that it has one effect however often it is sent. One of which nothing is known
//! when the time is up ends as [`Error::Unknown`], with its token:
//! [`Table::outcome`] tells later what became of it. A write that is
//! [`UnsafeToRepeat`](Identity::UnsafeToRepeat) is repeated only if it was certainly not sent,
//! or if the server says that it changed nothing. See the table in `retry.rs`.
//!
//! **Sessions.** Through a [`Session`] a program is never shown less than it has seen, at whatever nodes;
//! as text it goes on in another program.
//!
//! **Connections** are kept open and shared by all clones of a [`Client`]. One connection
//! carries one request at a time; as many are opened as requests run at once.
//!
//! **Cancellation.** Every future here may be dropped at any time. A write that was under
//! way may then have been applied, as with [`Error::Unknown`].
//!
//! What this crate does not do: TLS, caching.

mod backup;
mod batch;
mod catalog;
mod connection;
mod endpoint;
mod error;
mod explain;
#[doc(hidden)]
pub mod fuzzed;
mod key;
mod level;
mod list;
mod outcome;
mod receipt;
mod repair;
mod retry;
mod salvage;
mod send;
mod session;
mod table;
mod token;
mod watch;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

pub use backup::BackupBytes;
pub use batch::{Operation, Outcome};
pub use catalog::{
    Blocker, DiskState, Durability, Evicted, Forgetting, HealthLevel, Hints, KeyspaceContract,
    KeyspaceInfo, Lag, NodeState, Replicas, Status, Suspect, TableContract, TableInfo,
};
pub use error::{Error, Problem};
pub use explain::{Explanation, Holding, ReadNow, Version};
pub use key::{Content, Context, Dot, Key, Value};
pub use level::{Demands, Level, ReadOptions, WriteOptions};
pub use list::{Entry, ListOptions, Page, Pages};
pub use outcome::{Fate, Recalled};
pub use receipt::{Kind, Receipt};
pub use repair::{Differing, Proof, Repair, RepairMode, RepairPair, Repairs, StartRepair};
pub use salvage::{Found, Run, Salvaged};
pub use session::{NoSession, Session};
pub use table::{Answer, Table, Written};
pub use token::{Identity, NoToken, Token};
pub use watch::{Change, Changes, Feed, Since, WatchOptions};

use endpoint::Endpoint;

/// How a [`Client`] behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long one request may take, with all its repetitions. The server is told how
    /// much of it is left. From 1 ms to 60 s.
    pub timeout: Duration,
    /// How often one request is tried at most; 1 never repeats anything.
    pub attempts_max: u32,
    /// Which endpoint is asked first.
    pub order: Order,
    /// How many idle connections are kept per endpoint. More are opened if more requests
    /// run at once, and closed after use.
    pub idle_connections_max: usize,
    /// The longest answer that is taken, in bytes.
    pub answer_bytes_max: usize,
}

impl Default for Options {
    /// 5 seconds, as the server has it; 16 attempts, which back-off spreads over about that,
    /// also over three endpoints; 64 idle connections; answers up to 256 MiB, above any page the server makes.
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            attempts_max: 16,
            order: Order::AsGiven,
            idle_connections_max: 64,
            answer_bytes_max: 256 << 20,
        }
    }
}

/// Which endpoint is asked first. The others follow in turn if it does not answer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Order {
    /// Always the first one that was given, if it is there: the nearest one, say.
    #[default]
    AsGiven,
    /// Each in turn, to spread the load.
    RoundRobin,
}

/// A client of one cluster. Clones are cheap and share the connections.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Invariant: not empty.
    endpoints: Vec<Arc<Endpoint>>,
    options: Options,
    turn: AtomicUsize,
}

impl Client {
    /// A client of the cluster whose nodes listen at these endpoints. Connects to none yet.
    ///
    /// # Errors
    ///
    /// [`Error::Endpoint`] if there is none, or one is not of the form `http://HOST:PORT`.
    pub fn new<I>(endpoints: I, options: Options) -> Result<Self, Error>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let idle_max = options.idle_connections_max;
        let endpoints: Vec<Arc<Endpoint>> = endpoints
            .into_iter()
            .map(|text| Endpoint::parse(text.as_ref(), idle_max).map(Arc::new))
            .collect::<Result<_, _>>()?;
        if endpoints.is_empty() {
            let why = "at least one is needed".to_owned();
            return Err(Error::Endpoint { endpoint: String::new(), why });
        }
        Ok(Self::of(endpoints, options))
    }

    fn of(endpoints: Vec<Arc<Endpoint>>, options: Options) -> Self {
        Self { shared: Arc::new(Shared { endpoints, options, turn: AtomicUsize::new(0) }) }
    }

    /// One client per endpoint, each bound to that one: to ask every node for itself.
    pub fn each(&self) -> Vec<Self> {
        let alone = |endpoint: &Arc<Endpoint>| {
            Self::of(vec![Arc::clone(endpoint)], self.shared.options.clone())
        };
        self.shared.endpoints.iter().map(alone).collect()
    }

    /// The endpoints, as URLs.
    pub fn endpoints(&self) -> impl Iterator<Item = &str> {
        self.shared.endpoints.iter().map(|endpoint| endpoint.url())
    }

    /// A handle on one table, to read and write its keys. Asks no one: whether the table
    /// exists is seen with the first request.
    pub fn table(&self, keyspace: &str, table: &str) -> Table {
        Table::new(self.clone(), keyspace, table)
    }
}
