//! Real processes: backups of a cluster that serves, and a new cluster that is made of them.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should stop"
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Cluster, PROGRAM, eventually, request};
use serde_json::Value;
use tempfile::tempdir;

const KEYS: usize = 300;

fn path(key: &str) -> String {
    format!("/v1/kv/demo/notes/{key}")
}

/// Some 10 MB that do not repeat themselves.
fn fill(cluster: &Cluster) {
    for index in 0..KEYS {
        let value = format!("{index:08}").repeat(4_000);
        let answer = cluster.put(1, &path(&format!("k{index}")), &value);
        assert_eq!(answer.status, 204, "{}", answer.text());
    }
}

fn delete(cluster: &Cluster, key: &str) {
    let read = cluster.get(1, &format!("{}?r=ALL", path(key)));
    let context = [("Merganser-Context", read.header("merganser-context").unwrap())];
    let target = format!("{}?w=ALL", path(key));
    let answer = request(&cluster.address(1), "DELETE", &target, &context, b"");
    assert_eq!(answer.status, 204, "{}", answer.text());
}

fn backup_of(cluster: &Cluster, node: u16, depot: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["backup", "--json", "--node", &format!("http://{}", cluster.address(node))]);
    command.arg("--to").arg(depot);
    command
}

/// What the program says in JSON, if it succeeds.
fn told(output: Result<Output, std::io::Error>) -> Value {
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}: {said}", output.status);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// The code of what went wrong, and the words.
fn failed(output: Result<Output, std::io::Error>) -> (String, String) {
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "it succeeded");
    let line = said.lines().rfind(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{said}"));
    let error: Value = serde_json::from_str(line).unwrap();
    (error["code"].as_str().unwrap().to_owned(), said)
}

fn backup(cluster: &Cluster, node: u16, depot: &Path) -> Value {
    told(backup_of(cluster, node, depot).output())
}

fn verify(depot: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["backup", "verify", "--json", "--at"]).arg(depot);
    command
}

fn restore(depot: &Path, backup: &Value, into: &Path, cluster: u64) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["restore", "--json", "--id", backup["id"].as_str().unwrap()]);
    command.args(["--cluster", &cluster.to_string()]).arg("--from").arg(depot);
    command.arg("--into").arg(into);
    command
}

/// The number in the description of a cluster.
fn number(cluster: &Cluster) -> u64 {
    let text = fs::read_to_string(cluster.node_dir(1).join("node.toml")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("cluster = ")).unwrap();
    line.parse().unwrap()
}

fn manifests(depot: &Path) -> usize {
    fs::read_dir(depot.join("manifests")).map_or(0, |entries| entries.count())
}

/// All files with chunks.
fn chunks(depot: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(depot.join("chunks")).into_iter().flatten();
    let files = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
    files
        .map(|file| file.unwrap().path())
        .filter(|path| !path.to_string_lossy().contains('#'))
        .collect()
}

