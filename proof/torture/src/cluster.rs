//! Nodes as processes, with their files in one scratch directory.
//!
//! They run on loopback, or each at a [`Place`] of its own, as in a network namespace.
//!
//! Each node has `nI/node.toml`, `nI/node.log` and its data under `nI/disk/`, where a
//! scenario can mount a disk of its own. A node is started bare, or behind a *wrapper* such
//! as `strace`. It runs on a leash: its standard input is a pipe of this process, and it
//! ends when the pipe does, so nothing outlives a torture process that was itself killed.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::http::ask;
use crate::outcome::Stop;
use crate::process::{eventually, run, signal};
use crate::told::STATUS_PATIENCE;

/// A cluster of one to nine nodes. Dropping it kills them.
#[derive(Debug)]
pub struct Cluster {
    binary: PathBuf,
    dir: PathBuf,
    nodes: Vec<Node>,
    /// What [`start`](Self::start) puts before the program: nothing, at first.
    wrapper: Vec<String>,
}

/// Where a node runs.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its address.
    pub host: Ipv4Addr,
    /// What is put before the program to get there, as if typed; may be nothing.
    pub entry: Vec<String>,
}

#[derive(Debug)]
struct Node {
    http: SocketAddr,
    entry: Vec<String>,
    child: Option<Child>,
}

impl Cluster {
    /// Writes the configuration of so many nodes on loopback below `dir`. Starts none.
    ///
    /// # Errors
    ///
    /// Files cannot be written, or there are no free ports.
    pub fn prepare(binary: &Path, dir: &Path, count: u16) -> Result<Self, Stop> {
        let here = Place { host: Ipv4Addr::LOCALHOST, entry: Vec::new() };
        Self::prepare_at(binary, dir, &vec![here; usize::from(count)])
    }

    /// Writes the configuration of a node for each place below `dir`. Starts none.
    ///
    /// # Errors
    ///
    /// As for [`prepare`](Self::prepare).
    pub fn prepare_at(binary: &Path, dir: &Path, places: &[Place]) -> Result<Self, Stop> {
        let ports = free_ports(2 * places.len())?;
        let (http, peers) = ports.split_at(places.len());
        let mut secret = fs::OpenOptions::new();
        secret.write(true).create(true).truncate(true).mode(0o600);
        secret.open(dir.join("secret"))?.write_all(b"sixteen bytes and some more\n")?;
        let mut list = String::new();
        for ((id, Place { host, .. }), peer) in (1_u16..).zip(places).zip(peers) {
            let zone = ["a", "b", "c"].get(usize::from(id - 1) % 3).unwrap_or(&"a");
            list +=
                &format!("\n[[nodes]]\nid = {id}\npeer = \"{host}:{peer}\"\nzone = \"{zone}\"\n");
        }
        let insecure = places.iter().any(|place| !place.host.is_loopback());
        let mut nodes = Vec::new();
        for ((id, place), http) in (1_u16..).zip(places).zip(http) {
            let http = SocketAddr::from((place.host, *http));
            let own = dir.join(format!("n{id}"));
            fs::create_dir_all(own.join("disk"))?;
            let head = format!(
                "node_id = {id}\ncluster = 7\nsecret_file = \"../secret\"\n\
                 data_dir = \"disk/data\"\nhttp_listen = \"{http}\"\n\
                 insecure_network = {insecure}\n"
            );
            fs::write(own.join("node.toml"), head + &list)?;
            nodes.push(Node { http, entry: place.entry.clone(), child: None });
        }
        Ok(Self { binary: binary.to_owned(), dir: dir.to_owned(), nodes, wrapper: Vec::new() })
    }

