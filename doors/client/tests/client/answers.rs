//! What is sent, and how the answers are read.

use crate::fake::{Fake, Reply, Seen};
use client::{
    Client, Content, Context, Demands, Error, Key, Level, ListOptions, Operation, Options, Outcome,
    ReadOptions, Since, TableContract, WatchOptions, WriteOptions,
};

fn client(fake: &Fake) -> Client {
    Client::new([&fake.url], Options::default()).unwrap()
}

fn json(body: &str) -> Reply {
    Reply::Answer(200, Vec::new(), body.as_bytes().to_vec())
}

#[tokio::test]
async fn a_put_says_key_levels_context_and_type() {
    let receipt = "strict; acks=n1,n2; durable=2; wanted=2; of=3; shard=ks1/17; dot=0a:4";
    let answer = move |_: &Seen| {
        let headers = vec![
            ("Merganser-Context", "tok-2".to_owned()),
            ("Merganser-Receipt", receipt.to_owned()),
        ];
        Reply::Answer(204, headers, Vec::new())
    };
    let fake = Fake::start(answer).await;
    let key = Key::with_sort(&b"a/b \xff"[..], "2024-01?");
    let options = WriteOptions {
        w: Some(Level::All),
        dw: Some(Level::Count(2)),
        demands: Demands { min_zones: Some(2), strict: true, ..Demands::default() },
        ..WriteOptions::default()
    };
    let context = Context::new("tok-1").unwrap();
    let table = client(&fake).table("ks", "t");
    let written = table.put(&key, &Content::text("x"), Some(&context), &options).await.unwrap();

    let seen = fake.seen().remove(0);
    assert_eq!(
        seen.target,
        "/v1/kv/ks/t/a%2Fb%20%FF?sort=2024-01%3F&w=ALL&dw=2&min_zones=2&min=strict"
    );
    assert_eq!(seen.header("merganser-context"), Some("tok-1"));
    assert_eq!(seen.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(seen.body, b"x");
    assert_eq!(written.context.unwrap().as_str(), "tok-2");
    assert_eq!(written.receipt.unwrap().acks, [1, 2]);
}

#[tokio::test]
async fn siblings_come_with_one_context() {
    let body = r#"{"values":[{"content_type":"text/plain","value":"YQ==","dot":"0a:1"},
        {"content_type":"application/json","value":"e30=","dot":"0b:1"}],"context":"tok"}"#;
    let fake = Fake::start(|_| Reply::Answer(300, Vec::new(), body.as_bytes().to_vec())).await;
    let table = client(&fake).table("ks", "t");
    let answer = table.get(&Key::from("k"), &ReadOptions::default()).await.unwrap();
    let texts: Vec<_> = answer.values.iter().map(|value| value.text()).collect();
    assert_eq!(texts, ["a", "{}"]);
    assert_eq!(answer.values[1].dot.as_ref().unwrap().as_str(), "0b:1");
    assert_eq!(answer.context.unwrap().as_str(), "tok");
}

#[tokio::test]
async fn a_deleted_key_has_a_context_and_an_unwritten_one_has_none() {
    for (code, context) in [("deleted", Some("tok")), ("not_found", None)] {
        let answer = move |_: &Seen| {
            let Reply::Answer(status, mut headers, body) = Reply::problem(404, code) else {
                unreachable!()
            };
            headers.extend(context.map(|token| ("Merganser-Context", token.to_owned())));
            Reply::Answer(status, headers, body)
        };
        let fake = Fake::start(answer).await;
        let table = client(&fake).table("ks", "t");
        let answer = table.get(&Key::from("k"), &ReadOptions::default()).await.unwrap();
        assert!(answer.values.is_empty());
        assert_eq!(answer.context.as_ref().map(Context::as_str), context);
    }
}

