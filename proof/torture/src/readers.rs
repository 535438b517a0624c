//! One client for each node, which reads everything again and again at every level.
//!
//! What was deleted may come back for a moment only, before a repair finds it. So it is not enough to
//! look at the end. Readers go on while nodes are cut off, given up, filled again and put back;
//! what each read shows is [judged](Book::judge), and the first that is wrong ends the run. A read
//! may fail: what fails shows nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use client::{Client, Error, Key, Level, ListOptions, Options, ReadOptions, Table};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::book::{Book, TABLE, acks, values};
use crate::outcome::Stop;

/// Between two reads of one client.
const PAUSE: Duration = Duration::from_millis(5);

/// How long a read may take. Short, so that a node which is cut off is asked again when it is not.
const TIMEOUT: Duration = Duration::from_millis(500);

/// One of so many reads is one of all keys.
const SCANS: u32 = 24;

/// Running clients. They end when this is dropped.
#[derive(Debug)]
pub struct Readers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Result<(), Stop>>>,
}

#[derive(Debug)]
struct Shared {
    book: Arc<Book>,
    stop: AtomicBool,
    seen: Mutex<Seen>,
}

/// What all readers saw.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// How many keys each node has shown or shown to be absent, at each level.
    answered: BTreeMap<(u16, String), u64>,
    /// Reads that failed.
    failed: u64,
    wrong: Vec<String>,
}

impl Readers {
    /// Starts a client for each node. The table has to be declared.
    pub fn start(book: &Arc<Book>, nodes: &BTreeMap<u16, SocketAddr>, seed: u64) -> Self {
        let (book, stop) = (Arc::clone(book), AtomicBool::new(false));
        let shared = Arc::new(Shared { book, stop, seen: Mutex::default() });
        let start = |(node, address): (&u16, &SocketAddr)| {
            let (shared, node, address) = (Arc::clone(&shared), *node, *address);
            let rng = SmallRng::seed_from_u64(seed ^ u64::from(node));
            std::thread::spawn(move || shared.read_on(node, address, rng))
        };
        Self { threads: nodes.iter().map(start).collect(), shared }
    }

    /// Whether all was right so far.
    ///
    /// # Errors
    ///
    /// The first that was not.
    pub fn check(&self) -> Result<(), Stop> {
        let wrong = self.shared.seen().wrong.first().cloned();
        wrong.map_or(Ok(()), |why| Err(Stop::Failed(why)))
    }

    /// How many answers of a node there were so far.
    pub fn answered(&self, node: u16) -> u64 {
        let seen = self.shared.seen();
        seen.answered.iter().filter(|((of, _), _)| *of == node).map(|(_, count)| count).sum()
    }

    /// Lets each client finish its read. Returns how many keys they were shown.
    ///
    /// # Errors
    ///
    /// Something was wrong, or a client could not work.
    pub fn finish(mut self) -> Result<u64, Stop> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in std::mem::take(&mut self.threads) {
            thread.join().map_err(|_| Stop::failed("a reader panicked"))??;
        }
        self.check()?;
        let Seen { answered, failed, .. } = self.shared.seen().clone();
        eprintln!("reads of keys: {answered:?}; {failed} reads failed");
        Ok(answered.values().sum())
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_on(&self, node: u16, address: SocketAddr, mut rng: SmallRng) -> Result<(), Stop> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let options = Options { timeout: TIMEOUT, attempts_max: 1, ..Options::default() };
        let client = Client::new(&[format!("http://{address}")], options).map_err(Stop::failed)?;
        let table = client.table(TABLE, TABLE);
        runtime.block_on(async {
            while !self.stop.load(Ordering::Relaxed) {
                let names = self.book.names();
                let level = match rng.random_range(0..3) {
                    0 => Level::One,
                    1 => Level::Quorum,
                    _ => Level::All,
                };
                if rng.random_ratio(1, SCANS) {
                    self.scan(node, &table, level, &names).await;
                } else if let Some(name) = names.get(rng.random_range(0..names.len().max(1))) {
                    self.get(node, &table, level, name).await;
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Ok(())
    }

    async fn get(&self, node: u16, table: &Table, level: Level, name: &str) {
        let moment = self.book.moment(name);
        let options = ReadOptions { r: Some(level), ..ReadOptions::default() };
        let Ok(answer) = table.get(&Key::from(name), &options).await else {
            self.seen().failed += 1;
            return;
        };
        let found: Vec<String> = values(&answer).into_keys().collect();
        let judged = self.book.judge(&moment, level, &acks(&answer), &found);
        self.note(node, level, [judged]);
    }

    /// Reads all keys, and judges those that are not there as well.
    async fn scan(&self, node: u16, table: &Table, level: Level, names: &[String]) {
        let moments: Vec<_> = names.iter().map(|name| self.book.moment(name)).collect();
        let Ok(mut found) = scan(table, level).await else {
            self.seen().failed += 1;
            return;
        };
        // Who has answered is told of the last shard only.
        let judge = |(name, moment)| {
            let values = found.remove(name).unwrap_or_default();
            self.book.judge(moment, level, &[], &values)
        };
        let judged: Vec<_> = names.iter().zip(&moments).map(judge).collect();
        self.note(node, level, judged);
    }

    fn note(&self, node: u16, level: Level, judged: impl IntoIterator<Item = Result<(), String>>) {
        let mut seen = self.seen();
        for judged in judged {
            *seen.answered.entry((node, level.to_string())).or_default() += 1;
            if let Err(why) = judged {
                eprintln!("n{node} was asked for {why}");
                seen.wrong.push(format!("n{node} was asked for {why}"));
            }
        }
    }
}

/// The values of all keys that have some.
async fn scan(table: &Table, level: Level) -> Result<BTreeMap<String, Vec<String>>, Error> {
    let options = ListOptions { r: Some(level), values: true, ..ListOptions::default() };
    let (mut pages, mut all) = (table.scan(&options), BTreeMap::new());
    while let Some(page) = pages.next().await? {
        for entry in page.entries {
            let name = String::from_utf8_lossy(&entry.key.partition).into_owned();
            let values = entry.values.iter().map(|value| value.text().into_owned());
            all.insert(name, values.collect());
        }
    }
    Ok(all)
}
