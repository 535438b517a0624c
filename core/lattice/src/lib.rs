//! Join-semilattices: values that can be merged in any order.
//!
//! Replicas hear of writes in different orders, some twice and some late. If the state
//! of a replica is a join-semilattice and the only way to change it is [`Lattice::merge`],
//! order, repetition and delay cannot make two replicas differ for good: both end at the
//! least upper bound of what they have heard.
//!
//! ```text
//! a ⊔ b = b ⊔ a        (a ⊔ b) ⊔ c = a ⊔ (b ⊔ c)        a ⊔ a = a
//! ```
//!
//! [`laws`] states these as assertions, so that every type proves them with its own
//! generated values. Integers and collections are deliberately no lattices here: which
//! merge they mean is said by a wrapper such as [`Max`].
//!
//! Source: Shapiro et al., "Conflict-free Replicated Data Types" (SSS 2011), section 2.

pub mod laws;

/// Whether a merge taught the receiver anything.
///
/// The caller writes, marks and forwards only what [`Grew`](Change::Grew).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Change {
    /// The value is greater than it was.
    Grew,
    /// The value is what it was: everything merged was known.
    Unchanged,
}

/// A value with a least upper bound for any two of its kind.
pub trait Lattice {
    /// Raises `self` to the least upper bound of `self` and `other`.
    fn merge(&mut self, other: Self) -> Change;
}

/// A totally ordered value whose merge is the maximum.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Max<T>(pub T);

impl<T: Ord> Lattice for Max<T> {
    fn merge(&mut self, other: Self) -> Change {
        if other.0 <= self.0 {
            return Change::Unchanged;
        }
        *self = other;
        Change::Grew
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn max_obeys_the_laws() {
        for a in 0..4 {
            for b in 0..4 {
                for c in 0..4 {
                    laws::check(&Max(a), &Max(b), &Max(c));
                }
            }
        }
    }

    /// A merge that overwrites: the laws must notice.
    #[derive(Clone, Debug, Eq, PartialEq)]
    struct Overwrites(u8);

    impl Lattice for Overwrites {
        fn merge(&mut self, other: Self) -> Change {
            *self = other;
            Change::Grew
        }
    }

    #[test]
    #[should_panic(expected = "commutative")]
    fn laws_notice_a_merge_that_overwrites() {
        laws::check(&Overwrites(1), &Overwrites(2), &Overwrites(3));
    }
}
