//! The headers of messages, as protobuf.
//!
//! These types are the schema: a tag number that was released keeps its meaning for ever.
//! Identifiers that are random or large are of fixed size, which is faster to write than
//! numbers of variable length and no longer. A number that stands for a variant begins at
//! one, so that a field that is missing is told from the first variant.

use bytes::Bytes;
use prost::{Message, Oneof};

use crate::compare::{Bring, Compare, Compared, Examine, Examined, Spared};
use crate::exchange::{Alike, Clocks, Doubt, Doubted, Forgot, Lack, Sent, Vouch, Vouched};
use crate::feed::{Follow, Followed};
use crate::parts::{Address, Ballot, Key, Seen};
use crate::reply::Reply;
use crate::request::Request;
use crate::salvage::{Recognise, Recognised};

/// Any message without its objects.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Header {
    #[prost(
        oneof = "Kind",
        tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 24, 25, 26, 27, 32, 34, 35, 40, 41, 42, 43, 50, 51, 60, 61, 62, 63, 64"
    )]
    pub(crate) kind: Option<Kind>,
}

/// The kinds of messages.
#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Kind {
    #[prost(message, tag = "1")]
    Merge(Merge),
    #[prost(message, tag = "2")]
    Merged(Merged),
    #[prost(message, tag = "3")]
    Fetch(Fetch),
    #[prost(message, tag = "4")]
    Fetched(Fetched),
    #[prost(message, tag = "5")]
    Scan(Scan),
    #[prost(message, tag = "6")]
    Scanned(Scanned),
    #[prost(message, tag = "7")]
    Forward(Forward),
    #[prost(message, tag = "8")]
    Forwarded(Forwarded),
    #[prost(message, tag = "9")]
    Probe(Probe),
    #[prost(message, tag = "10")]
    Probed(Probe),
    #[prost(message, tag = "11")]
    Prepare(Attempt),
    #[prost(message, tag = "12")]
    Promised(Promised),
    #[prost(message, tag = "13")]
    Accept(Accept),
    #[prost(message, tag = "14")]
    Accepted(Attempt),
    #[prost(message, tag = "15")]
    Rejected(Rejected),
    #[prost(message, tag = "16")]
    Learn(Learn),
    #[prost(message, tag = "17")]
    Gossip(Gossip),
    #[prost(message, tag = "18")]
    Clocks(Clocks),
    #[prost(message, tag = "19")]
    Lack(Lack),
    /// The objects of its keys follow, if it has any.
    #[prost(message, tag = "20")]
    Sent(Sent),
    #[prost(message, tag = "21")]
    Holding(Holding),
    #[prost(message, tag = "22")]
    Take(Take),
    /// A node that does not know sessions must not answer it as any other.
    #[prost(message, tag = "32")]
    SessionFetch(Fetch),
    #[prost(message, tag = "24")]
    Marked(Marked),
    #[prost(message, tag = "25")]
    Compare(Compare),
    #[prost(message, tag = "26")]
    Compared(Compared),
    #[prost(message, tag = "27")]
    Bring(Bring),
    #[prost(message, tag = "50")]
    Follow(Follow),
    /// The objects of its keys follow.
    #[prost(message, tag = "51")]
    Followed(Followed),
    #[prost(message, tag = "40")]
    Vouch(Vouch),
    #[prost(message, tag = "41")]
    Vouched(Vouched),
    #[prost(message, tag = "34")]
    Examine(Examine),
    #[prost(message, tag = "35")]
    Examined(Examined),
    #[prost(message, tag = "42")]
    Doubt(Doubt),
    /// One object follows for each address.
    #[prost(message, tag = "43")]
    Doubted(Doubted),
    #[prost(message, tag = "60")]
    Recognise(Recognise),
    /// One object follows, unless the sender cannot say.
    #[prost(message, tag = "61")]
    Recognised(Recognised),
    #[prost(message, tag = "62")]
    Spared(Spared),
    #[prost(message, tag = "63")]
    Alike(Alike),
    #[prost(message, tag = "64")]
    Forgot(Forgot),
}

/// Another header, and each object that follows has its marks behind it. A node that does not
/// know of marks skips the whole message, and nothing is taken for less than it is.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Marked {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) header: Bytes,
}

