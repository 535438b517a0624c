//! Going from node to node, until each pair is proved or given up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use client::{Client, Error, Repairs, StartRepair};

use super::found::{At, Found, is_final};
use super::progress::Progress;
use super::{endpoints, nobody};
use crate::commands::error::CliError;

/// How often a node is asked how far it is.
const POLL: Duration = Duration::from_millis(300);

/// After how long a node is asked for the first time: most of what is small is done then.
const POLL_FIRST: Duration = Duration::from_millis(50);

/// A node that answered, and what it is to do.
struct Node {
    number: u16,
    client: Client,
    /// The others whose pairs with it are its to do.
    with: Vec<u16>,
    /// How many pairs that makes.
    pairs: u64,
}

/// How the repair of one node ended.
enum End {
    /// Everything is proved, or was given up by the node.
    Done,
    /// The node went away and did not come back, or does not do it.
    GivenUp(String),
    /// Somebody pressed Ctrl-C.
    Cancelled,
}

/// Repairs everything that is asked for, at all nodes.
///
/// # Errors
///
/// If no node answers, or what is asked for does not exist. Nothing was begun then.
pub(super) async fn all(
    client: &Client,
    start: StartRepair,
    patience: Duration,
) -> Result<Found, CliError> {
    let (nodes, uncovered) = nodes(client, &start).await?;
    let mut found = Found::new(start.mode, uncovered);
    let progress = Progress::new(nodes.iter().map(|node| node.pairs).sum());
    for node in &nodes {
        progress.at(node.number);
        let asked = StartRepair { with: node.with.clone(), ..start.clone() };
        match (Drive { node, asked, patience, progress: &progress }).all(&mut found).await? {
            End::Done => {}
            End::GivenUp(why) => found.give_up(node.number, &node.with, &why),
            End::Cancelled => {
                found.is_cancelled = true;
                break;
            }
        }
    }
    progress.finish();
    Ok(found)
}

/// Who does what, and which pairs nobody can do: those of two that are not named, or are away.
async fn nodes(
    client: &Client,
    start: &StartRepair,
) -> Result<(Vec<Node>, Vec<(u16, u16)>), CliError> {
    let (mut there, mut known) = (BTreeMap::new(), BTreeSet::new());
    for (url, client) in endpoints(client) {
        match (client.status().await, client.repairs().await) {
            (Ok(status), Ok(repairs)) => {
                known.extend(status.nodes.iter().map(|node| node.node));
                let is_alone = status.suspect.iter().any(|suspect| suspect.waits_for.is_empty());
                there.insert(status.node, (client, repairs, is_alone));
            }
            (Err(error), _) | (_, Err(error)) => {
                eprintln!("{url} does not answer, and is compared by the others: {error}");
            }
        }
    }
    if there.is_empty() {
        return Err(nobody());
    }
    let unnamed: Vec<u16> =
        known.iter().copied().filter(|node| !there.contains_key(node)).collect();
    let pairs_of = |repairs: &Repairs, with: &[u16]| {
        let is_meant = |proof: &&client::Proof| {
            with.contains(&proof.with)
                && start.keyspace.as_ref().is_none_or(|keyspace| *keyspace == proof.keyspace)
                && (start.shards.is_empty() || start.shards.contains(&proof.shard))
        };
        repairs.proofs.iter().filter(is_meant).count() as u64
    };
    let node = |(number, (client, repairs, is_alone)): (u16, (Client, Repairs, bool))| {
        let is_ours =
            |other: &u16| *other != number && (number < *other || unnamed.contains(other));
        let mut with: Vec<u16> = known.iter().copied().filter(is_ours).collect();
        if with.is_empty() && is_alone {
            // It has no pair to do, and shards that nobody else can make whole.
            with.push(number);
        }
        let pairs = pairs_of(&repairs, &with);
        Node { number, client, with, pairs }
    };
    let nodes = there.into_iter().map(node).filter(|node| !node.with.is_empty()).collect();
    let others = |at: usize| unnamed.get(at + 1..).unwrap_or_default();
    let uncovered = unnamed.iter().enumerate();
    let uncovered = uncovered.flat_map(|(at, a)| others(at).iter().map(|b| (*a, *b))).collect();
    Ok((nodes, uncovered))
}

