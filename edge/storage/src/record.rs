//! What lies under which key. The bytes themselves are the business of [`codec`].
//!
//! ```text
//! objects   table, shard, key              -> object
//! clocks    keyspace, shard                -> what all objects of the shard come to
//! clocks    keyspace, shard, incarnation   -> runs of dots
//! clocks    keyspace, shard, incarnation, chunk -> runs of those that are forgotten
//! log       keyspace, shard, last dot      -> where the object is that came with these dots
//! hints     replica that is away, table, key -> object, and since when it is kept
//! meta      "acceptor", "witness"          -> one record each
//! meta      "lacks ", keyspace, shard, node -> nothing: that it is there says all
//! ```

use std::fmt::Display;
use std::ops::Bound;

use bytes::Bytes;
use catalog::Acceptor;
use causality::{Dot, Incarnation, Run};
use codec::record::{Kind, open, seal, seal_into};
use codec::{forgotten, sum};
use model::{Address, Key, KeyspaceId, NodeId, Object, ShardId, TableId};
use node::{Hint, HintPlace};
use replica::{Entry, Span, StoreError, Sum};

use crate::witness::Witness;

/// Where the acceptor lies.
pub(crate) const ACCEPTOR: &[u8] = b"acceptor";

/// Where the witness of the last group lies.
pub(crate) const WITNESS: &[u8] = b"witness";

/// What the keys of marks begin with.
pub(crate) const MARK: &[u8] = b"lacks ";

/// From where to where a scan goes.
pub(crate) type Bounds = (Bound<Bytes>, Bound<Bytes>);

/// Where an object lies.
pub(crate) fn object_key(table: TableId, shard: ShardId, key: &Key) -> Bytes {
    codec::key::object_key(table, shard.index, key).into()
}

/// Where the objects of a span lie.
pub(crate) fn bounds(table: TableId, shard: ShardId, span: &Span) -> Bounds {
    let prefix = match &span.partition {
        Some(partition) => codec::key::prefix_of_partition(table, shard.index, partition),
        None => codec::key::prefix_of(table, shard.index),
    };
    let end = match codec::key::end_of(&prefix) {
        Some(end) => Bound::Excluded(end.into()),
        None => Bound::Unbounded,
    };
    let prefix = Bytes::from(prefix);
    let start = match span.after.as_ref().map(|after| object_key(table, shard, after)) {
        Some(after) if prefix <= after => Bound::Excluded(after),
        Some(_) | None => Bound::Included(prefix),
    };
    (start, end)
}

/// Returns whether nothing lies within the bounds, which a range would take as a mistake.
pub(crate) fn is_empty(bounds: &Bounds) -> bool {
    match bounds {
        (Bound::Included(start) | Bound::Excluded(start), Bound::Excluded(end)) => end <= start,
        _ => false,
    }
}

/// Reads where an object lies.
pub(crate) fn open_object_key(key: &Bytes) -> Result<Key, StoreError> {
    codec::key::decode_key(key).map(|(_, _, key)| key).map_err(|error| corrupt(key, &error))
}

/// Reads in which table and shard an object lies, and under which key.
pub(crate) fn open_object_place(key: &Bytes) -> Result<(TableId, u16, Key), StoreError> {
    codec::key::decode_key(key).map_err(|error| corrupt(key, &error))
}

pub(crate) fn seal_object(key: &[u8], object: &Object) -> Vec<u8> {
    let bytes = codec::record::HEADER_BYTES + codec::object::encoded_len_max(object);
    let mut record = Vec::with_capacity(bytes);
    codec::record::seal_object(key, object, &mut record);
    record
}

pub(crate) fn open_object(key: &[u8], record: &Bytes) -> Result<Object, StoreError> {
    codec::record::open_object(key, record).map_err(|error| corrupt(key, &error))
}

/// Where the runs of an incarnation lie.
pub(crate) fn clock_key(shard: ShardId, incarnation: Incarnation) -> Vec<u8> {
    codec::clock::clock_key(shard, incarnation)
}

/// Where the runs of an incarnation lie, and the record of them.
pub(crate) fn seal_clock(
    shard: ShardId,
    incarnation: Incarnation,
    runs: &[Run],
) -> (Vec<u8>, Vec<u8>) {
    let key = clock_key(shard, incarnation);
    let record = seal(Kind::Clock, &key, |out| codec::clock::encode(runs, out));
    (key, record)
}

/// Where the sum of a shard lies.
pub(crate) fn sum_key(shard: ShardId) -> Vec<u8> {
    sum::sum_key(shard)
}

