//! The disk as a replica sees it: objects are read, scanned and committed.

use std::ops::Bound;

use catalog::Acceptor;
use causality::Run;
use model::{Address, Key, NodeId, Object, ShardId, TableId};
use node::{Disk, Hint, HintPlace};
use replica::{Change, Entry, Page, PageNeed, Reaping, Span, Store, StoreError, Sum, Trimmed};

use super::contents::Record;
use super::{Place, SimDisk};

/// How many records are staged behind a group on its way before what nobody waits for is staged
/// later.
const STAGED_BEHIND_MAX: usize = 4;

impl SimDisk {
    fn check_readable(&self) -> Result<(), StoreError> {
        if self.unreadable { Err(StoreError::Io("a sector is unreadable".into())) } else { Ok(()) }
    }

    fn check_whole(&self, place: &Place) -> Result<(), StoreError> {
        if self.damaged.contains(place) { Err(damaged()) } else { Ok(()) }
    }
}

impl Store for SimDisk {
    fn object(&self, shard: ShardId, address: &Address) -> Result<Option<Object>, StoreError> {
        self.check_readable()?;
        let place = (shard, address.clone());
        self.check_whole(&place)?;
        Ok(self.view.objects.get(&place).cloned())
    }

    fn scan(
        &self,
        shard: ShardId,
        table: TableId,
        span: &Span,
        need: PageNeed,
    ) -> Result<Page, StoreError> {
        self.check_readable()?;
        let mut page = Page::default();
        let mut bytes = 0;
        for ((of, address), object) in self.view.objects.range(start(shard, table, span)) {
            let in_table = *of == shard && address.table == table;
            let in_span =
                in_table && span.partition.as_ref().is_none_or(|p| p == address.key.partition());
            if !in_span || need.objects_max <= page.looked_at() || need.bytes_max < bytes {
                page.more = in_span;
                break;
            }
            if !self.damaged.is_empty() && self.damaged.contains(&(*of, address.clone())) {
                page.unreadable.push(address.key.clone());
                continue;
            }
            bytes += size(&address.key, object);
            page.objects.push((address.key.clone(), object.clone()));
        }
        Ok(page)
    }

    fn log(
        &self,
        shard: ShardId,
        within: Run,
        entries_max: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        self.check_readable()?;
        Ok(self.view.log.read(shard, within, entries_max))
    }

    fn commit(&mut self, change: Change) {
        let change = self.mutated(change);
        let place = (change.shard, change.address.clone());
        if self.damaged.remove(&place) {
            self.healing.insert(place);
        }
        self.touched.push(((change.shard, change.address.clone()), self.view.gained(&change)));
        self.stage(Record::Change(change));
    }

    fn forget(&mut self, shard: ShardId, runs: &[Run]) {
        self.forgotten.extend(runs.iter().map(|run| (shard, *run)));
        self.stage(Record::Forget(shard, runs.to_vec()));
    }

    fn reap(&mut self, mut reaping: Reaping) {
        let shard = reaping.shard;
        for (address, object) in &reaping.tombstones {
            self.reaped.push(((shard, address.clone()), object.clone(), Object::default()));
        }
        // They are of one group, which is never torn.
        for trimmed in std::mem::take(&mut reaping.trimmed) {
            let Trimmed { address, before, after } = trimmed.clone();
            self.reaped.push(((shard, address), before, after));
            self.stage(Record::Trim(shard, trimmed));
        }
        let mut news = reaping.forgotten();
        if let Some(before) = self.view.forgotten(shard) {
            news = news.difference(before);
        }
        self.adopted.push((shard, news));
        self.stage(Record::Reap(reaping));
    }
}

impl Disk for SimDisk {
    fn keep_acceptor(&mut self, acceptor: &Acceptor) {
        self.stage(Record::Acceptor(acceptor.clone()));
    }

    fn mark(&mut self, shard: ShardId, node: NodeId, lacks: bool) {
        self.stage(Record::Mark(shard, node, lacks));
    }

    fn is_busy(&self) -> bool {
        self.flying.is_some() && STAGED_BEHIND_MAX <= self.open.len()
    }

    fn keep_sum(&mut self, shard: ShardId, sum: Sum) {
        self.stage(Record::Sum(shard, sum));
    }

    fn hint(&self, place: &HintPlace) -> Result<Option<Hint>, StoreError> {
        self.check_readable()?;
        match self.damaged_hints.contains(place) {
            true => Err(damaged()),
            false => Ok(self.view.hints.get(place).cloned()),
        }
    }

    fn hints(
        &self,
        target: NodeId,
        after: Option<&Address>,
        need: PageNeed,
    ) -> Result<Vec<(Address, Hint)>, StoreError> {
        self.check_readable()?;
        let is_next = |place: &HintPlace| {
            place.target == target
                && after.is_none_or(|after| *after < place.address)
                && !self.damaged_hints.contains(place)
        };
        let (mut found, mut bytes) = (Vec::new(), 0);
        for (place, hint) in self.view.hints.iter().filter(|(place, _)| is_next(place)) {
            let is_full = need.objects_max <= found.len() || need.bytes_max <= bytes;
            if is_full && !found.is_empty() {
                break;
            }
            bytes += size(&place.address.key, &hint.object);
            found.push((place.address.clone(), hint.clone()));
        }
        Ok(found)
    }

    fn keep_hint(&mut self, place: &HintPlace, hint: Option<&Hint>) {
        self.damaged_hints.remove(place);
        if let Some(hint) = hint {
            self.hinted.push((place.clone(), hint.object.clone()));
        }
        self.stage(Record::Hint(place.clone(), hint.cloned()));
    }
}

fn damaged() -> StoreError {
    StoreError::Corrupt("its bits were flipped".into())
}

/// Where a scan begins.
fn start(shard: ShardId, table: TableId, span: &Span) -> (Bound<Place>, Bound<Place>) {
    let partition = span.partition.clone().unwrap_or(bytes::Bytes::from_static(&[0]));
    let first = Key::new(partition, bytes::Bytes::new()).expect("a partition key is not empty");
    let at = |key: &Key| (shard, Address { table, key: key.clone() });
    let lower = match span.after.as_ref().filter(|after| first <= **after) {
        Some(after) => Bound::Excluded(at(after)),
        None => Bound::Included(at(&first)),
    };
    (lower, Bound::Unbounded)
}

fn size(key: &Key, object: &Object) -> usize {
    let values: usize = object.values().values().map(|value| value.body.len()).sum();
    key.partition().len() + key.sort().len() + values
}
