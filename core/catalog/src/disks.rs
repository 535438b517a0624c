//! Which disk each node serves with (R6, R12).
//!
//! A replica is trusted because of what its disk holds: others rely on its having every
//! write that it has ever acknowledged. A node that comes back with another disk has the same
//! number and none of that. So the catalog says with which disk each node is *enrolled*, and a
//! node that finds itself there with another one knows that it has to be made whole before it
//! takes part in anything.
//!
//! ```text
//! n3 serves with disk a1             enrolled a1
//! its disk is lost; it starts on b7  enrolled a1, joining b7    nobody relies on what n3 said
//! it is whole                        enrolled b7, retired a1
//! somebody finds a1 and starts it    enrolled b7                a1 never comes back as n3
//! ```
//!
//! Until b7 is whole a1 may come back: it was not lost after all, and b7 is retired. An operator may
//! *evict* a node whose disk will not return: then nobody waits for it. What joins goes on.

use std::collections::BTreeSet;

use model::{Declared, DiskId, DiskStep, Enrolment, NodeId, Refusal};

use crate::Catalog;

/// The disks of one node.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Disks {
    /// The one that it serves with.
    pub enrolled: Option<DiskId>,
    /// The one that is being made whole, to take its place.
    pub joining: Option<DiskId>,
    /// Those that it must never serve with again.
    pub retired: BTreeSet<DiskId>,
}

impl Disks {
    fn of(&self, disk: DiskId) -> Enrolment {
        let (is_enrolled, is_joining) = (self.enrolled == Some(disk), self.joining == Some(disk));
        if is_enrolled && self.joining.is_some() {
            Enrolment::Challenged
        } else if is_enrolled {
            Enrolment::Enrolled
        } else if is_joining {
            Enrolment::Joining
        } else if self.retired.contains(&disk) {
            Enrolment::Retired
        } else {
            Enrolment::Unannounced
        }
    }

    /// Takes a step, if it is one that can be taken. Returns whether it is.
    fn step(&mut self, step: DiskStep) -> bool {
        match step {
            DiskStep::Joins(disk) => {
                if self.of(disk) != Enrolment::Unannounced {
                    return self.joining == Some(disk);
                }
                // One that was only joining has never voted, and would be copied anew.
                self.joining = Some(disk);
            }
            DiskStep::IsWhole(disk) => {
                if self.joining != Some(disk) {
                    return self.enrolled == Some(disk);
                }
                self.joining = None;
                self.retired.extend(self.enrolled.replace(disk));
            }
            DiskStep::IsBack(disk) => {
                if self.enrolled != Some(disk) {
                    return false;
                }
                self.retired.extend(self.joining.take());
            }
            DiskStep::IsGone(disk) => {
                if self.enrolled == Some(disk) {
                    self.enrolled = None;
                } else if self.joining == Some(disk) {
                    self.joining = None;
                } else {
                    return self.retired.contains(&disk);
                }
                self.retired.insert(disk);
            }
        }
        true
    }
}

impl Catalog {
    /// What a disk is as the one of this node.
    pub fn enrolment(&self, node: NodeId, disk: DiskId) -> Enrolment {
        self.disks.get(&node).map_or(Enrolment::New, |disks| disks.of(disk))
    }

    /// Whether a node was evicted, and nothing is about to take its place.
    pub fn is_evicted(&self, node: NodeId) -> bool {
        let is_gone = |disks: &Disks| disks.enrolled.is_none() && disks.joining.is_none();
        self.disks.get(&node).is_some_and(is_gone)
    }

    /// Whether a node has a disk that others may rely on, be it there or not.
    pub fn is_enrolled(&self, node: NodeId) -> bool {
        self.disks.get(&node).is_none_or(|disks| disks.enrolled.is_some())
    }

    /// The disk that is about to take the place of another at a node.
    pub fn joining(&self, node: NodeId) -> Option<DiskId> {
        self.disks.get(&node)?.joining
    }

    /// Enrols the first disks of nodes that never had one. Those of others are left as they are.
    pub fn enrol(&mut self, first: impl IntoIterator<Item = (NodeId, DiskId)>) {
        let mut has_changed = false;
        for (node, disk) in first {
            self.disks.entry(node).or_insert_with(|| {
                has_changed = true;
                Disks { enrolled: Some(disk), ..Disks::default() }
            });
        }
        self.version += u64::from(has_changed);
    }

