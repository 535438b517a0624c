//! Connections between nodes.
//!
//! A node wants to say "send this to n3" and forget about it. Behind that are a connection
//! that breaks and must come back, a peer that may be an impostor or speak another version,
//! a peer that reads slower than we write, and a kernel call per write, which costs more
//! than the message. [`Peers`] takes care of these, and knows nothing about what messages
//! mean.
//!
//! ```text
//!   send(n3, m) ──► queue of n3 ── flush(), once per turn: one write for all that is queued ──► socket
//!   inbox.received(n3, [m, m, m]) ◄── all whole frames of one read ◄── socket
//! ```
//!
//! There is one connection per pair of nodes, dialled by the one with the smaller number, so
//! that two do not cross. Only if that one does not come for a while, because it knows no
//! address or an old one, does the other dial. A connection carries messages only after both ends have proved in a handshake
//! that they hold the cluster's secret and agree on cluster, version and layout.
//!
//! It promises: messages of one connection arrive whole, unaltered, in order and at most
//! once. It does not promise that they arrive: what was queued when a connection broke is
//! lost, what exceeds a full queue or fits no frame is dropped, counted and logged, and
//! [`Inbox::lost`] tells of the former. Every conversation of the nodes survives that.
//!
//! It does not encrypt, and it never waits: a slow peer loses messages instead of slowing
//! this node. In the other direction it does wait: while the inbox has no room nothing is
//! read, and the peer's own queue fills.

mod accept;
mod backoff;
mod complaints;
mod connection;
mod dial;
mod handshake;
mod link;
mod peers;
mod traffic;

pub use peers::{Config, Inbox, Peers};
pub use traffic::Counts;

#[cfg(test)]
mod tests;