#[tokio::test]
async fn a_list_goes_on_until_there_is_no_cursor() {
    let fake = Fake::start(|seen| {
        if seen.target.contains("cursor=a%2Bb") {
            json(r#"{"entries":[{"key_base64":"/w==","sort":"s","context":"c"}]}"#)
        } else {
            json(r#"{"entries":[{"key":"k","context":"c","values":[]}],"cursor":"a+b"}"#)
        }
    })
    .await;
    let options = ListOptions { page_entries_max: 7, values: false, ..ListOptions::default() };
    let mut pages = client(&fake).table("ks", "t").scan(&options);
    let mut keys = Vec::new();
    while let Some(page) = pages.next().await.unwrap() {
        keys.extend(page.entries.into_iter().map(|entry| entry.key));
    }
    assert_eq!(keys, [Key::from("k"), Key::with_sort(&b"\xff"[..], "s")]);
    assert_eq!(fake.seen()[0].target, "/v1/scan/ks/t?limit=7&values=false");
}

#[tokio::test]
async fn a_feed_goes_on_behind_what_it_was_told_also_after_an_error() {
    let answers = std::sync::atomic::AtomicUsize::new(0);
    let fake = Fake::start(move |_| {
        match answers.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => json(
                r#"{"changes":[{"key":"a","deleted":false,"context":"c","values":[
                    {"content_type":"text/plain","value":"YQ=="}]},
                    {"key_base64":"/w==","sort":"s","deleted":true}],"cursor":"c+1","reading":true}"#,
            ),
            1 => Reply::problem(410, "cursor_expired"),
            _ => json(r#"{"changes":[],"cursor":"c2","rewound":4,"silent_shards":2}"#),
        }
    })
    .await;
    let options = WatchOptions { since: Since::Beginning, values: false, ..Default::default() };
    let mut feed = client(&fake).table("ks", "t").watch(&options);
    let told = feed.next().await.unwrap();
    assert!(told.reading && told.changes[1].deleted && told.changes[1].context.is_none());
    assert_eq!((told.changes[0].values[0].text(), told.changes[0].deleted), ("a".into(), false));
    assert_eq!(told.changes[1].key, Key::with_sort(&b"\xff"[..], "s"));
    let expired = feed.next().await.unwrap_err();
    assert!(matches!(&expired, Error::Refused(_)) && expired.code() == "cursor_expired");
    let told = feed.next().await.unwrap();
    assert_eq!((told.rewound, told.silent_shards, told.reading), (4, 2, false));
    let asked: Vec<String> = fake.seen().into_iter().map(|seen| seen.target).collect();
    let target = "/v1/changes/ks/t?limit=100&values=false&since=";
    assert_eq!(asked[0], format!("{target}beginning&wait=15000"));
    assert_eq!(asked[1..], [format!("{target}c%2B1&wait=15000"), asked[1].clone()]);
}

#[tokio::test]
async fn a_batch_has_one_outcome_for_each_operation() {
    let fake = Fake::start(|_| {
        json(
            r#"{"outcomes":[{"status":204,"context":"c1"},
            {"status":200,"values":[{"content_type":"t","value":"YQ==","dot":"0a:1"}],"context":"c2"},
            {"status":404,"problem":{"code":"deleted","status":404,"context":"c3"}},
            {"status":504,"problem":{"code":"unknown_outcome","status":504,"detail":"d"}},
            {"status":400,"problem":{"code":"context_invalid","status":400}}]}"#,
        )
    })
    .await;
    let key = Key::from("k");
    let get = Operation::get("ks", "t", &key, &ReadOptions::default());
    let options = WriteOptions::default();
    let put = Operation::put("ks", "t", &key, &Content::text("x"), None, &options);
    let delete = Operation::delete("ks", "t", &key, None, &options);
    let operations = [put.clone(), get.clone(), get, put, delete];
    let outcomes = client(&fake).batch(&operations).await.unwrap();
    assert!(matches!(&outcomes[0], Ok(Outcome::Written(w)) if w.context.is_some()));
    assert!(matches!(&outcomes[1], Ok(Outcome::Read(answer)) if answer.values.len() == 1));
    assert!(matches!(&outcomes[2], Ok(Outcome::Read(answer)) if answer.context.is_some()));
    assert!(matches!(&outcomes[3], Err(Error::Unknown { .. })));
    assert!(matches!(&outcomes[4], Err(Error::Refused(_))));
    let sent = String::from_utf8(fake.seen().remove(0).body).unwrap();
    assert!(
        sent.starts_with(
            r#"{"operations":[{"op":"put","keyspace":"ks","table":"t","key":"k","value":"eA=="#
        ),
        "{sent}"
    );
}

#[tokio::test]
async fn a_table_is_declared_with_what_was_said_and_no_more() {
    let fake = Fake::start(|_| {
        let body = r#"{"name":"t","id":3,"keyspace":"ks","policy":"siblings","durability":"synced",
            "read":"QUORUM","write":2}"#;
        Reply::Answer(201, Vec::new(), body.as_bytes().to_vec())
    })
    .await;
    let contract = TableContract { read: Some(Level::One), ..TableContract::new("siblings") };
    let (table, created) = client(&fake).create_table("ks", "t", &contract).await.unwrap();
    assert!(created);
    assert_eq!((table.id.as_str(), table.write.as_str()), ("3", "2"));
    assert_eq!(fake.seen()[0].body, br#"{"policy":"siblings","read":"ONE"}"#);
}

#[tokio::test]
async fn an_answer_beyond_the_bound_is_not_taken() {
    let fake = Fake::start(|_| Reply::Answer(200, Vec::new(), vec![b'x'; 10_000])).await;
    let options = Options { answer_bytes_max: 1_000, ..Options::default() };
    let table = Client::new([&fake.url], options).unwrap().table("ks", "t");
    let err = table.get(&Key::from("k"), &ReadOptions::default()).await.unwrap_err();
    assert!(matches!(err, Error::Protocol { .. }), "{err}");
    assert_eq!(fake.seen().len(), 1);
}
