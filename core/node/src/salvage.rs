//! Taking in what only a disk has that never serves again (R12).
//!
//! Nothing of such a disk is merged as it is: what it holds may have been deleted long ago, and what
//! it has deleted others may have gone on with. Only writes that nobody has ever heard of are taken
//! in, and only their values. A replica remembers what it has applied in its clock, also where
//! nothing is left of it, so all replicas are asked, and one that does not answer could be the one
//! that knows.
//!
//! ```text
//! client ── Salvage n3's a7, a9 ──► n1
//! n1 ── Recognise ──► n1 n2             n3 was given up: with its disk nobody serves
//! n1 ◄─ Recognised ── n1: neither    n2: a9 not
//! n1 ── Merge a9 ──► n1 n2              under its own dot, marked as recovered
//! n1 ◄─ Merged ──── n1 n2, on disk      answered: a9 is recovered
//! ```
//!
//! Between the question and the merge somebody may still hear of a write, say from a guest that has
//! kept it for a replica. That is why it keeps its dot: it is the same write then,
//! and whoever knows that it was superseded does not take it in. For the same reason guests need
//! not be asked.
//!
//! Those who have just answered all have it on their disks before the client is told: what was lost
//! once is not to hang on one disk again.

use std::collections::BTreeSet;
use std::time::Duration;

use causality::{Dot, DotSet, Run};
use lattice::Lattice;
use model::{
    Ack, Address, Enrolment, Failure, Mark, NodeId, Object, Refusal, Reply, Salvage, Salvaged,
};

use crate::flight::{Client, Flight, Work};
use crate::put::refusal;
use crate::{
    After, Cause, Disk, Merge, Merged, Message, Node, Recognise, Recognised, Recognition,
    RequestId, Site, Turn, Verdict,
};

/// What was found on a disk, on its way to be known or taken in.
#[derive(Debug)]
pub(crate) struct Salvaging {
    site: Site,
    address: Address,
    found: Object,
    /// Everybody who is asked.
    asked: BTreeSet<NodeId>,
    /// Those of them who have not answered what was asked last.
    pub(crate) waiting: BTreeSet<NodeId>,
    /// What nobody has heard of who has answered.
    unheard: DotSet,
    /// What those hold together.
    held: Object,
    /// Whether one of those has forgotten anything in the shard.
    forgets: bool,
    /// What is answered when all have it on their disks. Nothing while they are asked.
    taken_in: Option<Salvaged>,
}

impl Node {
    /// Asks all replicas whether they have ever heard of what a disk holds.
    pub(crate) fn salvage<D: Disk>(
        &mut self,
        client: Client,
        asked: Salvage,
        turn: &mut Turn<'_, D>,
    ) -> Result<(), Failure> {
        let site = self.locate(&asked.keyspace, &asked.table, asked.key.partition())?;
        self.check_salvage(&asked, &site)?;
        let is_gone = |node: &NodeId| self.in_force().is_evicted(*node);
        let all: BTreeSet<NodeId> =
            site.replicas.iter().copied().filter(|node| !is_gone(node)).collect();
        let is_away = |node: &NodeId| !self.membership.is_alive(*node, turn.now);
        let away: Vec<NodeId> = all.iter().copied().filter(is_away).collect();
        if !away.is_empty() || all.is_empty() {
            return Err(not_asked(&site, &all, &away, "away"));
        }
        let id = self.new_request();
        let address = Address { table: site.table.id, key: asked.key };
        for node in &all {
            let (address, dots) = (address.clone(), asked.found.context().clone());
            let recognise = Recognise { request: id, address, dots };
            turn.send(*node, Message::Recognise(recognise), After::Now);
        }
        let salvaging = Salvaging {
            unheard: asked.found.context().clone(),
            found: asked.found,
            site,
            address,
            asked: all.clone(),
            waiting: all,
            held: Object::default(),
            forgets: false,
            taken_in: None,
        };
        let deadline = turn.now + asked.timeout;
        let work = Work::Salvage(Box::new(salvaging));
        self.keep_until(id, Flight { client, begun: turn.now, deadline, timer: deadline, work });
        Ok(())
    }

    /// Refuses a disk that may still serve, and what cannot be an object of this key.
    fn check_salvage(&self, asked: &Salvage, site: &Site) -> Result<(), Refusal> {
        let Salvage { node, disk, shard, .. } = *asked;
        if self.in_force().enrolment(node, disk) != Enrolment::Retired {
            return Err(Refusal::DiskNotRetired { node, disk: Box::new(disk) });
        }
        if shard != site.shard.index {
            let here = site.shard.index;
            let text = format!(
                "the key is in shard {here} here and in shard {shard} of the disk: it is of another keyspace with this name"
            );
            return Err(Refusal::Contract(text));
        }
        let max = self.config.limits.value_bytes_max;
        let lengths = asked.found.values().values().map(|value| value.body.len());
        match lengths.max() {
            Some(bytes) if max < bytes => Err(Refusal::LargeValue { bytes, max }),
            Some(_) | None => Ok(()),
        }
    }

