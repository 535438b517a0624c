//! Receipts and contexts as header lines, and receipts as JSON.
//!
//! ```text
//! Merganser-Receipt: strict; acks=n1,n2; durable=2; wanted=2; of=3; shard=ks1/17; dot=00c0ffee00c0ffee:4
//! ```
//!
//! `durable` and `dot` are said of writes only: a read asks nobody's disk. `guests=n4:n2` says
//! that n4 took part in the place of n2; without guests nothing is said of them. `votes=2/3` is said
//! where a table gives votes. A read may
//! add `staleness_millis`: how long ago the youngest write can have been acknowledged, at most,
//! that is missing.

use std::fmt::Write;

use axum::http::{HeaderMap, HeaderValue};
use bytes::Bytes;
use codec::token;
use model::{Cast, Receipt, Session};
use serde::Serialize;
use utoipa::ToSchema;

use crate::problem::{CONTEXT, SESSION, WARNING};

/// Who took part in an answer, and what it is worth.
#[derive(Serialize, ToSchema)]
#[schema(as = Receipt)]
pub(crate) struct ReceiptJson {
    /// `strict` if every opposite request at the table's default level meets this one;
    /// `sloppy` if it would if guests were the replicas that they stand in for; `any` if only
    /// guests took part; else `partial`.
    kind: &'static str,
    /// The replicas that took part by the time of the answer.
    acks: Vec<AckJson>,
    /// How many had to.
    wanted: u8,
    /// How many replicas there are.
    replicas: u8,
    /// The votes of those who took part, and of all; absent where each replica has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    votes: Option<VotesJson>,
    /// The shard that was read or written.
    #[schema(example = "ks1/17")]
    shard: String,
    /// The write that was accepted; absent for a read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "00c0ffee00c0ffee:4")]
    dot: Option<String>,
    /// Of a read: no write that was acknowledged, at whatever level, at least so long before the
    /// read began is missing. Absent if that is not known, and for a write.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 420)]
    staleness_millis: Option<u64>,
}

/// Votes behind an answer.
#[derive(Serialize, ToSchema)]
#[schema(as = Votes)]
pub(crate) struct VotesJson {
    /// Of those who took part.
    got: u16,
    /// Of all replicas.
    of: u16,
}

/// One replica's part in an answer.
#[derive(Serialize, ToSchema)]
#[schema(as = Ack)]
pub(crate) struct AckJson {
    /// The node.
    node: u16,
    /// Of a write: whether it is on this node's disk; absent for a read.
    #[serde(skip_serializing_if = "Option::is_none")]
    durable: Option<bool>,
    /// The absent replica that this node stands in for; absent for a replica.
    #[serde(skip_serializing_if = "Option::is_none")]
    guest_for: Option<u16>,
}

impl From<&Receipt> for ReceiptJson {
    fn from(receipt: &Receipt) -> Self {
        let acks = receipt.acks.iter().map(|ack| AckJson {
            node: ack.node.number(),
            durable: receipt.dot.map(|_| ack.durable),
            guest_for: ack.stands_for.map(|replica| replica.number()),
        });
        Self {
            kind: receipt.kind.as_str(),
            acks: acks.collect(),
            wanted: receipt.wanted,
            replicas: receipt.replicas,
            votes: receipt.cast.map(|Cast { got, of }| VotesJson { got, of }),
            shard: receipt.shard.to_string(),
            dot: receipt.dot.map(|dot| dot.to_string()),
            staleness_millis: staleness_millis(receipt),
        }
    }
}

fn staleness_millis(receipt: &Receipt) -> Option<u64> {
    receipt.staleness.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// The receipt as one header line.
pub(crate) fn header(receipt: &Receipt) -> HeaderValue {
    // Three replicas fit without growing.
    let mut line = String::with_capacity(128);
    line.push_str(receipt.kind.as_str());
    line.push_str("; acks=");
    for (index, ack) in receipt.acks.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(line, "{comma}{}", ack.node);
    }
    let guests = receipt.acks.iter().filter_map(|ack| Some((ack.node, ack.stands_for?)));
    for (index, (guest, replica)) in guests.enumerate() {
        let before = if index == 0 { "; guests=" } else { "," };
        let _ = write!(line, "{before}{guest}:{replica}");
    }
    if receipt.dot.is_some() {
        let _ = write!(line, "; durable={}", receipt.durable());
    }
    let Receipt { wanted, replicas, shard, .. } = receipt;
    let _ = write!(line, "; wanted={wanted}; of={replicas}");
    if let Some(Cast { got, of }) = receipt.cast {
        let _ = write!(line, "; votes={got}/{of}");
    }
    let _ = write!(line, "; shard={shard}");
    if let Some(dot) = receipt.dot {
        let _ = write!(line, "; dot={dot}");
    }
    if let Some(millis) = staleness_millis(receipt) {
        let _ = write!(line, "; staleness_millis={millis}");
    }
    visible(line)
}

