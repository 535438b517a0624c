//! Ports that nobody uses.

use std::net::{Ipv4Addr, TcpListener};

/// Ports for nodes to talk to each other. Below the range from which Linux takes the ports
/// of outgoing connections, so that a node that is restarted finds its port still free.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// Returns whether a port can be listened on. A connection of a former user that lingers
/// does not make it busy.
pub(super) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Picks a free port that is not in `taken`, from somewhere in the range on: two that look for ports
/// at the same moment should not find the same ones free.
pub(super) fn pick(taken: &[u16]) -> Option<u16> {
    let first = rand::random_range(RANGE);
    let mut ports = (first..RANGE.end).chain(RANGE.start..first);
    ports.find(|port| !taken.contains(port) && is_free(*port))
}
