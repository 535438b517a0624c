//! Which records of a file are replaced by a later one with the same key.
//!
//! Of several lines with one key, the last is what stays. If the others were stored on the
//! way, importing a file twice would store them twice. So a file is read once before, and
//! those others are left out. Standard input cannot be read twice: there, each of them is
//! stored and replaced, and counted all the same.
//!
//! A key costs some 50 bytes of memory, whatever its length: files of some millions of keys
//! are no burden, a thousand million would be.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;

use client::Key;

use super::entry::Entries;

/// Long enough that no two keys of any file share one by chance.
type Digest = [u8; 16];

/// What is done about several records of one key.
#[derive(Debug)]
pub(crate) enum Repeats {
    /// All are stored, and stay beside each other.
    StayAll,
    /// Those at these places, counted in entries from 0, are left out.
    LeftOut(BTreeSet<u64>),
    /// Each is stored when it comes, and replaces the one before.
    Counted(HashSet<Digest>),
}

impl Repeats {
    /// Reads a whole file to find the last record of each key.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub(crate) fn find(entries: Entries) -> io::Result<Self> {
        let (mut last, mut replaced) = (HashMap::new(), BTreeSet::new());
        for (place, entry) in (0..).zip(entries) {
            if let Ok(record) = entry?.parsed
                && let Some(earlier) = last.insert(digest(&record.key), place)
            {
                replaced.insert(earlier);
            }
        }
        Ok(Self::LeftOut(replaced))
    }

    /// Whether the record at this place is left out.
    pub(crate) fn leaves_out(&self, place: u64) -> bool {
        match self {
            Self::LeftOut(places) => places.contains(&place),
            Self::StayAll | Self::Counted(_) => false,
        }
    }

    /// Whether this key was stored before, and is replaced now.
    pub(crate) fn is_replaced_by(&mut self, key: &Key) -> bool {
        match self {
            Self::Counted(seen) => !seen.insert(digest(key)),
            Self::StayAll | Self::LeftOut(_) => false,
        }
    }
}

fn digest(key: &Key) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(key.partition.len() as u64).to_le_bytes());
    hasher.update(&key.partition);
    hasher.update(&key.sort);
    let mut digest = Digest::default();
    hasher.finalize_xof().fill(&mut digest);
    digest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::import::jsonl;

    #[test]
    fn all_but_the_last_record_of_a_key_are_left_out() {
        let text = concat!(
            r#"{"key":"a","value":1}"#,
            "\n",
            "no record\n",
            r#"{"key":"b","value":1}"#,
            "\n",
            r#"{"key":"a","value":2}"#,
            "\n",
            r#"{"key":"a","sort":"a","value":1}"#,
            "\n",
            r#"{"key":"aa","value":1}"#,
            "\n",
            r#"{"key":"a","values":[{"value":3}]}"#,
            "\n",
        );
        let repeats = Repeats::find(Box::new(jsonl::entries(text.as_bytes()))).unwrap();
        let left_out: Vec<u64> = (0..7).filter(|place| repeats.leaves_out(*place)).collect();
        assert_eq!(left_out, [0, 3]);
    }
}
