//! What this node asks others for, and how much at once.
//!
//! After a long absence every shard differs from that of every other replica. Asked for all
//! at once, the answers would stand in the way of clients for minutes. So only a few shards
//! are pulled at a time, one more begins when one ends, and each is given up when its answer
//! does not come: the next clocks that arrive will bring it up again.

use std::collections::{BTreeMap, VecDeque};

use causality::Dot;
use model::{NodeId, Now, ShardId};

use crate::RequestId;

/// How many shards are pulled at once by a node with nothing else to do. Each round of one is
/// a round trip and a sync, so that few would take long for many shards that are far away.
pub(crate) const PULLS_MAX: usize = 64;

/// The same while there are clients to serve.
const PULLS_MAX_BUSY: usize = 8;

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
    active: BTreeMap<RequestId, (Pull, Now)>,
}

impl Pulls {
    /// Another clock is not like ours. Nothing if that is being seen to.
    pub(crate) fn want(&mut self, shard: ShardId, from: NodeId, hash: u64) {
        let is_it = |pull: &Pull| (pull.shard, pull.from) == (shard, from);
        if self.active.values().any(|(pull, _)| is_it(pull)) {
            return;
        }
        match self.wanted.iter_mut().find(|pull| is_it(pull)) {
            Some(pull) => pull.hash = pull.hash.map(|_| hash),
            None => self.wanted.push_back(Pull { shard, from, after: None, hash: Some(hash) }),
        }
    }

    /// Takes out what to ask for next, if there may be one more.
    pub(crate) fn next(&mut self, is_busy: bool) -> Option<Pull> {
        let max = if is_busy { PULLS_MAX_BUSY } else { PULLS_MAX };
        if max <= self.active.len() {
            return None;
        }
        let is_free =
            |pull: &Pull| self.active.values().all(|(other, _)| other.shard != pull.shard);
        let at = self.wanted.iter().position(is_free)?;
        self.wanted.remove(at)
    }

    /// It was asked for.
    pub(crate) fn begin(&mut self, request: RequestId, pull: Pull, until: Now) {
        self.active.insert(request, (pull, until));
    }

    /// An answer came.
    pub(crate) fn end(&mut self, request: RequestId, from: NodeId) -> Option<Pull> {
        if self.active.get(&request)?.0.from != from {
            return None;
        }
        self.active.remove(&request).map(|(pull, _)| pull)
    }

    /// There is more of it. Other shards have their turn first.
    pub(crate) fn again(&mut self, pull: Pull) {
        self.wanted.retain(|other| (other.shard, other.from) != (pull.shard, pull.from));
        self.wanted.push_back(pull);
    }

    /// Gives up what was not answered in time.
    pub(crate) fn expire(&mut self, now: Now) {
        self.active.retain(|_, (_, until)| now < *until);
    }

    /// A node can answer no more.
    pub(crate) fn lost(&mut self, node: NodeId) {
        self.active.retain(|_, (pull, _)| pull.from != node);
        self.wanted.retain(|pull| pull.from != node);
    }
}
