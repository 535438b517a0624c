//! A disk that becomes full. Needs the right to mount one, and is skipped without it.
#![expect(clippy::unwrap_used, reason = "a test may stop anywhere")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::*;
use model::Durability;
use replica::Store as _;
use storage::{FlushError, Storage};
use tempfile::{TempDir, tempdir};

/// A small file system, unmounted when it goes.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount(megabytes: u32) -> Option<Self> {
        let dir = tempdir().unwrap();
        mount(&format!("size={megabytes}m"), dir.path()).then_some(Self(dir))
    }

    fn grow(&self, megabytes: u32) {
        assert!(mount(&format!("remount,size={megabytes}m"), self.0.path()));
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let status = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
        assert!(status.is_ok_and(|status| status.success()), "cannot unmount {:?}", self.0);
    }
}

fn mount(options: &str, at: &Path) -> bool {
    let mut command = Command::new("mount");
    command.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at);
    command.output().is_ok_and(|output| output.status.success())
}

/// Bytes that do not compress.
fn noise(seq: u64, len: usize) -> Vec<u8> {
    let mut state = seq.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..len / 8).flat_map(|_| next()).collect()
}

const VALUE_BYTES: usize = 16 * 1024;

fn write_until_full(
    storage: &mut Storage,
    first: u64,
    durability: Durability,
) -> (u64, FlushError) {
    for seq in first.. {
        storage.commit(change(&seq.to_string(), seq, object(seq, noise(seq, VALUE_BYTES))));
        if let Err(error) = flush(storage, durability) {
            return (seq, error);
        }
    }
    unreachable!("the disk has no end")
}

fn check(durability: Durability, megabytes: u32) {
    let Some(disk) = SmallDisk::mount(megabytes) else {
        eprintln!("skipped: cannot mount a file system here");
        return;
    };
    let (mut storage, _) = open(&disk.data());
    let (failed, error) = write_until_full(&mut storage, 1, durability);
    assert!(matches!(error, FlushError::Full(_)), "{error}");
    assert!(100 < failed, "only {failed} writes fitted");
    // What failed is still read, and nothing later is taken.
    put(&mut storage, "tea", failed + 1);
    assert_eq!(flush(&mut storage, durability), Err(FlushError::Poisoned));
    assert_eq!(storage.flush_now(), Err(FlushError::Poisoned));
    drop(storage);

    let still_full = try_open(&disk.data()).err().map(|error| error.to_string());
    disk.grow(4 * megabytes);
    let (mut storage, recovered) = open(&disk.data());
    let last = last_seq(&recovered);
    assert!(failed - 1 <= last && last <= failed, "{last} of {failed}; before: {still_full:?}");
    for seq in 1..=last {
        let expected = Some(object(seq, noise(seq, VALUE_BYTES)));
        assert!(read(&storage, &seq.to_string()) == expected, "write {seq} of {last}");
    }
    put(&mut storage, "tea", last + 1);
    flush(&mut storage, durability).unwrap();
}

#[test]
fn a_disk_that_fills_up_under_the_journal_says_so_and_keeps_what_was_acknowledged() {
    check(Durability::Synced, 10);
}

#[test]
fn a_disk_that_fills_up_under_a_data_file_says_so_and_keeps_what_was_acknowledged() {
    check(Durability::Buffered, 24);
    check(Durability::Synced, 90);
}
