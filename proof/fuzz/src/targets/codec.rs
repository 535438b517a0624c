//! What is stored and handed out: every encoding of `codec`.
//!
//! All of them promise one encoding for a value, so whatever decodes is encoded again and
//! must be the same bytes. What has a checksum or a tag is damaged on purpose, and must be
//! refused.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use causality::DotSet;
use codec::record::{self, Kind};
use codec::token::{self, TokenKey};
use codec::{catalog, clock, cursor, dots, feed, forgotten, key, object};
use model::{Key, Name, Range, TableId};

use super::{Target, encoded};
use crate::cut::{Cut, long_part};

pub(super) const TARGETS: &[Target] = &[
    Target {
        seeds: || samples::dot_sets().iter().map(dots_of).collect(),
        ..Target::new("dots", dots)
    },
    Target {
        seeds: || samples::objects().iter().map(object_of).collect(),
        ..Target::new("object", object)
    },
    Target { seeds: samples::contracts, ..Target::new("contract", contract) },
    Target { seeds: clock_seeds, ..Target::new("clock", clock) },
    Target { seeds: forgotten_seeds, ..Target::new("forgotten", chunk) },
    Target { seeds: key_seeds, ..Target::new("key", key) },
    Target { seeds: record_seeds, ..Target::new("record", record) },
    Target { seeds: token_seeds, ..Target::new("token", token) },
    Target { seeds: cursor_seeds, ..Target::new("cursor", cursor) },
    Target { seeds: feed_seeds, ..Target::new("feed", feed_cursor) },
];

fn dots_of(set: &DotSet) -> Vec<u8> {
    encoded(|out| dots::encode(set, out)).to_vec()
}

fn object_of(object: &model::Object) -> Vec<u8> {
    encoded(|out| object::encode(object, out)).to_vec()
}

fn dots(input: &[u8]) {
    if let Ok(set) = dots::decode(&Bytes::copy_from_slice(input)) {
        assert_eq!(dots_of(&set), input);
    }
}

fn object(input: &[u8]) {
    if let Ok(object) = object::decode(&Bytes::copy_from_slice(input)) {
        assert_eq!(object_of(&object), input);
        assert!(input.len() <= object::encoded_len_max(&object));
        assert!(object.values().keys().all(|dot| object.context().contains(*dot)));
    }
}

fn contract(input: &[u8]) {
    let mut cut = Cut(input);
    let kind = cut.byte();
    let bytes = Bytes::copy_from_slice(cut.0);
    let again = match kind % 4 {
        0 => catalog::decode(&bytes).map(|value| encoded(|out| catalog::encode(&value, out))),
        1 => catalog::decode_acceptor(&bytes)
            .map(|value| encoded(|out| catalog::encode_acceptor(&value, out))),
        2 => catalog::decode_keyspace(&bytes)
            .map(|value| encoded(|out| catalog::encode_keyspace(&value, out))),
        _ => catalog::decode_table(&bytes)
            .map(|value| encoded(|out| catalog::encode_table(&value, out))),
    };
    // What the first version wrote is written in the latest.
    if let Ok(again) = again
        && bytes.first() == Some(&catalog::VERSION)
    {
        assert_eq!(again, bytes);
    }
}

fn clock_seeds() -> Vec<Vec<u8>> {
    let of_set = |set: DotSet| {
        let incarnation = set.runs().first()?.incarnation;
        let runs: Vec<_> =
            set.runs().iter().filter(|run| run.incarnation == incarnation).copied().collect();
        let shard = model::ShardId { keyspace: model::KeyspaceId::new(3), index: 9 };
        let body = encoded(|out| clock::encode(&runs, out));
        Some([&clock::clock_key(shard, incarnation)[..], &body].concat())
    };
    samples::dot_sets().into_iter().filter_map(of_set).collect()
}

