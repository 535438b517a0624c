//! Objects as bytes.
//!
//! A cluster holds an object for every key, three times, and sends one with every write:
//! what the encoding adds to a value is paid everywhere. The context comes first; a value
//! then names its dot by where it is in the context, which takes two bytes instead of
//! nine, and cannot name a dot that the context lacks.
//!
//! ```text
//! object = context  values  { skip  offset  content-type  length  body }
//! marked = object  marks
//! ```
//!
//! `skip` counts the runs of the context between the value before and this one; `offset`
//! counts the dots of the run below this one, or since the value before if both are in one
//! run. Both are zero for the only value of an object that superseded nothing. A common
//! content type is one byte, any other is a zero byte, a length and its bytes.
//!
//! Few objects have marks. Those that do are of another version on the disk, and are sent under
//! another header, so that the others cost nothing for it.
//!
//! Bodies and content types are not copied out of the bytes. An object that is kept for
//! long should be a copy, because it holds all the memory that it was decoded from.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes};
use causality::{Dot, Run};
use model::{Object, Value};

use crate::reader::Reader;
use crate::{Malformed, dots, marks, varint};

/// Content types that are written as one byte, counting from 1. A change needs another
/// [`VERSION`](crate::VERSION), because an object would get a second encoding.
const COMMON_TYPES: [&str; 8] = [
    "",
    "application/octet-stream",
    "application/json",
    "text/plain",
    "text/plain; charset=utf-8",
    "application/x-www-form-urlencoded",
    "application/xml",
    "text/csv",
];

/// The fewest bytes that a value can have: two numbers, a content type and a length.
const VALUE_BYTES_MIN: usize = 4;

/// Appends an object and its marks.
pub fn encode_marked(object: &Object, out: &mut impl BufMut) {
    encode(object, out);
    marks::encode(object.marks(), object.context(), out);
}

/// Appends an object without its marks.
pub fn encode(object: &Object, out: &mut impl BufMut) {
    dots::encode(object.context(), out);
    varint::put_len(object.values().len(), out);
    let runs = object.context().runs();
    let mut place = Place::START;
    for (dot, value) in object.values() {
        let (skip, offset) = place.advance_to(*dot, runs);
        varint::put_len(skip, out);
        varint::put(offset, out);
        put_content_type(&value.content_type, out);
        varint::put_len(value.body.len(), out);
        out.put_slice(&value.body);
    }
}

/// Returns room enough for an encoding of `object`, and not much more.
pub fn encoded_len_max(object: &Object) -> usize {
    let context = 10 + object.context().runs().len() * (8 + 30);
    let bytes = |value: &Value| 10 + 20 + 11 + value.content_type.len() + value.body.len();
    let marks = 10 + object.marks().len() * marks::MARK_BYTES_MAX;
    context + 10 + object.values().values().map(bytes).sum::<usize>() + marks
}

/// Reads an object and its marks, of which it has some, that fill the bytes.
///
/// # Errors
///
/// [`Malformed`] if the bytes are not what [`encode_marked`] makes of such an object.
pub fn decode_marked(bytes: &Bytes) -> Result<Object, Malformed> {
    let mut reader = Reader::new(bytes);
    let object = read_marked(&mut reader)?;
    reader.finish()?;
    match object.marks().is_empty() {
        true => Err(Malformed::Invalid("an object of this version without marks")),
        false => Ok(object),
    }
}

/// Reads the object and the marks that come next.
///
/// # Errors
///
/// [`Malformed`] if what comes next is not what [`encode_marked`] makes.
pub fn read_marked(reader: &mut Reader<'_>) -> Result<Object, Malformed> {
    let object = read(reader)?;
    let marks = marks::read(reader, object.context())?;
    Ok(object.marked(marks))
}

/// Reads an object that fills the bytes.
///
/// # Errors
///
/// [`Malformed`] if the bytes are not what [`encode`] makes.
pub fn decode(bytes: &Bytes) -> Result<Object, Malformed> {
    let mut reader = Reader::new(bytes);
    let object = read(&mut reader)?;
    reader.finish()?;
    Ok(object)
}

/// Reads the object that comes next.
///
/// # Errors
///
/// [`Malformed`] if what comes next is not what [`encode`] makes.
pub fn read(reader: &mut Reader<'_>) -> Result<Object, Malformed> {
    let context = dots::read(reader)?;
    let count = reader.count(VALUE_BYTES_MIN)?;
    let mut values = BTreeMap::new();
    let mut place = Place::START;
    for _ in 0..count {
        let (skip, offset) = (reader.number()?, reader.varint()?);
        let dot = place.advance_by(skip, offset, context.runs()).ok_or(OUTSIDE)?;
        let content_type = read_content_type(reader)?;
        values.insert(dot, Value { content_type, body: reader.sized()? });
    }
    Object::from_parts(values, context).ok_or(OUTSIDE)
}

const OUTSIDE: Malformed = Malformed::Invalid("a value whose dot is not in the context");

/// Where the values have got to in the runs of the context.
pub(crate) struct Place {
    run: usize,
    /// The least number that the next value in this run can have, if there is one.
    least: Option<u64>,
}

impl Place {
    pub(crate) const START: Place = Place { run: 0, least: Some(0) };

    /// Goes on to `dot`, which is above all before, and says how far that was.
    pub(crate) fn advance_to(&mut self, dot: Dot, runs: &[Run]) -> (usize, u64) {
        let ends_below = |run: &&Run| (run.incarnation, run.last) < (dot.incarnation, dot.seq);
        let skip = runs.iter().skip(self.run).take_while(ends_below).count();
        self.run += skip;
        let run = runs.get(self.run).expect("the context has the dot of every value and mark");
        let floor = self.floor(skip, run).expect("dots of values are in order");
        self.least = dot.seq.checked_add(1);
        (skip, dot.seq - floor)
    }

    /// Goes on as far as the bytes say, and returns the dot that is there.
    pub(crate) fn advance_by(&mut self, skip: usize, offset: u64, runs: &[Run]) -> Option<Dot> {
        self.run = self.run.checked_add(skip)?;
        let run = runs.get(self.run)?;
        let seq = self.floor(skip, run)?.checked_add(offset)?;
        self.least = seq.checked_add(1);
        (seq <= run.last).then_some(Dot::new(run.incarnation, seq))
    }

    fn floor(&self, skip: usize, run: &Run) -> Option<u64> {
        if skip == 0 { self.least.map(|least| least.max(run.first)) } else { Some(run.first) }
    }
}

fn put_content_type(content_type: &Bytes, out: &mut impl BufMut) {
    let common = COMMON_TYPES.iter().position(|common| common.as_bytes() == content_type);
    match common {
        Some(index) => varint::put_len(index + 1, out),
        None => {
            varint::put(0, out);
            varint::put_len(content_type.len(), out);
            out.put_slice(content_type);
        }
    }
}

fn read_content_type(reader: &mut Reader<'_>) -> Result<Bytes, Malformed> {
    let code = reader.byte()?;
    match code.checked_sub(1) {
        Some(index) => COMMON_TYPES
            .get(usize::from(index))
            .map(|common| Bytes::from_static(common.as_bytes()))
            .ok_or(Malformed::Invalid("an unknown common content type")),
        None => {
            let spelled = reader.sized()?;
            let common = COMMON_TYPES.iter().any(|common| common.as_bytes() == spelled);
            let refused = Malformed::Invalid("a common content type spelled out");
            if common { Err(refused) } else { Ok(spelled) }
        }
    }
}
