//! One client for each node of a sloppy keyspace, which only writes, and what its receipts said.
//!
//! A sloppy keyspace promises that it refuses nothing while enough nodes are there, whoever
//! they are; and that each answer says what it is worth. So every single write is kept
//! with its answer, and two things are asked of it.
//!
//! *Was it taken?* Each scenario knows at which times a node could talk with enough others,
//! and [demands](Demand) that all writes which began then were acknowledged.
//!
//! *Is its label right?* A receipt names the replicas and guests that took part, and what they
//! come to is worked out here once more:
//!
//! | took part | right is |
//! | --- | --- |
//! | as many replicas as the level asks for | `strict` |
//! | fewer, with guests for others of them | `sloppy` |
//! | guests only | `any` |
//!
//! Every write has an idempotency key, as those of the client library have: a node that has
//! passed a write on and hears nothing may then try the next.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::http::ask_with;
use crate::outcome::Stop;

/// The keyspace and table that is written to: one name for both.
pub const TABLE: &str = "sloppy";

/// Between two writes of one client.
const PAUSE: Duration = Duration::from_millis(40);

/// How long a write may take.
const DEADLINE: Duration = Duration::from_secs(4);

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(8);

/// What a receipt says.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Receipt {
    /// What the answer is worth.
    pub kind: String,
    /// The replicas that took part.
    pub replicas: BTreeSet<u16>,
    /// The guests that did, and for whom.
    pub guests: BTreeMap<u16, u16>,
}

/// One write.
#[derive(Clone, Debug)]
pub struct Write {
    /// The node that was asked.
    pub node: u16,
    /// Its key, which is its value, too.
    pub name: String,
    /// When.
    pub started: Instant,
    /// How long it took.
    pub took: Duration,
    /// Its receipt, or why it was not acknowledged.
    pub answer: Result<Receipt, String>,
}

/// What must be true of the writes to one node that began within a time.
#[derive(Clone, Debug)]
pub struct Demand {
    /// What the cluster was like, for people.
    pub when: String,
    /// Which node.
    pub node: u16,
    /// From when.
    pub from: Instant,
    /// Until when.
    pub to: Instant,
    /// Whether most of them have to be strict. All have to be acknowledged in any case.
    pub strict: bool,
}

/// Running clients, one for each node. They end when this is dropped.
#[derive(Debug)]
pub struct Writers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    writes: Mutex<Vec<Write>>,
}

impl Shared {
    fn writes(&self) -> MutexGuard<'_, Vec<Write>> {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_on(&self, node: u16, address: SocketAddr, mut rng: SmallRng) {
        let mut count = 0_u64;
        while !self.stop.load(Ordering::Relaxed) {
            count += 1;
            let (name, started) = (format!("{node}-{count}"), Instant::now());
            let answer = write(address, &name, &token(&mut rng));
            let took = started.elapsed();
            self.writes().push(Write { node, name, started, took, answer });
            std::thread::sleep(PAUSE);
        }
    }
}

impl Writers {
    /// Starts a client for each node. The table has to be declared.
    pub fn start(nodes: &BTreeMap<u16, SocketAddr>, seed: u64) -> Self {
        let shared = Arc::new(Shared::default());
        let start = |(node, address): (&u16, &SocketAddr)| {
            let (shared, node, address) = (Arc::clone(&shared), *node, *address);
            let rng = SmallRng::seed_from_u64(seed ^ u64::from(node));
            std::thread::spawn(move || shared.write_on(node, address, rng))
        };
        Self { threads: nodes.iter().map(start).collect(), shared }
    }

    /// The names of all that was acknowledged so far.
    pub fn kept(&self) -> Vec<String> {
        kept(&self.shared.writes())
    }

    /// How many writes in whose receipt a guest is named were acknowledged so far.
    pub fn sloppy(&self) -> usize {
        let writes = self.shared.writes();
        let is_sloppy =
            |write: &&Write| write.answer.as_ref().is_ok_and(|receipt| !receipt.guests.is_empty());
        writes.iter().filter(is_sloppy).count()
    }

    /// Lets each client finish its write, and returns what they all saw.
    ///
    /// # Errors
    ///
    /// A client panicked.
    pub fn finish(mut self) -> Result<Vec<Write>, Stop> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in std::mem::take(&mut self.threads) {
            thread.join().map_err(|_| Stop::failed("a writer panicked"))?;
        }
        Ok(std::mem::take(&mut *self.shared.writes()))
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

/// The names of what was acknowledged.
pub fn kept(writes: &[Write]) -> Vec<String> {
    let kept = writes.iter().filter(|write| write.answer.is_ok());
    kept.map(|write| write.name.clone()).collect()
}

fn write(address: SocketAddr, name: &str, token: &str) -> Result<Receipt, String> {
    let target = format!("/v1/kv/{TABLE}/{TABLE}/{name}?timeout={}", DEADLINE.as_millis());
    let answer = ask_with(address, "PUT", &target, &[("Idempotency-Key", token)], name, PATIENCE);
    let answer = answer.map_err(|err| format!("no answer: {err}"))?;
    if answer.status != 204 {
        return Err(format!("{}: {}", answer.status, answer.body));
    }
    let receipt = answer.header("Merganser-Receipt").and_then(Receipt::read);
    receipt.ok_or_else(|| format!("no receipt: {}", answer.head))
}

/// A UUID of version 7.
fn token(rng: &mut SmallRng) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let [a, b, c, d]: [u64; 4] = [
        since.as_millis() as u64 & 0xffff_ffff_ffff,
        rng.random_range(0..0x1000),
        rng.random_range(0x8000..0xc000),
        rng.random_range(0..1 << 48),
    ];
    format!("{:08x}-{:04x}-7{b:03x}-{c:04x}-{d:012x}", a >> 16, a & 0xffff)
}

