//! Answering questions about a tree, without keeping anything from one to the next.
//!
//! Everything that a question says is taken with suspicion: it is looked at before anything
//! is read, and what it can cause is bounded by [`Limits`].

use std::cell::Cell;

use thiserror::Error;

use crate::listing::{Item, hashed, sum};
use crate::message::{Answer, Answers, Ask, Limits, Listing, Parts, Questions, Width, Within};
use crate::size::Meter;
use crate::sums::PARTS_MAX;
use crate::{Digest, Items, KeyRange, Summary, Tree, TreeKey};

/// The most objects in one listing.
pub(crate) const LISTED_MAX: usize = 1_024;

/// Questions were not answered. Nothing was read, unless the store failed.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
pub enum Refused<E> {
    /// The questions are not such as an [`Exchange`](crate::Exchange) asks.
    #[error("questions that no exchange asks: {0}")]
    Malformed(&'static str),
    /// The initiator's hashes are made with another secret: everything would differ.
    #[error("the trees of this shard are made with another salt")]
    OtherSalt,
    /// The tree is being rebuilt, and knows only a part of the shard.
    #[error("the tree of this shard is being rebuilt")]
    NotWhole,
    /// The store could not be read.
    #[error("the store could not be read")]
    Store(E),
}

/// Answers questions, all or the first ones: see [`Limits`].
///
/// # Errors
///
/// [`Refused`]. The initiator may ask again later, where it is not malformed.
///
/// # Panics
///
/// If the store reads keys out of order.
pub fn respond<K: TreeKey, S: Items<K>>(
    tree: &Tree<K>,
    store: &S,
    questions: &Questions<K>,
    limits: &Limits,
) -> Result<Answers<K>, Refused<S::Error>> {
    if !tree.is_whole() {
        return Err(Refused::NotWhole);
    }
    if questions.salt != tree.salt().tag() {
        return Err(Refused::OtherSalt);
    }
    well_formed(questions, limits).map_err(Refused::Malformed)?;
    let store = Counted { store, items: Cell::new(0) };
    let responder = Responder { tree, store, names_lacked: questions.hears_lacked };
    let mut meter = Meter::default();
    let mut answers = Vec::new();
    for (range, ask) in &questions.asks {
        let answer = responder.answer(range, ask).map_err(Refused::Store)?;
        meter.answer(ask, &answer);
        answers.push(answer);
        if meter.bytes >= limits.bytes_max || responder.store.items.get() >= limits.items_max {
            break;
        }
    }
    Ok(Answers { round: questions.round, answers })
}

fn well_formed<K: TreeKey>(questions: &Questions<K>, limits: &Limits) -> Result<(), &'static str> {
    let asks = &questions.asks;
    if asks.is_empty() {
        return Err("no ranges");
    }
    if asks.len() > limits.ranges_max {
        return Err("too many ranges");
    }
    if asks.iter().any(|(range, _)| range.is_empty()) {
        return Err("an empty range");
    }
    if !asks.iter().zip(asks.iter().skip(1)).all(|((a, _), (b, _))| a.is_before(b)) {
        return Err("ranges out of order or overlapping");
    }
    let count = |ask: &Ask| match ask {
        Ask::Compare(parts) => parts.sums.len(),
        Ask::List(..) => 1,
        Ask::Name(_, fingerprints) => fingerprints.len(),
    };
    if asks.iter().any(|(_, ask)| count(ask) == 0) {
        return Err("nothing to compare or to name");
    }
    let too_many = |ask: &Ask| match ask {
        Ask::Compare(_) => count(ask) > PARTS_MAX,
        Ask::List(..) | Ask::Name(..) => count(ask) > LISTED_MAX,
    };
    if asks.iter().any(|(_, ask)| too_many(ask)) {
        return Err("too many parts or fingerprints");
    }
    Ok(())
}

/// A store, and how many objects were read from it.
struct Counted<'a, S> {
    store: &'a S,
    items: Cell<usize>,
}

impl<K, S: Items<K>> Items<K> for Counted<'_, S> {
    type Error = S::Error;

    fn read(&self, range: &KeyRange<K>, items_max: usize) -> Result<Vec<(K, Digest)>, S::Error> {
        let items = self.store.read(range, items_max)?;
        self.items.set(self.items.get().saturating_add(items.len()));
        Ok(items)
    }
}

struct Responder<'a, K, S> {
    tree: &'a Tree<K>,
    store: Counted<'a, S>,
    /// Whether the initiator understands it.
    names_lacked: bool,
}

