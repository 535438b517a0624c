//! `merganser list`: the keys under one partition key, or all of a table.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use client::{Entry, Level, ListOptions, Options, Pages};
use serde_json::{Map, json};

use super::connect::{Connect, block_on};
use super::error::CliError;
use super::print;

/// List keys: those under one partition key in the order of their sort keys, or all of a
/// table in no particular order. A list is in no session; see `get --session`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// The keyspace.
    keyspace: String,
    /// The table.
    table: String,
    /// The partition key; without it, all keys of the table.
    key: Option<OsString>,
    /// How many keys to show at most; 0 shows all.
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// Replicas that must answer: ONE, TWO, THREE, QUORUM, ALL or a number.
    #[arg(long, short = 'r', visible_alias = "r", value_name = "LEVEL")]
    level: Option<Level>,
    /// Refused: a list is in no session.
    #[arg(long, value_name = "FILE", hide = true)]
    session: Option<PathBuf>,
    #[command(flatten)]
    connect: Connect,
    /// Print one JSON object per key and line.
    #[arg(long)]
    json: bool,
}

impl List {
    /// Does it.
    pub(crate) fn run(self) -> Result<(), CliError> {
        if self.session.is_some() {
            return Err(no_session());
        }
        let client = self.connect.client(Options::default())?;
        let table = client.table(&self.keyspace, &self.table);
        let page = if self.limit == 0 { 100 } else { self.limit.min(100) };
        let options = ListOptions {
            page_entries_max: u16::try_from(page).unwrap_or(100),
            r: self.level,
            ..ListOptions::default()
        };
        let mut pages = match &self.key {
            Some(key) => table.list(key.as_bytes(), &options),
            None => table.scan(&options),
        };
        block_on(self.show(&mut pages))
    }

    async fn show(&self, pages: &mut Pages) -> Result<(), CliError> {
        let limit = if self.limit == 0 { usize::MAX } else { self.limit };
        let mut shown = 0;
        let mut table = print::table(&["key", "sort", "values", "size", "type", "value"]);
        let mut has_more = false;
        while let Some(page) = pages.next().await? {
            for entry in page.entries.iter().take(limit - shown) {
                shown += 1;
                if self.json {
                    print::line(as_json(entry))?;
                } else {
                    table.add_row(row(entry));
                }
            }
            has_more = page.cursor.is_some() || limit < page.entries.len();
            if shown == limit {
                break;
            }
        }
        if !self.json {
            print::line(&table)?;
            let more =
                if has_more && shown == limit { "; there may be more, see --limit" } else { "" };
            let keys = if shown == 1 { "key" } else { "keys" };
            print::line(format_args!("{shown} {keys}{more}"))?;
        }
        Ok(())
    }
}

/// Replicas compare what a session has seen with what they lack key by key.
fn no_session() -> CliError {
    CliError::failed("a list is in no session: it may show less than the session has seen")
        .remains("nothing was asked of any node")
        .remedy("read the keys that matter with `merganser get --session FILE`, or list without a session, at --level ALL to miss nothing that replicas have")
}

fn row(entry: &Entry) -> [String; 6] {
    let size = entry.values.iter().map(|value| value.body.len()).sum();
    let types: Vec<&str> = entry.values.iter().map(|value| value.content_type.as_str()).collect();
    let value = match entry.values.as_slice() {
        [value] => print::preview(&value.body),
        _ => "several: see `merganser get`".to_owned(),
    };
    [
        print::preview(&entry.key.partition),
        print::preview(&entry.key.sort),
        entry.values.len().to_string(),
        print::size(size),
        types.join(", "),
        value,
    ]
}

fn as_json(entry: &Entry) -> serde_json::Value {
    let mut object = Map::new();
    print::put_bytes(&mut object, "key", &entry.key.partition);
    if !entry.key.sort.is_empty() {
        print::put_bytes(&mut object, "sort", &entry.key.sort);
    }
    let values = entry.values.iter().map(print::value).collect();
    object.insert("values".to_owned(), serde_json::Value::Array(values));
    object.insert("context".to_owned(), json!(entry.context.as_ref().map(client::Context::as_str)));
    object.into()
}
