//! `merganser watch`: what changes in a table, as it changes.
//!
//! Programs go on where they stopped, so the cursor has to outlive the command. It has some
//! thousand characters, which nobody types: with `--keep FILE` it lies in a file, and is written
//! behind what was printed. Who is killed between the two is told some of it again.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use client::{Change, Changes, Error, Feed, Options, Since, WatchOptions};
use serde_json::{Map, Value, json};

use super::connect::{Connect, block_on};
use super::error::{CliError, Exit};
use super::print;
use super::replacement::Replacement;

/// How long nothing is asked after nobody answered.
const PAUSE: Duration = Duration::from_secs(1);

/// Watch a table: each key that changes is printed as it is then, at least once, until the
/// command is interrupted.
///
/// Deleted keys are printed as well. It goes on at another node when one dies.
#[derive(Debug, clap::Args)]
pub(crate) struct Watch {
    /// The keyspace, or KEYSPACE/TABLE.
    keyspace: String,
    /// The table.
    table: Option<String>,
    /// Where to begin: `now`, `beginning` for everything that there is and then what changes, or
    /// a cursor.
    #[arg(long, value_name = "WHERE", default_value = "now")]
    since: String,
    /// Go on where this file says, and keep in it what was printed. Begins as --since says if it
    /// is not there.
    #[arg(long, value_name = "FILE")]
    keep: Option<PathBuf>,
    /// Stop when there is nothing more to print, instead of waiting for it.
    #[arg(long)]
    once: bool,
    /// Only the keys, without what they hold.
    #[arg(long)]
    keys: bool,
    #[command(flatten)]
    connect: Connect,
    /// Print one JSON object per change and line, and one with the cursor behind each page.
    #[arg(long)]
    json: bool,
}

