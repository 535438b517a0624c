//! Real processes: what N, R and W buy on the nodes that there are.

mod common;

use std::fs;
use std::process::Command;

use common::{Cluster, PROGRAM};
use serde_json::Value;

/// Predicts from what these nodes have timed, and gives the code and what was said.
fn predict(cluster: &Cluster, nodes: &[u16], more: &[&str]) -> (Option<i32>, String, String) {
    let nodes: Vec<String> =
        nodes.iter().map(|node| format!("http://{}", cluster.address(*node))).collect();
    let mut command = Command::new(PROGRAM);
    command.args(["predict", "-r", "1", "-w", "1", "--trials", "20000"]);
    command.args(["--node", &nodes.join(",")]).args(more);
    let output = command.output().expect("the program runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_running_cluster_is_predicted_from_what_its_nodes_have_timed_of_each_other() {
    let mut cluster = Cluster::start_with_table(3);
    let (code, _, said) = predict(&cluster, &[1, 2], &[]);
    assert!(code == Some(1) && said.contains("n2 has timed 0 reads and 0 writes of n3"), "{said}");
    assert!(said.contains("--r ALL"), "it says what to do: {said}");

    for (index, node) in (0..130).flat_map(|index| [1, 2].map(|node| (index, node))) {
        let path = format!("/v1/kv/demo/notes/n{node}-{index}");
        assert_eq!(cluster.put(node, &path, "v").status, 204);
        assert_eq!(cluster.get(node, &format!("{path}?r=ALL")).status, 200);
    }
    let (code, json, said) = predict(&cluster, &[1, 2], &["--json"]);
    assert_eq!(code, Some(0), "{said}");
    let told: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(told["source"], "n1 n2 n3 as n1 n2 see them");
    let coordinators = told["measured"]["coordinators"].as_array().unwrap();
    assert_eq!(coordinators.len(), 2);
    for one in coordinators {
        let replicas = one["replicas"].as_array().unwrap();
        let nodes: Vec<&Value> = replicas.iter().map(|of| &of["node"]).collect();
        assert_eq!(nodes, [1, 2, 3]);
        // At the most one answer to each: what is counted of a write is not what it asked for.
        let counts = replicas.iter().flat_map(|of| [&of["reads"], &of["writes"]]);
        let counts: Vec<u64> = counts.map(|of| of["count"].as_u64().unwrap()).collect();
        assert!(counts.iter().all(|count| (110..=140).contains(count)), "{counts:?}");
        let own = replicas.iter().find(|of| of["node"] == one["node"]).unwrap();
        let half = |of: &str| own[of]["p50_millis"].as_f64().unwrap();
        assert!(half("reads") <= half("writes"), "a write waits for the disk, a read does not");
    }
    assert!(told["read"]["p99.9_millis"].as_f64().unwrap() < 10_000.0);

    // Other levels and another N than are in use.
    let picture = tempfile::NamedTempFile::new().unwrap();
    let svg = picture.path().to_str().unwrap();
    let (code, text, said) = predict(&cluster, &[2], &["-n", "5", "--svg", svg]);
    assert_eq!(code, Some(0), "{said}");
    assert!(text.contains("N=5 R=1 W=1, n1 n2 n3 as n2 see them"), "{text}");
    assert!(text.contains("N=5 of 3 nodes: some are drawn twice"), "{text}");
    assert!(fs::read_to_string(svg).unwrap().contains("n1 n2 n3 as n2 see them"));

    // The replicas of a keyspace, and its N.
    let (code, text, said) = predict(&cluster, &[1, 2], &["--keyspace", "demo"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(text.contains("N=3 R=1 W=1, demo on n1 n2 n3 as n1 n2 see them"), "{text}");
    let (code, _, said) = predict(&cluster, &[1], &["--keyspace", "nodemo"]);
    assert!(code == Some(4) && said.contains("there are: demo"), "{said}");

    let (code, _, said) = predict(&cluster, &[1], &["--among", "n1,n7"]);
    assert!(code == Some(1) && said.contains("--among names n7"), "{said}");
    cluster.kill(3);
    let (code, _, said) = predict(&cluster, &[1, 3], &[]);
    assert!(code == Some(5) && said.contains(&cluster.address(3)), "{said}");
    let (code, _, said) = predict(&cluster, &[1, 2], &["--over", "300ms"]);
    assert!(code == Some(1) && said.contains("too few answers were timed"), "{said}");
    cluster.stop();
}