    /// Says which writes this replica has never heard of. It waits for its disk: what a crash undoes
    /// was not heard of.
    pub(crate) fn recognise<D: Disk>(
        &mut self,
        from: NodeId,
        recognise: &Recognise,
        turn: &mut Turn<'_, D>,
    ) {
        let found = self.recognition(recognise, turn);
        let recognised = Recognised { request: recognise.request, found };
        turn.send(from, Message::Recognised(recognised), After::Synced);
    }

    fn recognition<D: Disk>(
        &mut self,
        recognise: &Recognise,
        turn: &Turn<'_, D>,
    ) -> Option<Recognition> {
        let Recognise { address, dots, .. } = recognise;
        let shard = self.contracts.shard_of(address).filter(|shard| self.keeps(*shard))?;
        let held = self.shown(shard, &*turn.disk).object(address).ok()?;
        let unheard = dots.difference(self.kept(shard).replica.clock());
        // What this life is to write yet is on no disk: whoever says so would make it old news.
        let mine = |run: &&Run| run.incarnation.is_of(self.config.incarnation);
        let made_up = unheard.runs().iter().filter(mine).copied().collect();
        let made_up = DotSet::from_runs(made_up).expect("a part of a set is one");
        let (unheard, forgets) = (unheard.difference(&made_up), self.forgets(shard));
        Some(Recognition { unheard, held, forgets })
    }

    /// A replica has said what it has not heard of.
    pub(crate) fn recognised<D: Disk>(
        &mut self,
        from: NodeId,
        recognised: Recognised,
        turn: &mut Turn<'_, D>,
    ) {
        let id = recognised.request;
        let is_awaited = |salvaging: &Salvaging| {
            salvaging.taken_in.is_none() && salvaging.waiting.contains(&from)
        };
        let Some(mut flight) = self.take_salvage(id, is_awaited) else { return };
        let Work::Salvage(salvaging) = &mut flight.work else { return };
        let Some(Recognition { unheard, held, forgets }) = recognised.found else {
            let Salvaging { site, asked, .. } = &**salvaging;
            let failure = not_asked(site, asked, &[from], "joining, or cannot read its disk");
            return self.fail(flight.client, failure, turn);
        };
        salvaging.waiting.remove(&from);
        salvaging.unheard = salvaging.unheard.intersection(&unheard);
        let _ = salvaging.held.merge(held);
        salvaging.forgets |= forgets;
        if salvaging.waiting.is_empty() {
            return self.take_in(id, flight, turn);
        }
        self.keep_until(id, flight);
    }

    /// All have answered: takes in what none of them has heard of.
    fn take_in<D: Disk>(&mut self, id: RequestId, mut flight: Flight, turn: &mut Turn<'_, D>) {
        let Work::Salvage(salvaging) = &mut flight.work else { return };
        let (unheard, twins) = (salvaging.unheard.clone(), salvaging.twins());
        let kept = self.marks_kept(salvaging.site.shard);
        let doubtful = salvaging.doubtful(self.wall_millis(turn.now), kept);
        if !doubtful.is_empty() {
            let refusal = Refusal::MayBeDeleted { dots: doubtful.len() };
            return self.fail(flight.client, refusal.into(), turn);
        }
        let found = std::mem::take(&mut salvaging.found);
        let object = found.recovered(&unheard.difference(&twins));
        let recovered: DotSet = object.values().keys().copied().collect();
        let salvaged = Salvaged { unheard, twins, recovered, receipt: None };
        if object.values().is_empty() {
            return self.answer(flight.client, Reply::Salvaged(Box::new(salvaged)), turn);
        }
        if let Err(refusal) = self.check_room(&salvaging.held, &object) {
            return self.fail(flight.client, refusal.into(), turn);
        }
        salvaging.taken_in = Some(salvaged);
        salvaging.waiting = salvaging.asked.clone();
        for to in salvaging.asked.clone() {
            let (address, object) = (salvaging.address.clone(), object.clone());
            let (request, sync, cause) = (id, true, Cause::Write);
            let merge = Merge { request, address, object, sync, cause, stands_for: None };
            turn.send(to, Message::Merge(merge), After::Now);
        }
        self.keep_until(id, flight);
    }