#[test]
fn a_second_backup_of_a_node_that_serves_keeps_little_and_damage_is_found() {
    let depot = tempdir().unwrap();
    let mut cluster = Cluster::start_with_table(3);
    fill(&cluster);
    let is_over = AtomicBool::new(false);
    let address = cluster.address(2);
    let first = std::thread::scope(|scope| {
        scope.spawn(|| {
            for index in (0..).take_while(|_| !is_over.load(Ordering::Relaxed)) {
                // Under one partition key, and so in one range: others do not change.
                let target = path(&format!("busy?sort={index}"));
                let answer = request(&address, "PUT", &target, &[], b"written meanwhile");
                assert_eq!(answer.status, 204, "{}", answer.text());
            }
        });
        let first = backup(&cluster, 1, depot.path());
        is_over.store(true, Ordering::Relaxed);
        first
    });
    assert!(KEYS as u64 <= first["objects"].as_u64().unwrap(), "{first}");
    let all = first["bytes"].as_u64().unwrap();
    assert!(9_000_000 < all && first["new_bytes"] == first["bytes"], "{first}");

    let answer = cluster.put(1, &path("k7"), "another value beside the first");
    assert_eq!(answer.status, 204);
    let second = backup(&cluster, 1, depot.path());
    let new = second["new_bytes"].as_u64().unwrap();
    assert!(0 < new && new < all / 2, "{second}");
    let verified = told(verify(depot.path()).output());
    assert_eq!((&verified["backups"], &verified["damaged"]), (&2.into(), &Value::Array(vec![])));

    // One bit in the chunk with objects that only the second backup has.
    let mut newest = chunks(depot.path());
    newest.sort_by_key(|path| fs::metadata(path).unwrap().modified().unwrap());
    let manifest = |id: &Value| {
        fs::read_to_string(depot.path().join("manifests").join(id.as_str().unwrap())).unwrap()
    };
    let (old, young) = (manifest(&first["id"]), manifest(&second["id"]));
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    newest.retain(|path| young.contains(&name(path)) && !old.contains(&name(path)));
    let victim = newest.iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = fs::read(victim).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 16;
    fs::write(victim, bytes).unwrap();
    let (code, said) = failed(verify(depot.path()).output());
    assert!(code == "backup_damaged" && said.contains(&name(victim)), "{said}");

    let into = tempdir().unwrap();
    let dir = into.path().join("n1");
    let (code, said) = failed(restore(depot.path(), &second, &dir, 77).output());
    assert!(code == "backup_damaged" && said.contains("nothing was restored"), "{said}");
    assert!(!dir.exists(), "no node is started with half of it");
    let restored = told(restore(depot.path(), &first, &dir, 77).output());
    assert_eq!(restored["objects"], first["objects"]);

    // What is in the way stays, and a cluster that lives is not entered.
    let (code, _) = failed(restore(depot.path(), &first, &dir, 78).output());
    assert_eq!(code, "not_empty");
    let same = number(&cluster);
    let (code, said) = failed(restore(depot.path(), &first, &into.path().join("x"), same).output());
    assert!(code == "same_cluster" && said.contains("empty directory"), "{said}");
    assert!(!into.path().join("x").exists());
    let mut forced = restore(depot.path(), &first, &into.path().join("x"), same);
    told(forced.arg("--same-cluster-all-lost").output());
    cluster.stop();
}

