//! Whether guests are as full as they say.
//!
//! A guest that has no room refuses, and is excused where others must take a write. So it has to be
//! true each time: what it refuses is laid beside what is on its disk at that very moment.
//!
//! ```text
//! refuses one hint        this hint, with what it takes the place of, does not fit
//! refuses to accept       a write as large as this can be, for each replica, may not fit;
//!                         asks another guest, or says how much it keeps
//! takes a hint in         what it keeps is no more than it may
//! ```
//!
//! And what is refused must not be forgotten: whoever has accepted the write still owes it to the
//! replica, by a line of its log, by a mark that it needs repair, or by a hint of its own.

use std::collections::BTreeMap;

use causality::Dot;
use lattice::Lattice;
use model::{Failure, NodeId, Object, Refusal, Reply, Request, Value};
use node::{Effect, Hint, HintPlace, Input, Merge, Message, RequestId, Verdict};

use crate::invariant::Invariant;
use crate::oracle::{Look, Spot, WriteId};
use crate::outgoing::is_same;
use crate::report::Broken;
use crate::workload::Op;
use crate::world::{Open, World};

/// What a hint comes to beside what is counted here one by one, at the most.
const HINT_BYTES: u64 = 128;

/// What a mark comes to, and a run of dots, and a value beside its bytes.
const PART_BYTES: u64 = 40;

/// What is known of the room of guests.
#[derive(Default)]
pub(crate) struct Rooms {
    /// When each was last found to have none for a write under a key.
    full: BTreeMap<(NodeId, usize), u64>,
    /// How many bytes each kept when it was last looked at. Where hints turned older or came back
    /// with an older disk, a start finds more than there is room for, and nothing is dropped for
    /// that.
    kept: BTreeMap<NodeId, u64>,
}

impl Rooms {
    /// Whether a guest had no room for a write that began then.
    pub(crate) fn is_full(&self, node: NodeId, spot: usize, begun: u64) -> bool {
        self.full.get(&(node, spot)).is_some_and(|at| begun <= *at)
    }
}

/// What a guest is asked to keep.
pub(crate) struct Offer {
    from: NodeId,
    request: RequestId,
    place: HintPlace,
    object: Object,
}

impl World {
    /// What a guest is asked to keep with this input, if it is.
    pub(crate) fn offer(&self, input: &Input) -> Option<Offer> {
        let Input::Received { from, message: Message::Merge(merge) } = input else { return None };
        let Merge { request, address, object, stands_for: Some(target), .. } = merge else {
            return None;
        };
        let place = HintPlace { target: *target, address: address.clone() };
        Some(Offer { from: *from, request: *request, place, object: object.clone() })
    }

    /// A node keeps no more for others than it may, and refuses only what does not fit.
    pub(crate) fn check_rooms(
        &mut self,
        at: NodeId,
        offer: Option<&Offer>,
        effects: &[Effect],
    ) -> Result<(), Broken> {
        if !self.plan.has_little_room() || self.oracle.spots.is_empty() {
            return Ok(());
        }
        for effect in effects {
            match effect {
                Effect::Send { message: Message::Merged(merged), .. } => {
                    let is_it = |offer: &&Offer| offer.request == merged.request;
                    let refused = offer.filter(|_| merged.verdict == Verdict::Full);
                    refused.filter(is_it).map_or(Ok(()), |offer| self.check_refused(at, offer))?;
                }
                Effect::Send { to, message: Message::Forward(forward), .. } => {
                    self.check_passed_on(at, *to, &forward.asked)?;
                }
                Effect::Send { to, message: Message::Forwarded(forwarded), .. } => {
                    if let Some(id) = self.forwards.get(&(*to, forwarded.request)) {
                        self.check_told(at, *id, 0, &forwarded.reply)?;
                    }
                }
                Effect::Answer { ticket, reply } => {
                    let Some(Open { op: Op::Write { id, .. }, begun, .. }) = self.open.get(ticket)
                    else {
                        continue;
                    };
                    self.check_told(at, *id, *begun, reply)?;
                }
                Effect::Send { .. } | Effect::Located { .. } => {}
            }
        }
        let Some(bytes) = self.kept(at) else { return Ok(()) };
        let before = self.rooms.kept.insert(at, bytes).unwrap_or_default();
        let max = self.limits.hint_bytes_max;
        match bytes <= max.max(before) {
            true => Ok(()),
            false => {
                let detail = format!("{at} keeps {bytes} bytes for others, and at most {max}");
                Err(Broken::new(Invariant::LimitsHold, detail))
            }
        }
    }

    /// A node has started, and has found what it keeps.
    pub(crate) fn found_kept(&mut self, at: NodeId) {
        if let Some(bytes) = self.kept(at) {
            self.rooms.kept.insert(at, bytes);
        }
    }

    /// How many bytes a node keeps for others, if it can know.
    fn kept(&self, at: NodeId) -> Option<u64> {
        self.hosts.get(&at)?.disk.hint_bytes()
    }

    /// A guest has refused one hint.
    fn check_refused(&mut self, at: NodeId, offer: &Offer) -> Result<(), Broken> {
        let Offer { from, place, object, .. } = offer;
        let is_it = |spot: &Spot| spot.address() == place.address;
        let Some(spot) = self.oracle.spots.iter().position(is_it) else { return Ok(()) };
        let before = self.hosts.get(&at).and_then(|host| host.disk.seen_hint(place)).cloned();
        let less = before.as_ref().map_or(0, |before| before.bytes(&place.address));
        let mut after = before.unwrap_or(Hint { since_millis: 0, object: Object::default() });
        let _ = after.object.merge(object.clone());
        let needs = after.bytes(&place.address).saturating_sub(less);
        self.check_full(at, spot, needs)?;
        self.check_owed(*from, spot, place, object)
    }

