//! Keyspaces and tables, and the state of a node.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use crate::receipt::node_from_json;
use crate::retry::Safety;
use crate::send::Call;
use crate::table::{add_to_query, escaped, parse, refused};
use crate::{Client, Error, Level};

/// What a keyspace is to be. What is left out, the server decides.
#[derive(Clone, Debug, Default, Serialize)]
pub struct KeyspaceContract {
    /// Into how many shards it is cut; a power of two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shards: Option<u16>,
    /// How many replicas, and where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<Replicas>,
    /// Whether other nodes stand in for replicas that are away.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub sloppy: bool,
}

/// How many replicas, and where.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Replicas {
    /// So many in the region of the node that answers.
    Here(u8),
    /// So many in each region.
    PerRegion(BTreeMap<String, u8>),
}

/// A keyspace as it is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct KeyspaceInfo {
    /// Its name.
    pub name: String,
    /// Its number.
    #[serde(deserialize_with = "text")]
    pub id: String,
    /// Into how many shards it is cut.
    pub shards: u16,
    /// How many replicas in which region.
    pub replicas: BTreeMap<String, u8>,
    /// How many replicas in all.
    pub n: u16,
    /// Whether other nodes stand in for replicas that are away.
    #[serde(default)]
    pub sloppy: bool,
}

/// When a replica says that it has a write.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// When it is on disk.
    Synced,
    /// When it is in memory.
    Buffered,
}

/// What a table is to be. The policy has no default: what becomes of concurrent values is
/// for the application to say.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TableContract {
    /// What becomes of concurrent values, as in `siblings`.
    pub policy: String,
    /// When a replica says that it has a write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
    /// The default level of reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read: Option<Level>,
    /// The default level of writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write: Option<Level>,
    /// Votes of nodes (`n1`) and of each node of a zone (`region/zone`). All others have one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub votes: BTreeMap<String, u8>,
    /// How many different nodes must acknowledge a write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_nodes: Option<u8>,
    /// In how many different zones somebody must acknowledge a write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_zones: Option<u8>,
    /// No read may wait for less than one at this level does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weakest_read: Option<Level>,
    /// No write may wait for less than one at this level does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weakest_write: Option<Level>,
    /// Whether reads at these levels may miss writes at these levels, and writes each other.
    /// Levels that can are refused without it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub may_miss: bool,
    /// Whether a put without a context is refused where the key holds a value.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub require_context: bool,
    /// With how many concurrent values of its key a write is counted as one to be warned of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub siblings_warn: Option<u16>,
    /// The most concurrent values of one key, if fewer than the nodes allow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub siblings_max: Option<u16>,
    /// The most bytes of the concurrent values of one key together, if fewer than the nodes allow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub siblings_bytes_max: Option<u32>,
}

impl TableContract {
    /// A table with this policy and the server's defaults.
    pub fn new(policy: &str) -> Self {
        Self { policy: policy.to_owned(), ..Self::default() }
    }
}

impl Serialize for Level {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// A table as it is.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct TableInfo {
    /// Its name.
    pub name: String,
    /// Its number.
    #[serde(deserialize_with = "text")]
    pub id: String,
    /// The keyspace it is in.
    #[serde(deserialize_with = "text")]
    pub keyspace: String,
    /// What becomes of concurrent values.
    pub policy: String,
    /// When a replica says that it has a write.
    pub durability: String,
    /// The default level of reads.
    #[serde(deserialize_with = "text")]
    pub read: String,
    /// The default level of writes.
    #[serde(deserialize_with = "text")]
    pub write: String,
    /// Votes of nodes and zones that have another number than one.
    #[serde(default)]
    pub votes: BTreeMap<String, u8>,
    /// How many different nodes must acknowledge a write.
    #[serde(default)]
    pub min_nodes: u8,
    /// In how many different zones somebody must acknowledge a write.
    #[serde(default)]
    pub min_zones: u8,
    /// No read may wait for less.
    #[serde(default)]
    pub weakest_read: Option<String>,
    /// No write may wait for less.
    #[serde(default)]
    pub weakest_write: Option<String>,
    /// Whether reads at these levels may miss writes at these levels, and writes each other.
    #[serde(default)]
    pub may_miss: bool,
    /// Whether a put without a context is refused where the key holds a value.
    #[serde(default)]
    pub require_context: bool,
    /// With how many concurrent values of its key a write is counted as one to be warned of.
    #[serde(default)]
    pub siblings_warn: Option<u16>,
    /// The most concurrent values of one key, if the nodes do not allow fewer.
    #[serde(default)]
    pub siblings_max: Option<u16>,
    /// The most bytes of the concurrent values of one key together, if the nodes do not allow fewer.
    #[serde(default)]
    pub siblings_bytes_max: Option<u32>,
}

