//! The end of a round: everything is read, and compared with what the history says.
//!
//! When the faults have ended and everything was delivered, each key is read from all its
//! replicas, twice, so that reads repair. Then there is nothing left to wait for, and what
//! each replica must hold can be told from the true history alone, without asking how it came
//! about: the *latest* writes, which no other write had read. What differs from that needs an
//! excuse, and there are two, each a loss that the guarantees name:
//!
//! ```text
//! a write is nowhere           its minter died before it was on disk, or the disk or the
//!                              record was lost; and nobody who acknowledged it has it
//! a latest write is dropped    a replica that lost a record had said before that it is
//!                              superseded, and what had read it was in that record
//! ```
//!
//! The check that compares does not use what the checks along the way remember, except for
//! the second excuse.

use std::collections::BTreeSet;

use causality::{Dot, DotSet};
use model::{
    Get, Key, Level, List, Name, NodeId, Object, Range, Read, ReadOptions, Reply, Request,
};

use crate::host::Host;
use crate::invariant::Invariant;
use crate::oracle::{Look, Oracle, Spot, Write};
use crate::report::Broken;
use crate::scenario::SECOND;
use crate::tokens::plain;
use crate::world::World;

/// The keys on one page of a list at the end. Small, so that lists have several pages.
const LIST_PAGE: usize = 3;

/// Everything, as it is at the end, from the replicas themselves.
fn at_all() -> ReadOptions {
    ReadOptions { r: Some(Level::All), pr: Some(Level::All), ..ReadOptions::default() }
}

impl Oracle {
    /// Compares what all replicas together hold under a key with the writes to it: these are
    /// the latest of those that were heard of.
    pub(crate) fn check_history(&self, spot: usize, read: &Object) -> Result<(), Broken> {
        let complain = |detail| Err(Broken::of(Invariant::HistoryIsHeld, spot, detail));
        let (mut known, mut had_read) = (DotSet::new(), DotSet::new());
        let heard = |dot: &Dot| read.context().contains(*dot);
        let may_lack = |node: &NodeId, dot| self.losses.may_lack(*node, spot, dot, 0);
        let is_lost = |dot| self.spot(spot).replicas.iter().all(|node| may_lack(node, dot));
        let forgotten = self.forgotten_of(spot).cloned().unwrap_or_default();
        for (_, write) in self.writes_of(spot) {
            let Some(dot) = write.dot else { continue };
            let _ = known.insert(dot);
            // Of a write that all have lost others speak, who know no more of what it had read than was not
            // forgotten when they were made.
            let mut told = write.context.clone();
            if is_lost(dot) {
                told = told.difference(&forgotten);
            }
            if heard(&dot) {
                let _ = had_read.union(&told);
            }
        }
        let invented = read.context().difference(&known);
        if !invented.is_empty() {
            return complain(format!("nobody wrote {invented:?}, and {read:?} has heard of it"));
        }
        for (id, write) in self.writes_of(spot) {
            let Some(dot) = write.dot.filter(heard) else { continue };
            let mut twins = self.twins(id, dot, read.context());
            let is_superseded = had_read.contains(dot) || twins.any(|twin| had_read.contains(twin));
            let is_latest = write.value.is_some() && !is_superseded;
            let held = read.values().get(&dot);
            let mut twins = self.twins(id, dot, read.context());
            if held.is_none() && twins.any(|twin| read.values().contains_key(&twin)) {
                continue;
            }
            let is_by_twin = is_superseded && !had_read.contains(dot);
            let mut twins = self.twins(id, dot, read.context());
            let is_remembered = |twin| had_read.contains(twin) && !self.may_forget(spot, twin);
            let is_forgotten = is_by_twin && !twins.any(is_remembered);
            if held.is_some() && !is_forgotten && (!is_latest || held != write.value.as_ref()) {
                return complain(format!("w{} is not what there is to hold, in {read:?}", id.0));
            }
            let mut twins = self.twins(id, dot, read.context());
            let is_gone = |dot| self.is_claimed(spot, dot) || self.is_forgotten(spot, dot);
            if held.is_none() && is_latest && !is_gone(dot) && !twins.any(is_gone) {
                return complain(format!(
                    "w{} is not held, and nothing in {read:?} had read it",
                    id.0
                ));
            }
        }
        Ok(())
    }
}

