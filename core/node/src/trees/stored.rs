//! What a disk holds of a shard, as its hash tree sees it, and a disk that tells the tree.

use std::cell::{Cell, RefCell};

use antientropy::{Digest, Items, KeyRange, Salt, Tree, TreeKey};
use causality::Run;
use model::{Address, Object, ShardId, TableId};
use mutant::{Mutant, is};
use replica::{Change, Entry, Page, PageNeed, Reaping, Span, Store, StoreError, Trimmed};

use crate::Disk;
use crate::exchange::reap::Tombstones;
use crate::exchange::throttle;
use crate::exchange::trim::{Contexts, excess};
use crate::shards::digest;
use crate::trees::account::Account;

/// The most objects that are read of a range whose end is known: a leaf has 64 or so.
const LEAF_OBJECTS: usize = 80;

/// The most bytes of objects that are in memory at once while a shard is read.
const PAGE_BYTES: usize = 1 << 20;

/// Where an object lives, in the order in which objects lie on the disk: those of one table are
/// one stretch of keys.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Place(pub Address);

impl TreeKey for Place {
    fn append_to(&self, bytes: &mut Vec<u8>) {
        let Address { table, key } = &self.0;
        let length = u32::try_from(key.partition().len()).expect("keys are short");
        bytes.extend(table.number().to_le_bytes());
        bytes.extend(length.to_le_bytes());
        bytes.extend(key.partition());
        bytes.extend(key.sort());
    }
}

/// What a shard comes to that holds these, under the secret of a cluster.
pub fn sum_of<'a>(salt: Salt, held: impl Iterator<Item = (&'a Address, &'a Object)>) -> u64 {
    let mut tree = Tree::new(salt);
    for (address, object) in held {
        tree.change(&Place(address.clone()), None, Some(sum(object)));
    }
    tree.total().unwrap_or_default().sum
}

/// What an object comes to, for trees. Dots are minted by nodes, so that no client can make two
/// objects that come to the same.
fn sum(object: &Object) -> Digest {
    if is(Mutant::ContextNotSummed) {
        let heard = object.values().keys().copied().collect();
        let (values, _) = object.clone().into_parts();
        let bare = Object::from_parts(values, heard).expect("it has the dots of its values");
        return Digest(digest(&bare).0);
    }
    Digest(digest(object).0)
}

/// The objects of one shard.
pub(crate) struct Stored<'a, D> {
    pub(crate) disk: &'a D,
    pub(crate) shard: ShardId,
    /// The tables of its keyspace, in order.
    pub(crate) tables: &'a [TableId],
    /// How many records were passed over that fail their check. To a tree they are not there, so
    /// that what others hold of them differs, and is brought.
    pub(crate) unreadable: Cell<u64>,
    /// How many objects were read, and about how many bytes they have.
    pub(crate) read: Cell<(usize, usize)>,
    /// Where tombstones were read.
    pub(crate) tombstones: RefCell<Vec<Place>>,
    /// Where contexts were read that have more runs than so many beside what is held.
    pub(crate) long: RefCell<Vec<Address>>,
    runs_max: usize,
}

impl<'a, D: Disk> Stored<'a, D> {
    pub(crate) fn new(disk: &'a D, shard: ShardId, tables: &'a [TableId]) -> Self {
        let (unreadable, read) = (Cell::new(0), Cell::new((0, 0)));
        let (tombstones, long) = (RefCell::default(), RefCell::default());
        Self { disk, shard, tables, unreadable, read, tombstones, long, runs_max: usize::MAX }
    }

    /// The same, and long contexts are looked for.
    pub(crate) fn with_contexts(self, runs_max: usize) -> Self {
        Self { runs_max, ..self }
    }

    /// What an object comes to that was read.
    fn sum(&self, place: &Place, object: &Object) -> Digest {
        let (objects, bytes) = self.read.get();
        self.read.set((objects + 1, bytes + throttle::bytes(object)));
        if object.is_tombstone() {
            self.tombstones.borrow_mut().push(place.clone());
        }
        if self.runs_max < excess(object) {
            self.long.borrow_mut().push(place.0.clone());
        }
        sum(object)
    }

    fn pass_over(&self, records: usize) {
        self.unreadable.set(self.unreadable.get() + records as u64);
    }

