//! Whether an answer is one that a node may give.
//!
//! A failure is no violation: clients ask for what cannot be done, and faults keep nodes from
//! what could. But each kind of failure must be deserved, by the request or by a fault, and
//! while there are no faults only the client has itself to blame.

use std::time::Duration;

use causality::Dot;
use model::{
    Failure, Get, Kind, Mutation, NodeId, Put, ReadOptions, Receipt, Refusal, Reply, Request,
    WriteOptions,
};
use node::{Effect, HintPlace, Message};

use crate::answers::spoken_for;
use crate::invariant::Invariant;
use crate::oracle::{Look, Outcome, WriteId};
use crate::report::Broken;
use crate::workload::{NOWHERE, Op};
use crate::world::{Open, World};

impl World {
    pub(crate) fn judge(&mut self, open: &Open, reply: &Reply) -> Result<(), Broken> {
        match (&open.op, reply) {
            (Op::Ask, _) | (Op::Watch { .. }, Reply::Watched(_)) => {}
            (Op::Write { id, options }, Reply::Written(written)) => {
                self.check_proper(open)?;
                self.count(&open.op, "acknowledged");
                self.note_repeated(*id, written);
                self.check_token(*id)?;
                self.oracle.adopt(*id, &written.receipt);
                self.count_kind(written.receipt.kind);
                self.oracle.check_written(*id, *options, written)?;
                self.oracle.acked(*id, written, self.now);
                self.leave_out_given_up(*id);
                self.check_on_disk(*id, &written.receipt.acks)?;
            }
            (Op::Read { spot, options, monotonic }, Reply::Read(read)) => {
                self.count(&open.op, "answered");
                self.count_kind(read.receipt.kind);
                self.check_deleted(*spot, open.begun, read)?;
                let told = self.told(*spot, open.begun, read);
                let read = &self.remembered_read(*spot, open.begun, read);
                self.oracle.read(*spot, *options, (open.at, open.begun), (read, &told))?;
                let nodes: Vec<NodeId> = read.receipt.acks.iter().map(|ack| ack.node).collect();
                self.check_staleness(*spot, &nodes)?;
                let context = read.object.context();
                let answer = (&read.receipt, nodes.as_slice());
                self.check_bound(*spot, open.begun, answer, |_, dot| context.contains(dot))?;
                self.check_session(open.client, *spot, &read.object)?;
                if read.session.is_some() {
                    *self.requests.entry(("gets", "of sessions")).or_default() += 1;
                }
                if *monotonic {
                    *self.requests.entry(("gets", "monotonic")).or_default() += 1;
                    self.check_monotonic(*spot, open.begun, (read, &told))?;
                }
                if 1 < read.object.values().len() {
                    *self.requests.entry(("gets", "of siblings")).or_default() += 1;
                }
            }
            (Op::Recall { id }, Reply::Recalled(told)) => self.check_recalled(open, *id, told)?,
            (Op::Declare(declare), Reply::Declared(declared)) => {
                self.judge_declared(declare, declared)?;
            }
            (Op::List(list), Reply::Listed(listed)) => {
                self.count(&open.op, "answered");
                self.listed(list, listed, (open.at, open.begun))?;
                self.check_bound_of_list(list, listed, open.begun)?;
            }
            (op, Reply::Failed(failure)) => self.judge_failure(open, op, failure)?,
            (Op::Nowhere, _) => {
                let detail = format!("{:?} is answered {reply:?}", open.request);
                return Err(Broken::new(Invariant::ImproperIsRefused, detail));
            }
            (
                Op::Write { .. }
                | Op::Read { .. }
                | Op::Recall { .. }
                | Op::List(_)
                | Op::Watch { .. }
                | Op::Declare(_),
                _,
            ) => {
                let detail = format!("{:?} is answered {reply:?}", open.request);
                return Err(Broken::new(Invariant::EveryRequestIsAnswered, detail));
            }
        }
        Ok(())
    }

    /// Counts writes that were tried again, for the summary.
    fn note_repeated(&mut self, id: WriteId, written: &model::Written) {
        if self.oracle.write(id).token.is_some() {
            *self.requests.entry(("tokens", "acknowledged")).or_default() += 1;
        }
        if written.repeated {
            *self.requests.entry(("tokens", "repeated")).or_default() += 1;
        }
    }

    fn count_kind(&mut self, kind: Kind) {
        *self.requests.entry(("answers", kind.as_str())).or_default() += 1;
    }

