//! `merganser bench`: how much a cluster does, and how fast.
//!
//! A bench is only worth the care that is taken not to fool oneself. Latencies of an open
//! loop count from when an operation was due ([`pace`]); keys can be drawn as unevenly as in
//! life ([`distribution`]); writes carry their contexts, so that the database does the work
//! it is made for and no siblings pile up ([`worker`]); and what the servers used is read
//! from the system and not guessed ([`usage`]).
//!
//! It runs on one thread, so that on a small machine the servers keep the others.

mod distribution;
mod figures;
mod pace;
mod usage;
mod worker;

use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use client::{
    Client, Durability, Error, Identity, KeyspaceContract, Level, Options, Order, ReadOptions,
    Replicas, TableContract, WriteOptions,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::task::{JoinSet, LocalSet};

use super::connect::{Connect, block_on, duration, some_time};
use super::error::CliError;
use super::print;
use super::table::When;
use distribution::{Distribution, Draw};
use figures::{Figures, Report};
use pace::Pace;
use worker::{Settings, Shared, Turns, Worker};

/// Measure throughput and latency under a load.
///
/// Without --rate the loop is closed: each client sends its next operation when the last is
/// answered. With --rate it is open: operations are due at even distances, and their latency
/// counts from when they were due, also if no client was free.
///
/// The keys are shared out: client i writes the keys whose index modulo the number of clients
/// is i, each time with the context of its last write, so that no siblings pile up. The first
/// time it has no context and reads one, which is not timed, unless this run created the table
/// or you say --blind. To measure puts alone, use --load and --duration in one run.
#[derive(Debug, clap::Args)]
pub(crate) struct Bench {
    /// The keyspace, created if missing.
    #[arg(long, default_value = "bench")]
    keyspace: String,
    /// The table, created if missing.
    #[arg(long, default_value = "bench")]
    table: String,
    /// When a created table's replica says that it has a write: on disk, or in memory.
    #[arg(long, value_enum)]
    durability: Option<When>,
    /// How many replicas a created keyspace has.
    #[arg(long, value_name = "N")]
    replicas: Option<u8>,
    /// How many clients, and so how many operations at once at the most.
    #[arg(long, short = 'c', default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    clients: u16,
    /// Operations per second of an open loop. Without it the loop is closed.
    #[arg(long, value_name = "OPS")]
    rate: Option<f64>,
    /// How long to measure, as in 30s; 10s if neither this nor --ops nor --load is given.
    #[arg(long, value_name = "TIME", value_parser = some_time, conflicts_with = "ops")]
    duration: Option<Duration>,
    /// How many operations to measure.
    #[arg(long, value_name = "COUNT")]
    ops: Option<u64>,
    /// How long to run before measuring. Not with --ops.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "2s")]
    warmup: Duration,
    /// How many operations of a hundred are gets.
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=100))]
    reads: u32,
    /// The size of a value.
    #[arg(long, value_name = "BYTES", default_value_t = 256)]
    value_bytes: usize,
    /// How many keys there are.
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=4_000_000_000))]
    keys: u64,
    /// How keys are drawn: uniform, zipf, or zipf:THETA (0.99 without it).
    #[arg(long, default_value = "uniform")]
    distribution: Distribution,
    /// Put every key once first, in random order; measured as a phase of its own. With
    /// --duration or --ops the measured load follows.
    #[arg(long)]
    load: bool,
    /// Never read before a first put. What the table holds already stays beside it.
    #[arg(long)]
    blind: bool,
    /// The level of reads and writes. Without it the table's default.
    #[arg(long)]
    level: Option<Level>,
    /// The level of reads.
    #[arg(long, short = 'r', value_name = "LEVEL")]
    r: Option<Level>,
    /// The level of writes.
    #[arg(long, short = 'w', value_name = "LEVEL")]
    w: Option<Level>,
    /// Write without idempotency keys.
    #[arg(long)]
    unsafe_to_repeat: bool,
    /// The processes of the servers, separated by commas: their CPU time and memory is told.
    #[arg(long, value_name = "PID,..", value_delimiter = ',')]
    pids: Vec<u32>,
    /// Find the processes of the servers by their node.pid below DIR, as `merganser dev` leaves
    /// them.
    #[arg(long, value_name = "DIR", conflicts_with = "pids")]
    pids_from: Option<PathBuf>,
    #[command(flatten)]
    connect: Connect,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Bench {
    /// Does it.
    pub(crate) fn run(self) -> Result<(), CliError> {
        self.check()?;
        let pids = match &self.pids_from {
            Some(dir) => usage::pids_from(dir)?,
            None => self.pids.clone(),
        };
        let reports = block_on(LocalSet::new().run_until(self.phases(&pids)))?;
        if self.json {
            let phases: Vec<_> = reports.iter().map(Report::as_json).collect();
            return print::json(&json!({ "settings": self.settings_as_json(), "phases": phases }));
        }
        reports.iter().try_for_each(Report::tell)
    }

    fn check(&self) -> Result<(), CliError> {
        if self.keys < u64::from(self.clients) {
            return Err(CliError::failed("there are fewer keys than clients")
                .remedy("say fewer --clients or more --keys"));
        }
        match self.rate {
            Some(rate) if !(0.001..=10_000_000.0).contains(&rate) => {
                Err(CliError::failed("--rate has to be above 0 and at most 10,000,000"))
            }
            Some(_) | None => Ok(()),
        }
    }

    async fn phases(&self, pids: &[u32]) -> Result<Vec<Report>, CliError> {
        let clients = usize::from(self.clients);
        let options = Options {
            // Each attempt is measured for itself, and each failure counted.
            attempts_max: 1,
            order: Order::RoundRobin,
            idle_connections_max: clients,
            ..Options::default()
        };
        let client = self.connect.client(options)?;
        let is_created = self.create(&client).await?;
        let shared = Rc::new(Shared::new(Settings {
            table: client.table(&self.keyspace, &self.table),
            read: ReadOptions { r: self.r.or(self.level), ..ReadOptions::default() },
            write: WriteOptions {
                w: self.w.or(self.level),
                identity: match self.unsafe_to_repeat {
                    true => Identity::UnsafeToRepeat,
                    false => Identity::Fresh,
                },
                ..WriteOptions::default()
            },
            draw: Draw::new(self.distribution, self.keys),
            keys: self.keys,
            clients: self.clients.into(),
            value_bytes: self.value_bytes,
            reads_percent: self.reads,
            is_blind: self.blind || is_created,
        }));
        let mut workers: Vec<Worker> =
            (0..u64::from(self.clients)).map(|number| Worker::new(number, &shared)).collect();
        let mut reports = Vec::new();
        if self.load {
            let phase = Phase::new("load", Duration::ZERO, Some(self.keys));
            reports.push(phase.run(&shared, &mut workers, pids).await?);
        }
        if !self.load || self.duration.is_some() || self.ops.is_some() {
            let warmup = if self.ops.is_some() { Duration::ZERO } else { self.warmup };
            let phase = Phase::new("run", warmup, self.ops);
            self.set_turns(&shared, warmup)?;
            reports.push(phase.run(&shared, &mut workers, pids).await?);
        }
        Ok(reports)
    }

    /// Says when the operations of the measured load begin.
    fn set_turns(&self, shared: &Shared, warmup: Duration) -> Result<(), CliError> {
        let time = self.duration.unwrap_or(Duration::from_secs(10)) + warmup;
        let turns = match (self.rate, self.ops) {
            (None, None) => Turns::Closed { left: u64::MAX, end: Some(Instant::now() + time) },
            (None, Some(ops)) => Turns::Closed { left: ops, end: None },
            (Some(rate), ops) => {
                let count = ops.unwrap_or((time.as_secs_f64() * rate) as u64).max(1);
                let pace =
                    Rc::new(Pace::start(rate, count).map_err(|err| {
                        CliError::failed(format!("cannot start a thread: {err}"))
                    })?);
                if ops.is_none() {
                    tokio::task::spawn_local(give_up(Rc::clone(&pace), time));
                }
                Turns::Open(pace)
            }
        };
        *shared.turns.borrow_mut() = turns;
        Ok(())
    }

    /// Creates what is missing, and says whether the table was.
    async fn create(&self, client: &Client) -> Result<bool, CliError> {
        match client.table_info(&self.keyspace, &self.table).await {
            Ok(_) => return Ok(false),
            Err(err) if is_missing(&err) => {}
            Err(err) => return Err(err.into()),
        }
        match client.keyspace(&self.keyspace).await {
            Ok(_) => {}
            Err(err) if is_missing(&err) => {
                let replicas = self.replicas.map(Replicas::Here);
                let contract = KeyspaceContract { shards: None, replicas, sloppy: false };
                client.create_keyspace(&self.keyspace, &contract).await?;
            }
            Err(err) => return Err(err.into()),
        }
        let durability = self.durability.map(Durability::from);
        let contract = TableContract { durability, ..TableContract::new("siblings") };
        Ok(client.create_table(&self.keyspace, &self.table, &contract).await?.1)
    }

    fn settings_as_json(&self) -> serde_json::Value {
        json!({
            "clients": self.clients,
            "rate": self.rate,
            "reads_percent": self.reads,
            "value_bytes": self.value_bytes,
            "keys": self.keys,
            "distribution": self.distribution.to_string(),
            "r": self.r.or(self.level).map(|level| level.to_string()),
            "w": self.w.or(self.level).map(|level| level.to_string()),
            "endpoints": self.connect.nodes,
        })
    }
}

