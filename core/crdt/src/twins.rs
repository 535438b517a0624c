//! Twins: dots that are one write, because a client tried it at two nodes.
//!
//! Both attempts may succeed, at replicas that had not heard of each other. Their values then
//! meet in one object, and may do so long after one of them was read and overwritten. The
//! client meant one write, so it must have one effect: it is shown once, and when either is
//! superseded, both are.
//!
//! ```text
//! A: values {a1: "tea"}    context {a1}       marks {a1: t}      the first attempt
//! B: values {b1: "tea"}    context {b1}       marks {b1: t}      the second
//! C: values {c1: "milk"}   context {a1 c1}    marks {a1: t}      had read the first
//! A ⊔ B: values {a1 b1}    context {a1 b1}    marks {a1: t  b1: t}    shown once
//! B ⊔ C: values {c1}       context {a1 b1 c1} marks {a1: t  b1: t}    b1 went with a1
//! ```
//!
//! A value goes only if a dot with its mark is in the context and not held. That dot was
//! superseded, which never becomes untrue, so it does not matter when the two are heard of, or
//! in which order: what is superseded only grows, and is closed under "twin of".
//!
//! The mark of a superseded dot therefore stays after its value, for as long as a retry may
//! turn up: see [`MARKS_REACH`] and [`MARKS_MAX`]. Few writes have twins: those that were sent
//! again, because somebody did not answer. Their marks [say so](Mark::sent_again), and the mark of a
//! write that was sent once does not take their place. Otherwise a replica that is cut off with
//! the first attempt brings it back, if only its key is overwritten often enough meanwhile.
//!
//! Marks are knowledge, and no state: two replicas may have different ones and hold the same
//! values.

use std::collections::BTreeSet;

use causality::{Dot, DotSet};
use lattice::Change;
use mutant::{Mutant, is};

use crate::{Mark, Marks, Siblings, Token};

/// How many marks of superseded dots an object keeps: the youngest of those that were sent once,
/// and as many of those that were sent again. More would make an object that is overwritten
/// all day larger than its value; at 26 bytes each, these are 3 KiB, and rarely 6.
pub const MARKS_MAX: usize = 128;

/// How much older than the youngest token of its object a mark may become, in milliseconds. A
/// day: longer than clients retry, and than most networks stay divided. It is measured between
/// tokens, so that no clock is needed.
pub const MARKS_REACH: u64 = 24 * 3_600 * 1_000;

impl<V> Siblings<V> {
    /// The marks of dots in the context: of values, and of what was superseded lately.
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// The object with these marks, as far as their dots are in its context.
    #[must_use]
    pub fn marked(mut self, marks: Marks) -> Self {
        self.marks = marks;
        self.marks.retain(|dot, _| self.context.contains(*dot));
        self
    }

    /// The marks of those dots, which somebody who has read them needs when writing.
    pub fn marks_in(&self, dots: &DotSet) -> Marks {
        let marks = self.marks.iter().filter(|(dot, _)| dots.contains(**dot));
        marks.map(|(dot, mark)| (*dot, *mark)).collect()
    }

    /// The write that came with a token, if it is known here: a value before what was
    /// superseded, and of several the least dot.
    pub fn of_token(&self, token: Token) -> Option<(Dot, Mark)> {
        let twins = || self.marks.iter().filter(|(_, mark)| mark.token == token);
        let held = twins().find(|(dot, _)| self.values.contains_key(dot));
        held.or_else(|| twins().next()).map(|(dot, mark)| (*dot, *mark))
    }

    /// Whether a token that is not known here may have been, and was forgotten because so many
    /// writes came after it.
    pub fn may_have_forgotten(&self, token: Token) -> bool {
        [false, true].into_iter().any(|is_repeated| {
            let superseded =
                self.superseded_marks().filter(|(_, mark)| mark.is_repeated() == is_repeated);
            let mut tokens = superseded.map(|(_, mark)| mark.token);
            MARKS_MAX <= tokens.clone().count() && tokens.all(|kept| token < kept)
        })
    }

    /// The marks of dots that are not held any more.
    fn superseded_marks(&self) -> impl Iterator<Item = (&Dot, &Mark)> + Clone {
        self.marks.iter().filter(|(dot, _)| !self.values.contains_key(dot))
    }

