//! Effects that promise something about the disk, until the promise is true.
//!
//! Groups of changes are numbered as they are handed to the disk. An effect that was caused
//! while group 7 was being filled waits until 7 is committed, or synced: then everything it
//! could speak of is. Groups are handed over in order, and a sync covers all groups before
//! it, so two numbers tell what may be let out.

use std::collections::VecDeque;

use node::Effect;

/// The number of a group of changes.
pub(super) type GroupNumber = u64;

/// What the disk must have done before an effect is let out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Promise {
    /// Handed to the operating system.
    Committed,
    /// On disk, as soon as can be.
    Synced,
    /// On disk, whenever that is.
    SyncedSometime,
}

/// Effects that wait for the disk.
#[derive(Debug, Default)]
pub(super) struct Held {
    committed: Waiting,
    synced: Waiting,
    synced_sometime: Waiting,
}

#[derive(Debug, Default)]
struct Waiting {
    /// All groups up to this one have kept the promise.
    through: GroupNumber,
    effects: VecDeque<(GroupNumber, Effect)>,
}

impl Held {
    /// Holds an effect until `group` has kept `promise`.
    pub(super) fn hold(&mut self, promise: Promise, group: GroupNumber, effect: Effect) {
        self.of(promise).effects.push_back((group, effect));
    }

    /// Returns whether `group` has kept `promise` already.
    pub(super) fn is_kept(&self, promise: Promise, group: GroupNumber) -> bool {
        match promise {
            Promise::Committed => group <= self.committed.through,
            Promise::Synced | Promise::SyncedSometime => group <= self.synced.through,
        }
    }

    /// Returns whether anything waits for a promise that `promise` would keep.
    pub(super) fn is_waiting_for(&self, promise: Promise) -> bool {
        match promise {
            Promise::Committed => !self.committed.effects.is_empty(),
            Promise::Synced => !self.synced.effects.is_empty(),
            Promise::SyncedSometime => !self.synced_sometime.effects.is_empty(),
        }
    }

    /// How many effects wait.
    pub(super) fn len(&self) -> usize {
        let synced = self.synced.effects.len() + self.synced_sometime.effects.len();
        self.committed.effects.len() + synced
    }

    /// Notes that all groups up to `group` have kept `promise`. What is on disk has also
    /// been handed to the operating system.
    pub(super) fn keep(&mut self, promise: Promise, group: GroupNumber) {
        self.committed.through = self.committed.through.max(group);
        if promise == Promise::Synced {
            self.synced.through = self.synced.through.max(group);
            self.synced_sometime.through = self.synced.through;
        }
    }

    /// Takes the next effect that may be let out.
    pub(super) fn release(&mut self) -> Option<Effect> {
        let synced = || self.synced.release().or_else(|| self.synced_sometime.release());
        self.committed.release().or_else(synced)
    }

    fn of(&mut self, promise: Promise) -> &mut Waiting {
        match promise {
            Promise::Committed => &mut self.committed,
            Promise::Synced => &mut self.synced,
            Promise::SyncedSometime => &mut self.synced_sometime,
        }
    }
}

impl Waiting {
    fn release(&mut self) -> Option<Effect> {
        let (group, _) = self.effects.front()?;
        if *group <= self.through { Some(self.effects.pop_front()?.1) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use model::{NodeId, Reply};
    use node::{After, Message, Ticket};

    use super::*;

    fn effect(number: u64) -> Effect {
        let message = Message::Probe { catalog_version: number, deaf: false, disk: None };
        Effect::Send { to: NodeId::new(1), message, after: After::Synced }
    }

    /// Which effects come out.
    fn released(held: &mut Held) -> Vec<Effect> {
        std::iter::from_fn(|| held.release()).collect()
    }

    #[test]
    fn an_effect_waits_for_its_own_group_and_for_the_promise_it_makes() {
        let mut held = Held::default();
        held.hold(Promise::Synced, 1, effect(10));
        held.hold(Promise::Committed, 1, effect(11));
        held.hold(Promise::Synced, 2, effect(20));
        held.hold(Promise::Committed, 2, effect(21));
        assert_eq!(released(&mut held), [], "nothing is on disk yet");
        held.keep(Promise::Committed, 1);
        assert_eq!(released(&mut held), [effect(11)], "synced is more than committed");
        held.keep(Promise::Synced, 2);
        assert_eq!(released(&mut held), [effect(21), effect(10), effect(20)]);
    }

    #[test]
    fn a_group_once_synced_stays_synced_when_a_later_one_is_only_committed() {
        let mut held = Held::default();
        held.keep(Promise::Synced, 3);
        held.keep(Promise::Committed, 4);
        assert!(held.is_kept(Promise::Synced, 3) && !held.is_kept(Promise::Synced, 4));
        assert!(held.is_kept(Promise::Committed, 4));
    }

    #[test]
    fn it_knows_for_what_is_waited() {
        let mut held = Held::default();
        let answer = Effect::Answer { ticket: Ticket(1), reply: Reply::Failed(refusal()) };
        held.hold(Promise::Committed, 1, answer);
        assert!(held.is_waiting_for(Promise::Committed));
        assert!(!held.is_waiting_for(Promise::Synced));
        assert_eq!(held.len(), 1);
    }

    fn refusal() -> model::Failure {
        model::Failure::Refused(model::Refusal::Overloaded { max: 1 })
    }
}
