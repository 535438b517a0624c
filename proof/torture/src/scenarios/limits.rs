//! Limits of the process: open files, and the size of a file.
//!
//! A node that has no descriptor left must say so, serve those that it has, and go on when
//! there is room again. A node that may not let a file grow has a disk that fails: it ends
//! with its reason, and not by the signal that the kernel sends. Neither loses anything.
//! Limits are set while it serves, and once before it starts.

use std::fs;
use std::net::TcpStream;
use std::time::Duration;

use rand::RngExt;

use super::{Bench, DISK_FAILED, Scene};
use crate::outcome::{Figures, Stop};
use crate::process::{eventually, need_tools, run as execute, sleep};

/// Connections that nobody uses. More than the node may have descriptors.
const IDLE: usize = 40;

/// What a file may have: more than the log, so that there are last words, and less than the
/// journal.
const FILE_BYTES: u32 = 256 * 1024;

pub(super) fn run(scene: &Scene<'_>) -> Result<Figures, Stop> {
    need_tools(&["prlimit"])?;
    let mut rng = scene.rng();
    let mut bench = Bench::start(scene, 3)?;
    let mut figures = Figures::default();
    for _ in 0..scene.rounds(2, 200) {
        let id = rng.random_range(1..=3);
        let workers = bench.load.start(rng.random());
        sleep(Duration::from_millis(200))?;
        descriptors(scene, &mut bench, id)?;
        file_size(&mut bench, id)?;
        bench.cluster.start(id)?;
        workers.finish()?;
        figures.faults += 3;
        figures.rounds += 1;
        bench.check(&mut figures)?;
    }
    Ok(figures)
}

/// Takes all descriptors of a node, and gives them back.
fn descriptors(scene: &Scene<'_>, bench: &mut Bench, id: u16) -> Result<(), Stop> {
    let pid = bench.cluster.pid(id)?;
    let said_before = bench.cluster.log(id).len();
    let open = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
    // The hard limit stays, or it could not be raised again.
    let limit = |soft: usize| {
        execute(&["prlimit", "--pid", &pid.to_string(), &format!("--nofile={soft}:")])
    };
    let former = fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let former = former.lines().find_map(|line| line.strip_prefix("Max open files"));
    let former = former.and_then(|line| line.split_whitespace().next()?.parse().ok());
    if scene.is_real() {
        limit(open + 8)?;
    }
    let address = bench.cluster.address(id)?;
    let idle: Vec<TcpStream> =
        (0..IDLE).map(|_| TcpStream::connect(address)).collect::<Result<_, _>>()?;
    eventually("the node says that it cannot accept connections", || {
        let log = bench.cluster.log(id);
        log.get(said_before..).unwrap_or_default().contains("Too many open files")
    })?;
    sleep(Duration::from_millis(300))?;
    drop(idle);
    limit(former.unwrap_or(1_024))?;
    if bench.cluster.has_ended(id)? {
        return Err(Stop::Failed(format!("it ended: {}", bench.cluster.last_words(id))));
    }
    eventually("a node with descriptors answers again", || {
        bench.cluster.answer(id, "/health").is_ok()
    })
}

/// Forbids a node to let files grow, while it serves, and then at its start.
fn file_size(bench: &mut Bench, id: u16) -> Result<(), Stop> {
    let pid = bench.cluster.pid(id)?;
    execute(&["prlimit", "--pid", &pid.to_string(), &format!("--fsize={FILE_BYTES}:")])?;
    let status = bench.cluster.wait_for_end(id)?;
    expect_words(bench, id, status.code())?;
    bench.cluster.kill(&[id])?;
    let wrapper = ["prlimit".to_owned(), format!("--fsize={FILE_BYTES}")];
    bench.cluster.launch(id, &wrapper)?;
    let ended = bench.cluster.answers_or_ended(id)?;
    let code = ended.ok_or_else(|| Stop::failed("it serves and cannot write"))?.code();
    bench.cluster.kill(&[id])?;
    if code == Some(1) && bench.cluster.last_words(id).contains("cannot start") {
        return Ok(());
    }
    expect_words(bench, id, code)
}

fn expect_words(bench: &Bench, id: u16, code: Option<i32>) -> Result<(), Stop> {
    let words = bench.cluster.last_words(id);
    if code == Some(DISK_FAILED) && words.contains("File too large") {
        return Ok(());
    }
    Err(Stop::Failed(format!("exit {code:?} where files may not grow; last words: {words}")))
}
