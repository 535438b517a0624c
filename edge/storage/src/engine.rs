//! The database under a data directory, and the one way to write to it.
//!
//! fjall keeps five keyspaces over one journal, and writes one batch over all of them
//! atomically: that is what makes object, clock, sum and log change together.
//!
//! Two of its habits shape this file. It makes writers wait inside a write, without end,
//! when flushing falls far behind; if the reason is that its worker died of a full disk,
//! for ever. So [`Engine::make_room`] waits before a write instead, where it can see the
//! death. And it reports that death only as "poisoned", so the cause is looked for here.

use std::fs;
use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use fjall::{
    AbstractTree as _, CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode,
};
use model::Durability;

use crate::group::Group;
use crate::witness::Witness;
use crate::{FlushError, OpenError, record};

/// The most that is ever collected in memory before it becomes a file. fjall keeps this
/// figure with the data, so what the node is configured for today is less, and is seen to
/// here: in [`Engine::rotate`].
const MEMTABLE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Clock and meta records are few and are overwritten again and again. Those of the log are
/// small, and most are dropped within seconds.
const SMALL_MEMTABLE_BYTES: u64 = 4 * 1024 * 1024;

/// The most journal that a start has to replay, nearly: fjall's smallest choice.
const JOURNAL_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// One worker writes memtables out, the others compact: with one for both, a long
/// compaction would hold up all writes. With two in all, fjall's first hands each request to
/// compact back to the queue until the second is free, and burns a core meanwhile.
const WORKERS: usize = 4;

/// Sealed memtables with which a write still cannot reach the four at which fjall makes
/// it wait: one more may be sealed while it is written, and one by it.
const SEALED_MAX: usize = 1;

/// Files in the top level with which a write still cannot reach the thirty at which fjall
/// makes it wait.
const TOP_LEVEL_FILES_MAX: usize = 24;

/// How often a waiting writer looks again. Short beside the tens of milliseconds that
/// writing out a memtable takes.
const ROOM_POLL: Duration = Duration::from_millis(2);

/// Written to find out whether the disk is full.
const PROBE_BYTES: usize = 64 * 1024;

/// A handle; clones share the database.
#[derive(Clone)]
pub(crate) struct Engine {
    dir: PathBuf,
    db: Database,
    /// How much is collected in memory before it becomes a file.
    write_buffer_bytes: u64,
    pub(crate) objects: Keyspace,
    pub(crate) clocks: Keyspace,
    pub(crate) log: Keyspace,
    pub(crate) hints: Keyspace,
    pub(crate) meta: Keyspace,
}

impl Engine {
    /// Opens the database, or creates it.
    ///
    /// fjall asserts where it finds its own records inconsistent. A damaged directory is
    /// not a bug of this program, so that becomes an error as well.
    pub(crate) fn open(
        dir: &Path,
        cache_bytes: u64,
        write_buffer_bytes: u64,
    ) -> Result<Self, OpenError> {
        let open = || Self::try_open(dir, cache_bytes, write_buffer_bytes);
        match catch_unwind(AssertUnwindSafe(open)) {
            Ok(Ok(engine)) => Ok(engine),
            Ok(Err(error)) => Err(open_error(dir, &error)),
            Err(_) => Err(OpenError::corrupt(dir, "the database contradicts itself")),
        }
    }

    fn try_open(dir: &Path, cache_bytes: u64, write_buffer_bytes: u64) -> fjall::Result<Self> {
        let db = Database::builder(dir)
            .cache_size(cache_bytes)
            .worker_threads(WORKERS)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .manual_journal_persist(true)
            // The journal is written once and dropped after minutes.
            .journal_compression(CompressionType::None)
            .open()?;
        let options = |bytes| {
            let options = KeyspaceCreateOptions::default();
            move || options.manual_journal_persist(true).max_memtable_size(bytes)
        };
        let objects = db.keyspace("objects", options(MEMTABLE_BYTES_MAX))?;
        let clocks = db.keyspace("clocks", options(SMALL_MEMTABLE_BYTES))?;
        let log = db.keyspace("log", options(SMALL_MEMTABLE_BYTES))?;
        let hints = db.keyspace("hints", options(MEMTABLE_BYTES_MAX))?;
        let meta = db.keyspace("meta", options(SMALL_MEMTABLE_BYTES))?;
        let dir = dir.to_owned();
        Ok(Self { dir, db, write_buffer_bytes, objects, clocks, log, hints, meta })
    }

    /// Where the database is.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The database itself, for those who write no groups.
    pub(crate) fn database(&self) -> &Database {
        &self.db
    }

