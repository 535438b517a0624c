//! Frames: where one message ends and the next begins.
//!
//! TCP hands over bytes in pieces of any size. A frame says how long it is, so that the
//! receiver knows when it has all of a message, and carries a checksum, because the sums
//! of TCP are too weak for the amounts that replicas exchange: a flipped bit would be
//! merged, and spread to every replica.
//!
//! The length is believed only as far as the cap, and the buffer grows with the bytes
//! that arrive: a frame that claims 64 MiB costs nothing until they come.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use node::Message;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::WireError;
use crate::message::{decode_message, encode_message};

/// The most bytes of a frame unless said otherwise: eight of the largest values that are
/// allowed by default. One frame this large keeps a gigabit link busy for half a second,
/// and everything behind it waits.
pub const FRAME_BYTES_MAX: usize = 64 << 20;

/// The bytes before the body: length and checksum.
const HEAD_BYTES: usize = size_of::<u32>() + size_of::<u64>();

/// The most room that is made for bytes that have not arrived.
const AHEAD_BYTES_MAX: usize = 256 << 10;

/// How frames are written and read.
#[derive(Clone, Copy, Debug)]
pub struct Frames {
    bytes_max: usize,
}

impl Default for Frames {
    fn default() -> Self {
        Self::new(FRAME_BYTES_MAX)
    }
}

impl Frames {
    /// Frames of at most `bytes_max` bytes of body, and never more than a length of 32
    /// bits can say. All nodes of a cluster must agree on it.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max: bytes_max.min(u32::MAX as usize) }
    }

    /// Appends a message as one frame.
    ///
    /// # Errors
    ///
    /// [`WireError::TooLarge`]; the buffer is as it was.
    pub fn encode(&self, message: &Message, out: &mut BytesMut) -> Result<(), WireError> {
        self.put(out, |out| encode_message(message, out))
    }

    /// Takes the next message out of what was received, or nothing if its end is not there
    /// yet. Messages of a kind that this version does not know are skipped.
    ///
    /// # Errors
    ///
    /// [`WireError`]; what is left in the buffer means nothing, and the connection must end.
    pub fn decode(&self, buffer: &mut BytesMut) -> Result<Option<Message>, WireError> {
        while let Some(body) = self.take(buffer)? {
            if let Some(message) = decode_message(body)? {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// Appends a frame whose body is written by `body`.
    pub(crate) fn put(
        &self,
        out: &mut BytesMut,
        body: impl FnOnce(&mut BytesMut),
    ) -> Result<(), WireError> {
        let start = out.len();
        out.put_bytes(0, HEAD_BYTES);
        body(out);
        let bytes = out.len() - start - HEAD_BYTES;
        if self.bytes_max < bytes {
            out.truncate(start);
            return Err(WireError::TooLarge { bytes, max: self.bytes_max });
        }
        let (_, frame) = out.split_at_mut(start);
        let (mut head, body) = frame.split_at_mut(HEAD_BYTES);
        let len = u32::try_from(bytes).expect("the cap fits 32 bits");
        head.put_u32_le(len);
        head.put_u64_le(checksum(len, body));
        Ok(())
    }

    /// Takes the body of the next frame, not copied, or nothing if its end is not there yet.
    pub(crate) fn take(&self, buffer: &mut BytesMut) -> Result<Option<Bytes>, WireError> {
        let Some((len, rest)) = buffer.split_first_chunk() else { return Ok(None) };
        let len = u32::from_le_bytes(*len);
        let (bytes, max) = (len as usize, self.bytes_max);
        if max < bytes {
            return Err(WireError::TooLarge { bytes, max });
        }
        let Some((sum, rest)) = rest.split_first_chunk() else { return Ok(None) };
        let Some(body) = rest.get(..bytes) else {
            let missing = bytes - rest.len();
            buffer.reserve(missing.min(AHEAD_BYTES_MAX));
            return Ok(None);
        };
        if checksum(len, body) != u64::from_le_bytes(*sum) {
            return Err(WireError::Checksum);
        }
        buffer.advance(HEAD_BYTES);
        Ok(Some(buffer.split_to(bytes).freeze()))
    }
}

/// Covers the length too: a frame cut out in another place does not pass.
fn checksum(len: u32, body: &[u8]) -> u64 {
    xxh3_64_with_seed(body, u64::from(len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(bodies: &[&[u8]]) -> BytesMut {
        let mut out = BytesMut::new();
        for body in bodies {
            Frames::default().put(&mut out, |out| out.put_slice(body)).unwrap();
        }
        out
    }

    #[test]
    fn frames_come_out_whole_and_in_order_however_they_arrive() {
        let sent = framed(&[b"one", b"", b"three"]);
        let mut buffer = BytesMut::new();
        let mut bodies = Vec::new();
        for byte in sent {
            buffer.put_u8(byte);
            bodies.extend(Frames::default().take(&mut buffer).unwrap());
        }
        assert_eq!(bodies, [&b"one"[..], b"", b"three"]);
        assert!(buffer.is_empty());
    }

    #[test]
    fn every_flipped_bit_of_a_frame_is_noticed_or_waits_for_more() {
        let frame = framed(&[b"body"]);
        for bit in 0..frame.len() * 8 {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let taken = Frames::default().take(&mut flipped);
            let longer = bit < 32 && taken == Ok(None);
            assert!(longer || taken.is_err(), "bit {bit}: {taken:?}");
        }
    }

    #[test]
    fn a_claimed_length_makes_no_room_for_itself() {
        let mut buffer = BytesMut::new();
        buffer.put_u32_le(FRAME_BYTES_MAX as u32);
        buffer.put_u64_le(0);
        assert_eq!(Frames::default().take(&mut buffer), Ok(None));
        assert!(buffer.capacity() <= 2 * AHEAD_BYTES_MAX);
    }

    #[test]
    fn frames_above_the_cap_are_neither_sent_nor_received() {
        let (small, mut out) = (Frames::new(4), framed(&[b"1234"]));
        let before = out.clone();
        let refused = Err(WireError::TooLarge { bytes: 5, max: 4 });
        assert_eq!(small.put(&mut out, |out| out.put_slice(b"12345")), refused);
        assert_eq!(out, before);
        assert_eq!(small.take(&mut out), Ok(Some(Bytes::from("1234"))));
        let refused = Err(WireError::TooLarge { bytes: 5, max: 4 });
        assert_eq!(small.take(&mut framed(&[b"12345"])), refused);
    }
}
