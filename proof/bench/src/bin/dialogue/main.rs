//! What two replicas say to each other to become equal, in bytes of the wire.
//!
//! Two nodes hold a million keys. They are made to differ in some of them, and left alone
//! until they are equal again, on each of the roads that lead there:
//!
//! ```text
//! in sync       Clocks, and Alike from then on    nothing differs
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

use report::{Report, Road, Scene};
use shelf::Shelf;
use tally::Tally;

/// Measures what replicas say to each other to become equal.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// How many keys, at least 20,000: as many are made to differ.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(20_000..))]
    keys: u64,
    /// Shards of the keyspace, a power of two. Several are measured one after the other.
    #[arg(long, value_delimiter = ',', default_value = "1,64,128")]
    shards: Vec<u16>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) type Problem = Box<dyn std::error::Error>;

/// How many keys one of the two lacks, where logs know them.
const MISSING: u64 = 1_000;

/// In how many keys they differ where no log knows, and how often that is tried: where they are few,
/// much depends on whether they lie in small leaves or in large ones.
const DIFFERING: [(u64, u64); 2] = [(100, 4), (10_000, 1)];

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
        for road in [Road::CutOff, Road::Lossy] {
            report.add(until_equal(&mut shelf, *shards, (road, MISSING, 1))?);
        }
        for (differing, times) in DIFFERING {
            report.add(until_equal(&mut shelf, *shards, (Road::Trees, differing, times))?);
        }
    }
    Ok(report)
}

fn in_sync(shelf: &mut Shelf, shards: u16) -> Result<Scene, Problem> {
    shelf.pair.wait(LISTENED)?;
    shelf.pair.tally = Tally::default();
    shelf.pair.wait(LISTENED)?;
    let tally = std::mem::take(&mut shelf.pair.tally);
    Ok(Scene { road: Road::InSync, shards, differing: 0, times: 1, took: LISTENED, tally })
}

fn until_equal(
    shelf: &mut Shelf,
    shards: u16,
    (road, differing, times): (Road, u64, u64),
) -> Result<Scene, Problem> {
    let (mut took, mut tally) = (Duration::ZERO, Tally::default());
    for _ in 0..times {
        match road {
            Road::InSync => {}
            Road::CutOff => shelf.cut_off(differing)?,
            Road::Lossy => shelf.lose_some(differing)?,
            Road::Trees => shelf.damage(differing)?,
        }
        shelf.pair.passes = Box::new(|_| true);
        shelf.pair.tally = tally;
        took += shelf.pair.become_equal()?;
        tally = std::mem::take(&mut shelf.pair.tally);
    }
    Ok(Scene { road, shards, differing, times, took, tally })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two runs say the same, so that what they say can be asserted. What a key costs does not depend
    /// on how many there are, but for the way down to it in a tree, which is shorter here.
    #[test]
    fn what_is_said_for_a_key_that_one_lacks_is_little_and_no_object_travels_in_vain() {
        let args = Args { keys: 20_000, shards: vec![1], json: true };
        let report = run(&args).unwrap();
        for scene in &report.scenes {
            for figure in scene.figures() {
                // Many gaps in one clock are more than is aimed at.
                let is_known = match scene.road {
                    Road::Lossy => figure.what.starts_with("bytes"),
                    Road::InSync | Road::CutOff | Road::Trees => figure.is_reached().is_none(),
                };
                let (road, what, measured) = (scene.road, figure.what, figure.measured);
                assert!(
                    is_known || figure.is_reached() == Some(true),
                    "{road}, {what}: {measured}"
                );
            }
        }
        assert_eq!(run(&args).unwrap().json(), report.json());
    }
}
