//! Deliberate bugs, for a simulation that wants to see whether it notices them.
//!
//! Only built with the feature `mutants`. A bug is set for the current thread, because the
//! simulator runs a whole cluster in one thread and reaches no replica directly.

use std::cell::Cell;

use causality::{Dot, DotSet, Run};
use model::Object;

/// One rule of [`Replica::merge`](crate::Replica::merge), broken.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Mutant {
    /// Old news is taken in like any other.
    OldNewsTaken,
    /// The value of old news is left out, and its dot is kept in the context.
    OldNewsClaimed,
    /// The context is filled up from the clock, to "everything up to n".
    ContextFilled,
    /// What an object that arrives does not hold is deleted here.
    AbsenceDeletes,
}

thread_local! {
    static MUTANT: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// Sets the bug of this thread, or none.
pub fn set(mutant: Option<Mutant>) {
    MUTANT.set(mutant);
}

/// What is merged in place of what the rules say, if a bug is set. `old` is the old news
/// in `incoming`.
pub(crate) fn bend(
    clock: &DotSet,
    here: &Object,
    incoming: &Object,
    old: &[Dot],
) -> Option<Object> {
    let (mut values, mut context) = incoming.clone().into_parts();
    match MUTANT.get()? {
        Mutant::OldNewsTaken => return Some(incoming.clone()),
        Mutant::OldNewsClaimed => values.retain(|dot, _| !old.contains(dot)),
        Mutant::ContextFilled => {
            values.retain(|dot, _| !old.contains(dot));
            old.iter().for_each(|dot| context.remove(*dot));
            let _ = context.union(&filled(&context, clock));
        }
        Mutant::AbsenceDeletes => {
            let _ = context.union(here.context());
        }
    }
    Object::from_parts(values, context)
}

/// What a clock has of the incarnations in a context, up to the last dot of each.
fn filled(context: &DotSet, clock: &DotSet) -> DotSet {
    let mut filled = DotSet::new();
    for end in context.runs() {
        for run in clock.runs_of(end.incarnation).iter().filter(|run| run.first <= end.last) {
            let run = Run { last: run.last.min(end.last), ..*run };
            let run = DotSet::from_runs(vec![run]).expect("a part of a run is a run");
            let _ = filled.union(&run);
        }
    }
    filled
}
