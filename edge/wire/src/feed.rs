//! What has changed in a table, asked and told, as headers; and the request of a watcher.

use std::time::Duration;

use bytes::Bytes;
use codec::{dots, feed};
use model::TableId;
use node::{Changes, RequestId};
use prost::{Message, Oneof};
use replica::PageNeed;

use crate::parts::{Key, Objects, Time, Unusable, Usable, coded, narrow, present};
use crate::request::Place;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Follow {
    #[prost(fixed64, tag = "1")]
    request: u64,
    #[prost(fixed32, tag = "2")]
    table: u32,
    #[prost(message, repeated, tag = "3")]
    shards: Vec<StandOf>,
    #[prost(uint64, tag = "4")]
    objects_max: u64,
    #[prost(uint64, tag = "5")]
    bytes_max: u64,
    #[prost(uint64, tag = "6")]
    wait_millis: u64,
}

#[derive(Clone, PartialEq, Message)]
struct StandOf {
    #[prost(uint32, tag = "1")]
    shard: u32,
    #[prost(oneof = "Stand", tags = "2, 3, 4")]
    stand: Option<Stand>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Stand {
    #[prost(bool, tag = "2")]
    Now(bool),
    #[prost(bytes = "bytes", tag = "3")]
    At(Bytes),
    #[prost(message, tag = "4")]
    Reading(Reading),
}

#[derive(Clone, PartialEq, Message)]
struct Reading {
    #[prost(bytes = "bytes", tag = "1")]
    told: Bytes,
    #[prost(message, optional, tag = "2")]
    after: Option<Key>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Followed {
    #[prost(fixed64, tag = "1")]
    request: u64,
    #[prost(message, repeated, tag = "2")]
    shards: Vec<ToldOf>,
}

#[derive(Clone, PartialEq, Message)]
struct ToldOf {
    #[prost(uint32, tag = "1")]
    shard: u32,
    #[prost(oneof = "Told", tags = "2, 3, 4, 5, 6, 7")]
    told: Option<Told>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Told {
    #[prost(bool, tag = "2")]
    Same(bool),
    /// One object follows for each key.
    #[prost(message, tag = "3")]
    Changed(Changed),
    /// One object follows for each key.
    #[prost(message, tag = "4")]
    Read(Read),
    #[prost(bytes = "bytes", tag = "5")]
    Behind(Bytes),
    #[prost(bool, tag = "6")]
    Gone(bool),
    #[prost(bool, tag = "7")]
    Failed(bool),
}

#[derive(Clone, PartialEq, Message)]
struct Changed {
    #[prost(message, repeated, tag = "1")]
    keys: Vec<Key>,
    #[prost(bytes = "bytes", tag = "2")]
    clock: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    gaps: Bytes,
    #[prost(bool, tag = "4")]
    more: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Read {
    #[prost(message, repeated, tag = "1")]
    keys: Vec<Key>,
    #[prost(message, optional, tag = "2")]
    after: Option<Key>,
}

fn put_dots(set: &causality::DotSet) -> Bytes {
    coded(|out| dots::encode(set, out))
}

fn put_keys(entries: &[(model::Key, model::Object)]) -> Vec<Key> {
    entries.iter().map(|(key, _)| Key::put(key)).collect()
}

fn take_entries(
    keys: Vec<Key>,
    objects: &mut Objects<'_>,
) -> Usable<Vec<(model::Key, model::Object)>> {
    keys.into_iter().map(|key| Ok((key.take()?, objects.next()?))).collect()
}

impl Follow {
    pub(crate) fn put(follow: &node::Follow) -> Self {
        let shards = follow.shards.iter();
        let shards = shards.map(|(shard, stand)| StandOf {
            shard: (*shard).into(),
            stand: Some(match stand {
                node::Stand::Now => Stand::Now(true),
                node::Stand::At(told) => Stand::At(put_dots(told)),
                node::Stand::Reading(told, after) => Stand::Reading(Reading {
                    told: put_dots(told),
                    after: after.as_ref().map(Key::put),
                }),
            }),
        });
        Self {
            request: follow.request.0,
            table: follow.table.number(),
            shards: shards.collect(),
            objects_max: follow.need.objects_max as u64,
            bytes_max: follow.need.bytes_max as u64,
            wait_millis: u64::try_from(follow.wait.as_millis()).unwrap_or(u64::MAX),
        }
    }

