//! `merganser serve`: one node, for real.
//!
//! The node itself is a pure state machine. This is what surrounds it in a process: the data
//! directory, the sockets, the clock, the loop that drives it ([`driver`]), and the order in
//! which all of these begin and end.
//!
//! ```text
//! begin   check the configuration ─ take the data directory and recover ─ try the disk ─ bind both ports ─ serve
//! end     no new requests ─ finish those in progress (5 s) ─ bring everything to disk ─ exit 0
//! ```
//!
//! Everything runs on one thread, because a request is mostly system calls and two threads
//! would mostly wake each other; the committer, which waits for the disk, is a second one.
//!
//! It ends with one of these numbers:
//!
//! | exit code | what happened |
//! | --- | --- |
//! | 0 | it was asked to stop, and everything is on disk |
//! | 1 | it could not start: the message says why; nothing was changed |
//! | 2 | the command line makes no sense |
//! | 8 | the disk failed, before serving or while it did: it stopped at once, without answering what it could not promise |

mod admission;
mod alarm;
mod backup;
mod door;
mod driver;
mod held;
mod logging;
mod mailbox;
mod measured;
mod metrics;
mod pid_file;
mod probe;
mod signals;
mod surroundings;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use causality::Incarnation;
use clap::Args;
use model::{DiskId, Now};
use node::Node;
use storage::{FlushError, OpenError, Recovered, Storage};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use transport::Peers;

use crate::config::{ByteSize, Config, ConfigError, LogConfig, Raw};
use backup::Backups;
use door::Asker;
use driver::Driver;
use mailbox::{Mail, Mailbox};
use pid_file::PidFile;

/// The exit code of a node whose disk failed.
const EXIT_DISK_FAILED: u8 = 8;

/// How long requests in progress have to finish when the node stops.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Runs one node until it is told to stop.
///
/// Every option can be given as a flag, as an environment variable or in the file; a flag
/// beats the environment, and the environment beats the file.
#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// A file in TOML, with the same names in `snake_case`, and a `[[nodes]]` table per node.
    #[arg(long, env = "MERGANSER_CONFIG", value_name = "PATH")]
    config: Option<PathBuf>,

    #[command(flatten)]
    options: Raw,

    /// Stop when standard input closes, which the parent process holds open.
    #[arg(long, hide = true)]
    exit_with_parent: bool,
}

/// Why a node did not start, or did not end well.
#[derive(Debug, Error)]
enum Stopped {
    /// Something in the configuration. Nothing was opened.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// The data directory cannot be used.
    #[error("{0}")]
    Open(#[from] OpenError),
    /// A port cannot be listened on.
    #[error(
        "cannot listen on {address} ({option}): {source}; choose another port, or stop what uses it"
    )]
    Bind {
        /// The option that names the address.
        option: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The operating system refused something else.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// The disk failed, before serving or while it did.
    #[error("{0}")]
    Disk(#[from] FlushError),
}

impl Serve {
    /// Runs the node. Returns when it has stopped.
    pub(crate) fn run(self) -> ExitCode {
        match self.serve() {
            Ok(()) => ExitCode::SUCCESS,
            Err(stopped) => stopped.report(),
        }
    }

    fn serve(self) -> Result<(), Stopped> {
        let file = self.config.as_deref().map(Raw::read).transpose()?.unwrap_or_default();
        let raw = self.options.or(file);
        logging::start(&LogConfig::resolve(&raw))?;
        let config = Config::resolve(raw)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| Stopped::Io { doing: "start the event loop", source })?;
        let result = runtime.block_on(serve(config, self.exit_with_parent));
        runtime.shutdown_background();
        result
    }
}

impl Stopped {
    /// Says why, once, and gives the exit code. Before logging has begun the line goes to
    /// standard error as it is.
    fn report(&self) -> ExitCode {
        match self {
            Self::Disk(error) => {
                tracing::error!(
                    %error,
                    exit_code = EXIT_DISK_FAILED,
                    "the disk failed: this node stops; requests in progress are not answered, and the other nodes go on"
                );
                ExitCode::from(EXIT_DISK_FAILED)
            }
            Self::Config(_) | Self::Open(_) | Self::Bind { .. } | Self::Io { .. } => {
                // Standard error may be a file on a full disk. The exit code still counts.
                let _ = writeln!(io::stderr(), "merganser: cannot start: {self}");
                ExitCode::FAILURE
            }
        }
    }
}

