//! What was found on a disk that does not come back, and that nobody else had ever heard of.
//!
//! A write keeps its dot when it is taken in from such a disk. Whoever has heard of that dot, or
//! ever will, then knows the write: it is taken in once, however often and from however many
//! disks; a copy of it that arrives late is the same write; and if somebody turns up who knows that it
//! was superseded, it goes. A new dot would be a new write, which none of that is true of.
//!
//! That it was recovered has to be seen by who reads it, at every replica, so it is in the object:
//! as a second dot in its context, the *trace*, which follows from the first.
//!
//! ```text
//! found      values {a7: "tea"}   context {a3 a7}
//! taken in   values {a7: "tea"}   context {a7 a7'}     a3 is left out: it supersedes nothing
//! ```
//!
//! So the mark goes wherever contexts go, in every format there is, is merged like them, and
//! is compared like them. It stays when the value was overwritten, as all of a context does.
//!
//! Where dots of live objects are forgotten, the traces of the values that are held stay.

use std::collections::BTreeMap;

use causality::{Dot, DotSet, Incarnation};

use crate::{Marks, Siblings};

/// The dot that says of another that its write was recovered. It never changes: it is on disks.
fn trace(dot: Dot) -> Dot {
    Dot::new(Incarnation::new(mixed(dot.incarnation.bits())), dot.seq)
}

/// A permutation of 64 bits under which nobody's incarnation is likely to become another's, with
/// the multipliers of `SplitMix64`.
fn mixed(bits: u64) -> u64 {
    let bits = bits ^ u64::from_be_bytes(*b"recovery");
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

impl<V> Siblings<V> {
    /// These values of an object that was found, marked as recovered, with their marks. It
    /// supersedes nothing: what the disk had superseded others may have seen, and kept.
    #[must_use]
    pub fn recovered(self, which: &DotSet) -> Self {
        let is_meant = |dot: &Dot| which.contains(*dot);
        let values: BTreeMap<Dot, V> =
            self.values.into_iter().filter(|(dot, _)| is_meant(dot)).collect();
        let context = values.keys().flat_map(|dot| [*dot, trace(*dot)]).collect();
        let marks = self.marks.into_iter().filter(|(dot, _)| values.contains_key(dot));
        let marks = marks.collect::<Marks>();
        Self { values, context, marks }
    }

    /// The dots that say which of the values held here were recovered.
    pub(crate) fn traces(&self) -> impl Iterator<Item = Dot> {
        self.values.keys().map(|dot| trace(*dot))
    }

    /// Whether the write of a value that is held here was recovered.
    pub fn is_recovered(&self, dot: Dot) -> bool {
        self.values.contains_key(&dot) && self.context.contains(trace(dot))
    }
}

#[cfg(test)]
mod tests {
    use lattice::Lattice;

    use super::*;
    use crate::{Mark, Token};

    const A: Incarnation = Incarnation::new(0xa);
    const B: Incarnation = Incarnation::new(0xb);

    fn dots(dots: &[Dot]) -> DotSet {
        dots.iter().copied().collect()
    }

    /// What a disk holds: a3 and a7, of which the first had superseded b1.
    fn found() -> Siblings<&'static str> {
        let mut found = Siblings::written(Dot::new(A, 3), dots(&[Dot::new(B, 1)]), "tea");
        let _ = found.merge(Siblings::written(Dot::new(A, 7), DotSet::new(), "milk"));
        found
    }

    #[test]
    fn the_trace_of_a_write_is_the_same_for_ever() {
        assert_eq!(trace(Dot::new(A, 7)).to_string(), "0b326a6ab00d845b:7");
        assert_eq!(trace(Dot::new(B, 1)).to_string(), "db433a70ddd37027:1");
    }

    #[test]
    fn what_is_recovered_supersedes_nothing_and_is_seen_to_be() {
        let (a7, b1) = (Dot::new(A, 7), Dot::new(B, 1));
        let mut here = Siblings::written(b1, DotSet::new(), "rum");
        let recovered = found().recovered(&dots(&[a7]));
        let _ = here.merge(recovered.clone());
        assert_eq!(here.values(), &BTreeMap::from([(a7, "milk"), (b1, "rum")]));
        assert!(here.is_recovered(a7));
        assert!(!here.is_recovered(b1));
        assert_eq!(here.merge(recovered), lattice::Change::Unchanged, "once for all");
    }

    #[test]
    fn a_copy_that_comes_on_another_road_is_the_same_write_and_keeps_the_mark() {
        let (a3, a7) = (Dot::new(A, 3), Dot::new(A, 7));
        let mut here = found();
        let _ = here.merge(found().recovered(&dots(&[a3, a7])));
        assert_eq!(here.values(), found().values());
        assert!(here.is_recovered(a3) && here.is_recovered(a7));
    }

    #[test]
    fn who_knows_that_it_was_superseded_is_believed_and_nothing_new_is_called_recovered() {
        let (a7, b2) = (Dot::new(A, 7), Dot::new(B, 2));
        let mut here = found().recovered(&dots(&[a7]));
        let read = here.context().clone();
        let _ = here.merge(Siblings::written(b2, read, "wine"));
        assert_eq!(here.values(), &BTreeMap::from([(b2, "wine")]));
        assert!(!here.is_recovered(b2) && !here.is_recovered(a7));
    }

    #[test]
    fn a_write_that_its_client_sent_again_elsewhere_is_one_write_with_it() {
        let (a7, b2) = (Dot::new(A, 7), Dot::new(B, 2));
        let mark = Mark::new(Token::new(1, 1), 4, false);
        let found = found().marked([(a7, mark)].into());
        let mut here =
            Siblings::written(b2, DotSet::new(), "milk").marked([(b2, mark.sent_again())].into());
        let _ = here.merge(Siblings::deleted(Dot::new(B, 3), dots(&[b2])));
        let _ = here.merge(found.recovered(&dots(&[a7])));
        assert!(here.values().is_empty(), "{here:?}");
    }
}
