//! What can happen in a world that forgets, and how it is told.

use std::fmt;

use super::GUEST;

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A client that has read what a member holds, or nothing, writes there.
    Write { at: usize, is_blind: bool, is_delete: bool },
    /// A write arrives.
    Deliver { write: u8, at: usize },
    /// A member merges the current object of another.
    Exchange { from: usize, to: usize },
    /// A member syncs.
    Sync { at: usize },
    /// A member crashes, and starts again.
    Crash { at: usize },
    /// A member forgets its tombstone.
    ForgetTombstone { at: usize },
    /// A member forgets what it may of its context.
    ForgetContext { at: usize },
    /// The guest drops what it held for others.
    Discharge,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = |index: &usize| match *index {
            GUEST => "the guest".to_string(),
            index => format!("n{}", index + 1),
        };
        match self {
            Self::Write { at, is_blind, is_delete } => {
                let read = if *is_blind { "nothing" } else { "what is there" };
                let what = if *is_delete { "deletes" } else { "writes" };
                write!(f, "a client that has read {read} {what} at {}", n(at))
            }
            Self::Deliver { write, at } => write!(f, "write {write} reaches {}", n(at)),
            Self::Exchange { from, to } => write!(f, "{} merges what {} holds", n(to), n(from)),
            Self::Sync { at } => write!(f, "{} syncs", n(at)),
            Self::Crash { at } => {
                write!(f, "{} crashes, loses what it had not synced, starts", n(at))
            }
            Self::ForgetTombstone { at } => write!(f, "{} forgets the tombstone", n(at)),
            Self::ForgetContext { at } => write!(f, "{} forgets a part of the context", n(at)),
            Self::Discharge => write!(f, "the guest drops what it holds"),
        }
    }
}