fn is_missing(err: &Error) -> bool {
    matches!(err, Error::Refused(problem) if problem.status == 404)
}

/// Ends an open loop when its time is over, whatever is still due.
async fn give_up(pace: Rc<Pace>, after: Duration) {
    tokio::time::sleep(after).await;
    pace.stop();
}

/// One measured part of a bench.
struct Phase {
    name: &'static str,
    /// Before the first operation is due.
    start: Instant,
    warmup: Duration,
    /// How many operations it has, if that is known.
    length: Option<u64>,
}

impl Phase {
    fn new(name: &'static str, warmup: Duration, length: Option<u64>) -> Self {
        Self { name, start: Instant::now(), warmup, length }
    }

    async fn run(
        self,
        shared: &Rc<Shared>,
        workers: &mut Vec<Worker>,
        pids: &[u32],
    ) -> Result<Report, CliError> {
        shared.figures.replace(Figures::new());
        shared.measure_from.set(None);
        let is_load = self.name == "load";
        if self.warmup.is_zero() {
            shared.measure_from.set(Some(self.start));
        }
        let mut running = JoinSet::new();
        for worker in workers.drain(..) {
            let shared = Rc::clone(shared);
            running.spawn_local(async move {
                if is_load { worker.load(&shared).await } else { worker.run(&shared).await }
            });
        }
        tokio::time::sleep(self.warmup).await;
        let (servers, own_cpu, began) = (usage::of(pids)?, usage::own_cpu(), Instant::now());
        if !self.warmup.is_zero() {
            shared.measure_from.set(Some(began));
        }
        *workers = self.wait(shared, running).await?;
        let elapsed = began.elapsed();
        let after = usage::of(pids)?;
        let mut figures = shared.figures.replace(Figures::new());
        if let Turns::Open(pace) = &*shared.turns.borrow() {
            figures.never_begun = pace.stop();
        }
        let used = usage::Usage { cpu: after.cpu.saturating_sub(servers.cpu), ..after };
        Ok(Report {
            phase: self.name,
            figures,
            elapsed,
            servers: (!pids.is_empty()).then_some(used),
            own_cpu: usage::own_cpu().saturating_sub(own_cpu),
        })
    }

