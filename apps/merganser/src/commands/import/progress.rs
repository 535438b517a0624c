//! How far an import has come: which lines are done, and how that survives a crash.
//!
//! Many records are stored at the same time and finish in any order, but "go on after line
//! 5,000" is only true if everything up to line 5,000 is done. The [`Ledger`] keeps that
//! prefix, and [`Saved`] puts it on disk beside the file. What was stored beyond the prefix
//! is stored once more after a crash, which replaces it and adds nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::commands::error::CliError;

/// What became of an entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fate {
    /// It was stored.
    Stored,
    /// It was there already, just so.
    Unchanged,
    /// It was left out, because a later one has the same key.
    Replaced,
    /// It was at fault, and left out.
    Bad,
}

/// How many entries met which fate.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Counts {
    pub(crate) stored: u64,
    pub(crate) unchanged: u64,
    /// Those whose key came again, whether they were stored before that or not.
    #[serde(default)]
    pub(crate) replaced: u64,
    pub(crate) bad: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, fate: Fate) {
        match fate {
            Fate::Stored => self.stored += 1,
            Fate::Unchanged => self.unchanged += 1,
            Fate::Replaced => self.replaced += 1,
            Fate::Bad => self.bad += 1,
        }
    }
}

/// The longest prefix of the file that is done, and what is under way beyond it.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    open: BTreeMap<u64, (u64, Option<Fate>)>,
    next: u64,
    /// The last line of the prefix; 0 if nothing is done.
    pub(crate) line: u64,
    /// What is in the prefix.
    pub(crate) counts: Counts,
}

/// Names an entry in the ledger.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket(u64);

impl Ledger {
    /// Goes on where an earlier run ended.
    pub(crate) fn after(line: u64, counts: Counts) -> Self {
        Self { line, counts, ..Self::default() }
    }

    /// Notes an entry that ends at this line. Entries come in the order of their ends.
    pub(crate) fn begin(&mut self, end: u64) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.open.insert(ticket.0, (end, None));
        ticket
    }

    /// Notes what became of an entry.
    pub(crate) fn finish(&mut self, ticket: Ticket, fate: Fate) {
        if let Some((_, open)) = self.open.get_mut(&ticket.0) {
            *open = Some(fate);
        }
        while let Some(entry) = self.open.first_entry()
            && let (end, Some(fate)) = *entry.get()
        {
            entry.remove();
            self.line = end;
            self.counts.add(fate);
        }
    }
}

/// What the state file says.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Saved {
    /// What is imported where: a state fits only the same job.
    pub(crate) job: Job,
    /// The last line of the part that is done.
    pub(crate) line: u64,
    /// What is in that part.
    pub(crate) counts: Counts,
}

/// One file going into one table.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Job {
    pub(crate) keyspace: String,
    pub(crate) table: String,
    pub(crate) format: String,
    pub(crate) key_column: Option<String>,
    pub(crate) sort_column: Option<String>,
    /// The size of the file.
    pub(crate) bytes: u64,
    /// A hash over its beginning.
    pub(crate) head: String,
}

/// How much of the file's beginning is hashed: enough to tell files apart.
const HEAD_BYTES: u64 = 64 << 10;

/// The size of a file, and a hash over its beginning.
pub(crate) fn fingerprint(path: &Path) -> io::Result<(u64, String)> {
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let mut head = Vec::new();
    file.take(HEAD_BYTES).read_to_end(&mut head)?;
    Ok((bytes, format!("{:016x}", fnv1a(&head))))
}

/// FNV-1a: it has to be the same in every version of the program, and no more.
fn fnv1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// Where a state is kept.
#[derive(Clone, Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
}

impl StateFile {
    /// The given path, or the imported file's with `.merganser-import` behind.
    pub(crate) fn new(given: Option<PathBuf>, file: &Path) -> Self {
        let beside = || {
            let mut name = file.as_os_str().to_owned();
            name.push(".merganser-import");
            PathBuf::from(name)
        };
        Self { path: given.unwrap_or_else(beside) }
    }

    /// What an earlier run of the same job has left.
    ///
    /// # Errors
    ///
    /// If there is a state of another job: neither using nor overwriting it can be right.
    pub(crate) fn load(&self, job: &Job) -> Result<Option<Saved>, CliError> {
        let json = match std::fs::read(&self.path) {
            Ok(json) => json,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(err) => return Err(self.failed("read", &err)),
        };
        let remedy = "say --fresh to import all of it from the start, or --state for another place";
        let refuse = |what: &str| {
            let what = format!("the state in {} {what}", self.path.display());
            CliError::failed(what).remains("nothing was changed").remedy(remedy)
        };
        let saved: Saved = serde_json::from_slice(&json)
            .map_err(|err| refuse(&format!("is unreadable: {err}")))?;
        if saved.job == *job {
            Ok(Some(saved))
        } else {
            Err(refuse("is of another import, or the file has changed since"))
        }
    }

    /// Puts a state on disk, whole or not at all.
    pub(crate) fn save(&self, saved: &Saved) -> Result<(), CliError> {
        self.replace(saved).map_err(|err| self.failed("write", &err))
    }

    fn replace(&self, saved: &Saved) -> io::Result<()> {
        let mut written = self.path.as_os_str().to_owned();
        written.push(".new");
        let written = PathBuf::from(written);
        let mut file = File::create(&written)?;
        file.write_all(&serde_json::to_vec(saved)?)?;
        file.sync_all()?;
        std::fs::rename(&written, &self.path)?;
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    }

    /// Removes the state, if there is one.
    pub(crate) fn remove(&self) -> Result<(), CliError> {
        match std::fs::remove_file(&self.path) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => Err(self.failed("remove", &err)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn failed(&self, what: &str, err: &io::Error) -> CliError {
        let what =
            format!("cannot {what} the state of the import in {}: {err}", self.path.display());
        CliError::failed(what).remedy("name another place with --state")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_ends_before_the_first_entry_that_is_not_done() {
        let mut ledger = Ledger::after(10, Counts { stored: 4, ..Counts::default() });
        let [a, b, c] = [11, 13, 14].map(|end| ledger.begin(end));
        ledger.finish(b, Fate::Stored);
        assert_eq!((ledger.line, ledger.counts.stored), (10, 4));
        ledger.finish(a, Fate::Bad);
        assert_eq!(ledger.line, 13);
        assert_eq!(ledger.counts, Counts { stored: 5, bad: 1, ..Counts::default() });
        ledger.finish(c, Fate::Unchanged);
        assert_eq!((ledger.line, ledger.counts.unchanged), (14, 1));
    }

    fn job(bytes: u64) -> Job {
        Job {
            keyspace: "k".to_owned(),
            table: "t".to_owned(),
            format: "tle".to_owned(),
            key_column: None,
            sort_column: None,
            bytes,
            head: "h".to_owned(),
        }
    }

    #[test]
    fn a_state_is_used_for_the_same_job_only() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateFile::new(None, &dir.path().join("f.tle"));
        assert!(state.load(&job(7)).unwrap().is_none());
        let saved = Saved { job: job(7), line: 5, counts: Counts::default() };
        state.save(&saved).unwrap();
        assert_eq!(state.load(&job(7)).unwrap(), Some(saved));
        assert!(state.load(&job(8)).unwrap_err().to_string().contains("--fresh"));
        assert!(dir.path().join("f.tle.merganser-import").exists());
        state.remove().unwrap();
        state.remove().unwrap();
        assert!(state.load(&job(8)).unwrap().is_none());
    }
}