    /// Whether the marks of writes as old as this token are forgotten for their age.
    pub fn is_beyond_reach(&self, token: Token) -> bool {
        let youngest = self.marks.values().map(|mark| mark.token.millis()).max().unwrap_or(0);
        token.millis().saturating_add(MARKS_REACH) < youngest
    }

    /// Whether this object has heard of a write under any of the dots that have this token.
    /// It need not remember the marks itself.
    pub fn has_heard_of(&self, token: Token, marks: &Marks) -> bool {
        let mut twins = marks.iter().filter(|(_, mark)| mark.token == token);
        twins.any(|(dot, _)| self.context.contains(*dot))
    }

    /// The object as clients see it: of twins, and of values that are equal, only the one with the
    /// least dot. Not to be merged into anything, because the others look superseded.
    ///
    /// Values that are equal are one answer to whoever reads, and stay several writes: each goes
    /// when somebody who had read it writes.
    #[must_use]
    pub fn shown(mut self) -> Self
    where
        V: PartialEq,
    {
        if !self.marks.is_empty() {
            let mut seen = BTreeSet::new();
            let marks = &self.marks;
            let mut is_first = |mark: &Mark| seen.insert(mark.write());
            self.values.retain(|dot, _| marks.get(dot).is_none_or(&mut is_first));
        }
        let is_again = |(index, value): (usize, &V)| {
            self.values.values().take(index).any(|before| before == value)
        };
        let again: Vec<bool> = self.values.values().enumerate().map(is_again).collect();
        let mut again = again.into_iter();
        self.values.retain(|_, _| again.next() != Some(true));
        self
    }

    /// How many values there are, twins counted once.
    pub fn width(&self) -> usize {
        let mark = |dot| self.marks.get(dot).map(|mark| mark.write());
        let marks: BTreeSet<Mark> = self.values.keys().filter_map(mark).collect();
        let plain = self.values.keys().filter(|dot| mark(dot).is_none());
        plain.count() + marks.len()
    }

    /// Takes in marks, and drops the values whose twins are superseded.
    pub(crate) fn merge_marks(&mut self, theirs: Marks) -> Change {
        if self.marks.is_empty() && theirs.is_empty() {
            return Change::Unchanged;
        }
        let ours = if theirs.is_empty() { None } else { Some(self.marks.clone()) };
        self.marks.extend(theirs);
        let held = self.values.len();
        if !is(Mutant::TwinKept) {
            self.drop_twins();
        }
        self.forget_marks();
        let is_same = ours.is_none_or(|ours| ours == self.marks);
        if is_same && held == self.values.len() { Change::Unchanged } else { Change::Grew }
    }

    fn drop_twins(&mut self) {
        let gone: BTreeSet<Mark> = self.superseded_marks().map(|(_, mark)| mark.write()).collect();
        let marks = &self.marks;
        self.values
            .retain(|dot, _| marks.get(dot).is_none_or(|mark| !gone.contains(&mark.write())));
    }

