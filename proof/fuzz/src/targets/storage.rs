//! What is read from a data directory beside the records: FORMAT, and witnesses in journals.

use storage::fuzzed;
use xxhash_rust::xxh3::xxh3_64;

use super::Target;
use crate::cut::Cut;

pub(super) const TARGETS: &[Target] = &[
    Target { seeds: format_seeds, dictionary: FORMAT_WORDS, ..Target::new("format", format) },
    // What is read of a journal at once is a megabyte.
    Target { seeds: witness_seeds, base: 4 << 20, ..Target::new("witness", witness) },
];

const FORMAT_WORDS: &[&str] = &[
    "merganser data directory\n",
    "format 1\n",
    "format 2\n",
    "cluster ",
    "node ",
    "layout ",
    "mark ",
    "state new\n",
    "state ready\n",
    "check ",
    "99999999999999999999",
];

fn format_seeds() -> Vec<Vec<u8>> {
    let whole = fuzzed::format_of(77, 2, 0x3f9a, [0x6f; 16], true);
    let body = whole.split("check").next().unwrap_or_default();
    vec![
        [&[0][..], whole.as_bytes()].concat(),
        [&[1][..], body.as_bytes()].concat(),
        [&[1][..], fuzzed::format_of(0, 0, 0, [0; 16], false).as_bytes()].concat(),
    ]
}

/// The file, or the file without its checksum, which is then put there.
fn format(input: &[u8]) {
    let mut cut = Cut(input);
    let sealed = cut.byte() % 2 == 1;
    let mut text = String::from_utf8_lossy(cut.0).into_owned();
    if sealed {
        let body = text.split("check ").next().unwrap_or_default();
        text = format!("{body}check {:016x}\n", xxh3_64(body.as_bytes()));
    }
    if let Some(written) = fuzzed::format(&text) {
        assert_eq!(fuzzed::format(&written), Some(written.clone()), "{text}");
        let flipped = written.replacen("cluster ", "cluster 1", 1);
        assert_eq!(fuzzed::format(&flipped), None, "another cluster under the same checksum");
    }
}

const MARK: [u8; 16] = *b"0123456789abcdef";

fn witness_seeds() -> Vec<Vec<u8>> {
    let group = |number: u64| {
        let witness = fuzzed::witness_of(MARK, number, number - 1);
        [&[1, 9, 0, 0, 0][..], &number.to_le_bytes(), b"77", &witness, &[3; 13]].concat()
    };
    let journal = [&[0][..], &group(1), &group(2), &group(3)].concat();
    let witness = [&[1][..], &fuzzed::witness_of(MARK, 7, 6)[..32]].concat();
    vec![journal, witness, [&[2][..], b"0123456789abcdef0123456789abcdef01"].concat()]
}

/// A journal; or a witness without its checksum; or bytes with marks in them.
fn witness(input: &[u8]) {
    let mut cut = Cut(input);
    if cut.byte() % 2 == 1 {
        let body = cut.bytes(32);
        let bytes = [body, &xxh3_64(body).to_be_bytes(), cut.0].concat();
        let read = fuzzed::witness(&bytes);
        return assert_eq!(read.as_deref(), (body.len() == 32).then(|| &bytes[..40]));
    }
    let mut journal = cut.0;
    let found = fuzzed::survey(&mut journal, MARK).expect("bytes in memory");
    let at = |at: usize| cut.0.get(at..).is_some_and(|rest| fuzzed::witness(rest).is_some());
    let marks = cut.0.windows(MARK.len()).enumerate().filter(|(_, bytes)| **bytes == MARK);
    let plain: Vec<u64> =
        marks.map(|(here, _)| here).filter(|here| at(*here)).map(|here| here as u64).collect();
    assert_eq!(found.iter().map(|(at, ..)| *at).collect::<Vec<_>>(), plain);
}
