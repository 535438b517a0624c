//! Reading a directory that no node serves any more, without changing it.
//!
//! To open a database is to change it: its journal is read back and cut to where it makes sense, a
//! new one is begun, and files are put together in the background. What lies in the directory of a
//! disk that does not come back may be all that is left of some writes, and an operator may have
//! it on a volume that can only be read. So what is opened is a *shadow*: a directory elsewhere, in
//! which the large files, which are never written to again, are only pointed to, and the others
//! are copies.
//!
//! ```text
//! /data/n3/LOCK                      held as a reader, so that no node is started meanwhile
//! /data/n3/db/0.jnl             ──►  a copy
//! /data/n3/db/keyspaces/1/v7    ──►  a copy
//! /data/n3/db/keyspaces/1/tables/9  ◄── pointed to
//! ```
//!
//! Nothing is expected of it but that what is read was written once: each record has its checksum.
//! Whether others are missing is no matter here, so a directory that a node would refuse
//! because it is [damaged](crate::OpenError) is read as far as it goes.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use catalog::{Acceptor, Catalog};
use causality::{DotSet, Run};
use model::{ClusterId, DiskId, Key, NodeId, Object, ShardId, TableId};
use thiserror::Error;

use crate::engine::{Engine, bytes};
use crate::format::{Format, State, Unreadable};
use crate::record::Known;
use crate::{
    CACHE_BYTES_DEFAULT, FORMAT_VERSION, OpenError, WRITE_BUFFER_BYTES_DEFAULT, record, tail,
};

/// Where a database keeps files that it never writes to again.
const LARGE: [&str; 2] = ["tables", "blobs"];

/// Why a directory cannot be read. It is as it was.
#[derive(Debug, Error)]
pub enum RetiredError {
    /// A node serves with it.
    #[error(
        "{} is in use by another process. Stop the node first; if it cannot be stopped, it is not lost",
        .0.display()
    )]
    InUse(PathBuf),
    /// No node ever served with it.
    #[error(
        "{} is no data directory of a node: it has no file FORMAT, or was never complete. Name the directory that \
         the node was configured with, or a copy of all of it",
        .0.display()
    )]
    NoDirectory(PathBuf),
    /// A later version of this program wrote it.
    #[error(
        "{} has storage format {found}, and this program reads formats up to {FORMAT_VERSION}. Use the version \
         that wrote it, or a later one",
        .dir.display()
    )]
    Newer {
        /// Which directory.
        dir: PathBuf,
        /// What its FORMAT file says.
        found: u32,
    },
    /// Nothing can be read of it.
    #[error("{} cannot be read: {detail}", .dir.display())]
    Damaged {
        /// Which directory.
        dir: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The operating system refused something.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

fn refused<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> RetiredError + 'a {
    move |source| RetiredError::Io { action, path: path.to_owned(), source }
}

/// The directory of a disk that does not come back.
pub struct Retired {
    engine: Engine,
    format: Format,
    catalog: Catalog,
    /// Dropped after the database.
    _shadow: Shadow,
    /// Nobody serves with the directory meanwhile.
    _lock: Option<File>,
}

/// Something that lies on it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lying {
    /// In which table.
    pub table: TableId,
    /// In which shard. Nothing for what was kept for another node: its shard follows from the key.
    pub shard: Option<u16>,
    /// Under which key.
    pub key: Key,
    /// What is held there.
    pub object: Object,
}

/// Something that lies on it and cannot be read.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{detail}")]
pub struct NotRead {
    /// What was found.
    pub detail: String,
    /// Whether what follows cannot be read either: the file is damaged, and not a record in it.
    pub is_end: bool,
}

