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
        let (evicted, was_there) = block_on(async {
            let disk = self.disk_to_give_up(&client).await?;
            Ok(client.evict(self.node, &disk).await?)
        })?;
        if self.json {
            return print::json(&json!({
                "node": evicted.node,
                "disk": evicted.disk,
                "evicted": was_there,
            }));
        }
        let (node, disk) = (evicted.node, evicted.disk);
        match was_there {
            true => print::line(format!(
                "n{node} is given up with the disk {disk}: nobody waits for it any more, and it \
                 never serves again. The node may be started with an empty data directory"
            )),
            false => print::line(format!("the disk {disk} of n{node} was given up before")),
        }
    }

    async fn disk_to_give_up(&self, client: &Client) -> Result<String, CliError> {
        let node = self.node;
        let status = client.status().await?;
        let unknown = || CliError::new(Exit::NotFound, format!("there is no node {node}"));
        let state = status.nodes.into_iter().find(|state| state.node == node);
        let NodeState { alive, disk, joining, .. } = state.ok_or_else(unknown)?;
        let none = || {
            CliError::new(Exit::Failed, format!("n{node} is enrolled with no disk")).remedy(
                "it was given up before, or has never served: `merganser status` shows which",
            )
        };
        let disk = disk.ok_or_else(none)?;
        if alive && joining.is_none() && !self.although_it_serves {
            let serves = format!("n{node} answers, and serves with the disk {disk}");
            return Err(CliError::new(Exit::Failed, serves).remedy(
                "stop it first, or say --although-it-serves: what only it has is lost then",
            ));
        }
        Ok(disk)
    }
}
