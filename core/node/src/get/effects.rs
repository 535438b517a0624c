//! What a read wants done: who is asked, what the client is told, and what is repaired.

use std::time::Duration;

use coordinator::{GetEffect, GetEvent};
use model::{
    Ack, Address, Durability, Failure, Kind, Now, Object, Read, Receipt, Reply, has_replica,
};
use mutant::{Mutant, is};

use super::{Asked, Getting, shown};
use crate::doubt::Of;
use crate::flight::{Flight, Work};
use crate::message::time_left;
use crate::recall::Purpose;
use crate::{After, Cause, Disk, Fetch, Merge, Message, Node, NodeId, RequestId, Site, Turn, Want};

impl Node {
    pub(crate) fn get_effects<D: Disk>(
        &mut self,
        id: RequestId,
        flight: &mut Flight,
        effects: Vec<GetEffect<Object>>,
        turn: &mut Turn<'_, D>,
    ) {
        let Work::Get(getting) = &mut flight.work else { return };
        for effect in effects {
            match effect {
                GetEffect::Fetch(to, want) => {
                    let address = getting.address.clone();
                    let left = time_left(flight.deadline, turn.now);
                    let is_settling =
                        getting.get.is_monotonic() && !is(Mutant::StagedCountsAsSettled);
                    let session = getting.session.as_ref();
                    let seen = session.map(|session| Box::new(session.session.seen.clone()));
                    let want = if seen.is_some() { Want::Full } else { want };
                    let sync = getting.recalling.is_some() || is_settling || seen.is_some();
                    let fetch = Fetch { request: id, address, want, sync, left, seen };
                    turn.send(to, Message::Fetch(fetch), After::Now);
                    // Who answers after an fsync is not slow.
                    let (node, since, is_timed) = (to, turn.now, !sync);
                    let (is_answered, staleness) = (false, None);
                    getting.asked.push(Asked { node, since, is_answered, is_timed, staleness });
                    if is_timed {
                        self.pace.asked(to);
                    }
                }
                GetEffect::Met(object, acks) => {
                    if let Some(reply) = self.told_by_everybody(getting, turn.now) {
                        self.answer(flight.client, reply, turn);
                        continue;
                    }
                    if !getting.get.is_monotonic() && getting.session.is_none() {
                        self.pace.end(getting.site.table.id, turn.now.since(flight.begun));
                    }
                    let doubts = getting.doubts(&object);
                    let is_sure = |ack: &Ack| !doubts.keys().any(|(node, _)| *node == ack.node);
                    let sure = acks.iter().copied().filter(is_sure).collect();
                    let fallback = self.told_by(getting, sure, &object);
                    let mut receipt = getting.site.read_receipt(acks, getting.get.need());
                    receipt.staleness = self.staleness_of(getting, &receipt);
                    let session = getting.session.as_ref().map(|session| session.after(&object));
                    let reply = Reply::Read(Read { object, session, receipt });
                    let to = (flight.client, flight.begun, flight.deadline);
                    let of = match getting.get.is_monotonic() {
                        true => Of::Settled(getting.address.clone()),
                        false => Of::Key(getting.address.clone()),
                    };
                    self.answer_undoubted(to, (reply, fallback), doubts, of, turn);
                }
                GetEffect::Unmet(_) if getting.is_explaining() => {
                    // That nobody tells anything is an explanation, too.
                    if let Some(reply) = self.told_by_everybody(getting, turn.now) {
                        self.answer(flight.client, reply, turn);
                    }
                }
                // Who looks at what there is must not change it.
                GetEffect::Merge(..) if getting.is_explaining() => {}
                GetEffect::Unmet(acks) => {
                    let need = getting.get.need();
                    let behind = getting.session.as_ref().filter(|_| getting.get.is_behind());
                    let failure = match behind {
                        Some(session) if need.is_met(&acks) => session.failure(),
                        Some(_) | None if getting.is_recalling() => getting.site.nobody_told(acks),
                        Some(_) | None => getting.site.read_failure(acks, need),
                    };
                    self.fail(flight.client, failure, turn);
                }
                GetEffect::Unsettled(acks) => {
                    let receipt = getting.site.read_receipt(acks, getting.get.need());
                    self.fail(flight.client, Failure::Unsettled { receipt }, turn);
                }
                GetEffect::Settle(_) => {}
                GetEffect::Merge(to, object) => {
                    let to = (to, getting.get.is_monotonic());
                    self.repair(id, to, &getting.site, getting.address.clone(), object, turn);
                }
            }
        }
    }

