//! Writes that arrive at a node which is no replica of their key.
//!
//! Only a replica mints dots for a shard, so the request moves on to one that is alive.
//! Reads need no such detour: any node can ask the replicas.

use std::time::Duration;

use model::{Failure, NodeId, Request};

use crate::flight::{Client, Flight, Work};
use crate::{After, Disk, Forward, Forwarded, Message, Node, Site, Turn};

/// A request in the hands of another node.
#[derive(Debug)]
pub(crate) struct Forwarding {
    pub(crate) to: NodeId,
    wanted: u8,
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
