//! System calls of a node that fail, take long, or kill it; and the proof that they did.
//!
//! `strace` can change what a call returns, delay it, or send a signal instead of it. A fault
//! that was asked for is not one that happened: the call may never be made, or be made fewer
//! times. So strace also writes down which calls it tampered with, and a scenario counts
//! those.
//!
//! strace counts calls for each thread on its own: `when=3` is the third call of any thread.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::outcome::Stop;
use crate::process::{eventually, signal};

/// What is done to which calls.
#[derive(Clone, Debug)]
pub struct Fault {
    calls: String,
    action: String,
    report: PathBuf,
}

/// One call that was tampered with.
#[derive(Clone, Debug)]
pub struct Hit {
    /// When it was made, in seconds since 1970.
    pub at: f64,
    /// What strace says of it. Files are named by their paths.
    pub line: String,
}

impl Fault {
    /// Such as `fdatasync,fsync` and `error=EIO:when=5+`. What happens is written to `report`.
    pub fn new(calls: &str, action: &str, report: &Path) -> Self {
        Self { calls: calls.to_owned(), action: action.to_owned(), report: report.to_owned() }
    }

    /// Traces the calls and leaves them as they are.
    pub fn harmless(self) -> Self {
        Self { action: String::new(), ..self }
    }

    /// What is typed before a program to run it with this fault from the first call on. The
    /// loader's calls count as well.
    pub fn wrapper(&self) -> Vec<String> {
        self.words()
    }

    /// Lets a running process and all its threads have this fault, until the returned value
    /// is dropped.
    ///
    /// # Errors
    ///
    /// strace does not take hold of it.
    pub fn attach(&self, pid: u32) -> Result<Attached, Stop> {
        let words = self.words();
        let Some((program, arguments)) = words.split_first() else {
            return Err(Stop::failed("no strace"));
        };
        let child = Command::new(program)
            .args(arguments)
            .args(["-p", &pid.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let attached = Attached(child);
        eventually("strace holds all threads", || is_held(pid))?;
        Ok(attached)
    }

    /// The calls that were tampered with, the first one first.
    pub fn hits(&self) -> Vec<Hit> {
        let report = fs::read_to_string(&self.report).unwrap_or_default();
        let tampered = |line: &&str| line.contains("(INJECTED)") || line.contains("(DELAYED)");
        report.lines().filter(tampered).map(Hit::read).collect()
    }

    fn words(&self) -> Vec<String> {
        let report = self.report.display().to_string();
        let (trace, inject) =
            (format!("trace={}", self.calls), format!("inject={}:{}", self.calls, self.action));
        let words = ["strace", "-f", "-qq", "-y", "-ttt", "-s", "0", "-o", &report, "-e", &trace];
        let tamper: &[&str] = if self.action.is_empty() { &[] } else { &["-e", &inject] };
        words.iter().chain(tamper).map(|word| (*word).to_owned()).collect()
    }
}

impl Hit {
    /// `4711 1763705911.123456 fdatasync(12</path>) = -1 EIO (Input/output error) (INJECTED)`
    fn read(line: &str) -> Self {
        let at = line.split_whitespace().nth(1).and_then(|word| word.parse().ok());
        Self { at: at.unwrap_or_default(), line: line.to_owned() }
    }
}

/// A process under strace. Dropping it lets the process go on without the fault.
#[derive(Debug)]
pub struct Attached(Child);

impl Drop for Attached {
    fn drop(&mut self) {
        // It has ended already if the process has.
        let _ = signal("INT", self.0.id());
        let _ = self.0.wait();
    }
}

/// Whether each thread of a process has a tracer, or the process is gone.
fn is_held(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    threads.flatten().all(|thread| {
        let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        let field = |name| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        // What has died already is not held any more.
        field("TracerPid:") != Some("0") || field("State:").is_some_and(|it| it.starts_with('Z'))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;

    #[test]
    fn only_calls_that_were_tampered_with_are_hits() {
        let dir = tempfile::tempdir().unwrap();
        let report = dir.path().join("report");
        fs::write(
            &report,
            "7 1763705911.000001 fdatasync(12</a/0.jnl>) = 0\n\
             7 1763705911.500000 fdatasync(12</a/0.jnl>) = -1 EIO (Input/output error) (INJECTED)\n\
             8 1763705912.000000 fsync(3</a>) = 0 (DELAYED)\n",
        )
        .unwrap();
        let hits = Fault::new("fdatasync,fsync", "error=EIO", &report).hits();
        let [failed, slow] = hits.as_slice() else { panic!("{hits:?}") };
        assert!((failed.at - 1_763_705_911.5).abs() < 1e-3);
        assert!(failed.line.contains("0.jnl"));
        assert!(slow.line.contains("fsync"));
        assert!(Fault::new("read", "error=EIO", &dir.path().join("none")).hits().is_empty());
    }
}
