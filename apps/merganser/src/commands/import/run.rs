//! Storing the entries of a file, many at a time, in an order that is right for each key.

use std::collections::BTreeSet;
use std::io;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use client::{Content, Error, Key, ReadOptions, Table, Value, WriteOptions};
use indicatif::ProgressBar;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::entry::{Entries, Entry, Record};
use super::latest::Repeats;
use super::progress::{Counts, Fate, Job, Ledger, StateFile, Ticket};
use super::saved;
use crate::commands::error::CliError;

/// How many entries the reader may be ahead.
const AHEAD_MAX: usize = 1_024;
/// How often the state is put on disk. What was done since is done again after a crash.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// How many faults are shown and kept; the others are counted.
const FAULTS_MAX: usize = 100;
/// How often one record is tried, each time with all the client's own repetitions.
const TRIES_MAX: u32 = 4;

/// What an import came to.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    /// All entries, those of the earlier runs included.
    pub(crate) counts: Counts,
    /// The entries of this run.
    pub(crate) handled: u64,
    /// The first faults of this run, with their lines.
    pub(crate) bad: Vec<(u64, String)>,
    /// The line after which this run began; 0 for the beginning.
    pub(crate) resumed_after: u64,
    /// How many bytes were read.
    pub(crate) bytes: u64,
}

/// An import under way.
#[derive(Debug)]
pub(crate) struct Run {
    how: How,
    parallel: usize,
    ledger: Ledger,
    repeats: Repeats,
    under_way: JoinSet<Done>,
    /// The keys under way: a second record of such a key waits.
    busy: BTreeSet<Key>,
    summary: Summary,
}

/// How a record is stored.
#[derive(Clone, Debug)]
struct How {
    table: Table,
    options: WriteOptions,
    is_blind: bool,
}

#[derive(Debug)]
struct Done {
    key: Key,
    line: u64,
    ticket: Ticket,
    came_of: Result<Fate, Trouble>,
}

/// Why a record was not stored.
#[derive(Debug)]
enum Trouble {
    /// It is this record's fault.
    Record(String),
    /// The next one would fare no better.
    All(Error),
}

impl Run {
    pub(crate) fn new(
        table: Table,
        options: WriteOptions,
        is_blind: bool,
        parallel: usize,
        ledger: Ledger,
        repeats: Repeats,
    ) -> Self {
        Self {
            how: How { table, options, is_blind },
            parallel,
            ledger,
            repeats,
            under_way: JoinSet::new(),
            busy: BTreeSet::new(),
            summary: Summary::default(),
        }
    }

    /// Stores everything beyond what the ledger has as done.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or the cluster does not take records any more. How far it
    /// came is saved.
    pub(crate) async fn all(
        mut self,
        entries: Entries,
        state: Option<&(StateFile, Job)>,
        bar: &ProgressBar,
    ) -> Result<Summary, CliError> {
        let came_of = self.each(Reader::start(entries)?, state, bar).await;
        if let Err(err) = came_of {
            // What is under way may be stored or not; it is not counted as done.
            self.under_way.shutdown().await;
            return Err(self.stopped(err, state));
        }
        self.summary.counts = self.ledger.counts;
        Ok(self.summary)
    }

    async fn each(
        &mut self,
        mut reader: Reader,
        state: Option<&(StateFile, Job)>,
        bar: &ProgressBar,
    ) -> Result<(), CliError> {
        let done_before = self.ledger.line;
        let mut saved_at = Instant::now();
        let mut places = 0..;
        while let Some(entry) = self.next(&mut reader.entries, bar).await? {
            let entry = entry.map_err(|err| CliError::failed(format!("cannot read on: {err}")))?;
            let place = places.next().expect("no file has so many entries");
            if entry.end <= done_before {
                continue;
            }
            if self.repeats.leaves_out(place) {
                let ticket = self.ledger.begin(entry.end);
                self.finish(ticket, Fate::Replaced);
                continue;
            }
            self.take(entry, bar).await?;
            if SAVE_EVERY < saved_at.elapsed() {
                saved_at = Instant::now();
                self.save(state)?;
                bar.set_message(format!("{} done", self.summary.handled));
            }
        }
        while !self.under_way.is_empty() {
            self.settle_one(bar).await?;
        }
        reader.finish()
    }

