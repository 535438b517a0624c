//! What replicas ask and tell each other of their hash trees, as headers.
//!
//! A comparison of a large shard is thousands of sums and fingerprints, so these go as plain
//! bytes: eight for a sum, two for a fingerprint, or eight where two did not tell.

use antientropy::{self as trees, Digest, KeyRange, Width, Within};
use bytes::{BufMut, Bytes, BytesMut};
use codec::object;
use model::{KeyspaceId, Object, ShardId};
use node::{Place, RequestId};
use prost::{Message, Oneof};

use crate::parts::{Address, Objects, Unusable, Usable, coded, narrow, present, wrong};

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Compare {
    #[prost(fixed64, tag = "1")]
    request: u64,
    #[prost(uint32, tag = "2")]
    keyspace: u32,
    #[prost(uint32, tag = "3")]
    shard: u32,
    #[prost(fixed64, tag = "4")]
    salt: u64,
    #[prost(uint64, tag = "5")]
    round: u64,
    #[prost(message, repeated, tag = "6")]
    asks: Vec<Ask>,
    /// Whoever does not know it lists every leaf, which is as good.
    #[prost(bool, tag = "7")]
    hears_lacked: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Ask {
    #[prost(message, optional, tag = "1")]
    from: Option<Address>,
    #[prost(message, optional, tag = "2")]
    to: Option<Address>,
    #[prost(oneof = "Question", tags = "3, 4, 5")]
    question: Option<Question>,
    /// What the range comes to, where a listing is asked for. Whoever does not know it lists.
    #[prost(fixed64, optional, tag = "6")]
    sum: Option<u64>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Question {
    #[prost(message, tag = "3")]
    Compare(Parts),
    /// Whether fingerprints are to be long.
    #[prost(bool, tag = "4")]
    List(bool),
    #[prost(message, tag = "5")]
    Name(Prints),
}

#[derive(Clone, PartialEq, Message)]
struct Parts {
    #[prost(uint32, tag = "1")]
    level: u32,
    #[prost(fixed64, tag = "2")]
    cuts: u64,
    #[prost(fixed64, repeated, tag = "3")]
    sums: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct Prints {
    #[prost(bool, tag = "1")]
    is_long: bool,
    #[prost(bytes = "bytes", tag = "2")]
    prints: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Compared {
    #[prost(fixed64, tag = "1")]
    request: u64,
    #[prost(message, optional, tag = "2")]
    answers: Option<Answers>,
}

#[derive(Clone, PartialEq, Message)]
struct Answers {
    #[prost(uint64, tag = "1")]
    round: u64,
    #[prost(message, repeated, tag = "2")]
    answers: Vec<Answer>,
}

#[derive(Clone, PartialEq, Message)]
struct Answer {
    #[prost(oneof = "Told", tags = "1, 2, 3, 4")]
    told: Option<Told>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Told {
    #[prost(message, tag = "1")]
    Compared(Differing),
    #[prost(message, tag = "2")]
    Cut(Cut),
    #[prost(message, tag = "3")]
    Listed(Listing),
    #[prost(message, tag = "4")]
    Named(Named),
}

#[derive(Clone, PartialEq, Message)]
struct Differing {
    #[prost(message, repeated, tag = "1")]
    parts: Vec<Part>,
}

#[derive(Clone, PartialEq, Message)]
struct Part {
    #[prost(uint32, tag = "1")]
    number: u32,
    #[prost(oneof = "In", tags = "2, 3, 4")]
    within: Option<In>,
}

#[derive(Clone, PartialEq, Oneof)]
enum In {
    #[prost(message, tag = "2")]
    Parts(Parts),
    #[prost(message, tag = "3")]
    Leaf(Listing),
    #[prost(message, tag = "4")]
    Lacked(Lacked),
}

/// Only to those who say that they hear it.
#[derive(Clone, PartialEq, Message)]
struct Lacked {
    #[prost(fixed64, tag = "1")]
    sum: u64,
    #[prost(message, optional, tag = "2")]
    place: Option<Address>,
    #[prost(fixed64, tag = "3")]
    digest: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Cut {
    #[prost(uint32, tag = "1")]
    level: u32,
    #[prost(message, repeated, tag = "2")]
    at: Vec<Address>,
    #[prost(fixed64, repeated, tag = "3")]
    sums: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct Listing {
    #[prost(message, optional, tag = "1")]
    to: Option<Address>,
    #[prost(fixed64, tag = "2")]
    sum: u64,
    #[prost(message, optional, tag = "3")]
    prints: Option<Prints>,
}

#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(fixed64, tag = "1")]
    sum: u64,
    #[prost(message, repeated, tag = "2")]
    places: Vec<Address>,
    /// As many as places.
    #[prost(fixed64, repeated, tag = "3")]
    digests: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Bring {
    #[prost(fixed64, tag = "1")]
    request: u64,
    #[prost(uint32, tag = "2")]
    keyspace: u32,
    #[prost(uint32, tag = "3")]
    shard: u32,
    #[prost(message, repeated, tag = "4")]
    addresses: Vec<Address>,
    /// As many objects with their marks, in the encoding of `codec`, of which values have no bodies.
    /// Whoever does not know the field sends what it holds, as it must where there is none.
    #[prost(bytes = "bytes", tag = "5")]
    bones: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Spared {
    #[prost(fixed64, tag = "1")]
    request: u64,
    #[prost(uint32, repeated, tag = "2")]
    numbers: Vec<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Examine {
    #[prost(fixed64, tag = "1")]
    request: u64,
    #[prost(uint32, tag = "2")]
    keyspace: u32,
    #[prost(uint32, tag = "3")]
    shard: u32,
    #[prost(message, optional, tag = "4")]
    from: Option<Address>,
    #[prost(message, optional, tag = "5")]
    to: Option<Address>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Examined {
    #[prost(fixed64, tag = "1")]
    request: u64,
    #[prost(message, optional, tag = "2")]
    leaves: Option<Leaves>,
}

#[derive(Clone, PartialEq, Message)]
struct Leaves {
    #[prost(message, optional, tag = "1")]
    next: Option<Address>,
    #[prost(uint64, tag = "2")]
    keys: u64,
    #[prost(uint64, tag = "3")]
    bytes: u64,
}

fn put_place(place: &Place) -> Address {
    Address::put(&place.0)
}

fn take_place(address: Address) -> Usable<Place> {
    Ok(Place(address.take()?))
}

fn take_places(addresses: Vec<Address>) -> Usable<Vec<Place>> {
    addresses.into_iter().map(take_place).collect()
}

impl Compare {
    pub(crate) fn put(compare: &node::Compare) -> Self {
        let node::Compare { request, shard, questions } = compare;
        Self {
            request: request.0,
            keyspace: shard.keyspace.number(),
            shard: shard.index.into(),
            salt: questions.salt,
            round: questions.round,
            asks: questions.asks.iter().map(|(range, ask)| Ask::put(range, ask)).collect(),
            hears_lacked: questions.hears_lacked,
        }
    }

    pub(crate) fn take(self) -> Usable<node::Compare> {
        let keyspace = KeyspaceId::new(self.keyspace);
        let asks = self.asks.into_iter().map(Ask::take).collect::<Usable<_>>()?;
        Ok(node::Compare {
            request: RequestId(self.request),
            shard: ShardId { keyspace, index: narrow(self.shard)? },
            questions: trees::Questions {
                salt: self.salt,
                round: self.round,
                hears_lacked: self.hears_lacked,
                asks,
            },
        })
    }
}

impl Ask {
    fn put(range: &KeyRange<Place>, ask: &trees::Ask) -> Self {
        let question = match ask {
            trees::Ask::Compare(parts) => Question::Compare(Parts::put(parts)),
            trees::Ask::List(width, _) => Question::List(*width == Width::Long),
            trees::Ask::Name(width, prints) => Question::Name(Prints::put(*width, prints)),
        };
        let (from, to) = (range.from.as_ref().map(put_place), range.to.as_ref().map(put_place));
        let sum = if let trees::Ask::List(_, sum) = ask { *sum } else { None };
        Self { from, to, question: Some(question), sum }
    }

    fn take(self) -> Usable<(KeyRange<Place>, trees::Ask)> {
        let ask = match self.question.ok_or(Unusable::Unknown)? {
            Question::Compare(parts) => trees::Ask::Compare(parts.take()?),
            Question::List(is_long) => trees::Ask::List(width(is_long), self.sum),
            Question::Name(prints) => {
                let width = width(prints.is_long);
                trees::Ask::Name(width, prints.take()?)
            }
        };
        let (from, to) = (self.from.map(take_place), self.to.map(take_place));
        Ok((KeyRange { from: from.transpose()?, to: to.transpose()? }, ask))
    }
}

fn width(is_long: bool) -> Width {
    if is_long { Width::Long } else { Width::Short }
}

impl Parts {
    fn put(parts: &trees::Parts) -> Self {
        Self { level: parts.level.into(), cuts: parts.cuts, sums: parts.sums.clone() }
    }

    fn take(self) -> Usable<trees::Parts> {
        Ok(trees::Parts { level: narrow(self.level)?, cuts: self.cuts, sums: self.sums })
    }
}

impl Prints {
    fn put(width: Width, all: &[u64]) -> Self {
        let mut prints = BytesMut::with_capacity(width.bytes() * all.len());
        for print in all {
            prints.put_uint_le(*print, width.bytes());
        }
        Self { is_long: width == Width::Long, prints: prints.freeze() }
    }

    fn take(self) -> Usable<Vec<u64>> {
        let bytes = width(self.is_long).bytes();
        if !self.prints.len().is_multiple_of(bytes) {
            return Err(wrong("a part of a fingerprint"));
        }
        let print =
            |chunk: &[u8]| chunk.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte));
        Ok(self.prints.chunks(bytes).map(print).collect())
    }
}

impl Listing {
    fn put(listing: &trees::Listing<Place>) -> Self {
        let is_short = listing.fingerprints.iter().all(|print| *print <= u64::from(u16::MAX));
        let prints = Prints::put(width(!is_short), &listing.fingerprints);
        Self { to: listing.to.as_ref().map(put_place), sum: listing.sum, prints: Some(prints) }
    }

    fn take(self) -> Usable<trees::Listing<Place>> {
        let fingerprints = present(self.prints)?.take()?;
        let to = self.to.map(take_place).transpose()?;
        Ok(trees::Listing { to, sum: self.sum, fingerprints })
    }
}

impl Compared {
    pub(crate) fn put(compared: &node::Compared) -> Self {
        let answers = compared.answers.as_ref().map(|answers| Answers {
            round: answers.round,
            answers: answers.answers.iter().map(Answer::put).collect(),
        });
        Self { request: compared.request.0, answers }
    }

    pub(crate) fn take(self) -> Usable<node::Compared> {
        let answers = self.answers.map(|answers| -> Usable<_> {
            let round = answers.round;
            let answers = answers.answers.into_iter().map(Answer::take).collect::<Usable<_>>()?;
            Ok(trees::Answers { round, answers })
        });
        let request = RequestId(self.request);
        Ok(node::Compared { request, answers: answers.transpose()? })
    }
}

impl Answer {
    fn put(answer: &trees::Answer<Place>) -> Self {
        let told = match answer {
            trees::Answer::Compared(parts) => {
                let parts = parts.iter().map(|(number, within)| Part {
                    number: (*number).into(),
                    within: Some(match within {
                        Within::Parts(parts) => In::Parts(Parts::put(parts)),
                        Within::Leaf(listing) => In::Leaf(Listing::put(listing)),
                        Within::Lacked { sum, key, digest } => In::Lacked(Lacked {
                            sum: *sum,
                            place: Some(put_place(key)),
                            digest: digest.0,
                        }),
                    }),
                });
                Told::Compared(Differing { parts: parts.collect() })
            }
            trees::Answer::Cut { level, at, sums } => Told::Cut(Cut {
                level: (*level).into(),
                at: at.iter().map(put_place).collect(),
                sums: sums.clone(),
            }),
            trees::Answer::Listed(listing) => Told::Listed(Listing::put(listing)),
            trees::Answer::Named { sum, items } => Told::Named(Named {
                sum: *sum,
                places: items.iter().map(|(place, _)| put_place(place)).collect(),
                digests: items.iter().map(|(_, digest)| digest.0).collect(),
            }),
        };
        Self { told: Some(told) }
    }

    fn take(self) -> Usable<trees::Answer<Place>> {
        Ok(match self.told.ok_or(Unusable::Unknown)? {
            Told::Compared(differing) => {
                let parts = differing.parts.into_iter().map(Part::take).collect::<Usable<_>>()?;
                trees::Answer::Compared(parts)
            }
            Told::Cut(Cut { level, at, sums }) => {
                trees::Answer::Cut { level: narrow(level)?, at: take_places(at)?, sums }
            }
            Told::Listed(listing) => trees::Answer::Listed(listing.take()?),
            Told::Named(Named { sum, places, digests }) => {
                if places.len() != digests.len() {
                    return Err(wrong("keys without digests"));
                }
                let digests = digests.into_iter().map(Digest);
                let items = take_places(places)?.into_iter().zip(digests).collect();
                trees::Answer::Named { sum, items }
            }
        })
    }
}

impl Part {
    fn take(self) -> Usable<(u16, Within<Place>)> {
        let within = match self.within.ok_or(Unusable::Unknown)? {
            In::Parts(parts) => Within::Parts(parts.take()?),
            In::Leaf(listing) => Within::Leaf(listing.take()?),
            In::Lacked(Lacked { sum, place, digest }) => {
                Within::Lacked { sum, key: take_place(present(place)?)?, digest: Digest(digest) }
            }
        };
        Ok((narrow(self.number)?, within))
    }
}

impl Bring {
    pub(crate) fn put(bring: &node::Bring) -> Self {
        Self {
            request: bring.request.0,
            keyspace: bring.shard.keyspace.number(),
            shard: bring.shard.index.into(),
            addresses: bring.addresses.iter().map(Address::put).collect(),
            bones: coded(|out| {
                bring.bones.iter().for_each(|bones| object::encode_marked(bones, out));
            }),
        }
    }

    pub(crate) fn take(self) -> Usable<node::Bring> {
        let addresses =
            self.addresses.into_iter().map(Address::take).collect::<Usable<Vec<_>>>()?;
        let keyspace = KeyspaceId::new(self.keyspace);
        Ok(node::Bring {
            request: RequestId(self.request),
            shard: ShardId { keyspace, index: narrow(self.shard)? },
            bones: take_bones(&self.bones, addresses.len())?,
            addresses,
        })
    }
}

/// As many as there are addresses, or none.
fn take_bones(bytes: &Bytes, addresses: usize) -> Usable<Vec<Object>> {
    let mut objects = Objects::new(bytes, true);
    let count = if bytes.is_empty() { 0 } else { addresses };
    let bones = (0..count).map(|_| objects.next()).collect();
    objects.finish()?;
    bones
}

impl Spared {
    pub(crate) fn put(spared: &node::Spared) -> Self {
        Self { request: spared.request.0, numbers: spared.numbers.clone() }
    }

    pub(crate) fn take(self) -> node::Spared {
        node::Spared { request: RequestId(self.request), numbers: self.numbers }
    }
}

impl Examine {
    pub(crate) fn put(examine: &node::Examine) -> Self {
        let node::Examine { request, shard, range } = examine;
        Self {
            request: request.0,
            keyspace: shard.keyspace.number(),
            shard: shard.index.into(),
            from: range.from.as_ref().map(put_place),
            to: range.to.as_ref().map(put_place),
        }
    }

    pub(crate) fn take(self) -> Usable<node::Examine> {
        let keyspace = KeyspaceId::new(self.keyspace);
        let (from, to) = (self.from.map(take_place), self.to.map(take_place));
        Ok(node::Examine {
            request: RequestId(self.request),
            shard: ShardId { keyspace, index: narrow(self.shard)? },
            range: KeyRange { from: from.transpose()?, to: to.transpose()? },
        })
    }
}

impl Examined {
    pub(crate) fn put(examined: &node::Examined) -> Self {
        let leaves = examined.leaves.as_ref().map(|leaves| {
            let node::Leaves { next, keys, bytes } = leaves;
            Leaves { next: next.as_ref().map(put_place), keys: *keys, bytes: *bytes }
        });
        Self { request: examined.request.0, leaves }
    }

    pub(crate) fn take(self) -> Usable<node::Examined> {
        let leaves = self.leaves.map(|Leaves { next, keys, bytes }| -> Usable<_> {
            let next = next.map(take_place).transpose()?;
            Ok(node::Leaves { next, keys, bytes })
        });
        Ok(node::Examined { request: RequestId(self.request), leaves: leaves.transpose()? })
    }
}
