//! What holds for every message, and what becomes of those that are not understood.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod arbitrary;

use std::collections::BTreeSet;
use std::time::Duration;

use arbitrary::messages;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use causality::{Dot, DotSet, Incarnation};
use model::{
    Failure, Key, Kind, Mutation, Name, Object, Put, Refusal, Reply, Request, Spread, TableId,
    Value, WriteOptions,
};
use node::{Cause, Forward, Forwarded, Merge, Message, RequestId};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use wire::{Frames, WireError, decode, decode_message, encode, encode_message};

fn body(message: &Message) -> Bytes {
    let mut out = BytesMut::new();
    encode_message(message, &mut out);
    out.freeze()
}

/// A number for each kind. A kind that is added fails to compile here, and then to be seen.
fn kind(message: &Message) -> u8 {
    match message {
        Message::Merge(_) => 0,
        Message::Merged(_) => 1,
        Message::Fetch(_) => 2,
        Message::Fetched(_) => 3,
        Message::Scan(_) => 4,
        Message::Scanned(_) => 5,
        Message::Forward(_) => 6,
        Message::Forwarded(_) => 7,
        Message::Probe { .. } => 8,
        Message::Probed { .. } => 9,
        Message::Prepare { .. } => 10,
        Message::Promised { .. } => 11,
        Message::Accept { .. } => 12,
        Message::Accepted { .. } => 13,
        Message::Rejected { .. } => 14,
        Message::Learn { .. } => 15,
        Message::Gossip { .. } => 16,
        Message::Clocks(_) => 17,
        Message::Lack(_) => 18,
        Message::Sent(_) => 19,
        Message::Holding { .. } => 20,
        Message::Take { .. } => 21,
        Message::Compare(_) => 22,
        Message::Compared(_) => 23,
        Message::Bring(_) => 24,
        Message::Vouch(_) => 25,
        Message::Vouched(_) => 26,
        Message::Examine(_) => 27,
        Message::Examined(_) => 28,
        Message::Follow(_) => 29,
        Message::Followed(_) => 30,
        Message::Doubt(_) => 31,
        Message::Doubted(_) => 32,
        Message::Recognise(_) => 33,
        Message::Recognised(_) => 34,
        Message::Spared(_) => 35,
        Message::Alike(_) => 36,
        Message::Forgot(_) => 37,
    }
}

#[test]
fn messages_of_every_kind_arrive_as_they_were_sent() {
    let mut runner = TestRunner::deterministic();
    let mut seen = BTreeSet::new();
    let mut buffer = BytesMut::new();
    let sent: Vec<Message> =
        (0..4000).map(|_| messages().new_tree(&mut runner).unwrap().current()).collect();
    for message in &sent {
        seen.insert(kind(message));
        encode(message, &mut buffer).unwrap();
    }
    for message in &sent {
        assert_eq!(decode(&mut buffer), Ok(Some(message.clone())));
    }
    assert_eq!(decode(&mut buffer), Ok(None));
    assert_eq!(seen, (0..38).collect());
}

proptest! {
    #[test]
    fn a_message_that_ends_early_or_late_is_refused(message in messages()) {
        let body = body(&message);
        prop_assert_eq!(decode_message(body.clone()), Ok(Some(message)));
        for cut in 0..body.len() {
            prop_assert!(decode_message(body.slice(..cut)).is_err(), "cut at {}", cut);
        }
        let longer = [&body, &[0][..]].concat();
        prop_assert!(decode_message(longer.into()).is_err());
    }

    #[test]
    fn damage_that_passes_the_checksum_is_survived(
        message in messages(),
        bits in proptest::collection::vec(any::<prop::sample::Index>(), 1..4),
    ) {
        let mut body = body(&message).to_vec();
        for bit in bits {
            let bit = bit.index(body.len() * 8);
            body[bit / 8] ^= 1 << (bit % 8);
        }
        let _ = decode_message(body.into());
    }

    #[test]
    fn garbage_is_survived(garbage in arbitrary::parts::bytes(0..200)) {
        let _ = decode_message(garbage.clone());
        let _ = decode(&mut BytesMut::from(&garbage[..]));
    }
}

