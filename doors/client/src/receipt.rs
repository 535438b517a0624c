//! What an answer says about who took part in it.
//!
//! It comes as a header on raw answers and as JSON in the others:
//!
//! ```text
//! strict; acks=n1,n2; durable=2; wanted=2; of=3; shard=ks1/17; dot=00c0ffee00c0ffee:4
//! ```

use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use crate::Dot;

/// What an answer is worth.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Kind {
    /// The replicas that took part meet those of every opposite request at the table's
    /// default level.
    Strict,
    /// They would if each guest were the replica that it stands in for.
    Sloppy,
    /// They need not.
    Partial,
    /// Only guests took part.
    Any,
    /// A kind that this client does not know.
    Other(String),
}

impl Kind {
    fn new(text: &str) -> Self {
        match text {
            "strict" => Self::Strict,
            "sloppy" => Self::Sloppy,
            "partial" => Self::Partial,
            "any" => Self::Any,
            other => Self::Other(other.to_owned()),
        }
    }

    /// The kind as the server writes it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Strict => "strict",
            Self::Sloppy => "sloppy",
            Self::Partial => "partial",
            Self::Any => "any",
            Self::Other(other) => other,
        }
    }
}

/// Who took part in an answer, and what it is worth.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Receipt {
    /// What the answer is worth.
    pub kind: Kind,
    /// The nodes that took part by the time of the answer.
    pub acks: Vec<u16>,
    /// Of these, the guests, each with the absent replica that it stands in for.
    pub guests: Vec<(u16, u16)>,
    /// How many of them had the write on disk; 0 for a read.
    pub durable: usize,
    /// How many had to take part.
    pub wanted: u16,
    /// N: how many replicas there are.
    pub replicas: u16,
    /// The votes of those who took part, and of all replicas. Nothing if each replica has one.
    pub votes: Option<(u16, u16)>,
    /// The shard, `KEYSPACE/INDEX`.
    pub shard: String,
    /// The write that was accepted; nothing for a read.
    pub dot: Option<Dot>,
    /// Of a read: no write that was acknowledged at least so long before the read began is
    /// missing, at whatever level it was acknowledged. Nothing if that is not known.
    pub staleness: Option<Duration>,
}

impl Receipt {
    /// Reads the header. Facts that this client does not know are skipped; nothing comes of
    /// a header in which one that it knows is broken.
    pub(crate) fn from_header(text: &str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let mut receipt = Self {
            kind: Kind::new(parts.next()?),
            acks: Vec::new(),
            guests: Vec::new(),
            durable: 0,
            wanted: 0,
            replicas: 0,
            votes: None,
            shard: String::new(),
            dot: None,
            staleness: None,
        };
        for part in parts {
            let (name, value) = part.split_once('=')?;
            match name {
                "acks" => {
                    receipt.acks = value
                        .split(',')
                        .filter(|id| !id.is_empty())
                        .map(node)
                        .collect::<Option<_>>()?;
                }
                "guests" => {
                    let pair = |text: &str| {
                        let (guest, replica) = text.split_once(':')?;
                        Some((node(guest)?, node(replica)?))
                    };
                    receipt.guests = value.split(',').map(pair).collect::<Option<_>>()?;
                }
                "durable" => receipt.durable = value.parse().ok()?,
                "wanted" => receipt.wanted = value.parse().ok()?,
                "of" => receipt.replicas = value.parse().ok()?,
                "votes" => {
                    let (got, of) = value.split_once('/')?;
                    receipt.votes = Some((got.parse().ok()?, of.parse().ok()?));
                }
                "shard" => receipt.shard = value.to_owned(),
                "dot" => receipt.dot = Some(Dot(value.to_owned())),
                "staleness_millis" => {
                    receipt.staleness = Some(Duration::from_millis(value.parse().ok()?));
                }
                _ => {}
            }
        }
        Some(receipt)
    }
}

/// Reads `n1` or `1`.
fn node(text: &str) -> Option<u16> {
    text.strip_prefix('n').unwrap_or(text).parse().ok()
}

/// Reads a node's number as JSON, written `1` or `"n1"`.
pub(crate) fn node_from_json<'de, D: Deserializer<'de>>(from: D) -> Result<u16, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Raw {
        Number(u16),
        Text(String),
    }
    match Raw::deserialize(from)? {
        Raw::Number(number) => Ok(number),
        Raw::Text(text) => node(&text).ok_or_else(|| D::Error::custom("no node id")),
    }
}

