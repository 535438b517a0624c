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
//! A dot may be forgotten because another value took the place of its own, and that may be so only since the
//! replica was read. Whoever says that it has forgotten something therefore brings what it holds there
//! now: without that, a key that was never deleted could be shown without any value.
//!
//! ```text
//! n1 ──Fetch──► n2   {a1: "tea"}            n2's record turned old
//! n1 ──Fetch──► n3   nothing, and n3 has forgotten some dots of the shard
//! n1 ──Doubt {a1}──► n3 ──Doubted {a1}──► n1     the client is told: nothing
//! n1 ──Doubt {a1}──► n3 ──Doubted {a1}, {b9: "rum"}──► n1     or "rum", if that is there by now
//! ```

use std::collections::{BTreeMap, BTreeSet};

use causality::{Dot, DotSet};
use lattice::Lattice;
use model::{Address, Key, NodeId, Now, Object, Reply, ShardId};
use mutant::{Mutant, is};

use crate::exchange::throttle;
use crate::flight::{Client, Flight, Work};
use crate::get::shown;
use crate::message::{Doubt, Doubted};
use crate::{After, Cause, Disk, Merge, Message, Node, RequestId, Turn};

/// The most bytes that take the place of what is forgotten, unless it is of one key: half of what fits
/// into a message. Where there are more the asker is not answered, and says that it does not know.
const HELD_BYTES_MAX: usize = 32 << 20;

/// Which replicas may have forgotten which dots.
pub(crate) type Doubts = BTreeMap<(NodeId, ShardId), BTreeMap<Address, DotSet>>;

/// An answer that waits until doubts are cleared.
#[derive(Debug)]
pub(crate) struct Doubting {
    reply: Reply,
    /// What is said if they are not.
    fallback: Reply,
    asked: BTreeSet<(NodeId, ShardId)>,
    forgotten: BTreeMap<ShardId, DotSet>,
    /// What those hold now who have forgotten some.
    held: BTreeMap<Key, Object>,
    /// What was read.
    of: Of,
}

/// What is in doubt.
#[derive(Debug)]
pub(crate) enum Of {
    /// Keys of a table.
    Keys,
    /// One key.
    Key(Address),
    /// One key, of which nothing may be shown that was not found at enough replicas.
    Settled(Address),
}

/// Adds the values of an object to what a replica may have forgotten.
pub(crate) fn doubt(
    doubts: &mut Doubts,
    (at, shard): (NodeId, ShardId),
    address: &Address,
    object: &Object,
) {
    if !object.values().is_empty() {
        let dots: DotSet = object.values().keys().copied().collect();
        let keys = doubts.entry((at, shard)).or_default();
        let _ = keys.entry(address.clone()).or_default().union(&dots);
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
        of: Of,
        turn: &mut Turn<'_, D>,
    ) {
        if doubts.is_empty() || is(Mutant::NothingDoubted) {
            return self.answer(client, without_twins(reply), turn);
        }
        if self.config.limits.requests_max <= self.doubting {
            return self.answer(client, fallback, turn);
        }
        let request = self.new_request();
        let asked = doubts.keys().copied().collect();
        for ((node, shard), keys) in doubts {
            turn.send(node, Message::Doubt(Doubt { request, shard, keys }), After::Now);
        }
        let (forgotten, held) = (BTreeMap::new(), BTreeMap::new());
        let work = Work::Doubt(Box::new(Doubting { reply, fallback, asked, forgotten, held, of }));
        let flight = Flight { client, begun, deadline, timer: deadline, work };
        self.keep_until(request, flight);
    }

    /// A node asks which of some dots are forgotten here.
    pub(crate) fn doubt<D: Disk>(&mut self, from: NodeId, doubt: &Doubt, turn: &mut Turn<'_, D>) {
        let Doubt { request, shard, keys } = doubt;
        if !self.keeps(*shard) {
            return;
        }
        let all = self.kept(*shard).replica.forgotten();
        let gone = keys.iter().map(|(address, dots)| (address, all.intersection(dots)));
        let gone: Vec<_> = gone.filter(|(_, dots)| !dots.is_empty()).collect();
        let (mut forgotten, mut held, mut bytes) = (DotSet::new(), Vec::new(), 0);
        for (address, dots) in gone {
            if self.contracts.shard_of(address) != Some(*shard) {
                continue;
            }
            let _ = forgotten.union(&dots);
            // What took the place of a value that is forgotten cannot be told, and so nothing is.
            let Ok(object) = self.shown(*shard, &*turn.disk).object(address) else { return };
            if !has_value(&object) {
                continue;
            }
            bytes += throttle::bytes(&object);
            if !held.is_empty() && HELD_BYTES_MAX < bytes {
                return;
            }
            held.push((address.clone(), object));
        }
        // Somebody's session may go on from what it is shown.
        let after = if held.is_empty() { After::Now } else { After::Synced };
        let doubted = Doubted { request: *request, shard: *shard, forgotten, held };
        turn.send(from, Message::Doubted(doubted), after);
    }

    /// A replica has said what it has forgotten.
    pub(crate) fn doubted<D: Disk>(
        &mut self,
        from: NodeId,
        doubted: Doubted,
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
            for (address, object) in doubted.held {
                let _ = doubting.held.entry(address.key).or_default().merge(object);
            }
        }
        if !doubting.asked.is_empty() {
            return self.keep_until(doubted.request, flight);
        }
        self.refute_read(doubting, turn);
        if matches!(doubting.of, Of::Settled(_)) && !doubting.held.is_empty() {
            let fallback = doubting.fallback.clone();
            return self.answer(flight.client, fallback, turn);
        }
        self.put_right(doubting);
        let reply = without_twins(doubting.reply.clone());
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
        let (Reply::Read(read), Of::Key(address) | Of::Settled(address)) =
            (&doubting.reply, &doubting.of)
        else {
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

    /// Leaves out of an answer what is forgotten, and puts in what took its place.
    fn put_right(&self, doubting: &mut Doubting) {
        let Doubting { reply, forgotten, held, .. } = doubting;
        if let Reply::Read(read) = reply
            && let Some(dots) = forgotten.get(&read.receipt.shard)
        {
            read.object.drop_values(dots);
            for mut object in std::mem::take(held).into_values() {
                object.drop_values(dots);
                if let Some(session) = &mut read.session {
                    session.sees(object.context());
                }
                let _ = read.object.merge(object);
            }
        }
        if let Reply::Listed(listed) = reply {
            let keyspace = listed.receipt.shard.keyspace;
            listed.listings.retain_mut(|listing| {
                let shard = self.contracts.shard_in(keyspace, listing.key.partition());
                if let Some(dots) = shard.and_then(|shard| forgotten.get(&shard)) {
                    listing.object.drop_values(dots);
                    if let Some(mut object) = held.remove(&listing.key) {
                        object.drop_values(dots);
                        let _ = listing.object.merge(object);
                    }
                }
                has_value(&listing.object)
            });
        }
    }
}

fn has_value(object: &Object) -> bool {
    !object.values().is_empty()
}

/// An answer as its client sees it.
fn without_twins(mut reply: Reply) -> Reply {
    let show = |object: &mut Object| *object = shown(std::mem::take(object));
    if let Reply::Read(read) = &mut reply {
        show(&mut read.object);
    }
    if let Reply::Listed(listed) = &mut reply {
        listed.listings.iter_mut().for_each(|listing| show(&mut listing.object));
    }
    reply
}
