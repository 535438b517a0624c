//! What holds for every format: it reads back, it has one encoding, and damage is refused.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod arbitrary;

use bytes::Bytes;
use causality::Incarnation;
use codec::cursor::CursorError;
use codec::record::{self, Kind, RecordError};
use codec::token::{self, ContextError, Place, TokenKey};
use codec::{Malformed, catalog, clock, cursor, dots, feed, forgotten, object};
use model::{Key, Name};
use proptest::prelude::*;

fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut out = Vec::new();
    encode(&mut out);
    out.into()
}

/// Checks that all of `bytes` is `value`, and that no beginning of it is anything.
fn assert_reads_back<T: PartialEq + std::fmt::Debug>(
    value: &T,
    bytes: &Bytes,
    decode: impl Fn(&Bytes) -> Result<T, Malformed>,
) {
    assert_eq!(decode(bytes).as_ref(), Ok(value));
    for cut in 0..bytes.len() {
        assert_eq!(decode(&bytes.slice(..cut)), Err(Malformed::Truncated), "cut at {cut}");
    }
    let longer = [bytes, &[0][..]].concat().into();
    assert_eq!(decode(&longer), Err(Malformed::Trailing));
}

proptest! {
    #[test]
    fn dot_sets_read_back(set in arbitrary::dot_sets()) {
        assert_reads_back(&set, &encoded(|out| dots::encode(&set, out)), dots::decode);
    }

    #[test]
    fn objects_read_back(object in arbitrary::objects()) {
        let bytes = encoded(|out| object::encode(&object, out));
        prop_assert!(bytes.len() <= object::encoded_len_max(&object));
        assert_reads_back(&object, &bytes, object::decode);
    }

    #[test]
    fn objects_with_marks_read_back(object in arbitrary::marked_objects()) {
        let bytes = encoded(|out| object::encode_marked(&object, out));
        prop_assert!(bytes.len() <= object::encoded_len_max(&object));
        if object.marks().is_empty() {
            prop_assert!(object::decode_marked(&bytes).is_err(), "there is another way to say it");
        } else {
            assert_reads_back(&object, &bytes, object::decode_marked);
        }
        let mut record = Vec::new();
        record::seal_object(b"key", &object, &mut record);
        let record = Bytes::from(record);
        prop_assert_eq!(record::open_object(b"key", &record), Ok(object));
        prop_assert!(record::open_object(b"kex", &record).is_err());
    }

    #[test]
    fn contexts_with_marks_open_at_their_own_place(
        (context, marks) in arbitrary::contexts(),
        (table, read) in (arbitrary::names(), arbitrary::keys()),
    ) {
        let key = TokenKey::derive(&[7; 32]);
        let place = Place { keyspace: &table, table: &table, key: &read };
        let token = token::seal_marked(&key, &place, &context, &marks);
        if marks.is_empty() {
            prop_assert_eq!(&token, &token::seal(&key, &place, &context));
        }
        prop_assert_eq!(token::open_marked(&key, &place, &token), Ok((context, marks)));
    }

    #[test]
    fn clocks_read_back(set in arbitrary::dot_sets()) {
        for runs in set.runs().chunk_by(|a, b| a.incarnation == b.incarnation) {
            let bytes = encoded(|out| clock::encode(runs, out));
            let decode = |bytes: &Bytes| clock::decode(runs[0].incarnation, bytes);
            let decoded = decode(&bytes).unwrap();
            prop_assert_eq!(decoded.runs(), runs);
            assert_reads_back(&decoded, &bytes, decode);
        }
    }

    #[test]
    fn chunks_of_forgotten_dots_read_back(set in arbitrary::dot_sets()) {
        let of = |run: &causality::Run| (run.incarnation, run.first / forgotten::DOTS);
        for runs in set.runs().chunk_by(|a, b| of(a) == of(b)) {
            let (incarnation, number) = of(&runs[0]);
            let bytes = encoded(|out| forgotten::encode(runs, out));
            let decode = |bytes: &Bytes| forgotten::decode(incarnation, number, bytes);
            if runs.iter().all(|run| run.last / forgotten::DOTS == number) {
                assert_reads_back(&runs.to_vec(), &bytes, decode);
            } else {
                prop_assert!(decode(&bytes).is_err(), "it goes over the end of its chunk");
            }
        }
    }

    #[test]
    fn contracts_read_back(
        catalog in arbitrary::catalogs(),
        acceptor in arbitrary::acceptors(),
        keyspace in arbitrary::keyspaces(),
        table in arbitrary::tables(),
    ) {
        let bytes = encoded(|out| catalog::encode(&catalog, out));
        assert_reads_back(&catalog, &bytes, catalog::decode);
        let bytes = encoded(|out| catalog::encode_acceptor(&acceptor, out));
        assert_reads_back(&acceptor, &bytes, catalog::decode_acceptor);
        let bytes = encoded(|out| catalog::encode_keyspace(&keyspace, out));
        assert_reads_back(&keyspace, &bytes, catalog::decode_keyspace);
        let bytes = encoded(|out| catalog::encode_table(&table, out));
        assert_reads_back(&table, &bytes, catalog::decode_table);
    }

    #[test]
    fn cursors_open_at_their_own_table_only(
        range in arbitrary::ranges(),
        here in (arbitrary::names(), arbitrary::names()),
        there in (arbitrary::names(), arbitrary::names()),
    ) {
        let key = TokenKey::derive(&[7; 32]);
        let place = cursor::Place { keyspace: &here.0, table: &here.1 };
        let text = cursor::seal(&key, &place, &range);
        prop_assert_eq!(cursor::open(&key, &place, &text), Ok(range));
        prop_assume!(here != there);
        let other = cursor::Place { keyspace: &there.0, table: &there.1 };
        prop_assert_eq!(cursor::open(&key, &other, &text), Err(CursorError::Foreign));
    }

    #[test]
    fn cursors_of_feeds_open_at_their_own_table_only(
        position in arbitrary::positions(),
        here in (arbitrary::names(), arbitrary::names()),
        there in (arbitrary::names(), arbitrary::names()),
    ) {
        let key = TokenKey::derive(&[7; 32]);
        let place = cursor::Place { keyspace: &here.0, table: &here.1 };
        let text = feed::seal(&key, &place, &position).unwrap();
        prop_assert_eq!(feed::open(&key, &place, &text), Ok(position));
        prop_assert!(cursor::open(&key, &place, &text).is_err(), "it is none of a list");
        prop_assume!(here != there);
        let other = cursor::Place { keyspace: &there.0, table: &there.1 };
        prop_assert_eq!(feed::open(&key, &other, &text), Err(CursorError::Foreign));
    }

    #[test]
    fn positions_have_one_encoding(position in arbitrary::positions(), bit: prop::sample::Index) {
        let mut bytes = encoded(|out| feed::encode(&position, out)).to_vec();
        prop_assert_eq!(feed::decode(&bytes.clone().into()), Ok(position));
        let bit = bit.index(8 * bytes.len());
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(other) = feed::decode(&bytes.clone().into()) {
            prop_assert_eq!(encoded(|out| feed::encode(&other, out)).to_vec(), bytes);
        }
    }

    /// One value, one encoding: whatever decodes is what encoding it again gives.
    #[test]
    fn objects_have_one_encoding(object in arbitrary::objects(), bit: prop::sample::Index) {
        let mut bytes = encoded(|out| object::encode(&object, out)).to_vec();
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let bytes = Bytes::from(bytes);
        if let Ok(other) = object::decode(&bytes) {
            prop_assert_eq!(encoded(|out| object::encode(&other, out)), bytes);
        }
    }

    #[test]
    fn catalogs_have_one_encoding(catalog in arbitrary::catalogs(), bit: prop::sample::Index) {
        let mut bytes = encoded(|out| catalog::encode(&catalog, out)).to_vec();
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let bytes = Bytes::from(bytes);
        // One of an earlier version is read, and written as one of this.
        if let Ok(other) = catalog::decode(&bytes)
            && bytes.first() == Some(&catalog::VERSION)
        {
            prop_assert_eq!(encoded(|out| catalog::encode(&other, out)), bytes);
        }
    }

    #[test]
    fn any_bytes_are_refused_or_the_encoding_of_what_they_mean(
        bytes in prop_oneof![
            arbitrary::bytes(0..64),
            proptest::collection::vec(0..4_u8, 0..64).prop_map(Bytes::from),
        ],
    ) {
        if let Ok(object) = object::decode(&bytes) {
            prop_assert_eq!(encoded(|out| object::encode(&object, out)), bytes.clone());
        }
        if let Ok(set) = dots::decode(&bytes) {
            prop_assert_eq!(encoded(|out| dots::encode(&set, out)), bytes.clone());
        }
        let _ = catalog::decode_acceptor(&bytes);
        let _ = clock::decode(Incarnation::new(1), &bytes);
        let _ = forgotten::decode(Incarnation::new(1), 0, &bytes);
        let _ = codec::sum::decode(&bytes);
        let name = Name::new("t").unwrap();
        let place = cursor::Place { keyspace: &name, table: &name };
        let text = String::from_utf8_lossy(&bytes);
        prop_assert!(cursor::open(&TokenKey::derive(&[7; 32]), &place, &text).is_err());
    }

    #[test]
    fn a_record_with_a_flipped_bit_or_another_key_is_corrupt(
        object in arbitrary::objects(),
        key in arbitrary::bytes(0..20),
        other in arbitrary::bytes(0..20),
        bit: prop::sample::Index,
    ) {
        let record = record::seal(Kind::Object, &key, |out| object::encode(&object, out));
        let opened = record::open(Kind::Object, &key, &record.clone().into());
        prop_assert_eq!(object::decode(&opened.unwrap()), Ok(object));
        let corrupt = |key: &[u8], record: Vec<u8>| {
            let opened = record::open(Kind::Object, key, &record.into());
            matches!(opened, Err(RecordError::Corrupt(_)))
        };
        prop_assert!(key == other || corrupt(&other, record.clone()));
        let bit = bit.index(record.len() * 8);
        let mut flipped = record;
        flipped[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(corrupt(&key, flipped));
    }

    #[test]
    fn tokens_open_at_their_own_place_only(
        context in arbitrary::dot_sets(),
        here in (arbitrary::names(), arbitrary::names(), arbitrary::keys()),
        there in (arbitrary::names(), arbitrary::names(), arbitrary::keys()),
    ) {
        let key = TokenKey::derive(&[7; 32]);
        let place = Place { keyspace: &here.0, table: &here.1, key: &here.2 };
        let token = token::seal(&key, &place, &context);
        prop_assert_eq!(token::open(&key, &place, &token), Ok(context));
        let other = Place { keyspace: &there.0, table: &there.1, key: &there.2 };
        prop_assume!(here != there);
        prop_assert_eq!(token::open(&key, &other, &token), Err(ContextError::Foreign));
    }
}

/// One token, with what is needed to open it.
struct Issued {
    key: TokenKey,
    table: Name,
    read: Key,
    token: String,
}

impl Issued {
    fn new() -> Self {
        let (key, table) = (TokenKey::derive(&[7; 32]), Name::new("t").unwrap());
        let read = Key::new(Bytes::from("partition"), Bytes::from("sort")).unwrap();
        let context = (1..4).map(|seq| causality::Dot::new(Incarnation::new(9), 2 * seq)).collect();
        let token =
            token::seal(&key, &Place { keyspace: &table, table: &table, key: &read }, &context);
        Self { key, table, read, token }
    }

    fn open(&self, token: &str) -> Result<causality::DotSet, ContextError> {
        self.open_at(&self.read, token)
    }

    fn open_at(&self, key: &Key, token: &str) -> Result<causality::DotSet, ContextError> {
        let place = Place { keyspace: &self.table, table: &self.table, key };
        token::open(&self.key, &place, token)
    }
}

#[test]
fn a_token_with_any_character_changed_is_refused() {
    let issued = Issued::new();
    for index in 0..issued.token.len() {
        for other in ['A', 'b', '_', '9'] {
            let mut changed: Vec<char> = issued.token.chars().collect();
            changed[index] = other;
            let changed: String = changed.into_iter().collect();
            assert!(changed == issued.token || issued.open(&changed).is_err(), "{index} {other}");
        }
    }
}

#[test]
fn a_token_that_was_cut_short_says_so() {
    let issued = Issued::new();
    assert!(issued.open(&issued.token).is_ok());
    for cut in (0..issued.token.len()).filter(|cut| cut % 4 != 1) {
        let opened = issued.open(&issued.token[..cut]);
        // A cut between bits of a byte leaves text that no encoder makes.
        let expected = [Err(ContextError::Truncated), Err(ContextError::NotText)];
        assert!(expected.contains(&opened), "{cut} characters: {opened:?}");
    }
}

#[test]
fn tokens_are_refused_for_the_reason_there_is() {
    use base64::Engine as _;
    let issued = Issued::new();
    let other_key = TokenKey::derive(&[8; 32]);
    let place = Place { keyspace: &issued.table, table: &issued.table, key: &issued.read };
    assert_eq!(token::open(&other_key, &place, &issued.token), Err(ContextError::Forged));
    assert_eq!(issued.open("not text!"), Err(ContextError::NotText));
    assert_eq!(issued.open(&"A".repeat(token::TEXT_BYTES_MAX + 1)), Err(ContextError::TooLong));
    let text = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    assert_eq!(issued.open(&text(&[3, 1, 2, 3])), Err(ContextError::Newer(3)));
    // Nobody upgrades over many versions at once: this is somebody's invention.
    assert_eq!(issued.open(&text(b"forged")), Err(ContextError::Forged));
    let key = |partition: &'static str, sort: &'static str| Key::new(partition.into(), sort.into());
    // The boundary between the parts of a key is part of what is bound.
    for key in [key("partitionsort", ""), key("partition", ""), key("partitions", "ort")] {
        assert_eq!(issued.open_at(&key.unwrap(), &issued.token), Err(ContextError::Foreign));
    }
}

#[test]
fn the_key_of_tokens_does_not_print() {
    let key = TokenKey::derive(&[7; 32]);
    assert_eq!(format!("{key:?}"), "TokenKey(..)");
}

#[test]
fn a_later_version_of_a_contract_is_said_to_be_later() {
    let later = Bytes::from(vec![catalog::VERSION + 1, 0, 0]);
    assert_eq!(catalog::decode(&later), Err(Malformed::Newer(catalog::VERSION + 1)));
}

#[test]
fn a_cursor_with_any_character_changed_is_refused() {
    let (key, name) = (TokenKey::derive(&[7; 32]), Name::new("t").unwrap());
    let place = cursor::Place { keyspace: &name, table: &name };
    let after = Some(Key::new("partition".into(), "sort".into()).unwrap());
    let text = cursor::seal(&key, &place, &model::Range::Table { shard: 300, after });
    for index in 0..text.len() {
        for other in ['A', 'b', '_', '9'] {
            let mut changed: Vec<char> = text.chars().collect();
            changed[index] = other;
            let changed: String = changed.into_iter().collect();
            let opened = cursor::open(&key, &place, &changed);
            assert!(changed == text || opened.is_err(), "{index} {other}");
        }
        assert!(cursor::open(&key, &place, &text[..index]).is_err(), "cut at {index}");
    }
    let other = TokenKey::derive(&[8; 32]);
    assert_eq!(cursor::open(&other, &place, &text), Err(CursorError::Foreign));
}

#[test]
fn cursors_of_feeds_are_refused_for_the_reason_there_is() {
    use base64::Engine as _;
    let text = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    let (key, name) = (TokenKey::derive(&[7; 32]), Name::new("t").unwrap());
    let place = cursor::Place { keyspace: &name, table: &name };
    let open = |text: &str| feed::open(&key, &place, text);
    let refused = Err(CursorError::Malformed);
    assert_eq!(open(""), refused);
    assert_eq!(open("not base64url!"), refused);
    assert_eq!(open(&text(&[1, 0, 0, 0])), refused, "no tag");
    assert_eq!(open(&text(&[2, 0])), Err(CursorError::Newer(2)));
    assert_eq!(open(&"A".repeat(feed::TEXT_BYTES_MAX + 1)), refused, "too long");
    let unsealed = [&[1, 0, 0, 0][..], &[0; 16]].concat();
    assert_eq!(open(&text(&unsealed)), Err(CursorError::Foreign));
    let sealed = feed::seal(&key, &place, &model::Position::beginning()).unwrap();
    let other = TokenKey::derive(&[8; 32]);
    assert_eq!(feed::open(&other, &place, &sealed), Err(CursorError::Foreign));
    for index in 0..sealed.len() {
        let mut changed = sealed.clone().into_bytes();
        changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(open(&changed).is_err(), "{index}");
        assert!(open(&sealed[..index]).is_err(), "cut at {index}");
    }
}

#[test]
fn cursors_are_refused_for_the_reason_there_is() {
    use base64::Engine as _;
    let text = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    let (key, name) = (TokenKey::derive(&[7; 32]), Name::new("t").unwrap());
    let place = cursor::Place { keyspace: &name, table: &name };
    let open = |text: &str| cursor::open(&key, &place, text);
    let refused = Err(CursorError::Malformed);
    assert_eq!(open(""), refused);
    assert_eq!(open(&text(&[1, 0])), refused, "no tag");
    assert_eq!(open(&text(&[0, 0, 1, b'a'])), refused, "a version that never was");
    assert_eq!(open(&text(&[2, 0])), Err(CursorError::Newer(2)));
    let unsealed = [&[1, 1, 0][..], &[0; 16]].concat();
    assert_eq!(open(&text(&unsealed)), Err(CursorError::Foreign));
    let longest = Key::new(vec![1; 8192].into(), vec![2; 8192].into()).unwrap();
    let range = model::Range::Table { shard: 4095, after: Some(longest) };
    assert_eq!(open(&cursor::seal(&key, &place, &range)), Ok(range));
}

#[test]
fn a_single_settled_value_costs_seventeen_bytes_beside_itself() {
    let dot = causality::Dot::new(Incarnation::new(u64::MAX), 100);
    let content_type = Bytes::from("application/octet-stream");
    let value = model::Value { content_type, body: Bytes::from(vec![1; 100]) };
    let object = model::Object::written(dot, causality::DotSet::new(), value);
    assert_eq!(encoded(|out| object::encode(&object, out)).len(), 100 + 17);
}

#[test]
fn the_body_of_a_value_is_not_copied() {
    let dot = causality::Dot::new(Incarnation::new(1), 1);
    let value = model::Value { content_type: Bytes::from("x/y"), body: Bytes::from(vec![1; 100]) };
    let object = model::Object::written(dot, causality::DotSet::new(), value);
    let bytes = encoded(|out| object::encode(&object, out));
    let decoded = object::decode(&bytes).unwrap();
    let body = &decoded.values()[&dot].body;
    assert!(bytes.as_ptr_range().contains(&body.as_ptr()));
}

#[test]
fn a_common_content_type_that_is_spelled_out_is_refused() {
    let object = |content_type: &[u8]| {
        let context = [&[1][..], &[7; 8], &[1, 0, 0]].concat();
        let spelled = [&[0, content_type.len() as u8][..], content_type].concat();
        let value = [&[1, 0, 0][..], &spelled, &[0]].concat();
        object::decode(&[context, value].concat().into())
    };
    assert!(object(b"image/png").is_ok());
    assert!(matches!(object(b"application/json"), Err(Malformed::Invalid(_))));
    assert!(matches!(object(b""), Err(Malformed::Invalid(_))));
}
