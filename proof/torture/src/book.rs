//! Writes and deletes that leave nothing behind, and what may be read of them.
//!
//! A client that sends a write again has given it a token, and the tombstone of such a write stays
//! for hours, as somebody may still ask what became of it. Here writes have none, so that what
//! was deleted is forgotten at once, and what then comes back has nobody left to contradict it.
//!
//! Each read is judged by what was acknowledged before it began:
//!
//! | it was answered by | it may lack | it may show what was deleted |
//! | --- | --- | --- |
//! | a quorum, or all | nothing | never |
//! | one replica | what others have acknowledged | if it has never heard of the delete: one that is *excused* |
//! | a disk that is *retired*, or with its help | | such an answer is wrong, whatever it says |
//!
//! Excused is a replica as long as it is cut off or has an old disk. What it alone has
//! acknowledged is of unknown outcome until it is brought back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use client::{Answer, Level};

use crate::expected::{Expected, Outcome};

/// The keyspace and table that is written to: one name for both.
pub const TABLE: &str = "deletes";

/// The values of a key, each with whether it was recovered.
pub type Values = BTreeMap<String, bool>;

/// What was written, and who may not know of it.
#[derive(Debug, Default)]
pub struct Book {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    keys: Expected,
    excused: BTreeSet<u16>,
    retired: BTreeSet<u16>,
}

/// What a read that begins has to show, of one key.
#[derive(Clone, Debug)]
pub struct Moment {
    name: String,
    acknowledged: BTreeSet<usize>,
    excused: BTreeSet<u16>,
    retired: BTreeSet<u16>,
}

impl Book {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a write before it is sent, as one that has replaced these values, and returns its
    /// index. A delete has no value.
    pub fn begin(&self, name: &str, value: Option<&str>, read: &[String]) -> usize {
        let mut state = self.state();
        let key = state.keys.entry(name.to_owned()).or_default();
        let read = key.indices(read);
        key.begin(value.map(str::to_owned), read)
    }

    /// Notes what became of a write.
    pub fn end(&self, name: &str, index: usize, outcome: Outcome) {
        if let Some(key) = self.state().keys.get_mut(name) {
            key.end(index, outcome);
        }
    }

    /// Expects values that were acknowledged elsewhere, perhaps none.
    pub fn expect(&self, name: &str, values: &Values) {
        self.state().keys.entry(name.to_owned()).or_default();
        for value in values.keys() {
            let index = self.begin(name, Some(value), &[]);
            self.end(name, index, Outcome::Acknowledged);
        }
    }

    /// What one replica alone had acknowledged was taken in by all, beside whatever they hold.
    pub fn brought_back(&self, name: &str, value: &str) {
        if let Some(key) = self.state().keys.get_mut(name) {
            let indices = key.indices(&[value.to_owned()]);
            indices.into_iter().for_each(|index| key.take_in(index));
        }
    }

    /// What one replica alone had acknowledged has come to all, in the place of what it replaced.
    pub fn heard_of(&self, name: &str, value: &str) {
        if let Some(key) = self.state().keys.get_mut(name) {
            let indices = key.indices(&[value.to_owned()]);
            indices.into_iter().for_each(|index| key.end(index, Outcome::Acknowledged));
        }
    }

    /// From now on, or no longer, what one replica alone answers may be old.
    pub fn excuse(&self, node: u16, is_excused: bool) {
        change(&mut self.state().excused, node, is_excused);
    }

    /// From now on, or no longer, the disk of a node must take part in nothing.
    pub fn retire(&self, node: u16, is_retired: bool) {
        change(&mut self.state().retired, node, is_retired);
    }

    /// All keys.
    pub fn names(&self) -> Vec<String> {
        self.state().keys.keys().cloned().collect()
    }

