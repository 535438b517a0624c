//! A whole cluster in one thread, under virtual time, where everything goes wrong.
//!
//! What a replicated database promises, it promises for orders of events that no test
//! thinks of: an acknowledgement that overtakes a write, a crash between two halves of a
//! repair, a message of a former life. Here the very `core/node` that the server runs is
//! driven by a simulated network, disk and clock, all drawn from one seed, while an oracle
//! that knows the true causal history looks at every object stored and every answer given.
//!
//! ```text
//!            seed ──► swarm: what kind of world
//!  workload ─► requests ─► world: one queue of events ─► host: node + disk
//!                             │        ▲                    │
//!                             ▼        └──── network ◄──────┘
//!                          oracle: what must be seen          faults
//! ```
//!
//! A run is a function of its seed: same seed, same events, same output. It ends with a
//! [`Report`], or with the [`Violation`] of an [`Invariant`], which names the seed.
//!
//! ```
//! let report = sim::run(1, &sim::Options::default()).expect("seed 1 shows no violation");
//! assert_eq!(Ok(report), sim::run(1, &sim::Options::default()));
//! ```
//!
//! One core simulates five nodes at 189 requests per second, with faults, 134 times as fast as
//! they would be in reality; each of those seconds has about 1,340 events. This is what
//! `tests/speed.rs` says (release build; the time on the core, of 30 seeds, that 20 further
//! seconds under load take), on an AMD EPYC on which others were at work, and it fails below 50.
//! Lighter loads are faster: 201 times at 137 requests.
//!
//! What is looked at, when, and for which promise is in one table, in `invariant.rs`;
//! `merganser sim promises` prints it.
//!
//! Messages and objects are carried as they are, not as bytes, which is fast. Where bits
//! are to flip, the real encoding is made, damaged and read again, and must be refused.
//! Framing, and how the real storage finds the end of its journal, are tested where they
//! are: here groups are never torn, because the storage promises not to.

mod answers;
mod atlas;
mod bytes;
mod case;
mod clock;
mod contexts;
mod contracts;
mod copies;
mod damage;
mod deleted;
mod dice;
mod disk;
mod ending;
mod every;
mod evictions;
mod exchanged;
mod faults;
mod forgetting;
mod healing;
mod host;
mod inspect;
mod invariant;
mod joining;
mod levels;
mod lists;
mod losses;
mod many;
mod monotonic;
mod mutant;
mod network;
mod oracle;
mod outages;
mod outcomes;
mod outgoing;
mod reach;
mod repairs;
mod report;
mod requests;
mod rooms;
mod rot;
mod scenario;
mod sessions;
mod shrink;
mod steps;
mod summary;
mod sums;
mod swarm;
mod tables;
mod tally;
mod tokens;
mod trace;
mod trees;
mod verdicts;
mod watchers;
mod words;
mod workload;
mod world;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use case::{Case, CaseError};
pub use faults::FaultKind;
pub use inspect::{Question, inspect};
pub use invariant::{Invariant, Moment, PROMISES, Promise, promises_as_text};
pub use many::run_many;
#[cfg(feature = "mutants")]
pub use mutant::Inside;
pub use mutant::Mutant;
pub use oracle::Look;
pub use report::{Report, Violation};
pub use shrink::{faults_of, shrink};
pub use summary::Summary;
pub use swarm::{ClientPlan, DiskPlan, FaultPlan, NetworkPlan, Plan, TablePlan, Worlds};
pub use tally::{Goal, Tally, tally};

use report::Broken;
use trace::Keep;
use world::World;

/// How to run a seed.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The world, instead of the one that the seed draws.
    pub plan: Option<Plan>,
    /// Of what kind the world is that the seed draws.
    pub worlds: Worlds,
    /// Where the oracle looks. What is wrong is found later, or not at all, if it does not
    /// look everywhere; it shows that each check can fail.
    pub look: Look,
    /// A deliberate bug, to see whether it is found.
    pub mutant: Option<Mutant>,
    /// Faults that are not to happen, by their numbers, from 1 in the order in which they
    /// come. The others stay what they were.
    pub left_out: BTreeSet<u64>,
    /// Whether faults may destroy everything. See [`Plan::destroys`].
    pub destroys: bool,
    /// Whether to print every event.
    pub trace: bool,
}

/// Runs the world that a seed stands for.
///
/// # Errors
///
/// The first [`Violation`] of an invariant, with the history of its key and the events
/// before it.
pub fn run(seed: u64, options: &Options) -> Result<Report, Box<Violation>> {
    let keep = if options.trace { Keep::Last } else { Keep::Nothing };
    let (mut world, broken) = attempt(seed, options, keep, None);
    let Err(broken) = broken else { return Ok(world.report(seed)) };
    if !options.trace {
        // Events were not put into words, which takes long; the same happens once more.
        (world, _) = attempt(seed, options, Keep::Last, None);
    }
    Err(Box::new(world.violation(seed, options.worlds, broken)))
}

/// Runs a seed, to its end or until so many lines of its trace are told. What is wrong comes
/// back beside the world as it was then.
fn attempt(
    seed: u64,
    options: &Options,
    keep: Keep,
    lines_max: Option<u64>,
) -> (World, Result<(), Broken>) {
    let mut plan = options.plan.clone().unwrap_or_else(|| options.worlds.draw(seed));
    plan.destroys |= options.destroys;
    let layout = scenario::layout(&plan);
    let mut world = World::new(seed, plan, layout, options.mutant);
    (world.trace.keep, world.trace.print) = (keep, options.trace);
    world.oracle.look = options.look;
    world.lines_max = lines_max;
    world.left_out.clone_from(&options.left_out);
    mutant::set_inside(options.mutant);
    let outcome = catch_unwind(AssertUnwindSafe(|| world.run()));
    mutant::set_inside(None);
    let outcome = outcome.unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().cloned();
        let said = said.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        Err(Broken::new(Invariant::NodesDoNotPanic, said.unwrap_or_default()))
    });
    (world, outcome)
}

impl World {
    fn report(self, seed: u64) -> Report {
        Report {
            seed,
            plan: self.plan.summary(),
            events: self.trace.count,
            simulated: self.now,
            under_load: self.under_load,
            destroys: self.plan.destroys,
            requests: self.requests,
            faults: self.fault_counts,
            trace: self.trace.hash,
        }
    }

    fn violation(self, seed: u64, worlds: Worlds, broken: Broken) -> Violation {
        Violation {
            seed,
            plan: format!("{:?}", self.plan),
            invariant: broken.invariant,
            detail: broken.detail,
            at: self.now,
            faults: self.fault_number,
            destroys: self.plan.destroys,
            worlds,
            history: broken.key.map(|key| self.oracle.tell(key)).unwrap_or_default(),
            events: self.trace.into_lines(),
        }
    }
}

/// Runs a seed and returns everything that happened, a line each, beside what came of it.
///
/// # Errors
///
/// As [`run`].
pub fn trace(seed: u64, options: &Options) -> (Vec<String>, Result<Report, Box<Violation>>) {
    let options = Options { trace: false, ..options.clone() };
    let (world, broken) = attempt(seed, &options, Keep::All, None);
    let lines = world.trace.lines();
    let outcome = match broken {
        Ok(()) => Ok(world.report(seed)),
        Err(broken) => Err(Box::new(world.violation(seed, options.worlds, broken))),
    };
    (lines, outcome)
}
