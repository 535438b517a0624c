//! What disks have lost without a word.
//!
//! A record that vanishes or turns old is put back by the next read that finds it missing, or after
//! the next scrub, and clients notice nothing. The disk that lost one will lose more. And what was not
//! compared for long may differ without anybody knowing.

use super::super::finding::Finding;
use super::Said;

/// As the alert has it.
const UNPROVEN_MAX: f64 = 86_400.0;

/// Disks that had lost records which reads have put back.
pub(super) fn losses(url: &str, said: &Said) -> Option<Finding> {
    let restored = said.now.value("lost_writes_restored_total").filter(|count| 0.0 < *count)?;
    let node = said.status.node;
    Some(
        Finding::warning("records_lost", format!("the disk of n{node} has lost records"))
            .because(format!("{url} had {restored:.0} writes put back since it was started"))
            .so(format!(
                "check the disk of n{node} and its log, and replace it: what else it has lost is \
                 put back within its scrub_interval, or now by `merganser repair`, but it will lose \
                 more"
            )),
    )
}

/// Nodes that were started from an older copy of their directory, and brought up to date since.
pub(super) fn old_copies(url: &str, said: &Said) -> Option<Finding> {
    let shards = said.now.value("old_copies_total").filter(|count| 0.0 < *count)?;
    let node = said.status.node;
    let what = format!("n{node} did not know what others had forgotten");
    Some(
        Finding::warning("old_copy", what)
            .because(format!(
                "{url} was told {shards:.0} times that a shard had forgotten what it had never heard of"
            ))
            .so(format!(
                "it is started from an older copy of its directory, or was filled by a node that had lost \
                 something. It heals by itself; until then reads from n{node} alone may have shown \
                 what was deleted. If it is an old copy: do not start nodes from snapshots, give it up \
                 with `merganser evict n{node}`, and start with an empty disk"
            )),
    )
}

/// Shards that were not shown to be equal, nor compared, for a day. That takes an absence, or
/// comparisons that come to no end.
pub(super) fn unproven(url: &str, said: &Said) -> Option<Finding> {
    let seconds = said.now.value("unproven_seconds").filter(|age| UNPROVEN_MAX < *age)?;
    let node = said.status.node;
    let what = format!("nobody knows whether others hold what n{node} does");
    Some(
        Finding::warning("unproven", what)
            .because(format!(
                "{url} has a shard that was not proven equal for {:.0} hours",
                seconds / 3_600.0
            ))
            .so("merganser repair --incremental, with all nodes in --node: it says which shards, and why; merganser repair status shows since when"),
    )
}
