//! Writes: from a client's mutation to acknowledgements.

use causality::{Dot, DotSet};
use coordinator::{Guests, Put, PutEffect, PutEvent};
use model::{
    Ack, Address, Durability, Failure, Marks, Mutation, Now, Object, Receipt, Refusal, Reply,
    Session, WriteNeed, Written, no_room, votes,
};
use mutant::{Mutant, is};
use replica::{Asked, Refused, Replica, Stored};

use crate::flight::{Client, Flight, Work};
use crate::forward::Heard;
use crate::tokens::mark;
use crate::trees::Watched;
use crate::{
    After, Cause, Disk, Merge, Merged, Message, Node, NodeId, RequestId, Site, Turn, Verdict,
};

/// A write of which the client waits to hear.
#[derive(Debug)]
pub(crate) struct Putting {
    put: Put,
    site: Site,
    dot: Dot,
    context: DotSet,
    marks: Marks,
    repeated: bool,
    /// The session that it is a part of, with this write.
    session: Option<Session>,
    /// What guests are to keep. Nothing in a strict keyspace, which has none.
    for_guests: Option<Outgoing>,
    /// Guests that have no room for it.
    full: Vec<NodeId>,
}

/// A write on its way.
#[derive(Clone, Debug)]
struct Outgoing {
    address: Address,
    object: Object,
    sync: bool,
}

impl Node {
    /// Accepts a write, if this node is a replica of its key or no replica is there, and sends
    /// it to all replicas.
    pub(crate) fn put<D: Disk>(
        &mut self,
        client: Client,
        asked: model::Put,
        turn: &mut Turn<'_, D>,
    ) -> Result<(), Failure> {
        let site = self.locate(&asked.keyspace, &asked.table, asked.key.partition())?;
        self.check(&asked)?;
        asked.token.map(|token| self.check_token(token, turn.now)).transpose()?;
        let need = self.write_need(&site, asked.options, self.region_of(client), turn.now)?;
        let is_guest = !self.keeps(site.shard);
        if client.is_forwarded() && is_guest && site.replicas.contains(&self.config.id) {
            return Err(Refusal::Joining { node: self.config.id }.into());
        }
        if is_guest && !self.must_mint(client, &site, turn.now) {
            return self.forward(client, &site, asked, (need.least(), None), turn);
        }
        let behind = self.admit(asked.sessions.as_ref(), site.shard).err();
        if behind.is_some() && !is_guest && !client.is_forwarded() {
            // Another replica may have what is missing here.
            return self.forward(client, &site, asked, (need.least(), behind), turn);
        }
        self.take_or_pass(client, site, asked, need, Heard::default(), turn)
    }

    /// Accepts a write here, and sends it to all replicas. If this node is a guest without room for
    /// it, another one is asked.
    pub(crate) fn take_or_pass<D: Disk>(
        &mut self,
        client: Client,
        site: Site,
        asked: model::Put,
        need: WriteNeed,
        heard: Heard,
        turn: &mut Turn<'_, D>,
    ) -> Result<(), Failure> {
        if client.is_forwarded() || self.keeps(site.shard) {
            return self.take_write(client, site, asked, need, turn);
        }
        let (wanted, shard, again) = (need.least(), site.shard, asked.clone());
        match self.take_write(client, site, asked, need, turn) {
            Err(full @ Failure::Refused(Refusal::HintsFull { .. }))
                if !is(Mutant::FullGuestSpeaksForAll) =>
            {
                let asked = (again, wanted);
                self.forward_to_guests(client, shard, asked, (full, heard), turn);
                Ok(())
            }
            taken => taken,
        }
    }

