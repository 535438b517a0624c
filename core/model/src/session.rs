//! Sessions: what one client has written and read, so that it is never shown less.
//!
//! A client that goes from node to node meets replicas that have not heard of what it has just
//! written or read. What it has seen of a shard is a set of dots, and a replica knows by its
//! clock which of them it lacks. So the client carries the set along, as a token, and whoever
//! serves it sees to it that nothing of it is missing: in what a read answers, or at the replica
//! that accepts a write, before it does.
//!
//! Of incarnations only the upper forty bits are kept, so that a token is short. Where a clock
//! knows several with the same bits, each of them has to have what is demanded: more is asked
//! for than was seen, never less.
//!
//! Source: Terry et al., "Session Guarantees for Weakly Consistent Replicated Data" (PDIS 1994).

use causality::{Dot, DotSet, Incarnation, Run};
use mutant::{Mutant, is};

use crate::ShardId;

/// The bits of an incarnation that a session does not keep.
const LOWER_BITS: u64 = (1 << 24) - 1;

/// What a session has seen of one shard.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Session {
    /// Which.
    pub shard: ShardId,
    /// What.
    pub seen: Seen,
}

/// Dots that a session has seen, or more.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Seen {
    /// These. Their incarnations are [shortened].
    Dots(DotSet),
    /// More than a token can say. Only all replicas together have all of it for sure.
    All,
}

/// The incarnation without the bits that a session does not keep.
pub fn shortened(incarnation: Incarnation) -> Incarnation {
    Incarnation::new(incarnation.bits() & !LOWER_BITS)
}

/// The same dots as a session keeps them.
pub fn shortened_dots(dots: &DotSet) -> DotSet {
    let mut all = DotSet::new();
    for run in dots.runs() {
        add(&mut all, Run { incarnation: shortened(run.incarnation), ..*run });
    }
    all
}

fn add(dots: &mut DotSet, run: Run) {
    let run = DotSet::from_runs(vec![run]).expect("one run is a set");
    let _ = dots.union(&run);
}

/// The part of what a session has seen that a clock does not contain.
fn lacking(seen: &DotSet, clock: &DotSet) -> DotSet {
    let mut lacking = DotSet::new();
    for run in seen.runs() {
        let mut is_known = false;
        for full in known_as(run.incarnation, clock) {
            is_known = true;
            let wanted = Run { incarnation: full, ..*run };
            if is(Mutant::SessionByLatest) && clock.contains(Dot::new(full, run.last)) {
                continue;
            }
            let wanted = DotSet::from_runs(vec![wanted]).expect("one run is a set");
            let _ = lacking.union(&shortened_dots(&wanted.difference(clock)));
        }
        if !is_known {
            add(&mut lacking, *run);
        }
    }
    lacking
}

/// The incarnations in a clock that a session calls so.
fn known_as(short: Incarnation, clock: &DotSet) -> impl Iterator<Item = Incarnation> + '_ {
    let first = clock.runs().partition_point(|run| run.incarnation < short);
    let runs = clock.runs().get(first..).unwrap_or_default();
    let same = runs.iter().take_while(move |run| shortened(run.incarnation) == short);
    let mut last = None;
    same.map(|run| run.incarnation).filter(move |full| last.replace(*full) != Some(*full))
}

impl Session {
    /// A session that has seen nothing.
    pub fn new(shard: ShardId) -> Self {
        Self { shard, seen: Seen::Dots(DotSet::new()) }
    }

    /// It has seen these as well.
    pub fn sees(&mut self, dots: &DotSet) {
        if let Seen::Dots(seen) = &mut self.seen {
            let _ = seen.union(&shortened_dots(dots));
        }
    }

    /// These need not be kept any more: every replica has them on disk.
    pub fn forgets(&mut self, settled: &DotSet) {
        if let Seen::Dots(seen) = &mut self.seen {
            *seen = seen.difference(settled);
        }
    }

    /// What a clock does not contain of it. Nothing can be said of more than a token can say.
    pub fn lacking(&self, clock: &DotSet) -> Option<DotSet> {
        match &self.seen {
            Seen::Dots(seen) => Some(lacking(seen, clock)),
            Seen::All => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(incarnation: u64, first: u64, last: u64) -> Run {
        Run { incarnation: Incarnation::new(incarnation), first, last }
    }

    fn set(runs: &[Run]) -> DotSet {
        DotSet::from_runs(runs.to_vec()).unwrap()
    }

    const A: u64 = 0xa << 24;

    #[test]
    fn a_clock_lacks_what_is_in_its_gaps_and_whom_it_does_not_know() {
        let seen = set(&[run(A, 2, 4), run(0xb << 24, 1, 1)]);
        let clock = set(&[run(A | 7, 1, 2), run(A | 7, 4, 9)]);
        assert_eq!(lacking(&seen, &clock), set(&[run(A, 3, 3), run(0xb << 24, 1, 1)]));
    }

    #[test]
    fn of_two_with_the_same_bits_both_must_have_it() {
        let seen = set(&[run(A, 1, 3)]);
        let clock = set(&[run(A | 1, 1, 3), run(A | 2, 1, 2)]);
        assert_eq!(lacking(&seen, &clock), set(&[run(A, 3, 3)]));
    }
}
