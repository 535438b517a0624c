//! Wall clocks that jump by hours, forward and back, each node's another way.
//!
//! Dots decide what replaces what, and timers run on a clock that no one can set. So an
//! operator who sets the date, or a machine that wakes with a wrong one, must change nothing:
//! neither what is read, nor how fast. Three nodes run behind libfaketime, which shows each
//! of them a wall clock of its own and leaves the monotonic one alone: that one does not
//! jump on real machines either. Between the jumps a node dies and wakes days before its data
//! was written.
//!
//! Only idempotency keys are judged by wall clocks: a node whose clock is hours off refuses writes
//! that have one. So these have none.
//!
//! A jump counts when the node shows it: the `Date` of its answers is the time it was given.
//! While clocks jump, clients must go on being answered; afterwards no node may spin.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use client::Identity;
use rand::RngExt;
use rand::rngs::SmallRng;

use super::{Bench, Scene};
use crate::cluster::Cluster;
use crate::outcome::{Figures, Stop};
use crate::process::{eventually, run as execute, sleep};

/// Where packages put the library that replaces the calls which ask for the time.
const LIBRARIES: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];

/// How the names of the files begin in which the library shares the time, before the number
/// of the process.
const SHARED: [&str; 2] = ["faketime_shm_", "sem.faketime_sem_"];

const NODES: u8 = 3;

/// Jumps of all clocks in one round.
const JUMPS: u32 = 5;

/// Seconds by which a clock is off at least: an hour, so that no timeout is as long.
const OFF_MIN: i64 = 3_600;

/// Seconds by which a clock is off at most: four days.
const OFF_MAX: i64 = 4 * 86_400;

/// Seconds between the clock of a node and what was asked of it that are no lie: a `Date` has
/// whole seconds, and both ends of the question take time.
const TOLERANCE: i64 = 5;

/// Writes that must be acknowledged between two jumps. Some thousands are, on an idle machine.
const PROGRESS_MIN: u64 = 20;

pub(super) fn run(scene: &Scene<'_>) -> Result<Figures, Stop> {
    remove_leftovers();
    let mut rng = scene.rng();
    let mut cluster = Cluster::prepare(&scene.plan.binary, scene.dir, u16::from(NODES))?;
    cluster.start_behind(&wrapper()?.iter().map(String::as_str).collect::<Vec<_>>());
    let mut clocks = Clocks { is_real: scene.is_real(), off: Vec::new(), pids: Vec::new() };
    clocks.jump(&cluster, 0, &mut rng)?;
    let mut bench = Bench::over(scene, cluster, NODES)?;
    bench.load.identity = Identity::UnsafeToRepeat;
    clocks.note_processes(&mut bench)?;
    let mut figures = Figures::default();
    for _ in 0..scene.rounds(2, 200) {
        let workers = bench.load.start(rng.random());
        for jump in 1..=JUMPS {
            clocks.jump(&bench.cluster, jump, &mut rng)?;
            figures.faults += live_on(&bench, &clocks)?;
        }
        figures.faults += clocks.restart(&mut bench, &mut rng)?;
        workers.finish()?;
        figures.rounds += 1;
        bench.check(&mut figures)?;
        rest(&mut bench)?;
    }
    Ok(figures)
}

/// What is typed before the program, so that it sees the clock in its directory.
fn wrapper() -> Result<Vec<String>, Stop> {
    let library = LIBRARIES.iter().find(|path| Path::new(path).exists());
    let Some(library) = library else {
        return Err(Stop::Skipped("libfaketime is not installed".to_owned()));
    };
    Ok(vec![
        "env".to_owned(),
        format!("LD_PRELOAD={library}"),
        "FAKETIME_TIMESTAMP_FILE={dir}/clock".to_owned(),
        "FAKETIME_NO_CACHE=1".to_owned(),
        "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
    ])
}

/// By how many seconds the clock of each node is off, and whose memory the library shares.
struct Clocks {
    /// Or they are not off at all, and somebody has to notice.
    is_real: bool,
    off: Vec<(u16, i64)>,
    pids: Vec<u32>,
}

impl Clocks {
    /// Sets every clock anew, neighbours in opposite directions.
    fn jump(&mut self, cluster: &Cluster, turn: u32, rng: &mut SmallRng) -> Result<(), Stop> {
        self.off.clear();
        for id in cluster.ids() {
            let off = rng.random_range(OFF_MIN..OFF_MAX);
            let off = if (u32::from(id) + turn).is_multiple_of(2) { off } else { -off };
            self.off.push((id, off));
            self.set(&cluster.node_dir(id), off)?;
        }
        Ok(())
    }

