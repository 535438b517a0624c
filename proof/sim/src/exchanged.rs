//! What replicas bring each other without a read, and the logs that it rests on.
//!
//! Reads repair, so a run that reads everything cannot tell whether anything else does. When
//! the faults have ended, and again when all late messages have arrived, each replica is
//! therefore looked at *before* anybody reads: it must have heard of every write that
//! another one can produce. One that cannot be produced is no matter here: its record is lost, or its
//! line in the log was dropped: while all had it, and then a disk was lost, or because the log is
//! full, and then the replica is marked.
//!
//! A line may be dropped only when every replica of the shard has its dots on disk, or is marked
//! as needing repair. That is looked at on the true disks, at the moment when it is dropped.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use causality::{Dot, DotSet, Run};
use model::{Ack, List, Listed, NodeId, Receipt, ShardId};

use crate::disk::{Place, SimDisk};
use crate::faults::FaultKind;
use crate::host::Host;
use crate::invariant::Invariant;
use crate::lists::is_of_list;
use crate::oracle::{Look, Outcome, Spot, Write, WriteId, dots};
use crate::report::Broken;
use crate::scenario::SETTLE;
use crate::world::World;

/// What replicas have heard of just now, by key.
#[derive(Default)]
pub(crate) struct Arrivals(BTreeMap<(NodeId, usize), VecDeque<(u64, DotSet)>>);

impl Arrivals {
    /// A replica has heard of these.
    pub(crate) fn note(&mut self, place: (NodeId, usize), dots: DotSet, now: u64) {
        let came = self.0.entry(place).or_default();
        while came.front().is_some_and(|(at, _)| at + SETTLE < now) {
            came.pop_front();
        }
        came.push_back((now, dots));
    }

    /// Whether a replica has heard of a dot for less long than it takes to tell all others.
    fn came(&self, place: (NodeId, usize), dot: Dot, now: u64) -> bool {
        let mut came = self.0.get(&place).into_iter().flatten();
        came.any(|(at, dots)| now < at + SETTLE && dots.contains(dot))
    }
}

impl SimDisk {
    /// Whether another replica can be sent a write from here.
    fn can_produce(&self, place: &Place, dot: Dot) -> bool {
        let object = self.view().objects.get(place);
        object.is_some_and(|object| object.context().contains(dot))
            && !self.damaged().contains(place)
    }

    /// Whether the log knows where the object is that came with a dot.
    pub(crate) fn has_logged(&self, shard: ShardId, dot: Dot) -> bool {
        let run = Run { incarnation: dot.incarnation, first: dot.seq, last: dot.seq };
        !self.view().log.read(shard, run, 1).is_empty()
    }
}

impl World {
    /// Each replica has all writes that were acknowledged before a moment, or all writes.
    pub(crate) fn check_exchanged(&self, before: Option<u64>) -> Result<(), Broken> {
        if self.oracle.look == Look::Answers {
            return Ok(());
        }
        for (index, spot) in self.oracle.spots.iter().enumerate() {
            for (id, write) in self.oracle.writes_of(index) {
                let is_old = |before| write.outcome == Outcome::Acked && write.ended < before;
                let Some(dot) = write.dot.filter(|_| before.is_none_or(is_old)) else { continue };
                self.check_everywhere(index, spot, id, dot)?;
            }
        }
        Ok(())
    }

    /// No log is longer than it may be, and that of a shard which all replicas have is empty.
    pub(crate) fn check_logs_are_short(&self) -> Result<(), Broken> {
        let shards: BTreeSet<ShardId> = self.oracle.spots.iter().map(|spot| spot.shard).collect();
        let max = self.limits.log_entries_max as u64;
        for (host, shard) in
            self.hosts.values().flat_map(|host| shards.iter().map(move |s| (host, *s)))
        {
            let logged = host.disk.view().log.dots(shard);
            let clocks = self.hosts.values().filter(|host| self.keeps(host.id, shard));
            let clocks: BTreeSet<_> = clocks.map(|host| host.disk.view().clock(shard)).collect();
            // What a suspect replica has acknowledged does not count.
            let is_settled = clocks.len() == 1 && !self.sums.is_rotten(shard);
            let is_kept = self.plan.changes_retention != 0;
            if max < logged.len() || is_settled && !is_kept && !logged.is_empty() {
                let detail = format!("the log of {shard} at {} has {logged:?}", host.id);
                return Err(Broken::new(Invariant::LimitsHold, detail));
            }
        }
        Ok(())
    }

