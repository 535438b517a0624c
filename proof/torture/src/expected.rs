//! What must, may and must not be read, from what the clients were told.
//!
//! Every write has a value of its own and remembers which writes it had read. That is
//! enough to judge all workloads alike:
//!
//! | a value found, or not | verdict |
//! | --- | --- |
//! | nobody wrote it to this key | invented |
//! | the database said that nothing was changed, and it is found | refused, and made all the same |
//! | a write that was acknowledged had read it, and it is found | came back |
//! | acknowledged, read by no later write, and not found | lost |
//! | acknowledged, read by a later write of unknown outcome | either of the two may be found |
//! | of unknown outcome | may be found |
//!
//! An element of a set is a key written once; a register is a key whose writes have each
//! read the one before; siblings are writes that have read nothing; a delete is a write
//! without a value. A counter is a register that counts: see [`Key::counted`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::SystemTime;

/// What is known of a write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It is under way. Judged as unknown.
    Pending,
    /// The database said that it is kept.
    Acknowledged,
    /// Nobody knows.
    Unknown,
    /// The database said that nothing was changed.
    NotMade,
}

/// One write of a client.
#[derive(Clone, Debug)]
pub struct Write {
    /// What was written, different for each write; nothing for a delete.
    pub value: Option<String>,
    /// Indices of the writes that its client had read.
    pub read: BTreeSet<usize>,
    /// What became of it.
    pub outcome: Outcome,
    /// When it was sent.
    pub begun: SystemTime,
}

/// All writes to one key.
#[derive(Clone, Debug, Default)]
pub struct Key {
    writes: Vec<Write>,
}

/// The expected state of all keys.
pub type Expected = BTreeMap<String, Key>;

impl Key {
    /// Notes a write before it is sent, and returns its index.
    pub fn begin(&mut self, value: Option<String>, read: BTreeSet<usize>) -> usize {
        let (outcome, begun) = (Outcome::Pending, SystemTime::now());
        self.writes.push(Write { value, read, outcome, begun });
        self.writes.len() - 1
    }

    /// Notes what became of a write.
    pub fn end(&mut self, index: usize, outcome: Outcome) {
        if let Some(write) = self.writes.get_mut(index) {
            write.outcome = outcome;
        }
    }

    /// A write whose value was taken in beside whatever is there, and is kept from now on.
    pub fn take_in(&mut self, index: usize) {
        if let Some(write) = self.writes.get_mut(index) {
            write.read.clear();
            write.outcome = Outcome::Acknowledged;
        }
    }

    /// The writes whose values these are.
    pub fn indices(&self, values: &[String]) -> BTreeSet<usize> {
        let holds = |write: &Write| write.value.as_ref().is_some_and(|own| values.contains(own));
        self.writes.iter().enumerate().filter(|(_, write)| holds(write)).map(|(at, _)| at).collect()
    }