    /// A node which is no replica passes a write on to another one that is none: because it has no
    /// room for what it would have to keep.
    fn check_passed_on(&mut self, at: NodeId, to: NodeId, asked: &Request) -> Result<(), Broken> {
        let is_it = |open: &&Open| open.at == at && is_same(&open.request, asked);
        let open = self.open.values().find(is_it);
        let Some(Open { op: Op::Write { id, .. }, begun, .. }) = open else { return Ok(()) };
        let (id, begun) = (*id, *begun);
        let spot = self.oracle.write(id).spot;
        let replicas = &self.oracle.spot(spot).replicas;
        let is_known = self.rooms.is_full(at, spot, begun);
        match replicas.contains(&at) || replicas.contains(&to) || is_known {
            true => Ok(()),
            false => self.check_full(at, spot, self.most(at, id)),
        }
    }

    /// A node says that it has no room for a write, at once or after it has asked the others.
    fn check_told(
        &mut self,
        at: NodeId,
        id: WriteId,
        begun: u64,
        reply: &Reply,
    ) -> Result<(), Broken> {
        let Reply::Failed(Failure::Refused(Refusal::HintsFull { nodes, kept, .. })) = reply else {
            return Ok(());
        };
        let spot = self.oracle.write(id).spot;
        let is_known = 0 < begun && self.rooms.is_full(at, spot, begun);
        if is_known || nodes.first() != Some(&at) {
            return Ok(());
        }
        if self.kept(at).is_some_and(|bytes| bytes != *kept) {
            let detail = format!("{at} keeps {:?} bytes and says {kept}", self.kept(at));
            return Err(Broken::of(Invariant::RefusalsAreTrue, spot, detail));
        }
        self.check_full(at, spot, self.most(at, id))
    }

    /// Whether all these have been without room since a request began.
    pub(crate) fn have_been_full(&self, open: &Open, nodes: &[NodeId]) -> bool {
        let Op::Write { id, .. } = &open.op else { return false };
        let spot = self.oracle.write(*id).spot;
        let is_full = |node: &NodeId| self.rooms.is_full(*node, spot, open.begun);
        nodes.contains(&open.at) && nodes.iter().all(is_full)
    }

    /// The most that a write can come to where it is kept for all replicas.
    fn most(&self, at: NodeId, id: WriteId) -> u64 {
        let write = self.oracle.write(id);
        let spot = self.oracle.spot(write.spot);
        let mut kept = Object::default();
        for target in &spot.replicas {
            let place = HintPlace { target: *target, address: spot.address() };
            let hint = self.hosts.get(&at).and_then(|host| host.disk.seen_hint(&place));
            let _ = hint.map(|hint| kept.merge(hint.object.clone()));
        }
        let bytes = |value: &Value| (value.body.len() + value.content_type.len()) as u64;
        let values: u64 = kept.values().values().chain(&write.value).map(bytes).sum();
        let key = &spot.key;
        let key = (key.partition().len() + key.sort().len()) as u64;
        let dots = kept.context().len() + write.context.len() + 1;
        let parts = 2 * dots + (kept.values().len() + 1 + kept.marks().len()) as u64;
        let one = HINT_BYTES + key + values + PART_BYTES * parts;
        one * spot.replicas.len() as u64
    }

    /// So many bytes more do not fit at a node. It is excused where others take the write.
    fn check_full(&mut self, at: NodeId, spot: usize, needs: u64) -> Result<(), Broken> {
        *self.requests.entry(("hints", "without room")).or_default() += 1;
        let max = self.limits.hint_bytes_max;
        if let Some(kept) = self.kept(at).filter(|kept| kept.saturating_add(needs) <= max) {
            let detail =
                format!("{at} keeps {kept} of {max} bytes and has no room for {needs} more");
            return Err(Broken::of(Invariant::RefusalsAreTrue, spot, detail));
        }
        self.rooms.full.insert((at, spot), self.now);
        Ok(())
    }

    /// Whoever has accepted a write that a guest refuses owes it to the replica all the same, if it
    /// lives and has lost nothing.
    fn check_owed(
        &self,
        from: NodeId,
        spot: usize,
        place: &HintPlace,
        object: &Object,
    ) -> Result<(), Broken> {
        let (Some(minter), Some(target)) = (self.hosts.get(&from), self.hosts.get(&place.target))
        else {
            return Ok(());
        };
        let is_judged = self.oracle.look == Look::Everywhere && minter.is_up();
        if !is_judged || minter.is_astray || target.is_astray {
            return Ok(());
        }
        let shard = self.oracle.spot(spot).shard;
        let losses = &self.oracle.losses;
        let is_owed = |dot: Dot| {
            let hint = minter.disk.seen_hint(place);
            target.disk.view().has_heard(shard, dot)
                || minter.disk.has_logged(shard, dot)
                || minter.disk.view().marks.contains(&(shard, place.target))
                || hint.is_some_and(|hint| hint.object.context().contains(dot))
                || losses.has_lost_hint((from, place.target), spot, dot)
        };
        let mut minted =
            object.values().keys().filter(|dot| dot.incarnation.is_of(minter.incarnation));
        match minted.find(|dot| !is_owed(**dot)) {
            None => Ok(()),
            Some(dot) => {
                let detail =
                    format!("{dot} is refused for {}, and {from} forgets it", place.target);
                Err(Broken::of(Invariant::LogReachesBack, spot, detail))
            }
        }
    }
}
