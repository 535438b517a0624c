//! What is repeated, what is not, and what the caller is told.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::fake::{Fake, Reply};
use client::{
    Client, Content, Error, Fate, Identity, Key, Operation, Options, Order, ReadOptions, Token,
    WriteOptions, Written,
};

fn client(fakes: &[&Fake], timeout_ms: u64) -> Client {
    let options = Options { timeout: Duration::from_millis(timeout_ms), ..Options::default() };
    Client::new(fakes.iter().map(|fake| &fake.url), options).unwrap()
}

async fn get(client: &Client) -> Result<String, Error> {
    let answer = client.table("ks", "t").get(&Key::from("k"), &ReadOptions::default()).await?;
    Ok(answer.values.iter().map(|value| value.text().into_owned()).collect::<Vec<_>>().join(","))
}

async fn put(client: &Client) -> Result<(), Error> {
    put_as(client, Identity::Fresh).await.map(drop)
}

async fn put_as(client: &Client, identity: Identity) -> Result<Written, Error> {
    let (key, content) = (Key::from("k"), Content::text("v"));
    let options = WriteOptions { identity, ..WriteOptions::default() };
    client.table("ks", "t").put(&key, &content, None, &options).await
}

/// The tokens of the puts that came.
fn tokens(fake: &Fake) -> Vec<Option<String>> {
    let seen = fake.seen().into_iter().filter(|seen| seen.method == "PUT");
    seen.map(|seen| seen.header("idempotency-key").map(str::to_owned)).collect()
}

/// Whether each put said that it was sent before.
fn repetitions(fake: &Fake) -> Vec<bool> {
    let seen = fake.seen().into_iter().filter(|seen| seen.method == "PUT");
    seen.map(|seen| seen.header("merganser-repeated") == Some("true")).collect()
}

fn value() -> Reply {
    Reply::Answer(200, vec![("content-type", "text/plain".to_owned())], b"v".to_vec())
}

fn written() -> Reply {
    Reply::Answer(204, vec![("merganser-context", "abc".to_owned())], Vec::new())
}

