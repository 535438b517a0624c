//! The storage of one node, as its driver sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use catalog::Acceptor;
use causality::DotSet;
use model::{ClusterId, DiskId, Durability, NodeId, ShardId};
use node::Owed;
use replica::Sum;

use crate::checkpoint::Checkpoints;
use crate::clocks::Known;
use crate::committer::{Committer, Done, Writer};
use crate::engine::{Engine, bytes};
use crate::failed_reads::FailedReads;
use crate::group::Group;
use crate::home::Home;
use crate::tail::{Records, Tails};
use crate::witness::{Survey, sync_journals};
use crate::{FlushError, OpenError, clocks, hints, record};

/// The cache of whoever does not say how much. It is filled only by what is read.
pub const CACHE_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;

/// The write buffer of whoever does not say how much. More makes fewer, larger files.
pub const WRITE_BUFFER_BYTES_DEFAULT: u64 = 16 * 1024 * 1024;

/// What to open.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data directory. Created if it does not exist.
    pub dir: PathBuf,
    /// The cluster that the node is configured for.
    pub cluster: ClusterId,
    /// The node that opens it.
    pub node: NodeId,
    /// The fingerprint of the list of nodes that it is configured with. A directory that was
    /// served under another is refused.
    pub layout: u64,
    /// The most memory for parts of files that were read.
    pub cache_bytes: u64,
    /// How many bytes of records are collected in memory before they become a file. Up to four
    /// times as much is in memory at once.
    pub write_buffer_bytes: u64,
}

impl Options {
    /// A directory with a cache of [`CACHE_BYTES_DEFAULT`] and a write buffer of
    /// [`WRITE_BUFFER_BYTES_DEFAULT`].
    pub fn new(dir: impl Into<PathBuf>, cluster: ClusterId, node: NodeId, layout: u64) -> Self {
        Self {
            dir: dir.into(),
            cluster,
            node,
            layout,
            cache_bytes: CACHE_BYTES_DEFAULT,
            write_buffer_bytes: WRITE_BUFFER_BYTES_DEFAULT,
        }
    }
}

/// What a node must know from its former lives.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Recovered {
    /// Of each shard ever held here, the dots whose effects are on this disk.
    pub clocks: BTreeMap<ShardId, DotSet>,
    /// Of each shard that has forgotten any, the dots of tombstones that were dropped. They are in its
    /// clock, too.
    pub forgotten: BTreeMap<ShardId, DotSet>,
    /// Of each shard that was changed or read since there are sums, what everything that it holds should
    /// come to.
    pub sums: BTreeMap<ShardId, Sum>,
    /// The node's vote on catalogs.
    pub acceptor: Acceptor,
    /// Replicas that lack something which the log cannot bring them any more.
    pub marks: BTreeSet<(ShardId, NodeId)>,
    /// How much it keeps for replicas that were away.
    pub hints: BTreeMap<NodeId, Owed>,
}

/// The disk of one node.
///
/// Changes are *staged* by [`replica::Store::commit`] and [`node::Disk::keep_acceptor`],
/// and read back at once. The driver then calls [`flush`](Self::flush), which makes all
/// that is staged one group and returns; when it is told that the group is done, it calls
/// [`flushed`](Self::flushed), lets out the effects that waited for it, and may flush
/// again. Until then, new changes are staged into the next group.
///
/// Dropping the storage writes nothing that was not flushed, as a crash would not.
/// [`close`](Self::close) does.
pub struct Storage {
    pub(crate) engine: Engine,
    /// Staged, and not handed over.
    pub(crate) open: Group,
    /// What the records lack of what was staged.
    pub(crate) tails: Tails,
    /// Handed over, and not yet known to be in the database.
    pub(crate) in_flight: Option<Arc<Group>>,
    committer: Committer,
    pub(crate) failed_reads: FailedReads,
    /// Dropped last: nobody else may enter while the database is open.
    home: Home,
}

impl Storage {
    /// Takes hold of a data directory, and recovers what the node must know.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; each says what remains. The directory is let go of.
    pub fn open(options: &Options) -> Result<(Self, Recovered), OpenError> {
        let home = Home::enter(options)?;
        let (engine, synced) = open_whole(&home, options)?;
        let (recovered, late, written) = recover(&engine, &home)?;
        if written < synced {
            let detail = format!("it ends with group {written}, and {synced} was on disk");
            return Err(OpenError::corrupt(home.dir(), detail));
        }
        // From here on it is a directory of this version.
        home.ready()?;
        // A process that was killed leaves groups to the operating system, and nobody has
        // synced them since.
        let database = home.database_dir();
        sync_journals(&database).map_err(OpenError::io("sync", &database))?;
        let mut writer = Writer::new(engine.clone(), home.mark(), written);
        let vouched = writer.vouch(late).map_err(io::Error::other);
        vouched.map_err(OpenError::io("write to", &database))?;
        let committer = Committer::start(writer, home.dir())?;
        let storage = Self {
            engine,
            open: Group::default(),
            tails: Tails::default(),
            in_flight: None,
            committer,
            failed_reads: FailedReads::default(),
            home,
        };
        Ok((storage, recovered))
    }

    /// Which disk this is: drawn when the directory was made.
    pub fn disk(&self) -> DiskId {
        self.home.mark().disk()
    }

    /// Takes checkpoints of this disk, also while it is written to.
    pub fn checkpoints(&self) -> Checkpoints {
        let home = &self.home;
        Checkpoints::new(self.engine.clone(), home.whose(), home.layout(), self.disk())
    }