/// A question about the health of a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HealthLevel {
    /// Does its loop turn?
    Live,
    /// Can it begin and keep what it is given?
    Ready,
    /// Can every shard be read and written at the default levels, as it sees it?
    Shards,
}

impl HealthLevel {
    /// All of them.
    pub const ALL: [HealthLevel; 3] = [Self::Live, Self::Ready, Self::Shards];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Ready => "ready",
            Self::Shards => "shards",
        }
    }
}

/// The state of a node, as it sees itself and the others.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Status {
    /// The node asked.
    #[serde(deserialize_with = "node_from_json")]
    pub node: u16,
    /// Its present incarnation.
    #[serde(deserialize_with = "text")]
    pub incarnation: String,
    /// How long it has been up.
    pub uptime_seconds: f64,
    /// The version of its program.
    pub version: String,
    /// Every node of the layout, itself included.
    pub nodes: Vec<NodeState>,
    /// The version of the catalog it has.
    pub catalog_version: u64,
    /// The keyspaces it knows.
    pub keyspaces: Vec<KeyspaceInfo>,
    /// The tables it knows.
    pub tables: Vec<TableInfo>,
    /// Requests it coordinates at this moment.
    pub requests: u64,
    /// Merges sent because a read had found a replica behind.
    pub read_repairs: u64,
    /// What it keeps for replicas that were away.
    #[serde(default)]
    pub hints: Vec<Hints>,
    /// Writes whose place was forgotten although some replica may lack them.
    #[serde(default)]
    pub log_dropped: u64,
    /// Its disk, if it tells.
    #[serde(default)]
    pub disk: Option<DiskState>,
    /// How far it has come with forgetting what was deleted, if it tells.
    #[serde(default)]
    pub forgetting: Option<Forgetting>,
    /// Shards that do not hold what its disk should hold.
    #[serde(default)]
    pub suspect: Vec<Suspect>,
}

/// A shard of which a disk has lost something.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Suspect {
    /// In which keyspace.
    #[serde(deserialize_with = "text")]
    pub keyspace: String,
    /// Which shard of it.
    pub shard: u16,
    /// For how long that is known.
    pub since_seconds: f64,
    /// The replicas with which it has to be compared before it is whole again.
    pub waits_for: Vec<u16>,
}

/// How far a node has come with forgetting what was deleted.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Forgetting {
    /// Tombstones that it knows of, and that wait until all replicas have what they speak of.
    pub tombstones_waiting: u64,
    /// Whether there may be more.
    pub more: bool,
    /// Tombstones that all replicas have, and that stay because a write which they know of may be
    /// tried again.
    pub kept_for_retries: u64,
    /// Writes that are forgotten, of which nothing is left but their dots.
    pub forgotten: u64,
    /// In how many runs these lie.
    pub forgotten_runs: u64,
    /// Replicas that are waited for.
    pub tombstones_blocked: Vec<Blocker>,
}

/// A replica that is not known to have what a tombstone speaks of.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Blocker {
    /// Which.
    #[serde(deserialize_with = "node_from_json")]
    pub by: u16,
    /// For how long it has lacked the same, or was not heard of since the node that says so began.
    pub since_seconds: f64,
}

/// The disk of a node.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct DiskState {
    /// Its name.
    #[serde(deserialize_with = "text")]
    pub disk: String,
    /// `enrolled`, `new`, `joining` or `retired`.
    pub state: String,
    /// How many shards it is to keep.
    pub shards: u64,
    /// How many of them are whole.
    pub shards_whole: u64,
}

/// A disk that was given up.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Evicted {
    /// The node that served with it.
    #[serde(deserialize_with = "node_from_json")]
    pub node: u16,
    /// Its name.
    #[serde(deserialize_with = "text")]
    pub disk: String,
}

/// What a node keeps for a replica that was away.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Hints {
    /// For which.
    #[serde(deserialize_with = "node_from_json")]
    pub node: u16,
    /// How many objects.
    pub count: u64,
    /// Roughly how many bytes they have together.
    pub bytes: u64,
    /// For how long it has kept the oldest.
    pub oldest_seconds: u64,
}

