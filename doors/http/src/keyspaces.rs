//! Keyspaces: declared with a PUT, looked at with a GET.
//!
//! A declaration is repeatable: the same contract again changes nothing and answers 200
//! instead of 201, so that an application can declare what it needs at every start. Another
//! contract under the same name is refused, because a contract never changes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use model::{
    Declare, Declared, Keyspace, Malformed, Name, Refusal, ReplicaMap, SHARDS_DEFAULT, Status,
};
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::Node;
use crate::body::{self, Held};
use crate::door::Door;
use crate::kv::json;
use crate::openapi::{CreateKeyspaceProblems, KeyspacePath, NodeProblems, OneKeyspaceProblems};
use crate::params::Query;
use crate::path;
use crate::problem::Problem;

/// Replicas of a keyspace that does not say, if the region has as many nodes: the fewest
/// that survive the loss of one and still have a majority.
const REPLICAS_DEFAULT: u8 = 3;

/// A replication contract to declare.
#[derive(Deserialize, ToSchema)]
#[schema(as = DeclareKeyspace)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeclareKeyspaceJson {
    /// Into how many shards its keys are hashed: a power of two. 64 if left out.
    shards: Option<u16>,
    /// How many replicas are kept where.
    replicas: Option<ReplicasJson>,
    /// Whether other nodes stand in for replicas that are away. Not if left out.
    #[serde(default)]
    sloppy: bool,
}

/// How many replicas: a number for the answering node's own region, or one per region.
pub(crate) enum ReplicasJson {
    Here(u8),
    Regions(BTreeMap<String, u8>),
}

/// A replication contract.
#[derive(Serialize, ToSchema)]
#[schema(as = Keyspace)]
pub(crate) struct KeyspaceJson {
    /// Unique in the cluster.
    name: String,
    /// Its number in the cluster.
    id: u32,
    /// Into how many shards its keys are hashed.
    shards: u16,
    /// How many replicas are kept in which region.
    replicas: BTreeMap<String, u8>,
    /// Replicas in all regions together.
    n: u8,
    /// Whether other nodes stand in for replicas that are away.
    sloppy: bool,
}

/// All keyspaces.
#[derive(Serialize, ToSchema)]
#[schema(as = Keyspaces)]
pub(crate) struct KeyspacesJson {
    keyspaces: Vec<KeyspaceJson>,
}

impl From<&Keyspace> for KeyspaceJson {
    fn from(keyspace: &Keyspace) -> Self {
        let replicas = keyspace.replicas.iter();
        Self {
            name: keyspace.name.to_string(),
            id: keyspace.id.number(),
            shards: keyspace.shards,
            replicas: replicas.map(|(region, count)| (region.to_string(), *count)).collect(),
            n: keyspace.n(),
            sloppy: keyspace.sloppy,
        }
    }
}

/// Declare a keyspace.
///
/// Repeating it with the same contract changes nothing. No body is the same as `{}`.
#[utoipa::path(
    put,
    path = "/v1/keyspaces/{keyspace}",
    operation_id = "declare_keyspace",
    tag = "keyspaces",
    params(KeyspacePath),
    request_body(content = DeclareKeyspaceJson, content_type = "application/json"),
    responses(
        (status = 201, description = "Created.", body = KeyspaceJson,
            content_type = "application/json"),
        (status = 200, description = "It exists, with this contract.", body = KeyspaceJson,
            content_type = "application/json"),
        CreateKeyspaceProblems,
    ),
)]
pub(crate) async fn create<N: Node>(
    State(door): State<Arc<Door<N>>>,
    request: Request,
) -> Result<Response, Problem> {
    let [name] = names(request.uri())?;
    let Held { content: contract, share: _share } =
        body::contract::<DeclareKeyspaceJson>(&door.bodies, request).await?;
    let declare = Declare::Keyspace {
        name,
        shards: contract.shards.unwrap_or(SHARDS_DEFAULT),
        replicas: replicas(&door, contract.replicas)?,
        sloppy: contract.sloppy,
    };
    match door.declare(declare).await? {
        Declared::Keyspace { keyspace, created } => {
            Ok(json(created_or_existed(created), &KeyspaceJson::from(&keyspace)))
        }
        Declared::Table { .. } | Declared::Disk { .. } => {
            Err(Problem::internal("the node declared something else"))
        }
    }
}

