//! Notices when the journal of the database is not what was written.
//!
//! fjall reads its journal up to the first batch that makes no sense and cuts off the
//! rest, because a crash in the middle of a write leaves just that. But a byte that
//! flips in the head of a batch long on disk looks the same, and then the rest is all
//! that was acknowledged since. Worse, if the journal was not the last one, the next is
//! read as if nothing were missing, and a clock in it names writes whose objects are gone.
//!
//! So each group carries a *witness*: its own number, and the number of the last group
//! known to be on disk. Before the database is opened we look for witnesses in the raw
//! journals; afterwards we compare with what is left of them.
//!
//! ```text
//! before   ..[7, synced 6]..[8, synced 7]..[9, synced 8]..[10, syn      torn by a crash
//! after    ..[7, synced 6]..                                            cut behind 7
//!           8 is gone, and the witness in 9 said that it was on disk: damaged
//! ```
//!
//! A second thing is not covered by fjall's checksums: the sequence number in the head of
//! a batch, which decides which of two records of one key is the younger. If it flips,
//! old records cover young ones, silently. A witness is the last record of its batch, so
//! the head of the next batch lies at a known distance behind it, and we see for ourselves
//! that the numbers rise.
//!
//! What cannot be noticed is the loss of the very last group, as nothing after it speaks
//! of it; to a reader it is a write that a crash interrupted. No dot is ever minted twice
//! even so, because each start of a node has a fresh incarnation: the node lacks its last
//! writes, does not know of them, and gets them from its peers like any others.
//!
//! Witnesses begin with sixteen random bytes that only this directory has, lest a client
//! write a value that looks like one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use model::DiskId;
use xxhash_rust::xxh3::xxh3_64;

/// What the witnesses of one directory begin with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Mark([u8; 16]);

impl Mark {
    /// Draws one. The standard library seeds each `RandomState` from the operating
    /// system; it need not be a secret, only nothing that a client can know.
    pub(crate) fn draw() -> Self {
        let bits = || RandomState::new().build_hasher().finish();
        Self((u128::from(bits()) << 64 | u128::from(bits())).to_be_bytes())
    }

    /// The mark of these bytes.
    pub(crate) fn of(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The name of the disk that has it.
    pub(crate) fn disk(self) -> DiskId {
        DiskId::new(u128::from_be_bytes(self.0))
    }

    /// Reads what [`to_text`](Self::to_text) writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        u128::from_str_radix(text, 16).ok().map(|bits| Self(bits.to_be_bytes()))
    }

    pub(crate) fn to_text(self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.0))
    }
}

/// What a group says about itself and those before it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Witness {
    pub(crate) mark: Mark,
    /// The number of the group that has it.
    pub(crate) number: u64,
    /// All groups up to this one were on disk when it was written.
    pub(crate) synced: u64,
}

const WITNESS_BYTES: usize = 40;

impl Witness {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(WITNESS_BYTES);
        bytes.extend_from_slice(&self.mark.0);
        bytes.extend_from_slice(&self.number.to_be_bytes());
        bytes.extend_from_slice(&self.synced.to_be_bytes());
        bytes.extend_from_slice(&xxh3_64(&bytes).to_be_bytes());
        bytes
    }

    /// Nothing if these are not the bytes of a witness.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, check) = bytes.get(..WITNESS_BYTES)?.split_last_chunk::<8>()?;
        let (mark, rest) = body.split_first_chunk::<16>()?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let synced = rest.first_chunk::<8>()?;
        (xxh3_64(body) == u64::from_be_bytes(*check)).then_some(Self {
            mark: Mark(*mark),
            number: u64::from_be_bytes(*number),
            synced: u64::from_be_bytes(*synced),
        })
    }
}

/// The witnesses in the journals of a database that is not open.
pub(crate) struct Survey {
    /// The oldest first.
    journals: Vec<Journal>,
}

/// One journal. It stays open, so that its length can be told even after the database
/// has removed its name.
struct Journal {
    file: File,
    groups: Vec<Seen>,
}

/// A group as its witness shows it.
struct Seen {
    /// Where in the journal the witness begins.
    at: u64,
    witness: Witness,
    /// What the head of its batch says, if it can be found.
    sequence: Option<u64>,
}

/// The most by which the sequence numbers of two batches in a row differ. The database
/// takes some for itself whenever it writes a file; it does not take billions.
const SEQUENCE_STEP_MAX: u64 = 1 << 32;

impl Survey {
    /// Looks through all journals in `dir`. None, if there is no database yet.
    pub(crate) fn take(dir: &Path, mark: Mark) -> io::Result<Self> {
        let mut journals = Vec::new();
        for path in journal_paths(dir)? {
            let mut file = File::open(path)?;
            let groups = groups_in(&mut file, mark)?;
            journals.push(Journal { file, groups });
        }
        Ok(Self { journals })
    }

