//! Flipped bytes in every file of a node, one at a time, while it is down.
//!
//! A byte of a journal's last group may rot unnoticed by the node alone: that looks like a
//! crash in the middle of a write. So the node that rots has two healthy peers. With each
//! damaged file:
//!
//! - the node starts, or refuses to and names the directory and the reason;
//! - what the cluster answers at a quorum is right, whoever is asked: nothing lost, nothing
//!   back, nothing that nobody wrote;
//! - what the damaged node tells at ONE may be old and may be an error, and is never a value
//!   that nobody wrote;
//! - when the damaged node is gone, the other two answer as before: damage does not travel.
//!
//! Not all damage is noticed, because not every byte means something: an old version of a
//! file, or a value that another one has replaced. Bytes that a file was only given in advance
//! are left alone, and only damage that was met counts as a fault: it kept the node from
//! starting, or was noticed while it served. There has to be some of both.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use client::Level;
use rand::RngExt;

use super::{Bench, Scene};
use crate::outcome::{Figures, Stop};
use crate::process::sleep;

/// Places in the largest file of records that are damaged, one after the other, until a read
/// meets one of them. Most of its bytes are read.
const SERVING_TRIES: usize = 10;

pub(super) fn run(scene: &Scene<'_>) -> Result<Figures, Stop> {
    let mut rng = scene.rng();
    let mut bench = Bench::start(scene, 3)?;
    let workers = bench.load.start(rng.random());
    sleep(Duration::from_millis(600))?;
    workers.finish()?;
    let mut figures = Figures::default();
    bench.check(&mut figures)?;
    bench.cluster.stop(3)?;
    bench.cluster.kill(&[3])?;
    let data = bench.cluster.disk_dir(3).join("data");
    let whole = scene.dir.join("whole");
    copy(&data, &whole)?;
    let mut files = Vec::new();
    list(&whole, &mut files)?;
    let table =
        files.iter().filter(|path| path.parent().is_some_and(|dir| dir.ends_with("tables")));
    let largest = table.max_by_key(|path| path.metadata().map_or(0, |of| of.len())).cloned();
    let mut seen = Seen::default();
    for _ in 0..scene.rounds(1, 20) {
        let again = std::iter::repeat_n(&largest, SERVING_TRIES).flatten();
        for (at, file) in files.iter().chain(again).enumerate() {
            if files.len() <= at && seen.noticed_serving != 0 {
                break;
            }
            fs::remove_dir_all(&data)?;
            copy(&whole, &data)?;
            let inner = file.strip_prefix(&whole).map_err(Stop::failed)?;
            if !scene.is_real() || flip(&data.join(inner), &mut rng)? {
                look(&mut bench, inner, &mut figures, &mut seen)?;
            }
        }
        bench.cluster.kill(&[3])?;
        let healthy = bench.load.at(bench.cluster.urls().into_iter().take(2).collect());
        figures.checked += healthy.check(Level::Quorum)?.checked;
        figures.rounds += 1;
    }
    eprintln!("rot: of damaged files, {seen:?}");
    figures.faults = seen.refused + seen.noticed_serving;
    if seen.refused == 0 || seen.noticed_serving == 0 {
        return Err(Stop::failed("damage was not noticed both at a start and while serving"));
    }
    Ok(figures)
}

/// What came of damaged files.
#[derive(Debug, Default)]
struct Seen {
    /// The node did not start.
    refused: u64,
    /// It served, and logged what it found.
    noticed_serving: u64,
    /// It served and noticed nothing: the byte meant nothing, or was not read.
    unnoticed: u64,
}

/// Starts the node on the damaged directory and reads everything.
fn look(
    bench: &mut Bench,
    file: &Path,
    figures: &mut Figures,
    seen: &mut Seen,
) -> Result<(), Stop> {
    let damaged = |stop| match stop {
        Stop::Failed(why) => Stop::Failed(format!("with {} damaged: {why}", file.display())),
        Stop::Skipped(why) => Stop::Skipped(why),
    };
    let said_before = bench.cluster.log(3).len();
    bench.cluster.launch(3, &[])?;
    let ended = bench.cluster.answers_or_ended(3).map_err(damaged)?;
    let log = bench.cluster.log(3);
    let said = log.get(said_before..).unwrap_or_default();
    if said.contains("panicked") {
        return Err(damaged(Stop::Failed(format!("it panicked: {said}"))));
    }
    if ended.is_some_and(|status| !matches!(status.code(), Some(1 | 8))) {
        return Err(damaged(Stop::Failed(format!("it ended with {ended:?}: {said}"))));
    }
    if ended.is_some() && !(said.contains("cannot start") && said.contains("disk/data")) {
        return Err(damaged(Stop::Failed(format!("it does not name the directory: {said}"))));
    }
    let checked = bench.load.check(Level::Quorum).map_err(damaged)?;
    figures.checked += checked.checked;
    if ended.is_some() {
        seen.refused += 1;
        return bench.cluster.kill(&[3]).map(|_| ());
    }
    let own = bench.load.at(bench.cluster.urls().into_iter().skip(2).collect());
    let glance = own.glance(Level::One).map_err(damaged)?;
    figures.checked += glance.answered + glance.refused;
    let log = bench.cluster.log(3);
    let said = log.get(said_before..).unwrap_or_default();
    if said.contains("panicked") || bench.cluster.has_ended(3)? {
        return Err(damaged(Stop::Failed(format!("it did not bear to be read: {said}"))));
    }
    if said.contains(" ERROR ") {
        seen.noticed_serving += 1
    } else {
        seen.unnoticed += 1
    }
    bench.cluster.kill(&[3]).map(|_| ())
}

/// Flips one bit somewhere in what was written to a file. Says whether anything was.
fn flip(path: &Path, rng: &mut impl RngExt) -> Result<bool, Stop> {
    let mut bytes = fs::read(path)?;
    let Some(last) = bytes.iter().rposition(|byte| *byte != 0) else { return Ok(false) };
    let at = rng.random_range(0..=last);
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << rng.random_range(0..8);
    }
    fs::write(path, bytes)?;
    Ok(true)
}

fn copy(from: &Path, to: &Path) -> Result<(), Stop> {
    crate::process::run(&["cp", "-a", &from.display().to_string(), &to.display().to_string()])
        .map(|_| ())
}

fn list(dir: &Path, files: &mut Vec<PathBuf>) -> Result<(), Stop> {
    let mut entries: Vec<PathBuf> = fs::read_dir(dir)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    entries.sort();
    for path in entries {
        if path.is_dir() { list(&path, files)? } else { files.push(path) }
    }
    Ok(())
}
