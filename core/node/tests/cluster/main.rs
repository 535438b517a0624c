//! Three or more nodes on an instant network: what a client sees when all goes well, and
//! when a node is away. Bad networks and bad disks are the simulator's business.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot go on should stop"
)]

mod alike;
mod declarations;
mod exchange;
mod explanations;
mod feeds;
mod forgetting;
mod grouped;
mod guests;
mod harness;
mod joins;
mod levels;
mod measures;
mod recalls;
mod repairs;
mod requests;
mod room;
mod salvages;
mod sessions;
mod suspects;
mod tokens;
mod trees;
