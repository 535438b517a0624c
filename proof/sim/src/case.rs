//! Cases: runs that are worth keeping, as files.
//!
//! A seed means a world only as long as worlds are drawn in the same way. A run that once
//! found something is therefore kept with its whole world, and with the faults that turned
//! out not to matter left out. Whoever reads the file sees what kind of world it takes.
//!
//! Fields that a later version adds are off in older files.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::report::{Report, Violation};
use crate::swarm::Plan;
use crate::{Mutant, Options, run};

/// The version of the format.
const VERSION: u32 = 1;

/// One run, in full.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The version of the format.
    version: u32,
    /// What it showed, in a line.
    pub story: String,
    /// What did not hold, when it was found.
    pub invariant: String,
    /// The mutant that brings the bug back. Nothing if no mutant does, as when it was the oracle
    /// that was wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bug: Option<String>,
    /// What everything but the world is drawn from.
    pub seed: u64,
    /// Faults that do not happen.
    #[serde(default)]
    pub left_out: BTreeSet<u64>,
    /// The world.
    pub plan: Plan,
}

/// Why a file is no case.
#[derive(Debug, Error)]
pub enum CaseError {
    /// It cannot be read as one.
    #[error("it is not a case: {0}")]
    Malformed(#[from] toml::de::Error),
    /// A later version of the program wrote it.
    #[error("it has version {0}, and this program knows versions up to {VERSION}")]
    Newer(u32),
}

impl Case {
    /// A run as a case.
    pub fn new(seed: u64, plan: Plan, left_out: BTreeSet<u64>, invariant: String) -> Self {
        let story = String::new();
        Self { version: VERSION, story, invariant, bug: None, seed, left_out, plan }
    }

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// [`CaseError`].
    pub fn parse(text: &str) -> Result<Self, CaseError> {
        let case: Self = toml::from_str(text)?;
        if VERSION < case.version { Err(CaseError::Newer(case.version)) } else { Ok(case) }
    }

    /// The file.
    pub fn to_text(&self) -> String {
        toml::to_string(self).expect("a case has nothing that TOML has not")
    }

    /// The options that run it.
    pub fn options(&self, mutant: Option<Mutant>) -> Options {
        let plan = Some(self.plan.clone());
        Options { plan, left_out: self.left_out.clone(), mutant, ..Options::default() }
    }

    /// Runs it.
    ///
    /// # Errors
    ///
    /// The [`Violation`] that it shows.
    pub fn run(&self, mutant: Option<Mutant>) -> Result<Report, Box<Violation>> {
        run(self.seed, &self.options(mutant))
    }
}
