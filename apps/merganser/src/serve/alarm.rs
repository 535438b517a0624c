//! The timer of the driver.

use std::pin::Pin;
use std::time::{Duration, Instant};

use model::Now;
use tokio::time::Sleep;

/// A timer that is only set again when it must ring earlier. Most deadlines are never
/// reached, and ringing too early costs one idle step.
pub(super) struct Alarm {
    started: Instant,
    rings_at: Option<Now>,
    sleep: Pin<Box<Sleep>>,
}

impl Alarm {
    /// An alarm that is not set. Readings of the clock count from `started`.
    pub(super) fn new(started: Instant) -> Self {
        Self { started, rings_at: None, sleep: Box::pin(tokio::time::sleep(Duration::ZERO)) }
    }

    /// Makes it ring at this time, at the latest.
    pub(super) fn set(&mut self, wake_at: Option<Now>) {
        let Some(wake_at) = wake_at else { return };
        if self.rings_at.is_none_or(|rings_at| wake_at < rings_at) {
            let at = self.started + Duration::from_micros(wake_at.as_micros());
            self.sleep.as_mut().reset(at.into());
            self.rings_at = Some(wake_at);
        }
    }

    /// Ends when the time has come, or never.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost.
    pub(super) async fn rung(&mut self) {
        if self.rings_at.is_none() {
            std::future::pending::<()>().await;
        }
        self.sleep.as_mut().await;
        self.rings_at = None;
    }
}
