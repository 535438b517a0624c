//! What each replica holds by itself, of a keyspace all of whose nodes can be asked.
//!
//! A read at `ALL` shows what the replicas hold together, and repairs those that lack
//! something: it cannot tell whether they had it. A read at `ONE` is answered by the node that
//! was asked, alone, if it is a replica, and its receipt says so. So every node is asked for
//! every key, and the answers that are its own are what it holds.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use client::{Client, Key, Level, Options, ReadOptions};

use crate::outcome::Stop;
use crate::process::INTERRUPTED;

/// How often a key is asked for again that fewer nodes than replicas have answered themselves:
/// another one answered sooner.
const ATTEMPTS: usize = 8;

/// Waits until each replica by itself holds these elements, which are their own names, and
/// returns how long that took.
///
/// # Errors
///
/// Something is missing after so long, or is another.
pub fn wait_until_all_hold(
    nodes: &BTreeMap<u16, SocketAddr>,
    (table, replicas): (&str, usize),
    names: &[String],
    patience: Duration,
) -> Result<Duration, Stop> {
    let (begun, mut left) = (Instant::now(), names.to_vec());
    loop {
        let looked = Instant::now();
        left = lacking(nodes, (table, replicas), left)?;
        let Some(first) = left.first() else { return Ok(looked - begun) };
        let is_stopped = INTERRUPTED.load(std::sync::atomic::Ordering::Relaxed);
        if patience < begun.elapsed() || is_stopped {
            let (count, all) = (left.len(), names.len());
            return Err(Stop::Failed(format!(
                "{count} of {all} elements are not at all {replicas} replicas after \
                 {patience:?}; the first is {first}"
            )));
        }
    }
}

/// Those that some replica lacks.
fn lacking(
    nodes: &BTreeMap<u16, SocketAddr>,
    (table, replicas): (&str, usize),
    names: Vec<String>,
) -> Result<Vec<String>, Stop> {
    let mut holders: BTreeMap<String, BTreeSet<u16>> =
        names.into_iter().map(|name| (name, BTreeSet::new())).collect();
    for _ in 0..ATTEMPTS {
        let asked: Vec<String> = holders
            .iter()
            .filter(|(_, holders)| holders.len() < replicas)
            .map(|(name, _)| name.clone())
            .collect();
        if asked.is_empty() {
            break;
        }
        for (node, name) in held_by_each(nodes, table, &asked)? {
            holders.entry(name).or_default().insert(node);
        }
    }
    let lacks =
        |(name, holders): (String, BTreeSet<u16>)| (holders.len() < replicas).then_some(name);
    Ok(holders.into_iter().filter_map(lacks).collect())
}

/// Which of these each node holds as a replica.
fn held_by_each(
    nodes: &BTreeMap<u16, SocketAddr>,
    table: &str,
    names: &[String],
) -> Result<Vec<(u16, String)>, Stop> {
    let threads = nodes.iter().map(|(node, address)| {
        let (node, address, table, names) = (*node, *address, table.to_owned(), names.to_vec());
        std::thread::spawn(move || held_by(node, address, &table, &names))
    });
    let threads: Vec<_> = threads.collect();
    let mut all = Vec::new();
    for thread in threads {
        all.extend(thread.join().map_err(|_| Stop::failed("a reader panicked"))??);
    }
    Ok(all)
}

fn held_by(
    node: u16,
    address: SocketAddr,
    table: &str,
    names: &[String],
) -> Result<Vec<(u16, String)>, Stop> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let options = Options { timeout: Duration::from_secs(5), ..Options::default() };
    let client = Client::new(&[format!("http://{address}")], options).map_err(Stop::failed)?;
    let table = client.table(table, table);
    let one = ReadOptions { r: Some(Level::One), ..ReadOptions::default() };
    runtime.block_on(async {
        let mut held = Vec::new();
        for name in names {
            let answer = table.get(&Key::from(name.as_str()), &one).await;
            let answer = answer.map_err(|err| Stop::Failed(format!("{name} at n{node}: {err}")))?;
            if answer.receipt.is_none_or(|receipt| receipt.acks != [node]) {
                continue;
            }
            let values: Vec<_> = answer.values.iter().map(|value| value.text()).collect();
            match values.as_slice() {
                [] => {}
                [value] if **value == *name => held.push((node, name.clone())),
                other => return Err(Stop::Failed(format!("n{node} holds {other:?} as {name}"))),
            }
        }
        Ok(held)
    })
}