/// One node, as another sees it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct NodeState {
    /// Which.
    #[serde(deserialize_with = "node_from_json")]
    pub node: u16,
    /// Whether it answers to the node that was asked.
    pub alive: bool,
    /// Its site, if the node tells.
    pub region: Option<String>,
    /// Its failure domain within the site, if the node tells.
    pub zone: Option<String>,
    /// What the nodes of the cluster tell each other of it: `up`, `suspected`, `down` or `unknown`.
    #[serde(default)]
    pub standing: String,
    /// How far it and the node that was asked are apart, if they keep a shard together and the
    /// node tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<Lag>,
    /// The disk that it is to serve with, if it has one and the node tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<String>,
    /// The disk that is being made whole to take its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joining: Option<String>,
}

/// How far another replica and the node that was asked are apart, over all shards that both keep.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Lag {
    /// Writes that the other one has and the node that was asked lacks.
    pub behind: u64,
    /// Writes that the node that was asked has and the other one lacks.
    pub ahead: u64,
    /// Writes that the other one has heard of and could not produce.
    pub gaps: u64,
    /// Shards of which the other one lacks something that the log cannot bring it any more.
    pub needs_repair: u64,
    /// The node that was asked has everything that the other one had so many seconds ago, if
    /// that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_seconds: Option<f64>,
}

impl Client {
    /// Creates a keyspace, or finds it there with the same contract. Says also whether it
    /// was created by this request.
    ///
    /// # Errors
    ///
    /// See [`Error`]. Refused with `exists_differently` if it exists with another contract.
    pub async fn create_keyspace(
        &self,
        name: &str,
        contract: &KeyspaceContract,
    ) -> Result<(KeyspaceInfo, bool), Error> {
        self.declare(format!("/v1/keyspaces/{}", escaped(name.as_bytes())), contract).await
    }

