//! Reading many keys, page by page.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::StatusCode;
use serde::Deserialize;

use crate::key::{Context, Key, Value};
use crate::level::named;
use crate::send::Call;
use crate::table::{RawValue, add_options, add_to_query, escaped, parse, refused};
use crate::{Client, Demands, Error, Level, Receipt};

/// What to list, and how.
#[derive(Clone, Debug)]
pub struct ListOptions {
    /// The most entries of one page, 1 to 1000. Fewer can come although there are more.
    pub page_entries_max: u16,
    /// Replicas of each shard that must answer.
    pub r: Option<Level>,
    /// Of these, how many must be primaries.
    pub pr: Option<Level>,
    /// What is demanded beside.
    pub demands: Demands,
    /// Whether the values come along, or only the keys.
    pub values: bool,
    /// Where to go on, as [`Page::cursor`] told.
    pub cursor: Option<String>,
}

impl Default for ListOptions {
    /// Pages of 100 entries with their values, from the beginning.
    fn default() -> Self {
        Self {
            page_entries_max: 100,
            r: None,
            pr: None,
            demands: Demands::default(),
            values: true,
            cursor: None,
        }
    }
}

/// Some entries of a list.
#[derive(Clone, Debug)]
pub struct Page {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Where to go on; nothing if this was the last page.
    pub cursor: Option<String>,
    /// Who took part, in the last shard that was read.
    pub receipt: Option<Receipt>,
}

/// One key of a list.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// To hand back with the write that replaces what is here.
    pub context: Option<Context>,
    /// The values; empty if only keys were asked for.
    pub values: Vec<Value>,
}

/// The pages of a list, fetched one at a time.
///
/// ```no_run
/// # async fn example(table: client::Table) -> Result<(), client::Error> {
/// let mut pages = table.list(b"alice", &client::ListOptions::default());
/// while let Some(page) = pages.next().await? {
///     for entry in page.entries {
///         println!("{}: {} values", entry.key, entry.values.len());
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Pages {
    client: Client,
    target: String,
    cursor: Option<String>,
    is_done: bool,
}

impl Pages {
    pub(crate) fn new(client: Client, mut target: String, options: &ListOptions) -> Self {
        add_to_query(&mut target, "limit", &options.page_entries_max.to_string());
        let levels = [("r", options.r), ("pr", options.pr)];
        add_options(&mut target, named(levels, options.demands));
        if !options.values {
            add_to_query(&mut target, "values", "false");
        }
        Self { client, target, cursor: options.cursor.clone(), is_done: false }
    }

    /// Fetches the next page; nothing after the last one. A page can be empty and not the
    /// last.
    ///
    /// # Errors
    ///
    /// See [`Error`]. The place in the list is kept: calling again tries the same page.
    pub async fn next(&mut self) -> Result<Option<Page>, Error> {
        if self.is_done {
            return Ok(None);
        }
        let mut target = self.target.clone();
        if let Some(cursor) = &self.cursor {
            add_to_query(&mut target, "cursor", &escaped(cursor.as_bytes()));
        }
        let call = Call { tells_timeout: true, ..Call::look(target) };
        let answer = self.client.send(&call).await?;
        if answer.status() != StatusCode::OK {
            return Err(refused(&answer));
        }
        let page = parse::<RawPage>(answer.body())?.read()?;
        self.cursor.clone_from(&page.cursor);
        self.is_done = page.cursor.is_none();
        Ok(Some(page))
    }
}

#[derive(Deserialize)]
pub(crate) struct RawPage {
    entries: Vec<RawEntry>,
    cursor: Option<String>,
    receipt: Option<Receipt>,
}

#[derive(Deserialize)]
struct RawEntry {
    key: Option<String>,
    key_base64: Option<String>,
    sort: Option<String>,
    sort_base64: Option<String>,
    context: Option<String>,
    #[serde(default)]
    values: Vec<RawValue>,
}

impl RawPage {
    pub(crate) fn read(self) -> Result<Page, Error> {
        let entries = self.entries.into_iter().map(RawEntry::read).collect::<Result<_, _>>()?;
        Ok(Page { entries, cursor: self.cursor, receipt: self.receipt })
    }
}

impl RawEntry {
    fn read(self) -> Result<Entry, Error> {
        let partition = part(self.key, self.key_base64)?;
        let partition = partition.ok_or_else(|| Error::protocol("an entry has no key"))?;
        let sort = part(self.sort, self.sort_base64)?.unwrap_or_default();
        let context = self.context.map(|token| Context::new(&token)).transpose()?;
        let values = self.values.into_iter().map(RawValue::read).collect::<Result<_, _>>()?;
        Ok(Entry { key: Key { partition, sort }, context, values })
    }
}

/// Reads a part of a key, which is text or base64 of bytes that are none.
pub(crate) fn part(text: Option<String>, base64: Option<String>) -> Result<Option<Bytes>, Error> {
    match (text, base64) {
        (Some(text), _) => Ok(Some(text.into())),
        (None, Some(base64)) => match STANDARD.decode(base64) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(err) => Err(Error::protocol(format!("a key is no base64: {err}"))),
        },
        (None, None) => Ok(None),
    }
}