async fn failing_once(
    first: impl Fn() -> Reply + Send + Sync + 'static,
    then: impl Fn() -> Reply + Send + Sync + 'static,
) -> Fake {
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
async fn a_put_that_is_unsafe_to_repeat_is_not_repeated() {
    let fake = failing_once(|| Reply::Hangup, written).await;
    let err = put_as(&client(&[&fake], 5_000), Identity::UnsafeToRepeat).await.unwrap_err();
    assert!(matches!(err, Error::Unknown { token: None, .. }), "{err}");
    assert_eq!(tokens(&fake), [None]);
    let first = Fake::start(|_| Reply::problem(504, "unknown_outcome")).await;
    let second = Fake::start(|_| written()).await;
    let client = client(&[&first, &second], 5_000);
    let err = put_as(&client, Identity::UnsafeToRepeat).await.unwrap_err();
    assert!(matches!(err, Error::Unknown { problem: Some(_), .. }), "{err}");
    assert_eq!((first.count("PUT"), second.count("PUT")), (1, 0));
}

#[tokio::test]
async fn a_put_that_nobody_answered_is_sent_again_as_the_same_write() {
    let fake = failing_once(|| Reply::Hangup, written).await;
    let written_as = put_as(&client(&[&fake], 5_000), Identity::Fresh).await.unwrap();
    let token = written_as.token.map(|token| token.to_string());
    assert_eq!(tokens(&fake), [token.clone(), token]);
    assert_eq!(repetitions(&fake), [false, true]);

    let first = Fake::start(|_| Reply::problem(504, "unknown_outcome")).await;
    let repeated = || {
        let headers = vec![("merganser-repeated", "true".to_owned())];
        Reply::Answer(204, headers, Vec::new())
    };
    let second = Fake::start(move |_| repeated()).await;
    let token = Token::new();
    let client = client(&[&first, &second], 5_000);
    let written = put_as(&client, Identity::Known(token)).await.unwrap();
    assert!(written.repeated && written.token == Some(token));
    assert_eq!(tokens(&first), tokens(&second));
    assert_eq!(repetitions(&first), [true], "who knows the token may have sent it before");

    let refuses = failing_once(|| Reply::problem(503, "not_attempted"), self::written).await;
    put(&self::client(&[&refuses], 5_000)).await.unwrap();
    assert_eq!(repetitions(&refuses), [false, false], "the first has changed nothing");
}

#[tokio::test]
async fn two_puts_have_two_tokens() {
    let fake = Fake::start(|_| written()).await;
    let client = client(&[&fake], 5_000);
    put(&client).await.unwrap();
    put(&client).await.unwrap();
    let tokens = tokens(&fake);
    assert!(tokens[0].is_some() && tokens[0] != tokens[1], "{tokens:?}");
}

#[tokio::test]
async fn what_is_refused_after_an_attempt_in_vain_is_unknown() {
    let refusals = [(410, "token_expired"), (503, "not_attempted"), (409, "too_many_siblings")];
    for (status, code) in refusals {
        let fake = Fake::start(|_| Reply::problem(504, "unknown_outcome")).await;
        let refuses = Fake::start(move |_| Reply::problem(status, code)).await;
        let err = put(&client(&[&fake, &refuses], 300)).await.unwrap_err();
        assert!(matches!(err, Error::Unknown { token: Some(_), .. }), "{code}: {err}");
    }
}

#[tokio::test]
async fn a_node_that_hangs_leaves_time_for_another() {
    let (hangs, answers) =
        (Fake::start(|_| Reply::Silence).await, Fake::start(|_| written()).await);
    put(&client(&[&hangs, &answers], 2_500)).await.unwrap();
    assert_eq!(tokens(&hangs), tokens(&answers));
}

#[tokio::test]
async fn a_node_that_asks_to_be_left_alone_is_left_alone() {
    let busy = || {
        let body = br#"{"status":503,"code":"overloaded","title":"t","detail":"d"}"#.to_vec();
        Reply::Answer(503, vec![("retry-after", "1".to_owned())], body)
    };
    let (first, second) = (failing_once(busy, written).await, failing_once(busy, written).await);
    let began = std::time::Instant::now();
    put(&client(&[&first, &second], 5_000)).await.unwrap();
    assert!(Duration::from_millis(900) < began.elapsed(), "{:?}", began.elapsed());
    assert_eq!(first.count("PUT") + second.count("PUT"), 3);
    let always = Fake::start(move |_| busy()).await;
    let impatient = client(&[&always], 500);
    let began = std::time::Instant::now();
    assert!(matches!(put(&impatient).await, Err(Error::NotAttempted(_))));
    assert!(began.elapsed() < Duration::from_millis(400), "there is no use in waiting");
}

#[tokio::test]
async fn each_write_of_a_batch_has_a_token_and_the_batch_is_sent_again() {
    let body = br#"{"outcomes":[{"status":204,"repeated":true},{"status":204}]}"#;
    let fake = failing_once(|| Reply::Hangup, || Reply::Answer(200, Vec::new(), body.to_vec()));
    let fake = fake.await;
    let put = |identity| {
        let options = WriteOptions { identity, ..WriteOptions::default() };
        Operation::put("ks", "t", &Key::from("k"), &Content::text("v"), None, &options)
    };
    let both = [put(Identity::Fresh), put(Identity::Fresh)];
    let outcomes = client(&[&fake], 5_000).batch(&both).await.unwrap();
    let Ok(client::Outcome::Written(first)) = &outcomes[0] else { panic!("{outcomes:?}") };
    let seen = fake.seen();
    assert_eq!((seen.len(), &seen[0].body), (2, &seen[1].body));
    let sent: serde_json::Value = serde_json::from_slice(&seen[0].body).unwrap();
    let token = sent["operations"][0]["idempotency_key"].as_str();
    assert!(first.repeated && first.token.map(|token| token.to_string()).as_deref() == token);
    let fake = failing_once(|| Reply::Hangup, || Reply::Answer(200, Vec::new(), body.to_vec()));
    let fake = fake.await;
    let unsafe_one = [put(Identity::Fresh), put(Identity::UnsafeToRepeat)];
    let err = client(&[&fake], 5_000).batch(&unsafe_one).await.unwrap_err();
    assert!(matches!(err, Error::Unknown { .. }) && fake.seen().len() == 1, "{err}");
}

#[tokio::test]
async fn the_outcome_of_a_write_is_asked_by_its_token_and_key() {
    let body = br#"{"outcome":"not_seen","final":true,"guests":[],"without":[1,2],"silent":[3]}"#;
    let fake = Fake::start(|_| Reply::Answer(200, Vec::new(), body.to_vec())).await;
    let token = Token::new();
    let table = client(&[&fake], 5_000).table("ks", "t");
    let told = table.outcome(&Key::with_sort("a/b", "s"), token).await.unwrap();
    assert_eq!(
        (told.fate, told.without, told.silent.len()),
        (Fate::NotSeen { is_final: true }, vec![1, 2], 1)
    );
    assert_eq!(fake.seen()[0].target, format!("/v1/outcome/{token}/ks/t/a%2Fb?sort=s"));
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
    assert!((2..=16).contains(&tries), "{tries} tries");
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
