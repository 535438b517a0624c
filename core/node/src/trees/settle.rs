//! Settling what a comparison has found: bringing what the other one holds, and sending what only
//! this one does.
//!
//! ```text
//! n1 ──Bring a b c──► n2      n2 has room for two of them in what may be sent at once
//! n1 ◄──Merge a, Merge b, Merge nothing──── n2
//! n1 ──Merge a──────► n2      n1 held more of it
//! n1 ──Bring c──────► n2      when what has come is paid for
//! ```
//!
//! Of a value that is forgotten here, whoever has it is told that it is superseded: its disk has
//! lost the record that said so.

use std::collections::BTreeMap;
use std::time::Duration;

use antientropy::{Difference, Digest};
use causality::DotSet;
use lattice::Lattice as _;
use model::{Address, NodeId, Now, Object, ShardId};
use mutant::{Mutant, is};

use crate::exchange::throttle;
use crate::message::Bring;
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
        let mut wanted = Vec::new();
        for _ in 0..most {
            if bytes_max < comparison.weight {
                break;
            }
            let Some(difference) = comparison.found.pop_front() else { break };
            let Difference { key: Place(address), theirs, .. } = difference;
            if theirs.is_some() {
                wanted.push(address);
            } else if !comparison.is_copy && !is(Mutant::OnlyOursKeptBack) {
                let bytes = send_repair(RequestId::NOBODY, comparison.shard, address, with, turn);
                comparison.sent(bytes);
            }
        }
        comparison.brought = 0;
        comparison.awaited = wanted.iter().cloned().collect();
        if !wanted.is_empty() {
            let bring = Bring { request, shard: comparison.shard, addresses: wanted };
            turn.send(with, Message::Bring(bring), After::Now);
        }
    }

    /// Brings what this node holds under some keys, up to so many bytes. Whoever asked counts the
    /// answers, so that nothing is an answer, too: for now, nothing.
    pub(crate) fn bring<D: Disk>(&self, from: NodeId, bring: Bring, turn: &mut Turn<'_, D>) {
        let Bring { request, shard, addresses } = bring;
        if !self.is_shared(shard, from) {
            return;
        }
        let mut left = self.bytes_at_once(from);
        for address in addresses.into_iter().take(SETTLED_AT_ONCE) {
            let bytes = match left {
                0 => send(request, address, Object::default(), from, turn),
                _ => send_repair(request, shard, address, from, turn),
            };
            left = left.saturating_sub(throttle::cost(bytes));
        }
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
        let repaired = self.mend(shard, &address, object, turn);
        let refuted = repaired.as_ref().map(|repaired| repaired.refuted.clone());
        let refuted = refuted.unwrap_or_default();
        if !refuted.is_empty() && !is(Mutant::RefutedNotTold) {
            refute(shard, address.clone(), refuted, from, turn);
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
        let is_ahead =
            repaired.is_ok_and(|repaired| repaired.is_ahead && repaired.refuted.is_empty());
        // Of what was too much for once nothing is known yet.
        let is_member = !comparison.is_copy;
        if is_ahead && is_member && !is_nothing && !is(Mutant::AheadKeptBack) {
            let bytes = send_repair(RequestId::NOBODY, shard, address, from, turn);
            comparison.sent(bytes);
        }
        let is_batch_over = comparison.awaited.is_empty();
        if let Some(mut comparison) =
            is_batch_over.then(|| self.trees.comparisons.remove(&request)).flatten()
        {
            if comparison.brought == 0 {
                return self.break_off(comparison, turn.now);
            }
            self.pause(&mut comparison, turn.now);
            self.trees.comparisons.insert(request, comparison);
        }
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

/// Says that these dots are superseded, beside what is held under their key.
fn refute<D: Disk>(
    shard: ShardId,
    address: Address,
    refuted: DotSet,
    to: NodeId,
    turn: &mut Turn<'_, D>,
) {
    let mut object = turn.disk.object(shard, &address).ok().flatten().unwrap_or_default();
    let superseded = Object::from_parts(BTreeMap::new(), refuted);
    let _ = object.merge(superseded.expect("an object without values needs no context"));
    send(RequestId::NOBODY, address, object, to, turn);
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
