//! The laws of a lattice as assertions, for the tests of every type that claims to be one.

use std::fmt::Debug;

use crate::{Change, Lattice};

/// Checks the lattice laws on three values that one run of the system can reach.
///
/// The values must be *reachable together*: two objects that carry different payloads
/// under one dot cannot occur, and their merge is not required to commute.
///
/// # Panics
///
/// When a law does not hold. The message begins with the name of the law.
pub fn check<T: Lattice + Clone + Debug + Eq>(a: &T, b: &T, c: &T) {
    let ab = merged(a, b);
    assert_eq!(ab, merged(b, a), "commutative: {a:?} and {b:?}");
    assert_eq!(merged(&ab, c), merged(a, &merged(b, c)), "associative: {a:?}, {b:?}, {c:?}");
    assert_eq!(merged(a, a), *a, "idempotent: {a:?}");
    let mut here = ab.clone();
    assert_eq!(here.merge(b.clone()), Change::Unchanged, "absorbed: {b:?} in {ab:?}");
    let mut here = a.clone();
    let change = here.merge(b.clone());
    assert_eq!(change == Change::Unchanged, ab == *a, "honest change: {a:?} with {b:?}");
}

fn merged<T: Lattice + Clone>(a: &T, b: &T) -> T {
    let mut merged = a.clone();
    let _ = merged.merge(b.clone());
    merged
}
