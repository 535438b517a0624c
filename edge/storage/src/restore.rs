//! Making a data directory out of records that were kept elsewhere.
//!
//! What is made is a new disk: it has an id of its own and its node has cast no votes with it, so that
//! nobody takes it for the disk that the records are from. Until [`Restoring::finish`] the
//! directory says that it is new, and holds nothing for a node that is started with it.

use std::fs;
use std::io;
use std::path::Path;

use catalog::{Acceptor, Ballot, Catalog};
use fjall::PersistMode;
use model::DiskId;
use thiserror::Error;

use crate::checkpoint::{Record, Section};
use crate::engine::Engine;
use crate::home::Home;
use crate::{FlushError, OpenError, Options, record};

/// Written at once. Large beside a record, small beside the memory of a machine.
const BATCH_BYTES: usize = 4 << 20;

/// Why a directory was not made.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// There is something in it already.
    #[error(
        "{} is not empty. Nothing was changed. Name a directory that does not exist yet, or move \
         away what is in it",
        .0.display()
    )]
    NotEmpty(std::path::PathBuf),
    /// It cannot be made.
    #[error("{0}")]
    Open(#[from] OpenError),
    /// It cannot be written to.
    #[error("{0}")]
    Write(#[from] FlushError),
    /// A record is not what was written once.
    #[error("a record cannot be used: {0}")]
    Record(#[from] replica::StoreError),
}

/// A data directory that is being made.
pub struct Restoring {
    engine: Engine,
    waiting: Vec<Record>,
    waiting_bytes: usize,
    home: Home,
}

impl Restoring {
    /// Begins with a directory that is empty, or is not there.
    ///
    /// # Errors
    ///
    /// [`RestoreError`]; if it is `NotEmpty`, nothing was changed.
    pub fn begin(options: &Options) -> Result<Self, RestoreError> {
        if !is_empty(&options.dir).map_err(OpenError::io("read", &options.dir))? {
            return Err(RestoreError::NotEmpty(options.dir.clone()));
        }
        let home = Home::enter(options)?;
        home.restoring()?;
        let dir = home.database_dir();
        let engine = Engine::open(&dir, options.cache_bytes, options.write_buffer_bytes)?;
        Ok(Self { engine, waiting: Vec::new(), waiting_bytes: 0, home })
    }

    /// Takes in a record, if it is what was written once.
    ///
    /// # Errors
    ///
    /// [`RestoreError`]; the directory is of no use.
    pub fn add(&mut self, record: Record) -> Result<(), RestoreError> {
        record.check()?;
        self.waiting_bytes += record.key.len() + record.value.len();
        self.waiting.push(record);
        if BATCH_BYTES <= self.waiting_bytes { self.write() } else { Ok(()) }
    }

    /// Writes what waits, and the catalog, with which nobody is enrolled. Everything is on the disk
    /// when this returns, and a node can be started with it. Returns which disk that is.
    ///
    /// # Errors
    ///
    /// [`RestoreError`]; the directory is of no use.
    pub fn finish(mut self, catalog: &Catalog) -> Result<DiskId, RestoreError> {
        self.write()?;
        let mut catalog = catalog.clone();
        // Nobody is enrolled, and the disks of the cluster before never serve here. The first nodes
        // that come have nobody to copy from; later ones, with or without a backup, have.
        for disks in catalog.disks.values_mut() {
            disks.retired.extend(disks.enrolled.take().into_iter().chain(disks.joining.take()));
        }
        let acceptor = Acceptor {
            promised: Ballot::NONE,
            accepted: Ballot::NONE,
            learned: catalog.clone(),
            catalog,
        };
        let mut batch = self.engine.database().batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&self.engine.meta, record::ACCEPTOR, record::seal_acceptor(&acceptor));
        batch.commit().map_err(|error| self.engine.flush_error(&error))?;
        self.engine.settle()?;
        self.home.ready()?;
        Ok(self.home.mark().disk())
    }

    fn write(&mut self) -> Result<(), RestoreError> {
        self.engine.make_room()?;
        let mut batch = self.engine.database().batch().durability(Some(PersistMode::Buffer));
        for Record { section, key, value } in self.waiting.drain(..) {
            let keyspace = match section {
                Section::Objects => &self.engine.objects,
                Section::Clocks => &self.engine.clocks,
                Section::Hints => &self.engine.hints,
                Section::Marks => &self.engine.meta,
            };
            batch.insert(keyspace, key.as_ref(), value.as_ref());
        }
        self.waiting_bytes = 0;
        batch.commit().map_err(|error| self.engine.flush_error(&error))?;
        Ok(self.engine.rotate()?)
    }
}

fn is_empty(dir: &Path) -> io::Result<bool> {
    match fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}
