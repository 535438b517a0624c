//! What can live under a key.
//!
//! Dots decide first: a value whose dot is in another version's context was seen by the
//! client that wrote that version, and is superseded. A policy only chooses among what is
//! left, the concurrent values. Here that is [`Siblings`], which keeps them all.

mod mark;
mod recovered;
mod siblings;
mod twins;

pub use mark::{Mark, Marks, Token};
pub use siblings::Siblings;
pub use twins::{MARKS_MAX, MARKS_REACH};
