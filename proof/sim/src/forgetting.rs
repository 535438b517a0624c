//! What replicas have forgotten, and what it still says.
//!
//! A replica that has forgotten a tombstone holds nothing under its key, and knows the dots of it as
//! forgotten. To the oracle nothing has changed by that: everything that the tombstone spoke of was
//! heard of there, and a value under one of these dots must not be held beside it. So wherever it
//! looks at what a replica holds, or at what a client was told, it adds the forgotten dots of that
//! key, which it knows by their writes.
//!
//! Besides, each tombstone, and each part of a context, is looked at when it goes: all replicas have what it
//! spoke of on disk, and nobody holds a value that it says is gone. And in the end, none is left that could go.

use causality::DotSet;
use model::{NodeId, Object, Read, ShardId};

use crate::disk::Contents;
use crate::host::Host;
use crate::invariant::Invariant;
use crate::oracle::{Look, Oracle, dots};
use crate::report::Broken;
use crate::scenario::SECOND;
use crate::world::World;

/// The object, which has heard of these as well. Nothing that it holds goes by that.
fn aware(object: &Object, of: &DotSet) -> Object {
    let marks = object.marks().clone();
    let (values, mut context) = object.clone().into_parts();
    let _ = context.union(of);
    let object = Object::from_parts(values, context).expect("the context only grew");
    object.marked(marks)
}

impl Oracle {
    /// The part of some dots that are of writes to a key.
    pub(crate) fn of_key(&self, spot: usize, dots: &DotSet) -> DotSet {
        self.named_at(spot).map(|named| named.intersection(dots)).unwrap_or_default()
    }

    /// What a disk has of a key, with what it has forgotten.
    pub(crate) fn known(&self, spot: usize, on: &Contents) -> Object {
        let place = self.spot(spot).place();
        let held = on.objects.get(&place).cloned().unwrap_or_default();
        match on.forgotten(place.0) {
            Some(forgotten) => aware(&held, &self.of_key(spot, forgotten)),
            None => held,
        }
    }

    /// What was told of a key, with what any replica has forgotten of it.
    pub(crate) fn remembered(&self, spot: usize, object: &Object) -> Object {
        match self.forgotten_of(spot) {
            Some(forgotten) => aware(object, forgotten),
            None => object.clone(),
        }
    }
}

impl Oracle {
    /// What is forgotten is a delete, or a value that was superseded, by whomever.
    fn check_superseded(&self, at: NodeId, shard: ShardId, news: &DotSet) -> Result<(), Broken> {
        for index in 0..self.spots.len() {
            if self.spot(index).shard != shard {
                continue;
            }
            for dot in dots(&self.of_key(index, news)) {
                let is_value =
                    self.named(index, dot).is_some_and(|id| self.write(id).value.is_some());
                if is_value && !self.is_ever_superseded(index, dot) {
                    let detail = format!("{at} forgets {dot}, which nothing has superseded");
                    return Err(Broken::of(Invariant::ForgottenIsSettled, index, detail));
                }
            }
        }
        Ok(())
    }
}

impl World {
    /// What a replica has of a key, with what it has forgotten.
    pub(crate) fn known(&self, node: NodeId, spot: usize) -> Object {
        let host = self.hosts.get(&node);
        host.map(|host| self.oracle.known(spot, host.disk.view())).unwrap_or_default()
    }

    /// What a client was told, with what those have forgotten of the key who took part. One whose disk
    /// was replaced since it answered had forgotten what was forgotten on that.
    pub(crate) fn remembered_read(&self, spot: usize, begun: u64, read: &Read) -> Read {
        let shard = self.oracle.spot(spot).shard;
        let hosts = read.receipt.acks.iter().filter_map(|ack| self.hosts.get(&ack.node));
        let object = hosts.fold(read.object.clone(), |object, host| {
            let mut dots = self.oracle.unforgotten_since(host.id, spot, begun);
            if let Some(forgotten) = host.disk.view().forgotten(shard) {
                let _ = dots.union(&self.oracle.of_key(spot, forgotten));
            }
            aware(&object, &dots)
        });
        Read { object, ..read.clone() }
    }

    /// What a client was told, with what those had forgotten of the key who took part before it
    /// asked. Whoever answers may forget more until the last one has.
    pub(crate) fn told(&self, spot: usize, begun: u64, read: &Read) -> Object {
        let shard = self.oracle.spot(spot).shard;
        let hosts = read.receipt.acks.iter().filter_map(|ack| self.hosts.get(&ack.node));
        hosts.fold(read.object.clone(), |object, host| {
            let before = self.oracle.forgotten_before(host.id, spot, begun);
            match host.disk.view().forgotten(shard) {
                Some(still) => aware(&object, &before.intersection(still)),
                None => object,
            }
        })
    }

