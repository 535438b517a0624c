//! The nouns everybody shares.
//!
//! Doors translate their protocol into a [`Request`] and render a [`Reply`]; the node
//! decides; the edge turns both into bytes. None of them needs to know another, because
//! all of them speak these types. Nothing here does anything: there are names, limits
//! and the checks that a value of a type must pass to exist.

mod electorate;
mod health;
mod key;
mod level;
mod names;
mod need;
mod receipt;
mod request;
mod schema;
mod time;

pub use electorate::Electorate;
pub use health::{Ability, TableHealth};
pub use key::{Address, Key, Malformed, PART_BYTES_MAX, Value};
pub use level::{Level, ReadOptions, Spread, WriteOptions};
pub use names::{ClusterId, KeyspaceId, Name, NodeId, Region, ShardId, TableId, Zone};
pub use need::{Need, REPLICAS_MAX, ReadNeed, VOTES_MAX, Voter, WriteNeed, has_replica, has_vote};
pub use receipt::{Ack, Kind, Receipt};
pub use request::{
    Declare, Declared, Failure, Get, HintStatus, Lag, Limits, List, Listed, Listing, Mutation,
    NodeStatus, Put, Range, Read, Refusal, Reply, Request, Standing, Status, Written,
};
pub use schema::{
    Durability, Holder, Keyspace, Policy, ReplicaMap, SHARDS_DEFAULT, SHARDS_MAX, Table, Votes,
    Voting,
};
pub use time::Now;

pub use crdt::{MARKS_MAX, Mark, Marks, Token};

/// What a replica stores under a key.
pub type Object = crdt::Siblings<Value>;
