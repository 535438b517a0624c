//! The commands of users: what talks to a running cluster through its HTTP door.
//!
//! Each command is one file (or folder), holding its arguments as clap reads them and a
//! `run` that does the work. All of them share how they connect ([`connect`]), how they
//! print ([`print`]) and how they fail ([`error`], which also lists the exit codes).

pub mod error;

use clap::Subcommand;
pub use error::CliError;

/// What a user can do with a running cluster.
#[derive(Debug, Subcommand)]
pub enum Command {}

impl Command {
    /// Does it. Starts its own runtime, so it must not be called inside one.
    ///
    /// # Errors
    ///
    /// [`CliError`] says what happened, what remains and what to do, and carries the exit
    /// code: `fn main() -> ExitCode` returns [`CliError::report`].
    pub fn run(self) -> Result<(), CliError> {
        match self {}
    }
}
