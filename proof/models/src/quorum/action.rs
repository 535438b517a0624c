//! What can happen next in a world of quorums.
//!
//! Messages are never taken back, so an action that was possible mostly stays possible; what
//! would change nothing is left out here, as each state it leads to is known already.

use std::fmt;

use super::{Getting, Putting, Quorums, Seen, State, Variant};

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A client writes.
    Put,
    /// A client reads.
    Get,
    /// A write reaches a replica.
    Merge { put: usize, at: usize },
    /// A replica syncs.
    Sync { at: usize },
    /// A replica's acknowledgement arrives.
    Ack { put: usize, from: usize },
    /// A question reaches a replica, and it answers.
    Answer { get: usize, at: usize, full: bool },
    /// The answer arrives.
    Hear { get: usize, from: usize, full: bool },
    /// What a read found reaches a replica that is behind.
    Repair { get: usize, at: usize },
    /// A replica loses what it has not synced.
    Crash { at: usize },
    /// A coordinator takes a replica for gone.
    FailPut { put: usize, at: usize },
    /// A coordinator takes a replica for gone.
    FailGet { get: usize, at: usize },
    /// The client waits no longer.
    EndPut { put: usize },
    /// The client waits no longer.
    EndGet { get: usize },
    /// The answers take long.
    Slow { get: usize },
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = |index: &usize| format!("n{}", index + 1);
        let what = |full: &bool| if *full { "object" } else { "digest" };
        match self {
            Self::Put => write!(f, "a client writes"),
            Self::Get => write!(f, "a client reads"),
            Self::Merge { put, at } => write!(f, "write {put} reaches {}", n(at)),
            Self::Sync { at } => write!(f, "{} syncs", n(at)),
            Self::Ack { put, from } => write!(f, "{} acknowledges write {put}", n(from)),
            Self::Answer { get, at, full } => {
                write!(f, "{} looks up its {} for read {get}", n(at), what(full))
            }
            Self::Hear { get, from, full } => {
                write!(f, "read {get} hears the {} of {}", what(full), n(from))
            }
            Self::Repair { get, at } => write!(f, "read {get} repairs {}", n(at)),
            Self::Crash { at } => write!(f, "{} crashes and loses what it had not synced", n(at)),
            Self::FailPut { put, at } => write!(f, "write {put} takes {} for gone", n(at)),
            Self::FailGet { get, at } => write!(f, "read {get} takes {} for gone", n(at)),
            Self::EndPut { put } => write!(f, "the client of write {put} gives up"),
            Self::EndGet { get } => write!(f, "the client of read {get} gives up"),
            Self::Slow { get } => write!(f, "read {get} is slow"),
        }
    }
}

impl Quorums {
    pub(super) fn put_actions(
        &self,
        state: &State,
        put: usize,
        putting: &Putting,
        actions: &mut Vec<Action>,
    ) {
        let is_open = !putting.put.is_done();
        for (at, replica) in state.replicas.iter().enumerate() {
            if !replica.staged.has(Seen::one(put)) {
                actions.push(Action::Merge { put, at });
            }
            let early = self.variant == Variant::AckBeforeSync;
            let acks = if early { replica.staged } else { replica.synced };
            if acks.has(Seen::one(put)) && (is_open || self.variant == Variant::LateAckCounted) {
                actions.push(Action::Ack { put, from: at });
            }
            if is_open && state.failures < self.failures {
                actions.push(Action::FailPut { put, at });
            }
        }
        if is_open {
            actions.push(Action::EndPut { put });
        }
    }

    pub(super) fn get_actions(
        &self,
        state: &State,
        get: usize,
        getting: &Getting,
        actions: &mut Vec<Action>,
    ) {
        let is_open = !getting.get.is_done();
        for (&(at, full), reply) in &getting.asked {
            if *reply != Some(state.replicas[at].staged) {
                actions.push(Action::Answer { get, at, full });
            }
            if reply.is_some() {
                actions.push(Action::Hear { get, from: at, full });
            }
            if is_open && state.failures < self.failures {
                actions.push(Action::FailGet { get, at });
            }
        }
        let lags = |(at, seen): &(&usize, &Seen)| !state.replicas[**at].staged.has(**seen);
        let repairs = getting.repair.iter().filter(lags);
        actions.extend(repairs.map(|(at, _)| Action::Repair { get, at: *at }));
        if is_open {
            actions.push(Action::EndGet { get });
            actions.extend((!getting.get.is_answered()).then_some(Action::Slow { get }));
        }
    }
}
