//! From symptoms to causes.
//!
//! One number of one node says little: that n1 is slow to answer n2 can be n1, n2, or what is
//! between them. So all nodes are asked, twice with a moment between, and each rule here
//! compares what they say. A rule names a cause only where the numbers leave one; what it
//! reads, and from which number on it speaks, is in its own lines.

mod absent;
mod differences;
mod disks;
mod forgetting;
mod hints;
mod losses;
mod shards;
mod suspects;

use std::collections::BTreeMap;

use client::Status;

use super::super::scrape::Scrape;
use super::finding::Finding;

/// What was seen of one endpoint.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) url: String,
    pub(super) answer: Answer,
}

/// What an endpoint said.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// Everything that was asked.
    Said(Box<Said>),
    /// Nothing: nobody listens there.
    Refused(String),
    /// Nothing, though somebody may listen there.
    Silent(String),
    /// Something else than was asked.
    Declined {
        /// The code of the problem.
        code: String,
        why: String,
    },
}

/// What a node says of itself.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) status: Status,
    /// A moment ago.
    pub(super) before: Scrape,
    pub(super) now: Scrape,
    /// By how many seconds its clock is ahead of ours, and how far off that may be.
    pub(super) ahead: (f64, f64),
}

/// With fewer values than this a quantile or a mean is chance.
const VALUES_MIN: f64 = 20.0;

/// Disks of databases sync within some milliseconds.
const SYNC_P99_MAX: f64 = 0.1;

/// A replica is a straggler if it is so many times slower than the middle one.
const STRAGGLER_FACTOR: f64 = 3.0;

/// Below this nobody notices, however many times it is of something.
const STRAGGLER_MIN: f64 = 0.005;

/// Timestamps of nodes that are further apart than this are of little use to people.
const SKEW_MAX: f64 = 0.5;

/// Replicas that hear each other are told of each write, and compare what they have about
/// every second.
const LAG_MAX: f64 = 60.0;

const DISK_FREE_LOW: f64 = 2e9;
const DISK_FREE_END: f64 = 256e6;

