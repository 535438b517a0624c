//! The door, asked over its router and over real sockets, with a node of one map behind it.
//!
//! Every answer that a test sees is checked against the description of the API: see
//! [`support::Api::send`].

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails, also in its helpers"
)]

mod backups;
mod batches;
mod changes;
mod cost;
mod declarations;
mod explanations;
mod health;
mod hints;
mod keys;
mod lists;
mod outcomes;
mod refusals;
mod repairs;
mod salvages;
mod sessions;
mod sockets;
mod support;
