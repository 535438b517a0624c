//! How a node sends a checkpoint.
//!
//! ```text
//! stream  = "MGNSTRM1"  frame: head  frame: records ...  frame: end
//! frame   = kind (1)  length (4, LE)  payload  checksum (8, LE)
//! head    = 1   JSON: of whom, when, and the catalog
//! records = 2   section (1)  records, as in a chunk
//! end     = 3   JSON: how many there were of each section
//! failed  = 4   text: why there is no more
//! ```
//!
//! The checksum is that of kind, length and payload. A stream without its end is no checkpoint,
//! however it broke off: an answer over HTTP that has begun cannot say any more that it failed.

use std::collections::BTreeMap;

use bytes::{Buf as _, Bytes, BytesMut};
use model::{ClusterId, DiskId, NodeId};
use serde::{Deserialize, Serialize};
use storage::{Record, Section};
use xxhash_rust::xxh3::xxh3_64;

use crate::{Damaged, records};

/// What a stream begins with. Its last character is the version.
const MAGIC: &[u8; 8] = b"MGNSTRM1";

/// The version in it.
const VERSION: u32 = 1;

/// The bytes before a payload.
const HEAD_BYTES: usize = 5;

/// The bytes behind it.
const CHECK_BYTES: usize = 8;

/// The longest payload that is taken. A frame has one record at least, and an object is bounded
/// far below.
const PAYLOAD_BYTES_MAX: usize = 1 << 30;

const HEAD: u8 = 1;
const RECORDS: u8 = 2;
const END: u8 = 3;
const FAILED: u8 = 4;

/// Of what a checkpoint is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Head {
    /// The number of the cluster.
    pub cluster: u64,
    /// The number of the node.
    pub node: u16,
    /// The fingerprint of the list of nodes, in hexadecimal.
    pub layout: String,
    /// The disk, in hexadecimal.
    pub disk: String,
    /// When it was taken, in milliseconds since 1970, as the node's wall clock has it.
    pub taken_millis: u64,
    /// The version of the program that took it.
    pub program: String,
    /// The version of the catalog in force.
    pub catalog_version: u64,
    /// The catalog in force, as [`codec::catalog`] encodes it, in hexadecimal.
    pub catalog: String,
}

impl Head {
    /// What a checkpoint says of itself.
    pub fn new(origin: &storage::Origin, taken_millis: u64, program: &str) -> Self {
        let mut catalog = Vec::new();
        codec::catalog::encode(&origin.catalog, &mut catalog);
        Self {
            cluster: origin.cluster.number(),
            node: origin.node.number(),
            layout: format!("{:016x}", origin.layout),
            disk: origin.disk.to_string(),
            taken_millis,
            program: program.to_owned(),
            catalog_version: origin.catalog.version,
            catalog: catalog.iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }

    /// What it was said by.
    ///
    /// # Errors
    ///
    /// [`Damaged`] if a field cannot be read.
    pub fn origin(&self) -> Result<storage::Origin, Damaged> {
        let bad = |what: &str| Damaged::because(format!("its {what} cannot be read"));
        let catalog = from_hex(&self.catalog).ok_or_else(|| bad("catalog"))?;
        let catalog = codec::catalog::decode(&catalog.into());
        Ok(storage::Origin {
            cluster: ClusterId::new(self.cluster),
            node: NodeId::new(self.node),
            layout: u64::from_str_radix(&self.layout, 16).map_err(|_| bad("layout"))?,
            disk: DiskId::new(u128::from_str_radix(&self.disk, 16).map_err(|_| bad("disk"))?),
            catalog: catalog.map_err(|error| Damaged::because(format!("its catalog: {error}")))?,
        })
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    pairs.map(|pair| u8::from_str_radix(pair.filter(|pair| pair.len() == 2)?, 16).ok()).collect()
}

/// How many records there are.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Counts {
    /// What is held under keys, tombstones included.
    pub objects: u64,
    /// Clocks, by shard and incarnation, and chunks of what is forgotten of them.
    pub clocks: u64,
    /// What is kept for replicas that were away.
    pub hints: u64,
    /// That a replica lacks something.
    pub marks: u64,
}

impl Counts {
    /// Counts some more of a section.
    pub fn add(&mut self, section: Section, more: u64) {
        *match section {
            Section::Objects => &mut self.objects,
            Section::Clocks => &mut self.clocks,
            Section::Hints => &mut self.hints,
            Section::Marks => &mut self.marks,
        } += more;
    }

