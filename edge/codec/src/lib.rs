//! What we store and hand out, as bytes.
//!
//! A database outlives the program that wrote it. Its bytes are read by later versions, by
//! a disk that returns the wrong sector, by a node that was sent a damaged copy, and by
//! people who would like to forge them. This crate is the only place that knows what the
//! bytes mean, so that there is one place to check them, to version them, and to compare
//! them with examples that were kept.
//!
//! | module | turns into bytes | who keeps the bytes |
//! | --- | --- | --- |
//! | [`record`] | the envelope of everything stored: version, kind, checksum | disk |
//! | [`object`] | what a replica holds under a key | disk, other nodes |
//! | [`key`] | where an object is stored, in an encoding that sorts as keys do | disk |
//! | [`clock`] | the dots that a shard replica has applied | disk |
//! | [`forgotten`] | the dots of tombstones that it has dropped | disk |
//! | [`log`] | which dots were taken in with which object | disk |
//! | [`catalog`] | keyspaces, tables, and a node's vote on them | disk, other nodes |
//! | [`dots`] | an exact set of dots | inside the others |
//! | [`marks`] | which of them are one write | inside the others |
//! | [`token`] | the context that a client reads and hands back, authenticated | clients |
//! | [`session`] | what a session has seen of a shard | clients |
//! | [`cursor`] | where a list or scan goes on, authenticated | clients |
//! | [`feed`] | how far a watcher has come in a table, authenticated | clients |
//!
//! What is decoded has been checked: a value that comes out of here is one that the core
//! types allow. Every encoding is canonical: equal values are equal bytes, and bytes that
//! say the same in another way are refused. Decoding takes time and memory in proportion
//! to the bytes that are there, never to a length that they merely declare.
//!
//! An encoding changes by a new [`VERSION`], with a decoder for the old one kept. The
//! fixtures in `tests/golden` fail when one changes by accident.

pub mod catalog;
pub mod clock;
pub mod cursor;
pub mod dots;
pub mod feed;
pub mod forgotten;
pub mod hint;
pub mod key;
pub mod log;
pub mod marks;
pub mod object;
mod reader;
pub mod record;
pub mod session;
pub mod sum;
pub mod token;
mod varint;

pub use reader::Reader;

use thiserror::Error;

/// The version of every encoding here that ends up on a disk, but for
/// [catalogs](catalog::VERSION), and for what needs [another](VERSION_EXTENDED).
pub const VERSION: u8 = 1;

/// The version of objects that have marks, and of lines of a log that add to a sum. Others stay what
/// they were, so that a program which does not know of these reads them.
pub const VERSION_EXTENDED: u8 = 2;

/// Bytes that are no encoding of anything.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Malformed {
    /// The bytes stop in the middle of a value.
    #[error("the bytes end early")]
    Truncated,
    /// The value is complete, and more bytes follow.
    #[error("there are bytes after the end")]
    Trailing,
    /// The bytes were written by a later version of the program.
    #[error("version {0} of the encoding is newer than this program knows")]
    Newer(u8),
    /// The bytes say something that cannot be.
    #[error("{0}")]
    Invalid(&'static str),
}
