//! Bringing back what only a disk has that does not come back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use crate::catalog::{json_headers, render};
use crate::retry::Safety;
use crate::send::Call;
use crate::table::{parse, refused};
use crate::{Client, Error, Key};

/// Something that was found on a disk.
#[derive(Clone, Debug)]
pub struct Found {
    /// The node that the disk was of.
    pub node: u16,
    /// The disk, as the status of a node names disks.
    pub disk: String,
    /// In which keyspace it was.
    pub keyspace: String,
    /// In which table.
    pub table: String,
    /// In which shard the disk has it.
    pub shard: u16,
    /// Under which key.
    pub key: Key,
    /// The object, in the encoding of the server.
    pub object: Bytes,
    /// Whether it has values, and does not only ask.
    pub has_values: bool,
}

/// What became of it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
pub struct Salvaged {
    /// The writes that no replica has ever heard of.
    pub unheard: Vec<Run>,
    /// Those of them that are known by another name: their clients had sent them again.
    pub twins: Vec<Run>,
    /// Those of them that were taken in.
    pub recovered: Vec<Run>,
}

/// Writes of one life of a node, without gaps.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct Run {
    /// Which life, in hexadecimal digits.
    pub incarnation: String,
    /// The number of the first.
    pub first: u64,
    /// The number of the last.
    pub last: u64,
}

impl Client {
    /// Asks all replicas whether they have ever heard of what a disk holds that its node never
    /// serves with again, and stores the values that none has, marked as
    /// [recovered](crate::Value::recovered).
    ///
    /// # Errors
    ///
    /// [`Error`]; `disk_not_retired` if the node may serve with the disk again, and
    /// [`Error::NotAttempted`] if not all replicas could be asked. After [`Error::Unknown`] values may
    /// have been stored. All of it can be repeated: what was stored is heard of then.
    pub async fn salvage(&self, found: &Found) -> Result<Salvaged, Error> {
        let Found { node, disk, keyspace, table, shard, key, object, has_values } = found;
        let body = render(&json!({
            "node": node,
            "disk": disk,
            "keyspace": keyspace,
            "table": table,
            "shard": shard,
            "key_base64": STANDARD.encode(&key.partition),
            "sort_base64": STANDARD.encode(&key.sort),
            "object": STANDARD.encode(object),
        }))?;
        let call = Call {
            method: Method::POST,
            headers: json_headers(),
            body,
            // Whether it was stored now, or at the first attempt, could not be told.
            safety: if *has_values { Safety::Once } else { Safety::Repeatable },
            tells_timeout: true,
            ..Call::look("/v1/salvage".to_owned())
        };
        let answer = self.send(&call).await?;
        match answer.status() {
            StatusCode::OK => parse(answer.body()),
            _ => Err(refused(&answer)),
        }
    }
}
