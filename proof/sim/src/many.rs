//! Many seeds, on several threads.
//!
//! A run is a function of its seed and shares nothing with another, so that seeds can be
//! dealt out to threads. What they come to does not depend on how: sums are the same in
//! any order, and of several violations the one of the lowest seed is told.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::report::Violation;
use crate::summary::Summary;
use crate::{Options, run};

/// Runs seeds on so many threads, until one of them shows a violation.
///
/// # Errors
///
/// The [`Violation`] of the lowest seed that was found to have one. Seeds that were begun
/// meanwhile are finished first.
pub fn run_many(
    seeds: impl IntoIterator<Item = u64>,
    threads: usize,
    options: &Options,
) -> Result<Summary, Box<Violation>> {
    let seeds: Vec<u64> = seeds.into_iter().collect();
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let take = || {
        let index = usize::try_from(next.fetch_add(1, Relaxed)).unwrap_or(usize::MAX);
        seeds.get(index).copied().filter(|_| !stop.load(Relaxed))
    };
    let work = || {
        let result = run_each(take, options);
        if result.is_err() {
            stop.store(true, Relaxed);
        }
        result
    };
    let results: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("runs catch panics")).collect()
    });
    let mut whole = Summary::default();
    let mut first: Option<Box<Violation>> = None;
    for result in results {
        match result {
            Ok(summary) => whole.merge(&summary),
            Err(violation) if first.as_ref().is_none_or(|v| violation.seed < v.seed) => {
                first = Some(violation);
            }
            Err(_) => {}
        }
    }
    first.map_or(Ok(whole), Err)
}

/// Runs all seeds on so many threads, and returns those with a violation beside the sum of the others, in
/// order.
pub(crate) fn run_all(
    seeds: std::ops::Range<u64>,
    threads: usize,
    options: &Options,
) -> (Summary, Vec<Violation>) {
    let next = AtomicU64::new(seeds.start);
    let work = || {
        let at_work = on_core();
        let (mut summary, mut violations) = (Summary::default(), Vec::new());
        let take = || Some(next.fetch_add(1, Relaxed)).filter(|seed| *seed < seeds.end);
        while let Some(seed) = take() {
            match run(seed, options) {
                Ok(report) => summary.add(&report),
                Err(violation) => violations.push(*violation),
            }
        }
        let spent = on_core().zip(at_work).map(|(after, before)| after.saturating_sub(before));
        summary.core_time = spent.unwrap_or_default();
        (summary, violations)
    };
    let results: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("runs catch panics")).collect()
    });
    let (mut whole, mut all) = (Summary::default(), Vec::new());
    for (summary, violations) in results {
        whole.merge(&summary);
        all.extend(violations);
    }
    all.sort_by_key(|violation| violation.seed);
    (whole, all)
}

/// What one thread does.
fn run_each(
    mut take: impl FnMut() -> Option<u64>,
    options: &Options,
) -> Result<Summary, Box<Violation>> {
    let (begun, at_work) = (Instant::now(), on_core());
    let mut summary = Summary::default();
    while let Some(seed) = take() {
        summary.add(&run(seed, options)?);
    }
    let spent = on_core().zip(at_work).map(|(after, before)| after.saturating_sub(before));
    summary.core_time = spent.unwrap_or_else(|| begun.elapsed());
    Ok(summary)
}

/// How long this thread has been on a core, where Linux tells. Others may be at work on
/// the machine.
fn on_core() -> Option<Duration> {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    told.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}
