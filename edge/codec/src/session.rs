//! What a session has seen of a shard, as a token.
//!
//! A client sends its token with every request, so it has at most 64 characters. What a session
//! has seen is mostly a few runs of dots, as what every replica has is left out; where it is
//! more, the token demands more than was seen, and never less:
//!
//! ```text
//! token = base64url without padding of:  version (1)  keyspace  shard  form (1)  body
//! form 0   exact    { incarnation (5, upper bits)  runs { gap  2 * length + more } }
//! form 1   filled   { incarnation (5)  last }                 everything from 1 to last
//! form 2   all      nothing                                   asked of all replicas
//! ```
//!
//! It is not sealed: who alters his token is shown less, or waits for what is not there.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use causality::{DotSet, Incarnation, Run};
use model::{KeyspaceId, Seen, Session, ShardId};

use crate::reader::Reader;
use crate::{Malformed, varint};

const VERSION: u8 = 1;

/// The most characters of a token.
pub const TEXT_BYTES_MAX: usize = 64;

/// The most bytes of a token, which come to so many characters.
const BYTES_MAX: usize = 48;

const EXACT: u8 = 0;
const FILLED: u8 = 1;
const ALL: u8 = 2;

/// The token of a session: as exact as 64 characters are.
pub fn encode(session: &Session) -> String {
    let mut head = vec![VERSION];
    varint::put(session.shard.keyspace.number().into(), &mut head);
    varint::put(session.shard.index.into(), &mut head);
    let form = |form: u8, body: Vec<u8>| [&head[..], &[form], &body].concat();
    let token = match &session.seen {
        Seen::All => form(ALL, Vec::new()),
        Seen::Dots(dots) => {
            let tokens = [form(EXACT, exact(dots)), form(FILLED, filled(dots))];
            let fits = tokens.into_iter().find(|token| token.len() <= BYTES_MAX);
            fits.unwrap_or_else(|| form(ALL, Vec::new()))
        }
    };
    URL_SAFE_NO_PAD.encode(token)
}

fn groups(dots: &DotSet) -> impl Iterator<Item = &[Run]> {
    dots.runs().chunk_by(|a, b| a.incarnation == b.incarnation)
}

fn put_incarnation(incarnation: Incarnation, out: &mut Vec<u8>) {
    let [a, b, c, d, e, ..] = incarnation.bits().to_be_bytes();
    out.extend([a, b, c, d, e]);
}

fn exact(dots: &DotSet) -> Vec<u8> {
    let mut out = Vec::new();
    for runs in groups(dots) {
        let [first, ..] = runs else { continue };
        put_incarnation(first.incarnation, &mut out);
        let mut least = 1;
        for (index, run) in runs.iter().enumerate() {
            let more = u64::from(index + 1 < runs.len());
            let length = run.last - run.first;
            // A run of more than half of all numbers is filled.
            if length >> 62 != 0 {
                return vec![0; BYTES_MAX];
            }
            varint::put(run.first - least, &mut out);
            varint::put(2 * length + more, &mut out);
            least = run.last.saturating_add(2);
        }
    }
    out
}

fn filled(dots: &DotSet) -> Vec<u8> {
    let mut out = Vec::new();
    for run in groups(dots).filter_map(<[Run]>::last) {
        put_incarnation(run.incarnation, &mut out);
        varint::put(run.last, &mut out);
    }
    out
}

/// Reads a token.
///
/// # Errors
///
/// [`Malformed`] if [`encode`] makes no such token, or the next version does.
pub fn decode(token: &str) -> Result<Session, Malformed> {
    if TEXT_BYTES_MAX < token.len() {
        return Err(Malformed::Invalid("a token that is too long"));
    }
    let bytes = URL_SAFE_NO_PAD.decode(token);
    let bytes = Bytes::from(bytes.map_err(|_| Malformed::Invalid("no base64url text"))?);
    let mut reader = Reader::new(&bytes);
    let version = reader.byte()?;
    if version != VERSION {
        return Err(Malformed::Newer(version));
    }
    let keyspace = u32::try_from(reader.varint()?);
    let keyspace = KeyspaceId::new(keyspace.map_err(|_| TOO_LARGE)?);
    let index = u16::try_from(reader.varint()?).map_err(|_| TOO_LARGE)?;
    let form = reader.byte()?;
    let seen = match form {
        EXACT => Seen::Dots(read_exact(&mut reader)?),
        FILLED => Seen::Dots(read_filled(&mut reader)?),
        ALL => Seen::All,
        _ => return Err(Malformed::Invalid("a form that does not exist")),
    };
    reader.finish()?;
    Ok(Session { shard: ShardId { keyspace, index }, seen })
}

