//! Waiting until what a node keeps for others has been handed over.
//!
//! Whoever is about to wipe a node, or to rely on a replica that is back, wants to know that
//! nothing is left of what was kept for others *until now*. Writes go on meanwhile, and what is
//! kept of them must not make him wait for ever. So the question has a moment, and what has been
//! kept for less long than the question waits is not meant by it.
//!
//! ```text
//! asked at 10.0      n2: oldest since 4 s      it was there: wait
//!          12.5      n2: oldest since 7 s      wait
//!          12.75     n2: oldest since 1 s      begun after the question: done
//! ```
//!
//! Both times are of the node's own clock, so that a look that is answered late harms nothing. Ages
//! are to the second, and never too small: something begun within the second of the question may
//! be waited for as well, and nothing that was there is missed.
//!
//! The node is asked again and again, as whoever looks after it does. It does not know that
//! somebody waits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use model::{HintStatus, Status};
use serde::Serialize;
use utoipa::ToSchema;

use crate::Node;
use crate::door::Door;
use crate::kv::json;
use crate::openapi::{WaitParams, WaitProblems};
use crate::params::{self, Query};
use crate::problem::{Code, Facts, Problem};
use crate::status::HintsJson;

/// How often it is looked. Guests look for replicas that are back once in a second.
const POLL: Duration = Duration::from_millis(250);

/// That all was handed over.
#[derive(Serialize, ToSchema)]
#[schema(as = HandedOver)]
pub(crate) struct HandedOverJson {
    /// The node that keeps nothing of it any more.
    node: u16,
}

/// A question whether all was handed over that was kept when it was asked.
#[derive(Clone, Copy, Debug)]
struct Question {
    /// The uptime of the node at that moment. Before its start, for a question that goes on.
    asked_millis: i128,
}

impl Question {
    /// What was there and still is. A hint of which the node says more than its age comes to
    /// was there.
    fn left(self, status: &Status) -> Vec<HintStatus> {
        let waited = millis(status.uptime) - self.asked_millis;
        let was_there = |hints: &&HintStatus| waited <= millis(hints.oldest);
        status.hints.iter().filter(was_there).copied().collect()
    }
}

fn millis(time: Duration) -> i128 {
    i128::try_from(time.as_millis()).unwrap_or(i128::MAX)
}

/// Wait until everything that this node keeps for others now has been handed over.
///
/// What it begins to keep while this waits is not waited for. A wait that lasts longer than a
/// request may is gone on with by another one, which says with `age` how long it has lasted.
#[utoipa::path(
    post,
    path = "/v1/hints/wait",
    operation_id = "hints_wait",
    tag = "node",
    params(WaitParams),
    responses(
        (status = 200, description = "It has been, and is on the disks of those it was for.",
            body = HandedOverJson, content_type = "application/json"),
        WaitProblems,
    ),
)]
pub(crate) async fn wait<N: Node>(
    State(door): State<Arc<Door<N>>>,
    request: Request,
) -> Result<Response, Problem> {
    let query = Query::parse(request.uri().query(), params::WAIT)?;
    let deadline = Instant::now() + query.timeout;
    let not_live = || Problem::new(Code::NotLive, "the node's loop did not turn within a second");
    let mut last = door.vitals().await.ok_or_else(not_live)?.status;
    let question = Question { asked_millis: millis(last.uptime) - millis(query.age) };
    loop {
        let left = question.left(&last);
        if left.is_empty() {
            let node = last.node.number();
            return Ok(json(StatusCode::OK, &HandedOverJson { node }));
        }
        let rest = deadline.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return Err(not_handed_over(&last, &left));
        }
        tokio::time::sleep(POLL.min(rest)).await;
        // A look that fails says nothing. The last one that did not is told of.
        if let Some(vitals) = door.vitals().await {
            last = vitals.status;
        }
    }
}

fn not_handed_over(status: &Status, left: &[HintStatus]) -> Problem {
    let told = |hints: &HintStatus| {
        format!(
            "{} objects for {}, the oldest for {} s",
            hints.count,
            hints.target,
            hints.oldest.as_secs()
        )
    };
    let told: Vec<String> = left.iter().map(told).collect();
    let detail =
        format!("{} keeps {}; nothing of it was dropped", status.node, told.join(", and "));
    let hints = Some(left.iter().map(HintsJson::from).collect());
    Problem::new(Code::HintsLeft, detail).with(Facts { hints, ..Facts::default() })
}
