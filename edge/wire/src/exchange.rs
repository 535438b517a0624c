//! What replicas say of their clocks, as headers.

use bytes::Bytes;
use causality::DotSet;
use codec::{Reader, dots};
use model::{KeyspaceId, ShardId};
use node::{Lacking, RequestId, Stamp, Sums};
use prost::Message;

use crate::batch::Batch;
use crate::parts::{
    Address, Objects, PlainDot, Usable, coded, narrow, present, put_disk, take_disk, wrong,
};

/// Nineteen bytes for each shard, or some more.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Clocks {
    #[prost(fixed64, tag = "1")]
    stamp: u64,
    #[prost(fixed64, tag = "2")]
    echo: u64,
    #[prost(message, repeated, tag = "3")]
    keyspaces: Vec<ClocksOfKeyspace>,
    #[prost(bool, tag = "4")]
    is_busy: bool,
    #[prost(uint64, tag = "5")]
    catalog_version: u64,
    /// Whoever does not know it is told everything, always.
    #[prost(bool, tag = "6")]
    hears_alike: bool,
    /// Whoever does not know it is asked for each shard by itself.
    #[prost(bool, tag = "7")]
    hears_others: bool,
}

/// Thirty bytes with its frame, however many shards there are. Only to those who say that they hear
/// it: others would wait for clocks.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Alike {
    /// The stamp in the lower half, and its echo in the upper one.
    #[prost(fixed32, tag = "1")]
    stamps: u32,
    #[prost(fixed64, tag = "2")]
    sum: u64,
    #[prost(bool, tag = "3")]
    is_busy: bool,
}

