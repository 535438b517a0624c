//! What a replica needs of a disk.

use causality::{DotSet, Incarnation, Run};
use model::{Address, Key, Object, ShardId, TableId};
use thiserror::Error;

use crate::{Entry, Reaping};

/// Which objects of one shard to read, in the order of their keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Span {
    /// Only keys with this partition key, or all of the shard.
    pub partition: Option<bytes::Bytes>,
    /// Only keys above this one.
    pub after: Option<Key>,
}

/// How much of a span to read at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PageNeed {
    /// The most objects, tombstones included: those cost as much to read.
    pub objects_max: usize,
    /// Stop after the object with which the page exceeds so many bytes.
    pub bytes_max: usize,
}

/// A part of a span.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Page {
    /// The objects, tombstones included, in the order of their keys.
    pub objects: Vec<(Key, Object)>,
    /// Keys between those whose record fails its check. They count like objects.
    pub unreadable: Vec<Key>,
    /// Whether the span goes on after the last of them.
    pub more: bool,
}

impl Page {
    /// How many keys were looked at.
    pub fn looked_at(&self) -> usize {
        self.objects.len() + self.unreadable.len()
    }

    /// The last of them: the span goes on after it.
    pub fn last(&self) -> Option<&Key> {
        self.objects.last().map(|(key, _)| key).max(self.unreadable.last())
    }
}

/// What everything that a shard holds comes to, tombstones included: they are evidence.
///
/// Whoever keeps account of a shard says it with each change, so that what a disk holds can be held
/// against what it should hold (R9). A replica alone does not know it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sum {
    /// Tells under which secret it was made. Under another one it says nothing.
    pub tag: u64,
    /// The wrapping sum of what each record comes to, with its key.
    pub total: u64,
}

/// One change of one shard replica. All of it becomes durable, or nothing (R8).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// The shard whose clock changes.
    pub shard: ShardId,
    /// Where the object lives.
    pub address: Address,
    /// The whole object as it now is.
    pub object: Object,
    /// For each incarnation of which the shard's clock gained dots, all its runs.
    pub clock: Vec<(Incarnation, Vec<Run>)>,
    /// The dots that the clock gained. The log keeps, for each of its runs, the address.
    pub news: DotSet,
    /// What the shard comes to then, if somebody keeps account of it.
    pub sum: Option<Sum>,
}

/// Why a store could not answer.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
pub enum StoreError {
    /// The record is there, and it is not what was written. It is not used for anything.
    #[error("a stored record fails its check: {0}")]
    Corrupt(String),
    /// The operating system reported an error.
    #[error("{0}")]
    Io(String),
}

/// The objects of one node, as its replicas see them.
///
/// A commit is *staged*: reads see it at once, and the driver makes all that is staged
/// durable in one atomic batch before it lets out any promise about it. A commit does not
/// fail; a disk that cannot keep what was staged stops the node.
pub trait Store {
    /// Reads one object. Nothing if the key was never written here.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; nothing was changed.
    fn object(&self, shard: ShardId, address: &Address) -> Result<Option<Object>, StoreError>;

    /// Reads objects in the order of their keys. A record that fails its check is named, and passed
    /// over.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; nothing was changed.
    fn scan(
        &self,
        shard: ShardId,
        table: TableId,
        span: &Span,
        need: PageNeed,
    ) -> Result<Page, StoreError>;

    /// Reads the log: the first entries that have a dot of `within`, in order, at most so many.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; nothing was changed.
    fn log(
        &self,
        shard: ShardId,
        within: Run,
        entries_max: usize,
    ) -> Result<Vec<Entry>, StoreError>;

    /// Stages one change.
    fn commit(&mut self, change: Change);

    /// Stages that entries of the log are dropped: those of exactly these runs.
    fn forget(&mut self, shard: ShardId, runs: &[Run]);

    /// Stages that tombstones are dropped, and what is kept in their place.
    fn reap(&mut self, reaping: Reaping);
}