    /// Accepts a write here, and sends it to all replicas.
    fn take_write<D: Disk>(
        &mut self,
        client: Client,
        site: Site,
        asked: model::Put,
        need: WriteNeed,
        turn: &mut Turn<'_, D>,
    ) -> Result<(), Failure> {
        let is_guest = !self.keeps(site.shard);
        let mut session = self.admit(asked.sessions.as_ref(), site.shard)?;
        let deadline = turn.now + asked.timeout;
        let sync = site.table.durability == Durability::Synced || asked.options.dw.is_some();
        let address = Address { table: site.table.id, key: asked.key.clone() };
        let mark = asked.token.map(|token| mark(token, &address, &asked));
        let is_alone = is(Mutant::SessionWithoutGuests)
            && asked.sessions.as_ref().is_some_and(|sessions| !sessions.is_empty());
        let model::Put { mutation, context, marks, .. } = asked;
        let requires_context = site.table.siblings.require_context;
        let asked = Asked { mutation, read: context, marks, mark, requires_context };
        let stored = match is_guest {
            true => self.mint_as_guest(&site, &address, asked, turn)?,
            false => self.apply(&site, &address, asked, turn)?,
        };

        let id = self.new_request();
        if is(Mutant::RefusedAfterAll) && id.0.is_multiple_of(16) {
            return Err(Refusal::EmptyDelete.into());
        }
        let mut stored = stored;
        if is(Mutant::RepetitionNotSpread) && stored.repeated {
            stored.object = Object::default();
        }
        if !stored.repeated {
            self.count_siblings(stored.siblings, &site.table);
        }
        let Stored { dot, object, context, repeated, .. } = stored;
        let marks = object.marks_in(&context);
        if let Some(session) = &mut session {
            session.sees(&[dot].into_iter().collect());
        }
        let outgoing = Outgoing { address, object, sync };
        let guests = match is_alone {
            true => Guests::default(),
            false => self.guests(&site, is_guest, turn.now),
        };
        let mut effects = Vec::new();
        let away = self.away(&site, &[&need.acks, &need.disks], turn.now);
        let put = Put::start(&site.replicas, guests, need, &mut effects);
        self.awaited.begin(id, &site.replicas, turn.now);
        for effect in effects {
            if let PutEffect::Merge(to) = effect {
                self.send_write(id, to, &outgoing, None, turn);
            }
        }
        let for_guests = self.contracts.is_sloppy(site.shard).then_some(outgoing);
        let full = Vec::new();
        let putting =
            Putting { put, site, dot, context, marks, repeated, session, for_guests, full };
        let work = Work::Put(putting);
        let flight = Flight { client, begun: turn.now, deadline, timer: deadline, work };
        self.keep(id, turn.now, flight);
        for node in away {
            let Some(flight) = self.take(id) else { break };
            self.put_event(id, flight, PutEvent::Failed(node), turn);
        }
        Ok(())
    }

    /// Whether this node, which is no replica, has to accept the write itself: no replica
    /// that could is there, and guests may stand in. What another node has passed on is
    /// accepted in any case: that node knows that this one is no replica, and has found none.
    fn must_mint(&self, client: Client, site: &Site, now: Now) -> bool {
        let could = |node: &NodeId| self.serves(*node, now);
        let is_needed = || client.is_forwarded() || !site.replicas.iter().any(could);
        self.may_mint(site) && is_needed()
    }

    /// Whether this node, which is no replica, may accept the write itself.
    pub(crate) fn may_mint(&self, site: &Site) -> bool {
        self.contracts.guests(site.shard).contains(&self.config.id)
            && !self.is_retired()
            && !is(Mutant::NeverMintedByGuest)
    }

    fn check(&self, asked: &model::Put) -> Result<(), Refusal> {
        let max = self.config.limits.value_bytes_max;
        match &asked.mutation {
            Mutation::Store(value) if max < value.body.len() => {
                Err(Refusal::LargeValue { bytes: value.body.len(), max })
            }
            Mutation::Delete if asked.context.is_empty() => Err(Refusal::EmptyDelete),
            Mutation::Store(_) | Mutation::Delete => Ok(()),
        }
    }

