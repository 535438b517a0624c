//! Who is alive, as far as this node can tell.
//!
//! A coordinator that waits for a dead replica answers late, and one that gives up on a
//! live one answers worse than it could. Each node therefore keeps an opinion of every
//! other: it probes those it has not heard lately, takes any message as a sign of life,
//! and takes silence, or a broken connection, as a sign of death.
//!
//! ```text
//! heard ──► alive ── silent for SILENCE_MAX, or connection lost ──► not alive ── heard ──► alive
//! ```
//!
//! The opinion changes *whom we ask first* and whether a request is worth attempting. It
//! never changes who owns what, and never counts as an answer.
//!
//! It is local: nodes do not tell each other what they think. A link that is broken in one
//! direction is noticed at the end that hears nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{NodeId, Now};
use mutant::{Mutant, is};

/// How long a node may be silent before it is probed. Half a second keeps the traffic of
/// an idle cluster at a few messages per second and pair.
const PROBE_INTERVAL: Duration = Duration::from_millis(500);

/// How long a node may be silent before it counts as not alive: three lost probes in a
/// row. Above the pauses of a busy machine, below the patience of a client.
const SILENCE_MAX: Duration = Duration::from_millis(2_000);

#[derive(Clone, Copy, Debug, Default)]
struct Peer {
    heard: Option<Now>,
    probed: Option<Now>,
}

/// One node's opinion of the others.
#[derive(Clone, Debug)]
pub struct Membership {
    peers: BTreeMap<NodeId, Peer>,
    me: NodeId,
}

impl Membership {
    /// Knows these nodes, has heard of none, and is sure only of itself.
    pub fn new(me: NodeId, nodes: impl IntoIterator<Item = NodeId>) -> Self {
        let others = nodes.into_iter().filter(|node| *node != me);
        Self { peers: others.map(|node| (node, Peer::default())).collect(), me }
    }

    /// Takes note of a sign of life. Nodes outside the layout are ignored.
    pub fn heard(&mut self, node: NodeId, now: Now) {
        if let Some(peer) = self.peers.get_mut(&node) {
            let is_dead = peer.heard.is_none() && peer.probed.is_some();
            peer.heard = Some(now).filter(|_| !is_dead || !is(Mutant::DeadForEver));
        }
    }

    /// Takes note that the connection to a node broke.
    pub fn lost(&mut self, node: NodeId) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.heard = None;
        }
    }

    /// Returns whether the node was heard of lately.
    pub fn is_alive(&self, node: NodeId, now: Now) -> bool {
        node == self.me || self.peers.get(&node).is_some_and(|peer| peer.is_alive(now))
    }

    /// Names the nodes that should be probed at this moment, and counts them as probed.
    pub fn probe(&mut self, now: Now) -> Vec<NodeId> {
        let mut due = Vec::new();
        for (node, peer) in &mut self.peers {
            if peer.probe_due() <= now {
                peer.probed = Some(now);
                due.push(*node);
            }
        }
        due
    }

    /// When [`probe`](Self::probe) will next name somebody. Nothing in a cluster of one.
    pub fn wake_at(&self) -> Option<Now> {
        self.peers.values().map(Peer::probe_due).min()
    }
}

impl Peer {
    fn is_alive(&self, now: Now) -> bool {
        self.heard.is_some_and(|heard| now.since(heard) < SILENCE_MAX)
    }

    fn probe_due(&self) -> Now {
        match self.heard.max(self.probed) {
            None => Now::default(),
            Some(last) => last + PROBE_INTERVAL,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: NodeId = NodeId::new(1);
    const PEER: NodeId = NodeId::new(2);

    fn at(millis: u64) -> Now {
        Now::from_micros(millis * 1000)
    }

    #[test]
    fn a_node_is_alive_while_it_is_heard_and_for_a_while_after() {
        let mut membership = Membership::new(ME, [ME, PEER]);
        assert!(membership.is_alive(ME, at(0)));
        assert!(!membership.is_alive(PEER, at(0)), "never heard of");
        membership.heard(PEER, at(100));
        assert!(membership.is_alive(PEER, at(2_099)));
        assert!(!membership.is_alive(PEER, at(2_100)));
        membership.heard(PEER, at(3_000));
        membership.lost(PEER);
        assert!(!membership.is_alive(PEER, at(3_001)));
    }

    #[test]
    fn only_the_silent_are_probed_and_not_more_often_than_the_interval() {
        let mut membership = Membership::new(ME, [ME, PEER]);
        assert_eq!(membership.probe(at(0)), [PEER]);
        assert_eq!(membership.probe(at(499)), []);
        assert_eq!(membership.wake_at(), Some(at(500)));
        membership.heard(PEER, at(400));
        assert_eq!(membership.probe(at(500)), [], "heard of 100 ms ago");
        assert_eq!(membership.probe(at(900)), [PEER]);
    }

    #[test]
    fn strangers_are_not_members() {
        let mut membership = Membership::new(ME, [ME]);
        membership.heard(PEER, at(0));
        assert!(!membership.is_alive(PEER, at(0)));
        assert_eq!(membership.wake_at(), None);
    }
}
