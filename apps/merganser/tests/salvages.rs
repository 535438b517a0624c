//! Real processes: what only the disk of a lost node has is brought back, and nothing else.

#![expect(clippy::unwrap_used, reason = "a test may stop anywhere")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Cluster, PROGRAM, eventually, request};
use serde_json::Value;

/// Runs a command with a node of the cluster, and gives its code, what it printed and what it said.
fn run(cluster: &Cluster, node: u16, words: &[&str]) -> (Option<i32>, String, String) {
    let url = format!("http://{}", cluster.address(node));
    let mut command = Command::new(PROGRAM);
    let output = command.args(words).args(["--node", &url]).output().expect("the program runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn salvage(
    cluster: &Cluster,
    node: u16,
    data: &Path,
    more: &[&str],
) -> (Option<i32>, Value, Value) {
    let data = data.to_str().unwrap();
    let words = [&["salvage", "--data", data, "--json"], more].concat();
    let (code, told, said) = run(cluster, node, &words);
    let json = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
    (code, json(&told), json(&said))
}

fn path(key: &str) -> String {
    format!("/v1/kv/demo/notes/{key}")
}

fn delete(cluster: &Cluster, node: u16, key: &str) {
    let read = cluster.get(node, &format!("{}?r=1", path(key)));
    let context = [("Merganser-Context", read.header("merganser-context").unwrap())];
    let target = format!("{}?w=1", path(key));
    let answer = request(&cluster.address(node), "DELETE", &target, &context, b"");
    assert_eq!(answer.status, 204, "{}", answer.text());
}

/// The keys of a list of the report.
fn keys(told: &Value, list: &str) -> Vec<String> {
    let all = told[list].as_array().unwrap().iter();
    let mut keys: Vec<String> = all.map(|one| one["key"].as_str().unwrap().to_owned()).collect();
    keys.sort_unstable();
    keys
}

/// Every file below a directory, with its size and when it was changed.
fn files(dir: &Path) -> BTreeMap<PathBuf, (u64, std::time::SystemTime)> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let told = std::fs::metadata(&path).unwrap();
        all.insert(path.clone(), (told.len(), told.modified().unwrap()));
        if told.is_dir() {
            all.extend(files(&path));
        }
    }
    all
}

/// Three nodes of which n3 has written, overwritten and deleted something as it was alone, and is gone.
fn lost() -> Cluster {
    let mut cluster = Cluster::start_with_table(3);
    for key in ["shared", "doomed", "kept", "both"] {
        let answer = cluster.put(1, &format!("{}?w=ALL", path(key)), "old");
        assert_eq!(answer.status, 204, "{}", answer.text());
    }
    for node in [1, 2] {
        cluster.kill(node);
        cluster.wait_for(&format!("n{node} ended"));
    }
    cluster.wait_for_alive(3, 1);
    let alone = |key: &str| format!("{}?w=1", path(key));
    assert_eq!(cluster.put(3, &alone("alone"), "only n3").status, 204);
    let read = cluster.get(3, &alone("shared").replace("w=1", "r=1"));
    let context = read.header("merganser-context").unwrap().to_owned();
    assert_eq!(cluster.put_after(3, &alone("shared"), "newer", &context).status, 204);
    assert_eq!(cluster.put(3, &alone("both"), "beside").status, 204);
    delete(&cluster, 3, "kept");
    cluster.kill(3);
    cluster.wait_for("n3 ended");
    cluster.restart(1);
    cluster.restart(2);
    cluster.wait_for_alive(1, 2);
    cluster.wait_for_alive(2, 2);
    delete(&cluster, 1, "doomed");
    cluster
}

