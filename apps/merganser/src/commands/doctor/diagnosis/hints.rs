//! What guests keep for too long, and what they have no room for.
//!
//! A hint is handed over within seconds of its replica's return. One that is old says either
//! that its replica is still away, which somebody may have forgotten, or that it is there and
//! does not take what it is given.

use client::Hints;

use super::super::finding::Finding;
use super::Said;

/// A replica that is there takes what is kept for it within seconds.
const HELD_MAX: u64 = 60;

/// What guests keep for others, and what they refuse to.
pub(super) fn hints(url: &str, said: &Said) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        said.status.hints.iter().filter_map(|hints| held(said, hints)).collect();
    let refused = said.now.growth("hints_refused_total", &said.before);
    if 0.0 < refused {
        findings.push(
            Finding::critical("hints_full", format!("{url} takes no more for replicas that are away"))
                .because(format!("{refused:.0} refused just now"))
                .so("bring back the replica that most is kept for (merganser hints status), or raise hint_bytes_max and restart the node"),
        );
    }
    findings
}

fn held(said: &Said, hints: &Hints) -> Option<Finding> {
    let Hints { node, count, bytes, oldest_seconds } = *hints;
    if oldest_seconds < HELD_MAX {
        return None;
    }
    let here = said.status.node;
    let evidence = format!("{count} objects, {bytes} bytes, the oldest since {oldest_seconds} s");
    let is_there = said.status.nodes.iter().any(|other| other.node == node && other.alive);
    let (cause, what, so) = match is_there {
        true => (
            "hints_not_taken",
            format!("n{node} is there and does not take what n{here} keeps for it"),
            format!(
                "look into the log of n{node} for records that cannot be read, and at its disk"
            ),
        ),
        false => (
            "hints_waiting",
            format!("n{here} keeps writes for n{node}, which is away"),
            format!("bring n{node} back; until then do not wipe n{here} (merganser hints wait)"),
        ),
    };
    Some(Finding::warning(cause, what).because(evidence).so(so))
}