    fn judge_failure(&mut self, open: &Open, op: &Op, failure: &Failure) -> Result<(), Broken> {
        let (outcome, name) = match failure {
            Failure::Refused(_) => (Outcome::Refused, "refused"),
            Failure::NotAttempted { .. } => (Outcome::Refused, "not attempted"),
            Failure::Unknown { .. } => (Outcome::Unknown, "unknown"),
            Failure::TooFewAnswers { .. } => (Outcome::Refused, "too few answers"),
            Failure::Weaker { .. } => (Outcome::Unknown, "weaker"),
            Failure::Unsettled { .. } => (Outcome::Refused, "not settled"),
            Failure::SessionBehind { .. } => (Outcome::Refused, "behind its session"),
        };
        self.count(op, name);
        if let (Op::Write { id, .. }, Some(receipt)) = (op, receipt_of(failure)) {
            self.oracle.adopt(*id, receipt);
        }
        self.check_unmet(open, op, failure)?;
        if let Op::Write { id, options } = op {
            self.check_taken(open, self.oracle.write(*id).spot, *options, failure)?;
        }
        if matches!(failure, Failure::Refused(Refusal::HintsFull { .. })) {
            self.count(op, "without room");
        }
        if let Op::Write { id, .. } = op {
            self.oracle.failed(*id, outcome, self.now)?;
        }
        let deserved = match failure {
            Failure::Refused(refusal) => self.deserves(open, refusal),
            Failure::NotAttempted { .. } => !open.healthy && !matches!(op, Op::Nowhere),
            Failure::Unknown { .. } | Failure::TooFewAnswers { .. } => {
                // Whoever waits for what a session has seen has less time for the rest.
                (!open.healthy || !open.behind.is_empty()) && fits(failure, op)
            }
            Failure::Unsettled { .. } => !open.healthy && fits(failure, op),
            Failure::SessionBehind { .. } => {
                (!open.healthy || !open.behind.is_empty()) && fits(failure, op)
            }
            Failure::Weaker { receipt } => {
                !open.healthy && receipt.kind < demanded(op) && self.met(open, receipt)
            }
        };
        if deserved {
            return Ok(());
        }
        let invariant = match failure {
            Failure::Refused(Refusal::UnknownKeyspace(_) | Refusal::UnknownTable { .. }) => {
                Invariant::ContractsStand
            }
            Failure::Refused(_) => Invariant::RefusalsAreTrue,
            Failure::Weaker { .. } => Invariant::ReceiptsAreTrue,
            Failure::Unknown { .. }
            | Failure::TooFewAnswers { .. }
            | Failure::SessionBehind { .. }
            | Failure::Unsettled { .. }
                if !fits(failure, op) =>
            {
                Invariant::RefusalsAreTrue
            }
            Failure::NotAttempted { .. }
            | Failure::Unsettled { .. }
            | Failure::SessionBehind { .. }
            | Failure::Unknown { .. }
            | Failure::TooFewAnswers { .. } => Invariant::HealthyRequestsSucceed,
        };
        let detail = format!("{} answers {:?} with {failure}", open.at, open.request);
        Err(Broken::new(invariant, detail))
    }

    /// A node that refuses because it has too much in hand has as much in hand as it may, and
    /// one that blames its disk has just found that it `fails`, or has a record that cannot be
    /// read. Who passes on what another said is not meant.
    pub(crate) fn check_refusals(
        &self,
        at: NodeId,
        effects: &[Effect],
        fails: bool,
    ) -> Result<(), Broken> {
        let Some(host) = self.hosts.get(&at) else { return Ok(()) };
        let requests = host.node.as_ref().map_or(0, node::Node::requests);
        for refusal in effects.iter().filter_map(refusal) {
            let is_true = match refusal {
                Refusal::Overloaded { .. } => self.limits.requests_max <= requests,
                Refusal::Disk(_) => fails || host.disk.has_damage(),
                Refusal::Malformed(_)
                | Refusal::UnknownKeyspace(_)
                | Refusal::UnknownTable { .. }
                | Refusal::Exists { .. }
                | Refusal::Contract(_)
                | Refusal::NoMajority { .. }
                | Refusal::Level { .. }
                | Refusal::NotLocal { .. }
                | Refusal::Weak { .. }
                | Refusal::MayMiss { .. }
                | Refusal::LargeValue { .. }
                | Refusal::ManySiblings { .. }
                | Refusal::LargeObject { .. }
                | Refusal::TokenExpired { .. }
                | Refusal::TokenFromFuture { .. }
                | Refusal::TokenReused
                | Refusal::TokenForgotten { .. }
                // Judged when a node finds that it has no room.
                | Refusal::HintsFull { .. }
                | Refusal::CursorExpired { .. }
                | Refusal::Joining { .. }
                | Refusal::RepairRuns { .. }
                | Refusal::DiskNotRetired { .. }
                | Refusal::MayBeDeleted { .. }
                | Refusal::NoSuchShard { .. }
                | Refusal::EmptyDelete
                | Refusal::BlindPut { .. } => true,
            };
            if !is_true {
                let detail = format!("{at} has {requests} requests in hand and says: {refusal}");
                return Err(Broken::new(Invariant::RefusalsAreTrue, detail));
            }
        }
        Ok(())
    }

