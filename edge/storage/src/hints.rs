//! What the node keeps for replicas that are away.
//!
//! Hints are read like objects: what is staged, over what is in flight, over what is in the
//! database. They are dropped as often as they are written, so each place can also say that
//! there is none any more.

use std::collections::BTreeMap;

use bytes::Bytes;
use catalog::Acceptor;
use model::{Address, NodeId, ShardId};
use node::{Disk, Hint, HintPlace, Owed};
use replica::{PageNeed, StoreError, Sum};

use crate::engine::{Engine, bytes};
use crate::group::weight;
use crate::record;
use crate::storage::Storage;

/// How many bytes are staged behind a group on its way before what nobody waits for is staged
/// later.
const STAGED_BEHIND_MAX: usize = 1 << 20;

impl Disk for Storage {
    fn keep_acceptor(&mut self, acceptor: &Acceptor) {
        self.open.stage_acceptor(acceptor.clone());
    }

    fn mark(&mut self, shard: ShardId, node: NodeId, lacks: bool) {
        self.open.mark(shard, node, lacks);
    }

    fn is_busy(&self) -> bool {
        self.is_flushing() && STAGED_BEHIND_MAX <= self.staged_bytes()
    }

    fn keep_sum(&mut self, shard: ShardId, sum: Sum) {
        self.open.stage_sum(shard, sum, &mut self.tails);
    }

    fn hint(&self, place: &HintPlace) -> Result<Option<Hint>, StoreError> {
        let key = record::hint_key(place);
        if let Some(hint) = self.groups().find_map(|group| group.hints.get(&key)) {
            return Ok(hint.clone());
        }
        match self.engine.hints.get(&key).map_err(|error| self.failed(&error))? {
            Some(value) => record::open_hint(&key, &bytes(&value)).map(Some),
            None => Ok(None),
        }
    }

    fn hints(
        &self,
        target: NodeId,
        after: Option<&Address>,
        need: PageNeed,
    ) -> Result<Vec<(Address, Hint)>, StoreError> {
        let bounds = record::hint_bounds(target, after);
        let mut staged: BTreeMap<&Bytes, Option<&Hint>> = BTreeMap::new();
        for group in self.groups() {
            for (key, hint) in group.hints.range(bounds.clone()) {
                // The youngest group comes first.
                staged.entry(key).or_insert(hint.as_ref());
            }
        }
        let mut page = Page { need, found: BTreeMap::new(), bytes: 0 };
        for entry in self.engine.hints.range(bounds) {
            let (key, value) = match entry.into_inner() {
                Ok(found) => found,
                Err(error) if page.found.is_empty() => return Err(self.failed(&error)),
                // What comes before a damaged place is not held up by it.
                Err(_) => break,
            };
            let key = bytes(&key);
            if page.is_full() {
                // What is staged behind the page belongs to the next one.
                staged.retain(|other, _| **other < key);
                break;
            }
            if !staged.contains_key(&key) {
                match record::open_hint(&key, &bytes(&value)) {
                    Ok(hint) => page.add(key, hint),
                    Err(error) => report(&error),
                }
            }
        }
        for (key, hint) in staged {
            if let Some(hint) = hint {
                page.add(key.clone(), hint.clone());
            }
        }
        page.into_hints()
    }

    fn keep_hint(&mut self, place: &HintPlace, hint: Option<&Hint>) {
        self.open.stage_hint(place, hint);
    }
}

/// Hints that were found, in the order of their keys.
struct Page {
    need: PageNeed,
    found: BTreeMap<Bytes, Hint>,
    bytes: usize,
}

impl Page {
    fn is_full(&self) -> bool {
        !self.found.is_empty()
            && (self.need.objects_max <= self.found.len() || self.need.bytes_max <= self.bytes)
    }

    fn add(&mut self, key: Bytes, hint: Hint) {
        self.bytes += weight(&hint.object);
        self.found.insert(key, hint);
    }

