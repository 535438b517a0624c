//! Inputs of several parts, cut out of one run of bytes.
//!
//! libFuzzer makes bytes and nothing else. A target that needs a key and a body, or a
//! sequence of things, cuts them out here; an input that ends early has empty parts, so
//! that every input means something.

/// The rest of an input.
pub(crate) struct Cut<'a>(pub(crate) &'a [u8]);

impl<'a> Cut<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    pub(crate) fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// So many bytes, or those that are left.
    pub(crate) fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    /// A part with a length of one byte in front.
    pub(crate) fn part(&mut self) -> &'a [u8] {
        let count = self.byte();
        self.bytes(count.into())
    }

    /// A part with a length of two bytes in front.
    pub(crate) fn long_part(&mut self) -> &'a [u8] {
        let count = self.short();
        self.bytes(count.into())
    }
}

/// What [`Cut::long_part`] takes.
pub(crate) fn long_part(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    let mut out = len.to_le_bytes().to_vec();
    out.extend(bytes.iter().take(len.into()));
    out
}
