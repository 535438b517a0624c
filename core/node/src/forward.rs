//! Writes that arrive at a node which is no replica of their key.
//!
//! Only a replica mints dots for a shard, so the request moves on to one that is alive.
//! Reads need no such detour: any node can ask the replicas.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use model::{Failure, NodeId, Request};

use crate::flight::{Client, Flight, Work};
use crate::{After, Disk, Forward, Forwarded, Message, Node, RequestId, Site, Turn};

/// A request in the hands of another node.
#[derive(Debug)]
pub(crate) struct Forwarding {
    pub(crate) to: NodeId,
    wanted: u8,
}

/// How many forwarded requests of one node are remembered. When full, the oldest is
/// forgotten: a network that repeats a message does so within seconds.
const TAKEN_MAX: usize = 4_096;

/// The forwarded requests that this node has taken on, by who sent them.
///
/// Accepting a write is the one thing that is not a merge. A message that arrives twice
/// must not make two writes of one, whose values would be siblings for ever.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    by_node: BTreeMap<NodeId, (BTreeSet<RequestId>, VecDeque<RequestId>)>,
}

impl Taken {
    /// Remembers a request. Returns whether it is taken on for the first time.
    pub(crate) fn insert(&mut self, from: NodeId, request: RequestId) -> bool {
        let (known, order) = self.by_node.entry(from).or_default();
        if !known.insert(request) {
            return false;
        }
        order.push_back(request);
        if TAKEN_MAX < order.len()
            && let Some(oldest) = order.pop_front()
        {
            known.remove(&oldest);
        }
        true
    }
}

impl Node {
    /// Passes a request on to the first replica that is alive.
    pub(crate) fn forward<D: Disk>(
        &mut self,
        client: Client,
        site: &Site,
        timeout: Duration,
        asked: Request,
        turn: &mut Turn<'_, D>,
    ) -> Result<(), Failure> {
        let alive = |node: &&NodeId| self.membership.is_alive(**node, turn.now);
        let first = site.replicas.iter().find(alive).filter(|_| !client.is_forwarded());
        // A request that was passed on is not passed on again: the nodes disagree about
        // who keeps the key, and it could wander for ever.
        let Some(&to) = first else {
            return Err(Failure::NotAttempted { wanted: 1, alive: 0, replicas: site.n });
        };
        let id = self.new_request();
        turn.send(to, Message::Forward(Forward { request: id, asked }), After::Now);
        let deadline = turn.now + timeout;
        let work = Work::Forward(Forwarding { to, wanted: 1 });
        self.keep(id, turn.now, Flight { client, deadline, timer: deadline, work });
        Ok(())
    }

    pub(crate) fn forwarded<D: Disk>(&mut self, forwarded: Forwarded, turn: &mut Turn<'_, D>) {
        let Some(Flight { work: Work::Forward(_), .. }) = self.flights.get(&forwarded.request)
        else {
            return;
        };
        if let Some(flight) = self.take(forwarded.request) {
            self.answer(flight.client, forwarded.reply, turn);
        }
    }

    /// The other node did not answer. It may have done what was asked.
    pub(crate) fn forward_failed<D: Disk>(&mut self, flight: &Flight, turn: &mut Turn<'_, D>) {
        let Work::Forward(forwarding) = &flight.work else { return };
        let wanted = forwarding.wanted;
        self.fail(flight.client, Failure::Unknown { wanted, got: 0, receipt: None }, turn);
    }
}
