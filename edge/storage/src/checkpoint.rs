//! Everything a disk holds at one moment, while it goes on changing.
//!
//! A copy that is read over minutes from a disk that is written to would hold a clock of one
//! moment and objects of another: it would claim to have what it lacks. The database can keep
//! one moment in view without holding anybody up, and that is what a checkpoint is.
//!
//! ```text
//! take ──► a moment ──► synced up to it ──► read at leisure, in the order of keys
//!          writes go on, and are in no part of it
//! ```
//!
//! What is forgotten goes with the clocks. Without it, a clock would seem to speak of records that
//! were lost. So does what each shard comes to: what is made of a checkpoint can tell whether it is
//! all of it.
//!
//! What is handed out are records as they lie on the disk, each with its own checksum, which
//! whoever keeps them can [check](Record::check); but those of clocks and sums are as they ought to be, for
//! the disk may have a part of these in its log. Two things are left out: the vote of the node,
//! of which only the catalog in force is told, because a vote that is cast twice is a vote
//! broken; and the log, which is only a shorter way to what the objects say.
//!
//! A checkpoint keeps alive what was overwritten since. It is not to be held for days.

use std::collections::BTreeMap;

use bytes::Bytes;
use catalog::{Acceptor, Catalog};
use fjall::{PersistMode, Readable as _, Snapshot};
use model::{ClusterId, DiskId, Enrolment, NodeId};
use replica::StoreError;
use thiserror::Error;

use crate::engine::{Engine, bytes};
use crate::record;
use crate::tail;

/// What a record of a checkpoint is about. In the order in which they come.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Section {
    /// What is held under a key.
    Objects,
    /// Which dots of an incarnation a shard has applied, and which of those it has forgotten; and what
    /// everything that the shard holds comes to.
    Clocks,
    /// What is kept for a replica that was away.
    Hints,
    /// That a replica lacks something which no log can bring.
    Marks,
}

impl Section {
    /// All of them, in their order.
    pub const ALL: [Section; 4] = [Self::Objects, Self::Clocks, Self::Hints, Self::Marks];
}

/// One record, as it lies on a disk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// What it is about.
    pub section: Section,
    /// Where it lies.
    pub key: Bytes,
    /// What lies there, with its checksum.
    pub value: Bytes,
}

impl Record {
    /// Returns whether the record is what was written under its key, and can be read.
    ///
    /// # Errors
    ///
    /// [`StoreError::Corrupt`], which names the key.
    pub fn check(&self) -> Result<(), StoreError> {
        let Self { section, key, value } = self;
        match section {
            Section::Objects => {
                record::open_object_key(key)?;
                record::open_object(key, value).map(drop)
            }
            Section::Clocks => record::open_known(key, value).map(drop),
            Section::Hints => {
                record::open_hint_key(key)?;
                record::open_hint(key, value).map(drop)
            }
            Section::Marks => record::open_mark(key, value).map(drop),
        }
    }
}

/// Whose disk a checkpoint is of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// The fingerprint of the list of nodes that it was served with.
    pub layout: u64,
    /// Which disk it is.
    pub disk: DiskId,
    /// The catalog in force there.
    pub catalog: Catalog,
}

/// Why there is no checkpoint, or no more of it.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
pub enum CheckpointError {
    /// The disk is not whole: others have told the node what it held, or are about to.
    #[error(
        "the disk of {0} is not whole yet: it still copies from the other replicas. Back up another \
         node, or wait until `merganser status` says that it takes part"
    )]
    NotWhole(NodeId),
    /// Another disk has taken its place.
    #[error("another disk has taken the place of this one at {0}: what it holds is out of date")]
    Retired(NodeId),
    /// The disk cannot be read, or not be synced.
    #[error("the disk cannot be read: {0}. Nothing was changed. See the log of the node")]
    Disk(String),
}

/// Takes checkpoints of a disk, for whoever holds it. Clones are cheap.
#[derive(Clone)]
pub struct Checkpoints {
    engine: Engine,
    cluster: ClusterId,
    node: NodeId,
    layout: u64,
    disk: DiskId,
}

impl Checkpoints {
    pub(crate) fn new(
        engine: Engine,
        (cluster, node): (ClusterId, NodeId),
        layout: u64,
        disk: DiskId,
    ) -> Self {
        Self { engine, cluster, node, layout, disk }
    }

    /// Takes one: of all groups that were written, and none in part. Waits for the disk, so that
    /// everything in it is on the disk too.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`]; nothing was changed.
    pub fn take(&self) -> Result<Checkpoint, CheckpointError> {
        let snapshot = self.engine.database().snapshot();
        self.engine.database().persist(PersistMode::SyncData).map_err(|error| disk(&error))?;
        let found = snapshot.get(&self.engine.meta, record::ACCEPTOR);
        let acceptor = match found.map_err(|error| disk(&error))? {
            Some(value) => record::open_acceptor(&bytes(&value)).map_err(|error| disk(&error))?,
            None => Acceptor::default(),
        };
        let catalog = acceptor.learned;
        let (late, unreadable) =
            tail::read(&self.engine, &snapshot).map_err(|error| disk(&error))?;
        if let Some(error) = unreadable.first() {
            return Err(disk(error));
        }
        match catalog.enrolment(self.node, self.disk) {
            // Who knows of no keyspace has not heard yet what it was.
            Enrolment::New if !catalog.keyspaces.is_empty() => {}
            Enrolment::Enrolled | Enrolment::Challenged => {}
            Enrolment::New | Enrolment::Unannounced | Enrolment::Joining => {
                return Err(CheckpointError::NotWhole(self.node));
            }
            Enrolment::Retired => return Err(CheckpointError::Retired(self.node)),
        }
        let Self { cluster, node, layout, disk, .. } = *self;
        let origin = Origin { cluster, node, layout, disk, catalog };
        let late = late.sealed().collect();
        Ok(Checkpoint { engine: self.engine.clone(), snapshot, late, origin })
    }
}

/// A disk at one moment.
pub struct Checkpoint {
    engine: Engine,
    snapshot: Snapshot,
    /// Clocks and sums that the records of that moment do not say in full.
    late: BTreeMap<Vec<u8>, Vec<u8>>,
    origin: Origin,
}

impl Checkpoint {
    /// Whose disk it is, and the catalog in force.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// All records, section by section, each in the order of its keys. They are read as they are
    /// asked for. After an error there are no more.
    pub fn records(&self) -> impl Iterator<Item = Result<Record, CheckpointError>> + '_ {
        Section::ALL.into_iter().flat_map(|section| self.section(section))
    }

    fn section(
        &self,
        section: Section,
    ) -> impl Iterator<Item = Result<Record, CheckpointError>> + '_ {
        let engine = &self.engine;
        let found = match section {
            Section::Objects => self.snapshot.iter(&engine.objects),
            Section::Clocks => self.snapshot.iter(&engine.clocks),
            Section::Hints => self.snapshot.iter(&engine.hints),
            Section::Marks => self.snapshot.prefix(&engine.meta, record::MARK),
        };
        found.map(move |entry| {
            let (key, value) = entry.into_inner().map_err(|error| disk(&error))?;
            let late = self.late.get(key.as_ref()).filter(|_| section == Section::Clocks);
            let value = late.map_or_else(|| bytes(&value), |late| Bytes::copy_from_slice(late));
            Ok(Record { section, key: bytes(&key), value })
        })
    }
}

fn disk(error: &dyn std::fmt::Display) -> CheckpointError {
    CheckpointError::Disk(error.to_string())
}
