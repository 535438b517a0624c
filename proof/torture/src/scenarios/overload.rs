//! More clients than the nodes may take on, all at once and without a pause.
//!
//! Each of their requests must be answered: carried out, or refused with the time after which
//! to come back. Silence is a failure, and so is a node that ends or takes more memory than it
//! plans with. When they are gone, everything is as before: no restart, no refusals.

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use rand::RngExt;

use super::{Bench, Scene};
use crate::cluster::Cluster;
use crate::http::{Answer, ask};
use crate::outcome::{Figures, Stop};
use crate::process::{eventually, sleep};

/// Clients of each node that do nothing but ask. Many times what it may take on.
const CLIENTS: usize = 48;

/// What a node takes on at once, so that a small machine can overload it.
const REQUESTS_MAX: &str = "requests_max = 8";

/// For how long.
const LASTS: Duration = Duration::from_secs(6);

/// What a node has told its clients to wait at the most, and what is added for the machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// With the smallest budget a node plans with 128 MiB, and may need as much again.
const RESIDENT_KIB_MAX: u64 = 256 << 10;

/// What became of the requests of all clients together.
#[derive(Default)]
struct Heard {
    done: AtomicU64,
    refused: AtomicU64,
    /// Refused without being told when to come back.
    untold: AtomicU64,
    silent: AtomicU64,
    other: AtomicU64,
}

pub(super) fn run(scene: &Scene<'_>) -> Result<Figures, Stop> {
    let mut rng = scene.rng();
    let cluster = Cluster::prepare(&scene.plan.binary, scene.dir, 3)?;
    for id in cluster.ids() {
        cluster.configure(id, &format!("{REQUESTS_MAX}\nmemory = \"128MiB\""))?;
    }
    let mut bench = Bench::over(scene, cluster, 3)?;
    let mut figures = Figures::default();
    for _ in 0..scene.rounds(1, 50) {
        let workers = bench.load.start(rng.random());
        let heard = if scene.is_real() { flood(&bench)? } else { Heard::default() };
        judge(&heard)?;
        figures.faults += heard.refused.load(Relaxed);
        for id in bench.cluster.ids() {
            look_at(&mut bench, id)?;
        }
        workers.finish()?;
        afterwards(&bench)?;
        figures.rounds += 1;
        bench.check(&mut figures)?;
    }
    Ok(figures)
}

fn flood(bench: &Bench) -> Result<Heard, Stop> {
    let heard = Heard::default();
    let is_over = AtomicBool::new(false);
    let addresses: Vec<SocketAddr> =
        bench.cluster.ids().map(|id| bench.cluster.address(id)).collect::<Result<_, _>>()?;
    thread::scope(|scope| {
        for address in addresses.iter().cycle().take(CLIENTS * addresses.len()) {
            scope.spawn(|| {
                while !is_over.load(Relaxed) {
                    heard.note(&ask(*address, "GET", TARGET, "", PATIENCE));
                }
            });
        }
        let slept = sleep(LASTS);
        is_over.store(true, Relaxed);
        slept
    })?;
    Ok(heard)
}

/// A key that nobody writes.
const TARGET: &str = "/v1/kv/t/t/flood?timeout=2000";

impl Heard {
    fn note(&self, answer: &std::io::Result<Answer>) {
        let count = match answer {
            Err(_) => &self.silent,
            Ok(Answer { status: 404, .. }) => &self.done,
            Ok(answer @ Answer { status: 503, .. }) => {
                let is_told = answer.head.to_lowercase().contains("\nretry-after:");
                if is_told { &self.refused } else { &self.untold }
            }
            Ok(_) => &self.other,
        };
        count.fetch_add(1, Relaxed);
    }
}

fn judge(heard: &Heard) -> Result<(), Stop> {
    let count = |counter: &AtomicU64| counter.load(Relaxed);
    if 0 < count(&heard.silent) {
        return Err(Stop::Failed(format!("{} requests were not answered", count(&heard.silent))));
    }
    if 0 < count(&heard.untold) {
        let untold = count(&heard.untold);
        return Err(Stop::Failed(format!("{untold} refusals do not say when to come back")));
    }
    if count(&heard.refused) == 0 {
        return Err(Stop::failed("nobody was refused"));
    }
    if count(&heard.done) == 0 {
        return Err(Stop::failed("nothing was done beside refusing"));
    }
    Ok(())
}

fn look_at(bench: &mut Bench, id: u16) -> Result<(), Stop> {
    if bench.cluster.has_ended(id)? {
        let words = bench.cluster.last_words(id);
        return Err(Stop::Failed(format!("n{id} did not bear it: {words}")));
    }
    let status = fs::read_to_string(format!("/proc/{}/status", bench.cluster.pid(id)?))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident: Option<u64> =
        resident.and_then(|text| text.trim().trim_end_matches(" kB").trim().parse().ok());
    if resident.is_none_or(|kib| RESIDENT_KIB_MAX < kib) {
        return Err(Stop::Failed(format!("n{id} has {resident:?} KiB of memory")));
    }
    Ok(())
}

/// Within a moment a node takes everything again, and does it soon.
fn afterwards(bench: &Bench) -> Result<(), Stop> {
    for id in bench.cluster.ids() {
        let address = bench.cluster.address(id)?;
        eventually("a node that was overloaded takes requests again", || {
            let began = Instant::now();
            let is_done = |answer: Answer| answer.status == 404;
            (0..10).all(|_| ask(address, "GET", TARGET, "", PATIENCE).is_ok_and(is_done))
                && began.elapsed() < Duration::from_secs(5)
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, head: &str) -> std::io::Result<Answer> {
        Ok(Answer { status, head: head.to_owned(), body: String::new() })
    }

    #[test]
    fn silence_and_a_refusal_without_a_time_are_failures() {
        let told = || answer(503, "HTTP/1.1 503 X\r\nRetry-After: 1");
        let judged = |answers: Vec<std::io::Result<Answer>>| {
            let heard = Heard::default();
            answers.iter().for_each(|answer| heard.note(answer));
            judge(&heard).is_ok()
        };
        assert!(judged(vec![told(), answer(404, "")]));
        assert!(!judged(vec![told()]), "nothing was done");
        assert!(!judged(vec![answer(404, "")]), "nobody was refused");
        assert!(!judged(vec![told(), answer(404, ""), answer(503, "HTTP/1.1 503 X")]));
        let silence = Err(std::io::ErrorKind::TimedOut.into());
        assert!(!judged(vec![told(), answer(404, ""), silence]));
    }
}
