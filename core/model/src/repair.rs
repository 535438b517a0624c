//! Repairs: what an operator asks for, and what he is told of it.
//!
//! Replicas compare what they hold by themselves. A repair is the same on demand, and with an
//! answer: an operator who has replaced a disk, or has heard an alarm, wants to know *that* two
//! replicas hold the same, and which do not.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::{Key, Name, NodeId, ShardId};

/// What is asked of a node about repairs. Answered by [`RepairStatus`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Repair {
    /// Begin one, of which there is one at a time at a node.
    Start(Box<StartRepair>),
    /// Tell how far it is.
    Show,
    /// End it. If a number is given, only the one that has it.
    Cancel(Option<u64>),
}

/// Which replicas a node is to compare with its own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StartRepair {
    /// By which it is known if it is asked for twice. Drawn by the node, if nothing is given.
    pub id: Option<u64>,
    /// How thoroughly.
    pub mode: RepairMode,
    /// Of what. Of everything that the node keeps, if nothing is given.
    pub of: Option<Extent>,
    /// With which nodes. With all, if none is given.
    pub with: BTreeSet<NodeId>,
    /// How long a pair may come no further before it is given up.
    pub patience: Duration,
}

/// How thorough a repair is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RepairMode {
    /// Both read again what their disks hold, whatever was proven, and what differs is brought.
    Full,
    /// As much as trees know is compared, of pairs that were not proven equal for so long.
    Incremental {
        /// Those that were proven within it are passed over.
        age: Duration,
    },
    /// Both read again, and what differs is counted and stays as it is.
    Preview,
}

/// A part of what is kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Extent {
    /// In which keyspace.
    pub keyspace: Name,
    /// Which of its shards. All, if none is given.
    pub shards: BTreeSet<u16>,
    /// Of which table. Of all, if nothing is given.
    pub table: Option<Stretch>,
}

/// Keys of a table that lie together in each shard.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stretch {
    /// The table.
    pub table: Name,
    /// The first key that is meant; from the first on, if nothing is given.
    pub from: Option<Key>,
    /// The first key that is not meant any more; to the last, if nothing is given.
    pub to: Option<Key>,
}

/// What a node knows of repairs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RepairStatus {
    /// The node asked.
    pub node: NodeId,
    /// The repair that is under way here, or the last one in this life of the node.
    pub job: Option<RepairJob>,
    /// Each shard that is kept here, with each other replica.
    pub proofs: Vec<Proof>,
}

/// When two replicas of a shard were last shown to be equal.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proof {
    /// The name of its keyspace.
    pub keyspace: Name,
    /// Which shard.
    pub shard: ShardId,
    /// The other replica.
    pub with: NodeId,
    /// How long ago they were shown to be equal. Nothing if they were not in this life of the
    /// node.
    pub ago: Option<Duration>,
    /// Whether they were not shown to be equal, nor compared to the end, for too long. Only said by the node with the lesser number,
    /// which is the one to compare.
    pub is_overdue: bool,
}

/// A repair.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RepairJob {
    /// Its number. No other repair of this cluster has it.
    pub id: u64,
    /// What was asked for.
    pub asked: StartRepair,
    /// Whether it is under way.
    pub state: RepairState,
    /// How long it took until now, or to its end.
    pub took: Duration,
    /// Shard by shard.
    pub pairs: Vec<RepairPair>,
}

/// Whether a repair is under way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RepairState {
    /// It is.
    Running,
    /// It has ended, and says of each pair how.
    Ended,
    /// An operator has ended it.
    Cancelled,
}

/// One shard, and the other replica that it is compared with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RepairPair {
    /// The name of its keyspace.
    pub keyspace: Name,
    /// Which shard.
    pub shard: ShardId,
    /// The other replica.
    pub with: NodeId,
    /// How far it is.
    pub state: PairState,
    /// In numbers.
    pub figures: RepairFigures,
    /// The first keys that differed, with their tables.
    pub keys: Vec<(Name, Key)>,
}

/// How far one pair is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PairState {
    /// It was not begun.
    Waiting,
    /// The two read what their disks hold.
    Reading,
    /// They compare, and bring each other what differs.
    Comparing,
    /// It comes no further, and is tried again.
    Blocked(Obstacle),
    /// Each part of it was shown to be equal.
    Proved,
    /// It was proven before, lately enough.
    Passed,
    /// It was compared to the end, in a preview.
    Compared,
    /// It was given up.
    Failed(Obstacle),
}

impl PairState {
    /// Whether nothing more is done about it.
    pub fn is_final(self) -> bool {
        match self {
            Self::Waiting | Self::Reading | Self::Comparing | Self::Blocked(_) => false,
            Self::Proved | Self::Passed | Self::Compared | Self::Failed(_) => true,
        }
    }
}

/// What keeps a pair from being proved equal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Obstacle {
    /// The other one is away.
    Away,
    /// It does not answer, or not to the end.
    Silent,
    /// One of them has begun anew, and has not read the shard yet.
    Unread,
    /// The disk here cannot be read.
    Disk,
    /// So many keys differ each time they are looked at.
    Differing {
        /// How many.
        keys: u64,
    },
    /// Parts of it change each time they are looked at.
    Changing,
    /// The disk of one of them is new, and is being filled.
    Joining,
    /// An operator has ended the repair.
    Cancelled,
}

/// One pair in numbers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RepairFigures {
    /// Keys that are held here, of those that are compared. Not known before it begins.
    pub keys: u64,
    /// Keys that were read again, here and there.
    pub read: u64,
    /// Ranges that are left to be asked about.
    pub ranges_left: u64,
    /// How often it was compared to the end.
    pub passes: u64,
    /// Keys that were found to differ, each time they were.
    pub differences: u64,
    /// Objects that came.
    pub brought: u64,
    /// Objects that went.
    pub sent: u64,
    /// How many bytes those that came and went have, roughly.
    pub bytes: u64,
}
