//! The course of a run, from an empty cluster to the last check.
//!
//! ```text
//! set up     nodes start, a keyspace and its tables are declared
//! safety     clients at work, everything may go wrong; every object and answer is checked
//! settle     all faults end, all nodes start
//! liveness   clients at work, and every request must succeed
//! quiet      late messages arrive, everything is read and compared: see `ending`
//! ```
//!
//! In some worlds there are several rounds of it, from safety to quiet, so that faults meet
//! clusters that have been whole before, with all they have stored since.

use std::collections::BTreeMap;

use bytes::Bytes;
use model::{
    Declare, Declared, Failure, Key, Name, NodeId, Refusal, Region, ReplicaMap, Reply, Request,
};
use placement::{Layout, Member, Placement};

use crate::invariant::Invariant;
use crate::levels::Places;
use crate::network::LATE_MAX;
use crate::oracle::{Oracle, Spot};
use crate::report::Broken;
use crate::swarm::Plan;
use crate::world::{Event, Phase, World};

pub(crate) const SECOND: u64 = 1_000_000;

/// Longer than a node needs to find that others are alive.
pub(crate) const SETTLE: u64 = 5 * SECOND;

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

impl World {
    /// The whole run.
    pub(crate) fn run(&mut self) -> Result<(), Broken> {
        self.set_up()?;
        for _ in 0..self.plan.rounds {
            self.be_unsafe()?;
            self.be_live()?;
            self.phase = Phase::Quiet;
            self.go_on(LATE_MAX)?;
            self.check_exchanged(None)?;
            self.check_logs_are_short()?;
            self.be_quiet()?;
        }
        Ok(())
    }

    fn be_unsafe(&mut self) -> Result<(), Broken> {
        self.phase = Phase::Safety;
        self.network.set_faulty(true);
        self.workload.set_patience(None);
        (0..self.workload.count()).for_each(|client| self.rest(client));
        let gap = self.faults.gap();
        self.arrange(gap, Event::Fault);
        self.arrange_declaring();
        self.arrange_repairing();
        self.arrange_rot();
        self.arrange_evicting();
        self.arrange_looking();
        self.go_on(self.plan.safety)?;
        self.phase = Phase::Quiet;
        self.end_faults()?;
        let healed = self.now;
        self.go_on(SETTLE)?;
        // The only copy that is left may be in a message that comes later than that, or at a guest
        // whose handoff begins anew first, because its replica could not read the record. Where
        // guests had no room, what was kept for one replica goes on to another from there.
        let is_handed_on =
            self.plan.sloppy && self.plan.disk.rot != 0 || self.plan.has_little_room();
        let is_prompt = self.plan.network.late == 0 && !is_handed_on;
        if is_prompt {
            self.check_exchanged(Some(healed))?;
        }
        self.be_whole()?;
        self.heal_damaged()
    }

    fn be_live(&mut self) -> Result<(), Broken> {
        self.phase = Phase::Liveness;
        let patience = (self.plan.patience(), self.plan.list_patience());
        self.workload.set_patience(Some(patience));
        self.arrange_declaring();
        (0..self.workload.count()).for_each(|client| self.rest(client));
        self.go_on(self.plan.liveness)
    }

    pub(crate) fn go_on(&mut self, micros: u64) -> Result<(), Broken> {
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
        let (shards, sloppy) = (self.plan.shards, self.plan.sloppy);
        let declare = Declare::Keyspace { name: name("space"), shards, replicas, sloppy };
        let Declared::Keyspace { keyspace, .. } = self.declare(1, declare)? else {
            return Err(not_declared("a keyspace"));
        };
        let placement = Placement::new(&self.layout, &keyspace);
        let placement = placement.map_err(|few| not_declared(&few.to_string()))?;
        let mut spots = Vec::new();
        let mut places = Places { regions: regions(&self.layout), sloppy, ..Places::default() };
        for (index, plan) in self.plan.tables.clone().into_iter().enumerate() {
            let table = self.declare_table(index, &plan, &keyspace, &placement, &mut places)?;
            for key in self.keys() {
                let shard = placement::shard_of(&keyspace, key.partition());
                let replicas = placement.replicas(shard).to_vec();
                let (keyspace, table) = (keyspace.name.clone(), table.clone());
                spots.push(Spot { keyspace, table, key, shard, replicas });
            }
        }
        let versions = self.hosts.values().map(|host| host.catalog_version);
        self.catalog_needed = versions.max().unwrap_or(0);
        // The hottest key should not always be in the same table.
        spots.sort_by(|a, b| a.key.cmp(&b.key));
        self.oracle = Oracle::new(spots, places, self.oracle.look);
        self.begin_watching();
        self.go_on(3 * SECOND)
    }

    fn declare(&mut self, at: u16, declare: Declare) -> Result<Declared, Broken> {
        let reply = self.ask_and_wait(NodeId::new(at), Request::Declare(declare))?;
        match reply {
            Reply::Declared(declared) => Ok(declared),
            Reply::Failed(Failure::Refused(Refusal::UnknownKeyspace(name))) => {
                let detail = format!("n{at} does not know {name}, which was acknowledged");
                Err(Broken::new(Invariant::ContractsStand, detail))
            }
            Reply::Written(_)
            | Reply::Read(_)
            | Reply::Listed(_)
            | Reply::Watched(_)
            | Reply::Recalled(_)
            | Reply::Explained(_)
            | Reply::Status(_)
            | Reply::Repair(_)
            | Reply::Salvaged(_)
            | Reply::Failed(_) => Err(not_declared(&format!("{reply:?}"))),
        }
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
}

fn not_declared(what: &str) -> Broken {
    Broken::new(Invariant::HealthyRequestsSucceed, format!("declaring came to {what}"))
}

fn regions(layout: &Layout) -> BTreeMap<NodeId, Region> {
    layout.members.iter().map(|(node, member)| (*node, member.region.clone())).collect()
}
