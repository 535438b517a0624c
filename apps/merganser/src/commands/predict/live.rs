//! Measured times of a running cluster, from what its nodes have counted of each other.

mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use client::{Client, Error, Options, Status};
use model::NodeId;
use predict::{Impossible, Legs, RoundTrips, View};

use super::super::connect::{ask_each, block_on, some_time, timeout};
use super::super::error::{CliError, Exit};
use super::super::placed::Placed;
use super::super::scrape::Scrape;
use super::Source;
use told::Seeing;
pub(super) use told::Told;

/// So many answers of each replica to each coordinator, of reads and of writes, are enough. The
/// slowest of a hundred is where the 99th percentile may be.
const COUNT_MIN: u64 = 100;

/// So many pairs that lack answers are named.
const LACKING_SHOWN_MAX: usize = 6;

/// Which nodes to ask, and for what.
// What needs `--node` has to conflict with what `--node` conflicts with, too: the parser misses
// nothing that conflicts with an option that was given.
#[derive(Debug, clap::Args)]
pub(super) struct Live {
    /// How long messages take: as these nodes have timed it, separated by commas, each of all
    /// replicas.
    ///
    /// They are the coordinators of what is predicted; nodes that are not named are replicas
    /// only. Only round trips can be timed. Half of a read's is taken for each of its ways; a
    /// write takes as long to come as a read does, and the rest of its round trip is the disk and
    /// the way back, because a replica shows a write to reads before it is on its disk. Times
    /// are known to a quarter, and to 64 microseconds below these.
    #[arg(long = "node", value_name = "URL", value_delimiter = ',', conflicts_with_all = ["model", "samples"])]
    nodes: Vec<String>,
    /// With --node: a keyspace, whose keys are where they are. It says what N is.
    #[arg(long, value_name = "KEYSPACE", requires = "nodes", conflicts_with_all = ["among", "n", "model", "samples"])]
    keyspace: Option<String>,
    /// With --node: the nodes of which any N may be the replicas of a key, as in n1,n2,n5. Without
    /// this and --keyspace all that there are.
    #[arg(long, value_name = "NODE,..", value_delimiter = ',', value_parser = node, requires = "nodes", conflicts_with_all = ["model", "samples"])]
    among: Vec<NodeId>,
    /// With --node: wait so long, and count what is answered meanwhile. Without it everything
    /// since the nodes were started counts.
    #[arg(long, value_name = "TIME", value_parser = some_time, requires = "nodes", conflicts_with_all = ["model", "samples"])]
    over: Option<Duration>,
    /// With --node: how long a request may take.
    #[arg(long, value_name = "TIME", value_parser = timeout, default_value = "5s", requires = "nodes", conflicts_with_all = ["model", "samples"])]
    timeout: Duration,
}

fn node(text: &str) -> Result<NodeId, String> {
    let number = text.strip_prefix('n').unwrap_or(text).parse().ok().filter(|number| *number != 0);
    number.map(NodeId::new).ok_or_else(|| format!("{text:?} is no node: write n1"))
}

/// What one node has counted.
struct Look {
    node: NodeId,
    uptime: Duration,
    /// All nodes that it knows of.
    known: BTreeSet<NodeId>,
    status: Status,
    /// What it had counted when the time began of which all counts that came in it. Nothing if
    /// that is all that it has counted.
    before: Option<Scrape>,
    now: Scrape,
}

impl Look {
    /// Counts only what came since `before`, which was asked so long ago. Who has begun anew since
    /// then has counted nothing before.
    fn since(mut self, before: Scrape, ago: Duration) -> Self {
        self.before = Some(before).filter(|_| ago <= self.uptime);
        self
    }
}

impl Live {
    /// Whether a running cluster is asked.
    pub(super) fn is_asked(&self) -> bool {
        !self.nodes.is_empty()
    }

    /// Whether N is what a keyspace says.
    pub(super) fn knows_n(&self) -> bool {
        self.keyspace.is_some()
    }

