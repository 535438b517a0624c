//! When the operations of an open loop are due.
//!
//! In a closed loop a client sends its next request when it has the answer to the last. A
//! server that stalls for a second then delays one request per client, and the thousand that
//! would have come in that second are never sent: the stall hardly shows in the percentiles.
//! In an open loop, operation k is due at its time, whatever became of the others, and its
//! latency counts from then.
//!
//! The timers of the runtime are a millisecond coarse, which is more than an operation takes.
//! So a thread of its own sleeps from one operation to the next and releases those due.
//!
//! Source: Gil Tene, "How NOT to Measure Latency" (2013): coordinated omission.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

/// The shortest sleep. At higher rates several operations are released at once.
const SLEEP_MIN: Duration = Duration::from_micros(50);

/// Releases operations at a rate, from one moment to another.
#[derive(Debug)]
pub(crate) struct Pace {
    began: Instant,
    per_second: f64,
    count: u64,
    due: Arc<Semaphore>,
    taken: AtomicU64,
}

impl Pace {
    /// Starts releasing `per_second` operations, `count` in all.
    pub(crate) fn start(per_second: f64, count: u64) -> std::io::Result<Self> {
        let began = Instant::now();
        let due = Arc::new(Semaphore::new(0));
        let to = Arc::clone(&due);
        // It ends by itself when all are released.
        std::thread::Builder::new()
            .name("bench-pace".to_owned())
            .spawn(move || release(&to, began, per_second, count))?;
        Ok(Self { began, per_second, count, due, taken: AtomicU64::new(0) })
    }

    /// Waits for the next operation, and gives the time at which it was due; nothing once
    /// all have been begun or given up.
    pub(crate) async fn next(&self) -> Option<Instant> {
        self.due.acquire().await.ok()?.forget();
        let index = self.taken.fetch_add(1, Ordering::Relaxed);
        if index + 1 == self.count {
            // Nothing follows: those who wait for the next are told.
            self.due.close();
        }
        Some(self.began + Duration::from_secs_f64(index as f64 / self.per_second))
    }

    /// Gives up what has been released and not begun, and says how much that is.
    pub(crate) fn stop(&self) -> u64 {
        self.due.close();
        self.due.available_permits() as u64
    }
}

fn release(due: &Semaphore, began: Instant, per_second: f64, count: u64) {
    let mut released = 0;
    while released < count && !due.is_closed() {
        let at = began + Duration::from_secs_f64(released as f64 / per_second);
        let wait = at.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            std::thread::sleep(wait.max(SLEEP_MIN));
        }
        let passed = began.elapsed().as_secs_f64();
        let total = ((passed * per_second) as u64 + 1).clamp(released + 1, count);
        due.add_permits(usize::try_from(total - released).unwrap_or(usize::MAX));
        released = total;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn operations_are_due_at_even_distances_and_never_given_early() {
        let pace = Pace::start(2_000.0, 100).unwrap();
        let mut last = None;
        for _ in 0..100 {
            let due = pace.next().await.unwrap();
            assert!(due <= Instant::now());
            if let Some(last) = last {
                let distance: Duration = due - last;
                assert!((499..=501).contains(&distance.as_micros()), "{distance:?}");
            }
            last = Some(due);
        }
        assert_eq!(pace.stop(), 0);
    }

    #[tokio::test]
    async fn what_was_due_and_not_begun_is_counted() {
        let pace = Pace::start(1_000_000.0, 50).unwrap();
        pace.next().await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(pace.stop(), 49);
        assert_eq!(pace.next().await, None);
    }
}
