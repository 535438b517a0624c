//! A node that may have 256 MiB, under a load of large values. The kernel would kill
//! what takes more.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rand::RngExt;

use super::{Bench, Plan};
use crate::cluster::Cluster;
use crate::load::Load;
use crate::outcome::{Figures, Stop};
use crate::process::{need_root, sleep};

/// What a node may have, in bytes.
const LIMIT: &str = "268435456";

/// Bytes of a value.
const VALUE_BYTES: usize = 20_000;

pub(super) fn run(plan: &Plan) -> Result<Figures, Stop> {
    need_root()?;
    let group = Group::create()?;
    let mut rng = plan.rng();
    let dir = tempfile::tempdir()?;
    let mut cluster = Cluster::prepare(&plan.binary, dir.path(), 1)?;
    let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", group.0.display());
    cluster.start_behind(&["sh", "-c", &enter, "sh"]);
    let mut bench = Bench::over(cluster, dir, 1)?;
    bench.load = Load::declare(bench.cluster.urls(), 1, VALUE_BYTES)?;
    let mut figures = Figures::default();
    for _ in 0..plan.rounds(1, 20) {
        let workers = bench.load.start(rng.random());
        sleep(Duration::from_secs(6))?;
        workers.finish()?;
        if bench.cluster.has_ended(1)? {
            return Err(bench.keep(Stop::failed("the node has ended: out of memory?")));
        }
        figures.rounds += 1;
        figures.faults += 1;
        bench.check(&mut figures)?;
    }
    Ok(figures)
}

/// A memory control group of the first version. Dropping it removes it.
struct Group(PathBuf);

impl Group {
    fn create() -> Result<Self, Stop> {
        let path = PathBuf::from(format!("/sys/fs/cgroup/memory/torture-{}", std::process::id()));
        let made = fs::create_dir(&path);
        made.map_err(|err| Stop::Skipped(format!("no memory control group: {err}")))?;
        let group = Self(path);
        fs::write(group.0.join("memory.limit_in_bytes"), LIMIT)?;
        Ok(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its processes are gone; if not, an empty group is left and nothing else.
        let _ = fs::remove_dir(&self.0);
    }
}
