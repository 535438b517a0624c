//! Reading: what is staged, over what is in flight, over what is in the database.
//!
//! A replica reads what it has just written, long before it is durable. So there are
//! three places to look, from the youngest to the oldest, and a scan walks all three in
//! step. The group in flight is in the database as soon as its batch is written, and
//! stays in front of it until it is retired: the two then say the same.
//!
//! Every record that comes from the database passes through [`record`], which checks that
//! it is what was written under this very key. One that is not is never served.

use std::collections::{BTreeMap, btree_map};
use std::iter::Peekable;
use std::time::Instant;

use bytes::Bytes;
use causality::Run;
use model::{Address, Object, ShardId, TableId};
use replica::{Change, Entry, Page, PageNeed, Reaping, Span, Store, StoreError};

use crate::engine::bytes;
use crate::engine::io_cause;
use crate::group::{Group, weight};
use crate::record::{self, Bounds, Line};
use crate::storage::Storage;

impl Store for Storage {
    fn object(&self, shard: ShardId, address: &Address) -> Result<Option<Object>, StoreError> {
        let key = record::object_key(address.table, shard, &address.key);
        if let Some(object) = self.groups().find_map(|group| group.objects.get(&key)) {
            return Ok(object.clone());
        }
        match self.engine.objects.get(&key).map_err(|error| self.failed(&error))? {
            Some(value) => record::open_object(&key, &bytes(&value)).map(Some).inspect_err(report),
            None => Ok(None),
        }
    }

    fn scan(
        &self,
        shard: ShardId,
        table: TableId,
        span: &Span,
        need: PageNeed,
    ) -> Result<Page, StoreError> {
        let bounds = record::bounds(table, shard, span);
        if record::is_empty(&bounds) {
            return Ok(Page::default());
        }
        let mut page = Page::default();
        let mut bytes = 0;
        for next in Walk::new(self, &bounds)? {
            if need.objects_max <= page.looked_at() || need.bytes_max < bytes {
                page.more = true;
                break;
            }
            let (key, found) = next?;
            let object = found.into_object(&key);
            let key = record::open_object_key(&key)?;
            bytes += key.partition().len() + key.sort().len();
            match object {
                Ok(object) => {
                    bytes += weight(&object);
                    page.objects.push((key, object));
                }
                Err(StoreError::Corrupt(_)) => page.unreadable.push(key),
                Err(error) => return Err(error),
            }
        }
        Ok(page)
    }

    fn log(
        &self,
        shard: ShardId,
        within: Run,
        entries_max: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let bounds = record::log_bounds(shard, within);
        let mut staged: BTreeMap<&Bytes, &Option<Line>> = BTreeMap::new();
        for (key, line) in self.groups().flat_map(|group| group.log.range(bounds.clone())) {
            // The youngest group comes first.
            staged.entry(key).or_insert(line);
        }
        let mut staged = staged.into_iter().peekable();
        let mut stored = self.engine.log.range(bounds.clone());
        let mut head = self.pull_from(&mut stored)?;
        let mut entries = Vec::new();
        while entries.len() < entries_max {
            let is_staged = match (staged.peek(), &head) {
                (None, None) => break,
                (Some((key, _)), Some((stored, _))) => **key <= *stored,
                (is_staged, _) => is_staged.is_some(),
            };
            let next = if is_staged {
                let Some((key, line)) = staged.next() else { break };
                if head.as_ref().is_some_and(|(stored, _)| stored == key) {
                    head = self.pull_from(&mut stored)?;
                }
                line.as_ref().map(|line| line.entry.clone())
            } else {
                let Some((key, record)) = head.take() else { break };
                head = self.pull_from(&mut stored)?;
                Some(record::open_log(&key, &record).inspect_err(report)?.entry)
            };
            match next {
                Some(entry) if within.last < entry.run.first => break,
                entry => entries.extend(entry),
            }
        }
        Ok(entries)
    }

    fn commit(&mut self, change: Change) {
        self.open.stage(change, &mut self.tails);
    }

    fn forget(&mut self, shard: ShardId, runs: &[Run]) {
        self.open.forget(shard, runs, &mut self.tails);
    }

