//! How many replicas must take part in a request.

use std::fmt;
use std::str::FromStr;

/// A number of replicas, by name or by count.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Level {
    /// One replica.
    One,
    /// Two replicas.
    Two,
    /// Three replicas.
    Three,
    /// A majority of all replicas.
    Quorum,
    /// All replicas.
    All,
    /// Exactly so many.
    Count(u8),
}

impl FromStr for Level {
    type Err = String;

    /// Reads `ONE`, `TWO`, `THREE`, `QUORUM`, `ALL` in either case, or a number.
    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text.to_ascii_uppercase().as_str() {
            "ONE" => Self::One,
            "TWO" => Self::Two,
            "THREE" => Self::Three,
            "QUORUM" => Self::Quorum,
            "ALL" => Self::All,
            number => Self::Count(number.parse().map_err(|_| {
                format!("{text:?} is no level: use ONE, TWO, THREE, QUORUM, ALL or a number")
            })?),
        })
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One => f.write_str("ONE"),
            Self::Two => f.write_str("TWO"),
            Self::Three => f.write_str("THREE"),
            Self::Quorum => f.write_str("QUORUM"),
            Self::All => f.write_str("ALL"),
            Self::Count(count) => write!(f, "{count}"),
        }
    }
}

/// What a read asks for. What is left out comes from the table.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// Replicas that must answer.
    pub r: Option<Level>,
    /// Of these, how many must be primaries.
    pub pr: Option<Level>,
    /// Ask for everything the server knows about the answer: the dot of a single value, and
    /// each replica's part. Without it a single value comes as it is, which is cheaper.
    pub full: bool,
}

/// What a write asks for. What is left out comes from the table.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// Replicas that must have the write.
    pub w: Option<Level>,
    /// Of these, how many must be primaries.
    pub pw: Option<Level>,
    /// Of these, how many must have it on disk.
    pub dw: Option<Level>,
}

impl ReadOptions {
    pub(crate) fn named(&self) -> [(&'static str, Option<Level>); 2] {
        [("r", self.r), ("pr", self.pr)]
    }
}

impl WriteOptions {
    pub(crate) fn named(&self) -> [(&'static str, Option<Level>); 3] {
        [("w", self.w), ("pw", self.pw), ("dw", self.dw)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_spells_every_level_as_the_client_does() {
        let numbers = (0..=300).map(|count: u32| count.to_string());
        let words = ["ONE", "two", "Three", "QUORUM", "all", "", "MOST", "-1", "+1", "01", " 1"];
        for text in numbers.chain(words.map(str::to_owned)) {
            let ours = text.parse::<Level>().ok().map(|level| level.to_string());
            let theirs = model::Level::parse(&text).map(|level| level.to_string());
            assert_eq!(ours, theirs, "{text:?}");
        }
    }
}
