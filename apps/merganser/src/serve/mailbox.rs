//! What waits for the node: one queue for everything that can happen to it.
//!
//! Connections, the committer's thread and the doors all put their news here, and the driver
//! takes everything at once. One wake-up, one reading of the clock, one disk group and one
//! write per peer then serve all of it: the busier the node, the larger the batch, the
//! cheaper each request.
//!
//! There are two queues behind it. What peers say comes first, for it is part of what somebody
//! has begun; requests of clients are begun with in the time that is left, in their order.
//!
//! What waits is bounded, in number and in bytes, because a driver that is held up by its
//! disk takes nothing, and in time, by [`Admission`]. Clients over a bound are refused at once,
//! and so are all clients
//! while the driver is choked: nothing of theirs was changed, and they can ask another node.
//! Peers wait, and their queues fill.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use model::{Failure, Mutation, NodeId, Now, Put, Refusal, Reply, Request, Salvage};
use node::Message;
use storage::FlushError;
use tokio::sync::{Notify, oneshot};

use super::admission::Admission;
use super::driver::Examined;

/// The most messages of peers that wait. At it their connections are not read from, and
/// their own queues fill. As many as arrive in some milliseconds.
const MESSAGES_MAX: usize = 16_384;

/// A request of a client.
#[derive(Debug)]
pub(super) struct Asked {
    /// What.
    pub(super) request: Request,
    /// Where the answer goes.
    pub(super) answer: oneshot::Sender<Reply>,
    /// When. The time the client gives the node begins here.
    pub(super) asked_at: Instant,
}

/// One piece of news.
#[derive(Debug)]
pub(super) enum Mail {
    /// A peer said something.
    Received {
        /// Who.
        from: NodeId,
        /// What, in order.
        messages: Vec<Message>,
        /// When it was read from the connection.
        at: Instant,
    },
    /// A peer is connected.
    Connected(NodeId),
    /// The connection to a peer broke.
    Lost(NodeId),
    /// No more requests will come: bring everything to disk and end.
    Finish,
}

/// The queue in front of the node.
#[derive(Debug)]
pub(super) struct Mailbox {
    waiting: Mutex<Waiting>,
    arrived: Notify,
    emptied: Notify,
    requests_max: usize,
    /// The most bytes of messages that wait, and the most of requests. Above, one more is let
    /// in, so that a large one passes as well.
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    mail: Vec<Mail>,
    asked: VecDeque<Asked>,
    /// Who wants to know how the node is.
    examinations: Vec<oneshot::Sender<Examined>>,
    /// The bytes of what clients ask.
    request_bytes: usize,
    admission: Admission,
    refused: u64,
    messages: usize,
    message_bytes: usize,
    /// The driver takes nothing until its disk has caught up.
    is_choked: bool,
    /// What became of the group in flight. Apart, because it is taken also by a driver that
    /// cannot take more in.
    report: Option<Result<(), FlushError>>,
}

