//! What the readers of the formats have in common: they turn a file into entries, each of
//! which is a record to store or a fault to report, with the lines it came from.

use std::io::{self, BufRead};

use client::{Content, Key};

/// The longest line that is read. All siblings that a key can hold (64 MiB) fit also as
/// base64 with all else; beyond, the line is reported and skipped, and never held whole.
const LINE_BYTES_MAX: u64 = 96 << 20;

/// Something to store.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// Where.
    pub(crate) key: Key,
    /// What: one value, or the siblings that the key is to hold. Never none.
    pub(crate) contents: Vec<Content>,
}

impl Record {
    /// A record of a single value.
    pub(crate) fn new(key: Key, content: Content) -> Self {
        Self { key, contents: vec![content] }
    }
}

/// One record of a file, or one fault in it.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The line where it begins, counted from 1.
    pub(crate) line: u64,
    /// The line where it ends. Entries come in the order of these.
    pub(crate) end: u64,
    /// The record, or what is wrong.
    pub(crate) parsed: Result<Record, String>,
}

impl Entry {
    /// An entry of a single line.
    pub(crate) fn at(line: u64, parsed: Result<Record, String>) -> Self {
        Self { line, end: line, parsed }
    }
}

/// The entries of a file, or the error that ended reading it.
pub(crate) type Entries = Box<dyn Iterator<Item = io::Result<Entry>> + Send>;

/// The lines of a file, numbered from 1, without their ends (`\n` or `\r\n`).
#[derive(Debug)]
pub(crate) struct Lines<R> {
    from: R,
    number: u64,
    long: u64,
}

/// One line, or nothing but its number if it is too long to be held.
pub(crate) type Line = (u64, Option<Vec<u8>>);

impl<R: BufRead> Lines<R> {
    pub(crate) fn new(from: R) -> Self {
        Self { from, number: 0, long: LINE_BYTES_MAX }
    }

    fn read(&mut self) -> io::Result<Option<Line>> {
        let mut line = Vec::new();
        let count = io::Read::take(&mut self.from, self.long).read_until(b'\n', &mut line)?;
        if count == 0 {
            return Ok(None);
        }
        self.number += 1;
        if line.last() != Some(&b'\n') && count as u64 == self.long {
            self.from.skip_until(b'\n')?;
            return Ok(Some((self.number, None)));
        }
        line.pop_if(|byte| *byte == b'\n');
        line.pop_if(|byte| *byte == b'\r');
        Ok(Some((self.number, Some(line))))
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = io::Result<Line>;

    fn next(&mut self) -> Option<io::Result<Line>> {
        self.read().transpose()
    }
}

/// What to say of a line that is too long.
pub(crate) fn too_long() -> String {
    format!("it has more than {LINE_BYTES_MAX} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_in_either_way_and_the_last_need_not() {
        let lines: Vec<Line> = Lines::new(&b"a\r\n\nb"[..]).map(Result::unwrap).collect();
        let line = |text: &[u8]| Some(text.to_vec());
        assert_eq!(lines, [(1, line(b"a")), (2, line(b"")), (3, line(b"b"))]);
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_counted() {
        let mut lines = Lines::new(&b"abcdefgh\nxy\n12345"[..]);
        lines.long = 5;
        let lines: Vec<Line> = lines.map(Result::unwrap).collect();
        assert_eq!(lines[0], (1, None));
        assert_eq!(lines[1], (2, Some(b"xy".to_vec())));
        assert_eq!(lines[2].0, 3);
    }
}
