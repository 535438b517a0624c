//! Finding out what differs in a range whose objects the responder has listed.

use std::collections::{BTreeMap, BTreeSet};

use crate::exchange::Difference;
use crate::message::Width;
use crate::{Digest, Salt, Summary, TreeKey};

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
    pub(crate) fn wanted<K: TreeKey>(&self, salt: &Salt, ours: &[(K, Digest)]) -> Vec<u64> {
        let unmatched = self.unmatched(salt, ours);
        unmatched.into_iter().filter(|print| self.theirs.contains_key(print)).collect()
    }

    /// What differs, given what we hold, and what the responder holds of the fingerprints that
    /// were [wanted](Self::wanted). Nothing if that does not come to the sum of the responder.
    pub(crate) fn differences<K: TreeKey>(
        &self,
        salt: &Salt,
        ours: &[(K, Digest)],
        named: &[(K, Digest)],
    ) -> Option<Vec<Difference<K>>> {
        let unmatched = self.unmatched(salt, ours);
        let mut sum = Summary::of(salt, named).sum;
        let mut by_key: BTreeMap<&K, (Option<Digest>, Option<Digest>)> = BTreeMap::new();
        for (key, digest) in ours {
            let item = salt.item(key, *digest);
            if unmatched.contains(&self.width.of(item)) {
                by_key.entry(key).or_default().0 = Some(*digest);
            } else {
                sum = sum.wrapping_add(item);
            }
        }
        for (key, digest) in named {
            by_key.entry(key).or_default().1 = Some(*digest);
        }
        let differing = by_key.into_iter().filter(|(_, (ours, theirs))| ours != theirs);
        (sum == self.sum).then(|| {
            differing
                .map(|(key, (ours, theirs))| Difference { key: key.clone(), ours, theirs })
                .collect()
        })
    }

    /// The fingerprints of which the two sides do not have as many.
    fn unmatched<K: TreeKey>(&self, salt: &Salt, ours: &[(K, Digest)]) -> BTreeSet<u64> {
        let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
        for (key, digest) in ours {
            *counts.entry(self.width.of(salt.item(key, *digest))).or_default() += 1;
        }
        let all = self.theirs.keys().chain(counts.keys());
        all.filter(|print| self.theirs.get(print) != counts.get(print)).copied().collect()
    }
}
