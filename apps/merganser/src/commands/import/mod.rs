//! `merganser import`: put the records of a file into a table.
//!
//! A file can be large, the cluster can falter, and the person may run the command twice.
//! So an import goes on where it was stopped ([`progress`]), repeating it changes nothing,
//! and a bad line is reported and left out and does not end it.
//!
//! ```text
//! reader thread --- entries, at most 1,024 ahead --->  run  --- at most --parallel --->  nodes
//! ```
//!
//! Of several records with one key the last one in the file stays ([`latest`]); siblings are
//! one record. Two with one key are never under way at the same time.

mod csv;
mod entry;
pub(crate) mod jsonl;
mod latest;
mod progress;
mod quotes;
mod run;
mod start;
#[cfg(test)]
mod tests;
mod tle;

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

use client::Options;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::connect::{Connect, WriteLevels, block_on};
use super::error::{CliError, Exit};
use super::print;
use entry::Entries;
use latest::Repeats;
use progress::{Job, Ledger, Saved, StateFile, fingerprint};
use run::{Run, Summary};
use start::WithoutMark;

/// Import records from a file.
///
/// JSON Lines: {"key", "sort"?, "value", "content_type"?} per line, where "value" is a text or
/// any JSON; for other bytes "key_base64", "sort_base64" and "value_base64". A line with "values",
/// a list of objects with "value" and "content_type", stores them as siblings. This is also what
/// `export` writes. CSV: with a header line; each row is stored as a JSON object. TLE: orbital
/// elements in two lines; the key is the satellite number, the sort key the epoch.
///
/// Each record replaces what its key holds: it is read first, and left alone if it holds just
/// that. Of several lines with one key, only the last is stored, and the others are counted: to
/// know them, the file is read once before (some 50 bytes of memory per key; standard input
/// stores each line instead). So repeating an import changes nothing. How far it has come is kept in FILE.merganser-import
/// until it is finished: after an interruption, the same command goes on.
#[expect(clippy::doc_markdown, reason = "this is the help text, where backticks only disturb")]
#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// The keyspace.
    keyspace: String,
    /// The table.
    table: String,
    /// The file; `-` reads standard input, which cannot be resumed.
    file: PathBuf,
    /// What the file is. Without it, by its name: .jsonl or .ndjson, .csv, .tle.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// CSV: the column with the partition key. Without it, the first.
    #[arg(long, value_name = "COLUMN")]
    key_column: Option<String>,
    /// CSV: the column with the sort key.
    #[arg(long, value_name = "COLUMN")]
    sort_column: Option<String>,
    /// Do not read first. Faster, but what a key holds already stays beside the new value,
    /// also if it came from an earlier line of the same file.
    #[arg(long)]
    blind: bool,
    /// End with code 0 in spite of bad lines.
    #[arg(long)]
    skip_bad: bool,
    /// How many records are under way at the same time.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=4096))]
    parallel: u16,
    /// Where to keep how far it has come. Without it, FILE.merganser-import.
    #[arg(long, value_name = "PATH")]
    state: Option<PathBuf>,
    /// Start from the first line, whatever an earlier run has left.
    #[arg(long)]
    fresh: bool,
    #[command(flatten)]
    levels: WriteLevels,
    #[command(flatten)]
    connect: Connect,
    /// Print the summary as JSON.
    #[arg(long)]
    json: bool,
}

/// What a file holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
enum Format {
    /// JSON Lines.
    Jsonl,
    /// CSV with a header line.
    Csv,
    /// Two-line elements.
    Tle,
}

impl Format {
    fn by_name(file: &Path) -> Option<Self> {
        match file.extension()?.to_ascii_lowercase().to_str()? {
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            "csv" => Some(Self::Csv),
            "tle" | "3le" => Some(Self::Tle),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::Tle => "tle",
        }
    }
}

