//! What disks have lost without a word.
//!
//! A record that vanishes or turns old is put back by the next read that finds it missing, or after
//! the next scrub, and clients notice nothing. The disk that lost one will lose more.

use super::super::finding::Finding;
use super::Said;

/// Disks that had lost records which reads have put back.
pub(super) fn losses(url: &str, said: &Said) -> Option<Finding> {
    let restored = said.now.value("lost_writes_restored_total").filter(|count| 0.0 < *count)?;
    let node = said.status.node;
    Some(
        Finding::warning("records_lost", format!("the disk of n{node} has lost records"))
            .because(format!("{url} had {restored:.0} writes put back since it was started"))
            .so(format!(
                "check the disk of n{node} and its log, and replace it: what else it has lost is \
                 put back within its scrub_interval, but it will lose more"
            )),
    )
}
