//! Settling what a comparison has found: bringing what the other one holds, and sending what only
//! this one does.
//!
//! ```text
//! n1 ──Bring a b c d──► n2    n2 has room for two of them in what may be sent at once
//! n1 ◄──Merge a, Merge b, Merge nothing, Spared d──── n2
//! n1 ──Merge a, Merge d──► n2 n1 held more of them
//! n1 ──Bring c──────► n2      when what has come is paid for
//! ```
//!
//! Of a dot that is forgotten here, whoever brings it is told so: its disk has lost the record that said
//! that it is superseded, or it was not heard that it may be forgotten.
//!
//! Of what it holds itself the one that asks tells the [bones]: an object that is older than that
//! need not travel to be found to be older.

use std::time::Duration;

use antientropy::{Difference, Digest};
use bytes::Bytes;
use lattice::Lattice as _;
use model::{Address, NodeId, Now, Object, ShardId, Value};
use mutant::{Mutant, is};

use crate::exchange::throttle;
use crate::message::{Bring, Forgot, Spared};
use crate::trees::compare::{Comparison, PATIENCE};
use crate::trees::{PAUSE, Place};
use crate::{After, Cause, Disk, Merge, Message, Node, RequestId, Turn};

/// How many differences are settled at once.
const SETTLED_AT_ONCE: usize = 256;
const SETTLED_AT_ONCE_BUSY: usize = 32;

impl Node {
    /// Asks for what the other one holds of some keys, and sends what only this one does.
    pub(crate) fn settle<D: Disk>(
        &mut self,
        request: RequestId,
        comparison: &mut Comparison,
        turn: &mut Turn<'_, D>,
    ) {
        let with = comparison.with;
        let most = match self.exchange.is_busy_with(with) {
            true => SETTLED_AT_ONCE_BUSY,
            false => SETTLED_AT_ONCE,
        };
        let bytes_max = self.bytes_at_once(with);
        let (mut wanted, mut told) = (Vec::new(), Vec::new());
        for _ in 0..most {
            if bytes_max < comparison.weight {
                break;
            }
            let Some(difference) = comparison.found.pop_front() else { break };
            let Difference { key: Place(address), ours, theirs } = difference;
            if theirs.is_some() {
                let is_told = ours.is_some() && !comparison.is_copy;
                let ours = is_told.then(|| turn.disk.object(comparison.shard, &address));
                let ours = ours.and_then(Result::ok).flatten();
                let bones = ours.as_ref().map(bones).unwrap_or_default();
                comparison.weight += throttle::bytes(&bones) as u64;
                told.push(bones);
                wanted.push(address);
            } else if !comparison.is_copy {
                let bytes = send_repair(RequestId::NOBODY, comparison.shard, address, with, turn);
                comparison.sent(bytes);
            }
        }
        comparison.brought = 0;
        comparison.awaited = wanted.iter().cloned().collect();
        comparison.asked.clone_from(&wanted);
        if !wanted.is_empty() {
            let shard = comparison.shard;
            let bring = Bring { request, shard, addresses: wanted, bones: told };
            turn.send(with, Message::Bring(bring), After::Now);
        }
    }

    /// Brings what this node holds under some keys, up to so many bytes. Whoever asked counts the
    /// answers, so that nothing is an answer, too: for now, nothing. What it has all of is not
    /// brought, and it is told so.
    pub(crate) fn bring<D: Disk>(&self, from: NodeId, bring: Bring, turn: &mut Turn<'_, D>) {
        let Bring { request, shard, addresses, bones } = bring;
        if !self.is_shared(shard, from) {
            return;
        }
        let mut left = self.bytes_at_once(from);
        let mut numbers = Vec::new();
        let mut bones = bones.into_iter();
        for (number, address) in (0..).zip(addresses.into_iter().take(SETTLED_AT_ONCE)) {
            let known = bones.next().filter(|bones| !bones.is_bottom());
            let object = match left {
                0 => Object::default(),
                _ => turn.disk.object(shard, &address).ok().flatten().unwrap_or_default(),
            };
            let is_known = |known| 0 < left && adds_nothing(known, &object);
            if known.is_some_and(is_known) {
                numbers.push(number);
                left = left.saturating_sub(throttle::cost(0));
                continue;
            }
            let bytes = send(request, address, object, from, turn);
            left = left.saturating_sub(throttle::cost(bytes));
        }
        if !numbers.is_empty() {
            turn.send(from, Message::Spared(Spared { request, numbers }), After::Now);
        }
    }

    /// Of some objects the other one holds nothing that is not held here. It is sent what is, as much as
    /// may be sent at once; the rest stays among what was found.
    pub(crate) fn spared<D: Disk>(
        &mut self,
        from: NodeId,
        spared: &Spared,
        turn: &mut Turn<'_, D>,
    ) {
        let Spared { request, numbers } = spared;
        let bytes_max = self.bytes_at_once(from);
        let comparison = self.trees.comparisons.get_mut(request);
        let Some(comparison) = comparison.filter(|comparison| comparison.with == from) else {
            return;
        };
        for number in numbers {
            let at = usize::try_from(*number).unwrap_or(usize::MAX);
            let Some(address) = comparison.asked.get(at).cloned() else { continue };
            // What comes twice is no other answer.
            if !comparison.awaited.remove(&address) {
                continue;
            }
            comparison.brought += 1;
            if comparison.is_copy {
                continue;
            }
            if bytes_max < comparison.weight {
                let (key, ours) = (Place(address), Some(Digest(0)));
                comparison.found.push_back(Difference { key, ours, theirs: None });
            } else {
                let shard = comparison.shard;
                let bytes = send_repair(RequestId::NOBODY, shard, address, from, turn);
                comparison.sent(bytes);
            }
        }
        comparison.until = turn.now + self.config.limits.exchange_interval * PATIENCE;
        self.end_batch(*request, turn.now);
    }