    /// What a node has just forgotten is on the disks of all replicas, whether it `decides` that or
    /// another one has.
    pub(crate) fn check_reaped(&mut self, at: NodeId, decides: bool) -> Result<(), Broken> {
        for (shard, news) in self.host(at).disk.take_adopted() {
            self.oracle.note_forgotten((at, self.now), shard, &news);
            if self.oracle.look == Look::Everywhere {
                self.oracle.check_superseded(at, shard, &news)?;
            }
        }
        for (place, object, after) in self.host(at).disk.take_reaped() {
            let kind = if after.is_bottom() { "tombstones" } else { "contexts" };
            *self.requests.entry((kind, "forgotten")).or_default() += 1;
            if decides {
                self.check_unsuspected(at, place.0)?;
            }
            let index = self.oracle.spot_of(&place)?;
            let gone = object.context().difference(after.context());
            if self.oracle.look != Look::Everywhere {
                continue;
            }
            let replicas = self.oracle.spot(index).replicas.clone();
            for host in replicas.iter().filter_map(|node| self.hosts.get(node)) {
                let lacks = gone.difference(&clock(host, place.0));
                if !host.is_astray && host.id != at && !lacks.is_empty() {
                    let detail = format!(
                        "{at} forgets {gone:?} of {object:?}, and {} does not have {lacks:?} on disk",
                        host.id
                    );
                    return Err(Broken::of(Invariant::ForgottenIsSettled, index, detail));
                }
                let held = host.disk.contents().objects.get(&place).cloned().unwrap_or_default();
                let mut rest = held.clone();
                rest.drop_values(&gone);
                // A record that turned old holds what was superseded, and nobody can know.
                let is_sound = self.plan.disk.rot == 0 && !self.plan.destroys;
                if is_sound && !host.is_astray && host.id != at && rest != held {
                    let detail = format!("{at} forgets {gone:?}, and {} holds {held:?}", host.id);
                    return Err(Broken::of(Invariant::ForgottenIsSettled, index, detail));
                }
            }
            let known = self.known(at, index);
            if !known.context().is_superset(object.context()) {
                let detail = format!("{at} forgets {object:?}, and knows {known:?} then");
                return Err(Broken::of(Invariant::ReplicasOnlyGrow, index, detail));
            }
        }
        Ok(())
    }

    /// Waits for a while until all contexts are short: those who were suspect until now have yet to hear of
    /// each other that they are whole, and some contexts go with each round.
    pub(crate) fn wait_for_contexts(&mut self) -> Result<(), Broken> {
        for _ in 0..20 {
            if self.check_contexts().is_ok() {
                break;
            }
            self.go_on(SECOND)?;
        }
        self.check_contexts()
    }

    /// Long after all faults, no context is longer than it may be.
    fn check_contexts(&self) -> Result<(), Broken> {
        for (index, spot) in self.oracle.spots.iter().enumerate() {
            let place = spot.place();
            let hosts = || spot.replicas.iter().filter_map(|node| self.hosts.get(node));
            if spot.replicas.iter().any(|node| self.is_suspect(*node, spot.shard)) {
                continue;
            }
            for host in hosts() {
                let held = host.disk.view().objects.get(&place).filter(|held| !held.is_tombstone());
                let is_long = |held: &&Object| {
                    let kept = held.marks().len() + 2 * held.values().len();
                    self.limits.context_runs_max + kept < held.context().runs().len()
                };
                let is_settled = |held: &&Object| {
                    hosts().all(|other| clock(other, spot.shard).is_superset(held.context()))
                };
                // That a record has turned into what it was before it was pruned, a scrub finds. Trees
                // say what was written last, and to others a longer context is old news.
                let is_unnoticed =
                    !self.plan.scrubs && self.oracle.losses.may_be_old(host.id, index);
                let is_excused = host.disk.damaged().contains(&place) || is_unnoticed;
                let held = held.filter(is_long).filter(is_settled).filter(|_| !is_excused);
                if let Some(held) = held {
                    let detail = format!("long after all faults {} holds {held:?}", host.id);
                    return Err(Broken::of(Invariant::ContextsAreShort, index, detail));
                }
            }
        }
        Ok(())
    }

    /// Long after all faults, no tombstone is left of which everything is settled.
    pub(crate) fn check_no_tombstones(&self) -> Result<(), Broken> {
        for (index, spot) in self.oracle.spots.iter().enumerate() {
            let place = spot.place();
            let hosts = || spot.replicas.iter().filter_map(|node| self.hosts.get(node));
            if spot.replicas.iter().any(|node| self.is_suspect(*node, spot.shard)) {
                continue;
            }
            let held = |host: &Host| host.disk.view().objects.get(&place).cloned();
            let is_left = |host: &&Host| {
                held(host).is_some_and(|object| {
                    let is_settled =
                        |other: &Host| clock(other, spot.shard).is_superset(object.context());
                    let is_free = object.is_tombstone() && object.marks().is_empty();
                    is_free && !host.disk.damaged().contains(&place) && hosts().all(is_settled)
                })
            };
            if let Some(host) = hosts().find(is_left) {
                let detail = format!("long after all faults {} holds {:?}", host.id, held(host));
                return Err(Broken::of(Invariant::TombstonesGo, index, detail));
            }
        }
        Ok(())
    }
}

/// The clock of a shard on a disk.
fn clock(host: &Host, shard: ShardId) -> DotSet {
    DotSet::from_runs(host.disk.contents().clock(shard)).expect("clocks are in normal form")
}
