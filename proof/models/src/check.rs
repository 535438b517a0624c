//! Visiting all states of a model, and telling what was found.

use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model, Property};

/// What it took to visit all states.
#[derive(Clone, Copy, Debug)]
pub struct Explored {
    /// How many different states there are.
    pub states: usize,
    /// How many steps the longest of the shortest paths to them has.
    pub depth: usize,
}

/// Visits every state of `model` and prints how many there are.
///
/// # Panics
///
/// If a property does not hold; the message has the shortest path to where it fails.
pub fn explore<M>(title: &str, model: M) -> Explored
where
    M: Model + Send + Sync + 'static,
    M::State: Hash + Debug + Send + Sync + Clone + PartialEq + 'static,
    M::Action: Clone + PartialEq + Debug + Display,
{
    let begun = Instant::now();
    let checker = model.checker().finish_when(HasDiscoveries::AnyFailures);
    let checker = checker.threads(2).spawn_bfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    let seconds = begun.elapsed().as_secs_f64();
    println!("{title}: {states} states, depth {depth}, {seconds:.1} s");
    let discoveries = checker.discoveries();
    for property in checker.model().properties() {
        let found = discoveries.get(property.name);
        if property.expectation.discovery_is_failure()
            && let Some(path) = found
        {
            let state = path.last_state();
            let story = story(&path.clone().into_actions());
            panic!("{title}: not true that {}:\n{story}{state:#?}", property.name);
        }
        let is_example = !property.expectation.discovery_is_failure();
        assert!(!is_example || found.is_some(), "{title}: never {}", property.name);
    }
    assert!(checker.is_done(), "{title}: not all states were visited");
    Explored { states, depth }
}

/// A model of which only one property is asked. The checker then stops at the first state
/// without it, which is one of those nearest to the beginning.
struct Only<M> {
    model: M,
    property: &'static str,
}

impl<M: Model> Model for Only<M> {
    type State = M::State;
    type Action = M::Action;

    fn init_states(&self) -> Vec<M::State> {
        self.model.init_states()
    }

    fn actions(&self, state: &M::State, actions: &mut Vec<M::Action>) {
        self.model.actions(state, actions);
    }

    fn next_state(&self, last: &M::State, action: M::Action) -> Option<M::State> {
        self.model.next_state(last, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always(self.property, |only: &Self, state| {
            let Property { condition, expectation, .. } = only.model.property(only.property);
            condition(&only.model, state) == expectation.discovery_is_failure()
        })]
    }
}

/// Finds the shortest way to where `property` does not hold, or, if it says what may
/// happen sometimes, to where it does. Prints it in words.
///
/// # Panics
///
/// If there is no such way.
pub fn shortest<M>(title: &str, model: M, property: &'static str) -> String
where
    M: Model + Send + Sync + 'static,
    M::State: Hash + Send + Sync + Clone + PartialEq + 'static,
    M::Action: Clone + PartialEq + Display,
{
    let begun = Instant::now();
    let checker = Only { model, property }.checker().spawn_bfs().join();
    let path = checker.discovery(property);
    let path = path.unwrap_or_else(|| panic!("{title}: nothing shows that {property} or not"));
    let story = story(&path.into_actions());
    let (states, seconds) = (checker.unique_state_count(), begun.elapsed().as_secs_f64());
    println!("{title}: how \"{property}\" is decided ({states} states, {seconds:.1} s)\n{story}");
    story
}

fn story<A: Display>(actions: &[A]) -> String {
    actions.iter().zip(1..).map(|(action, n)| format!("    {n}. {action}\n")).collect()
}
