//! The node and the configuration, as every handler sees them.
//!
//! Two things happen here and nowhere else: asking the node, where each request has one
//! kind of answer; and sealing and opening the tokens that clients carry for us.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use causality::DotSet;
use codec::token::{self, Place};
use codec::{cursor, feed};
use model::{
    Declare, Declared, Explain, Explained, Get, Key, List, Listed, Marks, Position, Put, Range,
    Read, Recall, Recalled, Repair, RepairStatus, Reply, Request, Salvage, Salvaged, Status, Watch,
    Watched, Written,
};
use tokio::sync::mpsc::Receiver;

use tokio::sync::Semaphore;

use crate::budget::Budget;
use crate::path::Scope;
use crate::problem::{Code, Problem};
use crate::{Config, Node, Vitals};

/// What handlers share.
pub(crate) struct Door<N> {
    node: N,
    /// See [`Config`].
    pub(crate) config: Config,
    /// What the bodies of requests may take together.
    pub(crate) bodies: Arc<Budget>,
    /// What the large bodies of answers may take together.
    pub(crate) answers: Arc<Budget>,
    /// The places of those who watch.
    pub(crate) feeds: Arc<Semaphore>,
    /// When a context that is too large was last complained about.
    complained: Mutex<Option<Instant>>,
}

/// How long a complaint about contexts that are too large holds: such a key is likely read
/// again and again.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(60);

/// Asks the node, and takes the one kind of answer that the request has.
macro_rules! ask {
    ($door:expr, $request:expr, $answer:path) => {{
        let reply = $door.node.ask($request).await;
        if let $answer(answer) = reply {
            return Ok(answer);
        }
        match reply {
            Reply::Failed(failure) => Err(failure.into()),
            Reply::Written(_)
            | Reply::Read(_)
            | Reply::Listed(_)
            | Reply::Watched(_)
            | Reply::Recalled(_)
            | Reply::Explained(_)
            | Reply::Declared(_)
            | Reply::Repair(_)
            | Reply::Salvaged(_)
            | Reply::Status(_) => Err(Problem::internal("the node gave another kind of answer")),
        }
    }};
}

impl<N: Node> Door<N> {
    /// A door to `node`.
    pub(crate) fn new(node: N, config: Config, bodies_bytes_max: usize) -> Self {
        let bodies = Budget::new(bodies_bytes_max);
        let answers = Budget::new(bodies_bytes_max / 2);
        let feeds = Arc::new(Semaphore::new(config.feeds_max.min(Semaphore::MAX_PERMITS)));
        Self { node, config, bodies, answers, feeds, complained: Mutex::new(None) }
    }

    /// Writes or deletes one key.
    pub(crate) async fn write(&self, put: Put) -> Result<Written, Problem> {
        ask!(self, Request::Put(put), Reply::Written)
    }

    /// Reads one key.
    pub(crate) async fn read(&self, get: Get) -> Result<Read, Problem> {
        ask!(self, Request::Get(get), Reply::Read)
    }

    /// Tells what became of a write.
    pub(crate) async fn recall(&self, recall: Recall) -> Result<Recalled, Problem> {
        ask!(self, Request::Recall(recall), Reply::Recalled)
    }

    /// Tells what each replica holds of a key.
    pub(crate) async fn explain(&self, explain: Explain) -> Result<Box<Explained>, Problem> {
        ask!(self, Request::Explain(explain), Reply::Explained)
    }

    /// Reads keys in order.
    pub(crate) async fn list(&self, list: List) -> Result<Listed, Problem> {
        ask!(self, Request::List(list), Reply::Listed)
    }

    /// Tells what has changed in a table.
    pub(crate) async fn watch(&self, watch: Watch) -> Result<Watched, Problem> {
        ask!(self, Request::Watch(watch), Reply::Watched)
    }

    /// Declares a keyspace or table.
    pub(crate) async fn declare(&self, declare: Declare) -> Result<Declared, Problem> {
        ask!(self, Request::Declare(declare), Reply::Declared)
    }

    /// Tells the state of the node.
    pub(crate) async fn status(&self) -> Result<Box<Status>, Problem> {
        ask!(self, Request::Status, Reply::Status)
    }

    /// Begins, shows or ends a repair.
    pub(crate) async fn repair(&self, repair: Repair) -> Result<Box<RepairStatus>, Problem> {
        ask!(self, Request::Repair(repair), Reply::Repair)
    }

