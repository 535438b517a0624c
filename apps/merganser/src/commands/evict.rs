//! `merganser evict`: giving up a disk that will not come back.
//!
//! Others wait for a replica that is away: their logs keep what it lacks, and a new disk in the place
//! of another waits for it before it counts as whole. Only an operator knows that it will
//! not return. What is given up never serves again, so a node that is there is not given up unless
//! that is said in so many words.

use client::{Client, NodeState, Options};
use serde_json::json;

use super::connect::{Connect, block_on};
use super::error::{CliError, Exit};
use super::print;

/// Give up the disk of a node that will not come back with it. The node may return with an
/// empty one.
#[derive(Debug, clap::Args)]
pub(crate) struct Evict {
    /// Which node, as in 3 or n3.
    #[arg(value_name = "NODE", value_parser = number)]
    node: u16,
    /// Give it up although the node answers, and serves with it at this moment.
    #[arg(long)]
    although_it_serves: bool,
    #[command(flatten)]
    connect: Connect,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn number(text: &str) -> Result<u16, String> {
    let number = text.strip_prefix('n').unwrap_or(text);
    number.parse().map_err(|_| format!("{text} is not the number of a node"))
}

impl Evict {
    /// Does it.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let client = self.connect.client(Options::default())?;
        let node = self.node;
        let disk = block_on(async {
            let Some(disk) = self.disk_to_give_up(&client).await? else { return Ok(None) };
            client.evict(node, &disk).await?;
            Ok(Some(disk))
        })?;
        if self.json {
            return print::json(&json!({ "node": node, "disk": disk, "evicted": true }));
        }
        match disk {
            Some(disk) => print::line(format!(
                "n{node} is given up with the disk {disk}: nobody waits for that any more, and it \
                 never serves again. The node may be started with an empty data directory"
            )),
            None => print::line(format!("n{node} has no disk that it could come back with")),
        }
    }

    async fn disk_to_give_up(&self, client: &Client) -> Result<Option<String>, CliError> {
        let node = self.node;
        let status = client.status().await?;
        let unknown = || CliError::new(Exit::NotFound, format!("there is no node {node}"));
        let state = status.nodes.into_iter().find(|state| state.node == node);
        let NodeState { alive, disk, joining, .. } = state.ok_or_else(unknown)?;
        // What is being made whole is given up only where nothing else is left to give up.
        let Some(disk) = disk.or(joining.clone()) else { return Ok(None) };
        if alive && joining.is_none() && !self.although_it_serves {
            let serves = format!("n{node} answers, and serves with the disk {disk}");
            return Err(CliError::new(Exit::Failed, serves).remedy(
                "stop it first, or say --although-it-serves: what only it has is lost then",
            ));
        }
        Ok(Some(disk))
    }
}
