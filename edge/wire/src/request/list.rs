//! Ordered reads, and which keys they are of.

use bytes::Bytes;
use prost::{Message, Oneof};

use super::{Place, take_read_options};
use crate::parts::{Demands, Key, Time, Unusable, Usable, narrow, present, put_level};

/// Which keys.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Range {
    #[prost(oneof = "Extent", tags = "1, 2")]
    extent: Option<Extent>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Extent {
    #[prost(message, tag = "1")]
    Partition(PartitionExtent),
    #[prost(message, tag = "2")]
    Table(TableExtent),
}

#[derive(Clone, PartialEq, Message)]
struct PartitionExtent {
    #[prost(bytes = "bytes", tag = "1")]
    partition: Bytes,
    #[prost(bytes = "bytes", optional, tag = "2")]
    after: Option<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
struct TableExtent {
    #[prost(uint32, tag = "1")]
    shard: u32,
    #[prost(message, optional, tag = "2")]
    after: Option<Key>,
}

impl Range {
    pub(crate) fn put(range: &model::Range) -> Self {
        let extent = match range {
            model::Range::Partition { partition, after } => Extent::Partition(PartitionExtent {
                partition: partition.clone(),
                after: after.clone(),
            }),
            model::Range::Table { shard, after } => Extent::Table(TableExtent {
                shard: u32::from(*shard),
                after: after.as_ref().map(Key::put),
            }),
        };
        Self { extent: Some(extent) }
    }

    pub(crate) fn take(self) -> Usable<model::Range> {
        Ok(match self.extent.ok_or(Unusable::Unknown)? {
            Extent::Partition(PartitionExtent { partition, after }) => {
                model::Range::Partition { partition, after }
            }
            Extent::Table(TableExtent { shard, after }) => model::Range::Table {
                shard: narrow(shard)?,
                after: after.map(Key::take).transpose()?,
            },
        })
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct List {
    #[prost(message, optional, tag = "1")]
    place: Option<Place>,
    #[prost(message, optional, tag = "2")]
    range: Option<Range>,
    #[prost(uint64, tag = "3")]
    limit: u64,
    #[prost(uint32, tag = "4")]
    r: u32,
    #[prost(uint32, tag = "5")]
    pr: u32,
    #[prost(message, optional, tag = "6")]
    timeout: Option<Time>,
    #[prost(message, optional, tag = "7")]
    pub(super) demands: Option<Demands>,
}

impl List {
    pub(super) fn put(list: &model::List) -> Self {
        Self {
            place: Place::put(&list.keyspace, &list.table),
            range: Some(Range::put(&list.range)),
            limit: list.limit as u64,
            r: put_level(list.options.r),
            pr: put_level(list.options.pr),
            timeout: Some(Time::put(list.timeout)),
            demands: Demands::put(list.options.spread, list.options.min),
        }
    }

    pub(super) fn take(self) -> Usable<model::List> {
        let (keyspace, table) = Place::take(self.place)?;
        Ok(model::List {
            keyspace,
            table,
            range: present(self.range)?.take()?,
            limit: narrow(self.limit)?,
            options: take_read_options(self.r, self.pr, self.demands)?,
            timeout: present(self.timeout)?.take()?,
        })
    }
}
