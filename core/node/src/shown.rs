//! What a shard shows of itself: to clients, to watchers, and to whoever asks what is held.
//!
//! A value that is forgotten is on a disk only if a record turned into what it was once. What came
//! after it, a delete or another value, nobody can tell from that, so it is as good as damaged: it is
//! shown to nobody, and what is shown is read here and not from the disk. What is read from the disk
//! as it is, is merged: by the two transactions of a replica and by repairs, which leave out by
//! themselves what is forgotten where they end.

use causality::{Dot, DotSet};
use model::{Address, Key, Object, ShardId, TableId};
use mutant::{Mutant, is};
use replica::{Page, PageNeed, Span, StoreError};

use crate::{Disk, Node};

/// One shard, without what is forgotten of it.
pub(crate) struct Shown<'a, D> {
    pub(crate) shard: ShardId,
    pub(crate) disk: &'a D,
    forgotten: Option<&'a DotSet>,
}

impl<D: Disk> Shown<'_, D> {
    /// What is held at an address: bottom, if nothing is.
    pub(crate) fn object(&self, address: &Address) -> Result<Object, StoreError> {
        let object = self.disk.object(self.shard, address)?.unwrap_or_default();
        match self.is_old(&object) {
            true => Err(StoreError::Corrupt("it is older than what is forgotten".to_owned())),
            false => Ok(object),
        }
    }

    /// The next objects of a table.
    pub(crate) fn scan(
        &self,
        table: TableId,
        span: &Span,
        need: PageNeed,
    ) -> Result<Page, StoreError> {
        let mut page = self.disk.scan(self.shard, table, span, need)?;
        let old = page.objects.extract_if(.., |(_, object)| self.is_old(object));
        let old: Vec<Key> = old.map(|(key, _)| key).collect();
        page.unreadable.extend(old);
        page.unreadable.sort_unstable();
        Ok(page)
    }

    pub(crate) fn is_old(&self, object: &Object) -> bool {
        let mut held = object.values().keys();
        self.forgotten.is_some_and(|forgotten| held.any(|dot| forgotten.contains(*dot)))
    }
}

impl Node {
    /// A shard that is kept here, as it is shown.
    pub(crate) fn shown<'a, D: Disk>(&'a self, shard: ShardId, disk: &'a D) -> Shown<'a, D> {
        Shown { shard, disk, forgotten: self.forgotten_in(shard) }
    }

    /// The same for watchers.
    pub(crate) fn shown_to_watchers<'a, D: Disk>(
        &'a self,
        shard: ShardId,
        disk: &'a D,
    ) -> Shown<'a, D> {
        match is(Mutant::ForgottenToldToWatchers) {
            true => Shown { shard, disk, forgotten: None },
            false => self.shown(shard, disk),
        }
    }

    /// Whether anything was forgotten in a shard.
    pub(crate) fn forgets(&self, shard: ShardId) -> bool {
        self.forgotten_in(shard).is_some_and(|dots| !dots.is_empty())
    }

    /// How many values of an object are forgotten here.
    pub(crate) fn forgotten_values(&self, shard: ShardId, object: &Object) -> u64 {
        let forgotten = self.forgotten_in(shard);
        let is_forgotten = |dot: &&Dot| forgotten.is_some_and(|dots| dots.contains(**dot));
        object.values().keys().filter(is_forgotten).count() as u64
    }

    fn forgotten_in(&self, shard: ShardId) -> Option<&DotSet> {
        let kept = self.shards.get(&shard).map(|kept| kept.replica.forgotten());
        kept.or(self.forgotten.get(&shard))
    }
}
