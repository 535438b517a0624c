//! Records in a row.
//!
//! ```text
//! record = length of key (4, LE)  length of value (4, LE)  key  value
//! ```

use bytes::{Buf as _, Bytes};
use storage::{Record, Section};

use crate::Damaged;

/// The bytes before a key.
const LENGTHS: usize = 8;

/// How many bytes a record takes.
pub(crate) fn len(record: &Record) -> usize {
    LENGTHS + record.key.len() + record.value.len()
}

/// Appends a record.
pub(crate) fn put(record: &Record, out: &mut Vec<u8>) {
    let length = |bytes: &Bytes| {
        u32::try_from(bytes.len()).expect("a record is far below 4 GiB").to_le_bytes()
    };
    out.extend(length(&record.key));
    out.extend(length(&record.value));
    out.extend(&record.key);
    out.extend(&record.value);
}

/// Reads all records. They share the bytes.
pub(crate) fn read(section: Section, mut bytes: Bytes) -> Result<Vec<Record>, Damaged> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        if bytes.len() < LENGTHS {
            return Err(Damaged::because("it ends within a record"));
        }
        let (key, value) = (bytes.get_u32_le() as usize, bytes.get_u32_le() as usize);
        if key.checked_add(value).is_none_or(|len| bytes.len() < len) {
            return Err(Damaged::because("it ends within a record"));
        }
        let (key, value) = (bytes.split_to(key), bytes.split_to(value));
        records.push(Record { section, key, value });
    }
    Ok(records)
}

/// The byte of a section. It must not change.
pub(crate) fn byte_of(section: Section) -> u8 {
    match section {
        Section::Objects => 1,
        Section::Clocks => 2,
        Section::Hints => 3,
        Section::Marks => 4,
    }
}

/// The section of a byte.
pub(crate) fn section_of(byte: u8) -> Result<Section, Damaged> {
    let found = Section::ALL.into_iter().find(|section| byte_of(*section) == byte);
    found.ok_or_else(|| Damaged::because(format!("it has a section {byte}")))
}
