//! What was typed: the options of `serve` as they come from flags, the environment and the
//! file.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, ValueEnum};
use serde::Deserialize;

use super::ConfigError;
use super::size::ByteSize;
use super::span::Span;

/// The options of one node, each of them optional: what is missing in one source may be in
/// the next. The doc comments are the help texts, so an option is described here only.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Raw {
    /// The number of this node, one of those in the list of nodes.
    #[arg(long, env = "MERGANSER_NODE_ID", value_name = "NUMBER")]
    pub(crate) node_id: Option<u16>,

    /// The number of the cluster. Nodes of different clusters refuse to talk to each other.
    #[arg(long, env = "MERGANSER_CLUSTER", value_name = "NUMBER")]
    pub(crate) cluster: Option<u64>,

    /// A file with at least 16 secret bytes, alike on all nodes, readable by its owner only.
    #[arg(long, env = "MERGANSER_SECRET_FILE", value_name = "PATH")]
    pub(crate) secret_file: Option<PathBuf>,

    /// The directory of this node's data. Made if it does not exist.
    #[arg(long, env = "MERGANSER_DATA_DIR", value_name = "PATH")]
    pub(crate) data_dir: Option<PathBuf>,

    /// Where to listen for clients. Port 0 takes any free port [default: 127.0.0.1:7001].
    #[arg(long, env = "MERGANSER_HTTP_LISTEN", value_name = "IP:PORT")]
    pub(crate) http_listen: Option<String>,

    /// Where to listen for other nodes [default: this node's address in the list of nodes].
    #[arg(long, env = "MERGANSER_PEER_LISTEN", value_name = "IP:PORT")]
    pub(crate) peer_listen: Option<String>,

    /// Where other nodes reach this one, which it tells them [default: this node's address in
    /// the list of nodes].
    #[arg(long, env = "MERGANSER_PEER_ADDRESS", value_name = "HOST:PORT")]
    pub(crate) peer_address: Option<String>,

    /// Allow addresses that are not loopback. There is no encryption: whoever is on the
    /// network can read and write everything.
    #[arg(long, env = "MERGANSER_INSECURE_NETWORK", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) insecure_network: Option<bool>,

    /// All nodes of the cluster, this one included, alike on all of them: repeat the flag,
    /// or separate by commas. Addresses may differ or be left out (ID@/REGION/ZONE): one node
    /// that can be reached tells of the others.
    #[arg(
        long = "nodes",
        env = "MERGANSER_NODES",
        value_name = "ID@HOST:PORT/REGION/ZONE",
        value_delimiter = ','
    )]
    pub(crate) nodes: Option<Vec<RawNode>>,

    /// The most bytes of one value [default: 8MiB].
    #[arg(long, env = "MERGANSER_VALUE_BYTES_MAX", value_name = "SIZE")]
    pub(crate) value_bytes_max: Option<ByteSize>,

    /// The most values that one key may hold concurrently [default: 100].
    #[arg(long, env = "MERGANSER_SIBLINGS_MAX", value_name = "NUMBER")]
    pub(crate) siblings_max: Option<usize>,

    /// The most requests in progress at once; more are refused as overload [default: 10000].
    #[arg(long, env = "MERGANSER_REQUESTS_MAX", value_name = "NUMBER")]
    pub(crate) requests_max: Option<usize>,

    /// How much a node keeps for replicas that are away, from 1MiB [default: 1GiB].
    #[arg(long, env = "MERGANSER_HINT_BYTES_MAX", value_name = "SIZE")]
    pub(crate) hint_bytes_max: Option<ByteSize>,

    /// How many bytes a second replicas that were away are brought up to date with beside
    /// clients, small objects counting as 4KiB [default: 1MiB].
    #[arg(long, env = "MERGANSER_CATCH_UP_RATE", value_name = "SIZE")]
    pub(crate) catch_up_rate: Option<ByteSize>,

    /// How many writes of one shard are remembered for replicas that are away [default: 100000].
    #[arg(long, env = "MERGANSER_LOG_ENTRIES_MAX", value_name = "NUMBER")]
    pub(crate) log_entries_max: Option<usize>,

    /// How old the idempotency key of a write may be, alike on all nodes, from 1m to 12h
    /// [default: 1h].
    #[arg(long, env = "MERGANSER_RETRY_WINDOW", value_name = "TIME")]
    pub(crate) retry_window: Option<Span>,

    /// For how long what has changed can be told to those who watch a table, after every replica
    /// has it, up to 30d; 0s for not at all [default: 10m].
    #[arg(long, env = "MERGANSER_CHANGES_RETENTION", value_name = "TIME")]
    pub(crate) changes_retention: Option<Span>,

    /// Within which time everything on the disk is read again, to find what it has lost, from 10s
    /// to 30d [default: 1d].
    #[arg(long, env = "MERGANSER_SCRUB_INTERVAL", value_name = "TIME")]
    pub(crate) scrub_interval: Option<Span>,

    /// After which time without a proof that it is equal a shard is compared with other replicas
    /// although it is being written, from 10s to 30d [default: 1h].
    #[arg(long, env = "MERGANSER_REPAIR_INTERVAL", value_name = "TIME")]
    pub(crate) repair_interval: Option<Span>,

    /// The most who watch tables through this node at once; more are answered 503 [default: 256].
    #[arg(long, env = "MERGANSER_FEEDS_MAX", value_name = "NUMBER")]
    pub(crate) feeds_max: Option<usize>,

    /// The most client connections; more are answered 503 and closed [default: 10000].
    #[arg(long, env = "MERGANSER_CONNECTIONS_MAX", value_name = "NUMBER")]
    pub(crate) connections_max: Option<usize>,

    /// How much memory to plan with: cache, buffers and queues are shares of it [default: half
    /// of what the machine or its control group has, 128MiB to 1GiB].
    #[arg(long, env = "MERGANSER_MEMORY", value_name = "SIZE")]
    pub(crate) memory: Option<ByteSize>,

    /// Memory for blocks read from disk [default: an eighth of the memory, at most 64MiB].
    #[arg(long, env = "MERGANSER_CACHE", value_name = "SIZE")]
    pub(crate) cache: Option<ByteSize>,

    /// What to log: error, warn, info, debug, trace, or a filter such as
    /// `info,transport=debug` [default: info].
    #[arg(long, env = "MERGANSER_LOG_LEVEL", value_name = "FILTER")]
    pub(crate) log_level: Option<String>,

    /// How to write log lines [default: text].
    #[arg(long, env = "MERGANSER_LOG_FORMAT", value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
}

