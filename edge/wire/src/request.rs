//! Requests that one node hands to another.
//!
//! A request can demand what the first version did not know: a spread, a minimum kind, votes
//! of a table, a token. A node of that version would skip the field and do less than was asked, so such
//! requests have numbers of their own, which it does not know either.

mod declare;
mod list;

use bytes::Bytes;
use model::{Mutation, ReadOptions, Token, WriteOptions};
use prost::{Message, Oneof};

use crate::explain::Explain;
use crate::feed::Watch;
use crate::parts::{
    Demands, Key, Sessions, Time, Unusable, Usable, present, put_context, put_level, put_name,
    take_context, take_level, take_name, wrong,
};
use crate::recall::Recall;
use crate::repair::Repair;
use crate::salvage::Salvage;
use declare::{DeclareDisk, DeclareKeyspace, DeclareTable, put_declare};
use list::List;
pub(crate) use list::Range;

/// Any request.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Request {
    #[prost(
        oneof = "Asked",
        tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 21, 24, 25, 26, 30, 32, 33, 34, 40, 50, 60, 70"
    )]
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
    #[prost(message, tag = "7")]
    DemandingPut(Write),
    #[prost(message, tag = "8")]
    DemandingGet(Get),
    #[prost(message, tag = "9")]
    DemandingList(List),
    #[prost(message, tag = "10")]
    DeclareVotingTable(DeclareTable),
    #[prost(message, tag = "70")]
    DeclareRuledTable(DeclareTable),
    #[prost(message, tag = "32")]
    SessionPut(Write),
    #[prost(message, tag = "33")]
    SessionGet(Get),
    #[prost(message, tag = "30")]
    MonotonicGet(Get),
    #[prost(message, tag = "24")]
    TokenPut(Write),
    #[prost(message, tag = "25")]
    Recall(Recall),
    #[prost(message, tag = "26")]
    Explain(Explain),
    #[prost(message, tag = "34")]
    Repair(Repair),
    #[prost(message, tag = "50")]
    Watch(Watch),
    #[prost(message, tag = "60")]
    Salvage(Salvage),
    /// Who knows no guests must not declare a strict one in its place.
    #[prost(message, tag = "21")]
    DeclareSloppyKeyspace(DeclareKeyspace),
    #[prost(message, tag = "40")]
    DeclareDisk(DeclareDisk),
}

impl Request {
    pub(crate) fn put(request: &model::Request) -> Self {
        let asked = match request {
            model::Request::Put(put) => match Write::put(put) {
                write @ Write { sessions: Some(_), .. } => Asked::SessionPut(write),
                write @ (Write { token: Some(_), .. } | Write { marks: Some(_), .. }) => {
                    Asked::TokenPut(write)
                }
                write @ Write { demands: None, .. } => Asked::Put(write),
                write @ Write { demands: Some(_), .. } => Asked::DemandingPut(write),
            },
            model::Request::Get(get) => match Get::put(get) {
                get @ Get { sessions: Some(_), .. } => Asked::SessionGet(get),
                get @ Get { monotonic: true, .. } => Asked::MonotonicGet(get),
                get @ Get { demands: None, .. } => Asked::Get(get),
                get @ Get { demands: Some(_), .. } => Asked::DemandingGet(get),
            },
            model::Request::List(list) => match List::put(list) {
                list @ List { demands: None, .. } => Asked::List(list),
                list @ List { demands: Some(_), .. } => Asked::DemandingList(list),
            },
            model::Request::Watch(watch) => Asked::Watch(Watch::put(watch)),
            model::Request::Recall(recall) => Asked::Recall(Recall::put(recall)),
            model::Request::Explain(explain) => Asked::Explain(Explain::put(explain)),
            model::Request::Declare(declare) => put_declare(declare),
            model::Request::Status => Asked::Status(true),
            model::Request::Repair(repair) => Asked::Repair(Repair::put(repair)),
            model::Request::Salvage(salvage) => Asked::Salvage(Salvage::put(salvage)),
        };
        Self { asked: Some(asked) }
    }

    pub(crate) fn take(self) -> Usable<model::Request> {
        Ok(match self.asked.ok_or(Unusable::Unknown)? {
            Asked::Put(put)
            | Asked::DemandingPut(put)
            | Asked::TokenPut(put)
            | Asked::SessionPut(put) => model::Request::Put(put.take()?),
            Asked::Get(get)
            | Asked::DemandingGet(get)
            | Asked::MonotonicGet(get)
            | Asked::SessionGet(get) => model::Request::Get(get.take()?),
            Asked::List(list) | Asked::DemandingList(list) => model::Request::List(list.take()?),
            Asked::Watch(watch) => model::Request::Watch(watch.take()?),
            Asked::Recall(recall) => model::Request::Recall(recall.take()?),
            Asked::Salvage(salvage) => model::Request::Salvage(Box::new(salvage.take()?)),
            Asked::Explain(explain) => model::Request::Explain(explain.take()?),
            Asked::DeclareKeyspace(declare) => model::Request::Declare(declare.take(false)?),
            Asked::DeclareDisk(declare) => model::Request::Declare(declare.take()?),
            Asked::DeclareSloppyKeyspace(declare) => model::Request::Declare(declare.take(true)?),
            Asked::DeclareTable(declare)
            | Asked::DeclareVotingTable(declare)
            | Asked::DeclareRuledTable(declare) => model::Request::Declare(declare.take()?),
            Asked::Status(_) => model::Request::Status,
            Asked::Repair(repair) => model::Request::Repair(repair.take()?),
        })
    }
}

