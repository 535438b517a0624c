//! What the processes of the servers use: CPU time and memory, as Linux tells in `/proc`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::commands::error::CliError;

/// The unit of CPU time in `/proc/PID/stat`: a hundredth of a second on every architecture
/// that Rust's standard library supports on Linux, whatever the kernel's own tick is.
const TICKS_PER_SECOND: u64 = 100;

/// What some processes have used since they began, and the memory they hold.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Usage {
    /// CPU time, of the program and of the kernel on its behalf.
    pub(crate) cpu: Duration,
    /// Memory that is resident.
    pub(crate) resident_bytes: u64,
}

/// Sums up what these processes use.
///
/// # Errors
///
/// If one of them does not exist: its figures would be missing from the sum.
pub(crate) fn of(pids: &[u32]) -> Result<Usage, CliError> {
    let mut sum = Usage::default();
    for pid in pids {
        let usage = of_one(*pid)
            .ok_or_else(|| CliError::failed(format!("there is no process {pid} to be measured")))?;
        sum.cpu += usage.cpu;
        sum.resident_bytes += usage.resident_bytes;
    }
    Ok(sum)
}

/// What this process itself has used.
pub(crate) fn own_cpu() -> Duration {
    of_one(std::process::id()).unwrap_or_default().cpu
}

fn of_one(pid: u32) -> Option<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(Usage { cpu: cpu(&stat)?, resident_bytes: resident(&status)? })
}

/// Fields 14 and 15 of the line. The second field is the program's name in parentheses,
/// and may hold anything.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    let ticks = next()? + next()?;
    Some(Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND))
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}

/// The process ids in `DIR/*/node.pid` and `DIR/*/*/node.pid`: a node keeps the file in its
/// data directory, which `merganser dev` puts into a folder of the node.
pub(crate) fn pids_from(dir: &Path) -> Result<Vec<u32>, CliError> {
    let failed = |err: io::Error| CliError::failed(format!("cannot read {}: {err}", dir.display()));
    let mut pids = Vec::new();
    for folder in folders(dir).map_err(failed)? {
        pids.extend(pid(&folder)?);
        for inner in folders(&folder).map_err(failed)? {
            pids.extend(pid(&inner)?);
        }
    }
    if pids.is_empty() {
        let what = format!("no node below {} has left a node.pid", dir.display());
        return Err(CliError::failed(what).remedy("name the processes with --pids"));
    }
    Ok(pids)
}

fn folders(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    Ok(folders)
}

fn pid(dir: &Path) -> Result<Option<u32>, CliError> {
    let path = dir.join("node.pid");
    let Ok(text) = fs::read_to_string(&path) else { return Ok(None) };
    let pid = text.trim().parse();
    let refuse = |_| CliError::failed(format!("{} holds no process id", path.display()));
    pid.map(Some).map_err(refuse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_program_does_not_shift_the_fields() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 9 8 7 6 150 50 3 2 20 0 9 0 1 2 3";
        assert_eq!(cpu(stat), Some(Duration::from_secs(2)));
        assert_eq!(resident("Name:\tx\nVmRSS:\t    1024 kB\n"), Some(1 << 20));
    }

    #[test]
    fn this_process_uses_memory_and_a_missing_one_is_an_error() {
        assert!(of(&[std::process::id()]).unwrap().resident_bytes > 100_000);
        assert!(of(&[u32::MAX]).is_err());
    }

    #[test]
    fn process_ids_are_found_in_the_folders_of_the_nodes() {
        let dir = tempfile::tempdir().unwrap();
        assert!(pids_from(dir.path()).is_err());
        for (node, pid) in [("n1", "11\n"), ("n2/data", "12")] {
            fs::create_dir_all(dir.path().join(node)).unwrap();
            fs::write(dir.path().join(node).join("node.pid"), pid).unwrap();
        }
        let mut pids = pids_from(dir.path()).unwrap();
        pids.sort_unstable();
        assert_eq!(pids, [11, 12]);
    }
}
