//! Handing hints over to the replicas that they are for.
//!
//! A replica that comes back has a lot to do, and all guests want to get rid of what they
//! keep for it. So nothing is pushed: a guest says how much it has, and the replica says how
//! much it takes at once, less when it is busy.
//!
//! ```text
//! guest                                   replica
//!   Holding { count, bytes }  ──────────►
//!                             ◄──────────  Take { bytes }
//!   Merge, Merge, Merge       ──────────►
//!                             ◄──────────  Merged, Merged, Merged       each after fsync
//!   drops what was merged; is there more? Holding ...
//! ```
//!
//! A hint is dropped when its replica says that it is on disk there, and only if it is still
//! what was sent: more may have come in the meantime. If anything goes wrong the session ends
//! and another begins a while later. Hints go in the order of their keys, round after round, so
//! that one which a replica refuses does not hold up the others. A guest or a replica with clients
//! to serve is given a rest after each round, see [`throttle`].
//!
//! For whom a hint is is looked up again when it is sent: a node that is no replica of the
//! shard any more is owed nothing, and those that are take its place.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use causality::Dot;
use coordinator::Digest;
use model::{Address, NodeId, Now, Object};
use mutant::{Mutant, is};
use replica::PageNeed;

use crate::exchange::throttle;
use crate::hints::{Hint, HintPlace, Ledger};
use crate::shards::digest;
use crate::{After, Cause, Disk, Merge, Merged, Message, Node, RequestId, Turn, Verdict};

/// How often a guest looks for replicas that are back. Nobody waits for it.
const EVERY: Duration = Duration::from_secs(1);

/// How long a session may stand still. A message was lost, or the replica is overwhelmed.
const PATIENCE: Duration = Duration::from_secs(3);

/// How much a replica takes at once: some hundred small objects, a fraction of a second of
/// its disk.
const CREDIT_BYTES: u64 = 256 << 10;

/// How much it takes when it or the guest has clients to serve.
const CREDIT_BYTES_BUSY: u64 = 64 << 10;

/// The most hints on their way to one replica.
const SENT_MAX: usize = 256;

/// The same where there are clients to serve: what is sent at once is taken in at once.
const SENT_MAX_BUSY: usize = 16;

/// How many hints a replica lacks that is asked last for it.
const LAGS_MIN: u64 = 200;

/// The handoffs that a guest has begun.
#[derive(Debug, Default)]
pub(crate) struct Handoffs {
    sessions: BTreeMap<NodeId, Session>,
    /// What was sent in a session that stood still. It may still be acknowledged, and need not be
    /// sent again then.
    late: BTreeMap<NodeId, BTreeMap<RequestId, Sent>>,
    /// After which hint to go on. Those before were delivered, or refused; a database that had to
    /// look for the first that is left would step over all that were dropped, each time.
    passed: BTreeMap<NodeId, Address>,
    /// When to go on, where a busy node was given a rest.
    resting: BTreeMap<NodeId, Now>,
    next: Now,
}

/// One round with one replica.
#[derive(Debug)]
struct Session {
    moved: Now,
    /// What was sent counts for so many bytes.
    weight: u64,
    sent: BTreeMap<RequestId, Sent>,
    has_failed: bool,
}

#[derive(Debug, Eq, PartialEq)]
struct Sent {
    address: Address,
    digest: Digest,
    /// The attempts that it knows of, which its digest does not tell.
    marks: BTreeSet<Dot>,
}

impl Sent {
    fn new(address: Address, object: &Object) -> Self {
        let marks = object.marks().keys().copied().collect();
        Self { address, digest: digest(object), marks }
    }
}

impl Handoffs {
    /// When somebody has to be looked for, if there are hints.
    pub(crate) fn wake_at(&self, hints: &Ledger) -> Option<Now> {
        let rests = self.resting.values().copied();
        rests.chain([self.next]).min().filter(|_| !hints.is_empty())
    }

    /// The connection to a node broke, and with it what was on its way.
    pub(crate) fn lost(&mut self, node: NodeId) {
        self.sessions.remove(&node);
        self.late.remove(&node);
        self.resting.remove(&node);
    }

    /// Ends sessions that stand still. What they have sent is remembered, of the last for each
    /// replica.
    fn expire(&mut self, now: Now) {
        let over = |_: &NodeId, session: &mut Session| session.moved + PATIENCE <= now;
        for (target, session) in self.sessions.extract_if(.., over) {
            self.late.insert(target, session.sent);
        }
    }