    fn keeps(&self, node: NodeId, shard: ShardId) -> bool {
        let spot = self.oracle.spots.iter().find(|spot| spot.shard == shard);
        spot.is_some_and(|spot| spot.replicas.contains(&node))
    }

    fn check_everywhere(
        &self,
        index: usize,
        spot: &Spot,
        id: WriteId,
        dot: Dot,
    ) -> Result<(), Broken> {
        let (shard, place) = (spot.shard, spot.place());
        // Who was not there before has as long as everybody else, and who has just heard of it from such a
        // one has not told yet.
        let takes_part = |host: &&Host| {
            let since = host.outside_at.is_none_or(|at| at + SETTLE <= self.now);
            since && host.given_up.is_none()
        };
        let all = || spot.replicas.iter().filter_map(|node| self.hosts.get(node));
        let hosts = || all().filter(takes_part);
        let mut others = all().filter(|host| !takes_part(host));
        let is_from_outside = others.any(|host| host.disk.can_produce(&place, dot));
        let is_new = |node| is_from_outside && self.arrivals.came((node, index), dot, self.now);
        // Who cannot read its own record can merge nothing into it until that is healed.
        let lacks = |host: &&Host| {
            !host.disk.view().has_heard(shard, dot) && !host.disk.damaged().contains(&place)
        };
        for host in hosts().filter(lacks) {
            let is_marked = |other: &Host| other.disk.view().marks.contains(&(shard, host.id));
            let owes = |other: &&Host| {
                let may_lack = host.is_astray || is_marked(other);
                let is_logged = other.disk.has_logged(shard, dot) || !may_lack;
                // Who had lost it, and has it again only just now, has not told yet either.
                let since = self.now.saturating_sub(SETTLE);
                let losses = &self.oracle.losses;
                let is_back = losses.has_lost(other.id, index, dot)
                    || losses.lacked_since(other.id, index, dot, since)
                    || is_new(other.id);
                is_logged && !is_back && other.disk.can_produce(&place, dot)
            };
            if let Some(other) = hosts().find(owes) {
                let detail = format!("{} lacks w{} ({dot}), which {} has", host.id, id.0, other.id);
                return Err(Broken::of(Invariant::ExchangeConverges, index, detail));
            }
        }
        Ok(())
    }

    /// The replicas that answered a read have what they say to have: each write under this key
    /// that was acknowledged before the time to which they are up to date. Where clocks are
    /// wrong, nobody knows how long ago anything was.
    pub(crate) fn check_staleness(&self, index: usize, nodes: &[NodeId]) -> Result<(), Broken> {
        if !self.has_right_clocks() {
            return Ok(());
        }
        let shard = self.oracle.spot(index).shard;
        for host in nodes.iter().filter_map(|node| self.hosts.get(node)) {
            let now = host.clock.read(self.now);
            let staleness = host.node.as_ref().and_then(|node| node.staleness(shard, now));
            let Some(staleness) = staleness.and_then(|of| u64::try_from(of.as_micros()).ok())
            else {
                continue;
            };
            let since = self.now.saturating_sub(staleness);
            for (id, write) in self.oracle.writes_of(index) {
                let is_meant = write.outcome == Outcome::Acked && write.ended < since;
                let Some(dot) = write.dot.filter(|_| is_meant) else { continue };
                let is_kept = self.oracle.losses.keepers(write, 0).next().is_some();
                if is_kept && !host.is_astray && !host.disk.view().has_heard(shard, dot) {
                    let detail = format!(
                        "{} is up to date to {since} and lacks w{} ({dot}), acknowledged at {}",
                        host.id, id.0, write.ended
                    );
                    return Err(Broken::of(Invariant::StalenessIsTrue, index, detail));
                }
            }
        }
        Ok(())
    }

    /// Whether all clocks go as fast as time.
    fn has_right_clocks(&self) -> bool {
        let kinds = &self.plan.faults.kinds;
        let of_clocks = [FaultKind::Jump, FaultKind::Stall, FaultKind::Hurry];
        self.plan.drift == 0 && !of_clocks.iter().any(|kind| kinds.contains_key(kind))
    }