    /// A key holds no more for having been recovered than it may.
    fn check_room(&self, held: &Object, object: &Object) -> Result<(), Refusal> {
        let mut merged = held.clone();
        let _ = merged.merge(object.clone());
        if held.width() == 0 || merged.width() <= held.width() {
            return Ok(());
        }
        let limits = &self.config.limits;
        replica::check_siblings(held.width(), &merged, limits).map_err(refusal)
    }

    /// A replica has said whether it has what was taken in.
    pub(crate) fn salvage_merged<D: Disk>(
        &mut self,
        from: NodeId,
        merged: &Merged,
        turn: &mut Turn<'_, D>,
    ) {
        let id = merged.request;
        let is_awaited = |salvaging: &Salvaging| {
            salvaging.taken_in.is_some() && salvaging.waiting.contains(&from)
        };
        let Some(mut flight) = self.take_salvage(id, is_awaited) else { return };
        let Work::Salvage(salvaging) = &mut flight.work else { return };
        if merged.verdict != Verdict::Durable {
            let failure = salvaging.failure();
            return self.fail(flight.client, failure, turn);
        }
        salvaging.waiting.remove(&from);
        if !salvaging.waiting.is_empty() {
            return self.keep_until(id, flight);
        }
        let receipt = salvaging.receipt();
        let Some(salvaged) = salvaging.taken_in.take() else { return };
        let salvaged = Salvaged { receipt: Some(receipt), ..salvaged };
        self.answer(flight.client, Reply::Salvaged(Box::new(salvaged)), turn);
    }

    /// Nobody waits any longer for those who have not answered.
    pub(crate) fn end_salvage<D: Disk>(&mut self, flight: &Flight, turn: &mut Turn<'_, D>) {
        let Work::Salvage(salvaging) = &flight.work else { return };
        let failure = salvaging.failure();
        self.fail(flight.client, failure, turn);
    }

    fn take_salvage(
        &mut self,
        id: RequestId,
        is_awaited: impl Fn(&Salvaging) -> bool,
    ) -> Option<Flight> {
        let Work::Salvage(salvaging) = &self.flights.get(&id)?.work else { return None };
        if is_awaited(salvaging) { self.take(id) } else { None }
    }
}

impl Salvaging {
    /// Writes that nobody has heard of under this name, and somebody under another.
    fn twins(&self) -> DotSet {
        let is_known = |dot: &Dot| {
            let mark = self.found.marks().get(dot);
            let known = mark.and_then(|mark| Some((mark, self.held.of_token(mark.token)?.1)));
            known.is_some_and(|(mark, known)| mark.write() == known.write())
        };
        let unheard = self.found.marks().keys().filter(|dot| self.unheard.contains(**dot));
        unheard.copied().filter(is_known).collect()
    }

    /// Writes that nobody has heard of, and that their clients may have sent again so long ago that whoever
    /// had heard of that has forgotten it: the key was deleted since, or overwritten.
    fn doubtful(&self, wall_millis: u64, kept: Duration) -> DotSet {
        if !self.forgets {
            return DotSet::new();
        }
        let kept = u64::try_from(kept.as_millis()).unwrap_or(u64::MAX);
        let is_old = |mark: &Mark| mark.token.millis().saturating_add(kept) <= wall_millis;
        let old = self.found.marks().iter().filter(|(_, mark)| is_old(mark));
        old.map(|(dot, _)| *dot).filter(|dot| self.unheard.contains(*dot)).collect()
    }

    fn receipt(&self) -> model::Receipt {
        let has_it = self.asked.difference(&self.waiting);
        let acks: Vec<Ack> = has_it.map(|node| Ack::of_replica(*node, true)).collect();
        let kind = self.site.electorate().write_kind(&acks);
        self.site.receipt(kind, acks, small(self.asked.len()))
    }

    /// What to say of those who have not answered.
    fn failure(&self) -> Failure {
        let silent: Vec<NodeId> = self.waiting.iter().copied().collect();
        if self.taken_in.is_none() {
            return not_asked(&self.site, &self.asked, &silent, "silent");
        }
        Failure::Unknown {
            wanted: small(self.asked.len()),
            got: small(self.asked.len() - silent.len()),
            receipt: Some(self.receipt()),
            lacks: format!("{} did not say that it is on disk", names(&silent)),
        }
    }
}

/// That not all could be asked, and nothing was changed.
fn not_asked(site: &Site, all: &BTreeSet<NodeId>, silent: &[NodeId], how: &str) -> Failure {
    let alive = small(all.len() - silent.len());
    let lacks = match silent {
        [] => "no replica serves with a disk".to_owned(),
        silent => format!("all have to be asked, and {} is {how}", names(silent)),
    };
    Failure::NotAttempted { wanted: small(all.len()), alive, replicas: site.n, lacks }
}

fn names(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(" ")
}

fn small(count: usize) -> u8 {
    u8::try_from(count).unwrap_or(u8::MAX)
}
