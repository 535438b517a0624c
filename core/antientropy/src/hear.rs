//! What the initiator does with an answer.
//!
//! An answer makes a range finer, or settles it. It comes from another node, and is believed
//! no further than it goes together with what was asked.

use crate::exchange::{Difference, Exchange, Here, Stopped, Task};
use crate::listing::{Item, Naming};
use crate::message::{Answer, Listing, Parts, Width, Within};
use crate::respond::LISTED_MAX;
use crate::{Digest, Items, KeyRange, TreeKey};

/// How often a range is listed before it is given up. One more than once is needed where
/// fingerprints were equal by chance; others where something was changed just then.
const ATTEMPTS_MAX: u8 = 4;

impl<K: TreeKey> Exchange<K> {
    /// Takes in the answer about one range.
    pub(crate) fn hear<S: Items<K>>(
        &mut self,
        here: &Here<'_, K, S>,
        range: KeyRange<K>,
        task: Task<K>,
        answer: Answer<K>,
        found: &mut Vec<Difference<K>>,
    ) -> Result<(), Stopped<S::Error>> {
        match (task, answer) {
            (Task::Compare(cuts), Answer::Compared(differing)) => {
                self.compared(here, &range, &cuts, differing, found)
            }
            (Task::Compare(_), Answer::Cut { level, at, sums }) => {
                self.cut(here, &range, (level, &at, &sums), found)
            }
            (Task::List(width, attempt), Answer::Listed(listing)) => {
                self.listed(here, range, (width, attempt), listing, found)
            }
            (Task::List(_, attempt), Answer::Named { sum, items }) => {
                self.lacked(here, range, attempt, (sum, items), found)
            }
            (Task::Name(naming, _), Answer::Named { sum, items }) => {
                if !crate::range::is_read_of(&range, &items) {
                    return Err(Stopped::Malformed("names that were not asked for"));
                }
                let ours = here.items(&range).map_err(Stopped::Store)?;
                let named = here.hashed(items);
                match naming.sum == sum {
                    true => self.settle(range, &naming, &ours, &named, found),
                    false => self.again(range, &naming, (&ours, &named), found),
                }
                Ok(())
            }
            (Task::Compare(_) | Task::List(..) | Task::Name(..), _) => {
                Err(Stopped::Malformed("an answer to another question"))
            }
        }
    }

    /// The responder cuts the range as we did.
    fn compared<S: Items<K>>(
        &mut self,
        here: &Here<'_, K, S>,
        range: &KeyRange<K>,
        cuts: &[K],
        differing: Vec<(u16, Within<K>)>,
        found: &mut Vec<Difference<K>>,
    ) -> Result<(), Stopped<S::Error>> {
        if differing.is_empty() {
            self.find_nothing();
        }
        let mut parts = (0..).zip(range.parts(cuts));
        for (index, within) in differing {
            let part = parts.find(|(at, _)| *at == index);
            let Some((_, part)) = part else {
                return Err(Stopped::Malformed("parts out of order, or that there are not"));
            };
            match within {
                Within::Parts(theirs) => self.compare(here, part, &theirs, found)?,
                Within::Leaf(listing) => {
                    self.listed(here, part, (Width::Short, 0), listing, found)?;
                }
                Within::Lacked { sum, key, digest } => {
                    self.lacked(here, part, 0, (sum, vec![(key, digest)]), found)?;
                }
            }
        }
        Ok(())
    }

    /// Finds out which of the responder's parts differ from ours.
    fn compare<S: Items<K>>(
        &mut self,
        here: &Here<'_, K, S>,
        range: KeyRange<K>,
        theirs: &Parts,
        found: &mut Vec<Difference<K>>,
    ) -> Result<(), Stopped<S::Error>> {
        if theirs.sums.len() < 2 {
            return Err(Stopped::Malformed("parts that are no finer"));
        }
        let cuts = here.tree.cuts_at(usize::from(theirs.level), &range);
        if cuts.len() + 1 != theirs.sums.len()
            || here.tree.salt().sequence(cuts.iter()) != theirs.cuts
        {
            self.push(range, Task::Compare(Vec::new()));
            return Ok(());
        }
        self.push_differing(here, &range, (&cuts, &theirs.sums), theirs.level == 0, found)
    }

    /// The responder cuts the range differently: at these keys.
    fn cut<S: Items<K>>(
        &mut self,
        here: &Here<'_, K, S>,
        range: &KeyRange<K>,
        (level, at, sums): (u8, &[K], &[u64]),
        found: &mut Vec<Difference<K>>,
    ) -> Result<(), Stopped<S::Error>> {
        let in_order = at.iter().zip(at.iter().skip(1)).all(|(a, b)| a < b);
        if !in_order || !at.iter().all(|key| range.can_be_cut_at(key)) {
            return Err(Stopped::Malformed("cuts out of order, or outside of the range"));
        }
        if sums.len() != at.len() + 1 {
            return Err(Stopped::Malformed("not a sum for each part"));
        }
        self.push_differing(here, range, (at, sums), level == 0 || at.is_empty(), found)
    }

