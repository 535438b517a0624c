//! The configuration of one node.
//!
//! It is read twice. [`Raw`] is what was typed: flags, then environment variables, then the
//! file, each option optional. [`Config`] is what it means: every option resolved, checked
//! and typed, so that the rest of the program neither parses nor doubts. Every complaint
//! names the option and says what to write instead, and nothing is opened or bound before
//! all of them have passed.
//!
//! The safe choice is the default. There is no encryption between nodes or towards clients,
//! so only loopback addresses are accepted unless `insecure_network` is set.

mod memory;
mod raw;
mod secret;
mod size;
mod span;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use model::{ClusterId, Limits, Name, NodeId};
use placement::{Layout, Member};
use thiserror::Error;

pub(crate) use memory::Memory;
pub(crate) use raw::{LogFormat, Raw, RawNode};
pub(crate) use secret::Secret;
pub(crate) use size::ByteSize;
use span::Span;

/// The largest value that can be allowed. Nodes send each other a key with all its siblings
/// in one frame: a value of nearly a frame would be accepted and never reach another
/// replica. So four of the largest travel together, less what surrounds them.
const VALUE_BYTES_CEILING: u64 = wire::FRAME_BYTES_MAX as u64 / 4;

/// The configuration of one node, resolved and checked.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// This node. One of the layout's.
    pub(crate) node: NodeId,
    /// Its cluster.
    pub(crate) cluster: ClusterId,
    /// What the nodes of the cluster share and nobody else knows.
    pub(crate) secret: Secret,
    /// Where its data is.
    pub(crate) data_dir: PathBuf,
    /// Where clients come in.
    pub(crate) http_listen: SocketAddr,
    /// Where other nodes come in.
    pub(crate) peer_listen: SocketAddr,
    /// Where the others are told to reach this node, as `host:port`.
    pub(crate) address: String,
    /// Where the other nodes are reached, as `host:port`, as far as that was said.
    pub(crate) peers: BTreeMap<NodeId, Option<String>>,
    /// All nodes and where they stand.
    pub(crate) layout: Layout,
    /// Bounds on what clients may send.
    pub(crate) limits: Limits,
    /// The most client connections at once.
    pub(crate) connections_max: usize,
    /// The most who watch tables at once.
    pub(crate) feeds_max: usize,
    /// Who gets how much memory.
    pub(crate) memory: Memory,
}

/// How log lines are filtered and written. Apart from [`Config`], because complaints about
/// the configuration are already logged that way.
#[derive(Clone, Debug)]
pub(crate) struct LogConfig {
    /// A filter in the syntax of `RUST_LOG`.
    pub(crate) filter: String,
    /// The format.
    pub(crate) format: LogFormat,
}