    pub(crate) fn take(self) -> Usable<node::Follow> {
        let stand = |StandOf { shard, stand }| {
            let stand = match present(stand)? {
                Stand::Now(_) => node::Stand::Now,
                Stand::At(told) => node::Stand::At(dots::decode(&told)?),
                Stand::Reading(Reading { told, after }) => {
                    let after = after.map(Key::take).transpose()?;
                    node::Stand::Reading(dots::decode(&told)?, after)
                }
            };
            Ok((narrow(shard)?, stand))
        };
        let (objects_max, bytes_max) = (narrow(self.objects_max)?, narrow(self.bytes_max)?);
        Ok(node::Follow {
            request: RequestId(self.request),
            table: TableId::new(self.table),
            shards: self.shards.into_iter().map(stand).collect::<Usable<_>>()?,
            need: PageNeed { objects_max, bytes_max },
            wait: Duration::from_millis(self.wait_millis),
        })
    }
}

impl Followed {
    pub(crate) fn put(followed: &node::Followed) -> Self {
        let told = |told: &node::Told| match told {
            node::Told::Same => Told::Same(true),
            node::Told::Changed(Changes { entries, clock, gaps, more }) => Told::Changed(Changed {
                keys: put_keys(entries),
                clock: put_dots(clock),
                gaps: put_dots(gaps),
                more: *more,
            }),
            node::Told::Read { entries, after } => {
                let after = after.as_ref().map(Key::put);
                Told::Read(Read { keys: put_keys(entries), after })
            }
            node::Told::Behind(lacks) => Told::Behind(put_dots(lacks)),
            node::Told::Gone => Told::Gone(true),
            node::Told::Failed => Told::Failed(true),
        };
        let shards = followed.shards.iter();
        let shards =
            shards.map(|(shard, of)| ToldOf { shard: (*shard).into(), told: Some(told(of)) });
        Self { request: followed.request.0, shards: shards.collect() }
    }

    pub(crate) fn take(self, objects: &mut Objects<'_>) -> Usable<node::Followed> {
        let mut told = |ToldOf { shard, told }| {
            let told = match told.ok_or(Unusable::Unknown)? {
                Told::Same(_) => node::Told::Same,
                Told::Changed(Changed { keys, clock, gaps, more }) => {
                    let (clock, gaps) = (dots::decode(&clock)?, dots::decode(&gaps)?);
                    let entries = take_entries(keys, objects)?;
                    node::Told::Changed(Changes { entries, clock, gaps, more })
                }
                Told::Read(Read { keys, after }) => {
                    let after = after.map(Key::take).transpose()?;
                    node::Told::Read { entries: take_entries(keys, objects)?, after }
                }
                Told::Behind(lacks) => node::Told::Behind(dots::decode(&lacks)?),
                Told::Gone(_) => node::Told::Gone,
                Told::Failed(_) => node::Told::Failed,
            };
            Ok((narrow(shard)?, told))
        };
        let shards = self.shards.into_iter().map(&mut told).collect::<Usable<_>>()?;
        Ok(node::Followed { request: RequestId(self.request), shards })
    }
}

/// Visits the objects of an answer in the order in which they are sent.
pub(crate) fn each_object(followed: &node::Followed, mut visit: impl FnMut(&model::Object)) {
    for (_, told) in &followed.shards {
        match told {
            node::Told::Changed(Changes { entries, .. }) | node::Told::Read { entries, .. } => {
                entries.iter().for_each(|(_, object)| visit(object));
            }
            node::Told::Same | node::Told::Behind(_) | node::Told::Gone | node::Told::Failed => {}
        }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Watch {
    #[prost(message, optional, tag = "1")]
    place: Option<Place>,
    /// In the encoding of `codec`.
    #[prost(bytes = "bytes", tag = "2")]
    since: Bytes,
    #[prost(uint64, tag = "3")]
    limit: u64,
    #[prost(message, optional, tag = "4")]
    wait: Option<Time>,
    #[prost(message, optional, tag = "5")]
    timeout: Option<Time>,
}

impl Watch {
    pub(crate) fn put(watch: &model::Watch) -> Self {
        Self {
            place: Place::put(&watch.keyspace, &watch.table),
            since: coded(|out| feed::encode(&watch.since, out)),
            limit: watch.limit as u64,
            wait: Some(Time::put(watch.wait)),
            timeout: Some(Time::put(watch.timeout)),
        }
    }

    pub(crate) fn take(self) -> Usable<model::Watch> {
        let (keyspace, table) = Place::take(self.place)?;
        Ok(model::Watch {
            keyspace,
            table,
            since: feed::decode(&self.since)?,
            limit: narrow(self.limit)?,
            wait: present(self.wait)?.take()?,
            timeout: present(self.timeout)?.take()?,
        })
    }
}

/// One object follows for each key.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Watched {
    #[prost(message, repeated, tag = "1")]
    keys: Vec<Key>,
    /// In the encoding of `codec`.
    #[prost(bytes = "bytes", tag = "2")]
    position: Bytes,
    #[prost(uint64, tag = "3")]
    rewound: u64,
    #[prost(uint32, tag = "4")]
    silent: u32,
}

impl Watched {
    pub(crate) fn put(watched: &model::Watched) -> Self {
        Self {
            keys: watched.changes.iter().map(|changed| Key::put(&changed.key)).collect(),
            position: coded(|out| feed::encode(&watched.position, out)),
            rewound: watched.rewound,
            silent: watched.silent.into(),
        }
    }

    pub(crate) fn take(self, objects: &mut Objects<'_>) -> Usable<model::Watched> {
        let changed = |key: Key| Ok(model::Changed { key: key.take()?, object: objects.next()? });
        Ok(model::Watched {
            changes: self.keys.into_iter().map(changed).collect::<Usable<_>>()?,
            position: feed::decode(&self.position)?,
            rewound: self.rewound,
            silent: narrow(self.silent)?,
        })
    }
}
