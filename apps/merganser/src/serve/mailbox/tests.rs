//! What waits, what is refused, and in which order it comes out.

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
        sessions: None,
        keyspace: name.clone(),
        table: name,
        key: model::Key::new("key".into(), "".into()).unwrap(),
        mutation: Mutation::Store(model::Value {
            content_type: "".into(),
            body: vec![0; bytes].into(),
        }),
        context: Default::default(),
        token: None,
        repeated: false,
        marks: Default::default(),
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
    assert!(!mailbox.take_asked(10, &mut Vec::new()));
    assert!(!is_refused(&mailbox, put(0)).await);
}

#[tokio::test]
async fn while_the_oldest_waits_too_long_newcomers_are_refused_at_once() {
    let mailbox = Mailbox::new(1_000, BYTES_MAX);
    let mut waits = Vec::new();
    for _ in 0..100 {
        let mut wait = Box::pin(mailbox.ask(Request::Status));
        assert!(timeout(Duration::ZERO, &mut wait).await.is_err());
        waits.push(wait);
    }
    // The driver comes by all the while, and begins with none of them.
    for millis in (60..200).step_by(10) {
        let now = Now::from_micros(millis * 1_000);
        mailbox.take(&mut Vec::new(), now, |_| Now::default());
    }
    assert!(is_refused(&mailbox, Request::Status).await);
    assert!(!http::Gate::is_open(&mailbox), "and before anything of it is read");
    assert_eq!(mailbox.load(), Load { is_overloaded: true, refused: 2, waiting: 100 });
    let mut asked = Vec::new();
    assert!(mailbox.take_asked(90, &mut asked), "those before are all begun with");
    assert!(!is_refused(&mailbox, Request::Status).await, "there is room again");
}

fn take(mailbox: &Mailbox) -> Vec<Mail> {
    let mut mail = Vec::new();
    mailbox.take(&mut mail, Now::default(), |_| Now::default());
    mail
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
    let mail = take(&mailbox);
    let [Mail::Connected(_), Mail::Received { .. }] = &mail[..] else { panic!("{mail:?}") };
    assert!(!is_refused(&mailbox, Request::Status).await, "it is not choked any more");
}

fn probe() -> Message {
    Message::Probe { catalog_version: 0, deaf: false, disk: None }
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
    mailbox.post(Mail::Finish);
    assert!(matches!(take(&mailbox)[..], [Mail::Finish]));
    let mut asked = Vec::new();
    assert!(mailbox.take_asked(1, &mut asked) && !mailbox.take_asked(9, &mut asked));
    assert_eq!(asked.len(), 2);
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
        take(&mailbox);
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
    mailbox.take_asked(9, &mut Vec::new());
    assert!(timeout(SOON, &mut ask).await.is_err(), "a dropped request was answered");
}
