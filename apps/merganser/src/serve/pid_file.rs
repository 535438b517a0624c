//! `node.pid`: which process serves a data directory, for people and scripts. Nothing in the
//! program relies on it; the lock of the directory does what a pid file cannot.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The pid file of this process.
#[derive(Debug)]
pub(super) struct PidFile(PathBuf);

impl PidFile {
    /// Writes the file. The caller holds the directory, so a present one is of a dead process.
    pub(super) fn write(dir: &Path) -> io::Result<Self> {
        let path = dir.join("node.pid");
        fs::write(&path, format!("{}\n", std::process::id()))?;
        Ok(Self(path))
    }

    /// Removes it at a clean end. One that stays behind does no harm.
    pub(super) fn remove(self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::debug!(%error, path = %self.0.display(), "the pid file stays");
        }
    }
}
