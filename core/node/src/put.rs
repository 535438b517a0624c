//! Writes: from a client's mutation to acknowledgements.

use causality::{Dot, DotSet};
use coordinator::{Put, PutEffect, PutEvent};
use model::{
    Ack, Address, Durability, Failure, Marks, Mutation, Object, Receipt, Refusal, Reply, Written,
};
use mutant::{Mutant, is};
use replica::{Asked, Refused, Stored};

use crate::flight::{Client, Flight, Work};
use crate::tokens::mark;
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
}

impl Node {
    /// Accepts a write, if this node is a replica of its key, and sends it to all replicas.
    pub(crate) fn put<D: Disk>(
        &mut self,
        client: Client,
        asked: model::Put,
        turn: &mut Turn<'_, D>,
    ) -> Result<(), Failure> {
        let site = self.locate(&asked.keyspace, &asked.table, asked.key.partition())?;
        self.check(&asked)?;
        asked.token.map(|token| self.check_token(token, turn.now)).transpose()?;
        let need = site.electorate().write(asked.options, &self.here)?;
        self.attempt(&site, &[&need.acks, &need.disks], turn.now)?;
        if !site.replicas.contains(&self.config.id) {
            return self.forward(client, &site, asked, need.least(), turn);
        }
        let deadline = turn.now + asked.timeout;
        let sync = site.table.durability == Durability::Synced || asked.options.dw.is_some();
        let address = Address { table: site.table.id, key: asked.key.clone() };
        let mark = asked.token.map(|token| mark(token, &address, &asked));
        let model::Put { mutation, context, marks, .. } = asked;
        let asked = Asked { mutation, read: context, marks, mark };
        let stored = self.apply(&site, &address, asked, turn)?;

        let id = self.new_request();
        if is(Mutant::RefusedAfterAll) && id.0.is_multiple_of(16) {
            return Err(Refusal::EmptyDelete.into());
        }
        let mut stored = stored;
        if is(Mutant::RepetitionNotSpread) && stored.repeated {
            stored.object = Object::default();
        }
        let mut effects = Vec::new();
        let put = Put::start(&site.replicas, need, &mut effects);
        for effect in effects {
            if let PutEffect::Merge(to) = effect {
                self.send_write(id, to, &address, &stored.object, sync, turn);
            }
        }
        self.count_siblings(stored.object.values().len());
        let Stored { dot, object, context, repeated } = stored;
        let marks = object.marks_in(&context);
        let putting = Putting { put, site, dot, context, marks, repeated };
        let work = Work::Put(putting);
        let flight = Flight { client, begun: turn.now, deadline, timer: deadline, work };
        self.keep(id, turn.now, flight);
        Ok(())
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
        let limits = self.config.limits;
        let replica = self.replica(site.shard);
        replica.apply_marked(turn.disk, address, asked, &limits).map_err(|refused| match refused {
            Refused::LargeObject { bytes, max } => Refusal::LargeObject { bytes, max },
            Refused::ManySiblings { siblings, max } => Refusal::ManySiblings { siblings, max },
            Refused::TokenReused => Refusal::TokenReused,
            Refused::TokenForgotten { max } => Refusal::TokenForgotten { max },
            Refused::Store(err) => Refusal::Disk(err.to_string()),
        })
    }

    /// Sends a write to one replica. This node has it already, and only has to say so,
    /// like every other, when it is as durable as the table wants.
    fn send_write<D: Disk>(
        &mut self,
        request: RequestId,
        to: NodeId,
        address: &Address,
        object: &Object,
        sync: bool,
        turn: &mut Turn<'_, D>,
    ) {
        if to == self.config.id {
            return self.acknowledge(request, to, sync, turn);
        }
        let (address, object) = (address.clone(), object.clone());
        let merge = Merge { request, address, object, sync, cause: Cause::Write };
        turn.send(to, Message::Merge(merge), After::Now);
    }

    pub(crate) fn merged<D: Disk>(
        &mut self,
        from: NodeId,
        merged: &Merged,
        turn: &mut Turn<'_, D>,
    ) {
        // A read repair is not waited for, and a late acknowledgement finds nobody.
        let Some(Flight { work: Work::Put(_), .. }) = self.flights.get(&merged.request) else {
            return;
        };
        let Some(flight) = self.take(merged.request) else { return };
        self.count_reply(from, &flight, turn.now);
        let event = match merged.verdict {
            Verdict::Durable => PutEvent::Merged { node: from, durable: true },
            Verdict::Buffered => PutEvent::Merged { node: from, durable: false },
            Verdict::Failed => PutEvent::Failed(from),
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
                    let written = Written { context, marks, repeated: putting.repeated, receipt };
                    self.answer(client, Reply::Written(written), turn);
                }
                PutEffect::Unmet(mut acks) => {
                    if is(Mutant::UnmetNamesAll) {
                        let all = putting.site.replicas.iter();
                        acks = all.map(|node| Ack { node: *node, durable: true }).collect();
                    }
                    self.fail(client, putting.failure(acks), turn);
                }
                PutEffect::Merge(_) => {}
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
    fn receipt(&self, acks: Vec<Ack>) -> Receipt {
        Receipt {
            kind: self.site.electorate().write_kind(&nodes_of(&acks)),
            dot: Some(self.dot),
            shard: self.site.shard,
            acks,
            wanted: self.put.need().least(),
            replicas: self.site.n,
        }
    }

    /// What to say when too few have acknowledged: that they are too few, or that they are
    /// enough for the level and less than was demanded.
    fn failure(&self, acks: Vec<Ack>) -> Failure {
        let nodes = nodes_of(&acks);
        let durable = acks.iter().filter(|ack| ack.durable).map(|ack| ack.node);
        let on_disk: Vec<NodeId> = durable.collect();
        let has = |node: NodeId| nodes.contains(&node);
        let (wanted, receipt) = (self.put.need().least(), self.receipt(acks));
        let lacks = if !self.put.need().acks.is_met_alone(has) {
            self.put.need().acks.lacking(has)
        } else if !self.put.need().disks.is_met(|node| on_disk.contains(&node)) {
            format!("{} of them have it on disk", on_disk.len())
        } else {
            return Failure::Weaker { receipt };
        };
        let got = u8::try_from(nodes.len()).unwrap_or(u8::MAX);
        Failure::Unknown { wanted, got, receipt: Some(receipt), lacks }
    }
}

fn nodes_of(acks: &[Ack]) -> Vec<NodeId> {
    acks.iter().map(|ack| ack.node).collect()
}