impl Retired {
    /// Opens a directory. What it takes for that is put into a new directory below `scratch`, and removed when
    /// this is dropped: as much as was written in the last minutes of the node.
    ///
    /// # Errors
    ///
    /// [`RetiredError`]; the directory is as it was.
    pub fn open(dir: &Path, scratch: &Path) -> Result<Self, RetiredError> {
        let format = read_format(dir)?;
        let lock = lock(dir)?;
        let shadow = Shadow::cast(&dir.join("db"), scratch)?;
        let damaged = |detail: String| RetiredError::Damaged { dir: dir.to_owned(), detail };
        let engine = Engine::open(&shadow.0, CACHE_BYTES_DEFAULT, WRITE_BUFFER_BYTES_DEFAULT);
        let engine = engine.map_err(|error| match error {
            OpenError::Corrupt { detail, .. } => damaged(detail),
            OpenError::Io { action, source, .. } => {
                damaged(format!("cannot {action} it: {source}"))
            }
            OpenError::Locked(_)
            | OpenError::Newer { .. }
            | OpenError::OtherCluster { .. }
            | OpenError::OtherNode { .. }
            | OpenError::OtherLayout(_) => damaged(error.to_string()),
        })?;
        let found =
            engine.meta.get(record::ACCEPTOR).map_err(|error| damaged(error.to_string()))?;
        let acceptor = match found {
            Some(value) => record::open_acceptor(&bytes(&value)),
            None => Ok(Acceptor::default()),
        };
        let catalog = acceptor.map_err(|error| damaged(error.to_string()))?.learned;
        Ok(Self { engine, format, catalog, _shadow: shadow, _lock: lock })
    }

    /// The cluster and the node that it belongs to.
    pub fn whose(&self) -> (ClusterId, NodeId) {
        (self.format.cluster, self.format.node)
    }

    /// Which disk it is.
    pub fn disk(&self) -> DiskId {
        self.format.mark.disk()
    }

    /// The catalog that the node had last heard of.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Which writes each shard had applied, and what cannot be read of that.
    pub fn clocks(&self) -> (BTreeMap<ShardId, DotSet>, Vec<NotRead>) {
        let (mut clocks, mut not_read) = (BTreeMap::<ShardId, DotSet>::new(), Vec::new());
        let mut take = |shard: ShardId, runs: Vec<Run>| {
            let dots = DotSet::from_runs(runs).map_err(|error| not_read_for(&error))?;
            let _ = clocks.entry(shard).or_default().union(&dots);
            Ok(())
        };
        for found in read(self.engine.clocks.iter(), |key, value| record::open_known(key, value)) {
            not_read.extend(match found {
                // What is forgotten is in the clock as well.
                Ok((_, Known::Forgotten(_) | Known::Sum(_))) => None,
                Ok((shard, Known::Clock(runs))) => take(shard, runs).err(),
                Err(error) => Some(error),
            });
        }
        match tail::read(&self.engine, &self.engine.database().snapshot()) {
            Ok((late, unreadable)) => {
                let late = late.clocks.into_iter();
                not_read.extend(late.filter_map(|((shard, _), runs)| take(shard, runs).err()));
                not_read.extend(unreadable.iter().map(|error| not_read_for(error)));
            }
            Err(error) => not_read.push(NotRead { is_end: true, ..not_read_for(&error) }),
        }
        (clocks, not_read)
    }

    /// Everything that the node held itself, in the order of tables, shards and keys.
    pub fn objects(&self) -> impl Iterator<Item = Result<Lying, NotRead>> {
        read(self.engine.objects.iter(), |key, value| {
            let (table, shard, place) = record::open_object_place(key)?;
            let object = record::open_object(key, value)?;
            Ok(Lying { table, shard: Some(shard), key: place, object })
        })
    }

    /// Everything that it kept for others.
    pub fn hints(&self) -> impl Iterator<Item = Result<Lying, NotRead>> {
        read(self.engine.hints.iter(), |key, value| {
            let address = record::open_hint_key(key)?.address;
            let object = record::open_hint(key, value)?.object;
            Ok(Lying { table: address.table, shard: None, key: address.key, object })
        })
    }
}

fn not_read_for(error: &dyn std::fmt::Display) -> NotRead {
    NotRead { detail: error.to_string(), is_end: false }
}

