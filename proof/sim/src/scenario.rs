//! The course of a run, from an empty cluster to the last check.
//!
//! ```text
//! set up     nodes start, a keyspace and its tables are declared
//! safety     clients at work, everything may go wrong; every object and answer is checked
//! settle     all faults end, all nodes start
//! liveness   clients at work, and every request must succeed
//! quiet      late messages arrive; each key is read at ALL, twice, so that reads repair
//! the end    replicas equal, nothing acknowledged lost, lists equal to gets, clocks exact
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;
use causality::DotSet;
use model::{
    Declare, Declared, Get, Key, Level, List, Name, NodeId, Object, Policy, Range, Read,
    ReadOptions, ReplicaMap, Reply, Request, ShardId,
};
use placement::{Layout, Member, Placement};

use crate::network::LATE_MAX;
use crate::oracle::{Oracle, Spot, dots};
use crate::report::{Broken, Invariant};
use crate::swarm::Plan;
use crate::world::{Event, Phase, World};

const SECOND: u64 = 1_000_000;

/// Longer than a node needs to find that others are alive.
const SETTLE: u64 = 5 * SECOND;

/// The keys on one page of a list at the end. Small, so that lists have several pages.
const LIST_PAGE: usize = 3;

/// The nodes of a plan, dealt out to its regions.
pub(crate) fn layout(plan: &Plan) -> Layout {
    let member = |node: u16| Member {
        region: region((node - 1) % plan.regions),
        zone: zone(node, plan.zones),
    };
    let members = (1..=plan.nodes).map(|node| (NodeId::new(node), member(node))).collect();
    Layout { version: 1, members }
}

/// The first region is always there, and has as many nodes as any other.
fn region(index: u16) -> Name {
    if index == 0 { name("here") } else { name(&format!("there-{index}")) }
}

/// How many of N replicas each region keeps: as many as any other, or one less.
fn replica_map(plan: &Plan) -> ReplicaMap {
    let (n, regions) = (u16::from(plan.replicas), plan.regions);
    let count = |index: u16| n / regions + u16::from(index < n % regions);
    let some = (0..regions).filter(|index| 0 < count(*index));
    some.map(|index| (region(index), u8::try_from(count(index)).unwrap_or(u8::MAX))).collect()
}

fn zone(node: u16, zones: u16) -> Name {
    name(&format!("zone-{}", node % zones.max(1)))
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).expect("the names of the simulator are names")
}

/// Everything, as it is at the end.
fn at_all() -> ReadOptions {
    ReadOptions { r: Some(Level::All), pr: None }
}

impl World {
    /// The whole run.
    pub(crate) fn run(&mut self) -> Result<(), Broken> {
        self.set_up()?;
        self.phase = Phase::Safety;
        self.network.set_faulty(true);
        (0..self.workload.count()).for_each(|client| self.rest(client));
        let gap = self.faults.gap();
        self.arrange(gap, Event::Fault);
        self.arrange_declaring();
        self.arrange_rot();
        self.go_on(self.plan.safety)?;

        self.phase = Phase::Quiet;
        self.end_faults()?;
        self.go_on(SETTLE)?;
        self.phase = Phase::Liveness;
        self.workload.set_patience(self.plan.patience());
        self.arrange_declaring();
        (0..self.workload.count()).for_each(|client| self.rest(client));
        self.go_on(self.plan.liveness)?;

        self.phase = Phase::Quiet;
        self.go_on(LATE_MAX)?;
        self.read_all()?;
        self.go_on(2 * SECOND)?;
        let objects = self.read_all()?;
        self.go_on(2 * SECOND)?;
        self.check_end(&objects)
    }

    fn go_on(&mut self, micros: u64) -> Result<(), Broken> {
        if self.phase != Phase::Quiet {
            self.under_load += micros;
        }
        self.run_until(self.now + micros)
    }

    fn set_up(&mut self) -> Result<(), Broken> {
        for at in self.layout.members.keys().copied().collect::<Vec<_>>() {
            self.start(at)?;
        }
        self.go_on(SECOND)?;
        let replicas = replica_map(&self.plan);
        let shards = self.plan.shards;
        let declare = Declare::Keyspace { name: name("space"), shards, replicas };
        let Declared::Keyspace { keyspace, .. } = self.declare(1, declare)? else {
            return Err(not_declared("a keyspace"));
        };
        let placement = Placement::new(&self.layout, &keyspace);
        let placement = placement.map_err(|few| not_declared(&few.to_string()))?;
        let mut spots = Vec::new();
        for (index, plan) in self.plan.tables.clone().into_iter().enumerate() {
            let declare = Declare::Table {
                keyspace: keyspace.name.clone(),
                name: name(&format!("table-{index}")),
                policy: Policy::Siblings,
                durability: plan.durability,
                read: plan.read,
                write: plan.write,
            };
            let Declared::Table { table, .. } = self.declare(2, declare)? else {
                return Err(not_declared("a table"));
            };
            for key in self.keys() {
                let shard = placement::shard_of(&keyspace, key.partition());
                let replicas = placement.replicas(shard).to_vec();
                let (keyspace, table) = (keyspace.name.clone(), table.clone());
                spots.push(Spot { keyspace, table, key, shard, replicas });
            }
        }
        // The hottest key should not always be in the same table.
        spots.sort_by(|a, b| a.key.cmp(&b.key));
        self.oracle = Oracle::new(spots);
        self.go_on(3 * SECOND)
    }

    fn declare(&mut self, at: u16, declare: Declare) -> Result<Declared, Broken> {
        let reply = self.ask_and_wait(NodeId::new(at), Request::Declare(declare))?;
        if let Reply::Declared(declared) = reply {
            return Ok(declared);
        }
        Err(not_declared(&format!("{reply:?}")))
    }

