//! Imports and exports against a server that keeps values in a map.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Parser;
use client::{Client, ListOptions, Options};

use super::{Import, Summary};
use crate::commands::error::{CliError, Exit};
use crate::commands::export;

#[path = "../../../../../doors/client/tests/client/fake.rs"]
#[expect(dead_code, reason = "shared with the tests of the client, which use all of it")]
mod fake;
use fake::{Fake, Reply, Seen};

/// Content type and bytes, by path and query.
type Values = BTreeMap<String, Vec<(String, Vec<u8>)>>;

/// What the server holds. A put replaces what was there when its context was read, and one
/// without a context adds to it.
#[derive(Default)]
struct Map {
    values: Mutex<Values>,
    /// For each of the values the number of the put that made it.
    born: Mutex<BTreeMap<String, Vec<usize>>>,
    puts: AtomicUsize,
    /// The tokens of all puts.
    tokens: Mutex<BTreeSet<String>>,
}

impl Map {
    fn answer(&self, seen: &Seen) -> Reply {
        let mut values = self.values.lock().unwrap();
        match seen.method.as_str() {
            "PUT" => {
                let number = self.puts.fetch_add(1, Ordering::SeqCst) + 1;
                let token = seen.header("idempotency-key").expect("each put has one").to_owned();
                if !self.tokens.lock().unwrap().insert(token) {
                    let headers = vec![("merganser-context", self.context())];
                    return Reply::Answer(204, headers, Vec::new());
                }
                let mut born = self.born.lock().unwrap();
                let born = born.entry(seen.target.clone()).or_default();
                let held = values.entry(seen.target.clone()).or_default();
                born.resize(held.len(), 0);
                if let Some(context) = seen.header("merganser-context") {
                    let read: usize = context.strip_prefix('c').unwrap().parse().unwrap();
                    let is_news: Vec<bool> = born.iter().map(|number| read < *number).collect();
                    let mut news = is_news.iter();
                    held.retain(|_| *news.next().unwrap());
                    born.retain(|number| read < *number);
                }
                held.push((seen.header("content-type").unwrap().to_owned(), seen.body.clone()));
                born.push(number);
                Reply::Answer(204, vec![("merganser-context", self.context())], Vec::new())
            }
            _ if seen.target.starts_with("/v1/scan/") => json(&scan(&values)),
            _ => match values.get(&seen.target).map(Vec::as_slice) {
                None => Reply::problem(404, "not_found"),
                Some([(content_type, body)]) => {
                    let headers = vec![
                        ("content-type", content_type.clone()),
                        ("merganser-context", self.context()),
                    ];
                    Reply::Answer(200, headers, body.clone())
                }
                Some(several) => {
                    let (values, context) = (list(several), self.context());
                    let body = format!(r#"{{"values":[{values}],"context":"{context}"}}"#);
                    Reply::Answer(300, Vec::new(), body.into_bytes())
                }
            },
        }
    }

    /// Covers all that was put until now.
    fn context(&self) -> String {
        format!("c{}", self.puts.load(Ordering::SeqCst))
    }

    fn held(&self) -> BTreeMap<String, Vec<String>> {
        let text = |(_, body): &(String, Vec<u8>)| String::from_utf8_lossy(body).into_owned();
        let values = self.values.lock().unwrap();
        values.iter().map(|(key, held)| (key.clone(), held.iter().map(text).collect())).collect()
    }
}

fn json(body: &str) -> Reply {
    Reply::Answer(200, Vec::new(), body.as_bytes().to_vec())
}

fn list(values: &[(String, Vec<u8>)]) -> String {
    let one = |(content_type, body): &(String, Vec<u8>)| {
        let body = STANDARD.encode(body);
        format!(r#"{{"content_type":"{content_type}","value":"{body}","dot":"0a:1"}}"#)
    };
    values.iter().map(one).collect::<Vec<_>>().join(",")
}

fn scan(values: &Values) -> String {
    let one = |(target, values): (&String, &Vec<(String, Vec<u8>)>)| {
        let key = target.rsplit('/').next().unwrap();
        format!(r#"{{"key":"{key}","context":"c","values":[{}]}}"#, list(values))
    };
    format!(r#"{{"entries":[{}]}}"#, values.iter().map(one).collect::<Vec<_>>().join(","))
}

async fn serve(map: &Arc<Map>) -> Fake {
    let map = Arc::clone(map);
    Fake::start(move |seen| map.answer(seen)).await
}

async fn import(fake: &Fake, file: &Path, more: &[&str]) -> Result<Summary, CliError> {
    command(fake, file, more).import().await
}

fn command(fake: &Fake, file: &Path, more: &[&str]) -> Import {
    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        import: Import,
    }
    let file = file.to_str().unwrap();
    let args = ["import", "ks", "t", file, "--node", &fake.url];
    Cli::parse_from(args.iter().chain(more)).import
}

fn real_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sgp4-ver.tle")
}

fn lines(count: usize) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("records.jsonl");
    let line = |index: usize| format!(r#"{{"key":"k{index:04}","value":{index}}}"#);
    let text: Vec<String> = (1..=count).map(line).collect();
    std::fs::write(&file, text.join("\n")).unwrap();
    (dir, file)
}

fn state_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".merganser-import");
    PathBuf::from(name)
}

