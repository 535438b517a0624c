//! What many runs come to together.
//!
//! One seed shows little. What a session of the simulator is worth is how long clusters
//! were under load in it, how much of each kind went wrong, and what became of the
//! requests; a fault that was never drawn, or an outcome that was never seen, is a check
//! that was never made, and this is where that shows.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::report::Report;

const HOUR: f64 = 3_600e6;

/// The sum of many [`Report`]s, as a table.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Summary {
    /// Runs.
    pub seeds: u64,
    /// Simulated microseconds in which clients were at work.
    pub under_load: u64,
    /// Simulated microseconds in which they were not: setting up, settling, reading all.
    pub quiet: u64,
    /// Steps of the simulation.
    pub events: u64,
    /// Requests, by kind and outcome.
    pub requests: BTreeMap<(&'static str, &'static str), u64>,
    /// Faults, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// How long cores were at work for it, all threads together.
    pub core_time: Duration,
}

impl Summary {
    /// Adds one run.
    pub fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.under_load += report.under_load;
        self.quiet += report.simulated.saturating_sub(report.under_load);
        self.events += report.events;
        add_up(&mut self.requests, &report.requests);
        add_up(&mut self.faults, &report.faults);
    }

    /// Adds what another thread has run.
    pub fn merge(&mut self, other: &Summary) {
        self.seeds += other.seeds;
        self.under_load += other.under_load;
        self.quiet += other.quiet;
        self.events += other.events;
        self.core_time += other.core_time;
        add_up(&mut self.requests, &other.requests);
        add_up(&mut self.faults, &other.faults);
    }

    /// Requests that were answered with what was asked for, or told what they asked about.
    pub fn answered(&self) -> u64 {
        let is_answer = |(kind, end): &(&str, &str)| match *kind {
            "puts" | "deletes" => *end == "acknowledged",
            "gets" | "lists" => *end == "answered",
            _ => false,
        };
        self.requests.iter().filter(|(name, _)| is_answer(name)).map(|(_, count)| count).sum()
    }

    /// How many answers said of themselves what they are worth, by the word. Each was judged.
    fn labels(&self) -> BTreeMap<&'static str, u64> {
        let labels = self.requests.iter().filter(|((kind, _), _)| *kind == "answers");
        labels.map(|((_, word), count)| (*word, *count)).collect()
    }

    /// Simulated hours under load.
    pub fn hours(&self) -> f64 {
        hours(self.under_load)
    }
}

fn add_up<K: Copy + Ord>(sums: &mut BTreeMap<K, u64>, more: &BTreeMap<K, u64>) {
    more.iter().for_each(|(kind, count)| *sums.entry(*kind).or_default() += count);
}

/// For people to read: no seed depends on these numbers.
#[expect(clippy::cast_precision_loss, reason = "rounded to two places at once")]
fn hours(micros: u64) -> f64 {
    micros as f64 / HOUR
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seeds, events, .. } = self;
        let core = self.core_time.as_secs_f64().max(1e-6);
        let speed = hours(self.under_load) * 3_600.0 / core;
        #[expect(clippy::cast_precision_loss, reason = "rounded at once")]
        let per_second = *events as f64 / core;
        writeln!(f, "{seeds} seeds without a violation")?;
        writeln!(f, "  simulated hours under load  {:>14.2}", self.hours())?;
        writeln!(f, "  simulated hours of quiet    {:>14.2}", hours(self.quiet))?;
        writeln!(f, "  events                      {events:>14}")?;
        writeln!(f, "  seconds of core time        {core:>14.1}")?;
        writeln!(f, "  events per core second      {per_second:>14.0}")?;
        writeln!(f, "  times real time, per core   {speed:>14.1}")?;
        writeln!(f, "  operations answered         {:>14}", self.answered())?;
        let labels = self.labels();
        let words = labels.iter().map(|(word, count)| format!("{word} {count}"));
        let words = words.collect::<Vec<_>>().join(", ");
        writeln!(f, "  labels judged, all right    {:>14}: {words}", labels.values().sum::<u64>())?;
        writeln!(f, "  requests by outcome")?;
        for ((kind, outcome), count) in &self.requests {
            let name = format!("{kind} {outcome}");
            writeln!(f, "    {name:<36}{count:>12}")?;
        }
        write!(f, "  faults by kind")?;
        for (kind, count) in &self.faults {
            write!(f, "\n    {kind:<36}{count:>12}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            under_load: 1_800_000_000,
            simulated: 3_600_000_000,
            events: 10,
            requests: [(("gets", "answered"), 3)].into(),
            faults: [("split", 2)].into(),
            ..Report::default()
        }
    }

    #[test]
    fn two_threads_come_to_the_same_as_one() {
        let (mut one, mut half) = (Summary::default(), Summary::default());
        one.add(&report());
        one.add(&report());
        half.add(&report());
        let mut two = half.clone();
        two.merge(&half);
        assert_eq!(one, two);
    }

    #[test]
    fn answers_and_their_labels_are_counted_and_failures_are_not() {
        let mut summary = Summary::default();
        let requests = [
            (("answers", "any"), 1),
            (("answers", "strict"), 4),
            (("gets", "answered"), 3),
            (("gets", "monotonic"), 2),
            (("puts", "acknowledged"), 2),
            (("puts", "unknown"), 7),
        ];
        summary.add(&Report { requests: requests.into(), ..Report::default() });
        let text = summary.to_string();
        assert_eq!(summary.answered(), 5);
        assert!(text.contains("  5: any 1, strict 4\n"), "{text}");
    }

    #[test]
    fn time_under_load_is_told_apart_from_quiet() {
        let mut summary = Summary { core_time: Duration::from_secs(18), ..Summary::default() };
        summary.add(&report());
        let text = summary.to_string();
        assert!(text.contains(" 0.50\n"), "{text}");
        assert!(text.contains("per core            100.0\n"), "{text}");
        assert!(text.contains("gets answered"), "{text}");
    }
}
