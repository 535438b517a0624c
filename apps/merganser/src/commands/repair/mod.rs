//! `merganser repair`: all replicas of something compared, until they are proved equal.
//!
//! Each node repairs what it keeps itself. This command makes one repair of the cluster out of
//! that: it goes from node to node, so that only one of them has that work at a time, and lets each
//! do the pairs in which it has the lesser number, so that each pair is done once.
//!
//! ```text
//! n1   with n2, n3      shard 0, shard 1, ..          until all are proved, or given up
//! n2   with n3          shard 0, shard 1, ..
//! n3                    nothing is left
//! ```
//!
//! A node that is not named with `--node`, or does not answer, is compared by the others, as far
//! as they keep something together with it. A node that is started anew forgets its repair: it
//! is begun there again, with the shards that were not proved yet.
//!
//! It ends with 0 only if everything was proved equal. Ctrl-C ends the repair at the node, too.

mod found;
mod progress;
mod run;
mod status;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use client::{Client, Options, RepairMode, StartRepair};

use super::connect::{Connect, block_on, some_time};
use super::error::{CliError, Exit};

/// Compare what replicas hold, bring them what they lack, and prove that they are equal.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Repair {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    connect: Connect,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show how far the repairs at the nodes are that `--node` names, and when what they keep was
    /// last proven equal. Ends with 5 if one of them does not answer.
    Status,
    /// End the repairs at the nodes that `--node` names. What was brought stays.
    Cancel,
}

/// What is to be compared, and how.
#[derive(Clone, Debug, clap::Args)]
struct What {
    /// What to repair: a keyspace, or a table of it. Everything, if nothing is named.
    #[arg(value_name = "KEYSPACE[/TABLE]")]
    of: Option<String>,
    /// Only these shards of the keyspace, by their numbers.
    #[arg(long = "shard", value_name = "N", value_delimiter = ',', requires = "of")]
    shards: Vec<u16>,
    /// Only partition keys of the table from this one on.
    #[arg(long, value_name = "KEY", requires = "of")]
    from: Option<OsString>,
    /// Only partition keys of the table before this one.
    #[arg(long, value_name = "KEY", requires = "of")]
    to: Option<OsString>,
    /// Read no disks, and pass over what was proven equal within `--within`.
    #[arg(long, conflicts_with = "preview")]
    incremental: bool,
    /// What counts as proven lately, as in 10m or 1h.
    #[arg(long, value_name = "TIME", value_parser = some_time, default_value = "1h")]
    within: Duration,
    /// Say what differs, and change nothing.
    #[arg(long)]
    preview: bool,
    /// How long to wait for a node that is away, or a pair that comes no further, before it is
    /// given up.
    #[arg(long, value_name = "TIME", value_parser = some_time, default_value = "10m")]
    patience: Duration,
}

impl What {
    /// What each node is asked, but for its number and with whom.
    fn start(&self) -> Result<StartRepair, CliError> {
        let of = self.of.as_deref();
        let (keyspace, table) = match of.map(|of| of.split_once('/')) {
            None => (None, None),
            Some(None) => (of, None),
            Some(Some((keyspace, table))) => (Some(keyspace), Some(table)),
        };
        let is_part = self.from.is_some() || self.to.is_some();
        if is_part && table.is_none() {
            return Err(CliError::failed("keys are those of a table")
                .remains("nothing was begun")
                .remedy("name it as KEYSPACE/TABLE"));
        }
        let bytes = |key: &Option<OsString>| key.clone().map(OsStringExt::into_vec);
        Ok(StartRepair {
            id: None,
            mode: match (self.preview, self.incremental) {
                (true, _) => RepairMode::Preview,
                (false, true) => RepairMode::Incremental(self.within),
                (false, false) => RepairMode::Full,
            },
            keyspace: keyspace.map(str::to_owned),
            table: table.map(str::to_owned),
            shards: self.shards.clone(),
            from: bytes(&self.from),
            to: bytes(&self.to),
            with: Vec::new(),
            patience: Some(self.patience),
        })
    }
}

impl Repair {
    /// Does it.
    pub(crate) fn run(self) -> Result<(), CliError> {
        // One try each: who asks again decides here.
        let options = Options { attempts_max: 1, ..Options::default() };
        let client = self.connect.client(options)?;
        match self.action {
            Some(Action::Status) => block_on(status::show(&client, self.json)),
            Some(Action::Cancel) => block_on(status::cancel(&client, self.json)),
            None => {
                let start = self.what.start()?;
                let found = block_on(run::all(&client, start, self.what.patience))?;
                found.print(self.json)?;
                found.verdict()
            }
        }
    }
}

/// One endpoint of a client, and the client of it alone.
fn endpoints(client: &Client) -> impl Iterator<Item = (String, Client)> {
    client.endpoints().map(str::to_owned).zip(client.each())
}

fn nobody() -> CliError {
    CliError::new(Exit::NotAttempted, "no node answered").remains("nothing was begun").remedy(
        "say where the nodes are with --node or MERGANSER_NODE, and see with `merganser status` who is away",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(of: &str) -> What {
        What {
            of: Some(of.to_owned()),
            shards: Vec::new(),
            from: None,
            to: None,
            incremental: false,
            within: Duration::from_secs(60),
            preview: false,
            patience: Duration::from_secs(1),
        }
    }

    #[test]
    fn a_table_is_named_behind_its_keyspace_and_keys_need_one() {
        let named = |of: &str| {
            let start = what(of).start().unwrap();
            (start.keyspace, start.table)
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(named("ks"), (text("ks"), None));
        assert_eq!(named("ks/t"), (text("ks"), text("t")));
        let part = What { from: Some("a".into()), ..what("ks") };
        assert!(part.start().unwrap_err().to_string().contains("KEYSPACE/TABLE"));
        let part = What { of: text("ks/t"), ..part };
        assert_eq!(part.start().unwrap().from, Some(b"a".to_vec()));
    }
}
