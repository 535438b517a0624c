//! What several messages are made of, and how it is checked on the way in.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use causality::{Dot, DotSet, Incarnation};
use codec::Reader;
use model::{
    Ack, Cast, DiskId, KeyspaceId, Level, Marks, Name, NodeId, Object, ShardId, Spread, TableId,
};
use prost::Message;

use crate::WireError;

/// Why a message is not handed on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Unusable {
    /// A later version sent it. It is skipped.
    Unknown,
    /// No version sends this. The connection ends.
    Wrong(WireError),
}

pub(crate) type Usable<T> = Result<T, Unusable>;

impl From<prost::DecodeError> for Unusable {
    fn from(error: prost::DecodeError) -> Self {
        Self::Wrong(error.into())
    }
}

impl From<codec::Malformed> for Unusable {
    fn from(error: codec::Malformed) -> Self {
        match error {
            codec::Malformed::Newer(_) => Self::Unknown,
            codec::Malformed::Truncated
            | codec::Malformed::Trailing
            | codec::Malformed::Invalid(_) => Self::Wrong(error.into()),
        }
    }
}

/// Says that no version sends this.
pub(crate) fn wrong(what: &'static str) -> Unusable {
    Unusable::Wrong(WireError::Malformed(what))
}

/// Insists on a part that every version sends.
pub(crate) fn present<T>(part: Option<T>) -> Usable<T> {
    part.ok_or(wrong("a message without a part that it must have"))
}

/// Narrows a number to what the core holds it in.
pub(crate) fn narrow<T: TryFrom<N>, N>(number: N) -> Usable<T> {
    T::try_from(number).map_err(|_| wrong("a number above its range"))
}

/// Numbers the variants of an enum, from one on. A number that is not known is of a later
/// version; zero is a field that is missing.
macro_rules! numbered {
    ($put:ident, $take:ident, $type:ty { $($variant:path = $number:literal),+ $(,)? }) => {
        pub(crate) fn $put(value: $type) -> u32 {
            match value {
                $($variant => $number,)+
            }
        }

        pub(crate) fn $take(number: u32) -> $crate::parts::Usable<$type> {
            match number {
                $($number => Ok($variant),)+
                0 => Err($crate::parts::wrong("a number missing that says which")),
                _ => Err($crate::parts::Unusable::Unknown),
            }
        }
    };
}
pub(crate) use numbered;

numbered!(put_kind, take_kind, model::Kind {
    model::Kind::Strict = 1,
    model::Kind::Partial = 2,
    model::Kind::Sloppy = 3,
    model::Kind::Any = 4,
});

/// One more than its number, and zero for none, which costs nothing to send.
pub(crate) fn put_node(node: Option<NodeId>) -> u32 {
    node.map_or(0, |node| 1 + u32::from(node.number()))
}

pub(crate) fn take_node(number: u32) -> Usable<Option<NodeId>> {
    let Some(number) = number.checked_sub(1) else { return Ok(None) };
    Ok(Some(NodeId::new(narrow(number)?)))
}

/// One more than its milliseconds, and zero for none.
pub(crate) fn put_staleness(staleness: Option<Duration>) -> u64 {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    staleness.map_or(0, |time| millis(time).saturating_add(1))
}

pub(crate) fn take_staleness(number: u64) -> Option<Duration> {
    number.checked_sub(1).map(Duration::from_millis)
}

/// What a session has seen of a shard.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Seen {
    #[prost(bool, tag = "1")]
    all: bool,
    #[prost(bytes = "bytes", tag = "2")]
    dots: Bytes,
}

impl Seen {
    pub(crate) fn put(seen: &model::Seen) -> Self {
        match seen {
            model::Seen::All => Self { all: true, dots: Bytes::new() },
            model::Seen::Dots(dots) => {
                Self { all: false, dots: coded(|out| codec::dots::encode(dots, out)) }
            }
        }
    }

    pub(crate) fn take(self) -> Usable<model::Seen> {
        Ok(match self.all {
            true => model::Seen::All,
            false => model::Seen::Dots(codec::dots::decode(&self.dots)?),
        })
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Session {
    #[prost(uint32, tag = "1")]
    keyspace: u32,
    #[prost(uint32, tag = "2")]
    shard: u32,
    #[prost(message, optional, tag = "3")]
    seen: Option<Seen>,
}

impl Session {
    pub(crate) fn put(session: &model::Session) -> Self {
        Self {
            keyspace: session.shard.keyspace.number(),
            shard: session.shard.index.into(),
            seen: Some(Seen::put(&session.seen)),
        }
    }

    pub(crate) fn take(self) -> Usable<model::Session> {
        let (keyspace, index) = (KeyspaceId::new(self.keyspace), narrow(self.shard)?);
        let seen = present(self.seen)?.take()?;
        Ok(model::Session { shard: ShardId { keyspace, index }, seen })
    }
}

/// The sessions of a request, if it is of any.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Sessions {
    #[prost(message, repeated, tag = "1")]
    sessions: Vec<Session>,
}

impl Sessions {
    pub(crate) fn put(sessions: Option<&Vec<model::Session>>) -> Option<Self> {
        sessions.map(|all| Self { sessions: all.iter().map(Session::put).collect() })
    }

