//! Real processes and the client crate: a session is shown what it has seen, wherever it goes on.

mod common;

use std::time::Duration;

use client::{
    Client, Content, Error, Key, Level, Options, ReadOptions, Session, Table, WriteOptions,
};
use common::Cluster;

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
