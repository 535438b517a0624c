//! `merganser keyspace`: the replication contracts.

use std::collections::BTreeMap;

use client::{KeyspaceContract, KeyspaceInfo, Options, Replicas};
use serde_json::json;

use super::connect::{Connect, block_on};
use super::error::CliError;
use super::print;

/// Create, list and show keyspaces: how many replicas, in which regions.
#[derive(Debug, clap::Args)]
pub(crate) struct Keyspace {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    connect: Connect,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Create a keyspace. Repeating it with the same contract changes nothing.
    Create {
        /// Its name.
        name: String,
        /// How many replicas: a number for the region of the node asked, or REGION=NUMBER
        /// pairs separated by commas. Without it three, or as many as the region has nodes.
        #[arg(long, value_name = "N|REGION=N,..", value_parser = replicas)]
        replicas: Option<Replicas>,
        /// Into how many shards it is cut, a power of two; 64 without it. It cannot be
        /// changed later.
        #[arg(long, value_name = "COUNT")]
        shards: Option<u16>,
        /// Let other nodes stand in for replicas that are away, so that writes are taken as
        /// long as any node is there. It cannot be changed later.
        #[arg(long)]
        sloppy: bool,
    },
    /// List the keyspaces.
    List,
    /// Show one keyspace.
    Show {
        /// Its name.
        name: String,
    },
}

impl Keyspace {
    /// Does it.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let client = self.connect.client(Options::default())?;
        block_on(async {
            match self.action {
                Action::Create { name, replicas, shards, sloppy } => {
                    let contract = KeyspaceContract { shards, replicas, sloppy };
                    let (keyspace, created) = client.create_keyspace(&name, &contract).await?;
                    show(&[keyspace], self.json, Some(created))
                }
                Action::List => show(&client.keyspaces().await?, self.json, None),
                Action::Show { name } => show(&[client.keyspace(&name).await?], self.json, None),
            }
        })
    }
}

fn show(keyspaces: &[KeyspaceInfo], as_json: bool, created: Option<bool>) -> Result<(), CliError> {
    if as_json {
        return print::json(&json!({ "keyspaces": keyspaces, "created": created }));
    }
    let mut table =
        print::table(&["keyspace", "id", "shards", "replicas", "when replicas are away"]);
    for keyspace in keyspaces {
        let replicas: Vec<String> =
            keyspace.replicas.iter().map(|(region, n)| format!("{region}: {n}")).collect();
        table.add_row([
            keyspace.name.clone(),
            keyspace.id.clone(),
            keyspace.shards.to_string(),
            replicas.join(", "),
            if keyspace.sloppy { "guests (sloppy)" } else { "refuses (strict)" }.to_owned(),
        ]);
    }
    print::line(table)?;
    tell_created(created)
}

/// Says whether a declaration made something.
pub(crate) fn tell_created(created: Option<bool>) -> Result<(), CliError> {
    match created {
        Some(true) => print::line("created"),
        Some(false) => print::line("it existed already, just so; nothing was changed"),
        None => Ok(()),
    }
}

/// Reads `3` or `eu=3,us=2`.
fn replicas(text: &str) -> Result<Replicas, String> {
    if let Ok(number) = text.parse() {
        return Ok(Replicas::Here(number));
    }
    let pair = |part: &str| {
        let (region, number) = part.split_once('=')?;
        Some((region.to_owned(), number.parse().ok()?))
    };
    let regions: Option<BTreeMap<String, u8>> = text.split(',').map(pair).collect();
    regions.map(Replicas::PerRegion).ok_or_else(|| "write 3, or eu=3,us=2".to_owned())
}
