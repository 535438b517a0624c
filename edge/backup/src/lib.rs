//! Backups as bytes: what a node sends of itself, and what is kept of it.
//!
//! A backup is a [checkpoint](storage::Checkpoint) of one node that was carried elsewhere. It is
//! read years later, by another program, from a place where nobody looked after it, and what
//! it is for is the day on which nothing else is left. So everything in it is checked by what it
//! is called, and nothing counts as a backup before all of it is there.
//!
//! ```text
//! node ──stream──► merganser backup ──chunks──► chunks/3f/3fa1...      named by what is in them
//!                                   └─manifest─► manifests/n1-2026...  last; names its chunks
//! ```
//!
//! | module | |
//! | --- | --- |
//! | [`stream`] | how a node sends a checkpoint: frames with checksums, and an end |
//! | [`cut`] | where a chunk ends: at the same keys the next time |
//! | [`chunk`] | records in a row, and the name that they make |
//! | [`manifest`] | which chunks are a backup, of whom and when |
//!
//! Bytes in, bytes out: what fetches and keeps them is elsewhere.

pub mod chunk;
pub mod cut;
pub mod manifest;
mod records;
pub mod stream;

use thiserror::Error;

/// Why bytes are no part of a backup.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum Damaged {
    /// A later program wrote them.
    #[error(
        "it has format {found}, and this program reads formats up to {supported}: use the version \
         that wrote it, or a later one"
    )]
    Newer {
        /// Their format.
        found: u32,
        /// The latest that is read.
        supported: u32,
    },
    /// They are not what was written.
    #[error("it is damaged: {0}")]
    Bytes(String),
}

impl Damaged {
    pub(crate) fn because(why: impl Into<String>) -> Self {
        Self::Bytes(why.into())
    }
}
