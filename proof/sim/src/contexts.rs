//! Contexts as clients hold them: sealed tokens, which they may mix up or alter.
//!
//! Nodes are handed sets of dots, and would believe any. It is the token that keeps a client
//! from naming what it has not read: it is bound to the key that was read, and to the
//! cluster. So a token of another key, and one with a character changed or missing, is
//! tried here against the very code that the door uses, and must be refused.

use causality::DotSet;
use codec::token::{self, Place, TokenKey};
use model::Marks;

use crate::invariant::Invariant;
use crate::mutant::Mutant;
use crate::oracle::Spot;
use crate::report::Broken;

/// Tries the token of `there` at `there`, where it is good, at `here`, and altered.
pub(crate) fn check(
    here: &Spot,
    there: &Spot,
    (context, marks): (&DotSet, &Marks),
    draw: u64,
    mutant: Option<Mutant>,
) -> Result<(), Broken> {
    let key = TokenKey::derive(&[7; 32]);
    let is_bound = mutant != Some(Mutant::TokensUnbound);
    let place = |spot| place(if is_bound { spot } else { there });
    let token = token::seal_marked(&key, &place(there), context, marks);
    let complain = |what: &str| {
        let detail = format!("the token {token} of {:?} {what} {:?}", there.key, here.key);
        Err(Broken::new(Invariant::TokensAreBound, detail))
    };
    let opened = token::open_marked(&key, &place(there), &token);
    if opened.as_ref().map(|(context, marks)| (context, marks)) != Ok((context, marks)) {
        return complain("is refused where it was made, or is another there, beside");
    }
    let is_same = (&here.table.name, &here.key) == (&there.table.name, &there.key);
    if !is_same && token::open(&key, &place(here), &token).is_ok() {
        return complain("is taken at");
    }
    let altered = alter(&token, draw);
    if altered != token && token::open(&key, &place(there), &altered).is_ok() {
        return complain("is taken, altered, beside");
    }
    let other = TokenKey::derive(&[8; 32]);
    if token::open(&other, &place(there), &token).is_ok() {
        return complain("is taken by another cluster, beside");
    }
    Ok(())
}

fn place<'a>(spot: &'a Spot) -> Place<'a> {
    Place { keyspace: &spot.keyspace, table: &spot.table.name, key: &spot.key }
}

/// The token with one character replaced, left out, or everything after it cut off.
fn alter(token: &str, draw: u64) -> String {
    let index = usize::try_from(draw >> 8).unwrap_or(0) % token.len().max(1);
    let (before, after) = token.split_at_checked(index).unwrap_or((token, ""));
    let rest: String = after.chars().skip(1).collect();
    match draw & 3 {
        0 => before.into(),
        1 => format!("{before}{rest}"),
        _ => {
            let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
            let letter = usize::try_from(draw >> 2 & 63).unwrap_or(0);
            let letter = letters.get(letter).copied().map_or('A', char::from);
            format!("{before}{letter}{rest}")
        }
    }
}