/// What is wrong with a cluster, the worst first.
pub(super) fn diagnose(seen: &[Seen]) -> Vec<Finding> {
    let said: Vec<(&str, &Said)> = seen
        .iter()
        .filter_map(|seen| match &seen.answer {
            Answer::Said(said) => Some((seen.url.as_str(), &**said)),
            Answer::Refused(_) | Answer::Silent(_) | Answer::Declined { .. } => None,
        })
        .collect();
    let mut findings = absent::absent(seen, &said);
    findings.extend(one_way_links(&said));
    findings.extend(shards::lacking(&said));
    for (url, said) in &said {
        findings.extend(disk(url, said));
        findings.extend(load(url, said));
        findings.extend(hints::hints(url, said));
        findings.extend(losses::losses(url, said));
        findings.extend(losses::old_copies(url, said));
        findings.extend(losses::unproven(url, said));
        findings.extend(suspects::suspects(url, said));
        findings.extend(disks::disks(url, said));
    }
    findings.extend(said.iter().flat_map(|(_, said)| lags(said)));
    findings.extend(forgetting::blocked(&said));
    findings.extend(stragglers(&said));
    findings.extend(clocks(&said));
    findings.extend(differences::differences(&said));
    findings.extend(shards::fragile(&said));
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// Whom each node hears, by number.
fn heard(said: &[(&str, &Said)]) -> BTreeMap<u16, BTreeMap<u16, bool>> {
    let of = |status: &Status| {
        (status.node, status.nodes.iter().map(|node| (node.node, node.alive)).collect())
    };
    said.iter().map(|(_, said)| of(&said.status)).collect()
}

/// Links over which one node hears the other, and not the other way round.
fn one_way_links(said: &[(&str, &Said)]) -> Vec<Finding> {
    let heard = heard(said);
    let hears = |by: u16, node: u16| heard.get(&by).and_then(|others| others.get(&node)).copied();
    let mut findings = Vec::new();
    for (a, others) in &heard {
        for b in others.keys().filter(|b| *b != a) {
            let (there, back) = (hears(*a, *b), hears(*b, *a));
            if there == Some(false) && back == Some(true) {
                findings.push(
                    Finding::critical("one_way_link", format!("n{b} hears n{a}, and n{a} does not hear n{b}"))
                        .because("each says so in its status".to_owned())
                        .so(format!("check firewalls and routes from n{b} to n{a}; both directions of the peer port must be open")),
                );
            } else if there == Some(false) && back == Some(false) && a < b {
                findings.push(
                    Finding::critical(
                        "cut_link",
                        format!("n{a} and n{b} do not hear each other, and both live"),
                    )
                    .because("each says so in its status".to_owned())
                    .so(format!("check the network and the peer addresses between n{a} and n{b}")),
                );
            }
        }
    }
    findings
}

fn disk(url: &str, said: &Said) -> Vec<Finding> {
    let mut findings = Vec::new();
    let waits = said.now.value("disk_wait_seconds").unwrap_or_default();
    if 5.0 <= waits {
        findings.push(
            Finding::critical("disk_hangs", format!("the disk of {url} does not come back"))
                .because(format!("{waits:.0} s for one group of changes"))
                .so("dmesg | tail on that machine; replace the disk, or stop the node so that others take over"),
        );
    }
    if let Some((p99, count)) = said.now.quantile("sync_seconds", 0.99)
        && VALUES_MIN <= count
        && SYNC_P99_MAX < p99
    {
        findings.push(
            Finding::warning("slow_disk", format!("the disk of {url} is slow"))
                .because(format!("one in a hundred syncs takes up to {:.0} ms, of {count:.0}", 1_000.0 * p99))
                .so("iostat -x 1 on that machine; move the data to a faster disk, or what else uses it away"),
        );
    }
    let free = said.now.value("disk_free_bytes").unwrap_or(f64::MAX);
    if free < DISK_FREE_LOW {
        let what = format!("the disk of {url} is nearly full");
        let finding = match free < DISK_FREE_END {
            true => Finding::critical("disk_full", what),
            false => Finding::warning("disk_full", what),
        };
        findings.push(finding.because(format!("{:.0} MB left", free / 1e6)).so(
            "free some space, or enlarge the volume: at the end the node stops (du -sh DATA_DIR)",
        ));
    }
    findings
}

fn load(url: &str, said: &Said) -> Vec<Finding> {
    let mut findings = Vec::new();
    let refused = said.now.growth("overload_refusals_total", &said.before);
    if 0.0 < refused || said.now.value("overloaded") == Some(1.0) {
        let waiting = said.now.value("requests_waiting").unwrap_or_default();
        findings.push(
            Finding::critical("overload", format!("{url} refuses requests: it has too much to do"))
                .because(format!("{refused:.0} refused just now, {waiting:.0} wait"))
                .so("spread clients over all nodes, or add nodes; merganser bench says what the cluster can do"),
        );
    }
    let dropped = said.now.growth("peer_messages_dropped_total", &said.before);
    if 0.0 < dropped {
        findings.push(
            Finding::warning("messages_dropped", format!("{url} drops messages to its peers"))
                .because(format!("{dropped:.0} just now"))
                .so("a peer is away or reads too slowly: merganser status"),
        );
    }
    findings
}

/// What replicas lack of each other, and for how long.
fn lags(said: &Said) -> Vec<Finding> {
    let here = said.status.node;
    let mut findings = Vec::new();
    for (node, lag) in said.status.nodes.iter().filter_map(|node| Some((node.node, node.lag?))) {
        if 0 < lag.needs_repair {
            findings.push(
                Finding::critical("needs_repair", format!("n{node} lacks writes that n{here} cannot bring it any more"))
                    .because(format!("in {} shards the log does not reach back so far", lag.needs_repair))
                    .so("they are compared by themselves as soon as both are there; merganser repair --incremental, with all nodes in --node, says whether that is done"),
            );
        }
        if 0 < lag.gaps {
            findings.push(
                Finding::warning("gaps", format!("n{node} knows of writes that it cannot produce"))
                    .because(format!("{}, as n{here} sees it", lag.gaps))
                    .so(format!("look into the log of n{node} for damaged records; merganser repair, with all nodes in --node, brings what another replica has, and says what nobody has")),
            );
        }
        if let Some(since) = lag.since_seconds
            && LAG_MAX < since
        {
            findings.push(
                Finding::warning("lag", format!("n{here} is behind n{node}"))
                    .because(format!("{} writes, the oldest {since:.0} s old", lag.behind))
                    .so(format!("if n{node} is there, look whether it answers n{here}, and at the disks of both: merganser status")),
            );
        }
    }
    findings
}

/// The mean time each replica took, as the others see it, by operation.
fn means(said: &[(&str, &Said)], operation: &str) -> BTreeMap<String, f64> {
    let mut sums: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for (_, said) in said {
        for (part, name) in ["replica_seconds_sum", "replica_seconds_count"].iter().enumerate() {
            for (labels, value) in said.now.all(name) {
                let (Some(replica), Some(of)) = (labels.get("replica"), labels.get("operation"))
                else {
                    continue;
                };
                // What a node says of itself leaves out the network.
                if of == operation && *replica != format!("n{}", said.status.node) {
                    let (sum, count) = sums.entry(replica.clone()).or_default();
                    *(if part == 0 { sum } else { count }) += value;
                }
            }
        }
    }
    sums.retain(|_, (_, count)| VALUES_MIN <= *count);
    sums.into_iter().map(|(replica, (sum, count))| (replica, sum / count)).collect()
}

fn stragglers(said: &[(&str, &Said)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for operation in ["read", "write"] {
        let means = means(said, operation);
        for (replica, mean) in &means {
            let mut others: Vec<f64> = means
                .iter()
                .filter(|(other, _)| *other != replica)
                .map(|(_, mean)| *mean)
                .collect();
            others.sort_by(f64::total_cmp);
            let Some(middle) = others.get(others.len() / 2) else { continue };
            if STRAGGLER_MIN < *mean && STRAGGLER_FACTOR * middle < *mean {
                findings.push(
                    Finding::warning("straggler", format!("{replica} answers {operation}s much more slowly than the others"))
                        .because(format!("{:.1} ms on average since the start, the others {:.1} ms", 1_000.0 * mean, 1_000.0 * middle))
                        .so(format!("look at the disk and the neighbours of {replica}: top and iostat -x 1 on that machine")),
                );
            }
        }
    }
    findings
}

fn clocks(said: &[(&str, &Said)]) -> Option<Finding> {
    let by = |a: &&(&str, &Said), b: &&(&str, &Said)| a.1.ahead.0.total_cmp(&b.1.ahead.0);
    let (first, last) = (said.iter().min_by(by)?, said.iter().max_by(by)?);
    let apart = last.1.ahead.0 - first.1.ahead.0;
    let doubt = last.1.ahead.1 + first.1.ahead.1;
    (SKEW_MAX < apart - doubt).then(|| {
        Finding::warning(
            "clock_skew",
            format!("the clock of {} is ahead of that of {}", last.0, first.0),
        )
        .because(format!("{apart:.1} s, give or take {doubt:.1} s"))
        .so("chronyc tracking on both machines: let them follow the same time servers")
    })
}

#[cfg(test)]
mod tests;