    /// Asks it.
    pub(super) fn legs(&self) -> Result<(Legs, Source), CliError> {
        let options = Options { attempts_max: 1, timeout: self.timeout, ..Options::default() };
        let client = Client::new(&self.nodes, options)?;
        let answers = block_on(async { Ok(look_at_all(&client, self.over).await) })?;
        let looks = all_of(answers)?;
        let groups = self.groups(&looks)?;
        let replicas = match groups.is_empty() {
            true => self.replicas(&looks)?,
            false => groups.iter().flatten().copied().collect(),
        };
        let coordinators = views(&looks, &replicas, &groups)?;
        let (over, keyspace) = (self.over, self.keyspace.clone());
        let told = Told { over, keyspace, coordinators, groups };
        let legs = told.legs().map_err(|impossible| CliError::failed(impossible.to_string()))?;
        Ok((legs, Source { name: told.name(), live: Some(told) }))
    }

    /// Who keeps the keys of each shard of the keyspace. Some node that was asked must be among
    /// them, or nobody is known who writes them.
    fn groups(&self, looks: &BTreeMap<NodeId, Look>) -> Result<Vec<Vec<NodeId>>, CliError> {
        let (Some(name), Some(look)) = (&self.keyspace, looks.values().next()) else {
            return Ok(Vec::new());
        };
        let placed = Placed::new(&look.status, name)?;
        let shards = 0..placed.keyspace().shards;
        let groups: Vec<_> = shards.map(|shard| placed.replicas(shard).to_vec()).collect();
        let is_named = |group: &&Vec<NodeId>| group.iter().any(|node| looks.contains_key(node));
        let unnamed: Vec<String> = groups
            .iter()
            .filter(|group| !is_named(group))
            .take(1)
            .map(|group| group.iter().map(NodeId::to_string).collect::<Vec<_>>().join(", "))
            .collect();
        match unnamed.first() {
            None => Ok(groups),
            Some(group) => Err(CliError::failed(format!(
                "{name} has keys on {group}, and --node names none of these: nobody is known who writes them"
            ))
            .remedy("name all nodes that coordinate with --node")),
        }
    }

    fn replicas(&self, looks: &BTreeMap<NodeId, Look>) -> Result<BTreeSet<NodeId>, CliError> {
        let known: BTreeSet<NodeId> =
            looks.values().flat_map(|look| look.known.iter().copied()).collect();
        if let Some(stranger) = self.among.iter().find(|node| !known.contains(node)) {
            let text = format!("--among names {stranger}, and there is no such node");
            return Err(
                CliError::failed(text).remedy("see with `merganser status` which there are")
            );
        }
        Ok(if self.among.is_empty() { known } else { self.among.iter().copied().collect() })
    }
}

async fn look_at_all(
    client: &Client,
    over: Option<Duration>,
) -> Vec<(String, Result<Look, Error>)> {
    let Some(over) = over else { return ask_each(client, look).await };
    let begun = Instant::now();
    let metrics = |client: Client| async move { client.metrics().await };
    let before = ask_each(client, metrics).await;
    tokio::time::sleep(over).await;
    let ago = begun.elapsed();
    let now = ask_each(client, look).await;
    let both = before.into_iter().zip(now).map(|((url, before), (_, now))| {
        let look = before.and_then(|before| Ok(now?.since(Scrape::parse(&before), ago)));
        (url, look)
    });
    both.collect()
}

async fn look(client: Client) -> Result<Look, Error> {
    let now = Scrape::parse(&client.metrics().await?);
    let status = client.status().await?;
    // The status tells whole seconds only, and a short while would be longer than that.
    let uptime = now.value("uptime_seconds").unwrap_or(status.uptime_seconds);
    let uptime = Duration::try_from_secs_f64(uptime).unwrap_or_default();
    Ok(Look {
        node: NodeId::new(status.node),
        uptime,
        known: status.nodes.iter().map(|node| NodeId::new(node.node)).collect(),
        status,
        before: None,
        now,
    })
}

/// What was counted, by node, if all that were asked have answered.
fn all_of(answers: Vec<(String, Result<Look, Error>)>) -> Result<BTreeMap<NodeId, Look>, CliError> {
    let (mut looks, mut silent) = (BTreeMap::new(), Vec::new());
    for (url, answer) in answers {
        match answer {
            Ok(look) => {
                looks.insert(look.node, look);
            }
            Err(error) => silent.push(format!("{url}: {error}")),
        }
    }
    if silent.is_empty() {
        return Ok(looks);
    }
    let text = format!("not all nodes answer that --node names: {}", silent.join("; "));
    Err(CliError::new(Exit::NotAttempted, text)
        .remedy("name those that do: the others are predicted as replicas, as those see them"))
}

