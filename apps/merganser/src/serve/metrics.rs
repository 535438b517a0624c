//! What a node tells Prometheus, by the names of `docs/operations/alerts.md`.
//!
//! Nothing is counted here. At each scrape the driver gives a copy of its numbers, and this
//! turns them into text. A metric is added in three places: where it is counted, here, and in
//! that page, which says when to wake somebody.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::{Enrolment, HintStatus};
use node::{Latencies, Times};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::driver::Examined;
use super::mailbox::Load;
use super::measured::{Kind, Outcome};

/// What is told at one scrape.
#[derive(Debug)]
pub(super) struct Scrape {
    pub(super) examined: Examined,
    pub(super) load: Load,
    /// Bytes left on the disk of the data directory, if that is known.
    pub(super) disk_free: Option<u64>,
    /// What the nodes were started with, in one number.
    pub(super) layout: u64,
    /// How old the idempotency key of a write may be here.
    pub(super) retry_window: Duration,
}

/// The bytes that are left on the disk of a directory.
pub(super) fn disk_free(dir: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(dir).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// The memory that this process has, in bytes.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse().ok()?;
    Some(kib * 1_024)
}

impl Scrape {
    /// The text of it.
    pub(super) fn text(self) -> String {
        let mut registry = Registry::with_prefix("merganser");
        registry.register_collector(Box::new(self));
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut out, &registry);
        out
    }
}

type Encoded = Result<(), std::fmt::Error>;

/// Times as a histogram in seconds.
struct Seconds {
    sum: f64,
    count: u64,
    /// Bounds, and how many are below each and not below the one before.
    buckets: Vec<(f64, u64)>,
}

impl Seconds {
    fn new(sum: Duration, count: u64, ranges: impl Iterator<Item = (Duration, u64)>) -> Self {
        let mut buckets: Vec<(f64, u64)> =
            ranges.map(|(bound, count)| (bound.as_secs_f64(), count)).collect();
        if let Some(last) = buckets.last_mut() {
            last.0 = f64::MAX;
        }
        Self { sum: sum.as_secs_f64(), count, buckets }
    }
}

impl From<&Latencies> for Seconds {
    fn from(latencies: &Latencies) -> Self {
        Self::new(latencies.sum(), latencies.count(), latencies.ranges())
    }
}

impl From<&Times> for Seconds {
    fn from(times: &Times) -> Self {
        Self::new(times.sum(), times.count(), times.ranges())
    }
}

impl EncodeMetric for Seconds {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Encoded {
        encoder.encode_histogram::<NoLabelSet>(self.sum, self.count, &self.buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// Writes one family after the other.
struct Writer<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl Writer<'_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> Encoded {
        let counter = ConstCounter::new(value);
        let encoder = self.encoder.encode_descriptor(name, help, None, counter.metric_type())?;
        counter.encode(encoder)
    }

    fn gauge(&mut self, name: &str, help: &str, unit: Option<&Unit>, value: f64) -> Encoded {
        let gauge = ConstGauge::new(value);
        let encoder = self.encoder.encode_descriptor(name, help, unit, gauge.metric_type())?;
        gauge.encode(encoder)
    }

