//! What two replicas say to each other to become equal, in bytes of the wire.
//!
//! Two nodes hold a million keys. They are made to differ in some of them, and left alone
//! until they are equal again, on each of the roads that lead there:
//!
//! ```text
//! in sync       Clocks                            nothing differs
//! log, cut off  Clocks, Lack, Merge, Sent         one was away while the other took writes
//! log, lossy    the same                          writes were lost one by one, among others
//! trees         Clocks, Compare, Compared, Bring, Merge       no log knows what differs
//! ```
//!
//! No time is measured: the figures are the same in each run. What is counted is what leaves
//! the socket, see [`tally`]; that the two end up equal is checked, object by object.

mod disk;
mod pair;
mod report;
mod shelf;
mod tally;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use report::{Report, Scene};
use shelf::Shelf;
use tally::Tally;

/// Measures what replicas say to each other to become equal.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// How many keys.
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Shards of the keyspace, a power of two. Several are measured one after the other.
    #[arg(long, value_delimiter = ',', default_value = "1,64,128")]
    shards: Vec<u16>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) type Problem = Box<dyn std::error::Error>;

/// For how long replicas in sync are listened to.
const LISTENED: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(report) if args.json => println!("{:#}", report.json()),
        Ok(report) => println!("{report}"),
        Err(err) => {
            eprintln!("the measurement broke off, and nothing of it is to be used: {err}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn run(args: &Args) -> Result<Report, Problem> {
    let mut report = Report::new(args.keys);
    for shards in &args.shards {
        let mut shelf = Shelf::filled(args.keys, *shards)?;
        shelf.pair.become_equal()?;
        report.add(in_sync(&mut shelf, *shards)?);
        for (name, differing) in [("log, cut off", 1_000), ("log, lossy", 1_000)] {
            match name {
                "log, cut off" => shelf.cut_off(differing)?,
                _ => shelf.lose_some(differing)?,
            }
            report.add(until_equal(&mut shelf, *shards, name, differing)?);
        }
        for differing in [100, 10_000] {
            shelf.damage(differing)?;
            report.add(until_equal(&mut shelf, *shards, "trees", differing)?);
        }
    }
    Ok(report)
}

fn in_sync(shelf: &mut Shelf, shards: u16) -> Result<Scene, Problem> {
    shelf.pair.wait(LISTENED)?;
    shelf.pair.tally = Tally::default();
    shelf.pair.wait(LISTENED)?;
    let tally = std::mem::take(&mut shelf.pair.tally);
    Ok(Scene { name: "in sync", shards, differing: 0, took: LISTENED, tally })
}

fn until_equal(
    shelf: &mut Shelf,
    shards: u16,
    name: &'static str,
    differing: u64,
) -> Result<Scene, Problem> {
    shelf.pair.passes = Box::new(|_| true);
    shelf.pair.tally = Tally::default();
    let took = shelf.pair.become_equal()?;
    let tally = std::mem::take(&mut shelf.pair.tally);
    Ok(Scene { name, shards, differing, took, tally })
}
