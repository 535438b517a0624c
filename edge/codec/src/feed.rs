//! How far a watcher has come in a table, as text that he keeps.
//!
//! Nobody remembers watchers: what one has been told is in his cursor, as a clock for each shard.
//! He hands it back, to any node, to be told the rest. A cursor that says more than was told would
//! hide changes, so it is sealed as a [context](crate::token) is: one of another table, or one that
//! was edited, is refused.
//!
//! ```text
//! cursor   = base64url( version (1)  position  tag (16) )
//! position = incarnations { incarnation (8 bytes) }  shards { gap  clock }  reading
//! clock    = groups { gap  runs { gap  length } }
//! reading  = 0   or   1  shard   or   2  shard  partition  sort
//! tag      = keyed BLAKE3 of everything before it, and of keyspace and table
//! ```
//!
//! All shards know the same few incarnations, so each is written once, in order, and a clock
//! names them by their places. A shard costs some bytes for each life of each of its replicas.
//!
//! The key of the tag is derived from that of contexts, so that neither passes for the other.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{BufMut, Bytes};
use causality::{DotSet, Incarnation, Run};
use model::{Key, Position, Reading, SHARDS_MAX};

use crate::cursor::{CursorError, Place};
use crate::reader::Reader;
use crate::token::{self, TokenKey};
use crate::{Malformed, dots, varint};

/// The version of the format.
const VERSION: u8 = 1;

/// The most bytes of a cursor as text: what fits into a query or a header. Sixty-four shards of
/// three replicas take some 2,000, and some 400 more for each start of a node.
pub const TEXT_BYTES_MAX: usize = 60 * 1024;

/// The fewest bytes of a shard: its gap, and how many groups it has.
const SHARD_BYTES_MIN: usize = 2;

/// Makes the cursor of a watcher of the table at `place`. Nothing if it would be longer than
/// [`TEXT_BYTES_MAX`].
pub fn seal(key: &TokenKey, place: &Place<'_>, position: &Position) -> Option<String> {
    let mut cursor = vec![VERSION];
    encode(position, &mut cursor);
    let tag = tag(key, place, &cursor);
    cursor.extend(tag);
    let text = URL_SAFE_NO_PAD.encode(cursor);
    (text.len() <= TEXT_BYTES_MAX).then_some(text)
}

/// Returns the position of a cursor, if this cluster made it for `place`.
///
/// # Errors
///
/// [`CursorError`] for anything else.
pub fn open(key: &TokenKey, place: &Place<'_>, cursor: &str) -> Result<Position, CursorError> {
    if TEXT_BYTES_MAX < cursor.len() {
        return Err(CursorError::Malformed);
    }
    let cursor = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| CursorError::Malformed)?;
    match cursor.first() {
        Some(&version) if VERSION < version => return Err(CursorError::Newer(version)),
        Some(&VERSION) => {}
        Some(_) | None => return Err(CursorError::Malformed),
    }
    let (claim, theirs) = cursor.split_last_chunk().ok_or(CursorError::Malformed)?;
    if !token::same(&tag(key, place, claim), theirs) {
        return Err(CursorError::Foreign);
    }
    let position = claim.get(1..).map(Bytes::copy_from_slice).unwrap_or_default();
    Ok(decode(&position)?)
}

fn tag(key: &TokenKey, place: &Place<'_>, claim: &[u8]) -> [u8; token::TAG_BYTES] {
    let Place { keyspace, table } = *place;
    key.for_feeds().tag([keyspace.as_str().as_bytes(), table.as_str().as_bytes(), claim])
}

/// Appends a position.
pub fn encode(position: &Position, out: &mut impl BufMut) {
    let Position { followed, reading } = position;
    let runs = followed.values().flat_map(DotSet::runs);
    let known: BTreeSet<Incarnation> = runs.map(|run| run.incarnation).collect();
    varint::put_len(known.len(), out);
    known.iter().for_each(|incarnation| out.put_u64_le(incarnation.bits()));
    let places = (0..).zip(&known).map(|(place, incarnation)| (*incarnation, place)).collect();
    varint::put_len(followed.len(), out);
    let mut least = 0;
    for (shard, clock) in followed {
        varint::put(u64::from(*shard) - least, out);
        least = u64::from(*shard) + 1;
        put_clock(clock, &places, out);
    }
    put_reading(reading.as_ref(), out);
}

fn put_clock(clock: &DotSet, places: &BTreeMap<Incarnation, u64>, out: &mut impl BufMut) {
    let groups = || clock.runs().chunk_by(|a, b| a.incarnation == b.incarnation);
    varint::put_len(groups().count(), out);
    let mut least = 0;
    for runs in groups() {
        let first = runs.first().map(|run| run.incarnation);
        let place = first.and_then(|incarnation| places.get(&incarnation)).copied();
        let place = place.expect("every incarnation of every clock has a place");
        varint::put(place - least, out);
        least = place + 1;
        dots::put_runs(runs, out);
    }
}

fn put_reading(reading: Option<&Reading>, out: &mut impl BufMut) {
    let Some(Reading { shard, after }) = reading else { return out.put_u8(0) };
    out.put_u8(if after.is_some() { 2 } else { 1 });
    varint::put(u64::from(*shard), out);
    for part in after.iter().flat_map(|key| [key.partition(), key.sort()]) {
        varint::put_len(part.len(), out);
        out.put_slice(part);
    }
}