#[tokio::test]
async fn importing_the_real_file_twice_leaves_one_value_for_each_key() {
    let map = Arc::new(Map::default());
    let fake = serve(&map).await;
    let state = tempfile::tempdir().unwrap();
    let state = state.path().join("state");
    let more = ["--state", state.to_str().unwrap()];
    let first = import(&fake, &real_file(), &more).await.unwrap();
    // One object stands in the file twice, alike.
    let counts = (first.counts.stored, first.counts.replaced, first.counts.bad);
    assert_eq!(counts, (29, 1, 5));
    let second = import(&fake, &real_file(), &more).await.unwrap();
    assert_eq!((second.counts.stored, second.counts.unchanged), (0, 29));
    let held = map.held();
    assert_eq!(held.len(), 29);
    assert!(held.values().all(|values| values.len() == 1));
    let vanguard = &held["/v1/kv/ks/t/00005?sort=2000-179.78495062"][0];
    assert!(vanguard.starts_with("1 00005U") && vanguard.contains("\n2 00005 "), "{vanguard}");
}

#[tokio::test]
async fn of_several_lines_with_one_key_the_last_one_stays() {
    let map = Arc::new(Map::default());
    let fake = serve(&map).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f.jsonl");
    let line = |index| format!("{{\"key\":\"k\",\"value\":{index}}}\n");
    std::fs::write(&file, (1..=50).map(line).collect::<String>()).unwrap();
    let counts = import(&fake, &file, &[]).await.unwrap().counts;
    assert_eq!((counts.stored, counts.replaced), (1, 49));
    assert_eq!(map.held()["/v1/kv/ks/t/k"], ["50"]);
    let again = import(&fake, &file, &[]).await.unwrap().counts;
    assert_eq!((again.stored, again.unchanged, again.replaced), (0, 1, 49));
    assert_eq!(map.puts.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_import_that_was_stopped_goes_on_after_the_lines_that_are_done() {
    let map = Arc::new(Map::default());
    let (_dir, file) = lines(300);
    let failing = Arc::clone(&map);
    let broken = Fake::start(move |seen| {
        if failing.puts.load(Ordering::SeqCst) < 200 {
            failing.answer(seen)
        } else {
            Reply::problem(404, "unknown_table")
        }
    })
    .await;
    let err = import(&broken, &file, &[]).await.unwrap_err();
    assert_eq!(err.exit, Exit::NotFound);
    assert!(err.to_string().contains("goes on from there"), "{err}");
    assert!(state_of(&file).exists());

    let fake = serve(&map).await;
    let summary = import(&fake, &file, &[]).await.unwrap();
    assert!((150..=200).contains(&summary.resumed_after), "{}", summary.resumed_after);
    assert_eq!(summary.handled, 300 - summary.resumed_after);
    assert_eq!(summary.counts.stored + summary.counts.unchanged, 300);
    assert_eq!(map.held().len(), 300);
    assert!(!state_of(&file).exists());
    // What was done was not even looked at again.
    let looked_at = |key: &str| fake.seen().iter().any(|seen| seen.target.ends_with(key));
    assert!(!looked_at("k0001") && looked_at("k0300"));
}

#[tokio::test]
async fn a_state_of_another_file_is_refused_unless_fresh() {
    let map = Arc::new(Map::default());
    let fake = serve(&map).await;
    let (_dir, file) = lines(3);
    let (_other_dir, other) = lines(4);
    let saved = r#"{"job":{"keyspace":"ks","table":"t","format":"jsonl","key_column":null,
        "sort_column":null,"bytes":1,"head":"0"},"line":2,"counts":{"stored":2,"unchanged":0,"bad":0}}"#;
    std::fs::write(state_of(&file), saved).unwrap();
    let err = import(&fake, &file, &[]).await.unwrap_err();
    assert!(err.to_string().contains("--fresh"), "{err}");
    assert_eq!(map.held().len(), 0);
    assert_eq!(import(&fake, &file, &["--fresh"]).await.unwrap().handled, 3);
    assert_eq!(import(&fake, &other, &[]).await.unwrap().handled, 4);
}

#[tokio::test]
async fn a_put_whose_answer_got_lost_is_sent_again_as_the_same_put() {
    let map = Arc::new(Map::default());
    let stored = Arc::clone(&map);
    // Each third put is stored, and its answer lost.
    let fake = Fake::start(move |seen| {
        let answer = stored.answer(seen);
        let lost = seen.method == "PUT" && stored.puts.load(Ordering::SeqCst).is_multiple_of(3);
        if lost { Reply::Hangup } else { answer }
    })
    .await;
    let (_dir, file) = lines(20);
    let summary = import(&fake, &file, &["--parallel", "1"]).await.unwrap();
    assert_eq!(summary.counts.stored + summary.counts.unchanged, 20);
    let held = map.held();
    assert!(held.len() == 20 && held.values().all(|values| values.len() == 1), "{held:?}");

    let (_dir, file) = lines(20);
    import(&fake, &file, &["--parallel", "1", "--blind"]).await.unwrap();
    assert!(map.held().values().all(|values| values.len() == 2), "one more each: {:?}", map.held());
}

