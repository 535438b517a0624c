//! The catalog: which keyspaces and tables exist, agreed upon by the cluster.
//!
//! Data is always writable because concurrent values can be kept side by side. Two
//! *contracts* under one name cannot: if both sides of a partition created the table
//! `orders`, one with other replicas than the other, the data of one would be looked for
//! in the wrong place for ever. Declarations are few, so they may wait for a majority.
//!
//! The whole catalog is one small value in one replicated register. A node that wants to
//! change it asks all nodes to promise to accept nothing older, learns from a majority
//! the last catalog accepted, makes its change on top of that, and asks all to accept the
//! result. When a majority has, the catalog is in force, and everybody is told.
//!
//! ```text
//! n1                      n2, n3
//! Prepare 4@n1      ──►   promise 4@n1
//!                   ◄──   Promised (last accepted: version 6)
//! 6 + table = 7
//! Accept 4@n1, 7    ──►   accept, on disk
//!                   ◄──   Accepted
//! in force; Learn 7 ──►   in force
//! ```
//!
//! It promises: of two catalogs in force, one was made from the other, so a name never
//! has two contracts, and a number ([`TableId`](model::TableId)) never names two tables.
//!
//! The data path never waits for it. While most nodes are away, the tables that exist
//! work, and none can be declared.
//!
//! Source: CASPaxos (Rystsov, 2018), which is Paxos (Lamport, "Paxos Made Simple") with a
//! change function in place of a proposed value.

mod ballot;
mod declared;
mod disks;
mod proposal;

pub use ballot::{Acceptor, Ballot, Vote};
pub use declared::Catalog;
pub use disks::Disks;
pub use proposal::{Effect, Event, Proposal};
