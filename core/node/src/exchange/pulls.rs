//! What this node asks others for, and how much at once.
//!
//! After a long absence every shard differs from that of every other replica. Asked for all
//! at once, the answers would stand in the way of clients for minutes. So only a few shards
//! are pulled at a time, one more begins when one ends, and each is given up when its answer
//! does not come: the next clocks that arrive will bring it up again.
//!
//! While this node or another has clients to serve, what comes is paid for with time: nothing more
//! is asked for until so much may have come by the rate that is configured. It is a rate and not
//! a share of the time that answers take, because an answer from the other side of the earth
//! takes long and is no work.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use causality::Dot;
use model::{NodeId, Now, ShardId};

use crate::RequestId;
use crate::exchange::throttle;
use crate::message::Clocks;

/// How many shards are pulled at once by a node with nothing else to do. Each round of one is
/// a round trip and a sync, so that few would take long for many shards that are far away.
pub(crate) const PULLS_MAX: usize = 64;

/// The same while there are clients to serve. From near it is the rate that bounds what comes;
/// from far so many answers are on their way at once.
const PULLS_MAX_BUSY: usize = 32;

/// The longest time that anything is paid for with: a debt is no reason to fall behind for ever.
const REST_MAX: Duration = Duration::from_secs(1);

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

/// What an answer costs that has not come yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Price {
    /// Of all that may come.
    pub(crate) bytes: u64,
    pub(crate) per_second: u64,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Pulls {
    wanted: VecDeque<Pull>,
    /// Asked for, and until when an answer is waited for. At most one for a shard: what
    /// two nodes have would be sent twice.
    active: BTreeMap<RequestId, Active>,
    /// Until when what was asked for is paid for, and nothing more is begun.
    resting: Option<Now>,
    /// What has come of the answer that each node is giving.
    arrived: BTreeMap<NodeId, u64>,
    /// Nodes that have said that they have clients to serve.
    busy: BTreeSet<NodeId>,
    /// Nodes that can be asked for several shards at once.
    grouping: BTreeSet<NodeId>,
}

#[derive(Debug)]
struct Active {
    pull: Pull,
    /// What it was thought to come to, in bytes.
    prepaid: u64,
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

    /// A node says whether it has clients to serve, and how it can be asked.
    pub(crate) fn hear(&mut self, from: NodeId, clocks: &Clocks) {
        let said = [(clocks.is_busy, &mut self.busy), (clocks.hears_others, &mut self.grouping)];
        for (is_so, nodes) in said {
            if is_so {
                nodes.insert(from)
            } else {
                nodes.remove(&from)
            };
        }
    }

    /// Whether a node can be asked for several shards at once.
    pub(crate) fn is_grouping(&self, node: NodeId) -> bool {
        self.grouping.contains(&node)
    }

    /// Whether a node, or any if none is named, has clients to serve, as far as was heard.
    pub(crate) fn is_busy(&self, node: Option<NodeId>) -> bool {
        node.map_or(!self.busy.is_empty(), |node| self.busy.contains(&node))
    }

    /// Takes out what to ask for next, if there may be one more.
    pub(crate) fn next(&mut self, is_busy: bool, now: Now) -> Option<Pull> {
        self.resting = self.resting.filter(|until| now < *until);
        let (max, rests) = match is_busy || self.is_busy(None) {
            true => (PULLS_MAX_BUSY, self.resting.is_some()),
            false => (PULLS_MAX, false),
        };
        if rests || max <= self.active.len() {
            return None;
        }
        let is_free =
            |pull: &Pull| self.active.values().all(|active| active.pull.shard != pull.shard);
        let at = self.wanted.iter().position(is_free)?;
        self.wanted.remove(at)
    }

    /// It was asked for, and is paid for as if it were all that may come.
    pub(crate) fn begin(
        &mut self,
        request: RequestId,
        pull: Pull,
        until: Now,
        price: Price,
        now: Now,
    ) {
        let prepaid = price.bytes;
        let from = self.resting.map_or(now, |until| until.max(now));
        self.rest(from + throttle::time(prepaid, price.per_second), now);
        self.active.insert(request, Active { pull, prepaid, until });
    }

    /// A part of an answer came.
    pub(crate) fn arrive(&mut self, from: NodeId, bytes: u64) {
        *self.arrived.entry(from).or_default() += bytes;
    }

    /// An answer came, and what it came to is settled.
    pub(crate) fn end(
        &mut self,
        request: RequestId,
        from: NodeId,
        per_second: u64,
        now: Now,
    ) -> Option<Pull> {
        // Each node gives its answers one after the other.
        let arrived = self.arrived.remove(&from).unwrap_or_default();
        if self.active.get(&request)?.pull.from != from {
            return None;
        }
        let Active { pull, prepaid, .. } = self.active.remove(&request)?;
        let until = self.resting.unwrap_or(now) + throttle::time(arrived, per_second);
        let back = throttle::time(prepaid, per_second);
        let micros = u64::try_from(back.as_micros()).unwrap_or(u64::MAX);
        self.rest(Now::from_micros(until.as_micros().saturating_sub(micros)), now);
        Some(pull)
    }

    fn rest(&mut self, until: Now, now: Now) {
        self.resting = Some(until.min(now + REST_MAX));
    }

    /// When one more can be begun that has to wait now.
    pub(crate) fn wake_at(&self) -> Option<Now> {
        self.resting.filter(|_| !self.wanted.is_empty())
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
        self.arrived.remove(&node);
        self.busy.remove(&node);
        self.grouping.remove(&node);
    }
}