impl Receipt {
    /// Reads the header line of an answer.
    pub fn read(line: &str) -> Option<Self> {
        let mut parts = line.split("; ");
        let kind = parts.next()?.to_owned();
        let (mut replicas, mut guests) = (BTreeSet::new(), BTreeMap::new());
        let node = |name: &str| name.strip_prefix('n')?.parse::<u16>().ok();
        for (name, list) in parts.filter_map(|part| part.split_once('=')) {
            for word in list.split(',').filter(|word| !word.is_empty()) {
                match name {
                    "acks" => {
                        replicas.insert(node(word)?);
                    }
                    "guests" => {
                        let (guest, replica) = word.split_once(':')?;
                        guests.insert(node(guest)?, node(replica)?);
                    }
                    _ => {}
                }
            }
        }
        replicas.retain(|node| !guests.contains_key(node));
        Some(Self { kind, replicas, guests })
    }

    /// Compares the label with those that took part, where so many votes of replicas are a
    /// quorum of those that are written and read alike.
    pub fn check(&self, quorum: usize) -> Result<(), String> {
        let Self { kind, replicas, guests } = self;
        let stood_for: BTreeSet<u16> = guests.values().copied().collect();
        let voters: BTreeSet<u16> = replicas.union(&stood_for).copied().collect();
        let right = match replicas.len() {
            _ if voters.len() < quorum => return Err(format!("too few took part: {self:?}")),
            0 => "any",
            replicas if replicas < quorum => "sloppy",
            _ => "strict",
        };
        if kind == right { Ok(()) } else { Err(format!("it should be {right}: {self:?}")) }
    }
}

/// How many of strict answers there have to be where nothing is wrong, of a hundred: a replica
/// that is slow for a moment has a guest, and the answer says so.
const STRICT_MIN: usize = 90;

impl Demand {
    /// Compares it with what was seen. That nobody asked is wrong too.
    pub fn check(&self, writes: &[Write]) -> Result<(), String> {
        let Self { when, node, .. } = self;
        let is_meant = |write: &&Write| {
            write.node == *node && self.from <= write.started && write.started < self.to
        };
        let of_it: Vec<&Write> = writes.iter().filter(is_meant).collect();
        if of_it.is_empty() {
            return Err(format!("{when}: nobody wrote to n{node}"));
        }
        for write in &of_it {
            let Err(why) = &write.answer else { continue };
            let after = write.started - self.from;
            return Err(format!(
                "{when}: a write to n{node}, {after:.2?} after the beginning, was not taken \
                 after {:.2?}: {why}",
                write.took
            ));
        }
        let is_strict =
            |write: &&&Write| write.answer.as_ref().is_ok_and(|receipt| receipt.kind == "strict");
        let strict = of_it.iter().filter(is_strict).count();
        if self.strict && 100 * strict < STRICT_MIN * of_it.len() {
            let all = of_it.len();
            return Err(format!("{when}: only {strict} of {all} answers of n{node} are strict"));
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;

    fn receipt(line: &str) -> Receipt {
        Receipt::read(line).unwrap()
    }

    #[test]
    fn a_label_is_right_only_for_those_that_took_part() {
        let verdict = |line: &str| receipt(line).check(3).is_ok();
        assert!(verdict("strict; acks=n1,n2,n3; durable=3; wanted=3; of=5"));
        assert!(verdict("sloppy; acks=n1,n4,n5; guests=n4:n2,n5:n3; durable=3; wanted=3; of=5"));
        assert!(verdict("any; acks=n4,n5,n6; guests=n4:n2,n5:n3,n6:n1; wanted=3; of=5"));
        assert!(!verdict("strict; acks=n1,n2,n4; guests=n4:n3; wanted=3; of=5"));
        assert!(!verdict("sloppy; acks=n1,n2,n3; wanted=3; of=5"));
        assert!(!verdict("sloppy; acks=n4,n5,n6; guests=n4:n1,n5:n2,n6:n3; wanted=3; of=5"));
        assert!(!verdict("sloppy; acks=n1,n4,n5; guests=n4:n2,n5:n2; wanted=3; of=5"), "one vote");
        assert!(!verdict("sloppy; acks=n1,n4,n5; guests=n4:n1,n5:n2; wanted=3; of=5"), "one vote");
    }

    #[test]
    fn every_write_counts_and_none_proves_nothing() {
        let zero = Instant::now();
        let write = |answer: Result<Receipt, String>| Write {
            node: 1,
            name: "a".to_owned(),
            started: zero,
            took: Duration::ZERO,
            answer,
        };
        let demand = |strict: bool| Demand {
            when: String::new(),
            node: 1,
            from: zero,
            to: zero + Duration::from_secs(1),
            strict,
        };
        let strict = write(Ok(receipt("strict; acks=n1")));
        let sloppy = write(Ok(receipt("sloppy; acks=n1")));
        let refused = write(Err("503".to_owned()));
        let holds = |is_strict: bool, writes: &[&Write]| {
            let writes: Vec<Write> = writes.iter().map(|write| (*write).clone()).collect();
            demand(is_strict).check(&writes).is_ok()
        };
        assert!(holds(true, &[&strict]) && holds(false, &[&sloppy]));
        assert!(!holds(true, &[&strict, &sloppy]));
        assert!(!holds(false, &[&strict, &refused]));
        assert!(!holds(false, &[]));
    }

    #[test]
    fn a_token_is_a_uuid_of_version_seven() {
        let token = token(&mut SmallRng::seed_from_u64(1));
        assert_eq!((token.len(), token.as_bytes()[14], token.as_bytes()[8]), (36, b'7', b'-'));
    }
}
