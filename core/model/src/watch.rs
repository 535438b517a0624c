//! Watching a table: what has changed since some position, page by page.

use std::collections::BTreeMap;
use std::time::Duration;

use causality::DotSet;

use crate::{Key, Name, Object};

/// How far somebody who watches a table has come in it.
///
/// One that says nothing of any shard is that of a watcher who begins.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Position {
    /// By shard, the writes that were told, or were there when the watcher began.
    pub followed: BTreeMap<u16, DotSet>,
    /// Where to go on with reading what was there when the watcher began. Nothing if he did not want
    /// it, or has it.
    pub reading: Option<Reading>,
}

impl Position {
    /// Everything that there is, and what changes.
    pub fn beginning() -> Self {
        Self { followed: BTreeMap::new(), reading: Some(Reading { shard: 0, after: None }) }
    }
}

/// How far a table was read, shard by shard.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reading {
    /// The shard that is being read.
    pub shard: u16,
    /// The last key of it that was looked at.
    pub after: Option<Key>,
}

/// Tell what has changed in a table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Watch {
    /// In which keyspace.
    pub keyspace: Name,
    /// Which table.
    pub table: Name,
    /// Since when.
    pub since: Position,
    /// About how many keys at the most. Fewer can come although there are more.
    pub limit: usize,
    /// How long to wait until something changes. Zero does not wait.
    pub wait: Duration,
    /// How long the client waits in all.
    pub timeout: Duration,
}

/// One key that has changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Changed {
    /// The key.
    pub key: Key,
    /// What it holds. Without values if it was deleted; bottom if that is forgotten, too.
    pub object: Object,
}

/// What has changed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Watched {
    /// Each key once, as a replica holds it now. None if nothing has changed in time.
    pub changes: Vec<Changed>,
    /// Where to go on.
    pub position: Position,
    /// So many writes that were told before are known to nobody who answers. They are told again
    /// when they come back, and what is told until then may be older than what was told before.
    pub rewound: u64,
    /// Shards of which nobody answered. They stand where they stood.
    pub silent: u16,
}