    fn apply<D: Disk>(
        &mut self,
        site: &Site,
        address: &Address,
        asked: Asked,
        turn: &mut Turn<'_, D>,
    ) -> Result<Stored, Refusal> {
        let limits = site.table.siblings.within(&self.config.limits);
        let kept = self.kept(site.shard);
        let apply = |replica: &mut Replica, disk: &mut Watched<'_, D>| {
            replica.apply_marked(disk, address, asked, &limits)
        };
        kept.change(turn.disk, apply).map_err(refusal)
    }

    /// Sends a write to one replica, or to a guest for one. This node has it already, and only
    /// has to say so, like every other, when it is as durable as the table wants.
    fn send_write<D: Disk>(
        &mut self,
        request: RequestId,
        to: NodeId,
        what: &Outgoing,
        stands_for: Option<NodeId>,
        turn: &mut Turn<'_, D>,
    ) {
        if to == self.config.id {
            return self.acknowledge(request, to, what.sync, turn);
        }
        let Outgoing { address, object, sync } = what.clone();
        let merge = Merge { request, address, object, sync, cause: Cause::Write, stands_for };
        turn.send(to, Message::Merge(merge), After::Now);
    }

    pub(crate) fn merged<D: Disk>(
        &mut self,
        from: NodeId,
        merged: &Merged,
        turn: &mut Turn<'_, D>,
    ) {
        if self.handed_over(from, merged, turn) {
            return;
        }
        self.count_merged(from, merged, turn.now);
        // A late acknowledgement finds nobody.
        if let Some(Flight { work: Work::Get(_), .. }) = self.flights.get(&merged.request) {
            return self.repaired(from, merged, turn);
        }
        if let Some(Flight { work: Work::Salvage(_), .. }) = self.flights.get(&merged.request) {
            return self.salvage_merged(from, merged, turn);
        }
        let Some(Flight { work: Work::Put(_), .. }) = self.flights.get(&merged.request) else {
            return;
        };
        let Some(mut flight) = self.take(merged.request) else { return };
        if let (Verdict::Full, Work::Put(putting)) = (merged.verdict, &mut flight.work) {
            putting.full.push(from);
        }
        let event = match merged.verdict {
            Verdict::Durable => PutEvent::Merged { node: from, durable: true },
            Verdict::Buffered => PutEvent::Merged { node: from, durable: false },
            Verdict::Failed | Verdict::Full => PutEvent::Failed(from),
        };
        self.put_event(merged.request, flight, event, turn);
    }

    pub(crate) fn put_event<D: Disk>(
        &mut self,
        id: RequestId,
        mut flight: Flight,
        event: PutEvent,
        turn: &mut Turn<'_, D>,
    ) {
        let Work::Put(putting) = &mut flight.work else { return };
        let mut effects = Vec::new();
        putting.put.step(event, &mut effects);
        let client = flight.client;
        for effect in effects {
            match effect {
                PutEffect::Met(acks) => {
                    let receipt = putting.receipt(acks);
                    let context = std::mem::take(&mut putting.context);
                    let marks = std::mem::take(&mut putting.marks);
                    let (repeated, session) = (putting.repeated, putting.session.take());
                    let written = Written { context, marks, repeated, session, receipt };
                    self.answer(client, Reply::Written(written), turn);
                }
                PutEffect::Unmet(mut acks) => {
                    if is(Mutant::UnmetNamesAll) {
                        let all = putting.site.replicas.iter();
                        acks = all.map(|node| Ack::of_replica(*node, true)).collect();
                    }
                    self.fail(client, putting.failure(acks), turn);
                }
                PutEffect::Merge(_) => {}
                PutEffect::Stand { guest, replica } => {
                    if let Some(what) = &putting.for_guests {
                        self.send_write(id, guest, what, Some(replica), turn);
                    }
                }
            }
        }
        if !putting.put.is_done() {
            self.keep_until(id, flight);
        } else if is(Mutant::DoneKept) {
            self.flights.insert(id, flight);
        }
    }
}

impl Putting {
    /// Whether guests may stand in.
    pub(crate) fn has_guests(&self) -> bool {
        self.for_guests.is_some()
    }

    fn receipt(&self, acks: Vec<Ack>) -> Receipt {
        let kind = self.site.electorate().write_kind(&acks);
        let receipt = self.site.receipt(kind, acks, self.put.need().least());
        Receipt { dot: Some(self.dot), ..receipt }
    }

    /// What to say when too few have acknowledged: that they are too few, or that they are
    /// enough for the level and less than was demanded.
    fn failure(&self, acks: Vec<Ack>) -> Failure {
        let need = self.put.need();
        let is_on_disk = |node: NodeId| acks.iter().any(|ack| ack.voter() == node && ack.durable);
        let got = u8::try_from(votes(&acks)).unwrap_or(u8::MAX);
        let lacks = if !need.is_acked_alone(&acks) {
            Some(need.lacking(&acks))
        } else if !need.disks.is_met(is_on_disk) {
            let disks = votes(acks.iter().filter(|ack| ack.durable));
            Some(format!("{disks} of them have it on disk"))
        } else {
            None
        };
        let (wanted, receipt) = (need.least(), self.receipt(acks));
        match lacks {
            Some(lacks) => {
                let lacks = self.why(lacks, (got, wanted));
                Failure::Unknown { wanted, got, receipt: Some(receipt), lacks }
            }
            None => Failure::Weaker { receipt },
        }
    }

    /// Says also which guests have no room.
    fn why(&self, lacks: String, (got, wanted): (u8, u8)) -> String {
        if self.full.is_empty() {
            return lacks;
        }
        let lacks = if lacks.is_empty() { format!("{got} of {wanted}") } else { lacks };
        format!("{lacks}; {} for what is kept for others", no_room(&self.full))
    }
}

/// Why a mutation was not applied.
pub(crate) fn refusal(refused: Refused) -> Refusal {
    match refused {
        Refused::LargeObject { bytes, max } => Refusal::LargeObject { bytes, max },
        Refused::ManySiblings { siblings, max } => Refusal::ManySiblings { siblings, max },
        Refused::Blind { siblings } => Refusal::BlindPut { siblings },
        Refused::TokenReused => Refusal::TokenReused,
        Refused::TokenForgotten { max } => Refusal::TokenForgotten { max },
        Refused::Store(err) => Refusal::Disk(err.to_string()),
    }
}
