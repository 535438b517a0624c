//! The commands of users: what talks to a running cluster through its HTTP door.
//!
//! Each command is one file (or folder), holding its arguments as clap reads them and a
//! `run` that does the work. All of them share how they connect ([`connect`]), how they
//! print ([`mod@print`]) and how they fail ([`error`], which also lists the exit codes).

pub(crate) mod error;

mod backup;
mod bench;
mod connect;
mod del;
mod doctor;
mod evict;
mod explain;
mod explain_key;
mod export;
mod get;
mod health;
mod hints;
mod import;
mod keyspace;
mod list;
mod outcome;
mod placed;
mod predict;
mod print;
mod put;
mod repair;
mod replacement;
mod restore;
mod salvage;
mod scrape;
mod session;
mod status;
mod table;
mod watch;

use clap::Subcommand;
pub(crate) use error::CliError;

/// What a user can do with a running cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Store a value.
    Put(Box<put::Put>),
    /// Read a value.
    Get(get::Get),
    /// Delete a value.
    Del(Box<del::Del>),
    /// Tell what became of a write.
    Outcome(Box<outcome::Outcome>),
    /// List keys.
    List(list::List),
    /// Print what changes in a table, as it changes.
    Watch(watch::Watch),
    /// Create, list and show keyspaces.
    Keyspace(keyspace::Keyspace),
    /// Create, list and show tables.
    Table(table::Table),
    /// Import records from a file.
    Import(Box<import::Import>),
    /// Export a table as JSON Lines.
    Export(export::Export),
    /// Keep what one node holds in a depot, or look at what is kept there.
    Backup(Box<backup::Backup>),
    /// Make a data directory for a node of a new cluster out of a backup.
    Restore(restore::Restore),
    /// Measure throughput and latency under a load.
    Bench(Box<bench::Bench>),
    /// Predict latency and staleness of N, R and W.
    Predict(predict::Predict),
    /// Show the state of the nodes.
    Status(status::Show),
    /// Tell what a table survives, or what each replica holds of a key and why reads show what
    /// they show.
    Explain(explain_key::Explain),
    /// Show what nodes keep for replicas that were away, or wait until they have it.
    Hints(hints::Hints),
    Evict(evict::Evict),
    Salvage(salvage::Salvage),
    /// Compare what replicas hold, bring them what they lack, and prove that they are equal.
    Repair(Box<repair::Repair>),
    /// Ask whether the nodes are live, ready, and can serve all shards.
    Health(health::Health),
    /// Find out what is wrong with the nodes, and what to do about it.
    Doctor(doctor::Doctor),
}

impl Command {
    /// Does it. Starts its own runtime, so it must not be called inside one.
    ///
    /// # Errors
    ///
    /// [`CliError`] says what happened, what remains and what to do, and carries the exit
    /// code: `fn main() -> ExitCode` returns [`CliError::report`].
    pub(crate) fn run(self) -> Result<(), CliError> {
        match self {
            Self::Put(put) => put.run(),
            Self::Get(get) => get.run(),
            Self::Del(del) => del.run(),
            Self::Outcome(outcome) => outcome.run(),
            Self::List(list) => list.run(),
            Self::Watch(watch) => watch.run(),
            Self::Keyspace(keyspace) => keyspace.run(),
            Self::Table(table) => table.run(),
            Self::Import(import) => import.run(),
            Self::Export(export) => export.run(),
            Self::Backup(backup) => backup.run(),
            Self::Restore(restore) => restore.run(),
            Self::Bench(bench) => bench.run(),
            Self::Predict(predict) => predict.run(),
            Self::Status(status) => status.run(),
            Self::Explain(explain) => explain.run(),
            Self::Hints(hints) => hints.run(),
            Self::Evict(evict) => evict.run(),
            Self::Salvage(salvage) => salvage.run(),
            Self::Repair(repair) => repair.run(),
            Self::Health(health) => health.run(),
            Self::Doctor(doctor) => doctor.run(),
        }
    }
}