    /// A node does nothing for readers that have given up.
    pub(crate) fn check_expired(
        &self,
        at: NodeId,
        message: &Message,
        waited: Duration,
    ) -> Result<(), Broken> {
        let left = message.left();
        if left.is_zero() || waited < left {
            return Ok(());
        }
        let detail = format!("{at} reads for one who waited for {left:?}, after {waited:?}");
        Err(Broken::new(Invariant::NothingIsLeft, detail))
    }

    /// What failed for too few replicas says which took part, and which have a write on disk.
    fn check_unmet(&self, open: &Open, op: &Op, failure: &Failure) -> Result<(), Broken> {
        let (counted, receipt) = match failure {
            Failure::Unknown { wanted, got, receipt: Some(receipt), lacks: _ }
            | Failure::TooFewAnswers { wanted, got, receipt, lacks: _ } => {
                ((*wanted, *got), receipt)
            }
            Failure::Weaker { receipt } => ((receipt.wanted, spoken_for(receipt)), receipt),
            Failure::Unknown { receipt: None, .. }
            | Failure::Unsettled { .. }
            | Failure::SessionBehind { .. }
            | Failure::NotAttempted { .. }
            | Failure::Refused(_) => return Ok(()),
        };
        if self.oracle.look == Look::Quiet {
            return Ok(());
        }
        // A read of a session may need more replicas than its level: see `Sessioned::demand`.
        let needs_more = matches!(&open.request, Request::Get(Get { sessions: Some(_), .. }));
        self.oracle.check_unmet((open.at, needs_more), op, counted, receipt)?;
        match op {
            Op::Write { id, .. } => self.check_on_disk(*id, &receipt.acks),
            Op::Read { .. }
            | Op::Recall { .. }
            | Op::List(_)
            | Op::Watch { .. }
            | Op::Declare(_)
            | Op::Nowhere
            | Op::Ask => Ok(()),
        }
    }

    /// Some writes must not have been accepted, by whichever node.
    fn check_proper(&self, open: &Open) -> Result<(), Broken> {
        let Request::Put(put) = &open.request else { return Ok(()) };
        let is_blind_delete = put.mutation == Mutation::Delete && put.context.is_empty();
        if !is_blind_delete && !is_large(&open.request, self.limits.value_bytes_max) {
            return Ok(());
        }
        let detail = format!("{put:?} is acknowledged");
        Err(Broken::new(Invariant::ImproperIsRefused, detail))
    }