    fn keys(&self) -> Vec<Key> {
        let plan = &self.plan.clients;
        let key = |partition: usize, sort: usize| {
            let sort = if sort == 0 { Bytes::new() } else { Bytes::from(format!("s{sort}")) };
            Key::new(Bytes::from(format!("p{partition}")), sort).expect("short and not empty")
        };
        let partitions = 0..plan.partitions;
        partitions.flat_map(|p| (0..plan.sorts).map(move |s| key(p, s))).collect()
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
                timeout: self.plan.patience(),
            });
            let at = nodes.iter().copied().cycle().nth(index).expect("there are nodes");
            let begun = self.now;
            let reply = self.ask_and_wait(at, request)?;
            let Reply::Read(read) = reply else {
                let detail = format!("the last read is answered {reply:?}");
                return Err(Broken::of(Invariant::HealthyRequestsSucceed, index, detail));
            };
            self.oracle.read(index, at_all(), begun, &read)?;
            reads.push(read);
        }
        Ok(reads)
    }

    fn check_end(&mut self, reads: &[Read]) -> Result<(), Broken> {
        for (index, read) in reads.iter().enumerate() {
            self.oracle.check_kept(index, read, self.plan.destroys)?;
            if !self.clients_only {
                self.check_equal(index, &read.object)?;
            }
        }
        if !self.clients_only {
            self.check_clocks()?;
        }
        self.check_catalogs()?;
        self.check_lists(reads)
    }

    /// All replicas hold what the last read found. What a replica lacks is what it lost.
    fn check_equal(&self, index: usize, read: &Object) -> Result<(), Broken> {
        let spot = self.oracle.spot(index);
        let bottom = Object::default();
        for node in &spot.replicas {
            let view = self.hosts.get(node).map(|host| host.disk.view());
            let held = view.and_then(|view| view.objects.get(&spot.place())).unwrap_or(&bottom);
            let missing = read.context().difference(held.context());
            let lost = self.oracle.losses.of_node(*node, index);
            let excused = lost
                .is_some_and(|lost| lost.is_superset(&missing) && *held == without(read, &missing));
            if held != read && !excused {
                let detail = format!("{node} holds {held:?} and all together {read:?}");
                return Err(Broken::of(Invariant::ReplicasConverge, index, detail));
            }
        }
        Ok(())
    }

    /// The clock of each shard is what its objects have heard of, no more and no less, and
    /// those that were lost had.
    fn check_clocks(&self) -> Result<(), Broken> {
        for host in self.hosts.values() {
            let view = host.disk.view();
            let mut heard: BTreeMap<ShardId, DotSet> = BTreeMap::new();
            for ((shard, _), object) in &view.objects {
                let _ = heard.entry(*shard).or_default().union(object.context());
            }
            for (index, lost) in self.oracle.losses.all_of(host.id) {
                let _ = heard.entry(self.oracle.spot(index).shard).or_default().union(lost);
            }
            let clocks = view.clocks();
            if clocks != heard {
                let detail = format!("{} has clocks {clocks:?} over {heard:?}", host.id);
                return Err(Broken::new(Invariant::ClocksAreExact, detail));
            }
        }
        Ok(())
    }

    /// Lists, page by page, hold what gets hold.
    fn check_lists(&mut self, reads: &[Read]) -> Result<(), Broken> {
        let spots = self.oracle.spots.clone();
        let mut tables: Vec<(&Name, &Name)> =
            spots.iter().map(|spot| (&spot.keyspace, &spot.table.name)).collect();
        tables.sort();
        tables.dedup();
        for (keyspace, table) in tables {
            let mut ranges = vec![Range::Table { shard: 0, after: None }];
            let partitions = (0..self.plan.clients.partitions).map(|p| format!("p{p}"));
            ranges
                .extend(partitions.map(|p| Range::Partition { partition: p.into(), after: None }));
            for range in ranges {
                let listed = self.list(keyspace, table, range.clone())?;
                let of_range = |spot: &Spot| match &range {
                    Range::Partition { partition, .. } => spot.key.partition() == partition,
                    Range::Table { .. } => true,
                };
                let mut expected: Vec<(&Spot, &Object)> = spots
                    .iter()
                    .zip(reads)
                    .filter(|(spot, read)| {
                        spot.table.name == *table
                            && of_range(spot)
                            && !read.object.values().is_empty()
                    })
                    .map(|(spot, read)| (spot, &read.object))
                    .collect();
                expected.sort_by_key(|(spot, _)| (spot.shard, spot.key.clone()));
                let same = expected.iter().map(|(spot, object)| (&spot.key, *object));
                if !same.eq(listed.iter().map(|(key, object)| (key, object))) {
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
                timeout: self.plan.patience(),
            };
            let begun = self.now;
            let reply = self.ask_and_wait(NodeId::new(1), Request::List(list.clone()))?;
            let Reply::Listed(listed) = reply else {
                let detail = format!("the last list is answered {reply:?}");
                return Err(Broken::new(Invariant::HealthyRequestsSucceed, detail));
            };
            self.oracle.listed(&list, &listed, begun)?;
            all.extend(listed.listings.into_iter().map(|listing| (listing.key, listing.object)));
            next = listed.next;
        }
        Ok(all)
    }
}

/// What is left of an object for a replica that never hears of some dots.
fn without(object: &Object, missing: &DotSet) -> Object {
    let mut rest = object.clone();
    for dot in dots(missing) {
        rest.leave_out(dot);
    }
    rest
}

fn not_declared(what: &str) -> Broken {
    Broken::new(Invariant::HealthyRequestsSucceed, format!("declaring came to {what}"))
}
