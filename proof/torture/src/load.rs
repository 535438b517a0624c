//! Clients that write and remember what they were told, and the reader that compares.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use client::{
    Client, Content, Context, Error, Key, KeyspaceContract, Level, Options, Order, ReadOptions,
    Replicas, Table, TableContract, WriteOptions,
};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::expected::{Expected, Outcome};
use crate::outcome::{Figures, Stop};

/// Clients that write at once, each with keys of its own besides the shared ones.
const WORKERS: u64 = 4;

/// Registers of one worker. Few, so that each is overwritten often.
const REGISTERS: u64 = 20;

/// Keys that all workers write to without having read them.
const SHARED: u64 = 12;

/// How long one request may take. Short, so that a dead node does not stop the load.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The database as the clients see it, and what they know of it.
#[derive(Clone, Debug)]
pub struct Load {
    urls: Vec<String>,
    expected: Arc<Mutex<Expected>>,
    /// Bytes appended to each value.
    padding: usize,
    /// Whether the nodes are about to lose power: see [`Load::hear_nothing`].
    deaf: Arc<AtomicBool>,
}

/// What came of a [glance](Load::glance) at all keys.
#[derive(Clone, Copy, Debug, Default)]
pub struct Glance {
    /// Keys that were read.
    pub answered: u64,
    /// Keys whose reads failed.
    pub refused: u64,
}

/// Running workers. They end when this is dropped.
#[derive(Debug)]
pub struct Workers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<(), Stop>>>,
}

impl Load {
    /// Declares keyspace and table with so many replicas.
    ///
    /// # Errors
    ///
    /// The cluster does not take the declarations.
    pub fn declare(urls: Vec<String>, replicas: u8, padding: usize) -> Result<Self, Stop> {
        let load = Self { urls, expected: Arc::default(), padding, deaf: Arc::default() };
        let contract =
            KeyspaceContract { shards: Some(8), replicas: Some(Replicas::Here(replicas)) };
        load.block_on(async |client| {
            client.create_keyspace("t", &contract).await?;
            client.create_table("t", "t", &TableContract::new("siblings")).await
        })?
        .map_err(Stop::failed)?;
        Ok(load)
    }

    /// From now on values have so many bytes more.
    pub fn pad(&mut self, bytes: usize) {
        self.padding = bytes;
    }

    /// Declares a keyspace and a table of one name besides.
    ///
    /// # Errors
    ///
    /// The cluster does not take the declarations.
    pub fn declare_more(
        &self,
        name: &str,
        (keyspace, table): &(KeyspaceContract, TableContract),
    ) -> Result<(), Stop> {
        self.block_on(async |client| {
            client.create_keyspace(name, keyspace).await?;
            client.create_table(name, name, table).await
        })?
        .map_err(Stop::failed)
        .map(|_| ())
    }

    /// Reads elements that are their own names at `ALL`, in a keyspace and table of one name.
    ///
    /// # Errors
    ///
    /// One cannot be read, or is not there alone.
    pub fn check_elements(&self, table: &str, names: &[String]) -> Result<(), Stop> {
        let options = ReadOptions { r: Some(Level::All), ..ReadOptions::default() };
        self.block_on(async |client| {
            let table = client.table(table, table);
            for name in names {
                let found = read(&table, name, &options).await;
                let (found, _) = found.map_err(|err| Stop::Failed(format!("{name}: {err}")))?;
                if found != [name.clone()] {
                    return Err(Stop::Failed(format!("LOST {name}: it was kept; found {found:?}")));
                }
            }
            Ok(())
        })?
    }

