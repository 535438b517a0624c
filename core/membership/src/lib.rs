//! Who is alive, and where.
//!
//! A coordinator that waits for a dead replica answers late, and one that gives up on a
//! live one answers worse than it could. There are two things to know, and two ways:
//!
//! | question | answered by | used for |
//! | --- | --- | --- |
//! | does it answer *me*? | [`Reach`]: what this node hears on its own links | whom to ask, and whether to try |
//! | is it there at all, and where? | [`Standing`]: what the nodes tell each other | addresses, and what operators see |
//!
//! ```text
//! any message ──► link ──► steady ── silent, deaf, or lost ──► away ── heard ──► shaky ── for a while ──► steady
//! gossip ──► up ── no answer to anybody ──► suspected ── no objection ──► down ── heard ──► up
//! ```
//!
//! Neither ever changes who owns what, and neither counts as an answer.
//!
//! Links take care of three cases that silence alone gets wrong. *One direction is broken*: who
//! hears us no more says so in its probes, and is not counted on though we hear it. *A link
//! that comes and goes* is asked last until it has held for a while, longer each time. *This
//! node itself slept*: see `awake`.

mod awake;
mod gossip;
mod link;
mod peer;

use std::collections::BTreeMap;
use std::time::Duration;

use model::{NodeId, Now, Standing};
use rand_chacha::ChaCha8Rng;

pub use gossip::Packet;
pub use link::Reach;
pub use peer::Peer;

use awake::Awake;
use gossip::Gossip;
use link::Link;

/// One node's opinion of the others.
#[derive(Debug)]
pub struct Membership {
    me: NodeId,
    links: BTreeMap<NodeId, Link>,
    gossip: Gossip,
    /// When to look next for nodes that are heard and not known to be up.
    look_at: Now,
    awake: Awake,
}

/// How often a node that is heard and not known to be up is told that this one is there.
const LOOK_EVERY: Duration = Duration::from_millis(500);

impl Membership {
    /// Has heard of none of these nodes, and is sure only of itself.
    pub fn new(
        me: Peer,
        nodes: impl IntoIterator<Item = NodeId>,
        rng: ChaCha8Rng,
        now: Now,
    ) -> Self {
        let node = me.node();
        let others = nodes.into_iter().filter(|other| *other != node);
        Self {
            me: node,
            links: others.map(|node| (node, Link::default())).collect(),
            gossip: Gossip::new(me, rng),
            look_at: now,
            awake: Awake::default(),
        }
    }

    /// To be called first at each step: finds out whether this node has slept.
    pub fn step(&mut self, now: Now) {
        self.awake.step(now, self.awake.when(self.timer_at()));
    }

    /// Takes note of a sign of life. Nodes outside the layout are ignored.
    pub fn heard(&mut self, node: NodeId, now: Now) {
        let now = self.awake.read(now);
        if let Some(link) = self.links.get_mut(&node) {
            link.heard(now);
        }
    }

    /// Takes note that a connection to a node was made.
    pub fn connected(&mut self, node: NodeId, now: Now) {
        let now = self.awake.read(now);
        if let Some(link) = self.links.get_mut(&node) {
            link.connected(now);
            self.gossip.announce(node, now);
        }
    }

    /// Takes note that the connection to a node broke.
    pub fn lost(&mut self, node: NodeId, now: Now) {
        let now = self.awake.read(now);
        if let Some(link) = self.links.get_mut(&node) {
            link.lost(now);
        }
    }

    /// Takes note of whether a node says that it hears this one.
    pub fn told(&mut self, node: NodeId, hears_us: bool, now: Now) {
        let now = self.awake.read(now);
        if let Some(link) = self.links.get_mut(&node) {
            link.told(hears_us, now);
        }
    }

    /// Takes in what a node tells about the others. Returns whether it could be read.
    pub fn gossip(&mut self, bytes: &[u8], now: Now) -> bool {
        self.gossip.receive(bytes, self.awake.read(now))
    }

    /// Whether a node is heard, though it may not hear this one.
    pub fn hears(&self, node: NodeId, now: Now) -> bool {
        let now = self.awake.read(now);
        node == self.me || self.links.get(&node).is_some_and(|link| link.is_heard(now))
    }

    /// Whether a node answers to this one.
    pub fn reach(&self, node: NodeId, now: Now) -> Reach {
        if node == self.me {
            return Reach::Steady;
        }
        let now = self.awake.read(now);
        self.links.get(&node).map_or(Reach::Away, |link| link.reach(now))
    }

    /// Whether a node can be counted on at this moment.
    pub fn is_alive(&self, node: NodeId, now: Now) -> bool {
        self.reach(node, now) != Reach::Away
    }

    /// What the cluster says of a node.
    pub fn standing(&self, node: NodeId) -> Standing {
        if node == self.me { Standing::Up } else { self.gossip.standing(node) }
    }

    /// Names the nodes that should be probed at this moment, and counts them as probed.
    pub fn probe(&mut self, now: Now) -> Vec<NodeId> {
        let now = self.awake.read(now);
        let probed = |(node, link): (&NodeId, &mut Link)| link.probe(now).then_some(*node);
        let due = self.links.iter_mut().filter_map(probed).collect();
        self.look(now);
        self.gossip.wake(now);
        due
    }

    /// Whoever is heard is there, whatever the cluster says: both sides of a network that was
    /// cut call the other one down, and who is alone asks nobody any more.
    fn look(&mut self, now: Now) {
        if now < self.look_at {
            return;
        }
        self.look_at = now + LOOK_EVERY;
        for (node, link) in &self.links {
            if link.is_heard(now) && self.gossip.standing(*node) != Standing::Up {
                self.gossip.announce(*node, now);
            }
        }
    }

    /// What is to be told to others.
    pub fn packets(&mut self) -> Vec<Packet> {
        self.gossip.packets()
    }

    /// Nodes whose address was learned since the last call.
    pub fn located(&mut self) -> Vec<Peer> {
        self.gossip.located()
    }

    /// When [`probe`](Self::probe) will next have something to do. Nothing in a cluster of one.
    pub fn wake_at(&self) -> Option<Now> {
        let probe = self.links.values().map(Link::probe_due).min();
        Some(self.awake.when(self.timer_at().min(probe?)))
    }

    /// The next timer that no message moves.
    fn timer_at(&self) -> Now {
        self.gossip.wake_at().unwrap_or(self.look_at).min(self.look_at)
    }
}