/// Why a configuration cannot be used. Nothing was opened or changed.
#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    /// The file is not there or may not be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file is not what a configuration file is.
    #[error("{path}: {error}", path = path.display())]
    Toml {
        /// Which.
        path: PathBuf,
        /// Where, and what was expected.
        error: toml::de::Error,
    },
    /// An option without which there is no node.
    #[error(
        "{option} is not set: write {option} = ... in the file, or pass --{flag}, or set MERGANSER_{variable}",
        flag = option.replace('_', "-"),
        variable = option.to_uppercase()
    )]
    Missing {
        /// Its name in the file.
        option: &'static str,
    },
    /// An option with a value that cannot be.
    #[error("{option}: {problem}")]
    Wrong {
        /// Its name in the file.
        option: &'static str,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

/// The error for an option that cannot be as it is.
fn wrong(option: &'static str, problem: impl Into<String>) -> ConfigError {
    ConfigError::Wrong { option, problem: problem.into() }
}

impl LogConfig {
    /// Resolves what was typed about logging.
    pub(crate) fn resolve(raw: &Raw) -> Self {
        Self {
            filter: raw.log_level.clone().unwrap_or_else(|| "info".to_owned()),
            format: raw.log_format.unwrap_or_default(),
        }
    }
}

impl Config {
    /// Resolves and checks what was typed. Reads the secret and how much memory there is, and
    /// nothing else.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for the first option that is missing or wrong.
    pub(crate) fn resolve(raw: Raw) -> Result<Self, ConfigError> {
        let missing = |option| ConfigError::Missing { option };
        let node = NodeId::new(raw.node_id.ok_or(missing("node_id"))?);
        let cluster = ClusterId::new(raw.cluster.ok_or(missing("cluster"))?);
        let nodes = raw.nodes.ok_or(missing("nodes"))?;
        let insecure = raw.insecure_network.unwrap_or(false);

        let layout = resolve_layout(&nodes)?;
        let mut peers = resolve_peers(&nodes, insecure)?;
        let listed = peers.remove(&node).ok_or_else(|| {
            let known: Vec<String> = nodes.iter().map(|node| node.id.to_string()).collect();
            wrong("node_id", format!("{} is not in nodes ({})", node.number(), known.join(", ")))
        })?;

        let http = raw.http_listen.unwrap_or_else(|| "127.0.0.1:7001".to_owned());
        let http_listen = resolve_listen("http_listen", &http, insecure)?;
        let address = match raw.peer_address {
            Some(address) => Some(resolve_address("peer_address", &address, insecure)?),
            None => listed,
        };
        let address = address.ok_or_else(|| {
            wrong("peer_address", "is needed, because nodes has no address for this node")
        })?;
        if !peers.is_empty() && peers.values().all(Option::is_none) {
            return Err(wrong("nodes", "needs the address of at least one other node"));
        }
        let peer = raw.peer_listen.unwrap_or_else(|| address.clone());
        let peer_listen = resolve_listen("peer_listen", &peer, insecure)?;
        if peer_listen.port() == 0 {
            return Err(wrong("peer_listen", "needs a fixed port: the other nodes must find it"));
        }

        Ok(Self {
            node,
            cluster,
            data_dir: raw.data_dir.ok_or(missing("data_dir"))?,
            http_listen,
            peer_listen,
            address,
            peers,
            layout,
            limits: Limits {
                retry_window: resolve_span(
                    "retry_window",
                    raw.retry_window,
                    Limits::default().retry_window,
                    (WINDOW_MIN, WINDOW_MAX),
                )?,
                changes_retention: resolve_span(
                    "changes_retention",
                    raw.changes_retention,
                    Limits::default().changes_retention,
                    (Duration::ZERO, RETENTION_MAX),
                )?,
                scrub_interval: resolve_span(
                    "scrub_interval",
                    raw.scrub_interval,
                    Limits::default().scrub_interval,
                    (INTERVAL_MIN, INTERVAL_MAX),
                )?,
                repair_interval: resolve_span(
                    "repair_interval",
                    raw.repair_interval,
                    Limits::default().repair_interval,
                    (INTERVAL_MIN, INTERVAL_MAX),
                )?,
                hint_bytes_max: resolve_bytes(
                    "hint_bytes_max",
                    raw.hint_bytes_max,
                    Limits::default().hint_bytes_max,
                    HINT_BYTES_MIN,
                )?,
                catch_up_rate: resolve_bytes(
                    "catch_up_rate",
                    raw.catch_up_rate,
                    Limits::default().catch_up_rate,
                    CATCH_UP_RATE_MIN,
                )?,
                log_entries_max: at_least_one(
                    "log_entries_max",
                    raw.log_entries_max.unwrap_or(Limits::default().log_entries_max),
                )?,
                ..resolve_limits(raw.value_bytes_max, raw.siblings_max, raw.requests_max)?
            },
            feeds_max: raw.feeds_max.unwrap_or(http::FEEDS_DEFAULT),
            connections_max: at_least_one(
                "connections_max",
                raw.connections_max.unwrap_or(http::ServeLimits::default().connections_max),
            )?,
            memory: Memory::resolve(raw.memory, raw.cache, nodes.len().saturating_sub(1))?,
            secret: Secret::read(&raw.secret_file.ok_or(missing("secret_file"))?)?,
        })
    }
}

/// Which nodes exist and where they stand. Region and zone default to `local` and `a`.
fn resolve_layout(nodes: &[RawNode]) -> Result<Layout, ConfigError> {
    let mut members = BTreeMap::new();
    for node in nodes {
        let name = |text: &Option<String>, default: &str| {
            Name::new(text.as_deref().unwrap_or(default))
                .map_err(|malformed| wrong("nodes", format!("node {}: {malformed}", node.id)))
        };
        let member = Member { region: name(&node.region, "local")?, zone: name(&node.zone, "a")? };
        if node.id == 0 {
            return Err(wrong("nodes", "0 is no node: number them from 1"));
        }
        if members.insert(NodeId::new(node.id), member).is_some() {
            return Err(wrong("nodes", format!("node {} is there twice", node.id)));
        }
    }
    Ok(Layout { version: 1, members })
}

/// Where each node is reached, if that is said.
fn resolve_peers(
    nodes: &[RawNode],
    insecure: bool,
) -> Result<BTreeMap<NodeId, Option<String>>, ConfigError> {
    let mut peers = BTreeMap::new();
    for node in nodes {
        let is_said = !node.peer.is_empty();
        let address = is_said.then(|| resolve_address("nodes", &node.peer, insecure));
        peers.insert(NodeId::new(node.id), address.transpose()?);
    }
    Ok(peers)
}

/// Where a node is reached. Host names are looked up when dialling, since they may move.
fn resolve_address(
    option: &'static str,
    address: &str,
    insecure: bool,
) -> Result<String, ConfigError> {
    let port = address.rsplit_once(':').and_then(|(host, port)| {
        port.parse::<u16>().ok().filter(|port| *port != 0 && !host.is_empty())
    });
    if port.is_none() {
        return Err(wrong(option, format!("{address:?} is not of the form HOST:PORT")));
    }
    if !insecure && !is_loopback(address) {
        return Err(wrong(option, format!("{address} is not loopback; {CONSENT}")));
    }
    Ok(address.to_owned())
}

/// What to do about an address that others on the network can reach.
const CONSENT: &str = "there is no encryption, so this needs the explicit \
    insecure_network = true (--insecure-network)";

/// Whether an address is reached from this machine only.
fn is_loopback(address: &str) -> bool {
    match address.parse::<SocketAddr>() {
        Ok(address) => address.ip().is_loopback(),
        Err(_) => address.rsplit_once(':').is_some_and(|(host, _)| host == "localhost"),
    }
}

/// An address to listen at.
fn resolve_listen(
    option: &'static str,
    text: &str,
    insecure: bool,
) -> Result<SocketAddr, ConfigError> {
    let text = text.replace("localhost:", "127.0.0.1:");
    let address: SocketAddr = text.parse().map_err(|_| {
        wrong(
            option,
            format!("{text:?} is no address to listen at: write IP:PORT, as in 127.0.0.1:7001"),
        )
    })?;
    if !insecure && !address.ip().is_loopback() {
        return Err(wrong(option, format!("{address} is not loopback; {CONSENT}")));
    }
    Ok(address)
}

/// The bounds on what clients may send.
fn resolve_limits(
    value_bytes_max: Option<ByteSize>,
    siblings_max: Option<usize>,
    requests_max: Option<usize>,
) -> Result<Limits, ConfigError> {
    let default = Limits::default();
    let value_bytes = value_bytes_max.map_or(default.value_bytes_max as u64, |size| size.0);
    if value_bytes == 0 || VALUE_BYTES_CEILING < value_bytes {
        let problem = format!(
            "{} is out of range: 1 to {}",
            ByteSize(value_bytes),
            ByteSize(VALUE_BYTES_CEILING)
        );
        return Err(wrong("value_bytes_max", problem));
    }
    Ok(Limits {
        value_bytes_max: usize::try_from(value_bytes).expect("the ceiling fits"),
        siblings_max: at_least_one("siblings_max", siblings_max.unwrap_or(default.siblings_max))?,
        object_bytes_max: default.object_bytes_max,
        requests_max: at_least_one("requests_max", requests_max.unwrap_or(default.requests_max))?,
        page_objects_max: default.page_objects_max,
        exchange_interval: default.exchange_interval,
        exchange_bytes_max: default.exchange_bytes_max,
        catch_up_rate: default.catch_up_rate,
        log_entries_max: default.log_entries_max,
        context_runs_max: default.context_runs_max,
        own_runs_max: default.own_runs_max,
        changes_retention: default.changes_retention,
        scrub_interval: default.scrub_interval,
        repair_interval: default.repair_interval,
        retry_window: default.retry_window,
        token_ahead_max: default.token_ahead_max,
        hint_bytes_max: default.hint_bytes_max,
    })
}

/// With less a guest is of no use for longer than a moment.
const HINT_BYTES_MIN: u64 = 1 << 20;

/// With less a replica would hardly ever be whole again: the least that is asked for at once
/// would take longer than anybody waits.
const CATCH_UP_RATE_MIN: u64 = 256 << 10;

/// A limit in bytes, if it is not less than makes sense.
fn resolve_bytes(
    option: &'static str,
    given: Option<ByteSize>,
    default: u64,
    least: u64,
) -> Result<u64, ConfigError> {
    let bytes = given.map_or(default, |size| size.0);
    memory::at_least(option, bytes, least)?;
    Ok(bytes)
}

/// The shortest window for retries: less, and a client whose node was restarted is too late.
const WINDOW_MIN: Duration = Duration::from_secs(60);

/// The longest. What tells a retry from a new write is remembered for a day; half of that is
/// left for clocks that are apart, and for attempts that were long on their way.
const WINDOW_MAX: Duration = Duration::from_secs(12 * 3_600);

/// The shortest time in which everything is read again, or compared: with less, a node would do
/// nothing else.
const INTERVAL_MIN: Duration = Duration::from_secs(10);

/// The longest. A second copy may be lost within as long.
const INTERVAL_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);

/// The longest that the places of writes are kept for watchers. The logs would have them all.
const RETENTION_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);

/// A time, if it is within bounds.
fn resolve_span(
    option: &'static str,
    given: Option<Span>,
    default: Duration,
    (least, most): (Duration, Duration),
) -> Result<Duration, ConfigError> {
    let time = given.map_or(default, |span| span.0);
    if (least..=most).contains(&time) {
        return Ok(time);
    }
    let [is, least, most] = [time, least, most].map(Span);
    Err(wrong(option, format!("{is} is out of range: {least} to {most}")))
}

/// A number of which none would be no node.
fn at_least_one(option: &'static str, number: usize) -> Result<usize, ConfigError> {
    if number == 0 { Err(wrong(option, "must be at least 1")) } else { Ok(number) }
}

#[cfg(test)]
mod tests;