    pub(crate) fn take(sessions: Option<Self>) -> Usable<Option<Vec<model::Session>>> {
        let all = sessions.map(|all| all.sessions.into_iter().map(Session::take).collect());
        all.transpose()
    }
}

/// The objects behind a header.
pub(crate) struct Objects<'a> {
    reader: Reader<'a>,
    is_marked: bool,
}

impl<'a> Objects<'a> {
    pub(crate) fn new(bytes: &'a Bytes, is_marked: bool) -> Self {
        Self { reader: Reader::new(bytes), is_marked }
    }

    pub(crate) fn next(&mut self) -> Usable<Object> {
        Ok(match self.is_marked {
            true => codec::object::read_marked(&mut self.reader)?,
            false => codec::object::read(&mut self.reader)?,
        })
    }

    pub(crate) fn finish(self) -> Usable<()> {
        Ok(self.reader.finish()?)
    }
}

/// A set of dots, and behind it the marks of some of them, if it has any.
pub(crate) fn put_context(context: &DotSet, marks: &Marks) -> (Bytes, Option<Bytes>) {
    let dots = coded(|out| codec::dots::encode(context, out));
    let marks = (!marks.is_empty()).then(|| coded(|out| codec::marks::encode(marks, context, out)));
    (dots, marks)
}

pub(crate) fn take_context(dots: &Bytes, marks: Option<&Bytes>) -> Usable<(DotSet, Marks)> {
    let context = codec::dots::decode(dots)?;
    let marks = marks.map(|marks| codec::marks::decode(marks, &context)).transpose()?;
    Ok((context, marks.unwrap_or_default()))
}

/// Encodes with `codec`.
pub(crate) fn coded(encode: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::new();
    encode(&mut out);
    out.freeze()
}

pub(crate) fn put_name(name: &Name) -> Bytes {
    Bytes::copy_from_slice(name.as_str().as_bytes())
}

pub(crate) fn take_name(name: &[u8]) -> Usable<Name> {
    let name = std::str::from_utf8(name).ok().and_then(|name| Name::new(name).ok());
    name.ok_or(wrong("a name that cannot exist"))
}

/// Zero for none, small numbers for names, and 256 more than it says for a count.
pub(crate) fn put_level(level: Option<Level>) -> u32 {
    match level {
        None => 0,
        Some(Level::One) => 1,
        Some(Level::Two) => 2,
        Some(Level::Three) => 3,
        Some(Level::Quorum) => 4,
        Some(Level::All) => 5,
        Some(Level::Any) => 6,
        Some(Level::LocalOne) => 7,
        Some(Level::LocalQuorum) => 8,
        Some(Level::EachQuorum) => 9,
        Some(Level::Count(count)) => 256 + u32::from(count),
    }
}

pub(crate) fn take_level(number: u32) -> Usable<Option<Level>> {
    Ok(Some(match number {
        0 => return Ok(None),
        1 => Level::One,
        2 => Level::Two,
        3 => Level::Three,
        4 => Level::Quorum,
        5 => Level::All,
        6 => Level::Any,
        7 => Level::LocalOne,
        8 => Level::LocalQuorum,
        9 => Level::EachQuorum,
        256..=511 => Level::Count(narrow(number - 256)?),
        _ => return Err(Unusable::Unknown),
    }))
}

/// What a request demands beside its levels.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Demands {
    #[prost(uint32, tag = "1")]
    min_nodes: u32,
    #[prost(uint32, tag = "2")]
    min_zones: u32,
    #[prost(uint32, tag = "3")]
    min: u32,
}

impl Demands {
    /// Nothing if nothing is demanded.
    pub(crate) fn put(spread: Spread, min: model::Kind) -> Option<Self> {
        let demands = Self {
            min_nodes: spread.nodes.into(),
            min_zones: spread.zones.into(),
            min: put_kind(min),
        };
        ((spread, min) != Default::default()).then_some(demands)
    }

    pub(crate) fn take(demands: Option<Self>) -> Usable<(Spread, model::Kind)> {
        let Some(Self { min_nodes, min_zones, min }) = demands else {
            return Ok(Default::default());
        };
        let spread = Spread { nodes: narrow(min_nodes)?, zones: narrow(min_zones)? };
        Ok((spread, take_kind(min)?))
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Key {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) partition: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) sort: Bytes,
}

impl Key {
    pub(crate) fn put(key: &model::Key) -> Self {
        Self { partition: key.partition().clone(), sort: key.sort().clone() }
    }

