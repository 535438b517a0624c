//! Power loss: the disk forgets what was not synced, and the process dies.
//!
//! `kill -9` leaves the page cache alone, so it cannot tell a program that syncs from one
//! that does not. Here each node lives on a file system that is shut down without writing
//! anything out; only what was synced is there after the next mount.
//!
//! A node that was only killed finds in the page cache what its former life had written and
//! not synced, and goes on from there: it answers reads with it and takes it for kept. So it
//! has to be on disk by then. In two rounds of three there is such a life in between:
//!
//! ```text
//! load ── buffered elements ── kill -9 ── start: they are there ──┬── (at once) ── power loss
//!                                                                 └── load ────── power loss
//! ```
//!
//! At once, because the next sync of the same file would bring to disk what the start left.
//! This cannot tell a sync of ours from one that the library does by itself while it opens; a
//! start none of whose syncs reach the disk is noticed.
//!
//! What is answered once the loss has begun counts for nothing. A sync that is under way then
//! may return without an error although ext4 could not write down that the file has grown:
//! seen once in forty rounds, as the very last write of the journal. A machine without power
//! would not have answered.
//!
//! Every other round values are large and the node has little memory, so that it writes files and
//! merges them while the power goes.
//!
//! A loss counts if the file system then refuses a write.

use std::time::Duration;

use client::{Durability, KeyspaceContract, Replicas, TableContract};
use rand::RngExt;
use rand::rngs::SmallRng;

use super::{Bench, LARGE_VALUE, LITTLE_MEMORY, SMALL_VALUE, Sabotage, Scene};
use crate::cluster::Cluster;
use crate::outcome::{Figures, Stop};
use crate::process::sleep;
use crate::volume::Volume;

/// Megabytes of a node's disk: the journals and trees of a short run fit several times.
const DISK_MEBIBYTES: u32 = 512;

/// Elements that are acknowledged and not synced when a node is killed. Few, because a node
/// syncs them by itself within a second.
const UNSYNCED: u64 = 20;

/// The keyspace and table of these.
const BUFFERED: &str = "buffered";

/// Syncs that are not done, and succeed.
const LYING_DISK: [&str; 8] = [
    "strace",
    "-f",
    "-qq",
    "-o",
    "/dev/null",
    "-e",
    "trace=fsync,fdatasync",
    "-einject=fsync,fdatasync:retval=0",
];

/// One node loses power, again and again. Nobody else has a copy.
pub(super) fn one(scene: &Scene<'_>) -> Result<Figures, Stop> {
    lose(scene, 1, scene.rounds(15, 2_000))
}

/// Three nodes lose power in the same moment.
pub(super) fn all(scene: &Scene<'_>) -> Result<Figures, Stop> {
    lose(scene, 3, scene.rounds(5, 500))
}

fn lose(scene: &Scene<'_>, nodes: u8, rounds: u64) -> Result<Figures, Stop> {
    let mut rng = scene.rng();
    let cluster = Cluster::prepare(&scene.plan.binary, scene.dir, u16::from(nodes))?;
    let volumes = cluster.ids().map(|id| Volume::create(&cluster.disk_dir(id), DISK_MEBIBYTES));
    let volumes: Vec<Volume> = volumes.collect::<Result<_, _>>()?;
    cluster.ids().try_for_each(|id| cluster.configure(id, LITTLE_MEMORY))?;
    // Declared after the volumes: the nodes have to be gone before their disks are.
    let mut bench = Bench::over(scene, cluster, nodes)?;
    bench.load.declare_more(BUFFERED, &buffered(nodes))?;
    let mut figures = Figures::default();
    let mut revived = Vec::new();
    for round in 0..rounds {
        bench.load.pad(if round % 2 == 1 { LARGE_VALUE } else { SMALL_VALUE });
        if round % 3 != 0 {
            revived.extend(revive(&mut bench, &mut rng, round)?);
        }
        let is_at_once = round % 3 == 1;
        figures.faults += fail(scene, &mut bench, &volumes, &mut rng, is_at_once)?;
        bench.cluster.start_all()?;
        figures.rounds += 1;
        bench.check(&mut figures)?;
        bench.load.check_elements(BUFFERED, &revived)?;
    }
    eprintln!("power: the nodes wrote {} files", bench.files_written());
    figures.acknowledged += revived.iter().map(|_| 1).sum::<u64>();
    Ok(figures)
}

/// Kills all nodes while the last writes are in the page cache only, and starts them again.
/// Returns the names of these writes, which a killed process must keep.
fn revive(bench: &mut Bench, rng: &mut SmallRng, round: u64) -> Result<Vec<String>, Stop> {
    let workers = bench.load.start(rng.random());
    sleep(Duration::from_millis(rng.random_range(50..200)))?;
    workers.finish()?;
    let names: Vec<String> = (0..UNSYNCED).map(|number| format!("{round}-{number}")).collect();
    bench.load.write_elements(BUFFERED, &names)?;
    bench.cluster.kill(&bench.cluster.ids().collect::<Vec<_>>())?;
    if bench.sabotage == Some(Sabotage::Sync) {
        bench.cluster.start_behind(&LYING_DISK);
    }
    bench.cluster.start_all()?;
    bench.cluster.start_behind(&[]);
    bench.load.check_elements(BUFFERED, &names)?;
    Ok(names)
}

/// Takes the power from all nodes, at once or under load, and gives it back to their disks.
/// Returns how many have really lost it.
fn fail(
    scene: &Scene<'_>,
    bench: &mut Bench,
    volumes: &[Volume],
    rng: &mut SmallRng,
    is_at_once: bool,
) -> Result<u64, Stop> {
    let workers = if is_at_once { None } else { Some(bench.load.start(rng.random())) };
    if workers.is_some() {
        sleep(Duration::from_millis(rng.random_range(100..500)))?;
    }
    bench.load.hear_nothing(true);
    if scene.is_real() {
        volumes.iter().try_for_each(Volume::lose_power)?;
    }
    let lost = volumes.iter().filter(|volume| volume.has_lost_power()).count();
    bench.cluster.kill(&bench.cluster.ids().collect::<Vec<_>>())?;
    workers.map_or(Ok(()), |workers| workers.finish())?;
    bench.load.hear_nothing(false);
    volumes.iter().try_for_each(Volume::unmount)?;
    volumes.iter().try_for_each(Volume::mount)?;
    if lost < volumes.len() {
        return Err(Stop::Failed(format!("{lost} of {} disks lost power", volumes.len())));
    }
    u64::try_from(lost).map_err(Stop::failed)
}

/// A table whose writes are synced about a second after they were acknowledged.
fn buffered(replicas: u8) -> (KeyspaceContract, TableContract) {
    let replicas = Some(Replicas::Here(replicas));
    let durability = Some(Durability::Buffered);
    (
        KeyspaceContract { shards: Some(8), replicas, sloppy: false },
        TableContract { durability, ..TableContract::new("siblings") },
    )
}
