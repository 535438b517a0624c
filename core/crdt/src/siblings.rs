//! Siblings: the concurrent values of a key, and what they superseded.
//!
//! Two clients that write without having seen each other's value are concurrent, and the
//! database must not choose between them: it keeps both until a client that has read both
//! writes again. Deciding this takes two facts per key: which values are held, each with
//! the [`Dot`] of the write that made it; and which dots are known to be superseded. A
//! value that is absent here is then either superseded (its dot is in the context) or
//! unknown (it is not). Unknown is never treated as deleted.
//!
//! ```text
//! A: values {a2: "milk"}               context {a1, a2}
//! B: values {a1: "tea", b1: "rum"}     context {a1, b1}
//! A ⊔ B: values {a2: "milk", b1: "rum"}  context {a1, a2, b1}      a1 was superseded by a2
//! ```
//!
//! An object without values but with a context is a *tombstone*: it says which writes a
//! delete had seen, so that they cannot come back.
//!
//! An object also remembers the [`Marks`] of its dots, to know which of them are one write
//! that was tried twice; see [`twins`](crate::twins).
//!
//! Contexts are exact sets, not "everything up to n": a replica that lost a record would
//! otherwise claim to have superseded what it merely forgot.
//!
//! Source: Almeida et al., "Scalable and Accurate Causality Tracking for Eventually
//! Consistent Stores" (DAIS 2014), section 5; the merge of Riak's `dvvset` without its
//! assumption that an actor's dots arrive as a prefix.

use std::collections::BTreeMap;

use causality::{Dot, DotSet};
use lattice::{Change, Lattice};

use crate::Marks;

/// The concurrent values of one key.
///
/// Invariant: `context` contains the dot of every value, and of every mark.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Siblings<V> {
    pub(crate) values: BTreeMap<Dot, V>,
    pub(crate) context: DotSet,
    pub(crate) marks: Marks,
}

impl<V> Default for Siblings<V> {
    fn default() -> Self {
        Self { values: BTreeMap::new(), context: DotSet::new(), marks: Marks::new() }
    }
}

impl<V> Siblings<V> {
    /// Puts together what was taken apart, or decoded.
    ///
    /// Returns nothing if the context lacks the dot of a value: no write can make that.
    pub fn from_parts(values: BTreeMap<Dot, V>, context: DotSet) -> Option<Self> {
        let complete = values.keys().all(|dot| context.contains(*dot));
        complete.then_some(Self { values, context, marks: Marks::new() })
    }

    /// The object that one write makes: a value that supersedes what its client had read.
    pub fn written(dot: Dot, read: DotSet, value: V) -> Self {
        let mut context = read;
        let _ = context.insert(dot);
        Self { values: BTreeMap::from([(dot, value)]), context, marks: Marks::new() }
    }

    /// The object that one delete makes: no value, and a context of what its client had
    /// read. The delete is a write of its own and has a dot, so that replicas can say
    /// whether they have heard of it.
    pub fn deleted(dot: Dot, read: DotSet) -> Self {
        let mut context = read;
        let _ = context.insert(dot);
        Self { values: BTreeMap::new(), context, marks: Marks::new() }
    }

    /// The concurrent values, each under the dot of the write that made it.
    pub fn values(&self) -> &BTreeMap<Dot, V> {
        &self.values
    }

    /// Exactly the dots that are held or have been superseded here.
    pub fn context(&self) -> &DotSet {
        &self.context
    }

    /// Takes the object apart. Its marks are forgotten.
    pub fn into_parts(self) -> (BTreeMap<Dot, V>, DotSet) {
        (self.values, self.context)
    }

    /// Returns whether nothing was ever written here, as far as this object knows.
    pub fn is_bottom(&self) -> bool {
        self.context.is_empty()
    }

    /// Returns whether all that was written here has been deleted.
    pub fn is_tombstone(&self) -> bool {
        self.values.is_empty() && !self.context.is_empty()
    }

    /// Forgets that `dot` was ever seen here: neither its value nor any claim about it
    /// remains. This is for an object on its way into a replica that has dropped the dot
    /// before; see the crate `replica`.
    pub fn leave_out(&mut self, dot: Dot) {
        self.values.remove(&dot);
        self.context.remove(dot);
        self.marks.remove(&dot);
    }

    /// Drops the values of these dots, which are known to be superseded and stay in the context.
    pub fn drop_values(&mut self, dots: &DotSet) {
        self.values.retain(|dot, _| !dots.contains(*dot));
    }

    /// The dots of the context that no value here has, and that say nothing of one.
    pub fn superseded(&self) -> DotSet {
        let traces = self.traces();
        let of_values = self.values.keys().copied().chain(traces).collect();
        self.context.difference(&of_values)
    }

