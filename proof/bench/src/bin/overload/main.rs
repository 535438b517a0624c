//! Five times what a cluster can do, for a minute: what is still done, what is said to the rest,
//! and what is left of it afterwards.
//!
//! Figures of two runs cannot be compared on a shared machine, so all come from one run, as
//! ratios:
//!
//! ```text
//! peak      so many clients as fast as they can, one operation each         -> peak per second
//! overload  operations are due at FACTOR times that, whatever becomes of them -> goodput / peak
//! after     the clients of the first phase again, second by second          -> seconds to 95 %
//! ```
//!
//! A client here is as rude as can be: it ignores `Retry-After`, and sends the next operation as
//! soon as there is one due and a connection free. What is due and finds no connection free
//! is not sent, and counted as such. An operation succeeds if it is answered with success
//! within its timeout.

mod connection;
mod figures;

use std::cell::RefCell;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Parser;
use tokio::task::{JoinSet, LocalSet};

use connection::{Answer, Connection};
use figures::{Figures, cpu_seconds, resident_max};

/// Offers a cluster more than it can do.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// Addresses of the nodes' HTTP ports.
    #[arg(long, value_delimiter = ',', required = true)]
    nodes: Vec<String>,
    /// Clients of the closed loop.
    #[arg(long, default_value_t = 128)]
    clients: usize,
    /// Connections of the open loop.
    #[arg(long, default_value_t = 1_500)]
    connections: usize,
    /// How many times the peak is offered.
    #[arg(long, default_value_t = 5.0)]
    factor: f64,
    /// Seconds of the phases before and after.
    #[arg(long, default_value_t = 10)]
    peak_seconds: u64,
    /// Seconds of overload.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Milliseconds within which an answer is of use.
    #[arg(long, default_value_t = 1_000)]
    timeout: u64,
    /// Share of reads, in per cent.
    #[arg(long, default_value_t = 50)]
    reads: u64,
    /// Bytes of a value.
    #[arg(long, default_value_t = 256)]
    value_bytes: usize,
    /// The nodes' processes, whose memory is watched.
    #[arg(long, value_delimiter = ',')]
    pids: Vec<u32>,
}

type Problem = Box<dyn std::error::Error>;

