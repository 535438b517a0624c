//! `kill -9` at the n-th system call that changes a disk.
//!
//! A kill at a random time rarely falls between two calls that belong together, such as the
//! write of a file and its renaming. Here a node runs under `strace`, which kills it as it
//! enters its n-th call of a kind; n sweeps over the start on an empty directory and the
//! load. It is then started under `strace` once more, to die in its recovery too, and at
//! last left alone: it has to start, and to hold what it acknowledged.

use std::time::Duration;

use rand::RngExt;

use super::{Bench, Plan};
use crate::outcome::{Figures, Stop};
use crate::process::{need_tools, sleep};

/// The calls by which files change.
const CALLS: [&str; 7] =
    ["write", "pwrite64", "fdatasync", "fsync", "rename", "openat", "ftruncate"];

/// Every how many calls a kind is swept: frequent kinds in larger strides.
const STRIDES: [u64; 3] = [1, 3, 9];

pub(super) fn run(plan: &Plan) -> Result<Figures, Stop> {
    need_tools(&["strace"])?;
    let mut rng = plan.rng();
    let mut bench = Bench::start(plan, 1)?;
    let mut figures = Figures::default();
    let rounds = plan.rounds(20, 5_000);
    for round in 0..rounds {
        let call = CALLS.iter().cycle().nth(usize::try_from(round % 7).unwrap_or_default());
        let step = round / 7;
        let stride = STRIDES.get(usize::try_from(step % 3).unwrap_or_default()).unwrap_or(&1);
        let when = 1 + step * stride;
        bench.cluster.kill(&[1])?;
        die_at(&mut bench, call.unwrap_or(&"write"), when, rng.random(), &mut figures)?;
        // In recovery: what was left half done is met half way again.
        let again = 1 + rng.random_range(0..=step);
        die_at(&mut bench, call.unwrap_or(&"write"), again, rng.random(), &mut figures)?;
        bench.cluster.start(1).map_err(|stop| bench.keep(stop))?;
        figures.rounds += 1;
        bench.check(&mut figures)?;
    }
    Ok(figures)
}

/// Runs the node under load until it has died at that call, or for a while if it makes
/// fewer of them.
fn die_at(
    bench: &mut Bench,
    call: &str,
    when: u64,
    seed: u64,
    figures: &mut Figures,
) -> Result<(), Stop> {
    let inject = format!("inject={call}:signal=KILL:when={when}");
    let wrapper = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &inject];
    bench.cluster.launch(1, &wrapper.map(str::to_owned))?;
    if bench.cluster.ready_or_ended(1)?.is_some() {
        figures.faults += 1;
    } else {
        let workers = bench.load.start(seed);
        sleep(Duration::from_millis(300))?;
        figures.faults += u64::from(bench.cluster.has_ended(1)?);
        bench.cluster.kill(&[1])?;
        workers.finish()?;
    }
    bench.cluster.kill(&[1])
}
