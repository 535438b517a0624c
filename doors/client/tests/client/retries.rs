//! What is repeated, what is not, and what the caller is told.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::fake::{Fake, Reply};
use client::{Client, Content, Error, Key, Options, Order, ReadOptions, WriteOptions};

fn client(fakes: &[&Fake], timeout_ms: u64) -> Client {
    let options = Options { timeout: Duration::from_millis(timeout_ms), ..Options::default() };
    Client::new(fakes.iter().map(|fake| &fake.url), options).unwrap()
}

async fn get(client: &Client) -> Result<String, Error> {
    let answer = client.table("ks", "t").get(&Key::from("k"), &ReadOptions::default()).await?;
    Ok(answer.values.iter().map(|value| value.text().into_owned()).collect::<Vec<_>>().join(","))
}

async fn put(client: &Client) -> Result<(), Error> {
    let (key, content) = (Key::from("k"), Content::text("v"));
    client.table("ks", "t").put(&key, &content, None, &WriteOptions::default()).await.map(drop)
}

fn value() -> Reply {
    Reply::Answer(200, vec![("content-type", "text/plain".to_owned())], b"v".to_vec())
}

fn written() -> Reply {
    Reply::Answer(204, vec![("merganser-context", "abc".to_owned())], Vec::new())
}

async fn failing_once(first: fn() -> Reply, then: fn() -> Reply) -> Fake {
    let count = AtomicUsize::new(0);
    let next = move || if count.fetch_add(1, Ordering::SeqCst) == 0 { first() } else { then() };
    Fake::start(move |_| next()).await
}

#[tokio::test]
async fn a_get_whose_connection_breaks_is_repeated() {
    let fake = failing_once(|| Reply::Hangup, value).await;
    assert_eq!(get(&client(&[&fake], 5_000)).await.unwrap(), "v");
    assert_eq!(fake.count("GET"), 2);
}

#[tokio::test]
async fn a_put_whose_connection_breaks_is_not_repeated() {
    let fake = failing_once(|| Reply::Hangup, written).await;
    let err = put(&client(&[&fake], 5_000)).await.unwrap_err();
    assert!(matches!(err, Error::Unknown { .. }), "{err}");
    assert_eq!(fake.count("PUT"), 1);
}

#[tokio::test]
async fn a_put_of_unknown_outcome_is_not_repeated_at_another_endpoint() {
    let first = Fake::start(|_| Reply::problem(504, "unknown_outcome")).await;
    let second = Fake::start(|_| written()).await;
    let err = put(&client(&[&first, &second], 5_000)).await.unwrap_err();
    assert!(matches!(err, Error::Unknown { problem: Some(_), .. }), "{err}");
    assert_eq!((first.count("PUT"), second.count("PUT")), (1, 0));
}

#[tokio::test]
async fn a_put_that_changed_nothing_is_repeated_at_the_next_endpoint() {
    for (status, code) in [(503, "not_attempted"), (500, "disk_failed")] {
        let first = Fake::start(move |_| Reply::problem(status, code)).await;
        let second = Fake::start(|_| written()).await;
        put(&client(&[&first, &second], 5_000)).await.unwrap();
        assert_eq!((first.count("PUT"), second.count("PUT")), (1, 1), "{code}");
    }
}

#[tokio::test]
async fn a_put_that_no_node_could_begin_ends_as_not_attempted() {
    let fake = Fake::start(|_| Reply::problem(500, "disk_failed")).await;
    let err = put(&client(&[&fake], 200)).await.unwrap_err();
    assert!(matches!(err, Error::NotAttempted(_)), "{err}");
}

#[tokio::test]
async fn a_put_goes_to_the_next_endpoint_when_the_first_is_not_there() {
    let gone = Fake::start(|_| written()).await;
    let url = gone.url.clone();
    drop(gone);
    let there = Fake::start(|_| written()).await;
    let client = Client::new([&url, &there.url], Options::default()).unwrap();
    put(&client).await.unwrap();
    put(&client).await.unwrap();
    assert_eq!(there.count("PUT"), 2);
}

#[tokio::test]
async fn a_put_on_a_connection_that_was_closed_while_idle_is_sent_on_a_new_one() {
    let fake = Fake::start(|_| written()).await;
    let address = fake.url.strip_prefix("http://").unwrap().to_owned();
    let client = client(&[&fake], 5_000);
    put(&client).await.unwrap();
    // The server goes away with its connections, and comes back at the same place.
    drop(fake);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let again = Fake::start_at(&address, |_| written()).await;
    put(&client).await.unwrap();
    assert_eq!(again.count("PUT"), 1);
}

#[tokio::test]
async fn a_put_that_is_never_answered_ends_as_unknown_in_time() {
    let fake = Fake::start(|_| Reply::Silence).await;
    let began = std::time::Instant::now();
    let err = put(&client(&[&fake], 200)).await.unwrap_err();
    assert!(matches!(err, Error::Unknown { .. }), "{err}");
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_refusal_is_final_and_carries_what_the_server_said() {
    let fake = Fake::start(|_| Reply::problem(404, "unknown_table")).await;
    let err = get(&client(&[&fake], 5_000)).await.unwrap_err();
    assert!(matches!(&err, Error::Refused(problem) if problem.code == "unknown_table"), "{err}");
    assert_eq!(fake.count("GET"), 1);
}

#[tokio::test]
async fn overload_that_lasts_ends_as_not_attempted_after_a_few_tries() {
    let fake = Fake::start(|_| Reply::problem(503, "overloaded")).await;
    let err = put(&client(&[&fake], 300)).await.unwrap_err();
    assert!(matches!(err, Error::NotAttempted(_)), "{err}");
    let tries = fake.count("PUT");
    assert!((2..=10).contains(&tries), "{tries} tries");
}

#[tokio::test]
async fn requests_in_turn_share_one_connection_and_spread_over_endpoints() {
    let (first, second) = (Fake::start(|_| value()).await, Fake::start(|_| value()).await);
    let options = Options { order: Order::RoundRobin, ..Options::default() };
    let client = Client::new([&first.url, &second.url], options).unwrap();
    for _ in 0..6 {
        get(&client).await.unwrap();
    }
    assert_eq!((first.count("GET"), second.count("GET")), (3, 3));
}