    /// Whether the client has itself to blame.
    fn deserves(&self, open: &Open, refusal: &Refusal) -> bool {
        if let Op::Declare(declare) = &open.op {
            return self.deserves_refusal(declare, refusal, open.healthy);
        }
        match refusal {
            Refusal::Level { .. } | Refusal::NotLocal { .. } | Refusal::Weak { .. } => {
                !self.is_proper(open)
            }
            Refusal::TokenExpired { .. }
            | Refusal::TokenFromFuture { .. }
            | Refusal::TokenReused
            | Refusal::TokenForgotten { .. } => match &open.op {
                Op::Write { id, .. } => self.deserves_token(*id, refusal),
                Op::Read { .. }
                | Op::Recall { .. }
                | Op::List(_)
                | Op::Watch { .. }
                | Op::Declare(_)
                | Op::Nowhere
                | Op::Ask => false,
            },
            Refusal::ManySiblings { siblings, max } => {
                let Op::Write { id, .. } = &open.op else { return false };
                *max == self.oracle.limits_of(*id, &self.limits).siblings_max && *max <= *siblings
            }
            Refusal::BlindPut { siblings } => {
                let Op::Write { id, .. } = &open.op else { return false };
                0 < *siblings && self.oracle.may_be_blind(*id)
            }
            Refusal::Overloaded { max } => *max == self.plan.requests_max,
            Refusal::CursorExpired { .. } => matches!(open.op, Op::Watch { .. }),
            Refusal::Joining { .. } => !open.healthy,
            Refusal::HintsFull { nodes, kept, needs, max } => {
                *max == self.plan.hint_bytes_max
                    && *max < kept.saturating_add(*needs)
                    && !open.healthy
                    && self.have_been_full(open, nodes)
            }
            Refusal::Disk(_) => {
                (0 < self.plan.disk.unreadable || 0 < self.plan.disk.rot) && !open.healthy
            }
            Refusal::LargeValue { bytes, max } => {
                *max == self.limits.value_bytes_max && max < bytes && is_large(&open.request, *max)
            }
            Refusal::LargeObject { bytes, max } => {
                *max == self.limits.object_bytes_max && max < bytes && 0 < self.plan.clients.large
            }
            // Whoever names what does not exist hears so.
            Refusal::UnknownKeyspace(name) if name.as_str() == NOWHERE => {
                matches!(open.op, Op::Nowhere)
            }
            Refusal::UnknownTable { table, .. } if table.as_str() == NOWHERE => {
                matches!(open.op, Op::Nowhere)
            }
            // It came back without its disk, and has not heard of any table yet.
            Refusal::UnknownKeyspace(_) | Refusal::UnknownTable { .. } => {
                let is_new = |host: &crate::host::Host| {
                    host.is_astray && host.catalog_version < self.catalog_needed
                };
                self.hosts.get(&open.at).is_some_and(is_new) && !open.healthy
            }
            // Operators do not look whether one is under way.
            Refusal::RepairRuns { .. } => matches!(open.op, Op::Ask),
            Refusal::EmptyDelete => matches!(
                &open.request,
                Request::Put(Put { mutation: Mutation::Delete, context, .. }) if context.is_empty()
            ),
            Refusal::Malformed(_)
            | Refusal::NoSuchShard { .. }
            | Refusal::DiskNotRetired { .. }
            | Refusal::MayBeDeleted { .. }
            | Refusal::Exists { .. }
            | Refusal::Contract(_)
            | Refusal::MayMiss { .. }
            | Refusal::NoMajority { .. } => false,
        }
    }

    /// Whether the levels of a request may be asked for, where it was asked.
    fn is_proper(&self, open: &Open) -> bool {
        let oracle = &self.oracle;
        match &open.op {
            Op::Write { id, options } => {
                let spot = oracle.spot(oracle.write(*id).spot);
                oracle.poll(spot, open.at).is_proper_write(*options)
            }
            Op::Read { spot, options, monotonic } => {
                let poll = oracle.poll(oracle.spot(*spot), open.at);
                // A monotonic read waits for what the table says, too.
                poll.is_proper_read(*options)
                    && (!monotonic || poll.is_proper_read(ReadOptions::default()))
            }
            Op::List(list) => {
                let spot = oracle.spots.iter().find(|spot| spot.table.name == list.table);
                spot.is_none_or(|spot| {
                    let shards = 0..self.plan.shards;
                    let poll = |shard| oracle.places.poll(&spot.table, shard, open.at);
                    shards.into_iter().all(|shard| poll(shard).is_proper_read(list.options))
                })
            }
            Op::Recall { .. } | Op::Watch { .. } | Op::Declare(_) | Op::Nowhere | Op::Ask => true,
        }
    }

    /// Whether those that answered are enough, if it does not matter what that is worth.
    fn met(&self, open: &Open, receipt: &Receipt) -> bool {
        let (oracle, min, acks) = (&self.oracle, Kind::Any, &receipt.acks);
        match &open.op {
            Op::Write { id, options } => {
                let spot = oracle.spot(oracle.write(*id).spot);
                let options = WriteOptions { min, ..*options };
                oracle.poll(spot, open.at).is_written(options, acks)
            }
            Op::Read { spot, options, .. } => {
                let options = ReadOptions { min, ..*options };
                oracle.poll(oracle.spot(*spot), open.at).is_read(options, acks)
            }
            Op::List(_) => true,
            Op::Recall { .. } | Op::Watch { .. } | Op::Declare(_) | Op::Nowhere | Op::Ask => false,
        }
    }

