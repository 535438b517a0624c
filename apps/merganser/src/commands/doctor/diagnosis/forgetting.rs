//! Replicas for which all others keep what was deleted.
//!
//! Each node says for whom it waits. The cause is the replica that is waited for, so it is named once,
//! with all who wait.

use std::collections::BTreeMap;

use super::super::finding::Finding;
use super::Said;

/// A replica that is there has what it lacks within seconds, and one that was away within minutes.
const BLOCKED_MAX: f64 = 600.0;

/// How others wait for one replica.
#[derive(Default)]
struct Waiting {
    by: Vec<String>,
    tombstones: u64,
    seconds: f64,
    is_alive: bool,
    is_joining: bool,
}

/// Who holds forgetting back, since when, and what to do about it.
pub(super) fn blocked(said: &[(&str, &Said)]) -> Vec<Finding> {
    let mut waiting: BTreeMap<u16, Waiting> = BTreeMap::new();
    for (_, said) in said {
        let Some(forgetting) = &said.status.forgetting else { continue };
        for blocker in &forgetting.tombstones_blocked {
            if blocker.since_seconds < BLOCKED_MAX {
                continue;
            }
            let one = waiting.entry(blocker.by).or_default();
            let seen = said.status.nodes.iter().find(|node| node.node == blocker.by);
            one.by.push(format!("n{}", said.status.node));
            one.tombstones = one.tombstones.max(forgetting.tombstones_waiting);
            one.seconds = one.seconds.max(blocker.since_seconds);
            one.is_alive |= seen.is_some_and(|node| node.alive);
            one.is_joining |= seen.is_some_and(|node| node.joining.is_some());
        }
    }
    waiting.into_iter().map(|(node, waiting)| waiting.finding(node)).collect()
}

impl Waiting {
    fn finding(self, node: u16) -> Finding {
        let Self { by, tombstones, seconds, is_alive, is_joining } = self;
        let what = format!("nothing that was deleted is forgotten, for want of n{node}");
        let evidence = format!(
            "{} wait for it since {seconds:.0} s, with up to {tombstones} tombstones that they know of",
            by.join(", ")
        );
        let so = match (is_joining, is_alive) {
            (true, _) => format!(
                "nothing, while the new disk of n{node} is made whole; if it comes no further: merganser status"
            ),
            (false, true) => format!(
                "n{node} is there and does not take what it lacks: look into its log, at its disk, and at the network to it"
            ),
            (false, false) => format!(
                "bring n{node} back; if it will not come back with its disk: merganser evict n{node}. Nothing is \
                 lost by waiting, but room"
            ),
        };
        Finding::warning("tombstones_blocked", what).because(evidence).so(so)
    }
}
