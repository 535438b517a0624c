//! What should be alike on all nodes and is not.
//!
//! Nodes do not compare their configurations, and each works well alone. Where one was started
//! differently, clients see it: what they are told depends on whom they ask.

use std::collections::{BTreeMap, BTreeSet};

use super::super::finding::Finding;
use super::Said;

/// Nodes that were started with different programs, layouts or windows, or know different catalogs.
pub(super) fn differences(said: &[(&str, &Said)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (label, cause, remedy) in [
        (
            "version",
            "versions_differ",
            "finish the update: restart the nodes of the older version, one after the other",
        ),
        (
            "layout",
            "layouts_differ",
            "make `nodes` alike in all configurations, and restart the nodes that differ",
        ),
    ] {
        let nodes = said.iter().flat_map(|(_, said)| {
            let labels = said.now.all("node");
            labels.map(|(labels, _)| {
                (said.status.node, labels.get(label).cloned().unwrap_or_default())
            })
        });
        findings.extend(unlike(nodes).map(|groups| {
            Finding::warning(cause, format!("nodes have different {label}s"))
                .because(groups)
                .so(remedy)
        }));
    }
    findings.extend(windows(said));
    findings.extend(catalogs(said));
    findings
}

/// Who says what, if not all say the same.
fn unlike(nodes: impl Iterator<Item = (u16, String)>) -> Option<String> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (node, value) in nodes {
        groups.entry(value).or_default().push(format!("n{node}"));
    }
    let line = |(value, nodes): (&String, &Vec<String>)| format!("{value}: {}", nodes.join(" "));
    (1 < groups.len()).then(|| groups.iter().map(line).collect::<Vec<_>>().join("; "))
}

/// Nodes that take idempotency keys for different times. One of an older version does not say.
fn windows(said: &[(&str, &Said)]) -> Option<Finding> {
    let nodes = said.iter().filter_map(|(_, said)| {
        Some((said.status.node, format!("{} s", said.now.value("retry_window_seconds")?)))
    });
    unlike(nodes).map(|groups| {
        Finding::warning("retry_windows_differ", "nodes take idempotency keys for different times".to_owned())
            .because(format!("retry_window is {groups}"))
            .so("make `retry_window` alike in all configurations, and restart the nodes that differ; until then a retry is refused at some nodes that others take, and that a write was not seen is not final")
    })
}

fn catalogs(said: &[(&str, &Said)]) -> Option<Finding> {
    let versions: BTreeSet<u64> =
        said.iter().map(|(_, said)| said.status.catalog_version).collect();
    (1 < versions.len()).then(|| {
        Finding::warning("catalogs_differ", "nodes know different catalogs".to_owned())
            .because(format!("versions {versions:?}"))
            .so("ask again in a moment; if it stays, a node hears nobody who knows the newer one: merganser status")
    })
}
