//! A range of records, as it is kept.
//!
//! ```text
//! chunk = "MGNC"  version (1)  section (1)  records
//! name  = BLAKE3 of all that, in hexadecimal
//! ```
//!
//! The name is the checksum. Two backups that have the same records in a range have the same
//! chunk, whenever they were made and of which node, and keep it once.

use std::fmt;

use bytes::Bytes;
use storage::{Record, Section};

use crate::{Damaged, records};

/// What a chunk begins with.
const MAGIC: &[u8; 4] = b"MGNC";

/// The version that is written, and the latest that is read.
const VERSION: u8 = 1;

/// What stands before the records.
pub(crate) const HEAD_BYTES: usize = 6;

/// What a chunk is called.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Name([u8; 32]);

impl Name {
    /// The name of a chunk with these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Reads what [`Display`](fmt::Display) writes.
    pub fn parse(text: &str) -> Option<Self> {
        blake3::Hash::from_hex(text).ok().map(|hash| Self(*hash.as_bytes()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The bytes before the records of a section.
pub(crate) fn head(section: Section) -> Vec<u8> {
    let mut head = MAGIC.to_vec();
    head.extend([VERSION, records::byte_of(section)]);
    head
}

/// Reads the records of the chunk that is called `name`.
///
/// # Errors
///
/// [`Damaged`] if these are not the bytes that made the name, or if they are of a later program.
pub fn decode(name: Name, bytes: &Bytes) -> Result<Vec<Record>, Damaged> {
    if Name::of(bytes) != name {
        return Err(Damaged::because("its bytes do not come to its name"));
    }
    let (Some(head), Some(rest)) = (bytes.get(..HEAD_BYTES), bytes.get(HEAD_BYTES..)) else {
        return Err(Damaged::because("it is shorter than its head"));
    };
    let (magic, of) = head.split_at(MAGIC.len());
    let &[version, section] = of else { return Err(Damaged::because("it has no head")) };
    if magic != MAGIC {
        return Err(Damaged::because("it is no chunk of a backup"));
    }
    if VERSION < version {
        let (found, supported) = (version.into(), VERSION.into());
        return Err(Damaged::Newer { found, supported });
    }
    records::read(records::section_of(section)?, bytes.slice_ref(rest))
}
