//! `merganser table`: the tables of a keyspace.

use client::{Durability, Level, Options, TableContract, TableInfo};
use serde_json::json;

use super::connect::{Connect, block_on};
use super::error::CliError;
use super::explain::Report;
use super::keyspace::tell_created;
use super::print;

/// Create, list and show the tables of a keyspace.
#[derive(Debug, clap::Args)]
pub(crate) struct Table {
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
    /// Create a table. Repeating it with the same contract changes nothing.
    Create {
        /// The keyspace it is in.
        keyspace: String,
        /// Its name.
        name: String,
        /// What becomes of concurrent values. `siblings` keeps all for the application to
        /// resolve. There is no default: this is for you to say.
        #[arg(long)]
        policy: String,
        /// When a replica says that it has a write: when it is on disk, or in memory.
        #[arg(long, value_enum)]
        durability: Option<When>,
        /// The default level of reads.
        #[arg(long, value_name = "LEVEL")]
        read: Option<Level>,
        /// The default level of writes.
        #[arg(long, value_name = "LEVEL")]
        write: Option<Level>,
        #[command(flatten)]
        voting: Voting,
        #[command(flatten)]
        siblings: Siblings,
    },
    /// List the tables of a keyspace.
    List {
        /// The keyspace.
        keyspace: String,
    },
    /// Tell which failures a table survives: with whose disks writes are lost, and without whom
    /// reads and writes are refused.
    Explain {
        /// The keyspace it is in.
        keyspace: String,
        /// Its name.
        name: String,
    },
    /// Show one table.
    Show {
        /// The keyspace it is in.
        keyspace: String,
        /// Its name.
        name: String,
    },
}

/// How the replicas of a table are counted, and what may not be asked of them.
#[derive(Debug, clap::Args)]
struct Voting {
    /// Votes of a node (n1=2) or of each node of a zone (region/zone=2), 0 to 15. All others
    /// have one. QUORUM and numbers count votes.
    #[arg(long, value_name = "WHO=N", value_parser = votes)]
    votes: Vec<(String, u8)>,
    /// How many different nodes must acknowledge a write, whatever their votes.
    #[arg(long, value_name = "N")]
    min_nodes: Option<u8>,
    /// In how many different zones somebody must acknowledge a write.
    #[arg(long, value_name = "N")]
    min_zones: Option<u8>,
    /// Refuse reads that wait for less than one at this level.
    #[arg(long, value_name = "LEVEL")]
    weakest_read: Option<Level>,
    /// Refuse writes that wait for less than one at this level.
    #[arg(long, value_name = "LEVEL")]
    weakest_write: Option<Level>,
    /// Accept that reads at these levels can miss writes at these levels, or writes each other.
    #[arg(long)]
    may_miss: bool,
}

/// How many concurrent values its keys may hold, and what writers have to know of them.
#[derive(Debug, clap::Args)]
struct Siblings {
    /// Refuse a put without a context where the key holds a value.
    #[arg(long)]
    require_context: bool,
    /// Count writes that leave their key with so many concurrent values, in a metric of the
    /// node.
    #[arg(long, value_name = "N")]
    siblings_warn: Option<u16>,
    /// The most concurrent values of one key, if fewer than the nodes allow. A put without a
    /// context beyond is refused; nothing is dropped.
    #[arg(long, value_name = "N")]
    siblings_max: Option<u16>,
    /// The most bytes of the concurrent values of one key together, if fewer than the nodes
    /// allow.
    #[arg(long, value_name = "BYTES")]
    siblings_bytes_max: Option<u32>,
}

impl Siblings {
    /// Adds this to a contract.
    fn add_to(self, contract: TableContract) -> TableContract {
        let Self { require_context, siblings_warn, siblings_max, siblings_bytes_max } = self;
        TableContract {
            require_context,
            siblings_warn,
            siblings_max,
            siblings_bytes_max,
            ..contract
        }
    }
}

