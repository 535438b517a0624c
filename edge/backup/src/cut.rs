//! Where a chunk ends.
//!
//! If chunks were so many records each, one new key would shift every range behind it, and a
//! second backup would send everything again. So the keys say where chunks end: a
//! key ends a chunk if its hash is small, and is there or not whatever lies before it. What
//! changes then changes the chunk that it is in, and perhaps the next.
//!
//! ```text
//! before   a b c│d e f g│h i k│
//! after    a b c│d e x f g│h i k│      one new chunk
//! ```
//!
//! How small is in proportion to the bytes of the record, so that chunks have about the same
//! size, whether values have ten bytes or a million.
//!
//! Source: Muthitacharoen, Chen, Mazières, "A Low-bandwidth Network File System" (SOSP 2001),
//! where the content says it byte by byte; here it is cut between records.

use bytes::Bytes;
use storage::{Record, Section};
use xxhash_rust::xxh3::xxh3_64;

use crate::chunk::{self, HEAD_BYTES, Name};
use crate::records;

/// What a chunk has on average, beyond the least. Enough that an object store is asked once per
/// some megabytes; little, because one changed record costs so much the next time.
const BYTES_MEAN: u64 = 2 << 20;

/// The fewest bytes of a chunk that is not the last of its section.
const BYTES_MIN: usize = 512 << 10;

/// A record that would make a chunk larger begins another one. One that is larger alone is a chunk.
const BYTES_MAX: usize = 8 << 20;

/// A chunk that is ready to be kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Chunk {
    /// What it is called.
    pub name: Name,
    /// What its records are about.
    pub section: Section,
    /// How many they are.
    pub records: u64,
    /// The key of the first.
    pub first: Bytes,
    /// All of it.
    pub bytes: Bytes,
}

/// Cuts the records of a checkpoint, in their order, into chunks.
#[derive(Debug, Default)]
pub struct Cutter {
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    section: Section,
    records: u64,
    first: Bytes,
    bytes: Vec<u8>,
}

impl Cutter {
    /// Takes the next record, and gives the chunks that end before it or with it.
    pub fn add(&mut self, record: &Record) -> impl Iterator<Item = Chunk> + use<> {
        let size = records::len(record);
        let is_other =
            |open: &Open| open.section != record.section || BYTES_MAX < open.bytes.len() + size;
        let before = self.open.take_if(|open| is_other(open)).map(Open::close);
        let open = self.open.get_or_insert_with(|| Open::begin(record));
        records::put(record, &mut open.bytes);
        open.records += 1;
        let ends = BYTES_MIN <= open.bytes.len() && is_end(&record.key, size);
        let with = self.open.take_if(|_| ends).map(Open::close);
        [before, with].into_iter().flatten()
    }

    /// The last chunk, if any is open.
    pub fn finish(self) -> Option<Chunk> {
        self.open.map(Open::close)
    }
}

impl Open {
    fn begin(record: &Record) -> Self {
        let Record { section, key, .. } = record;
        Self { section: *section, records: 0, first: key.clone(), bytes: chunk::head(*section) }
    }

    fn close(self) -> Chunk {
        debug_assert!(HEAD_BYTES < self.bytes.len(), "a chunk has a record");
        let Self { section, records, first, bytes } = self;
        Chunk { name: Name::of(&bytes), section, records, first, bytes: bytes.into() }
    }
}

/// Whether a key ends a chunk. Depends on nothing but itself and how large its record is.
fn is_end(key: &[u8], size: usize) -> bool {
    u128::from(xxh3_64(key)) * u128::from(BYTES_MEAN) < (size as u128) << 64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn record(section: Section, number: u64, value: &[u8]) -> Record {
        let key = Bytes::copy_from_slice(&number.to_be_bytes());
        Record { section, key, value: Bytes::copy_from_slice(value) }
    }

    fn cut(records: &[Record]) -> Vec<Chunk> {
        let mut cutter = Cutter::default();
        let mut chunks: Vec<Chunk> = records.iter().flat_map(|r| cutter.add(r)).collect();
        chunks.extend(cutter.finish());
        chunks
    }

    /// Some 40 MB, in values of these lengths in turn.
    fn table(lengths: &[usize]) -> Vec<Record> {
        let mean = lengths.iter().sum::<usize>() / lengths.len();
        let count = (40_000_000 / mean) as u64;
        let lengths = lengths.iter().cycle();
        let record = |(number, len): (u64, &usize)| {
            record(Section::Objects, number * 10, &vec![number as u8; *len])
        };
        (0..count).zip(lengths).map(record).collect()
    }

    #[test]
    fn chunks_hold_all_records_in_order_and_have_about_the_size_that_is_wanted() {
        for lengths in [&[100][..], &[5_000], &[1_000_000], &[3_000_000, 10, 20_000_000]] {
            let records = table(lengths);
            let chunks = cut(&records);
            let read = |chunk: &Chunk| chunk::decode(chunk.name, &chunk.bytes).unwrap();
            assert!(chunks.iter().flat_map(read).eq(records.iter().cloned()), "{lengths:?}");
            let largest = lengths.iter().max().unwrap() + 100;
            for chunk in &chunks[..chunks.len() - 1] {
                let size = chunk.bytes.len();
                assert!(size <= BYTES_MAX.max(largest), "{size} of {lengths:?}");
            }
            let mean = 40_000_000 / chunks.len();
            let wanted = 1_000_000.min(largest)..6_000_000.max(largest);
            assert!(wanted.contains(&mean), "{mean} of {lengths:?}");
        }
    }

    #[test]
    fn a_change_makes_few_new_chunks_whatever_it_is() {
        let records = table(&[5_000]);
        let before: BTreeSet<Name> = cut(&records).iter().map(|chunk| chunk.name).collect();
        assert!(8 < before.len(), "{}", before.len());
        let at = records.len() / 2;
        let (mut inserted, mut removed, mut larger) =
            (records.clone(), records.clone(), records.clone());
        inserted.insert(at, record(Section::Objects, at as u64 * 10 - 5, b"new"));
        removed.remove(at);
        let value = vec![7; 300_000];
        larger[at] = record(Section::Objects, at as u64 * 10, &value);
        for changed in [inserted, removed, larger] {
            let after = cut(&changed);
            let new = after.iter().filter(|chunk| !before.contains(&chunk.name)).count();
            assert!((1..=3).contains(&new), "{new} of {}", after.len());
        }
        assert!(cut(&records).iter().all(|chunk| before.contains(&chunk.name)));
    }

    #[test]
    fn sections_share_no_chunk() {
        let records = [
            record(Section::Objects, 1, b"o"),
            record(Section::Clocks, 1, b"c"),
            record(Section::Marks, 2, b""),
        ];
        let chunks = cut(&records);
        let sections: Vec<Section> = chunks.iter().map(|chunk| chunk.section).collect();
        assert_eq!(sections, [Section::Objects, Section::Clocks, Section::Marks]);
        assert_eq!(chunks.iter().map(|chunk| chunk.records).collect::<Vec<_>>(), [1, 1, 1]);
    }
}