    /// A read has each write that was acknowledged, at whatever level and by whomever, so long
    /// before it began as its receipt says. What the readers have lost is excused, and what
    /// everybody has lost.
    pub(crate) fn check_bound(
        &self,
        index: usize,
        begun: u64,
        (receipt, readers): (&Receipt, &[NodeId]),
        is_heard: impl Fn(&Write, Dot) -> bool,
    ) -> Result<(), Broken> {
        let bound = receipt.staleness.and_then(|of| u64::try_from(of.as_micros()).ok());
        let Some(bound) = bound.filter(|_| self.has_right_clocks()) else { return Ok(()) };
        let since = begun.saturating_sub(bound);
        let losses = &self.oracle.losses;
        for (id, write) in self.oracle.writes_of(index) {
            let is_meant = write.outcome == Outcome::Acked && write.ended < since;
            let Some(dot) = write.dot.filter(|dot| is_meant && !is_heard(write, *dot)) else {
                continue;
            };
            let is_astray = |node: &NodeId| self.hosts.get(node).is_some_and(|h| h.is_astray);
            let has_lost = |node: &NodeId| {
                let lost = losses.of_node(*node, index);
                is_astray(node) || lost.is_some_and(|lost| lost.contains(dot))
            };
            // What guests have taken in they keep, or have handed over.
            let is_with_guests = !write.acks.is_empty() && !write.acks.iter().any(Ack::is_primary);
            let is_kept = is_with_guests || losses.keepers(write, 0).next().is_some();
            if is_kept && !readers.iter().any(has_lost) {
                let detail = format!(
                    "a read begun at {begun} lacks w{} ({dot}), acknowledged at {} by {:?}: {receipt:?}",
                    id.0, write.ended, write.acks
                );
                return Err(Broken::of(Invariant::StalenessIsTrue, index, detail));
            }
        }
        Ok(())
    }

    /// The same of each key that a list stands for.
    pub(crate) fn check_bound_of_list(
        &self,
        list: &List,
        listed: &Listed,
        begun: u64,
    ) -> Result<(), Broken> {
        for (index, spot) in self.oracle.spots.iter().enumerate() {
            if !is_of_list(list, listed, spot) {
                continue;
            }
            let found = listed.listings.iter().find(|listing| listing.key == spot.key);
            // Who answered is said of the last shard only.
            let answer = (&listed.receipt, spot.replicas.as_slice());
            self.check_bound(index, begun, answer, |write, dot| match found {
                Some(listing) => {
                    let remembered = self.oracle.remembered(index, &listing.object);
                    remembered.context().contains(dot)
                }
                None => write.value.is_none() || self.oracle.may_be_gone(index, dot),
            })?;
        }
        Ok(())
    }

    /// What a node has just taken into a clock is in the log with it.
    pub(crate) fn check_logged(
        &self,
        at: NodeId,
        spot: usize,
        gained: &DotSet,
    ) -> Result<(), Broken> {
        let Some(host) = self.hosts.get(&at) else { return Ok(()) };
        let shard = self.oracle.spot(spot).shard;
        match dots(gained).find(|dot| !host.disk.has_logged(shard, *dot)) {
            None => Ok(()),
            Some(dot) => {
                let detail = format!("the clock of {at} takes in {dot}, and the log does not");
                Err(Broken::of(Invariant::LogReachesBack, spot, detail))
            }
        }
    }

    /// What a node has just dropped from its log is on all disks.
    pub(crate) fn check_forgotten(&mut self, at: NodeId) -> Result<(), Broken> {
        let forgotten = self.host(at).disk.take_forgotten();
        let is_looked_at = self.oracle.look == Look::Everywhere;
        for (shard, run) in forgotten.into_iter().filter(|_| is_looked_at) {
            let spot = self.oracle.spots.iter().find(|spot| spot.shard == shard);
            let replicas = spot.map(|spot| spot.replicas.as_slice()).unwrap_or_default();
            let others = replicas.iter().filter_map(|node| self.hosts.get(node));
            let run = DotSet::from_runs(vec![run]).expect("a run of a log is a set");
            let marks = self.hosts.get(&at).map(|host| &host.disk.view().marks);
            let is_marked = |node| marks.is_some_and(|marks| marks.contains(&(shard, node)));
            let must = |host: &&Host| !host.is_astray && host.id != at && !is_marked(host.id);
            for host in others.filter(must) {
                let has = |dot: &Dot| host.disk.contents().has_heard(shard, *dot);
                if let Some(dot) = dots(&run).find(|dot| !has(dot)) {
                    let detail = format!(
                        "{at} drops {dot} of {shard} from its log, and {} does not have it on disk",
                        host.id
                    );
                    return Err(Broken::new(Invariant::LogReachesBack, detail));
                }
            }
        }
        Ok(())
    }
}
