//! Values for seeds of the fuzzer: those that the property tests of `codec` and `wire` draw, always
//! the same.
//!
//! They are a crate of their own because crates are what is instrumented. libFuzzer looks at every
//! counter of the program after every input, and half of them were of what draws these values.

#![cfg(not(test))]

#[allow(clippy::unwrap_used, reason = "as in tests")]
#[path = "../../../edge/wire/tests/arbitrary/mod.rs"]
mod arbitrary;

use bytes::Bytes;
use causality::DotSet;
use model::{Key, Object};
use node::Message;
use proptest::strategy::{Strategy, ValueTree as _};
use proptest::test_runner::TestRunner;

use arbitrary::{messages as any_message, parts};

fn draw<S: Strategy>(count: usize, strategy: S) -> Vec<S::Value> {
    let mut runner = TestRunner::deterministic();
    let mut next = || strategy.new_tree(&mut runner).expect("a value").current();
    (0..count).map(|_| next()).collect()
}

/// Sets of dots.
pub fn dot_sets() -> Vec<DotSet> {
    draw(20, parts::dot_sets())
}

/// Objects with values, contexts and marks.
pub fn objects() -> Vec<Object> {
    draw(20, parts::objects())
}

/// Keys.
pub fn keys() -> Vec<Key> {
    draw(8, parts::keys())
}

/// The key that tokens are about.
pub fn first_key() -> Key {
    Key::new(Bytes::from_static(b"partition"), Bytes::from_static(b"sort")).expect("a key")
}

/// Messages, enough that there are some of each kind.
pub fn messages() -> Vec<Message> {
    draw(150, any_message())
}

/// Catalogs, votes, keyspaces and tables, behind a byte that says which.
pub fn contracts() -> Vec<Vec<u8>> {
    let behind = |kind: u8, encode: &dyn Fn(&mut Vec<u8>)| {
        let mut out = vec![kind];
        encode(&mut out);
        out
    };
    let catalogs = draw(6, parts::catalogs());
    let acceptors = draw(6, parts::acceptors());
    let keyspaces = draw(6, parts::keyspaces());
    let tables = draw(6, parts::tables());
    let catalogs =
        catalogs.iter().map(|value| behind(0, &|out| codec::catalog::encode(value, out)));
    let acceptors =
        acceptors.iter().map(|value| behind(1, &|out| codec::catalog::encode_acceptor(value, out)));
    let keyspaces =
        keyspaces.iter().map(|value| behind(2, &|out| codec::catalog::encode_keyspace(value, out)));
    let tables =
        tables.iter().map(|value| behind(3, &|out| codec::catalog::encode_table(value, out)));
    catalogs.chain(acceptors).chain(keyspaces).chain(tables).collect()
}
