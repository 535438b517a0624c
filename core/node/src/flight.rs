//! Requests in flight, and their timers.

use std::time::Duration;

use model::{Failure, NodeId, Now, Reply};
use mutant::{Mutant, is};

use crate::declare::Declaring;
use crate::doubt::Doubting;
use crate::feed::Feeding;
use crate::forward::Forwarding;
use crate::get::Getting;
use crate::list::Lister;
use crate::put::Putting;
use crate::salvage::Salvaging;
use crate::{Disk, Node, RequestId, Ticket, Turn};

/// How long the first answers to a read may take before everybody else is asked, too.
/// Longer than a healthy fsync queue, shorter than a client's patience.
pub(crate) const SLOW: Duration = Duration::from_millis(200);

/// How long a replica may take to acknowledge a write before a guest stands in for it. Longer
/// than a healthy fsync queue and a round trip half around the world: a write that a guest
/// acknowledges is worth less, though it has only been sent once more. A guest has as long until
/// another one is asked as well.
const STAND_IN: Duration = Duration::from_millis(300);

/// Who waits for an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Client {
    /// A client of this node.
    Ticket(Ticket),
    /// A node that has forwarded its client's request.
    Node {
        /// Which.
        node: NodeId,
        /// What it calls the request.
        request: RequestId,
    },
    /// Nobody: this node asks itself.
    Nobody,
}

impl Client {
    /// Whether another node has already passed this request on.
    pub(crate) fn is_forwarded(self) -> bool {
        matches!(self, Self::Node { .. })
    }
}

/// One request in the hands of this node.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) client: Client,
    pub(crate) begun: Now,
    pub(crate) deadline: Now,
    /// When this request is looked at next: at its deadline, or earlier.
    pub(crate) timer: Now,
    pub(crate) work: Work,
}

/// What kind of request it is, and how far it has come.
#[derive(Debug)]
pub(crate) enum Work {
    Put(Putting),
    Get(Getting),
    List(Lister),
    Watch(Box<Feeding>),
    Forward(Forwarding),
    Declare(Declaring),
    Doubt(Box<Doubting>),
    Salvage(Box<Salvaging>),
}

impl Node {
    pub(crate) fn new_request(&mut self) -> RequestId {
        self.last_request += 1;
        RequestId(self.last_request)
    }

    /// Keeps a request until it is done. A list is looked at again after a while.
    pub(crate) fn keep(&mut self, id: RequestId, now: Now, mut flight: Flight) {
        if matches!(flight.work, Work::List(_)) {
            flight.timer = flight.deadline.min(now + SLOW);
        }
        if matches!(&flight.work, Work::Put(putting) if putting.has_guests()) {
            flight.timer = flight.deadline.min(now + STAND_IN);
        }
        self.keep_until(id, flight);
    }

    /// Keeps a request until it is done, with the timer it has.
    pub(crate) fn keep_until(&mut self, id: RequestId, flight: Flight) {
        let is_lost = is(Mutant::TimerLost) && matches!(flight.work, Work::Get(_));
        if !is_lost {
            self.timers.insert((flight.timer, id));
        }
        self.doubting += usize::from(matches!(flight.work, Work::Doubt(_)));
        self.flights.insert(id, flight);
    }

    /// Takes a request out, and its timer with it.
    pub(crate) fn take(&mut self, id: RequestId) -> Option<Flight> {
        let flight = self.flights.remove(&id)?;
        self.doubting -= usize::from(matches!(flight.work, Work::Doubt(_)));
        self.timers.remove(&(flight.timer, id));
        Some(flight)
    }

    /// The timer of a request has fired.
    pub(crate) fn timer<D: Disk>(&mut self, id: RequestId, turn: &mut Turn<'_, D>) {
        let Some(mut flight) = self.take(id) else { return };
        let is_late = flight.deadline <= turn.now;
        flight.timer = flight.deadline;
        match &flight.work {
            Work::Put(putting) => {
                use coordinator::PutEvent::{Deadline, Slow};
                if putting.has_guests() {
                    flight.timer = flight.deadline.min(turn.now + STAND_IN);
                }
                self.put_event(id, flight, if is_late { Deadline } else { Slow }, turn);
            }
            Work::Get(_) => self.get_timer(id, flight, turn),
            Work::List(_) => {
                use coordinator::ListEvent::{Deadline, Slow};
                self.list_event(id, flight, if is_late { Deadline } else { Slow }, turn);
            }
            Work::Watch(_) => self.feed_timer(id, flight, turn),
            Work::Forward(_) => self.forward_failed(flight, turn),
            Work::Declare(_) => self.declare_timer(id, flight, is_late, turn),
            Work::Doubt(_) => self.doubt_lost(id, flight, None, turn),
            Work::Salvage(_) => self.end_salvage(&flight, turn),
        }
    }

    /// The connection to a node broke: nobody waits for its answers any longer.
    pub(crate) fn lost<D: Disk>(&mut self, node: NodeId, turn: &mut Turn<'_, D>) {
        self.handoffs.lost(node);
        self.waiting.lost(node);
        let ids: Vec<RequestId> = self.flights.keys().copied().collect();
        for id in ids {
            let Some(flight) = self.take(id) else { continue };
            match &flight.work {
                Work::Put(_) => {
                    self.put_event(id, flight, coordinator::PutEvent::Failed(node), turn);
                }
                Work::Get(_) => {
                    self.get_event(id, flight, coordinator::GetEvent::Failed(node), turn);
                }
                Work::List(_) => {
                    self.list_event(id, flight, coordinator::ListEvent::Failed(node), turn);
                }
                Work::Watch(_) => self.feed_lost(id, flight, node, turn),
                Work::Forward(forwarding) if forwarding.to == node => {
                    self.forward_failed(flight, turn);
                }
                Work::Declare(_) => self.declare_lost(id, flight, node, turn),
                Work::Doubt(_) => self.doubt_lost(id, flight, Some(node), turn),
                Work::Salvage(salvaging) if salvaging.waiting.contains(&node) => {
                    self.end_salvage(&flight, turn);
                }
                Work::Forward(_) | Work::Salvage(_) => self.keep_until(id, flight),
            }
        }
    }

    pub(crate) fn fail<D: Disk>(
        &mut self,
        client: Client,
        failure: Failure,
        turn: &mut Turn<'_, D>,
    ) {
        self.answer(client, Reply::Failed(failure), turn);
    }
}
