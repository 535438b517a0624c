//! What a repair of a cluster has found, pair by pair.

use std::collections::BTreeMap;

use client::{Differing, Repair, RepairMode, RepairPair};
use serde_json::json;

use crate::commands::error::{CliError, Exit};
use crate::commands::print;

/// The most pairs that are shown one by one. Programs are told of all.
const ROWS_MAX: usize = 50;

/// One shard at two nodes.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct At {
    pub(super) node: u16,
    pub(super) keyspace: String,
    pub(super) shard: u16,
    pub(super) with: u16,
}

/// What is known of all pairs.
#[derive(Debug)]
pub(super) struct Found {
    mode: RepairMode,
    pairs: BTreeMap<At, RepairPair>,
    /// The figures that pairs had when a repair was begun again.
    before: BTreeMap<At, RepairPair>,
    /// Two nodes neither of which was asked.
    uncovered: Vec<(u16, u16)>,
    /// What nodes were given up that had not told of any pair.
    given_up: Vec<String>,
    pub(super) is_cancelled: bool,
}

/// Whether a node does no more about it.
pub(super) fn is_final(pair: &RepairPair) -> bool {
    matches!(pair.state.as_str(), "proved" | "passed" | "compared" | "failed")
}

/// Whether it is as it should be.
fn is_well(pair: &RepairPair) -> bool {
    match pair.state.as_str() {
        "proved" | "passed" => true,
        "compared" => pair.differences == 0,
        _ => false,
    }
}

