//! What the driver counts: how requests end, how long the disk takes, what was dropped.
//!
//! The loop is one thread, so these are plain numbers in it, and counting a request costs some
//! nanoseconds and no lock. Who wants to see them gets a copy between two turns.

use std::time::Duration;

use model::{Failure, Refusal, Reply, Request};
use node::Latencies;

/// What kind of request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Put,
    Get,
    List,
    Watch,
    Recall,
    Explain,
    Declare,
    Status,
    Repair,
    Salvage,
}

impl Kind {
    /// All of them, with their names.
    pub(super) const ALL: [(Kind, &str); 10] = [
        (Kind::Put, "put"),
        (Kind::Get, "get"),
        (Kind::List, "list"),
        (Kind::Watch, "changes"),
        (Kind::Recall, "outcome"),
        (Kind::Explain, "explain"),
        (Kind::Declare, "declare"),
        (Kind::Status, "status"),
        (Kind::Repair, "repair"),
        (Kind::Salvage, "salvage"),
    ];

    /// The kind of a request.
    pub(super) fn of(request: &Request) -> Self {
        match request {
            Request::Put(_) => Self::Put,
            Request::Get(_) => Self::Get,
            Request::List(_) => Self::List,
            Request::Watch(_) => Self::Watch,
            Request::Recall(_) => Self::Recall,
            Request::Explain(_) => Self::Explain,
            Request::Declare(_) => Self::Declare,
            Request::Status => Self::Status,
            Request::Repair(_) => Self::Repair,
            Request::Salvage(_) => Self::Salvage,
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// The level was met.
    Met,
    /// Too few replicas were alive.
    NotAttempted,
    /// Too few answered in time.
    Timeout,
    /// The answer was worth less than was demanded.
    Weaker,
    /// The node had too much to do.
    Overloaded,
    /// The disk could not be read.
    Disk,
    /// The request was not acceptable.
    Refused,
}

impl Outcome {
    /// All of them, with their names.
    pub(super) const ALL: [(Outcome, &str); 7] = [
        (Outcome::Met, "met"),
        (Outcome::NotAttempted, "not_attempted"),
        (Outcome::Timeout, "timeout"),
        (Outcome::Weaker, "weaker"),
        (Outcome::Overloaded, "overloaded"),
        (Outcome::Disk, "disk"),
        (Outcome::Refused, "refused"),
    ];

    fn of(reply: &Reply) -> Self {
        match reply {
            Reply::Written(_)
            | Reply::Read(_)
            | Reply::Listed(_)
            | Reply::Watched(_)
            | Reply::Recalled(_)
            | Reply::Explained(_)
            | Reply::Declared(_)
            | Reply::Status(_)
            | Reply::Repair(_)
            | Reply::Salvaged(_) => Self::Met,
            Reply::Failed(
                Failure::NotAttempted { .. } | Failure::Refused(Refusal::HintsFull { .. }),
            ) => Self::NotAttempted,
            Reply::Failed(Failure::Unknown { .. } | Failure::TooFewAnswers { .. }) => Self::Timeout,
            Reply::Failed(
                Failure::Weaker { .. } | Failure::Unsettled { .. } | Failure::SessionBehind { .. },
            ) => Self::Weaker,
            Reply::Failed(Failure::Refused(Refusal::Overloaded { .. })) => Self::Overloaded,
            Reply::Failed(Failure::Refused(Refusal::Disk(_))) => Self::Disk,
            Reply::Failed(Failure::Refused(_)) => Self::Refused,
        }
    }
}

/// What was counted since the start.
#[derive(Clone, Debug, Default)]
pub(super) struct Measured {
    /// By kind and outcome, in the order of their lists.
    requests: [[Latencies; Outcome::ALL.len()]; Kind::ALL.len()],
    /// How long groups of changes took to reach the disk.
    pub(super) syncs: Latencies,
    /// Changes in those groups.
    pub(super) synced_changes: u64,
    /// Reads of other nodes that were dropped, because nobody waited for them any more.
    pub(super) expired: u64,
    /// Reads that found several values.
    pub(super) sibling_reads: u64,
    /// The most values that a read has found.
    pub(super) siblings_read_max: usize,
    /// How long the oldest request of a client had waited when a turn began with it.
    pub(super) waits: Latencies,
}

impl Measured {
    /// Counts a request that has ended.
    #[expect(clippy::indexing_slicing, reason = "there is a place for each kind and outcome")]
    pub(super) fn ended(&mut self, kind: Kind, reply: &Reply, took: Duration) {
        if let Reply::Read(read) = reply {
            let values = read.object.values().len();
            self.sibling_reads += u64::from(1 < values);
            self.siblings_read_max = self.siblings_read_max.max(values);
        }
        self.requests[kind as usize][Outcome::of(reply) as usize].record(took);
    }

    /// What was counted of requests of this kind that ended so.
    #[expect(clippy::indexing_slicing, reason = "there is a place for each kind and outcome")]
    pub(super) fn requests(&self, kind: Kind, outcome: Outcome) -> &Latencies {
        &self.requests[kind as usize][outcome as usize]
    }
}