/// One object follows.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Merge {
    #[prost(fixed64, tag = "1")]
    pub(crate) request: u64,
    #[prost(message, optional, tag = "2")]
    pub(crate) address: Option<Address>,
    #[prost(uint32, tag = "3")]
    pub(crate) cause: u32,
    #[prost(bool, tag = "4")]
    pub(crate) sync: bool,
    /// One more than the number of the replica that it is kept for.
    #[prost(uint32, tag = "5")]
    pub(crate) stands_for: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Merged {
    #[prost(fixed64, tag = "1")]
    pub(crate) request: u64,
    #[prost(uint32, tag = "2")]
    pub(crate) verdict: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Fetch {
    #[prost(fixed64, tag = "1")]
    pub(crate) request: u64,
    #[prost(message, optional, tag = "2")]
    pub(crate) address: Option<Address>,
    #[prost(uint32, tag = "3")]
    pub(crate) want: u32,
    #[prost(uint64, tag = "4")]
    pub(crate) left_millis: u64,
    #[prost(bool, tag = "7")]
    pub(crate) sync: bool,
    /// Of a session.
    #[prost(message, optional, tag = "8")]
    pub(crate) seen: Option<Seen>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Fetched {
    #[prost(fixed64, tag = "1")]
    pub(crate) request: u64,
    #[prost(bool, tag = "7")]
    pub(crate) durable: bool,
    #[prost(oneof = "Found", tags = "2, 3, 4")]
    pub(crate) found: Option<Found>,
    /// One more than the milliseconds; zero if it is not known.
    #[prost(uint64, tag = "5")]
    pub(crate) staleness: u64,
    /// To a fetch of a session: two sets of dots.
    #[prost(message, optional, tag = "8")]
    pub(crate) known: Option<Known>,
    #[prost(bool, tag = "9")]
    pub(crate) forgets: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Known {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) lacking: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) settled: Bytes,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Found {
    /// One object follows.
    #[prost(bool, tag = "2")]
    Full(bool),
    #[prost(fixed64, tag = "3")]
    Digest(u64),
    #[prost(bool, tag = "4")]
    Failed(bool),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Scan {
    #[prost(fixed64, tag = "1")]
    pub(crate) request: u64,
    #[prost(fixed32, tag = "2")]
    pub(crate) table: u32,
    #[prost(uint32, tag = "3")]
    pub(crate) shard: u32,
    #[prost(bytes = "bytes", optional, tag = "4")]
    pub(crate) partition: Option<Bytes>,
    #[prost(message, optional, tag = "5")]
    pub(crate) after: Option<Key>,
    #[prost(uint64, tag = "6")]
    pub(crate) objects_max: u64,
    #[prost(uint64, tag = "7")]
    pub(crate) bytes_max: u64,
    #[prost(uint64, tag = "8")]
    pub(crate) left_millis: u64,
}

/// One object follows for each key.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Scanned {
    #[prost(fixed64, tag = "1")]
    pub(crate) request: u64,
    #[prost(message, optional, tag = "2")]
    pub(crate) page: Option<Page>,
    /// As of `Fetched`.
    #[prost(uint64, tag = "3")]
    pub(crate) staleness: u64,
    /// As of `Fetched`.
    #[prost(bool, tag = "4")]
    pub(crate) forgets: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Page {
    #[prost(message, repeated, tag = "1")]
    pub(crate) keys: Vec<Key>,
    #[prost(bool, tag = "2")]
    pub(crate) more: bool,
}

/// The request is boxed here, and the reply below: they are large, and would make every
/// other kind as large.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Forward {
    #[prost(fixed64, tag = "1")]
    pub(crate) request: u64,
    #[prost(message, optional, boxed, tag = "2")]
    pub(crate) asked: Option<Box<Request>>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Forwarded {
    #[prost(fixed64, tag = "1")]
    pub(crate) request: u64,
    #[prost(message, optional, boxed, tag = "2")]
    pub(crate) reply: Option<Box<Reply>>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Probe {
    #[prost(uint64, tag = "1")]
    pub(crate) catalog_version: u64,
    #[prost(bool, tag = "2")]
    pub(crate) deaf: bool,
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub(crate) disk: Option<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Gossip {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) packet: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Attempt {
    #[prost(message, optional, tag = "1")]
    pub(crate) ballot: Option<Ballot>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Promised {
    #[prost(message, optional, tag = "1")]
    pub(crate) ballot: Option<Ballot>,
    #[prost(message, optional, tag = "2")]
    pub(crate) accepted: Option<Ballot>,
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) catalog: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Accept {
    #[prost(message, optional, tag = "1")]
    pub(crate) ballot: Option<Ballot>,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) catalog: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Rejected {
    #[prost(message, optional, tag = "1")]
    pub(crate) ballot: Option<Ballot>,
    #[prost(message, optional, tag = "2")]
    pub(crate) promised: Option<Ballot>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Learn {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) catalog: Bytes,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Holding {
    #[prost(uint64, tag = "1")]
    pub(crate) count: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) bytes: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Take {
    #[prost(uint64, tag = "1")]
    pub(crate) bytes: u64,
}