/// Everything from opening to closing.
async fn serve(config: Config, with_parent: bool) -> Result<(), Stopped> {
    let started = Instant::now();
    signals::let_large_files_fail()
        .map_err(|source| Stopped::Io { doing: "listen for signals", source })?;
    let layout = config.layout.fingerprint();
    let mut options = storage::Options::new(&config.data_dir, config.cluster, config.node, layout);
    options.cache_bytes = config.memory.cache;
    options.write_buffer_bytes = config.memory.write_buffer;
    let (disk, recovered) = Storage::open(&options)?;
    probe::try_disk(&config.data_dir)?;
    let listener = bind("http_listen", config.http_listen).await?;
    let peer = bind("peer_listen", config.peer_listen).await?;
    let pid_file = PidFile::write(&config.data_dir)
        .map_err(|source| Stopped::Io { doing: "write node.pid", source })?;
    let http_address = listener.local_addr().unwrap_or(config.http_listen);

    let mailbox = Arc::new(Mailbox::new(config.limits.requests_max, config.memory.queue));
    // A new life, whatever the disk says: no dot of a former one can be minted again.
    let incarnation = Incarnation::new(rand::random());
    let peers = start_peers(&config, incarnation, peer, &mailbox);
    let node = new_node(&config, incarnation, disk.disk(), recovered);
    let asker = Asker {
        mailbox: Arc::clone(&mailbox),
        data_dir: config.data_dir.clone(),
        layout: config.layout.fingerprint(),
        retry_window: config.limits.retry_window,
        backups: Backups::of(disk.checkpoints()),
    };
    let router = http::router_within(asker, door_config(&config), config.memory.bodies);
    let driver = tokio::spawn(
        Driver::new(
            config.node,
            node,
            disk,
            peers,
            Arc::clone(&mailbox),
            config.memory.queue,
            started,
        )
        .run(),
    );
    let (stop, stopping) = oneshot::channel::<()>();
    let limits = http::ServeLimits {
        connections_max: config.connections_max,
        drain_timeout: DRAIN_MAX,
        ..http::ServeLimits::default()
    };
    let gate: Arc<dyn http::Gate> = Arc::clone(&mailbox) as _;
    let door = tokio::spawn(http::serve(listener, router, limits, gate, async {
        let _ = stopping.await;
    }));
    tracing::info!(
        node = %config.node,
        http = %http_address,
        peer = %config.peer_listen,
        data = %config.data_dir.display(),
        memory = %ByteSize(config.memory.budget),
        took_ms = started.elapsed().as_millis(),
        "ready"
    );

    let mut driver = driver;
    let reason = tokio::select! {
        ended = &mut driver => return flatten(ended),
        reason = signals::wanted(with_parent) => {
            reason.map_err(|source| Stopped::Io { doing: "listen for signals", source })?
        }
    };
    tracing::info!(reason, "stopping");
    drop(stop);
    tokio::select! {
        ended = &mut driver => return flatten(ended),
        _ = door => {}
    }
    mailbox.post(Mail::Finish);
    flatten(driver.await)?;
    pid_file.remove();
    tracing::info!("stopped, everything is on disk");
    Ok(())
}

async fn bind(option: &'static str, address: SocketAddr) -> Result<TcpListener, Stopped> {
    TcpListener::bind(address).await.map_err(|source| Stopped::Bind { option, address, source })
}

fn start_peers(
    config: &Config,
    incarnation: Incarnation,
    listener: TcpListener,
    mailbox: &Arc<Mailbox>,
) -> Peers {
    let identity = wire::Identity {
        cluster: config.cluster,
        node: config.node,
        incarnation,
        layout: config.layout.fingerprint(),
        members: config.layout.members.keys().copied().collect(),
        key: wire::HandshakeKey::derive(&config.secret.key()),
    };
    let peers = transport::Config {
        identity,
        peers: config.peers.clone(),
        queue_bytes_max: config.memory.peer_queue,
    };
    Peers::start(peers, listener, Arc::clone(mailbox))
}

/// The node as its disk has it.
fn new_node(config: &Config, incarnation: Incarnation, disk: DiskId, recovered: Recovered) -> Node {
    let node = node::Config {
        id: config.node,
        incarnation,
        disk,
        layout: config.layout.clone(),
        limits: config.limits,
        address: config.address.clone(),
        started_millis: millis_now(),
        salt: node::Salt::new(config.secret.key()),
        seed: rand::random(),
    };
    Node::new(node, recovered.clocks, recovered.acceptor, Now::default())
        .with_marks(recovered.marks)
        .with_hints(recovered.hints)
        .with_forgotten(recovered.forgotten)
        .with_sums(recovered.sums)
}

/// What the wall clock says, which may be anything.
fn millis_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or_default()
}

fn door_config(config: &Config) -> http::Config {
    let member = config.layout.members.get(&config.node).expect("checked when resolved");
    let in_region = config.layout.nodes_of(&member.region).count();
    http::Config {
        token_key: codec::token::TokenKey::derive(&config.secret.key()),
        region: member.region.clone(),
        nodes_in_region: u8::try_from(in_region).unwrap_or(u8::MAX),
        value_bytes_max: config.limits.value_bytes_max,
        feeds_max: config.feeds_max,
    }
}

/// The result of the driver's task. If it panicked, so does the process: what is staged is
/// in an unknown state.
fn flatten(ended: Result<Result<(), FlushError>, tokio::task::JoinError>) -> Result<(), Stopped> {
    match ended {
        Ok(result) => Ok(result?),
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