    /// Writes a group in one batch.
    pub(crate) fn write(
        &self,
        group: &Group,
        witness: &Witness,
        durability: Durability,
    ) -> Result<(), FlushError> {
        self.make_room()?;
        let mode = match durability {
            Durability::Synced => PersistMode::SyncData,
            Durability::Buffered => PersistMode::Buffer,
        };
        let mut batch = self.db.batch().durability(Some(mode));
        for (key, object) in &group.objects {
            match object {
                Some(object) => {
                    batch.insert(&self.objects, key.as_ref(), record::seal_object(key, object));
                }
                None => batch.remove(&self.objects, key.as_ref()),
            }
        }
        for (key, value) in group.records.sealed() {
            batch.insert(&self.clocks, key, value);
        }
        for ((shard, incarnation, number), runs) in &group.chunks {
            let (key, value) = record::seal_chunk(*shard, *incarnation, *number, runs);
            batch.insert(&self.clocks, key, value);
        }
        for (key, line) in &group.log {
            match line {
                Some(line) => {
                    batch.insert(&self.log, key.as_ref(), record::seal_log(key, line));
                }
                None => batch.remove(&self.log, key.as_ref()),
            }
        }
        for (key, hint) in &group.hints {
            match hint {
                Some(hint) => {
                    batch.insert(&self.hints, key.as_ref(), record::seal_hint(key, hint));
                }
                None => batch.remove(&self.hints, key.as_ref()),
            }
        }
        if let Some(acceptor) = &group.acceptor {
            batch.insert(&self.meta, record::ACCEPTOR, record::seal_acceptor(acceptor));
        }
        for ((shard, node), lacks) in &group.marks {
            let (key, value) = record::seal_mark(*shard, *node);
            if *lacks {
                batch.insert(&self.meta, key, value);
            } else {
                batch.remove(&self.meta, key);
            }
        }
        batch.insert(&self.meta, record::WITNESS, record::seal_witness(witness));
        batch.commit().map_err(|error| self.flush_error(&error))?;
        self.rotate()
    }

    /// Lets what is in memory become a file when it is enough for one.
    pub(crate) fn rotate(&self) -> Result<(), FlushError> {
        for large in [&self.objects, &self.hints] {
            if self.write_buffer_bytes <= large.tree.active_memtable().size() {
                large.rotate_memtable().map_err(|error| self.flush_error(&error))?;
            }
        }
        Ok(())
    }

    /// Writes what is in memory out into files, so that the next start replays nothing.
    pub(crate) fn settle(&self) -> Result<(), FlushError> {
        for keyspace in self.keyspaces() {
            keyspace.rotate_memtable().map_err(|error| self.flush_error(&error))?;
        }
        while self.sealed() > 0 {
            self.expect_alive()?;
            std::thread::sleep(ROOM_POLL);
        }
        Ok(())
    }

    fn keyspaces(&self) -> [&Keyspace; 5] {
        [&self.objects, &self.clocks, &self.log, &self.hints, &self.meta]
    }

    /// Returns whether a write would have to wait for files to be written first.
    pub(crate) fn is_behind(&self) -> bool {
        self.keyspaces().iter().any(|keyspace| {
            SEALED_MAX < keyspace.sealed_memtable_count()
                || TOP_LEVEL_FILES_MAX < keyspace.l0_table_count()
        })
    }

    /// Waits until a write would not have to wait.
    pub(crate) fn make_room(&self) -> Result<(), FlushError> {
        while self.is_behind() {
            self.expect_alive()?;
            std::thread::sleep(ROOM_POLL);
        }
        Ok(())
    }

    fn sealed(&self) -> usize {
        self.keyspaces().iter().map(|keyspace| keyspace.sealed_memtable_count()).sum()
    }

    /// Fails if a worker of the database has died. Persisting to the operating system
    /// costs nothing when nothing is waiting, and says so.
    fn expect_alive(&self) -> Result<(), FlushError> {
        self.db.persist(PersistMode::Buffer).map_err(|error| self.flush_error(&error))
    }

    pub(crate) fn flush_error(&self, error: &fjall::Error) -> FlushError {
        let cause = io_cause(error);
        if cause.is_some_and(is_full) {
            return FlushError::Full(error.to_string());
        }
        // The worker that died kept the reason to itself.
        match probe(&self.dir) {
            Err(found) if cause.is_none() && is_full(&found) => FlushError::Full(found.to_string()),
            Err(found) if cause.is_none() => FlushError::Failed(found.to_string()),
            Ok(()) | Err(_) => FlushError::Failed(error.to_string()),
        }
    }
}

/// What the database holds, as bytes of our own. Its slices keep short keys in place, which
/// makes comparing them twice as fast; a copy of a value costs less than that saves.
pub(crate) fn bytes(slice: &fjall::Slice) -> Bytes {
    Bytes::copy_from_slice(slice)
}

fn probe(dir: &Path) -> io::Result<()> {
    let path = dir.join("probe");
    let written = fs::File::create(&path).and_then(|mut file| {
        file.write_all(&vec![1; PROBE_BYTES])?;
        file.sync_all()
    });
    // It is in nobody's way, and is overwritten by the next probe.
    let _ = fs::remove_file(&path);
    written
}

/// What the operating system said, if that is the cause.
pub(crate) fn io_cause(error: &fjall::Error) -> Option<&io::Error> {
    if let fjall::Error::Io(cause) | fjall::Error::Storage(lsm_tree::Error::Io(cause)) = error {
        Some(cause)
    } else {
        None
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn open_error(dir: &Path, error: &fjall::Error) -> OpenError {
    if matches!(error, fjall::Error::Locked) {
        return OpenError::Locked(dir.to_owned());
    }
    match io_cause(error).filter(|cause| is_outside(cause)) {
        Some(cause) => {
            let source = cause
                .raw_os_error()
                .map_or_else(|| cause.kind().into(), io::Error::from_raw_os_error);
            OpenError::Io { action: "open the database in", path: dir.to_owned(), source }
        }
        None => OpenError::corrupt(dir, error.to_string()),
    }
}

/// Returns whether the operating system refused something, as opposed to giving us bytes
/// that make no sense or end too early. A file of the database that is gone is damage.
fn is_outside(error: &io::Error) -> bool {
    error.raw_os_error().is_some() && error.kind() != io::ErrorKind::NotFound
}
