//! Disks that lose the end of a file, or return other bytes than were written.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may stop anywhere")]

mod common;

use std::fs::{self, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use causality::DotSet;
use common::*;
use model::{Durability, NodeId, Object};
use node::{Disk as _, Hint, HintPlace};
use replica::{Change, PageNeed, Store as _, StoreError};
use storage::Storage;
use tempfile::{TempDir, tempdir};

const GROUPS: u64 = 12;

/// A storage that wrote one key per group, and was killed: no farewell in the journal.
struct Victim {
    dir: TempDir,
    journal: PathBuf,
    /// The length of the journal behind each group, beginning with none.
    ends: Vec<u64>,
}

impl Victim {
    fn new() -> Self {
        let dir = tempdir().unwrap();
        let (mut storage, _) = open(dir.path());
        let journal = journals(dir.path()).pop().unwrap();
        let mut ends = vec![end_of(&journal)];
        for seq in 1..=GROUPS {
            put(&mut storage, &seq.to_string(), seq);
            // Its dot is no news any more.
            let again = change(&shared_key(seq), seq, object(seq, seq.to_string()));
            storage.commit(Change { clock: Vec::new(), news: DotSet::new(), ..again });
            flush(&mut storage, Durability::Synced).unwrap();
            ends.push(end_of(&journal));
        }
        drop(storage);
        let end = *ends.last().unwrap();
        OpenOptions::new().write(true).open(&journal).unwrap().set_len(end).unwrap();
        Self { dir, journal, ends }
    }

    /// The same again, to do something else to.
    fn twin(&self) -> Self {
        let dir = tempdir().unwrap();
        copy(self.dir.path(), dir.path());
        let journal = dir.path().join("db").join(self.journal.file_name().unwrap());
        Self { dir, journal, ends: self.ends.clone() }
    }

    fn end_of(&self, group: u64) -> u64 {
        self.ends[usize::try_from(group).unwrap()]
    }
}

/// Where the last group ends: behind it there are only the zeros of a file made in advance.
fn end_of(journal: &Path) -> u64 {
    let bytes = fs::read(journal).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
}

/// A key that this group and one beside it write, and no other: each group is covered
/// by a neighbour, or covers it.
fn shared_key(group: u64) -> String {
    format!("shared {}", group / 2)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn flip(path: &Path, at: u64, bits: u8) {
    let mut bytes = fs::read(path).unwrap();
    bytes[usize::try_from(at).unwrap()] ^= bits;
    fs::write(path, bytes).unwrap();
}

/// Checks that exactly the first groups are there, objects and clock alike, and counts them.
fn count_prefix(dir: &Path) -> u64 {
    let (storage, recovered) = open(dir);
    let last = last_seq(&recovered);
    for seq in 1..=GROUPS {
        let expected = (seq <= last).then(|| object(seq, seq.to_string()));
        assert_eq!(read(&storage, &seq.to_string()), expected, "group {seq}, clock {last}");
        if seq <= last {
            let newest = (seq | 1).min(last);
            let expected = Some(object(newest, newest.to_string()));
            assert_eq!(read(&storage, &shared_key(seq)), expected, "group {seq}, clock {last}");
        }
    }
    last
}

#[test]
fn a_torn_journal_opens_with_the_groups_that_are_whole() {
    let victim = Victim::new();
    let (start, end) = (victim.end_of(GROUPS - 2), victim.end_of(GROUPS));
    for cut in (start..=end).step_by(7).chain([end]) {
        let twin = victim.twin();
        OpenOptions::new().write(true).open(&twin.journal).unwrap().set_len(cut).unwrap();
        let whole = (0..=GROUPS).rev().find(|group| victim.end_of(*group) <= cut);
        assert_eq!(Some(count_prefix(twin.dir.path())), whole, "cut at {cut}");
        // And it goes on from there.
        let (mut storage, recovered) = open(twin.dir.path());
        let next = last_seq(&recovered) + 1;
        put(&mut storage, &next.to_string(), next);
        flush(&mut storage, Durability::Synced).unwrap();
        drop(storage);
        assert_eq!(last_seq(&open(twin.dir.path()).1), next);
    }
}

/// A sync that failed leaves groups that the next life reads, from memory that is nowhere
/// on disk, and acknowledges.
#[test]
fn what_a_life_has_recovered_is_missed_when_it_is_gone() {
    let victim = Victim::new();
    drop(open(victim.dir.path()));
    let end = victim.end_of(GROUPS - 1);
    let mut journal = OpenOptions::new().write(true).open(&victim.journal).unwrap();
    journal.seek(SeekFrom::Start(end)).unwrap();
    let lost = usize::try_from(victim.end_of(GROUPS) - end).unwrap();
    journal.write_all(&vec![0; lost]).unwrap();
    assert!(refusal(victim.dir.path()).contains("is damaged"));
}

#[test]
fn garbage_behind_the_last_group_is_cut_off() {
    let victim = Victim::new();
    for garbage in [&[0_u8; 4_000][..], &[0xff; 4_000], &[1; 100], &[2; 3]] {
        let twin = victim.twin();
        let mut journal = OpenOptions::new().append(true).open(&twin.journal).unwrap();
        journal.write_all(garbage).unwrap();
        assert_eq!(count_prefix(twin.dir.path()), GROUPS);
    }
}

#[test]
fn a_last_group_that_was_half_written_is_not_there_at_all() {
    let victim = Victim::new();
    let middle = victim.end_of(GROUPS - 1).midpoint(victim.end_of(GROUPS));
    let mut journal = OpenOptions::new().write(true).open(&victim.journal).unwrap();
    journal.seek(SeekFrom::Start(middle)).unwrap();
    journal.write_all(&[0xa5; 10_000]).unwrap();
    assert_eq!(count_prefix(victim.dir.path()), GROUPS - 1);
}

/// Every byte of one group in the middle, in turn. Without the witnesses, flips in the
/// head of a batch open with all later groups gone, or with an old one on top.
#[test]
fn a_flipped_byte_in_the_journal_is_refused_or_harmless() {
    let victim = Victim::new();
    let reasons = ["were on disk and are gone", "is out of order", "ChecksumMismatch"];
    let mut refused = [0; 3];
    let flips = (victim.end_of(6)..victim.end_of(7)).map(|at| (at, 0x10));
    let head = victim.end_of(6)..victim.end_of(6) + 13;
    let flips = flips.chain(head.flat_map(|at| [1, 2, 4, 0x80].map(|bits| (at, bits))));
    for (at, bits) in flips {
        let twin = victim.twin();
        flip(&twin.journal, at, bits);
        let Err(error) = try_open(twin.dir.path()) else {
            assert_eq!(count_prefix(twin.dir.path()), GROUPS, "flip of {bits} at {at}");
            continue;
        };
        let reason = reasons.iter().position(|reason| error.to_string().contains(reason));
        refused[reason.unwrap_or(2)] += 1;
        let again = refusal(twin.dir.path());
        assert!(again.contains("is damaged"), "flip of {bits} at {at}, second start: {again}");
    }
    assert!(refused.iter().all(|times| 5 < *times), "{reasons:?}: {refused:?}");
}

/// The hole that remains: no later group speaks of the last one.
#[test]
fn a_flipped_byte_in_the_last_group_loses_no_other() {
    let victim = Victim::new();
    for at in (victim.end_of(GROUPS - 1)..victim.end_of(GROUPS)).step_by(3) {
        let twin = victim.twin();
        flip(&twin.journal, at, 0x10);
        if try_open(twin.dir.path()).is_ok() {
            let last = count_prefix(twin.dir.path());
            assert!(GROUPS - 1 <= last, "flip at {at}: {last}");
        }
    }
}

#[test]
fn after_a_clean_end_even_the_last_group_is_watched() {
    let dir = tempdir().unwrap();
    let (mut storage, _) = open(dir.path());
    put(&mut storage, "milk", 1);
    storage.close().unwrap();
    let (storage, recovered) = open(dir.path());
    assert_eq!((read(&storage, "milk"), last_seq(&recovered)), (Some(object(1, "1")), 1));
}

/// The files behind the journal: what is read is right, or an error, never anything else.
#[test]
fn a_flipped_byte_in_a_data_file_is_never_served() {
    const KEYS: u64 = 400;
    let body = |seq: u64| seq.to_string().repeat(40);
    let dir = tempdir().unwrap();
    let (mut storage, _) = open(dir.path());
    (1..=KEYS).for_each(|seq| {
        storage.commit(change(&seq.to_string(), seq, object(seq, body(seq))));
    });
    storage.close().unwrap();
    let file = largest_file(&dir.path().join("db"));
    let bytes = file.metadata().unwrap().len();
    let mut noticed = 0;
    for at in (0..bytes).step_by(usize::try_from(bytes).unwrap() / 60) {
        let twin = tempdir().unwrap();
        copy(dir.path(), twin.path());
        flip(&twin.path().join(file.strip_prefix(dir.path()).unwrap()), at, 0x10);
        let Ok((storage, _)) = try_open(twin.path()) else {
            noticed += 1;
            continue;
        };
        let wrong = (1..=KEYS).filter(|seq| !is_right_or_refused(&storage, *seq, &body(*seq)));
        assert_eq!(wrong.count(), 0, "flip at {at} of {bytes}");
        let page = storage.scan(SHARD, TABLE, &WHOLE, ALL);
        noticed += u32::from(!page.is_ok_and(|page| page.unreadable.is_empty()));
    }
    assert!(40 < noticed, "only {noticed} of 60 flips were noticed");
}

#[test]
fn a_flipped_byte_among_hints_stops_no_node_and_hands_over_nothing_wrong() {
    const HINTS: u64 = 400;
    let place =
        |seq: u64| HintPlace { target: NodeId::new(2), address: address(&format!("{seq:03}"), "") };
    let hint = |seq: u64| Hint { since_millis: 7, object: object(seq, seq.to_string().repeat(40)) };
    let dir = tempdir().unwrap();
    let (mut storage, _) = open(dir.path());
    (1..=HINTS).for_each(|seq| storage.keep_hint(&place(seq), Some(&hint(seq))));
    storage.close().unwrap();
    let file = largest_file(&dir.path().join("db"));
    let bytes = file.metadata().unwrap().len();
    let (mut opened, mut short) = (0, 0);
    for at in (0..bytes).step_by(usize::try_from(bytes).unwrap() / 60) {
        let twin = tempdir().unwrap();
        copy(dir.path(), twin.path());
        flip(&twin.path().join(file.strip_prefix(dir.path()).unwrap()), at, 0x10);
        let Ok((storage, _)) = try_open(twin.path()) else { continue };
        opened += 1;
        let need = PageNeed { objects_max: usize::MAX, bytes_max: usize::MAX };
        let found = storage.hints(NodeId::new(2), None, need).unwrap_or_default();
        short += u32::from(found.len() < usize::try_from(HINTS).unwrap());
        for (address, found) in found {
            let seq = std::str::from_utf8(address.key.partition()).unwrap().parse().unwrap();
            assert_eq!(found, hint(seq), "flip at {at} of {bytes}");
        }
    }
    assert!(40 < opened, "only {opened} of 60 start");
    assert!(20 < short, "only {short} of 60 flips were noticed");
}

fn is_right_or_refused(storage: &Storage, seq: u64, body: &str) -> bool {
    let right: Object = object(seq, body.to_owned());
    match storage.object(SHARD, &address(&seq.to_string(), "")) {
        Ok(found) => found == Some(right),
        Err(StoreError::Corrupt(_)) => true,
        Err(StoreError::Io(_)) => false,
    }
}

fn largest_file(dir: &Path) -> PathBuf {
    let mut files = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_none_or(|extension| extension != "jnl") {
                files.push(path);
            }
        }
    }
    files.into_iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap()
}