    pub(crate) fn take(self) -> Usable<model::Key> {
        model::Key::new(self.partition, self.sort).map_err(|_| wrong("a key that cannot exist"))
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Address {
    #[prost(fixed32, tag = "1")]
    table: u32,
    #[prost(bytes = "bytes", tag = "2")]
    partition: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    sort: Bytes,
}

impl Address {
    pub(crate) fn put(address: &model::Address) -> Self {
        let Key { partition, sort } = Key::put(&address.key);
        Self { table: address.table.number(), partition, sort }
    }

    pub(crate) fn take(self) -> Usable<model::Address> {
        let key = Key { partition: self.partition, sort: self.sort }.take()?;
        Ok(model::Address { table: TableId::new(self.table), key })
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Ballot {
    #[prost(uint64, tag = "1")]
    round: u64,
    #[prost(uint32, tag = "2")]
    node: u32,
}

impl Ballot {
    pub(crate) fn put(ballot: catalog::Ballot) -> Self {
        Self { round: ballot.round, node: ballot.node.number().into() }
    }

    pub(crate) fn take(self) -> Usable<catalog::Ballot> {
        Ok(catalog::Ballot { round: self.round, node: NodeId::new(narrow(self.node)?) })
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Time {
    #[prost(uint64, tag = "1")]
    seconds: u64,
    #[prost(uint32, tag = "2")]
    nanos: u32,
}

impl Time {
    pub(crate) fn put(time: Duration) -> Self {
        Self { seconds: time.as_secs(), nanos: time.subsec_nanos() }
    }

    pub(crate) fn take(self) -> Usable<Duration> {
        let fits = self.nanos < 1_000_000_000;
        fits.then(|| Duration::new(self.seconds, self.nanos))
            .ok_or(wrong("nanoseconds above a second"))
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Receipt {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(message, optional, tag = "2")]
    dot: Option<PlainDot>,
    #[prost(uint32, tag = "3")]
    keyspace: u32,
    #[prost(uint32, tag = "4")]
    shard: u32,
    #[prost(message, repeated, tag = "5")]
    acks: Vec<PlainAck>,
    #[prost(uint32, tag = "6")]
    wanted: u32,
    #[prost(uint32, tag = "7")]
    replicas: u32,
    /// One more than the milliseconds; zero if it is not known.
    #[prost(uint64, tag = "8")]
    staleness: u64,
    #[prost(uint32, tag = "9")]
    votes: u32,
    /// One more than the votes of all; zero where each replica has one.
    #[prost(uint32, tag = "10")]
    votes_of: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PlainDot {
    #[prost(fixed64, tag = "1")]
    incarnation: u64,
    #[prost(uint64, tag = "2")]
    seq: u64,
}

impl PlainDot {
    pub(crate) fn put(dot: Dot) -> Self {
        Self { incarnation: dot.incarnation.bits(), seq: dot.seq }
    }

    pub(crate) fn take(self) -> Dot {
        Dot::new(Incarnation::new(self.incarnation), self.seq)
    }
}

#[derive(Clone, PartialEq, Message)]
struct PlainAck {
    #[prost(uint32, tag = "1")]
    node: u32,
    #[prost(bool, tag = "2")]
    durable: bool,
    /// One more than the number of the replica that a guest stands in for.
    #[prost(uint32, tag = "3")]
    stands_for: u32,
}

impl Receipt {
    pub(crate) fn put(receipt: &model::Receipt) -> Self {
        let ack = |ack: &Ack| PlainAck {
            node: ack.node.number().into(),
            durable: ack.durable,
            stands_for: put_node(ack.stands_for),
        };
        Self {
            kind: put_kind(receipt.kind),
            dot: receipt.dot.map(PlainDot::put),
            keyspace: receipt.shard.keyspace.number(),
            shard: receipt.shard.index.into(),
            acks: receipt.acks.iter().map(ack).collect(),
            wanted: receipt.wanted.into(),
            replicas: receipt.replicas.into(),
            staleness: put_staleness(receipt.staleness),
            votes: receipt.cast.map_or(0, |cast| cast.got.into()),
            votes_of: receipt.cast.map_or(0, |cast| u32::from(cast.of) + 1),
        }
    }

    pub(crate) fn take(self) -> Usable<model::Receipt> {
        let ack = |ack: &PlainAck| {
            let node = NodeId::new(narrow(ack.node)?);
            Ok(Ack { node, durable: ack.durable, stands_for: take_node(ack.stands_for)? })
        };
        let keyspace = KeyspaceId::new(self.keyspace);
        Ok(model::Receipt {
            kind: take_kind(self.kind)?,
            dot: self.dot.map(PlainDot::take),
            shard: ShardId { keyspace, index: narrow(self.shard)? },
            acks: self.acks.iter().map(ack).collect::<Usable<_>>()?,
            wanted: narrow(self.wanted)?,
            replicas: narrow(self.replicas)?,
            cast: match self.votes_of.checked_sub(1) {
                None => None,
                Some(of) => Some(Cast { got: narrow(self.votes)?, of: narrow(of)? }),
            },
            staleness: take_staleness(self.staleness),
        })
    }
}

/// A disk as its sixteen bytes, the lowest first.
pub(crate) fn put_disk(disk: DiskId) -> Bytes {
    Bytes::copy_from_slice(&disk.bits().to_le_bytes())
}

pub(crate) fn take_disk(bytes: &Bytes) -> Usable<DiskId> {
    let bytes = <[u8; 16]>::try_from(&bytes[..]).ok();
    Ok(DiskId::new(u128::from_le_bytes(present(bytes)?)))
}
