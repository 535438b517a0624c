//! What two writes have in common that are one: the token of a client that tried twice.
//!
//! A client whose request was not answered cannot know whether its write took place. If it
//! tries again at another node, which may not have heard of the first attempt, two replicas
//! mint two dots for what the client means as one write. The client's [`Token`] is what tells:
//! dots with the same [`Mark`] are *twins*, one write under two names, and whatever
//! supersedes one of them supersedes the other.
//!
//! A token is a UUID of version 7. The first 48 bits are the time at which the client made
//! it, so that everybody can tell without any memory whether it is too old to be a retry that
//! is still known of.
//!
//! Source: RFC 9562, section 5.7.

use std::collections::BTreeMap;
use std::fmt;

use causality::Dot;

/// Names one intent of one client, however often it is tried.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Token(u128);

/// Where the version and the variant of a UUID are, and what they must be.
const FIXED: u128 = (0xf << 76) | (0b11 << 62);
const VERSION_7: u128 = (0x7 << 76) | (0b10 << 62);

impl Token {
    /// A token that was made so many milliseconds after 1970, and that `random` tells apart
    /// from others of that time.
    pub fn new(millis: u64, random: u128) -> Self {
        let time = u128::from(millis & 0xffff_ffff_ffff) << 80;
        Self(time | (random & ((1 << 80) - 1) & !FIXED) | VERSION_7)
    }

    /// The token of these bits, unless they are no UUID of version 7.
    pub fn from_bits(bits: u128) -> Option<Self> {
        (bits & FIXED == VERSION_7).then_some(Self(bits))
    }

    /// All of it.
    pub fn bits(self) -> u128 {
        self.0
    }

    /// Reads 32 hexadecimal digits, with hyphens where UUIDs have them, or without any.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: String = match text.len() {
            32 => text.to_owned(),
            36 => {
                let is_hyphen = |at| text.as_bytes().get(at) == Some(&b'-');
                if ![8, 13, 18, 23].into_iter().all(is_hyphen) {
                    return None;
                }
                text.replace('-', "")
            }
            _ => return None,
        };
        let is_hex = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let bits = is_hex.then(|| u128::from_str_radix(&digits, 16).ok()).flatten()?;
        Self::from_bits(bits)
    }

    /// When it was made, in milliseconds after 1970, by the clock of its client.
    pub fn millis(self) -> u64 {
        u64::try_from(self.0 >> 80).expect("48 bits are fewer than 64")
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |shift: u32, bits: u32| (self.0 >> shift) & ((1 << bits) - 1);
        write!(f, "{:08x}-{:04x}-{:04x}-", part(96, 32), part(80, 16), part(64, 16))?;
        write!(f, "{:04x}-{:012x}", part(48, 16), part(0, 48))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({self})")
    }
}

/// The identity of a write: its token, and what was asked with it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Mark {
    /// The client's name for it.
    pub token: Token,
    /// A hash of what was asked. A token that comes with something else is a mistake of its
    /// client, and no repetition. The last bit says whether it was a delete, the one before
    /// whether it was sent again.
    pub fingerprint: u64,
}

/// What the last bits of a fingerprint say.
const DELETE: u64 = 0b01;
const REPEATED: u64 = 0b10;

impl Mark {
    /// The mark of a write: `hash` is of all that was asked. Its last bit gives way to whether
    /// it was a delete, because of a write that holds no value any more nobody could tell.
    pub fn new(token: Token, hash: u64, is_delete: bool) -> Self {
        Self { token, fingerprint: hash & !(DELETE | REPEATED) | u64::from(is_delete) }
    }

    /// The mark of the same write when somebody was asked before who did not answer, and who may
    /// have accepted it: it may have a twin.
    #[must_use]
    pub fn sent_again(self) -> Self {
        Self { fingerprint: self.fingerprint | REPEATED, ..self }
    }

    /// Whether it is of a write that was [sent again](Mark::sent_again).
    pub fn is_repeated(&self) -> bool {
        self.fingerprint & REPEATED != 0
    }

    /// What all attempts of one write have in common, and no other write has.
    #[must_use]
    pub fn write(self) -> Self {
        Self { fingerprint: self.fingerprint & !REPEATED, ..self }
    }

    /// Whether the write was a delete, which holds no value from the beginning.
    pub fn is_delete(&self) -> bool {
        self.fingerprint & DELETE != 0
    }
}

/// The marks of some dots. A dot without one was written without a token.
pub type Marks = BTreeMap<Dot, Mark>;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_example_of_the_standard_is_a_token_of_its_time() {
        let text = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f";
        let token = Token::parse(text).expect("it is a UUID of version 7");
        assert_eq!(token.millis(), 1_645_557_742_000);
        assert_eq!(token.to_string(), text);
        assert_eq!(Token::parse(&text.replace('-', "")), Some(token));
    }

    #[test]
    fn what_is_no_uuid_of_version_7_is_no_token() {
        for text in [
            "",
            "017f22e2-79b0-4cc3-98c4-dc0c0c07398f",
            "017f22e2-79b0-7cc3-18c4-dc0c0c07398f",
            "017f22e279b0-7cc3-98c4-dc0c0c07398f-",
            "017f22e2-79b0-7cc3-98c4-dc0c0c07398g",
            "+17f22e279b07cc398c4dc0c0c07398f",
            "017f22e2-79b0-7cc3-98c4-dc0c0c0739\u{e9}",
        ] {
            assert_eq!(Token::parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn tokens_are_ordered_by_their_time_and_read_back(
            (a, b) in (0..1_u64 << 48, 0..1_u64 << 48),
            (x, y) in any::<(u128, u128)>(),
        ) {
            let (first, second) = (Token::new(a, x), Token::new(b, y));
            prop_assert_eq!(first.millis(), a);
            prop_assert_eq!(Token::parse(&first.to_string()), Some(first));
            prop_assert_eq!(Token::from_bits(first.bits()), Some(first));
            if a < b {
                prop_assert!(first < second);
            }
        }
    }
}
