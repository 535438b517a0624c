//! Answering questions about a tree, without keeping anything from one to the next.
//!
//! Everything that a question says is taken with suspicion: it is looked at before anything
//! is read, and what it can cause is bounded by [`Limits`].

use std::cell::Cell;

use thiserror::Error;

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
    let responder = Responder { tree, store: Counted { store, items: Cell::new(0) } };
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
        Ask::List(_) => 1,
        Ask::Name(_, fingerprints) => fingerprints.len(),
    };
    if asks.iter().any(|(_, ask)| count(ask) == 0) {
        return Err("nothing to compare or to name");
    }
    let too_many = |ask: &Ask| match ask {
        Ask::Compare(_) => count(ask) > PARTS_MAX,
        Ask::List(_) | Ask::Name(..) => count(ask) > LISTED_MAX,
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
}

impl<K: TreeKey, S: Items<K>> Responder<'_, K, S> {
    fn answer(&self, range: &KeyRange<K>, ask: &Ask) -> Result<Answer<K>, S::Error> {
        match ask {
            Ask::Compare(theirs) => self.compare(range, theirs),
            Ask::List(width) => Ok(Answer::Listed(self.list(range, *width)?)),
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
                differing.push((index, self.within(&part)?));
            }
        }
        Ok(Answer::Compared(differing))
    }

    fn cut(&self, range: &KeyRange<K>) -> Result<Answer<K>, S::Error> {
        let cuts = self.tree.cuts(range);
        let sums = self.tree.part_sums(range, &cuts.at, &self.store)?;
        Ok(Answer::Cut { level: cuts.level, at: cuts.at, sums })
    }

    fn within(&self, part: &KeyRange<K>) -> Result<Within<K>, S::Error> {
        let cuts = self.tree.cuts(part);
        if cuts.at.is_empty() {
            return Ok(Within::Leaf(self.list(part, Width::Short)?));
        }
        Ok(Within::Parts(self.tree.parts(part, &cuts, &self.store)?))
    }

    fn list(&self, range: &KeyRange<K>, width: Width) -> Result<Listing<K>, S::Error> {
        // One more, which says where the listing ends.
        let mut items = self.store.read(range, LISTED_MAX + 1)?;
        let next = if items.len() > LISTED_MAX { items.pop() } else { None };
        let hashes = items.iter().map(|(key, digest)| self.tree.salt().item(key, *digest));
        Ok(Listing {
            to: next.map(|(key, _)| key),
            sum: Summary::of(self.tree.salt(), &items).sum,
            fingerprints: hashes.map(|hash| width.of(hash)).collect(),
        })
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