fn merge() -> Merge {
    let value = Value { content_type: Bytes::from("x/y"), body: Bytes::from(vec![7; 256]) };
    let key = Key::new(Bytes::from("partition"), Bytes::from("sort")).unwrap();
    let address = model::Address { table: TableId::new(2), key };
    let object = Object::written(Dot::new(Incarnation::new(1), 1), DotSet::new(), value);
    let (request, cause) = (RequestId(3), Cause::Write);
    Merge { request, address, object, sync: true, cause, stands_for: None }
}

/// A field of a protobuf: its tag, and how its content is written.
fn field(tag: u8, wire_type: u8, content: &[u8]) -> Vec<u8> {
    [&[tag << 3 | wire_type], content].concat()
}

fn sized(content: &[u8]) -> Vec<u8> {
    [&[content.len() as u8][..], content].concat()
}

fn framed(body: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_u32_le(body.len() as u32);
    out.put_u64_le(xxhash_rust::xxh3::xxh3_64_with_seed(body, body.len() as u64));
    out.put_slice(body);
    out
}

#[test]
fn a_kind_of_message_that_is_not_known_is_skipped_and_the_next_is_read() {
    let later = [sized(&field(15, 0, &[1])), b"whatever follows".to_vec()].concat();
    // Tag 15 is taken; a field with it that is a number is no message at all.
    assert!(decode_message(later.into()).is_err());
    let header = [&[0x98, 0x06][..], &[1]].concat();
    let later = [sized(&header), b"whatever follows".to_vec()].concat();
    assert_eq!(decode_message(later.clone().into()), Ok(None));
    let mut buffer = framed(&later);
    encode(&Message::Merge(merge()), &mut buffer).unwrap();
    assert_eq!(decode(&mut buffer), Ok(Some(Message::Merge(merge()))));
}

#[test]
fn a_number_that_is_not_known_skips_the_message_and_a_missing_one_is_refused() {
    let fetch = |want: &[u8]| {
        let address = sized(&field(2, 2, &sized(b"key")));
        let fetch = [field(2, 2, &address), want.to_vec()].concat();
        decode_message(sized(&field(3, 2, &sized(&fetch))).into())
    };
    assert!(matches!(fetch(&field(3, 0, &[1])), Ok(Some(Message::Fetch(_)))));
    assert_eq!(fetch(&field(3, 0, &[9])), Ok(None));
    assert!(matches!(fetch(&[]), Err(WireError::Malformed(_))));
}

#[test]
fn a_catalog_of_a_later_version_is_skipped_and_a_damaged_one_is_refused() {
    let learn = |catalog: &[u8]| {
        let learn = field(1, 2, &sized(catalog));
        let header = [&[0x82, 0x01][..], &sized(&learn)].concat();
        decode_message(sized(&header).into())
    };
    assert!(matches!(
        learn(&[codec::catalog::VERSION, 0, 0, 0, 0, 0]),
        Ok(Some(Message::Learn { .. }))
    ));
    assert_eq!(learn(&[codec::catalog::VERSION + 1, 0, 0, 0, 0, 0]), Ok(None));
    assert!(learn(&[codec::catalog::VERSION, 0, 0, 0]).is_err());
}

#[test]
fn a_refusal_that_is_not_known_arrives_as_its_text() {
    let text = b"the moon is full";
    let refused = [field(1, 0, &[99]), field(4, 2, &sized(text))].concat();
    let failure = field(1, 2, &sized(&refused));
    let reply = field(7, 2, &sized(&failure));
    let forwarded = field(2, 2, &sized(&reply));
    let decoded = decode_message(sized(&field(8, 2, &sized(&forwarded))).into());
    let reply = Reply::Failed(Failure::Refused(Refusal::Contract("the moon is full".into())));
    let request = RequestId(0);
    assert_eq!(decoded, Ok(Some(Message::Forwarded(Forwarded { request, reply }))));
}