/// In which table.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Place {
    #[prost(bytes = "bytes", tag = "1")]
    keyspace: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    table: Bytes,
}

impl Place {
    pub(crate) fn put(keyspace: &model::Name, table: &model::Name) -> Option<Self> {
        Some(Self { keyspace: put_name(keyspace), table: put_name(table) })
    }

    pub(crate) fn take(place: Option<Self>) -> Usable<(model::Name, model::Name)> {
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
    #[prost(message, optional, tag = "10")]
    demands: Option<Demands>,
    #[prost(bytes = "bytes", optional, tag = "11")]
    token: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "12")]
    marks: Option<Bytes>,
    #[prost(message, optional, tag = "13")]
    sessions: Option<Sessions>,
    /// Who does not know it remembers the write for a shorter time.
    #[prost(bool, tag = "14")]
    repeated: bool,
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
        let (context, marks) = put_context(&put.context, &put.marks);
        let token = put.token.map(put_token);
        Self {
            place: Place::put(&put.keyspace, &put.table),
            key: Some(Key::put(&put.key)),
            change: Some(match &put.mutation {
                Mutation::Store(value) => Change::Store(store(value)),
                Mutation::Delete => Change::Delete(true),
            }),
            context,
            w: put_level(put.options.w),
            pw: put_level(put.options.pw),
            dw: put_level(put.options.dw),
            timeout: Some(Time::put(put.timeout)),
            demands: Demands::put(put.options.spread, put.options.min),
            token,
            marks,
            sessions: Sessions::put(put.sessions.as_ref()),
            repeated: put.repeated,
        }
    }

    fn take(self) -> Usable<model::Put> {
        // A change of a later version comes first: what else is unusual may be so for it.
        let mutation = match self.change.ok_or(Unusable::Unknown)? {
            Change::Store(Value { content_type, body }) => {
                Mutation::Store(model::Value { content_type, body })
            }
            Change::Delete(_) => Mutation::Delete,
        };
        let (context, marks) = take_context(&self.context, self.marks.as_ref())?;
        let token = self.token.as_deref().map(take_token).transpose()?;
        let (keyspace, table) = Place::take(self.place)?;
        let (w, pw, dw) = (take_level(self.w)?, take_level(self.pw)?, take_level(self.dw)?);
        let (spread, min) = Demands::take(self.demands)?;
        Ok(model::Put {
            keyspace,
            table,
            key: present(self.key)?.take()?,
            mutation,
            context,
            token,
            repeated: self.repeated,
            sessions: Sessions::take(self.sessions)?,
            marks,
            options: WriteOptions { w, pw, dw, spread, min },
            timeout: present(self.timeout)?.take()?,
        })
    }
}

pub(crate) fn put_token(token: Token) -> Bytes {
    Bytes::copy_from_slice(&token.bits().to_be_bytes())
}

pub(crate) fn take_token(bytes: &[u8]) -> Usable<Token> {
    let bits = <[u8; 16]>::try_from(bytes).ok().map(u128::from_be_bytes);
    bits.and_then(Token::from_bits).ok_or(wrong("a token that is no UUID of version 7"))
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
    #[prost(message, optional, tag = "6")]
    demands: Option<Demands>,
    #[prost(bool, tag = "7")]
    monotonic: bool,
    #[prost(message, optional, tag = "8")]
    sessions: Option<Sessions>,
}

impl Get {
    fn put(get: &model::Get) -> Self {
        Self {
            place: Place::put(&get.keyspace, &get.table),
            key: Some(Key::put(&get.key)),
            r: put_level(get.options.r),
            pr: put_level(get.options.pr),
            timeout: Some(Time::put(get.timeout)),
            demands: Demands::put(get.options.spread, get.options.min),
            monotonic: get.monotonic,
            sessions: Sessions::put(get.sessions.as_ref()),
        }
    }

    fn take(self) -> Usable<model::Get> {
        let (keyspace, table) = Place::take(self.place)?;
        Ok(model::Get {
            keyspace,
            table,
            key: present(self.key)?.take()?,
            options: take_read_options(self.r, self.pr, self.demands)?,
            monotonic: self.monotonic,
            sessions: Sessions::take(self.sessions)?,
            timeout: present(self.timeout)?.take()?,
        })
    }
}

fn take_read_options(r: u32, pr: u32, demands: Option<Demands>) -> Usable<ReadOptions> {
    let (spread, min) = Demands::take(demands)?;
    Ok(ReadOptions { r: take_level(r)?, pr: take_level(pr)?, spread, min })
}