    /// Starts the workers.
    pub fn start(&self, seed: u64) -> Workers {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..WORKERS)
            .map(|number| {
                let (load, stop) = (self.clone(), Arc::clone(&stop));
                std::thread::spawn(move || load.work(number, seed ^ (number << 32), &stop))
            })
            .collect();
        Workers { stop, threads }
    }

    /// Writes under way when a process died, and what is known of all others.
    pub fn expected(&self) -> MutexGuard<'_, Expected> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, or no longer, takes no answer for one. A machine that has lost power sends
    /// nothing; here the process outlives its disk by a moment, in which a sync that was under
    /// way may return and say that all is well.
    pub fn hear_nothing(&self, deaf: bool) {
        self.deaf.store(deaf, Ordering::SeqCst);
    }

    /// How many writes were acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.expected().values().map(|key| key.count(Outcome::Acknowledged)).sum()
    }

    /// How many writes were sent after some moment, and acknowledged.
    pub fn acknowledged_after(&self, moment: SystemTime) -> u64 {
        self.expected().values().map(|key| key.acknowledged_after(moment)).sum()
    }

    /// Reads every key at a level and compares.
    ///
    /// # Errors
    ///
    /// A key cannot be read, or what it holds is wrong.
    pub fn check(&self, level: Level) -> Result<Figures, Stop> {
        let expected = self.expected().clone();
        let options = ReadOptions { r: Some(level), ..ReadOptions::default() };
        self.block_on(async |client| {
            let table = client.table("t", "t");
            let mut figures = Figures::default();
            for (name, key) in &expected {
                let found = read(&table, name, &options).await;
                let (found, _) = found.map_err(|err| Stop::Failed(format!("{name}: {err}")))?;
                let counted =
                    if name.starts_with("counter") { key.counted(&found) } else { Ok(()) };
                key.check(&found)
                    .and(counted)
                    .map_err(|why| Stop::Failed(format!("{name}: {why}")))?;
                figures.checked += 1;
                figures.acknowledged += key.count(Outcome::Acknowledged);
                figures.unknown += key.count(Outcome::Unknown);
            }
            Ok(figures)
        })?
    }

    /// The same expectations, compared with what other nodes tell.
    pub fn at(&self, urls: Vec<String>) -> Self {
        Self { urls, ..self.clone() }
    }

    /// Reads every key once at a level too low to demand that acknowledged writes show. No
    /// answer may hold what nobody wrote; a refusal is an answer.
    ///
    /// # Errors
    ///
    /// Something was read that nobody wrote.
    pub fn glance(&self, level: Level) -> Result<Glance, Stop> {
        let expected = self.expected().clone();
        let options = ReadOptions { r: Some(level), ..ReadOptions::default() };
        self.block_on(async |client| {
            let table = client.table("t", "t");
            let mut glance = Glance::default();
            for (name, key) in &expected {
                match read(&table, name, &options).await {
                    Ok((found, _)) => {
                        key.known(&found).map_err(|why| Stop::Failed(format!("{name}: {why}")))?;
                        glance.answered += 1;
                    }
                    Err(_) => glance.refused += 1,
                }
            }
            Ok(glance)
        })?
    }

    fn block_on<T>(&self, work: impl AsyncFnOnce(Client) -> T) -> Result<T, Stop> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let timeout = Duration::from_secs(20);
        let options = Options { timeout, order: Order::RoundRobin, ..Options::default() };
        let client = Client::new(&self.urls, options).map_err(Stop::failed)?;
        Ok(runtime.block_on(work(client)))
    }

    fn work(&self, number: u64, seed: u64, stop: &AtomicBool) -> Result<(), Stop> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let options = Options {
            timeout: TIMEOUT,
            attempts_max: 1,
            order: Order::RoundRobin,
            ..Options::default()
        };
        let client = Client::new(&self.urls, options).map_err(Stop::failed)?;
        let mut worker = Worker {
            load: self,
            table: client.table("t", "t"),
            rng: SmallRng::seed_from_u64(seed),
            number,
            written: 0,
        };
        runtime.block_on(async {
            while !stop.load(Ordering::Relaxed) {
                if !worker.turn().await? {
                    // Nobody is there: do not ask a thousand times a second.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
            Ok(())
        })
    }
}

impl Workers {
    /// Lets each worker finish its request and end.
    ///
    /// # Errors
    ///
    /// A worker was answered something that no fault explains.
    pub fn finish(mut self) -> Result<(), Stop> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in std::mem::take(&mut self.threads) {
            thread.join().map_err(|_| Stop::failed("a worker panicked"))??;
        }
        Ok(())
    }
}

impl Drop for Workers {
    /// Whoever goes away early, because something is wrong, leaves nobody at work.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Worker<'a> {
    load: &'a Load,
    table: Table,
    rng: SmallRng,
    number: u64,
    written: u64,
}

