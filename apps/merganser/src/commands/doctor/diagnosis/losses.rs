//! What disks have lost without a word.
//!
//! A record that vanishes or turns old is put back by the next read that finds it missing, and
//! clients notice nothing. The disk that lost one will lose more.

use super::super::finding::Finding;
use super::Said;

/// Disks that had lost records which reads have put back.
pub(super) fn losses(url: &str, said: &Said) -> Option<Finding> {
    let restored = said.now.value("lost_writes_restored_total").filter(|count| 0.0 < *count)?;
    let node = said.status.node;
    Some(
        Finding::warning("records_lost", format!("the disk of n{node} has lost records"))
            .because(format!("{url} had {restored:.0} writes put back by reads since it was started"))
            .so(format!(
                "scan all tables once with r=ALL, so that the rest is put back, too; check the disk \
                 of n{node}, and replace it"
            )),
    )
}