    fn reap(&mut self, reaping: Reaping) {
        self.open.reap(reaping, &mut self.tails);
    }
}

impl Storage {
    /// What is not yet known to be in the database, the youngest first.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &Group> {
        [Some(&self.open), self.in_flight.as_deref()].into_iter().flatten()
    }

    fn pull_from(&self, stored: &mut fjall::Iter) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        let next = stored.next().map(fjall::Guard::into_inner);
        let next = next.transpose().map_err(|error| self.failed(&error))?;
        Ok(next.map(|(key, value)| (bytes(&key), bytes(&value))))
    }

    /// What becomes of a read that the database could not do.
    pub(crate) fn failed(&self, error: &fjall::Error) -> StoreError {
        let error = store_error(error);
        if let Some(kept_back) = self.failed_reads.note(Instant::now()) {
            tracing::error!(
                kept_back,
                "a read in {} failed: {error}; other replicas are asked instead, and this one \
                 does not vote. Check the disk and its log",
                self.engine.dir().display()
            );
        }
        error
    }
}

/// An object where it was found. Most that a scan passes are looked at once, but the one
/// behind the end of a page is not looked at at all.
enum Found<'a> {
    Staged(&'a Object),
    Stored(Bytes),
}

impl Found<'_> {
    fn into_object(self, key: &Bytes) -> Result<Object, StoreError> {
        match self {
            Self::Staged(object) => Ok(object.clone()),
            Self::Stored(record) => record::open_object(key, &record).inspect_err(report),
        }
    }
}

/// All objects within bounds in the order of their keys, each from the youngest place
/// that has it. What was dropped there is passed over.
struct Walk<'a> {
    storage: &'a Storage,
    groups: Vec<Peekable<btree_map::Range<'a, Bytes, Option<Object>>>>,
    stored: fjall::Iter,
    /// The next in the database, taken out to be compared.
    head: Option<(Bytes, Bytes)>,
}

impl<'a> Walk<'a> {
    fn new(storage: &'a Storage, bounds: &Bounds) -> Result<Self, StoreError> {
        let groups =
            storage.groups().map(|group| group.objects.range(bounds.clone()).peekable()).collect();
        let stored = storage.engine.objects.range(bounds.clone());
        let mut walk = Self { storage, groups, stored, head: None };
        walk.head = walk.pull()?;
        Ok(walk)
    }

    fn pull(&mut self) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        self.storage.pull_from(&mut self.stored)
    }

    /// What the youngest place has under a key that comes next. Nothing if it was dropped there.
    fn take(&mut self, least: &Bytes) -> Result<Option<Found<'a>>, StoreError> {
        let mut youngest = None;
        for group in &mut self.groups {
            // Every place moves past the key, or an old state would come up after it.
            let here = group.next_if(|(key, _)| *key == least);
            youngest = youngest.or(here.map(|(_, object)| object.as_ref().map(Found::Staged)));
        }
        if let Some((_, record)) = self.head.take_if(|(key, _)| key == least) {
            youngest = youngest.or(Some(Some(Found::Stored(record))));
            self.head = self.pull()?;
        }
        Ok(youngest.flatten())
    }

    /// The least key that comes next anywhere.
    fn least(&mut self) -> Option<Bytes> {
        let staged = self.groups.iter_mut().filter_map(|group| group.peek().map(|(key, _)| *key));
        let stored = self.head.as_ref().map(|(key, _)| key);
        staged.chain(stored).min().cloned()
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Result<(Bytes, Found<'a>), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let least = self.least()?;
            match self.take(&least) {
                Ok(None) => {}
                Ok(Some(found)) => return Some(Ok((least, found))),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// Nobody above has more to say than "failed", so this is where an operator hears of it.
fn report(error: &StoreError) {
    tracing::error!("{error}; other replicas are asked instead, and this one does not vote");
}

pub(crate) fn store_error(error: &fjall::Error) -> StoreError {
    match io_cause(error).filter(|cause| cause.raw_os_error().is_some()) {
        Some(cause) => StoreError::Io(cause.to_string()),
        None => StoreError::Corrupt(error.to_string()),
    }
}
