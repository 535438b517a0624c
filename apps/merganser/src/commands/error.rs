//! What a command says, and with which number it ends, when it did not do what was asked.
//!
//! A person wants to know three things: what happened, what remains of it, and what to do
//! next. A script wants one number. This is the one place where both are decided.
//!
//! ```text
//! 0  done
//! 1  failed or refused; nothing was changed, or the message says what was
//! 2  the command line makes no sense (said by the parser of the command line)
//! 3  get: the key holds several values; list, export and the like do not use it
//! 4  not found: no such key, keyspace or table; outcome: nobody has heard of the write
//! 5  not attempted: too few replicas, an overloaded node, or no node reached; nothing was
//!    changed, and the same command may be run again
//! 6  unknown: the write may have been applied by some replicas; what is printed says how to
//!    find out, and how to send it again as the same write
//! 7  import: finished, but some lines were bad and were left out, or the file is not empty
//!    and yet held no record
//! ```
//!
//! With `--json` a program reads what a person would: one line of JSON on standard error,
//!
//! ```text
//! {"code":"unknown_table","exit":4,"message":"..","remains":"nothing was changed","remedy":".."}
//! ```
//!
//! whose `code` is that of the node that said so, or of the client, or names the number. What the
//! parser of the command line says stays text.

use std::fmt;
use std::process::ExitCode;

use serde_json::{Value, json};

/// The number with which a command ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Exit {
    /// Failed or refused.
    Failed,
    /// The key holds several values.
    Several,
    /// There is no such key, keyspace or table.
    NotFound,
    /// Nothing was changed, and it may be tried again.
    NotAttempted,
    /// A write may have been applied.
    Unknown,
    /// An import left out bad lines.
    BadLines,
}

impl Exit {
    /// The number, as listed at the head of this module.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Several => 3,
            Self::NotFound => 4,
            Self::NotAttempted => 5,
            Self::Unknown => 6,
            Self::BadLines => 7,
        }
    }

    /// What a program is told where nobody has said more.
    const fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Several => "several",
            Self::NotFound => "not_found",
            Self::NotAttempted => "not_attempted",
            Self::Unknown => "unknown",
            Self::BadLines => "bad_lines",
        }
    }
}

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(crate) struct CliError {
    /// The number to end with.
    pub(crate) exit: Exit,
    what: String,
    remains: Option<String>,
    remedy: Option<String>,
    code: Option<String>,
}

impl CliError {
    /// Something failed; `what` says what, in a sentence without a full stop.
    pub(crate) fn failed(what: impl Into<String>) -> Self {
        Self::new(Exit::Failed, what)
    }

    /// Ends with `exit` and says `what`.
    pub(crate) fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), remains: None, remedy: None, code: None }
    }

    /// Ends with `exit` without another word: what there is to say was printed already.
    pub(crate) fn silent(exit: Exit) -> Self {
        Self::new(exit, "")
    }

    /// Returns whether programs are told this code.
    pub(crate) fn has_code(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// What happened.
    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    /// Adds what is left of the attempt.
    pub(crate) fn remains(mut self, remains: impl Into<String>) -> Self {
        self.remains = Some(remains.into());
        self
    }

    /// Adds what to do next.
    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Adds what it is called by programs.
    pub(crate) fn code(mut self, code: &str) -> Self {
        self.code = Some(code.to_owned());
        self
    }

    /// Puts `before` and a colon in front of what happened.
    pub(crate) fn while_doing(mut self, before: impl fmt::Display) -> Self {
        if !self.what.is_empty() {
            self.what = format!("{before}: {}", self.what);
        }
        self
    }

    /// Adds what went wrong besides, and what to do about that.
    pub(crate) fn besides(mut self, other: Self) -> Self {
        let both = |ours: Option<String>, theirs: Option<String>| match (ours, theirs) {
            (Some(ours), Some(theirs)) => Some(format!("{ours}; {theirs}")),
            (ours, theirs) => ours.or(theirs),
        };
        self.what = format!("{}; besides, {}", self.what, other.what);
        self.remains = both(self.remains, other.remains);
        self.remedy = both(self.remedy, other.remedy);
        self
    }

    /// Prints the message to standard error, and gives the number for `main` to return.
    pub(crate) fn report(&self, as_json: bool) -> ExitCode {
        if as_json && !self.what.is_empty() {
            eprintln!("{}", self.json());
        } else if !self.what.is_empty() {
            eprintln!("merganser: {self}");
        }
        ExitCode::from(self.exit.code())
    }

    fn json(&self) -> Value {
        json!({
            "code": self.code.as_deref().unwrap_or(self.exit.name()),
            "exit": self.exit.code(),
            "message": self.what,
            "remains": self.remains,
            "remedy": self.remedy,
        })
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(remains) = &self.remains {
            write!(f, "\n  what remains: {remains}")?;
        }
        if let Some(remedy) = &self.remedy {
            write!(f, "\n  what to do: {remedy}")?;
        }
        Ok(())
    }
}

impl std::error::Error for CliError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_reads_all_that_a_person_does() {
        let error = CliError::new(Exit::NotFound, "no such thing").remedy("make one");
        let expected = json!({"code": "not_found", "exit": 4, "message": "no such thing",
            "remains": null, "remedy": "make one"});
        assert_eq!(error.json(), expected);
        let error = error.code("unknown_table").remains("all").while_doing("get").json();
        assert_eq!(
            (&error["code"], &error["message"]),
            (&json!("unknown_table"), &json!("get: no such thing"))
        );
        assert_eq!(error["remains"], "all");
    }

    #[test]
    fn of_two_things_that_went_wrong_all_is_said_in_one() {
        let first = CliError::new(Exit::Unknown, "no answer").remedy("read it");
        let other = CliError::failed("the file is gone").remains("nothing").remedy("name another");
        let expected = json!({"code": "unknown", "exit": 6,
            "message": "no answer; besides, the file is gone", "remains": "nothing",
            "remedy": "read it; name another"});
        assert_eq!(first.besides(other).json(), expected);
    }
}