    /// What an acknowledgement is about that came too late for its session.
    fn late(&mut self, target: NodeId, request: RequestId) -> Option<Sent> {
        let sent = self.late.get_mut(&target)?.remove(&request);
        self.late.retain(|_, sent| !sent.is_empty());
        sent
    }

    /// Those who have rested.
    fn rested(&mut self, now: Now) -> Vec<NodeId> {
        let mut rested = Vec::new();
        self.resting.retain(|target, until| {
            let rests = now < *until;
            if !rests {
                rested.push(*target);
            }
            rests
        });
        rested
    }
}

impl Node {
    /// Begins with those that are back.
    pub(crate) fn hand_off<D: Disk>(&mut self, turn: &mut Turn<'_, D>) {
        if self.hints.is_empty() {
            return;
        }
        for target in self.handoffs.rested(turn.now) {
            self.offer(target, turn);
        }
        if turn.now < self.handoffs.next {
            return;
        }
        self.handoffs.next = turn.now + EVERY;
        let now = turn.now;
        self.handoffs.expire(now);
        let is_due = |target: &NodeId| {
            let is_seen_to = self.handoffs.sessions.contains_key(target)
                || self.handoffs.resting.contains_key(target);
            self.membership.is_alive(*target, now) && !is_seen_to
        };
        let due: Vec<NodeId> =
            self.hints.targets().map(|(target, _)| target).filter(is_due).collect();
        for target in due {
            self.offer(target, turn);
        }
    }

    /// Says how much there is for a replica.
    fn offer<D: Disk>(&mut self, target: NodeId, turn: &mut Turn<'_, D>) {
        let Some(owed) = self.hints.owed(target) else { return };
        let holding = Message::Holding { count: owed.count(), bytes: owed.bytes() };
        let (moved, sent) = (turn.now, BTreeMap::new());
        let session = Session { moved, weight: 0, sent, has_failed: false };
        self.handoffs.sessions.insert(target, session);
        turn.send(target, holding, After::Now);
    }

    /// A guest has something for this node.
    pub(crate) fn offered<D: Disk>(&mut self, from: NodeId, turn: &mut Turn<'_, D>) {
        if !self.takes_part() {
            return;
        }
        let bytes = match self.exchange.is_busy_with(from) {
            true => CREDIT_BYTES_BUSY,
            false => CREDIT_BYTES,
        };
        turn.send(from, Message::Take { bytes }, After::Now);
    }

    /// A replica takes so much.
    pub(crate) fn hand_over<D: Disk>(
        &mut self,
        target: NodeId,
        bytes: u64,
        turn: &mut Turn<'_, D>,
    ) {
        let is_asked = |session: &Session| session.sent.is_empty() && !session.has_failed;
        if bytes == 0 || !self.handoffs.sessions.get(&target).is_some_and(is_asked) {
            return;
        }
        let after = self.handoffs.passed.get(&target);
        let bytes_max = usize::try_from(bytes.min(CREDIT_BYTES)).unwrap_or_default();
        let objects_max = if self.exchange.is_busy_with(target) { SENT_MAX_BUSY } else { SENT_MAX };
        let need = PageNeed { objects_max, bytes_max };
        // Hints that cannot be read stay, and are tried again.
        let hints = turn.disk.hints(target, after, need).unwrap_or_default();
        match hints.last() {
            Some((last, _)) => drop(self.handoffs.passed.insert(target, last.clone())),
            None => drop(self.handoffs.passed.remove(&target)),
        }
        let (mut sent, mut weight) = (BTreeMap::new(), 0);
        for (address, hint) in hints {
            weight += throttle::weight(&hint.object);
            if let Some((request, what)) = self.send_hint(target, address, hint, turn) {
                sent.insert(request, what);
            }
        }
        if sent.is_empty() {
            self.handoffs.sessions.remove(&target);
            return;
        }
        let owed = self.hints.owed(target).map_or(0, |owed| owed.count());
        if LAGS_MIN <= owed {
            self.pace.lags(target, turn.now);
        }
        if let Some(session) = self.handoffs.sessions.get_mut(&target) {
            (session.moved, session.sent, session.weight) = (turn.now, sent, weight);
        }
    }

