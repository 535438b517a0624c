//! Ports that nobody uses.

use std::net::{Ipv4Addr, TcpListener};

/// Ports for nodes to talk to each other. Below the range from which Linux takes the ports
/// of outgoing connections, so that a node that is restarted finds its port still free.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// How many ports to try before giving up. Most of them are free on any machine.
const TRIES: usize = 1_000;

/// Returns whether a port can be listened on. A connection of a former user that lingers
/// does not make it busy.
pub(super) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Picks a free port that is not in `taken`.
pub(super) fn pick(taken: &[u16]) -> Option<u16> {
    (0..TRIES)
        .map(|_| rand::random_range(RANGE))
        .find(|port| !taken.contains(port) && is_free(*port))
}
