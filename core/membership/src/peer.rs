//! Who a node is, to the others.

use foca::Identity;
use model::NodeId;
use serde::{Deserialize, Serialize};

/// A node, one life of it, and where it can be reached in that life.
///
/// The number is who it is. The address is a hint that a later life may change.
#[derive(Clone, Debug, Deserialize, Eq, Serialize)]
pub struct Peer {
    number: u16,
    /// Grows from life to life of one node, and whenever the others have given it up.
    life: u64,
    address: String,
    /// How much the next life adds. Doubled each time, because a node whose wall clock was
    /// set back has to overtake its former lives. Known to itself only.
    #[serde(skip)]
    stride: u8,
}

impl Peer {
    /// A life of a node. Lives begin at the milliseconds of a wall clock.
    pub fn new(node: NodeId, life: u64, address: String) -> Self {
        Self { number: node.number(), life, address, stride: 0 }
    }

    /// Somebody to talk to, of whom nothing else is known.
    pub(crate) fn stranger(node: NodeId) -> Self {
        Self::new(node, 0, String::new())
    }

    /// Which node it is.
    pub fn node(&self) -> NodeId {
        NodeId::new(self.number)
    }

    /// Where it says that others reach it, as `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl PartialEq for Peer {
    fn eq(&self, other: &Self) -> bool {
        (self.number, self.life, &self.address) == (other.number, other.life, &other.address)
    }
}

impl Identity for Peer {
    type Addr = u16;

    fn renew(&self) -> Option<Self> {
        let life = self.life.saturating_add(1 << self.stride);
        Some(Self { life, stride: 40.min(self.stride + 1), ..self.clone() })
    }

    fn addr(&self) -> u16 {
        self.number
    }

    fn win_addr_conflict(&self, other: &Self) -> bool {
        (self.life, &self.address) > (other.life, &other.address)
    }
}
