//! What each replica holds of a key.

use hyper::StatusCode;
use serde::{Deserialize, Serialize};

use crate::send::Call;
use crate::table::{Table, parse, refused};
use crate::{Error, Key};

/// What everybody holds under a key.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Explanation {
    /// The shard that the key is in, `KEYSPACE/INDEX`.
    pub shard: String,
    /// Its replicas.
    pub replicas: Vec<Holding>,
    /// Nodes that stand in for replicas, in a sloppy keyspace.
    pub guests: Vec<Holding>,
    /// Every value that somebody holds.
    pub values: Vec<Version>,
    /// What a read at the table's level would do now.
    pub read: ReadNow,
}

/// What one node holds; of a guest, what it keeps for others. Values are named by their dots.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Holding {
    /// Which node.
    pub node: u16,
    /// Whether it answered.
    pub answered: bool,
    /// Whether what it holds is on its disk.
    pub on_disk: bool,
    /// Whether it holds exactly what all who answered hold together.
    pub equal: bool,
    /// The values that it holds.
    pub values: Vec<String>,
    /// Values that others hold and it has never heard of.
    pub lacks: Vec<String>,
    /// Values that others hold and it has dropped, because somebody who had read them wrote.
    pub superseded: Vec<String>,
    /// How many writes it has heard of.
    pub heard_of: u64,
    /// How many of them it knows by their idempotency keys.
    pub tokens: usize,
}

/// One value.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Version {
    /// The write that made it.
    pub dot: String,
    /// How large it is.
    pub bytes: usize,
    /// What it is.
    pub content_type: String,
    /// Who holds it, guests too.
    pub held_by: Vec<u16>,
    /// Whether nobody who answered has superseded it.
    pub current: bool,
}

/// What a read at the table's level would do now.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ReadNow {
    /// Whom it would ask first. Nobody: it would not be attempted.
    pub asks: Vec<u16>,
    /// What its answer would be worth.
    pub kind: String,
    /// The values that it would show.
    pub shows: Vec<String>,
    /// Values that it would not show, and all who answered hold together.
    pub misses: Vec<String>,
    /// Values that it would show although somebody knows that they are superseded.
    pub outdated: Vec<String>,
}

impl Table {
    /// Asks each replica of a key on its own what it holds. Changes nothing.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn explain(&self, key: &Key) -> Result<Explanation, Error> {
        let target = self.path_of("/v1/explain/", key);
        let call = Call { tells_timeout: true, ..Call::look(target) };
        let answer = self.client().send(&call).await?;
        match answer.status() {
            StatusCode::OK => parse(answer.body()),
            _ => Err(refused(&answer)),
        }
    }
}