/// What each node has seen of each replica.
fn views(
    looks: &BTreeMap<NodeId, Look>,
    replicas: &BTreeSet<NodeId>,
    groups: &[Vec<NodeId>],
) -> Result<Vec<Seeing>, CliError> {
    let writes_to = |by: &NodeId, of: &NodeId| {
        groups.is_empty() || groups.iter().any(|group| group.contains(by) && group.contains(of))
    };
    let (mut all, mut lacking) = (Vec::new(), Vec::new());
    for (by, look) in looks {
        let mut seen = Vec::new();
        for of in replicas {
            let trips = |operation| round_trips(look, *of, operation);
            match (trips("read"), trips("write")) {
                (Ok(reads), Ok(writes)) => {
                    seen.push((*of, View { reads, writes: Some(writes) }));
                }
                (Ok(reads), Err(_)) if !writes_to(by, of) => {
                    seen.push((*of, View { reads, writes: None }));
                }
                (reads, writes) => {
                    let count = |found: Result<RoundTrips, u64>| {
                        found.map_or_else(|few| few, |trips| trips.count())
                    };
                    let (reads, writes) = (count(reads), count(writes));
                    lacking
                        .push(format!("{by} has timed {reads} reads and {writes} writes of {of}"));
                }
            }
        }
        all.push(Seeing { by: *by, uptime: look.uptime, seen });
    }
    if lacking.is_empty() {
        return Ok(all);
    }
    let more = match lacking.len().saturating_sub(LACKING_SHOWN_MAX) {
        0 => String::new(),
        more => format!("; and {more} other pairs"),
    };
    lacking.truncate(LACKING_SHOWN_MAX);
    let text = format!(
        "too few answers were timed, at least {COUNT_MIN} of each are needed: {}{more}",
        lacking.join("; ")
    );
    Err(CliError::failed(text).remedy(
        "let each of these nodes coordinate writes, and reads at ALL, for a while, as in \
         `merganser bench --node URL,.. --r ALL`; nodes that keep nothing together never write to \
         each other: say --keyspace KEYSPACE, or which nodes are replicas with --among",
    ))
}

/// What a node has counted of a replica, or how many they are if these are too few.
fn round_trips(look: &Look, of: NodeId, operation: &str) -> Result<RoundTrips, u64> {
    let now = below(&look.now, of, operation);
    let before = look.before.as_ref().map(|scrape| below(scrape, of, operation));
    let before = before.unwrap_or_default();
    let mut counted = 0;
    let counts = now.iter().map(|(Bound(bits), count)| {
        let was = before.get(&Bound(*bits)).copied().unwrap_or_default();
        let below = count.saturating_sub(was);
        let here = below.saturating_sub(counted);
        counted = counted.max(below);
        (1_000.0 * f64::from_bits(*bits), here)
    });
    match RoundTrips::new(counts) {
        Ok(trips) if COUNT_MIN <= trips.count() => Ok(trips),
        Ok(trips) => Err(trips.count()),
        Err(Impossible::NoSamples | Impossible::Time { .. } | Impossible::Quorum { .. }) => Err(0),
    }
}

/// A bound in seconds, of which none is negative: their bits are in the same order.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Bound(u64);