/// What all clients share.
struct Shared {
    args: Args,
    figures: RefCell<Figures>,
    /// How many operations were begun. The number of one decides its key.
    begun: RefCell<u64>,
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(report) => {
            println!("{report:#}");
            ExitCode::SUCCESS
        }
        Err(err) => {
            eprintln!("the overload failed: {err}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<serde_json::Value, Problem> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, phases(args))
}

async fn phases(args: Args) -> Result<serde_json::Value, Problem> {
    declare(&args).await?;
    let shared = Rc::new(Shared { args, figures: RefCell::default(), begun: RefCell::default() });
    let args = &shared.args;
    closed(&shared, 3).await?;
    let before = closed(&shared, args.peak_seconds).await?;
    let peak = before.useful_per_second();
    let resident_before = resident_max(&args.pids)?;
    let overload = open(&shared, peak * args.factor).await?;
    let resident_overload = overload.resident_kib;
    let ended = Instant::now();
    let after = closed(&shared, 30).await?;
    let alive =
        args.pids.iter().all(|pid| std::fs::exists(format!("/proc/{pid}")).is_ok_and(|is| is));
    Ok(serde_json::json!({
        "peak_per_second": peak.round(),
        "peak_per_cpu_second": before.useful_per_cpu_second().round(),
        "offered_per_second": (peak * args.factor).round(),
        "overload": overload.report(),
        "goodput_of_peak": ratio(overload.useful_per_second(), peak),
        "goodput_of_peak_per_cpu": ratio(overload.useful_per_cpu_second(), before.useful_per_cpu_second()),
        "after": {
            "per_second": after.useful_per_second().round(),
            "of_peak": ratio(after.useful_per_second(), peak),
            "per_cpu_second": after.useful_per_cpu_second().round(),
            "seconds_to_95_percent": after.seconds_to(0.95 * peak),
            "seconds": after.seconds.clone(),
            "watched_seconds": ended.elapsed().as_secs(),
        },
        "resident_kib": { "before": resident_before, "overload": resident_overload },
        "alive": alive,
    }))
}

fn ratio(of: f64, whole: f64) -> f64 {
    (of / whole * 1_000.0).round() / 1_000.0
}

async fn declare(args: &Args) -> Result<(), Problem> {
    let node = args.nodes.first().ok_or("no node is given")?;
    let mut connection = Connection::open(node).await?;
    for (path, body) in [
        ("/v1/keyspaces/overload", r#"{"replicas":3}"#),
        ("/v1/keyspaces/overload/tables/t", r#"{"policy":"siblings","durability":"buffered"}"#),
    ] {
        let request = format!(
            "PUT {path} HTTP/1.1\r\nhost: bench\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = connection.ask(request.as_bytes()).await?;
        if 300 <= answer.status {
            return Err(format!("{path} is answered {}", answer.status).into());
        }
    }
    Ok(())
}

/// Clients of which each has one operation under way.
async fn closed(shared: &Rc<Shared>, seconds: u64) -> Result<Figures, Problem> {
    *shared.figures.borrow_mut() = Figures::start();
    let cpu_before = cpu_seconds(&shared.args.pids)?;
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut clients = JoinSet::new();
    for client in 0..shared.args.clients {
        let shared = Rc::clone(shared);
        clients.spawn_local(async move {
            let mut connection = shared.connect(client).await?;
            while Instant::now() < end {
                shared.operation(&mut connection, client).await?;
            }
            Ok::<(), String>(())
        });
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    let mut figures = shared.figures.take();
    figures.cpu_seconds = cpu_seconds(&shared.args.pids)? - cpu_before;
    Ok(figures)
}

/// Operations that are due at a rate, on any connection that is free.
async fn open(shared: &Rc<Shared>, per_second: f64) -> Result<Figures, Problem> {
    *shared.figures.borrow_mut() = Figures::start();
    let cpu_before = cpu_seconds(&shared.args.pids)?;
    let began = Instant::now();
    let end = began + Duration::from_secs(shared.args.seconds);
    let due = Rc::new(tokio::sync::Semaphore::new(0));
    let mut clients = JoinSet::new();
    for client in 0..shared.args.connections {
        let (shared, due) = (Rc::clone(shared), Rc::clone(&due));
        clients.spawn_local(async move {
            let mut connection = shared.connect(client).await?;
            while let Ok(turn) = due.acquire().await {
                turn.forget();
                if end <= Instant::now() {
                    break;
                }
                shared.operation(&mut connection, client).await?;
            }
            Ok::<(), String>(())
        });
    }
    let mut ticks = tokio::time::interval(Duration::from_millis(2));
    let mut released = 0;
    let mut last_look = Instant::now();
    while Instant::now() < end {
        ticks.tick().await;
        let total = (began.elapsed().as_secs_f64() * per_second) as usize;
        // What has found no connection free by now is given up.
        let unsent = due.forget_permits(usize::MAX);
        shared.figures.borrow_mut().unsent += unsent as u64;
        due.add_permits(total - released);
        released = total;
        if Duration::from_secs(1) <= last_look.elapsed() {
            last_look = Instant::now();
            let resident = resident_max(&shared.args.pids)?;
            let mut figures = shared.figures.borrow_mut();
            figures.resident_kib = figures.resident_kib.max(resident);
        }
    }
    due.close();
    while let Some(client) = clients.join_next().await {
        client??;
    }
    let mut figures = shared.figures.take();
    figures.cpu_seconds = cpu_seconds(&shared.args.pids)? - cpu_before;
    Ok(figures)
}

impl Shared {
    async fn connect(&self, client: usize) -> Result<Connection, String> {
        let node = self.args.nodes.get(client % self.args.nodes.len().max(1));
        let node = node.ok_or("no node is given")?;
        Connection::open(node).await.map_err(|err| format!("{node}: {err}"))
    }

    /// One put of a new key, or a get of one that was written before.
    async fn operation(&self, connection: &mut Connection, client: usize) -> Result<(), String> {
        let number = {
            let mut begun = self.begun.borrow_mut();
            *begun += 1;
            *begun
        };
        let timeout = self.args.timeout;
        let is_read = number % 100 < self.args.reads;
        let request = if is_read {
            let key = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % number;
            format!(
                "GET /v1/kv/overload/t/k{key}?timeout={timeout} HTTP/1.1\r\nhost: bench\r\n\r\n"
            )
        } else {
            format!(
                "PUT /v1/kv/overload/t/k{number}?timeout={timeout} HTTP/1.1\r\nhost: bench\r\ncontent-length: {bytes}\r\n\r\n{:x<bytes$}",
                "",
                bytes = self.args.value_bytes
            )
        };
        let began = Instant::now();
        let patience = Duration::from_millis(timeout) + Duration::from_secs(5);
        let answer = tokio::time::timeout(patience, connection.ask(request.as_bytes())).await;
        let took = began.elapsed();
        self.note(&answer, took);
        let is_lost = !matches!(answer, Ok(Ok(_))) || connection.is_closing;
        if is_lost {
            *connection = self.connect(client).await?;
        }
        Ok(())
    }
    fn note(&self, answer: &Answered, took: Duration) {
        let is_in_time = took <= Duration::from_millis(self.args.timeout);
        let mut figures = self.figures.borrow_mut();
        match answer {
            Ok(Ok(Answer { status: 200..=399 | 404, .. })) => figures.succeeded(took, is_in_time),
            Ok(Ok(Answer { status: 503, has_retry_after })) => {
                figures.refused(took, *has_retry_after);
            }
            Ok(Ok(_)) => figures.failed += 1,
            Ok(Err(_)) => figures.broken += 1,
            Err(_) => figures.silent += 1,
        }
    }
}

/// What became of one request: an answer, a broken connection, or silence.
type Answered = Result<std::io::Result<Answer>, tokio::time::error::Elapsed>;
