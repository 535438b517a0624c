//! Requests on their way through the world: asked, answered, and judged.

use std::time::Duration;

use model::{Failure, Mutation, NodeId, Put, Refusal, Reply, Request};
use node::{Input, Ticket};

use crate::oracle::{Outcome, WriteId};
use crate::report::{Broken, Invariant};
use crate::workload::Op;
use crate::world::{Event, Open, Phase, World};

/// How late an answer may be: timers are exact, but a node may have had to ask another.
const GRACE: u64 = 1_000_000;

impl World {
    /// A client asks for something, unless clients rest.
    pub(crate) fn next(&mut self, client: usize) -> Result<(), Broken> {
        let busy = self.open.values().any(|open| open.client == Some(client));
        if self.phase == Phase::Quiet || busy {
            return Ok(());
        }
        let next = self.workload.next(client, &mut self.oracle, self.now);
        let open = Open {
            at: next.at,
            request: next.request,
            op: next.op,
            client: Some(client),
            begun: self.now,
            healthy: self.phase == Phase::Liveness,
        };
        if self.host(next.at).is_up() {
            return self.ask(open, next.timeout).map(drop);
        }
        // Nobody listens there.
        self.count(&open.op, "not connected");
        if let Op::Write { id, .. } = open.op {
            self.oracle.failed(id, Outcome::Refused, self.now)?;
        }
        self.workload.hear(client, &open.op, &self.oracle, None);
        self.rest(client);
        Ok(())
    }

    /// A client does something else for a while.
    pub(crate) fn rest(&mut self, client: usize) {
        let think = self.workload.think();
        self.arrange(think, Event::Next { client });
    }

    /// Asks a node something.
    pub(crate) fn ask(&mut self, open: Open, timeout: Duration) -> Result<Ticket, Broken> {
        self.tickets += 1;
        let (ticket, at, request) = (Ticket(self.tickets), open.at, open.request.clone());
        let words = [5, u64::from(at.number()), ticket.0];
        self.trace.note(self.now, &words, || format!("{ticket:?} asks {at} {request:?}"));
        self.open.insert(ticket, open);
        self.arrange(0, Event::Ask { ticket, timeout });
        Ok(ticket)
    }

