//! What is wrong, how we know, and what to do.

use serde::Serialize;

/// How much it matters.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Severity {
    /// Requests fail now, or data is at risk.
    Critical,
    /// The next fault will be felt, or something is slower than it should be.
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    /// The cause in one word, for programs.
    pub(super) cause: &'static str,
    /// The cause in a sentence.
    pub(super) what: String,
    /// The numbers that say so.
    pub(super) evidence: String,
    /// The next command, or the next step where there is none.
    pub(super) do_this: String,
}

impl Finding {
    /// Something that matters at once.
    pub(super) fn critical(cause: &'static str, what: String) -> Self {
        let (evidence, do_this) = (String::new(), String::new());
        Self { severity: Severity::Critical, cause, what, evidence, do_this }
    }

    /// Something that can wait until the morning.
    pub(super) fn warning(cause: &'static str, what: String) -> Self {
        Self { severity: Severity::Warning, ..Self::critical(cause, what) }
    }

    /// Adds how we know.
    pub(super) fn because(self, evidence: String) -> Self {
        Self { evidence, ..self }
    }

    /// Adds what to do.
    pub(super) fn so(self, do_this: impl Into<String>) -> Self {
        Self { do_this: do_this.into(), ..self }
    }
}