    /// Takes in what only a disk has that does not come back.
    pub(crate) async fn salvage(&self, salvage: Salvage) -> Result<Box<Salvaged>, Problem> {
        ask!(self, Request::Salvage(Box::new(salvage)), Reply::Salvaged)
    }

    /// How the node is.
    pub(crate) async fn vitals(&self) -> Option<Vitals> {
        self.node.vitals().await
    }

    /// Everything that the node's disk holds.
    pub(crate) async fn backup(&self) -> Result<Receiver<Bytes>, Problem> {
        Ok(self.node.backup().await?)
    }

    /// What the node has counted.
    pub(crate) async fn metrics(&self) -> Option<String> {
        self.node.metrics().await
    }

    /// The token of a context that belongs to `key`. One that is longer than
    /// [`token::TEXT_BYTES_MAX`] is given all the same, for what it was read with is worth
    /// reading, but no node will take it back.
    pub(crate) fn seal(&self, scope: &Scope, key: &Key, context: &DotSet, marks: &Marks) -> String {
        let place = place(scope, key);
        let token = token::seal_marked(&self.config.token_key, &place, context, marks);
        if token::TEXT_BYTES_MAX < token.len() {
            self.complain(scope, token.len());
        }
        token
    }

    fn complain(&self, scope: &Scope, bytes: usize) {
        let mut complained = self.complained.lock().unwrap_or_else(PoisonError::into_inner);
        if complained.is_some_and(|at| at.elapsed() < COMPLAINT_PAUSE) {
            return;
        }
        *complained = Some(Instant::now());
        tracing::warn!(
            keyspace = scope.keyspace.as_str(),
            table = scope.table.as_str(),
            bytes,
            "the context of a key is too large to be passed back; the key is written from too \
             many places without being read"
        );
    }

    /// The context in a token that was given for `key`.
    ///
    /// # Errors
    ///
    /// `context_invalid` for a token that this cluster did not give for this key.
    pub(crate) fn open(
        &self,
        scope: &Scope,
        key: &Key,
        token: &str,
    ) -> Result<(DotSet, Marks), Problem> {
        token::open_marked(&self.config.token_key, &place(scope, key), token)
            .map_err(|error| Problem::new(Code::ContextInvalid, error.to_string()))
    }

    /// The cursor that goes on at `range` of a table.
    pub(crate) fn seal_cursor(&self, scope: &Scope, range: &Range) -> String {
        cursor::seal(&self.config.token_key, &table(scope), range)
    }

    /// The range of a cursor that was given for this table.
    ///
    /// # Errors
    ///
    /// `cursor_invalid` for a cursor that this cluster did not give for this table.
    pub(crate) fn open_cursor(&self, scope: &Scope, cursor: &str) -> Result<Range, Problem> {
        cursor::open(&self.config.token_key, &table(scope), cursor)
            .map_err(|error| Problem::new(Code::CursorInvalid, error.to_string()))
    }

    /// The cursor of a watcher of a table.
    ///
    /// # Errors
    ///
    /// `cursor_too_large` if no node would take it back.
    pub(crate) fn seal_feed(&self, scope: &Scope, position: &Position) -> Result<String, Problem> {
        feed::seal(&self.config.token_key, &table(scope), position).ok_or_else(|| {
            let detail = format!(
                "the cursor would have more than {} characters: the keyspace has too many shards, or its nodes were started too often; read the table with /v1/scan instead",
                feed::TEXT_BYTES_MAX
            );
            Problem::new(Code::CursorTooLarge, detail)
        })
    }

    /// The position of a cursor that was given to a watcher of this table.
    ///
    /// # Errors
    ///
    /// `cursor_invalid` for a cursor that this cluster did not give for this table.
    pub(crate) fn open_feed(&self, scope: &Scope, cursor: &str) -> Result<Position, Problem> {
        feed::open(&self.config.token_key, &table(scope), cursor)
            .map_err(|error| Problem::new(Code::CursorInvalid, error.to_string()))
    }
}

fn table(scope: &Scope) -> cursor::Place<'_> {
    cursor::Place { keyspace: &scope.keyspace, table: &scope.table }
}

fn place<'a>(scope: &'a Scope, key: &'a Key) -> Place<'a> {
    Place { keyspace: &scope.keyspace, table: &scope.table, key }
}
