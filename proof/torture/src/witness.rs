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
//! | no | `not_attempted`, `unknown_outcome` or `too_few_answers`, within the deadline |
//!
//! Elements are written once and under a name of their own, by all witnesses, and read back by
//! all others. Quorums meet, so a read that succeeds has to show what any of them was told is
//! kept. Silence beyond the deadline is never right.
//!
//! What must be when is written down as [`Demand`]s while the network is broken and healed, and
//! judged when all requests have ended.

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
    /// Its method.
    pub verb: &'static str,
    /// When.
    pub started: Instant,
    /// How long it took.
    pub took: Duration,
    /// What came of it.
    pub heard: Heard,
}

/// Running clients, one per node. They end when this is dropped.
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

    /// Lets each client finish its request, and returns what they all saw.
    ///
    /// # Errors
    ///
    /// A request was answered wrongly, or later than its deadline.
    pub fn finish(mut self) -> Result<Testimony, Stop> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in std::mem::take(&mut self.threads) {
            thread.join().map_err(|_| Stop::failed("a witness panicked"))?;
        }
        let requests = std::mem::take(&mut *lock(&self.shared.requests));
        for request in &requests {
            request.is_fair(self.shared.deadline).map_err(Stop::Failed)?;
        }
        Ok(Testimony { requests, kept: std::mem::take(&mut *lock(&self.shared.kept)) })
    }
}

impl Drop for Witnesses {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn watch(&self, node: u16, address: SocketAddr, mut rng: SmallRng) {
        let mut written = 0_u64;
        while !self.stop.load(Ordering::Relaxed) {
            let started = Instant::now();
            let verb = if rng.random_bool(0.5) { "PUT" } else { "GET" };
            let heard = if verb == "PUT" {
                written += 1;
                self.write(address, format!("{node}-{written}"))
            } else {
                self.read(address, &mut rng)
            };
            if let Some(heard) = heard {
                let request = Request { node, verb, started, took: started.elapsed(), heard };
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
            Some("unknown_outcome" | "too_few_answers") => Heard::Unknown,
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

/// All requests, and what they left.
#[derive(Clone, Debug)]
pub struct Testimony {
    requests: Vec<Request>,
    /// Names, and values, of elements that are kept.
    pub kept: Vec<String>,
}

/// What must be true of requests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Must {
    /// Every request that began within the time succeeds, whenever it ends.
    Succeed,
    /// No request that began and ended within the time succeeds.
    Fail,
    /// The same, and nothing is attempted.
    Decline,
}

/// What must be true of the requests to one node, within a time.
#[derive(Clone, Debug)]
pub struct Demand {
    /// What the network was like, for people.
    pub when: String,
    /// Which node.
    pub node: u16,
    /// From when.
    pub from: Instant,
    /// Until when.
    pub to: Instant,
    /// What.
    pub must: Must,
}

impl Testimony {
    /// Compares demands with what was seen. Prints everything that is wrong.
    ///
    /// # Errors
    ///
    /// The first that is not met.
    pub fn check_all(&self, demands: &[Demand]) -> Result<(), Stop> {
        let wrong: Vec<String> =
            demands.iter().filter_map(|demand| self.check(demand).err()).collect();
        wrong.iter().for_each(|why| eprintln!("{why}"));
        wrong.into_iter().next().map_or(Ok(()), |why| Err(Stop::Failed(why)))
    }

    /// Compares a demand with what was seen. That nobody asked is wrong too: nothing is known
    /// then.
    fn check(&self, demand: &Demand) -> Result<(), String> {
        let Demand { when, node, must, .. } = demand;
        let of_it: Vec<&Request> =
            self.requests.iter().filter(|request| demand.concerns(request)).collect();
        if of_it.is_empty() {
            return Err(format!("{when}: nobody asked n{node}"));
        }
        let wrong = of_it.iter().filter(|request| !must.allows(&request.heard));
        let Some(Request { started, took, heard, verb, .. }) = wrong.clone().next() else {
            return Ok(());
        };
        let (count, all, after) = (wrong.count(), of_it.len(), *started - demand.from);
        Err(format!(
            "{when}: {count} of {all} requests to n{node} that must {must:?} did not; the first, \
             a {verb} {after:.2?} after the beginning, was {heard:?} after {took:.2?}"
        ))
    }

    /// How many requests began within a time, and how many of them succeeded.
    pub fn count(&self, from: Instant, to: Instant) -> (u64, u64) {
        let within = |request: &&Request| from <= request.started && request.started < to;
        let requests = self.requests.iter().filter(within);
        requests.fold((0, 0), |(all, good), request| {
            (all + 1, good + u64::from(request.heard == Heard::Success))
        })
    }
}

impl Demand {
    fn concerns(&self, request: &Request) -> bool {
        let last = match self.must {
            Must::Succeed => request.started,
            Must::Fail | Must::Decline => request.started + request.took,
        };
        request.node == self.node && self.from <= request.started && last < self.to
    }
}

impl Must {
    fn allows(self, heard: &Heard) -> bool {
        match self {
            Self::Succeed => *heard == Heard::Success,
            Self::Fail => *heard != Heard::Success,
            Self::Decline => *heard == Heard::NotAttempted,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;

    fn request(heard: Heard, millis: u64) -> Request {
        Request {
            node: 1,
            verb: "GET",
            started: Instant::now(),
            took: Duration::from_millis(millis),
            heard,
        }
    }

    fn answer(status: u16, body: &str) -> std::io::Result<Answer> {
        Ok(Answer { status, head: String::new(), body: body.to_owned() })
    }

    /// Whether this demand holds, where requests began after so many milliseconds each.
    fn holds(must: Must, requests: &[(u64, u64, Heard)]) -> bool {
        let (zero, milli) = (Instant::now(), Duration::from_millis);
        let requests = requests.iter().map(|(began, took, heard)| Request {
            node: 1,
            verb: "GET",
            started: zero + milli(*began),
            took: milli(*took),
            heard: heard.clone(),
        });
        let testimony = Testimony { requests: requests.collect(), kept: Vec::new() };
        let (from, to) = (zero + milli(100), zero + milli(200));
        testimony.check(&Demand { when: String::new(), node: 1, from, to, must }).is_ok()
    }

    #[test]
    fn one_request_among_many_decides_and_none_proves_nothing() {
        let good = (150, 1, Heard::Success);
        let bad = (150, 1, Heard::Unknown);
        assert!(holds(Must::Succeed, &[good.clone(), good.clone()]));
        assert!(!holds(Must::Succeed, &[good.clone(), bad.clone()]));
        assert!(holds(Must::Fail, std::slice::from_ref(&bad)));
        assert!(!holds(Must::Fail, &[bad.clone(), good.clone()]));
        assert!(!holds(Must::Decline, &[bad]), "it was attempted");
        assert!(holds(Must::Decline, &[(150, 1, Heard::NotAttempted)]));
        for must in [Must::Succeed, Must::Fail, Must::Decline] {
            assert!(!holds(must, &[]));
            assert!(!holds(must, &[(99, 1, Heard::Success), (201, 1, Heard::Unknown)]));
        }
    }

    #[test]
    fn what_must_succeed_is_followed_to_its_end_and_what_must_fail_only_while_it_must() {
        let (late_failure, late_success) =
            ((150, 1_000, Heard::Unknown), (150, 1_000, Heard::Success));
        assert!(!holds(Must::Succeed, &[(150, 1, Heard::Success), late_failure]));
        assert!(holds(Must::Fail, &[(150, 1, Heard::Unknown), late_success]));
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