    /// Waits for the next entry, and meanwhile settles what gets done.
    async fn next(
        &mut self,
        entries: &mut mpsc::Receiver<io::Result<Entry>>,
        bar: &ProgressBar,
    ) -> Result<Option<io::Result<Entry>>, CliError> {
        loop {
            tokio::select! {
                biased;
                entry = entries.recv() => return Ok(entry),
                Some(done) = self.under_way.join_next() => self.settle(done, bar)?,
            }
        }
    }

    async fn take(&mut self, entry: Entry, bar: &ProgressBar) -> Result<(), CliError> {
        let record = match entry.parsed {
            Ok(record) => record,
            Err(fault) => {
                let ticket = self.ledger.begin(entry.end);
                self.finish(ticket, Fate::Bad);
                self.tell_fault(entry.line, fault, bar);
                return Ok(());
            }
        };
        while self.parallel <= self.under_way.len() || self.busy.contains(&record.key) {
            self.settle_one(bar).await?;
        }
        if self.repeats.is_replaced_by(&record.key) {
            self.ledger.counts.replaced += 1;
        }
        let ticket = self.ledger.begin(entry.end);
        self.busy.insert(record.key.clone());
        let (how, line) = (self.how.clone(), entry.line);
        self.under_way.spawn(async move {
            let came_of = how.store(&record).await;
            Done { key: record.key, line, ticket, came_of }
        });
        Ok(())
    }

    async fn settle_one(&mut self, bar: &ProgressBar) -> Result<(), CliError> {
        let done = self.under_way.join_next().await.expect("something is under way");
        self.settle(done, bar)
    }

    fn settle(
        &mut self,
        done: Result<Done, tokio::task::JoinError>,
        bar: &ProgressBar,
    ) -> Result<(), CliError> {
        let done = done.map_err(|err| CliError::failed(format!("a task failed: {err}")))?;
        self.busy.remove(&done.key);
        match done.came_of {
            Ok(fate) => self.finish(done.ticket, fate),
            Err(Trouble::Record(fault)) => {
                self.finish(done.ticket, Fate::Bad);
                self.tell_fault(done.line, fault, bar);
            }
            Err(Trouble::All(err)) => {
                return Err(CliError::from(err).while_doing(format!("line {}", done.line)));
            }
        }
        Ok(())
    }

    fn finish(&mut self, ticket: Ticket, fate: Fate) {
        self.ledger.finish(ticket, fate);
        self.summary.handled += 1;
    }

    fn tell_fault(&mut self, line: u64, fault: String, bar: &ProgressBar) {
        if self.summary.bad.len() < FAULTS_MAX {
            bar.suspend(|| eprintln!("line {line}: {fault}"));
            self.summary.bad.push((line, fault));
            if self.summary.bad.len() == FAULTS_MAX {
                bar.suspend(|| eprintln!("further bad lines are counted and not shown"));
            }
        }
    }

    fn save(&self, state: Option<&(StateFile, Job)>) -> Result<(), CliError> {
        match state {
            Some((file, job)) => file.save(&saved(job, &self.ledger)),
            None => Ok(()),
        }
    }

    fn stopped(&self, err: CliError, state: Option<&(StateFile, Job)>) -> CliError {
        let (line, stored) = (self.ledger.line, self.ledger.counts.stored);
        if state.is_none() {
            return err
                .remains(format!("everything up to line {line} is stored, {stored} records"));
        }
        match self.save(state) {
            Ok(()) => err
                .remains(format!("everything up to line {line} is stored, {stored} records; some of the next lines may be too"))
                .remedy("run the same command again: it goes on from there"),
            Err(unsaved) => err.remains(unsaved.to_string()),
        }
    }
}

/// Reads in a thread of its own: the input can be slow, and reading it blocks.
#[derive(Debug)]
struct Reader {
    entries: mpsc::Receiver<io::Result<Entry>>,
    thread: JoinHandle<()>,
}