    /// Forgets the marks of superseded dots that are beyond the reach of retries.
    fn forget_marks(&mut self) {
        if is(Mutant::MarkForgotten) {
            self.marks.retain(|dot, _| self.values.contains_key(dot));
        }
        let youngest = self.marks.values().map(|mark| mark.token.millis()).max().unwrap_or(0);
        let values = &self.values;
        self.marks.retain(|dot, mark| {
            values.contains_key(dot) || youngest <= mark.token.millis().saturating_add(MARKS_REACH)
        });
        let all = self.superseded_marks().map(|(dot, mark)| (*mark, *dot));
        let (repeated, once): (Vec<_>, Vec<_>) =
            all.partition(|(mark, _)| mark.is_repeated() && !is(Mutant::RepeatedMarkForgotten));
        for mut class in [repeated, once] {
            class.sort_unstable();
            let excess = class.len().saturating_sub(MARKS_MAX);
            for (_, dot) in class.iter().take(excess) {
                self.marks.remove(dot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use causality::Incarnation;
    use lattice::Lattice;
    use proptest::prelude::*;

    use super::*;

    const A: Incarnation = Incarnation::new(0xa);
    const B: Incarnation = Incarnation::new(0xb);
    const C: Incarnation = Incarnation::new(0xc);

    fn mark(number: u64) -> Mark {
        Mark::new(Token::new(number, number.into()), number << 8, false)
    }

    /// A write with a token, after reading `read` somewhere.
    fn written(dot: Dot, read: &Siblings<u64>, number: u64) -> Siblings<u64> {
        marked(dot, read, number, mark(number))
    }

    /// The same, sent once more because somebody did not answer.
    fn repeated(dot: Dot, read: &Siblings<u64>, number: u64) -> Siblings<u64> {
        marked(dot, read, number, mark(number).sent_again())
    }

    fn marked(dot: Dot, read: &Siblings<u64>, number: u64, mark: Mark) -> Siblings<u64> {
        let mut marks = read.marks().clone();
        marks.insert(dot, mark);
        Siblings::written(dot, read.context().clone(), number).marked(marks)
    }

    fn merged(parts: &[&Siblings<u64>]) -> Siblings<u64> {
        let mut merged = Siblings::default();
        for part in parts {
            let _ = merged.merge((*part).clone());
        }
        merged
    }

    #[test]
    fn a_second_attempt_goes_with_the_first_whenever_it_is_heard_of() {
        let nothing = Siblings::default();
        let first = written(Dot::new(A, 1), &nothing, 1);
        let second = written(Dot::new(B, 1), &nothing, 1);
        let both = merged(&[&first, &second]);
        assert_eq!((both.values().len(), both.width()), (2, 1));
        assert_eq!(both.clone().shown().values().len(), 1, "and is shown once");
        let over = written(Dot::new(C, 1), &first, 2);
        for order in [[&first, &second, &over], [&over, &second, &first], [&second, &over, &over]] {
            let left: Vec<u64> = merged(&order).values().values().copied().collect();
            assert_eq!(left, [2], "{order:?}");
        }
    }

    #[test]
    fn another_payload_under_the_same_token_is_another_write() {
        let mut second = written(Dot::new(B, 1), &Siblings::default(), 1);
        second.marks.values_mut().for_each(|mark| mark.fingerprint += 1 << 8);
        let over = written(Dot::new(C, 1), &written(Dot::new(A, 1), &Siblings::default(), 1), 2);
        assert_eq!(merged(&[&over, &second]).width(), 2);
    }

    #[test]
    fn marks_of_superseded_writes_are_forgotten_by_number_and_by_age() {
        let mut object = Siblings::default();
        let last = MARKS_MAX as u64 + 10;
        for number in 1..=last {
            let next = written(Dot::new(A, number), &object, number);
            let _ = object.merge(next);
        }
        assert_eq!(object.marks().len(), MARKS_MAX + 1, "and the one of the value");
        assert!(object.may_have_forgotten(mark(1).token));
        assert!(!object.may_have_forgotten(mark(last + 1).token));
        let late = written(Dot::new(A, last + 1), &object, last + MARKS_REACH);
        let _ = object.merge(late);
        let kept: Vec<u64> = object.marks().values().map(|mark| mark.token.millis()).collect();
        assert_eq!(kept, [last, last + MARKS_REACH]);
        assert!(!object.may_have_forgotten(mark(1).token), "that is for whoever knows the time");
        assert!(object.is_beyond_reach(mark(last - 1).token));
        assert!(!object.is_beyond_reach(mark(last).token));
    }

    #[test]
    fn the_mark_of_a_write_that_was_sent_again_outlives_those_of_all_that_were_not() {
        let nothing = Siblings::default();
        let alone = written(Dot::new(A, 1), &nothing, 1);
        let mut object = repeated(Dot::new(B, 1), &nothing, 1);
        let mut overwrite = |number: u64, write: fn(Dot, &Siblings<u64>, u64) -> Siblings<u64>| {
            let next = write(Dot::new(B, number), &object, number);
            let _ = object.merge(next);
            merged(&[&object, &alone]).width()
        };
        let last = 3 * MARKS_MAX as u64;
        for number in 2..last {
            assert_eq!(overwrite(number, written), 1, "after {number} writes");
        }
        for number in last..last + MARKS_MAX as u64 - 1 {
            assert_eq!(overwrite(number, repeated), 1, "after {number} writes");
        }
        assert_eq!(overwrite(2 * last, repeated), 1, "that one is held, and not superseded");
        assert_eq!(overwrite(2 * last + 1, repeated), 2, "of those there are too many, too");
        assert!(object.may_have_forgotten(mark(1).token));
    }

    /// Some clients at one of three replicas, each after reading one of them; some try again
    /// what was tried before.
    #[derive(Clone, Debug)]
    struct Step {
        at: usize,
        from: usize,
        again: Option<usize>,
        delete: bool,
        exchange: bool,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let again = proptest::option::of(0..6_usize);
        let step = (0..3_usize, 0..3_usize, again, any::<bool>(), any::<bool>());
        let step = step.prop_map(|(at, from, again, delete, exchange)| Step {
            at,
            from,
            again,
            delete: delete && exchange,
            exchange: exchange && !delete,
        });
        proptest::collection::vec(step, 0..20)
    }

    /// One attempt: its dot, the number of the write, and what it had read.
    type Attempt = (Dot, u64, DotSet);

    /// Three replicas after the steps, and each attempt.
    fn run(steps: &[Step]) -> (Vec<Siblings<u64>>, Vec<Attempt>) {
        let mut replicas = vec![Siblings::<u64>::default(); 3];
        let mut tried: Vec<(u64, bool, Siblings<u64>)> = Vec::new();
        let mut dots = Vec::new();
        for (step, seq) in steps.iter().zip(1..) {
            if step.exchange {
                let theirs = replicas[step.from].clone();
                let _ = replicas[step.at].merge(theirs);
                continue;
            }
            let known = step.again.and_then(|index| tried.get(index).cloned());
            let (number, is_delete, read) =
                known.unwrap_or_else(|| (seq, step.delete, replicas[step.from].clone()));
            tried.push((number, is_delete, read.clone()));
            let write = if step.again.is_some() { repeated } else { written };
            if replicas[step.at].of_token(mark(number).token).is_some() {
                continue;
            }
            let dot = Dot::new(Incarnation::new(step.at as u64), seq);
            let mut write = write(dot, &read, number);
            if is_delete {
                write.values.clear();
            }
            dots.push((dot, number, read.context().clone()));
            let _ = replicas[step.at].merge(write);
        }
        (replicas, dots)
    }

    proptest! {
        #[test]
        fn obeys_the_laws(steps in steps()) {
            let (replicas, _) = run(&steps);
            lattice::laws::check(&replicas[0], &replicas[1], &replicas[2]);
        }

        /// Whatever was exchanged when: an attempt is held exactly if nobody who is known of
        /// had read any attempt of the same write.
        #[test]
        fn a_write_has_one_effect_however_often_it_was_tried(steps in steps()) {
            let (mut replicas, dots) = run(&steps);
            let all = merged(&replicas.iter().collect::<Vec<_>>());
            replicas.push(all);
            for replica in &replicas {
                let heard = |dot: Dot| replica.context().contains(dot);
                for (dot, number, _) in dots.iter().filter(|(dot, ..)| heard(*dot)) {
                    let twins = dots.iter().filter(|twin| twin.1 == *number && heard(twin.0));
                    let read = |twin: Dot| dots.iter().any(|(by, _, read)| heard(*by) && read.contains(twin));
                    let is_superseded = twins.clone().any(|twin| read(twin.0));
                    if is_superseded {
                        prop_assert!(!replica.values().contains_key(dot), "{dot} in {replica:?}");
                    }
                }
                let shown = replica.clone().shown();
                prop_assert_eq!(shown.values().len(), replica.width());
                let numbers: BTreeSet<u64> = shown.values().values().copied().collect();
                prop_assert_eq!(numbers.len(), shown.values().len());
            }
        }

        #[test]
        fn the_context_has_the_dot_of_every_mark(steps in steps()) {
            for replica in run(&steps).0 {
                prop_assert_eq!(replica.clone().marked(replica.marks().clone()), replica);
            }
        }
    }
}
