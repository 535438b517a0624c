//! What is done to the processes. One module per kind of mistreatment.
//!
//! A scenario starts its own cluster, mistreats it under load, heals it, and compares what
//! can be read with what clients were told: at a quorum, and once more at `ALL`.

mod clients;
mod clock;
mod disk;
mod kill;
mod limits;
mod memory;
mod net;
mod overload;
mod pause;
mod power;
mod reads;
mod retries;
mod rot;
mod slow;
mod stop;
mod sync;
mod syscalls;

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::ValueEnum;
use client::Level;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tempfile::TempDir;

use crate::cluster::Cluster;
use crate::load::Load;
use crate::outcome::{Figures, Line, Stop};
use crate::process;
use crate::strace::Fault;

/// What a node exits with whose disk failed.
const DISK_FAILED: i32 = 8;

/// What the operating system says of a disk that failed, in the node's words.
const IO_ERROR: &str = "Input/output error";

/// With so little memory a node collects two megabytes before it writes a file.
const LITTLE_MEMORY: &str = "memory = \"128MiB\"";

/// Bytes of values of which two megabytes are collected in no time: by the hundred siblings of
/// a key, which are stored together. Files are written and merged all the time then.
const LARGE_VALUE: usize = 16_000;

/// Bytes of other values.
const SMALL_VALUE: usize = 100;

/// How a scenario is run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The program under test.
    pub binary: PathBuf,
    /// Everything drawn by the harness comes from it. Processes keep their own timing, so
    /// the same seed repeats the mistreatment and not the run.
    pub seed: u64,
    /// How often; without, as often as the scenario does by itself.
    pub rounds: Option<u64>,
    /// Whether to take hours rather than minutes.
    pub long: bool,
    /// What is left out, to see whether anybody notices.
    pub sabotage: Option<Sabotage>,
}

/// A part of a scenario that is secretly not done. What then passes has been blind.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Sabotage {
    /// Nothing is mistreated.
    Fault,
    /// The network is never healed. For the scenarios of networks only.
    Heal,
    /// A write is counted as kept that was never made.
    Write,
    /// A disk that does not sync what a start recovers, and says that it did. For the losses
    /// of power only.
    Sync,
}

/// A plan, and a directory for everything that it needs.
struct Scene<'a> {
    plan: &'a Plan,
    dir: &'a Path,
}

impl Scene<'_> {
    fn rounds(&self, short: u64, long: u64) -> u64 {
        self.plan.rounds.unwrap_or(if self.plan.long { long } else { short })
    }

    fn rng(&self) -> SmallRng {
        SmallRng::seed_from_u64(self.plan.seed)
    }

    /// Whether the mistreatment is really done.
    fn is_real(&self) -> bool {
        self.plan.sabotage != Some(Sabotage::Fault)
    }
}

type Scenario = fn(&Scene<'_>) -> Result<Figures, Stop>;

/// Where a scenario has its files.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Home {
    Disk,
    /// In memory, if there is room: five nodes that sync to a busy disk make requests fail
    /// that the network would have let pass.
    Memory,
}

/// All scenarios, by name.
const ALL: [(&str, Home, Scenario); 24] = [
    ("kill", Home::Disk, kill::run),
    ("retries", Home::Disk, retries::run),
    ("pause", Home::Disk, pause::run),
    ("power", Home::Disk, power::one),
    ("blackout", Home::Disk, power::all),
    ("syscalls", Home::Disk, syscalls::run),
    ("disk-full", Home::Disk, disk::full),
    ("fsync-fails", Home::Disk, sync::run),
    ("read-fails", Home::Disk, reads::run),
    ("read-only", Home::Disk, disk::read_only),
    ("slow-disk", Home::Disk, slow::run),
    ("rot", Home::Disk, rot::run),
    ("memory", Home::Disk, memory::run),
    ("clients", Home::Disk, clients::run),
    ("overload", Home::Disk, overload::run),
    ("clock", Home::Disk, clock::run),
    ("limits", Home::Disk, limits::run),
    ("stop", Home::Disk, stop::run),
    ("net-split", Home::Memory, net::split),
    ("net-oneway", Home::Memory, net::oneway),
    ("net-lossy", Home::Memory, net::lossy),
    ("net-reset", Home::Memory, net::reset),
    ("net-sloppy", Home::Memory, net::sloppy),
    ("net-evict", Home::Memory, net::evict),
];

/// The names of all scenarios, in the order in which they are run.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|(name, _, _)| *name)
}

