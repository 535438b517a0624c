//! The start of a file: a byte order mark there is no part of the first record.

use std::io::{self, Read};

const MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads what follows a UTF-8 byte order mark, or everything where there is none.
#[derive(Debug)]
pub(crate) struct WithoutMark<R> {
    from: R,
    /// What was read to see whether it is the mark, and is not.
    begin: Option<io::Cursor<Vec<u8>>>,
}

impl<R: Read> WithoutMark<R> {
    pub(crate) fn new(from: R) -> Self {
        Self { from, begin: None }
    }
}

impl<R: Read> Read for WithoutMark<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let begin = match &mut self.begin {
            Some(begin) => begin,
            None => {
                let mut begin = Vec::with_capacity(MARK.len());
                (&mut self.from).take(MARK.len() as u64).read_to_end(&mut begin)?;
                if begin == MARK {
                    begin.clear();
                }
                self.begin.insert(io::Cursor::new(begin))
            }
        };
        match begin.read(to)? {
            0 => self.from.read(to),
            count => {
                // As much as there is room for: who looks for the end of the first line
                // wants to see more than three bytes.
                let rest = to.get_mut(count..).unwrap_or_default();
                Ok(count + if rest.is_empty() { 0 } else { self.from.read(rest)? })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_mark_at_the_start_is_left_out() {
        for (bytes, rest) in [
            (&b"\xef\xbb\xbfab"[..], &b"ab"[..]),
            (b"\xef\xbb\xbf", b""),
            (b"\xef\xbbab\n", b"\xef\xbbab\n"),
            (b"a\xef\xbb\xbf", b"a\xef\xbb\xbf"),
            (b"a", b"a"),
            (b"", b""),
        ] {
            let mut read = Vec::new();
            WithoutMark::new(bytes).read_to_end(&mut read).unwrap();
            assert_eq!(read, rest);
        }
    }
}
