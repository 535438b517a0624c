//! What each replica holds of a key, and what a read would make of it.
//!
//! Everybody who may hold something is asked for all of it, and what each tells is kept apart.
//! Beside it stands whom a read at the table's level would ask at this moment: the difference
//! between what these hold and what all hold is what such a read does not show. Nothing is
//! repaired on the way, or who looks would change what there is to see.

use std::collections::BTreeSet;

use coordinator::{Get, GetEffect, GetEvent};
use lattice::Lattice;
use model::{Address, Explain, Explained, Failure, Holding, NodeId, Object, ReadOptions, Told};
use mutant::{Mutant, is};

use crate::flight::{Client, Flight, Work};
use crate::get::Getting;
use crate::recall::{Purpose, Recalling};
use crate::shards::digest;
use crate::{Disk, Node, Now, Site, Turn};

impl Node {
    /// Asks everybody who may hold something under a key, and is there.
    pub(crate) fn explain<D: Disk>(
        &mut self,
        client: Client,
        asked: Explain,
        turn: &mut Turn<'_, D>,
    ) -> Result<(), Failure> {
        let site = self.locate(&asked.keyspace, &asked.table, asked.key.partition())?;
        let address = Address { table: site.table.id, key: asked.key };
        self.ask_everybody(client, site, address, Purpose::Explain, asked.timeout, turn);
        Ok(())
    }

    /// Asks all replicas and guests of a key that are there.
    pub(crate) fn ask_everybody<D: Disk>(
        &mut self,
        client: Client,
        site: Site,
        address: Address,
        purpose: Purpose,
        timeout: std::time::Duration,
        turn: &mut Turn<'_, D>,
    ) {
        let id = self.new_request();
        let guests = match is(Mutant::GuestsNotRecalled) {
            true => Vec::new(),
            false => self.contracts.guests(site.shard).to_vec(),
        };
        let mut all = site.replicas.iter().chain(&guests).copied().collect::<Vec<_>>();
        all.sort_unstable();
        let mut effects = Vec::new();
        let mut get = Get::ask_all(&site.replicas, guests, digest, &mut effects);
        let is_away = |node: &NodeId| !self.membership.is_alive(*node, turn.now);
        let away: Vec<NodeId> = all.iter().copied().filter(is_away).collect();
        effects.retain(|effect| !matches!(effect, GetEffect::Fetch(to, _) if away.contains(to)));
        for node in away {
            get.step(GetEvent::Failed(node), &mut effects);
        }
        let is_done = get.is_done();
        let recalling = Recalling { purpose, asked: all, durable: BTreeSet::new() };
        let getting = Getting::recalling(get, site, address, recalling);
        let (begun, deadline) = (turn.now, turn.now + timeout);
        let work = Work::Get(getting);
        let mut flight = Flight { client, begun, deadline, timer: deadline, work };
        self.get_effects(id, &mut flight, effects, turn);
        if !is_done {
            self.keep_until(id, flight);
        }
    }

    /// What those who answered come to.
    pub(crate) fn explained(
        &mut self,
        get: &Get<Object>,
        site: &Site,
        durable: &BTreeSet<NodeId>,
        now: Now,
    ) -> Explained {
        let merge = |nodes: Option<&[NodeId]>| {
            let mut merged = Object::default();
            for (node, object) in get.told() {
                if nodes.is_none_or(|nodes| nodes.contains(&node)) {
                    let _ = merged.merge(object.clone());
                }
            }
            merged
        };
        let told = |node: NodeId| {
            let (_, object) = get.told().find(|(told, _)| *told == node)?;
            Some(Told { object: object.clone(), durable: durable.contains(&node) })
        };
        let guests = self.contracts.guests(site.shard).iter().map(|node| (*node, true));
        let all = site.replicas.iter().map(|node| (*node, false)).chain(guests);
        let holdings =
            all.map(|(node, is_guest)| Holding { node, is_guest, told: told(node) }).collect();
        let (asks, kind) = self.would_ask(site, now);
        Explained {
            shard: site.shard,
            holdings,
            shown: merge(Some(&asks)),
            merged: merge(None),
            asks,
            kind,
        }
    }

    /// Whom a read at the table's level would ask now, and what their answers would be worth.
    fn would_ask(&mut self, site: &Site, now: Now) -> (Vec<NodeId>, model::Kind) {
        let Ok(need) = self.read_need(site, ReadOptions::default(), now) else {
            return (Vec::new(), model::Kind::Any);
        };
        let order = self.in_order(site, now);
        let mut effects = Vec::new();
        let guests = self.guests(site, false, now);
        let away = self.away(site, &[&need.answers], now);
        let mut get = Get::start(&order, guests, need, digest, &mut effects);
        for node in &away {
            get.step(GetEvent::Failed(*node), &mut effects);
        }
        let asked = |effect: &GetEffect<Object>| match effect {
            GetEffect::Fetch(node, _) if !away.contains(node) => Some(*node),
            GetEffect::Fetch(..)
            | GetEffect::Met(..)
            | GetEffect::Unmet(_)
            | GetEffect::Settle(_)
            | GetEffect::Unsettled(_)
            | GetEffect::Merge(..) => None,
        };
        let mut asks: Vec<NodeId> = effects.iter().filter_map(asked).collect();
        asks.sort_unstable();
        asks.dedup();
        let kind = site.electorate().read_kind(&get.acks_of(&asks));
        (asks, kind)
    }
}
