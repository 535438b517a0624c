//! Times as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// A time such as `90s`, `30m` or `2h`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Span(pub(crate) Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("{text:?} is no time: write 90s, 30m, 2h or 1d");
        let at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(refuse)?;
        let (number, unit) = text.split_at(at);
        let number: u64 = number.parse().map_err(|_| refuse())?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 24 * 3_600,
            _ => return Err(refuse()),
        };
        number.checked_mul(seconds).map(Duration::from_secs).map(Self).ok_or_else(refuse)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let units = [("d", 24 * 3_600), ("h", 3_600), ("m", 60)];
        let unit = units.into_iter().find(|(_, unit)| 0 < seconds && seconds.is_multiple_of(*unit));
        let (name, unit) = unit.unwrap_or(("s", 1));
        write!(f, "{}{name}", seconds / unit)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_unit() {
        let seconds = |text: &str| text.parse::<Span>().map(|span| span.0.as_secs());
        let read = ["90s", "30m", "2h", "1d"].map(seconds);
        assert_eq!(read, [Ok(90), Ok(1_800), Ok(7_200), Ok(86_400)]);
        for text in ["", "5", "h", "-1s", "1.5h", "2 h", "1w", "99999999999999999999h"] {
            assert!(seconds(text).is_err(), "{text:?}");
        }
    }
}
