//! What it costs to keep replicas comparable.
//!
//! Every write also changes the clock of its shard, adds a line to a log, and is told to the hash tree and
//! to the sum of the shard; and every second replicas tell each other their clocks. This says how
//! much of a put that is: three nodes in one process, on real disks and with real frames, but without
//! sockets and HTTP, take the same puts, as they are and with one part after the other left out.
//!
//! ```text
//! all                       as it is served
//! no exchange               no clocks are sent, and no log is pruned
//! and no clocks, no sums    these are stripped off each change before it reaches the disk
//! and no log                so are the lines of the log
//! and no trees: nothing     and no tree is told: what the others are measured against
//! ```
//!
//! What is left out is missed sooner or later: a cluster without trees has no tree that is right. So nothing is
//! concluded from these runs but their cost. Rounds are taken in turn, and each way has its own disks.

mod stripped;
mod trio;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use comfy_table::Table;
use rustix::time::{ClockId, clock_gettime};

use crate::stripped::Parts;
use crate::trio::{Load, Trio};

/// What is served allocates with this, too.
#[global_allocator]
static ALLOCATOR: allocator::MiMalloc = allocator::MiMalloc;

pub(crate) type Problem = Box<dyn std::error::Error + Send + Sync>;

/// What writes cost beside themselves: clocks, logs, trees and sums.
#[derive(Debug, Parser)]
struct Args {
    /// How many times each way is measured.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// How long each time, in milliseconds.
    #[arg(long, default_value_t = 3_000)]
    millis: u64,
    /// How many keys there are.
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
    /// Only these ways, separated by commas.
    #[arg(long, value_delimiter = ',')]
    ways: Vec<String>,
    /// How many shards.
    #[arg(long, default_value_t = 64)]
    shards: u16,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What one way took.
struct Way {
    parts: Parts,
    trio: Trio,
    /// The time of processors for each put, in microseconds, of each round.
    cpu_micros: Vec<f64>,
    per_second: Vec<f64>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(ways) => print(&ways, args.json),
        Err(err) => {
            eprintln!("the measurement broke off, and nothing of it is to be used: {err}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn run(args: &Args) -> Result<Vec<Way>, Problem> {
    let mut ways = Vec::new();
    let is_meant =
        |parts: &Parts| args.ways.is_empty() || args.ways.iter().any(|way| way == parts.name);
    for parts in Parts::WAYS.into_iter().filter(is_meant) {
        let mut trio = Trio::start(parts, args.shards)?;
        trio.load = Load::of(args.keys);
        trio.put_for(Duration::from_millis(args.millis))?;
        ways.push(Way { parts, trio, cpu_micros: Vec::new(), per_second: Vec::new() });
    }
    for _ in 0..args.rounds {
        for way in &mut ways {
            let (began, cpu) = (Instant::now(), cpu_time()?);
            let puts = way.trio.put_for(Duration::from_millis(args.millis))? as f64;
            let took = cpu_time()?.saturating_sub(cpu);
            way.cpu_micros.push(took.as_secs_f64() * 1e6 / puts);
            way.per_second.push(puts / began.elapsed().as_secs_f64());
        }
    }
    Ok(ways)
}

/// What this process has used of all processors.
fn cpu_time() -> Result<Duration, Problem> {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Ok(Duration::new(u64::try_from(used.tv_sec)?, u32::try_from(used.tv_nsec)?))
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn print(ways: &[Way], json: bool) {
    let rows = ways.iter().map(|way| (way, median(&way.cpu_micros), median(&way.per_second)));
    let least = ways.last().map_or(1.0, |way| median(&way.cpu_micros));
    if json {
        let row = |(way, cpu, per_second): (&Way, f64, f64)| {
            serde_json::json!({
                "way": way.parts.name,
                "cpu_micros_per_put": cpu,
                "puts_per_second": per_second,
                "over_nothing": cpu / least,
            })
        };
        return println!("{:#}", serde_json::Value::from_iter(rows.map(row)));
    }
    let mut table = Table::new();
    table.set_header(["way", "CPU per put, us", "puts per second", "CPU over nothing"]);
    for (way, cpu, per_second) in rows {
        table.add_row([
            way.parts.name.to_owned(),
            format!("{cpu:.1}"),
            format!("{per_second:.0}"),
            format!("{:.3}", cpu / least),
        ]);
    }
    println!("{table}");
}
