//! `--session FILE`: commands that are one client, which is never shown less than it has seen.
//!
//! The nodes keep nothing of a session, and each command is a process of its own. So what the
//! session has seen lies in a file between them: the text of a [`client::Session`], a few dozen bytes for
//! each shard that it has touched. It is plain text, because whoever looks into it, copies it to
//! another machine or deletes it should see what it is; and one file, because a session is passed
//! on as a whole or not at all.
//!
//! ```text
//! merganser put ks t a 1 --session FILE      FILE begins, or goes on: locked, read
//!                                            a file beside it is opened: can it be kept?
//!                                            the request, with all tokens
//!                                            the file beside it is synced and renamed to FILE
//! merganser get ks t a --session FILE --node ANOTHER
//! ```
//!
//! Who cannot keep a session is told so before the request, as far as that can be known. Commands
//! with the same file take turns: of two at once, the later one would drop what the other has seen.
//! The lock is on the file itself, which the next holder finds replaced; he then begins again with
//! the new one.
//!
//! Nothing is repaired and nothing is guessed: a file that is not a whole session is refused and
//! left as it is, an empty one included, for it may have been one.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use client::{Answer, Content, Context, Error, Key, ReadOptions, Table, WriteOptions, Written};

use super::error::CliError;
use super::replacement::Replacement;

/// The most bytes of a session: far more than its tokens come to before requests have no room
/// for them.
const BYTES_MAX: u64 = 1 << 20;

/// In which session a command is.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct InSession {
    /// Show this client no less than it has seen, at whatever node: what it has read and written
    /// is kept in this file, which is begun if it is not there. Commands with the same file take
    /// turns.
    #[arg(long = "session", value_name = "FILE")]
    file: Option<PathBuf>,
}

impl InSession {
    /// The table, in the session if there is one.
    ///
    /// # Errors
    ///
    /// If the file is not a session, or cannot be kept. Nothing was asked of any node.
    pub(crate) fn of(&self, table: Table) -> Result<Access, CliError> {
        let session = self.file.as_deref().map(Kept::open).transpose()?;
        Ok(Access { table, session })
    }
}

/// A table, read and written in a session or in none.
#[derive(Debug)]
pub(crate) struct Access {
    table: Table,
    session: Option<Kept>,
}

impl Access {
    /// As [`Table::get`].
    pub(crate) async fn get(&self, key: &Key, options: &ReadOptions) -> Result<Answer, Error> {
        match &self.session {
            Some(kept) => kept.session.get(&self.table, key, options).await,
            None => self.table.get(key, options).await,
        }
    }

    /// As [`Table::put`].
    pub(crate) async fn put(
        &self,
        key: &Key,
        content: &Content,
        context: Option<&Context>,
        options: &WriteOptions,
    ) -> Result<Written, Error> {
        match &self.session {
            Some(kept) => kept.session.put(&self.table, key, content, context, options).await,
            None => self.table.put(key, content, context, options).await,
        }
    }

    /// As [`Table::delete`].
    pub(crate) async fn delete(
        &self,
        key: &Key,
        context: Option<&Context>,
        options: &WriteOptions,
    ) -> Result<Written, Error> {
        match &self.session {
            Some(kept) => kept.session.delete(&self.table, key, context, options).await,
            None => self.table.delete(key, context, options).await,
        }
    }

    /// Keeps what the session has seen, whatever became of the command. `done` says what was done
    /// if it went well.
    ///
    /// # Errors
    ///
    /// If the file cannot be written. It is as it was.
    pub(crate) fn keep(self, done: &str) -> Result<(), CliError> {
        self.session.map_or(Ok(()), |kept| kept.keep(done))
    }
}

/// A session that is locked, and will be written again.
#[derive(Debug)]
struct Kept {
    path: PathBuf,
    session: client::Session,
    /// What the file holds.
    text: String,
    next: Replacement,
    /// Holds the lock.
    _file: File,
}

