//! The node and the configuration, as every handler sees them.
//!
//! Two things happen here and nowhere else: asking the node, where each request has one
//! kind of answer; and sealing and opening the tokens that clients carry for us.

use causality::DotSet;
use codec::token::{self, Place};
use model::{
    Declare, Declared, Get, Key, List, Listed, Put, Read, Reply, Request, Status, Written,
};

use crate::path::Scope;
use crate::problem::{Code, Problem};
use crate::{Config, Node};

/// What handlers share.
pub(crate) struct Door<N> {
    node: N,
    /// See [`Config`].
    pub(crate) config: Config,
}

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
            | Reply::Declared(_)
            | Reply::Status(_) => Err(Problem::internal("the node gave another kind of answer")),
        }
    }};
}

impl<N: Node> Door<N> {
    /// A door to `node`.
    pub(crate) fn new(node: N, config: Config) -> Self {
        Self { node, config }
    }

    /// Writes or deletes one key.
    pub(crate) async fn write(&self, put: Put) -> Result<Written, Problem> {
        ask!(self, Request::Put(put), Reply::Written)
    }

    /// Reads one key.
    pub(crate) async fn read(&self, get: Get) -> Result<Read, Problem> {
        ask!(self, Request::Get(get), Reply::Read)
    }

    /// Reads keys in order.
    pub(crate) async fn list(&self, list: List) -> Result<Listed, Problem> {
        ask!(self, Request::List(list), Reply::Listed)
    }

    /// Declares a keyspace or table.
    pub(crate) async fn declare(&self, declare: Declare) -> Result<Declared, Problem> {
        ask!(self, Request::Declare(declare), Reply::Declared)
    }

    /// Tells the state of the node.
    pub(crate) async fn status(&self) -> Result<Box<Status>, Problem> {
        ask!(self, Request::Status, Reply::Status)
    }

    /// The token of a context that belongs to `key`.
    pub(crate) fn seal(&self, scope: &Scope, key: &Key, context: &DotSet) -> String {
        token::seal(&self.config.token_key, &place(scope, key), context)
    }

    /// The context in a token that was given for `key`.
    ///
    /// # Errors
    ///
    /// `context_invalid` for a token that this cluster did not give for this key.
    pub(crate) fn open(&self, scope: &Scope, key: &Key, token: &str) -> Result<DotSet, Problem> {
        token::open(&self.config.token_key, &place(scope, key), token)
            .map_err(|error| Problem::new(Code::ContextInvalid, error.to_string()))
    }
}

fn place<'a>(scope: &'a Scope, key: &'a Key) -> Place<'a> {
    Place { keyspace: &scope.keyspace, table: &scope.table, key }
}
