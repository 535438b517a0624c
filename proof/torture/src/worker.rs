//! Clients that write, read, and write again, as long as they are let.
//!
//! Each has registers, a counter and elements of its own, and all write to a few shared keys
//! that become siblings. What a worker is told goes into the expected state; what it reads
//! meanwhile is compared with it at once. One more declares tables beside. A request may fail as a fault makes it fail, and in
//! no other way.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use client::{Content, Context, Error, Key, ReadOptions, Table, WriteOptions};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::declarations;
use crate::expected::Outcome;
use crate::load::{Load, read};
use crate::outcome::Stop;

/// Clients that write at once, each with keys of its own besides the shared ones.
const WORKERS: u64 = 4;

/// Registers of one worker. Few, so that each is overwritten often.
const REGISTERS: u64 = 20;

/// Keys that all workers write to without having read them.
const SHARED: u64 = 12;

/// How long one request may take. Short, so that a dead node does not stop the load.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Running workers. They end when this is dropped.
#[derive(Debug)]
pub struct Workers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<(), Stop>>>,
}

impl Workers {
    /// Starts them.
    pub(crate) fn start(load: &Load, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let shared = || (load.clone(), Arc::clone(&stop));
        let worker = |number| {
            let (load, stop) = shared();
            std::thread::spawn(move || work(&load, number, seed ^ (number << 32), &stop))
        };
        let mut threads: Vec<_> = (0..WORKERS).map(worker).collect();
        let (load, stopped) = shared();
        threads.push(std::thread::spawn(move || declare(&load, seed, &stopped)));
        Self { stop, threads }
    }

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

fn work(load: &Load, number: u64, seed: u64, stop: &AtomicBool) -> Result<(), Stop> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = load.client(TIMEOUT, 1)?;
    let mut worker = Worker {
        load,
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

/// Declares tables beside. The seed makes their names new.
fn declare(load: &Load, seed: u64, stop: &AtomicBool) -> Result<(), Stop> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let goes_on = || !stop.load(Ordering::Relaxed);
    runtime.block_on(declarations::declare(load, &format!("{seed:x}"), goes_on))
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
        let key = Key::from(name);
        let options = WriteOptions { identity: self.load.identity, ..WriteOptions::default() };
        let written = match value {
            Some(value) => {
                self.table.put(&key, &Content::text(value), context.as_ref(), &options).await
            }
            None => self.table.delete(&key, context.as_ref(), &options).await,
        };
        let outcome = match &written {
            Ok(_) if self.load.is_deaf() => Outcome::Unknown,
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
            problem.as_ref().is_none_or(|problem| problem.code == "too_few_answers")
        }
        Error::Refused(_)
        | Error::Unknown { .. }
        | Error::Protocol { .. }
        | Error::Endpoint { .. } => false,
    }
}
