//! The data directory: who may open it, and what it is.
//!
//! ```text
//! LOCK      held, exclusively, by the process that serves the directory
//! FORMAT    version, cluster, node, layout, mark and state, as lines of text with a checksum
//! DAMAGED   only if it was found that acknowledged writes are missing; says which
//! db/       the database
//! ```
//!
//! A directory that is made from a backup has the state `restoring` meanwhile, and is refused.
//!
//! FORMAT is written twice by the first start: with the state `new` before the database
//! is made, and with `ready` after. A start that finds `new` knows that its predecessor
//! died before it promised anything, and begins again. One that finds `ready` and no
//! database, or a database and no FORMAT, knows that somebody took something away, and
//! does not serve the rest as if it were everything.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use model::{ClusterId, NodeId};

use crate::format::{Format, State, Unreadable};
use crate::witness::Mark;
use crate::{FORMAT_VERSION, OpenError, Options};

/// A data directory of which this process is the only user.
#[derive(Debug)]
pub(crate) struct Home {
    dir: PathBuf,
    cluster: ClusterId,
    node: NodeId,
    layout: u64,
    mark: Mark,
    /// Closing the file lets go of the directory.
    _lock: File,
}

impl Home {
    /// Takes hold of the directory, creates it if need be, and checks whose it is.
    ///
    /// When this returns, the database can be opened or created; after that the caller
    /// calls [`ready`](Self::ready).
    pub(crate) fn enter(options: &Options) -> Result<Self, OpenError> {
        let Options { dir, cluster, node, layout, .. } = options;
        fs::create_dir_all(dir).map_err(OpenError::io("create", dir))?;
        let mut home = Self {
            dir: dir.clone(),
            cluster: *cluster,
            node: *node,
            layout: *layout,
            mark: Mark::draw(),
            _lock: lock(dir)?,
        };
        match home.read_format()? {
            Some(Format { state: State::Ready, mark, .. }) => {
                home.mark = mark;
                home.expect_database()?;
            }
            Some(Format { state: State::Restoring, .. }) => {
                let detail = "it is half of what a backup holds: remove it, and restore again";
                return Err(OpenError::corrupt(dir, detail));
            }
            Some(Format { state: State::New, .. }) => home.begin_again()?,
            None => home.begin()?,
        }
        match fs::read_to_string(home.damaged_path()) {
            Ok(detail) => Err(OpenError::corrupt(dir, detail.trim_end())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(home),
            Err(error) => Err(OpenError::io("read", &home.damaged_path())(error)),
        }
    }

    /// Records that the database is complete, in the format of this program. A later start that does
    /// not find it then knows that it was lost.
    pub(crate) fn ready(&self) -> Result<(), OpenError> {
        match self.read_format()? {
            Some(Format { state: State::Ready, version: FORMAT_VERSION, .. }) => Ok(()),
            Some(_) | None => self.write_format(State::Ready),
        }
    }

    /// Records that the database is filled from a backup. A start before that is over is refused:
    /// what is missing cannot be told from what never was.
    pub(crate) fn restoring(&self) -> Result<(), OpenError> {
        self.write_format(State::Restoring)
    }

    /// Records that acknowledged writes are missing, so that no later start serves the rest.
    pub(crate) fn condemn(&self, detail: &str) -> Result<(), OpenError> {
        let path = self.damaged_path();
        write_whole(&self.dir, &path, detail).map_err(OpenError::io("write", &path))
    }

    /// Where the database is.
    pub(crate) fn database_dir(&self) -> PathBuf {
        self.dir.join("db")
    }

    /// What the witnesses in the journals begin with.
    pub(crate) fn mark(&self) -> Mark {
        self.mark
    }

    /// The cluster and the node that the directory belongs to.
    pub(crate) fn whose(&self) -> (ClusterId, NodeId) {
        (self.cluster, self.node)
    }

    /// The fingerprint of the list of nodes.
    pub(crate) fn layout(&self) -> u64 {
        self.layout
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    fn damaged_path(&self) -> PathBuf {
        self.dir.join("DAMAGED")
    }

    fn format_path(&self) -> PathBuf {
        self.dir.join("FORMAT")
    }

    fn begin(&self) -> Result<(), OpenError> {
        if self.database_dir().exists() {
            return Err(OpenError::corrupt(&self.dir, "it has a database, but no file FORMAT"));
        }
        self.write_format(State::New)
    }

    fn begin_again(&self) -> Result<(), OpenError> {
        let path = self.database_dir();
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(OpenError::io("remove", &path)(error))
            }
            Ok(()) | Err(_) => self.write_format(State::New),
        }
    }

    fn expect_database(&self) -> Result<(), OpenError> {
        if self.database_dir().exists() {
            return Ok(());
        }
        Err(OpenError::corrupt(&self.dir, "it was in use before, and its database is gone"))
    }

    fn read_format(&self) -> Result<Option<Format>, OpenError> {
        let path = self.format_path();
        let text = match fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(OpenError::io("read", &path)(error)),
        };
        self.check_format(&text).map(Some)
    }

    fn check_format(&self, text: &str) -> Result<Format, OpenError> {
        let dir = &self.dir;
        let format = Format::parse(text).map_err(|error| match error {
            Unreadable::Newer(found) => {
                OpenError::Newer { dir: dir.clone(), found, supported: FORMAT_VERSION }
            }
            Unreadable::Damaged => OpenError::corrupt(dir, "its file FORMAT cannot be read"),
        })?;
        if format.cluster != self.cluster {
            let (dir, found, wanted) = (dir.clone(), format.cluster, self.cluster);
            return Err(OpenError::OtherCluster { dir, found, wanted });
        }
        if format.node != self.node {
            let (dir, found, wanted) = (dir.clone(), format.node, self.node);
            return Err(OpenError::OtherNode { dir, found, wanted });
        }
        if format.layout != self.layout {
            return Err(OpenError::OtherLayout(dir.clone()));
        }
        Ok(format)
    }

    fn write_format(&self, state: State) -> Result<(), OpenError> {
        let Self { cluster, node, layout, mark, .. } = *self;
        let version = FORMAT_VERSION;
        let text = Format { version, cluster, node, layout, mark, state }.to_text();
        let path = self.format_path();
        write_whole(&self.dir, &path, &text).map_err(OpenError::io("write", &path))
    }
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("LOCK");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(OpenError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked(dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(OpenError::io("lock", &path)(error)),
    }
}

/// Whether another process serves a data directory at this moment. Changes nothing; a directory
/// that was never served is in nobody's hands.
///
/// To know it, the lock is tried for a moment, as a reader: others that ask at the same time do not
/// see each other, but a node that is started in this moment may be refused as if the directory
/// were in use.
pub fn is_in_use(dir: &Path) -> bool {
    let file = File::open(dir.join("LOCK"));
    file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Writes a small file so that a crash leaves the old one or the new one, whole.
fn write_whole(dir: &Path, path: &Path, text: &str) -> io::Result<()> {
    let draft = path.with_extension("draft");
    let mut file = File::create(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    File::open(dir)?.sync_all()
}
