//! A place in bytes that came from outside.

use bytes::Bytes;

use crate::{Malformed, varint};

/// Reads values one after the other, and hands out parts without copying them.
///
/// A part shares the memory of the bytes it came from, and keeps all of it alive.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the beginning of `bytes`.
    pub fn new(bytes: &'a Bytes) -> Self {
        Self { bytes, at: 0 }
    }

    /// The bytes not yet read.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Ends the reading.
    ///
    /// # Errors
    ///
    /// [`Malformed::Trailing`] if not everything was read.
    pub fn finish(self) -> Result<(), Malformed> {
        if self.rest().is_empty() { Ok(()) } else { Err(Malformed::Trailing) }
    }

    /// Reads one byte.
    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        let byte = self.rest().first().copied().ok_or(Malformed::Truncated)?;
        self.at += 1;
        Ok(byte)
    }

    /// Reads a number of eight bytes, the lowest first.
    pub(crate) fn fixed(&mut self) -> Result<u64, Malformed> {
        let bytes = self.rest().first_chunk::<8>().ok_or(Malformed::Truncated)?;
        self.at += bytes.len();
        Ok(u64::from_le_bytes(*bytes))
    }

    /// Reads a number of as many bytes as it needs.
    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        let rest = self.rest();
        let (number, len) = match rest.first() {
            Some(&byte) if byte < 0x80 => (u64::from(byte), 1),
            Some(_) | None => varint::read(rest)?,
        };
        self.at += len;
        Ok(number)
    }

    /// Reads a number that must fit a smaller type.
    pub(crate) fn number<T: TryFrom<u64>>(&mut self) -> Result<T, Malformed> {
        let number = self.varint()?;
        T::try_from(number).map_err(|_| Malformed::Invalid("a number above its range"))
    }

    /// Reads how many elements follow, each of at least `bytes_min` bytes.
    ///
    /// # Errors
    ///
    /// [`Malformed::Truncated`] if so many cannot follow. The caller may therefore make
    /// room for all of them.
    pub(crate) fn count(&mut self, bytes_min: usize) -> Result<usize, Malformed> {
        let count = self.varint()?;
        let count = usize::try_from(count).map_err(|_| Malformed::Truncated)?;
        let fits = count <= self.rest().len() / bytes_min;
        if fits { Ok(count) } else { Err(Malformed::Truncated) }
    }

    /// Reads a length and as many bytes.
    pub(crate) fn sized(&mut self) -> Result<Bytes, Malformed> {
        let len = self.count(1)?;
        let part = self.bytes.slice(self.at..self.at + len);
        self.at += len;
        Ok(part)
    }
}