/// Where the sum of a shard lies, and the record of it.
pub(crate) fn seal_sum(shard: ShardId, told: Sum) -> (Vec<u8>, Vec<u8>) {
    let key = sum_key(shard);
    let record = seal(Kind::Sum, &key, |out| sum::encode((told.tag, told.total), out));
    (key, record)
}

/// Where a chunk of forgotten dots lies, and the record of it.
pub(crate) fn seal_chunk(
    shard: ShardId,
    incarnation: Incarnation,
    number: u64,
    runs: &[Run],
) -> (Vec<u8>, Vec<u8>) {
    let key = forgotten::chunk_key(shard, incarnation, number);
    let record = seal(Kind::Forgotten, &key, |out| forgotten::encode(runs, out));
    (key, record)
}

/// What a shard knows, as it lies beside each other.
pub(crate) enum Known {
    /// What everything that it holds comes to.
    Sum(Sum),
    /// All that a clock has of one incarnation.
    Clock(Vec<Run>),
    /// A part of those that are forgotten.
    Forgotten(Vec<Run>),
}

pub(crate) fn open_known(key: &[u8], record: &Bytes) -> Result<(ShardId, Known), StoreError> {
    match key.len() {
        sum::KEY_BYTES => open_sum(key, record).map(|(shard, sum)| (shard, Known::Sum(sum))),
        forgotten::KEY_BYTES => {
            open_chunk(key, record).map(|(shard, runs)| (shard, Known::Forgotten(runs)))
        }
        _ => open_clock(key, record).map(|(shard, runs)| (shard, Known::Clock(runs))),
    }
}

pub(crate) fn open_sum(key: &[u8], record: &Bytes) -> Result<(ShardId, Sum), StoreError> {
    let shard = sum::decode_key(key).map_err(|error| corrupt(key, &error))?;
    let body = open(Kind::Sum, key, record).map_err(|error| corrupt(key, &error))?;
    let (tag, total) = sum::decode(&body).map_err(|error| corrupt(key, &error))?;
    Ok((shard, Sum { tag, total }))
}

fn open_chunk(key: &[u8], record: &Bytes) -> Result<(ShardId, Vec<Run>), StoreError> {
    let (shard, incarnation, number) =
        forgotten::decode_key(key).map_err(|error| corrupt(key, &error))?;
    let body = open(Kind::Forgotten, key, record).map_err(|error| corrupt(key, &error))?;
    let runs = forgotten::decode(incarnation, number, &body);
    Ok((shard, runs.map_err(|error| corrupt(key, &error))?))
}

pub(crate) fn open_clock(key: &[u8], record: &Bytes) -> Result<(ShardId, Vec<Run>), StoreError> {
    let (shard, incarnation) =
        codec::clock::decode_key(key).map_err(|error| corrupt(key, &error))?;
    let body = open(Kind::Clock, key, record).map_err(|error| corrupt(key, &error))?;
    let dots = codec::clock::decode(incarnation, &body).map_err(|error| corrupt(key, &error))?;
    Ok((shard, dots.runs().to_vec()))
}

/// Where the entry of the log lies that ends with this dot.
pub(crate) fn log_key(shard: ShardId, last: Dot) -> Bytes {
    codec::log::log_key(shard, last).into()
}

/// Where the entries lie that may have a dot of a run.
pub(crate) fn log_bounds(shard: ShardId, within: Run) -> Bounds {
    let at = |seq| log_key(shard, Dot::new(within.incarnation, seq));
    (Bound::Included(at(within.first)), Bound::Included(at(u64::MAX)))
}

/// A line of a log.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) entry: Entry,
    /// How much more the shard came to with it.
    pub(crate) adds: u64,
}

pub(crate) fn seal_log(key: &[u8], line: &Line) -> Vec<u8> {
    let Entry { run, address } = &line.entry;
    codec::record::seal_line(key, line.adds, |out| codec::log::encode(run, address, out))
}

/// Reads where a line lies.
pub(crate) fn open_log_key(key: &[u8]) -> Result<(ShardId, Dot), StoreError> {
    codec::log::decode_key(key).map_err(|error| corrupt(key, &error))
}

pub(crate) fn open_log(key: &[u8], record: &Bytes) -> Result<Line, StoreError> {
    let (_, last) = open_log_key(key)?;
    let (adds, body) =
        codec::record::open_line(key, record).map_err(|error| corrupt(key, &error))?;
    let (run, address) = codec::log::decode(last, &body).map_err(|error| corrupt(key, &error))?;
    Ok(Line { entry: Entry { run, address }, adds })
}