    pub(crate) fn declare_disk(
        &mut self,
        node: NodeId,
        step: DiskStep,
    ) -> Result<Declared, Refusal> {
        let before = self.disks.get(&node);
        let mut disks = before.cloned().unwrap_or_default();
        if before.is_none() || !disks.step(step) {
            let text = format!("{node} has another disk, or none yet: look at its state first");
            return Err(Refusal::Contract(text));
        }
        let created = before != Some(&disks);
        self.version += u64::from(created);
        self.disks.insert(node, disks);
        Ok(Declared::Disk { node, created })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const N1: NodeId = NodeId::new(1);
    const A: DiskId = DiskId::new(0xa);
    const B: DiskId = DiskId::new(0xb);

    fn enrolled() -> Catalog {
        let mut catalog = Catalog::default();
        catalog.enrol([(N1, A)]);
        catalog
    }

    fn created(catalog: &mut Catalog, step: DiskStep) -> Option<bool> {
        match catalog.declare_disk(N1, step) {
            Ok(Declared::Disk { created, .. }) => Some(created),
            Ok(other) => panic!("{other:?}"),
            Err(_) => None,
        }
    }

    #[test]
    fn a_disk_that_was_replaced_is_retired_for_ever() {
        let mut catalog = enrolled();
        assert_eq!(catalog.enrolment(N1, B), Enrolment::Unannounced);
        assert_eq!(created(&mut catalog, DiskStep::IsWhole(B)), None, "it did not join");
        assert_eq!(created(&mut catalog, DiskStep::Joins(B)), Some(true));
        assert_eq!(created(&mut catalog, DiskStep::Joins(B)), Some(false));
        assert_eq!(catalog.enrolment(N1, B), Enrolment::Joining);
        assert_eq!(catalog.enrolment(N1, A), Enrolment::Challenged);
        assert_eq!(created(&mut catalog, DiskStep::IsWhole(B)), Some(true));
        assert_eq!(catalog.enrolment(N1, B), Enrolment::Enrolled);
        assert_eq!(catalog.enrolment(N1, A), Enrolment::Retired);
        assert_eq!(created(&mut catalog, DiskStep::Joins(A)), None);
        assert_eq!(created(&mut catalog, DiskStep::IsBack(A)), None);
        assert_eq!(catalog.version, 3);
    }

    #[test]
    fn a_disk_that_was_not_lost_comes_back_until_the_other_is_whole() {
        let mut catalog = enrolled();
        created(&mut catalog, DiskStep::Joins(B));
        assert_eq!(created(&mut catalog, DiskStep::IsBack(A)), Some(true));
        assert_eq!(catalog.enrolment(N1, A), Enrolment::Enrolled);
        assert_eq!(catalog.enrolment(N1, B), Enrolment::Retired);
        assert_eq!(created(&mut catalog, DiskStep::IsWhole(B)), None);
    }

    #[test]
    fn only_the_first_disk_is_enrolled_by_itself() {
        let mut catalog = enrolled();
        catalog.enrol([(N1, B)]);
        assert_eq!((catalog.enrolment(N1, A), catalog.version), (Enrolment::Enrolled, 1));
        assert_eq!(Catalog::default().enrolment(N1, A), Enrolment::New);
    }

    #[test]
    fn a_disk_that_joins_goes_on_when_the_one_before_is_given_up() {
        let mut catalog = enrolled();
        created(&mut catalog, DiskStep::Joins(B));
        assert_eq!(created(&mut catalog, DiskStep::IsGone(A)), Some(true));
        assert_eq!(catalog.enrolment(N1, B), Enrolment::Joining);
        assert!(!catalog.is_enrolled(N1) && !catalog.is_evicted(N1));
        assert_eq!(created(&mut catalog, DiskStep::IsBack(A)), None);
        assert_eq!(created(&mut catalog, DiskStep::IsWhole(B)), Some(true));
    }

    #[test]
    fn who_was_evicted_may_come_back_with_a_new_disk_only() {
        let mut catalog = enrolled();
        assert_eq!(created(&mut catalog, DiskStep::IsGone(A)), Some(true));
        assert!(catalog.is_evicted(N1));
        assert_eq!(created(&mut catalog, DiskStep::IsGone(A)), Some(false));
        assert_eq!(created(&mut catalog, DiskStep::IsGone(B)), None);
        assert_eq!(catalog.enrolment(N1, A), Enrolment::Retired);
        assert_eq!(created(&mut catalog, DiskStep::Joins(B)), Some(true));
        assert!(!catalog.is_evicted(N1));
        let joining = catalog.clone();
        assert_eq!(created(&mut catalog, DiskStep::IsGone(B)), Some(true));
        assert!(catalog.is_evicted(N1), "what was joining is lost, too");
        catalog = joining;
        assert_eq!(created(&mut catalog, DiskStep::IsWhole(B)), Some(true));
        assert_eq!(catalog.enrolment(N1, B), Enrolment::Enrolled);
    }
}
