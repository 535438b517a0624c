//! Tables: declared with a PUT, looked at with a GET, as [keyspaces](crate::keyspaces) are.
//!
//! What becomes of concurrent values has no default. Whichever we chose, somebody would
//! learn of it by losing data, or by finding two values where his program expects one.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use model::{
    Declare, Declared, Durability, Holder, Level, Policy, Refusal, SiblingRules, Spread, Table,
    Votes, Voting,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Node;
use crate::body::{self, Held};
use crate::door::Door;
use crate::json::LevelJson;
use crate::keyspaces::{created_or_existed, find, names};
use crate::kv::json;
use crate::openapi::{
    CreateTableProblems, KeyspacePath, OneKeyspaceProblems, OneTableProblems, TablePath,
};
use crate::problem::{Code, Problem};

/// A table to declare.
#[derive(Deserialize, ToSchema)]
#[schema(as = DeclareTable)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeclareTableJson {
    /// What becomes of concurrent values. Must be said; `siblings` keeps them all.
    #[schema(example = "siblings", required = true)]
    policy: Option<String>,
    /// When a replica says that it has a write: `synced` (the default) or `buffered`.
    #[schema(example = "synced")]
    durability: Option<String>,
    /// The default level of reads, QUORUM if left out.
    read: Option<LevelJson>,
    /// The default level of writes, QUORUM if left out.
    write: Option<LevelJson>,
    /// Votes of nodes (`n1`) and of each node of a zone (`region/zone`), from 0 to 15. All others
    /// have one. QUORUM and numbers count votes.
    votes: Option<BTreeMap<String, u8>>,
    /// How many different nodes must acknowledge a write, whatever their votes.
    min_nodes: Option<u8>,
    /// In how many different zones somebody must acknowledge a write.
    min_zones: Option<u8>,
    /// No read may wait for less than one at this level does.
    weakest_read: Option<LevelJson>,
    /// No write may wait for less than one at this level does.
    weakest_write: Option<LevelJson>,
    /// Whether reads at these levels may miss writes at these levels, and writes each other.
    /// Levels that can are refused without it.
    may_miss: Option<bool>,
    /// Whether a put without a context is refused where the key holds a value.
    require_context: Option<bool>,
    /// With how many concurrent values of its key a write is counted as one to be warned of.
    siblings_warn: Option<u16>,
    /// The most concurrent values of one key, if fewer than the nodes allow. A put without a context beyond
    /// is refused.
    siblings_max: Option<u16>,
    /// The most bytes of the concurrent values of one key together, if fewer than the nodes allow.
    siblings_bytes_max: Option<u32>,
}

/// A conflict policy and defaults inside one keyspace.
#[derive(Serialize, ToSchema)]
#[schema(as = Table)]
pub(crate) struct TableJson {
    /// Unique in its keyspace.
    name: String,
    /// Its number in the cluster.
    id: u32,
    /// The keyspace it is in.
    keyspace: String,
    /// What becomes of concurrent values.
    policy: &'static str,
    /// When a replica says that it has a write.
    durability: &'static str,
    /// The default level of reads.
    read: String,
    /// The default level of writes.
    write: String,
    /// Votes of nodes and zones that have another number than one.
    votes: BTreeMap<String, u8>,
    /// How many different nodes must acknowledge a write.
    min_nodes: u8,
    /// In how many different zones somebody must acknowledge a write.
    min_zones: u8,
    /// No read may wait for less.
    #[serde(skip_serializing_if = "Option::is_none")]
    weakest_read: Option<String>,
    /// No write may wait for less.
    #[serde(skip_serializing_if = "Option::is_none")]
    weakest_write: Option<String>,
    /// Whether reads at these levels may miss writes at these levels, and writes each other.
    may_miss: bool,
    /// Whether a put without a context is refused where the key holds a value.
    require_context: bool,
    /// With how many concurrent values of its key a write is counted as one to be warned of.
    #[serde(skip_serializing_if = "Option::is_none")]
    siblings_warn: Option<u16>,
    /// The most concurrent values of one key, if the nodes do not allow fewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    siblings_max: Option<u16>,
    /// The most bytes of the concurrent values of one key together, if the nodes do not allow fewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    siblings_bytes_max: Option<u32>,
}

/// The tables of one keyspace.
#[derive(Serialize, ToSchema)]
#[schema(as = Tables)]
pub(crate) struct TablesJson {
    tables: Vec<TableJson>,
}

impl TableJson {
    /// A table of the keyspace that is called `keyspace`.
    pub(crate) fn new(keyspace: &str, table: &Table) -> Self {
        Self {
            name: table.name.to_string(),
            id: table.id.number(),
            keyspace: keyspace.to_owned(),
            policy: table.policy.as_str(),
            durability: table.durability.as_str(),
            read: table.read.to_string(),
            write: table.write.to_string(),
            votes: table
                .voting
                .votes
                .iter()
                .map(|(who, votes)| (who.to_string(), *votes))
                .collect(),
            min_nodes: table.voting.spread.nodes,
            min_zones: table.voting.spread.zones,
            weakest_read: table.voting.weakest_read.map(|level| level.to_string()),
            weakest_write: table.voting.weakest_write.map(|level| level.to_string()),
            may_miss: table.voting.may_miss,
            require_context: table.siblings.require_context,
            siblings_warn: table.siblings.warn,
            siblings_max: table.siblings.max,
            siblings_bytes_max: table.siblings.bytes_max,
        }
    }
}

