//! What a guest owes: hints, and how much they come to.
//!
//! A hint is an object that a guest keeps for a replica which was away when it was written.
//! There is one for each key and each replica that lacks it, so that what one of them has
//! taken can be dropped without a thought for the others. Hints lie on the disk. Here is only
//! what has to be known of them at any time without walking over them: for each replica how
//! many there are, how many bytes, and how old the oldest is.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Address, HintStatus, NodeId, Object};
use mutant::{Mutant, is};

/// Where a hint is kept: for whom, and which object it is.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct HintPlace {
    /// The replica that is owed it.
    pub target: NodeId,
    /// Where the object lives.
    pub address: Address,
}

/// An object that is kept for a replica.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hint {
    /// When the first of it was taken in, by this node's wall clock.
    pub since_millis: u64,
    /// Everything of the object that was taken in.
    pub object: Object,
}

/// What a hint costs beside its key and values: its place in maps and files, roughly.
const HINT_BYTES: usize = 64;

/// What a value costs beside its bytes: the write that made it, and its lengths.
const VALUE_BYTES: usize = 8;

/// How old a hint is said to be if nobody knows: older than whatever is waited for.
const AGE_UNKNOWN: Duration = Duration::from_secs(365 * 24 * 3600);

/// What the mark of a token comes to.
const MARK_BYTES: usize = 40;

impl Hint {
    /// How many bytes it takes under this address on disk, and in what leads there: roughly, and
    /// not less.
    pub fn bytes(&self, address: &Address) -> u64 {
        let values = self.object.values().values();
        let values: usize =
            values.map(|value| VALUE_BYTES + value.content_type.len() + value.body.len()).sum();
        // Keys are written so that each zero takes two bytes.
        let zeros = |part: &[u8]| part.iter().filter(|byte| **byte == 0).count();
        let (partition, sort) = (address.key.partition(), address.key.sort());
        let key = partition.len() + zeros(partition) + sort.len() + zeros(sort);
        let context = size_of_val(self.object.context().runs());
        let marks = self.object.marks().len() * MARK_BYTES;
        (HINT_BYTES + key + values + context + marks) as u64
    }
}

/// How much is owed to one replica.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Owed {
    count: u64,
    bytes: u64,
    /// How many hints were begun in which second. A day has few of those.
    since: BTreeMap<u64, u64>,
    /// Whether there are hints of a former life that were begun in the future: the clock was set
    /// back, nobody knows how long.
    is_age_unknown: bool,
}

impl Owed {
    /// Counts a hint in.
    pub fn add(&mut self, address: &Address, hint: &Hint) {
        self.count += 1;
        self.bytes += hint.bytes(address);
        *self.since.entry(hint.since_millis / 1000).or_default() += 1;
    }

    fn remove(&mut self, address: &Address, hint: &Hint) {
        self.count = self.count.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(hint.bytes(address));
        let second = hint.since_millis / 1000;
        if let Some(count) = self.since.get_mut(&second) {
            *count -= 1;
            if *count == 0 {
                self.since.remove(&second);
            }
        }
    }

    /// How many hints.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Roughly how many bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How old the oldest is, to the second, and never less than it is.
    fn oldest(&self, now_millis: u64) -> Duration {
        let first = self.since.keys().next().map_or(now_millis, |second| second * 1000);
        match self.is_age_unknown {
            true => AGE_UNKNOWN,
            false => Duration::from_millis(now_millis.saturating_sub(first)),
        }
    }
}

/// How much is owed to everybody.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    by_target: BTreeMap<NodeId, Owed>,
    bytes: u64,
}

impl Ledger {
    /// What a disk was found to hold at this time.
    pub(crate) fn new(mut by_target: BTreeMap<NodeId, Owed>, now_millis: u64) -> Self {
        for owed in by_target.values_mut() {
            let last = owed.since.keys().next_back();
            // It stays unknown when that time has come: until all of these are gone.
            owed.is_age_unknown = last.is_some_and(|last| now_millis < last * 1000);
        }
        let bytes = by_target.values().map(Owed::bytes).sum();
        Self { by_target, bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_target.is_empty()
    }

    /// All hints together.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn targets(&self) -> impl Iterator<Item = (NodeId, &Owed)> {
        self.by_target.iter().map(|(target, owed)| (*target, owed))
    }

    pub(crate) fn owed(&self, target: NodeId) -> Option<&Owed> {
        self.by_target.get(&target)
    }

    /// One hint took the place of another.
    pub(crate) fn change(
        &mut self,
        place: &HintPlace,
        before: Option<&Hint>,
        after: Option<&Hint>,
    ) {
        let owed = self.by_target.entry(place.target).or_default();
        let was = owed.bytes;
        if let Some(before) = before {
            owed.remove(&place.address, before);
        }
        if let Some(after) = after {
            owed.add(&place.address, after);
        }
        if after.is_some() || !is(Mutant::HintBytesNotFreed) {
            self.bytes = self.bytes.saturating_sub(was) + owed.bytes;
        }
        if owed.count == 0 {
            self.by_target.remove(&place.target);
        }
    }

    pub(crate) fn status(&self, now_millis: u64) -> Vec<HintStatus> {
        let status = |(target, owed): (NodeId, &Owed)| HintStatus {
            target,
            count: owed.count,
            bytes: owed.bytes,
            oldest: owed.oldest(now_millis),
        };
        self.targets().map(status).collect()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use model::{Key, TableId};

    use super::*;

    fn place() -> HintPlace {
        let key = Key::new("k".into(), Bytes::new()).unwrap();
        HintPlace { target: NodeId::new(2), address: Address { table: TableId::new(1), key } }
    }

    fn hint(since_millis: u64) -> Hint {
        Hint { since_millis, object: Object::default() }
    }

    fn oldest(ledger: &Ledger, now_millis: u64) -> Option<Duration> {
        ledger.status(now_millis).first().map(|status| status.oldest)
    }

    #[test]
    fn hints_of_before_the_clock_was_set_back_are_old_until_they_are_gone() {
        let mut owed = Owed::default();
        owed.add(&place().address, &hint(9_000));
        let mut ledger = Ledger::new([(NodeId::new(2), owed)].into(), 5_000);
        for now_millis in [5_000, 9_500, 20_000] {
            assert_eq!(oldest(&ledger, now_millis), Some(AGE_UNKNOWN), "at {now_millis}");
        }
        ledger.change(&place(), Some(&hint(9_000)), None);
        assert_eq!(oldest(&ledger, 20_000), None);
        ledger.change(&place(), None, Some(&hint(20_100)));
        assert_eq!(oldest(&ledger, 21_000), Some(Duration::from_secs(1)));
    }
}