/// Reads records one by one, until one says that there are no more.
fn read<T>(
    mut entries: fjall::Iter,
    open: impl Fn(&bytes::Bytes, &bytes::Bytes) -> Result<T, replica::StoreError>,
) -> impl Iterator<Item = Result<T, NotRead>> {
    let mut is_over = false;
    std::iter::from_fn(move || {
        if is_over {
            return None;
        }
        let (key, value) = match entries.next()?.into_inner() {
            Ok(found) => found,
            Err(error) => {
                is_over = true;
                return Some(Err(NotRead { detail: error.to_string(), is_end: true }));
            }
        };
        let opened = open(&bytes(&key), &bytes(&value));
        Some(opened.map_err(|error| NotRead { detail: error.to_string(), is_end: false }))
    })
}

fn read_format(dir: &Path) -> Result<Format, RetiredError> {
    let path = dir.join("FORMAT");
    let text = match fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Err(RetiredError::NoDirectory(dir.to_owned()));
        }
        Err(error) => return Err(refused("read", &path)(error)),
    };
    match Format::parse(&text) {
        Ok(format) if format.state == State::Ready => Ok(format),
        Ok(_) => Err(RetiredError::NoDirectory(dir.to_owned())),
        Err(Unreadable::Newer(found)) => Err(RetiredError::Newer { dir: dir.to_owned(), found }),
        Err(Unreadable::Damaged) => {
            let detail = "its file FORMAT is not what was written".to_owned();
            Err(RetiredError::Damaged { dir: dir.to_owned(), detail })
        }
    }
}

/// Holds the lock as others hold it who only read. A copy may have none.
fn lock(dir: &Path) -> Result<Option<File>, RetiredError> {
    let path = dir.join("LOCK");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refused("open", &path)(error)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(RetiredError::InUse(dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(refused("lock", &path)(error)),
    }
}

/// A directory that stands for another one. It goes when this is dropped.
struct Shadow(PathBuf);

impl Shadow {
    fn cast(of: &Path, scratch: &Path) -> Result<Self, RetiredError> {
        // What is pointed to has to be found from elsewhere.
        let of = fs::canonicalize(of).map_err(refused("read", of))?;
        let shadow = Self(make_dir(scratch)?);
        shade(&of, &shadow.0, false)?;
        Ok(shadow)
    }
}

impl Drop for Shadow {
    fn drop(&mut self) {
        // Links are removed, and not what they point to.
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(
                "{} is of no use any more, and cannot be removed: {error}",
                self.0.display()
            );
        }
    }
}

fn make_dir(scratch: &Path) -> Result<PathBuf, RetiredError> {
    let mut number = 0;
    loop {
        let dir = scratch.join(format!("merganser-salvage-{}-{number}", std::process::id()));
        match fs::create_dir(&dir) {
            Ok(()) => return Ok(dir),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(refused("create", &dir)(error)),
        }
    }
}

fn shade(from: &Path, to: &Path, is_large: bool) -> Result<(), RetiredError> {
    for entry in fs::read_dir(from).map_err(refused("read", from))? {
        let entry = entry.map_err(refused("read", from))?;
        let (source, name) = (entry.path(), entry.file_name());
        let target = to.join(&name);
        if entry.file_type().map_err(refused("read", &source))?.is_dir() {
            fs::create_dir(&target).map_err(refused("create", &target))?;
            let is_large = is_large || LARGE.iter().any(|large| name.to_str() == Some(large));
            shade(&source, &target, is_large)?;
        } else if is_large {
            symlink(&source, &target).map_err(refused("create", &target))?;
        } else {
            copy(&source, &target)?;
        }
    }
    Ok(())
}

/// Copies what is in a file, and not who may write to it.
fn copy(from: &Path, to: &Path) -> Result<(), RetiredError> {
    let mut source = File::open(from).map_err(refused("read", from))?;
    let mut target = File::create_new(to).map_err(refused("create", to))?;
    io::copy(&mut source, &mut target).map_err(refused("write", to))?;
    Ok(())
}
