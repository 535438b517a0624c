//! Values that some replicas hold and others may have forgotten.
//!
//! Of a key that was deleted long ago a replica has nothing. Usually no other one has more. But a
//! disk may have put back an old record, a guest may keep a value that it was never told to drop, and
//! an answer may be on its way since before the delete. Merged with nothing, such a value would
//! be shown again; and what is told of nothing cannot say that it was deleted.
//!
//! So where replicas differ, and one that holds less has forgotten anything in its shard, it is asked
//! before the client is answered: have you forgotten these? What it has is left out, and whoever holds
//! it is told that it is superseded. That is one more round trip, of a read that met a write under way or met such a value.
//!
//! ```text
//! n1 ──Fetch──► n2   {a1: "tea"}            n2's record turned old
//! n1 ──Fetch──► n3   nothing, and n3 has forgotten some dots of the shard
//! n1 ──Doubt {a1}──► n3 ──Doubted {a1}──► n1     the client is told: nothing
//! ```

use std::collections::{BTreeMap, BTreeSet};

use causality::{Dot, DotSet};
use model::{Address, NodeId, Now, Object, Reply, ShardId};
use mutant::{Mutant, is};

use crate::flight::{Client, Flight, Work};
use crate::message::{Doubt, Doubted};
use crate::{After, Cause, Disk, Merge, Message, Node, RequestId, Turn};

/// Which replicas may have forgotten which dots.
pub(crate) type Doubts = BTreeMap<(NodeId, ShardId), DotSet>;

/// An answer that waits until doubts are cleared.
#[derive(Debug)]
pub(crate) struct Doubting {
    reply: Reply,
    /// What is said if they are not.
    fallback: Reply,
    asked: BTreeSet<(NodeId, ShardId)>,
    forgotten: BTreeMap<ShardId, DotSet>,
    /// The key, if one was read.
    address: Option<Address>,
}

/// Adds the values of an object to what a replica may have forgotten.
pub(crate) fn doubt(doubts: &mut Doubts, at: NodeId, shard: ShardId, object: &Object) {
    if !object.values().is_empty() {
        let dots: DotSet = object.values().keys().copied().collect();
        let _ = doubts.entry((at, shard)).or_default().union(&dots);
    }
}

impl Node {
    /// Answers a client, after those were asked who may have forgotten a part of the answer, which is
    /// of one key or of many. If they do not say, the fallback is the answer.
    pub(crate) fn answer_undoubted<D: Disk>(
        &mut self,
        (client, begun, deadline): (Client, Now, Now),
        (reply, fallback): (Reply, Reply),
        doubts: Doubts,
        address: Option<Address>,
        turn: &mut Turn<'_, D>,
    ) {
        if doubts.is_empty() || is(Mutant::NothingDoubted) {
            return self.answer(client, reply, turn);
        }
        if self.config.limits.requests_max <= self.doubting {
            return self.answer(client, fallback, turn);
        }
        let request = self.new_request();
        let asked = doubts.keys().copied().collect();
        for ((node, shard), dots) in doubts {
            turn.send(node, Message::Doubt(Doubt { request, shard, dots }), After::Now);
        }
        let forgotten = BTreeMap::new();
        let work = Work::Doubt(Box::new(Doubting { reply, fallback, asked, forgotten, address }));
        let flight = Flight { client, begun, deadline, timer: deadline, work };
        self.keep_until(request, flight);
    }

    /// A node asks which of some dots are forgotten here.
    pub(crate) fn doubt<D: Disk>(&mut self, from: NodeId, doubt: &Doubt, turn: &mut Turn<'_, D>) {
        let Doubt { request, shard, dots } = doubt;
        if !self.keeps(*shard) {
            return;
        }
        let forgotten = self.kept(*shard).replica.forgotten().intersection(dots);
        let doubted = Doubted { request: *request, shard: *shard, forgotten };
        turn.send(from, Message::Doubted(doubted), After::Now);
    }

    /// A replica has said what it has forgotten.
    pub(crate) fn doubted<D: Disk>(
        &mut self,
        from: NodeId,
        doubted: &Doubted,
        turn: &mut Turn<'_, D>,
    ) {
        let Some(Flight { work: Work::Doubt(_), .. }) = self.flights.get(&doubted.request) else {
            return;
        };
        let Some(mut flight) = self.take(doubted.request) else { return };
        let Work::Doubt(doubting) = &mut flight.work else { return };
        if doubting.asked.remove(&(from, doubted.shard)) {
            let all = doubting.forgotten.entry(doubted.shard).or_default();
            let _ = all.union(&doubted.forgotten);
        }
        if !doubting.asked.is_empty() {
            return self.keep_until(doubted.request, flight);
        }
        self.refute_read(doubting, turn);
        self.leave_out(&mut doubting.reply, &doubting.forgotten);
        let reply = doubting.reply.clone();
        self.answer(flight.client, reply, turn);
    }

    /// The connection to a node broke, or it is too late. What it may have forgotten nobody knows.
    pub(crate) fn doubt_lost<D: Disk>(
        &mut self,
        id: RequestId,
        flight: Flight,
        lost: Option<NodeId>,
        turn: &mut Turn<'_, D>,
    ) {
        let Work::Doubt(doubting) = &flight.work else { return };
        let is_awaited = |node: NodeId| doubting.asked.iter().any(|(asked, _)| *asked == node);
        match lost {
            Some(node) if !is_awaited(node) => self.keep_until(id, flight),
            Some(_) | None => {
                let fallback = doubting.fallback.clone();
                self.answer(flight.client, fallback, turn);
            }
        }
    }

    /// Tells those who took part that what was read and is forgotten is superseded: one of them
    /// holds it.
    fn refute_read<D: Disk>(&mut self, doubting: &Doubting, turn: &mut Turn<'_, D>) {
        let Doubting { reply: Reply::Read(read), address: Some(address), .. } = doubting else {
            return;
        };
        let is_forgotten = |dot: &Dot| {
            let forgotten = doubting.forgotten.get(&read.receipt.shard);
            forgotten.is_some_and(|dots| dots.contains(*dot))
        };
        let dots: DotSet = read.object.values().keys().copied().filter(is_forgotten).collect();
        if dots.is_empty() {
            return;
        }
        self.counts.refuted_values += dots.len();
        let object = Object::from_parts(BTreeMap::new(), dots).expect("no value, no dot of one");
        for ack in read.receipt.acks.iter().filter(|ack| ack.is_primary()) {
            let (request, address) = (RequestId::NOBODY, address.clone());
            let (object, sync, cause) = (object.clone(), false, Cause::ReadRepair);
            let merge = Merge { request, address, object, sync, cause, stands_for: None };
            turn.send(ack.node, Message::Merge(merge), After::Now);
        }
    }

    /// Leaves out of an answer what is forgotten.
    fn leave_out(&self, reply: &mut Reply, forgotten: &BTreeMap<ShardId, DotSet>) {
        if let Reply::Read(read) = reply
            && let Some(dots) = forgotten.get(&read.receipt.shard)
        {
            read.object.drop_values(dots);
        }
        if let Reply::Listed(listed) = reply {
            let keyspace = listed.receipt.shard.keyspace;
            listed.listings.retain_mut(|listing| {
                let shard = self.contracts.shard_in(keyspace, listing.key.partition());
                if let Some(dots) = shard.and_then(|shard| forgotten.get(&shard)) {
                    listing.object.drop_values(dots);
                }
                !listing.object.values().is_empty()
            });
        }
    }
}
