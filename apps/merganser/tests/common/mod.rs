//! A real cluster of real processes for tests, and a small HTTP client to talk to it.
//!
//! ```text
//! let mut cluster = Cluster::start(3);
//! cluster.put(1, "/v1/kv/demo/notes/a", "text");
//! cluster.kill(2);
//! cluster.restart(2);
//! ```
//!
//! Everything stops when the [`Cluster`] is dropped, also when a test fails.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]
#![allow(unreachable_pub, reason = "a module that several test binaries include")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a test waits for what must happen. Long, because tests share a small machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_merganser");

/// A cluster started with `merganser dev`.
pub struct Cluster {
    dir: TempDir,
    base_port: u16,
    nodes: u16,
    dev: Child,
    output: Receiver<String>,
    /// Nodes started by hand after they were killed.
    restarted: Vec<Child>,
}

/// An answer over HTTP.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header, if it is there.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Cluster {
    /// Starts a cluster on free ports and waits until it is ready.
    pub fn start(nodes: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let base_port = free_ports(nodes);
        let (dev, output) = start_dev(dir.path(), nodes, base_port);
        let cluster = Self { dir, base_port, nodes, dev, output, restarted: Vec::new() };
        cluster.wait_for("ready; Ctrl-C stops all nodes");
        cluster
    }

    /// Starts a cluster with the table `notes` in the keyspace `demo`.
    pub fn start_with_table(nodes: u16) -> Self {
        let cluster = Self::start(nodes);
        assert_eq!(cluster.put(1, "/v1/keyspaces/demo", "").status, 201);
        let table = cluster.put(1, "/v1/keyspaces/demo/tables/notes", r#"{"policy":"siblings"}"#);
        assert_eq!(table.status, 201, "{}", table.text());
        cluster
    }

    /// Starts all nodes again on the same data, after [`stop`](Self::stop).
    pub fn start_again(&mut self) {
        let (dev, output) = start_dev(self.dir.path(), self.nodes, self.base_port);
        (self.dev, self.output) = (dev, output);
        self.wait_for("ready; Ctrl-C stops all nodes");
    }

    /// Stops all nodes as Ctrl-C does.
    pub fn stop(&mut self) {
        for node in &mut self.restarted {
            signal("-TERM", node.id());
            let _ = node.wait();
        }
        self.restarted.clear();
        signal("-INT", self.dev.id());
        let status = self.dev.wait().unwrap();
        assert!(status.success(), "dev ended with {status}");
    }

    /// Ends `dev` itself with `kill -9`.
    pub fn kill_dev(&mut self) {
        signal("-KILL", self.dev.id());
        self.dev.wait().unwrap();
    }

    /// Where clients reach a node.
    pub fn address(&self, node: u16) -> String {
        format!("127.0.0.1:{}", self.base_port + node - 1)
    }

    /// The directory of a node: `node.toml`, `node.log`, `data/`.
    pub fn node_dir(&self, node: u16) -> PathBuf {
        self.dir.path().join(format!("n{node}"))
    }

    /// What a node has logged.
    pub fn log(&self, node: u16) -> String {
        fs::read_to_string(self.node_dir(node).join("node.log")).unwrap_or_default()
    }

    /// Where other nodes reach a node.
    pub fn peer_address(&self, node: u16) -> String {
        let text = fs::read_to_string(self.dir.path().join("cluster.toml")).unwrap();
        let ports = text.split_once("peer_ports = [").unwrap().1;
        let ports = ports.split_once(']').unwrap().0;
        let port = ports.split(", ").nth(usize::from(node) - 1).unwrap();
        format!("127.0.0.1:{port}")
    }

    /// The process of a node.
    pub fn pid(&self, node: u16) -> u32 {
        let path = self.node_dir(node).join("data/node.pid");
        fs::read_to_string(path).unwrap().trim().parse().unwrap()
    }

    /// Ends a node with `kill -9` and waits until it is gone.
    pub fn kill(&mut self, node: u16) {
        let pid = self.pid(node);
        signal("-KILL", pid);
        self.bury(node);
    }

    /// Waits until a node that was sent a deadly signal is gone.
    pub fn bury(&mut self, node: u16) {
        let pid = self.pid(node);
        if let Some(at) = self.restarted.iter().position(|child| child.id() == pid) {
            self.restarted.remove(at).wait().unwrap();
        }
        eventually("the killed node is gone", || !is_alive(pid));
    }

    /// Starts a node again that was killed, and waits until it answers.
    pub fn restart(&mut self, node: u16) {
        self.restart_until(node, "/health");
    }

    /// The same, until it is there, whether or not it can serve.
    pub fn restart_to_join(&mut self, node: u16) {
        self.restart_until(node, "/health/live");
    }

    fn restart_until(&mut self, node: u16, path: &str) {
        let log = fs::OpenOptions::new().append(true).open(self.node_dir(node).join("node.log"));
        let config = self.node_dir(node).join("node.toml");
        let child = Command::new(PROGRAM)
            .args(["serve", "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.unwrap())
            .spawn()
            .unwrap();
        self.restarted.push(child);
        let address = self.address(node);
        eventually("the restarted node answers", || {
            try_request(&address, "GET", path, &[], b"").is_ok_and(|answer| answer.status == 200)
        });
    }

    /// Waits until a node sees so many nodes alive, itself included.
    pub fn wait_for_alive(&self, node: u16, alive: usize) {
        eventually(&format!("n{node} sees {alive} nodes alive"), || {
            self.get(node, "/v1/status").text().matches("\"alive\":true").count() == alive
        });
    }

    /// `GET` from a node.
    pub fn get(&self, node: u16, path: &str) -> Answer {
        request(&self.address(node), "GET", path, &[], b"")
    }

    /// `PUT` to a node.
    pub fn put(&self, node: u16, path: &str, body: &str) -> Answer {
        request(&self.address(node), "PUT", path, &[], body.as_bytes())
    }

    /// `PUT` to a node, with the context that a read or write returned.
    pub fn put_after(&self, node: u16, path: &str, body: &str, context: &str) -> Answer {
        let headers = [("Merganser-Context", context)];
        request(&self.address(node), "PUT", path, &headers, body.as_bytes())
    }

    /// Waits for a line of `dev` that contains `text`, and returns it.
    pub fn wait_for(&self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut heard = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => heard.push(line),
                Err(_) => panic!("dev did not say {text:?}, but:\n{}", heard.join("\n")),
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.restarted {
            let _ = node.kill();
            let _ = node.wait();
        }
        if self.dev.try_wait().is_ok_and(|status| status.is_none()) {
            signal("-TERM", self.dev.id());
            let _ = self.dev.wait();
        }
        if std::thread::panicking() {
            for node in 1..=self.nodes {
                eprintln!("--- log of n{node}\n{}", self.log(node));
            }
        }
    }
}

fn start_dev(dir: &Path, nodes: u16, base_port: u16) -> (Child, Receiver<String>) {
    let mut dev = Command::new(PROGRAM)
        .args(["dev", "--nodes", &nodes.to_string(), "--base-port", &base_port.to_string()])
        .arg("--dir")
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (lines, output) = channel();
    let stdout = BufReader::new(dev.stdout.take().unwrap());
    let stderr = BufReader::new(dev.stderr.take().unwrap());
    for reader in [Box::new(stdout) as Box<dyn std::io::BufRead + Send>, Box::new(stderr)] {
        let lines = lines.clone();
        std::thread::spawn(move || {
            for line in reader.lines().map_while(Result::ok) {
                // The test that started the cluster may be over.
                let _ = lines.send(line);
            }
        });
    }
    (dev, output)
}

/// The first of so many free ports in a row, outside of the range that Linux takes for
/// outgoing connections, and beginning somewhere else in each process and call.
pub fn free_ports(count: u16) -> u16 {
    static CALLS: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);
    let calls = CALLS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let start = (std::process::id() as u16).wrapping_mul(61).wrapping_add(calls.wrapping_mul(331));
    (0..1_000u16)
        .map(|step| 10_000 + start.wrapping_add(step * 16) % 9_000)
        .find(|base| {
            (*base..base + count).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok())
        })
        .expect("there are free ports")
}

/// Sends a signal, as the shell does.
pub fn signal(signal: &str, pid: u32) {
    let status = Command::new("kill").args([signal, &pid.to_string()]).status().unwrap();
    assert!(status.success(), "kill {signal} {pid}");
}

/// Whether a process is there and not merely waiting to be reaped.
pub fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Waits until something is so.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One request over a connection of its own.
pub fn request(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    try_request(address, method, path, headers, body)
        .unwrap_or_else(|error| panic!("{method} http://{address}{path}: {error}"))
}

/// One request over a connection of its own, which may fail.
pub fn try_request(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("Content-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    parse(&answer).ok_or_else(|| std::io::Error::other("the answer is no HTTP, or cut off"))
}

fn parse(answer: &[u8]) -> Option<Answer> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    Some(Answer { status, headers, body: answer[end + 4..].to_vec() })
}