/// How log lines are written, to standard error.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// One node of the cluster as it was typed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawNode {
    /// Its number.
    pub(crate) id: u16,
    /// Where other nodes reach it. Empty if others will tell.
    pub(crate) peer: String,
    /// Its site.
    pub(crate) region: Option<String>,
    /// Its failure domain within the site.
    pub(crate) zone: Option<String>,
}

impl FromStr for RawNode {
    type Err = String;

    /// Reads `1@10.0.0.1:7100/eu-west/a`, of which region and zone may be left out.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not of the form ID@HOST:PORT/REGION/ZONE");
        let (id, rest) = text.split_once('@').ok_or_else(wrong)?;
        let mut parts = rest.split('/').map(str::to_owned);
        let node = Self {
            id: id.trim().parse().map_err(|_| wrong())?,
            peer: parts.next().ok_or_else(wrong)?,
            region: parts.next(),
            zone: parts.next(),
        };
        if parts.next().is_some() { Err(wrong()) } else { Ok(node) }
    }
}

impl Raw {
    /// Reads a configuration file. Relative paths in it start at the file's directory, so
    /// that a node starts the same from everywhere.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is no TOML, or has a key that does not exist.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        let mut raw = Self::parse(&text)
            .map_err(|error| ConfigError::Toml { path: path.to_owned(), error })?;
        let base = path.parent().unwrap_or(Path::new(""));
        for file in [&mut raw.secret_file, &mut raw.data_dir].into_iter().flatten() {
            *file = base.join(&*file);
        }
        Ok(raw)
    }

    /// Reads the text of a configuration file.
    pub(crate) fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// Takes from `file` whatever was not typed as flag or set in the environment.
    pub(crate) fn or(self, file: Self) -> Self {
        Self {
            node_id: self.node_id.or(file.node_id),
            cluster: self.cluster.or(file.cluster),
            secret_file: self.secret_file.or(file.secret_file),
            data_dir: self.data_dir.or(file.data_dir),
            http_listen: self.http_listen.or(file.http_listen),
            peer_listen: self.peer_listen.or(file.peer_listen),
            peer_address: self.peer_address.or(file.peer_address),
            insecure_network: self.insecure_network.or(file.insecure_network),
            nodes: self.nodes.or(file.nodes),
            value_bytes_max: self.value_bytes_max.or(file.value_bytes_max),
            siblings_max: self.siblings_max.or(file.siblings_max),
            requests_max: self.requests_max.or(file.requests_max),
            hint_bytes_max: self.hint_bytes_max.or(file.hint_bytes_max),
            catch_up_rate: self.catch_up_rate.or(file.catch_up_rate),
            log_entries_max: self.log_entries_max.or(file.log_entries_max),
            retry_window: self.retry_window.or(file.retry_window),
            changes_retention: self.changes_retention.or(file.changes_retention),
            scrub_interval: self.scrub_interval.or(file.scrub_interval),
            repair_interval: self.repair_interval.or(file.repair_interval),
            feeds_max: self.feeds_max.or(file.feeds_max),
            connections_max: self.connections_max.or(file.connections_max),
            memory: self.memory.or(file.memory),
            cache: self.cache.or(file.cache),
            log_level: self.log_level.or(file.log_level),
            log_format: self.log_format.or(file.log_format),
        }
    }
}
