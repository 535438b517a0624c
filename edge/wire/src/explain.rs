//! The question what each replica holds of a key, and its answer, without its objects.

use model::{Holding, KeyspaceId, NodeId, ShardId, Told};
use prost::Message;

use crate::parts::{Key, Objects, Time, Usable, narrow, present, put_kind, take_kind};
use crate::request::Place;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Explain {
    #[prost(message, optional, tag = "1")]
    place: Option<Place>,
    #[prost(message, optional, tag = "2")]
    key: Option<Key>,
    #[prost(message, optional, tag = "3")]
    timeout: Option<Time>,
}

impl Explain {
    pub(crate) fn put(explain: &model::Explain) -> Self {
        Self {
            place: Place::put(&explain.keyspace, &explain.table),
            key: Some(Key::put(&explain.key)),
            timeout: Some(Time::put(explain.timeout)),
        }
    }

    pub(crate) fn take(self) -> Usable<model::Explain> {
        let (keyspace, table) = Place::take(self.place)?;
        let key = present(self.key)?.take()?;
        Ok(model::Explain { keyspace, table, key, timeout: present(self.timeout)?.take()? })
    }
}

/// Behind it come the object of each that has told, what a read shows, and what all hold.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Explained {
    #[prost(uint32, tag = "1")]
    keyspace: u32,
    #[prost(uint32, tag = "2")]
    shard: u32,
    #[prost(message, repeated, tag = "3")]
    holdings: Vec<PlainHolding>,
    #[prost(uint32, repeated, tag = "4")]
    asks: Vec<u32>,
    #[prost(uint32, tag = "5")]
    kind: u32,
}

#[derive(Clone, PartialEq, Message)]
struct PlainHolding {
    #[prost(uint32, tag = "1")]
    node: u32,
    #[prost(bool, tag = "2")]
    is_guest: bool,
    #[prost(bool, tag = "3")]
    has_told: bool,
    #[prost(bool, tag = "4")]
    durable: bool,
}

impl Explained {
    pub(crate) fn put(explained: &model::Explained) -> Self {
        let holding = |holding: &Holding| PlainHolding {
            node: holding.node.number().into(),
            is_guest: holding.is_guest,
            has_told: holding.told.is_some(),
            durable: holding.told.as_ref().is_some_and(|told| told.durable),
        };
        Self {
            keyspace: explained.shard.keyspace.number(),
            shard: explained.shard.index.into(),
            holdings: explained.holdings.iter().map(holding).collect(),
            asks: explained.asks.iter().map(|node| node.number().into()).collect(),
            kind: put_kind(explained.kind),
        }
    }

    pub(crate) fn take(self, objects: &mut Objects<'_>) -> Usable<model::Explained> {
        let mut holding = |plain: PlainHolding| {
            let told = match plain.has_told {
                true => Some(Told { object: objects.next()?, durable: plain.durable }),
                false => None,
            };
            let node = NodeId::new(narrow(plain.node)?);
            Ok(Holding { node, is_guest: plain.is_guest, told })
        };
        let holdings = self.holdings.into_iter().map(&mut holding).collect::<Usable<_>>()?;
        let node = |number: u32| Ok(NodeId::new(narrow(number)?));
        Ok(model::Explained {
            shard: ShardId { keyspace: KeyspaceId::new(self.keyspace), index: narrow(self.shard)? },
            holdings,
            asks: self.asks.into_iter().map(node).collect::<Usable<_>>()?,
            kind: take_kind(self.kind)?,
            shown: objects.next()?,
            merged: objects.next()?,
        })
    }
}