/// Reads a position that fills the bytes.
///
/// # Errors
///
/// [`Malformed`] if the bytes are not what [`encode`] makes.
pub fn decode(bytes: &Bytes) -> Result<Position, Malformed> {
    let mut reader = Reader::new(bytes);
    let count = reader.count(8)?;
    let known: Result<Vec<_>, _> =
        (0..count).map(|_| reader.fixed().map(Incarnation::new)).collect();
    let known = known?;
    let shards = reader.count(SHARD_BYTES_MIN)?;
    let (mut followed, mut least) = (BTreeMap::new(), 0);
    for _ in 0..shards {
        let shard = read_place(&mut reader, least, u64::from(SHARDS_MAX))?;
        least = shard + 1;
        let shard = u16::try_from(shard).map_err(|_| NO_SHARD)?;
        followed.insert(shard, read_clock(&mut reader, &known)?);
    }
    let reading = read_reading(&mut reader)?;
    reader.finish()?;
    let position = Position { followed, reading };
    let mut again = Vec::with_capacity(bytes.len());
    encode(&position, &mut again);
    if again != *bytes {
        return Err(Malformed::Invalid("a position written in another way"));
    }
    Ok(position)
}

const NO_SHARD: Malformed = Malformed::Invalid("a shard that cannot exist");

/// Reads a number below `end` as its distance from the least that it can be.
fn read_place(reader: &mut Reader<'_>, least: u64, end: u64) -> Result<u64, Malformed> {
    let place = least.checked_add(reader.varint()?).filter(|place| *place < end);
    place.ok_or(Malformed::Invalid("a place beyond the last"))
}

fn read_clock(reader: &mut Reader<'_>, known: &[Incarnation]) -> Result<DotSet, Malformed> {
    let groups = reader.count(3)?;
    let (mut runs, mut least): (Vec<Run>, _) = (Vec::new(), 0);
    for _ in 0..groups {
        let place = read_place(reader, least, known.len() as u64)?;
        least = place + 1;
        let incarnation = usize::try_from(place).ok().and_then(|place| known.get(place));
        let incarnation = incarnation.copied().expect("a place below the last");
        dots::read_runs(incarnation, reader, &mut runs)?;
    }
    DotSet::from_runs(runs).map_err(|_| Malformed::Invalid("runs of dots out of order"))
}

fn read_reading(reader: &mut Reader<'_>) -> Result<Option<Reading>, Malformed> {
    let kind = reader.byte()?;
    if kind == 0 {
        return Ok(None);
    }
    let shard = reader.number::<u16>()?;
    if SHARDS_MAX <= shard || 2 < kind {
        return Err(NO_SHARD);
    }
    let after = match kind {
        1 => None,
        _ => {
            let key = Key::new(reader.sized()?, reader.sized()?);
            Some(key.map_err(|_| Malformed::Invalid("a key that cannot exist"))?)
        }
    };
    Ok(Some(Reading { shard, after }))
}

#[cfg(test)]
mod tests {
    use causality::Dot;
    use model::Name;

    use super::*;

    fn clock(lives: u64) -> DotSet {
        (1..=lives).flat_map(|life| (1..=9).map(move |seq| Dot::new(life_of(life), seq))).collect()
    }

    fn life_of(life: u64) -> Incarnation {
        Incarnation::new(life << 32)
    }

    #[test]
    fn a_table_of_sixty_four_shards_has_a_cursor_of_some_hundred_characters() {
        let name = Name::new("t").unwrap();
        let (place, key) = (Place { keyspace: &name, table: &name }, TokenKey::derive(&[1; 32]));
        let position = |lives| Position {
            followed: (0..64).map(|shard| (shard, clock(lives))).collect(),
            reading: None,
        };
        let text = seal(&key, &place, &position(3)).unwrap();
        assert!(text.len() < 1_300, "{}", text.len());
        assert_eq!(open(&key, &place, &text), Ok(position(3)));
        assert_eq!(seal(&key, &place, &position(300)), None, "no node would take it back");
    }

    #[test]
    fn a_second_way_to_write_a_position_is_refused() {
        let refused = |bytes: &[u8], why: &str| {
            assert!(decode(&Bytes::copy_from_slice(bytes)).is_err(), "{why}");
        };
        let life = 7_u64.to_le_bytes();
        assert_eq!(decode(&Bytes::from_static(&[0, 0, 0])), Ok(Position::default()));
        assert_eq!(decode(&Bytes::from_static(&[0, 0, 1, 0])), Ok(Position::beginning()));
        refused(&[&[1], &life[..], &[0, 0]].concat(), "an incarnation that nobody knows");
        refused(&[0, 1, 0x80, 0x20, 0, 0], "a shard beyond the last");
        refused(&[0, 0, 3, 0], "an unknown kind");
        refused(&[0, 0, 2, 0, 0, 0], "an empty partition key");
        refused(&[0, 1, 0, 1, 0, 1, 0, 0, 0], "a clock of nobody");
        refused(&[0, 0, 0, 0], "bytes after the end");
    }
}
