//! A network of our own for real processes: slow, lossy, split in two, or broken in one
//! direction only, and healed a moment later.
//!
//! Kernels can delay and lose packets by themselves, but not every kernel is built to, and a
//! firewall can neither delay nor reorder. What every Linux has are network namespaces
//! and TUN devices: a network card whose cable ends in a file descriptor. So each node gets a
//! namespace with one such card, and this process is the switch at the other end of all
//! cables:
//!
//! ```text
//!   clients             n1              n2              n3         each but the first in a namespace
//! 198.18.S.1       198.18.S.2      198.18.S.3      198.18.S.4
//!    port 0           port 1          port 2          port 3
//!      └─────────────────┴───────┬───────┴───────────────┘
//!            read a packet ─ look up the Rule of (from, to) ─ draw its fate
//!            ─ keep it until it is due ─ write it to the other card
//! ```
//!
//! Rules are per ordered pair of ports, can be changed at any time, and count what they do, so
//! that a test can show that its fault took place. Everything that is drawn comes from a seed;
//! the packets do not, so the same seed makes a similar run and not the same.
//!
//! [`Network`] makes all of it and takes it away again. It needs root, `/dev/net/tun` and `ip`
//! of iproute2. Several can exist at once, in one process or in many.
//!
//! A rule may also end TCP connections, as firewalls do that have forgotten them.
//!
//! It does not limit bandwidth, damage packets, or carry IPv6.

mod fabric;
mod namespace;
mod network;
mod resets;
mod rule;

use thiserror::Error;

pub use fabric::Counts;
pub use network::Network;
pub use rule::Rule;

/// Why there is no network.
#[derive(Debug, Error)]
pub enum Error {
    /// It cannot be had here: a right, a device or a tool is missing.
    #[error("{0}")]
    Unavailable(String),
    /// It could not be made.
    #[error("{0}")]
    Failed(String),
    /// The operating system.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}
