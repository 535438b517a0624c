//! Finding out what differs in a range whose objects the responder has listed.

use std::collections::{BTreeMap, BTreeSet};

use crate::exchange::Difference;
use crate::message::Width;
use crate::{Digest, Salt, TreeKey};

/// An object that is held, with its hash.
#[derive(Clone, Debug)]
pub(crate) struct Item<K> {
    pub(crate) key: K,
    pub(crate) digest: Digest,
    pub(crate) hash: u64,
}

/// Objects with their hashes.
pub(crate) fn hashed<K: TreeKey>(salt: &Salt, items: Vec<(K, Digest)>) -> Vec<Item<K>> {
    let item = |(key, digest)| Item { hash: salt.item(&key, digest), key, digest };
    items.into_iter().map(item).collect()
}

/// What objects come to.
pub(crate) fn sum<'a, K: 'a>(items: impl IntoIterator<Item = &'a Item<K>>) -> u64 {
    items.into_iter().fold(0, |sum, item| sum.wrapping_add(item.hash))
}

/// What the responder said is in a range.
#[derive(Clone, Debug)]
pub(crate) struct Naming {
    pub(crate) width: Width,
    pub(crate) attempt: u8,
    /// The sum of all of it.
    pub(crate) sum: u64,
    /// How many objects there are of each fingerprint.
    theirs: BTreeMap<u64, usize>,
}

impl Naming {
    pub(crate) fn new(width: Width, attempt: u8, sum: u64, fingerprints: Vec<u64>) -> Self {
        let mut theirs = BTreeMap::new();
        for fingerprint in fingerprints {
            *theirs.entry(fingerprint).or_default() += 1;
        }
        Self { width, attempt, sum, theirs }
    }

    /// The fingerprints of which the responder has others, or another number of them, than we.
    pub(crate) fn wanted<K>(&self, ours: &[Item<K>]) -> Vec<u64> {
        let unmatched = self.unmatched(ours);
        unmatched.into_iter().filter(|print| self.theirs.contains_key(print)).collect()
    }

    /// What differs, given what we hold, and what the responder holds of the fingerprints that
    /// were [wanted](Self::wanted). Nothing if that does not come to the sum of the responder.
    pub(crate) fn differences<K: TreeKey>(
        &self,
        ours: &[Item<K>],
        named: &[Item<K>],
    ) -> Option<Vec<Difference<K>>> {
        let unmatched = self.unmatched(ours);
        let is_shared = |item: &&Item<K>| !unmatched.contains(&self.width.of(item.hash));
        let theirs = ours.iter().filter(is_shared).chain(named);
        (sum(theirs) == self.sum).then(|| self.likely(ours, named))
    }

    /// The same without a proof: what was named is there, and what was not listed may have been written
    /// since.
    pub(crate) fn likely<K: TreeKey>(
        &self,
        ours: &[Item<K>],
        named: &[Item<K>],
    ) -> Vec<Difference<K>> {
        let unmatched = self.unmatched(ours);
        let is_unmatched = |item: &&Item<K>| unmatched.contains(&self.width.of(item.hash));
        let mut by_key: BTreeMap<&K, (Option<Digest>, Option<Digest>)> = BTreeMap::new();
        for item in ours.iter().filter(is_unmatched) {
            by_key.entry(&item.key).or_default().0 = Some(item.digest);
        }
        for item in named {
            by_key.entry(&item.key).or_default().1 = Some(item.digest);
        }
        let differing = by_key.into_iter().filter(|(_, (ours, theirs))| ours != theirs);
        let difference =
            |(key, (ours, theirs)): (&K, _)| Difference { key: key.clone(), ours, theirs };
        differing.map(difference).collect()
    }

    /// The fingerprints of which the two sides do not have as many.
    fn unmatched<K>(&self, ours: &[Item<K>]) -> BTreeSet<u64> {
        let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
        for item in ours {
            *counts.entry(self.width.of(item.hash)).or_default() += 1;
        }
        let all = self.theirs.keys().chain(counts.keys());
        all.filter(|print| self.theirs.get(print) != counts.get(print)).copied().collect()
    }
}