    /// How many there are in all.
    pub fn all(&self) -> u64 {
        let Self { objects, clocks, hints, marks } = self;
        objects + clocks + hints + marks
    }
}

/// The first bytes of a stream.
pub fn begin(head: &Head) -> Bytes {
    let mut out = MAGIC.to_vec();
    put(HEAD, &json(head), &mut out);
    out.into()
}

/// Some records, which may be of several sections.
pub fn records(some: &[Record]) -> Bytes {
    let mut by_section: BTreeMap<Section, Vec<u8>> = BTreeMap::new();
    for record in some {
        let section = record.section;
        let payload = by_section.entry(section).or_insert_with(|| vec![records::byte_of(section)]);
        records::put(record, payload);
    }
    let mut out = Vec::new();
    by_section.values().for_each(|payload| put(RECORDS, payload, &mut out));
    out.into()
}

/// The end of a stream that has everything.
pub fn end(counts: &Counts) -> Bytes {
    let mut out = Vec::new();
    put(END, &json(counts), &mut out);
    out.into()
}

/// The end of a stream that does not.
pub fn failed(why: &str) -> Bytes {
    let mut out = Vec::new();
    put(FAILED, why.as_bytes(), &mut out);
    out.into()
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain data")
}

fn put(kind: u8, payload: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let length = u32::try_from(payload.len()).expect("a frame is far below 4 GiB");
    out.push(kind);
    out.extend(length.to_le_bytes());
    out.extend(payload);
    let check = xxh3_64(out.get(start..).unwrap_or_default());
    out.extend(check.to_le_bytes());
}

/// What a stream says next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Frame {
    /// Of what it is. The first.
    Head(Head),
    /// Records, in the order of their keys.
    Records(Vec<Record>),
    /// That this is all. The last.
    End(Counts),
    /// That it is not, and why. The last.
    Failed(String),
}

/// Takes a stream apart, however its bytes come.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: BytesMut,
    has_begun: bool,
}

impl Frames {
    /// Takes in what has come.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next frame, or nothing if more bytes are needed.
    ///
    /// # Errors
    ///
    /// [`Damaged`]; nothing that follows means anything.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Damaged> {
        if !self.has_begun && !self.begin()? {
            return Ok(None);
        }
        let Some((&[kind, length @ ..], _)) = self.bytes.split_first_chunk::<HEAD_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(length) as usize;
        if PAYLOAD_BYTES_MAX < length {
            return Err(Damaged::because(format!("a frame of {length} bytes")));
        }
        if self.bytes.len() < HEAD_BYTES + length + CHECK_BYTES {
            return Ok(None);
        }
        let frame = self.bytes.split_to(HEAD_BYTES + length).freeze();
        if xxh3_64(&frame) != self.bytes.get_u64_le() {
            return Err(Damaged::because("a frame whose checksum does not fit"));
        }
        read(kind, frame.slice(HEAD_BYTES..)).map(Some)
    }

    /// Returns whether the first bytes are here, and those of a stream that can be read.
    fn begin(&mut self) -> Result<bool, Damaged> {
        let Some((magic, _)) = self.bytes.split_first_chunk::<8>() else { return Ok(false) };
        let (name, version) = magic.split_at(7);
        let (ours, _) = MAGIC.split_at(7);
        let version = version.first().and_then(|digit| char::from(*digit).to_digit(10));
        match version.filter(|_| name == ours) {
            Some(VERSION) => {}
            Some(found) => return Err(Damaged::Newer { found, supported: VERSION }),
            None => return Err(Damaged::because("it is no backup of a node")),
        }
        self.bytes.advance(MAGIC.len());
        self.has_begun = true;
        Ok(true)
    }
}

fn read(kind: u8, mut payload: Bytes) -> Result<Frame, Damaged> {
    let bad = |error: serde_json::Error| Damaged::because(error.to_string());
    match kind {
        HEAD => serde_json::from_slice(&payload).map(Frame::Head).map_err(bad),
        RECORDS if !payload.is_empty() => {
            let section = records::section_of(payload.get_u8())?;
            records::read(section, payload).map(Frame::Records)
        }
        END => serde_json::from_slice(&payload).map(Frame::End).map_err(bad),
        FAILED => Ok(Frame::Failed(String::from_utf8_lossy(&payload).into_owned())),
        _ => Err(Damaged::because(format!("a frame of kind {kind}"))),
    }
}
