//! Nodes whose disk is not the one that they are to serve with.

use super::super::finding::Finding;
use super::Said;

/// Nodes that take no part because of their disks.
pub(super) fn disks(url: &str, said: &Said) -> Option<Finding> {
    let disk = said.status.disk.as_ref()?;
    let node = said.status.node;
    match disk.state.as_str() {
        "joining" => {
            let waits_for = waits_for(said);
            let what = format!("n{node} has a new disk and takes no part until it is whole");
            let evidence = format!(
                "{url} has copied {} of {} shards{}",
                disk.shards_whole, disk.shards, waits_for
            );
            Some(Finding::warning("disk_joining", what).because(evidence).so(format!(
                "wait; if it comes no further, bring back the replicas that are away. If the disk of \
                 one of them is lost as well: merganser evict NODE. If the one that n{node} had \
                 before is not lost: stop the node and start it with that"
            )))
        }
        "retired" => Some(
            Finding::critical("disk_retired", format!("n{node} runs on a disk that was replaced"))
                .because(format!("{url} is not enrolled with its disk {} any more", disk.disk))
                .so(format!(
                    "stop n{node}, move its data directory away, and start it with an empty one: it \
                     copies everything from the others"
                )),
        ),
        _ => None,
    }
}

/// Whose disks are new as well, so that they cannot be copied.
fn waits_for(said: &Said) -> String {
    let others = said.status.nodes.iter().filter(|other| {
        other.node != said.status.node && (!other.alive || other.joining.is_some())
    });
    let others: Vec<String> = others.map(|other| format!("n{}", other.node)).collect();
    match others.is_empty() {
        true => String::new(),
        false => format!(", and cannot copy from {}", others.join(" ")),
    }
}
