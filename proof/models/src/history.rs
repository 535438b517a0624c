//! What really happened: the writes of a run, by number and not by dot.
//!
//! Dots are what is under test, so the judge does not rely on them: every write has a
//! number, which is also its value, and it is known which writes its client had read.

use std::sync::Arc;

use causality::{Dot, DotSet};
use model::Object;

/// A set of writes, by their numbers.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Writes(u16);

impl Writes {
    /// Only this write.
    pub fn one(write: u8) -> Self {
        Self(1 << write)
    }

    /// Whether this write is in the set.
    pub fn contains(self, write: u8) -> bool {
        self.0 & (1 << write) != 0
    }

    /// The writes of both.
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The writes that are not in the other.
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The writes in both.
    pub fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// One write as it really happened.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Written {
    /// Its name.
    pub dot: Dot,
    /// Whether it deletes.
    pub is_delete: bool,
    /// What its client had read.
    pub read: Writes,
    /// The write as an object, as it was sent.
    pub object: Object,
}

/// All writes, in the order in which they were accepted.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct History {
    /// The writes; the first has the number 0.
    pub writes: Vec<Arc<Written>>,
}

impl History {
    fn numbered(&self) -> impl Iterator<Item = (u8, &Written)> {
        (0..).zip(self.writes.iter().map(Arc::as_ref))
    }

    /// The values that an object holds.
    pub fn held(&self, object: &Object) -> Writes {
        let number = |value: &model::Value| value.body.first().copied();
        let held = object.values().values().filter_map(number).map(Writes::one);
        held.fold(Writes::default(), Writes::with)
    }

    /// The writes that an object holds, or has evidence of: a write that had read them.
    pub fn known(&self, object: &Object) -> Writes {
        let mut known = self.held(object);
        for (number, write) in self.numbered() {
            if object.context().contains(write.dot) {
                known = known.with(write.read);
                if write.is_delete {
                    known = known.with(Writes::one(number));
                }
            }
        }
        known
    }

    /// The writes that an object has heard of.
    pub fn heard(&self, object: &Object) -> Writes {
        let heard = self.numbered().filter(|(_, write)| object.context().contains(write.dot));
        heard.fold(Writes::default(), |all, (number, _)| all.with(Writes::one(number)))
    }

    /// What the clients of these writes had read, deletes not counted.
    pub fn written_over_by_values(&self, writes: Writes) -> Writes {
        let values = self.numbered().filter(|(n, write)| writes.contains(*n) && !write.is_delete);
        values.fold(Writes::default(), |all, (_, write)| all.with(write.read))
    }

    /// The values that no other write had read.
    pub fn live(&self) -> Writes {
        let read = self.writes.iter().fold(Writes::default(), |read, write| read.with(write.read));
        let values = self.numbered().filter(|(_, write)| !write.is_delete);
        let values = values.fold(Writes::default(), |all, (n, _)| all.with(Writes::one(n)));
        values.without(read)
    }

    /// The names of the writes whose clients had read the write of this name.
    pub fn superseded_by(&self, dot: Dot) -> Vec<Dot> {
        let number = self.numbered().find(|(_, write)| write.dot == dot);
        let Some((number, _)) = number else { return Vec::new() };
        let by = self.numbered().filter(|(_, write)| write.read.contains(number));
        by.map(|(_, write)| write.dot).collect()
    }

    /// Whether no two writes have one name.
    pub fn dots_are_unique(&self) -> bool {
        let dots: DotSet = self.writes.iter().map(|write| write.dot).collect();
        dots.len() == self.writes.len() as u64
    }
}
