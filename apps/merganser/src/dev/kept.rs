//! What `dev` keeps between runs, and the configurations it writes from it.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write as _;
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
    /// Takes the directory and finds or makes the description of its cluster.
    pub(super) fn prepare(dir: &Path, nodes: u16, fresh: bool) -> Result<Self, DevError> {
        let path = dir.join("cluster.toml");
        let is_used = fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
        if is_used && !path.exists() && !dir.join("dev.lock").exists() {
            return Err(DevError::NotOurs(dir.to_owned()));
        }
        fs::create_dir_all(dir).map_err(DevError::io("create", dir))?;
        let lock = lock(dir)?;
        if fresh {
            clear(dir)?;
        }
        let mut description = if path.exists() {
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
        write(&path, &description.to_text(), 0o644)?;
        make_secret(&dir.join("secret"))?;
        let dir = dir.canonicalize().map_err(DevError::io("find", dir))?;
        Ok(Self { dir, description, _lock: lock })
    }

    /// Writes the configuration of each node.
    pub(super) fn write_configs(&self, base_port: u16) -> Result<Vec<Spec>, DevError> {
        let specs = self.specs(base_port)?;
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

/// Deletes what `dev` has made in a directory, and nothing else.
fn clear(dir: &Path) -> Result<(), DevError> {
    for entry in fs::read_dir(dir).map_err(DevError::io("read", dir))? {
        let path = entry.map_err(DevError::io("read", dir))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_node = name.strip_prefix('n').is_some_and(|number| number.parse::<u16>().is_ok());
        if is_node && path.is_dir() {
            fs::remove_dir_all(&path).map_err(DevError::io("delete", &path))?;
        } else if matches!(name, "cluster.toml" | "secret") {
            fs::remove_file(&path).map_err(DevError::io("delete", &path))?;
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

    #[test]
    fn a_cluster_is_kept_between_runs_and_fresh_makes_another() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        drop(Kept::prepare(dir, 3, false).unwrap());
        let (cluster, secret) = (text(dir, "cluster.toml"), text(dir, "secret"));
        drop(Kept::prepare(dir, 3, false).unwrap());
        assert_eq!(
            (text(dir, "cluster.toml"), text(dir, "secret")),
            (cluster.clone(), secret.clone())
        );
        fs::create_dir_all(dir.join("n1/data")).unwrap();
        fs::create_dir_all(dir.join("notes")).unwrap();
        drop(Kept::prepare(dir, 4, true).unwrap());
        assert_ne!(text(dir, "cluster.toml"), cluster);
        assert_ne!(text(dir, "secret"), secret);
        assert!(!dir.join("n1").exists() && dir.join("notes").exists(), "only what is ours goes");
    }

    #[test]
    fn another_number_of_nodes_a_second_dev_and_a_foreign_directory_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let first = Kept::prepare(dir.path(), 3, false).unwrap();
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
    fn a_busy_port_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::prepare(dir.path(), 1, false).unwrap();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = kept.write_configs(port).expect_err("it is busy").to_string();
        assert!(error.starts_with(&format!("port {port} is in use")), "{error}");
    }
}
