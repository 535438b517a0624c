//! The nouns everybody shares.
//!
//! Doors translate their protocol into a [`Request`] and render a [`Reply`]; the node
//! decides; the edge turns both into bytes. None of them needs to know another, because
//! all of them speak these types. Nothing here does anything: there are names, limits
//! and the checks that a value of a type must pass to exist.

mod electorate;
mod explain;
mod failure;
mod health;
mod key;
mod level;
mod limits;
mod names;
mod need;
mod recall;
mod receipt;
mod repair;
mod request;
mod salvage;
mod schema;
mod session;
mod status;
mod time;
mod watch;

pub use electorate::Electorate;
pub use explain::{Explain, Explained, Holding, Told};
pub use failure::{Failure, Refusal, no_room};
pub use health::{Ability, TableHealth};
pub use key::{Address, Key, Malformed, PART_BYTES_MAX, Value};
pub use level::{Level, ReadOptions, Spread, WriteOptions};
pub use limits::Limits;
pub use names::{ClusterId, DiskId, KeyspaceId, Name, NodeId, Region, ShardId, TableId, Zone};
pub use need::{Need, REPLICAS_MAX, ReadNeed, VOTES_MAX, Voter, WriteNeed, has_replica, has_vote};
pub use recall::{Fate, Recall, Recalled};
pub use receipt::{Ack, Cast, Kind, Receipt, votes};
pub use repair::{
    Extent, Obstacle, PairState, Proof, Repair, RepairFigures, RepairJob, RepairMode, RepairPair,
    RepairState, RepairStatus, StartRepair, Stretch,
};
pub use request::{
    Declare, Declared, DiskStep, Get, List, Listed, Listing, Mutation, Put, Range, Read, Reply,
    Request, Written,
};
pub use salvage::{Salvage, Salvaged};
pub use schema::{
    Durability, Holder, Keyspace, Policy, ReplicaMap, SHARDS_DEFAULT, SHARDS_MAX, SiblingRules,
    Table, Votes, Voting,
};
pub use session::{Seen, Session, shortened, shortened_dots};
pub use status::{
    Blocker, DiskStatus, Enrolment, Forgetting, HintStatus, Lag, NodeStatus, Standing, Status,
    Suspect,
};
pub use time::Now;
pub use watch::{Changed, Position, Reading, Watch, Watched};

pub use crdt::{MARKS_MAX, MARKS_REACH, Mark, Marks, Token};

/// What a replica stores under a key.
pub type Object = crdt::Siblings<Value>;