#[test]
fn a_cluster_made_of_backups_of_different_moments_keeps_what_was_deleted_deleted() {
    let depot = tempdir().unwrap();
    let mut old = Cluster::start_with_table(3);
    for key in ["kept", "deleted", "late"] {
        assert_eq!(old.put(1, &format!("{}?w=ALL", path(key)), key).status, 204);
    }
    let first = backup(&old, 1, depot.path());
    delete(&old, "deleted");
    let table = old.put(1, "/v1/keyspaces/demo/tables/other", r#"{"policy":"siblings"}"#);
    assert_eq!(table.status, 201, "{}", table.text());
    assert_eq!(old.put(1, &format!("{}?w=ALL", path("after")), "after").status, 204);
    let backups = [first, backup(&old, 2, depot.path()), backup(&old, 3, depot.path())];
    old.stop();

    let mut new = Cluster::start(3);
    let cluster = number(&new);
    new.stop();
    for (node, backup) in (1..).zip(&backups) {
        let dir = new.node_dir(node).join("data");
        fs::remove_dir_all(&dir).unwrap();
        let restored = told(restore(depot.path(), backup, &dir, cluster).output());
        assert_eq!(restored["nodes_with_backups"], serde_json::json!([1, 2, 3]));
    }
    new.start_again();
    let one = |node: u16, key: &str| new.get(node, &format!("{}?r=ONE", path(key)));
    for node in 1..=3 {
        // Nobody reads at more than one replica, so that no read makes them equal.
        eventually("the delete holds everywhere", || {
            one(node, "deleted").text().contains("\"deleted\"")
        });
        eventually("what came after the first backup is everywhere", || {
            one(node, "after").text() == "after"
        });
        for key in ["kept", "late"] {
            eventually("what was kept is there", || one(node, key).text() == key);
        }
    }
    for node in 1..=3 {
        let all = new.get(node, &format!("{}?r=ALL", path("deleted")));
        assert!(all.status == 404 && all.text().contains("\"deleted\""), "{}", all.text());
        let receipt = one(node, "kept").header("merganser-receipt").unwrap().to_owned();
        assert!(receipt.contains(&format!("acks=n{node};")), "each has its own: {receipt}");
    }
    assert_eq!(new.get(2, "/v1/keyspaces/demo/tables/other").status, 200);
    assert_eq!(new.put(3, &format!("{}?w=ALL", path("new")), "new").status, 204);
    let table = new.put(1, "/v1/keyspaces/demo/tables/third", r#"{"policy":"siblings"}"#);
    assert_eq!(table.status, 201, "{}", table.text());
    new.stop();
}

/// Begins a backup that takes its time, and waits until something of it is kept.
fn slow(cluster: &Cluster, depot: &Path) -> Child {
    let mut command = backup_of(cluster, 1, depot);
    let child = command.args(["--rate", "128KiB"]).stdout(Stdio::null()).spawn().unwrap();
    eventually("a chunk is kept", || !chunks(depot).is_empty());
    child
}

#[test]
fn a_backup_that_breaks_off_is_none_and_the_next_one_goes_on() {
    let mut cluster = Cluster::start_with_table(3);
    fill(&cluster);

    // The depot is full: nothing longer than a few hundred kilobytes is taken.
    let depot = tempdir().unwrap();
    let mut full = Command::new("sh");
    full.args(["-c", "trap '' XFSZ; ulimit -f 600; exec \"$0\" \"$@\"", PROGRAM]);
    full.args(backup_of(&cluster, 1, depot.path()).get_args());
    let (code, said) = failed(full.output());
    assert!(code == "depot_failed" && said.contains("no backup was made"), "{said}");
    assert_eq!(manifests(depot.path()), 0);

    // The command is killed in the middle; meanwhile nobody else gets one.
    let mut child = slow(&cluster, depot.path());
    let (code, said) = failed(backup_of(&cluster, 1, depot.path()).output());
    assert!(code == "backup_under_way", "{said}");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(manifests(depot.path()), 0);

    // The node is killed in the middle.
    eventually("the node has noticed", || cluster.log(1).contains("was not taken to its end"));
    let mut child = slow(&cluster, depot.path());
    std::thread::sleep(std::time::Duration::from_millis(500));
    cluster.kill(1);
    assert!(!child.wait().unwrap().success());
    assert_eq!(manifests(depot.path()), 0);

    cluster.restart(1);
    cluster.wait_for_alive(1, 3);
    let whole = backup(&cluster, 1, depot.path());
    assert!(whole["new_bytes"].as_u64() < whole["bytes"].as_u64(), "it goes on: {whole}");
    assert_eq!(manifests(depot.path()), 1);
    let verified = told(verify(depot.path()).output());
    assert!(KEYS as u64 <= verified["records"].as_u64().unwrap());

    // A depot that went away.
    fs::remove_dir_all(depot.path()).unwrap();
    fs::write(depot.path(), "no directory").unwrap();
    failed(backup_of(&cluster, 1, depot.path()).output());
    fs::remove_file(depot.path()).unwrap();
    cluster.stop();
}

#[test]
fn a_bucket_is_refused_with_a_reason_where_the_program_was_built_without() {
    if cfg!(feature = "s3") {
        return;
    }
    let mut command = Command::new(PROGRAM);
    command.args(["backup", "--json", "--to", "s3://bucket/prefix"]);
    let (code, said) = failed(command.output());
    assert!(code == "built_without_s3" && said.contains("--features s3"), "{said}");
}