    /// A request reaches its node, if that is still there.
    pub(crate) fn reach(&mut self, ticket: Ticket, timeout: Duration) -> Result<(), Broken> {
        let Some(open) = self.open.get(&ticket) else { return Ok(()) };
        let (at, request) = (open.at, open.request.clone());
        if self.while_paused(at, || Event::Ask { ticket, timeout }) {
            return Ok(());
        }
        let timeout = u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX);
        self.arrange(timeout + GRACE, Event::Overdue { ticket });
        self.step(at, Input::Requested { ticket, request })
    }

    pub(crate) fn overdue(&mut self, ticket: Ticket) -> Result<(), Broken> {
        let Some(open) = self.open.get(&ticket) else { return Ok(()) };
        let at = open.at;
        let (now, until) = (self.now, self.host(at).paused_until + GRACE);
        if now < until {
            self.arrange(until - now, Event::Overdue { ticket });
            return Ok(());
        }
        let detail = format!("{at} is up and has not answered {ticket:?}");
        Err(Broken::new(Invariant::EveryRequestIsAnswered, detail))
    }

    /// A node answers a client.
    pub(crate) fn answered(&mut self, ticket: Ticket, reply: Reply) -> Result<(), Broken> {
        let Some(open) = self.open.remove(&ticket) else {
            let detail = format!("{ticket:?} is answered, and nobody waits: {reply:?}");
            return Err(Broken::new(Invariant::EveryRequestIsAnswered, detail));
        };
        let words = [9, ticket.0];
        self.trace.note(self.now, &words, || format!("{ticket:?} is answered {reply:?}"));
        self.judge(&open, &reply)?;
        match open.client {
            Some(client) => {
                self.workload.hear(client, &open.op, &self.oracle, Some(&reply));
                self.rest(client);
            }
            None => drop(self.heard.insert(ticket, reply)),
        }
        Ok(())
    }

    fn judge(&mut self, open: &Open, reply: &Reply) -> Result<(), Broken> {
        match (&open.op, reply) {
            (Op::Ask, _) => {}
            (Op::Write { id, options }, Reply::Written(written)) => {
                self.count(&open.op, "acknowledged");
                self.oracle.acked(*id, *options, written, self.now)?;
                self.check_durable(*id)?;
            }
            (Op::Read { spot, options }, Reply::Read(read)) => {
                self.count(&open.op, "answered");
                self.oracle.read(*spot, *options, open.begun, read)?;
                if 1 < read.object.values().len() {
                    *self.requests.entry(("gets", "of siblings")).or_default() += 1;
                }
            }
            (Op::Declare(declare), Reply::Declared(declared)) => {
                self.judge_declared(declare, declared)?;
            }
            (Op::List(list), Reply::Listed(listed)) => {
                self.count(&open.op, "answered");
                self.oracle.listed(list, listed, open.begun)?;
            }
            (op, Reply::Failed(failure)) => self.judge_failure(open, op, failure)?,
            (Op::Write { .. } | Op::Read { .. } | Op::List(_) | Op::Declare(_), _) => {
                let detail = format!("{:?} is answered {reply:?}", open.request);
                return Err(Broken::new(Invariant::EveryRequestIsAnswered, detail));
            }
        }
        Ok(())
    }

    fn judge_failure(&mut self, open: &Open, op: &Op, failure: &Failure) -> Result<(), Broken> {
        let (outcome, name) = match failure {
            Failure::Refused(_) => (Outcome::Refused, "refused"),
            Failure::NotAttempted { .. } => (Outcome::Refused, "not attempted"),
            Failure::Unknown { .. } => (Outcome::Unknown, "unknown"),
        };
        self.count(op, name);
        if let Op::Write { id, .. } = op {
            self.oracle.failed(*id, outcome, self.now)?;
        }
        let deserved = match failure {
            Failure::Refused(refusal) => self.deserves(open, refusal),
            Failure::NotAttempted { .. } | Failure::Unknown { .. } => !open.healthy,
        };
        if deserved {
            return Ok(());
        }
        let detail = format!("{} answers {:?} with {failure}", open.at, open.request);
        Err(Broken::new(Invariant::HealthyRequestsSucceed, detail))
    }

    /// Whether the client has itself to blame.
    fn deserves(&self, open: &Open, refusal: &Refusal) -> bool {
        let n = self.plan.replicas;
        let out_of_range = match &open.op {
            Op::Write { options, .. } => options.resolve(model::Level::One, n).is_err(),
            Op::Read { options, .. } => options.resolve(model::Level::One, n).is_err(),
            Op::List(list) => list.options.resolve(model::Level::One, n).is_err(),
            Op::Declare(declare) => return self.deserves_refusal(declare, refusal, open.healthy),
            Op::Ask => false,
        };
        match refusal {
            Refusal::Level { .. } => out_of_range,
            Refusal::ManySiblings { siblings, max } => {
                *max == self.limits.siblings_max && *max <= *siblings
            }
            Refusal::Overloaded { max } => *max == self.plan.requests_max && *max < 100,
            Refusal::Disk(_) => 0 < self.plan.disk.unreadable && !open.healthy,
            Refusal::EmptyDelete => matches!(
                &open.request,
                Request::Put(Put { mutation: Mutation::Delete, context, .. }) if context.is_empty()
            ),
            Refusal::Malformed(_)
            | Refusal::UnknownKeyspace(_)
            | Refusal::UnknownTable { .. }
            | Refusal::Exists { .. }
            | Refusal::Contract(_)
            | Refusal::LargeValue { .. }
            | Refusal::LargeObject { .. }
            | Refusal::NoMajority { .. } => false,
        }
    }

    /// What a receipt calls durable must be on the disk that it names, or have been.
    fn check_durable(&mut self, id: WriteId) -> Result<(), Broken> {
        let write = self.oracle.write(id);
        let place = self.oracle.spot(write.spot).place();
        let lies = |ack: &&model::Ack| {
            let host = self.hosts.get(&ack.node);
            let on_disk = |dot| {
                host.is_some_and(|host| host.disk.has_synced(&place, dot))
                    || self.oracle.losses.has_lost(ack.node, write.spot, dot)
            };
            ack.durable && !write.dot.is_some_and(on_disk)
        };
        match write.acks.iter().find(lies) {
            None => Ok(()),
            Some(_) if self.clients_only => Ok(()),
            Some(ack) => {
                let detail =
                    format!("w{} is acknowledged by {} and not on its disk", id.0, ack.node);
                Err(Broken::of(Invariant::DurableIsOnDisk, write.spot, detail))
            }
        }
    }

    /// Counts an outcome.
    pub(crate) fn count(&mut self, op: &Op, outcome: &'static str) {
        let kind = match op {
            Op::Write { id, .. } if self.oracle.write(*id).value.is_none() => "deletes",
            Op::Write { .. } => "puts",
            Op::Read { .. } => "gets",
            Op::List(_) => "lists",
            Op::Declare(_) => "declarations",
            Op::Ask => return,
        };
        *self.requests.entry((kind, outcome)).or_default() += 1;
    }

    /// Asks, and lets the world go on until the answer is there.
    pub(crate) fn ask_and_wait(&mut self, at: NodeId, request: Request) -> Result<Reply, Broken> {
        let patience = Duration::from_secs(20);
        let open = Open { at, request, op: Op::Ask, client: None, begun: self.now, healthy: true };
        let ticket = self.ask(open, patience)?;
        loop {
            if let Some(reply) = self.heard.remove(&ticket) {
                return Ok(reply);
            }
            self.happen()?;
        }
    }
}