    /// Adds an option to the file of a node, for its next starts.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn configure(&self, id: u16, option: &str) -> Result<(), Stop> {
        let path = self.node_dir(id).join("node.toml");
        let rest = fs::read_to_string(&path)?;
        Ok(fs::write(path, format!("{option}\n{rest}"))?)
    }

    /// Makes a node, for its next starts, one of the cluster with another number.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn renumber(&self, id: u16, cluster: u64) -> Result<(), Stop> {
        let path = self.node_dir(id).join("node.toml");
        let old = fs::read_to_string(&path)?;
        Ok(fs::write(path, old.replace("\ncluster = 7\n", &format!("\ncluster = {cluster}\n")))?)
    }

    /// From now on nodes are started behind this, as if typed before the program. In it,
    /// `{dir}` stands for the directory of the node that is started.
    pub fn start_behind(&mut self, wrapper: &[&str]) {
        self.wrapper = wrapper.iter().map(|word| (*word).to_owned()).collect();
    }

    /// The numbers of the nodes.
    pub fn ids(&self) -> impl Iterator<Item = u16> + Clone + use<> {
        1..=u16::try_from(self.nodes.len()).unwrap_or(u16::MAX)
    }

    /// Where clients reach the nodes.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| format!("http://{}", node.http)).collect()
    }

    /// Where nodes reach each other.
    pub fn peers(&self) -> Vec<String> {
        let config = fs::read_to_string(self.node_dir(1).join("node.toml")).unwrap_or_default();
        let peers = config.lines().filter_map(|line| line.strip_prefix("peer = \""));
        peers.map(|rest| rest.trim_end_matches('"').to_owned()).collect()
    }

    /// The directory of a node.
    pub fn node_dir(&self, id: u16) -> PathBuf {
        self.dir.join(format!("n{id}"))
    }

    /// Where a scenario may mount a disk for a node, before its first start.
    pub fn disk_dir(&self, id: u16) -> PathBuf {
        self.node_dir(id).join("disk")
    }

    /// Starts a node behind a wrapper, which may be empty, and waits for nothing.
    ///
    /// # Errors
    ///
    /// The program cannot be started.
    pub fn launch(&mut self, id: u16, wrapper: &[String]) -> Result<(), Stop> {
        let own = self.node_dir(id);
        let log = fs::OpenOptions::new().create(true).append(true).open(own.join("node.log"))?;
        let dir = own.display().to_string();
        let mut words = self.node(id)?.entry.clone();
        words.extend(wrapper.iter().map(|word| word.replace("{dir}", &dir)));
        words.push(self.binary.display().to_string());
        let Some((program, arguments)) = words.split_first() else { return Ok(()) };
        let child = Command::new(program)
            .args(arguments)
            .args(["serve", "--exit-with-parent", "--config"])
            .arg(own.join("node.toml"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0)
            .spawn()
            .map_err(|err| Stop::Failed(format!("{program}: {err}")))?;
        self.node(id)?.child = Some(child);
        Ok(())
    }

    /// Starts a node and waits until it answers.
    ///
    /// # Errors
    ///
    /// It ends, or does not answer in time.
    pub fn start(&mut self, id: u16) -> Result<(), Stop> {
        self.launch(id, &self.wrapper.clone())?;
        if self.answers_or_ended(id)?.is_none() {
            return Ok(());
        }
        Err(Stop::Failed(format!("n{id} ended instead of serving: {}", self.last_words(id))))
    }

    /// Starts all nodes at once and waits until each sees all others.
    ///
    /// # Errors
    ///
    /// As for [`start`](Self::start).
    pub fn start_all(&mut self) -> Result<(), Stop> {
        for id in self.ids() {
            self.launch(id, &self.wrapper.clone())?;
        }
        for id in self.ids() {
            if self.answers_or_ended(id)?.is_some() {
                return Err(Stop::Failed(format!("n{id} ended: {}", self.last_words(id))));
            }
        }
        self.wait_for_all_alive()
    }

    /// Waits until each node sees all others alive.
    ///
    /// # Errors
    ///
    /// Not in time.
    pub fn wait_for_all_alive(&self) -> Result<(), Stop> {
        for id in self.ids() {
            eventually("each node sees all others alive", || {
                self.alive(id).is_ok_and(|alive| alive.len() == self.nodes.len())
            })?;
        }
        Ok(())
    }

    /// Where clients reach a node.
    ///
    /// # Errors
    ///
    /// There is no such node.
    pub fn address(&self, id: u16) -> Result<SocketAddr, Stop> {
        let node = self.nodes.get(usize::from(id).wrapping_sub(1));
        node.map(|node| node.http).ok_or_else(|| Stop::Failed(format!("there is no n{id}")))
    }

    /// Waits until a launched node answers, or has ended; then with what status. It may not be
    /// ready yet: a node that is alone first waits for the others.
    ///
    /// # Errors
    ///
    /// Neither in time.
    pub fn answers_or_ended(&mut self, id: u16) -> Result<Option<ExitStatus>, Stop> {
        let mut ended = None;
        eventually(&format!("n{id} answers"), || {
            let Ok(node) = self.node(id) else { return false };
            ended = node.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            ended.is_some()
                || ask(node.http, "GET", "/health/live", "", STATUS_PATIENCE)
                    .is_ok_and(|answer| answer.status == 200)
        })?;
        Ok(ended)
    }

    /// Waits until a node has ended by itself.
    ///
    /// # Errors
    ///
    /// It still runs.
    pub fn wait_for_end(&mut self, id: u16) -> Result<ExitStatus, Stop> {
        let mut ended = None;
        eventually(&format!("n{id} has ended"), || {
            let child = self.node(id).ok().and_then(|node| node.child.as_mut());
            ended = child.and_then(|child| child.try_wait().ok().flatten());
            ended.is_some()
        })?;
        Ok(ended.unwrap_or(ExitStatus::from_raw(0)))
    }

    /// Whether a launched node has ended.
    ///
    /// # Errors
    ///
    /// There is no such node.
    pub fn has_ended(&mut self, id: u16) -> Result<bool, Stop> {
        let child = self.node(id)?.child.as_mut();
        Ok(child.is_none_or(|child| child.try_wait().ok().flatten().is_some()))
    }

    /// The process that was launched, which may be a wrapper.
    ///
    /// # Errors
    ///
    /// The node was not started.
    pub fn pid(&mut self, id: u16) -> Result<u32, Stop> {
        let child = self.node(id)?.child.as_ref();
        child.map(Child::id).ok_or_else(|| Stop::Failed(format!("n{id} was not started")))
    }

    /// Ends nodes with `kill -9`, all at once as far as possible, and waits until they are
    /// gone. Returns how many died of it: the others had ended before, or were not started.
    ///
    /// # Errors
    ///
    /// There is no such node.
    pub fn kill(&mut self, ids: &[u16]) -> Result<u64, Stop> {
        for id in ids {
            let Ok(pid) = self.pid(*id) else { continue };
            // The group, so that what runs behind a wrapper dies with it.
            let _ = run(&["kill", "-KILL", "--", &format!("-{pid}")]);
        }
        let mut killed = 0;
        for id in ids {
            if let Some(mut child) = self.node(*id)?.child.take() {
                killed += u64::from(child.wait()?.signal() == Some(9));
                // A wrapper dies before what runs behind it has let go of its files.
                eventually("all processes of a killed node are gone", || !lives(child.id()))?;
            }
        }
        Ok(killed)
    }

    /// Stops a node as an operator does.
    ///
    /// # Errors
    ///
    /// It does not end, or not well.
    pub fn stop(&mut self, id: u16) -> Result<(), Stop> {
        signal("TERM", self.pid(id)?)?;
        let status = self.wait_for_end(id)?;
        if status.success() { Ok(()) } else { Err(Stop::Failed(format!("n{id}: {status}"))) }
    }

    fn node(&mut self, id: u16) -> Result<&mut Node, Stop> {
        let node = self.nodes.get_mut(usize::from(id).wrapping_sub(1));
        node.ok_or_else(|| Stop::Failed(format!("there is no n{id}")))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for id in self.ids() {
            // Whoever was not started has nothing to be killed.
            let _ = self.kill(&[id]);
        }
    }
}

/// Whether a process of this group is alive.
fn lives(group: u32) -> bool {
    let Ok(processes) = fs::read_dir("/proc") else { return false };
    processes.flatten().any(|process| {
        let stat = fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let (state, its_group) = (fields.next(), fields.nth(1));
        // The first thread is a zombie while the others still hold the files.
        let is_dead = || {
            let threads = fs::read_dir(process.path().join("task"));
            matches!(state, Some("Z" | "X")) && threads.is_ok_and(|threads| threads.count() < 2)
        };
        its_group == Some(group.to_string().as_str()) && !is_dead()
    })
}

/// So many free ports, outside of the range that Linux takes for outgoing connections.
fn free_ports(count: usize) -> Result<Vec<u16>, Stop> {
    let start: u16 = rand::random_range(10_000..30_000);
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let ports: Vec<u16> = (start..32_000).filter(is_free).take(count).collect();
    if ports.len() == count { Ok(ports) } else { Err(Stop::failed("no free ports")) }
}
