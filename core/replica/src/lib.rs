//! One shard at one node: its clock, and the ways to change it.
//!
//! A replica hears of one write over many roads: from the coordinator, again in a retry,
//! again in a read repair, perhaps hours late. It must end up the same whatever the order,
//! must never lose what it acknowledged, and must never bring back what was superseded.
//!
//! The idea is that there are exactly two transactions, one of them in two strengths. [`Replica::apply`] turns a
//! client's mutation into an object, and is the only place that mints a dot.
//! [`Replica::merge`] takes in an object from anywhere, and [`Replica::repair`] what a read has
//! found and this disk may have lost. All end in one atomic
//! [`Change`] of the object, the shard's clock *and* its log (R8), so that after a crash the
//! clock says exactly what the disk has, and the log says where.
//!
//! ```text
//! apply:  client's context {a1}, value "rum"  ──► dot b7 ──► object {b7: "rum"} {a1, b7}
//! merge:  here ⊔ (incoming without the old news)             clock ∪ what was taken in
//! ```
//!
//! *Old news* is a value whose dot is in the clock, and that is not held: it was here and
//! has been superseded. It is left out, value and dot (R3). Keeping the dot in the merged
//! context would claim evidence that this replica does not have: if it merely lost the
//! record, that claim would delete the value everywhere else. Only a repair brings it back (R7).
//!
//! What a replica does not do: it never overwrites, never deletes because something is
//! absent (R4), and does not know who sent what.
//!
//! Source: the rules were checked by a randomized model, see `ARCHITECTURE.md`; the clock
//! per shard after DottedDB (Goncalves et al., SRDS 2017), without its rule that absence
//! is authoritative.

mod bent;
mod forgotten;
mod lanes;
mod log;
mod shard;
mod store;

pub use forgotten::{CHUNK_DOTS, Chunk, Reaped, Reaping, Trimmed};
pub use log::{Entry, Log};
pub use shard::{Asked, Refused, Repaired, Replica, Stored, check_siblings};
pub use store::{Change, Page, PageNeed, Span, Store, StoreError, Sum};
