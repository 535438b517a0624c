//! Shards of which a disk has lost something, as its node has found itself.
//!
//! Such a shard is compared with all its other replicas at once, and is whole again within minutes.
//! What it cannot do alone is be compared with one that is away, or be whole where it has no other
//! replica.

use super::super::finding::Finding;
use super::Said;

/// What a disk of a node has lost, and what is waited for.
pub(super) fn suspects(url: &str, said: &Said) -> Option<Finding> {
    let (node, suspects) = (said.status.node, &said.status.suspect);
    let first = suspects.first()?;
    let seconds = suspects.iter().map(|one| one.since_seconds).fold(0.0, f64::max);
    let is_alone = suspects.iter().any(|suspect| suspect.waits_for.is_empty());
    let is_away =
        |other: &u16| said.status.nodes.iter().any(|seen| seen.node == *other && !seen.alive);
    let mut away: Vec<u16> =
        suspects.iter().flat_map(|one| &one.waits_for).copied().filter(is_away).collect();
    away.sort_unstable();
    away.dedup();
    let so = match (away.is_empty(), is_alone) {
        (false, _) => {
            let names: Vec<String> = away.iter().map(|node| format!("n{node}")).collect();
            let names = names.join(", ");
            format!(
                "bring {names} back, or, if that is not to be: merganser evict. Check the disk of n{node}, \
                 and replace it"
            )
        }
        (true, true) => format!(
            "if this lasts, no other replica holds these shards: restore what is lost from a backup, then \
             merganser repair --node {url} says that what is there is all there is. Check the disk of n{node}"
        ),
        (true, false) => format!(
            "nothing, for the moment: the shards are compared with all other replicas. Check the disk of \
             n{node}, and replace it: it will lose more"
        ),
    };
    let what = format!("n{node} has found that its disk lost something");
    let evidence = format!(
        "{url} has {} suspect shards, such as {}/{}, for {seconds:.0} s",
        suspects.len(),
        first.keyspace,
        first.shard
    );
    Some(Finding::warning("shards_suspect", what).because(evidence).so(so))
}
