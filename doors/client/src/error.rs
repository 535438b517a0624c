//! How a request can fail, and what remains of it.

use serde::Deserialize;
use thiserror::Error;

use crate::Token;

/// Why a request did not succeed.
///
/// The variants differ in what the caller may conclude, because that decides what he may
/// do next. Of a write:
///
/// | variant | what became of it |
/// | --- | --- |
/// | [`Refused`](Error::Refused), [`NotAttempted`](Error::NotAttempted), [`Connect`](Error::Connect), [`Endpoint`](Error::Endpoint) | nothing was changed |
/// | [`Unknown`](Error::Unknown), [`Protocol`](Error::Protocol) | it may have been applied |
///
/// A read changes nothing, however it ends. A declaration is repeated when its answer got
/// lost, so it may have been made though it ends with any of these; to make it once more
/// harms nobody.
#[derive(Clone, Debug, Error)]
pub enum Error {
    /// The server does not accept the request. Repeating it as it is will not help.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// Too few replicas are known alive, or the node is overloaded or cannot read its disk.
    /// Nothing was changed, and the same request may succeed later, or at another node. It
    /// was repeated until the time was up.
    #[error("{0}")]
    NotAttempted(Box<Problem>),
    /// A write was sent, and it is not known what became of it: replicas that took it keep
    /// it. With a token it was sent again until the time was up, and may be once more. Without
    /// one, read before writing again: repeating it blindly could leave it there twice.
    #[error("unknown outcome: {why}; the write may have been applied and is not undone")]
    Unknown {
        /// What happened instead of an answer.
        why: String,
        /// What the server said, if it did.
        problem: Option<Box<Problem>>,
        /// What the write was known by. Under it the same write can be sent again, and
        /// [`outcome`](crate::Table::outcome) tells what became of it. Nothing if it had none.
        token: Option<Token>,
    },
    /// A read or declaration had no good answer in time, from any endpoint.
    #[error("no answer: {why}")]
    NoAnswer {
        /// What happened instead, the last time.
        why: String,
        /// What the server said, if it did.
        problem: Option<Box<Problem>>,
    },
    /// No endpoint could be reached at the end. A write was never sent.
    #[error("no node could be reached: {why}")]
    Connect {
        /// The last endpoint tried, and what happened.
        why: String,
    },
    /// What came is no answer that this client understands, or what was asked for cannot
    /// be sent. A write may have been applied: most often it was answered with success, but
    /// its receipt and context cannot be read.
    #[error("the answer of the server makes no sense: {why}")]
    Protocol {
        /// What is wrong with it.
        why: String,
    },
    /// The endpoint cannot be one.
    #[error("{endpoint:?} is no endpoint: {why}")]
    Endpoint {
        /// What was given.
        endpoint: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Error {
    pub(crate) fn protocol(why: impl Into<String>) -> Self {
        Self::Protocol { why: why.into() }
    }

    /// The same, of a write that has this token.
    pub(crate) fn of_write(self, token: Option<Token>) -> Self {
        let Self::Unknown { why, problem, .. } = self else { return self };
        Self::Unknown { why, problem, token }
    }

    /// What the server said, if this is about something it said.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused(problem) | Self::NotAttempted(problem) => Some(problem),
            Self::Unknown { problem, .. } | Self::NoAnswer { problem, .. } => problem.as_deref(),
            Self::Connect { .. } | Self::Protocol { .. } | Self::Endpoint { .. } => None,
        }
    }

    /// The server's code for what is wrong, as in `unknown_table`; or, where there was no
    /// such answer, one of `unknown_outcome`, `no_answer`, `connect`, `protocol`, `endpoint`.
    pub fn code(&self) -> &str {
        match self {
            Self::Refused(problem) | Self::NotAttempted(problem) => &problem.code,
            Self::Unknown { problem: Some(problem), .. }
            | Self::NoAnswer { problem: Some(problem), .. } => &problem.code,
            Self::Unknown { problem: None, .. } => "unknown_outcome",
            Self::NoAnswer { problem: None, .. } => "no_answer",
            Self::Connect { .. } => "connect",
            Self::Protocol { .. } => "protocol",
            Self::Endpoint { .. } => "endpoint",
        }
    }
}

/// What a server says is wrong (`application/problem+json`).
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Error)]
#[error("{} ({code})", if detail.is_empty() { title } else { detail })]
pub struct Problem {
    /// The HTTP status.
    #[serde(default)]
    pub status: u16,
    /// Names the kind of problem; stable over versions.
    #[serde(default)]
    pub code: String,
    /// The kind of problem in words.
    #[serde(default)]
    pub title: String,
    /// This problem in words, with what to do about it.
    #[serde(default)]
    pub detail: String,
    /// How many replicas the level needs.
    pub wanted: Option<u32>,
    /// How many answered.
    pub got: Option<u32>,
    /// How many are believed to be alive.
    pub alive: Option<u32>,
    /// How many replicas there are.
    pub replicas: Option<u32>,
}

impl Problem {
    /// Reads the body of an answer with a status of 400 or more. Whatever is no problem
    /// document (as of a proxy between) becomes one without a code of ours.
    pub(crate) fn read(status: u16, body: &[u8]) -> Self {
        match serde_json::from_slice::<Self>(body) {
            Ok(problem) if !problem.code.is_empty() => Self { status, ..problem },
            Ok(_) | Err(_) => Self {
                status,
                code: format!("http_{status}"),
                title: format!("HTTP status {status}"),
                detail: format!("the server answered with status {status} and no explanation"),
                ..Self::default()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_read_with_its_facts_and_in_spite_of_unknown_ones() {
        let body = br#"{"type":"t","title":"T","status":504,"detail":"D","code":"unknown_outcome",
            "wanted":2,"got":1,"novelty":{"a":1}}"#;
        let problem = Problem::read(504, body);
        assert_eq!(
            (problem.code.as_str(), problem.wanted, problem.got),
            ("unknown_outcome", Some(2), Some(1))
        );
        assert_eq!(problem.to_string(), "D (unknown_outcome)");
    }

    #[test]
    fn what_is_no_problem_document_keeps_its_status() {
        for body in [&b"<html>"[..], b"", b"{}", b"[1]"] {
            assert_eq!(Problem::read(502, body).code, "http_502");
        }
    }
}
