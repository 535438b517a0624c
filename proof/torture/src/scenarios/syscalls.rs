//! `kill -9` at the n-th system call that changes a disk.
//!
//! A kill at a random time rarely falls between two calls that belong together, such as the
//! write of a file and its renaming. Here `strace` kills a node as it enters its n-th call of
//! a kind, three times in each round:
//!
//! 1. at its first start, on an empty directory;
//! 2. under load, with n counted from a moment when it serves. It has little memory and large
//!    values, so that it writes files and merges them;
//! 3. in its recovery from that.
//!
//! At last it is left alone: it has to start, and to hold what it acknowledged. n is counted
//! for each thread, as strace does.
//!
//! A call that is never made kills nobody. Only deaths count as faults; the run says how
//! many there were of each kind, and fails if most kills did not come about.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::SmallRng;

use super::{Bench, LARGE_VALUE, LITTLE_MEMORY, Scene};
use crate::cluster::Cluster;
use crate::outcome::{Figures, Stop};
use crate::process::{need_tools, sleep};
use crate::strace::Fault;

/// The calls by which a start changes files, and about how many of them it makes.
const AT_START: [(&str, u64); 8] = [
    ("openat", 110),
    ("write", 60),
    ("fsync", 80),
    ("renameat", 11),
    ("mkdir", 3),
    ("unlink", 2),
    ("rename", 1),
    ("ftruncate", 1),
];

/// The calls that load makes, and up to which one of them a node is let live. The last four
/// are made only while files of records are written and merged.
const AT_WORK: [(&str, u64); 6] = [
    ("write", 200),
    ("fdatasync", 60),
    ("fsync", 12),
    ("openat", 12),
    ("renameat", 4),
    ("unlink", 2),
];

/// Of all kills that were tried, how many have to come about: one in two.
const REACHED_MIN: u64 = 2;

pub(super) fn run(scene: &Scene<'_>) -> Result<Figures, Stop> {
    need_tools(&["strace"])?;
    let mut rng = scene.rng();
    let mut figures = Figures::default();
    let mut deaths = Deaths::default();
    for (round, kind) in (0..scene.rounds(8, 3_000)).zip(AT_START.iter().cycle()) {
        let dir = scene.dir.join(round.to_string());
        fs::create_dir(&dir)?;
        let mut cluster = Cluster::prepare(&scene.plan.binary, &dir, 1)?;
        cluster.configure(1, LITTLE_MEMORY)?;
        if scene.is_real() {
            deaths.note("first start", kind.0, die_at_start(&mut cluster, *kind, &mut rng)?);
        }
        cluster.start(1)?;
        let mut bench = Bench::declare(scene, cluster, 1)?;
        bench.load.pad(LARGE_VALUE);
        let busy = AT_WORK.get(usize::try_from(round).unwrap_or(0) % AT_WORK.len()).unwrap_or(kind);
        deaths.note("load", busy.0, die_under_load(&mut bench, *busy, &mut rng)?);
        if scene.is_real() {
            // A start on files makes fewer calls than one without.
            let fewer = (kind.0, 1 + kind.1 / 16);
            deaths.note("recovery", kind.0, die_at_start(&mut bench.cluster, fewer, &mut rng)?);
        }
        bench.cluster.start(1)?;
        let mut round = Figures::default();
        bench.check(&mut round)?;
        figures.rounds += 1;
        figures.checked += round.checked;
        figures.acknowledged += round.acknowledged;
        figures.unknown += round.unknown;
        figures.declared += round.declared;
        drop(bench);
        fs::remove_dir_all(dir)?;
    }
    eprintln!("syscalls: died of tried: {}", deaths.words());
    let (died, tried) = deaths.total();
    if died * REACHED_MIN < tried {
        return Err(Stop::Failed(format!("only {died} of {tried} kills came about")));
    }
    figures.faults = died;
    Ok(figures)
}

/// Starts the node to die at some call of that kind. Says whether it did.
fn die_at_start(
    cluster: &mut Cluster,
    (call, about): (&str, u64),
    rng: &mut SmallRng,
) -> Result<bool, Stop> {
    let when = rng.random_range(1..=about);
    let fault = Fault::new(call, &kill_at(when), &cluster.node_dir(1).join("strace"));
    cluster.launch(1, &fault.wrapper())?;
    let ended = cluster.answers_or_ended(1)?;
    cluster.kill(&[1])?;
    match ended {
        None => Ok(false),
        Some(status) if status.signal() == Some(9) => Ok(true),
        Some(status) => {
            let words = cluster.last_words(1);
            Err(Stop::Failed(format!("{status} before its {when}. {call}: {words}")))
        }
    }
}

/// Lets clients work until the node has died at some call of that kind.
fn die_under_load(
    bench: &mut Bench,
    (call, about): (&str, u64),
    rng: &mut SmallRng,
) -> Result<bool, Stop> {
    let fault = bench.fault(1, call, &kill_at(rng.random_range(1..=about)));
    let pid = bench.cluster.pid(1)?;
    let workers = bench.load.start(rng.random());
    let attached = fault.attach(pid)?;
    let deadline = Instant::now() + Duration::from_secs(5);
    while !bench.cluster.has_ended(1)? && Instant::now() < deadline {
        sleep(Duration::from_millis(5))?;
    }
    let died = bench.cluster.has_ended(1)?;
    drop(attached);
    bench.cluster.kill(&[1])?;
    workers.finish()?;
    Ok(died)
}

fn kill_at(when: u64) -> String {
    format!("signal=KILL:when={when}")
}

/// How many nodes died of how many that were to, by when and at which call.
#[derive(Default)]
struct Deaths(BTreeMap<(&'static str, &'static str), (u64, u64)>);

impl Deaths {
    fn note(&mut self, when: &'static str, call: &'static str, died: bool) {
        let (deaths, tried) = self.0.entry((when, call)).or_default();
        *deaths += u64::from(died);
        *tried += 1;
    }

    fn total(&self) -> (u64, u64) {
        self.0.values().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    fn words(&self) -> String {
        let word = |((when, call), (died, tried)): (&(&str, &str), &(u64, u64))| {
            format!("{when} {call} {died}/{tried}")
        };
        self.0.iter().map(word).collect::<Vec<_>>().join(", ")
    }
}
