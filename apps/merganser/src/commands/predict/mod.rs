//! `merganser predict`: what N, R and W buy, before a table is declared with them.

mod live;
mod measured;
mod picture;

use std::fs;
use std::path::PathBuf;

use clap::ValueEnum;
use predict::{Estimate, Legs, Prediction, Quorum, Samples, misses_last};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde_json::{Value, json};

use super::error::CliError;
use super::print;

/// The quantiles of latencies that are told.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("p99.9", 0.999)];

/// The shares of reads for which it is told how long after a write they return it.
const SHARES: [f64; 4] = [0.9, 0.99, 0.999, 0.9999];

/// Predict latency and staleness of N, R and W.
///
/// Draws writes and reads by how long messages take, and counts: how fast both are, and how
/// likely a read that begins so long after a write returns it. Failures, read repair and
/// queues are left out.
#[derive(Debug, clap::Args)]
pub(crate) struct Predict {
    /// Replicas.
    #[arg(long, short, value_name = "N", default_value_t = 3)]
    n: usize,
    /// Answers that a read waits for.
    #[arg(long, short, value_name = "R")]
    r: usize,
    /// Answers that a write waits for.
    #[arg(long, short, value_name = "W")]
    w: usize,
    /// How long messages take: fitted to stores in production.
    #[arg(long, value_enum, default_value = "lnkd-ssd", conflicts_with = "samples")]
    model: Model,
    /// How long messages take: a CSV file of measured milliseconds, one replica's
    /// `write,ack,read,response` in a line.
    #[arg(long, value_name = "FILE")]
    samples: Option<PathBuf>,
    #[command(flatten)]
    live: live::Live,
    /// How often to draw. The 99.9th percentile of a million rests on a thousand.
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1_000..=100_000_000))]
    trials: u32,
    /// Repeats an earlier prediction.
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Draws the curve into an SVG file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Distributions that were published.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Model {
    /// A store on solid state disks.
    LnkdSsd,
    /// A store on spinning disks.
    LnkdDisk,
    /// Riak with three replicas.
    Ymmr,
    /// Replicas 75 ms apart.
    Wan,
}

impl Predict {
    /// Does it.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let quorum_of = |n: usize| {
            Quorum::new(n, self.r, self.w)
                .map_err(|impossible| CliError::failed(impossible.to_string()))
        };
        if !self.live.knows_n() {
            // Before anybody is asked.
            quorum_of(self.n)?;
        }
        let (legs, source) = self.legs()?;
        let quorum = quorum_of(source.live.as_ref().and_then(live::Told::n).unwrap_or(self.n))?;
        let seed = self.seed.unwrap_or_else(rand::random);
        let mut rng = SmallRng::seed_from_u64(seed);
        let trials = usize::try_from(self.trials).unwrap_or(usize::MAX);
        let prediction = Prediction::compute(quorum, &legs, trials, &mut rng);
        if let Some(path) = &self.svg {
            let svg = picture::draw(&prediction, &source.name);
            fs::write(path, svg).map_err(|err| {
                CliError::failed(format!("cannot write {}: {err}", path.display()))
            })?;
        }
        if self.json {
            return print::json(&as_json(&prediction, &source, seed));
        }
        tell(&prediction, &source, seed)
    }

    fn legs(&self) -> Result<(Legs, Source), CliError> {
        if self.live.is_asked() {
            return self.live.legs();
        }
        if let Some(path) = &self.samples {
            return Ok((measured::read(path)?, Source::named(path.display().to_string())));
        }
        let legs = match self.model {
            Model::LnkdSsd => Legs::lnkd_ssd(),
            Model::LnkdDisk => Legs::lnkd_disk(),
            Model::Ymmr => Legs::ymmr(),
            Model::Wan => Legs::wan(),
        };
        let name = self.model.to_possible_value().map(|value| value.get_name().to_owned());
        Ok((legs, Source::named(name.unwrap_or_default())))
    }
}

/// What a prediction was computed from.
#[derive(Debug)]
struct Source {
    name: String,
    /// What was measured, if it was asked of a running cluster.
    live: Option<live::Told>,
}

impl Source {
    fn named(name: String) -> Self {
        Self { name, live: None }
    }
}

