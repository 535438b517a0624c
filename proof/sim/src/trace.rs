//! The course of a run: hashed always, told in words where somebody will read it.
//!
//! That one seed is one course of events can only be checked if all that matters goes into the
//! hash: not only which message came when, but what was in it. So what a replica stores and what
//! a client is told are hashed with their values and contexts.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use model::{Changed, Listed, Listing, Object, Read, Receipt, Reply, Watched, Written};

/// How many of the last events a violation shows.
const EVENTS_SHOWN: usize = 150;

/// Which events are told in words.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Keep {
    /// None.
    #[default]
    Nothing,
    /// The last few.
    Last,
    /// All.
    All,
}

/// The events of a run: hashed always, told in words only where somebody will read them.
#[derive(Default)]
pub(crate) struct Trace {
    pub(crate) hash: u64,
    pub(crate) count: u64,
    pub(crate) keep: Keep,
    pub(crate) print: bool,
    lines: VecDeque<String>,
}

impl Trace {
    /// Notes one event: as numbers for the hash, and in words.
    pub(crate) fn note(&mut self, now: u64, words: &[u64], text: impl FnOnce() -> String) {
        self.count += 1;
        self.mix(now);
        words.iter().for_each(|word| self.mix(*word));
        if self.keep != Keep::Nothing || self.print {
            self.tell(format!("{now:>10} {}", text()));
        }
    }

    fn tell(&mut self, line: String) {
        if self.print {
            println!("{line}");
        }
        if self.keep != Keep::All && self.lines.len() == EVENTS_SHOWN {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// Notes what a replica stores, to its last byte.
    pub(crate) fn note_object(&mut self, object: &Object) {
        object.hash(self);
    }

    /// Notes what a client is told: who took part, what was found, which context it may hand
    /// back.
    pub(crate) fn note_reply(&mut self, reply: &Reply) {
        match reply {
            Reply::Written(Written { context, marks, repeated, session, receipt }) => {
                format!("{session:?}").hash(self);
                (context, marks, repeated).hash(self);
                self.note_receipt(receipt);
            }
            Reply::Read(Read { object, session, receipt }) => {
                format!("{session:?}").hash(self);
                object.hash(self);
                self.note_receipt(receipt);
            }
            Reply::Listed(Listed { listings, next, receipt }) => {
                for Listing { key, object } in listings {
                    (key.partition(), key.sort(), object).hash(self);
                }
                next.is_some().hash(self);
                self.note_receipt(receipt);
            }
            Reply::Watched(Watched { changes, position, rewound, silent }) => {
                for Changed { key, object } in changes {
                    (key.partition(), key.sort(), object).hash(self);
                }
                (&position.followed, position.reading.is_some(), rewound, silent).hash(self);
            }
            Reply::Recalled(_)
            | Reply::Explained(_)
            | Reply::Declared(_)
            | Reply::Status(_)
            | Reply::Repair(_)
            | Reply::Salvaged(_)
            | Reply::Failed(_) => {
                format!("{reply:?}").hash(self);
            }
        }
    }

    fn note_receipt(&mut self, receipt: &Receipt) {
        let Receipt { kind, dot, shard, acks, wanted, replicas, cast, staleness } = receipt;
        (kind.as_str(), dot, shard.keyspace.number(), shard.index, wanted, replicas).hash(self);
        cast.map(|cast| (cast.got, cast.of)).hash(self);
        staleness.hash(self);
        acks.iter().for_each(|ack| (ack.node.number(), ack.durable).hash(self));
    }

    /// FNV-1a, a word at a time: fast, the same everywhere, and nobody attacks it.
    fn mix(&mut self, word: u64) {
        self.hash = (self.hash ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.into()
    }
}

impl Hasher for Trace {
    fn finish(&self) -> u64 {
        self.hash
    }

    fn write(&mut self, bytes: &[u8]) {
        for some in bytes.chunks(8) {
            let mut word = [0; 8];
            word.iter_mut().zip(some).for_each(|(to, from)| *to = *from);
            self.mix(u64::from_le_bytes(word));
        }
        self.mix(bytes.len() as u64);
    }

    fn write_u64(&mut self, word: u64) {
        self.mix(word);
    }

    fn write_usize(&mut self, word: usize) {
        self.mix(word as u64);
    }
}

#[cfg(test)]
mod tests {
    use causality::{Dot, DotSet, Incarnation};
    use model::{Ack, KeyspaceId, Kind, NodeId, ShardId, Value};

    use super::*;

    fn object(body: &'static str, read: u64) -> Object {
        let dot = |seq| Dot::new(Incarnation::new(0xa), seq);
        let value = Value { content_type: "".into(), body: body.into() };
        Object::written(dot(9), [dot(read)].into_iter().collect(), value)
    }

    fn read(object: Object, durable: bool) -> Reply {
        let acks = vec![Ack::of_replica(NodeId::new(1), durable)];
        let shard = ShardId { keyspace: KeyspaceId::new(1), index: 0 };
        let (kind, wanted, replicas, staleness) = (Kind::Strict, 1, 1, None);
        let cast = None;
        let receipt = Receipt { kind, dot: None, shard, acks, wanted, replicas, cast, staleness };
        Reply::Read(Read { object, session: None, receipt })
    }

    #[test]
    fn runs_that_differ_in_one_value_or_one_context_or_one_word_of_a_receipt_differ() {
        let hash = |reply: &Reply| {
            let mut trace = Trace::default();
            trace.note_reply(reply);
            trace.hash
        };
        let first = read(object("a value of milk", 1), false);
        assert_eq!(hash(&first), hash(&first.clone()));
        assert_ne!(hash(&first), hash(&read(object("a value of silk", 1), false)));
        assert_ne!(hash(&first), hash(&read(object("a value of milk", 2), false)));
        assert_ne!(hash(&first), hash(&read(object("a value of milk", 1), true)));
        assert_ne!(hash(&first), hash(&read(Object::default(), false)));
        let context = DotSet::new();
        let Reply::Read(Read { receipt, .. }) = first else { return };
        let written = |context| {
            let (marks, receipt) = (Default::default(), receipt.clone());
            Reply::Written(Written { context, marks, repeated: false, session: None, receipt })
        };
        let other = object("", 1).context().clone();
        assert_ne!(hash(&written(context)), hash(&written(other)));
    }
}
