//! Real processes: waiting until what is kept for a node that was away has been handed over.

mod common;

use std::process::Command;
use std::time::{Duration, Instant};

use common::{Cluster, PROGRAM, request};

const KEYS: usize = 60;

/// Waits with the command line for these nodes, and gives its code and what it said.
fn wait(cluster: &Cluster, nodes: &[u16], within: &str) -> (Option<i32>, String) {
    let nodes: Vec<String> =
        nodes.iter().map(|node| format!("http://{}", cluster.address(*node))).collect();
    let mut command = Command::new(PROGRAM);
    command.args(["hints", "wait", "--within", within, "--node", &nodes.join(",")]);
    let output = command.output().expect("the program runs");
    let text = [&*output.stdout, &*output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

fn put_all(cluster: &Cluster, value: &str) {
    for index in 0..KEYS {
        let answer = cluster.put(1, &format!("/v1/kv/demo/notes/{value}{index}"), value);
        assert_eq!(answer.status, 204, "{}", answer.text());
    }
}

#[test]
fn a_wait_ends_when_the_node_that_was_away_has_what_was_kept_and_names_it_before() {
    let mut cluster = Cluster::start(4);
    let keyspace = r#"{"replicas":3,"sloppy":true}"#;
    assert_eq!(cluster.put(1, "/v1/keyspaces/demo", keyspace).status, 201);
    let table = cluster.put(1, "/v1/keyspaces/demo/tables/notes", r#"{"policy":"siblings"}"#);
    assert_eq!(table.status, 201, "{}", table.text());
    cluster.kill(4);
    cluster.wait_for_alive(1, 3);
    put_all(&cluster, "a");

    let told = |node: u16| {
        let path = "/v1/hints/wait?timeout=300";
        request(&cluster.address(node), "POST", path, &[], b"")
    };
    let answers = [told(1), told(2), told(3)];
    let left: Vec<&common::Answer> = answers.iter().filter(|answer| answer.status == 504).collect();
    assert!(!left.is_empty() && answers.iter().all(|answer| matches!(answer.status, 200 | 504)));
    for answer in left {
        let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(
            (&problem["code"], &problem["hints"][0]["node"]),
            (&"hints_left".into(), &4.into())
        );
    }
    let begun = Instant::now();
    let (code, said) = wait(&cluster, &[1, 2, 3], "1500ms");
    assert!(code == Some(6) && said.contains("objects for n4, the oldest for"), "{said}");
    assert!((1_500..6_000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    let (code, said) = wait(&cluster, &[4], "500ms");
    assert!(code == Some(6) && said.contains("does not answer"), "{said}");

    let nodes = [1, 4].map(|node| format!("http://{}", cluster.address(node))).join(",");
    let output = Command::new(PROGRAM).args(["hints", "status", "--node", &nodes]).output();
    let output = output.expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(5), "what n4 keeps is not known: {said}");
    assert!(said.contains("not known") && said.contains(&cluster.address(4)), "{said}");

    cluster.restart(4);
    let (code, said) = wait(&cluster, &[1, 2, 3, 4], "60s");
    assert_eq!((code, said.trim()), (Some(0), "all hints have been handed over"));
    let status = [1, 2, 3].map(|node| cluster.get(node, "/v1/status").text());
    assert!(status.iter().all(|status| status.contains("\"hints\":[]")), "{status:?}");

    // What comes while somebody waits for something older does not hold him up.
    cluster.kill(4);
    cluster.wait_for_alive(1, 3);
    put_all(&cluster, "b");
    std::thread::sleep(Duration::from_secs(2));
    for node in [1, 2, 3] {
        let path = "/v1/hints/wait?timeout=1000&age=60000";
        let answer = request(&cluster.address(node), "POST", path, &[], b"");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    cluster.stop();
}
