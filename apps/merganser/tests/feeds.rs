//! Real processes: a table is watched through nodes that are killed and come back.

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use common::{Cluster, PATIENCE, PROGRAM, eventually};
use serde_json::Value;

/// What `merganser watch` prints, line by line.
struct Watcher {
    child: Child,
    lines: Receiver<String>,
}

impl Watcher {
    fn start(nodes: &[String], more: &[&str]) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(["watch", "demo/notes", "--json", "--node", &nodes.join(",")]).args(more);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the program runs");
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        let (tell, lines) = channel();
        std::thread::spawn(move || {
            out.lines().map_while(Result::ok).all(|line| tell.send(line).is_ok())
        });
        Self { child, lines }
    }

    /// Reads until this key has come, and gives what came last of each.
    fn until(&self, key: &str, last: &mut BTreeMap<String, Value>) {
        while !last.contains_key(key) {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("{key} does not come"));
            let told: Value = serde_json::from_str(&line).expect("it is JSON");
            if let Some(key) = told.get("key").and_then(Value::as_str) {
                last.insert(key.to_owned(), told.clone());
            }
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write(cluster: &Cluster, node: u16, keys: impl IntoIterator<Item = String>) {
    for key in keys {
        let path = format!("/v1/kv/demo/notes/{key}");
        let is_written = || cluster.put(node, &path, &key).status == 204;
        if !is_written() {
            // Right after a kill the others may still count on the node that is away.
            eventually("it is written", is_written);
        }
    }
}

fn named(what: &str, numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|number| format!("{what}{number}")).collect()
}

#[test]
fn a_watcher_is_told_everything_through_kills_and_goes_on_from_its_file() {
    // Of five nodes three keep each shard, so that none keeps all of them.
    let mut cluster = Cluster::start_with_table(5);
    let url = |node| format!("http://{}", cluster.address(node));
    let (first, second) = (url(1), url(2));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cursor");
    let keep = ["--keep", file.to_str().unwrap(), "--since", "beginning"];
    write(&cluster, 3, named("before", 0..20));
    let watcher = Watcher::start(&[first.clone(), second.clone()], &keep);
    let mut last = BTreeMap::new();
    named("before", 0..20).iter().for_each(|key| watcher.until(key, &mut last));
    write(&cluster, 3, named("while", 0..20));
    named("while", 0..20).iter().for_each(|key| watcher.until(key, &mut last));
    // The node that it asks dies, and it goes on at the other.
    cluster.kill(1);
    write(&cluster, 3, named("killed", 0..20));
    named("killed", 0..20).iter().for_each(|key| watcher.until(key, &mut last));
    assert!(last.values().all(|told| told["deleted"] == false), "{last:?}");
    assert_eq!(last["killed7"]["values"][0]["value"], "killed7");

    // It is away while much happens, and so is the one that it had asked.
    drop(watcher);
    cluster.restart(1);
    cluster.kill(2);
    write(&cluster, 4, named("away", 0..20));
    let context = last["while3"]["context"].as_str().unwrap().to_owned();
    let headers = [("merganser-context", context.as_str())];
    let path = "/v1/kv/demo/notes/while3";
    eventually("it is deleted", || {
        common::request(&cluster.address(4), "DELETE", path, &headers, b"").status == 204
    });
    cluster.restart(2);
    let watcher = Watcher::start(&[second, first], &keep);
    let mut again = BTreeMap::new();
    named("away", 0..20).iter().for_each(|key| watcher.until(key, &mut again));
    watcher.until("while3", &mut again);
    assert_eq!(again["while3"]["deleted"], true);
    assert!(!again.contains_key("before1"), "what was printed and kept is not printed again");
    drop(watcher);
    cluster.stop();
}

#[test]
fn a_stream_of_events_goes_on_at_another_node_and_does_not_keep_one_from_stopping() {
    use std::io::{Read as _, Write as _};
    let mut cluster = Cluster::start_with_table(3);
    let open = |node: u16, headers: &str| {
        let mut stream = std::net::TcpStream::connect(cluster.address(node)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "GET /v1/changes/demo/notes HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n{headers}\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    let until = |stream: &mut std::net::TcpStream, words: &str| {
        let (mut text, mut bytes) = (String::new(), [0; 4096]);
        while !text.contains(words) {
            let count = stream.read(&mut bytes).unwrap();
            assert!(0 < count, "it ended before {words}: {text}");
            text.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        text
    };
    let mut stream = open(1, "");
    until(&mut stream, "id: ");
    write(&cluster, 2, ["a".to_owned()]);
    let told = until(&mut stream, "\"key\":\"a\"");
    let id = told.lines().find_map(|line| line.strip_prefix("id: ")).unwrap();
    let mut other = open(3, &format!("last-event-id: {id}\r\n"));
    until(&mut other, "id: ");
    write(&cluster, 1, ["b".to_owned()]);
    let told = until(&mut other, "\"key\":\"b\"");
    assert!(!told.contains("\"key\":\"a\""), "{told}");
    // As programs do, that hang up when the other side does.
    let ends = [stream, other]
        .map(|mut stream| std::thread::spawn(move || stream.read_to_end(&mut Vec::new()).unwrap()));
    let began = std::time::Instant::now();
    cluster.stop();
    for end in ends {
        end.join().unwrap();
    }
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
}
