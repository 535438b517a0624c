//! A node stops in the middle of everything, longer than all timeouts, and goes on as if
//! no time had passed. A pause counts if the kernel said at its end that the node stood still,
//! and the others went on meanwhile.

use std::time::Duration;

use rand::RngExt;

use super::{Bench, Scene};
use crate::outcome::{Figures, Stop};
use crate::process::{signal, sleep, state};

/// Longer than a request may take, and than it takes to be held for dead.
const PAUSE: Duration = Duration::from_secs(6);

/// Writes that the others must acknowledge meanwhile. Thousands are, on an idle machine.
const PROGRESS_MIN: u64 = 20;

pub(super) fn run(scene: &Scene<'_>) -> Result<Figures, Stop> {
    let mut rng = scene.rng();
    let mut bench = Bench::start(scene, 3)?;
    let mut figures = Figures::default();
    for _ in 0..scene.rounds(2, 100) {
        let workers = bench.load.start(rng.random());
        sleep(Duration::from_millis(300))?;
        let pid = bench.cluster.pid(rng.random_range(1..=3))?;
        if scene.is_real() {
            signal("STOP", pid)?;
        }
        let before = bench.load.acknowledged();
        let paused = sleep(PAUSE);
        let (state, made) = (state(pid), bench.load.acknowledged() - before);
        signal("CONT", pid)?;
        paused?;
        if state != Some('T') {
            return Err(Stop::Failed(format!("it did not stand still, but was {state:?}")));
        }
        if made < PROGRESS_MIN {
            return Err(Stop::Failed(format!("{made} writes while one of three stood still")));
        }
        sleep(Duration::from_millis(500))?;
        workers.finish()?;
        figures.rounds += 1;
        figures.faults += 1;
        bench.check(&mut figures)?;
    }
    Ok(figures)
}