    /// How many writes ended so.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.writes.iter().filter(|write| write.outcome == outcome).map(|_| 1).sum()
    }

    /// The acknowledged writes that were sent after some moment.
    pub fn acknowledged_after(&self, moment: SystemTime) -> u64 {
        let sent_later =
            |write: &&Write| write.outcome == Outcome::Acknowledged && moment < write.begun;
        self.writes.iter().filter(sent_later).map(|_| 1).sum()
    }

    /// The writes that were acknowledged so far. What a read that begins now must show, or
    /// what has replaced it.
    pub fn acknowledged(&self) -> BTreeSet<usize> {
        let is_acknowledged = |write: &Write| write.outcome == Outcome::Acknowledged;
        let writes = self.writes.iter().enumerate();
        writes.filter(|(_, write)| is_acknowledged(write)).map(|(at, _)| at).collect()
    }

    /// Demands that somebody wrote what was found, and was not told that he did not.
    ///
    /// # Errors
    ///
    /// Nobody did, or it was refused.
    pub fn known(&self, found: &[String]) -> Result<(), String> {
        for value in found {
            let write = self.writes.iter().find(|write| write.value.as_ref() == Some(value));
            match write.map(|write| write.outcome) {
                None => return Err(format!("INVENTED {value}: nobody wrote it")),
                Some(Outcome::NotMade) => return Err(format!("REFUSED AND MADE {value}")),
                Some(Outcome::Pending | Outcome::Acknowledged | Outcome::Unknown) => {}
            }
        }
        Ok(())
    }

    /// Compares what was read, at rest, with what was written.
    ///
    /// # Errors
    ///
    /// What is wrong, in words.
    pub fn check(&self, found: &[String]) -> Result<(), String> {
        self.check_read(found, &self.acknowledged())
    }

    /// Compares what was read while others write, at a level that meets all writes, with what
    /// was acknowledged before the read began.
    ///
    /// # Errors
    ///
    /// What is wrong, in words.
    pub fn check_read(&self, found: &[String], before: &BTreeSet<usize>) -> Result<(), String> {
        self.check_not_back(found, before)?;
        for (index, write) in self.writes.iter().enumerate() {
            let Some(value) = &write.value else { continue };
            let is_lost = !found.contains(value) && !self.is_explained(index, found);
            if before.contains(&index) && is_lost {
                return Err(format!("LOST {value}: it was acknowledged; found {found:?}"));
            }
        }
        Ok(())
    }

    /// Compares what was read, where that may be old, with what every replica that answered had
    /// acknowledged before the read began: it may lack something, and shows nothing that was
    /// overwritten or deleted.
    ///
    /// # Errors
    ///
    /// What is wrong, in words.
    pub fn check_not_back(&self, found: &[String], before: &BTreeSet<usize>) -> Result<(), String> {
        self.known(found)?;
        for value in found {
            let mut covering = self.indices(std::slice::from_ref(value)).into_iter();
            if covering.any(|index| self.covering(index).any(|by| before.contains(&by))) {
                return Err(format!("CAME BACK {value}: it was overwritten; found {found:?}"));
            }
        }
        Ok(())
    }

    /// All writes, for people.
    pub fn history(&self) -> String {
        let mut all = String::new();
        for (index, Write { value, read, outcome, begun }) in self.writes.iter().enumerate() {
            let what = value.as_deref().unwrap_or("a delete");
            let at = begun.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let at = at.as_secs_f64();
            let _ = write!(all, "\n  {index}: {what}, after {read:?}, {outcome:?}, at {at:.3}");
        }
        all
    }

    /// Checks a key whose values are `N#...`, each one more than what its client had read.
    ///
    /// # Errors
    ///
    /// The count is less than was acknowledged, or more than was attempted.
    pub fn counted(&self, found: &[String]) -> Result<(), String> {
        let number = |value: &String| value.split('#').next()?.parse::<u64>().ok();
        let count = found.iter().filter_map(number).max().unwrap_or_default();
        let least = self.count(Outcome::Acknowledged);
        let most = least + self.count(Outcome::Unknown) + self.count(Outcome::Pending);
        if (least..=most).contains(&count) {
            return Ok(());
        }
        Err(format!("MISCOUNTED {count}: acknowledged {least}, attempted {most}"))
    }

    /// The writes that had read this one and may have been made.
    fn covering(&self, index: usize) -> impl Iterator<Item = usize> {
        let covers =
            move |write: &Write| write.outcome != Outcome::NotMade && write.read.contains(&index);
        self.writes.iter().enumerate().filter(move |(_, write)| covers(write)).map(|(at, _)| at)
    }

    /// Whether some write that had read this one is a reason for it to be gone.
    ///
    /// An acknowledged one is, and is itself looked for. One of unknown outcome is if it
    /// shows, if somebody has read it, or if it would not show: a delete.
    fn is_explained(&self, index: usize, found: &[String]) -> bool {
        self.covering(index).any(|at| {
            let Some(by) = self.writes.get(at) else { return false };
            let shows = by.value.as_ref().is_none_or(|value| found.contains(value));
            shows || by.outcome == Outcome::Acknowledged || self.covering(at).next().is_some()
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Writes given as value (none is a delete), writes read, outcome.
    fn key(writes: &[(&str, &[usize], Outcome)]) -> Key {
        let mut key = Key::default();
        for (value, read, outcome) in writes {
            let value = (!value.is_empty()).then(|| (*value).to_owned());
            let index = key.begin(value, read.iter().copied().collect());
            key.end(index, *outcome);
        }
        key
    }

    fn verdict(key: &Key, found: &[&str]) -> &'static str {
        let found: Vec<String> = found.iter().map(|value| (*value).to_owned()).collect();
        match key.check(&found) {
            Ok(()) => "good",
            Err(why) if why.starts_with("LOST") => "lost",
            Err(why) if why.starts_with("CAME BACK") => "came back",
            Err(why) if why.starts_with("REFUSED") => "made",
            Err(_) => "invented",
        }
    }

    #[test]
    fn a_lost_element_is_reported_and_an_invented_one() {
        let set = key(&[("a", &[], Outcome::Acknowledged)]);
        assert_eq!(verdict(&set, &["a"]), "good");
        assert_eq!(verdict(&set, &[]), "lost");
        assert_eq!(verdict(&set, &["a", "x"]), "invented");
    }

    #[test]
    fn a_register_holds_its_last_write_and_no_older_one() {
        let register =
            key(&[("a", &[], Outcome::Acknowledged), ("b", &[0], Outcome::Acknowledged)]);
        assert_eq!(verdict(&register, &["b"]), "good");
        assert_eq!(verdict(&register, &["a"]), "came back");
        assert_eq!(verdict(&register, &[]), "lost");
    }

    #[test]
    fn a_write_of_unknown_outcome_may_be_there_and_may_have_replaced_what_it_read() {
        let register = key(&[("a", &[], Outcome::Acknowledged), ("b", &[0], Outcome::Unknown)]);
        assert_eq!(verdict(&register, &["a"]), "good");
        assert_eq!(verdict(&register, &["b"]), "good");
        assert_eq!(verdict(&register, &[]), "lost");
        let refused = key(&[("a", &[], Outcome::Acknowledged), ("b", &[0], Outcome::NotMade)]);
        assert_eq!(verdict(&refused, &["b"]), "made");
        assert_eq!(verdict(&refused, &["a", "b"]), "made");
        assert_eq!(verdict(&refused, &["a"]), "good");
    }

    #[test]
    fn a_read_under_load_shows_what_was_acknowledged_before_it_began() {
        let found = |values: &[&str]| -> Vec<String> {
            values.iter().map(|value| (*value).to_owned()).collect()
        };
        let register =
            key(&[("a", &[], Outcome::Acknowledged), ("b", &[0], Outcome::Acknowledged)]);
        let (none, first, both) = ([].into(), [0].into(), [0, 1].into());
        // The second was acknowledged while the read was under way: it may show, or the first.
        assert_eq!(register.check_read(&found(&["a"]), &first), Ok(()));
        assert_eq!(register.check_read(&found(&["b"]), &first), Ok(()));
        assert_eq!(register.check_read(&found(&[]), &none), Ok(()));
        assert!(register.check_read(&found(&["a"]), &both).unwrap_err().starts_with("CAME BACK"));
        let element = key(&[("a", &[], Outcome::Acknowledged)]);
        assert!(element.check_read(&found(&[]), &first).unwrap_err().starts_with("LOST"));
    }

    #[test]
    fn a_deleted_value_does_not_come_back() {
        let deleted = key(&[("a", &[], Outcome::Acknowledged), ("", &[0], Outcome::Acknowledged)]);
        assert_eq!(verdict(&deleted, &[]), "good");
        assert_eq!(verdict(&deleted, &["a"]), "came back");
        let perhaps = key(&[("a", &[], Outcome::Acknowledged), ("", &[0], Outcome::Unknown)]);
        assert_eq!(verdict(&perhaps, &[]), "good");
        assert_eq!(verdict(&perhaps, &["a"]), "good");
    }

    #[test]
    fn siblings_are_all_held_until_a_write_had_read_them() {
        let two = [("a", [].as_slice(), Outcome::Acknowledged), ("b", &[], Outcome::Acknowledged)];
        assert_eq!(verdict(&key(&two), &["a", "b"]), "good");
        assert_eq!(verdict(&key(&two), &["b"]), "lost");
        let [a, b] = two;
        let resolved = key(&[a, b, ("c", &[0], Outcome::Acknowledged)]);
        assert_eq!(verdict(&resolved, &["b", "c"]), "good");
        assert_eq!(verdict(&resolved, &["c"]), "lost");
    }

    #[test]
    fn a_write_is_acknowledged_after_a_moment_only_if_it_was_sent_after_it() {
        let (early, late) = (SystemTime::UNIX_EPOCH, SystemTime::now() + Duration::from_secs(60));
        let both = key(&[("a", &[], Outcome::Acknowledged), ("b", &[], Outcome::Unknown)]);
        assert_eq!(both.acknowledged_after(early), 1);
        assert_eq!(both.acknowledged_after(late), 0);
    }

    #[test]
    fn a_counter_lies_between_acknowledged_and_attempted() {
        let counter = key(&[("1#a", &[], Outcome::Acknowledged), ("2#b", &[0], Outcome::Unknown)]);
        assert!(counter.counted(&["1#a".to_owned()]).is_ok());
        assert!(counter.counted(&["2#b".to_owned()]).is_ok());
        assert!(counter.counted(&["3#c".to_owned()]).is_err());
        assert!(counter.counted(&[]).is_err());
    }
}
