//! Requests on their way through the world: asked, answered, and judged.

use std::time::Duration;

use model::{NodeId, Now, Reply, Request};
use node::{Input, Ticket};

use crate::invariant::Invariant;
use crate::oracle::Outcome;
use crate::report::Broken;
use crate::workload::Op;
use crate::world::{Event, Open, Phase, World};

/// How late an answer may be, by the clock of the node that was asked. Timers are exact to
/// the microsecond, and an answer waits for nothing else.
const GRACE: Duration = Duration::from_micros(2);

/// Shorter than clocks stand still, so that few looks at one are in vain.
const STANDING: u64 = 100_000;

impl World {
    /// A client asks for something, unless clients rest.
    pub(crate) fn next(&mut self, client: usize) -> Result<(), Broken> {
        let busy = self.open.values().any(|open| open.client == Some(client));
        if self.phase == Phase::Quiet || busy {
            return Ok(());
        }
        if self.workload.tries_foreign() {
            self.workload.try_foreign(client, &self.oracle, self.mutant)?;
            *self.requests.entry(("contexts", "refused")).or_default() += 1;
        }
        let next = self.workload.next(client, &mut self.oracle, self.now);
        let behind = self.behind(client, &next.op);
        let open = Open {
            behind,
            at: next.at,
            request: next.request,
            op: next.op,
            client: Some(client),
            begun: self.now,
            deadline: Now::default(),
            healthy: self.phase == Phase::Liveness,
        };
        if self.host(next.at).is_up() {
            let ticket = self.ask(open, next.timeout)?;
            if let Some(after) = self.workload.leaves() {
                self.arrange(after, Event::Leave { ticket });
            }
            return Ok(());
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
        let think = self.workload.think(self.now);
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
        let now = self.now;
        let deadline = self.host(at).clock.read(now) + timeout;
        self.open.entry(ticket).and_modify(|open| open.deadline = deadline);
        let timeout = u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX);
        self.arrange(timeout, Event::Overdue { ticket });
        self.step(at, Input::Requested { ticket, request })
    }

    /// Its node must have answered by now, as that node counts the time.
    pub(crate) fn overdue(&mut self, ticket: Ticket) -> Result<(), Broken> {
        let Some(open) = self.open.get(&ticket) else { return Ok(()) };
        let (at, deadline) = (open.at, open.deadline + GRACE);
        let (now, host) = (self.now, self.host(at));
        // A clock that stands is looked at again in a while.
        let due = host.clock.when(deadline).unwrap_or(now + STANDING);
        let wakes = host.wakes_at_once(now).map_or(0, |at| at + 1);
        let until = due.max(host.busy_until() + 1).max(wakes);
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
        self.trace.note_reply(&reply);
        self.judge(&open, &reply)?;
        if let Op::Watch { watcher } = open.op {
            return self.watched(watcher, &reply);
        }
        match open.client {
            Some(client) => {
                self.workload.hear(client, &open.op, &self.oracle, Some(&reply));
                self.rest(client);
            }
            None if matches!(open.op, Op::Ask) => drop(self.heard.insert(ticket, reply)),
            // The client has gone away.
            None => {}
        }
        Ok(())
    }

    /// A client goes away, and turns to something else. The node is not told, and goes on.
    pub(crate) fn leave(&mut self, ticket: Ticket) {
        let Some(open) = self.open.get_mut(&ticket) else { return };
        let Some(client) = open.client.take() else { return };
        self.workload.gone(client, &open.op, &self.oracle);
        *self.requests.entry(("clients", "gone")).or_default() += 1;
        self.rest(client);
    }

    /// Counts an outcome.
    pub(crate) fn count(&mut self, op: &Op, outcome: &'static str) {
        let kind = match op {
            Op::Write { id, .. } if self.oracle.write(*id).value.is_none() => "deletes",
            Op::Write { .. } => "puts",
            Op::Read { .. } => "gets",
            Op::List(_) => "lists",
            Op::Recall { .. } => "outcomes",
            Op::Declare(_) => "declarations",
            Op::Watch { .. } => "watches",
            Op::Nowhere => "requests to nowhere",
            Op::Ask => return,
        };
        *self.requests.entry((kind, outcome)).or_default() += 1;
    }

    /// Asks, and lets the world go on until the answer is there.
    pub(crate) fn ask_and_wait(&mut self, at: NodeId, request: Request) -> Result<Reply, Broken> {
        let patience = match &request {
            Request::Get(get) => get.timeout,
            Request::List(list) => list.timeout,
            Request::Recall(recall) => recall.timeout,
            Request::Explain(explain) => explain.timeout,
            Request::Watch(watch) => watch.timeout,
            Request::Salvage(salvage) => salvage.timeout,
            Request::Put(_) | Request::Declare(_) | Request::Status | Request::Repair(_) => {
                Duration::from_secs(20)
            }
        };
        let (begun, deadline) = (self.now, Now::default());
        let (op, client, behind) = (Op::Ask, None, Vec::new());
        let open = Open { at, request, op, client, begun, deadline, healthy: true, behind };
        let ticket = self.ask(open, patience)?;
        loop {
            if let Some(reply) = self.heard.remove(&ticket) {
                return Ok(reply);
            }
            self.happen()?;
        }
    }
}
