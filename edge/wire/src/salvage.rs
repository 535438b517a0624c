//! What a disk holds that does not come back: the request, and what replicas are asked for it.

use bytes::Bytes;
use causality::DotSet;
use codec::{Reader, dots, object};
use model::{NodeId, Object};
use node::RequestId;
use prost::Message;

use crate::parts::{
    Address, Key, Objects, Receipt, Time, Usable, coded, narrow, present, put_disk, take_disk,
};
use crate::request::Place;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Salvage {
    #[prost(message, optional, tag = "1")]
    place: Option<Place>,
    #[prost(message, optional, tag = "2")]
    key: Option<Key>,
    #[prost(uint32, tag = "3")]
    shard: u32,
    #[prost(uint32, tag = "4")]
    node: u32,
    #[prost(bytes = "bytes", tag = "5")]
    disk: Bytes,
    /// An object with its marks, in the encoding of `codec`.
    #[prost(bytes = "bytes", tag = "6")]
    found: Bytes,
    #[prost(message, optional, tag = "7")]
    timeout: Option<Time>,
}

impl Salvage {
    pub(crate) fn put(salvage: &model::Salvage) -> Self {
        Self {
            place: Place::put(&salvage.keyspace, &salvage.table),
            key: Some(Key::put(&salvage.key)),
            shard: salvage.shard.into(),
            node: salvage.node.number().into(),
            disk: put_disk(salvage.disk),
            found: coded(|out| object::encode_marked(&salvage.found, out)),
            timeout: Some(Time::put(salvage.timeout)),
        }
    }

    pub(crate) fn take(self) -> Usable<model::Salvage> {
        let (keyspace, table) = Place::take(self.place)?;
        Ok(model::Salvage {
            keyspace,
            table,
            key: present(self.key)?.take()?,
            shard: narrow(self.shard)?,
            node: NodeId::new(narrow(self.node)?),
            disk: take_disk(&self.disk)?,
            found: take_object(&self.found)?,
            timeout: present(self.timeout)?.take()?,
        })
    }
}

fn take_object(bytes: &Bytes) -> Usable<Object> {
    let mut reader = Reader::new(bytes);
    let found = object::read_marked(&mut reader)?;
    reader.finish()?;
    Ok(found)
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Salvaged {
    #[prost(bytes = "bytes", tag = "1")]
    unheard: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    twins: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    recovered: Bytes,
    #[prost(message, optional, tag = "4")]
    receipt: Option<Receipt>,
}

impl Salvaged {
    pub(crate) fn put(salvaged: &model::Salvaged) -> Self {
        Self {
            unheard: put_dots(&salvaged.unheard),
            twins: put_dots(&salvaged.twins),
            recovered: put_dots(&salvaged.recovered),
            receipt: salvaged.receipt.as_ref().map(Receipt::put),
        }
    }

    pub(crate) fn take(self) -> Usable<model::Salvaged> {
        Ok(model::Salvaged {
            unheard: dots::decode(&self.unheard)?,
            twins: dots::decode(&self.twins)?,
            recovered: dots::decode(&self.recovered)?,
            receipt: self.receipt.map(Receipt::take).transpose()?,
        })
    }
}

fn put_dots(set: &DotSet) -> Bytes {
    coded(|out| dots::encode(set, out))
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Recognise {
    #[prost(fixed64, tag = "1")]
    request: u64,
    #[prost(message, optional, tag = "2")]
    address: Option<Address>,
    #[prost(bytes = "bytes", tag = "3")]
    dots: Bytes,
}

impl Recognise {
    pub(crate) fn put(recognise: &node::Recognise) -> Self {
        Self {
            request: recognise.request.0,
            address: Some(Address::put(&recognise.address)),
            dots: put_dots(&recognise.dots),
        }
    }

    pub(crate) fn take(self) -> Usable<node::Recognise> {
        Ok(node::Recognise {
            request: RequestId(self.request),
            address: present(self.address)?.take()?,
            dots: dots::decode(&self.dots)?,
        })
    }
}

/// One object follows, unless the sender cannot say.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Recognised {
    #[prost(fixed64, tag = "1")]
    request: u64,
    #[prost(bytes = "bytes", optional, tag = "2")]
    unheard: Option<Bytes>,
    #[prost(bool, tag = "3")]
    forgets: bool,
}

impl Recognised {
    pub(crate) fn put(recognised: &node::Recognised) -> Self {
        let unheard = recognised.found.as_ref().map(|found| put_dots(&found.unheard));
        let forgets = recognised.found.as_ref().is_some_and(|found| found.forgets);
        Self { request: recognised.request.0, unheard, forgets }
    }

    pub(crate) fn take(self, objects: &mut Objects<'_>) -> Usable<node::Recognised> {
        let found = match self.unheard {
            Some(unheard) => {
                let (unheard, held) = (dots::decode(&unheard)?, objects.next()?);
                Some(node::Recognition { unheard, held, forgets: self.forgets })
            }
            None => None,
        };
        Ok(node::Recognised { request: RequestId(self.request), found })
    }
}