/// A storage key of 14 bytes, and the runs under it.
fn clock(input: &[u8]) {
    let mut cut = Cut(input);
    let place = cut.bytes(14);
    let Ok((shard, incarnation)) = clock::decode_key(place) else {
        return assert!(place.len() < 14);
    };
    assert_eq!(clock::clock_key(shard, incarnation), place);
    assert!(place.starts_with(&clock::prefix_of(shard)));
    if let Ok(set) = clock::decode(incarnation, &Bytes::copy_from_slice(cut.0)) {
        assert!(set.runs().iter().all(|run| run.incarnation == incarnation));
        assert_eq!(encoded(|out| clock::encode(set.runs(), out)), cut.0);
    }
}

fn forgotten_seeds() -> Vec<Vec<u8>> {
    let shard = model::ShardId { keyspace: model::KeyspaceId::new(3), index: 9 };
    let incarnation = causality::Incarnation::new(0x0123_4567_89ab_cdef);
    let chunk = |number: u64| {
        let at = |place| (number * forgotten::DOTS).saturating_add(place);
        let run = |(first, last)| causality::Run { incarnation, first: at(first), last: at(last) };
        let runs = [(1, 1), (3, 900), (1_000, 4_095)].map(run);
        let body = encoded(|out| forgotten::encode(&runs, out));
        [&forgotten::chunk_key(shard, incarnation, number)[..], &body].concat()
    };
    [0, 1, 77, u64::MAX / forgotten::DOTS].map(chunk).to_vec()
}

/// A storage key of 22 bytes, and the runs under it.
fn chunk(input: &[u8]) {
    let mut cut = Cut(input);
    let place = cut.bytes(forgotten::KEY_BYTES);
    let Ok((shard, incarnation, number)) = forgotten::decode_key(place) else {
        return assert!(place.len() < forgotten::KEY_BYTES);
    };
    assert_eq!(forgotten::chunk_key(shard, incarnation, number), place);
    if let Ok(runs) = forgotten::decode(incarnation, number, &Bytes::copy_from_slice(cut.0)) {
        let ends = runs.iter().flat_map(|run| [run.first, run.last]);
        assert!(!runs.is_empty() && ends.into_iter().all(|seq| seq / forgotten::DOTS == number));
        assert_eq!(encoded(|out| forgotten::encode(&runs, out)), cut.0);
    }
}

fn key_seeds() -> Vec<Vec<u8>> {
    let tables = [0, 239, 240, 256, 70_000, u32::MAX].map(TableId::new);
    let keys = samples::keys();
    let stored = tables.iter().zip(&keys).map(|(table, one)| key::object_key(*table, 300, one));
    let raw = stored.map(|bytes| [&[0][..], &bytes].concat());
    let parts = [&b"a"[..], b"", b"a\0", b"\xff", b"a\0\x01", b"z"].map(long_part);
    let compared = [[&[1][..], &parts.concat()].concat()];
    raw.chain(compared).collect()
}

/// Either a storage key, or two keys whose storage keys must sort as they do.
fn key(input: &[u8]) {
    let mut cut = Cut(input);
    if cut.byte() % 2 == 0 {
        let bytes = Bytes::copy_from_slice(cut.0);
        if let Ok((table, shard, one)) = key::decode_key(&bytes) {
            assert_eq!(key::object_key(table, shard, &one), bytes);
        }
        return;
    }
    let mut next = || {
        let (partition, sort) = (cut.long_part(), cut.long_part());
        Key::new(Bytes::copy_from_slice(partition), Bytes::copy_from_slice(sort)).ok()
    };
    let (Some(one), Some(other)) = (next(), next()) else { return };
    let table = TableId::new(cut.short().into());
    let stored = |one: &Key| key::object_key(table, 7, one);
    assert_eq!(stored(&one).cmp(&stored(&other)), one.cmp(&other), "{one:?} {other:?}");
    let prefix = key::prefix_of_partition(table, 7, one.partition());
    assert_eq!(stored(&other).starts_with(&prefix), one.partition() == other.partition());
    if let Some(end) = key::end_of(&prefix) {
        assert!(stored(&one) < end);
    }
    assert_eq!(key::decode_key(&stored(&one).into()), Ok((table, 7, one)));
}

const KINDS: [Kind; 4] = [Kind::Object, Kind::Clock, Kind::Acceptor, Kind::Meta];

