//! What waits for the node: one queue for everything that can happen to it.
//!
//! Connections, the committer's thread and the doors all put their news here, and the driver
//! takes everything at once. One wake-up, one reading of the clock, one disk group and one
//! write per peer then serve all of it: the busier the node, the larger the batch, the
//! cheaper each request.

use std::sync::{Mutex, MutexGuard, PoisonError};

use model::{Failure, NodeId, Refusal, Reply, Request};
use node::Message;
use storage::FlushError;
use tokio::sync::{Notify, oneshot};

/// The most messages of peers that wait. At it their connections are not read from, and
/// their own queues fill. As many as arrive in some milliseconds.
const MESSAGES_MAX: usize = 16_384;

/// One piece of news.
#[derive(Debug)]
pub(super) enum Mail {
    /// A client asks.
    Asked {
        /// What.
        request: Request,
        /// Where the answer goes.
        answer: oneshot::Sender<Reply>,
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
}

#[derive(Debug, Default)]
struct Waiting {
    mail: Vec<Mail>,
    requests: usize,
    messages: usize,
    /// What became of the group in flight. Apart, because it is taken also by a driver that
    /// cannot take more in.
    report: Option<Result<(), FlushError>>,
}

impl Mailbox {
    /// A mailbox that refuses more than so many waiting requests.
    pub(super) fn new(requests_max: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            arrived: Notify::new(),
            emptied: Notify::new(),
            requests_max,
        }
    }

    /// Puts a client's request in and waits for the answer. Over the bound the answer is
    /// a refusal, at once. A node that stops because its disk failed gives no answer: what
    /// it knows is that it does not know, and the broken connection says so.
    ///
    /// # Cancellation
    ///
    /// The request is carried out all the same; its answer goes nowhere.
    pub(super) async fn ask(&self, request: Request) -> Reply {
        let (answer, answered) = oneshot::channel();
        {
            let mut waiting = self.lock();
            if self.requests_max <= waiting.requests {
                let overloaded = Refusal::Overloaded { max: self.requests_max };
                return Reply::Failed(Failure::Refused(overloaded));
            }
            waiting.requests += 1;
            waiting.mail.push(Mail::Asked { request, answer });
        }
        self.arrived.notify_one();
        match answered.await {
            Ok(reply) => reply,
            Err(_) => std::future::pending().await,
        }
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
        waiting.requests = 0;
        let was_full = MESSAGES_MAX <= std::mem::take(&mut waiting.messages);
        drop(waiting);
        if was_full {
            self.emptied.notify_waiters();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl transport::Inbox for Mailbox {
    fn received(&self, from: NodeId, messages: Vec<Message>) {
        let mut waiting = self.lock();
        waiting.messages += messages.len();
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
            if self.lock().messages < MESSAGES_MAX {
                return;
            }
            emptied.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use transport::Inbox as _;

    use super::*;

    fn probe() -> Message {
        Message::Probe { catalog_version: 0 }
    }

    #[tokio::test]
    async fn requests_over_the_bound_are_refused_at_once_and_the_others_are_taken_in_order() {
        let mailbox = Mailbox::new(2);
        let asks = async {
            let (_, _, third) = tokio::join!(
                tokio::time::timeout(std::time::Duration::ZERO, mailbox.ask(Request::Status)),
                tokio::time::timeout(std::time::Duration::ZERO, mailbox.ask(Request::Status)),
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
        let mailbox = Mailbox::new(1);
        mailbox.received(NodeId::new(1), vec![probe(); MESSAGES_MAX - 1]);
        mailbox.room().await;
        mailbox.received(NodeId::new(1), vec![probe()]);
        let mut room = Box::pin(mailbox.room());
        let soon = std::time::Duration::from_millis(10);
        assert!(tokio::time::timeout(soon, &mut room).await.is_err(), "it is full");
        mailbox.take(&mut Vec::new());
        room.await;
    }

    #[tokio::test]
    async fn nobody_is_answered_by_a_node_that_is_gone() {
        let mailbox = Mailbox::new(1);
        let mut ask = Box::pin(mailbox.ask(Request::Status));
        let soon = std::time::Duration::from_millis(10);
        assert!(tokio::time::timeout(soon, &mut ask).await.is_err());
        mailbox.take(&mut Vec::new());
        assert!(
            tokio::time::timeout(soon, &mut ask).await.is_err(),
            "a dropped request was answered"
        );
    }
}
