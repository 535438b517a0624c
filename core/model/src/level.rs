//! How many replicas must take part.
//!
//! A client names a level (`QUORUM`) or a number (`w=2`), and may demand more: so many of
//! them primaries (`pw`), so many with the write on disk (`dw`). What that comes to
//! depends on the number of replicas `n`, so options are what was asked, and a *need* is
//! what it means for one request.
//!
//! ```text
//! N = 3:  ONE 1   TWO 2   THREE 3   QUORUM 2   ALL 3
//! N = 5:  ONE 1   TWO 2   THREE 3   QUORUM 3   ALL 5
//! ```
//!
//! Source: consistency levels after Cassandra; `pr`, `pw`, `dw` after Riak.

use std::fmt;

use crate::Refusal;

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

impl Level {
    /// Reads `ONE`, `TWO`, `THREE`, `QUORUM`, `ALL` in either case, or a number.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_uppercase().as_str() {
            "ONE" => Self::One,
            "TWO" => Self::Two,
            "THREE" => Self::Three,
            "QUORUM" => Self::Quorum,
            "ALL" => Self::All,
            number => Self::Count(number.parse().ok()?),
        })
    }

    /// How many of `n` replicas this is. Not checked against `n`.
    pub fn of(self, n: u8) -> u8 {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Three => 3,
            Self::Quorum => n / 2 + 1,
            Self::All => n,
            Self::Count(count) => count,
        }
    }

    fn resolve(self, what: &'static str, n: u8) -> Result<u8, Refusal> {
        let count = self.of(n);
        if (1..=n).contains(&count) {
            Ok(count)
        } else {
            Err(Refusal::Level { what, asked: count, replicas: n })
        }
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
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ReadOptions {
    /// Replicas that must answer.
    pub r: Option<Level>,
    /// Of these, how many must be primaries.
    pub pr: Option<Level>,
}

/// What a write asks for. What is left out comes from the table.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct WriteOptions {
    /// Replicas that must have the write.
    pub w: Option<Level>,
    /// Of these, how many must be primaries.
    pub pw: Option<Level>,
    /// Of these, how many must have it on disk (`fsync`).
    pub dw: Option<Level>,
}

/// How many replicas one read waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReadNeed {
    /// Answers.
    pub r: u8,
    /// Answers by primaries. At most `r`.
    pub pr: u8,
}

/// How many replicas one write waits for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct WriteNeed {
    /// Acknowledgements.
    pub w: u8,
    /// Acknowledgements by primaries.
    pub pw: u8,
    /// Acknowledgements that say "on disk".
    pub dw: u8,
}

impl ReadOptions {
    /// What these options mean for `n` replicas, with `default` for what was not said.
    ///
    /// # Errors
    ///
    /// [`Refusal::Level`] if a number is zero or above `n`. Asking for more primaries
    /// than answers raises the number of answers.
    pub fn resolve(self, default: Level, n: u8) -> Result<ReadNeed, Refusal> {
        let r = self.r.unwrap_or(default).resolve("r", n)?;
        let pr = self.pr.map_or(Ok(0), |pr| pr.resolve("pr", n))?;
        Ok(ReadNeed { r: r.max(pr), pr })
    }
}

impl WriteOptions {
    /// What these options mean for `n` replicas, with `default` for what was not said.
    ///
    /// # Errors
    ///
    /// [`Refusal::Level`] if a number is zero or above `n`. Asking for more primaries or
    /// durable copies than acknowledgements raises the number of acknowledgements.
    pub fn resolve(self, default: Level, n: u8) -> Result<WriteNeed, Refusal> {
        let w = self.w.unwrap_or(default).resolve("w", n)?;
        let pw = self.pw.map_or(Ok(0), |pw| pw.resolve("pw", n))?;
        let dw = self.dw.map_or(Ok(0), |dw| dw.resolve("dw", n))?;
        Ok(WriteNeed { w: w.max(pw).max(dw), pw, dw })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_count_a_majority_of_all_replicas() {
        for (n, quorum) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4)] {
            assert_eq!(Level::Quorum.of(n), quorum, "N = {n}");
            assert_eq!(Level::All.of(n), n);
        }
    }

    #[test]
    fn a_level_that_cannot_be_met_is_refused() {
        let refused = |level| ReadOptions { r: Some(level), pr: None }.resolve(Level::One, 2);
        for level in [Level::Three, Level::Count(0), Level::Count(3)] {
            assert!(matches!(refused(level), Err(Refusal::Level { what: "r", .. })), "{level}");
        }
        assert_eq!(refused(Level::Two), Ok(ReadNeed { r: 2, pr: 0 }));
    }

    #[test]
    fn demanding_durable_copies_raises_the_number_of_answers() {
        let options = WriteOptions { w: Some(Level::One), pw: None, dw: Some(Level::All) };
        let need = options.resolve(Level::Quorum, 3);
        assert_eq!(need, Ok(WriteNeed { w: 3, pw: 0, dw: 3 }));
    }

    #[test]
    fn levels_read_back_what_they_print() {
        for level in [Level::One, Level::Quorum, Level::All, Level::Count(4)] {
            assert_eq!(Level::parse(&level.to_string()), Some(level));
        }
        assert_eq!(Level::parse("quorum"), Some(Level::Quorum));
        assert_eq!(Level::parse("most"), None);
    }
}
