//! The question what became of a write, and its answer.

use bytes::Bytes;
use model::{Fate, NodeId};
use prost::Message;

use crate::parts::{Key, Receipt, Time, Unusable, Usable, narrow, present, wrong};
use crate::request::{Place, put_token, take_token};

fn put_fate(fate: Fate) -> u32 {
    match fate {
        Fate::Applied => 1,
        Fate::Superseded => 2,
        Fate::NotSeen { is_final: false } => 3,
        Fate::NotSeen { is_final: true } => 4,
        Fate::Expired => 5,
    }
}

fn take_fate(number: u32) -> Usable<Fate> {
    Ok(match number {
        1 => Fate::Applied,
        2 => Fate::Superseded,
        3 => Fate::NotSeen { is_final: false },
        4 => Fate::NotSeen { is_final: true },
        5 => Fate::Expired,
        0 => return Err(wrong("a number missing that says which")),
        _ => return Err(Unusable::Unknown),
    })
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Recall {
    #[prost(message, optional, tag = "1")]
    place: Option<Place>,
    #[prost(message, optional, tag = "2")]
    key: Option<Key>,
    #[prost(bytes = "bytes", tag = "3")]
    token: Bytes,
    #[prost(message, optional, tag = "4")]
    timeout: Option<Time>,
}

impl Recall {
    pub(crate) fn put(recall: &model::Recall) -> Self {
        Self {
            place: Place::put(&recall.keyspace, &recall.table),
            key: Some(Key::put(&recall.key)),
            token: put_token(recall.token),
            timeout: Some(Time::put(recall.timeout)),
        }
    }

    pub(crate) fn take(self) -> Usable<model::Recall> {
        let (keyspace, table) = Place::take(self.place)?;
        Ok(model::Recall {
            keyspace,
            table,
            key: present(self.key)?.take()?,
            token: take_token(&self.token)?,
            timeout: present(self.timeout)?.take()?,
        })
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Recalled {
    #[prost(uint32, tag = "1")]
    fate: u32,
    #[prost(message, optional, tag = "2")]
    receipt: Option<Receipt>,
    #[prost(uint32, repeated, tag = "3")]
    guests: Vec<u32>,
    #[prost(uint32, repeated, tag = "4")]
    without: Vec<u32>,
    #[prost(uint32, repeated, tag = "5")]
    silent: Vec<u32>,
}

impl Recalled {
    pub(crate) fn put(recalled: &model::Recalled) -> Self {
        Self {
            fate: put_fate(recalled.fate),
            receipt: recalled.receipt.as_ref().map(Receipt::put),
            guests: put_nodes(&recalled.guests),
            without: put_nodes(&recalled.without),
            silent: put_nodes(&recalled.silent),
        }
    }

    pub(crate) fn take(self) -> Usable<model::Recalled> {
        Ok(model::Recalled {
            fate: take_fate(self.fate)?,
            receipt: self.receipt.map(Receipt::take).transpose()?,
            guests: take_nodes(self.guests)?,
            without: take_nodes(self.without)?,
            silent: take_nodes(self.silent)?,
        })
    }
}

fn put_nodes(nodes: &[NodeId]) -> Vec<u32> {
    nodes.iter().map(|node| node.number().into()).collect()
}

fn take_nodes(numbers: Vec<u32>) -> Usable<Vec<NodeId>> {
    numbers.into_iter().map(|number| Ok(NodeId::new(narrow(number)?))).collect()
}
