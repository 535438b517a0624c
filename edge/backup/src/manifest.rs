//! Which chunks are a backup, of whom and when.
//!
//! ```text
//! merganser backup 1
//! check 5a0e...                  BLAKE3 of everything below, in hexadecimal
//! { "id": "n1-20261122T093000.120Z-4fa1", ... }
//! ```
//!
//! It is written last: chunks that no manifest names are no backup, and a backup that broke off
//! leaves nothing but chunks, which the next one finds there.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Damaged;
use crate::chunk::Name;
use crate::cut::Chunk;
use crate::stream::{Counts, Head};

const TITLE: &str = "merganser backup ";

/// The version that is written, and the latest that is read.
const VERSION: u32 = 1;

/// What is known of one backup.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Manifest {
    /// What it is called.
    pub id: String,
    /// When the checkpoint was taken, for people.
    pub taken: String,
    /// Of what it is.
    pub of: Head,
    /// How many records it has.
    pub counts: Counts,
    /// How many records of the disk could not be read, and are not in it.
    pub unreadable: u64,
    /// Its chunks, in the order of the records.
    pub chunks: Vec<Part>,
}

/// One chunk of a backup.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Part {
    /// What it is called, which is its checksum.
    pub name: String,
    /// What is in it: `objects`, `clocks`, `hints` or `marks`.
    pub section: String,
    /// How many records.
    pub records: u64,
    /// How many bytes it has.
    pub bytes: u64,
    /// The key of the first record, in hexadecimal.
    pub first: String,
}

impl Part {
    /// What a manifest says of a chunk.
    pub fn of(chunk: &Chunk) -> Self {
        Self {
            name: chunk.name.to_string(),
            section: format!("{:?}", chunk.section).to_lowercase(),
            records: chunk.records,
            bytes: chunk.bytes.len() as u64,
            first: chunk.first.iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }

    /// What it is called.
    ///
    /// # Errors
    ///
    /// [`Damaged`] if that is no name.
    pub fn name(&self) -> Result<Name, Damaged> {
        Name::parse(&self.name).ok_or_else(|| Damaged::because("it names a chunk that cannot be"))
    }
}

impl Manifest {
    /// A backup of a checkpoint, as complete as its parts are.
    pub fn new(of: Head, counts: Counts, unreadable: u64, chunks: Vec<Part>) -> Self {
        let taken = Moment::of(of.taken_millis);
        // To the millisecond: small nodes are backed up several times in a second. Two disks of one
        // node can be, too.
        let tail = of.disk.get(..4).unwrap_or("0000");
        let id = format!("n{}-{taken:#}-{tail}", of.node);
        Self { id, taken: taken.to_string(), of, counts, unreadable, chunks }
    }

    /// How many bytes its chunks have.
    pub fn bytes(&self) -> u64 {
        self.chunks.iter().map(|part| part.bytes).sum()
    }

    /// The file as it is written.
    pub fn to_text(&self) -> String {
        let body = serde_json::to_string_pretty(self).expect("plain data") + "\n";
        format!("{TITLE}{VERSION}\ncheck {}\n{body}", blake3::hash(body.as_bytes()))
    }

    /// Reads what [`to_text`](Self::to_text) writes. The version comes first and is read alone.
    ///
    /// # Errors
    ///
    /// [`Damaged`].
    pub fn parse(text: &str) -> Result<Self, Damaged> {
        let none = || Damaged::because("it is no manifest of a backup");
        let (title, rest) = text.split_once('\n').ok_or_else(none)?;
        let found = title.strip_prefix(TITLE).and_then(|version| version.parse().ok());
        match found.ok_or_else(none)? {
            0 => return Err(none()),
            1..=VERSION => {}
            found => return Err(Damaged::Newer { found, supported: VERSION }),
        }
        let (check, body) = rest.split_once('\n').ok_or_else(none)?;
        let is_whole =
            check.strip_prefix("check ") == Some(&blake3::hash(body.as_bytes()).to_hex());
        if !is_whole {
            return Err(Damaged::because("its checksum does not fit"));
        }
        serde_json::from_str(body).map_err(|error| Damaged::because(error.to_string()))
    }
}

/// A moment as people write it, to the second. With `#`, as it stands in names, to the millisecond.
struct Moment {
    date: (i64, u64, u64),
    seconds: u64,
    millis: u64,
}

impl Moment {
    /// So many milliseconds after the beginning of 1970, in UTC.
    fn of(millis: u64) -> Self {
        let seconds = millis / 1_000;
        let date = date((seconds / 86_400).cast_signed());
        Self { date, seconds: seconds % 86_400, millis: millis % 1_000 }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.date;
        let (hour, minute, second) =
            (self.seconds / 3_600, self.seconds / 60 % 60, self.seconds % 60);
        let (dash, colon) = if f.alternate() { ("", "") } else { ("-", ":") };
        write!(f, "{year:04}{dash}{month:02}{dash}{day:02}T")?;
        write!(f, "{hour:02}{colon}{minute:02}{colon}{second:02}")?;
        if f.alternate() { write!(f, ".{:03}Z", self.millis) } else { f.write_str("Z") }
    }
}

/// Year, month and day of the Gregorian calendar, so many days after the beginning of 1970.
///
/// Source: Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn date(days: i64) -> (i64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (year + era * 400 + next, month.cast_unsigned(), day.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_calendar() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399_999, "2000-02-28T23:59:59Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_795_339_800_000, "2026-11-22T09:30:00Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(Moment::of(millis).to_string(), text);
        }
        assert_eq!(format!("{:#}", Moment::of(1_795_339_800_012)), "20261122T093000.012Z");
    }
}