impl Reader {
    fn start(entries: Entries) -> Result<Self, CliError> {
        let (to, from) = mpsc::channel(AHEAD_MAX);
        let read = move || {
            for entry in entries {
                if to.blocking_send(entry).is_err() {
                    return;
                }
            }
        };
        // It ends with the file, or with the channel when the import stops early. One that
        // waits for input that never comes ends with the process.
        let thread = std::thread::Builder::new().name("import-reader".to_owned()).spawn(read);
        let thread =
            thread.map_err(|err| CliError::failed(format!("cannot start a thread: {err}")))?;
        Ok(Self { entries: from, thread })
    }

    /// Makes sure that the entries ended because the file did.
    fn finish(self) -> Result<(), CliError> {
        let panicked = |_| CliError::failed("the reader of the file failed");
        self.thread.join().map_err(panicked)
    }
}

impl How {
    /// Stores one record, however often that takes.
    async fn store(&self, record: &Record) -> Result<Fate, Trouble> {
        let mut tries = 0;
        loop {
            let mut stored = 0;
            let err = match self.try_once(record, &mut stored).await {
                Ok(fate) => return Ok(fate),
                Err(err) => err,
            };
            tries += 1;
            match &err {
                Error::Refused(problem) if is_of_the_record(&problem.code) => {
                    return Err(Trouble::Record(refused(&err, stored, record.contents.len())));
                }
                // Reading first, the next try replaces what this one may have left. A blind
                // one would add to it.
                Error::Unknown { .. } if self.is_blind => return Err(Trouble::All(err)),
                Error::NotAttempted(_) | Error::Connect { .. } if self.is_blind && 0 < stored => {
                    return Err(Trouble::All(err));
                }
                Error::Unknown { .. }
                | Error::NotAttempted(_)
                | Error::NoAnswer { .. }
                | Error::Connect { .. }
                    if tries < TRIES_MAX =>
                {
                    tokio::time::sleep(Duration::from_millis(100 << tries)).await;
                }
                Error::Unknown { .. }
                | Error::NotAttempted(_)
                | Error::NoAnswer { .. }
                | Error::Connect { .. }
                | Error::Refused(_)
                | Error::Protocol { .. }
                | Error::Endpoint { .. } => return Err(Trouble::All(err)),
            }
        }
    }

    /// Counts in `stored` what was stored before an error.
    async fn try_once(&self, record: &Record, stored: &mut usize) -> Result<Fate, Error> {
        let key = &record.key;
        let context = if self.is_blind {
            None
        } else {
            let answer = self.table.get(key, &ReadOptions::default()).await?;
            if are_alike(&answer.values, &record.contents) {
                return Ok(Fate::Unchanged);
            }
            answer.context
        };
        // All with the context from before the first: each replaces what the key held, and
        // none another of this record, so that they stay as siblings.
        for content in &record.contents {
            self.table.put(key, content, context.as_ref(), &self.options).await?;
            *stored += 1;
        }
        Ok(Fate::Stored)
    }
}

/// Whether a key holds just these values. Siblings have no order.
fn are_alike(held: &[Value], contents: &[Content]) -> bool {
    let mut held: Vec<_> = held.iter().map(|v| (v.content_type.as_str(), &v.body)).collect();
    let mut wanted: Vec<_> = contents.iter().map(|c| (c.content_type(), &c.body)).collect();
    held.sort_unstable();
    wanted.sort_unstable();
    held == wanted
}

/// What is wrong with a record, and what is left of it.
fn refused(err: &Error, stored: usize, values: usize) -> String {
    match stored {
        0 => err.to_string(),
        _ => format!("{err}; the key holds the first {stored} of the line's {values} values"),
    }
}

/// Whether another record could be accepted where this one was refused.
fn is_of_the_record(code: &str) -> bool {
    matches!(
        code,
        "value_too_large"
            | "body_too_large"
            | "headers_too_large"
            | "key_too_large"
            | "malformed_key"
            | "too_many_siblings"
            | "context_required"
    )
}