/// Declare a table.
///
/// Repeating it with the same contract changes nothing. The conflict policy is part of the
/// table's identity and has no default.
#[utoipa::path(
    put,
    path = "/v1/keyspaces/{keyspace}/tables/{table}",
    operation_id = "declare_table",
    tag = "keyspaces",
    params(TablePath),
    request_body(content = DeclareTableJson, content_type = "application/json"),
    responses(
        (status = 201, description = "Created.", body = TableJson,
            content_type = "application/json"),
        (status = 200, description = "It exists, with this contract.", body = TableJson,
            content_type = "application/json"),
        CreateTableProblems,
    ),
)]
pub(crate) async fn create<N: Node>(
    State(door): State<Arc<Door<N>>>,
    request: Request,
) -> Result<Response, Problem> {
    let [keyspace, name] = names(request.uri())?;
    let Held { content: contract, share: _share } =
        body::contract::<DeclareTableJson>(&door.bodies, request).await?;
    let declare = Declare::Table {
        keyspace: keyspace.clone(),
        name,
        policy: policy(contract.policy.as_deref())?,
        durability: durability(contract.durability.as_deref())?,
        read: contract.read.map_or(Level::Quorum, |level| level.0),
        write: contract.write.map_or(Level::Quorum, |level| level.0),
        voting: Voting {
            votes: votes(contract.votes.unwrap_or_default())?,
            spread: Spread {
                nodes: contract.min_nodes.unwrap_or_default(),
                zones: contract.min_zones.unwrap_or_default(),
            },
            weakest_read: contract.weakest_read.map(|level| level.0),
            weakest_write: contract.weakest_write.map(|level| level.0),
            may_miss: contract.may_miss.unwrap_or_default(),
        },
        siblings: SiblingRules {
            require_context: contract.require_context.unwrap_or_default(),
            warn: contract.siblings_warn,
            max: contract.siblings_max,
            bytes_max: contract.siblings_bytes_max,
        },
    };
    match door.declare(declare).await? {
        Declared::Table { table, created } => {
            Ok(json(created_or_existed(created), &TableJson::new(keyspace.as_str(), &table)))
        }
        Declared::Keyspace { .. } | Declared::Disk { .. } => {
            Err(Problem::internal("the node declared something else"))
        }
    }
}

fn policy(said: Option<&str>) -> Result<Policy, Problem> {
    let Some(said) = said else {
        let detail = "say what becomes of concurrent values: {\"policy\":\"siblings\"} keeps them";
        return Err(Problem::new(Code::PolicyRequired, detail));
    };
    Policy::parse(said).ok_or_else(|| {
        let detail = format!("{said:?} is no conflict policy; there is \"siblings\"");
        Problem::new(Code::InvalidContract, detail)
    })
}

fn votes(said: BTreeMap<String, u8>) -> Result<Votes, Problem> {
    let holder = |(who, votes): (String, u8)| match Holder::parse(&who) {
        Some(holder) => Ok((holder, votes)),
        None => {
            let who: String = who.chars().take(160).collect();
            let detail =
                format!("{who:?} cannot have votes: name a node, n1, or a zone, region/zone");
            Err(Problem::new(Code::InvalidContract, detail))
        }
    };
    said.into_iter().map(holder).collect()
}

fn durability(said: Option<&str>) -> Result<Durability, Problem> {
    said.map_or(Some(Durability::default()), Durability::parse).ok_or_else(|| {
        let detail = "durability is \"synced\" or \"buffered\"";
        Problem::new(Code::InvalidContract, detail)
    })
}

/// Look at the tables of a keyspace.
#[utoipa::path(
    get,
    path = "/v1/keyspaces/{keyspace}/tables",
    operation_id = "list_tables",
    tag = "keyspaces",
    params(KeyspacePath),
    responses(
        (status = 200, description = "The tables of the keyspace.", body = TablesJson,
            content_type = "application/json"),
        OneKeyspaceProblems,
    ),
)]
pub(crate) async fn all<N: Node>(
    State(door): State<Arc<Door<N>>>,
    request: Request,
) -> Result<Response, Problem> {
    let [name] = names(request.uri())?;
    let status = door.status().await?;
    let keyspace = find(&status, &name)?;
    let tables = status.tables.iter().filter(|table| table.keyspace == keyspace.id);
    let tables = tables.map(|table| TableJson::new(name.as_str(), table)).collect();
    Ok(json(StatusCode::OK, &TablesJson { tables }))
}

/// Look at one table.
#[utoipa::path(
    get,
    path = "/v1/keyspaces/{keyspace}/tables/{table}",
    operation_id = "get_table",
    tag = "keyspaces",
    params(TablePath),
    responses(
        (status = 200, description = "The table.", body = TableJson,
            content_type = "application/json"),
        OneTableProblems,
    ),
)]
pub(crate) async fn one<N: Node>(
    State(door): State<Arc<Door<N>>>,
    request: Request,
) -> Result<Response, Problem> {
    let [keyspace, name] = names(request.uri())?;
    let status = door.status().await?;
    let id = find(&status, &keyspace)?.id;
    let mut tables = status.tables.iter();
    let table = tables.find(|table| table.keyspace == id && table.name == name);
    let table = table
        .ok_or_else(|| Refusal::UnknownTable { keyspace: keyspace.clone(), table: name.clone() })?;
    Ok(json(StatusCode::OK, &TableJson::new(keyspace.as_str(), table)))
}
