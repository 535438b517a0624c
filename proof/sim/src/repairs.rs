//! Operators who begin repairs, and what a repair that says `proved` is held to.
//!
//! A pair is proved if each part of it was shown to be equal at some moment of the repair. What
//! either of the two held when the repair began it has not forgotten since; so at the moment at
//! which a pair is said to be proved, *both* hold at least what *either* held at the beginning:
//! whatever was read, compared, lost on its way and sent again in between. That is looked at
//! there and then, on both disks, and not in the trees.
//!
//! Not held to it is a pair of which one was started anew meanwhile, or has lost another
//! record: then what it held at the beginning may be gone. What it had lost *before* is no
//! excuse for a full repair, which reads both disks first.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lattice::{Change, Lattice};
use model::{
    Extent, NodeId, Now, Object, Repair, RepairMode, RepairState, Request, ShardId, StartRepair,
    Stretch, TableId,
};

use crate::dice::Dice;
use crate::disk::Place;
use crate::host::Host;
use crate::invariant::Invariant;
use crate::report::Broken;
use crate::tokens::plain;
use crate::workload::Op;
use crate::world::{Event, Open, Phase, World};

/// A pair that comes no further is given up in the time of a run.
const PATIENCE: Duration = Duration::from_secs(10);

/// What operators do about repairs, and what is remembered of it.
pub(crate) struct Repairs {
    dice: Dice,
    /// Mean microseconds between two of them. Zero for none.
    gap: u64,
    /// Full repairs, by the nodes at which they are.
    watched: BTreeMap<NodeId, Watched>,
    /// How many records each disk has lost.
    losses: BTreeMap<NodeId, u64>,
}

/// A full repair, and what was there when it was asked for.
struct Watched {
    id: u64,
    /// Of which table. Of all, if nothing is there.
    table: Option<TableId>,
    hosts: BTreeMap<NodeId, Before>,
    /// Pairs that were proved, and looked at.
    seen: BTreeSet<(ShardId, NodeId)>,
}

/// One node at that moment.
struct Before {
    life: u64,
    losses: u64,
    objects: BTreeMap<Place, Object>,
}

impl Repairs {
    pub(crate) fn new(gap: u64, dice: Dice) -> Self {
        Self { dice, gap, watched: BTreeMap::new(), losses: BTreeMap::new() }
    }

    /// A disk has lost a record, without a word.
    pub(crate) fn note_loss(&mut self, at: NodeId) {
        *self.losses.entry(at).or_default() += 1;
    }

    fn before(&self, host: &Host) -> Before {
        let readable = |(place, _): &(&Place, &Object)| !host.disk.damaged().contains(*place);
        let objects = host.disk.view().objects.iter().filter(readable);
        Before {
            life: host.life,
            losses: self.losses.get(&host.id).copied().unwrap_or_default(),
            objects: objects.map(|(place, object)| (place.clone(), plain(object))).collect(),
        }
    }
}

impl World {
    /// Arranges the next repair, if operators begin any.
    pub(crate) fn arrange_repairing(&mut self) {
        if self.repairs.gap != 0 {
            let gap = self.repairs.dice.micros(self.repairs.gap, 0);
            self.arrange(gap, Event::Repair);
        }
    }

    /// An operator begins a repair, or ends one.
    pub(crate) fn begin_repair(&mut self) -> Result<(), Broken> {
        if self.phase != Phase::Safety {
            return Ok(());
        }
        self.arrange_repairing();
        let up: Vec<NodeId> =
            self.hosts.values().filter(|host| host.is_up()).map(|host| host.id).collect();
        if up.is_empty() {
            return Ok(());
        }
        let at = self.repairs.dice.pick(&up);
        let status = self.hosts.get(&at).and_then(|host| host.node.as_ref());
        let job = status.and_then(|node| node.repair_status(Now::default()).job);
        let is_running = job.is_some_and(|job| job.state == RepairState::Running);
        let repair = match is_running {
            true if self.repairs.dice.chance(700) => return Ok(()),
            true => Repair::Cancel(None),
            false => Repair::Start(Box::new(self.draw_repair(at))),
        };
        let (begun, deadline) = (self.now, Now::default());
        let (request, op, client) = (Request::Repair(repair), Op::Ask, None);
        let (healthy, behind) = (false, Vec::new());
        let open = Open { at, request, op, client, begun, deadline, healthy, behind };
        self.ask(open, Duration::from_secs(20)).map(drop)
    }

