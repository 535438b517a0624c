//! Trying the disk before the node says that it is ready.
//!
//! Recovery mostly reads. On a disk that is full it succeeds, and the first write of a client
//! would end the node: it would be ready, die, be started again by whoever watches over it, and
//! so on, losing requests each time. So a node first writes what a busy moment writes.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use storage::FlushError;

/// The file. One that was left by a node killed at the wrong moment is written over.
const NAME: &str = "probe";

/// About as much as one group of writes has under load.
const BYTES: usize = 1 << 20;

/// Writes and syncs a file in the data directory, and removes it.
///
/// # Errors
///
/// What a write of a client would fail with.
pub(super) fn try_disk(dir: &Path) -> Result<(), FlushError> {
    let path = dir.join(NAME);
    let written = write(&path);
    let removed = fs::remove_file(&path);
    written.and(removed).map_err(|error| {
        let is_full =
            matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let why = error.to_string();
        if is_full { FlushError::Full(why) } else { FlushError::Failed(why) }
    })
}

fn write(path: &Path) -> io::Result<()> {
    let mut bytes = vec![0; BYTES];
    // Some file systems keep zeros for nothing.
    rand::fill(bytes.as_mut_slice());
    let mut file = File::create(path)?;
    file.write_all(&bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_can_be_written_is_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(NAME), "of a node that was killed").unwrap();
        try_disk(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_that_takes_no_file_is_the_failure_of_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let failed = try_disk(&dir.path().join("gone")).expect_err("there is no such directory");
        assert!(matches!(&failed, FlushError::Failed(why) if why.contains("No such")), "{failed}");
    }
}
