//! What a disk holds that does not come back, and what the cluster has never heard of.
//!
//! A node that was given up, or whose disk was replaced, never serves with its old disk again: what
//! that holds may have been deleted long ago. But it may hold writes that nobody else ever had. A
//! replica that has applied a write has its dot in its clock for ever, whatever became of the
//! value. So all replicas are asked, and what none of them has in its clock was never seen.
//!
//! | found on the disk | some replica has heard of it | none has |
//! | --- | --- | --- |
//! | a value | it is there, or was superseded: left alone | taken in, beside whatever is there |
//! | that something was deleted | left alone | told, and left alone: others may have gone on with it |

use std::time::Duration;

use causality::DotSet;

use crate::{DiskId, Key, Name, NodeId, Object, Receipt};

/// Tell which writes no replica has heard of, and take in the values of those. Answered only if
/// all replicas can say it that serve with a disk.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Salvage {
    /// In which keyspace it was.
    pub keyspace: Name,
    /// In which table.
    pub table: Name,
    /// Under which key. If nothing but its shard is asked about, any key of that.
    pub key: Key,
    /// In which shard the disk has the key.
    pub shard: u16,
    /// The node that the disk was of.
    pub node: NodeId,
    /// The disk, with which that node must never serve again.
    pub disk: DiskId,
    /// What was found: the context has all writes that are asked about, and the values are taken in
    /// if they were never heard of. What has none only asks.
    pub found: Object,
    /// How long the client waits.
    pub timeout: Duration,
}

/// What became of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Salvaged {
    /// The writes that no replica has heard of.
    pub unheard: DotSet,
    /// Those of them that a replica knows under another name: their clients had sent them again.
    pub twins: DotSet,
    /// Those of them that are on the disks of all who were asked now.
    pub recovered: DotSet,
    /// Who has them. Nothing if nothing was to be taken in.
    pub receipt: Option<Receipt>,
}
