//! Finds the keys under which two replicas of a shard hold different objects.
//!
//! Replicas tell each other which writes they have, and bring each other what is missing. What
//! they do not see that way is what one had and lost: a record that a disk forgot, a fault
//! of the software. Reading a million objects on both sides and sending a million hashes would
//! find it. This crate finds it by sending eight bytes where nothing differs, and some hundred
//! bytes for each key that does.
//!
//! Each replica keeps a [`Tree`]: its keys, in order, cut into ranges, and for each range a sum
//! of the hashes of what is in it. Where to cut is decided by a hash of each key, so that two
//! replicas cut at the same keys, whatever happened in what order:
//!
//! ```text
//!  level 2   [ a                                              (all keys)
//!  level 1   [ a              [ k              [ s            at keys of strength 3: 1 in 512
//!  leaves    [ a  [ c   [ g   [ k      [ p     [ s   [ v      of strength 2: 1 in 64
//!  objects     a b c d f g h j k l m n p q r     s t u v y    in the store, not in the tree
//! ```
//!
//! If two totals differ, an [`Exchange`] compares the ranges, then what is in those that differ,
//! down to leaves, which are read and listed.
//!
//! What it relies on: that every change of what is stored is told to the tree in the same
//! batch ([`Tree::change`]), that the tree reads what is stored at that moment ([`Items`]),
//! and that all replicas have one [`Salt`], which clients do not know.
//! What it promises: an exchange during which nothing changes finds each key that differs,
//! once, and no other, but for hashes of 64 bits that are equal by chance.
//!
//! What it leaves out: what to do about a difference, which is a matter of merging; how
//! messages are encoded and when an exchange begins; trees on disk, as reading a shard anew
//! after a start is what also finds what was lost.
//!
//! Source: cuts by the hashes of keys after Auvolat and Taïani, "Merkle Search Trees" (SRDS
//! 2019); ranges of keys, compared in both directions, after Meyer, "Range-Based Set
//! Reconciliation" (SRDS 2023). Lists of short fingerprints that a sum proves are ours.

mod exchange;
mod hear;
mod level;
mod listing;
mod message;
mod range;
mod rebuild;
mod respond;
mod salt;
mod scrub;
mod size;
mod summary;
mod sums;
mod tree;

pub use exchange::{Difference, Exchange, Outcome, Stopped};
pub use message::{Answer, Answers, Ask, Limits, Listing, Parts, Questions, Width, Within};
pub use range::{Items, KeyRange};
pub use rebuild::Progress;
pub use respond::{Refused, respond};
pub use salt::{Digest, Salt, TreeKey};
pub use scrub::{Check, Verdict};
pub use summary::Summary;
pub use tree::Tree;
