//! Making a violation small.
//!
//! A run that fails has thousands of events and dozens of faults, of which a few matter. So
//! faults are left out, many at once and then fewer, as long as the same invariant still
//! fails; then the world is made simpler, one thing at a time. Every attempt is a run.
//!
//! ```text
//! 1 2 3 4 5 6 7 8        fails
//! . . . . 5 6 7 8        fails: go on with these
//! . . . . . . 7 8        passes: keep 5 6
//! . . . . 5 6 . .        fails ...
//! ```
//!
//! Source: Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input" (IEEE
//! TSE 2002).

use std::collections::BTreeSet;

use crate::case::Case;
use crate::mutant::Mutant;
use crate::report::Violation;
use crate::swarm::Plan;

/// Makes a case that fails small. `tell` hears of each success, in a line.
///
/// Ends after at most so many runs. Returns nothing if the case does not fail.
pub fn shrink(
    case: Case,
    mutant: Option<Mutant>,
    runs_max: usize,
    tell: impl FnMut(&str),
) -> Option<(Case, Box<Violation>)> {
    let violation = case.run(mutant).err()?;
    let mut case = case;
    case.invariant = format!("{:?}", violation.invariant);
    let mut shrinking = Shrinking { case, violation, mutant, runs_left: runs_max, tell };
    // A shorter time has fewer faults to begin with.
    shrinking.simplify();
    loop {
        let before = shrinking.faults().len();
        shrinking.leave_out_faults();
        let mut simpler = false;
        while shrinking.simplify() {
            simpler = true;
        }
        if !simpler && shrinking.faults().len() == before {
            break;
        }
    }
    Some((shrinking.case, shrinking.violation))
}

struct Shrinking<F> {
    /// The smallest case that fails.
    case: Case,
    /// How it fails.
    violation: Box<Violation>,
    mutant: Option<Mutant>,
    runs_left: usize,
    tell: F,
}

impl<F: FnMut(&str)> Shrinking<F> {
    /// Takes a case in place of the one so far if it fails in the same way.
    fn try_out(&mut self, case: Case, what: &str) -> bool {
        if self.runs_left == 0 {
            return false;
        }
        self.runs_left -= 1;
        match case.run(self.mutant) {
            Err(violation) if violation.invariant == self.violation.invariant => {
                (self.case, self.violation) = (case, violation);
                (self.tell)(what);
                true
            }
            Ok(_) | Err(_) => false,
        }
    }

    /// The faults that happen before it fails.
    fn faults(&self) -> Vec<u64> {
        (1..=self.violation.faults).filter(|n| !self.case.left_out.contains(n)).collect()
    }

    fn leave_out_faults(&mut self) {
        let mut chunk = self.faults().len().div_ceil(2);
        while chunk != 0 && self.runs_left != 0 {
            let faults = self.faults();
            let mut any = false;
            for some in faults.chunks(chunk) {
                let mut case = self.case.clone();
                case.left_out.extend(some);
                let what = format!("{} faults left", faults.len().saturating_sub(some.len()));
                if self.try_out(case, &what) {
                    any = true;
                    break;
                }
            }
            if !any {
                chunk = if chunk == 1 { 0 } else { chunk.div_ceil(2) };
            }
            chunk = chunk.min(self.faults().len());
        }
        // What has not happened by then is no part of it.
        self.case.left_out.retain(|number| *number <= self.violation.faults);
    }

    /// Makes one thing of the world simpler. Returns whether anything could be.
    fn simplify(&mut self) -> bool {
        let mut any = false;
        for (what, simplify) in SIMPLER {
            let mut case = self.case.clone();
            simplify(&mut case.plan);
            // Numbers beyond those that are known would come up.
            if case.plan != self.case.plan {
                any |= self.try_out(case, what);
            }
        }
        any && self.runs_left != 0
    }
}

type Simplify = fn(&mut Plan);

/// What can be simpler in a world.
const SIMPLER: &[(&str, Simplify)] = &[
    ("half the time under faults", |plan| plan.safety = (plan.safety / 2).max(1_000_000)),
    ("one round", |plan| plan.rounds = 1),
    ("no load afterwards", |plan| plan.liveness = 0),
    ("no declarations", |plan| plan.declares = 0),
    ("no repairs", |plan| plan.repairs = 0),
    ("true clocks", |plan| plan.drift = 0),
    ("no message lost", |plan| plan.network.loss = 0),
    ("no message doubled", |plan| plan.network.twice = 0),
    ("no message seconds late", |plan| plan.network.late = 0),
    ("no message damaged", |plan| plan.network.damage = 0),
    ("no delays with a tail", |plan| plan.network.tail = 0),
    ("no far nodes", |plan| plan.network.far = 0),
    ("no rot", |plan| plan.disk.rot = 0),
    ("disks that can be read", |plan| plan.disk.unreadable = 0),
    ("disks that do not stall", |plan| plan.disk.tail = 0),
    ("no large values", |plan| plan.clients.large = 0),
    ("no foreign contexts", |plan| plan.clients.foreign = 0),
    ("no clients that leave", |plan| plan.clients.leaves = 0),
    ("no blind writes", |plan| plan.clients.blind = 0),
    ("no stale contexts", |plan| plan.clients.stale = 0),
    ("no levels of their own", |plan| plan.clients.levels = 0),
    ("half the clients", |plan| plan.clients.count = plan.clients.count.div_ceil(2)),
    ("half the keys", |plan| plan.clients.partitions = plan.clients.partitions.div_ceil(2)),
    ("one sort key", |plan| plan.clients.sorts = 1),
    ("one table", |plan| plan.tables.truncate(1)),
    ("one shard", |plan| plan.shards = 1),
    ("one zone", |plan| plan.zones = 1),
    ("one region", |plan| plan.regions = 1),
    ("fewer nodes", |plan| plan.nodes = (plan.nodes - 1).max(u16::from(plan.replicas)).max(3)),
];

/// The faults that a case has left.
pub fn faults_of(case: &Case, violation: &Violation) -> BTreeSet<u64> {
    (1..=violation.faults).filter(|number| !case.left_out.contains(number)).collect()
}