fn record_seeds() -> Vec<Vec<u8>> {
    let body =
        |mode: u8, kind: u8, body: &[u8]| [&[mode, kind, 1, b'k', 3, 0x40][..], body].concat();
    let object = samples::objects().iter().map(object_of).collect::<Vec<_>>();
    let sealed = record::seal(Kind::Object, b"k", |out| out.extend(b"body"));
    let whole = [&[0, 0, 1, b'k', 0, 0][..], &sealed].concat();
    let objects = object.iter().flat_map(|object| [body(1, 0, object), body(2, 0, object)]);
    objects.chain([whole]).collect()
}

/// The envelope: mode, kind, key, where to damage it and how, then the record or its body.
fn record(input: &[u8]) {
    let mut cut = Cut(input);
    let (mode, kind) = (cut.byte(), KINDS[usize::from(cut.byte()) % KINDS.len()]);
    let (key, place, mask) = (cut.part(), cut.byte(), cut.byte());
    let given = cut.0;
    if mode % 3 == 0 {
        if let Ok(body) = record::open(kind, key, &Bytes::copy_from_slice(given)) {
            assert_eq!(record::seal(kind, key, |out| out.extend(&body)), given);
        }
        return;
    }
    let sealed = record::seal(kind, key, |out| out.extend(given));
    if mode % 3 == 1 {
        let body = record::open(kind, key, &sealed.into()).expect("it was just sealed");
        assert_eq!(body, given);
        return;
    }
    let mut damaged = sealed.clone();
    let at = usize::from(place) * 31 % damaged.len();
    damaged[at] ^= mask;
    let refused = |bytes: Vec<u8>| record::open(kind, key, &bytes.into()).is_err();
    assert!(mask == 0 || refused(damaged), "a damaged record was accepted");
    assert!(refused(sealed[..at].to_vec()), "a beginning of a record was accepted");
}

