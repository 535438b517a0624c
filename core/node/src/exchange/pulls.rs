//! What this node asks others for, and how much at once.
//!
//! After a long absence every shard differs from that of every other replica. Asked for all
//! at once, the answers would stand in the way of clients for minutes. So only a few shards
//! are pulled at a time, one more begins when one ends, and each is given up when its answer
//! does not come: the next clocks that arrive will bring it up again.
//!
//! While this node or another has clients to serve, a pull is followed by a rest twice as long as
//! the answer took. Whatever is short, a processor, a disk or the network, an answer takes longer
//! then, and so does the rest: what clients are left with is two thirds of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use causality::Dot;
use model::{NodeId, Now, ShardId};

use crate::RequestId;

/// How many shards are pulled at once by a node with nothing else to do. Each round of one is
/// a round trip and a sync, so that few would take long for many shards that are far away.
pub(crate) const PULLS_MAX: usize = 64;

/// The same while there are clients to serve.
const PULLS_MAX_BUSY: usize = 8;

/// How many times as long as it took a busy node leaves in peace who has answered it.
const REST: u32 = 2;

/// The longest rest: what is slow for another reason should end some day.
const REST_MAX: Duration = Duration::from_millis(50);

/// Something to ask another node for.
#[derive(Clone, Debug)]
pub(crate) struct Pull {
    pub(crate) shard: ShardId,
    pub(crate) from: NodeId,
    /// Where it goes on.
    pub(crate) after: Option<Dot>,
    /// What the other clock came to, if that was all that is known.
    pub(crate) hash: Option<u64>,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Pulls {
    wanted: VecDeque<Pull>,
    /// Asked for, and until when an answer is waited for. At most one for a shard: what
    /// two nodes have would be sent twice.
    active: BTreeMap<RequestId, Active>,
    /// Until when so many pulls less are begun.
    resting: Vec<Now>,
    /// Nodes that have said that they have clients to serve.
    busy: BTreeSet<NodeId>,
}

#[derive(Debug)]
struct Active {
    pull: Pull,
    begun: Now,
    until: Now,
}

impl Pulls {
    /// Another clock is not like ours. Nothing if that is being seen to.
    pub(crate) fn want(&mut self, shard: ShardId, from: NodeId, hash: u64) {
        let is_it = |pull: &Pull| (pull.shard, pull.from) == (shard, from);
        if self.active.values().any(|active| is_it(&active.pull)) {
            return;
        }
        match self.wanted.iter_mut().find(|pull| is_it(pull)) {
            Some(pull) => pull.hash = pull.hash.map(|_| hash),
            None => self.wanted.push_back(Pull { shard, from, after: None, hash: Some(hash) }),
        }
    }

    /// A node says whether it has clients to serve.
    pub(crate) fn hear(&mut self, from: NodeId, is_busy: bool) {
        match is_busy {
            true => self.busy.insert(from),
            false => self.busy.remove(&from),
        };
    }

    /// Whether a node, or any if none is named, has clients to serve, as far as was heard.
    pub(crate) fn is_busy(&self, node: Option<NodeId>) -> bool {
        node.map_or(!self.busy.is_empty(), |node| self.busy.contains(&node))
    }

    /// Takes out what to ask for next, if there may be one more.
    pub(crate) fn next(&mut self, is_busy: bool, now: Now) -> Option<Pull> {
        self.resting.retain(|until| now < *until);
        let max = match is_busy || self.is_busy(None) {
            true => PULLS_MAX_BUSY.saturating_sub(self.resting.len()),
            false => PULLS_MAX,
        };
        if max <= self.active.len() {
            return None;
        }
        let is_free =
            |pull: &Pull| self.active.values().all(|active| active.pull.shard != pull.shard);
        let at = self.wanted.iter().position(is_free)?;
        self.wanted.remove(at)
    }

    /// It was asked for.
    pub(crate) fn begin(&mut self, request: RequestId, pull: Pull, begun: Now, until: Now) {
        self.active.insert(request, Active { pull, begun, until });
    }

    /// An answer came.
    pub(crate) fn end(&mut self, request: RequestId, from: NodeId, now: Now) -> Option<Pull> {
        if self.active.get(&request)?.pull.from != from {
            return None;
        }
        let Active { pull, begun, .. } = self.active.remove(&request)?;
        self.resting.push(now + rest(now.since(begun)));
        Some(pull)
    }

    /// When one more can be begun that has to wait now.
    pub(crate) fn wake_at(&self) -> Option<Now> {
        self.resting.iter().copied().min().filter(|_| !self.wanted.is_empty())
    }

    /// There is more of it. Other shards have their turn first.
    pub(crate) fn again(&mut self, pull: Pull) {
        self.wanted.retain(|other| (other.shard, other.from) != (pull.shard, pull.from));
        self.wanted.push_back(pull);
    }

    /// Gives up what was not answered in time.
    pub(crate) fn expire(&mut self, now: Now) {
        self.active.retain(|_, active| now < active.until);
    }

    /// A node can answer no more.
    pub(crate) fn lost(&mut self, node: NodeId) {
        self.active.retain(|_, active| active.pull.from != node);
        self.wanted.retain(|pull| pull.from != node);
        self.busy.remove(&node);
    }
}

/// How long to leave everybody in peace after something that took so long.
pub(crate) fn rest(took: Duration) -> Duration {
    (took * REST).min(REST_MAX)
}
