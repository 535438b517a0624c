//! `merganser del`: remove the value of a key.

use client::{Context, Options, ReadOptions};

use super::connect::{At, Connect, WriteLevels, after_write, block_on};
use super::error::{CliError, Exit};
use super::put::finish;
use super::session::InSession;

/// Delete what a key holds.
///
/// A delete removes what its context had read, and nothing that was written meanwhile.
/// Without `--context` the key is read first, and what is found is removed.
#[derive(Debug, clap::Args)]
pub(crate) struct Del {
    #[command(flatten)]
    at: At,
    /// Remove exactly what was read with this context.
    #[arg(long, value_name = "TOKEN")]
    context: Option<String>,
    #[command(flatten)]
    levels: WriteLevels,
    #[command(flatten)]
    session: InSession,
    #[command(flatten)]
    connect: Connect,
    /// Print the new context and the receipt as JSON.
    #[arg(long)]
    json: bool,
}

impl Del {
    /// Does it.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let client = self.connect.client(Options::default())?;
        let table = self.session.of(client.table(&self.at.keyspace, &self.at.table))?;
        let key = self.at.key();
        let written = block_on(async {
            let context = match &self.context {
                Some(token) => Context::new(token)?,
                None => {
                    let answer = table.get(&key, &ReadOptions::default()).await?;
                    match answer.context {
                        Some(context) if !answer.values.is_empty() => context,
                        Some(_) | None => return Err(nothing(&key)),
                    }
                }
            };
            let deleted = table.delete(&key, Some(&context), &self.levels.options()).await;
            deleted.map_err(|err| after_write(err, &self.at))
        });
        finish(written, table, self.json, "deleted")
    }
}

fn nothing(key: &client::Key) -> CliError {
    CliError::new(Exit::NotFound, format!("the key {key} holds nothing to delete"))
        .remains("nothing was changed")
}
