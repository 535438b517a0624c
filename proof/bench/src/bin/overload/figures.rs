//! What is counted in one phase.

use std::io;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// The counts of one phase.
pub(crate) struct Figures {
    began: Instant,
    useful: u64,
    late: u64,
    refused: u64,
    refused_without_time: u64,
    /// Answered with another status.
    pub(crate) failed: u64,
    /// The connection broke before an answer.
    pub(crate) broken: u64,
    /// No answer, long after the timeout.
    pub(crate) silent: u64,
    /// Due, and no connection was free.
    pub(crate) unsent: u64,
    latency: Histogram<u64>,
    latency_of_refusals: Histogram<u64>,
    /// Useful answers, second by second.
    pub(crate) seconds: Vec<u64>,
    /// The most memory that a node was seen to have.
    pub(crate) resident_kib: u64,
    /// What the nodes needed of the machine's cores.
    pub(crate) cpu_seconds: f64,
}

impl Default for Figures {
    fn default() -> Self {
        Self::start()
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("these bounds are possible")
}

impl Figures {
    pub(crate) fn start() -> Self {
        Self {
            began: Instant::now(),
            useful: 0,
            late: 0,
            refused: 0,
            refused_without_time: 0,
            failed: 0,
            broken: 0,
            silent: 0,
            unsent: 0,
            latency: histogram(),
            latency_of_refusals: histogram(),
            seconds: Vec::new(),
            resident_kib: 0,
            cpu_seconds: 0.0,
        }
    }

    pub(crate) fn succeeded(&mut self, took: Duration, is_in_time: bool) {
        if !is_in_time {
            self.late += 1;
            return;
        }
        self.useful += 1;
        self.latency.saturating_record(micros(took));
        let second = usize::try_from(self.began.elapsed().as_secs()).unwrap_or(usize::MAX);
        if self.seconds.len() <= second {
            self.seconds.resize(second + 1, 0);
        }
        if let Some(count) = self.seconds.get_mut(second) {
            *count += 1;
        }
    }

    pub(crate) fn refused(&mut self, took: Duration, has_retry_after: bool) {
        self.refused += 1;
        self.refused_without_time += u64::from(!has_retry_after);
        self.latency_of_refusals.saturating_record(micros(took));
    }

    /// Useful answers per second, the last second left out if it was not a whole one.
    pub(crate) fn useful_per_second(&self) -> f64 {
        let whole = self.seconds.len().saturating_sub(1).max(1);
        self.seconds.iter().take(whole).sum::<u64>() as f64 / whole as f64
    }

    /// Useful answers for each second of a core that the nodes needed.
    pub(crate) fn useful_per_cpu_second(&self) -> f64 {
        self.useful as f64 / self.cpu_seconds.max(0.01)
    }

    /// From which second on the mean of three seconds is at least this. Nothing if never.
    pub(crate) fn seconds_to(&self, per_second: f64) -> Option<usize> {
        let mean = |three: &[u64]| three.iter().sum::<u64>() as f64 / three.len() as f64;
        self.seconds.windows(3).position(|three| per_second <= mean(three))
    }

    pub(crate) fn report(&self) -> serde_json::Value {
        let at = |histogram: &Histogram<u64>| {
            serde_json::json!({
                "p50": histogram.value_at_quantile(0.5),
                "p99": histogram.value_at_quantile(0.99),
                "p999": histogram.value_at_quantile(0.999),
                "max": histogram.max(),
            })
        };
        serde_json::json!({
            "useful": self.useful,
            "useful_per_second": self.useful_per_second().round(),
            "useful_per_cpu_second": self.useful_per_cpu_second().round(),
            "late": self.late,
            "refused": self.refused,
            "refused_without_retry_after": self.refused_without_time,
            "failed": self.failed,
            "broken": self.broken,
            "silent": self.silent,
            "unsent": self.unsent,
            "latency_us": at(&self.latency),
            "latency_of_refusals_us": at(&self.latency_of_refusals),
        })
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1)
}

/// User and system time of these processes so far, in seconds. A tick of the kernel is 10 ms.
pub(crate) fn cpu_seconds(pids: &[u32]) -> io::Result<f64> {
    let mut ticks = 0;
    for pid in pids {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let fields = after_name.split_whitespace().skip(11).take(2);
        ticks += fields.filter_map(|field| field.parse::<u64>().ok()).sum::<u64>();
    }
    Ok(ticks as f64 / 100.0)
}

/// The most memory that one of these processes has, in KiB.
pub(crate) fn resident_max(pids: &[u32]) -> io::Result<u64> {
    let mut most = 0;
    for pid in pids {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
        most = most.max(line.trim().trim_end_matches(" kB").parse().unwrap_or(0));
    }
    Ok(most)
}
