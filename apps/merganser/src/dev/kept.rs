//! What `dev` keeps between runs, and the configurations it writes from it.
//!
//! A start that fails must leave the cluster as it was: nodes of it may run, started by hand, and
//! read their configuration again later. So everything is looked at first, and written when nothing
//! is in the way any more.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{DevError, Spec, ports};

/// Zones to put nodes in, in turn: with three replicas, one in each.
const ZONES: [&str; 3] = ["a", "b", "c"];

/// A cluster under a directory.
#[derive(Debug)]
pub(super) struct Kept {
    dir: PathBuf,
    description: Description,
    /// Whether the data of former runs goes.
    fresh: bool,
    /// Held as long as this `dev` runs.
    _lock: File,
}

/// `cluster.toml`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Description {
    /// The cluster's number.
    cluster: u64,
    /// Where the nodes talk to each other, the first node first.
    peer_ports: Vec<u16>,
}

impl Kept {
    /// Takes the directory, and finds or makes up the description of its cluster. Of what is there
    /// nothing is changed.
    pub(super) fn prepare(dir: &Path, nodes: u16, fresh: bool) -> Result<Self, DevError> {
        let path = dir.join("cluster.toml");
        let is_used = fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
        if is_used && !path.exists() && !dir.join("dev.lock").exists() {
            return Err(DevError::NotOurs(dir.to_owned()));
        }
        fs::create_dir_all(dir).map_err(DevError::io("create", dir))?;
        let lock = lock(dir)?;
        for data in node_dirs(dir)?.into_iter().map(|node| node.join("data")) {
            if storage::is_in_use(&data) {
                return Err(DevError::NodeRuns(data));
            }
        }
        let mut description = if path.exists() && !fresh {
            Description::read(&path)?
        } else {
            // TOML has no integers above 63 bits.
            Description { cluster: rand::random::<u64>() >> 1, peer_ports: vec![0; nodes.into()] }
        };
        let kept = u16::try_from(description.peer_ports.len()).unwrap_or(u16::MAX);
        if kept != nodes {
            return Err(DevError::OtherSize { dir: dir.to_owned(), kept, asked: nodes });
        }
        description.find_ports(&path)?;
        let dir = dir.canonicalize().map_err(DevError::io("find", dir))?;
        Ok(Self { dir, description, fresh, _lock: lock })
    }

    /// Writes the description, the secret, and the configuration of each node, if its ports for
    /// clients are free.
    pub(super) fn write(&self, base_port: u16) -> Result<Vec<Spec>, DevError> {
        let specs = self.specs(base_port)?;
        if self.fresh {
            clear(&self.dir)?;
        }
        write(&self.dir.join("cluster.toml"), &self.description.to_text(), 0o644)?;
        make_secret(&self.dir.join("secret"))?;
        for spec in &specs {
            fs::create_dir_all(&spec.dir).map_err(DevError::io("create", &spec.dir))?;
            write(&spec.config(), &self.config(spec, &specs), 0o644)?;
        }
        Ok(specs)
    }

    fn specs(&self, base_port: u16) -> Result<Vec<Spec>, DevError> {
        let nodes = u16::try_from(self.description.peer_ports.len()).unwrap_or(u16::MAX);
        let last = base_port.checked_add(nodes - 1).filter(|_| base_port != 0);
        let last = last.ok_or(DevError::PortRange { base: base_port, nodes })?;
        if let Some(busy) = (base_port..=last).find(|port| !ports::is_free(*port)) {
            return Err(DevError::PortBusy(busy));
        }
        let zones = ZONES.iter().cycle();
        let numbered = (1..=nodes).zip(base_port..=last).zip(zones);
        Ok(numbered
            .map(|((node, port), zone)| Spec {
                node,
                zone,
                dir: self.dir.join(format!("n{node}")),
                http: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            })
            .collect())
    }

    fn config(&self, spec: &Spec, all: &[Spec]) -> String {
        let mut text = format!(
            "# Written by merganser dev at every start; changes are lost.\n\
             node_id = {}\ncluster = {}\nsecret_file = \"../secret\"\ndata_dir = \"data\"\n\
             http_listen = \"{}\"\n",
            spec.node, self.description.cluster, spec.http
        );
        for (other, port) in all.iter().zip(&self.description.peer_ports) {
            write!(
                text,
                "\n[[nodes]]\nid = {}\npeer = \"127.0.0.1:{port}\"\nregion = \"local\"\nzone = \"{}\"\n",
                other.node, other.zone
            )
            .expect("text takes whatever is written to it");
        }
        text
    }
}

impl Description {
    fn read(path: &Path) -> Result<Self, DevError> {
        let text = fs::read_to_string(path).map_err(DevError::io("read", path))?;
        toml::from_str(&text).map_err(|error| DevError::BadKept {
            path: path.to_owned(),
            problem: error.to_string(),
        })
    }

    fn to_text(&self) -> String {
        format!("cluster = {}\npeer_ports = {:?}\n", self.cluster, self.peer_ports)
    }

    /// Replaces the ports that somebody else took since the last run. All nodes are down, and
    /// will all hear of it.
    fn find_ports(&mut self, path: &Path) -> Result<(), DevError> {
        for at in 0..self.peer_ports.len() {
            let taken = self.peer_ports.clone();
            let Some(port) = self.peer_ports.get_mut(at) else { continue };
            if *port == 0 || !ports::is_free(*port) {
                *port = ports::pick(&taken).ok_or_else(|| DevError::BadKept {
                    path: path.to_owned(),
                    problem: "there is no free port for the nodes".to_owned(),
                })?;
            }
        }
        Ok(())
    }
}

