//! Reading a directory that no node serves any more.
#![expect(clippy::unwrap_used, reason = "a test may stop anywhere")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use catalog::{Acceptor, Catalog, Disks};
use common::*;
use model::{Durability, Object};
use node::{Disk as _, Hint, HintPlace};
use replica::Store as _;
use storage::{Lying, NotRead, Options, Retired, RetiredError, Storage};
use tempfile::tempdir;

/// Everything below a directory: what is in each file, and when it was changed.
fn all_of(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.insert(
                path.clone(),
                (Vec::new(), fs::metadata(&path).unwrap().modified().unwrap()),
            );
            all.extend(all_of(&path));
        } else {
            let changed = fs::metadata(&path).unwrap().modified().unwrap();
            all.insert(path.clone(), (fs::read(&path).unwrap(), changed));
        }
    }
    all
}

fn empty(scratch: &Path) -> bool {
    fs::read_dir(scratch).unwrap().next().is_none()
}

/// A disk with `count` objects, of which the last ones are only in the journal, and a hint.
fn written(dir: &Path, count: u64) -> model::DiskId {
    let options = Options::new(dir, CLUSTER, NODE, LAYOUT);
    let options = Options { write_buffer_bytes: 64 << 10, ..options };
    let (mut storage, _) = Storage::open(&options).unwrap();
    let disk = storage.disk();
    let disks = Disks { retired: [disk].into(), ..Disks::default() };
    let learned = Catalog { version: 9, disks: [(NODE, disks)].into(), ..Catalog::default() };
    storage.keep_acceptor(&Acceptor { learned, ..Acceptor::default() });
    let place = HintPlace { target: model::NodeId::new(2), address: address("kept", "s") };
    let hint = Hint { since_millis: 7, object: object(99, "for n2") };
    storage.keep_hint(&place, Some(&hint));
    for seq in 1..=count {
        let text = format!("{seq} {}", "x".repeat(500));
        storage.commit(change(&format!("{seq:05}"), seq, object(seq, text)));
        if seq % 64 == 0 {
            flush(&mut storage, Durability::Buffered).unwrap();
        }
    }
    flush(&mut storage, Durability::Synced).unwrap();
    disk
}

fn read(found: impl Iterator<Item = Result<Lying, NotRead>>) -> Vec<Lying> {
    found.collect::<Result<_, _>>().unwrap()
}

#[test]
fn everything_is_read_and_nothing_is_changed_also_where_nothing_can_be() {
    let (dir, scratch) = (tempdir().unwrap(), tempdir().unwrap());
    let disk = written(dir.path(), 1_000);
    let before = all_of(dir.path());
    let has_files = |name: &str| before.keys().any(|path| path.parent().unwrap().ends_with(name));
    assert!(has_files("tables"), "all is in the journal");
    let lock_to = |mode: u32| {
        let dirs = before.keys().filter(|path| path.is_dir()).map(PathBuf::as_path);
        for path in dirs.chain([dir.path()]) {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    lock_to(0o555);
    for _ in 0..2 {
        let retired = Retired::open(dir.path(), scratch.path()).unwrap();
        assert_eq!((retired.disk(), retired.whose()), (disk, (CLUSTER, NODE)));
        assert_eq!(retired.catalog().version, 9);
        let (clocks, not_read) = retired.clocks();
        assert_eq!((clocks[&SHARD].runs(), not_read.len()), (&[up_to(1_000)][..], 0));
        let objects = read(retired.objects());
        assert_eq!(objects.len(), 1_000);
        for (lying, seq) in objects.iter().zip(1..) {
            assert_eq!((lying.table, lying.shard), (TABLE, Some(SHARD.index)));
            assert_eq!(lying.key, key(&format!("{seq:05}"), ""));
            assert_eq!(lying.object, object(seq, format!("{seq} {}", "x".repeat(500))));
        }
        let kept = Lying {
            table: TABLE,
            shard: None,
            key: key("kept", "s"),
            object: object(99, "for n2"),
        };
        assert_eq!(read(retired.hints()), [kept]);
        drop(retired);
        assert!(empty(scratch.path()), "something was left behind");
    }
    lock_to(0o755);
    assert_eq!(all_of(dir.path()), before);
}

#[test]
fn a_directory_in_use_is_refused_and_one_that_is_read_cannot_be_served() {
    let (dir, scratch) = (tempdir().unwrap(), tempdir().unwrap());
    let (storage, _) = open(dir.path());
    let refused = Retired::open(dir.path(), scratch.path()).err().unwrap();
    assert!(matches!(refused, RetiredError::InUse(_)), "{refused}");
    drop(storage);
    let retired = Retired::open(dir.path(), scratch.path()).unwrap();
    assert!(refusal(dir.path()).contains("in use"));
    drop(retired);
    open(dir.path());
    assert!(empty(scratch.path()));
}

#[test]
fn what_is_no_directory_of_a_node_is_refused() {
    let (dir, scratch) = (tempdir().unwrap(), tempdir().unwrap());
    let refused = |dir: &Path| Retired::open(dir, scratch.path()).err().unwrap();
    assert!(matches!(refused(dir.path()), RetiredError::NoDirectory(_)));
    assert!(matches!(refused(&dir.path().join("nowhere")), RetiredError::NoDirectory(_)));
    fs::write(dir.path().join("FORMAT"), "something else").unwrap();
    assert!(matches!(refused(dir.path()), RetiredError::Damaged { .. }));
    assert!(empty(scratch.path()));
}

#[test]
fn a_directory_that_no_node_would_serve_is_read_as_far_as_it_goes() {
    let (dir, scratch) = (tempdir().unwrap(), tempdir().unwrap());
    written(dir.path(), 10);
    fs::write(dir.path().join("DAMAGED"), "groups 3 to 4 of its journal are gone").unwrap();
    fs::remove_file(dir.path().join("LOCK")).unwrap();
    let journal = journals(dir.path()).pop().unwrap();
    let bytes = fs::read(&journal).unwrap();
    let at = bytes.windows(2).rposition(|two| two == b"xx").unwrap();
    fs::write(&journal, &bytes[..at]).unwrap();
    let retired = Retired::open(dir.path(), scratch.path()).unwrap();
    let objects: Vec<Object> = read(retired.objects()).into_iter().map(|one| one.object).collect();
    assert!(objects.len() < 10, "the last group was cut off");
    assert!(!dir.path().join("LOCK").exists());
}