    /// Takes in an object that a comparison has found. If more is held here, it goes back.
    pub(crate) fn take_repair<D: Disk>(
        &mut self,
        from: NodeId,
        merge: Merge,
        shard: ShardId,
        turn: &mut Turn<'_, D>,
    ) {
        let Merge { request, address, object, .. } = merge;
        let (bytes, is_nothing) = (throttle::bytes(&object) as u64, object.is_bottom());
        self.counts.refuted_values += self.forgotten_values(shard, &object);
        let repaired = self.mend(shard, &address, object, Some(from), turn);
        let forgotten = repaired.as_ref().map(|repaired| repaired.forgotten.clone());
        let forgotten = forgotten.unwrap_or_default();
        if !forgotten.is_empty() && !is(Mutant::RefutedNotTold) {
            let keys = [(address.clone(), forgotten)].into();
            turn.send(from, Message::Forgot(Forgot { shard, keys }), After::SyncedSometime);
        }
        let Some(comparison) = self.trees.comparisons.get_mut(&request) else { return };
        // What comes twice is no other answer.
        if comparison.with != from || !comparison.awaited.remove(&address) {
            return;
        }
        if repaired.is_err() && comparison.is_copy {
            // A copy that lacks something is none. It begins anew.
            if let Some(comparison) = self.trees.comparisons.remove(&request) {
                self.break_off(comparison, turn.now);
            }
            return;
        }
        // Not all that it has is here.
        comparison.is_cut_short |= repaired.is_err();
        if is_nothing {
            // It was too much for once. The digest only says that something is held.
            let (key, theirs) = (Place(address.clone()), Some(Digest(0)));
            comparison.found.push_back(Difference { key, ours: None, theirs });
        } else {
            comparison.brought += 1;
            comparison.came(bytes);
        }
        comparison.weight += throttle::cost(bytes);
        comparison.until = turn.now + self.config.limits.exchange_interval * PATIENCE;
        let is_ahead = repaired.is_ok_and(|repaired| repaired.is_ahead);
        // Of what was too much for once nothing is known yet.
        let is_member = !comparison.is_copy;
        if is_ahead && is_member && !is_nothing {
            let bytes = send_repair(RequestId::NOBODY, shard, address, from, turn);
            comparison.sent(bytes);
        }
        self.end_batch(request, turn.now);
    }

    /// Goes on when everything that was asked for is answered.
    fn end_batch(&mut self, request: RequestId, now: Now) {
        let is_over = |comparison: &Comparison| comparison.awaited.is_empty();
        if !self.trees.comparisons.get(&request).is_some_and(is_over) {
            return;
        }
        let Some(mut comparison) = self.trees.comparisons.remove(&request) else { return };
        // It was settled before, and this came late.
        if comparison.resumes.is_some() || comparison.asked.is_empty() {
            self.trees.comparisons.insert(request, comparison);
            return;
        }
        if comparison.brought == 0 {
            return self.break_off(comparison, now);
        }
        comparison.asked.clear();
        self.pause(&mut comparison, now);
        self.trees.comparisons.insert(request, comparison);
    }

    /// How many bytes are brought to a node, or by it, at once: little, where there are clients.
    fn bytes_at_once(&self, with: NodeId) -> u64 {
        let all = self.config.limits.exchange_bytes_max as u64;
        if self.exchange.is_busy_with(with) { all / 64 } else { all }
    }

    /// The next step is made when what was brought is paid for.
    pub(crate) fn pause(&self, comparison: &mut Comparison, now: Now) {
        let bytes = std::mem::take(&mut comparison.weight);
        let pause = match self.exchange.is_busy_with(comparison.with) {
            true => throttle::time(bytes, self.config.limits.catch_up_rate),
            false => Duration::ZERO,
        };
        comparison.resumes = Some(now + pause.max(PAUSE));
    }
}

/// An object without the bodies of its values: enough to see what another one adds to it, as values
/// are named by their dots.
pub(crate) fn bones(object: &Object) -> Object {
    let bare = Value { content_type: Bytes::new(), body: Bytes::new() };
    let values = object.values().keys().map(|dot| (*dot, bare.clone())).collect();
    let bones = Object::from_parts(values, object.context().clone());
    bones.expect("it has the dots of its values").marked(object.marks().clone())
}

/// Whether an object changes nothing of another one, whose bones these are.
fn adds_nothing(mut bones: Object, object: &Object) -> bool {
    bones.merge(object.clone()) == lattice::Change::Unchanged
}

/// Sends what is held under a key; nothing, if it cannot be read. Returns how many bytes it has.
fn send_repair<D: Disk>(
    request: RequestId,
    shard: ShardId,
    address: Address,
    to: NodeId,
    turn: &mut Turn<'_, D>,
) -> u64 {
    let object = turn.disk.object(shard, &address).ok().flatten().unwrap_or_default();
    send(request, address, object, to, turn)
}

fn send<D: Disk>(
    request: RequestId,
    address: Address,
    object: Object,
    to: NodeId,
    turn: &mut Turn<'_, D>,
) -> u64 {
    let bytes = throttle::bytes(&object) as u64;
    let (sync, cause) = (false, Cause::Repair);
    let merge = Merge { request, address, object, sync, cause, stands_for: None };
    turn.send(to, Message::Merge(merge), After::Now);
    bytes
}