impl Worker<'_> {
    /// One operation. Says whether it was answered.
    async fn turn(&mut self) -> Result<bool, Stop> {
        match self.rng.random_range(0..10) {
            0..2 => {
                let name = format!("element-{}-{:x}", self.number, self.rng.random::<u64>());
                self.write(&name, Some(""), None).await
            }
            2..4 => self.shared().await,
            4..6 => self.again(format!("counter-{}", self.number), true).await,
            _ => {
                let register = self.rng.random_range(0..REGISTERS);
                let counts = false;
                self.again(format!("register-{}-{register}", self.number), counts).await
            }
        }
    }

    /// A blind write that joins the siblings, or one that replaces those it has read.
    async fn shared(&mut self) -> Result<bool, Stop> {
        let name = format!("shared-{}", self.rng.random_range(0..SHARED));
        if self.rng.random_bool(0.7) {
            return self.write(&name, Some(""), None).await;
        }
        self.again(name, false).await
    }

    /// Reads a key and replaces what was read; sometimes by nothing.
    async fn again(&mut self, name: String, counts: bool) -> Result<bool, Stop> {
        let before = self.load.expected().entry(name.clone()).or_default().acknowledged();
        let (found, context) = match read(&self.table, &name, &ReadOptions::default()).await {
            Ok(answer) => answer,
            Err(err) if is_of_a_fault(&err) => return Ok(false),
            Err(err) => return Err(Stop::Failed(format!("a read of {name}: {err}"))),
        };
        let read = {
            let mut expected = self.load.expected();
            let key = expected.entry(name.clone()).or_default();
            let checked = key.check_read(&found, &before);
            checked.map_err(|why| Stop::Failed(format!("{name}, under load: {why}")))?;
            key.indices(&found)
        };
        let number = |value: &String| value.split('#').next()?.parse::<u64>().ok();
        let next = 1 + found.iter().filter_map(number).max().unwrap_or_default();
        let prefix = if counts { next.to_string() } else { String::new() };
        let value = (counts || found.is_empty() || self.rng.random_bool(0.9)).then_some(&*prefix);
        self.write(&name, value, context.map(|context| (context, read))).await
    }

    async fn write(
        &mut self,
        name: &str,
        prefix: Option<&str>,
        after: Option<(Context, BTreeSet<usize>)>,
    ) -> Result<bool, Stop> {
        self.written += 1;
        let unique = format!("{}.{}.{:x}", self.number, self.written, self.rng.random::<u64>());
        let padding = "x".repeat(self.load.padding);
        let value = prefix.map(|prefix| format!("{prefix}#{unique}{padding}"));
        let (context, read) =
            after.map_or((None, BTreeSet::new()), |(context, read)| (Some(context), read));
        let index =
            self.load.expected().entry(name.to_owned()).or_default().begin(value.clone(), read);
        let (key, options) = (Key::from(name), WriteOptions::default());
        let written = match value {
            Some(value) => {
                self.table.put(&key, &Content::text(value), context.as_ref(), &options).await
            }
            None => self.table.delete(&key, context.as_ref(), &options).await,
        };
        let outcome = match &written {
            Ok(_) if self.load.deaf.load(Ordering::SeqCst) => Outcome::Unknown,
            Ok(_) => Outcome::Acknowledged,
            Err(Error::Unknown { .. }) => Outcome::Unknown,
            Err(Error::NotAttempted(_) | Error::Connect { .. }) => Outcome::NotMade,
            Err(err) if matches!(err.code(), "too_many_siblings" | "disk_failed") => {
                Outcome::NotMade
            }
            Err(err) => return Err(Stop::Failed(format!("a write of {name}: {err}"))),
        };
        self.load.expected().entry(name.to_owned()).or_default().end(index, outcome);
        Ok(matches!(outcome, Outcome::Acknowledged))
    }
}

/// Whether a node that dies, is cut off, or has a bad disk is a reason for a read to fail so.
fn is_of_a_fault(error: &Error) -> bool {
    match error {
        Error::NotAttempted(_) | Error::Connect { .. } => true,
        Error::NoAnswer { problem, .. } => {
            problem.as_ref().is_none_or(|problem| problem.code == "unknown_outcome")
        }
        Error::Refused(_)
        | Error::Unknown { .. }
        | Error::Protocol { .. }
        | Error::Endpoint { .. } => false,
    }
}

/// The values of a key as text, and the context to replace them with.
async fn read(
    table: &Table,
    name: &str,
    options: &ReadOptions,
) -> Result<(Vec<String>, Option<Context>), Error> {
    let answer = table.get(&Key::from(name), options).await?;
    let values = answer.values.iter().map(|value| value.text().into_owned()).collect();
    Ok((values, answer.context))
}