/// How many answers took less than each bound.
fn below(scrape: &Scrape, of: NodeId, operation: &str) -> BTreeMap<Bound, u64> {
    let is_it = |labels: &BTreeMap<String, String>| {
        labels.get("replica") == Some(&of.to_string())
            && labels.get("operation").is_some_and(|found| found == operation)
    };
    let buckets = scrape.all("replica_seconds_bucket").filter(|(labels, _)| is_it(labels));
    let counted = buckets.filter_map(|(labels, count)| {
        let bound: f64 = labels.get("le")?.parse().ok()?;
        (0.0 < bound).then_some((Bound(bound.to_bits()), count as u64))
    });
    counted.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const N1: NodeId = NodeId::new(1);
    const N2: NodeId = NodeId::new(2);

    /// What a node tells of a replica: how many answers took up to 1 ms, to 2 ms, and longer.
    fn text(of: NodeId, operation: &str, below: [u64; 3]) -> String {
        ["0.001", "0.002", "+Inf"]
            .iter()
            .zip(below)
            .map(|(le, count)| {
                format!("merganser_replica_seconds_bucket{{le=\"{le}\",replica=\"{of}\",operation=\"{operation}\"}} {count}\n")
            })
            .collect()
    }

    fn look(now: &str) -> Look {
        Look {
            node: N1,
            uptime: Duration::from_secs(60),
            known: [N1, N2].into(),
            status: serde_json::from_value(json!({"node": 1, "incarnation": "0a",
                "uptime_seconds": 1.0, "version": "0", "nodes": [], "catalog_version": 2,
                "keyspaces": [], "tables": [], "requests": 0, "read_repairs": 0}))
            .unwrap(),
            before: None,
            now: Scrape::parse(now),
        }
    }

    #[test]
    fn what_a_node_tells_is_read_by_replica_and_operation() {
        let now = text(N1, "read", [900, 900, 900])
            + &text(N2, "read", [100, 190, 200])
            + &text(N2, "write", [0, 0, 200]);
        let look = look(&now);
        let reads = round_trips(&look, N2, "read").unwrap();
        assert_eq!((reads.count(), reads.quantile(0.5), reads.quantile(0.51)), (200, 1.0, 2.0));
        assert_eq!(round_trips(&look, N2, "write").unwrap().quantile(0.0), 4.0);
        assert_eq!(round_trips(&look, N1, "write"), Err(0));
    }

    #[test]
    fn over_a_while_counts_only_what_came_in_it_and_all_of_a_node_that_has_begun_anew() {
        let (before, now) = (text(N2, "read", [500, 600, 700]), text(N2, "read", [500, 750, 900]));
        let over = |seconds: u64| {
            let look = look(&now).since(Scrape::parse(&before), Duration::from_secs(seconds));
            round_trips(&look, N2, "read").unwrap()
        };
        let reads = over(60);
        assert_eq!((reads.count(), reads.quantile(0.01), reads.quantile(1.0)), (200, 2.0, 4.0));
        assert_eq!(
            over(61).count(),
            900,
            "it is up for 60 s, though it has counted more than before"
        );
    }

    #[test]
    fn too_few_answers_name_the_pair_and_what_to_do() {
        let now = text(N1, "read", [100; 3])
            + &text(N1, "write", [100; 3])
            + &text(N2, "read", [99; 3])
            + &text(N2, "write", [500; 3]);
        let looks = [(N1, look(&now))].into();
        let refused = views(&looks, &[N1, N2].into(), &[]).unwrap_err().to_string();
        assert!(refused.contains(": n1 has timed 99 reads and 500 writes of n2\n"), "{refused}");
        assert!(refused.contains("--r ALL") && refused.contains("--among"), "{refused}");
        let found = views(&looks, &[N1].into(), &[]).unwrap();
        let told = Told { over: None, keyspace: None, coordinators: found, groups: Vec::new() };
        assert_eq!((told.name().as_str(), told.replicas()), ("n1 as they see each other", 1));
        assert!(told.legs().is_ok());
        assert_eq!(told.json()["coordinators"][0]["replicas"][0]["reads"]["count"], 100);
    }

    #[test]
    fn nobody_has_to_have_written_where_it_never_writes() {
        let now =
            text(N1, "read", [100; 3]) + &text(N1, "write", [100; 3]) + &text(N2, "read", [100; 3]);
        let looks = [(N1, look(&now))].into();
        let replicas = [N1, N2].into();
        assert!(views(&looks, &replicas, &[vec![N1, N2]]).is_err());
        let groups = vec![vec![N1], vec![N2]];
        let coordinators = views(&looks, &replicas, &groups).unwrap();
        assert!(coordinators[0].seen[1].1.writes.is_none());
        let keyspace = Some("ks".to_owned());
        let told = Told { over: None, keyspace, coordinators, groups };
        assert_eq!((told.n(), told.name().as_str()), (Some(1), "ks on n1 n2 as n1 see them"));
        assert!(told.legs().is_err(), "nobody was asked who writes to n2 alone");
    }

    #[test]
    fn nodes_are_named_as_elsewhere() {
        assert_eq!((node("n2"), node("2")), (Ok(N2), Ok(N2)));
        for text in ["", "n", "n0", "x2", "n70000", "-1"] {
            assert!(node(text).is_err(), "{text:?}");
        }
    }
}