impl Kept {
    fn open(path: &Path) -> Result<Self, CliError> {
        let failed = |err: io::Error| {
            let what = format!("cannot keep a session in {}: {err}", path.display());
            CliError::failed(what).remains("nothing was asked of any node")
        };
        let file = locked(path).map_err(failed)?;
        let next = Replacement::begin(path).map_err(failed)?;
        let mut text = String::new();
        (&file).take(BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
        let session = text.parse().map_err(|err: client::NoSession| {
            CliError::failed(format!("cannot go on with the session in {}: {err}", path.display()))
                .remains("nothing was asked of any node, and the file is as it was")
                .remedy("name another file, which begins another session; move this one away if it was one")
        })?;
        Ok(Self { path: path.to_owned(), session, text, next, _file: file })
    }

    fn keep(mut self, done: &str) -> Result<(), CliError> {
        let text = self.session.to_string();
        if text == self.text {
            return Ok(());
        }
        let written = write!(self.next.to, "{text}");
        written.and_then(|()| self.next.commit()).map_err(|err| {
            let file = self.path.display();
            CliError::failed(format!("cannot keep the session in {file}: {err}"))
                .remains(format!("{done}; {file} is as it was, and the session does not know of it"))
                .remedy("read the key before you rely on the session, or begin another one with another file")
        })
    }
}

/// The file of a session, locked, and begun if it is not there.
fn locked(path: &Path) -> io::Result<File> {
    let mut is_begun = false;
    loop {
        let file = match File::open(path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound && !is_begun => {
                begin(path)?;
                is_begun = true;
                continue;
            }
            opened => opened?,
        };
        file.lock()?;
        // Who held the lock has put another file in its place.
        let (ours, there) = (file.metadata()?, fs::metadata(path));
        let is_there = |there: fs::Metadata| (there.dev(), there.ino()) == (ours.dev(), ours.ino());
        if there.is_ok_and(is_there) {
            return Ok(file);
        }
    }
}

/// Begins a session. If somebody else does at the same time, there is one.
fn begin(path: &Path) -> io::Result<()> {
    let mut next = Replacement::begin(path)?;
    write!(next.to, "{}", client::Session::new())?;
    next.commit_new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<std::ffi::OsString> {
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn a_session_begins_goes_on_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        Kept::open(&path).unwrap().keep("").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "merganser session 1\n");
        let text = "merganser session 1\nks1/3 AQERAA\n";
        fs::write(&path, text).unwrap();
        drop(Kept::open(&path).unwrap());
        let mut kept = Kept::open(&path).unwrap();
        let more = format!("{}ks1/4 a\n", kept.session);
        kept.session = more.parse().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "until it is kept");
        kept.keep("").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), more);
        assert_eq!(names(dir.path()), ["s"]);
    }

    #[test]
    fn what_is_no_session_is_refused_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        for text in ["", "a letter", "merganser session 1\nks1/3 AQERAA"] {
            fs::write(&path, text).unwrap();
            let said = Kept::open(&path).unwrap_err().to_string();
            assert!(said.contains("it is no session"), "{said}");
            assert!(said.contains("what remains: nothing was asked"), "{said}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(names(dir.path()), ["s"]);
        }
    }

    #[test]
    fn a_session_that_cannot_be_kept_is_refused_before_anything_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        for path in [dir.path().to_owned(), dir.path().join("none/s")] {
            let said = Kept::open(&path).unwrap_err().to_string();
            assert!(said.contains("cannot keep a session in"), "{said}");
            assert!(said.contains("what remains: nothing was asked"), "{said}");
        }
        assert!(names(dir.path()).is_empty());
    }

    #[test]
    fn a_session_that_cannot_be_kept_at_the_end_says_what_was_done() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("folder");
        fs::create_dir(&folder).unwrap();
        let mut kept = Kept::open(&folder.join("s")).unwrap();
        kept.session = "merganser session 1\nks1/3 a\n".parse().unwrap();
        fs::remove_dir_all(&folder).unwrap();
        let said = kept.keep("the value is stored").unwrap_err().to_string();
        assert!(said.contains("what remains: the value is stored; "), "{said}");
    }

    #[test]
    fn commands_with_one_session_take_turns_and_none_drops_what_another_has_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = &dir.path().join("s");
        std::thread::scope(|scope| {
            for shard in 0..8 {
                scope.spawn(move || {
                    let mut kept = Kept::open(path).unwrap();
                    let text = format!("{}ks1/{shard} a\n", kept.session);
                    kept.session = text.parse().unwrap();
                    kept.keep("").unwrap();
                });
            }
        });
        let text = fs::read_to_string(path).unwrap();
        assert_eq!(text.lines().count(), 9, "{text}");
    }
}