    fn push_differing<S: Items<K>>(
        &mut self,
        here: &Here<'_, K, S>,
        range: &KeyRange<K>,
        (cuts, sums): (&[K], &[u64]),
        are_leaves: bool,
        found: &mut Vec<Difference<K>>,
    ) -> Result<(), Stopped<S::Error>> {
        let ours = here.tree.part_sums(range, cuts, here.store).map_err(Stopped::Store)?;
        if ours == sums {
            self.find_nothing();
        }
        let task = if are_leaves { Task::List(Width::Short, 0) } else { Task::Compare(Vec::new()) };
        for (part, (ours, theirs)) in range.parts(cuts).zip(ours.iter().zip(sums)) {
            if ours == theirs {
                continue;
            }
            let besides = match are_leaves {
                true => here.besides(&part, *theirs, &mut self.reads_left),
                false => Ok(None),
            };
            match besides.map_err(Stopped::Store)? {
                Some(Item { key, digest, .. }) => {
                    self.outcome.differences += 1;
                    found.push(Difference { key, ours: Some(digest), theirs: None });
                }
                None => self.push(part, task.clone()),
            }
        }
        Ok(())
    }

    fn listed<S: Items<K>>(
        &mut self,
        here: &Here<'_, K, S>,
        mut range: KeyRange<K>,
        (width, attempt): (Width, u8),
        listing: Listing<K>,
        found: &mut Vec<Difference<K>>,
    ) -> Result<(), Stopped<S::Error>> {
        if listing.fingerprints.len() > LISTED_MAX {
            return Err(Stopped::Malformed("too many fingerprints"));
        }
        if let Some(end) = listing.to {
            if !range.can_be_cut_at(&end) {
                return Err(Stopped::Malformed("a listing that ends outside of the range"));
            }
            let rest = KeyRange { from: Some(end.clone()), to: range.to.replace(end) };
            self.push(rest, Task::List(width, 0));
        }
        let naming = Naming::new(width, attempt, listing.sum, listing.fingerprints);
        if self.split(here, &range, &Task::List(width, attempt)) {
            return Ok(());
        }
        let ours = here.items(&range).map_err(Stopped::Store)?;
        let wanted = naming.wanted(&ours);
        if wanted.is_empty() {
            self.settle(range, &naming, &ours, &[], found);
        } else {
            self.push(range, Task::Name(naming, wanted));
        }
        Ok(())
    }

    /// The responder has what we have, and one object besides.
    fn lacked<S: Items<K>>(
        &mut self,
        here: &Here<'_, K, S>,
        range: KeyRange<K>,
        attempt: u8,
        (sum, items): (u64, Vec<(K, Digest)>),
        found: &mut Vec<Difference<K>>,
    ) -> Result<(), Stopped<S::Error>> {
        if items.len() != 1 || !crate::range::is_read_of(&range, &items) {
            return Err(Stopped::Malformed("names that were not asked for"));
        }
        if self.split(here, &range, &Task::List(Width::Short, attempt)) {
            return Ok(());
        }
        let (mut all, named) = (here.items(&range).map_err(Stopped::Store)?, here.hashed(items));
        all.extend(named.iter().cloned());
        let prints = all.iter().map(|item| item.hash).collect();
        let naming = Naming::new(Width::Long, attempt, sum, prints);
        all.truncate(all.len() - named.len());
        self.settle(range, &naming, &all, &named, found);
        Ok(())
    }

    /// Says what differs in a range, if what we know of it is proved to be all.
    fn settle(
        &mut self,
        range: KeyRange<K>,
        naming: &Naming,
        ours: &[Item<K>],
        named: &[Item<K>],
        found: &mut Vec<Difference<K>>,
    ) {
        let Some(differences) = naming.differences(ours, named) else {
            return self.again(range, naming, (ours, named), found);
        };
        // What came as far as this was said to differ.
        self.outcome.vanished += u64::from(differences.is_empty());
        self.outcome.differences += differences.len() as u64;
        found.extend(differences);
    }

    /// Lists a range once more. If it has changed each time, it is given up, and what seemed to differ is
    /// settled all the same: where it is written all the time, what is lost beside that is brought.
    fn again(
        &mut self,
        range: KeyRange<K>,
        naming: &Naming,
        (ours, named): (&[Item<K>], &[Item<K>]),
        found: &mut Vec<Difference<K>>,
    ) {
        if naming.attempt + 1 < ATTEMPTS_MAX {
            self.push(range, Task::List(Width::Long, naming.attempt + 1));
            return;
        }
        self.outcome.unsettled += 1;
        let differences = naming.likely(ours, named);
        self.outcome.differences += differences.len() as u64;
        found.extend(differences);
    }
}