impl World {
    /// Reads all keys twice, and looks at everything.
    pub(crate) fn be_quiet(&mut self) -> Result<(), Broken> {
        // Reads repair, so what guests have done is looked at before anybody reads.
        self.check_hints()?;
        self.be_healed()?;
        self.read_all()?;
        self.go_on(2 * SECOND)?;
        let reads = self.read_all()?;
        self.go_on(2 * SECOND)?;
        self.check_idle()?;
        for (index, read) in reads.iter().enumerate() {
            self.oracle.check_gone(index, read, self.plan.destroys)?;
            let read = &self.remembered_read(index, self.now, read);
            self.oracle.check_kept(index, read, self.plan.destroys)?;
            if self.oracle.look != Look::Answers {
                self.check_equal(index, &read.object)?;
                self.check_nothing_missing(index, &read.object)?;
            }
            self.oracle.check_history(index, &read.object)?;
        }
        if self.oracle.look != Look::Answers {
            self.check_clocks()?;
            self.check_no_tombstones()?;
            self.wait_for_contexts()?;
        }
        self.count_unhealed();
        self.check_watchers()?;
        self.check_catalogs()?;
        self.count_effects(&reads);
        self.check_lists(&reads)
    }

    /// No node has a request in hand: all were answered, and all who were asked have said what
    /// there is to say.
    fn check_idle(&self) -> Result<(), Broken> {
        let requests = |host: &Host| host.node.as_ref().map_or(0, node::Node::requests);
        match self.hosts.values().find(|host| requests(host) != 0) {
            None => Ok(()),
            Some(host) => {
                let detail = format!("{} has {} requests in hand", host.id, requests(host));
                Err(Broken::new(Invariant::NothingIsLeft, detail))
            }
        }
    }

    /// Reads every key from all its replicas, each time through another node.
    fn read_all(&mut self) -> Result<Vec<Read>, Broken> {
        let nodes: Vec<NodeId> = self.layout.members.keys().copied().collect();
        let mut reads = Vec::new();
        for index in 0..self.oracle.spots.len() {
            let spot = self.oracle.spot(index);
            let request = Request::Get(Get {
                keyspace: spot.keyspace.clone(),
                table: spot.table.name.clone(),
                key: spot.key.clone(),
                options: at_all(),
                monotonic: false,
                sessions: None,
                timeout: self.plan.patience(),
            });
            let at = nodes.iter().copied().cycle().nth(index).expect("there are nodes");
            let begun = self.now;
            let reply = self.ask_and_wait(at, request)?;
            let Reply::Read(read) = reply else {
                let detail = format!("the last read is answered {reply:?}");
                return Err(Broken::of(Invariant::HealthyRequestsSucceed, index, detail));
            };
            self.check_deleted(index, begun, &read)?;
            let remembered = self.remembered_read(index, begun, &read);
            let told = self.told(index, begun, &read);
            self.oracle.read(index, at_all(), (at, begun), (&remembered, &told))?;
            reads.push(read);
        }
        Ok(reads)
    }

    /// Each replica holds exactly what the last read found: what its disk had lost, the read before
    /// has brought back.
    fn check_equal(&self, index: usize, read: &Object) -> Result<(), Broken> {
        let spot = self.oracle.spot(index);
        for node in &spot.replicas {
            let mut held = self.oracle.remembered(index, &self.known(*node, index));
            // What a replica has forgotten it shows to nobody, whatever its disk makes of a record.
            let view = self.hosts.get(node).map(|host| host.disk.view());
            if let Some(forgotten) = view.and_then(|view| view.forgotten(spot.shard)) {
                held.drop_values(forgotten);
            }
            let read = self.oracle.remembered(index, read);
            let (held, read) = (&plain(&held), &plain(&read));
            if held != read {
                let lost = self.oracle.losses.of_node(*node, index);
                let detail =
                    format!("{node} holds {held:?} and all together {read:?}; lost was {lost:?}");
                return Err(Broken::of(Invariant::ReplicasConverge, index, detail));
            }
        }
        Ok(())
    }