    /// Waits for all clients, and shows how it goes.
    async fn wait(
        &self,
        shared: &Shared,
        mut running: JoinSet<Worker>,
    ) -> Result<Vec<Worker>, CliError> {
        let bar = self.bar();
        let mut workers = Vec::with_capacity(running.len());
        let mut tick = tokio::time::interval(Duration::from_millis(500));
        loop {
            tokio::select! {
                worker = running.join_next() => match worker {
                    None => break,
                    Some(Ok(worker)) => workers.push(worker),
                    Some(Err(err)) => return Err(CliError::failed(format!("a client failed: {err}"))),
                },
                _ = tick.tick() => {
                    let figures = shared.figures.borrow();
                    bar.set_position(figures.done());
                    bar.set_message(format!("{} failed", figures.failures()));
                }
            }
        }
        bar.finish_and_clear();
        Ok(workers)
    }

    fn bar(&self) -> ProgressBar {
        let (bar, template) = match self.length {
            Some(length) => {
                (ProgressBar::new(length), "{prefix} {bar:32} {pos}/{len} {per_sec}, {msg}")
            }
            None => (ProgressBar::new_spinner(), "{prefix} {spinner} {pos} done, {per_sec}, {msg}"),
        };
        let style = ProgressStyle::with_template(template).expect("the template is well formed");
        bar.with_style(style).with_prefix(self.name)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        bench: Bench,
    }

    #[test]
    fn a_time_in_which_nothing_can_happen_is_a_wrong_command_line() {
        for (option, time) in [("--duration", "0s"), ("--timeout", "0ms"), ("--timeout", "61s")] {
            let err = Cli::try_parse_from(["bench", option, time]).unwrap_err();
            assert_eq!((err.kind(), err.exit_code()), (clap::error::ErrorKind::ValueValidation, 2));
        }
        let bench = Cli::try_parse_from(["bench", "--duration", "1s", "--warmup", "0s"]).unwrap();
        assert_eq!(bench.bench.duration, Some(Duration::from_secs(1)));
    }
}
