//! The baseline: a load on a pair of Redis servers that promises what Merganser promises.
//!
//! A figure says little alone, and figures of two machines cannot be compared. This program
//! loads a Redis master with one replica in the same run and on the same machine: each write
//! is `SET` followed by `WAIT 1 0`, so that, as with W=2, two processes have it before the
//! client goes on. Whether they have it on disk depends on how the servers were started
//! (`appendfsync always` or none).
//!
//! It is a closed loop: each client has one operation under way. `merganser bench` does the
//! same against Merganser, and prints the same fields.

use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Parser;
use hdrhistogram::Histogram;
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};

/// Loads a Redis master that has one replica.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// Address of the master.
    #[arg(long, default_value = "127.0.0.1:6379")]
    redis: String,
    /// How many clients, each with one operation under way.
    #[arg(long, default_value_t = 32)]
    clients: usize,
    /// How long, in seconds, after a warm-up of one second.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Share of reads, in per cent.
    #[arg(long, default_value_t = 0)]
    reads: u32,
    /// Bytes of a value.
    #[arg(long, default_value_t = 256)]
    value_bytes: usize,
    /// How many keys.
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Processes whose CPU time is told per operation.
    #[arg(long, value_delimiter = ',')]
    pids: Vec<u32>,
}

/// What one client measured.
struct Measured {
    latency: Histogram<u64>,
    operations: u64,
}

type Problem = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(report) => {
            println!("{report:#}");
            ExitCode::SUCCESS
        }
        Err(err) => {
            eprintln!("the load on {} failed: {err}", args.redis);
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<serde_json::Value, Problem> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    local.block_on(&runtime, load(Rc::new(args.clone())))
}

async fn load(args: Rc<Args>) -> Result<serde_json::Value, Problem> {
    let start = Instant::now() + Duration::from_secs(1);
    let end = start + Duration::from_secs(args.seconds);
    let mut clients = JoinSet::new();
    for client in 0..args.clients {
        let args = Rc::clone(&args);
        clients.spawn_local(async move {
            run_client(&args, client as u64, start, end).await.map_err(|err| err.to_string())
        });
    }
    tokio::time::sleep_until(start.into()).await;
    let cpu_before = cpu_micros(&args.pids)?;
    tokio::time::sleep_until(end.into()).await;
    let cpu = cpu_micros(&args.pids)? - cpu_before;

    let mut latency = Histogram::<u64>::new(3)?;
    let mut operations = 0;
    while let Some(measured) = clients.join_next().await {
        let measured = measured??;
        latency.add(&measured.latency)?;
        operations += measured.operations;
    }
    let at = |quantile| latency.value_at_quantile(quantile);
    Ok(serde_json::json!({
        "clients": args.clients,
        "operations": operations,
        "per_second": operations as f64 / args.seconds as f64,
        "latency_us": {
            "p50": at(0.5), "p95": at(0.95), "p99": at(0.99), "p999": at(0.999), "max": latency.max(),
        },
        "cpu_us_per_operation": cpu as f64 / operations.max(1) as f64,
    }))
}

async fn run_client(
    args: &Args,
    client: u64,
    start: Instant,
    end: Instant,
) -> Result<Measured, Problem> {
    let mut stream = TcpStream::connect(&args.redis).await?;
    stream.set_nodelay(true)?;
    let mut rng = SmallRng::seed_from_u64(client);
    let value = "x".repeat(args.value_bytes);
    let mut measured = Measured { latency: Histogram::new(3)?, operations: 0 };
    let mut buffer = Vec::new();
    loop {
        let began = Instant::now();
        if end <= began {
            return Ok(measured);
        }
        let key = format!("k{:012}", rng.random_range(0..args.keys));
        let is_read = rng.random_range(0..100) < args.reads;
        let (request, replies) = if is_read {
            (command(&["GET", &key]), 1)
        } else {
            (command(&["SET", &key, &value]) + &command(&["WAIT", "1", "0"]), 2)
        };
        stream.write_all(request.as_bytes()).await?;
        read_replies(&mut stream, &mut buffer, replies).await?;
        if start <= began {
            measured.operations += 1;
            let micros = u64::try_from(began.elapsed().as_micros())?;
            measured.latency.record(micros.max(1))?;
        }
    }
}

/// One command in Redis's protocol: an array of bulk strings.
fn command(words: &[&str]) -> String {
    let words: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    let count = words.matches("\r\n").count() / 2;
    format!("*{count}\r\n{words}")
}

/// Reads until so many replies are complete. An error reply ends the run.
async fn read_replies(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    replies: usize,
) -> Result<(), Problem> {
    let mut seen = 0;
    loop {
        while let Some(length) = reply_length(buffer)? {
            buffer.drain(..length);
            seen += 1;
        }
        if replies <= seen {
            return Ok(());
        }
        if stream.read_buf(buffer).await? == 0 {
            return Err("the server closed the connection".into());
        }
    }
}

/// The length of the first reply, once it is complete.
fn reply_length(buffer: &[u8]) -> Result<Option<usize>, Problem> {
    let Some(line_end) = buffer.windows(2).position(|pair| pair == b"\r\n") else {
        return Ok(None);
    };
    let (kind, line) = buffer.get(..line_end).and_then(|line| line.split_first()).ok_or("empty")?;
    let line = std::str::from_utf8(line)?;
    match kind {
        b'+' | b':' => Ok(Some(line_end + 2)),
        b'$' => {
            let length: i64 = line.parse()?;
            // A length of -1 stands for "no value", and nothing follows it.
            let body = if length < 0 { 0 } else { usize::try_from(length)? + 2 };
            let whole = line_end + 2 + body;
            Ok((whole <= buffer.len()).then_some(whole))
        }
        _ => Err(format!("unexpected reply: {line}").into()),
    }
}

/// User and system time of these processes so far. A tick of the kernel is 10 ms.
fn cpu_micros(pids: &[u32]) -> Result<u64, Problem> {
    let mut ticks = 0;
    for pid in pids {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let after_name = stat.rsplit(')').next().ok_or("no process name")?;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        for field in [11, 12] {
            ticks += fields.get(field).ok_or("too few fields")?.parse::<u64>()?;
        }
    }
    Ok(ticks * 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_an_array_of_bulk_strings() {
        assert_eq!(command(&["GET", "k"]), "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
    }

    #[test]
    fn a_reply_is_complete_only_when_all_of_it_is_there() {
        let length = |bytes: &[u8]| reply_length(bytes).unwrap();
        assert_eq!(length(b"+OK\r"), None);
        assert_eq!(length(b"+OK\r\n:1\r\n"), Some(5));
        assert_eq!(length(b"$3\r\nab"), None);
        assert_eq!(length(b"$3\r\nabc\r\n"), Some(9));
        assert_eq!(length(b"$-1\r\n"), Some(5));
        assert!(reply_length(b"-ERR no\r\n").is_err());
    }
}