/// The repair at one node.
struct Drive<'a> {
    node: &'a Node,
    asked: StartRepair,
    patience: Duration,
    progress: &'a Progress,
}

impl Drive<'_> {
    /// Begins it, and begins it again where the node has forgotten it, with what is left.
    async fn all(&self, found: &mut Found) -> Result<End, CliError> {
        let mut todo = vec![self.asked.clone()];
        let mut begun = false;
        while let Some(part) = todo.pop() {
            let id: u64 = rand::random();
            let part = StartRepair { id: Some(id), ..part };
            let ended = tokio::select! {
                ended = self.part(&part, found) => ended,
                _ = tokio::signal::ctrl_c() => {
                    // If nobody hears of it, it goes on to its end, and harms nobody.
                    let _ = self.node.client.cancel_repair(Some(id)).await;
                    return Ok(End::Cancelled);
                }
            };
            match ended {
                Ok(Part::Ended) => {}
                Ok(Part::Forgotten) => {
                    eprintln!(
                        "n{} was started anew; what was not proved is begun again",
                        self.node.number
                    );
                    todo.extend(found.left(self.node.number, &part));
                }
                Ok(Part::Away(why)) => return Ok(End::GivenUp(why)),
                // What was never begun anywhere is an answer to the whole command.
                Err(error) if !begun && found.is_empty() => return Err(error.into()),
                Err(error) => return Ok(End::GivenUp(error.to_string())),
            }
            begun = true;
        }
        Ok(End::Done)
    }

    /// Does one part, as long as the node remembers it.
    ///
    /// # Errors
    ///
    /// The node refuses it.
    async fn part(&self, part: &StartRepair, found: &mut Found) -> Result<Part, Error> {
        let (mut heard, mut is_begun, mut pause) = (Instant::now(), false, POLL_FIRST);
        let id = format!("{:016x}", part.id.unwrap_or_default());
        found.begin();
        loop {
            let answer = match is_begun {
                false => self.node.client.start_repair(part).await,
                true => self.node.client.repairs().await,
            };
            match answer {
                Ok(repairs) => {
                    (heard, is_begun) = (Instant::now(), true);
                    let Some(job) = repairs.job.filter(|job| job.id == id) else {
                        return Ok(Part::Forgotten);
                    };
                    let is_over = job.state != "running";
                    let is_cancelled = job.state == "cancelled";
                    found.hear(self.node.number, job);
                    self.progress.show(found);
                    match (is_over, is_cancelled) {
                        (true, true) => return Ok(Part::Away("somebody has cancelled it".into())),
                        (true, false) => return Ok(Part::Ended),
                        (false, _) => {}
                    }
                }
                Err(error @ Error::Refused(_)) => return Err(error),
                Err(error) if self.patience <= heard.elapsed() => {
                    return Ok(Part::Away(format!(
                        "n{} does not answer: {error}",
                        self.node.number
                    )));
                }
                Err(_) => self.progress.wait_for(self.node.number),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(POLL);
        }
    }
}

/// How a part of the repair at a node ended.
enum Part {
    /// The node says of each pair how.
    Ended,
    /// The node knows nothing of it any more.
    Forgotten,
    /// The node is away for too long, or somebody else has ended it.
    Away(String),
}

impl Found {
    /// What is left to be done at a node of what was asked for: once for each keyspace.
    fn left(&self, node: u16, part: &StartRepair) -> Vec<StartRepair> {
        let mut left: BTreeMap<String, BTreeSet<u16>> = BTreeMap::new();
        for (At { keyspace, shard, .. }, pair) in self.of(node) {
            let is_meant = part.keyspace.as_ref().is_none_or(|meant| meant == keyspace);
            if is_meant && (!is_final(pair) || pair.state == "failed") {
                left.entry(keyspace.clone()).or_default().insert(*shard);
            }
        }
        if self.of(node).next().is_none() {
            return vec![part.clone()];
        }
        let part = |(keyspace, shards): (String, BTreeSet<u16>)| StartRepair {
            keyspace: Some(keyspace),
            shards: shards.into_iter().collect(),
            ..part.clone()
        };
        left.into_iter().map(part).collect()
    }
}