const TOO_LARGE: Malformed = Malformed::Invalid("a number above its range");

fn read_incarnation(reader: &mut Reader<'_>) -> Result<Incarnation, Malformed> {
    let mut bits = 0;
    for _ in 0..5 {
        bits = bits << 8 | u64::from(reader.byte()?);
    }
    Ok(Incarnation::new(bits << 24))
}

fn read_exact(reader: &mut Reader<'_>) -> Result<DotSet, Malformed> {
    let mut runs = Vec::new();
    while !reader.rest().is_empty() {
        let incarnation = read_incarnation(reader)?;
        let mut least = Some(1_u64);
        loop {
            let (gap, length) = (reader.varint()?, reader.varint()?);
            let first = least.and_then(|least| least.checked_add(gap)).ok_or(TOO_LARGE)?;
            let last = first.checked_add(length / 2).ok_or(TOO_LARGE)?;
            runs.push(Run { incarnation, first, last });
            least = last.checked_add(2);
            if length % 2 == 0 {
                break;
            }
        }
    }
    DotSet::from_runs(runs).map_err(|_| Malformed::Invalid("runs of dots out of order"))
}

fn read_filled(reader: &mut Reader<'_>) -> Result<DotSet, Malformed> {
    let mut runs = Vec::new();
    while !reader.rest().is_empty() {
        let incarnation = read_incarnation(reader)?;
        runs.push(Run { incarnation, first: 1, last: reader.varint()? });
    }
    DotSet::from_runs(runs).map_err(|_| Malformed::Invalid("runs of dots out of order"))
}

#[cfg(test)]
mod tests {
    use causality::Dot;
    use model::shortened_dots;
    use proptest::prelude::*;

    use super::*;

    fn session(dots: &DotSet) -> Session {
        let shard = ShardId { keyspace: KeyspaceId::new(1), index: 17 };
        Session { shard, seen: Seen::Dots(shortened_dots(dots)) }
    }

    #[test]
    fn a_session_that_has_written_once_has_a_token_of_sixteen_characters() {
        let dots: DotSet = [Dot::new(Incarnation::new(u64::MAX), 100)].into_iter().collect();
        let token = encode(&session(&dots));
        assert_eq!(token, "AQERAP______YwA");
        assert_eq!(decode(&token), Ok(session(&dots)));
    }

    #[test]
    fn what_does_not_fit_is_filled_and_then_asked_of_all() {
        let of = |incarnations: u64, step: usize| -> DotSet {
            let dot = |n: u64| {
                (1..200).step_by(step).map(move |seq| Dot::new(Incarnation::new(n << 40), seq))
            };
            (1..=incarnations).flat_map(dot).collect()
        };
        let seen = |dots| decode(&encode(&session(&dots))).unwrap().seen;
        assert_eq!(seen(of(2, 1)), Seen::Dots(of(2, 1)), "one run each");
        assert_eq!(seen(of(5, 2)), Seen::Dots(of(5, 1)), "up to the last");
        assert_eq!(seen(of(9, 2)), Seen::All);
    }

    #[test]
    fn other_versions_and_other_text_are_refused() {
        for token in ["", "AgERAA", "AQERAw", "AQERAA==", "AQERAAA", "a b", &"A".repeat(65)] {
            assert!(decode(token).is_err(), "{token}");
        }
    }

    proptest! {
        #[test]
        fn a_token_demands_all_that_was_seen_and_has_at_most_64_characters(
            dots in proptest::collection::vec((any::<u64>(), prop_oneof![1..40_u64, 1..=u64::MAX]), 0..40),
            few in 1..6_u64,
            keyspace: u32,
            index: u16,
        ) {
            let dot = |(n, seq): &(u64, u64)| Dot::new(Incarnation::new((n % few) << 30), *seq);
            let dots: DotSet = dots.iter().map(dot).collect();
            let shard = ShardId { keyspace: KeyspaceId::new(keyspace), index };
            let session = Session { shard, ..session(&dots) };
            let token = encode(&session);
            prop_assert!(token.len() <= TEXT_BYTES_MAX, "{}", token.len());
            let read = decode(&token).unwrap();
            prop_assert_eq!(read.shard, shard);
            match &read.seen {
                Seen::All => {}
                Seen::Dots(demanded) => prop_assert!(demanded.is_superset(&shortened_dots(&dots))),
            }
            prop_assert_eq!(decode(&encode(&read)), Ok(read));
        }

        #[test]
        fn any_text_is_refused_or_a_token(text in "[A-Za-z0-9_-]{0,70}") {
            if let Ok(read) = decode(&text) {
                prop_assert!(encode(&read).len() <= TEXT_BYTES_MAX);
            }
        }
    }
}