impl Watch {
    /// Does it.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let (keyspace, table) = self.place()?;
        let client = self.connect.client(Options::default())?;
        let default = WatchOptions::default();
        let options = WatchOptions {
            since: self.since()?,
            values: !self.keys,
            wait: if self.once { Duration::ZERO } else { default.wait },
            ..default
        };
        let mut feed = client.table(keyspace, table).watch(&options);
        block_on(self.show(&mut feed))
    }

    fn place(&self) -> Result<(&str, &str), CliError> {
        let place = match &self.table {
            Some(table) => Some((self.keyspace.as_str(), table.as_str())),
            None => self.keyspace.split_once('/'),
        };
        place.ok_or_else(|| {
            CliError::failed(format!("{} names no table", self.keyspace))
                .remains("nothing was asked of any node")
                .remedy("name it as in `merganser watch KEYSPACE/TABLE`")
        })
    }

    /// Where to begin: as the file says, if there is one.
    fn since(&self) -> Result<Since, CliError> {
        let kept = match self.keep.as_deref().map(fs::read_to_string) {
            Some(Ok(text)) => Some(text.trim().to_owned()),
            Some(Err(err)) if err.kind() != io::ErrorKind::NotFound => {
                return Err(cannot_keep(self.keep.as_deref(), &err));
            }
            Some(Err(_)) | None => None,
        };
        Ok(match kept.as_deref().unwrap_or(&self.since) {
            "now" => Since::Now,
            "beginning" => Since::Beginning,
            cursor => Since::Cursor(cursor.to_owned()),
        })
    }

    async fn show(&self, feed: &mut Feed) -> Result<(), CliError> {
        let (mut is_away, mut is_headed) = (false, self.json);
        loop {
            match feed.next().await {
                Ok(told) => {
                    is_away = false;
                    if !std::mem::replace(&mut is_headed, true) {
                        let [key, sort, values] = ["key", "sort", "values"];
                        print::line(format_args!("{key:<24} {sort:<16} {values:>6}  value"))?;
                    }
                    self.print(&told)?;
                    self.keep(&told.cursor)?;
                    if self.once && told.changes.is_empty() {
                        if told.silent_shards != 0 {
                            let count = told.silent_shards;
                            let what = format!("nobody answers of {count} shards");
                            return Err(CliError::new(Exit::NotAttempted, what).remedy(
                                "what was printed is all of the others; do the same again later, \
                                 with --keep or the cursor",
                            ));
                        }
                        if !told.reading {
                            return Ok(());
                        }
                    }
                }
                Err(err) if self.once || !is_passing(&err) => return Err(self.ended(err)),
                Err(err) => {
                    if !std::mem::replace(&mut is_away, true) {
                        note(&format!("{err}; trying again until somebody answers"));
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn print(&self, told: &Changes) -> Result<(), CliError> {
        if told.rewound != 0 {
            let count = told.rewound;
            note(&format!(
                "{count} writes that were printed before are known to nobody who answers; what is printed of their keys may be older, until they are printed again"
            ));
        }
        if told.silent_shards != 0 {
            let count = told.silent_shards;
            note(&format!("nobody answers of {count} shards; what changes there comes later"));
        }
        for change in &told.changes {
            let line = if self.json { as_json(change).to_string() } else { in_words(change) };
            print::line(line)?;
        }
        if self.json {
            let Changes { cursor, reading, rewound, silent_shards, .. } = told;
            print::line(json!({
                "cursor": cursor, "reading": reading, "rewound": rewound,
                "silent_shards": silent_shards,
            }))?;
        }
        Ok(())
    }

    /// Keeps the cursor. Who reads the file finds the old one or the new one.
    fn keep(&self, cursor: &str) -> Result<(), CliError> {
        let Some(path) = &self.keep else { return Ok(()) };
        let kept = Replacement::begin(path).and_then(|mut file| {
            writeln!(file.to, "{cursor}")?;
            file.commit()
        });
        kept.map_err(|err| cannot_keep(Some(path), &err))
    }

    fn ended(&self, err: Error) -> CliError {
        let is_expired = err.code() == "cursor_expired";
        let told = CliError::from(err);
        if !is_expired {
            return told;
        }
        let file = self.keep.as_ref().map(|path| format!(", without {}", path.display()));
        told.remedy(format!(
            "watch with `--since beginning`{}, which prints everything that there is; or export the table, and watch it from now",
            file.unwrap_or_default()
        ))
    }
}

fn cannot_keep(path: Option<&Path>, err: &io::Error) -> CliError {
    let path = path.unwrap_or(Path::new("")).display();
    CliError::failed(format!("cannot keep the cursor in {path}: {err}"))
        .remains("what was printed last may be printed again")
        .remedy("make room for it or name another file, and run the command again")
}

/// Whether the same may succeed in a moment.
fn is_passing(err: &Error) -> bool {
    matches!(err, Error::NotAttempted(_) | Error::NoAnswer { .. } | Error::Connect { .. })
}

/// Says something that is no change.
fn note(text: &str) {
    // Nobody has to read it.
    let _ = writeln!(io::stderr(), "merganser: {text}");
}

fn in_words(change: &Change) -> String {
    let value = match change.values.as_slice() {
        _ if change.deleted => "deleted".to_owned(),
        [] => String::new(),
        [value] => print::preview(&value.body),
        _ => "several: see `merganser get`".to_owned(),
    };
    let (key, sort) = (&change.key.partition, &change.key.sort);
    let count = change.values.len();
    format!("{:<24} {:<16} {count:>6}  {value}", print::preview(key), print::preview(sort))
}

fn as_json(change: &Change) -> Value {
    let mut object = Map::new();
    print::put_bytes(&mut object, "key", &change.key.partition);
    if !change.key.sort.is_empty() {
        print::put_bytes(&mut object, "sort", &change.key.sort);
    }
    object.insert("deleted".to_owned(), change.deleted.into());
    let values = change.values.iter().map(print::value).collect();
    object.insert("values".to_owned(), Value::Array(values));
    let context = change.context.as_ref().map(client::Context::as_str);
    object.insert("context".to_owned(), json!(context));
    object.into()
}