impl Found {
    pub(super) fn new(mode: RepairMode, uncovered: Vec<(u16, u16)>) -> Self {
        let (pairs, before) = (BTreeMap::new(), BTreeMap::new());
        Self { mode, pairs, before, uncovered, given_up: Vec::new(), is_cancelled: false }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    pub(super) fn pairs(&self) -> impl Iterator<Item = (&At, &RepairPair)> {
        self.pairs.iter()
    }

    /// The pairs of one node.
    pub(super) fn of(&self, node: u16) -> impl Iterator<Item = (&At, &RepairPair)> {
        self.pairs.iter().filter(move |(at, _)| at.node == node)
    }

    /// The first pair that is under way.
    pub(super) fn current(&self) -> Option<(&At, &RepairPair)> {
        let active = |state: &str| matches!(state, "reading" | "comparing");
        let mut open = self.pairs.iter().filter(|(_, pair)| !is_final(pair));
        let first = open.clone().find(|(_, pair)| active(&pair.state));
        first.or_else(|| open.next())
    }

    pub(super) fn differences(&self) -> u64 {
        self.pairs.values().map(|pair| pair.differences).sum()
    }

    /// A repair is begun at a node. What was counted before is kept.
    pub(super) fn begin(&mut self) {
        self.before.clone_from(&self.pairs);
    }

    /// A node has told of its repair.
    pub(super) fn hear(&mut self, node: u16, job: Repair) {
        for mut pair in job.pairs {
            let (keyspace, shard, with) = (pair.keyspace.clone(), pair.shard, pair.with);
            let at = At { node, keyspace, shard, with };
            if let Some(before) = self.before.get(&at) {
                // It was proved before, and another pair of its shard was not.
                let is_done = is_well(before);
                pair.differences += before.differences;
                pair.brought += before.brought;
                pair.sent += before.sent;
                pair.bytes += before.bytes;
                if is_done && !is_well(&pair) {
                    continue;
                }
            }
            self.pairs.insert(at, pair);
        }
    }

    /// A node does no more.
    pub(super) fn give_up(&mut self, node: u16, with: &[u16], why: &str) {
        let open = self.pairs.iter_mut().filter(|(at, pair)| at.node == node && !is_final(pair));
        for (_, pair) in open {
            pair.state = "failed".to_owned();
            pair.why = Some("given_up".to_owned());
            pair.detail = Some(why.to_owned());
        }
        if self.of(node).next().is_none() {
            let others: Vec<String> = with.iter().map(|other| format!("n{other}")).collect();
            self.given_up.push(format!("n{node} with {}: {why}", others.join(", ")));
        }
    }

    /// Prints it.
    pub(super) fn print(&self, as_json: bool) -> Result<(), CliError> {
        if as_json {
            return print::json(&self.json());
        }
        if !self.pairs.is_empty() {
            print::line(self.sums())?;
        }
        let noted: Vec<_> =
            self.pairs.iter().filter(|(_, pair)| !is_well(pair) || pair.differences != 0).collect();
        if !noted.is_empty() {
            print::line(rows(&noted))?;
        }
        if ROWS_MAX < noted.len() {
            print::line(format_args!("and {} more, which --json shows", noted.len() - ROWS_MAX))?;
        }
        for (a, b) in &self.uncovered {
            eprintln!(
                "n{a} and n{b} were not compared: neither was named with --node and answered"
            );
        }
        self.given_up.iter().for_each(|what| eprintln!("{what}"));
        Ok(())
    }

    /// One row for each two nodes.
    fn sums(&self) -> comfy_table::Table {
        let mut all: BTreeMap<(u16, u16), [u64; 6]> = BTreeMap::new();
        for (at, pair) in &self.pairs {
            let sum = all.entry((at.node, at.with)).or_default();
            let news = [
                1,
                u64::from(is_well(pair)),
                pair.differences,
                pair.brought,
                pair.sent,
                pair.bytes,
            ];
            sum.iter_mut().zip(news).for_each(|(sum, news)| *sum += news);
        }
        let proved = if self.mode == RepairMode::Preview { "equal" } else { "proved equal" };
        let mut table =
            print::table(&["nodes", "shards", proved, "differed", "brought", "sent", "bytes"]);
        for ((node, with), [shards, proved, differed, brought, sent, bytes]) in all {
            table.add_row([
                format!("n{node} n{with}"),
                shards.to_string(),
                proved.to_string(),
                differed.to_string(),
                brought.to_string(),
                sent.to_string(),
                print::size(usize::try_from(bytes).unwrap_or(usize::MAX)),
            ]);
        }
        table
    }

    fn is_proved(&self) -> bool {
        let is_all = self.uncovered.is_empty() && self.given_up.is_empty() && !self.is_cancelled;
        is_all && self.pairs.values().all(is_well)
    }

    fn json(&self) -> serde_json::Value {
        let pair = |(at, pair): (&At, &RepairPair)| {
            let mut value = json!(pair);
            if let Some(object) = value.as_object_mut() {
                object.insert("node".to_owned(), at.node.into());
            }
            value
        };
        let uncovered: Vec<_> = self.uncovered.iter().map(|(a, b)| json!([a, b])).collect();
        json!({
            "proved": self.is_proved(),
            "cancelled": self.is_cancelled,
            "pairs": self.pairs.iter().map(pair).collect::<Vec<_>>(),
            "not_compared": uncovered,
            "given_up": self.given_up,
        })
    }

    /// Whether everything was proved, and what to do if not.
    ///
    /// # Errors
    ///
    /// It was not.
    pub(super) fn verdict(&self) -> Result<(), CliError> {
        if self.is_proved() {
            return Ok(());
        }
        let brought = "what was brought stays, and nothing else was changed";
        if self.is_cancelled {
            return Err(CliError::failed("the repair was cancelled").remains(brought).remedy(
                "the same command again begins anew; --incremental passes over what was proven",
            ));
        }
        let open = self.pairs.values().filter(|pair| !is_well(pair)).count();
        let is_compared = self.pairs.values().all(|pair| is_well(pair) || pair.state == "compared");
        if self.mode == RepairMode::Preview && is_compared && self.uncovered.is_empty() {
            let text = format!(
                "{} keys differ, in {open} of {} pairs",
                self.differences(),
                self.pairs.len()
            );
            return Err(CliError::new(Exit::Failed, text)
                .remains("nothing was changed")
                .remedy("run it without --preview"));
        }
        let of = self.pairs.len();
        if open == 0 && self.given_up.is_empty() && !self.uncovered.is_empty() {
            let text = "all that was compared is equal, and not everything was compared".to_owned();
            return Err(CliError::new(Exit::Failed, text)
                .remains(brought)
                .remedy("name all nodes with --node, or one of each two that are told above"));
        }
        let text = match self.mode {
            RepairMode::Preview => format!(
                "{open} of {of} pairs differ or were not compared to the end; {} keys differ",
                self.differences()
            ),
            RepairMode::Full | RepairMode::Incremental(_) => {
                format!("{open} of {of} pairs were not proved equal")
            }
        };
        Err(CliError::new(Exit::Failed, text)
            .remains(brought)
            .remedy("see with `merganser status` who is away, and why each pair was given up above; then run it again with --incremental"))
    }
}

fn rows(noted: &[(&At, &RepairPair)]) -> comfy_table::Table {
    let mut table =
        print::table(&["shard", "nodes", "state", "differed", "brought", "sent", "remarks"]);
    for (At { node, keyspace, shard, with }, pair) in noted.iter().take(ROWS_MAX) {
        let first: Vec<String> = pair.differing.iter().take(3).map(in_words).collect();
        let remarks = match &pair.detail {
            Some(detail) => detail.clone(),
            None if first.is_empty() => String::new(),
            None => format!("as {}", first.join(", ")),
        };
        table.add_row([
            format!("{keyspace}/{shard}"),
            format!("n{node} n{with}"),
            pair.state.clone(),
            pair.differences.to_string(),
            pair.brought.to_string(),
            pair.sent.to_string(),
            remarks,
        ]);
    }
    table
}

fn in_words(differing: &Differing) -> String {
    let Differing { table, key, key_base64, sort, sort_base64 } = differing;
    let text = |text: &Option<String>, base64: &Option<String>| match (text, base64) {
        (Some(text), _) => Some(print::preview(text.as_bytes())),
        (None, Some(base64)) => Some(format!("{base64} (base64)")),
        (None, None) => None,
    };
    let sort = text(sort, sort_base64).map(|sort| format!(" {sort}")).unwrap_or_default();
    format!("{table}/{}{sort}", text(key, key_base64).unwrap_or_default())
}

#[cfg(test)]
mod tests;
