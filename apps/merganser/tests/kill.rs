//! `kill -9` under load, again and again: nothing that was acknowledged may be lost, and
//! nothing that was overwritten may come back.
//!
//! Writers overwrite keys of their own, each with the context of its last acknowledged write,
//! and remember the dot of each write that was acknowledged. After every few rounds all keys
//! are read at a quorum. What a key may then hold:
//!
//! | write | may be there |
//! | --- | --- |
//! | acknowledged, and the last of its key | must be, unless a later write of unknown outcome replaced it |
//! | acknowledged, and overwritten since | never again |
//! | of unknown outcome | perhaps |
//!
//! `KILL_ROUNDS` says how many rounds; the default is short enough for every day.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should stop"
)]

mod common;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Answer, Cluster, eventually, signal, try_request};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Writers, each with keys of its own.
const WRITERS: u64 = 4;

/// Keys of one writer. Few, so that each is overwritten often.
const KEYS: u64 = 25;

/// Rounds between two looks at all keys.
const ROUNDS_PER_CHECK: u64 = 10;

/// What the writer of a key knows about it.
#[derive(Clone, Debug, Default)]
struct Expected {
    /// The context to write with: that of the last acknowledged write.
    context: Option<String>,
    /// Dots of all acknowledged writes. The last of them is to be found.
    acknowledged: Vec<String>,
    /// Writes of unknown outcome since the last acknowledged one.
    unknown_since: u64,
    /// Writes of unknown outcome in all.
    unknown: u64,
}

type Oracle = Arc<Mutex<BTreeMap<String, Expected>>>;

#[test]
fn no_acknowledged_write_is_lost_to_kill_9() {
    let rounds: u64 = std::env::var("KILL_ROUNDS").map_or(10, |text| text.parse().unwrap());
    let seed: u64 =
        std::env::var("KILL_SEED").map_or_else(|_| rand::random(), |text| text.parse().unwrap());
    println!("KILL_ROUNDS={rounds} KILL_SEED={seed}");
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut cluster = Cluster::start_with_table(3);
    let oracle = Oracle::default();
    let (mut kills, mut checks) = (0, 0);
    for round in (0..rounds).step_by(usize::try_from(ROUNDS_PER_CHECK).unwrap()) {
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let nodes = [1, 2, 3].map(|node| cluster.address(node));
                let (oracle, stop) = (Arc::clone(&oracle), Arc::clone(&stop));
                let seed = rng.random();
                std::thread::spawn(move || write(writer, &nodes, &oracle, &stop, seed))
            })
            .collect();
        for _ in round..rounds.min(round + ROUNDS_PER_CHECK) {
            pause(&mut rng);
            kills += kill_some(&mut cluster, &mut rng);
        }
        stop.store(true, Ordering::Relaxed);
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        for node in 1..=3 {
            cluster.wait_for_alive(node, 3);
        }
        checks += check(&cluster, &oracle);
    }
    let expected = oracle.lock().unwrap();
    let acknowledged: usize = expected.values().map(|key| key.acknowledged.len()).sum();
    let unknown: u64 = expected.values().map(|key| key.unknown).sum();
    println!(
        "{rounds} rounds, {kills} kills, {acknowledged} acknowledged writes, {unknown} of unknown \
         outcome, {checks} keys checked: nothing lost, nothing came back"
    );
    assert!(rounds < u64::try_from(acknowledged).unwrap(), "there was hardly any load");
}

/// One round: one node, or all of them at once, and the same nodes back again.
fn kill_some(cluster: &mut Cluster, rng: &mut SmallRng) -> u64 {
    let nodes: Vec<u16> =
        if rng.random_bool(0.2) { vec![1, 2, 3] } else { vec![rng.random_range(1..=3)] };
    let pids: Vec<u32> = nodes.iter().map(|node| cluster.pid(*node)).collect();
    // All of them first: a cluster that loses power does not lose it one by one.
    pids.iter().for_each(|pid| signal("-KILL", *pid));
    nodes.iter().for_each(|node| cluster.bury(*node));
    if nodes.len() == 1 {
        pause(rng);
    }
    nodes.iter().for_each(|node| cluster.restart(*node));
    u64::try_from(nodes.len()).unwrap()
}

fn pause(rng: &mut SmallRng) {
    std::thread::sleep(Duration::from_millis(rng.random_range(20..200)));
}

/// Overwrites keys of one writer until it is told to stop.
fn write(writer: u64, nodes: &[String; 3], oracle: &Oracle, stop: &AtomicBool, seed: u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    while !stop.load(Ordering::Relaxed) {
        let key = format!("w{writer}-{}", rng.random_range(0..KEYS));
        let node = &nodes[rng.random_range(0..3)];
        let path = format!("/v1/kv/demo/notes/{key}?timeout=2000");
        let context = oracle.lock().unwrap().entry(key.clone()).or_default().context.clone();
        let headers: Vec<(&str, &str)> =
            context.iter().map(|context| ("Merganser-Context", context.as_str())).collect();
        let answer = try_request(
            node,
            "PUT",
            &path,
            &headers,
            format!("{:x}", rng.random::<u64>()).as_bytes(),
        );
        let mut oracle = oracle.lock().unwrap();
        let expected = oracle.get_mut(&key).unwrap();
        match answer {
            Ok(answer) if answer.status == 204 => {
                expected.acknowledged.push(dot(&answer));
                expected.context = answer.header("merganser-context").map(String::from);
                expected.unknown_since = 0;
            }
            // Not attempted: nothing was changed.
            Ok(answer) if answer.status == 503 => {}
            Err(err) if err.kind() == ErrorKind::ConnectionRefused => {}
            Ok(answer) if answer.status == 504 => expected.unknown(),
            Ok(answer) => panic!("{path}: {} {}", answer.status, answer.text()),
            Err(_) => expected.unknown(),
        }
    }
}

impl Expected {
    fn unknown(&mut self) {
        self.unknown_since += 1;
        self.unknown += 1;
    }
}

/// The dot in a receipt: `...; dot=INCARNATION:SEQ`.
fn dot(answer: &Answer) -> String {
    let receipt = answer.header("merganser-receipt").unwrap();
    receipt.split("dot=").nth(1).unwrap().to_owned()
}

/// Reads every key at a quorum and compares.
fn check(cluster: &Cluster, oracle: &Oracle) -> u64 {
    let oracle = oracle.lock().unwrap();
    for (index, (key, expected)) in oracle.iter().enumerate() {
        let Some((last, overwritten)) = expected.acknowledged.split_last() else { continue };
        let node = u16::try_from(index % 3).unwrap() + 1;
        let path = format!("/v1/kv/demo/notes/{key}?receipt=full");
        let mut answer = cluster.get(node, &path);
        eventually("the read is answered", || {
            answer = cluster.get(node, &path);
            answer.status != 503
        });
        let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        let values = json["values"].as_array().unwrap_or_else(|| panic!("{key}: {json}"));
        let dots: Vec<&str> = values.iter().map(|value| value["dot"].as_str().unwrap()).collect();
        let replaced = 0 < expected.unknown_since && !dots.is_empty();
        assert!(dots.contains(&last.as_str()) || replaced, "LOST {key} {last}: {dots:?}");
        for dot in &dots {
            assert!(!overwritten.iter().any(|old| old == dot), "CAME BACK {key} {dot}: {dots:?}");
        }
        let most = 1 + expected.unknown;
        assert!(u64::try_from(dots.len()).unwrap() <= most, "{key}: {dots:?}, at most {most}");
    }
    u64::try_from(oracle.len()).unwrap()
}