    /// A write that nobody has heard of was lost by whoever accepted it.
    fn check_nothing_missing(&self, index: usize, read: &Object) -> Result<(), Broken> {
        for (id, write) in self.oracle.writes_of(index) {
            let Some(dot) = write.dot.filter(|dot| !read.context().contains(*dot)) else {
                continue;
            };
            if let Some(node) = self.minter_of(write, dot) {
                let detail = format!(
                    "w{} is nowhere; {node} accepted it as {dot}, lives still, and has lost nothing",
                    id.0
                );
                return Err(Broken::of(Invariant::HistoryIsHeld, index, detail));
            }
        }
        Ok(())
    }

    /// The node that accepted a write, if it has not died since, and has not lost the record. A
    /// guest kept it for all replicas whose disks are not given up, so it has to have lost each of these,
    /// or the replica has.
    fn minter_of(&self, write: &Write, dot: Dot) -> Option<NodeId> {
        let host = self.hosts.values().find(|host| dot.incarnation.is_of(host.incarnation))?;
        let (losses, replicas) = (&self.oracle.losses, &self.oracle.spot(write.spot).replicas);
        let is_lost_for = |replica: &NodeId| {
            losses.has_lost_hint((host.id, *replica), write.spot, dot)
                || losses.has_lost(*replica, write.spot, dot)
                || losses.was_given_up(*replica)
        };
        let has_lost = match replicas.contains(&host.id) {
            true => losses.has_lost(host.id, write.spot, dot),
            false => replicas.iter().all(is_lost_for),
        };
        Some(host.id).filter(|_| host.is_up() && !has_lost)
    }

    /// Lists, page by page, hold what gets hold.
    fn check_lists(&mut self, reads: &[Read]) -> Result<(), Broken> {
        let spots = self.oracle.spots.clone();
        let tables: BTreeSet<(&Name, &Name)> =
            spots.iter().map(|spot| (&spot.keyspace, &spot.table.name)).collect();
        let partitions = (0..self.plan.clients.partitions).map(|p| format!("p{p}"));
        let mut ranges = vec![Range::Table { shard: 0, after: None }];
        ranges.extend(partitions.map(|p| Range::Partition { partition: p.into(), after: None }));
        for (keyspace, table) in tables {
            for range in &ranges {
                let listed = self.list(keyspace, table, range.clone())?;
                let mut expected: Vec<(&Spot, &Object)> = spots
                    .iter()
                    .zip(reads.iter().map(|read| &read.object))
                    .filter(|(spot, object)| {
                        spot.table.name == *table
                            && is_in(range, spot)
                            && !object.values().is_empty()
                    })
                    .collect();
                expected.sort_by_key(|(spot, _)| (spot.shard, spot.key.clone()));
                let same = expected.iter().map(|(spot, object)| (&spot.key, plain(object)));
                if !same.eq(listed.iter().map(|(key, object)| (key, plain(object)))) {
                    let detail = format!("{range:?} of {table} lists {listed:?}");
                    return Err(Broken::new(Invariant::ListsAgree, detail));
                }
            }
        }
        Ok(())
    }

    fn list(
        &mut self,
        keyspace: &Name,
        table: &Name,
        range: Range,
    ) -> Result<Vec<(Key, Object)>, Broken> {
        let mut all = Vec::new();
        let mut next = Some(range);
        while let Some(range) = next {
            let list = List {
                keyspace: keyspace.clone(),
                table: table.clone(),
                range,
                limit: LIST_PAGE,
                options: at_all(),
                timeout: self.plan.list_patience(),
            };
            let begun = self.now;
            let at = NodeId::new(1);
            let reply = self.ask_and_wait(at, Request::List(list.clone()))?;
            let Reply::Listed(listed) = reply else {
                let detail = format!("the last list is answered {reply:?}");
                return Err(Broken::new(Invariant::HealthyRequestsSucceed, detail));
            };
            self.listed(&list, &listed, (at, begun))?;
            all.extend(listed.listings.into_iter().map(|listing| (listing.key, listing.object)));
            next = listed.next;
        }
        Ok(all)
    }
}

fn is_in(range: &Range, spot: &Spot) -> bool {
    match range {
        Range::Partition { partition, .. } => spot.key.partition() == partition,
        Range::Table { .. } => true,
    }
}
