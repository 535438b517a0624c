//! `merganser salvage`: what only the disk of a node has that does not come back.
//!
//! A node that was evicted, or whose disk was replaced, never serves with the old one again. If
//! that can still be read, it may hold writes that it had accepted alone. This command reads the
//! directory, asks the cluster what of it no replica has ever heard of, and hands in that.
//!
//! ```text
//! survey   the directory      which writes each shard of it has heard of, and a key of each
//! ask      all replicas       which of those none has heard of           one question a shard
//! hand in  the directory      the values of these, one by one            marked as recovered
//! ```
//!
//! The directory is only read. Nothing is kept of what was done: a write that was taken in keeps its
//! name, so that it has been heard of when this is run again.

mod report;
mod run;
mod survey;

use std::path::PathBuf;

use client::{Client, Options};
use storage::{Retired, RetiredError};

use super::connect::{Connect, block_on};
use super::error::{CliError, Exit};
use report::Report;
use run::Run;
use survey::Survey;

/// Bring back what only a disk has that its node never serves with again.
///
/// The node was given up with `merganser evict`, or another disk has taken the place of this one. Of
/// its directory the values are stored that no replica has ever heard of, beside
/// whatever their keys hold, and marked as recovered. Deletes that nobody has heard of are listed,
/// and not applied. It can be run again at any time: what was brought back before is known then.
#[derive(Debug, clap::Args)]
pub(crate) struct Salvage {
    /// The data directory of the node, or a copy of all of it. It is only read.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Only this keyspace.
    #[arg(long, value_name = "KEYSPACE")]
    keyspace: Option<String>,
    /// Say what would be brought back, and change nothing.
    #[arg(long)]
    preview: bool,
    /// Where to put what it takes to read the directory, which is some MiB. Without it the directory
    /// for temporary files.
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    #[command(flatten)]
    connect: Connect,
    /// Print JSON, with every key that was brought back or left out.
    #[arg(long)]
    json: bool,
}

impl Salvage {
    /// Does it.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let client = self.connect.client(Options::default())?;
        let scratch = self.scratch.clone().unwrap_or_else(std::env::temp_dir);
        let retired = Retired::open(&self.data, &scratch).map_err(|error| unreadable(&error))?;
        let report = block_on(async {
            tokio::select! {
                report = self.bring_back(client, &retired) => report,
                // What was put elsewhere to read the directory goes when this returns.
                _ = tokio::signal::ctrl_c() => Err(interrupted()),
            }
        })?;
        report.tell(self.json)?;
        report.verdict()
    }

    async fn bring_back(&self, client: Client, retired: &Retired) -> Result<Report, CliError> {
        let mut run = Run::new(client, retired, self.preview);
        run.check_retired().await?;
        let survey = Survey::take(retired, self.keyspace.as_deref(), &mut run.report).await?;
        run.ask(&survey).await?;
        run.hand_in(retired, &survey).await?;
        Ok(run.report)
    }
}

fn interrupted() -> CliError {
    CliError::failed("it was interrupted")
        .code("interrupted")
        .remains("what was brought back stays")
        .remedy("run it again: what was brought back is known then")
}

fn unreadable(error: &RetiredError) -> CliError {
    let (exit, code) = match error {
        RetiredError::InUse(_) => (Exit::Failed, "directory_in_use"),
        RetiredError::NoDirectory(_) => (Exit::NotFound, "no_directory"),
        RetiredError::Newer { .. } => (Exit::Failed, "directory_newer"),
        RetiredError::Damaged { .. } => (Exit::Failed, "directory_damaged"),
        RetiredError::Io { .. } => (Exit::Failed, "directory_failed"),
    };
    CliError::new(exit, error.to_string()).code(code).remains("nothing was changed")
}
