//! Repairs: begun, watched and ended at one node each.

use std::fmt::Write as _;
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use crate::send::Call;
use crate::table::{add_to_query, escaped, parse, refused};
use crate::{Client, Error};

/// What a node is to compare with the others. What is left out is not narrowed down.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct StartRepair {
    /// The number by which it is known. Who draws one may ask twice: it is begun once.
    pub id: Option<u64>,
    /// How thorough it is.
    pub mode: RepairMode,
    /// Of which keyspace.
    pub keyspace: Option<String>,
    /// Of which table of it.
    pub table: Option<String>,
    /// Of which of its shards.
    pub shards: Vec<u16>,
    /// From which partition key of the table on.
    pub from: Option<Vec<u8>>,
    /// Up to which, without it.
    pub to: Option<Vec<u8>>,
    /// With which nodes.
    pub with: Vec<u16>,
    /// How long a pair may come no further before it is given up.
    pub patience: Option<Duration>,
}

/// How thorough a repair is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum RepairMode {
    /// Both replicas read what their disks hold, and what differs is brought.
    #[default]
    Full,
    /// What is known without reading is compared, of pairs that were not proven for so long.
    Incremental(Duration),
    /// As full, and nothing is brought.
    Preview,
}

/// What a node knows of repairs.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Repairs {
    /// The node asked.
    pub node: u16,
    /// The repair that is under way there, or the last one since the node was started.
    pub job: Option<Repair>,
    /// Each shard that the node keeps, with each other replica of it.
    #[serde(default)]
    pub proofs: Vec<Proof>,
}

/// A repair.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Repair {
    /// Its number, in hexadecimal digits.
    pub id: String,
    /// full, incremental or preview.
    pub mode: String,
    /// running, ended or cancelled.
    pub state: String,
    /// How long it has taken.
    pub seconds: f64,
    /// Whether it has ended and nothing is left that was not proved equal.
    pub proved: bool,
    /// Shard by shard.
    pub pairs: Vec<RepairPair>,
}

/// One shard, and the other replica that it is compared with.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct RepairPair {
    /// The name of its keyspace.
    pub keyspace: String,
    /// Its number in the keyspace.
    pub shard: u16,
    /// The other replica.
    pub with: u16,
    /// waiting, reading, comparing, blocked, proved, passed, compared or failed.
    pub state: String,
    /// Of one that is blocked or has failed: why, in a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// And in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Keys that the node holds of it.
    #[serde(default)]
    pub keys: u64,
    /// Keys that were read again, at both replicas.
    #[serde(default)]
    pub read: u64,
    /// Ranges that are left to be asked about.
    #[serde(default)]
    pub ranges_left: u64,
    /// How often it was compared to the end.
    #[serde(default)]
    pub passes: u64,
    /// Keys that were found to differ, each time they were.
    #[serde(default)]
    pub differences: u64,
    /// Objects that came to the node.
    #[serde(default)]
    pub brought: u64,
    /// Objects that went to the other one.
    #[serde(default)]
    pub sent: u64,
    /// How many bytes they have, roughly.
    #[serde(default)]
    pub bytes: u64,
    /// The first keys that differed.
    #[serde(default)]
    pub differing: Vec<Differing>,
}

/// A key that differed. What is no text is in base64.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Differing {
    /// In which table.
    pub table: String,
    /// The partition key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Or this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_base64: Option<String>,
    /// The sort key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sort: Option<String>,
    /// Or this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sort_base64: Option<String>,
}

/// When two replicas of a shard were last shown to be equal.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Proof {
    /// The name of its keyspace.
    pub keyspace: String,
    /// Its number in the keyspace.
    pub shard: u16,
    /// The other replica.
    pub with: u16,
    /// How long ago; nothing if they were not since the node was started.
    pub seconds: Option<f64>,
    /// Whether they were not compared, either, for too long.
    pub overdue: bool,
}

impl StartRepair {
    fn target(&self) -> String {
        let mut target = "/v1/repair".to_owned();
        let millis = |time: Duration| time.as_millis().max(1).to_string();
        let mut add = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                add_to_query(&mut target, name, &value);
            }
        };
        add("id", self.id.map(|id| format!("{id:016x}")));
        let (mode, within) = match self.mode {
            RepairMode::Full => ("full", None),
            RepairMode::Incremental(within) => ("incremental", Some(within)),
            RepairMode::Preview => ("preview", None),
        };
        add("mode", Some(mode.to_owned()));
        add("within", within.map(millis));
        let text = |text: &Option<String>| text.as_ref().map(|text| escaped(text.as_bytes()));
        add("keyspace", text(&self.keyspace));
        add("table", text(&self.table));
        add("shard", numbers(&self.shards));
        add("from", self.from.as_deref().map(escaped));
        add("to", self.to.as_deref().map(escaped));
        add("with", numbers(&self.with));
        add("patience", self.patience.map(millis));
        target
    }
}

fn numbers(all: &[u16]) -> Option<String> {
    let mut text = String::new();
    for number in all {
        let comma = if text.is_empty() { "" } else { "," };
        let _ = write!(text, "{comma}{number}");
    }
    (!text.is_empty()).then_some(text)
}

impl Client {
    /// Begins a repair at a node. [`Client::each`] makes one client per node.
    ///
    /// # Errors
    ///
    /// See [`Error`]. Refused with `repair_runs` while another one is under way there.
    pub async fn start_repair(&self, start: &StartRepair) -> Result<Repairs, Error> {
        self.repair(Method::POST, start.target()).await
    }

    /// Asks a node how far its repair is, and when what it keeps was last proven equal.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn repairs(&self) -> Result<Repairs, Error> {
        self.repair(Method::GET, "/v1/repair".to_owned()).await
    }

    /// Ends the repair at a node; if a number is given, only the one that has it.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn cancel_repair(&self, id: Option<u64>) -> Result<Repairs, Error> {
        let mut target = "/v1/repair".to_owned();
        if let Some(id) = id {
            add_to_query(&mut target, "id", &format!("{id:016x}"));
        }
        self.repair(Method::DELETE, target).await
    }

    async fn repair(&self, method: Method, target: String) -> Result<Repairs, Error> {
        let answer = self.send(&Call { method, ..Call::look(target) }).await?;
        if answer.status() == StatusCode::OK { parse(answer.body()) } else { Err(refused(&answer)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_not_asked_for_and_keys_are_any_bytes() {
        assert_eq!(StartRepair::default().target(), "/v1/repair?mode=full");
        let start = StartRepair {
            id: Some(0xc0_ffee),
            mode: RepairMode::Incremental(Duration::from_secs(3)),
            keyspace: Some("ks".to_owned()),
            table: Some("t".to_owned()),
            shards: vec![3, 4],
            from: Some(b"a/b".to_vec()),
            to: Some(vec![0xff]),
            with: vec![2],
            patience: Some(Duration::from_secs(1)),
        };
        assert_eq!(
            start.target(),
            "/v1/repair?id=0000000000c0ffee&mode=incremental&within=3000&keyspace=ks&table=t\
             &shard=3,4&from=a%2Fb&to=%FF&with=2&patience=1000"
        );
    }
}
