//! One client per node that asks no other node, and what it saw, with times.
//!
//! The load of [`crate::load`] finds out what was lost in the end. Whether a cluster *goes on*
//! while its network is broken shows only in each single request: which node was asked,
//! when, how long it took, and what it answered. Every request asks for a quorum, so every one
//! of them has a right outcome at every moment:
//!
//! | the node reaches a quorum | right is |
//! | --- | --- |
//! | yes | success, within the deadline |
//! | no | `not_attempted` or `unknown_outcome`, within the deadline |
//!
//! Elements are written once and under a name of their own, by all witnesses, and read back by
//! all others. Quorums meet, so a read that succeeds has to show what any of them was told is
//! kept. Silence beyond the deadline is never right.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::http::{Answer, ask};
use crate::outcome::Stop;

/// The keyspace and table that [`Witnesses`] write to: one keyspace for both names.
pub const TABLE: &str = "witness";

/// Between two requests of one client.
const PAUSE: Duration = Duration::from_millis(20);

/// How much later than its deadline an answer may come, on a machine that is busy.
const SLACK: Duration = Duration::from_millis(1_500);

/// How long an answer is waited for, to tell one that is late from one that never comes.
const PATIENCE: Duration = Duration::from_secs(12);

/// What came of one request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Heard {
    /// A quorum took part.
    Success,
    /// The node said that too few are known alive.
    NotAttempted,
    /// The node said that too few answered in time.
    Unknown,
    /// Something that is never right, in words.
    Wrong(String),
}

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    /// The node that was asked.
    pub node: u16,
    /// When.
    pub started: Instant,
    /// How long it took.
    pub took: Duration,
    /// What came of it.
    pub heard: Heard,
}

/// Running clients, one per node.
#[derive(Debug)]
pub struct Witnesses {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    deadline: Duration,
    stop: AtomicBool,
    requests: Mutex<Vec<Request>>,
    /// Names of elements that are kept.
    kept: Mutex<Vec<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Witnesses {
    /// Starts a client for each node. The table has to be declared.
    pub fn start(nodes: &BTreeMap<u16, SocketAddr>, deadline: Duration, seed: u64) -> Self {
        let shared = Arc::new(Shared {
            deadline,
            stop: AtomicBool::new(false),
            requests: Mutex::default(),
            kept: Mutex::default(),
        });
        let start = |(node, address): (&u16, &SocketAddr)| {
            let (shared, node, address) = (Arc::clone(&shared), *node, *address);
            let rng = SmallRng::seed_from_u64(seed ^ u64::from(node));
            std::thread::spawn(move || shared.watch(node, address, rng))
        };
        let threads = nodes.iter().map(start).collect();
        Self { shared, threads }
    }

    /// The requests to a node that began and ended within a time.
    pub fn requests(&self, node: u16, from: Instant, to: Instant) -> Vec<Request> {
        let within =
            |request: &&Request| from <= request.started && request.started + request.took <= to;
        let requests = lock(&self.shared.requests);
        requests.iter().filter(|request| request.node == node).filter(within).cloned().collect()
    }

    /// Lets each client finish its request, and returns the names of all elements that are
    /// kept, which are also their values.
    ///
    /// # Errors
    ///
    /// A request was answered wrongly, or later than its deadline.
    pub fn finish(self) -> Result<Vec<String>, Stop> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().map_err(|_| Stop::failed("a witness panicked"))?;
        }
        for request in &*lock(&self.shared.requests) {
            request.is_fair(self.shared.deadline).map_err(Stop::Failed)?;
        }
        Ok(lock(&self.shared.kept).clone())
    }
}

