//! A node stops in the middle of everything, longer than all timeouts, and goes on as if
//! no time had passed.

use std::time::Duration;

use rand::RngExt;

use super::{Bench, Plan};
use crate::outcome::{Figures, Stop};
use crate::process::{signal, sleep};

/// Longer than a request may take, and than it takes to be held for dead.
const PAUSE: Duration = Duration::from_secs(6);

pub(super) fn run(plan: &Plan) -> Result<Figures, Stop> {
    let mut rng = plan.rng();
    let mut bench = Bench::start(plan, 3)?;
    let mut figures = Figures::default();
    for _ in 0..plan.rounds(2, 100) {
        let workers = bench.load.start(rng.random());
        sleep(Duration::from_millis(300))?;
        let pid = bench.cluster.pid(rng.random_range(1..=3))?;
        signal("STOP", pid)?;
        let paused = sleep(PAUSE);
        signal("CONT", pid)?;
        paused?;
        sleep(Duration::from_millis(500))?;
        workers.finish()?;
        figures.rounds += 1;
        figures.faults += 1;
        bench.check(&mut figures)?;
    }
    Ok(figures)
}