    /// As many of the first as are wanted, and at least one.
    fn into_hints(self) -> Result<Vec<(Address, Hint)>, StoreError> {
        let (mut hints, mut bytes) = (Vec::new(), 0);
        for (key, hint) in self.found {
            let is_full = self.need.objects_max <= hints.len() || self.need.bytes_max <= bytes;
            if is_full && !hints.is_empty() {
                break;
            }
            bytes += weight(&hint.object);
            hints.push((record::open_hint_key(&key)?.address, hint));
        }
        Ok(hints)
    }
}

/// How much is kept for whom, as a start finds it. What is damaged is not counted: it stays where
/// it is, and is no reason to do without all else that the node has.
pub(crate) fn owed(engine: &Engine) -> BTreeMap<NodeId, Owed> {
    let mut owed: BTreeMap<NodeId, Owed> = BTreeMap::new();
    for entry in engine.hints.iter() {
        let (key, value) = match entry.into_inner() {
            Ok(found) => found,
            Err(error) => {
                report(&StoreError::Corrupt(error.to_string()));
                break;
            }
        };
        let key = bytes(&key);
        let place = record::open_hint_key(&key);
        let found = place.and_then(|place| Ok((place, record::open_hint(&key, &bytes(&value))?)));
        match found {
            Ok((place, hint)) => owed.entry(place.target).or_default().add(&place.address, &hint),
            Err(error) => report(&error),
        }
    }
    owed
}

/// Only the operator can do something about it.
fn report(error: &StoreError) {
    tracing::error!("{error}; what was kept here for a replica that was away is not handed over");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use causality::{Dot, DotSet, Incarnation};
    use model::{Key, Mark, Object, TableId, Token, Value};

    use super::*;

    fn dot(incarnation: u64, seq: u64) -> Dot {
        Dot::new(Incarnation::new(incarnation), seq)
    }

    fn place(partition: &[u8]) -> HintPlace {
        let key = Key::new(Bytes::copy_from_slice(partition), Bytes::new()).unwrap();
        HintPlace {
            target: NodeId::new(u16::MAX),
            address: Address { table: TableId::new(u32::MAX), key },
        }
    }

    /// Values of these lengths that were written one after the other, and a context of so many
    /// scattered writes of so many nodes beside them. The last of each run has a mark.
    fn object(values: &[usize], others: u64, nodes: u64) -> Object {
        let value = |bytes: &usize| Value {
            content_type: Bytes::from_static(b"x"),
            body: vec![7; *bytes].into(),
        };
        let mut context = DotSet::new();
        let mut held = BTreeMap::new();
        for (seq, bytes) in (1 << 40..).zip(values) {
            held.insert(dot(u64::MAX, seq), value(bytes));
        }
        let others = (0..others).map(|seq| dot(u64::MAX - 1 - seq % nodes, (1 << 40) + 2 * seq));
        held.keys().copied().chain(others).for_each(|dot| {
            let _ = context.insert(dot);
        });
        let mark = |random| Mark::new(Token::new(u64::MAX >> 20, random), u64::MAX, true);
        let runs = context.runs().to_vec();
        let marks = runs.iter().map(|run| {
            (Dot::new(run.incarnation, run.last), mark(u128::MAX - u128::from(run.last)))
        });
        Object::from_parts(held, context).unwrap().marked(marks.collect())
    }

    #[test]
    fn a_hint_counts_for_no_less_than_its_record_comes_to_and_not_for_twice_a_large_one() {
        let objects = [
            object(&[], 1, 1),
            object(&[0], 0, 1),
            object(&[0; 100], 0, 1),
            object(&[1_000, 2_000], 0, 1),
            object(&[10], 100, 1),
            object(&[10], 100, 100),
        ];
        for (object, key) in objects.iter().zip([b"k".as_slice(), &[0; 500]].into_iter().cycle()) {
            let place = place(key);
            let hint = Hint { since_millis: u64::MAX, object: object.clone() };
            let key = record::hint_key(&place);
            let written = (key.len() + record::seal_hint(&key, &hint).len()) as u64;
            let counted = hint.bytes(&place.address);
            assert!(written <= counted, "{written} bytes count for {counted}: {object:?}");
            let is_large = 1_000 < object.values().values().map(|v| v.body.len()).sum::<usize>();
            assert!(!is_large || counted < 2 * written, "{written} bytes count for {counted}");
        }
    }
}
