//! `merganser outcome`: what became of a write.

use client::{Fate, Options, Recalled, Token};
use serde_json::json;

use super::connect::{At, Connect, block_on};
use super::error::{CliError, Exit};
use super::print;

/// Tell what became of a write, by its idempotency key.
///
/// A write that ends unknown prints its idempotency key. All replicas of the key are asked
/// whether they have it, and in a sloppy keyspace all other nodes, too; whoever does not
/// answer within the timeout is named. Ends with 0 if it took place, with 4 if nobody who
/// answered has heard of it, and with 6 if nobody knows any more.
#[derive(Debug, clap::Args)]
pub(crate) struct Outcome {
    /// The idempotency key of the write.
    #[arg(value_name = "UUID")]
    token: Token,
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    connect: Connect,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
}

impl Outcome {
    /// Does it.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let client = self.connect.client(Options::default())?;
        let table = client.table(&self.at.keyspace, &self.at.table);
        let told = block_on(async { Ok(table.outcome(&self.at.key(), self.token).await?) })?;
        match self.json {
            true => show_json(&told)?,
            false => show(&told)?,
        }
        match told.fate {
            Fate::Applied | Fate::Superseded => Ok(()),
            Fate::NotSeen { .. } => Err(CliError::silent(Exit::NotFound)),
            Fate::Expired | Fate::Other(_) => Err(CliError::silent(Exit::Unknown)),
        }
    }
}

fn name(fate: &Fate) -> &str {
    match fate {
        Fate::Applied => "applied",
        Fate::Superseded => "superseded",
        Fate::NotSeen { .. } => "not_seen",
        Fate::Expired => "expired",
        Fate::Other(other) => other,
    }
}

fn show_json(told: &Recalled) -> Result<(), CliError> {
    let is_final = match told.fate {
        Fate::NotSeen { is_final } => Some(is_final),
        Fate::Applied | Fate::Superseded | Fate::Expired | Fate::Other(_) => None,
    };
    print::json(&json!({
        "outcome": name(&told.fate),
        "final": is_final,
        "receipt": print::receipt(told.receipt.as_ref()),
        "guests": told.guests,
        "without": told.without,
        "silent": told.silent,
    }))
}

/// What it means, and who said so.
fn show(told: &Recalled) -> Result<(), CliError> {
    let means = match &told.fate {
        Fate::Applied => "applied: it took place, and is in effect",
        Fate::Superseded => "superseded: it took place, and has been overwritten or deleted since",
        Fate::NotSeen { is_final: true } => "not seen: it did not take place, and never will",
        Fate::NotSeen { is_final: false } => {
            "not seen: nobody who answered has heard of it; it may be on its way, and the same write can be sent again with its idempotency key"
        }
        Fate::Expired => {
            "expired: its idempotency key is taken no more, and nobody who answered knows whether it was"
        }
        Fate::Other(other) => other,
    };
    print::line(means)?;
    if let Some(receipt) = &told.receipt {
        print::line(format_args!("  receipt  {}", print::receipt_in_words(receipt)))?;
    }
    for (label, nodes) in
        [("guests ", &told.guests), ("without", &told.without), ("silent ", &told.silent)]
    {
        if !nodes.is_empty() {
            let nodes: Vec<String> = nodes.iter().map(|node| format!("n{node}")).collect();
            print::line(format_args!("  {label}  {}", nodes.join(" ")))?;
        }
    }
    Ok(())
}
