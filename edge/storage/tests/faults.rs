//! The n-th system call fails, or is the last: for one n after the other.
//!
//! What is promised has to hold whatever the operating system refuses, and most code that
//! handles a refusal is never run otherwise. A child writes groups, and says by an empty
//! directory for each which of them were acknowledged; `strace` makes its n-th `write`, `fsync`,
//! `openat`, `rename` or `read` fail or kills it there. Then the directory is opened with
//! nothing in the way: all that was acknowledged is there, groups are whole, and nothing
//! was invented.
//!
//! The n-th call is counted in each thread of the child, as strace does it. A few dozen
//! places are tried unless `STORAGE_SWEEP=full` asks for all; without strace there is nothing to
//! try, and the test says `SKIPPED`.
#![expect(clippy::unwrap_used, reason = "a test may stop anywhere")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use common::*;
use model::Durability;
use replica::Store as _;
use storage::Storage;
use tempfile::tempdir;

const DIR: &str = "STORAGE_TEST_FAULTS";
const TEST: &str = "what_was_acknowledged_outlives_a_call_that_fails_or_kills";

/// Where groups end: each has one to three writes.
const GROUPS: [u64; 10] = [1, 3, 6, 7, 9, 12, 13, 15, 18, 19];

/// What is done to which calls. A disk that is full refuses writes only.
const FAULTS: [(&str, &str); 12] = [
    ("write", "error=EIO"),
    ("write", "error=ENOSPC"),
    ("write", "signal=KILL"),
    ("fsync", "error=EIO"),
    ("fsync", "signal=KILL"),
    ("fdatasync", "error=EIO"),
    ("fdatasync", "signal=KILL"),
    ("openat", "error=EMFILE"),
    ("openat", "signal=KILL"),
    ("rename", "error=EIO"),
    ("rename", "signal=KILL"),
    ("read", "error=EIO"),
];

#[test]
fn what_was_acknowledged_outlives_a_call_that_fails_or_kills() {
    if let Some(dir) = std::env::var_os(DIR) {
        return write_groups(dir.as_ref());
    }
    let Some(calls) = calls_of_a_whole_run() else {
        println!("SKIPPED(strace is missing, or may not trace)");
        return;
    };
    let is_full = std::env::var("STORAGE_SWEEP").is_ok_and(|sweep| sweep == "full");
    let (mut tried, mut ended_early) = (0, 0);
    for (call, fault) in FAULTS {
        let count = calls.get(call).copied().unwrap_or(0);
        let step = if is_full { 1 } else { count.div_ceil(4).max(1) };
        for n in (1..=count).rev().step_by(step) {
            let what = format!("{call} {n} of {count}: {fault}");
            let dir = tempdir().unwrap();
            let inject = format!("inject={call}:{fault}:when={n}");
            let status = run(dir.path(), &["-e", &format!("trace={call}"), "-e", &inject], &what);
            ended_early += usize::from(!status.success());
            tried += 1;
            assert_holds_what_it_promised(dir.path(), &what);
        }
    }
    println!("{tried} places tried, the child ended early at {ended_early}");
    assert!(tried / 3 < ended_early, "the faults did nothing: {ended_early} of {tried}");
}

/// How many of each call the busiest thread of a child makes that nobody disturbs.
fn calls_of_a_whole_run() -> Option<BTreeMap<String, usize>> {
    let works = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status();
    works.ok().filter(ExitStatus::success)?;
    let dir = tempdir().unwrap();
    let log = dir.path().join("calls");
    let status = run(dir.path(), &["-o", log.to_str().unwrap()], "no fault");
    assert!(status.success(), "the child fails without a fault: {status}");
    assert_holds_what_it_promised(dir.path(), "no fault");
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for line in fs::read_to_string(log).unwrap().lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let call = rest.trim_start().split('(').next().unwrap_or_default();
        *counts.entry((call.to_owned(), thread.to_owned())).or_default() += 1;
    }
    let mut most = BTreeMap::new();
    for ((call, _), count) in counts {
        let most: &mut usize = most.entry(call).or_default();
        *most = count.max(*most);
    }
    Some(most)
}

fn run(dir: &Path, options: &[&str], what: &str) -> ExitStatus {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq"]);
    if !options.contains(&"-o") {
        command.args(["-o", "/dev/null"]);
    }
    command.args(options).arg(std::env::current_exe().unwrap());
    command.args(["--exact", TEST, "--nocapture"]).env(DIR, dir);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Duration::from_secs(60) < started.elapsed() {
            child.kill().unwrap();
            panic!("{what}: the child hangs");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What the child does: half of the groups, a tidy end, the other half, and no end at all.
fn write_groups(dir: &Path) {
    let (first, second) = GROUPS.split_at(5);
    let (mut storage, recovered) = open(&dir.join("data"));
    let mut seq = write_half(dir, &mut storage, last_seq(&recovered), first);
    storage.close().unwrap();
    acknowledge(dir, seq);
    let (mut storage, recovered) = open(&dir.join("data"));
    assert_eq!(last_seq(&recovered), seq);
    seq = write_half(dir, &mut storage, seq, second);
    assert_eq!(read(&storage, &seq.to_string()), Some(object(seq, seq.to_string())));
}

fn write_half(dir: &Path, storage: &mut Storage, mut seq: u64, ends: &[u64]) -> u64 {
    for (index, end) in ends.iter().enumerate() {
        while seq < *end {
            seq += 1;
            put(storage, &seq.to_string(), seq);
        }
        match index % 3 {
            0 => flush(storage, Durability::Synced).unwrap(),
            1 => storage.flush_now().unwrap(),
            _ => flush(storage, Durability::Buffered).unwrap(),
        }
        acknowledge(dir, seq);
    }
    seq
}

/// By a call that is never made to fail.
fn acknowledge(dir: &Path, seq: u64) {
    let _ = fs::create_dir(dir.join(format!("ack-{seq}")));
}

fn assert_holds_what_it_promised(dir: &Path, what: &str) {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let acks = names.filter_map(|name| name.to_str()?.strip_prefix("ack-")?.parse().ok());
    let acknowledged: u64 = acks.max().unwrap_or(0);
    let opened = try_open(&dir.join("data"));
    let (storage, recovered) = opened.unwrap_or_else(|error| panic!("{what}: {error}"));
    let last = last_seq(&recovered);
    assert!(acknowledged <= last, "{what}: {acknowledged} was acknowledged, {last} is there");
    assert!(last == 0 || GROUPS.contains(&last), "{what}: a group was torn at {last}");
    for seq in 1..=*GROUPS.last().expect("there are groups") {
        let expected = (seq <= last).then(|| object(seq, seq.to_string()));
        assert_eq!(read(&storage, &seq.to_string()), expected, "{what}: write {seq} of {last}");
    }
    // And it goes on.
    let mut storage = storage;
    storage.commit(change("later", last + 1, object(last + 1, "later")));
    flush(&mut storage, Durability::Synced).unwrap();
}
