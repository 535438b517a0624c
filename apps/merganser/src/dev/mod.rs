//! `merganser dev`: a whole cluster on this machine, with one command.
//!
//! It starts real `merganser serve` processes, so that what a newcomer sees, kills and
//! restarts is what runs in production. Everything they need is made under one directory and
//! kept between runs:
//!
//! ```text
//! merganser-dev/
//!   cluster.toml     the cluster's number, and the ports on which nodes talk to each other
//!   secret           what the nodes share
//!   n1/node.toml     the configuration of the first node, written anew at every start
//!   n1/node.log      what it logged
//!   n1/data/         its data
//! ```
//!
//! Nothing stays behind: each process holds the end of a pipe whose other end is here, and
//! stops when it closes, whether this process was asked to stop or was killed.

mod child;
mod health;
mod kept;
mod ports;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use clap::Args;
use comfy_table::Table;
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use child::Child;
use kept::Kept;

/// How long the nodes may take until all of them answer. Far more than they need, also with
/// much data on a busy machine.
const READY_MAX: Duration = Duration::from_secs(60);

/// Starts a cluster on this machine and runs it until Ctrl-C.
///
/// The nodes are real processes that listen on loopback only. Their data is kept in the
/// directory, and is there again at the next start.
#[derive(Args, Debug)]
pub(crate) struct Dev {
    /// How many nodes to start.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=32))]
    nodes: u16,

    /// Where to keep configuration, logs and data.
    #[arg(long, default_value = "./merganser-dev", value_name = "PATH")]
    dir: PathBuf,

    /// Delete the data of former runs first.
    #[arg(long)]
    fresh: bool,

    /// The port of the first node for clients; the others follow.
    #[arg(long, default_value_t = 7001, value_name = "PORT")]
    base_port: u16,
}

/// Why there is no cluster. What was started has been stopped.
#[derive(Debug, Error)]
enum DevError {
    /// The directory was made for another number of nodes.
    #[error(
        "{} holds a cluster of {kept} nodes, and {asked} were asked for; pass --nodes {kept}, \
         another --dir, or --fresh to delete its data and start over", .dir.display()
    )]
    OtherSize {
        /// The directory.
        dir: PathBuf,
        /// How many nodes it holds.
        kept: u16,
        /// How many were asked for.
        asked: u16,
    },
    /// The directory is somebody else's.
    #[error("{} is not empty and was not made by merganser dev; nothing was changed. Pass another --dir", .0.display())]
    NotOurs(PathBuf),
    /// The kept description makes no sense.
    #[error("{} cannot be used: {problem}; nothing was changed. Repair it, or pass --fresh", .path.display())]
    BadKept {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The directory is in use.
    #[error("another merganser dev is running in {}; nothing was changed. Stop it, or pass another --dir", .0.display())]
    Running(PathBuf),
    /// A node of the cluster runs, though no `dev` does.
    #[error(
        "{dir} is served by a node that was started by hand; nothing was changed. Stop it \
         (kill $(cat {dir}/node.pid)), or pass another --dir", dir = .0.display()
    )]
    NodeRuns(PathBuf),
    /// A port is taken.
    #[error(
        "port {0} is in use; nothing was changed. Stop what uses it, or pass another --base-port"
    )]
    PortBusy(u16),
    /// The ports would leave the range of ports.
    #[error("there are no {nodes} ports from {base} on; pass a lower --base-port")]
    PortRange {
        /// The first.
        base: u16,
        /// How many.
        nodes: u16,
    },
    /// A node did not start.
    #[error("n{node} {what}. The end of {}:\n\n{tail}", .log.display())]
    Unhealthy {
        /// Which.
        node: u16,
        /// What it did.
        what: String,
        /// Its log file.
        log: PathBuf,
        /// The end of its log.
        tail: String,
    },
    /// Interrupted before the cluster was ready.
    #[error("stopped before the cluster was ready")]
    Interrupted,
    /// The operating system refused something.
    #[error("cannot {doing} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl DevError {
    /// For `map_err`: says what was tried, and on what.
    fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }
}

/// One node as `dev` describes it to its process and to the user.
#[derive(Clone, Debug)]
struct Spec {
    /// Its number.
    node: u16,
    /// Its zone.
    zone: &'static str,
    /// Its directory.
    dir: PathBuf,
    /// Where clients reach it.
    http: SocketAddr,
}

