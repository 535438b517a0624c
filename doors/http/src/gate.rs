//! Turning clients away while there is too much to do, for as little work as that can take.
//!
//! To refuse a request after it was read, parsed and queued costs a good part of carrying it
//! out: a node that is offered five times what it can do would spend most of its time on
//! saying no. So the node is asked first, as soon as the headers are there, and a request for
//! which it has no room is answered from a few constants, its body unread.
//!
//! Even that would be too much, were each refusal followed at once by the next request. Each
//! refusal says when to come back (`Retry-After`). Who comes back on the same connection
//! before, is listened to again when all others were that had been refused before him, at
//! [`AGAIN_PAUSE`] from each other and within [`AGAIN_PAUSE_MAX`]: he is not refused a second time for
//! nothing, and what refusals cost is bounded, however many clients there are.
//!
//! What tells of the node itself passes: who looks after it needs that most when it has too
//! much to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::response::{IntoResponse, Response};

use crate::problem::{Code, Problem};

/// Whether the node behind the door has room for one more request.
pub trait Gate: Send + Sync + 'static {
    /// Returns whether a request of a client is let in now. If not, it is refused.
    fn is_open(&self) -> bool;
}

/// Between two requests of clients that were refused before: 5,000 a second, which is some
/// hundredth of what a core can do.
const AGAIN_PAUSE: Duration = Duration::from_micros(200);

/// The longest that a refused client can be made to wait for the next answer.
const AGAIN_PAUSE_MAX: Duration = Duration::from_millis(250);

/// The gate, as all connections see it.
pub(crate) struct Gatekeeper {
    gate: Arc<dyn Gate>,
    start: Instant,
    /// When the next of the refused is listened to again, in microseconds after `start`.
    next: AtomicU64,
}

impl Gatekeeper {
    /// Guards the door with `gate`.
    pub(crate) fn new(gate: Arc<dyn Gate>) -> Self {
        Self { gate, start: Instant::now(), next: AtomicU64::new(0) }
    }

    /// Returns the refusal, if a request for this path is not let in.
    pub(crate) fn refuses(&self, path: &str) -> Option<Response> {
        if is_about_the_node(path) || self.gate.is_open() {
            return None;
        }
        let detail = "the node has more to do than it can do in time, and nothing was changed; retry after a moment, or at another node";
        Some(Problem::new(Code::Overloaded, detail).into_response())
    }

    /// When a client that is refused now is listened to again.
    pub(crate) fn again_at(&self) -> Instant {
        let now = micros(self.start.elapsed());
        let (pause, most) = (micros(AGAIN_PAUSE), now + micros(AGAIN_PAUSE_MAX));
        let turn = |next: u64| Some(next.clamp(now, most) + pause);
        let before = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, turn);
        let at = before.unwrap_or_else(|next| next).clamp(now, most) + pause;
        self.start + Duration::from_micros(at)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn is_about_the_node(path: &str) -> bool {
    !["/v1/kv/", "/v1/list/", "/v1/scan/", "/v1/changes/", "/v1/batch"]
        .iter()
        .any(|start| path.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Shut;

    impl Gate for Shut {
        fn is_open(&self) -> bool {
            false
        }
    }

    #[test]
    fn what_tells_of_the_node_passes_a_shut_gate() {
        let keeper = Gatekeeper::new(Arc::new(Shut));
        for path in ["/health", "/health/ready", "/metrics", "/v1/status", "/v1/keyspaces/a"] {
            assert!(keeper.refuses(path).is_none(), "{path}");
        }
        for path in
            ["/v1/kv/a/b/c", "/v1/list/a/b/c", "/v1/scan/a/b", "/v1/changes/a/b", "/v1/batch"]
        {
            let refusal = keeper.refuses(path).expect(path);
            assert_eq!(refusal.status().as_u16(), 503);
            assert!(refusal.headers().contains_key("retry-after"), "{path}");
        }
    }

    #[test]
    fn the_refused_are_listened_to_one_after_the_other_and_none_waits_for_long() {
        let keeper = Gatekeeper::new(Arc::new(Shut));
        let turns: Vec<Instant> = (0..3_000).map(|_| keeper.again_at()).collect();
        assert!(turns.is_sorted());
        assert!(turns[100].duration_since(turns[0]) >= 100 * AGAIN_PAUSE);
        let latest = Instant::now() + AGAIN_PAUSE_MAX + AGAIN_PAUSE;
        assert!(turns.iter().all(|turn| *turn <= latest));
    }
}
