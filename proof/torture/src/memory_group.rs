//! A bound on what processes may have in memory, by a control group of the kernel.
//!
//! There are two versions of control groups, with other names for the same things, and a
//! system may have the one, the other, or both, of which only one knows of memory:
//!
//! | | version 1 | version 2 |
//! | --- | --- | --- |
//! | a group is a directory in | `/sys/fs/cgroup/memory` | `/sys/fs/cgroup` |
//! | it is there if that has | `memory.limit_in_bytes` | `memory` in `cgroup.controllers` |
//! | the bound | `memory.limit_in_bytes` | `memory.max` |
//! | swapping besides | counted apart, nothing to do | `memory.swap.max` |
//! | how often it stood in the way | `memory.failcnt` | `max` in `memory.events` |

use std::fs;
use std::path::{Path, PathBuf};

use crate::outcome::Stop;

/// Where the kernel shows its groups.
const ROOT: &str = "/sys/fs/cgroup";

/// A control group with a bound. Dropping it removes it.
#[derive(Debug)]
pub struct MemoryGroup {
    dir: PathBuf,
    version: Version,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Version {
    One,
    Two,
}

impl MemoryGroup {
    /// Makes a group that may have so many bytes.
    ///
    /// # Errors
    ///
    /// Skipped if the kernel has none, or not for us.
    pub fn create(bytes: u64) -> Result<Self, Stop> {
        let name = format!("torture-{}", std::process::id());
        Self::create_in(Path::new(ROOT), &name, bytes)
            .map_err(|err| Stop::Skipped(format!("no memory control group: {err}")))
    }

    fn create_in(root: &Path, name: &str, bytes: u64) -> std::io::Result<Self> {
        let (version, parent) = find(root).ok_or_else(|| std::io::Error::other("none at all"))?;
        if version == Version::Two {
            // Groups below know of memory only if the one above says so.
            fs::write(parent.join("cgroup.subtree_control"), "+memory")?;
        }
        let dir = parent.join(name);
        fs::create_dir(&dir)?;
        let group = Self { dir, version };
        match version {
            Version::One => fs::write(group.dir.join("memory.limit_in_bytes"), bytes.to_string())?,
            Version::Two => {
                fs::write(group.dir.join("memory.max"), bytes.to_string())?;
                // A kernel without swap has no such file.
                let _ = fs::write(group.dir.join("memory.swap.max"), "0");
            }
        }
        Ok(group)
    }

    /// A process enters by writing its number into `cgroup.procs` there.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// How often the bound stood in the way: the kernel then took memory back, from the files
    /// it keeps, or it would have killed.
    ///
    /// # Errors
    ///
    /// The kernel does not say.
    pub fn refusals(&self) -> Result<u64, Stop> {
        let count = match self.version {
            Version::One => fs::read_to_string(self.dir.join("memory.failcnt"))?,
            Version::Two => {
                let events = fs::read_to_string(self.dir.join("memory.events"))?;
                let max = events.lines().find_map(|line| line.strip_prefix("max "));
                max.unwrap_or_default().to_owned()
            }
        };
        count.trim().parse().map_err(Stop::failed)
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // Its processes are gone; if not, an empty group is left and nothing else.
        let _ = fs::remove_dir(&self.dir);
    }
}

/// The version that knows of memory, and the group that ours will be in.
fn find(root: &Path) -> Option<(Version, PathBuf)> {
    let first = root.join("memory");
    if first.join("memory.limit_in_bytes").exists() {
        return Some((Version::One, first));
    }
    let known = fs::read_to_string(root.join("cgroup.controllers")).ok()?;
    known.split_whitespace().any(|name| name == "memory").then(|| (Version::Two, root.to_owned()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;

    #[test]
    fn the_version_that_knows_of_memory_is_taken_and_asked_in_its_own_words() {
        let root = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| fs::write(root.path().join(name), text).unwrap();
        assert!(MemoryGroup::create_in(root.path(), "a", 7).is_err(), "there is none");
        file("cgroup.controllers", "cpu pids\n");
        assert!(MemoryGroup::create_in(root.path(), "a", 7).is_err(), "it does not know memory");
        file("cgroup.controllers", "cpu memory pids\n");
        let second = MemoryGroup::create_in(root.path(), "a", 7).unwrap();
        assert_eq!(fs::read_to_string(root.path().join("a/memory.max")).unwrap(), "7");
        assert_eq!(
            fs::read_to_string(root.path().join("cgroup.subtree_control")).unwrap(),
            "+memory"
        );
        file("a/memory.events", "low 0\nhigh 0\nmax 31\noom 0\n");
        assert_eq!(second.refusals(), Ok(31));
        fs::create_dir(root.path().join("memory")).unwrap();
        file("memory/memory.limit_in_bytes", "");
        let first = MemoryGroup::create_in(root.path(), "b", 7).unwrap();
        assert_eq!(first.dir(), root.path().join("memory/b"));
        file("memory/b/memory.failcnt", "5\n");
        assert_eq!(first.refusals(), Ok(5));
    }
}
