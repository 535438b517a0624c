//! Bytes from outside, thrown at everything that reads them.
//!
//! A node reads what clients, peers, disks and operators hand it, and none of these can be
//! trusted to send what an encoder made. One decoder that panics, believes a length, or
//! takes two encodings for one value is enough to stop a node, or to make two replicas
//! disagree about what they hold. Each decoder is therefore a [`Target`]: a function of
//! bytes that must not panic, must not allocate beyond a bound, and says what else must
//! hold.
//!
//! ```text
//! seeds, made by the encoders ─┐
//! corpus/TARGET.hex, kept ─────┼──► files ──► libFuzzer ──► what covers more ──► corpus/
//!                              │                  └──► a crash ──► found/TARGET.hex
//!                              └──► tests/kept.rs: every cargo test runs all of them
//! ```
//!
//! `scripts/fuzz.sh` builds the binary with the coverage that libFuzzer needs, which stable
//! compilers can, and runs all targets. Only the crates of this workspace are instrumented:
//! coverage of libraries would be paid for with every input, and steer away from our own
//! code. Without the feature `libfuzzer` the same binary keeps the inputs, and runs one.
//!
//! The decoders of the binary `merganser` have no library to be called in, so their files are taken
//! in by path. Their tests are run where they live, and would not find their files here: compiled
//! for tests, this library is empty.

#![cfg(not(test))]

mod cut;
mod kept;
mod meter;
mod targets;

extern crate http as http_door;

#[allow(dead_code, reason = "only what reads text is used")]
#[path = "../../../apps/merganser/src/config/mod.rs"]
mod config;

#[allow(dead_code, reason = "only what reads text is used")]
mod commands;

/// The node behind the door in the tests of the door.
#[allow(dead_code, clippy::unwrap_used, reason = "only the node is used")]
#[path = "../../../doors/http/tests/door/support.rs"]
mod door;

pub use kept::{kept, pack, to_hex as hex, unpack};
pub use meter::totals;
pub use targets::{Target, all};

/// The target of this name.
pub fn find(name: &str) -> Option<&'static Target> {
    all().find(|target| target.name == name)
}

impl Target {
    /// Runs one input.
    ///
    /// # Panics
    ///
    /// If something does not hold.
    pub fn check(&self, input: &[u8]) {
        meter::measured(input, self.base, self.per_byte, self.run);
    }

    /// Lets lazily made things be made, so that no input pays for them.
    pub fn warm_up(&self) {
        for seed in (self.seeds)().iter().take(2) {
            (self.run)(seed);
        }
    }
}
