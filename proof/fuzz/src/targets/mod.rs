//! What is fuzzed: for each decoder the input's form, and what must hold of it.

mod client;
mod codec;
mod config;
mod http;
mod import;
mod kept;
mod node;
mod storage;
mod wire;

use bytes::Bytes;

/// One thing that reads bytes from outside.
#[derive(Clone, Copy)]
pub struct Target {
    /// What it is called on the command line and in `corpus/`.
    pub name: &'static str,
    /// Runs one input. Panics if something does not hold.
    pub run: fn(&[u8]),
    /// Inputs to begin with, made by the real encoders.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// What inputs are likely to have in them.
    pub dictionary: &'static [&'static str],
    /// Bytes of memory that any input may take.
    pub base: usize,
    /// Bytes of memory that each byte of an input may take beyond.
    pub per_byte: usize,
}

impl Target {
    const fn new(name: &'static str, run: fn(&[u8])) -> Self {
        Self { name, run, seeds: Vec::new, dictionary: &[], base: 64 << 10, per_byte: 128 }
    }
}

/// All of them.
pub fn all() -> impl Iterator<Item = &'static Target> {
    [
        codec::TARGETS,
        kept::TARGETS,
        wire::TARGETS,
        storage::TARGETS,
        http::TARGETS,
        client::TARGETS,
        import::TARGETS,
        config::TARGETS,
        node::TARGETS,
    ]
    .into_iter()
    .flatten()
}

fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut out = Vec::new();
    encode(&mut out);
    out.into()
}
