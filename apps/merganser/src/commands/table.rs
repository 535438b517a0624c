//! `merganser table`: the tables of a keyspace.

use client::{Durability, Level, Options, TableContract, TableInfo};
use serde_json::json;

use super::connect::{Connect, block_on};
use super::error::CliError;
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
    },
    /// List the tables of a keyspace.
    List {
        /// The keyspace.
        keyspace: String,
    },
    /// Show one table.
    Show {
        /// The keyspace it is in.
        keyspace: String,
        /// Its name.
        name: String,
    },
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
                Action::Create { keyspace, name, policy, durability, read, write } => {
                    let durability = durability.map(Durability::from);
                    let contract = TableContract { policy, durability, read, write };
                    let (table, created) = client.create_table(&keyspace, &name, &contract).await?;
                    show(&[table], self.json, Some(created))
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
    let mut shown =
        print::table(&["keyspace", "table", "id", "policy", "durability", "read", "write"]);
    for table in tables {
        shown.add_row([
            &table.keyspace,
            &table.name,
            &table.id,
            &table.policy,
            &table.durability,
            &table.read,
            &table.write,
        ]);
    }
    print::line(shown)?;
    tell_created(created)
}