    /// Forgets those of these dots that are [superseded](Self::superseded), and their marks. This is
    /// for a replica that remembers elsewhere that they are.
    pub fn forget(&mut self, dots: &DotSet) {
        let both = self.context.intersection(dots);
        if both.is_empty() {
            return;
        }
        let gone = both.intersection(&self.superseded());
        self.context = self.context.difference(&gone);
        self.marks.retain(|dot, _| !gone.contains(*dot));
    }
}

impl<V> Lattice for Siblings<V> {
    /// Keeps a value that both sides hold, and a value that one side holds unless the
    /// other has its dot in its context, and is therefore known to have superseded it. A
    /// value goes, too, if it has a twin that is superseded.
    fn merge(&mut self, other: Self) -> Change {
        let held = self.values.len();
        self.values
            .retain(|dot, _| other.values.contains_key(dot) || !other.context.contains(*dot));
        let mut changed = self.values.len() < held;
        for (dot, value) in other.values {
            if !self.context.contains(dot) {
                self.values.insert(dot, value);
                changed = true;
            }
        }
        let context = self.context.union(&other.context);
        changed |= self.merge_marks(other.marks) == Change::Grew;
        if changed || context == Change::Grew { Change::Grew } else { Change::Unchanged }
    }
}

#[cfg(test)]
mod tests {
    use causality::Incarnation;
    use proptest::prelude::*;

    use super::*;

    const A: Incarnation = Incarnation::new(0xa);
    const B: Incarnation = Incarnation::new(0xb);

    fn context(dots: &[Dot]) -> DotSet {
        dots.iter().copied().collect()
    }

    #[test]
    fn the_example_of_the_module_holds() {
        let (a1, a2, b1) = (Dot::new(A, 1), Dot::new(A, 2), Dot::new(B, 1));
        let mut here = Siblings::written(a2, context(&[a1]), "milk");
        let mut there = Siblings::written(a1, DotSet::new(), "tea");
        let _ = there.merge(Siblings::written(b1, DotSet::new(), "rum"));
        assert_eq!(here.merge(there), Change::Grew);
        assert_eq!(here.values(), &BTreeMap::from([(a2, "milk"), (b1, "rum")]));
        assert_eq!(here.context(), &context(&[a1, a2, b1]));
    }

    #[test]
    fn a_delete_removes_what_its_client_had_read_and_nothing_else() {
        let (a1, a2, b1) = (Dot::new(A, 1), Dot::new(A, 2), Dot::new(B, 1));
        let mut here = Siblings::written(a1, DotSet::new(), "seen");
        let _ = here.merge(Siblings::written(b1, DotSet::new(), "unseen"));
        let _ = here.merge(Siblings::deleted(a2, context(&[a1])));
        assert_eq!(here.values(), &BTreeMap::from([(b1, "unseen")]));
    }

    #[test]
    fn an_absent_key_deletes_nothing() {
        let mut here = Siblings::written(Dot::new(A, 1), DotSet::new(), "kept");
        assert_eq!(here.merge(Siblings::default()), Change::Unchanged);
        assert_eq!(here.values().len(), 1);
    }

    #[test]
    fn a_context_that_lacks_the_dot_of_a_value_is_refused() {
        let values = BTreeMap::from([(Dot::new(A, 1), "orphan")]);
        assert_eq!(Siblings::from_parts(values, DotSet::new()), None);
    }

    /// A history that can happen: some clients, each writing or deleting at one of two
    /// replicas from the state it last read there.
    #[derive(Clone, Debug)]
    struct Step {
        at: usize,
        from: usize,
        delete: bool,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = (0..3_usize, 0..3_usize, any::<bool>()).prop_map(|(at, from, delete)| Step {
            at,
            from,
            delete,
        });
        proptest::collection::vec(step, 0..16)
    }

    /// Three replicas after the steps, so that any three states are reachable together.
    fn run(steps: &[Step]) -> Vec<Siblings<u64>> {
        let mut replicas = vec![Siblings::default(); 3];
        for (step, payload) in steps.iter().zip(0..) {
            let dot = Dot::new(Incarnation::new(step.at as u64), payload + 1);
            let read = replicas[step.from].context().clone();
            let _ = replicas[step.at].merge(match step.delete {
                true => Siblings::deleted(dot, read),
                false => Siblings::written(dot, read, payload),
            });
        }
        replicas
    }

    proptest! {
        #[test]
        fn obeys_the_laws(steps in steps()) {
            let replicas = run(&steps);
            lattice::laws::check(&replicas[0], &replicas[1], &replicas[2]);
        }

        #[test]
        fn the_context_has_the_dot_of_every_value(steps in steps()) {
            for replica in run(&steps) {
                let (values, context) = replica.clone().into_parts();
                prop_assert_eq!(Siblings::from_parts(values, context), Some(replica));
            }
        }
    }
}
