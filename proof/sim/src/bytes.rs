//! Bytes, damaged: what is encoded by the real codecs, altered, and read again.
//!
//! The simulated network and disks carry messages and objects as they are, which is fast.
//! Where bits are to flip, the real encoding is made, damaged and decoded: whatever comes
//! out must be a refusal, never another message or object.

use bytes::{Bytes, BytesMut};
use codec::record::Kind;
use model::Object;
use node::{Hint, HintPlace, Message};

use crate::disk::Place;
use crate::invariant::Invariant;
use crate::mutant::Mutant;
use crate::report::Broken;

/// Encodes a message as a frame, damages it, and requires that it is refused, or waited
/// for if its end is missing.
pub(crate) fn damage_message(message: &Message, bits: u64) -> Result<(), Broken> {
    let mut frame = BytesMut::new();
    if wire::encode(message, &mut frame).is_err() {
        return Ok(());
    }
    let intact = wire::decode(&mut frame.clone());
    if intact.as_ref().ok().and_then(Option::as_ref) != Some(message) {
        let detail = format!("{message:?} comes out of its frame as {intact:?}");
        return Err(Broken::new(Invariant::DamageIsNoticed, detail));
    }
    let mut damaged = damage(&frame, bits);
    match wire::decode(&mut damaged) {
        Ok(Some(other)) => {
            let detail = format!("{message:?} was damaged and read as {other:?}");
            Err(Broken::new(Invariant::DamageIsNoticed, detail))
        }
        Ok(None) | Err(_) => Ok(()),
    }
}

/// Encodes an object as a record, damages it, and requires that it is refused.
pub(crate) fn damage_record(
    place: &Place,
    object: &Object,
    bits: u64,
    mutant: Option<Mutant>,
) -> Result<(), Broken> {
    let (shard, address) = place;
    let key = codec::key::object_key(address.table, shard.index, &address.key);
    let mut body = Vec::new();
    codec::object::encode(object, &mut body);
    match is_noticed(Kind::Object, &key, &body, bits, mutant) {
        true => Ok(()),
        false => Err(unnoticed(object)),
    }
}

/// The same of what is kept for another node.
pub(crate) fn damage_hint(
    place: &HintPlace,
    hint: &Hint,
    bits: u64,
    mutant: Option<Mutant>,
) -> Result<(), Broken> {
    let key = codec::hint::hint_key(place.target, &place.address);
    let mut body = Vec::new();
    codec::hint::encode(hint.since_millis, &hint.object, &mut body);
    match is_noticed(Kind::Hint, &key, &body, bits, mutant) {
        true => Ok(()),
        false => Err(unnoticed(hint)),
    }
}

/// Whether a record with this body is refused once it is damaged.
fn is_noticed(kind: Kind, key: &[u8], body: &[u8], bits: u64, mutant: Option<Mutant>) -> bool {
    let seal = |body: &[u8]| codec::record::seal(kind, key, |out| out.extend_from_slice(body));
    let damaged: Bytes = if mutant == Some(Mutant::DamageSealed) {
        seal(&damage(body, bits)).into()
    } else {
        damage(&seal(body), bits).freeze()
    };
    codec::record::open(kind, key, &damaged).is_err()
}

fn unnoticed(what: &impl std::fmt::Debug) -> Broken {
    let detail = format!("{what:?} was damaged on disk and could be read");
    Broken::new(Invariant::DamageIsNoticed, detail)
}

/// The bytes with one to three bits flipped, or with an end missing.
fn damage(bytes: &[u8], bits: u64) -> BytesMut {
    let mut damaged = BytesMut::from(bytes);
    let [kind, a, b, c] = [bits & 7, bits >> 3 & 0xfffff, bits >> 23 & 0xfffff, bits >> 43];
    let place = |draw: u64| usize::try_from(draw % (bytes.len() as u64).max(1)).unwrap_or(0);
    if kind == 0 {
        damaged.truncate(place(a));
        return damaged;
    }
    // Three flips in different bytes: two of one bit would undo each other.
    let mut places = vec![place(a), place(b), place(c)];
    places.truncate(if kind < 5 { 1 } else { 3 });
    places.sort_unstable();
    places.dedup();
    for (index, place) in places.into_iter().enumerate() {
        if let Some(byte) = damaged.get_mut(place) {
            *byte ^= 1 << ((a >> index) & 7);
        }
    }
    damaged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_damaged_is_never_what_it_was() {
        let bytes: Vec<u8> = (0..50).collect();
        for seed in 0..10_000_u64 {
            let bits = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            assert_ne!(damage(&bytes, bits), bytes, "{bits:x}");
        }
    }
}
