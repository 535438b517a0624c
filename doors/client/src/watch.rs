//! Being told what changes in a table.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::{Response, StatusCode};
use serde::Deserialize;

use crate::key::{Context, Key, Value};
use crate::list::part;
use crate::send::Call;
use crate::table::{RawValue, add_to_query, escaped, parse, refused};
use crate::{Client, Error, Options};

/// How long one request for changes may take. A node that takes the place of another may have to
/// catch up first, for some seconds.
const TIMEOUT: Duration = Duration::from_secs(25);

/// The longest that a node waits for something to change, which leaves it time to say what.
const WAIT_MAX: Duration = Duration::from_secs(15);

/// Where to begin.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Since {
    /// With what changes from now on.
    #[default]
    Now,
    /// With everything that there is.
    Beginning,
    /// Behind what was told with this cursor.
    Cursor(String),
}

/// What to be told, and how.
#[derive(Clone, Debug)]
pub struct WatchOptions {
    /// Where to begin.
    pub since: Since,
    /// About how many keys come at once at the most, 1 to 1000.
    pub page_changes_max: u16,
    /// Whether the values come along, or only the keys.
    pub values: bool,
    /// How long to wait for something to change, at most 15 s; zero does not wait.
    pub wait: Duration,
}

impl Default for WatchOptions {
    /// From now on, up to 100 keys at once with their values, and waiting.
    fn default() -> Self {
        Self { since: Since::Now, page_changes_max: 100, values: true, wait: WAIT_MAX }
    }
}

/// What has changed.
#[derive(Clone, Debug)]
pub struct Changes {
    /// Each key that has changed, once, as it is now. None if nothing has in time.
    pub changes: Vec<Change>,
    /// What to go on with: it says all that was told so far.
    pub cursor: String,
    /// Whether the table is still being read from its beginning.
    pub reading: bool,
    /// So many writes that were told before nobody knows who answers. What is told of their keys
    /// may be older than what was told before, until they are told again.
    pub rewound: u64,
    /// Shards of which nobody answered: what has changed there is told later.
    pub silent_shards: u64,
}

/// One key that has changed.
#[derive(Clone, Debug)]
pub struct Change {
    /// The key.
    pub key: Key,
    /// Whether it holds nothing any more.
    pub deleted: bool,
    /// To hand back with the write that replaces what is here. Nothing if it was deleted, and even
    /// that is forgotten.
    pub context: Option<Context>,
    /// The values; empty if it was deleted, or only keys were asked for.
    pub values: Vec<Value>,
}

/// A table, watched.
///
/// Each key that has changed is told at least once, as it is at that moment. Whoever keeps the
/// cursor behind what he has done with the changes misses nothing, whatever happens to him or
/// to the node that he asked.
///
/// ```no_run
/// # async fn example(table: client::Table) -> Result<(), client::Error> {
/// let mut feed = table.watch(&client::WatchOptions::default());
/// loop {
///     let told = feed.next().await?;
///     for change in &told.changes {
///         println!("{}: {} values", change.key, change.values.len());
///     }
///     // Keep told.cursor, to go on from there with `Since::Cursor`.
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Feed {
    client: Client,
    target: String,
    wait: Duration,
    since: Since,
}

impl Feed {
    pub(crate) fn new(client: &Client, mut target: String, options: &WatchOptions) -> Self {
        add_to_query(&mut target, "limit", &options.page_changes_max.to_string());
        if !options.values {
            add_to_query(&mut target, "values", "false");
        }
        let shared = &client.shared;
        let timeout = shared.options.timeout.max(TIMEOUT);
        let endpoints = shared.endpoints.iter().map(Arc::clone).collect();
        let client = Client::of(endpoints, Options { timeout, ..shared.options.clone() });
        Self { client, target, wait: options.wait.min(WAIT_MAX), since: options.since.clone() }
    }

    /// Waits until something has changed, or the time is over.
    ///
    /// # Errors
    ///
    /// See [`Error`]. The place is kept: calling again goes on behind what was told last. A refusal
    /// with the code `cursor_expired` is for ever: what has changed is not remembered any more.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost.
    pub async fn next(&mut self) -> Result<Changes, Error> {
        let mut target = self.target.clone();
        let since = match &self.since {
            Since::Now => "now",
            Since::Beginning => "beginning",
            Since::Cursor(cursor) => cursor,
        };
        add_to_query(&mut target, "since", &escaped(since.as_bytes()));
        if !self.wait.is_zero() {
            add_to_query(&mut target, "wait", &self.wait.as_millis().max(1).to_string());
        }
        let answer = self.client.send(&Call::look(target)).await?;
        let told = read(&answer)?;
        self.since = Since::Cursor(told.cursor.clone());
        Ok(told)
    }
}

fn read(answer: &Response<Bytes>) -> Result<Changes, Error> {
    match answer.status() {
        StatusCode::OK => parse::<RawChanges>(answer.body())?.read(),
        _ => Err(refused(answer)),
    }
}

#[derive(Deserialize)]
pub(crate) struct RawChanges {
    changes: Vec<RawChange>,
    cursor: String,
    #[serde(default)]
    reading: bool,
    #[serde(default)]
    rewound: u64,
    #[serde(default)]
    silent_shards: u64,
}

#[derive(Deserialize)]
struct RawChange {
    key: Option<String>,
    key_base64: Option<String>,
    sort: Option<String>,
    sort_base64: Option<String>,
    deleted: bool,
    context: Option<String>,
    #[serde(default)]
    values: Vec<RawValue>,
}

impl RawChanges {
    pub(crate) fn read(self) -> Result<Changes, Error> {
        let Self { changes, cursor, reading, rewound, silent_shards } = self;
        let changes = changes.into_iter().map(RawChange::read).collect::<Result<_, _>>()?;
        Ok(Changes { changes, cursor, reading, rewound, silent_shards })
    }
}

impl RawChange {
    fn read(self) -> Result<Change, Error> {
        let partition = part(self.key, self.key_base64)?;
        let partition = partition.ok_or_else(|| Error::protocol("a change has no key"))?;
        let sort = part(self.sort, self.sort_base64)?.unwrap_or_default();
        let context = self.context.map(|token| Context::new(&token)).transpose()?;
        let values = self.values.into_iter().map(RawValue::read).collect::<Result<_, _>>()?;
        Ok(Change { key: Key { partition, sort }, deleted: self.deleted, context, values })
    }
}
