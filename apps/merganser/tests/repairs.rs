//! `merganser repair` against real processes: a lost disk, nodes that go away, and Ctrl-C.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod common;

use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use common::{Cluster, PROGRAM, eventually, signal};
use serde_json::Value;

const KEYS: u32 = 40;

/// A cluster of three with so many keys at all of them.
fn filled() -> Cluster {
    let cluster = Cluster::start_with_table(3);
    for number in 0..KEYS {
        let path = format!("/v1/kv/demo/notes/k{number}?w=ALL");
        assert_eq!(cluster.put(1, &path, "kept").status, 204);
    }
    cluster
}

fn command(cluster: &Cluster, nodes: &[u16], options: &[&str]) -> Command {
    let nodes: Vec<String> =
        nodes.iter().map(|node| format!("http://{}", cluster.address(*node))).collect();
    let mut command = Command::new(PROGRAM);
    command.arg("repair").args(options).args(["--node", &nodes.join(",")]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn repair(cluster: &Cluster, options: &[&str]) -> Output {
    command(cluster, &[1, 2, 3], options).output().unwrap()
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// What a node says of its repair.
fn job(cluster: &Cluster, node: u16) -> Value {
    let told = cluster.get(node, "/v1/repair").text();
    serde_json::from_str::<Value>(&told).unwrap()["job"].clone()
}

/// A repair that waits for a node that is away.
fn that_waits(cluster: &Cluster) -> Child {
    let child = command(cluster, &[1, 2, 3], &["demo", "--patience", "60s"]).spawn().unwrap();
    eventually("n1 waits for n3", || {
        let job = job(cluster, 1);
        let mut of_n3 =
            job["pairs"].as_array().into_iter().flatten().filter(|pair| pair["with"] == 3);
        job["state"] == "running" && of_n3.any(|pair| pair["why"] == "away")
    });
    child
}

#[test]
fn a_lost_disk_is_filled_again_and_proved_to_be() {
    let mut cluster = filled();
    cluster.kill(3);
    cluster.wait_for("n3 ended");
    std::fs::remove_dir_all(cluster.node_dir(3).join("data")).unwrap();
    cluster.restart(3);
    cluster.wait_for_alive(1, 3);
    let output = repair(&cluster, &["demo/notes"]);
    let (said, besides) = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{said} {besides}");
    for pair in ["n1 n2", "n1 n3", "n2 n3"] {
        let row = said.lines().find(|line| line.contains(pair)).unwrap_or_else(|| panic!("{said}"));
        let cells: Vec<&str> = row.split('┆').map(|cell| cell.trim_matches(['│', ' '])).collect();
        assert_eq!((cells[1], cells[2]), ("64", "64"), "{row}: all shards were proved");
    }
    for number in 0..KEYS {
        let read = cluster.get(3, &format!("/v1/kv/demo/notes/k{number}?r=ONE"));
        assert_eq!(read.text(), "kept", "k{number}");
        let receipt = read.header("merganser-receipt").unwrap();
        assert!(receipt.contains("acks=n3;"), "n3 answered alone: {receipt}");
    }
    let output = repair(&cluster, &["demo", "--incremental", "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &told["proved"]), (Some(0), &true.into()));
    let pairs = told["pairs"].as_array().unwrap();
    assert_eq!(pairs.len(), 3 * 64);
    assert!(pairs.iter().all(|pair| pair["read"] == 0), "nothing is read again");
    let output = repair(&cluster, &["demo", "--preview"]);
    assert_eq!(output.status.code(), Some(0), "nothing differs: {:?}", texts(&output));
    for (options, says) in [
        (&["nothing"][..], "no keyspace nothing"),
        (&["demo", "--shard", "64"], "no shard 64"),
        (&["demo", "--from", "a"], "KEYSPACE/TABLE"),
    ] {
        let output = repair(&cluster, options);
        let (_, besides) = texts(&output);
        assert!(output.status.code() != Some(0) && besides.contains(says), "{besides}");
    }
    cluster.stop();
}

#[test]
fn what_a_node_that_is_away_holds_is_not_called_proved() {
    let mut cluster = filled();
    cluster.kill(3);
    cluster.wait_for("n3 ended");
    let output = repair(&cluster, &["--patience", "2s"]);
    let (said, besides) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{said} {besides}");
    assert!(
        said.contains("n3 is away") && besides.contains("128 of 192 pairs"),
        "{said} {besides}"
    );
    let output = command(&cluster, &[1], &["--patience", "2s"]).output().unwrap();
    let (said, besides) = texts(&output);
    assert!(
        output.status.code() == Some(1) && besides.contains("n2 and n3 were not compared"),
        "{said} {besides}"
    );

    // Ctrl-C ends it at the node, too.
    let child = that_waits(&cluster);
    let second = repair(&cluster, &["demo"]);
    let (_, besides) = texts(&second);
    let id = job(&cluster, 1)["id"].as_str().unwrap().to_owned();
    assert!(second.status.code() == Some(1) && besides.contains(&id), "{besides}");
    signal("-INT", child.id());
    let output = child.wait_with_output().unwrap();
    let (said, besides) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{said} {besides}");
    assert!(besides.contains("cancelled"), "{besides}");
    assert_eq!(job(&cluster, 1)["state"], "cancelled");
    cluster.stop();
}

#[test]
fn a_node_that_is_started_anew_goes_on_with_what_was_not_proved() {
    let mut cluster = filled();
    cluster.kill(3);
    cluster.wait_for("n3 ended");
    let child = that_waits(&cluster);
    let output = command(&cluster, &[1, 2], &["status"]).output().unwrap();
    let (said, besides) = texts(&output);
    assert!(said.contains("running") && said.contains("(away)"), "{said} {besides}");
    cluster.kill(1);
    cluster.wait_for("n1 ended");
    std::thread::sleep(Duration::from_secs(1));
    cluster.restart(1);
    cluster.wait_for_alive(2, 2);
    cluster.restart(3);
    let output = child.wait_with_output().unwrap();
    let (said, besides) = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{said} {besides}");
    assert!(besides.contains("n1 was started anew"), "{besides}");
    let job = job(&cluster, 1);
    assert_eq!(job["proved"], true);
    let output = command(&cluster, &[1, 2], &["cancel"]).output().unwrap();
    let (said, _) = texts(&output);
    assert!(output.status.code() == Some(0) && said.contains("proved"), "{said}");
    cluster.stop();
}