/// Adds a sealed token to the headers of an answer, and a warning if no node would take it
/// back.
pub(crate) fn add_context(headers: &mut HeaderMap, token: String) {
    if token::TEXT_BYTES_MAX < token.len() {
        headers.insert(WARNING, HeaderValue::from_static("context-too-large"));
    }
    headers.insert(CONTEXT, visible(token));
}

/// Adds the token of a session, if the answer belongs to one.
pub(crate) fn add_session(headers: &mut HeaderMap, session: Option<&Session>) {
    if let Some(session) = session {
        headers.insert(SESSION, visible(codec::session::encode(session)));
    }
}

fn visible(text: String) -> HeaderValue {
    HeaderValue::from_maybe_shared(Bytes::from(text)).expect("tokens and receipts are ASCII")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use causality::{Dot, Incarnation};
    use model::{Ack, KeyspaceId, Kind, NodeId, ShardId};

    use super::*;

    fn receipt(dot: Option<Dot>) -> Receipt {
        let ack = |node, durable| Ack::of_replica(NodeId::new(node), durable);
        Receipt {
            kind: Kind::Strict,
            dot,
            shard: ShardId { keyspace: KeyspaceId::new(1), index: 17 },
            acks: vec![ack(1, true), ack(2, dot.is_some())],
            wanted: 2,
            replicas: 3,
            cast: None,
            staleness: None,
        }
    }

    #[test]
    fn a_write_says_its_dot_and_how_many_disks_have_it() {
        let dot = Dot::new(Incarnation::new(0x00c0_ffee_00c0_ffee), 4);
        assert_eq!(
            header(&receipt(Some(dot))),
            "strict; acks=n1,n2; durable=2; wanted=2; of=3; shard=ks1/17; dot=00c0ffee00c0ffee:4"
        );
    }

    #[test]
    fn who_stands_in_for_whom_is_said_beside_who_took_part() {
        let mut sloppy = receipt(None);
        sloppy.acks[1].stands_for = Some(NodeId::new(3));
        sloppy.kind = Kind::Sloppy;
        let line = "sloppy; acks=n1,n2; guests=n2:n3; wanted=2; of=3; shard=ks1/17";
        assert_eq!(header(&sloppy), line);
        let json = serde_json::to_value(ReceiptJson::from(&sloppy)).unwrap();
        assert_eq!(json["acks"][1], serde_json::json!({ "node": 2, "guest_for": 3 }));
    }

    #[test]
    fn how_old_an_answer_can_be_is_said_if_it_is_known() {
        let receipt = Receipt { staleness: Some(Duration::from_millis(420)), ..receipt(None) };
        let line = "strict; acks=n1,n2; wanted=2; of=3; shard=ks1/17; staleness_millis=420";
        assert_eq!(header(&receipt), line);
        let json = serde_json::to_value(ReceiptJson::from(&receipt)).unwrap();
        assert_eq!(json["staleness_millis"], 420);
    }

    #[test]
    fn votes_are_said_where_there_are_any() {
        let receipt = Receipt { cast: Some(Cast { got: 3, of: 5 }), ..receipt(None) };
        let line = "strict; acks=n1,n2; wanted=2; of=3; votes=3/5; shard=ks1/17";
        assert_eq!(header(&receipt), line);
        let json = serde_json::to_value(ReceiptJson::from(&receipt)).unwrap();
        assert_eq!(json["votes"], serde_json::json!({ "got": 3, "of": 5 }));
    }

    #[test]
    fn a_read_says_neither() {
        assert_eq!(header(&receipt(None)), "strict; acks=n1,n2; wanted=2; of=3; shard=ks1/17");
    }
}
