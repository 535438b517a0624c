//! What was measured, and how it is told.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::usage::Usage;
use crate::commands::error::CliError;
use crate::commands::print;

/// The longest latency that is told apart; longer ones count as this.
const LATENCY_MICROS_MAX: u64 = 600_000_000;

/// What kind of operation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Put,
    Get,
}

/// What the clients count while they run.
#[derive(Debug)]
pub(crate) struct Figures {
    puts: Histogram<u64>,
    gets: Histogram<u64>,
    /// Failed operations by code. They are in no histogram.
    pub(crate) errors: BTreeMap<String, u64>,
    /// Gets that found nothing.
    pub(crate) found_nothing: u64,
    /// Gets that found several values.
    pub(crate) found_several: u64,
    /// Reads made only to learn the context for a first put. They are in no histogram.
    pub(crate) context_reads: u64,
    /// Operations of the open loop that were due and never begun.
    pub(crate) never_begun: u64,
}

impl Figures {
    pub(crate) fn new() -> Self {
        let histogram = || {
            // Three digits: an error of at most 0.1%.
            Histogram::new_with_bounds(1, LATENCY_MICROS_MAX, 3).expect("the bounds are in order")
        };
        Self {
            puts: histogram(),
            gets: histogram(),
            errors: BTreeMap::new(),
            found_nothing: 0,
            found_several: 0,
            context_reads: 0,
            never_begun: 0,
        }
    }

    pub(crate) fn record(&mut self, kind: Kind, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        match kind {
            Kind::Put => self.puts.saturating_record(micros),
            Kind::Get => self.gets.saturating_record(micros),
        }
    }

    pub(crate) fn failed(&mut self, code: &str) {
        match self.errors.get_mut(code) {
            Some(count) => *count += 1,
            None => drop(self.errors.insert(code.to_owned(), 1)),
        }
    }

    /// Operations that succeeded.
    pub(crate) fn done(&self) -> u64 {
        self.puts.len() + self.gets.len()
    }

    /// Operations that failed.
    pub(crate) fn failures(&self) -> u64 {
        self.errors.values().sum()
    }
}

/// What one phase of a bench came to.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) phase: &'static str,
    pub(crate) figures: Figures,
    pub(crate) elapsed: Duration,
    /// What the servers used, if their processes are known: CPU time in the phase, and
    /// memory at its end.
    pub(crate) servers: Option<Usage>,
    /// What this program used itself.
    pub(crate) own_cpu: Duration,
}

impl Report {
    fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// Microseconds per operation, of whatever kind. Reads for contexts are operations too:
    /// the servers did them.
    fn per_operation(&self, cpu: Duration) -> f64 {
        let operations = self.figures.done() + self.figures.failures() + self.figures.context_reads;
        cpu.as_secs_f64() * 1e6 / operations.max(1) as f64
    }

    pub(crate) fn as_json(&self) -> Value {
        let figures = &self.figures;
        json!({
            "phase": self.phase,
            "seconds": self.elapsed.as_secs_f64(),
            "operations": figures.done(),
            "operations_per_second": self.per_second(figures.done()),
            "put": self.kind_as_json(&figures.puts),
            "get": self.kind_as_json(&figures.gets),
            "errors": figures.errors,
            "found_nothing": figures.found_nothing,
            "found_several": figures.found_several,
            "context_reads": figures.context_reads,
            "never_begun": figures.never_begun,
            "server_cpu_micros_per_operation": self.servers.map(|usage| self.per_operation(usage.cpu)),
            "server_cpu_seconds": self.servers.map(|usage| usage.cpu.as_secs_f64()),
            "server_resident_bytes": self.servers.map(|usage| usage.resident_bytes),
            "client_cpu_micros_per_operation": self.per_operation(self.own_cpu),
        })
    }

    fn kind_as_json(&self, latencies: &Histogram<u64>) -> Value {
        if latencies.is_empty() {
            return Value::Null;
        }
        let quantile = |quantile: f64| latencies.value_at_quantile(quantile);
        json!({
            "count": latencies.len(),
            "per_second": self.per_second(latencies.len()),
            "mean_micros": latencies.mean(),
            "p50_micros": quantile(0.5),
            "p95_micros": quantile(0.95),
            "p99_micros": quantile(0.99),
            "p999_micros": quantile(0.999),
            "max_micros": latencies.max(),
        })
    }

    /// Prints it for people.
    pub(crate) fn tell(&self) -> Result<(), CliError> {
        let mut table =
            print::table(&[self.phase, "done", "per second", "p50", "p95", "p99", "p99.9", "max"]);
        for (kind, latencies) in [("put", &self.figures.puts), ("get", &self.figures.gets)] {
            if !latencies.is_empty() {
                let at = |quantile| millis(latencies.value_at_quantile(quantile));
                table.add_row([
                    kind.to_owned(),
                    latencies.len().to_string(),
                    format!("{:.0}", self.per_second(latencies.len())),
                    at(0.5),
                    at(0.95),
                    at(0.99),
                    at(0.999),
                    millis(latencies.max()),
                ]);
            }
        }
        print::line(table)?;
        self.tell_counts()?;
        if let Some(servers) = self.servers {
            print::line(format_args!(
                "servers: {:.1} us of CPU per operation, {} of memory in all",
                self.per_operation(servers.cpu),
                print::size(usize::try_from(servers.resident_bytes).unwrap_or(usize::MAX)),
            ))?;
        }
        print::line(format_args!(
            "this program: {:.1} us of CPU per operation",
            self.per_operation(self.own_cpu)
        ))
    }

    fn tell_counts(&self) -> Result<(), CliError> {
        let figures = &self.figures;
        for (code, count) in &figures.errors {
            print::line(format_args!("failed: {count} {code}"))?;
        }
        for (count, what) in [
            (figures.found_nothing, "gets found nothing"),
            (figures.found_several, "gets found several values"),
            (figures.context_reads, "reads before a first put, not timed (see --blind)"),
            (figures.never_begun, "operations were due and never begun: the rate is too high"),
        ] {
            if 0 < count {
                print::line(format_args!("{count} {what}"))?;
            }
        }
        Ok(())
    }
}

fn millis(micros: u64) -> String {
    format!("{:.2} ms", micros as f64 / 1_000.0)
}