    /// What a receipt calls durable must be on the disk that it names, or have been.
    fn check_on_disk(&self, id: WriteId, acks: &[model::Ack]) -> Result<(), Broken> {
        let write = self.oracle.write(id);
        let lies = |ack: &&model::Ack| {
            let on_disk = |dot| self.is_or_was_on_disk(ack, write.spot, dot);
            ack.durable && !write.dot.is_some_and(on_disk)
        };
        match acks.iter().find(lies) {
            None => Ok(()),
            Some(_) if self.oracle.look != Look::Everywhere => Ok(()),
            Some(ack) => {
                let detail =
                    format!("w{} is acknowledged by {} and not on its disk", id.0, ack.node);
                Err(Broken::of(Invariant::DurableIsOnDisk, write.spot, detail))
            }
        }
    }
}

impl World {
    /// Whether a write is on the disk of a replica or guest, or was lost with it. What a guest has
    /// may be with its replica already.
    pub(crate) fn is_or_was_on_disk(&self, ack: &model::Ack, spot: usize, dot: Dot) -> bool {
        let place = self.oracle.spot(spot).place();
        let at = |node: NodeId| {
            self.hosts.get(&node).is_some_and(|host| host.disk.has_synced(&place, dot))
                || self.oracle.losses.has_lost(node, spot, dot)
        };
        let Some(replica) = ack.stands_for else { return at(ack.node) };
        let hint = HintPlace { target: replica, address: place.1.clone() };
        let guest = self.hosts.get(&ack.node);
        guest.is_some_and(|guest| guest.disk.has_synced_hint(&hint, dot))
            || at(replica)
            || self.oracle.losses.has_lost_hint((ack.node, replica), spot, dot)
    }
}

/// What a node refuses with one of its effects, to a client or to who has forwarded a request.
fn refusal(effect: &Effect) -> Option<&Refusal> {
    let reply = match effect {
        Effect::Answer { reply, .. } => reply,
        Effect::Send { message: Message::Forwarded(forwarded), .. } => &forwarded.reply,
        Effect::Send { .. } | Effect::Located { .. } => return None,
    };
    match reply {
        Reply::Failed(Failure::Refused(refusal)) => Some(refusal),
        Reply::Failed(
            Failure::NotAttempted { .. }
            | Failure::Unknown { .. }
            | Failure::TooFewAnswers { .. }
            | Failure::Unsettled { .. }
            | Failure::SessionBehind { .. }
            | Failure::Weaker { .. },
        )
        | Reply::Written(_)
        | Reply::Read(_)
        | Reply::Listed(_)
        | Reply::Watched(_)
        | Reply::Recalled(_)
        | Reply::Explained(_)
        | Reply::Declared(_)
        | Reply::Status(_)
        | Reply::Salvaged(_)
        | Reply::Repair(_) => None,
    }
}

/// Whether a request can fail so, whatever happens: a read changes nothing, so that nothing
/// about it can be unknown.
fn fits(failure: &Failure, op: &Op) -> bool {
    match failure {
        Failure::Unknown { .. } => matches!(op, Op::Write { .. } | Op::Declare(_)),
        Failure::TooFewAnswers { .. } => {
            matches!(op, Op::Read { .. } | Op::List(_) | Op::Recall { .. })
        }
        Failure::Unsettled { .. } => matches!(op, Op::Read { monotonic: true, .. }),
        Failure::SessionBehind { .. } => matches!(op, Op::Read { .. } | Op::Write { .. }),
        Failure::Refused(_) | Failure::NotAttempted { .. } | Failure::Weaker { .. } => true,
    }
}

/// Who took part in what failed, if that is told.
fn receipt_of(failure: &Failure) -> Option<&Receipt> {
    match failure {
        Failure::Unknown { receipt, .. } => receipt.as_ref(),
        Failure::Weaker { receipt } => Some(receipt),
        Failure::Refused(_)
        | Failure::NotAttempted { .. }
        | Failure::Unsettled { .. }
        | Failure::SessionBehind { .. }
        | Failure::TooFewAnswers { .. } => None,
    }
}

/// What a request wants its answer to be worth.
fn demanded(op: &Op) -> Kind {
    match op {
        Op::Write { options, .. } => options.min,
        Op::Read { options, .. } => options.min,
        Op::List(list) => list.options.min,
        Op::Recall { .. } | Op::Watch { .. } | Op::Declare(_) | Op::Nowhere | Op::Ask => Kind::Any,
    }
}

/// Whether a request is to store more bytes than these.
fn is_large(request: &Request, max: usize) -> bool {
    matches!(
        request,
        Request::Put(Put { mutation: Mutation::Store(value), .. }) if max < value.body.len()
    )
}

#[cfg(test)]
mod tests;
