//! What can happen in a world of nodes that live several times, and how it is told.

use std::fmt;

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A client writes at a node, having read what another shows, or nothing.
    Write { at: usize, read: Option<usize>, is_delete: bool },
    /// A write arrives.
    Deliver { write: u8, at: usize },
    /// A node is brought up to date with all that another holds.
    Repair { from: usize, to: usize },
    /// A node syncs.
    Sync { at: usize },
    /// A node crashes and starts again.
    Crash { at: usize },
    /// A node loses its disk and starts again.
    Wipe { at: usize },
    /// Somebody copies what is on a disk.
    Copy { at: usize },
    /// A node is stopped and starts from the copy.
    Restore { copy: usize },
    /// A disk loses the record of the key.
    LoseRecord { at: usize },
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = |index: &usize| format!("n{}", index + 1);
        match self {
            Self::Write { at, read, is_delete } => {
                let what = if *is_delete { "deletes" } else { "writes" };
                let read = read.as_ref().map_or("nothing".into(), n);
                write!(f, "a client that has read {read} {what} at {}", n(at))
            }
            Self::Deliver { write, at } => write!(f, "write {write} reaches {}", n(at)),
            Self::Repair { from, to } => write!(f, "{} merges what {} holds", n(to), n(from)),
            Self::Sync { at } => write!(f, "{} syncs", n(at)),
            Self::Crash { at } => {
                write!(f, "{} crashes, loses what it had not synced, starts", n(at))
            }
            Self::Wipe { at } => write!(f, "{} loses its disk, starts", n(at)),
            Self::Copy { at } => write!(f, "the disk of {} is copied", n(at)),
            Self::Restore { copy } => write!(f, "copy {copy} is put back, its node starts"),
            Self::LoseRecord { at } => write!(f, "the disk of {} loses the record silently", n(at)),
        }
    }
}
