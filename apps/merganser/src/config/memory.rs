//! How much memory a node plans with, and who gets what of it.
//!
//! A node that takes more memory than its container has is killed, in the middle of its
//! work, and again after each start under the same load. So whatever can fill up gets a
//! share of one budget: cache, buffers and queues together have at most fifteen
//! sixteenths of it when all of them are full at once, unless a larger cache is configured.
//!
//! | who | share | at least |
//! |---|---|---|
//! | bodies of requests that are being read | 1/4 | one batch of 32 MiB |
//! | large answers that clients have not taken yet | 1/8 | |
//! | changes that wait for the disk, and those on their way | 1/16 each | |
//! | requests, and messages of peers, that wait for the node | 1/16 each | |
//! | messages that wait for the peers | 1/8 together | |
//! | blocks read from disk, unless configured | 1/8, at most 64 MiB | |
//! | records that are not yet a file | 1/16 | four buffers of 2 MiB |
//!
//! A queue that is not full takes one more, however large, so that a small budget refuses no
//! value that a large one takes. What no share covers comes from the rest, and from the
//! half of the memory that is not planned with: requests in progress, indexes of files, what
//! the allocator keeps.

use sysinfo::{MemoryRefreshKind, ProcessRefreshKind, ProcessesToUpdate, RefreshKind, System};

use super::{ByteSize, ConfigError, wrong};

/// The most that a node plans with unless configured: with as much, no queue was ever seen
/// full for want of memory.
const BUDGET_DEFAULT_MAX: u64 = 1 << 30;

/// With less than this, the shares that have a least size exceed it.
const BUDGET_MIN: u64 = 128 << 20;

/// The cache of a node with memory enough: what is read most fits in here, and it stays small
/// beside the data. Whoever reads more at random configures more.
const CACHE_DEFAULT_MAX: u64 = 64 << 20;

/// The least size of the block cache with which reads are not a disk access each.
const CACHE_MIN: u64 = 1 << 20;

/// A batch as large as clients may send has to pass.
const BODIES_MIN: u64 = 32 << 20;

/// Smaller files cost more to merge than they save.
const WRITE_BUFFER_MIN: u64 = 2 << 20;

/// The shares, in bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Memory {
    /// Of all.
    pub(crate) budget: u64,
    /// Blocks read from disk.
    pub(crate) cache: u64,
    /// Records that become the next file. Up to four of these exist at once.
    pub(crate) write_buffer: u64,
    /// Each of the queues in front of the node and in front of its disk.
    pub(crate) queue: usize,
    /// The queue for one peer.
    pub(crate) peer_queue: usize,
    /// Bodies of requests. Large answers have half as much beside it.
    pub(crate) bodies: usize,
}

impl Memory {
    /// Shares out what is configured, or what this machine has.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a budget or a cache with which there is no node.
    pub(crate) fn resolve(
        budget: Option<ByteSize>,
        cache: Option<ByteSize>,
        peers: usize,
    ) -> Result<Self, ConfigError> {
        let budget = budget.map_or_else(default_budget, |size| size.0);
        at_least("memory", budget, BUDGET_MIN)?;
        let cache = cache.map_or(CACHE_DEFAULT_MAX.min(budget / 8), |size| size.0);
        at_least("cache", cache, CACHE_MIN)?;
        let bytes = |share: u64| usize::try_from(share).unwrap_or(usize::MAX);
        Ok(Self {
            budget,
            cache,
            write_buffer: WRITE_BUFFER_MIN.max(budget / 64),
            queue: bytes(budget / 16),
            peer_queue: bytes(budget / 8) / peers.max(1),
            bodies: bytes(BODIES_MIN.max(budget / 4)),
        })
    }
}

/// Refuses less than makes sense.
pub(super) fn at_least(option: &'static str, bytes: u64, least: u64) -> Result<(), ConfigError> {
    if least <= bytes {
        return Ok(());
    }
    let problem = format!("{} is too little: at least {}", ByteSize(bytes), ByteSize(least));
    Err(wrong(option, problem))
}

/// Half of what this process may have, so that the other half is for the files that the
/// operating system keeps in memory, and for what no share covers.
fn default_budget() -> u64 {
    (available() / 2).clamp(BUDGET_MIN, BUDGET_DEFAULT_MAX)
}

/// The memory of the machine, or of the control group where this process has less. 0 if
/// nobody says.
fn available() -> u64 {
    let wanted = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let Ok(mut system) = System::new_with_specifics(wanted) else { return 0 };
    let machine = system.total_memory();
    let Ok(own) = sysinfo::get_current_pid() else { return machine };
    let process = ProcessRefreshKind::nothing();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[own]), false, process);
    let group = system.process(own).and_then(sysinfo::Process::cgroup_limits);
    group.map_or(machine, |group| group.total_memory.min(machine))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn shared_out(budget: usize, peers: usize) -> Memory {
        Memory::resolve(Some(ByteSize(budget as u64)), None, peers).unwrap()
    }

    /// What is in memory when everything is full: two of the four queues are one share each,
    /// and the one in front of the disk is two.
    fn full(memory: Memory, peers: usize) -> u64 {
        let queues =
            4 * memory.queue + peers * memory.peer_queue + memory.bodies + memory.bodies / 2;
        memory.cache + 4 * memory.write_buffer + queues as u64
    }

    #[test]
    fn all_shares_together_are_at_most_fifteen_sixteenths_of_the_budget() {
        for budget in [BUDGET_MIN as usize, 200 * MIB, 1 << 30, 16 << 30] {
            for peers in [0, 1, 2, 11] {
                let memory = shared_out(budget, peers);
                assert!(full(memory, peers) * 16 <= 15 * budget as u64, "{memory:?}");
            }
        }
    }

    #[test]
    fn a_configured_cache_beats_its_share() {
        let memory = Memory::resolve(None, Some(ByteSize(5 << 20)), 2).unwrap();
        assert_eq!(memory.cache, 5 << 20);
    }

    #[test]
    fn a_process_has_no_more_than_its_machine() {
        let text = std::fs::read_to_string("/proc/meminfo").unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap();
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        assert!((1..=kib * 1024).contains(&available()), "{}", available());
    }
}
