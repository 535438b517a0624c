//! The disk of a node: objects, clocks and one vote, durable together or not at all.
//!
//! A replica changes an object and its shard's clock in one step. If a crash could keep
//! the clock and lose the object, the replica would claim for ever to have what it lost,
//! and nobody would send it again. So both are written in one batch, and what a start
//! recovers is exactly what is there.
//!
//! The node runs on one thread, and that thread must not wait for the disk. So changes
//! are first *staged* in memory, where reads see them at once; all that was staged is
//! handed over as a *group*; and promises to others wait until the group is done.
//!
//! ```text
//! commit ──► open group ──flush──► group in flight ──flushed──► (gone: the database has it)
//!                                       │   ▲
//!  event loop                           │   │ done
//!  ─────────────────────────────────────┼───┼──────────────────────────────
//!  committer                            ▼   │
//!                          one batch over objects, clocks and meta; fsync
//!
//! reads look into: open group, then group in flight, then database
//! ```
//!
//! While one group is synced the next one fills, so that one `fsync` serves every write
//! that arrived during the one before it, however many those are.
//!
//! # What it relies on, and what it promises
//!
//! - Groups become durable in the order in which they were flushed, each whole or not at all.
//! - After a failure nothing is written any more, and nothing is tried again: [`FlushError`].
//! - A record that is not what was written, or lies under the wrong key, is an error and
//!   never an answer.
//! - A journal that lost groups which were on disk is noticed when it is opened, and the
//!   directory is refused from then on. One case cannot be told from a crash in the middle
//!   of a write, and is harmless because dots are never minted twice: the loss of the very
//!   last group. The module `witness` says how, and why.
//! - One process at a time, one cluster, one node per directory; see the module `home`.
//!
//! # What it does not do
//!
//! It does not decide when to flush, it knows nothing of dots, and it repairs nothing: a
//! damaged record is logged each time it is met, and stays.

mod checkpoint;
mod clocks;
mod committer;
mod engine;
mod error;
mod failed_reads;
mod format;
#[doc(hidden)]
pub mod fuzzed;
mod group;
mod hints;
mod home;
mod read;
mod record;
mod restore;
mod retired;
mod storage;
mod tail;
mod witness;

pub use checkpoint::{Checkpoint, CheckpointError, Checkpoints, Origin, Record, Section};
pub use committer::Done;
pub use error::{FlushError, OpenError};
pub use home::is_in_use;
pub use restore::{RestoreError, Restoring};
pub use retired::{Lying, NotRead, Retired, RetiredError};
pub use storage::{CACHE_BYTES_DEFAULT, Options, Recovered, Storage, WRITE_BUFFER_BYTES_DEFAULT};

/// The format of a data directory that this program writes, and the latest that it reads.
pub const FORMAT_VERSION: u32 = 2;
