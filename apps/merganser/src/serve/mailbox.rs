//! What waits for the node: one queue for everything that can happen to it.
//!
//! Connections, the committer's thread and the doors all put their news here, and the driver
//! takes everything at once. One wake-up, one reading of the clock, one disk group and one
//! write per peer then serve all of it: the busier the node, the larger the batch, the
//! cheaper each request.
//!
//! What waits is bounded, in number and in bytes, because a driver that is held up by its
//! disk takes nothing. Clients over the bound are refused at once, and so are all clients
//! while the driver is choked: nothing of theirs was changed, and they can ask another node.
//! Peers wait, and their queues fill.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use model::{Failure, Mutation, NodeId, Put, Refusal, Reply, Request};
use node::Message;
use storage::FlushError;
use tokio::sync::{Notify, oneshot};

/// The most messages of peers that wait. At it their connections are not read from, and
/// their own queues fill. As many as arrive in some milliseconds.
const MESSAGES_MAX: usize = 16_384;

/// One piece of news.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "most mail is of the large kind, and a box each would cost more than the room"
)]
pub(super) enum Mail {
    /// A client asks.
    Asked {
        /// What.
        request: Request,
        /// Where the answer goes.
        answer: oneshot::Sender<Reply>,
        /// When. The time the client gives the node begins here.
        asked_at: Instant,
    },
    /// A peer said something.
    Received {
        /// Who.
        from: NodeId,
        /// What, in order.
        messages: Vec<Message>,
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
    requests: usize,
    request_bytes: usize,
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
            if waiting.is_choked
                || self.requests_max <= waiting.requests
                || self.bytes_max <= waiting.request_bytes
            {
                return self.overloaded();
            }
            waiting.requests += 1;
            waiting.request_bytes += bytes_of(&request);
            waiting.mail.push(Mail::Asked { request, answer, asked_at: Instant::now() });
        }
        self.arrived.notify_one();
        match answered.await {
            Ok(reply) => reply,
            Err(_) => std::future::pending().await,
        }
    }

    /// The answer to a client for whom the node has no room.
    pub(super) fn overloaded(&self) -> Reply {
        Reply::Failed(Failure::Refused(Refusal::Overloaded { max: self.requests_max }))
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

    /// Takes everything that waits. `empty` gives its memory to the queue.
    pub(super) fn take(&self, empty: &mut Vec<Mail>) {
        debug_assert!(empty.is_empty(), "mail left over would be answered late");
        let mut waiting = self.lock();
        std::mem::swap(&mut waiting.mail, empty);
        let was_full = waiting.is_full_of_messages(self.bytes_max);
        (waiting.requests, waiting.request_bytes) = (0, 0);
        (waiting.messages, waiting.message_bytes) = (0, 0);
        waiting.is_choked = false;
        drop(waiting);
        if was_full {
            self.emptied.notify_waiters();
        }
    }

    /// Refuses the clients that wait and all that come, until the next [`take`](Self::take).
    /// What else waits stays, in order.
    pub(super) fn choke(&self) {
        let mut waiting = self.lock();
        waiting.is_choked = true;
        (waiting.requests, waiting.request_bytes) = (0, 0);
        let asked: Vec<Mail> =
            waiting.mail.extract_if(.., |mail| matches!(mail, Mail::Asked { .. })).collect();
        drop(waiting);
        for mail in asked {
            if let Mail::Asked { answer, .. } = mail {
                // A client that has gone away does not wait for its answer.
                let _ = answer.send(self.overloaded());
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
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
        Request::Get(_) | Request::List(_) | Request::Declare(_) | Request::Status => {
            size_of::<Request>()
        }
    }
}

impl transport::Inbox for Mailbox {
    fn received(&self, from: NodeId, messages: Vec<Message>, bytes: usize) {
        let mut waiting = self.lock();
        waiting.messages += messages.len();
        waiting.message_bytes += bytes;
        waiting.mail.push(Mail::Received { from, messages });
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
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;
    use transport::Inbox as _;

    use super::*;

    const BYTES_MAX: usize = 1 << 20;

    /// As long as a test waits for what must not happen.
    const SOON: Duration = Duration::from_millis(10);

    fn put(bytes: usize) -> Request {
        let name = model::Name::new("name").unwrap();
        Request::Put(Put {
            keyspace: name.clone(),
            table: name,
            key: model::Key::new("key".into(), "".into()).unwrap(),
            mutation: Mutation::Store(model::Value {
                content_type: "".into(),
                body: vec![0; bytes].into(),
            }),
            context: Default::default(),
            options: Default::default(),
            timeout: SOON,
        })
    }

    /// Whether a request is refused at once.
    async fn is_refused(mailbox: &Mailbox, request: Request) -> bool {
        let answer = timeout(Duration::ZERO, mailbox.ask(request)).await;
        answer.is_ok_and(|reply| reply == mailbox.overloaded())
    }

    #[tokio::test]
    async fn values_over_the_bound_are_refused_at_once_until_the_others_were_taken() {
        let mailbox = Mailbox::new(10, BYTES_MAX);
        assert!(!is_refused(&mailbox, put(BYTES_MAX / 2)).await);
        assert!(!is_refused(&mailbox, put(BYTES_MAX / 2)).await, "the last may exceed it");
        assert!(is_refused(&mailbox, put(0)).await);
        mailbox.take(&mut Vec::new());
        assert!(!is_refused(&mailbox, put(0)).await);
    }

    #[tokio::test]
    async fn a_choked_driver_refuses_clients_and_keeps_what_peers_said() {
        let mailbox = Mailbox::new(10, BYTES_MAX);
        mailbox.connected(NodeId::new(1));
        let mut waits = Box::pin(mailbox.ask(Request::Status));
        assert!(timeout(Duration::ZERO, &mut waits).await.is_err());
        mailbox.received(NodeId::new(1), vec![probe()], 1);
        mailbox.choke();
        assert_eq!(waits.await, mailbox.overloaded());
        assert!(is_refused(&mailbox, Request::Status).await);
        let mut mail = Vec::new();
        mailbox.take(&mut mail);
        let [Mail::Connected(_), Mail::Received { .. }] = &mail[..] else { panic!("{mail:?}") };
        assert!(!is_refused(&mailbox, Request::Status).await, "it is not choked any more");
    }

    fn probe() -> Message {
        Message::Probe { catalog_version: 0, deaf: false }
    }

    #[tokio::test]
    async fn requests_over_the_bound_are_refused_at_once_and_the_others_are_taken_in_order() {
        let mailbox = Mailbox::new(2, BYTES_MAX);
        let asks = async {
            let (_, _, third) = tokio::join!(
                timeout(Duration::ZERO, mailbox.ask(Request::Status)),
                timeout(Duration::ZERO, mailbox.ask(Request::Status)),
                mailbox.ask(Request::Status),
            );
            third
        };
        let Reply::Failed(Failure::Refused(Refusal::Overloaded { max: 2 })) = asks.await else {
            panic!("the third was not refused");
        };
        let mut mail = Vec::new();
        mailbox.post(Mail::Finish);
        mailbox.take(&mut mail);
        let kinds: Vec<bool> = mail.iter().map(|mail| matches!(mail, Mail::Asked { .. })).collect();
        assert_eq!(kinds, [true, true, false]);
    }

    #[tokio::test]
    async fn a_full_mailbox_has_room_again_once_it_was_emptied() {
        for (messages, bytes) in [(MESSAGES_MAX, 1), (2, BYTES_MAX)] {
            let mailbox = Mailbox::new(1, BYTES_MAX);
            mailbox.received(NodeId::new(1), vec![probe(); messages - 1], bytes - 1);
            mailbox.room().await;
            mailbox.received(NodeId::new(1), vec![probe()], 1);
            let mut room = Box::pin(mailbox.room());
            assert!(timeout(SOON, &mut room).await.is_err(), "{messages} in {bytes} are full");
            mailbox.take(&mut Vec::new());
            room.await;
            mailbox.received(NodeId::new(1), vec![probe()], 1);
            mailbox.room().await;
        }
    }

    #[tokio::test]
    async fn nobody_is_answered_by_a_node_that_is_gone() {
        let mailbox = Mailbox::new(1, BYTES_MAX);
        let mut ask = Box::pin(mailbox.ask(Request::Status));
        assert!(timeout(SOON, &mut ask).await.is_err());
        mailbox.take(&mut Vec::new());
        assert!(timeout(SOON, &mut ask).await.is_err(), "a dropped request was answered");
    }
}
