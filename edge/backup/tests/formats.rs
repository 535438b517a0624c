//! Bytes of backups that were written once and must be readable for ever, and bytes that are none.
//!
//! `GOLDEN_WRITE=1 cargo test -p backup` writes the files that do not exist.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::path::{Path, PathBuf};

use backup::Damaged;
use backup::chunk::{self, Name};
use backup::cut::{Chunk, Cutter};
use backup::manifest::{Manifest, Part};
use backup::stream::{self, Counts, Frame, Frames, Head};
use bytes::Bytes;
use catalog::Catalog;
use model::{ClusterId, Declare, DiskId, NodeId};
use storage::{Origin, Record, Section};

fn origin() -> Origin {
    let mut catalog = Catalog::default();
    let name = |name| model::Name::new(name).unwrap();
    let replicas = [(name("here"), 3)].into();
    let keyspace = Declare::Keyspace { name: name("demo"), shards: 8, replicas, sloppy: false };
    catalog.declare(&keyspace).unwrap();
    let (cluster, node) = (ClusterId::new(7), NodeId::new(1));
    Origin { cluster, node, layout: 0xa11, disk: DiskId::new(0xd15c << 112), catalog }
}

fn head() -> Head {
    Head::new(&origin(), 1_795_339_800_000, "0.1.0")
}

fn record(section: Section, key: &'static str, value: &'static str) -> Record {
    Record { section, key: key.into(), value: value.into() }
}

fn records() -> Vec<Record> {
    vec![
        record(Section::Objects, "milk", "white"),
        record(Section::Objects, "rum", ""),
        record(Section::Clocks, "shard", "dots"),
    ]
}

fn chunks() -> Vec<Chunk> {
    let mut cutter = Cutter::default();
    let mut chunks: Vec<Chunk> = records().iter().flat_map(|r| cutter.add(r)).collect();
    chunks.extend(cutter.finish());
    chunks
}

fn counts() -> Counts {
    Counts { objects: 2, clocks: 1, ..Counts::default() }
}

fn manifest() -> Manifest {
    Manifest::new(head(), counts(), 0, chunks().iter().map(Part::of).collect())
}

fn sent() -> Vec<u8> {
    [stream::begin(&head()), stream::records(&records()), stream::end(&counts())].concat()
}

/// The kept bytes, which those of today must be.
#[track_caller]
fn golden(name: &str, bytes: &[u8]) -> Vec<u8> {
    let path = path_of(name);
    if std::env::var_os("GOLDEN_WRITE").is_some() && !path.exists() {
        std::fs::write(&path, bytes).unwrap();
    }
    let kept = std::fs::read(&path).unwrap();
    assert!(bytes == kept, "the encoding of {name} has changed");
    kept
}

fn path_of(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// All frames of a stream whose bytes come in pieces of this length.
fn taken_apart(sent: &[u8], piece: usize) -> Result<Vec<Frame>, Damaged> {
    let (mut frames, mut found) = (Frames::default(), Vec::new());
    for bytes in sent.chunks(piece) {
        frames.push(bytes);
        while let Some(frame) = frames.next_frame()? {
            found.push(frame);
        }
    }
    Ok(found)
}

#[test]
fn a_chunk_is_readable_for_ever() {
    let [objects, _] = &chunks()[..] else { panic!("two sections") };
    let kept = Bytes::from(golden("chunk-1", &objects.bytes));
    assert_eq!(chunk::decode(Name::of(&kept), &kept).unwrap(), records()[..2]);
}

#[test]
fn a_manifest_is_readable_for_ever() {
    let kept = golden("manifest-1-catalog-5", manifest().to_text().as_bytes());
    let read = Manifest::parse(std::str::from_utf8(&kept).unwrap()).unwrap();
    assert_eq!(
        (read.id.as_str(), read.taken.as_str()),
        ("n1-20261122T093000.000Z-d15c", "2026-11-22T09:30:00Z")
    );
    assert_eq!(read, manifest());
    assert_eq!(read.of.origin().unwrap(), origin());
    for (part, chunk) in read.chunks.iter().zip(chunks()) {
        assert_eq!(part.name().unwrap(), chunk.name);
    }
    // The catalog in it was of the version before.
    let before = std::fs::read_to_string(path_of("manifest-1")).unwrap();
    let before = Manifest::parse(&before).unwrap();
    assert_eq!(before.of.origin().unwrap(), origin());
    assert_eq!(Manifest { of: read.of.clone(), ..before }, read);
}

#[test]
fn a_stream_is_readable_for_ever_in_whatever_pieces_it_comes() {
    let kept = golden("stream-1-catalog-5", &sent());
    let rest = [
        Frame::Records(records()[..2].to_vec()),
        Frame::Records(records()[2..].to_vec()),
        Frame::End(counts()),
    ];
    let before = std::fs::read(path_of("stream-1")).unwrap();
    for (sent, piece) in [(&kept, 1), (&kept, 7), (&kept, kept.len()), (&before, 7)] {
        let found = taken_apart(sent, piece).unwrap();
        let [Frame::Head(told), found @ ..] = &found[..] else { panic!("{found:?}") };
        assert_eq!(told.origin().unwrap(), origin(), "pieces of {piece}");
        assert_eq!(found, rest, "pieces of {piece}");
    }
    let failed = [stream::begin(&head()), stream::failed("rot")].concat();
    let [_, Frame::Failed(why)] = &taken_apart(&failed, 9).unwrap()[..] else { panic!("two") };
    assert_eq!(why, "rot");
}

#[test]
fn every_flipped_bit_is_found() {
    let [objects, _] = &chunks()[..] else { panic!("two sections") };
    for (at, bit) in (0..objects.bytes.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut bytes = objects.bytes.to_vec();
        bytes[at] ^= 1 << bit;
        assert!(chunk::decode(objects.name, &bytes.into()).is_err(), "byte {at}");
    }
    let text = manifest().to_text();
    for at in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 1;
        assert!(Manifest::parse(&String::from_utf8_lossy(&bytes)).is_err(), "byte {at}");
    }
    let (sent, whole) = (sent(), taken_apart(&sent(), 100).unwrap());
    for at in 0..sent.len() {
        let mut bytes = sent.clone();
        bytes[at] ^= 1;
        // A length that grew waits for more, and the stream has no end then.
        let end = taken_apart(&bytes, 100).ok().and_then(|frames| frames.last().cloned());
        assert_ne!(end.as_ref(), whole.last(), "byte {at}");
    }
}

#[test]
fn what_a_later_program_wrote_is_said_to_be_newer() {
    let text = manifest().to_text().replacen("backup 1", "backup 2", 1);
    assert_eq!(Manifest::parse(&text), Err(Damaged::Newer { found: 2, supported: 1 }));
    let [objects, _] = &chunks()[..] else { panic!("two sections") };
    let mut bytes = objects.bytes.to_vec();
    bytes[4] = 9;
    let later = Bytes::from(bytes);
    let decoded = chunk::decode(Name::of(&later), &later);
    assert_eq!(decoded, Err(Damaged::Newer { found: 9, supported: 1 }));
    let mut bytes = sent();
    bytes[7] = b'2';
    assert_eq!(taken_apart(&bytes, 100), Err(Damaged::Newer { found: 2, supported: 1 }));
}