    /// One family whose members differ in their labels.
    fn family<L: EncodeLabelSet, M: EncodeMetric>(
        &mut self,
        (name, help, unit): (&str, &str, Option<&Unit>),
        kind: MetricType,
        members: impl Iterator<Item = (L, M)>,
    ) -> Encoded {
        let mut encoder = self.encoder.encode_descriptor(name, help, unit, kind)?;
        for (labels, metric) in members {
            metric.encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn histogram(&mut self, name: &str, help: &str, latencies: &Latencies) -> Encoded {
        let unit = Some(&Unit::Seconds);
        let seconds = Seconds::from(latencies);
        let encoder = self.encoder.encode_descriptor(name, help, unit, MetricType::Histogram)?;
        seconds.encode(encoder)
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Encoded {
        let mut to = Writer { encoder };
        self.requests(&mut to)?;
        self.replicas(&mut to)?;
        self.conflicts(&mut to)?;
        self.trees(&mut to)?;
        self.load(&mut to)?;
        self.disk(&mut to)?;
        self.peers(&mut to)?;
        self.lags(&mut to)?;
        self.hints(&mut to)?;
        self.forgetting(&mut to)?;
        self.tables(&mut to)?;
        self.process(&mut to)
    }
}

impl Scrape {
    fn requests(&self, to: &mut Writer<'_>) -> Encoded {
        let measured = &self.examined.measured;
        let members = Kind::ALL.into_iter().flat_map(|(kind, operation)| {
            Outcome::ALL.into_iter().filter_map(move |(outcome, ended)| {
                let latencies = measured.requests(kind, outcome);
                let labels = [("operation", operation), ("outcome", ended)];
                (0 < latencies.count()).then_some((labels, Seconds::from(latencies)))
            })
        });
        let help = "Requests of clients that this node coordinated, by how they ended";
        let unit = Some(&Unit::Seconds);
        to.family(("request", help, unit), MetricType::Histogram, members)?;
        let status = &self.examined.status;
        let help = "Requests in hand at this moment";
        to.gauge("requests_in_flight", help, None, status.requests as f64)
    }

    fn replicas(&self, to: &mut Writer<'_>) -> Encoded {
        let replicas = self.examined.counts.replicas.iter();
        let members = replicas.flat_map(|(node, replied)| {
            let labels =
                |operation: &str| [("replica", node.to_string()), ("operation", operation.into())];
            let all = [
                (labels("read"), Seconds::from(&replied.reads)),
                (labels("write"), Seconds::from(&replied.writes)),
                (labels("list"), Seconds::from(&replied.lists)),
            ];
            all.into_iter().filter(|(_, seconds)| 0 < seconds.count)
        });
        let help = "How long each replica took to answer this node";
        to.family(("replica", help, Some(&Unit::Seconds)), MetricType::Histogram, members)
    }

    fn trees(&self, to: &mut Writer<'_>) -> Encoded {
        let counts = &self.examined.counts;
        let help = "Writes that this disk had lost, found by reads or comparisons and put back";
        to.counter("lost_writes_restored", help, counts.lost_writes_restored)?;
        let help = "Comparisons of shards with other replicas that this node has begun";
        to.counter("comparisons", help, counts.comparisons)?;
        let help = "Keys that these have found to differ";
        to.counter("differences", help, counts.differences)?;
        let help = "Leaves of hash trees that were read again, of about 64 keys each";
        to.counter("leaves_scrubbed", help, counts.leaves_scrubbed)?;
        let help = "Those of them that did not hold what they should";
        to.counter("leaves_damaged", help, counts.leaves_damaged)?;
        let help = "Attempts to read stored data again that failed";
        to.counter("failed_scrubs", help, counts.failed_scrubs)?;
        let help = "Records that failed their check when they were read again, each time they did";
        to.counter("records_unreadable", help, counts.records_unreadable)?;
        let help = "Shards of which this disk has lost something, and that are not whole again";
        to.gauge("shards_suspect", help, None, self.examined.status.suspects.len() as f64)?;
        let help = "Times that a shard was found not to hold what this disk should hold of it";
        to.counter("suspicions", help, counts.suspicions)?;
        let Some(unproven) = self.examined.unproven else { return Ok(()) };
        let help = "How long ago a shard was last shown to be equal here and at a peer, at most";
        to.gauge("unproven", help, Some(&Unit::Seconds), unproven.as_secs_f64())
    }

    fn conflicts(&self, to: &mut Writer<'_>) -> Encoded {
        let (counts, measured) = (&self.examined.counts, &self.examined.measured);
        let help = "Merges sent because a read had found a replica behind";
        to.counter("read_repairs", help, counts.read_repairs)?;
        let help = "Writes accepted here that left their key with several values";
        to.counter("siblings_created", help, counts.siblings_created)?;
        let help =
            "Writes accepted here that left their key with as many values as its table warns of";
        to.counter("siblings_warned", help, counts.siblings_warned)?;
        let help = "The most values that a key held after a write accepted here";
        to.gauge("siblings_max", help, None, counts.siblings_max as f64)?;
        let help = "Reads coordinated here";
        to.counter("reads", help, counts.reads)?;
        let help = "Reads that asked one more replica, because the others took longer than usual";
        to.counter("hedges", help, counts.hedges)?;
        let help = "Reads that found several values";
        to.counter("sibling_reads", help, measured.sibling_reads)?;
        let help = "The most values that a read found";
        to.gauge("siblings_read_max", help, None, measured.siblings_read_max as f64)
    }

    fn load(&self, to: &mut Writer<'_>) -> Encoded {
        let measured = &self.examined.measured;
        let help = "Requests refused because there was too much to do";
        to.counter("overload_refusals", help, self.load.refused)?;
        let help = "1 while newcomers are refused";
        to.gauge("overloaded", help, None, f64::from(u8::from(self.load.is_overloaded)))?;
        let help = "Requests of clients that wait for the node";
        to.gauge("requests_waiting", help, None, self.load.waiting as f64)?;
        to.histogram("queue", "How long requests waited for the node", &measured.waits)?;
        let help = "Reads of other nodes dropped because nobody waited for them any more";
        to.counter("expired_reads", help, measured.expired)
    }

    fn disk(&self, to: &mut Writer<'_>) -> Encoded {
        let measured = &self.examined.measured;
        let help = "How long groups of changes took to reach the disk";
        to.histogram("sync", help, &measured.syncs)?;
        let help = "Changes in these groups; divided by their count, the size of a group";
        to.counter("synced_changes", help, measured.synced_changes)?;
        let help = "How long the group in flight has been on its way to the disk";
        let waits = self.examined.disk_waits.as_secs_f64();
        to.gauge("disk_wait", help, Some(&Unit::Seconds), waits)?;
        let help = "Changes that wait for the next group";
        to.gauge("staged_changes", help, None, self.examined.staged as f64)?;
        let help = "Bytes left on the disk of the data directory";
        self.disk_free
            .map_or(Ok(()), |free| to.gauge("disk_free", help, Some(&Unit::Bytes), free as f64))
    }

    fn peers(&self, to: &mut Writer<'_>) -> Encoded {
        let (peers, status) = (&self.examined.peers, &self.examined.status);
        let help = "Messages put into the queues of peers";
        to.counter("peer_messages", help, peers.sent)?;
        let help = "Messages dropped: no connection, or the queue was full";
        to.counter("peer_messages_dropped", help, peers.dropped)?;
        let help = "Messages dropped because no frame holds them";
        to.counter("peer_messages_too_large", help, peers.too_large)?;
        to.counter("peer_bytes", "Bytes put into the queues of peers", peers.bytes)?;
        let members = status.nodes.iter().map(|node| {
            let alive = f64::from(u8::from(node.alive));
            ([("peer", node.node.to_string())], ConstGauge::new(alive))
        });
        let help = "1 for each node that answers this one, itself included";
        to.family(("peer_alive", help, None), MetricType::Gauge, members)
    }

    fn lags(&self, to: &mut Writer<'_>) -> Encoded {
        let status = &self.examined.status;
        let lacking = match status.disk.enrolment {
            Enrolment::Joining | Enrolment::Unannounced => status.disk.shards - status.disk.whole,
            Enrolment::New | Enrolment::Enrolled | Enrolment::Challenged | Enrolment::Retired => 0,
        };
        let help = "Shards that a new disk has not copied yet, without which it takes no part";
        to.gauge("shards_joining", help, None, lacking as f64)?;
        let retired = u8::from(status.disk.enrolment == Enrolment::Retired);
        let help = "1 if the disk was replaced or given up, so that the node serves nothing";
        to.gauge("disk_retired", help, None, f64::from(retired))?;
        let help = "Writes whose place in the log was forgotten though a replica may lack them";
        to.counter("log_dropped", help, status.log_dropped)?;
        let lags = || status.nodes.iter().filter_map(|node| Some((node.node, node.lag?)));
        let mut family = |name: &str, help: &str, of: fn(model::Lag) -> u64| {
            let members = lags()
                .map(|(node, lag)| ([("peer", node.to_string())], ConstGauge::new(of(lag) as f64)));
            to.family((name, help, None), MetricType::Gauge, members)
        };
        family("lag_behind", "Writes that the peer has and this node lacks", |lag| lag.behind)?;
        family("lag_ahead", "Writes that this node has and the peer lacks", |lag| lag.ahead)?;
        family("lag_gaps", "Writes that the peer knows of and cannot produce", |lag| lag.gaps)?;
        let help = "Shards of which the peer lacks what the log cannot bring it any more";
        family("needs_repair", help, |lag| lag.marked)?;
        let members = lags().filter_map(|(node, lag)| {
            let since = lag.since?.as_secs_f64();
            Some(([("peer", node.to_string())], ConstGauge::new(since)))
        });
        let help = "How long ago this node had everything that the peer has";
        to.family(("lag", help, Some(&Unit::Seconds)), MetricType::Gauge, members)
    }

    fn hints(&self, to: &mut Writer<'_>) -> Encoded {
        let counts = &self.examined.counts;
        let help = "Writes kept here for replicas that were away";
        to.counter("hints_taken", help, counts.hints_taken)?;
        let help = "Writes not kept for replicas that were away, for want of room; another guest may have taken them";
        to.counter("hints_refused", help, counts.hints_refused)?;
        let help = "Objects handed over to the replicas that they were kept for";
        to.counter("hints_delivered", help, counts.hints_delivered)?;
        let mut family =
            |name: &str, unit: Option<&Unit>, help: &str, of: fn(&HintStatus) -> f64| {
                let hints = self.examined.status.hints.iter();
                let members = hints.map(|hints| {
                    ([("target", hints.target.to_string())], ConstGauge::new(of(hints)))
                });
                to.family((name, help, unit), MetricType::Gauge, members)
            };
        let help = "Objects kept for a replica that was away";
        family("hints", None, help, |hints| hints.count as f64)?;
        let help = "Roughly how many bytes these have";
        family("hints", Some(&Unit::Bytes), help, |hints| hints.bytes as f64)?;
        let help = "How long the oldest of them has been kept";
        family("hints_oldest", Some(&Unit::Seconds), help, |hints| hints.oldest.as_secs_f64())
    }

    fn forgetting(&self, to: &mut Writer<'_>) -> Encoded {
        let (counts, forgetting) = (&self.examined.counts, &self.examined.status.forgetting);
        let help = "Tombstones forgotten, because all replicas had what they spoke of";
        to.counter("tombstones_forgotten", help, counts.tombstones_forgotten)?;
        let help =
            "Objects of which superseded dots were forgotten, because all replicas knew of them";
        to.counter("contexts_trimmed", help, counts.contexts_trimmed)?;
        let help = "Values that were forgotten here and that others still held";
        to.counter("refuted_values", help, counts.refuted_values)?;
        let help = "Messages of nodes whose disks were given up";
        to.counter("evicted_messages", help, counts.evicted_messages)?;
        let help = "Shards found to be of an older copy of this disk, each time they were";
        to.counter("old_copies", help, counts.old_copies)?;
        let help = "Tombstones known to wait until all replicas have what they speak of";
        to.gauge("tombstones_waiting", help, None, forgetting.waiting as f64)?;
        let help = "Tombstones that all replicas have, kept for writes that may be tried again";
        to.gauge("tombstones_kept_for_retries", help, None, forgetting.for_retries as f64)?;
        let help = "Writes that are forgotten, of which only the dots are kept";
        to.gauge("forgotten_dots", help, None, forgetting.dots as f64)?;
        let help = "Runs of such dots, which is what they cost: 24 bytes of memory each";
        to.gauge("forgotten_runs", help, None, forgetting.runs as f64)?;
        let members = forgetting.blockers.iter().map(|blocker| {
            let since = ConstGauge::new(blocker.since.as_secs_f64());
            ([("peer", blocker.node.to_string())], since)
        });
        let help = "For how long the peer has lacked the same of what tombstones here speak of";
        let unit = Some(&Unit::Seconds);
        to.family(("tombstones_blocked", help, unit), MetricType::Gauge, members)
    }

    fn tables(&self, to: &mut Writer<'_>) -> Encoded {
        let members = || {
            self.examined.tables.iter().flat_map(|table| {
                let labels = |operation| {
                    [
                        ("keyspace", table.keyspace.to_string()),
                        ("table", table.table.to_string()),
                        ("operation", String::from(operation)),
                    ]
                };
                let lacking = |able: u16| table.shards.saturating_sub(able);
                [
                    (labels("read"), lacking(table.reads.shards), table.reads.fragile),
                    (labels("write"), lacking(table.writes.shards), table.writes.fragile),
                ]
            })
        };
        let help = "Shards in which the operation cannot be done now at the default level";
        let lacking =
            members().map(|(labels, lacking, _)| (labels, ConstGauge::new(f64::from(lacking))));
        to.family(("shards_lacking", help, None), MetricType::Gauge, lacking)?;
        let help = "Shards in which the loss of one more node ends the operation";
        let fragile =
            members().map(|(labels, _, fragile)| (labels, ConstGauge::new(f64::from(fragile))));
        to.family(("shards_fragile", help, None), MetricType::Gauge, fragile)
    }

    fn process(&self, to: &mut Writer<'_>) -> Encoded {
        let status = &self.examined.status;
        let help = "The version of the catalog in force here";
        to.gauge("catalog_version", help, None, status.catalog_version as f64)?;
        let help = "Seconds since the start";
        to.gauge("uptime", help, Some(&Unit::Seconds), status.uptime.as_secs_f64())?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let help = "How old the idempotency key of a write may be; alike on all nodes";
        let window = self.retry_window.as_secs_f64();
        to.gauge("retry_window", help, Some(&Unit::Seconds), window)?;
        let help = "What the clock of the machine shows";
        to.gauge("wall_clock", help, Some(&Unit::Seconds), now.as_secs_f64())?;
        let help = "Memory of the process";
        if let Some(resident) = resident() {
            to.gauge("resident", help, Some(&Unit::Bytes), resident as f64)?;
        }
        let labels = [
            ("node", status.node.to_string()),
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("layout", format!("{:016x}", self.layout)),
        ];
        let help = "Which node, program and layout this is";
        let member = std::iter::once((labels, ConstGauge::new(1.0)));
        to.family(("node", help, None), MetricType::Gauge, member)
    }
}
