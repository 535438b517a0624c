//! What reads bytes from the disk, for proof/fuzz to throw bytes at. Not for anybody else.

use std::io;

use model::{ClusterId, NodeId};

use crate::FORMAT_VERSION;
use crate::format::{Format, Unreadable};
use crate::witness::{self, Mark, Witness};

/// What a file FORMAT says: what it is when written again, or nothing.
pub fn format(text: &str) -> Option<String> {
    match Format::parse(text) {
        Ok(format) => Some(format.to_text()),
        Err(Unreadable::Newer(_) | Unreadable::Damaged) => None,
    }
}

/// A file FORMAT.
pub fn format_of(cluster: u64, node: u16, layout: u64, mark: [u8; 16], ready: bool) -> String {
    let state = if ready { crate::format::State::Ready } else { crate::format::State::New };
    let (cluster, node) = (ClusterId::new(cluster), NodeId::new(node));
    let version = FORMAT_VERSION;
    Format { version, cluster, node, layout, mark: Mark::of(mark), state }.to_text()
}

/// The witness that these bytes begin with, encoded again.
pub fn witness(bytes: &[u8]) -> Option<Vec<u8>> {
    Witness::decode(bytes).map(|witness| witness.encode())
}

/// A witness as it is written.
pub fn witness_of(mark: [u8; 16], number: u64, synced: u64) -> Vec<u8> {
    Witness { mark: Mark::of(mark), number, synced }.encode()
}

/// Where a journal has witnesses with this mark, their numbers, and the sequence numbers of
/// their batches.
///
/// # Errors
///
/// That of the reader.
pub fn survey(
    journal: &mut impl io::Read,
    mark: [u8; 16],
) -> io::Result<Vec<(u64, u64, Option<u64>)>> {
    let found = witness::witnesses_in(journal, Mark::of(mark))?.into_iter();
    Ok(found.map(|(at, witness, sequence)| (at, witness.number, sequence)).collect())
}