fn secret() -> TokenKey {
    TokenKey::derive(&[7; 32])
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn token_seeds() -> Vec<Vec<u8>> {
    let (ks, t) = (name("ks"), name("t"));
    let key = samples::first_key();
    let place = token::Place { keyspace: &ks, table: &t, key: &key };
    let given = |set: &DotSet| [&[0][..], token::seal(&secret(), &place, set).as_bytes()].concat();
    let edited = |set: &DotSet| [&[1, 5, 1][..], &dots_of(set)].concat();
    samples::dot_sets().iter().take(12).flat_map(|set| [given(set), edited(set)]).collect()
}

/// Either the text of a token, or a set whose token is edited.
fn token(input: &[u8]) {
    let (ks, t) = (name("ks"), name("t"));
    let key = samples::first_key();
    let place = token::Place { keyspace: &ks, table: &t, key: &key };
    let mut cut = Cut(input);
    let opens = |text: &str| token::open(&secret(), &place, text).ok();
    if cut.byte() % 2 == 0 {
        let Ok(text) = std::str::from_utf8(cut.0) else { return };
        if let Some(set) = opens(text) {
            assert_eq!(token::seal(&secret(), &place, &set), text, "nobody sealed this");
        }
        return;
    }
    let (at, mask) = (cut.byte(), cut.byte());
    let Ok(set) = dots::decode(&Bytes::copy_from_slice(cut.0)) else { return };
    let text = token::seal(&secret(), &place, &set);
    if text.len() <= token::TEXT_BYTES_MAX {
        assert_eq!(opens(&text), Some(set));
    }
    assert!(edited(&text, at, mask).is_none_or(|text| opens(&text).is_none()));
}

/// The text with one byte behind it changed, if that changes anything.
fn edited(text: &str, at: u8, mask: u8) -> Option<String> {
    let mut bytes = URL_SAFE_NO_PAD.decode(text).expect("base64");
    let at = usize::from(at) * 31 % bytes.len();
    bytes[at] ^= mask;
    (mask != 0).then(|| URL_SAFE_NO_PAD.encode(bytes))
}

fn ranges(cut: &mut Cut<'_>) -> Option<Range> {
    let (kind, shard) = (cut.byte(), cut.short() % model::SHARDS_MAX);
    let key =
        Key::new(Bytes::copy_from_slice(cut.long_part()), Bytes::copy_from_slice(cut.long_part()));
    Some(match kind % 4 {
        0 => Range::Table { shard, after: None },
        1 => Range::Table { shard, after: Some(key.ok()?) },
        2 => Range::Partition { partition: key.ok()?.partition().clone(), after: None },
        _ => {
            let key = key.ok()?;
            Range::Partition { partition: key.partition().clone(), after: Some(key.sort().clone()) }
        }
    })
}

fn cursor_seeds() -> Vec<Vec<u8>> {
    let (ks, t) = (name("ks"), name("t"));
    let place = cursor::Place { keyspace: &ks, table: &t };
    let mut seeds = Vec::new();
    for kind in 0..4 {
        let range = [&[kind, 5, 0][..], &long_part(b"part"), &long_part(b"sort")].concat();
        let sealed = ranges(&mut Cut(&range)).map(|range| cursor::seal(&secret(), &place, &range));
        seeds.push([&[0][..], sealed.unwrap_or_default().as_bytes()].concat());
        seeds.push([&[1, 9, 2][..], &range].concat());
    }
    seeds
}

fn feed_seeds() -> Vec<Vec<u8>> {
    let (ks, t) = (name("ks"), name("t"));
    let place = cursor::Place { keyspace: &ks, table: &t };
    let life = 7_u64.to_le_bytes();
    let followed = [&[1][..], &life, &[2, 0, 1, 0, 1, 0, 4, 3, 0, 1, 2, 1, b'k', 0]].concat();
    let positions = [vec![0, 0, 0], vec![0, 0, 1, 0], followed];
    let mut seeds = Vec::new();
    for position in positions {
        let read = feed::decode(&Bytes::from(position.clone())).ok();
        let sealed = read.and_then(|position| feed::seal(&secret(), &place, &position));
        seeds.push([&[0][..], sealed.unwrap_or_default().as_bytes()].concat());
        seeds.push([&[1, 9, 2][..], &position].concat());
    }
    seeds
}

/// Either the text of a watcher's cursor, or a position whose cursor is edited.
fn feed_cursor(input: &[u8]) {
    let (ks, t) = (name("ks"), name("t"));
    let place = cursor::Place { keyspace: &ks, table: &t };
    let mut cut = Cut(input);
    let opens = |text: &str| feed::open(&secret(), &place, text).ok();
    if cut.byte() % 2 == 0 {
        let Ok(text) = std::str::from_utf8(cut.0) else { return };
        if let Some(position) = opens(text) {
            let sealed = feed::seal(&secret(), &place, &position);
            assert_eq!(sealed.as_deref(), Some(text), "nobody sealed this");
        }
        return;
    }
    let (at, mask) = (cut.byte(), cut.byte());
    let bytes = Bytes::copy_from_slice(cut.0);
    let Ok(position) = feed::decode(&bytes) else { return };
    let mut again = Vec::new();
    feed::encode(&position, &mut again);
    assert_eq!(again, bytes, "a position has one encoding");
    let Some(text) = feed::seal(&secret(), &place, &position) else { return };
    assert_eq!(opens(&text), Some(position));
    assert!(edited(&text, at, mask).is_none_or(|text| opens(&text).is_none()));
}

/// Either the text of a cursor, or a range whose cursor is edited.
fn cursor(input: &[u8]) {
    let (ks, t) = (name("ks"), name("t"));
    let place = cursor::Place { keyspace: &ks, table: &t };
    let mut cut = Cut(input);
    let opens = |text: &str| cursor::open(&secret(), &place, text).ok();
    if cut.byte() % 2 == 0 {
        let Ok(text) = std::str::from_utf8(cut.0) else { return };
        if let Some(range) = opens(text) {
            assert_eq!(cursor::seal(&secret(), &place, &range), text, "nobody sealed this");
        }
        return;
    }
    let (at, mask) = (cut.byte(), cut.byte());
    let Some(range) = ranges(&mut cut) else { return };
    let text = cursor::seal(&secret(), &place, &range);
    assert_eq!(opens(&text), Some(range));
    assert!(edited(&text, at, mask).is_none_or(|text| opens(&text).is_none()));
}
