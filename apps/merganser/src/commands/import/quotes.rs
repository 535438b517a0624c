//! A quote that is opened in a CSV file and never closed.
//!
//! The library takes the rest of the file as one field then, and says nothing. So the bytes
//! are followed on their way to it, by the same rules: a quote opens where a field begins,
//! two in a row stand for one, and anywhere else in a bare field it is a character.

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
}

impl<R: Read> Quotes<R> {
    pub(crate) fn new(from: R) -> Self {
        Self { from, state: State::FieldBegins, line: 1, opened: 0, has_ended: false }
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

impl<R: Read> Read for Quotes<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(to)?;
        self.has_ended = count == 0 && !to.is_empty();
        to.iter().take(count).for_each(|byte| self.follow(*byte));
        Ok(count)
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
}
