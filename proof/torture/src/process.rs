//! Other programs, signals, and waiting.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::outcome::Stop;

/// How long is waited for what must happen. Long, because the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Set when the run is to end early; everything that waits then fails, and what was
/// started or mounted is cleaned up on the way out.
pub static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Runs a program to its end and returns what it wrote.
///
/// # Errors
///
/// It cannot be started, or does not end well; with what it said.
pub fn run(command: &[&str]) -> Result<String, Stop> {
    let Some((program, arguments)) = command.split_first() else { return Ok(String::new()) };
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|err| Stop::Failed(format!("{program}: {err}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Stop::Failed(format!("{}: {}", command.join(" "), said.trim())))
}

/// Skips the scenario unless all these tools are installed.
///
/// # Errors
///
/// [`Stop::Skipped`], naming the first that is missing.
pub fn need_tools(tools: &[&str]) -> Result<(), Stop> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    for tool in tools {
        if !std::env::split_paths(&path).any(|dir| dir.join(tool).is_file()) {
            return Err(Stop::Skipped(format!("{tool} is not installed")));
        }
    }
    Ok(())
}

/// Skips the scenario unless this process is root.
///
/// # Errors
///
/// [`Stop::Skipped`].
pub fn need_root() -> Result<(), Stop> {
    if run(&["id", "-u"])?.trim() == "0" {
        Ok(())
    } else {
        Err(Stop::Skipped("needs root".to_owned()))
    }
}

/// Sends a signal, named as the shell names it.
///
/// # Errors
///
/// There is no such process.
pub fn signal(name: &str, pid: u32) -> Result<(), Stop> {
    run(&["kill", &format!("-{name}"), &pid.to_string()]).map(|_| ())
}

/// What the kernel says a process does, in its letter: `R` runs, `S` and `D` wait, `T` stands
/// still. Nothing if it is gone.
pub fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.trim().chars().next()
}

/// Sleeps, unless the run is interrupted.
///
/// # Errors
///
/// The run was interrupted.
pub fn sleep(time: Duration) -> Result<(), Stop> {
    let deadline = Instant::now() + time;
    loop {
        if INTERRUPTED.load(Ordering::Relaxed) {
            return Err(Stop::failed("interrupted"));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(Duration::from_millis(50)));
    }
}

/// Waits until something is so.
///
/// # Errors
///
/// It is not so within [`PATIENCE`], or the run was interrupted.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) -> Result<(), Stop> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        if deadline < Instant::now() {
            return Err(Stop::Failed(format!("waited in vain until {what}")));
        }
        sleep(Duration::from_millis(20))?;
    }
    Ok(())
}