/// Where a hint lies.
pub(crate) fn hint_key(place: &HintPlace) -> Bytes {
    codec::hint::hint_key(place.target, &place.address).into()
}

/// Where the hints for a replica lie, after one of them or from the first.
pub(crate) fn hint_bounds(target: NodeId, after: Option<&Address>) -> Bounds {
    let prefix = codec::hint::prefix_of(target);
    let end = match codec::key::end_of(&prefix) {
        Some(end) => Bound::Excluded(end.into()),
        None => Bound::Unbounded,
    };
    let start = match after {
        Some(address) => Bound::Excluded(codec::hint::hint_key(target, address).into()),
        None => Bound::Included(prefix.into()),
    };
    (start, end)
}

pub(crate) fn open_hint_key(key: &Bytes) -> Result<HintPlace, StoreError> {
    let (target, address) = codec::hint::decode_key(key).map_err(|error| corrupt(key, &error))?;
    Ok(HintPlace { target, address })
}

pub(crate) fn seal_hint(key: &[u8], hint: &Hint) -> Vec<u8> {
    let bytes = codec::record::HEADER_BYTES + codec::object::encoded_len_max(&hint.object);
    let mut record = Vec::with_capacity(bytes + 10);
    let body = |out: &mut Vec<u8>| codec::hint::encode(hint.since_millis, &hint.object, out);
    seal_into(Kind::Hint, key, &mut record, body);
    record
}

pub(crate) fn open_hint(key: &[u8], record: &Bytes) -> Result<Hint, StoreError> {
    let body = open(Kind::Hint, key, record).map_err(|error| corrupt(key, &error))?;
    let (since_millis, object) =
        codec::hint::decode(&body).map_err(|error| corrupt(key, &error))?;
    Ok(Hint { since_millis, object })
}

pub(crate) fn seal_acceptor(acceptor: &Acceptor) -> Vec<u8> {
    seal(Kind::Acceptor, ACCEPTOR, |out| codec::catalog::encode_acceptor(acceptor, out))
}

pub(crate) fn open_acceptor(record: &Bytes) -> Result<Acceptor, StoreError> {
    let body = open(Kind::Acceptor, ACCEPTOR, record).map_err(|error| corrupt(ACCEPTOR, &error))?;
    codec::catalog::decode_acceptor(&body).map_err(|error| corrupt(ACCEPTOR, &error))
}

pub(crate) fn seal_witness(witness: &Witness) -> Vec<u8> {
    seal(Kind::Meta, WITNESS, |out| out.extend(witness.encode()))
}

pub(crate) fn open_witness(record: &Bytes) -> Result<Witness, StoreError> {
    let body = open(Kind::Meta, WITNESS, record).map_err(|error| corrupt(WITNESS, &error))?;
    Witness::decode(&body).ok_or_else(|| corrupt(WITNESS, &"it is no witness"))
}

/// Where it lies that a replica lacks something, and the record, which is empty.
pub(crate) fn seal_mark(shard: ShardId, node: NodeId) -> (Vec<u8>, Vec<u8>) {
    let mut key = MARK.to_vec();
    key.extend(codec::clock::prefix_of(shard));
    key.extend(node.number().to_be_bytes());
    let record = seal(Kind::Meta, &key, |_| {});
    (key, record)
}

pub(crate) fn open_mark(key: &[u8], record: &Bytes) -> Result<(ShardId, NodeId), StoreError> {
    let body = open(Kind::Meta, key, record).map_err(|error| corrupt(key, &error))?;
    let parts = key.strip_prefix(MARK).and_then(|rest| rest.try_into().ok());
    let [a, b, c, d, shard @ .., high, low]: [u8; 8] =
        parts.filter(|_| body.is_empty()).ok_or_else(|| corrupt(key, &"it is no mark"))?;
    let keyspace = KeyspaceId::new(u32::from_be_bytes([a, b, c, d]));
    let shard = ShardId { keyspace, index: u16::from_be_bytes(shard) };
    Ok((shard, NodeId::new(u16::from_be_bytes([high, low]))))
}

/// What core calls a chunk is what lies on disks: other chunks would overlap those that are there.
const _: () = assert!(replica::CHUNK_DOTS == forgotten::DOTS, "the format of chunks is kept");

/// Names the record by its key, as an operator may have to find it.
fn corrupt(key: &[u8], why: &dyn Display) -> StoreError {
    StoreError::Corrupt(format!("under \"{}\": {why}", key.escape_ascii()))
}