    /// Kills a node and starts it with a clock that is further back than ever.
    fn restart(&mut self, bench: &mut Bench, rng: &mut SmallRng) -> Result<u64, Stop> {
        let id = rng.random_range(1..=u16::from(NODES));
        bench.cluster.kill(&[id])?;
        let off = -OFF_MAX - rng.random_range(0..OFF_MAX);
        self.set(&bench.cluster.node_dir(id), off)?;
        self.off.retain(|(other, _)| *other != id);
        self.off.push((id, off));
        bench.cluster.start(id)?;
        self.note_processes(bench)?;
        live_on(bench, self)
    }

    /// Sets the clock of a node. In one step: the library reads the file at any time.
    fn set(&self, dir: &Path, off: i64) -> Result<(), Stop> {
        let off = if self.is_real { off } else { 0 };
        fs::write(dir.join("clock.next"), format!("{off:+}\n"))?;
        Ok(fs::rename(dir.join("clock.next"), dir.join("clock"))?)
    }

    fn note_processes(&mut self, bench: &mut Bench) -> Result<(), Stop> {
        for id in bench.cluster.ids() {
            self.pids.push(bench.cluster.pid(id)?);
        }
        Ok(())
    }
}

impl Drop for Clocks {
    fn drop(&mut self) {
        self.pids.iter().for_each(|pid| forget(*pid));
    }
}

/// Removes the two small files that the library leaves behind for a process that was killed.
fn forget(pid: u32) {
    for name in SHARED {
        // Whoever stopped by itself has taken its own away.
        let _ = fs::remove_file(format!("/dev/shm/{name}{pid}"));
    }
}

/// Removes what the processes of a run left that was itself killed.
fn remove_leftovers() {
    let Ok(files) = fs::read_dir("/dev/shm") else { return };
    for file in files.flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        let owner = SHARED.iter().find_map(|prefix| name.strip_prefix(prefix)?.parse().ok());
        if let Some(pid) = owner.filter(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            forget(pid);
        }
    }
}

/// Lets clients work, and demands that they are answered and that each node shows its time.
/// Returns how many clocks are off.
fn live_on(bench: &Bench, clocks: &Clocks) -> Result<u64, Stop> {
    let before = bench.load.acknowledged();
    sleep(Duration::from_millis(500))?;
    for (id, off) in &clocks.off {
        shows(&bench.cluster, *id, *off)?;
    }
    eventually("clients are answered although clocks jump", || {
        before + PROGRESS_MIN <= bench.load.acknowledged()
    })?;
    Ok(clocks.off.iter().map(|_| 1).sum())
}

/// Compares the `Date` of an answer with the clock that the node was given.
fn shows(cluster: &Cluster, id: u16, off: i64) -> Result<(), Stop> {
    let answer = cluster.answer(id, "/health")?;
    let lines = answer.lines().map(str::to_ascii_lowercase);
    let date = lines.filter_map(|line| line.strip_prefix("date: ").map(str::to_owned)).next();
    let date = date.ok_or_else(|| Stop::Failed(format!("n{id} answers without a Date")))?;
    let told = execute(&["date", "-u", "+%s", "-d", &date])?;
    let told: i64 = told.trim().parse().map_err(Stop::failed)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(Stop::failed)?;
    let given = i64::try_from(now.as_secs()).map_err(Stop::failed)? + off;
    if (told - given).abs() <= TOLERANCE {
        return Ok(());
    }
    let apart = told - given;
    Err(Stop::Failed(format!("n{id} tells clients a time that is {apart} s from its clock")))
}

/// Demands that nodes without clients do next to nothing.
fn rest(bench: &mut Bench) -> Result<(), Stop> {
    let mut before = Vec::new();
    for id in bench.cluster.ids() {
        before.push((id, bench.cluster.pid(id)?, ticks(bench.cluster.pid(id)?)?));
    }
    sleep(Duration::from_secs(1))?;
    for (id, pid, before) in before {
        let spent = ticks(pid)? - before;
        // Of a hundred in a second.
        if 50 < spent {
            return Err(Stop::Failed(format!("n{id} spins: {spent} ticks in an idle second")));
        }
    }
    Ok(())
}

/// The processor time of a process, in hundredths of a second.
fn ticks(pid: u32) -> Result<u64, Stop> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).map(|field| field.parse::<u64>().map_err(Stop::failed)).sum()
}