fn replicas<N: Node>(
    door: &Door<N>,
    replicas: Option<ReplicasJson>,
) -> Result<ReplicaMap, Problem> {
    let here = door.config.region.clone();
    let count = match replicas {
        None => REPLICAS_DEFAULT.min(door.config.nodes_in_region),
        Some(ReplicasJson::Here(count)) => count,
        Some(ReplicasJson::Regions(regions)) => {
            let regions = regions.into_iter();
            let named = regions.map(|(region, count)| Ok((Name::new(&region)?, count)));
            return named.collect::<Result<_, Malformed>>().map_err(Problem::from);
        }
    };
    Ok(ReplicaMap::from([(here, count)]))
}

/// The status of a declaration.
pub(crate) fn created_or_existed(created: bool) -> StatusCode {
    if created { StatusCode::CREATED } else { StatusCode::OK }
}

/// Look at all keyspaces.
#[utoipa::path(
    get,
    path = "/v1/keyspaces",
    operation_id = "list_keyspaces",
    tag = "keyspaces",
    responses(
        (status = 200, description = "All keyspaces.", body = KeyspacesJson,
            content_type = "application/json"),
        NodeProblems,
    ),
)]
pub(crate) async fn all<N: Node>(
    State(door): State<Arc<Door<N>>>,
    request: Request,
) -> Result<Response, Problem> {
    Query::parse(request.uri().query(), &[])?;
    let status = door.status().await?;
    let keyspaces = status.keyspaces.iter().map(KeyspaceJson::from).collect();
    Ok(json(StatusCode::OK, &KeyspacesJson { keyspaces }))
}

/// Look at one keyspace.
#[utoipa::path(
    get,
    path = "/v1/keyspaces/{keyspace}",
    operation_id = "get_keyspace",
    tag = "keyspaces",
    params(KeyspacePath),
    responses(
        (status = 200, description = "The keyspace.", body = KeyspaceJson,
            content_type = "application/json"),
        OneKeyspaceProblems,
    ),
)]
pub(crate) async fn one<N: Node>(
    State(door): State<Arc<Door<N>>>,
    request: Request,
) -> Result<Response, Problem> {
    let [name] = names(request.uri())?;
    let status = door.status().await?;
    Ok(json(StatusCode::OK, &KeyspaceJson::from(find(&status, &name)?)))
}

/// The keyspace of this name.
///
/// # Errors
///
/// `unknown_keyspace`.
pub(crate) fn find<'a>(status: &'a Status, name: &Name) -> Result<&'a Keyspace, Problem> {
    let keyspace = status.keyspaces.iter().find(|keyspace| keyspace.name == *name);
    Ok(keyspace.ok_or_else(|| Refusal::UnknownKeyspace(name.clone()))?)
}

/// The names in `/v1/keyspaces/{0}` or `/v1/keyspaces/{0}/tables/{1}`. These requests take
/// no parameters.
pub(crate) fn names<const N: usize>(uri: &Uri) -> Result<[Name; N], Problem> {
    Query::parse(uri.query(), &[])?;
    let below = uri.path().strip_prefix("/v1/keyspaces/").unwrap_or_default();
    // The keyspace, and after the word `tables` the table.
    let mut segments = below.split('/').step_by(2);
    let mut next = || path::name(segments.next().unwrap_or_default());
    let mut names = Vec::with_capacity(N);
    for _ in 0..N {
        names.push(next()?);
    }
    Ok(names.try_into().expect("as many as were pushed"))
}

impl<'de> Deserialize<'de> for ReplicasJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReplicasVisitor)
    }
}

struct ReplicasVisitor;

impl<'de> Visitor<'de> for ReplicasVisitor {
    type Value = ReplicasJson;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number up to 255, or such a number for each region")
    }

    fn visit_u64<E: de::Error>(self, count: u64) -> Result<ReplicasJson, E> {
        let unexpected = |_| E::invalid_value(de::Unexpected::Unsigned(count), &self);
        u8::try_from(count).map(ReplicasJson::Here).map_err(unexpected)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ReplicasJson, A::Error> {
        let mut regions = BTreeMap::new();
        while let Some((region, count)) = map.next_entry::<String, u8>()? {
            if regions.insert(region, count).is_some() {
                return Err(de::Error::custom("a region is given twice"));
            }
        }
        Ok(ReplicasJson::Regions(regions))
    }
}

impl PartialSchema for ReplicasJson {
    fn schema() -> RefOr<Schema> {
        let count =
            || ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).maximum(Some(255));
        OneOfBuilder::new()
            .item(count().description(Some("Replicas in the answering node's own region.")))
            .item(
                ObjectBuilder::new()
                    .additional_properties(Some(Schema::Object(count().build())))
                    .description(Some("Replicas by region.")),
            )
            .into()
    }
}

impl ToSchema for ReplicasJson {
    fn name() -> std::borrow::Cow<'static, str> {
        "Replicas".into()
    }
}
