//! Syncs that fail, from the n-th on: a disk that failed once is not whole the next time.
//!
//! | when | it has to end with | and |
//! | --- | --- | --- |
//! | under load | 8 | acknowledge nothing that was sent after the first failure |
//! | at the start | 1 or 8 | say that it could not start, and why |
//! | while it stops | 8 | not claim that everything is on disk |
//!
//! The last line of its log says what happened, what remains, and what to do. A round whose
//! sync did not fail is not counted, and fails the scenario where it had to.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::RngExt;
use rand::rngs::SmallRng;

use super::{Bench, DISK_FAILED, IO_ERROR, Scene};
use crate::outcome::{Figures, Stop};
use crate::process::{need_tools, signal, sleep};
use crate::strace::Fault;

/// What a node exits with that could not start.
const NOT_STARTED: i32 = 1;

pub(super) fn run(scene: &Scene<'_>) -> Result<Figures, Stop> {
    need_tools(&["strace"])?;
    let mut rng = scene.rng();
    let mut bench = Bench::start(scene, 1)?;
    let mut figures = Figures::default();
    for round in 0..scene.rounds(9, 600) {
        let said_before = bench.cluster.log(1).len();
        let failed = match round % 3 {
            0 => under_load(&mut bench, &mut rng),
            1 => at_start(&mut bench, &mut rng),
            _ => at_stop(&mut bench, &mut rng),
        };
        let said = bench.cluster.log(1).get(said_before..).unwrap_or_default().to_owned();
        figures.faults +=
            failed.and_then(|ended| ended.map_or(Ok(0), |code| judge(code, &said).map(|()| 1)))?;
        bench.cluster.kill(&[1])?;
        bench.cluster.start(1)?;
        figures.rounds += 1;
        bench.check(&mut figures)?;
    }
    if figures.faults * 3 < figures.rounds * 2 {
        return Err(Stop::Failed(format!("{} syncs failed only", figures.faults)));
    }
    Ok(figures)
}

fn under_load(bench: &mut Bench, rng: &mut SmallRng) -> Result<Option<i32>, Stop> {
    let fault = fault(bench, "fdatasync", rng.random_range(1..60));
    let attached = fault.attach(bench.cluster.pid(1)?)?;
    let workers = bench.load.start(rng.random());
    let status = bench.cluster.wait_for_end(1);
    // Whoever takes an answer for one from a dead node shows it in this time.
    sleep(Duration::from_millis(50))?;
    workers.finish()?;
    drop(attached);
    let hits = fault.hits();
    let first = hits.first().ok_or_else(|| Stop::failed("it ended, and no sync had failed"))?;
    let late = bench.load.acknowledged_after(moment(first.at));
    if late != 0 {
        return Err(Stop::Failed(format!(
            "{late} writes were sent and acknowledged after a sync had failed"
        )));
    }
    Ok(status?.code())
}

/// Nothing, if it got by without the call that was to fail.
fn at_start(bench: &mut Bench, rng: &mut SmallRng) -> Result<Option<i32>, Stop> {
    bench.cluster.kill(&[1])?;
    let fault = fault(bench, "fsync,fdatasync", rng.random_range(1..4));
    bench.cluster.launch(1, &fault.wrapper())?;
    let ended = bench.cluster.answers_or_ended(1)?;
    let hits = fault.hits().len();
    match ended {
        Some(status) if 0 < hits => Ok(status.code()),
        Some(status) => Err(Stop::Failed(format!("{status}, and no sync had failed"))),
        None if hits == 0 => Ok(None),
        None => Err(Stop::Failed(format!("it serves although {hits} syncs failed"))),
    }
}

fn at_stop(bench: &mut Bench, rng: &mut SmallRng) -> Result<Option<i32>, Stop> {
    let workers = bench.load.start(rng.random());
    sleep(Duration::from_millis(200))?;
    workers.finish()?;
    let fault = fault(bench, "fsync,fdatasync", 1);
    let pid = bench.cluster.pid(1)?;
    let attached = fault.attach(pid)?;
    signal("TERM", pid)?;
    let status = bench.cluster.wait_for_end(1)?;
    drop(attached);
    if fault.hits().is_empty() {
        return Err(Stop::failed("it stopped without a sync"));
    }
    Ok(status.code())
}

/// Demands that the exit code and the last line of the log tell the truth.
fn judge(code: i32, said: &str) -> Result<(), Stop> {
    let last = said.lines().last().unwrap_or("no word");
    let words: &[&str] = match code {
        DISK_FAILED => {
            &["the disk failed", IO_ERROR, "What was acknowledged", "start the node again"]
        }
        NOT_STARTED => &["cannot start", IO_ERROR],
        _ => return Err(Stop::Failed(format!("exit {code} after a failed sync: {last}"))),
    };
    match words.iter().find(|word| !last.contains(**word)) {
        None => Ok(()),
        Some(missing) => Err(Stop::Failed(format!("its last words lack {missing:?}: {last}"))),
    }
}

fn fault(bench: &Bench, calls: &str, when: u64) -> Fault {
    bench.fault(1, calls, &format!("error=EIO:when={when}+"))
}

fn moment(seconds: f64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs_f64(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_dies_of_its_disk_must_say_so() {
        let good = "ERROR the disk failed: error=writing to the data directory failed: \
                    Input/output error (os error 5). What was acknowledged before is on disk, \
                    then start the node again";
        assert_eq!(judge(DISK_FAILED, good), Ok(()));
        assert!(judge(DISK_FAILED, "INFO ready").is_err());
        assert!(judge(DISK_FAILED, "").is_err());
        assert!(judge(0, good).is_err());
        assert!(judge(101, good).is_err());
        assert_eq!(judge(NOT_STARTED, "merganser: cannot start: Input/output error"), Ok(()));
        assert!(judge(NOT_STARTED, "merganser: cannot start: no idea").is_err());
    }
}