/// Holds the directory against a second `dev`.
fn lock(dir: &Path) -> Result<File, DevError> {
    let path = dir.join("dev.lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(DevError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DevError::Running(dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(DevError::io("lock", &path)(source)),
    }
}

/// The directories of nodes.
fn node_dirs(dir: &Path) -> Result<Vec<PathBuf>, DevError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(DevError::io("read", dir))? {
        let path = entry.map_err(DevError::io("read", dir))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_node = name.strip_prefix('n').is_some_and(|number| number.parse::<u16>().is_ok());
        if is_node && path.is_dir() {
            found.push(path);
        }
    }
    Ok(found)
}

/// Deletes what `dev` has made in a directory, and nothing else.
fn clear(dir: &Path) -> Result<(), DevError> {
    for path in node_dirs(dir)? {
        fs::remove_dir_all(&path).map_err(DevError::io("delete", &path))?;
    }
    for path in ["cluster.toml", "secret"].map(|name| dir.join(name)) {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(DevError::io("delete", &path)(error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

fn make_secret(path: &Path) -> Result<(), DevError> {
    if path.exists() {
        return Ok(());
    }
    let secret: [u64; 4] = rand::random();
    let text: String = secret.iter().map(|word| format!("{word:016x}")).collect();
    write(path, &format!("{text}\n"), 0o600)
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), DevError> {
    let file = OpenOptions::new().create(true).truncate(true).write(true).mode(mode).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(DevError::io("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is at a path, or nothing.
    fn text(dir: &Path, name: &str) -> String {
        fs::read_to_string(dir.join(name)).unwrap_or_default()
    }

    /// Prepares and writes a cluster on some free ports.
    fn made(dir: &Path, nodes: u16, fresh: bool) -> Kept {
        let kept = Kept::prepare(dir, nodes, fresh).unwrap();
        let is_free = |base: &u16| (*base..base + nodes).all(ports::is_free);
        let base = (21_000..30_000).step_by(37).find(is_free).unwrap();
        kept.write(base).unwrap();
        kept
    }

    #[test]
    fn a_cluster_is_kept_between_runs_and_fresh_makes_another() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        drop(made(dir, 3, false));
        let (cluster, secret) = (text(dir, "cluster.toml"), text(dir, "secret"));
        drop(made(dir, 3, false));
        assert_eq!(
            (text(dir, "cluster.toml"), text(dir, "secret")),
            (cluster.clone(), secret.clone())
        );
        fs::create_dir_all(dir.join("n1/data")).unwrap();
        fs::create_dir_all(dir.join("notes")).unwrap();
        drop(made(dir, 4, true));
        assert_ne!(text(dir, "cluster.toml"), cluster);
        assert_ne!(text(dir, "secret"), secret);
        assert!(
            !dir.join("n1/data").exists() && dir.join("notes").exists(),
            "only what is ours goes"
        );
    }

    #[test]
    fn another_number_of_nodes_a_second_dev_and_a_foreign_directory_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let first = made(dir.path(), 3, false);
        let second = Kept::prepare(dir.path(), 3, false).expect_err("two at once").to_string();
        assert!(second.contains("another merganser dev is running"), "{second}");
        drop(first);
        let other = Kept::prepare(dir.path(), 5, false).expect_err("another size").to_string();
        assert!(other.contains("holds a cluster of 3 nodes, and 5 were asked for"), "{other}");

        let foreign = tempfile::tempdir().unwrap();
        fs::write(foreign.path().join("thesis.tex"), "").unwrap();
        let error = Kept::prepare(foreign.path(), 3, true).expect_err("foreign").to_string();
        assert!(error.contains("was not made by merganser dev"), "{error}");
        assert!(foreign.path().join("thesis.tex").exists());
    }

    #[test]
    fn a_start_that_fails_changes_nothing_of_the_cluster_that_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        drop(made(dir, 2, false));
        fs::create_dir_all(dir.join("n2/data")).unwrap();
        let all = || {
            ["cluster.toml", "secret", "n1/node.toml", "n2/node.toml"].map(|name| text(dir, name))
        };
        let before = all();
        // Whoever took a port for the nodes meanwhile makes them move, but only if they start.
        let ports: Vec<u16> = Description::read(&dir.join("cluster.toml")).unwrap().peer_ports;
        let _taken = std::net::TcpListener::bind(("127.0.0.1", ports[0])).unwrap();
        let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = busy.local_addr().unwrap().port();
        for fresh in [false, true] {
            let kept = Kept::prepare(dir, 2, fresh).unwrap();
            let error = kept.write(port).expect_err("it is busy").to_string();
            assert!(error.starts_with(&format!("port {port} is in use")), "{error}");
            assert_eq!(all(), before, "fresh: {fresh}");
        }
        let held = File::create(dir.join("n2/data/LOCK")).unwrap();
        held.try_lock().unwrap();
        for fresh in [false, true] {
            let error = Kept::prepare(dir, 2, fresh).expect_err("it is served").to_string();
            assert!(error.contains("n2/data is served by a node"), "{error}");
            assert_eq!(all(), before, "fresh: {fresh}");
        }
        drop(held);
        assert!(Kept::prepare(dir, 2, false).is_ok(), "nobody serves it any more");
    }
}
