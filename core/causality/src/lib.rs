//! Causality: which writes a client, an object or a replica knows of.
//!
//! Every accepted write gets a name that is never used again, its [`Dot`]. Everything the
//! database decides about "before", "after" and "at the same time" is then a question
//! about sets of dots, and the sets are exact: a [`DotSet`] contains a dot only if someone
//! had evidence of it. "Everything up to n" is never assumed, because a replica that lost
//! a record would then claim to have superseded what it merely forgot.
//!
//! | type | what the set means |
//! | --- | --- |
//! | context of an object | the writes this object has superseded, or holds |
//! | context of a client | the writes that the client had read when it wrote |
//! | clock of a shard replica | the writes this replica has ever applied |
//!
//! Source: dots and causal containers after Almeida et al., "Scalable and Accurate
//! Causality Tracking for Eventually Consistent Stores" (DAIS 2014); shard-wide clocks
//! after Goncalves et al., "DottedDB" (SRDS 2017). Exact contexts are ours.

mod dot;
mod dot_set;

pub use dot::{Dot, Incarnation};
pub use dot_set::{DotSet, Malformed, Run};