    /// What can be said if only these had been heard.
    fn told_by(&self, getting: &Getting, acks: Vec<Ack>, object: &Object) -> Reply {
        let need = getting.get.need();
        if !need.is_met_alone(&acks) {
            return Reply::Failed(getting.site.read_failure(acks, need));
        }
        // What these hold is enough for an answer, and not for all that was asked for.
        if !need.is_met(&acks) || getting.get.is_monotonic() || getting.session.is_some() {
            return Reply::Failed(getting.site.read_failure(Vec::new(), need));
        }
        let mut receipt = getting.site.read_receipt(acks, need);
        receipt.staleness = self.staleness_of(getting, &receipt);
        Reply::Read(Read { object: shown(object.clone()), session: None, receipt })
    }

    /// Who is known to have what was read: their clocks, as they last told, say that it is on
    /// their disks.
    pub(super) fn known_at(&self, site: &Site, object: &Object, now: Now) -> GetEvent<Object> {
        let has = |node: &NodeId| self.exchange.acks.has(site.shard, *node, object.context());
        let mut have: Vec<NodeId> = site.replicas.iter().copied().filter(has).collect();
        if is(Mutant::SettledByOne) && !have.is_empty() {
            have.clone_from(&site.replicas);
        }
        let is_away = |node: &NodeId| !self.membership.is_alive(*node, now);
        let away = site.replicas.iter().copied().filter(is_away).collect();
        GetEvent::Known { have, away }
    }

    /// What is said where everybody was asked. Nothing of any other read.
    fn told_by_everybody(&mut self, getting: &Getting, now: Now) -> Option<Reply> {
        let Getting { get, site, recalling, .. } = getting;
        let recalling = recalling.as_ref()?;
        Some(match recalling.purpose {
            Purpose::Recall(token) => {
                Reply::Recalled(self.recalled(get, site, recalling, token, now))
            }
            Purpose::Explain => {
                Reply::Explained(Box::new(self.explained(get, site, &recalling.durable, now)))
            }
        })
    }

    /// How old an answer can be: it has everything that any of those has who took part.
    fn staleness_of(&self, getting: &Getting, receipt: &Receipt) -> Option<Duration> {
        if is(Mutant::StrictIsFresh) && receipt.kind == Kind::Strict {
            return Some(Duration::ZERO);
        }
        let took_part = |node: NodeId| has_replica(&receipt.acks, node);
        let told = getting.asked.iter().filter(|asked| took_part(asked.node));
        let told = told.filter_map(|asked| asked.staleness);
        self.best_staleness(&getting.site, took_part, told)
    }

    /// The least of what the replicas told that took part. If all did, nothing that any of them
    /// has acknowledged is missing.
    pub(crate) fn best_staleness(
        &self,
        site: &Site,
        took_part: impl Fn(NodeId) -> bool,
        told: impl Iterator<Item = Duration>,
    ) -> Option<Duration> {
        let is_sloppy = self.contracts.is_sloppy(site.shard);
        if !is_sloppy && site.replicas.iter().all(|node| took_part(*node)) {
            return Some(Duration::ZERO);
        }
        told.min()
    }

    /// Brings a replica up to date that a read found behind. Nobody waits for it but a monotonic
    /// read, which wants it synced.
    pub(crate) fn repair<D: Disk>(
        &mut self,
        request: RequestId,
        (to, sync): (NodeId, bool),
        site: &Site,
        address: Address,
        object: Object,
        turn: &mut Turn<'_, D>,
    ) {
        let (to, object) = match object {
            _ if is(Mutant::RepairForgotten) => return,
            _ if is(Mutant::RepairStale) => (to, Object::default()),
            object if is(Mutant::RepairMisdirected) => {
                let other = site.replicas.iter().find(|node| **node != to);
                (other.copied().unwrap_or(to), object)
            }
            object => (to, object),
        };
        self.read_repairs += 1;
        let sync = sync || site.table.durability == Durability::Synced;
        let merge =
            Merge { request, address, object, sync, cause: Cause::ReadRepair, stands_for: None };
        turn.send(to, Message::Merge(merge), After::Now);
    }
}