    /// The last group known to be on disk.
    pub(crate) fn synced(&self) -> u64 {
        self.groups().map(|group| group.witness.synced).max().unwrap_or(0)
    }

    /// A group whose sequence number does not follow that of the group before it, if
    /// there is one.
    pub(crate) fn out_of_order(&self) -> Option<u64> {
        let synced = self.synced();
        let mut last = None;
        for group in self.groups() {
            let Some(sequence) = group.sequence else { continue };
            let number = group.witness.number;
            let falls = last.is_some_and(|last| sequence <= last);
            let leaps = last.is_some_and(|last| SEQUENCE_STEP_MAX < sequence.saturating_sub(last));
            // Half of a head that was not synced yet can be torn off, and then it falls.
            if leaps || (falls && number <= synced) {
                return Some(number);
            }
            last = Some(sequence);
        }
        None
    }

    /// The first and last group that was on disk and has been cut off since, if any was.
    pub(crate) fn cut_off(&self) -> io::Result<Option<(u64, u64)>> {
        let synced = self.synced();
        let mut lost = None;
        for journal in &self.journals {
            let end = journal.file.metadata()?.len();
            let cut_off = journal.groups.iter().filter(|group| end <= group.at);
            for number in cut_off.map(|group| group.witness.number) {
                if number <= synced {
                    let (first, last) = lost.unwrap_or((number, number));
                    lost = Some((number.min(first), number.max(last)));
                }
            }
        }
        Ok(lost)
    }

    fn groups(&self) -> impl Iterator<Item = &Seen> {
        self.journals.iter().flat_map(|journal| &journal.groups)
    }
}

/// Brings to disk what former lives left to the operating system.
pub(crate) fn sync_journals(dir: &Path) -> io::Result<()> {
    journal_paths(dir)?.into_iter().try_for_each(|path| File::open(path)?.sync_all())
}

fn journal_paths(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = BTreeMap::new();
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let number = name.and_then(|name| name.strip_suffix(".jnl")?.parse::<u64>().ok());
        if let Some(number) = number {
            paths.insert(number, path);
        }
    }
    Ok(paths.into_values().collect())
}

/// The end of a batch in the journal: a tag, a checksum and four fixed bytes.
const TAIL_BYTES: usize = 1 + 8 + 4;

/// The head of a batch in the journal: a tag, the number of items, the sequence number.
const HEAD_BYTES: usize = 1 + 4 + 8;

/// The tag of a head.
const HEAD_TAG: u8 = 1;

/// What must be seen at once: a witness and the head behind it.
const WINDOW_BYTES: usize = WITNESS_BYTES + TAIL_BYTES + HEAD_BYTES;

/// Read at once. Large beside a window, small beside the memory of a node.
const CHUNK_BYTES: usize = 1024 * 1024;

fn groups_in(file: &mut impl Read, mark: Mark) -> io::Result<Vec<Seen>> {
    let search = Search::new(mark);
    let mut found: Vec<Seen> = Vec::new();
    let mut sequence = None;
    let mut chunk = Vec::with_capacity(CHUNK_BYTES + WINDOW_BYTES);
    let mut start = 0;
    loop {
        let read = file.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut chunk)?;
        if start == 0 {
            sequence = sequence_in_head(&chunk);
        }
        // At the end of the file, what is left is all there will be.
        let decided =
            if read == 0 { chunk.len() } else { chunk.len().saturating_sub(WINDOW_BYTES) };
        for at in search.positions(&chunk).take_while(|at| *at < decided) {
            let Some(seen) = chunk.get(at..) else { break };
            let Some(witness) = Witness::decode(seen) else { continue };
            found.push(Seen { at: start + at as u64, witness, sequence });
            sequence = seen.get(WITNESS_BYTES + TAIL_BYTES..).and_then(sequence_in_head);
        }
        if read == 0 {
            return Ok(found);
        }
        chunk.drain(..decided);
        start += decided as u64;
    }
}

/// Where witnesses are in a journal, with their groups and the sequence numbers before them.
pub(crate) fn witnesses_in(
    journal: &mut impl Read,
    mark: Mark,
) -> io::Result<Vec<(u64, Witness, Option<u64>)>> {
    let groups = groups_in(journal, mark)?.into_iter();
    Ok(groups.map(|seen| (seen.at, seen.witness, seen.sequence)).collect())
}

fn sequence_in_head(bytes: &[u8]) -> Option<u64> {
    let (tag, rest) = bytes.split_first()?;
    let sequence = rest.get(4..)?.first_chunk()?;
    (*tag == HEAD_TAG).then_some(u64::from_le_bytes(*sequence))
}

/// Finds a mark in bytes without looking at most of them: where a byte that the mark
/// does not have is found, the mark cannot overlap it (Horspool, 1980).
struct Search {
    mark: [u8; 16],
    steps: [usize; 256],
}