    fn draw_repair(&mut self, at: NodeId) -> StartRepair {
        let dice = &mut self.repairs.dice;
        let id = dice.bits();
        let age = Duration::from_secs(1);
        let mode = dice.weighted(&[
            (6, RepairMode::Full),
            (1, RepairMode::Incremental { age }),
            (1, RepairMode::Preview),
        ]);
        let some = dice.index(self.oracle.spots.len().max(1));
        let is_of_table = dice.chance(300);
        let spot = self.oracle.spots.get(some).filter(|_| is_of_table);
        let of = spot.map(|spot| {
            let table = spot.table.name.clone();
            let table = Some(Stretch { table, from: None, to: None });
            Extent { keyspace: spot.keyspace.clone(), shards: BTreeSet::new(), table }
        });
        if mode == RepairMode::Full {
            let table = spot.map(|spot| spot.table.id);
            let before = |host: &Host| (host.id, self.repairs.before(host));
            let hosts = self.hosts.values().map(before).collect();
            let watched = Watched { id, table, hosts, seen: BTreeSet::new() };
            self.repairs.watched.insert(at, watched);
        }
        StartRepair { id: Some(id), mode, of, with: BTreeSet::new(), patience: PATIENCE }
    }

    /// What a node says to be proved is at both, as far as it was at either.
    pub(crate) fn check_repairs(&mut self, at: NodeId) -> Result<(), Broken> {
        let Some(mut watched) = self.repairs.watched.remove(&at) else { return Ok(()) };
        let node = self.hosts.get(&at).and_then(|host| host.node.as_ref());
        let Some(node) = node.filter(|node| node.repair_id() == Some(watched.id)) else {
            // It has not begun yet, or never will.
            self.repairs.watched.insert(at, watched);
            return Ok(());
        };
        let proved = node.repair_pairs().filter(|(_, _, is_proved)| *is_proved);
        let pairs: Vec<_> = proved.map(|(shard, with, _)| (shard, with)).collect();
        for (shard, with) in pairs {
            if watched.seen.insert((shard, with)) {
                *self.requests.entry(("repairs", "proved")).or_default() += 1;
                self.check_proved(&watched, shard, [at, with])?;
            }
        }
        self.repairs.watched.insert(at, watched);
        Ok(())
    }

    fn check_proved(
        &mut self,
        watched: &Watched,
        shard: ShardId,
        pair: [NodeId; 2],
    ) -> Result<(), Broken> {
        let is_as_before = |node: &NodeId| {
            let (host, before) = (self.hosts.get(node), watched.hosts.get(node));
            let losses = self.repairs.losses.get(node).copied().unwrap_or_default();
            host.zip(before).is_some_and(|(host, before)| {
                host.is_up() && host.life == before.life && losses == before.losses
            })
        };
        if !pair.iter().all(is_as_before) {
            return Ok(());
        }
        *self.requests.entry(("repairs", "held to what was there")).or_default() += 1;
        let is_meant = |(of, address): &Place| {
            *of == shard && watched.table.is_none_or(|table| table == address.table)
        };
        for had in pair {
            let before = watched.hosts.get(&had).map(|before| &before.objects);
            let objects = before.into_iter().flatten().filter(|(place, _)| is_meant(place));
            for (place, object) in objects {
                for has in pair {
                    self.check_has(has, place, object, had)?;
                }
            }
        }
        Ok(())
    }

    fn check_has(
        &self,
        at: NodeId,
        place: &Place,
        least: &Object,
        had: NodeId,
    ) -> Result<(), Broken> {
        let Some(host) = self.hosts.get(&at) else { return Ok(()) };
        let index = self.oracle.spot_of(place)?;
        // A record that cannot be read is as good as none, which is all that is left to hold of a key of
        // which everything was forgotten meanwhile.
        let is_damaged = host.disk.damaged().contains(place);
        let held = if is_damaged { Object::default() } else { self.known(at, index) };
        let held = plain(&self.oracle.remembered(index, &held));
        let mut merged = held.clone();
        if merged.merge(least.clone()) == Change::Unchanged {
            return Ok(());
        }
        let detail = format!(
            "{at} holds {held:?} at {place:?} in a pair that is said to be proved, and {had} \
             held {least:?} when the repair began"
        );
        Err(Broken::new(Invariant::ProvedIsEqual, detail))
    }
}