impl Import {
    /// Does it.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let began = Instant::now();
        let summary = block_on(self.import())?;
        self.tell(&summary, began.elapsed().as_secs_f64())?;
        self.judge(&summary)
    }

    /// Whether a finished import did what was asked.
    fn judge(&self, summary: &Summary) -> Result<(), CliError> {
        let counts = summary.counts;
        if 0 < summary.bytes && counts.stored + counts.unchanged == 0 {
            let file = self.file.display();
            return Err(CliError::new(Exit::BadLines, format!("no record was found in {file}"))
                .remains("nothing was stored")
                .remedy("look at the file, and whether --format is right"));
        }
        if 0 < counts.bad && !self.skip_bad {
            let what = format!("{} bad entries were left out", counts.bad);
            let others = match counts.replaced {
                0 => "all the others are stored",
                _ => "of the others, the last of each key is stored",
            };
            return Err(CliError::new(Exit::BadLines, what)
                .remains(others)
                .remedy("correct the lines and import again: what is there already is left alone; or say --skip-bad"));
        }
        Ok(())
    }

    async fn import(&self) -> Result<Summary, CliError> {
        let format = self.format.or_else(|| Format::by_name(&self.file)).ok_or_else(|| {
            CliError::failed(format!("{} does not tell its format", self.file.display()))
                .remedy("say --format jsonl, csv or tle")
        })?;
        let options = Options { idle_connections_max: self.parallel.into(), ..Options::default() };
        let client = self.connect.client(options)?;
        let state = self.state(format)?;
        let resumed = match &state {
            Some((file, job)) if !self.fresh => file.load(job)?,
            Some(_) | None => None,
        };
        let ledger = resumed
            .as_ref()
            .map_or_else(Ledger::default, |saved| Ledger::after(saved.line, saved.counts));
        let repeats = self.repeats(format)?;
        let bar = ProgressBar::no_length();
        let entries = self.entries(format, &bar)?;
        let table = client.table(&self.keyspace, &self.table);
        let resumed_after = ledger.line;
        let (options, parallel) = (self.levels.options(), self.parallel.into());
        let run = Run::new(table, options, self.blind, parallel, ledger, repeats);
        let done = run.all(entries, state.as_ref(), &bar).await;
        bar.finish_and_clear();
        let summary = done?;
        if let Some((file, _)) = &state {
            file.remove()?;
        }
        Ok(Summary { resumed_after, bytes: bar.position(), ..summary })
    }

    /// What is to be done about several records of one key.
    fn repeats(&self, format: Format) -> Result<Repeats, CliError> {
        if self.blind {
            return Ok(Repeats::StayAll);
        }
        if self.is_stdin() {
            return Ok(Repeats::Counted(HashSet::new()));
        }
        let bar = ProgressBar::no_length();
        let entries = self.entries(format, &bar)?;
        bar.set_message("looking for keys that come twice;");
        let found = Repeats::find(entries).map_err(|err| self.unreadable(&err));
        bar.finish_and_clear();
        found
    }

    /// Where the state is kept, and of what; nothing for standard input.
    fn state(&self, format: Format) -> Result<Option<(StateFile, Job)>, CliError> {
        if self.is_stdin() {
            return Ok(None);
        }
        let (bytes, head) = fingerprint(&self.file).map_err(|err| self.unreadable(&err))?;
        let job = Job {
            keyspace: self.keyspace.clone(),
            table: self.table.clone(),
            format: format.as_str().to_owned(),
            key_column: self.key_column.clone(),
            sort_column: self.sort_column.clone(),
            bytes,
            head,
        };
        Ok(Some((StateFile::new(self.state.clone(), &self.file), job)))
    }

    fn entries(&self, format: Format, bar: &ProgressBar) -> Result<Entries, CliError> {
        let from: Box<dyn Read + Send> = if self.is_stdin() {
            Box::new(bar.wrap_read(std::io::stdin()))
        } else {
            let file = File::open(&self.file).map_err(|err| self.unreadable(&err))?;
            bar.set_length(file.metadata().map_or(0, |metadata| metadata.len()));
            Box::new(bar.wrap_read(file))
        };
        let style = ProgressStyle::with_template(
            "{bar:32} {percent}% {bytes}/{total_bytes} {msg} {eta} left",
        );
        bar.set_style(style.expect("the template is well formed"));
        let from = BufReader::with_capacity(64 << 10, WithoutMark::new(from));
        Ok(match format {
            Format::Jsonl => Box::new(jsonl::entries(from)),
            Format::Tle => Box::new(tle::entries(from)),
            Format::Csv => {
                let columns =
                    csv::Columns { key: self.key_column.clone(), sort: self.sort_column.clone() };
                Box::new(csv::entries(from, &columns)?)
            }
        })
    }

    fn is_stdin(&self) -> bool {
        self.file == Path::new("-")
    }

    fn unreadable(&self, err: &std::io::Error) -> CliError {
        CliError::failed(format!("cannot read {}: {err}", self.file.display()))
    }

    fn tell(&self, summary: &Summary, seconds: f64) -> Result<(), CliError> {
        let counts = summary.counts;
        let rate = (summary.handled as f64) / seconds.max(0.001);
        if self.json {
            let bad: Vec<_> = summary
                .bad
                .iter()
                .map(|(line, fault)| json!({ "line": line, "fault": fault }))
                .collect();
            return print::json(&json!({
                "stored": counts.stored, "unchanged": counts.unchanged,
                "replaced": counts.replaced, "bad": counts.bad,
                "bad_lines": bad, "resumed_after_line": summary.resumed_after,
                "seconds": seconds, "records_per_second": rate,
            }));
        }
        let mut table = print::table(&["stored", "unchanged", "bad", "seconds", "per second"]);
        table.add_row([
            counts.stored.to_string(),
            counts.unchanged.to_string(),
            counts.bad.to_string(),
            format!("{seconds:.1}"),
            format!("{rate:.0}"),
        ]);
        print::line(table)?;
        if 0 < counts.replaced {
            print::line(replaced_in_words(counts.replaced))?;
        }
        if 0 < summary.resumed_after {
            print::line(format_args!("went on after line {}", summary.resumed_after))?;
        }
        Ok(())
    }
}

fn replaced_in_words(count: u64) -> String {
    let lines = if count == 1 { "line" } else { "lines" };
    format!("{count} {lines} replaced an earlier line of the same key; only the last is kept")
}

/// A saved state of this ledger.
fn saved(job: &Job, ledger: &Ledger) -> Saved {
    Saved { job: job.clone(), line: ledger.line, counts: ledger.counts }
}