impl Search {
    fn new(mark: Mark) -> Self {
        let Mark(mark) = mark;
        let step = |byte: u8| {
            let last = mark.iter().take(15).rposition(|ours| *ours == byte);
            last.map_or(16, |index| 15 - index)
        };
        Self { mark, steps: std::array::from_fn(|byte| step(byte as u8)) }
    }

    fn positions<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
        let mut at = 0;
        std::iter::from_fn(move || {
            while let Some(window) = bytes.get(at..at + 16) {
                let here = at;
                let last = window.last().copied().unwrap_or_default();
                at += self.steps.get(usize::from(last)).copied().unwrap_or(1);
                if window == self.mark {
                    return Some(here);
                }
            }
            None
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tempfile::{TempDir, tempdir};

    use super::*;

    const MARK: Mark = Mark(*b"0123456789abcdef");

    /// A group as the journal of the database has it: head, some other bytes, witness, end.
    fn group(number: u64, sequence: u64, padding: usize) -> Vec<u8> {
        let witness = Witness { mark: MARK, number, synced: number.saturating_sub(1) };
        let mut bytes = vec![HEAD_TAG, 9, 0, 0, 0];
        bytes.extend(sequence.to_le_bytes());
        bytes.extend(vec![b'7'; padding]);
        bytes.extend(witness.encode());
        bytes.extend([3; TAIL_BYTES]);
        bytes
    }

    /// Journals with these bytes, named so that their order as text is another one.
    fn survey(journals: &[&[Vec<u8>]]) -> (TempDir, Survey) {
        let dir = tempdir().unwrap();
        for (index, groups) in journals.iter().enumerate() {
            let path = dir.path().join(format!("{}.jnl", index + 9));
            File::create(path).unwrap().write_all(&groups.concat()).unwrap();
        }
        let survey = Survey::take(dir.path(), MARK).unwrap();
        (dir, survey)
    }

    fn seen(survey: &Survey) -> Vec<(u64, Option<u64>)> {
        survey.groups().map(|group| (group.witness.number, group.sequence)).collect()
    }

    #[test]
    fn witnesses_are_found_across_the_ends_of_what_is_read_at_once() {
        for around in (CHUNK_BYTES - 200..CHUNK_BYTES + 20).step_by(3) {
            let groups = [group(1, 5, around), group(2, 6, 0), group(3, 8, CHUNK_BYTES)];
            let (_dir, survey) = survey(&[&groups, &[group(4, 9, 0)]]);
            let expected = [(1, Some(5)), (2, Some(6)), (3, Some(8)), (4, Some(9))];
            assert_eq!(seen(&survey), expected, "padding of {around}");
            assert_eq!((survey.synced(), survey.out_of_order()), (3, None));
            assert_eq!(survey.cut_off().unwrap(), None);
        }
    }

    #[test]
    fn what_was_on_disk_and_is_cut_off_is_named() {
        let groups = [1, 2, 3, 4].map(|number| group(number, number, 10));
        let cut_to = |groups_left: usize| {
            let (dir, survey) = survey(&[&groups]);
            let path = dir.path().join("9.jnl");
            let len = groups[..groups_left].concat().len() as u64;
            fs::OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
            survey.cut_off().unwrap()
        };
        assert_eq!(cut_to(4), None);
        assert_eq!(cut_to(3), None, "nobody says that group 4 was on disk");
        assert_eq!(cut_to(2), Some((3, 3)));
        assert_eq!(cut_to(0), Some((1, 3)));
    }

    #[test]
    fn sequence_numbers_must_rise_but_not_leap() {
        let order = |sequences: [u64; 4]| {
            let groups: Vec<_> = (1..).zip(sequences).map(|(n, s)| group(n, s, 0)).collect();
            survey(&[&groups[..2], &groups[2..]]).1.out_of_order()
        };
        assert_eq!(order([1, 2, 30, 31]), None);
        assert_eq!(order([1 << 40, (1 << 40) + 1, (1 << 40) + 2, (1 << 40) + 9]), None);
        assert_eq!(order([1, 2, 2, 3]), Some(3));
        assert_eq!(order([1, 200, 3, 4]), Some(3));
        assert_eq!(order([1, 2, 1 << 60, 4]), Some(3));
        // The last group may be torn: its head then reads lower than it was.
        assert_eq!(order([301, 302, 303, 4]), None);
        assert_eq!(order([1, 2, 3, 1 << 60]), Some(4));
    }

    #[test]
    fn a_witness_is_known_by_its_mark_and_its_check() {
        let witness = Witness { mark: MARK, number: 7, synced: 6 };
        let bytes = witness.encode();
        assert_eq!(Witness::decode(&bytes), Some(witness));
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 4;
            assert_eq!(Witness::decode(&flipped), None, "flip at {at}");
        }
        assert_eq!(Witness::decode(&bytes[..39]), None);
        assert_eq!(Mark::parse(&MARK.to_text()), Some(MARK));
        assert_ne!(Mark::draw(), Mark::draw());
    }
}
