//! A node that may have 256 MiB, under a load of large values. The kernel would kill
//! what takes more.

use std::time::Duration;

use rand::RngExt;

use super::{Bench, Scene};
use crate::cluster::Cluster;
use crate::memory_group::MemoryGroup;
use crate::outcome::{Figures, Stop};
use crate::process::{need_root, sleep};

/// What a node may have, in bytes.
const LIMIT: u64 = 256 << 20;

/// Bytes of a value, in one round after the other. Keys that several clients write to hold
/// up to a hundred of them.
const VALUE_BYTES: (usize, usize) = (20_000, 150_000);

pub(super) fn run(scene: &Scene<'_>) -> Result<Figures, Stop> {
    need_root()?;
    // Declared before the nodes: they have to be gone before their group is.
    let group = MemoryGroup::create(if scene.is_real() { LIMIT } else { 64 * LIMIT })?;
    let mut rng = scene.rng();
    let mut cluster = Cluster::prepare(&scene.plan.binary, scene.dir, 1)?;
    let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", group.dir().display());
    cluster.start_behind(&["sh", "-c", &enter, "sh"]);
    let mut bench = Bench::over(scene, cluster, 1)?;
    let mut figures = Figures::default();
    for round in 0..scene.rounds(2, 40) {
        let (small, large) = VALUE_BYTES;
        bench.load.pad(if round % 2 == 0 { small } else { large });
        let workers = bench.load.start(rng.random());
        sleep(Duration::from_secs(6))?;
        workers.finish()?;
        if bench.cluster.has_ended(1)? {
            return Err(Stop::failed("the node has ended: out of memory?"));
        }
        figures.rounds += 1;
        bench.check(&mut figures)?;
    }
    figures.faults = group.refusals()?;
    if figures.faults == 0 {
        return Err(Stop::failed("the node never came near its limit"));
    }
    Ok(figures)
}