impl Spec {
    fn config(&self) -> PathBuf {
        self.dir.join("node.toml")
    }

    fn log(&self) -> PathBuf {
        self.dir.join("node.log")
    }
}

impl Dev {
    /// Runs the cluster. Returns when it has stopped.
    pub(crate) fn run(self) -> ExitCode {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                eprintln!("merganser dev: cannot start the event loop: {error}");
                return ExitCode::FAILURE;
            }
        };
        match runtime.block_on(self.run_cluster()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("merganser dev: {error}");
                ExitCode::FAILURE
            }
        }
    }

    async fn run_cluster(&self) -> Result<(), DevError> {
        let mut stop = std::pin::pin!(stop_wanted());
        let kept = Kept::prepare(&self.dir, self.nodes, self.fresh)?;
        let specs = kept.write(self.base_port)?;
        let mut children = Vec::new();
        let started = async {
            for spec in specs {
                children.push(Child::start(spec)?);
            }
            all_healthy(&mut children).await
        };
        let started = tokio::select! {
            started = started => started,
            () = &mut stop => Err(DevError::Interrupted),
        };
        if started.is_ok() {
            present(&children);
            tokio::select! {
                () = watch(&mut children) => {}
                () = &mut stop => {}
            }
            println!("\nstopping {} nodes ...", children.len());
        }
        child::stop_all(children).await;
        started
    }
}

/// Ends when the user wants the cluster to stop.
async fn stop_wanted() {
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
        signal(SignalKind::hangup()),
    ) else {
        return;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}

/// Waits until every node answers and has found the others, or one of them surely will not.
async fn all_healthy(children: &mut [Child]) -> Result<(), DevError> {
    let deadline = tokio::time::Instant::now() + READY_MAX;
    let nodes = children.len();
    for child in children {
        let http = child.spec.http;
        let healthy = async {
            health::healthy(http).await;
            health::acquainted(http, nodes).await;
        };
        let what = tokio::select! {
            healthy = tokio::time::timeout_at(deadline, healthy) => match healthy {
                Ok(()) => continue,
                Err(_) => format!("was not ready within {} s", READY_MAX.as_secs()),
            },
            status = child.ended() => format!("ended ({})", describe(&status)),
        };
        let log = child.spec.log();
        let tail = health::tail(&log);
        return Err(DevError::Unhealthy { node: child.spec.node, what, log, tail });
    }
    Ok(())
}

/// Tells the user what there is and what to do with it.
fn present(children: &[Child]) {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["node", "http address", "pid", "zone", "log"]);
    for child in children {
        let spec = &child.spec;
        table.add_row([
            format!("n{}", spec.node),
            format!("http://{}", spec.http),
            child.pid.to_string(),
            spec.zone.to_owned(),
            spec.log().display().to_string(),
        ]);
    }
    println!("{table}");
    let (Some(first), Some(last)) = (children.first(), children.last()) else { return };
    let (first, last) = (first.spec.http, last.spec.http);
    let program = child::program();
    let program = program.display();
    println!("\ntry:");
    println!("  {program} keyspace create demo --node http://{first}");
    println!("  {program} table create demo notes --policy siblings --node http://{first}");
    println!("  {program} put demo notes hello world --node http://{first}");
    println!("  {program} get demo notes hello --node http://{last}");
    println!("\nready; Ctrl-C stops all nodes");
}

/// Reports nodes that end. Ends itself when none is left.
async fn watch(children: &mut Vec<Child>) {
    while !children.is_empty() {
        let ends = children
            .iter_mut()
            .enumerate()
            .map(|(at, child)| Box::pin(async move { (at, child.ended().await) }));
        let (at, status) = child::first(ends.collect()).await;
        let spec = children.remove(at).spec;
        println!(
            "\nn{} ended ({}); the other nodes go on. To start it again:",
            spec.node,
            describe(&status)
        );
        println!("  {} serve --config {}", child::program().display(), spec.config().display());
    }
}

/// How a process ended, in words.
fn describe(status: &io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    }
}

/// Waits for something, but not for ever.
async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    timeout(limit, future).await.ok()
}