    /// The changes staged since the last flush. A driver that cannot flush stops taking
    /// inputs at some number of them: each is kept in memory.
    pub fn staged(&self) -> usize {
        self.open.changes()
    }

    /// Roughly the bytes of those changes.
    pub fn staged_bytes(&self) -> usize {
        self.open.bytes()
    }

    /// Returns whether a group is on its way: handed over, and not yet retired.
    pub fn is_flushing(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Returns whether the database would make a writer wait, because files are written
    /// more slowly than changes come in. [`flush_now`](Self::flush_now) would block.
    pub fn is_behind(&self) -> bool {
        self.engine.is_behind()
    }

    /// Hands all that is staged to the committer, as one group, and returns. The group
    /// becomes durable as a whole or not at all. If it is empty and to be synced, earlier
    /// groups that were only buffered are synced.
    ///
    /// `done` is called on the committer's thread, which must not be held up there. After
    /// it was called with `Ok`, call [`flushed`](Self::flushed). After a failure stop the
    /// node: every later group fails, at once and on this thread, and all that is staged
    /// or in flight stays readable.
    ///
    /// # Panics
    ///
    /// If a group is in flight that has not failed.
    pub fn flush(&mut self, durability: Durability, done: Done) {
        if self.committer.has_failed() {
            return done(Err(FlushError::Poisoned));
        }
        assert!(self.in_flight.is_none(), "one group at a time");
        let group = Arc::new(std::mem::take(&mut self.open));
        self.in_flight = Some(Arc::clone(&group));
        self.committer.commit(group, durability, done);
    }

    /// Retires the group in flight. Call it only after it was reported done without an
    /// error: reads look for its changes in the database from now on.
    pub fn flushed(&mut self) {
        self.in_flight = None;
    }

    /// Hands all that is staged to the operating system, on this thread: a memory copy
    /// and one system call, which costs less than waking another thread. Blocks while
    /// [`is_behind`](Self::is_behind), and up to one `fsync` when the database begins a
    /// new file.
    ///
    /// # Errors
    ///
    /// [`FlushError`]. Nothing later succeeds; what was staged stays readable.
    ///
    /// # Panics
    ///
    /// If a group is in flight that has not failed: this one would overtake it.
    pub fn flush_now(&mut self) -> Result<(), FlushError> {
        if self.committer.has_failed() {
            return Err(FlushError::Poisoned);
        }
        assert!(self.in_flight.is_none(), "one group at a time");
        self.committer.writer().write(&self.open, Durability::Buffered)?;
        self.open = Group::default();
        Ok(())
    }

    /// Writes what is staged, and tidies up so that the next start is quick. Waits for
    /// the disk, and for the group in flight.
    ///
    /// # Errors
    ///
    /// [`FlushError`]; the directory is let go of all the same.
    pub fn close(mut self) -> Result<(), FlushError> {
        self.committer.join();
        self.tails.close(&mut self.open.records);
        let mut writer = self.committer.writer();
        writer.write(&self.open, Durability::Synced)?;
        writer.settle()
    }
}

/// Opens the database, and makes sure that the journal has kept what it was given.
/// Returns the last group that must be in it as well.
fn open_whole(home: &Home, options: &Options) -> Result<(Engine, u64), OpenError> {
    let dir = home.database_dir();
    let survey = Survey::take(&dir, home.mark()).map_err(OpenError::io("read", &dir))?;
    if let Some(group) = survey.out_of_order() {
        let detail = format!("group {group} of its journal is out of order");
        return Err(OpenError::corrupt(home.dir(), detail));
    }
    let engine = Engine::open(&dir, options.cache_bytes, options.write_buffer_bytes)?;
    let Some((first, last)) = survey.cut_off().map_err(OpenError::io("read", &dir))? else {
        return Ok((engine, survey.synced()));
    };
    // The evidence is gone from the journal: the next start would find it in order.
    let detail = format!("groups {first} to {last} of its journal were on disk and are gone");
    home.condemn(&detail)?;
    Err(OpenError::corrupt(home.dir(), detail))
}

/// Reads what must be known from the start, the records that lack some of it, and the number of the last
/// group.
fn recover(engine: &Engine, home: &Home) -> Result<(Recovered, Records, u64), OpenError> {
    let damaged = |error: &dyn std::fmt::Display| OpenError::corrupt(home.dir(), error.to_string());
    let Known { clocks, forgotten, sums, late } = clocks::recover(engine, damaged)?;
    let meta = |key| engine.meta.get(key).map_err(|error| damaged(&error));
    let acceptor = match meta(record::ACCEPTOR)? {
        Some(value) => record::open_acceptor(&bytes(&value)).map_err(|error| damaged(&error))?,
        None => Acceptor::default(),
    };
    let mut marks = BTreeSet::new();
    for entry in engine.meta.prefix(record::MARK) {
        let (key, value) = entry.into_inner().map_err(|error| damaged(&error))?;
        let mark = record::open_mark(&key, &bytes(&value)).map_err(|error| damaged(&error))?;
        marks.insert(mark);
    }
    let written = match meta(record::WITNESS)? {
        Some(value) => {
            record::open_witness(&bytes(&value)).map_err(|error| damaged(&error))?.number
        }
        None => 0,
    };
    let hints = hints::owed(engine);
    Ok((Recovered { clocks, forgotten, sums, acceptor, marks, hints }, late, written))
}
