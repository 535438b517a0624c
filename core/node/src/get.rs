//! Reads of one key.

use std::time::Duration;

use coordinator::{Get, GetEffect, GetEvent};
use model::{Address, Durability, Failure, Object, Read, Reply};
use mutant::{Mutant, is};

use crate::flight::{Client, Flight, Work};
use crate::message::time_left;
use crate::shards::digest;
use crate::{
    After, Cause, Disk, Fetch, Fetched, Found, Merge, Message, Node, NodeId, RequestId, Site, Turn,
};

/// How long an answered read waits for the replicas that were asked and are late. They
/// may be behind, and would be repaired; but nobody else waits.
const LINGER: Duration = Duration::from_secs(1);

/// A read, until its client is answered and its replicas are repaired.
#[derive(Debug)]
pub(crate) struct Getting {
    get: Get<Object>,
    site: Site,
    address: Address,
}

impl Node {
    /// Asks as many replicas as the read needs.
    pub(crate) fn get<D: Disk>(
        &mut self,
        client: Client,
        asked: &model::Get,
        turn: &mut Turn<'_, D>,
    ) -> Result<(), Failure> {
        let site = self.locate(&asked.keyspace, &asked.table, asked.key.partition())?;
        let need = self.read_need(&site, asked.options, turn.now)?;
        let id = self.new_request();
        let order = self.in_order(&site, turn.now);
        let mut effects = Vec::new();
        let get = Get::start(&order, need, digest, &mut effects);
        let address = Address { table: site.table.id, key: asked.key.clone() };
        let deadline = turn.now + asked.timeout;
        let work = Work::Get(Getting { get, site, address });
        let flight = Flight { client, begun: turn.now, deadline, timer: deadline, work };
        self.get_effects(id, &flight, effects, turn);
        self.keep(id, turn.now, flight);
        Ok(())
    }

    pub(crate) fn fetched<D: Disk>(
        &mut self,
        from: NodeId,
        fetched: Fetched,
        turn: &mut Turn<'_, D>,
    ) {
        let Some(Flight { work: Work::Get(_), .. }) = self.flights.get(&fetched.request) else {
            return;
        };
        let Some(flight) = self.take(fetched.request) else { return };
        self.count_reply(from, &flight, turn.now);
        let event = match fetched.found {
            Found::Full(object) => GetEvent::Fetched(from, object),
            Found::Digest(digest) => GetEvent::Digested(from, digest),
            Found::Failed => GetEvent::Failed(from),
        };
        self.get_event(fetched.request, flight, event, turn);
    }

    pub(crate) fn get_event<D: Disk>(
        &mut self,
        id: RequestId,
        mut flight: Flight,
        event: GetEvent<Object>,
        turn: &mut Turn<'_, D>,
    ) {
        let Work::Get(getting) = &mut flight.work else { return };
        let mut effects = Vec::new();
        getting.get.step(event, &mut effects);
        let is_done = getting.get.is_done();
        if getting.get.is_answered() {
            flight.deadline = flight.deadline.min(turn.now + LINGER);
            flight.timer = flight.deadline;
        }
        self.get_effects(id, &flight, effects, turn);
        if !is_done {
            self.keep_until(id, flight);
        }
    }

    fn get_effects<D: Disk>(
        &mut self,
        id: RequestId,
        flight: &Flight,
        effects: Vec<GetEffect<Object>>,
        turn: &mut Turn<'_, D>,
    ) {
        let Work::Get(getting) = &flight.work else { return };
        for effect in effects {
            match effect {
                GetEffect::Fetch(to, want) => {
                    let address = getting.address.clone();
                    let left = time_left(flight.deadline, turn.now);
                    let fetch = Fetch { request: id, address, want, left };
                    turn.send(to, Message::Fetch(fetch), After::Now);
                }
                GetEffect::Met(object, nodes) => {
                    let receipt = getting.site.read_receipt(&nodes, getting.get.need());
                    self.answer(flight.client, Reply::Read(Read { object, receipt }), turn);
                }
                GetEffect::Unmet(nodes) => {
                    let failure = getting.site.read_failure(&nodes, getting.get.need());
                    self.fail(flight.client, failure, turn);
                }
                GetEffect::Merge(to, object) => {
                    self.repair(id, to, &getting.site, getting.address.clone(), object, turn);
                }
            }
        }
    }

    /// Brings a replica up to date that a read found behind. Nobody waits for it.
    pub(crate) fn repair<D: Disk>(
        &mut self,
        request: RequestId,
        to: NodeId,
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
        let sync = site.table.durability == Durability::Synced;
        let merge = Merge { request, address, object, sync, cause: Cause::ReadRepair };
        turn.send(to, Message::Merge(merge), After::Now);
    }
}
