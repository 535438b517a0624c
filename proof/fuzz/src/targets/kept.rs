//! What nodes keep for others, and what clients keep of a session.
//!
//! Hints and lines of the log have one encoding each, like objects. A token of a session comes
//! from outside in clear: whatever it says, it is read or refused, and what is read and
//! written again demands no less than before.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use causality::{Dot, Incarnation, Run};
use codec::{hint, log, session};
use model::{Address, KeyspaceId, NodeId, Seen, Session, ShardId, TableId};

use super::{Target, encoded};
use crate::cut::Cut;

pub(super) const TARGETS: &[Target] = &[
    Target { seeds: hint_seeds, ..Target::new("hint", read_hint) },
    Target { seeds: log_seeds, ..Target::new("log", read_log) },
    Target { seeds: session_seeds, ..Target::new("session", read_session) },
];

fn hint_seeds() -> Vec<Vec<u8>> {
    let table = TableId::new(300);
    let keys = samples::keys().into_iter().map(|key| {
        let place = hint::hint_key(NodeId::new(7), &Address { table, key });
        [&[0][..], &place].concat()
    });
    let hints = samples::objects().into_iter().map(|object| {
        let body = encoded(|out| hint::encode(1_700_000_000_000, &object, out));
        [&[1][..], &body].concat()
    });
    keys.chain(hints).collect()
}

/// Either the place of a hint, or a hint.
fn read_hint(input: &[u8]) {
    let mut cut = Cut(input);
    let is_place = cut.byte() % 2 == 0;
    let bytes = Bytes::copy_from_slice(cut.0);
    if is_place {
        if let Ok((target, address)) = hint::decode_key(&bytes) {
            assert_eq!(hint::hint_key(target, &address), bytes);
            assert!(bytes.starts_with(&hint::prefix_of(target)));
        }
    } else if let Ok((since, object)) = hint::decode(&bytes) {
        assert_eq!(encoded(|out| hint::encode(since, &object, out)), bytes);
        assert!(object.values().keys().all(|dot| object.context().contains(*dot)));
    }
}

const LOG_KEY_BYTES: usize = 22;

fn log_seeds() -> Vec<Vec<u8>> {
    let shard = ShardId { keyspace: KeyspaceId::new(3), index: 9 };
    let incarnation = Incarnation::new(0x0123_4567_89ab_cdef);
    let line = |(last, key)| {
        let place = log::log_key(shard, Dot::new(incarnation, last));
        let run = Run { incarnation, first: last.min(2), last };
        let address = Address { table: TableId::new(70_000), key };
        [&place[..], &encoded(|out| log::encode(&run, &address, out))].concat()
    };
    [1, 2, 300, u64::MAX].into_iter().zip(samples::keys()).map(line).collect()
}

/// The place of a line of the log, and the line.
fn read_log(input: &[u8]) {
    let mut cut = Cut(input);
    let place = cut.bytes(LOG_KEY_BYTES);
    let Ok((shard, last)) = log::decode_key(place) else { return };
    assert_eq!(log::log_key(shard, last), place);
    let bytes = Bytes::copy_from_slice(cut.0);
    if let Ok((run, address)) = log::decode(last, &bytes) {
        assert!(0 < run.first && run.first <= run.last && run.last == last.seq);
        assert_eq!(encoded(|out| log::encode(&run, &address, out)), bytes);
    }
}

fn session_seeds() -> Vec<Vec<u8>> {
    let shard = ShardId { keyspace: KeyspaceId::new(3), index: 9 };
    let token = |dots| {
        let mut session = Session::new(shard);
        session.sees(dots);
        URL_SAFE_NO_PAD.decode(session::encode(&session)).unwrap_or_default()
    };
    let all = Session { seen: Seen::All, ..Session::new(shard) };
    let all = URL_SAFE_NO_PAD.decode(session::encode(&all)).unwrap_or_default();
    samples::dot_sets().iter().map(token).chain([all]).collect()
}

fn read_session(input: &[u8]) {
    let Ok(before) = session::decode(&URL_SAFE_NO_PAD.encode(input)) else { return };
    let token = session::encode(&before);
    assert!(token.len() <= 64, "{token}");
    let after = session::decode(&token).expect("what was written is read");
    assert_eq!(after.shard, before.shard);
    match (&before.seen, &after.seen) {
        (Seen::Dots(before), Seen::Dots(after)) => {
            assert!(after.is_superset(before), "{after:?} demands less than {before:?}");
        }
        (_, Seen::All) => {}
        (Seen::All, Seen::Dots(_)) => panic!("{after:?} demands less than all"),
    }
}
