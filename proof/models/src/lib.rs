//! Three small worlds, and everything that can happen in them.
//!
//! A simulation draws schedules by chance and can miss the one that matters. In a world
//! small enough (two or three replicas, one key, a few writes) all schedules can be
//! visited, so that "never" means never, within the bounds that each model names. The worlds
//! are made of the engine's own parts: replicas, objects, and the state machines of the
//! coordinator are the ones that run, and only what surrounds them (disks, messages,
//! clients) is made up.
//!
//! | model | the question |
//! | --- | --- |
//! | [`incarnation`] | do dots stay unique, and writes kept, when nodes crash and lose disks? |
//! | [`forgetting`] | when may a tombstone, or a part of a context, be forgotten? |
//! | [`quorum`] | does a read see what was acknowledged before it began? |
//!
//! Each model can be told to break one rule ([`incarnation::Variant`] and so on). The tests
//! demand that the model without a broken rule has no counter-example in its whole space,
//! and that each variant has one; they print the shortest. A model in which a broken rule
//! goes unnoticed would prove nothing.
//!
//! Messages are never taken out of these networks: what was sent may arrive at any later
//! time, any number of times, in any order, or never. Loss, repetition and reordering
//! therefore need no steps of their own.
//!
//! Run them with `cargo test --release -p models -- --nocapture`.
//!
//! What a model does not show: anything beyond its bounds. States are told apart by
//! 64-bit fingerprints; with a million states, two collide with a chance of about one in
//! forty million.

pub mod check;
pub mod forgetting;

pub mod history;
pub mod incarnation;
pub mod quorum;

pub mod world;