fn votes(text: &str) -> Result<(String, u8), String> {
    let parts = text.split_once('=').and_then(|(who, n)| Some((who.to_owned(), n.parse().ok()?)));
    parts.ok_or_else(|| format!("{text:?} is not a node or zone with its votes, as in n1=2"))
}

impl Voting {
    /// The part of a contract that this is.
    fn contract(self) -> TableContract {
        let Self { votes, min_nodes, min_zones, weakest_read, weakest_write, may_miss } = self;
        let votes = votes.into_iter().collect();
        TableContract {
            votes,
            min_nodes,
            min_zones,
            weakest_read,
            weakest_write,
            may_miss,
            ..TableContract::default()
        }
    }
}

/// [`Durability`] on the command line.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum When {
    /// When it is on disk.
    Synced,
    /// When it is in memory.
    Buffered,
}

impl From<When> for Durability {
    fn from(when: When) -> Self {
        match when {
            When::Synced => Self::Synced,
            When::Buffered => Self::Buffered,
        }
    }
}

impl Table {
    /// Does it.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let client = self.connect.client(Options::default())?;
        block_on(async {
            match self.action {
                Action::Create {
                    keyspace,
                    name,
                    policy,
                    durability,
                    read,
                    write,
                    voting,
                    siblings,
                } => {
                    let durability = durability.map(Durability::from);
                    let contract = siblings.add_to(voting.contract());
                    let contract = TableContract { policy, durability, read, write, ..contract };
                    let (table, created) = client.create_table(&keyspace, &name, &contract).await?;
                    show(&[table], self.json, Some(created))
                }
                Action::Explain { keyspace, name } => {
                    Report::new(&client.status().await?, &keyspace, &name)?.print(self.json)
                }
                Action::List { keyspace } => {
                    show(&client.tables(&keyspace).await?, self.json, None)
                }
                Action::Show { keyspace, name } => {
                    show(&[client.table_info(&keyspace, &name).await?], self.json, None)
                }
            }
        })
    }
}

fn show(tables: &[TableInfo], as_json: bool, created: Option<bool>) -> Result<(), CliError> {
    if as_json {
        return print::json(&json!({ "tables": tables, "created": created }));
    }
    let mut shown = print::table(&[
        "keyspace",
        "table",
        "id",
        "policy",
        "durability",
        "read",
        "write",
        "counted",
    ]);
    for table in tables {
        shown.add_row([
            &table.keyspace,
            &table.name,
            &table.id,
            &ruled(table),
            &table.durability,
            &table.read,
            &table.write,
            &counted(table),
        ]);
    }
    print::line(shown)?;
    tell_created(created)
}

/// The policy of a table, and its rules where it has any.
fn ruled(table: &TableInfo) -> String {
    let mut said = vec![table.policy.clone()];
    said.extend(table.require_context.then(|| "no blind puts".to_owned()));
    said.extend(table.siblings_max.map(|max| format!("at most {max}")));
    said.extend(table.siblings_bytes_max.map(|max| format!("of at most {max} bytes")));
    said.extend(table.siblings_warn.map(|warn| format!("warns of {warn}")));
    said.join(", ")
}

/// How a table counts its replicas, where that is not one vote each and nothing else.
fn counted(table: &TableInfo) -> String {
    let mut said: Vec<String> =
        table.votes.iter().map(|(who, votes)| format!("{who}={votes}")).collect();
    let numbers = [("min-nodes", table.min_nodes), ("min-zones", table.min_zones)];
    let least = numbers.iter().filter(|(_, number)| *number != 0);
    said.extend(least.map(|(what, number)| format!("{what} {number}")));
    let weakest = [("read", &table.weakest_read), ("write", &table.weakest_write)];
    let weakest = weakest.iter().filter_map(|(what, level)| Some((what, level.as_ref()?)));
    said.extend(weakest.map(|(what, level)| format!("no {what} below {level}")));
    said.extend(table.may_miss.then(|| "may miss".to_owned()));
    said.join(", ")
}
