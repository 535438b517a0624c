//! What a node counted, read back from the text that Prometheus reads.

use std::collections::BTreeMap;

/// The metrics of one node at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Scrape {
    samples: Vec<Sample>,
}

#[derive(Clone, Debug, PartialEq)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Scrape {
    /// Reads the text. A line that cannot be read is left out: a later version may say more.
    pub(crate) fn parse(text: &str) -> Self {
        Self { samples: text.lines().filter_map(sample).collect() }
    }

    /// The value of a metric without labels.
    pub(crate) fn value(&self, name: &str) -> Option<f64> {
        self.all(name).next().map(|(_, value)| value)
    }

    /// The members of a family: their labels and values.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = (&BTreeMap<String, String>, f64)> {
        let samples = self.samples.iter().filter(move |sample| sample.name == name);
        samples.map(|sample| (&sample.labels, sample.value))
    }

    /// By how much a counter grew since an earlier scrape of the same process; all of it, if
    /// it is another process.
    pub(crate) fn growth(&self, name: &str, before: &Self) -> f64 {
        let now = self.value(name).unwrap_or_default();
        let grown = now - before.value(name).unwrap_or_default();
        if grown < 0.0 { now } else { grown }
    }

    /// Below which bound, in seconds, the given share of a histogram's values lie, and how
    /// many values there are.
    pub(crate) fn quantile(&self, name: &str, share: f64) -> Option<(f64, f64)> {
        let buckets: Vec<(f64, f64)> = self
            .all(&format!("{name}_bucket"))
            .filter_map(|(labels, count)| Some((labels.get("le")?.parse().ok()?, count)))
            .collect();
        let count = buckets.last()?.1;
        let bound = buckets.iter().find(|(_, below)| share * count <= *below)?.0;
        (0.0 < count).then_some((bound, count))
    }
}

/// Reads `name{label="value",..} 1.5`.
fn sample(line: &str) -> Option<Sample> {
    if line.starts_with('#') {
        return None;
    }
    let (head, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let (name, labels) = match head.split_once('{') {
        None => (head, BTreeMap::new()),
        Some((name, labels)) => (name, labels_of(labels.strip_suffix('}')?)),
    };
    let name = name.strip_prefix("merganser_").unwrap_or(name).to_owned();
    Some(Sample { name, labels, value })
}

/// Names of keyspaces and tables hold no quotes and no commas, nor do other labels of ours.
fn labels_of(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP merganser_sync_seconds How long.\n\
        # TYPE merganser_sync_seconds histogram\n\
        merganser_sync_seconds_sum 1.5\n\
        merganser_sync_seconds_bucket{le=\"0.1\"} 98\n\
        merganser_sync_seconds_bucket{le=\"0.2\"} 99\n\
        merganser_sync_seconds_bucket{le=\"+Inf\"} 100\n\
        merganser_peer_alive{peer=\"n2\"} 0.0\n\
        merganser_overload_refusals_total 7\n\
        nonsense\n# EOF\n";

    #[test]
    fn what_prometheus_reads_is_read_back() {
        let scrape = Scrape::parse(TEXT);
        assert_eq!(scrape.value("overload_refusals_total"), Some(7.0));
        let (labels, alive) = scrape.all("peer_alive").next().unwrap();
        assert_eq!((labels["peer"].as_str(), alive), ("n2", 0.0));
        assert_eq!(scrape.quantile("sync_seconds", 0.5), Some((0.1, 100.0)));
        assert_eq!(scrape.quantile("sync_seconds", 0.99), Some((0.2, 100.0)));
        assert_eq!(scrape.quantile("gone", 0.5), None);
    }

    #[test]
    fn a_counter_that_fell_is_one_of_another_process() {
        let at = |count| Scrape::parse(&format!("merganser_x_total {count}"));
        assert_eq!(at(9).growth("x_total", &at(4)), 5.0);
        assert_eq!(at(2).growth("x_total", &at(4)), 2.0);
    }
}
