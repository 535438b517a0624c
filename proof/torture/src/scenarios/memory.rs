//! A node that may have 256 MiB, under a load of large values. The kernel would kill
//! what takes more.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rand::RngExt;

use super::{Bench, Plan};
use crate::cluster::Cluster;
use crate::outcome::{Figures, Stop};
use crate::process::{need_root, sleep};

/// What a node may have, in bytes.
const LIMIT: &str = "268435456";

/// Bytes of a value, in one round after the other. Keys that several clients write to hold
/// up to a hundred of them.
const VALUE_BYTES: (usize, usize) = (20_000, 150_000);

pub(super) fn run(plan: &Plan) -> Result<Figures, Stop> {
    need_root()?;
    let group = Group::create()?;
    let mut rng = plan.rng();
    let dir = tempfile::tempdir()?;
    let mut cluster = Cluster::prepare(&plan.binary, dir.path(), 1)?;
    let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", group.0.display());
    cluster.start_behind(&["sh", "-c", &enter, "sh"]);
    let mut bench = Bench::over(cluster, dir, 1)?;
    let mut figures = Figures::default();
    for round in 0..plan.rounds(2, 40) {
        let (small, large) = VALUE_BYTES;
        bench.load.pad(if round % 2 == 0 { small } else { large });
        let workers = bench.load.start(rng.random());
        sleep(Duration::from_secs(6))?;
        workers.finish()?;
        if bench.cluster.has_ended(1)? {
            return Err(bench.keep(Stop::failed("the node has ended: out of memory?")));
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

    /// How often the limit stood in the way: the kernel then took memory back, from the files
    /// it keeps, or it would have killed.
    fn refusals(&self) -> Result<u64, Stop> {
        let text = fs::read_to_string(self.0.join("memory.failcnt"))?;
        text.trim().parse().map_err(Stop::failed)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its processes are gone; if not, an empty group is left and nothing else.
        let _ = fs::remove_dir(&self.0);
    }
}