/// One shard and one hash after the other, as many of these as of those; and the sums of those whose
/// trees are whole, each behind the place of its shard.
#[derive(Clone, PartialEq, Message)]
struct ClocksOfKeyspace {
    #[prost(uint32, tag = "1")]
    keyspace: u32,
    #[prost(uint32, repeated, tag = "2")]
    shards: Vec<u32>,
    #[prost(fixed64, repeated, tag = "3")]
    hashes: Vec<u64>,
    #[prost(uint32, repeated, tag = "4")]
    whole: Vec<u32>,
    #[prost(fixed64, repeated, tag = "5")]
    sums: Vec<u64>,
    /// The places of those that are suspect. Whoever does not know it takes them for sound.
    #[prost(uint32, repeated, tag = "6")]
    suspects: Vec<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Lack {
    #[prost(fixed64, tag = "1")]
    request: u64,
    #[prost(uint32, tag = "2")]
    keyspace: u32,
    #[prost(uint32, tag = "3")]
    shard: u32,
    #[prost(bytes = "bytes", tag = "4")]
    clock: Bytes,
    #[prost(message, optional, tag = "5")]
    after: Option<PlainDot>,
    #[prost(uint64, tag = "6")]
    credit: u64,
    #[prost(fixed64, tag = "7")]
    stamp: u64,
    #[prost(fixed64, tag = "8")]
    echo: u64,
    #[prost(uint64, tag = "9")]
    catalog_version: u64,
    /// Whoever does not know it sends each object in a message of its own, which is as good.
    #[prost(bool, tag = "10")]
    is_together: bool,
    /// Other shards of the keyspace, as many clocks one after the other, and where some go on. Only to
    /// those who say that they hear it: others would answer for the first one.
    #[prost(uint32, repeated, tag = "11")]
    others: Vec<u32>,
    #[prost(bytes = "bytes", tag = "12")]
    clocks: Bytes,
    #[prost(message, repeated, tag = "13")]
    afters: Vec<After>,
}

/// Where one of the other shards goes on, which are counted from zero.
#[derive(Clone, PartialEq, Message)]
struct After {
    #[prost(uint32, tag = "1")]
    number: u32,
    #[prost(message, optional, tag = "2")]
    after: Option<PlainDot>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Vouch {
    #[prost(fixed64, tag = "1")]
    request: u64,
    #[prost(uint32, tag = "2")]
    keyspace: u32,
    #[prost(uint32, tag = "3")]
    shard: u32,
    #[prost(bytes = "bytes", tag = "4")]
    disk: Bytes,
    #[prost(message, optional, tag = "5")]
    after: Option<PlainDot>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Vouched {
    #[prost(fixed64, tag = "1")]
    request: u64,
    #[prost(bytes = "bytes", tag = "2")]
    forgotten: Bytes,
    #[prost(bool, tag = "3")]
    more: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Doubt {
    #[prost(fixed64, tag = "1")]
    request: u64,
    #[prost(uint32, tag = "2")]
    keyspace: u32,
    #[prost(uint32, tag = "3")]
    shard: u32,
    #[prost(message, repeated, tag = "5")]
    keys: Vec<ForgotKey>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Doubted {
    #[prost(fixed64, tag = "1")]
    request: u64,
    #[prost(uint32, tag = "2")]
    keyspace: u32,
    #[prost(uint32, tag = "3")]
    shard: u32,
    #[prost(bytes = "bytes", tag = "4")]
    forgotten: Bytes,
    #[prost(message, repeated, tag = "5")]
    held: Vec<Address>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Forgot {
    #[prost(uint32, tag = "1")]
    keyspace: u32,
    #[prost(uint32, tag = "2")]
    shard: u32,
    #[prost(message, repeated, tag = "3")]
    keys: Vec<ForgotKey>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ForgotKey {
    #[prost(message, optional, tag = "1")]
    address: Option<Address>,
    #[prost(bytes = "bytes", tag = "2")]
    dots: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Sent {
    #[prost(fixed64, tag = "1")]
    request: u64,
    #[prost(message, optional, tag = "2")]
    next: Option<PlainDot>,
    #[prost(uint64, tag = "3")]
    gaps: u64,
    /// An object follows for each key. There are none where they were not asked for together.
    #[prost(message, repeated, tag = "4")]
    batches: Vec<Batch>,
    #[prost(bool, tag = "5")]
    forgets: bool,
    /// How many other shards are answered, and what is to be said of some of them.
    #[prost(uint32, tag = "6")]
    others: u32,
    #[prost(message, repeated, tag = "7")]
    rests: Vec<Rest>,
}

/// What is left of one of the other shards, which are counted from zero.
#[derive(Clone, PartialEq, Message)]
struct Rest {
    #[prost(uint32, tag = "1")]
    number: u32,
    #[prost(message, optional, tag = "2")]
    next: Option<PlainDot>,
    #[prost(uint64, tag = "3")]
    gaps: u64,
    #[prost(bool, tag = "4")]
    forgets: bool,
}

/// More shards than any node asks for at once: a number that is larger is no number of shards.
const OTHERS_MAX: usize = 1 << 8;

impl Clocks {
    pub(crate) fn put(clocks: &node::Clocks) -> Self {
        let mut keyspaces: Vec<ClocksOfKeyspace> = Vec::new();
        for Sums { shard, clock, tree, is_suspect } in &clocks.shards {
            let keyspace = shard.keyspace.number();
            if keyspaces.last().is_none_or(|last| last.keyspace != keyspace) {
                keyspaces.push(ClocksOfKeyspace { keyspace, ..ClocksOfKeyspace::default() });
            }
            if let Some(last) = keyspaces.last_mut() {
                last.shards.push(shard.index.into());
                last.hashes.push(*clock);
                let place = u32::try_from(last.shards.len() - 1).unwrap_or(u32::MAX);
                if let Some(sum) = tree {
                    last.whole.push(place);
                    last.sums.push(*sum);
                }
                if *is_suspect {
                    last.suspects.push(place);
                }
            }
        }
        let (stamp, echo) = (clocks.stamp.0, clocks.echo.0);
        let (is_busy, catalog_version) = (clocks.is_busy, clocks.catalog_version);
        let (hears_alike, hears_others) = (clocks.hears_alike, clocks.hears_others);
        Self { stamp, echo, keyspaces, is_busy, catalog_version, hears_alike, hears_others }
    }

    pub(crate) fn take(self) -> Usable<node::Clocks> {
        let mut shards = Vec::new();
        for of_keyspace in self.keyspaces {
            let ClocksOfKeyspace { keyspace, shards: indices, hashes, whole, sums, suspects } =
                of_keyspace;
            if indices.len() != hashes.len() || whole.len() != sums.len() {
                return Err(wrong("shards without clocks, or without sums"));
            }
            let (keyspace, begin) = (KeyspaceId::new(keyspace), shards.len());
            for (index, clock) in indices.into_iter().zip(hashes) {
                let shard = ShardId { keyspace, index: narrow(index)? };
                shards.push(Sums { shard, clock, tree: None, is_suspect: false });
            }
            for (place, sum) in whole.into_iter().zip(sums) {
                let told = shards.get_mut(begin + narrow::<usize, _>(place)?);
                told.ok_or(wrong("the sum of no shard"))?.tree = Some(sum);
            }
            for place in suspects {
                let told = shards.get_mut(begin + narrow::<usize, _>(place)?);
                told.ok_or(wrong("a suspect that is no shard"))?.is_suspect = true;
            }
        }
        let (stamp, echo) = (Stamp(self.stamp), Stamp(self.echo));
        Ok(node::Clocks {
            stamp,
            echo,
            is_busy: self.is_busy,
            catalog_version: self.catalog_version,
            hears_alike: self.hears_alike,
            hears_others: self.hears_others,
            shards,
        })
    }
}

impl Alike {
    pub(crate) fn put(alike: node::Alike) -> Self {
        let node::Alike { stamp, echo, is_busy, sum } = alike;
        Self { stamps: u32::from(echo) << 16 | u32::from(stamp), sum, is_busy }
    }

    pub(crate) fn take(self) -> Usable<node::Alike> {
        let Self { stamps, sum, is_busy } = self;
        let (stamp, echo) = (narrow(stamps & 0xffff)?, narrow(stamps >> 16)?);
        Ok(node::Alike { stamp, echo, is_busy, sum })
    }
}

impl Lack {
    pub(crate) fn put(lack: &node::Lack) -> Self {
        let others = &lack.others;
        let after = |(number, other): (u32, &node::Lacking)| {
            Some(After { number, after: Some(PlainDot::put(other.after?)) })
        };
        Self {
            request: lack.request.0,
            keyspace: lack.shard.keyspace.number(),
            shard: lack.shard.index.into(),
            clock: coded(|out| dots::encode(&lack.clock, out)),
            after: lack.after.map(PlainDot::put),
            credit: lack.credit as u64,
            stamp: lack.stamp.0,
            echo: lack.echo.0,
            catalog_version: lack.catalog_version,
            is_together: lack.is_together,
            others: others.iter().map(|other| other.shard.index.into()).collect(),
            clocks: coded(|out| others.iter().for_each(|other| dots::encode(&other.clock, out))),
            afters: (0..).zip(others).filter_map(after).collect(),
        }
    }

    pub(crate) fn take(self) -> Usable<node::Lack> {
        let keyspace = KeyspaceId::new(self.keyspace);
        Ok(node::Lack {
            request: RequestId(self.request),
            shard: ShardId { keyspace, index: narrow(self.shard)? },
            clock: dots::decode(&self.clock)?,
            after: self.after.map(PlainDot::take),
            credit: narrow(self.credit)?,
            stamp: Stamp(self.stamp),
            echo: Stamp(self.echo),
            catalog_version: self.catalog_version,
            is_together: self.is_together,
            others: take_others(keyspace, self.others, &self.clocks, self.afters)?,
        })
    }
}

fn take_others(
    keyspace: KeyspaceId,
    indices: Vec<u32>,
    clocks: &Bytes,
    afters: Vec<After>,
) -> Usable<Vec<Lacking>> {
    let mut reader = Reader::new(clocks);
    let other = |index| {
        let shard = ShardId { keyspace, index: narrow(index)? };
        Ok(Lacking { shard, clock: dots::read(&mut reader)?, after: None })
    };
    let mut others = indices.into_iter().map(other).collect::<Usable<Vec<_>>>()?;
    reader.finish()?;
    for After { number, after } in afters {
        let other = others.get_mut(narrow::<usize, _>(number)?);
        other.ok_or(wrong("where no shard goes on"))?.after = Some(present(after)?.take());
    }
    Ok(others)
}

impl Vouch {
    pub(crate) fn put(vouch: &node::Vouch) -> Self {
        Self {
            request: vouch.request.0,
            keyspace: vouch.shard.keyspace.number(),
            shard: vouch.shard.index.into(),
            disk: put_disk(vouch.disk),
            after: vouch.after.map(PlainDot::put),
        }
    }

    pub(crate) fn take(self) -> Usable<node::Vouch> {
        let keyspace = KeyspaceId::new(self.keyspace);
        Ok(node::Vouch {
            request: RequestId(self.request),
            shard: ShardId { keyspace, index: narrow(self.shard)? },
            disk: take_disk(&self.disk)?,
            after: self.after.map(PlainDot::take),
        })
    }
}

impl Vouched {
    pub(crate) fn put(vouched: &node::Vouched) -> Self {
        let node::Vouched { request, forgotten, more } = vouched;
        Self { request: request.0, forgotten: put_some(forgotten), more: *more }
    }

    pub(crate) fn take(self) -> Usable<node::Vouched> {
        let forgotten = take_some(&self.forgotten)?;
        Ok(node::Vouched { request: RequestId(self.request), forgotten, more: self.more })
    }
}

impl Sent {
    pub(crate) fn put(sent: &node::Sent) -> Self {
        let batches = Batch::put(sent.objects.iter().map(|(address, _)| address));
        let is_told = |(_, rest): &(u32, &node::Rest)| **rest != Default::default();
        let rest = |(number, rest): (u32, &node::Rest)| {
            let node::Rest { next, gaps, forgets } = *rest;
            Rest { number, next: next.map(PlainDot::put), gaps, forgets }
        };
        Self {
            request: sent.request.0,
            next: sent.next.map(PlainDot::put),
            gaps: sent.gaps,
            batches,
            forgets: sent.forgets,
            others: u32::try_from(sent.others.len()).unwrap_or(u32::MAX),
            rests: (0..).zip(&sent.others).filter(is_told).map(rest).collect(),
        }
    }

    pub(crate) fn take(self, objects: &mut Objects<'_>) -> Usable<node::Sent> {
        let addresses = Batch::take(self.batches)?.into_iter();
        let objects = addresses.map(|address| Ok((address, objects.next()?)));
        Ok(node::Sent {
            request: RequestId(self.request),
            objects: objects.collect::<Usable<_>>()?,
            next: self.next.map(PlainDot::take),
            gaps: self.gaps,
            forgets: self.forgets,
            others: take_standings(self.others, self.rests)?,
        })
    }
}

fn take_standings(others: u32, rests: Vec<Rest>) -> Usable<Vec<node::Rest>> {
    let count = narrow(others)?;
    if OTHERS_MAX < count {
        return Err(wrong("more shards than there can be"));
    }
    let mut others = vec![node::Rest::default(); count];
    for Rest { number, next, gaps, forgets } in rests {
        let other = others.get_mut(narrow::<usize, _>(number)?);
        let next = next.map(PlainDot::take);
        *other.ok_or(wrong("what is left of no shard"))? = node::Rest { next, gaps, forgets };
    }
    Ok(others)
}

impl ForgotKey {
    fn put((address, set): (&model::Address, &DotSet)) -> Self {
        let dots = coded(|out| dots::encode(set, out));
        Self { address: Some(Address::put(address)), dots }
    }

    fn take(self) -> Usable<(model::Address, DotSet)> {
        Ok((present(self.address)?.take()?, dots::decode(&self.dots)?))
    }
}

impl Forgot {
    pub(crate) fn put(forgot: &node::Forgot) -> Self {
        Self {
            keyspace: forgot.shard.keyspace.number(),
            shard: forgot.shard.index.into(),
            keys: forgot.keys.iter().map(ForgotKey::put).collect(),
        }
    }

    pub(crate) fn take(self) -> Usable<node::Forgot> {
        let keys = self.keys.into_iter().map(ForgotKey::take).collect::<Usable<_>>()?;
        let keyspace = KeyspaceId::new(self.keyspace);
        Ok(node::Forgot { shard: ShardId { keyspace, index: narrow(self.shard)? }, keys })
    }
}

impl Doubt {
    pub(crate) fn put(doubt: &node::Doubt) -> Self {
        Self {
            request: doubt.request.0,
            keyspace: doubt.shard.keyspace.number(),
            shard: doubt.shard.index.into(),
            keys: doubt.keys.iter().map(ForgotKey::put).collect(),
        }
    }

    pub(crate) fn take(self) -> Usable<node::Doubt> {
        let keys = self.keys.into_iter().map(ForgotKey::take).collect::<Usable<_>>()?;
        let keyspace = KeyspaceId::new(self.keyspace);
        let shard = ShardId { keyspace, index: narrow(self.shard)? };
        Ok(node::Doubt { request: RequestId(self.request), shard, keys })
    }
}

impl Doubted {
    pub(crate) fn put(doubted: &node::Doubted) -> Self {
        Self {
            request: doubted.request.0,
            keyspace: doubted.shard.keyspace.number(),
            shard: doubted.shard.index.into(),
            forgotten: put_some(&doubted.forgotten),
            held: doubted.held.iter().map(|(address, _)| Address::put(address)).collect(),
        }
    }

    pub(crate) fn take(self, objects: &mut Objects<'_>) -> Usable<node::Doubted> {
        let held = |address: Address| Ok((address.take()?, objects.next()?));
        let held = self.held.into_iter().map(held).collect::<Usable<_>>()?;
        let keyspace = KeyspaceId::new(self.keyspace);
        let shard = ShardId { keyspace, index: narrow(self.shard)? };
        let forgotten = take_some(&self.forgotten)?;
        Ok(node::Doubted { request: RequestId(self.request), shard, forgotten, held })
    }
}

/// A set of dots, or nothing at all if there are none: as it was before there was such a field.
fn put_some(dots: &DotSet) -> Bytes {
    if dots.is_empty() { Bytes::new() } else { coded(|out| dots::encode(dots, out)) }
}

fn take_some(bytes: &Bytes) -> Usable<DotSet> {
    Ok(if bytes.is_empty() { DotSet::new() } else { dots::decode(bytes)? })
}
