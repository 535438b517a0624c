//! What tables are declared with, as the command line and clients meet it.

#![expect(clippy::unwrap_used, reason = "a test may stop anywhere")]

mod common;

use std::process::{Command, Output};

use common::{Cluster, PROGRAM};
use serde_json::Value;

fn command(cluster: &Cluster, node: u16, args: &[&str]) -> Output {
    let server = format!("http://{}", cluster.address(node));
    Command::new(PROGRAM).args(args).args(["--node", &server]).output().unwrap()
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn metric(cluster: &Cluster, node: u16, name: &str) -> u64 {
    let metrics = cluster.get(node, "/metrics").text();
    let line = metrics.lines().find(|line| line.split(' ').next() == Some(name));
    line.and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or_else(|| panic!("{name}"))
}

#[test]
fn a_table_that_demands_contexts_refuses_who_has_not_read_and_warns_of_siblings() {
    let mut cluster = Cluster::start_with_table(3);
    let create = [
        "table",
        "create",
        "demo",
        "carts",
        "--policy",
        "siblings",
        "--require-context",
        "--siblings-warn",
        "2",
        "--siblings-max",
        "2",
    ];
    said(&command(&cluster, 1, &create));
    let shown = said(&command(&cluster, 2, &["table", "show", "demo", "carts"]));
    assert!(shown.contains("siblings, no blind puts, at most 2, warns of 2"), "{shown}");
    let shown = said(&command(&cluster, 3, &["table", "show", "demo", "carts", "--json"]));
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["tables"][0]["siblings_max"], 2, "{shown}");
    let other = command(&cluster, 1, &["table", "create", "demo", "carts", "--policy", "siblings"]);
    let why = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(!other.status.success() && why.contains("require_context, siblings_warn"), "{why}");

    let path = "/v1/kv/demo/carts/alice";
    let first = cluster.put(1, path, "milk");
    assert_eq!(first.status, 204);
    let context = first.header("merganser-context").expect("a write has a context").to_owned();
    let blind = cluster.put(2, path, "bread");
    assert!(blind.status == 428 && blind.text().contains("context_required"), "{}", blind.text());
    let blind = command(&cluster, 3, &["put", "demo", "carts", "alice", "bread", "--json"]);
    let why = String::from_utf8_lossy(&blind.stderr).into_owned();
    assert!(why.contains("context_required") && why.contains("--replace"), "{why}");

    // Two that have read the same write at once: a conflict, of which the table warns.
    for (node, cart) in [(1, "milk, bread"), (1, "milk, eggs")] {
        assert_eq!(cluster.put_after(node, path, cart, &context).status, 204);
    }
    let warned = || metric(&cluster, 1, "merganser_siblings_warned_total");
    assert_eq!((warned(), metric(&cluster, 1, "merganser_siblings_created_total")), (1, 1));
    let third = cluster.put_after(1, path, "milk, rum", &context);
    assert!(third.status == 409 && third.text().contains("too_many_siblings"), "{}", third.text());
    let replace = ["put", "demo", "carts", "alice", "milk, bread, eggs", "--replace"];
    said(&command(&cluster, 2, &replace));
    assert_eq!(cluster.get(3, path).text(), "milk, bread, eggs");
    cluster.stop();
}

#[test]
fn who_writes_the_same_at_two_nodes_leaves_one_value() {
    let mut cluster = Cluster::start_with_table(3);
    let path = "/v1/kv/demo/notes/same";
    for node in 1..=3 {
        assert_eq!(cluster.put(node, path, "the same").status, 204);
    }
    let read = cluster.get(2, &format!("{path}?r=ALL"));
    assert_eq!((read.status, read.text().as_str()), (200, "the same"));
    assert_eq!(cluster.put(1, path, "another").status, 204);
    let read = cluster.get(2, &format!("{path}?r=ALL"));
    assert_eq!(read.status, 300, "{}", read.text());
    let context = read.header("merganser-context").expect("a read has a context").to_owned();
    assert_eq!(cluster.put_after(3, path, "resolved", &context).status, 204);
    assert_eq!(cluster.get(1, &format!("{path}?r=ALL")).text(), "resolved");
    cluster.stop();
}