    /// What a read has to show that begins now.
    pub fn moment(&self, name: &str) -> Moment {
        let state = self.state();
        let acknowledged = state.keys.get(name).map(|key| key.acknowledged()).unwrap_or_default();
        let (excused, retired) = (state.excused.clone(), state.retired.clone());
        Moment { name: name.to_owned(), acknowledged, excused, retired }
    }

    /// Compares what was read with what had to be.
    ///
    /// # Errors
    ///
    /// What is wrong, with the history of the key.
    pub fn judge(
        &self,
        moment: &Moment,
        level: Level,
        acks: &[u16],
        found: &[String],
    ) -> Result<(), String> {
        let state = self.state();
        let Some(key) = state.keys.get(&moment.name) else { return Ok(()) };
        let is_excused = acks.is_empty() && !moment.excused.is_empty()
            || acks.iter().any(|node| moment.excused.contains(node));
        let judged = if acks.iter().any(|node| moment.retired.contains(node)) {
            Err("TOOK PART: a disk that was given up".to_owned())
        } else if level != Level::One {
            key.check_read(found, &moment.acknowledged)
        } else if is_excused {
            key.known(found)
        } else {
            key.check_not_back(found, &moment.acknowledged)
        };
        let Moment { name, .. } = moment;
        judged.map_err(|why| {
            format!(
                "{name} at {level}, answered by {acks:?}: {why}; its history: {}",
                key.history()
            )
        })
    }

    /// Expects a write that was never made, as if it had been acknowledged.
    pub fn forge(&self) {
        self.expect("forged", &[("never-written".to_owned(), false)].into());
    }

    /// How many writes were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.state().keys.values().map(|key| key.count(Outcome::Acknowledged)).sum()
    }
}

fn change(nodes: &mut BTreeSet<u16>, node: u16, is_in: bool) {
    if is_in {
        nodes.insert(node);
    } else {
        nodes.remove(&node);
    }
}

/// The values of an answer.
pub fn values(answer: &Answer) -> Values {
    answer.values.iter().map(|value| (value.text().into_owned(), value.recovered)).collect()
}

/// Who took part in an answer.
pub fn acks(answer: &Answer) -> Vec<u16> {
    answer.receipt.as_ref().map(|receipt| receipt.acks.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether an answer is right where `a` was written and deleted, n3 is excused and n4 retired.
    fn is_right(level: Level, acks: &[u16], found: &[&str]) -> bool {
        let book = Book::default();
        for (value, read) in [(Some("a"), &[][..]), (None, &["a".to_owned()])] {
            let index = book.begin("k", value, read);
            book.end("k", index, Outcome::Acknowledged);
        }
        book.excuse(3, true);
        book.retire(4, true);
        let found: Vec<String> = found.iter().map(|value| (*value).to_owned()).collect();
        book.judge(&book.moment("k"), level, acks, &found).is_ok()
    }

    #[test]
    fn only_one_who_cannot_know_shows_what_was_deleted() {
        assert!(is_right(Level::Quorum, &[1, 3], &[]));
        assert!(!is_right(Level::Quorum, &[1, 3], &["a"]));
        assert!(!is_right(Level::One, &[1], &["a"]));
        assert!(is_right(Level::One, &[3], &["a"]));
        assert!(!is_right(Level::One, &[3], &["x"]), "nobody wrote it");
        assert!(is_right(Level::One, &[1], &[]));
        assert!(!is_right(Level::Quorum, &[1, 4], &[]), "its disk was given up");
    }

    #[test]
    fn what_was_acknowledged_is_shown_by_a_quorum_and_perhaps_not_by_one() {
        let book = Book::default();
        let index = book.begin("k", Some("a"), &[]);
        let early = book.moment("k");
        book.end("k", index, Outcome::Acknowledged);
        let judge = |moment: &Moment, level| book.judge(moment, level, &[1], &[]).is_ok();
        assert!(judge(&early, Level::Quorum));
        assert!(!judge(&book.moment("k"), Level::Quorum));
        assert!(judge(&book.moment("k"), Level::One));
    }
}
