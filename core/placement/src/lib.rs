//! Placement: which nodes keep which key.
//!
//! Every node must give the same answer without asking anybody, and a cluster must spread
//! its shards evenly over nodes, and the replicas of one shard over different zones.
//!
//! A [`Layout`] says which nodes exist and where. From it and a keyspace's contract,
//! [`Placement`] computes once, for each shard, its *preference list*: its replicas in
//! the order to ask them. Nodes are ranked for a shard by rendezvous hashing (so that two
//! layouts that differ in one node agree on most shards), skipping nodes that already have
//! their fair share, and zones that already have a replica while there are others.
//!
//! ```text
//! key ── hash ──► shard 17 ──► [n2 zone b, n5 zone a, n1 zone c]
//! ```
//!
//! It promises: a list has exactly as many distinct nodes of each region as the keyspace
//! says; no node has more than one shard above its share, unless zones forbid otherwise.
//!
//! It does not know who is alive. A dead replica stays a replica.
//!
//! Source: rendezvous hashing after Thaler and Ravishankar (1998); bounded loads after
//! Mirrokni et al., "Consistent Hashing with Bounded Loads" (2016).

mod layout;
mod preference;

pub use layout::{Layout, Member};
pub use preference::{Placement, TooFewNodes, shard_of};