#[test]
fn only_what_was_never_seen_is_brought_back_and_once() {
    let mut cluster = lost();
    let data = cluster.node_dir(3).join("data");
    let before = files(&data);

    let in_use = salvage(&cluster, 1, &cluster.node_dir(1).join("data"), &[]);
    assert_eq!((in_use.0, &in_use.2["code"]), (Some(1), &"directory_in_use".into()));
    let early = salvage(&cluster, 1, &data, &[]);
    assert_eq!((early.0, &early.2["code"]), (Some(1), &"disk_not_retired".into()));
    assert!(early.2["remedy"].as_str().unwrap().contains("evict n3"), "{}", early.2);
    let (code, _, said) = run(&cluster, 1, &["evict", "n3"]);
    assert_eq!(code, Some(0), "{said}");

    let (code, told, said) = salvage(&cluster, 1, &data, &["--preview"]);
    assert_eq!((code, &told["preview"]), (Some(0), &true.into()), "{said}");
    assert_eq!(keys(&told, "recovered"), ["alone", "both", "shared"], "{told}");
    assert_eq!(keys(&told, "deletes_not_applied"), ["kept"]);
    assert_eq!(cluster.get(1, &path("alone")).status, 404, "a preview has written");

    cluster.kill(2);
    eventually("n1 knows that n2 is away", || {
        cluster.get(1, "/v1/status").text().matches("\"alive\":true").count() == 1
    });
    let (code, told, said) = salvage(&cluster, 1, &data, &["--timeout", "1s"]);
    assert_eq!((code, &said["code"]), (Some(1), &"shards_left_out".into()), "{said}");
    assert!(keys(&told, "recovered").is_empty() && told["left_out"][0]["code"] == "not_attempted");
    assert!(told["left_out"][0]["why"].as_str().unwrap().contains("n2 is away"), "{told}");
    cluster.restart(2);
    cluster.wait_for_alive(1, 2);

    // Any node can be asked.
    let (code, told, said) = salvage(&cluster, 2, &data, &["--keyspace", "demo"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(keys(&told, "recovered"), ["alone", "both", "shared"], "{told}");
    assert_eq!(keys(&told, "deletes_not_applied"), ["kept"]);
    assert_eq!((&told["keys"], &told["values"], &told["known"]), (&5.into(), &5.into(), &2.into()));

    let read = cluster.get(1, &path("alone"));
    assert_eq!((read.text(), read.header("merganser-recovered")), ("only n3".into(), Some("true")));
    for (key, recovered) in [("shared", "newer"), ("both", "beside")] {
        let (code, told, _) = run(&cluster, 1, &["get", "demo", "notes", key, "--json"]);
        let told: Value = serde_json::from_str(&told).unwrap();
        let mut values: Vec<_> = told["values"].as_array().unwrap().iter().collect();
        values.sort_by_key(|value| value["recovered"] == true);
        let shown: Vec<_> = values.iter().map(|one| (&one["value"], &one["recovered"])).collect();
        let (old, new) = (Value::from("old"), Value::from(recovered));
        assert_eq!(shown, [(&old, &Value::Null), (&new, &true.into())], "{key}: {told}");
        assert_eq!(code, Some(3));
    }
    assert_eq!(cluster.get(2, &path("kept")).text(), "old");
    // Its tombstone may be forgotten since n3 is evicted: then nobody has heard of the key.
    assert_eq!(cluster.get(2, &path("doomed")).status, 404);

    // What was recovered is like any other value from then on.
    delete(&cluster, 1, "alone");
    let (code, told, said) = salvage(&cluster, 1, &data, &[]);
    assert!(code == Some(0) && keys(&told, "recovered").is_empty(), "{told} {said}");
    assert_eq!(told["known"], 5);
    assert_eq!(cluster.get(1, &path("alone")).status, 404);
    assert_eq!(files(&data), before, "the directory was changed");

    // A new disk copies that it was recovered, too.
    let aside = cluster.node_dir(3).join("aside");
    std::fs::rename(&data, &aside).unwrap();
    cluster.restart(3);
    eventually("n3 is whole", || {
        let status: Value = serde_json::from_str(&cluster.get(3, "/v1/status").text()).unwrap();
        status["disk"]["state"] == "enrolled"
    });
    let (_, told, _) = run(&cluster, 3, &["get", "demo", "notes", "both", "--json", "-r", "1"]);
    assert_eq!(told.matches("\"recovered\": true").count(), 1, "{told}");
    let (code, told, said) = salvage(&cluster, 3, &aside, &[]);
    assert!(code == Some(0) && keys(&told, "recovered").is_empty(), "{told} {said}");
    cluster.stop();
}

#[test]
fn what_a_guest_kept_for_others_alone_is_brought_back() {
    const KEYS: usize = 12;
    let mut cluster = Cluster::start(4);
    let keyspace = r#"{"replicas":3,"sloppy":true}"#;
    assert_eq!(cluster.put(1, "/v1/keyspaces/demo", keyspace).status, 201);
    let table = cluster.put(1, "/v1/keyspaces/demo/tables/notes", r#"{"policy":"siblings"}"#);
    assert_eq!(table.status, 201, "{}", table.text());
    for node in [1, 2, 3] {
        cluster.kill(node);
    }
    let put = |index: usize| {
        let target = format!("{}?w=ANY", path(&format!("k{index}")));
        cluster.put(4, &target, &format!("v{index}")).status
    };
    cluster.wait_for_alive(4, 1);
    let told: Vec<u16> = (0..KEYS).map(put).collect();
    assert!(told.iter().all(|status| *status == 204), "{told:?}");
    cluster.kill(4);
    for node in [1, 2, 3] {
        cluster.restart(node);
    }
    cluster.wait_for_alive(1, 3);
    let (code, _, said) = run(&cluster, 1, &["evict", "n4"]);
    assert_eq!(code, Some(0), "{said}");
    let data = cluster.node_dir(4).join("data");
    let (code, _, said) = run(&cluster, 1, &["salvage", "--data", data.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{said}");
    for index in 0..KEYS {
        let read = cluster.get(2, &path(&format!("k{index}")));
        assert_eq!(read.header("merganser-recovered"), Some("true"), "k{index}: {}", read.text());
        assert_eq!(read.text(), format!("v{index}"));
    }
    let (code, told, said) = salvage(&cluster, 1, &data, &[]);
    assert!(code == Some(0) && keys(&told, "recovered").is_empty(), "{told} {said}");
    assert!(told["hints"].as_u64() > Some(0), "n4 was a replica of all: {told}");
    cluster.stop();
}