    /// Lists the keyspaces.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn keyspaces(&self) -> Result<Vec<KeyspaceInfo>, Error> {
        #[derive(Deserialize)]
        struct Keyspaces {
            keyspaces: Vec<KeyspaceInfo>,
        }
        Ok(self.look::<Keyspaces>("/v1/keyspaces".to_owned()).await?.keyspaces)
    }

    /// Shows one keyspace.
    ///
    /// # Errors
    ///
    /// See [`Error`]. Refused with `unknown_keyspace` if there is none of that name.
    pub async fn keyspace(&self, name: &str) -> Result<KeyspaceInfo, Error> {
        self.look(format!("/v1/keyspaces/{}", escaped(name.as_bytes()))).await
    }

    /// Creates a table, or finds it there with the same contract. Says also whether it was
    /// created by this request.
    ///
    /// # Errors
    ///
    /// See [`Error`]. Refused with `exists_differently` if it exists with another contract.
    pub async fn create_table(
        &self,
        keyspace: &str,
        name: &str,
        contract: &TableContract,
    ) -> Result<(TableInfo, bool), Error> {
        self.declare(table_path(keyspace, name), contract).await
    }

    /// Lists the tables of a keyspace.
    ///
    /// # Errors
    ///
    /// See [`Error`]. Refused with `unknown_keyspace` if there is no such keyspace.
    pub async fn tables(&self, keyspace: &str) -> Result<Vec<TableInfo>, Error> {
        #[derive(Deserialize)]
        struct Tables {
            tables: Vec<TableInfo>,
        }
        let target = format!("/v1/keyspaces/{}/tables", escaped(keyspace.as_bytes()));
        Ok(self.look::<Tables>(target).await?.tables)
    }

    /// Shows one table.
    ///
    /// # Errors
    ///
    /// See [`Error`]. Refused with `unknown_table` if there is none of that name.
    pub async fn table_info(&self, keyspace: &str, name: &str) -> Result<TableInfo, Error> {
        self.look(table_path(keyspace, name)).await
    }

    /// Asks a node for its state. [`Client::each`] makes one client per node.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn status(&self) -> Result<Status, Error> {
        self.look("/v1/status".to_owned()).await
    }

    /// Waits until a node has handed over all that it keeps for others now, or has kept for so
    /// long if a wait goes on that has lasted as long: for at most the time that a request of
    /// this client may take. Returns which node it is. [`Client::each`] makes one client per node.
    ///
    /// # Errors
    ///
    /// See [`Error`]. [`Error::NoAnswer`] with the code `hints_left` says what is left, and for
    /// whom.
    pub async fn wait_for_hints(&self, age: Duration) -> Result<u16, Error> {
        #[derive(Deserialize)]
        struct HandedOver {
            #[serde(deserialize_with = "node_from_json")]
            node: u16,
        }
        let mut target = "/v1/hints/wait".to_owned();
        let millis = age.as_millis();
        if 0 < millis {
            add_to_query(&mut target, "age", &millis.to_string());
        }
        let call = Call { method: Method::POST, tells_timeout: true, ..Call::look(target) };
        let answer = self.send(&call).await?;
        if answer.status() != StatusCode::OK {
            return Err(refused(&answer));
        }
        Ok(parse::<HandedOver>(answer.body())?.node)
    }

    /// Asks a node for what it has counted, as text for Prometheus.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn metrics(&self) -> Result<String, Error> {
        let answer = self.send(&Call::look("/metrics".to_owned())).await?;
        if answer.status() != StatusCode::OK {
            return Err(refused(&answer));
        }
        let text = String::from_utf8(answer.into_body().to_vec());
        text.map_err(|err| Error::protocol(format!("metrics that are no text: {err}")))
    }

    /// Asks a node one of three questions about its health. What is said beside a yes is what
    /// is not as it should be.
    ///
    /// # Errors
    ///
    /// See [`Error`]; if the server answered at all, it says no, and its problem why.
    pub async fn health_of(&self, level: HealthLevel) -> Result<Vec<String>, Error> {
        #[derive(Default, Deserialize)]
        struct Health {
            #[serde(default)]
            reasons: Vec<String>,
        }
        let health: Health = self.look(format!("/health/{}", level.as_str())).await?;
        Ok(health.reasons)
    }

    /// Asks whether a node serves.
    ///
    /// # Errors
    ///
    /// See [`Error`]; any of them means that it does not.
    pub async fn health(&self) -> Result<(), Error> {
        let answer = self.send(&Call::look("/health".to_owned())).await?;
        if answer.status() == StatusCode::OK { Ok(()) } else { Err(refused(&answer)) }
    }

    async fn look<T: DeserializeOwned>(&self, target: String) -> Result<T, Error> {
        let answer = self.send(&Call::look(target)).await?;
        if answer.status() == StatusCode::OK { parse(answer.body()) } else { Err(refused(&answer)) }
    }

    /// Gives up the disk of a node: nobody waits for it any more, and the node never serves with it
    /// again. Returns whether it was there until now.
    ///
    /// # Errors
    ///
    /// [`Error`]; `other_disk` if the node is enrolled with another one.
    pub async fn evict(&self, node: u16, disk: &str) -> Result<(Evicted, bool), Error> {
        let body = render(&serde_json::json!({ "disk": disk }))?;
        let call = Call {
            method: Method::POST,
            headers: json_headers(),
            body,
            // Giving it up twice changes nothing.
            safety: Safety::Repeatable,
            ..Call::look(format!("/v1/nodes/{node}/evict"))
        };
        let answer = self.send(&call).await?;
        match answer.status() {
            StatusCode::CREATED => Ok((parse(answer.body())?, true)),
            StatusCode::OK => Ok((parse(answer.body())?, false)),
            _ => Err(refused(&answer)),
        }
    }

    async fn declare<T: DeserializeOwned>(
        &self,
        target: String,
        contract: &impl Serialize,
    ) -> Result<(T, bool), Error> {
        let call = Call {
            method: Method::PUT,
            headers: json_headers(),
            body: render(contract)?,
            // Declaring the same twice changes nothing.
            safety: Safety::Repeatable,
            ..Call::look(target)
        };
        let answer = self.send(&call).await?;
        match answer.status() {
            StatusCode::CREATED => Ok((parse(answer.body())?, true)),
            StatusCode::OK => Ok((parse(answer.body())?, false)),
            _ => Err(refused(&answer)),
        }
    }
}

/// The headers of a JSON body.
pub(crate) fn json_headers() -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))])
}

/// Writes a JSON body.
pub(crate) fn render(value: &impl Serialize) -> Result<Bytes, Error> {
    let json = serde_json::to_vec(value).map_err(|err| Error::protocol(err.to_string()))?;
    Ok(json.into())
}

fn table_path(keyspace: &str, name: &str) -> String {
    format!("/v1/keyspaces/{}/tables/{}", escaped(keyspace.as_bytes()), escaped(name.as_bytes()))
}

/// Reads a text, or a number as text.
fn text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Raw {
        Text(String),
        Number(u64),
    }
    Ok(match Raw::deserialize(from)? {
        Raw::Text(text) => text,
        Raw::Number(number) => number.to_string(),
    })
}