impl Shared {
    fn watch(&self, node: u16, address: SocketAddr, mut rng: SmallRng) {
        let mut written = 0_u64;
        while !self.stop.load(Ordering::Relaxed) {
            let started = Instant::now();
            let heard = if rng.random_bool(0.5) {
                written += 1;
                self.write(address, format!("{node}-{written}"))
            } else {
                self.read(address, &mut rng)
            };
            if let Some(heard) = heard {
                let request = Request { node, started, took: started.elapsed(), heard };
                lock(&self.requests).push(request);
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn write(&self, address: SocketAddr, name: String) -> Option<Heard> {
        let answer = ask(address, "PUT", &self.target(&name), &name, PATIENCE);
        let heard = heard(answer, |answer| answer.status == 204);
        if heard == Heard::Success {
            lock(&self.kept).push(name);
        }
        Some(heard)
    }

    /// Reads an element that was kept before the read began. Nothing while there is none.
    fn read(&self, address: SocketAddr, rng: &mut SmallRng) -> Option<Heard> {
        let name = {
            let kept = lock(&self.kept);
            kept.get(rng.random_range(0..kept.len().max(1)))?.clone()
        };
        let answer = ask(address, "GET", &self.target(&name), "", PATIENCE);
        Some(heard(answer, |answer| answer.status == 200 && answer.body == name))
    }

    fn target(&self, name: &str) -> String {
        format!("/v1/kv/{TABLE}/{TABLE}/{name}?timeout={}", self.deadline.as_millis())
    }
}

fn heard(answer: std::io::Result<Answer>, is_right: impl Fn(&Answer) -> bool) -> Heard {
    match answer {
        Ok(answer) if is_right(&answer) => Heard::Success,
        Ok(answer) => match answer.code().as_deref() {
            Some("not_attempted") => Heard::NotAttempted,
            Some("unknown_outcome") => Heard::Unknown,
            Some(_) | None => Heard::Wrong(format!("{}: {}", answer.status, answer.body)),
        },
        Err(error) => Heard::Wrong(format!("no answer: {error}")),
    }
}

impl Request {
    /// Whether it was answered in time, and with something that can be right.
    fn is_fair(&self, deadline: Duration) -> Result<(), String> {
        match &self.heard {
            Heard::Wrong(why) => Err(format!("n{} answered wrongly: {why}", self.node)),
            Heard::Success | Heard::NotAttempted | Heard::Unknown
                if deadline + SLACK < self.took =>
            {
                let (node, heard) = (self.node, &self.heard);
                Err(format!("n{node} took {:?} of {deadline:?} to say {heard:?}", self.took))
            }
            Heard::Success | Heard::NotAttempted | Heard::Unknown => Ok(()),
        }
    }
}

/// Demands that there were requests, and that all of them succeeded.
///
/// # Errors
///
/// The first that did not, or that there were none.
pub fn all_succeeded(when: &str, requests: &[Request]) -> Result<(), Stop> {
    demand(when, requests, |heard| *heard == Heard::Success)
}

/// Demands that there were requests, and that none of them succeeded.
///
/// # Errors
///
/// The first that did, or that there were none.
pub fn none_succeeded(when: &str, requests: &[Request]) -> Result<(), Stop> {
    demand(when, requests, |heard| *heard != Heard::Success)
}

/// Demands that there were requests, and that all of them were declined before anything was
/// tried.
///
/// # Errors
///
/// The first that was not, or that there were none.
pub fn none_attempted(when: &str, requests: &[Request]) -> Result<(), Stop> {
    demand(when, requests, |heard| *heard == Heard::NotAttempted)
}

fn demand(when: &str, requests: &[Request], is_right: fn(&Heard) -> bool) -> Result<(), Stop> {
    if requests.is_empty() {
        return Err(Stop::Failed(format!("{when}: nobody asked, so nothing is known")));
    }
    match requests.iter().find(|request| !is_right(&request.heard)) {
        None => Ok(()),
        Some(Request { node, took, heard, .. }) => {
            let count = requests.iter().filter(|request| !is_right(&request.heard)).count();
            let of = requests.len();
            Err(Stop::Failed(format!(
                "{when}: {count} of {of} requests to n{node} ended otherwise, the first {heard:?} after {took:?}"
            )))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;

    fn request(heard: Heard, millis: u64) -> Request {
        Request { node: 1, started: Instant::now(), took: Duration::from_millis(millis), heard }
    }

    fn answer(status: u16, body: &str) -> std::io::Result<Answer> {
        Ok(Answer { status, body: body.to_owned() })
    }

    #[test]
    fn one_request_among_many_decides_and_none_proves_nothing() {
        let good = request(Heard::Success, 1);
        let bad = request(Heard::Unknown, 1);
        assert!(all_succeeded("", &[good.clone(), good.clone()]).is_ok());
        assert!(all_succeeded("", &[good.clone(), bad.clone()]).is_err());
        assert!(none_succeeded("", std::slice::from_ref(&bad)).is_ok());
        assert!(none_succeeded("", &[bad.clone(), good]).is_err());
        assert!(none_attempted("", &[bad]).is_err(), "it was");
        for nobody_asked in [all_succeeded, none_succeeded, none_attempted] {
            assert!(nobody_asked("", &[]).is_err());
        }
    }

    #[test]
    fn late_answers_and_silence_are_not_fair_whatever_they_say() {
        let second = Duration::from_secs(1);
        assert!(request(Heard::Unknown, 1_050).is_fair(second).is_ok());
        assert!(request(Heard::Unknown, 3_000).is_fair(second).is_err());
        assert!(request(Heard::Success, 3_000).is_fair(second).is_err());
        assert!(request(Heard::Wrong(String::new()), 1).is_fair(second).is_err());
    }

    #[test]
    fn an_answer_is_judged_by_what_it_says() {
        let is_right = |answer: &Answer| answer.status == 200 && answer.body == "v";
        assert_eq!(heard(answer(200, "v"), is_right), Heard::Success);
        let code = |code: &str| answer(503, &format!("{{\"code\":\"{code}\"}}"));
        assert_eq!(heard(code("not_attempted"), is_right), Heard::NotAttempted);
        assert_eq!(heard(code("unknown_outcome"), is_right), Heard::Unknown);
        let silence = std::io::Error::other("nothing");
        for wrong in [answer(200, "another"), code("not_found"), code("internal"), Err(silence)] {
            assert!(matches!(heard(wrong, is_right), Heard::Wrong(_)));
        }
    }
}