fn tell(prediction: &Prediction, source: &Source, seed: u64) -> Result<(), CliError> {
    let quorum = prediction.quorum;
    let (n, r, w) = (quorum.n(), quorum.r(), quorum.w());
    let trials = prediction.stale.len();
    let from = &source.name;
    print::line(format_args!("N={n} R={r} W={w}, {from}, {trials} draws, seed {seed}"))?;
    source.live.as_ref().map_or(Ok(()), |told| told.show(n))?;
    let mut latencies = print::table(&["", "p50", "p95", "p99", "p99.9"]);
    for (what, samples) in [("read", &prediction.reads), ("write", &prediction.writes)] {
        let cells = QUANTILES.iter().map(|(_, share)| millis(samples.quantile(*share).millis));
        latencies.add_row(std::iter::once(what.to_owned()).chain(cells));
    }
    print::line(latencies)?;
    if quorum.meets() {
        return print::line("R + W > N: every read returns the last acknowledged write");
    }
    let mut stale = print::table(&["of reads", "return the write when they begin", "95 % sure"]);
    let at_once = prediction.returns_latest(0.0);
    stale.add_row([percent(at_once), "at once".to_owned(), String::new()]);
    for share in SHARES.into_iter().filter(|share| at_once < *share) {
        let Estimate { millis: after, low, high } = prediction.stale.quantile(share);
        stale.add_row([
            percent(share),
            format!("{} after it", millis(after)),
            format!("{} to {}", millis(low), millis(high)),
        ]);
    }
    print::line(stale)?;
    print::line(format_args!(
        "were a write to reach no more than W replicas: {} of reads miss the last one, {} the last three",
        percent(misses_last(quorum, 1)),
        percent(misses_last(quorum, 3)),
    ))
}

fn as_json(prediction: &Prediction, source: &Source, seed: u64) -> Value {
    let quorum = prediction.quorum;
    let latency = |samples: &Samples| -> Value {
        QUANTILES
            .iter()
            .map(|(name, share)| (format!("{name}_millis"), samples.quantile(*share).millis.into()))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let stale = |share: f64| {
        let Estimate { millis, low, high } = prediction.stale.quantile(share);
        json!({ "share": share, "millis": millis, "low_millis": low, "high_millis": high })
    };
    json!({
        "n": quorum.n(),
        "r": quorum.r(),
        "w": quorum.w(),
        "source": source.name,
        "measured": source.live.as_ref().map(live::Told::json),
        "trials": prediction.stale.len(),
        "seed": seed,
        "meets": quorum.meets(),
        "read": latency(&prediction.reads),
        "write": latency(&prediction.writes),
        "latest_at_once": prediction.returns_latest(0.0),
        "latest_after": SHARES.map(stale),
        "misses_last_at_worst": misses_last(quorum, 1),
    })
}

fn millis(millis: f64) -> String {
    let places = if millis < 10.0 { 2 } else { usize::from(millis < 1000.0) };
    format!("{millis:.places$} ms")
}

fn percent(share: f64) -> String {
    let text = format!("{:.2}", share * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_as_many_places_as_they_are_worth() {
        assert_eq!(
            [0.0, 1.974, 52.44, 1454.2].map(millis),
            ["0.00 ms", "1.97 ms", "52.4 ms", "1454 ms"]
        );
        assert_eq!(
            [0.9999, 0.9, 1.0, 0.3338].map(percent),
            ["99.99 %", "90 %", "100 %", "33.38 %"]
        );
    }

    #[test]
    fn the_same_seed_predicts_the_same_and_says_where_from() {
        let quorum = Quorum::new(3, 1, 1).unwrap();
        let predicted = |seed| {
            let mut rng = SmallRng::seed_from_u64(seed);
            let source = Source::named("wan".to_owned());
            as_json(&Prediction::compute(quorum, &Legs::wan(), 5_000, &mut rng), &source, seed)
        };
        assert_eq!(predicted(4), predicted(4));
        assert_ne!(predicted(4)["read"], predicted(5)["read"]);
        let at_once = predicted(4)["latest_at_once"].as_f64().unwrap();
        assert!((0.30..0.37).contains(&at_once), "33 % in the paper: {at_once}");
        assert_eq!(
            (&predicted(4)["source"], &predicted(4)["meets"]),
            (&json!("wan"), &json!(false))
        );
    }
}
