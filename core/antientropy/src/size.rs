//! How many bytes messages take, when they are encoded compactly.
//!
//! Counted is this encoding, which is the edge's to write: a byte for the kind of each thing
//! and for which ends a range has, seven bits to a byte in numbers, eight bytes for sums,
//! hashes and digests, and of a key what differs from the key before it in the message.

use crate::message::{Answer, Answers, Ask, Listing, Parts, Questions, Width, Within};
use crate::{KeyRange, TreeKey};

/// Counts the bytes of one message.
#[derive(Default)]
pub(crate) struct Meter {
    pub(crate) bytes: usize,
    last_key: Vec<u8>,
}

impl Meter {
    pub(crate) fn ask<K: TreeKey>(&mut self, range: &KeyRange<K>, ask: &Ask) {
        self.bytes += 1;
        for key in range.from.iter().chain(&range.to) {
            self.key(key);
        }
        match ask {
            Ask::Compare(parts) => self.parts(parts),
            Ask::List(_, sum) => self.bytes += sum.map_or(0, |_| 8),
            Ask::Name(width, fingerprints) => self.fingerprints(*width, fingerprints),
        }
    }

    pub(crate) fn answer<K: TreeKey>(&mut self, ask: &Ask, answer: &Answer<K>) {
        self.bytes += 1;
        match answer {
            Answer::Compared(differing) => {
                self.number(differing.len());
                for (index, within) in differing {
                    self.number(usize::from(*index));
                    self.bytes += 1;
                    match within {
                        Within::Parts(parts) => self.parts(parts),
                        Within::Leaf(listing) => self.listing(Width::Short, listing),
                        Within::Lacked { key, .. } => {
                            self.bytes += 16;
                            self.key(key);
                        }
                    }
                }
            }
            Answer::Cut { at, sums, .. } => {
                self.bytes += 1 + 8 * sums.len();
                self.number(at.len());
                at.iter().for_each(|key| self.key(key));
            }
            Answer::Listed(listing) => {
                let width = if let Ask::List(width, _) = ask { *width } else { Width::Long };
                self.listing(width, listing);
            }
            Answer::Named { items, .. } => {
                self.bytes += 8 + 8 * items.len();
                self.number(items.len());
                items.iter().for_each(|(key, _)| self.key(key));
            }
        }
    }

    fn parts(&mut self, parts: &Parts) {
        self.bytes += 1 + 8 + 8 * parts.sums.len();
        self.number(parts.sums.len());
    }

    fn listing<K: TreeKey>(&mut self, width: Width, listing: &Listing<K>) {
        listing.to.iter().for_each(|key| self.key(key));
        self.bytes += 8;
        self.fingerprints(width, &listing.fingerprints);
    }

    fn fingerprints(&mut self, width: Width, fingerprints: &[u64]) {
        self.number(fingerprints.len());
        self.bytes += width.bytes() * fingerprints.len();
    }

    fn key<K: TreeKey>(&mut self, key: &K) {
        let mut bytes = Vec::new();
        key.append_to(&mut bytes);
        let shared = bytes.iter().zip(&self.last_key).take_while(|(a, b)| a == b).count();
        let rest = bytes.len() - shared;
        self.number(shared);
        self.number(rest);
        self.bytes += rest;
        self.last_key = bytes;
    }

    fn number(&mut self, number: usize) {
        let bits = usize::BITS - number.leading_zeros();
        self.bytes += bits.div_ceil(7).max(1) as usize;
    }
}

impl<K: TreeKey> Questions<K> {
    /// How many bytes they take.
    pub fn bytes(&self) -> usize {
        let mut meter = Meter { bytes: 9, ..Meter::default() };
        meter.number(usize::try_from(self.round).unwrap_or(usize::MAX));
        meter.number(self.asks.len());
        self.asks.iter().for_each(|(range, ask)| meter.ask(range, ask));
        meter.bytes
    }
}

impl<K: TreeKey> Answers<K> {
    /// How many bytes they take, as answers to these questions.
    pub fn bytes(&self, questions: &Questions<K>) -> usize {
        let mut meter = Meter::default();
        meter.number(usize::try_from(self.round).unwrap_or(usize::MAX));
        meter.number(self.answers.len());
        let asks = questions.asks.iter().map(|(_, ask)| ask);
        asks.zip(&self.answers).for_each(|(ask, answer)| meter.answer(ask, answer));
        meter.bytes
    }
}
