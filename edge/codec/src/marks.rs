//! The marks of dots as bytes: which write each of them is, however often it was tried.
//!
//! They follow the set that has the dots, and name each by where it is there, as the values of
//! an [object](crate::object) do.
//!
//! ```text
//! marks = count  { skip  offset  token (16)  fingerprint (8) }
//! ```
//!
//! The token is a UUID as everybody writes it, the highest byte first.

use bytes::{BufMut, Bytes};
use causality::{Dot, DotSet};
use model::{Mark, Marks, Token};

use crate::object::Place;
use crate::reader::Reader;
use crate::{Malformed, varint};

/// The fewest bytes that a mark can have.
const MARK_BYTES_MIN: usize = 2 + 16 + 8;

/// The most bytes that a mark can have.
pub(crate) const MARK_BYTES_MAX: usize = 20 + 16 + 8;

/// Appends the marks of dots of a set.
pub fn encode(marks: &Marks, set: &DotSet, out: &mut impl BufMut) {
    varint::put_len(marks.len(), out);
    let mut place = Place::START;
    for (dot, mark) in marks {
        let (skip, offset) = place.advance_to(*dot, set.runs());
        varint::put_len(skip, out);
        varint::put(offset, out);
        out.put_u128(mark.token.bits());
        out.put_u64_le(mark.fingerprint);
    }
}

/// Reads marks of dots of a set that fill the bytes.
///
/// # Errors
///
/// [`Malformed`] if the bytes are not what [`encode`] makes of some marks.
pub fn decode(bytes: &Bytes, set: &DotSet) -> Result<Marks, Malformed> {
    let mut reader = Reader::new(bytes);
    let marks = read(&mut reader, set)?;
    reader.finish()?;
    if marks.is_empty() { Err(Malformed::Invalid("no marks, spelled out")) } else { Ok(marks) }
}

/// Reads the marks that come next.
pub(crate) fn read(reader: &mut Reader<'_>, set: &DotSet) -> Result<Marks, Malformed> {
    let count = reader.count(MARK_BYTES_MIN)?;
    let mut place = Place::START;
    let mark = |_| -> Result<(Dot, Mark), Malformed> {
        let (skip, offset) = (reader.number()?, reader.varint()?);
        let dot = place.advance_by(skip, offset, set.runs());
        let dot = dot.ok_or(Malformed::Invalid("a mark whose dot is not in the context"))?;
        let (high, low) = (reader.fixed()?.swap_bytes(), reader.fixed()?.swap_bytes());
        let token = Token::from_bits(u128::from(high) << 64 | u128::from(low));
        let token = token.ok_or(Malformed::Invalid("a token that is no UUID of version 7"))?;
        Ok((dot, Mark { token, fingerprint: reader.fixed()? }))
    };
    (0..count).map(mark).collect()
}