/// Runs one scenario. Nothing of it is left when this returns, but the logs and data of one
/// that failed, whose place is told.
pub fn run(name: &str, plan: &Plan) -> Line {
    let started = Instant::now();
    let outcome = match ALL.iter().find(|(known, _, _)| *known == name) {
        Some((_, home, scenario)) => home.scratch().map_err(Stop::from).and_then(|dir| {
            let outcome = scenario(&Scene { plan, dir: dir.path() });
            outcome.map_err(|stop| keep(stop, dir, plan))
        }),
        None => Err(Stop::Failed("there is no such scenario".to_owned())),
    };
    Line { name: name.to_owned(), outcome, took: started.elapsed() }
}

impl Home {
    fn scratch(self) -> std::io::Result<TempDir> {
        let memory = Path::new("/dev/shm");
        match self {
            Self::Memory if memory.is_dir() => tempfile::tempdir_in(memory),
            Self::Memory | Self::Disk => tempfile::tempdir(),
        }
    }
}

/// Keeps what a scenario left that failed, on disk. What was sabotaged is nothing to look at.
fn keep(stop: Stop, dir: TempDir, plan: &Plan) -> Stop {
    let why = match stop {
        Stop::Failed(why) if plan.sabotage.is_none() => why,
        Stop::Failed(_) | Stop::Skipped(_) => return stop,
    };
    let temporary = std::env::temp_dir();
    if dir.path().starts_with(&temporary) {
        return Stop::Failed(format!("{why}; see {}", dir.keep().display()));
    }
    let place = temporary.join(dir.path().file_name().unwrap_or_default());
    let (from, to) = (dir.path().display().to_string(), place.display().to_string());
    match process::run(&["cp", "-a", &from, &to]) {
        Ok(_) => Stop::Failed(format!("{why}; see {to}")),
        Err(_) => Stop::Failed(format!("{why}; nothing could be kept in {to}")),
    }
}

/// A cluster with a declared table, about to be mistreated.
struct Bench {
    cluster: Cluster,
    load: Load,
    /// What [`Sabotage`] it is to suffer.
    sabotage: Option<Sabotage>,
}

impl Bench {
    /// Starts so many nodes, all of them replicas of every key.
    fn start(scene: &Scene<'_>, nodes: u8) -> Result<Self, Stop> {
        let cluster = Cluster::prepare(&scene.plan.binary, scene.dir, u16::from(nodes))?;
        Self::over(scene, cluster, nodes)
    }

    /// The same, and the nodes write their files early and often.
    fn start_with_little_memory(scene: &Scene<'_>, nodes: u8) -> Result<Self, Stop> {
        let cluster = Cluster::prepare(&scene.plan.binary, scene.dir, u16::from(nodes))?;
        cluster.ids().try_for_each(|id| cluster.configure(id, LITTLE_MEMORY))?;
        Self::over(scene, cluster, nodes)
    }

    /// Starts the nodes of a prepared cluster.
    fn over(scene: &Scene<'_>, mut cluster: Cluster, replicas: u8) -> Result<Self, Stop> {
        cluster.start_all()?;
        Self::declare(scene, cluster, replicas)
    }

    /// Declares the table at nodes that serve.
    fn declare(scene: &Scene<'_>, cluster: Cluster, replicas: u8) -> Result<Self, Stop> {
        let load = Load::declare(cluster.urls(), replicas, SMALL_VALUE)?;
        Ok(Self { cluster, load, sabotage: scene.plan.sabotage })
    }

    /// How many files of records the nodes have written so far. They are numbered, also those
    /// that were merged since.
    fn files_written(&self) -> u64 {
        let tables = |id| self.cluster.disk_dir(id).join("data/db/keyspaces/1/tables");
        let last = |id| {
            let files = std::fs::read_dir(tables(id)).into_iter().flatten().flatten();
            files.filter_map(|file| file.file_name().to_str()?.parse::<u64>().ok()).max()
        };
        self.cluster.ids().filter_map(last).sum()
    }

    /// Compares at a quorum and at `ALL`, and then what was declared.
    fn check(&mut self, figures: &mut Figures) -> Result<(), Stop> {
        if self.sabotage == Some(Sabotage::Write) {
            self.load.forge();
        }
        self.cluster.wait_for_all_alive()?;
        let first = self.load.check(Level::Quorum)?;
        let second = self.load.check(Level::All)?;
        let declared = self.load.check_declarations()?;
        figures.checked += first.checked + second.checked;
        (figures.declared, figures.unknown) = (declared, second.unknown);
        figures.acknowledged = second.acknowledged;
        Ok(())
    }

    /// System calls of a node that are to be tampered with. They are traced at least.
    fn fault(&self, id: u16, calls: &str, action: &str) -> Fault {
        let fault = Fault::new(calls, action, &self.cluster.node_dir(id).join("strace"));
        if self.sabotage == Some(Sabotage::Fault) { fault.harmless() } else { fault }
    }
}
