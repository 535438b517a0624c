//! Power loss: the disk forgets what was not synced, and the process dies.
//!
//! `kill -9` leaves the page cache alone, so it cannot tell a program that syncs from one
//! that does not. Here each node lives on a file system that is shut down without writing
//! anything out; only what was synced is there after the next mount.
//!
//! What is answered once that has begun counts for nothing. A sync that is under way then may
//! return without an error although ext4 could not write down that the file has grown: seen
//! once in forty rounds, as the very last write of the journal. A machine without power
//! would not have answered.

use std::time::Duration;

use rand::RngExt;

use super::{Bench, Plan};
use crate::cluster::Cluster;
use crate::outcome::{Figures, Stop};
use crate::process::sleep;
use crate::volume::Volume;

/// Megabytes of a node's disk: the journals and trees of a short run fit several times.
const DISK_MEBIBYTES: u32 = 512;

/// One node loses power, again and again. Nobody else has a copy.
pub(super) fn one(plan: &Plan) -> Result<Figures, Stop> {
    lose(plan, 1, plan.rounds(15, 2_000))
}

/// Three nodes lose power in the same moment.
pub(super) fn all(plan: &Plan) -> Result<Figures, Stop> {
    lose(plan, 3, plan.rounds(5, 500))
}

fn lose(plan: &Plan, nodes: u8, rounds: u64) -> Result<Figures, Stop> {
    let mut rng = plan.rng();
    let dir = tempfile::tempdir()?;
    let cluster = Cluster::prepare(&plan.binary, dir.path(), u16::from(nodes))?;
    let ids: Vec<u16> = cluster.ids().collect();
    let volumes = ids.iter().map(|id| Volume::create(&cluster.disk_dir(*id), DISK_MEBIBYTES));
    let volumes: Vec<Volume> = volumes.collect::<Result<_, _>>()?;
    // Declared after the volumes: the nodes have to be gone before their disks are.
    let mut bench = Bench::over(cluster, dir, nodes)?;
    let mut figures = Figures::default();
    for _ in 0..rounds {
        let workers = bench.load.start(rng.random());
        sleep(Duration::from_millis(rng.random_range(100..500)))?;
        bench.load.hear_nothing(true);
        volumes.iter().try_for_each(Volume::lose_power)?;
        bench.cluster.kill(&ids)?;
        workers.finish()?;
        bench.load.hear_nothing(false);
        volumes.iter().try_for_each(Volume::unmount)?;
        volumes.iter().try_for_each(Volume::mount)?;
        bench.cluster.start_all().map_err(|stop| bench.keep(stop))?;
        figures.rounds += 1;
        figures.faults += u64::from(nodes);
        bench.check(&mut figures)?;
    }
    Ok(figures)
}
