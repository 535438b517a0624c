//! What a replica does where a rule of it is to be broken. See the crate `mutant`.
//!
//! Without mutants all of it is the identity, and vanishes.

use causality::{Dot, DotSet, Incarnation, Run};
use model::Object;
use mutant::{Mutant, is};

/// The last dot of a new life: none, unless it is to be read back from the disk.
pub(crate) fn minted(clock: &DotSet, incarnation: Incarnation) -> u64 {
    let last = clock.runs_of(incarnation).last().map_or(0, |run| run.last);
    if is(Mutant::IncarnationReadBack) { last } else { 0 }
}

/// What is merged in place of what the rules say, if one is to be broken. `old` is the old
/// news in `incoming`.
pub(crate) fn bend(
    clock: &DotSet,
    here: &Object,
    incoming: &Object,
    old: &[Dot],
) -> Option<Object> {
    let rules = [
        Mutant::OldNewsTaken,
        Mutant::OldNewsClaimed,
        Mutant::ContextFilled,
        Mutant::AbsenceDeletes,
        Mutant::FirstWins,
        Mutant::MergeNotIdempotent,
    ];
    if !rules.into_iter().any(is) {
        return None;
    }
    let (mut values, mut context) = incoming.clone().into_parts();
    if is(Mutant::OldNewsClaimed) {
        values.retain(|dot, _| !old.contains(dot));
    } else if is(Mutant::ContextFilled) {
        values.retain(|dot, _| !old.contains(dot));
        old.iter().for_each(|dot| context.remove(*dot));
        let _ = context.union(&filled(&context, clock));
    } else if is(Mutant::AbsenceDeletes) {
        let _ = context.union(here.context());
    } else if is(Mutant::MergeNotIdempotent) {
        values.retain(|dot, _| !old.contains(dot) && !here.values().contains_key(dot));
        old.iter().for_each(|dot| context.remove(*dot));
    } else if is(Mutant::FirstWins) && !here.values().is_empty() {
        values.clear();
    }
    Object::from_parts(values, context).map(|bent| bent.marked(incoming.marks().clone()))
}

/// What is stored in place of an object and its clock, if a rule is to be broken.
pub(crate) fn commit(
    object: Object,
    clock: Vec<(Incarnation, Vec<Run>)>,
) -> (Object, Vec<(Incarnation, Vec<Run>)>) {
    if is(Mutant::MarksNotStored) {
        return (object.marked(Default::default()), clock);
    }
    if is(Mutant::TombstoneForgotten) && object.values().is_empty() {
        return (Object::default(), clock);
    }
    if is(Mutant::ContextForgotten) {
        let held = object.values().keys().copied().collect();
        let marks = object.marks().clone();
        let (values, context) = object.into_parts();
        let context = if values.is_empty() { context } else { held };
        let object = Object::from_parts(values, context).expect("the dots of the values are held");
        return (object.marked(marks), clock);
    }
    if is(Mutant::ClockWidened) {
        let widen = |runs: &mut Vec<Run>| {
            let whole = runs.pop().map(|run| Run { first: 1, ..run });
            *runs = whole.into_iter().collect();
        };
        let mut clock = clock;
        clock.iter_mut().for_each(|(_, runs)| widen(runs));
        return (object, clock);
    }
    if is(Mutant::ClockNotStored) {
        return (object, Vec::new());
    }
    (object, clock)
}

/// The object without the first of its values, which stays in its context.
pub(crate) fn without_first(object: Object) -> Object {
    let marks = object.marks().clone();
    let (mut values, context) = object.into_parts();
    values.pop_first();
    let rest = Object::from_parts(values, context).expect("fewer values need no more context");
    rest.marked(marks)
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
