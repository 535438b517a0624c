//! Requests that one node hands to another.

use bytes::Bytes;
use codec::dots;
use model::{Durability, Mutation, Policy, ReadOptions, WriteOptions};
use prost::{Message, Oneof};

use crate::parts::{
    Key, Time, Unusable, Usable, coded, narrow, numbered, present, put_level, put_name, take_level,
    take_name,
};

numbered!(put_policy, take_policy, Policy { Policy::Siblings = 1 });

numbered!(put_durability, take_durability, Durability {
    Durability::Synced = 1,
    Durability::Buffered = 2,
});

/// Any request.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Request {
    #[prost(oneof = "Asked", tags = "1, 2, 3, 4, 5, 6")]
    asked: Option<Asked>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Asked {
    #[prost(message, tag = "1")]
    Put(Write),
    #[prost(message, tag = "2")]
    Get(Get),
    #[prost(message, tag = "3")]
    List(List),
    #[prost(message, tag = "4")]
    DeclareKeyspace(DeclareKeyspace),
    #[prost(message, tag = "5")]
    DeclareTable(DeclareTable),
    #[prost(bool, tag = "6")]
    Status(bool),
}

impl Request {
    pub(crate) fn put(request: &model::Request) -> Self {
        let asked = match request {
            model::Request::Put(put) => Asked::Put(Write::put(put)),
            model::Request::Get(get) => Asked::Get(Get::put(get)),
            model::Request::List(list) => Asked::List(List::put(list)),
            model::Request::Declare(declare) => put_declare(declare),
            model::Request::Status => Asked::Status(true),
        };
        Self { asked: Some(asked) }
    }

    pub(crate) fn take(self) -> Usable<model::Request> {
        Ok(match self.asked.ok_or(Unusable::Unknown)? {
            Asked::Put(put) => model::Request::Put(put.take()?),
            Asked::Get(get) => model::Request::Get(get.take()?),
            Asked::List(list) => model::Request::List(list.take()?),
            Asked::DeclareKeyspace(declare) => model::Request::Declare(declare.take()?),
            Asked::DeclareTable(declare) => model::Request::Declare(declare.take()?),
            Asked::Status(_) => model::Request::Status,
        })
    }
}

/// In which table.
#[derive(Clone, PartialEq, Message)]
struct Place {
    #[prost(bytes = "bytes", tag = "1")]
    keyspace: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    table: Bytes,
}

impl Place {
    fn put(keyspace: &model::Name, table: &model::Name) -> Option<Self> {
        Some(Self { keyspace: put_name(keyspace), table: put_name(table) })
    }

    fn take(place: Option<Self>) -> Usable<(model::Name, model::Name)> {
        let place = present(place)?;
        Ok((take_name(&place.keyspace)?, take_name(&place.table)?))
    }
}

/// A `model::Put`.
#[derive(Clone, PartialEq, Message)]
struct Write {
    #[prost(message, optional, tag = "1")]
    place: Option<Place>,
    #[prost(message, optional, tag = "2")]
    key: Option<Key>,
    #[prost(oneof = "Change", tags = "3, 4")]
    change: Option<Change>,
    #[prost(bytes = "bytes", tag = "5")]
    context: Bytes,
    #[prost(uint32, tag = "6")]
    w: u32,
    #[prost(uint32, tag = "7")]
    pw: u32,
    #[prost(uint32, tag = "8")]
    dw: u32,
    #[prost(message, optional, tag = "9")]
    timeout: Option<Time>,
}

/// A delete is said and never implied: a change that this version does not know must not
/// be taken for one.
#[derive(Clone, PartialEq, Oneof)]
enum Change {
    #[prost(message, tag = "3")]
    Store(Value),
    #[prost(bool, tag = "4")]
    Delete(bool),
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(bytes = "bytes", tag = "1")]
    content_type: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    body: Bytes,
}

impl Write {
    fn put(put: &model::Put) -> Self {
        let store = |value: &model::Value| Value {
            content_type: value.content_type.clone(),
            body: value.body.clone(),
        };
        Self {
            place: Place::put(&put.keyspace, &put.table),
            key: Some(Key::put(&put.key)),
            change: Some(match &put.mutation {
                Mutation::Store(value) => Change::Store(store(value)),
                Mutation::Delete => Change::Delete(true),
            }),
            context: coded(|out| dots::encode(&put.context, out)),
            w: put_level(put.options.w),
            pw: put_level(put.options.pw),
            dw: put_level(put.options.dw),
            timeout: Some(Time::put(put.timeout)),
        }
    }

