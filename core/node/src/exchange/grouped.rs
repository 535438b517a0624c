//! Asking for several shards at once, and taking in what comes.
//!
//! Where a keyspace has many shards, little is missing in each: ten keys that a node missed lie in
//! ten shards, and a question and its answer take more bytes than their names. So the shards that
//! one node is asked for in one turn are asked for in one [`Lack`], and what is small comes in one
//! [`Sent`]. Each shard is a request of its own all the same, by the number behind the one before:
//!
//! ```text
//! Lack  request 40: s3, its clock    others: s7, s9
//! Sent  request 40: s3 has no more   others: s7 goes on at a9, s9 has no more     objects of all
//! ```
//!
//! Beside clients each shard is asked for by itself, and paid for with time: see [`pulls`].
//!
//! [`pulls`]: crate::exchange::pulls

use model::NodeId;

use crate::exchange::pulls::{PULLS_MAX, Pull};
use crate::message::{Lack, Lacking, Rest, Sent};
use crate::{Cause, Disk, Merge, Node, RequestId, Turn};

impl Node {
    /// Makes one question of those that follow each other, where that is understood.
    pub(crate) fn grouped(&self, lacks: Vec<(NodeId, Lack)>) -> Vec<(NodeId, Lack)> {
        let mut grouped: Vec<(NodeId, Lack)> = Vec::new();
        for (to, lack) in lacks {
            let is_alone = self.exchange.is_busy_with(to) || !self.exchange.pulls.is_grouping(to);
            match grouped.last_mut() {
                Some((last, first)) if *last == to && !is_alone && first.is_followed_by(&lack) => {
                    let Lack { shard, clock, after, .. } = lack;
                    first.others.push(Lacking { shard, clock, after });
                }
                Some(_) | None => grouped.push((to, lack)),
            }
        }
        grouped
    }

    /// A node has sent what we had asked for, or a part of it.
    pub(crate) fn sent<D: Disk>(&mut self, from: NodeId, sent: Sent, turn: &mut Turn<'_, D>) {
        let Sent { request, objects, next, gaps, forgets, others } = sent;
        for (address, object) in objects {
            let (request, sync, cause) = (RequestId::NOBODY, false, Cause::Exchange);
            let merge = Merge { request, address, object, sync, cause, stands_for: None };
            self.merge(from, merge, turn);
        }
        let first = Rest { next, gaps, forgets };
        for (number, rest) in (0..).zip(std::iter::once(first).chain(others)) {
            let request = RequestId(request.0.wrapping_add(number));
            self.end_pull(from, request, rest, turn);
        }
        self.pull(turn);
    }

    fn end_pull<D: Disk>(
        &mut self,
        from: NodeId,
        request: RequestId,
        rest: Rest,
        turn: &mut Turn<'_, D>,
    ) {
        let (rate, pulls) = (self.config.limits.catch_up_rate, &mut self.exchange.pulls);
        let Some(pull) = pulls.end(request, from, rate, turn.now) else { return };
        let Rest { next, gaps, forgets } = rest;
        let shard = pull.shard;
        if forgets {
            self.learn_forgotten(shard, from, turn);
        }
        self.exchange.acks.gaps(from, shard, pull.after.is_some(), gaps);
        self.look(shard);
        if next.is_some() {
            self.exchange.pulls.again(Pull { after: next, hash: None, ..pull });
        }
    }
}

impl Lack {
    /// Whether another question can be one of this one.
    fn is_followed_by(&self, next: &Self) -> bool {
        let count = 1 + self.others.len();
        count < PULLS_MAX
            && next.request.0 == self.request.0.wrapping_add(count as u64)
            && next.shard.keyspace == self.shard.keyspace
            && next.credit == self.credit
    }
}
