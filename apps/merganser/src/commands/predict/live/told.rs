//! What a prediction was computed from: for the prediction, for people and for programs.

use std::time::Duration;

use model::NodeId;
use predict::{Coordinator, Impossible, Legs, RoundTrips, Seen, View};
use serde_json::{Value, json};

use super::super::super::error::CliError;
use super::super::super::print;
use super::super::millis;

/// So many pairs are shown to people.
const SHOWN_MAX: usize = 25;

/// What a prediction was computed from, in words and for programs.
#[derive(Debug)]
pub(crate) struct Told {
    pub(super) over: Option<Duration>,
    pub(super) keyspace: Option<String>,
    pub(super) coordinators: Vec<Seeing>,
    /// Who keep the keys of a shard, for each. Empty if any may.
    pub(super) groups: Vec<Vec<NodeId>>,
}

/// What one node has seen.
#[derive(Debug)]
pub(super) struct Seeing {
    pub(super) by: NodeId,
    pub(super) uptime: Duration,
    /// Of each replica, in the order of their numbers.
    pub(super) seen: Vec<(NodeId, View)>,
}

impl Told {
    pub(super) fn legs(&self) -> Result<Legs, Impossible> {
        let coordinators = self.coordinators.iter().map(|Seeing { by, seen, .. }| Coordinator {
            is: seen.iter().position(|(of, _)| of == by),
            views: seen.iter().map(|(_, view)| view.clone()).collect(),
        });
        let order = self.coordinators.first().map_or([].as_slice(), |first| &first.seen);
        let place = |node: &NodeId| order.iter().position(|(of, _)| of == node);
        let groups = self.groups.iter().map(|group| group.iter().filter_map(place).collect());
        Seen::placed(coordinators.collect(), groups.collect()).map(Legs::Seen)
    }

    /// How many replicas a key has, if a keyspace says that.
    pub(crate) fn n(&self) -> Option<usize> {
        self.groups.first().map(Vec::len)
    }

    pub(super) fn replicas(&self) -> usize {
        self.coordinators.first().map_or(0, |first| first.seen.len())
    }

    pub(super) fn name(&self) -> String {
        let names = |nodes: Vec<String>| nodes.join(" ");
        let by = names(self.coordinators.iter().map(|one| one.by.to_string()).collect());
        let seen = self.coordinators.first().map(|first| first.seen.as_slice());
        let of = seen.unwrap_or_default().iter().map(|(of, _)| of.to_string()).collect();
        let seen = match names(of) {
            of if of == by => format!("{of} as they see each other"),
            of => format!("{of} as {by} see them"),
        };
        self.keyspace.as_ref().map_or(seen.clone(), |name| format!("{name} on {seen}"))
    }

    /// For people: what was counted, of whom, and since when.
    pub(crate) fn show(&self, n: usize) -> Result<(), CliError> {
        let pairs = || {
            self.coordinators.iter().flat_map(|Seeing { by, seen, .. }| {
                seen.iter().map(move |(of, view)| (by, of, view))
            })
        };
        if pairs().count() <= SHOWN_MAX {
            let mut table =
                print::table(&["by", "of", "reads", "p50", "p99", "writes", "p50", "p99"]);
            for (by, of, View { reads, writes }) in pairs() {
                let told = |trips: &RoundTrips| {
                    let [half, most] = [0.5, 0.99].map(|share| millis(trips.quantile(share)));
                    [trips.count().to_string(), half, most]
                };
                let names = [by.to_string(), of.to_string()];
                let writes = writes.as_ref().map(told).unwrap_or_default();
                table.add_row(names.into_iter().chain(told(reads)).chain(writes));
            }
            print::line(table)?;
        }
        let (reads, writes) = pairs().fold((0, 0), |(reads, writes), (_, _, view)| {
            let written = view.writes.as_ref().map_or(0, RoundTrips::count);
            (reads + view.reads.count(), writes + written)
        });
        print::line(format_args!(
            "{reads} answers to reads and {writes} to writes, {}",
            self.since()
        ))?;
        if self.replicas() < n {
            print::line(format_args!(
                "N={n} of {} nodes: some are drawn twice, as if there were more like them",
                self.replicas()
            ))?;
        }
        Ok(())
    }

    fn since(&self) -> String {
        if let Some(over) = self.over {
            return format!("timed in {over:?}");
        }
        let started =
            |Seeing { by, uptime, .. }: &Seeing| format!("{by} {} s ago", uptime.as_secs());
        let started: Vec<String> = self.coordinators.iter().map(started).collect();
        format!("timed since the start: {}", started.join(", "))
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let trips = |trips: &RoundTrips| {
            let [half, most] = [0.5, 0.99].map(|share| trips.quantile(share));
            json!({ "count": trips.count(), "p50_millis": half, "p99_millis": most })
        };
        let of = |(of, view): &(NodeId, View)| json!({ "node": of.number(), "reads": trips(&view.reads), "writes": view.writes.as_ref().map(trips) });
        let coordinators = self.coordinators.iter().map(|Seeing { by, uptime, seen }| {
            let since = self.over.unwrap_or(*uptime).as_secs_f64();
            json!({
                "node": by.number(),
                "since_seconds": since,
                "replicas": seen.iter().map(of).collect::<Vec<_>>(),
            })
        });
        json!({ "coordinators": coordinators.collect::<Vec<_>>() })
    }
}