    fn take(self) -> Usable<model::Put> {
        let (keyspace, table) = Place::take(self.place)?;
        let mutation = match self.change.ok_or(Unusable::Unknown)? {
            Change::Store(Value { content_type, body }) => {
                Mutation::Store(model::Value { content_type, body })
            }
            Change::Delete(_) => Mutation::Delete,
        };
        let (w, pw, dw) = (take_level(self.w)?, take_level(self.pw)?, take_level(self.dw)?);
        Ok(model::Put {
            keyspace,
            table,
            key: present(self.key)?.take()?,
            mutation,
            context: dots::decode(&self.context)?,
            options: WriteOptions { w, pw, dw },
            timeout: present(self.timeout)?.take()?,
        })
    }
}

#[derive(Clone, PartialEq, Message)]
struct Get {
    #[prost(message, optional, tag = "1")]
    place: Option<Place>,
    #[prost(message, optional, tag = "2")]
    key: Option<Key>,
    #[prost(uint32, tag = "3")]
    r: u32,
    #[prost(uint32, tag = "4")]
    pr: u32,
    #[prost(message, optional, tag = "5")]
    timeout: Option<Time>,
}

impl Get {
    fn put(get: &model::Get) -> Self {
        Self {
            place: Place::put(&get.keyspace, &get.table),
            key: Some(Key::put(&get.key)),
            r: put_level(get.options.r),
            pr: put_level(get.options.pr),
            timeout: Some(Time::put(get.timeout)),
        }
    }

    fn take(self) -> Usable<model::Get> {
        let (keyspace, table) = Place::take(self.place)?;
        Ok(model::Get {
            keyspace,
            table,
            key: present(self.key)?.take()?,
            options: ReadOptions { r: take_level(self.r)?, pr: take_level(self.pr)? },
            timeout: present(self.timeout)?.take()?,
        })
    }
}

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
struct List {
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
}

impl List {
    fn put(list: &model::List) -> Self {
        Self {
            place: Place::put(&list.keyspace, &list.table),
            range: Some(Range::put(&list.range)),
            limit: list.limit as u64,
            r: put_level(list.options.r),
            pr: put_level(list.options.pr),
            timeout: Some(Time::put(list.timeout)),
        }
    }

    fn take(self) -> Usable<model::List> {
        let (keyspace, table) = Place::take(self.place)?;
        Ok(model::List {
            keyspace,
            table,
            range: present(self.range)?.take()?,
            limit: narrow(self.limit)?,
            options: ReadOptions { r: take_level(self.r)?, pr: take_level(self.pr)? },
            timeout: present(self.timeout)?.take()?,
        })
    }
}

#[derive(Clone, PartialEq, Message)]
struct DeclareKeyspace {
    #[prost(bytes = "bytes", tag = "1")]
    name: Bytes,
    #[prost(uint32, tag = "2")]
    shards: u32,
    #[prost(message, repeated, tag = "3")]
    replicas: Vec<Replicas>,
}

#[derive(Clone, PartialEq, Message)]
struct Replicas {
    #[prost(bytes = "bytes", tag = "1")]
    region: Bytes,
    #[prost(uint32, tag = "2")]
    count: u32,
}

#[derive(Clone, PartialEq, Message)]
struct DeclareTable {
    #[prost(message, optional, tag = "1")]
    place: Option<Place>,
    #[prost(uint32, tag = "2")]
    policy: u32,
    #[prost(uint32, tag = "3")]
    durability: u32,
    #[prost(uint32, tag = "4")]
    read: u32,
    #[prost(uint32, tag = "5")]
    write: u32,
}

fn put_declare(declare: &model::Declare) -> Asked {
    match declare {
        model::Declare::Keyspace { name, shards, replicas } => {
            let entry = |(region, count): (&model::Name, &u8)| Replicas {
                region: put_name(region),
                count: u32::from(*count),
            };
            Asked::DeclareKeyspace(DeclareKeyspace {
                name: put_name(name),
                shards: u32::from(*shards),
                replicas: replicas.iter().map(entry).collect(),
            })
        }
        model::Declare::Table { keyspace, name, policy, durability, read, write } => {
            Asked::DeclareTable(DeclareTable {
                place: Place::put(keyspace, name),
                policy: put_policy(*policy),
                durability: put_durability(*durability),
                read: put_level(Some(*read)),
                write: put_level(Some(*write)),
            })
        }
    }
}

impl DeclareKeyspace {
    fn take(self) -> Usable<model::Declare> {
        let entry = |entry: Replicas| Ok((take_name(&entry.region)?, narrow(entry.count)?));
        Ok(model::Declare::Keyspace {
            name: take_name(&self.name)?,
            shards: narrow(self.shards)?,
            replicas: self.replicas.into_iter().map(entry).collect::<Usable<_>>()?,
        })
    }
}

impl DeclareTable {
    fn take(self) -> Usable<model::Declare> {
        let (keyspace, name) = Place::take(self.place)?;
        Ok(model::Declare::Table {
            keyspace,
            name,
            policy: take_policy(self.policy)?,
            durability: take_durability(self.durability)?,
            read: present(take_level(self.read)?)?,
            write: present(take_level(self.write)?)?,
        })
    }
}
