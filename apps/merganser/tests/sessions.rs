//! Real processes and the client crate: a session is shown what it has seen, wherever it goes on.

mod common;

use std::process::Command;
use std::time::Duration;

use client::{
    Client, Content, Error, Key, Level, Options, ReadOptions, Session, Table, WriteOptions,
};
use common::{Cluster, PROGRAM};

const KEYS: usize = 100;

fn table(cluster: &Cluster, node: u16) -> Table {
    let options = Options { timeout: Duration::from_secs(10), ..Options::default() };
    let endpoint = format!("http://{}", cluster.address(node));
    Client::new([endpoint], options).expect("it is a URL").table("demo", "notes")
}

fn key(index: usize) -> Key {
    Key::new(format!("k{index}"))
}

fn at_one() -> ReadOptions {
    ReadOptions { r: Some(Level::One), ..ReadOptions::default() }
}

async fn put(session: &Session, table: &Table, index: usize) -> Result<(), Error> {
    let options = WriteOptions { w: Some(Level::One), ..WriteOptions::default() };
    session.put(table, &key(index), &Content::text("seen"), None, &options).await.map(|_| ())
}

#[tokio::test]
async fn a_session_finds_what_it_has_written_at_a_node_that_was_away_or_is_told_what_is_missing() {
    let mut cluster = Cluster::start_with_table(3);
    let session = Session::new();
    cluster.kill(3);
    for index in 0..KEYS {
        put(&session, &table(&cluster, 1), index).await.unwrap();
    }
    cluster.restart(3);
    let there = table(&cluster, 3);
    let mut missing = 0;
    for index in 0..KEYS {
        let plain = there.get(&key(index), &at_one()).await.unwrap();
        missing += usize::from(plain.values.is_empty());
        let found = session.get(&there, &key(index), &at_one()).await.unwrap();
        assert_eq!(found.values.len(), 1, "k{index}, of which the session has heard");
    }
    eprintln!("{missing} of {KEYS} keys were missing to those in no session");

    // Alone, the node that was away cannot know, and does not pretend to.
    cluster.kill(3);
    put(&session, &table(&cluster, 1), KEYS).await.unwrap();
    cluster.kill(1);
    cluster.kill(2);
    cluster.restart(3);
    let refused = session.get(&table(&cluster, 3), &key(KEYS), &at_one()).await;
    assert!(matches!(&refused, Err(error) if error.code() == "session_behind"), "{refused:?}");
    let refused = put(&session, &table(&cluster, 3), KEYS).await;
    assert!(matches!(&refused, Err(error) if error.code() == "session_behind"), "{refused:?}");
    cluster.stop();
}

/// Runs a command at one node, in the session of a file, and gives its code and what it said.
fn merganser(cluster: &Cluster, node: u16, arguments: &[&str]) -> (Option<i32>, String) {
    let node = format!("http://{}", cluster.address(node));
    let mut command = Command::new(PROGRAM);
    let output = command.args(arguments).args(["--node", &node]).output();
    let output = output.expect("the program runs");
    let text = [&*output.stdout, &*output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn a_file_takes_a_session_from_command_to_command_and_from_node_to_node() {
    let mut cluster = Cluster::start_with_table(3);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("session");
    let (file, text) = (file.to_str().unwrap(), || std::fs::read_to_string(&file).unwrap());
    cluster.kill(3);
    for index in 0..KEYS {
        let key = format!("k{index}");
        let put = ["put", "demo", "notes", &key, "seen", "--w", "ONE", "--session", file];
        let (code, said) = merganser(&cluster, 1, &put);
        assert_eq!(code, Some(0), "{said}");
    }
    assert!(1 < text().lines().count(), "{}", text());
    cluster.restart(3);
    for index in 0..KEYS {
        let key = format!("k{index}");
        let get = ["get", "demo", "notes", &key, "--r", "ONE", "--session", file];
        let (code, said) = merganser(&cluster, 3, &get);
        assert!(code == Some(0) && said.starts_with("seen"), "{key}: {said}");
        let label = said.trim_start_matches("seen");
        assert!(label.is_empty() || label.starts_with("receipt: partial"), "{key}: {said}");
    }

    cluster.kill(3);
    let (code, said) = merganser(
        &cluster,
        1,
        &["put", "demo", "notes", "late", "seen", "--w", "ONE", "--session", file],
    );
    assert_eq!(code, Some(0), "{said}");
    cluster.kill(1);
    cluster.kill(2);
    cluster.restart(3);
    let get = ["get", "demo", "notes", "late", "--r", "ONE", "--timeout", "2s"];
    let (code, said) = merganser(&cluster, 3, &get);
    assert_eq!(code, Some(4), "who is in no session is shown what there is: {said}");
    let (code, said) = merganser(&cluster, 3, &[&get[..], &["--session", file]].concat());
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("session_behind") && said.contains("another file"), "{said}");

    let list = ["list", "demo", "notes", "--session", file];
    let (code, said) = merganser(&cluster, 3, &list);
    assert!(code == Some(1) && said.contains("a list is in no session"), "{said}");
    let before = text();
    std::fs::write(file, &before[..before.len() - 1]).unwrap();
    let (code, said) = merganser(&cluster, 3, &[&get[..], &["--session", file]].concat());
    assert!(code == Some(1) && said.contains("its last line is cut off"), "{said}");
    cluster.stop();
}
