//! What a shard should come to, as its disk says itself (R9).
//!
//! A tree says what is there, as far as it was read. It is made anew at each start, so it cannot say
//! what *should* be there: a record that vanished while nobody looked is missing in it like
//! one that never was. So each change carries what all records of the shard come to then, with
//! what a change takes out and puts in added up, and in the batch of the change; and what is found
//! by reading is held against that.
//!
//! ```text
//! on disk    5e1f..                        the sum that came with the last change
//! n1 reads   "tea" "rum"    3c07..         a record is gone: the shard is suspect
//! n1 writes  "map"                         both gain what "map" comes to: the gap stays
//! ```
//!
//! What a change takes out is what was *read* in its place. Where a record had vanished nothing is
//! taken out, so that its part stays in the sum: what was lost is missed for ever, whatever is
//! written there since, until the shard is [whole again](crate::trees::suspect).
//!
//! A directory that has no sum, or one that was made under another secret, is believed to be whole
//! when it has been read for the first time.

use std::collections::BTreeSet;

use antientropy::Salt;
use model::{NodeId, Now};
use mutant::{Mutant, is};
use replica::Sum;

/// What one shard should come to.
#[derive(Debug)]
pub(crate) struct Account {
    /// What it comes to with what is staged. Nothing if that is not known yet.
    due: Option<u64>,
    suspicion: Option<Suspicion>,
    /// Whether something came that is missing here, so that what is read need not be awaited.
    has_missed: bool,
}

/// A shard that does not come to what it should.
#[derive(Debug)]
pub(crate) struct Suspicion {
    pub(crate) since: Now,
    /// What it should come to, less what it comes to: what was lost.
    gap: u64,
    /// The replicas that have nothing which it lacks: it was compared with them since.
    pub(crate) compared: BTreeSet<NodeId>,
    /// An operator says that what is there is all there is.
    pub(crate) is_accepted: bool,
    /// Whether something came that is missing here, whatever the sum is.
    is_evident: bool,
}

impl Suspicion {
    fn new(since: Now, gap: u64, is_evident: bool) -> Self {
        Self { since, gap, compared: BTreeSet::new(), is_accepted: false, is_evident }
    }
}

/// What holding a tree against the account has shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Finding {
    /// It is as it should be, or known not to be.
    Known,
    /// There was no account: what is there begins one.
    First,
    /// Something is missing that was there before.
    Lost,
    /// What was missing is there again: it could not be read for a while.
    Found,
}

impl Account {
    /// As it was found. A shard of which nothing was ever heard holds nothing.
    pub(crate) fn found(sum: Option<Sum>, salt: &Salt, is_empty: bool) -> Self {
        let known = sum.filter(|sum| sum.tag == salt.tag()).map(|sum| sum.total);
        let nothing = (sum.is_none() && is_empty).then_some(0);
        Self { due: known.or(nothing), suspicion: None, has_missed: false }
    }

    /// A record goes, and another takes its place: what they come to.
    pub(crate) fn enter(&mut self, before: Option<u64>, after: Option<u64>) {
        let less = |due: u64| due.wrapping_sub(before.unwrap_or(0));
        self.due = self.due.map(|due| less(due).wrapping_add(after.unwrap_or(0)));
    }

    /// What goes with a change.
    pub(crate) fn sum(&self, salt: &Salt) -> Option<Sum> {
        match is(Mutant::SumNotInBatch) {
            true => None,
            false => self.told(salt),
        }
    }

    /// What it should come to.
    pub(crate) fn told(&self, salt: &Salt) -> Option<Sum> {
        self.due.map(|total| Sum { tag: salt.tag(), total })
    }