    fn send_hint<D: Disk>(
        &mut self,
        target: NodeId,
        address: Address,
        hint: Hint,
        turn: &mut Turn<'_, D>,
    ) -> Option<(RequestId, Sent)> {
        let shard = self.contracts.shard_of(&address)?;
        let replicas = self.contracts.replicas(shard).to_vec();
        if !replicas.contains(&target) && !replicas.is_empty() {
            self.owe_others(target, &replicas, &address, &hint, turn);
            return None;
        }
        let to = match is(Mutant::HintMisdirected) {
            true => replicas.iter().copied().find(|node| *node != target).unwrap_or(target),
            false => target,
        };
        let sent = Sent::new(address.clone(), &hint.object);
        if is(Mutant::HintDroppedAtSend) {
            self.drop_hint(target, &sent, turn);
        }
        let (request, object) = (self.new_request(), hint.object);
        let cause = Cause::Handoff;
        let merge = Merge { request, address, object, sync: true, cause, stands_for: None };
        turn.send(to, Message::Merge(merge), After::Now);
        if is(Mutant::HintMisdirected) {
            self.drop_hint(target, &sent, turn);
        }
        Some((request, sent))
    }

    /// Keeps a hint for those who are replicas, in the place of one who is none any more.
    fn owe_others<D: Disk>(
        &mut self,
        target: NodeId,
        replicas: &[NodeId],
        address: &Address,
        hint: &Hint,
        turn: &mut Turn<'_, D>,
    ) {
        let since_millis = Some(hint.since_millis);
        if self.keep_hint(replicas, address, &hint.object, since_millis, turn).is_err() {
            return;
        }
        let sent = Sent::new(address.clone(), &hint.object);
        self.drop_hint(target, &sent, turn);
    }

    /// Takes in what became of a hint. Returns whether it was about one.
    pub(crate) fn handed_over<D: Disk>(
        &mut self,
        from: NodeId,
        merged: &Merged,
        turn: &mut Turn<'_, D>,
    ) -> bool {
        if let Some(sent) = self.handoffs.late(from, merged.request) {
            if merged.verdict == Verdict::Durable {
                self.counts.hints_delivered += 1;
                self.drop_hint(from, &sent, turn);
            }
            return true;
        }
        let Some(session) = self.handoffs.sessions.get_mut(&from) else { return false };
        let Some(sent) = session.sent.remove(&merged.request) else { return false };
        session.moved = turn.now;
        if merged.verdict == Verdict::Durable {
            self.counts.hints_delivered += 1;
            self.drop_hint(from, &sent, turn);
        } else {
            session.has_failed = true;
        }
        self.end_round(from, turn);
        true
    }

    /// Goes on with a replica that has answered everything.
    fn end_round<D: Disk>(&mut self, target: NodeId, turn: &mut Turn<'_, D>) {
        let Some(session) = self.handoffs.sessions.get(&target) else { return };
        if !session.sent.is_empty() {
            return;
        }
        let (has_failed, weight) = (session.has_failed, session.weight);
        self.handoffs.sessions.remove(&target);
        if has_failed {
            return;
        }
        if self.exchange.is_busy_with(target) {
            let rest = throttle::time(weight, self.config.limits.catch_up_rate);
            self.handoffs.resting.insert(target, turn.now + rest);
        } else {
            self.offer(target, turn);
        }
    }

    /// Drops a hint, if it is still what was sent.
    fn drop_hint<D: Disk>(&mut self, target: NodeId, sent: &Sent, turn: &mut Turn<'_, D>) {
        let place = HintPlace { target, address: sent.address.clone() };
        let Ok(Some(hint)) = turn.disk.hint(&place) else { return };
        if Sent::new(sent.address.clone(), &hint.object) == *sent {
            self.hints.change(&place, Some(&hint), None);
            turn.disk.keep_hint(&place, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use causality::{DotSet, Incarnation};
    use model::{Key, Mark, TableId, Token};

    use super::*;

    #[test]
    fn what_knows_of_one_attempt_more_is_not_what_was_sent() {
        let dot = Dot::new(Incarnation::new(1), 1);
        let context: DotSet = [dot].into_iter().collect();
        let object = Object::from_parts(BTreeMap::new(), context).unwrap();
        let mark = Mark::new(Token::new(1, 1), 2, true);
        let aware = object.clone().marked([(dot, mark)].into());
        let key = Key::new("k".into(), "".into()).unwrap();
        let address = Address { table: TableId::new(1), key };
        let sent = |object: &Object| Sent::new(address.clone(), object);
        assert_eq!(sent(&object), sent(&object.clone()));
        assert_ne!(sent(&object), sent(&aware));
    }
}