impl<K: TreeKey, S: Items<K>> Responder<'_, K, S> {
    fn answer(&self, range: &KeyRange<K>, ask: &Ask) -> Result<Answer<K>, S::Error> {
        match ask {
            Ask::Compare(theirs) => self.compare(range, theirs),
            Ask::List(width, theirs) => self.list(range, *width, *theirs),
            Ask::Name(width, fingerprints) => self.name(range, *width, fingerprints),
        }
    }

    fn compare(&self, range: &KeyRange<K>, theirs: &Parts) -> Result<Answer<K>, S::Error> {
        let cuts = self.tree.cuts_at(usize::from(theirs.level), range);
        let alike = cuts.len() + 1 == theirs.sums.len()
            && self.tree.salt().sequence(cuts.iter()) == theirs.cuts;
        if !alike {
            return self.cut(range);
        }
        let mut differing = Vec::new();
        for (index, (part, sum)) in (0..).zip(range.parts(&cuts).zip(&theirs.sums)) {
            if self.tree.summary(&part, &self.store)?.sum != *sum {
                differing.push((index, self.within(&part, *sum)?));
            }
        }
        Ok(Answer::Compared(differing))
    }

    fn cut(&self, range: &KeyRange<K>) -> Result<Answer<K>, S::Error> {
        let cuts = self.tree.cuts(range);
        let sums = self.tree.part_sums(range, &cuts.at, &self.store)?;
        Ok(Answer::Cut { level: cuts.level, at: cuts.at, sums })
    }

    fn within(&self, part: &KeyRange<K>, theirs: u64) -> Result<Within<K>, S::Error> {
        let cuts = self.tree.cuts(part);
        if !cuts.at.is_empty() {
            return Ok(Within::Parts(self.tree.parts(part, &cuts, &self.store)?));
        }
        let held = self.hold(part)?;
        Ok(match held.besides(theirs).filter(|_| self.names_lacked) {
            Some(Item { key, digest, .. }) => {
                Within::Lacked { sum: held.sum, key: key.clone(), digest: *digest }
            }
            None => Within::Leaf(held.list(Width::Short)),
        })
    }

    fn list(
        &self,
        range: &KeyRange<K>,
        width: Width,
        theirs: Option<u64>,
    ) -> Result<Answer<K>, S::Error> {
        let held = self.hold(range)?;
        Ok(match theirs.and_then(|theirs| held.besides(theirs)) {
            Some(Item { key, digest, .. }) => {
                Answer::Named { sum: held.sum, items: vec![(key.clone(), *digest)] }
            }
            None => Answer::Listed(held.list(width)),
        })
    }

    fn hold(&self, range: &KeyRange<K>) -> Result<Held<K>, S::Error> {
        // One more, which says where the listing ends.
        let mut items = self.store.read(range, LISTED_MAX + 1)?;
        let to = if items.len() > LISTED_MAX { items.pop() } else { None };
        let items = hashed(self.tree.salt(), items);
        Ok(Held { to: to.map(|(key, _)| key), sum: sum(&items), items })
    }

    fn name(
        &self,
        range: &KeyRange<K>,
        width: Width,
        fingerprints: &[u64],
    ) -> Result<Answer<K>, S::Error> {
        // Of a range that has grown meanwhile only a part is read: the sum then says so.
        let mut items = self.store.read(range, LISTED_MAX)?;
        let salt = self.tree.salt();
        let sum = Summary::of(salt, &items).sum;
        let mut wanted = fingerprints.to_vec();
        wanted.sort_unstable();
        items.retain(|(key, digest)| {
            wanted.binary_search(&width.of(salt.item(key, *digest))).is_ok()
        });
        Ok(Answer::Named { sum, items })
    }
}

/// What the responder holds in a range, or in the first part of it.
struct Held<K> {
    /// Where the part ends.
    to: Option<K>,
    sum: u64,
    items: Vec<Item<K>>,
}

impl<K: TreeKey> Held<K> {
    /// The one object without which all would come to what the initiator has.
    fn besides(&self, theirs: u64) -> Option<&Item<K>> {
        let is_all = self.to.is_none();
        self.items.iter().find(|item| is_all && item.hash == self.sum.wrapping_sub(theirs))
    }

    fn list(self, width: Width) -> Listing<K> {
        let fingerprints = self.items.iter().map(|item| width.of(item.hash)).collect();
        Listing { to: self.to, sum: self.sum, fingerprints }
    }
}