#[test]
fn a_write_without_a_change_is_skipped_and_never_taken_for_a_delete() {
    let forward = field(
        2,
        2,
        &sized(&field(
            1,
            2,
            &sized(&{
                let place = [field(1, 2, &sized(b"ks")), field(2, 2, &sized(b"t"))].concat();
                let key = field(1, 2, &sized(b"key"));
                [field(1, 2, &sized(&place)), field(2, 2, &sized(&key))].concat()
            }),
        )),
    );
    let body = sized(&field(7, 2, &sized(&forward)));
    assert_eq!(decode_message(body.into()), Ok(None));
}

/// The content of a field that is alone, and shorter than 128 bytes.
fn alone(number: u8, message: &[u8]) -> &[u8] {
    let (head, content) = message.split_at(2);
    assert_eq!(head, [number << 3 | 2, u8::try_from(content.len()).unwrap()]);
    content
}

#[test]
fn who_knows_no_minima_does_not_take_a_request_for_one_without() {
    let put = |spread: Spread, min: Kind| {
        let name = |text: &str| Name::new(text).unwrap();
        let asked = Request::Put(Put {
            sessions: None,
            keyspace: name("ks"),
            table: name("t"),
            key: Key::new("k".into(), Bytes::new()).unwrap(),
            mutation: Mutation::Delete,
            context: DotSet::new(),
            token: None,
            repeated: false,
            marks: Default::default(),
            options: WriteOptions { spread, min, ..WriteOptions::default() },
            timeout: Duration::from_secs(1),
        });
        body(&Message::Forward(Forward { request: RequestId(0), asked }))
    };
    // In the first version, a request is a put if it has field 1.
    let field_of = |body: &[u8]| alone(2, alone(7, &body[1..]))[0] >> 3;
    assert_eq!(field_of(&put(Spread::default(), Kind::Any)), 1);
    assert_eq!(field_of(&put(Spread { nodes: 0, zones: 2 }, Kind::Any)), 7);
    assert_eq!(field_of(&put(Spread::default(), Kind::Strict)), 7);
}

#[test]
fn values_are_not_copied_on_the_way_in() {
    let mut buffer = BytesMut::new();
    encode(&Message::Merge(merge()), &mut buffer).unwrap();
    let received = buffer.as_ptr_range();
    let Ok(Some(Message::Merge(merge))) = decode(&mut buffer) else { panic!("a merge was sent") };
    let value = merge.object.values().values().next().unwrap();
    for part in [&value.body, &value.content_type, merge.address.key.partition()] {
        assert!(received.contains(&part.as_ptr()));
    }
}

#[test]
fn a_merge_costs_little_beside_its_value() {
    let overhead = body(&Message::Merge(merge())).len() - 256 - "partitionsort".len();
    assert!(overhead <= 50, "{overhead} bytes");
}

#[test]
fn a_message_above_the_cap_is_not_sent_and_leaves_nothing_behind() {
    let mut buffer = BytesMut::new();
    let refused = Frames::new(100).encode(&Message::Merge(merge()), &mut buffer);
    assert!(matches!(refused, Err(WireError::TooLarge { max: 100, .. })), "{refused:?}");
    assert!(!buffer.has_remaining());
}

/// Bytes that nodes of other versions send. See the golden tests of `codec`.
#[test]
fn the_first_release_is_still_understood() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/merge.hex");
    let mut sent = BytesMut::new();
    encode(&Message::Merge(merge()), &mut sent).unwrap();
    let lines: String = sent
        .chunks(16)
        .map(|line| {
            let digits: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            digits.join(" ") + "\n"
        })
        .collect();
    if std::env::var_os("GOLDEN_WRITE").is_some() && !std::path::Path::new(path).exists() {
        std::fs::write(path, &lines).unwrap();
    }
    assert_eq!(lines, std::fs::read_to_string(path).unwrap());
}