    /// Adds what a table has of a range, as long as there is room. Returns whether the range may
    /// go on behind the table.
    fn read_table(
        &self,
        table: TableId,
        range: &KeyRange<Place>,
        items_max: usize,
        items: &mut Vec<(Place, Digest)>,
    ) -> Result<bool, StoreError> {
        let from = range.from.as_ref().filter(|from| from.0.table == table);
        if let Some(Place(first)) = from {
            match self.disk.object(self.shard, first) {
                Ok(Some(object)) => {
                    let place = Place(first.clone());
                    let sum = self.sum(&place, &object);
                    items.push((place, sum));
                }
                Ok(None) => {}
                Err(StoreError::Corrupt(_)) => self.pass_over(1),
                Err(error) => return Err(error),
            }
        }
        let mut after = from.map(|from| from.0.key.clone());
        while items.len() < items_max {
            let left = items_max - items.len();
            let objects_max = if range.to.is_some() { left.min(LEAF_OBJECTS) } else { left };
            let need = PageNeed { objects_max, bytes_max: PAGE_BYTES };
            let span = Span { partition: None, after };
            let page = self.disk.scan(self.shard, table, &span, need)?;
            let is_more = page.more;
            after = page.last().cloned();
            self.pass_over(page.unreadable.len());
            for (key, object) in page.objects {
                let place = Place(Address { table, key });
                if range.to.as_ref().is_some_and(|to| *to <= place) {
                    return Ok(false);
                }
                let sum = self.sum(&place, &object);
                items.push((place, sum));
            }
            if !is_more {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl<D: Disk> Items<Place> for Stored<'_, D> {
    type Error = StoreError;

    fn read(
        &self,
        range: &KeyRange<Place>,
        items_max: usize,
    ) -> Result<Vec<(Place, Digest)>, StoreError> {
        let mut items = Vec::new();
        let is_meant = |table: &&TableId| {
            range.from.as_ref().is_none_or(|from| from.0.table <= **table)
                && range.to.as_ref().is_none_or(|to| **table <= to.0.table)
        };
        for table in self.tables.iter().filter(is_meant) {
            if items_max <= items.len() || !self.read_table(*table, range, items_max, &mut items)? {
                break;
            }
        }
        Ok(items)
    }
}

/// A disk on which one shard is changed, and the tree of that shard, which is told, as are those who
/// look for tombstones and for long contexts, and who keep account of what the shard comes to.
///
/// A replica reads an object before it stages another in its place. What it read is what the tree
/// takes out.
pub(crate) struct Watched<'a, D> {
    disk: &'a mut D,
    tree: &'a mut Tree<Place>,
    tombstones: &'a mut Tombstones,
    contexts: &'a mut Contexts,
    account: &'a mut Account,
    before: Cell<Option<Digest>>,
}

impl<'a, D: Disk> Watched<'a, D> {
    pub(crate) fn new(
        disk: &'a mut D,
        tree: &'a mut Tree<Place>,
        (tombstones, contexts): (&'a mut Tombstones, &'a mut Contexts),
        account: &'a mut Account,
    ) -> Self {
        Self { disk, tree, tombstones, contexts, account, before: Cell::new(None) }
    }

    /// In the place of one record there is another, in the tree and in the account.
    fn enter(&mut self, place: &Place, before: Option<Digest>, after: Option<Digest>) {
        let item = |digest| self.tree.salt().item(place, digest);
        self.account.enter(before.map(item), after.map(item));
        self.tree.change(place, before, after);
    }
}

impl<D: Disk> Store for Watched<'_, D> {
    fn object(&self, shard: ShardId, address: &Address) -> Result<Option<Object>, StoreError> {
        let found = self.disk.object(shard, address);
        let held = found.as_ref().ok().and_then(Option::as_ref);
        self.before.set(held.map(sum));
        found
    }

    fn scan(
        &self,
        shard: ShardId,
        table: TableId,
        span: &Span,
        need: PageNeed,
    ) -> Result<Page, StoreError> {
        self.disk.scan(shard, table, span, need)
    }

    fn log(
        &self,
        shard: ShardId,
        within: Run,
        entries_max: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        self.disk.log(shard, within, entries_max)
    }

    fn commit(&mut self, change: Change) {
        let Change { shard, address, object, clock, news, sum: _ } = change;
        let (place, before, after) = (Place(address), self.before.take(), Some(sum(&object)));
        if !is(Mutant::TreeNotTold) {
            self.enter(&place, before, after);
        }
        match object.is_tombstone() {
            true => self.tombstones.note(&place),
            false => self.tombstones.is_over(&place),
        }
        self.contexts.note(&place.0, &object);
        let sum = self.account.sum(self.tree.salt());
        self.disk.commit(Change { shard, address: place.0, object, clock, news, sum });
    }

    fn forget(&mut self, shard: ShardId, runs: &[Run]) {
        self.disk.forget(shard, runs);
    }

    fn reap(&mut self, reaping: Reaping) {
        for (address, object) in &reaping.tombstones {
            self.enter(&Place(address.clone()), Some(sum(object)), None);
        }
        for Trimmed { address, before, after } in &reaping.trimmed {
            self.enter(&Place(address.clone()), Some(sum(before)), Some(sum(after)));
            self.contexts.note(address, after);
        }
        let sum = self.account.sum(self.tree.salt());
        self.disk.reap(Reaping { sum, ..reaping });
    }
}
