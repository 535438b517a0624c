//! Names for writes, so that one that is sent again is known to be the same.
//!
//! A client that gets no answer cannot know whether its write took place. Sent once more under
//! the same token, at whatever node, it has the effect of one. A token is a UUID of version 7,
//! which says when it was made: nodes take it for about an hour.
//!
//! Source: RFC 9562, section 5.7.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use hyper::header::HeaderValue;

/// Names one write, however often it is sent.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Token(u128);

/// Where the version and the variant of a UUID are, and what they are.
const FIXED: u128 = (0xf << 76) | (0b11 << 62);
const VERSION_7: u128 = (0x7 << 76) | (0b10 << 62);

impl Token {
    /// A token of this moment, by the clock of this machine. No two are alike.
    #[expect(clippy::new_without_default, reason = "each is another, which no default is")]
    pub fn new() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = (since.as_millis() & 0xffff_ffff_ffff) << 80;
        let chance = rand::random::<u128>() & ((1 << 80) - 1) & !FIXED;
        Self(time | chance | VERSION_7)
    }

    /// The token as it is sent.
    pub(crate) fn header(self) -> HeaderValue {
        HeaderValue::from_str(&self.to_string()).expect("hexadecimal digits and hyphens are ASCII")
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

/// What was given as a token is none.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("an idempotency key is a UUID of version 7, as in 0198b5c2-79b0-7cc3-98c4-dc0c0c07398f")]
pub struct NoToken;

impl FromStr for Token {
    type Err = NoToken;

    fn from_str(text: &str) -> Result<Self, NoToken> {
        let is_hyphen = |at| text.as_bytes().get(at) == Some(&b'-');
        let is_parted = text.len() == 36 && [8, 13, 18, 23].into_iter().all(is_hyphen);
        let digits = text.replace('-', "");
        let is_hex = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let bits = (is_parted && is_hex).then(|| u128::from_str_radix(&digits, 16).ok()).flatten();
        bits.filter(|bits| bits & FIXED == VERSION_7).map(Self).ok_or(NoToken)
    }
}

/// What a write is known by when it is sent again.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Identity {
    /// A token that is made for it. It is sent again until it is answered.
    #[default]
    Fresh,
    /// This token: of a write that may have been sent before, with the same content and the
    /// same context.
    Known(Token),
    /// None. It is never sent again after it may have been sent, and ends as
    /// [`Error::Unknown`](crate::Error::Unknown) instead. Who repeats it may do it twice.
    UnsafeToRepeat,
}

impl Identity {
    /// The token, which is made now if it has to be.
    pub(crate) fn token(self) -> Option<Token> {
        match self {
            Self::Fresh => Some(Token::new()),
            Self::Known(token) => Some(token),
            Self::UnsafeToRepeat => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_as_nodes_read_them_and_are_of_this_time() {
        let (one, other) = (Token::new(), Token::new());
        assert_ne!(one, other);
        let theirs = model::Token::parse(&one.to_string()).expect("nodes take it");
        assert_eq!(theirs.bits(), one.0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        assert!(now.abs_diff(theirs.millis().into()) < 60_000);
        assert_eq!(one.to_string().parse(), Ok(one));
        for text in ["", "017f22e2-79b0-4cc3-98c4-dc0c0c07398f", "017f22e279b07cc398c4dc0c0c07398f"]
        {
            assert_eq!(text.parse::<Token>(), Err(NoToken), "{text:?}");
        }
    }
}
