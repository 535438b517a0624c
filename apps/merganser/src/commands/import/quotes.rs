//! Two things that the library does not tell of a CSV file: that a quote is never closed, and
//! where exactly a row begins.
//!
//! A quote that is opened and never closed makes the rest of the file one field, and the
//! library says nothing. And where lines end in `\r\n`, a row begins, for the library, before
//! the `\n` of the row above, and its count of lines lags behind: an import that goes on
//! after an interruption would begin at a wrong row. So the bytes are followed on their way,
//! by the library's own rules (a quote opens where a field begins, two in a row stand for
//! one, and anywhere else in a bare field it is a character), and outside of quotes each
//! `\r\n` is passed on as `\n`.

use std::io::{self, Read};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    FieldBegins,
    Bare,
    Quoted,
    /// Behind a quote in a quoted field: the end of it, or the first of two.
    Quote,
}

/// Passes bytes on, and knows whether they end inside quotes.
#[derive(Debug)]
pub(crate) struct Quotes<R> {
    from: R,
    state: State,
    /// The line that is read, from 1.
    line: u64,
    opened: u64,
    has_ended: bool,
    /// Whether a `\r` was read outside of quotes, and what follows it was not.
    holds_return: bool,
}

impl<R: Read> Quotes<R> {
    pub(crate) fn new(from: R) -> Self {
        Self {
            from,
            state: State::FieldBegins,
            line: 1,
            opened: 0,
            has_ended: false,
            holds_return: false,
        }
    }

    /// If the end was read and a quote is open: the line where it was opened, and the last.
    pub(crate) fn open_at_end(&self) -> Option<(u64, u64)> {
        let is_open = self.has_ended && self.state == State::Quoted;
        is_open.then_some((self.opened, self.line))
    }

    fn follow(&mut self, byte: u8) {
        self.state = match (self.state, byte) {
            (State::FieldBegins, b'"') => {
                self.opened = self.line;
                State::Quoted
            }
            (State::Quoted, b'"') => State::Quote,
            (State::Quoted, _) | (State::Quote, b'"') => State::Quoted,
            (State::FieldBegins | State::Bare | State::Quote, b',' | b'\n' | b'\r') => {
                State::FieldBegins
            }
            (State::FieldBegins | State::Bare | State::Quote, _) => State::Bare,
        };
        self.line += u64::from(byte == b'\n');
    }
}

impl<R: Read> Quotes<R> {
    /// Takes bytes in and returns what is to be passed on of them: at most one more.
    fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut passed = Vec::with_capacity(bytes.len() + 1);
        for byte in bytes.iter().copied() {
            if std::mem::take(&mut self.holds_return) && byte != b'\n' {
                passed.push(b'\r');
            }
            self.holds_return = byte == b'\r' && self.state != State::Quoted;
            self.follow(byte);
            if !self.holds_return {
                passed.push(byte);
            }
        }
        passed
    }
}

impl<R: Read> Read for Quotes<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        // One byte may be held from before.
        let room = to.len().saturating_sub(1).max(1);
        let mut read = vec![0; room];
        loop {
            let count = self.from.read(&mut read)?;
            self.has_ended = count == 0;
            let mut passed = self.pass(read.get(..count).unwrap_or_default());
            if count == 0 && std::mem::take(&mut self.holds_return) {
                passed.push(b'\r');
            }
            // Nothing would mean the end.
            if passed.is_empty() && count != 0 {
                continue;
            }
            let room = to.get_mut(..passed.len()).ok_or(io::ErrorKind::InvalidInput)?;
            room.copy_from_slice(&passed);
            return Ok(passed.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_at_end(text: &str) -> Option<(u64, u64)> {
        let mut quotes = Quotes::new(text.as_bytes());
        io::copy(&mut quotes, &mut io::sink()).unwrap();
        quotes.open_at_end()
    }

    #[test]
    fn a_quote_is_open_only_if_it_began_a_field_and_has_no_partner() {
        for closed in ["", "a,\"b\"\n", "a,\"b\"", "a,\"b\"\"c\"\n", "a,b\"c\n", "\"a\"b\"\n"] {
            assert_eq!(open_at_end(closed), None, "{closed:?}");
        }
        assert_eq!(open_at_end("a,b\n1,\"x\n2,y\n"), Some((2, 4)));
        assert_eq!(open_at_end("\"a\"\"\n"), Some((1, 2)));
    }

    #[test]
    fn the_end_of_a_line_is_one_byte_outside_of_quotes_wherever_the_chunks_end() {
        let text = "a\r\n\"x\r\ny\"\r\nb\rc\r\r\nd\r";
        for size in 2..text.len() {
            let mut quotes = Quotes::new(text.as_bytes());
            let (mut passed, mut chunk) = (Vec::new(), vec![0; size]);
            loop {
                let count = quotes.read(&mut chunk).unwrap();
                if count == 0 {
                    break;
                }
                passed.extend_from_slice(&chunk[..count]);
            }
            let passed = String::from_utf8(passed).unwrap();
            assert_eq!(passed, "a\n\"x\r\ny\"\nb\rc\r\nd\r", "in chunks of {size}");
        }
    }
}
