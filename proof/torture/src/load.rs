//! Clients that write and remember what they were told, and the reader that compares.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use client::{
    Client, Content, Context, Error, Identity, Key, KeyspaceContract, Level, Options, Order,
    ReadOptions, Replicas, Table, TableContract, WriteOptions,
};

use crate::declarations::{self, Declared};
use crate::expected::{self, Expected, Outcome};
use crate::outcome::{Figures, Stop};
use crate::worker::Workers;

/// How many keys are read at a time when all are: a check is most of what a scenario does.
const READERS: usize = 4;

/// The database as the clients see it, and what they know of it.
#[derive(Clone, Debug)]
pub struct Load {
    pub(crate) urls: Vec<String>,
    expected: Arc<Mutex<Expected>>,
    pub(crate) declared: Declared,
    /// Bytes appended to each value.
    pub(crate) padding: usize,
    /// What writes are known by when they are sent again.
    pub(crate) identity: Identity,
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

impl Load {
    /// Declares keyspace and table with so many replicas.
    ///
    /// # Errors
    ///
    /// The cluster does not take the declarations.
    pub fn declare(urls: Vec<String>, replicas: u8, padding: usize) -> Result<Self, Stop> {
        let (expected, declared, deaf) = (Arc::default(), Declared::default(), Arc::default());
        let identity = Identity::default();
        let load = Self { urls, expected, declared, padding, identity, deaf };
        let contract = KeyspaceContract {
            shards: Some(8),
            replicas: Some(Replicas::Here(replicas)),
            sloppy: false,
        };
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

    /// Writes elements that are their own names, in a keyspace and table of one name.
    ///
    /// # Errors
    ///
    /// One is not acknowledged.
    pub fn write_elements(&self, table: &str, names: &[String]) -> Result<(), Stop> {
        self.block_on(async |client| {
            let table = client.table(table, table);
            for name in names {
                let (key, value) = (Key::from(name.as_str()), Content::text(name.clone()));
                let written = table.put(&key, &value, None, &WriteOptions::default()).await;
                written.map_err(|err| Stop::Failed(format!("{name}: {err}")))?;
            }
            Ok(())
        })?
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
        Workers::start(self, seed)
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

    /// Whether answers count for nothing.
    pub(crate) fn is_deaf(&self) -> bool {
        self.deaf.load(Ordering::SeqCst)
    }

    /// Expects a write that was never made, as if it had been acknowledged.
    pub fn forge(&self) {
        let mut expected = self.expected();
        let key = expected.entry("forged".to_owned()).or_default();
        let index = key.begin(Some("never-written".to_owned()), [].into());
        key.end(index, Outcome::Acknowledged);
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
        let keys: Vec<(&String, &expected::Key)> = expected.iter().collect();
        let mut figures = Figures::default();
        thread::scope(|readers| {
            let parts = keys.chunks(keys.len().div_ceil(READERS).max(1));
            let parts: Vec<_> =
                parts.map(|part| readers.spawn(|| self.check_keys(part, level))).collect();
            for part in parts {
                let part = part.join().map_err(|_| Stop::failed("a reader panicked"))??;
                figures.checked += part.checked;
                figures.acknowledged += part.acknowledged;
                figures.unknown += part.unknown;
            }
            Ok(figures)
        })
    }

    fn check_keys(
        &self,
        keys: &[(&String, &expected::Key)],
        level: Level,
    ) -> Result<Figures, Stop> {
        let options = ReadOptions { r: Some(level), ..ReadOptions::default() };
        self.block_on(async |client| {
            let table = client.table("t", "t");
            let mut figures = Figures::default();
            for (name, key) in keys {
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

    /// Compares the tables that were acknowledged with those that each node has. Returns how
    /// many there are.
    ///
    /// # Errors
    ///
    /// One is gone, or is another.
    pub fn check_declarations(&self) -> Result<u64, Stop> {
        self.block_on(async |client| declarations::check(&self.declared, &client).await)??;
        Ok(self.declared.count())
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
        let client = self.client(Duration::from_secs(20), Options::default().attempts_max)?;
        Ok(runtime.block_on(work(client)))
    }

    /// A client that turns to each node in turn.
    pub(crate) fn client(&self, timeout: Duration, attempts_max: u32) -> Result<Client, Stop> {
        let options =
            Options { timeout, attempts_max, order: Order::RoundRobin, ..Options::default() };
        Client::new(&self.urls, options).map_err(Stop::failed)
    }
}

/// The values of a key as text, and the context to replace them with.
pub(crate) async fn read(
    table: &Table,
    name: &str,
    options: &ReadOptions,
) -> Result<(Vec<String>, Option<Context>), Error> {
    let answer = table.get(&Key::from(name), options).await?;
    let values = answer.values.iter().map(|value| value.text().into_owned()).collect();
    Ok((values, answer.context))
}
