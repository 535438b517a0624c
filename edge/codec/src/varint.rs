//! Unsigned numbers in as many bytes as they need.
//!
//! Most numbers here are small: lengths, counts, distances between dots. Seven bits go
//! into each byte, the lowest first; the high bit says that more follow.
//!
//! ```text
//! 0 -> 00      127 -> 7f      128 -> 80 01      300 -> ac 02      u64::MAX -> ff x 9, 01
//! ```
//!
//! A number has exactly one encoding: one that is padded with zeros is refused.

use bytes::BufMut;

use crate::Malformed;

/// The most bytes that a number needs.
const BYTES_MAX: usize = 10;

/// Appends `number`.
pub(crate) fn put(mut number: u64, out: &mut impl BufMut) {
    while 0x7f < number {
        // The cast keeps the low bits, which is what is wanted.
        out.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

/// Appends the length of something in memory.
pub(crate) fn put_len(len: usize, out: &mut impl BufMut) {
    put(u64::try_from(len).expect("no address space is larger than 64 bits"), out);
}

/// Reads the number that `bytes` begin with, and returns how many bytes it took.
///
/// # Errors
///
/// [`Malformed`] if the bytes end first, or the number is padded or above `u64::MAX`.
pub(crate) fn read(bytes: &[u8]) -> Result<(u64, usize), Malformed> {
    let mut number = 0;
    for (index, &byte) in bytes.iter().take(BYTES_MAX).enumerate() {
        let bits = u64::from(byte & 0x7f);
        number |= bits << (7 * index);
        if byte & 0x80 == 0 {
            return check(byte, index).map(|()| (number, index + 1));
        }
    }
    if bytes.len() < BYTES_MAX { Err(Malformed::Truncated) } else { Err(TOO_LARGE) }
}

const TOO_LARGE: Malformed = Malformed::Invalid("a number above 64 bits");

/// Refuses a last byte that is padding, or has bits above the sixty-fourth.
fn check(last: u8, index: usize) -> Result<(), Malformed> {
    if last == 0 && 0 < index {
        return Err(Malformed::Invalid("a number padded with zeros"));
    }
    if index == BYTES_MAX - 1 && 1 < last { Err(TOO_LARGE) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(number: u64) -> Vec<u8> {
        let mut out = Vec::new();
        put(number, &mut out);
        out
    }

    #[test]
    fn the_examples_of_the_module_hold() {
        assert_eq!(encoded(0), [0]);
        assert_eq!(encoded(127), [0x7f]);
        assert_eq!(encoded(128), [0x80, 1]);
        assert_eq!(encoded(300), [0xac, 2]);
        assert_eq!(encoded(u64::MAX).len(), BYTES_MAX);
    }

    #[test]
    fn a_number_has_one_encoding() {
        for padded in [&[0x80, 0][..], &[0xff, 0x80, 0]] {
            assert!(matches!(read(padded), Err(Malformed::Invalid(_))), "{padded:?}");
        }
        let mut large = [0xff; BYTES_MAX];
        for last in [2, 0x7f, 0x81] {
            large[BYTES_MAX - 1] = last;
            assert_eq!(read(&large), Err(TOO_LARGE));
        }
    }

    proptest! {
        #[test]
        fn numbers_survive(number in prop_oneof![any::<u64>(), 0..1000_u64]) {
            let bytes = encoded(number);
            prop_assert_eq!(read(&bytes), Ok((number, bytes.len())));
            for cut in 0..bytes.len() {
                prop_assert_eq!(read(&bytes[..cut]), Err(Malformed::Truncated));
            }
        }
    }
}