impl<'de> Deserialize<'de> for Receipt {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let raw = Raw::deserialize(from)?;
        Ok(Self {
            kind: Kind::new(&raw.kind),
            durable: raw.acks.iter().filter(|ack| ack.durable).count(),
            guests: raw.acks.iter().filter_map(|ack| Some((ack.node, ack.guest_for?))).collect(),
            acks: raw.acks.into_iter().map(|ack| ack.node).collect(),
            wanted: raw.wanted,
            replicas: raw.replicas,
            votes: raw.votes.map(|votes| (votes.got, votes.of)),
            shard: raw.shard,
            dot: raw.dot.map(Dot),
            staleness: raw.staleness_millis.map(Duration::from_millis),
        })
    }
}

#[derive(Deserialize)]
struct Raw {
    kind: String,
    acks: Vec<RawAck>,
    wanted: u16,
    replicas: u16,
    votes: Option<RawVotes>,
    shard: String,
    dot: Option<String>,
    staleness_millis: Option<u64>,
}

#[derive(Deserialize)]
struct RawVotes {
    got: u16,
    of: u16,
}

#[derive(Deserialize)]
struct RawAck {
    #[serde(deserialize_with = "node_from_json")]
    node: u16,
    #[serde(default)]
    durable: bool,
    guest_for: Option<u16>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_and_json_say_the_same() {
        let header = "strict; acks=n1,n2; durable=1; wanted=2; of=3; shard=ks1/17; dot=00c0:4";
        let json = r#"{"kind":"strict","acks":[{"node":1,"durable":true},{"node":2,"durable":false}],
            "wanted":2,"replicas":3,"shard":"ks1/17","dot":"00c0:4"}"#;
        let from_header = Receipt::from_header(header).unwrap();
        assert_eq!(from_header, serde_json::from_str(json).unwrap());
        assert_eq!(from_header.acks, [1, 2]);
        assert_eq!(from_header.dot.unwrap().as_str(), "00c0:4");
    }

    #[test]
    fn a_read_says_nothing_of_disks() {
        let header = "strict; acks=n1; wanted=1; of=3; shard=ks1/17; staleness_millis=70";
        let json = r#"{"kind":"strict","acks":[{"node":1}],"wanted":1,"replicas":3,"shard":"ks1/17","staleness_millis":70}"#;
        let from_header = Receipt::from_header(header).unwrap();
        assert_eq!(from_header, serde_json::from_str(json).unwrap());
        assert_eq!(from_header.durable, 0);
        assert_eq!(from_header.staleness, Some(Duration::from_millis(70)));
    }

    #[test]
    fn votes_are_read_from_both() {
        let header = "strict; acks=n1; wanted=1; of=3; votes=3/5; shard=ks1/17";
        let json = r#"{"kind":"strict","acks":[{"node":1}],"wanted":1,"replicas":3,"votes":{"got":3,"of":5},"shard":"ks1/17"}"#;
        let from_header = Receipt::from_header(header).unwrap();
        assert_eq!(from_header, serde_json::from_str(json).unwrap());
        assert_eq!(from_header.votes, Some((3, 5)));
        assert_eq!(
            Receipt::from_header("strict; acks=n1; wanted=1; of=3; votes=3; shard=ks1/17"),
            None
        );
    }

    #[test]
    fn guests_are_named_with_whom_they_stand_in_for() {
        let header = "sloppy; acks=n1,n4; guests=n4:n2; wanted=2; of=3; shard=ks1/17";
        let json = r#"{"kind":"sloppy","acks":[{"node":1},{"node":4,"guest_for":2}],"wanted":2,"replicas":3,"shard":"ks1/17"}"#;
        let from_header = Receipt::from_header(header).unwrap();
        assert_eq!(from_header, serde_json::from_str(json).unwrap());
        assert_eq!((from_header.kind, from_header.guests), (Kind::Sloppy, vec![(4, 2)]));
    }

    #[test]
    fn a_broken_header_is_no_receipt_and_a_newer_one_is() {
        assert_eq!(Receipt::from_header("strict; acks=one"), None);
        assert_eq!(Receipt::from_header("strict; wanted"), None);
        let newer =
            Receipt::from_header("sloppy; acks=; stale=3ms; wanted=1; of=3; shard=a/1").unwrap();
        assert_eq!((newer.kind.as_str(), newer.acks.len()), ("sloppy", 0));
    }
}