#[tokio::test]
async fn a_record_that_is_refused_is_a_bad_line_and_the_others_are_stored() {
    let map = Arc::new(Map::default());
    let stored = Arc::clone(&map);
    let fake = Fake::start(move |seen| {
        let is_refused = seen.method == "PUT" && seen.target.ends_with("k0002");
        if is_refused { Reply::problem(413, "value_too_large") } else { stored.answer(seen) }
    })
    .await;
    let (_dir, file) = lines(5);
    let summary = import(&fake, &file, &[]).await.unwrap();
    assert_eq!((summary.counts.stored, summary.counts.bad), (4, 1));
    assert_eq!(summary.bad[0].0, 2);
}

/// A server with a key that has siblings and one that has not.
async fn with_siblings() -> (Arc<Map>, Fake) {
    let map = Arc::new(Map::default());
    let siblings = [b"\xff\x00".to_vec(), b"two\nlines".to_vec(), b"two\nlines".to_vec()];
    let siblings = siblings.map(|body| ("text/plain".to_owned(), body)).to_vec();
    let object = vec![("application/json".to_owned(), br#"{"b":1.0,"a":2}"#.to_vec())];
    map.values.lock().unwrap().extend([
        ("/v1/kv/ks/t/several".to_owned(), siblings),
        ("/v1/kv/ks/t/single".to_owned(), object),
    ]);
    let fake = serve(&map).await;
    (map, fake)
}

async fn export(fake: &Fake, file: &Path) -> Result<u64, CliError> {
    let options = Options { attempts_max: 1, ..Options::default() };
    let client = Client::new([&fake.url], options).unwrap();
    let mut pages = client.table("ks", "t").scan(&ListOptions::default());
    export::write_file(&mut pages, file).await
}

#[tokio::test]
async fn an_export_that_is_imported_has_the_same_siblings() {
    let (from, fake) = with_siblings().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f.jsonl");
    assert_eq!(export(&fake, &file).await.unwrap(), 4);
    for more in [&["--parallel", "1"][..], &["--blind", "--parallel", "1"]] {
        let to = Arc::new(Map::default());
        let fake = serve(&to).await;
        import(&fake, &file, more).await.unwrap();
        assert_eq!(*from.values.lock().unwrap(), *to.values.lock().unwrap());
    }
}

#[tokio::test]
async fn siblings_replace_what_the_key_held_and_are_left_alone_if_they_are_there() {
    let (from, fake) = with_siblings().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f.jsonl");
    export(&fake, &file).await.unwrap();
    let to = Arc::new(Map::default());
    let old = ["x", "y"].map(|body| ("text/plain".to_owned(), body.as_bytes().to_vec()));
    to.values.lock().unwrap().insert("/v1/kv/ks/t/several".to_owned(), old.to_vec());
    let fake = serve(&to).await;
    assert_eq!(import(&fake, &file, &[]).await.unwrap().counts.stored, 2);
    assert_eq!(*from.values.lock().unwrap(), *to.values.lock().unwrap());
    to.values.lock().unwrap().get_mut("/v1/kv/ks/t/several").unwrap().reverse();
    assert_eq!(import(&fake, &file, &[]).await.unwrap().counts.unchanged, 2);
}

#[tokio::test]
async fn a_failed_export_leaves_the_older_file_as_it_was_and_says_so() {
    let (_map, good) = with_siblings().await;
    let broken = Fake::start(|_| Reply::problem(404, "unknown_table")).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("f.jsonl");
    let err = export(&broken, &file).await.unwrap_err();
    assert!(err.to_string().contains("there is no"), "{err}");
    assert!(!file.exists());
    export(&good, &file).await.unwrap();
    let before = std::fs::read(&file).unwrap();
    let err = export(&broken, &file).await.unwrap_err();
    assert!(err.to_string().contains("is as it was"), "{err}");
    assert_eq!(err.exit, Exit::NotFound);
    assert_eq!(std::fs::read(&file).unwrap(), before);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_file_without_a_record_is_no_success_and_an_empty_one_is() {
    let fake = serve(&Arc::new(Map::default())).await;
    let dir = tempfile::tempdir().unwrap();
    for (name, text, exit) in [
        ("a.tle", "# nothing\n", Some(Exit::BadLines)),
        ("b.csv", "id,name\n", Some(Exit::BadLines)),
        ("c.jsonl", "\n\n", Some(Exit::BadLines)),
        ("d.tle", "<html>\n", Some(Exit::BadLines)),
        ("e.tle", "", None),
        ("f.jsonl", "\u{feff}{\"key\":\"k\",\"value\":1}\n", None),
    ] {
        let file = dir.path().join(name);
        std::fs::write(&file, text).unwrap();
        let import = command(&fake, &file, &["--skip-bad"]);
        let summary = import.import().await.unwrap();
        assert_eq!(import.judge(&summary).err().map(|err| err.exit), exit, "{name}");
    }
}
