//! Why a directory cannot be opened, and why a group did not become durable.
//!
//! Both are read by an operator at night. Each message therefore says what happened,
//! what is left, and what to do.

use std::io;
use std::path::{Path, PathBuf};

use model::{ClusterId, NodeId};
use thiserror::Error;

/// Why a directory was not opened. Except where a variant says otherwise, nothing in it
/// was changed.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has the directory open.
    #[error(
        "{} is in use by another process: one directory serves one node. Nothing was changed. \
         Stop the other process, or name another directory",
        .0.display()
    )]
    Locked(PathBuf),
    /// A later version of this program wrote the directory.
    #[error(
        "{} has storage format {found}, and this program reads formats up to {supported}. \
         Nothing was changed. Start it with the version that wrote it, or a later one",
        .dir.display()
    )]
    Newer {
        /// Which directory.
        dir: PathBuf,
        /// What its FORMAT file says.
        found: u32,
        /// The latest format that this program reads.
        supported: u32,
    },
    /// The directory belongs to another cluster.
    #[error(
        "{} belongs to cluster {found}, and this node is configured for cluster {wanted}. \
         Nothing was changed. Correct the cluster id, or name another directory",
        .dir.display()
    )]
    OtherCluster {
        /// Which directory.
        dir: PathBuf,
        /// Whose it is.
        found: ClusterId,
        /// Who asked.
        wanted: ClusterId,
    },
    /// The directory belongs to another node of the cluster.
    #[error(
        "{} belongs to node {found}, and this is node {wanted}. \
         Nothing was changed. Correct the node id, or name another directory",
        .dir.display()
    )]
    OtherNode {
        /// Which directory.
        dir: PathBuf,
        /// Whose it is.
        found: NodeId,
        /// Who asked.
        wanted: NodeId,
    },
    /// The directory was served with another list of nodes. Its shards were placed by that
    /// list, and its catalog was agreed on by a majority of it: a node alone under another
    /// list would agree with itself on another catalog.
    #[error(
        "{} was served with another list of nodes (their ids, regions and zones). \
         Nothing was changed. Correct the list of nodes; it cannot be changed while there is data",
        .0.display()
    )]
    OtherLayout(PathBuf),
    /// The operating system refused something.
    #[error(
        "cannot {action} {}: {source}. What was acknowledged before is as it was. \
         Check that the directory exists, can be written by this user and has free space",
        .path.display()
    )]
    Io {
        /// What was tried, as in "create".
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// What is stored is not what was written.
    #[error(
        "{} is damaged: {detail}. It is not served, because it might be missing what it has \
         acknowledged. The other replicas have copies: move the directory aside and let the \
         node come back empty, and keep the old one until the cluster is whole",
        .dir.display()
    )]
    Corrupt {
        /// Which directory.
        dir: PathBuf,
        /// What was found.
        detail: String,
    },
}

impl OpenError {
    /// For `map_err`: says what was tried, and on what.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn corrupt(dir: &Path, detail: impl Into<String>) -> Self {
        Self::Corrupt { dir: dir.to_owned(), detail: detail.into() }
    }
}

/// Why a group did not become durable.
///
/// What remains is the same in each case: every group that was reported done before is
/// on disk; this one may be there whole, or not at all; and the storage takes no further
/// group. It is never tried again, because after a failed `fsync` the operating system
/// may have dropped the very pages that failed, and a second one would succeed without
/// them.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
pub enum FlushError {
    /// The disk is full.
    #[error(
        "the disk under the data directory is full: {0}. What was acknowledged is on disk, the \
         writes waiting now may or may not be. Free some space and start the node again"
    )]
    Full(String),
    /// The operating system, or the disk, refused something else.
    #[error(
        "writing to the data directory failed: {0}. What was acknowledged before is on disk, the \
         writes waiting now may or may not be. Check the disk and its log, then start the node again"
    )]
    Failed(String),
    /// An earlier group failed. Nothing of this one was written.
    #[error(
        "an earlier write to the data directory failed, and nothing was written since. \
         Start the node again once the cause is removed"
    )]
    Poisoned,
}
