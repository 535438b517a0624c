//! `kill -9`, at any moment, beside a writer that says what was acknowledged.
#![expect(clippy::unwrap_used, reason = "a test may stop anywhere")]

mod common;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use common::*;
use model::Durability;
use replica::Store as _;
use storage::Storage;
use tempfile::tempdir;

const DIR: &str = "STORAGE_TEST_KILL";
const ROUNDS: u64 = 20;

/// The write `seq` goes to one of so many keys, so that all later writes to a key are
/// known from the last number alone.
const KEYS: u64 = 23;

/// Large enough that files are written and compacted between the kills.
const VALUE_BYTES: usize = 6_000;

#[test]
fn nothing_acknowledged_is_lost_by_kill() {
    if let Some(dir) = std::env::var_os(DIR) {
        write_for_ever(dir.as_ref());
    }
    let dir = tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0..ROUNDS {
        let mut child = start(dir.path());
        // The first rounds hit the start, the later ones the work.
        sleep(Duration::from_millis(if round < 6 { round * 3 } else { 20 + round * 37 % 160 }));
        child.kill().unwrap();
        acknowledged = last_ack(child).max(acknowledged);
        let (storage, recovered) = open(dir.path());
        let last = last_seq(&recovered);
        assert!(acknowledged <= last, "round {round}: {acknowledged} was acknowledged, not {last}");
        assert_is_all_up_to(last, &storage);
    }
    assert!(1_000 < acknowledged, "only {acknowledged} writes: the test shows nothing");
}

fn start(dir: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "nothing_acknowledged_is_lost_by_kill", "--nocapture"]);
    command.env(DIR, dir).stdout(Stdio::piped()).spawn().unwrap()
}

fn last_ack(mut child: Child) -> u64 {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let acks = lines.filter_map(|line| line.unwrap().strip_prefix("ack ")?.parse().ok());
    let last = acks.max().unwrap_or(0);
    child.wait().unwrap();
    last
}

fn write_for_ever(dir: &Path) -> ! {
    let (mut storage, recovered) = open(dir);
    let mut seq = last_seq(&recovered);
    loop {
        for _ in 0..=seq % 7 {
            seq += 1;
            storage.commit(change(&key_of(seq), seq, object(seq, body_of(seq))));
        }
        match seq % 3 {
            0 => storage.flush_now().unwrap(),
            1 => flush(&mut storage, Durability::Buffered).unwrap(),
            _ => flush(&mut storage, Durability::Synced).unwrap(),
        }
        // One write to the pipe: a torn line could read as a greater number.
        std::io::stdout().write_all(format!("ack {seq}\n").as_bytes()).unwrap();
    }
}

fn key_of(seq: u64) -> String {
    (seq % KEYS).to_string()
}

fn body_of(seq: u64) -> Vec<u8> {
    seq.to_be_bytes().repeat(VALUE_BYTES / 8)
}

fn assert_is_all_up_to(last: u64, storage: &Storage) {
    for seq in last.saturating_sub(KEYS - 1).max(1)..=last {
        let expected = Some(object(seq, body_of(seq)));
        assert_eq!(read(storage, &key_of(seq)), expected, "write {seq} of {last}");
    }
    for seq in last + 1..=KEYS {
        assert_eq!(read(storage, &key_of(seq)), None, "write {seq} of {last}");
    }
}