    /// Holds what was read against it.
    pub(crate) fn look(&mut self, total: u64, now: Now) -> Finding {
        let Some(due) = self.due else {
            self.due = Some(total);
            return Finding::First;
        };
        let gap = due.wrapping_sub(total);
        match &mut self.suspicion {
            Some(suspicion) if gap == 0 && !suspicion.is_evident => {
                self.suspicion = None;
                Finding::Found
            }
            Some(suspicion) if suspicion.gap == gap => Finding::Known,
            Some(suspicion) => {
                // More is missing than was known. Nobody was asked for that.
                suspicion.gap = gap;
                suspicion.compared.clear();
                Finding::Lost
            }
            None if gap == 0 || is(Mutant::LossNotNoticed) => Finding::Known,
            None => {
                self.suspicion = Some(Suspicion::new(now, gap, false));
                Finding::Lost
            }
        }
    }

    /// Something came that the disk must have lost.
    pub(crate) fn miss(&mut self) {
        self.has_missed = !is(Mutant::LossNotNoticed);
    }

    /// Whether nothing is known to be missing.
    pub(crate) fn is_sound(&self) -> bool {
        self.suspicion.is_none() && !self.has_missed
    }

    /// Makes a suspicion of what was missed. Returns whether there was none.
    pub(crate) fn suspect(&mut self, now: Now) -> bool {
        let is_new = std::mem::take(&mut self.has_missed) && self.suspicion.is_none();
        if is_new {
            self.suspicion = Some(Suspicion::new(now, 0, true));
        }
        is_new
    }

    /// What is there is all there is.
    pub(crate) fn settle(&mut self, total: u64) {
        (self.due, self.suspicion) = (Some(total), None);
    }

    pub(crate) fn suspicion(&self) -> Option<&Suspicion> {
        self.suspicion.as_ref()
    }

    pub(crate) fn suspicion_mut(&mut self) -> Option<&mut Suspicion> {
        self.suspicion.as_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now::from_micros(0);

    #[test]
    fn what_was_lost_is_missed_whatever_is_written_in_its_place() {
        let salt = Salt::new([7; 32]);
        let mut account = Account::found(None, &salt, true);
        account.enter(None, Some(5));
        account.enter(None, Some(7));
        assert_eq!(account.look(12, NOW), Finding::Known);
        // The 7 vanishes, and a 9 is written where it was.
        account.enter(None, Some(9));
        assert_eq!(account.look(14, NOW), Finding::Lost);
        assert_eq!(account.look(14, NOW), Finding::Known, "it is told once");
        account.enter(Some(5), None);
        assert_eq!(account.look(9, NOW), Finding::Known, "what changes since is no loss");
        account.settle(9);
        assert_eq!((account.look(9, NOW), account.suspicion().is_none()), (Finding::Known, true));
    }

    #[test]
    fn a_further_loss_is_another_one_and_what_is_there_again_was_none() {
        let salt = Salt::new([7; 32]);
        let sum = Sum { tag: salt.tag(), total: 10 };
        let mut account = Account::found(Some(sum), &salt, false);
        assert_eq!(account.look(8, NOW), Finding::Lost);
        let compared = &mut account.suspicion_mut().unwrap().compared;
        compared.insert(NodeId::new(2));
        assert_eq!(account.look(7, NOW), Finding::Lost);
        assert_eq!(account.suspicion().unwrap().compared.len(), 0);
        assert_eq!(account.look(10, NOW), Finding::Found);
        assert!(account.suspicion().is_none());
    }

    #[test]
    fn a_sum_of_another_secret_says_nothing_and_an_old_directory_has_none() {
        let (salt, other) = (Salt::new([7; 32]), Salt::new([8; 32]));
        let sum = Some(Sum { tag: other.tag(), total: 10 });
        for (sum, is_empty) in [(sum, false), (sum, true), (None, false)] {
            let mut account = Account::found(sum, &salt, is_empty);
            account.enter(None, Some(3));
            assert_eq!(account.told(&salt), None);
            assert_eq!(account.look(8, NOW), Finding::First);
            assert_eq!(account.told(&salt).map(|sum| sum.total), Some(8));
        }
    }
}
