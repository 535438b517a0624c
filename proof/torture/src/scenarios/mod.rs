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
mod pause;
mod power;
mod reads;
mod rot;
mod slow;
mod stop;
mod sync;
mod syscalls;

use std::path::PathBuf;
use std::time::Instant;

use clap::ValueEnum;
use client::Level;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tempfile::TempDir;

use crate::cluster::Cluster;
use crate::load::Load;
use crate::outcome::{Figures, Line, Stop};

/// What a node exits with whose disk failed.
const DISK_FAILED: i32 = 8;

/// What the operating system says of a disk that failed, in the node's words.
const IO_ERROR: &str = "Input/output error";

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
    /// What is left out, to see whether anybody notices. Known to the network scenarios.
    pub sabotage: Option<Sabotage>,
}

/// A part of a scenario that is secretly not done. What then passes has been blind.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Sabotage {
    /// The network is never broken.
    Fault,
    /// The network is never healed.
    Heal,
    /// A write is counted as kept that was never made.
    Write,
}

impl Plan {
    fn rounds(&self, short: u64, long: u64) -> u64 {
        self.rounds.unwrap_or(if self.long { long } else { short })
    }

    fn rng(&self) -> SmallRng {
        SmallRng::seed_from_u64(self.seed)
    }
}

type Scenario = fn(&Plan) -> Result<Figures, Stop>;

/// All scenarios, by name.
pub const ALL: [(&str, Scenario); 19] = [
    ("kill", kill::run),
    ("pause", pause::run),
    ("power", power::one),
    ("blackout", power::all),
    ("syscalls", syscalls::run),
    ("disk-full", disk::full),
    ("fsync-fails", sync::run),
    ("read-fails", reads::run),
    ("read-only", disk::read_only),
    ("slow-disk", slow::run),
    ("rot", rot::run),
    ("memory", memory::run),
    ("clients", clients::run),
    ("clock", clock::run),
    ("limits", limits::run),
    ("stop", stop::run),
    ("net-split", net::split),
    ("net-oneway", net::oneway),
    ("net-lossy", net::lossy),
];

/// Runs one scenario. Nothing of it is left when this returns.
pub fn run(name: &str, plan: &Plan) -> Line {
    let started = Instant::now();
    let outcome = match ALL.iter().find(|(known, _)| *known == name) {
        Some((_, scenario)) => scenario(plan),
        None => Err(Stop::Failed("there is no such scenario".to_owned())),
    };
    Line { name: name.to_owned(), outcome, took: started.elapsed() }
}

/// A cluster with a declared table in a scratch directory, about to be mistreated.
struct Bench {
    /// Before the directory, so that its processes are gone when that is removed.
    cluster: Cluster,
    load: Load,
    dir: TempDir,
}

impl Bench {
    /// Starts so many nodes, all of them replicas of every key.
    fn start(plan: &Plan, nodes: u8) -> Result<Self, Stop> {
        let dir = tempfile::tempdir()?;
        let cluster = Cluster::prepare(&plan.binary, dir.path(), u16::from(nodes))?;
        Self::over(cluster, dir, nodes)
    }

    /// Starts the nodes of a prepared cluster.
    fn over(mut cluster: Cluster, dir: TempDir, nodes: u8) -> Result<Self, Stop> {
        cluster.start_all()?;
        let load = Load::declare(cluster.urls(), nodes, 100)?;
        Ok(Self { cluster, load, dir })
    }

    /// Compares at a quorum and at `ALL`. On failure the directory with logs and data is
    /// kept, and its place is told.
    fn check(&mut self, figures: &mut Figures) -> Result<(), Stop> {
        self.cluster.wait_for_all_alive()?;
        let checked = self.load.check(Level::Quorum);
        let again = checked.and_then(|first| Ok((first, self.load.check(Level::All)?)));
        let (first, second) = again.map_err(|stop| self.keep(stop))?;
        figures.checked += first.checked + second.checked;
        (figures.acknowledged, figures.unknown) = (second.acknowledged, second.unknown);
        Ok(())
    }

    fn keep(&mut self, stop: Stop) -> Stop {
        self.dir.disable_cleanup(true);
        match stop {
            Stop::Failed(why) => Stop::Failed(format!("{why}; see {}", self.dir.path().display())),
            Stop::Skipped(why) => Stop::Skipped(why),
        }
    }
}
