//! Writing a file that takes the place of another only when it is whole.
//!
//! An export can fail at any page. If it wrote into its target, a table that cannot be read
//! would cost the backup of yesterday. So it writes into a file beside the target, puts that
//! on disk, and renames it. What fails before the rename leaves the target as it was. A session
//! is kept in the same way: half of one is worth less than none.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

/// A file that is being written.
#[derive(Debug)]
pub(crate) struct Replacement {
    /// Where the bytes go.
    pub(crate) to: BufWriter<File>,
    target: PathBuf,
    /// The file beside the target. None if the target is a pipe or a device: that holds
    /// nothing to lose, and a rename would do away with it.
    beside: Option<PathBuf>,
    is_new: bool,
}

impl Replacement {
    /// Begins to write what will be `target`.
    ///
    /// # Errors
    ///
    /// If the target could not be written or the file beside it not be created. The target
    /// is as it was.
    pub(crate) fn begin(target: &Path) -> io::Result<Self> {
        let there = match fs::metadata(target) {
            Ok(metadata) => Some(metadata),
            Err(err) if err.kind() == io::ErrorKind::NotFound => None,
            Err(err) => return Err(err),
        };
        let is_new = there.is_none();
        if let Some(there) = &there {
            // A rename asks the folder only; the file may be protected all the same.
            let to = BufWriter::new(OpenOptions::new().write(true).open(target)?);
            if !there.is_file() {
                return Ok(Self { to, target: target.to_owned(), beside: None, is_new });
            }
        }
        // Through a link, as a write would go.
        let target = if is_new { target.to_owned() } else { fs::canonicalize(target)? };
        let beside = beside(&target);
        let file = OpenOptions::new().write(true).create_new(true).open(&beside)?;
        let begun = Self { to: BufWriter::new(file), target, beside: Some(beside.clone()), is_new };
        if let Some(there) = there {
            fs::set_permissions(&beside, there.permissions())?;
        }
        Ok(begun)
    }

    /// Puts the bytes on disk, and the file in the place of the target.
    ///
    /// # Errors
    ///
    /// If that fails before the target is replaced: it is as it was. That the new name may
    /// not be on disk yet is no error, since a crash then leaves one file or the other.
    pub(crate) fn commit(mut self) -> io::Result<()> {
        let Some(beside) = self.beside.clone() else { return io::Write::flush(&mut self.to) };
        io::Write::flush(&mut self.to)?;
        self.to.get_ref().sync_all()?;
        fs::rename(beside, &self.target)?;
        self.beside = None;
        let parent = self.target.parent().filter(|parent| !parent.as_os_str().is_empty());
        // Not every file system can put a folder on disk.
        File::open(parent.unwrap_or(Path::new("."))).and_then(|parent| parent.sync_all()).ok();
        Ok(())
    }

    /// As [`commit`](Self::commit), unless the target has come into being meanwhile: then it stays
    /// as it is.
    pub(crate) fn commit_new(mut self) -> io::Result<()> {
        let Some(beside) = self.beside.clone() else { return io::Write::flush(&mut self.to) };
        io::Write::flush(&mut self.to)?;
        self.to.get_ref().sync_all()?;
        match fs::hard_link(beside, &self.target) {
            Err(err) if err.kind() != io::ErrorKind::AlreadyExists => Err(err),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// What is left if this is given up.
    pub(crate) fn remains(&self) -> String {
        let target = self.target.display();
        match (&self.beside, self.is_new) {
            (None, _) => format!("{target} was given a part of it"),
            (Some(_), true) => format!("there is no {target}, not even in part"),
            (Some(_), false) => format!("{target} is as it was"),
        }
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if let Some(beside) = &self.beside {
            // It is of no use, and the failure that led here is being told.
            fs::remove_file(beside).ok();
        }
    }
}

/// A name that no other command uses, also one of another machine on a shared disk.
fn beside(target: &Path) -> PathBuf {
    let mut name = OsString::from(target);
    name.push(format!(".{:08x}.merganser-new", rand::random::<u32>()));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn names(dir: &Path) -> Vec<OsString> {
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn the_target_changes_at_the_commit_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("f");
        fs::write(&target, "old").unwrap();
        let mut given_up = Replacement::begin(&target).unwrap();
        given_up.to.write_all(b"part").unwrap();
        assert!(given_up.remains().ends_with("is as it was"));
        drop(given_up);
        assert_eq!(fs::read(&target).unwrap(), b"old");
        let mut whole = Replacement::begin(&target).unwrap();
        whole.to.write_all(b"new").unwrap();
        whole.commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(names(dir.path()), ["f"]);
    }

    #[test]
    fn a_link_stays_a_link_and_a_device_a_device() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("f"), dir.path().join("l"));
        fs::write(&target, "old").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let mut to = Replacement::begin(&link).unwrap();
        to.to.write_all(b"new").unwrap();
        to.commit().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&target).unwrap(), b"new");
        let device = Replacement::begin(Path::new("/dev/null")).unwrap();
        assert!(device.beside.is_none());
        assert!(Replacement::begin(dir.path()).is_err());
    }
}