impl Mailbox {
    /// A mailbox that refuses more than so many waiting requests, or so many bytes of them,
    /// and lets peers wait at so many bytes of theirs.
    pub(super) fn new(requests_max: usize, bytes_max: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            arrived: Notify::new(),
            emptied: Notify::new(),
            requests_max,
            bytes_max,
        }
    }

    /// Puts a client's request in and waits for the answer. Over the bounds, and while the
    /// driver is choked, the answer is a refusal, at once. A node that stops because its disk failed gives no answer: what
    /// it knows is that it does not know, and the broken connection says so.
    ///
    /// # Cancellation
    ///
    /// The request is carried out all the same; its answer goes nowhere.
    pub(super) async fn ask(&self, request: Request) -> Reply {
        let (answer, answered) = oneshot::channel();
        {
            let mut waiting = self.lock();
            if !self.admits(&waiting) {
                waiting.refuse();
                return self.overloaded();
            }
            waiting.request_bytes += bytes_of(&request);
            waiting.asked.push_back(Asked { request, answer, asked_at: Instant::now() });
        }
        self.arrived.notify_one();
        match answered.await {
            Ok(reply) => reply,
            Err(_) => std::future::pending().await,
        }
    }

    /// Returns whether a request that came now would be let in. If not, it counts as refused.
    pub(super) fn has_room(&self) -> bool {
        let mut waiting = self.lock();
        let admits = self.admits(&waiting);
        if !admits {
            waiting.refuse();
        }
        admits
    }

    fn admits(&self, waiting: &Waiting) -> bool {
        !waiting.is_choked
            && waiting.asked.len() < self.requests_max
            && waiting.request_bytes < self.bytes_max
            && waiting.admission.admits(waiting.asked.len())
    }

    /// The answer to a client for whom the node has no room.
    pub(super) fn overloaded(&self) -> Reply {
        Reply::Failed(Failure::Refused(Refusal::Overloaded { max: self.requests_max }))
    }

    /// Puts in a request, whatever its bounds say.
    #[cfg(test)]
    pub(super) fn post_asked(&self, asked: Asked) {
        self.lock().asked.push_back(asked);
    }

    /// Puts in what is not a client's request. Never refused: there is one
    /// loss per connection and one end.
    pub(super) fn post(&self, mail: Mail) {
        self.lock().mail.push(mail);
        self.arrived.notify_one();
    }

    /// Puts in what became of the group in flight.
    pub(super) fn report(&self, result: Result<(), FlushError>) {
        self.lock().report = Some(result);
        self.arrived.notify_one();
    }

    /// Takes what became of the group in flight, if it is known.
    pub(super) fn take_report(&self) -> Option<Result<(), FlushError>> {
        self.lock().report.take()
    }

    /// Ends when something was put in since [`take`](Self::take).
    ///
    /// # Cancellation
    ///
    /// Nothing is lost.
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Takes everything that waits and comes from no client. `empty` gives its memory to the
    /// queue. `reading` turns a time into what the node's clock showed then.
    pub(super) fn take(&self, empty: &mut Vec<Mail>, now: Now, reading: impl Fn(Instant) -> Now) {
        debug_assert!(empty.is_empty(), "mail left over would be answered late");
        let mut waiting = self.lock();
        std::mem::swap(&mut waiting.mail, empty);
        let was_full = waiting.is_full_of_messages(self.bytes_max);
        (waiting.messages, waiting.message_bytes) = (0, 0);
        let oldest = waiting.asked.front().map(|asked| now.since(reading(asked.asked_at)));
        waiting.admission.look(now, oldest.unwrap_or(Duration::ZERO));
        waiting.is_choked = false;
        drop(waiting);
        if was_full {
            self.emptied.notify_waiters();
        }
    }

    /// Takes at most so many requests of clients, in the order they came. Returns whether
    /// more wait.
    pub(super) fn take_asked(&self, most: usize, into: &mut Vec<Asked>) -> bool {
        let mut waiting = self.lock();
        let count = most.min(waiting.asked.len());
        waiting.admission.begin(count);
        for asked in waiting.asked.drain(..count) {
            into.push(asked);
        }
        let bytes: usize = into.iter().map(|asked| bytes_of(&asked.request)).sum();
        waiting.request_bytes = waiting.request_bytes.saturating_sub(bytes);
        !waiting.asked.is_empty()
    }

    /// Asks how the node is. The driver answers at its next turn, also while it is choked.
    pub(super) async fn examine(&self) -> Option<Examined> {
        let (answer, answered) = oneshot::channel();
        self.lock().examinations.push(answer);
        self.arrived.notify_one();
        answered.await.ok()
    }

    /// Takes those who want to know how the node is.
    pub(super) fn take_examinations(&self) -> Vec<oneshot::Sender<Examined>> {
        std::mem::take(&mut self.lock().examinations)
    }

    /// Has the driver take one more turn at once.
    pub(super) fn again(&self) {
        self.arrived.notify_one();
    }

    /// Whether the node is overloaded, how many clients were refused so far, and how many wait.
    pub(super) fn load(&self) -> Load {
        let waiting = self.lock();
        Load {
            is_overloaded: waiting.is_choked || waiting.admission.is_overloaded(),
            refused: waiting.refused,
            waiting: waiting.asked.len(),
        }
    }

    /// Refuses the clients that wait and all that come, until the next [`take`](Self::take).
    /// What else waits stays, in order.
    pub(super) fn choke(&self) {
        let mut waiting = self.lock();
        waiting.is_choked = true;
        waiting.request_bytes = 0;
        let asked = std::mem::take(&mut waiting.asked);
        waiting.refused += asked.len() as u64;
        drop(waiting);
        for asked in asked {
            // A client that has gone away does not wait for its answer.
            let _ = asked.answer.send(self.overloaded());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much there is to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Load {
    /// Whether newcomers are refused, or would be.
    pub(super) is_overloaded: bool,
    /// How many were refused so far.
    pub(super) refused: u64,
    /// How many requests of clients wait for the node.
    pub(super) waiting: usize,
}

impl http::Gate for Mailbox {
    fn is_open(&self) -> bool {
        self.has_room()
    }
}

impl Waiting {
    fn refuse(&mut self) {
        self.refused += 1;
        self.admission.refuse();
    }

    fn is_full_of_messages(&self, bytes_max: usize) -> bool {
        MESSAGES_MAX <= self.messages || bytes_max <= self.message_bytes
    }
}

/// Roughly the memory that a request takes: what can be large about it.
fn bytes_of(request: &Request) -> usize {
    match request {
        Request::Put(Put { key, mutation, .. }) => {
            let value = match mutation {
                Mutation::Store(value) => value.content_type.len() + value.body.len(),
                Mutation::Delete => 0,
            };
            size_of::<Put>() + key.partition().len() + key.sort().len() + value
        }
        Request::Salvage(salvage) => {
            let values = salvage.found.values().values();
            size_of::<Salvage>() + values.map(|value| value.body.len()).sum::<usize>()
        }
        Request::Get(_)
        | Request::List(_)
        | Request::Watch(_)
        | Request::Recall(_)
        | Request::Explain(_)
        | Request::Declare(_)
        | Request::Repair(_)
        | Request::Status => size_of::<Request>(),
    }
}

impl transport::Inbox for Mailbox {
    fn received(&self, from: NodeId, messages: Vec<Message>, bytes: usize) {
        let mut waiting = self.lock();
        waiting.messages += messages.len();
        waiting.message_bytes += bytes;
        waiting.mail.push(Mail::Received { from, messages, at: Instant::now() });
        drop(waiting);
        self.arrived.notify_one();
    }

    fn connected(&self, peer: NodeId) {
        self.post(Mail::Connected(peer));
    }

    fn lost(&self, peer: NodeId) {
        self.post(Mail::Lost(peer));
    }

    async fn room(&self) {
        loop {
            let emptied = self.emptied.notified();
            if !self.lock().is_full_of_messages(self.bytes_max) {
                return;
            }
            emptied.await;
        }
    }
}

#[cfg(test)]
mod tests;
