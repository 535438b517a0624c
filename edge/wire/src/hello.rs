//! The first thing that either end of a connection says.
//!
//! ```text
//! "mergansr"  version (2)  oldest version (2)  cluster (8)  node (2)  incarnation (8)
//! layout (8)  nonce (16)                                             all little-endian
//! ```
//!
//! This layout is the same in every version, because it is read before the two ends know
//! each other's. A later one may append; what is appended is ignored here, and is covered
//! by the proofs all the same, which are about the bytes as they were sent.

use bytes::{Buf, BufMut};
use causality::Incarnation;
use model::{ClusterId, NodeId};

/// What a node of any version begins with.
const MAGIC: &[u8; 8] = b"mergansr";

/// The bytes of a hello that every version has.
const BYTES: usize = 54;

/// Who a node says it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Hello {
    /// The version that it would like to speak.
    pub version: u16,
    /// The oldest version that it can speak.
    pub version_min: u16,
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// Its name there.
    pub node: NodeId,
    /// Its present life.
    pub incarnation: Incarnation,
    /// The fingerprint of the layout it was started with.
    pub layout: u64,
    /// Random bytes, so that a proof made for one connection is worth nothing in another.
    pub nonce: [u8; 16],
}

impl Hello {
    /// Appends it.
    pub(crate) fn encode(&self, out: &mut impl BufMut) {
        out.put_slice(MAGIC);
        out.put_u16_le(self.version);
        out.put_u16_le(self.version_min);
        out.put_u64_le(self.cluster.number());
        out.put_u16_le(self.node.number());
        out.put_u64_le(self.incarnation.bits());
        out.put_u64_le(self.layout);
        out.put_slice(&self.nonce);
    }

    /// Reads the hello that `bytes` begin with. Nothing if they do not begin with one.
    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        if bytes.len() < BYTES || !bytes.starts_with(MAGIC) {
            return None;
        }
        bytes.advance(MAGIC.len());
        let mut hello = Self {
            version: bytes.get_u16_le(),
            version_min: bytes.get_u16_le(),
            cluster: ClusterId::new(bytes.get_u64_le()),
            node: NodeId::new(bytes.get_u16_le()),
            incarnation: Incarnation::new(bytes.get_u64_le()),
            layout: bytes.get_u64_le(),
            nonce: [0; 16],
        };
        bytes.copy_to_slice(&mut hello.nonce);
        Some(hello)
    }
}
