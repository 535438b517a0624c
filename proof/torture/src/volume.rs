//! A small disk of its own for a node, that can lose power or be full.

use std::fs;
use std::path::{Path, PathBuf};

use crate::outcome::Stop;
use crate::process::{need_root, need_tools, run};

/// An ext4 image, mounted. Dropping it unmounts it.
#[derive(Debug)]
pub struct Volume {
    image: PathBuf,
    mount: PathBuf,
}

impl Volume {
    /// Makes an image of so many MiB beside `mount` and mounts it there.
    ///
    /// # Errors
    ///
    /// Skipped without root or tools; failed if it cannot be mounted.
    pub fn create(mount: &Path, mebibytes: u32) -> Result<Self, Stop> {
        need_root()?;
        need_tools(&["mkfs.ext4", "xfs_io", "mount", "umount", "truncate"])?;
        let image = mount.with_extension("img");
        run(&["truncate", "-s", &format!("{mebibytes}M"), &image.display().to_string()])?;
        run(&["mkfs.ext4", "-qF", "-e", "remount-ro", &image.display().to_string()])?;
        let volume = Self { image, mount: mount.to_owned() };
        // Whoever enters a namespace, as the nodes of another run do, takes a copy of all mounts
        // along, and a file system is not gone before its last copy is. Below a shared mount the
        // copies go with the original.
        run(&["mount", "--bind", &volume.place(), &volume.place()])?;
        run(&["mount", "--make-shared", &volume.place()])?;
        volume.mount()?;
        Ok(volume)
    }

    /// The directory that the mount point is in.
    fn place(&self) -> String {
        self.mount.parent().unwrap_or(&self.mount).display().to_string()
    }

    /// Mounts the image, which replays the journal of the file system.
    ///
    /// # Errors
    ///
    /// It cannot be mounted.
    pub fn mount(&self) -> Result<(), Stop> {
        let (image, mount) = (self.image.display().to_string(), self.mount.display().to_string());
        run(&["mount", "-o", "loop", &image, &mount]).map(|_| ())
    }

    /// From now on nothing reaches the image: neither what is in the page cache nor the
    /// journal that was not written out. This is what a power loss leaves behind.
    ///
    /// # Errors
    ///
    /// The file system refuses.
    pub fn lose_power(&self) -> Result<(), Stop> {
        run(&["xfs_io", "-x", "-c", "shutdown", &self.mount.display().to_string()]).map(|_| ())
    }

    /// Whether nothing reaches the image any more.
    pub fn has_lost_power(&self) -> bool {
        fs::write(self.mount.join("probe"), "").is_err()
    }

    /// From now on nothing can be written: ext4 does so when it meets an error, and here it
    /// is told that it did. Files that are open for writing stay open.
    ///
    /// # Errors
    ///
    /// The kernel does not offer it, or the file system refuses.
    pub fn become_read_only(&self) -> Result<(), Stop> {
        let device = run(&["findmnt", "-no", "SOURCE", &self.mount.display().to_string()])?;
        let name = device.trim().trim_start_matches("/dev/");
        let trigger = format!("/sys/fs/ext4/{name}/trigger_fs_error");
        fs::write(&trigger, "torture").map_err(|err| Stop::Skipped(format!("{trigger}: {err}")))
    }

    /// Makes an unmounted image whole after an error.
    ///
    /// # Errors
    ///
    /// It cannot be.
    pub fn repair(&self) -> Result<(), Stop> {
        let image = self.image.display().to_string();
        // One says that something was corrected.
        run(&["sh", "-c", "e2fsck -fy \"$0\" || [ $? -eq 1 ]", &image]).map(|_| ())
    }

    /// Unmounts; the page cache of it is gone then.
    ///
    /// # Errors
    ///
    /// It is in use.
    pub fn unmount(&self) -> Result<(), Stop> {
        run(&["umount", &self.mount.display().to_string()]).map(|_| ())
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Lazily, so that it goes away also when a process in it dies slowly. It may be
        // unmounted already.
        let _ = run(&["umount", "-l", &self.mount.display().to_string()]);
        let _ = run(&["umount", "-l", &self.place()]);
    }
}
