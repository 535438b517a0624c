//! `merganser table explain`: what a table's levels are worth on the nodes there are.
//!
//! Votes, minima and regions make it hard to see what can go wrong: with two votes each of
//! five, two nodes acknowledge a write alone, and take it along if both are lost. So each
//! shard is looked at with its replicas where they are, and all sets of nodes are tried:
//!
//! - *lost with*: nodes that can acknowledge a write alone. With all their disks it is gone,
//!   unless others had heard of it meanwhile.
//! - *refused without*: nodes without which a request at the table's level cannot be met.
//!
//! It is worked out here and not in the cluster, from the state that a node tells.

use std::collections::BTreeMap;

use client::Status;
use model::{Electorate, Level, Name, Need, NodeId, Refusal, Region, Table, Voter, Voting};
use serde_json::json;

use super::error::CliError;
use super::placed::Placed;
use super::print;

/// How many sets of nodes are shown for people. The smallest come first.
const SHOWN_MAX: usize = 8;

/// What wall clocks decide.
const CLOCKS: &str = "Clocks: the order of writes, what supersedes what, and what an answer is \
    worth depend on no clock. The wall clock decides only how long an idempotency key is taken.";

/// Sets of nodes, and in how many shards each matters. A set with a region is about requests
/// to nodes of that region.
type Sets = BTreeMap<Asked, u16>;

/// Where a request is asked, if that matters, and a set of nodes.
type Asked = (Option<Region>, Vec<NodeId>);

/// What a table's levels are worth.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Report {
    shards: u16,
    /// Whether guests may stand in for replicas.
    sloppy: bool,
    /// How many objects the node that was asked keeps for others.
    owed: u64,
    /// Why reads may miss writes, or writes each other; nothing if they cannot.
    misses: Option<String>,
    lost_with: Sets,
    no_writes_without: Sets,
    no_reads_without: Sets,
}

impl Report {
    /// Looks at every shard of a table.
    pub(crate) fn new(status: &Status, keyspace: &str, table: &str) -> Result<Self, CliError> {
        let placed = Placed::new(status, keyspace)?;
        let table = placed.table(status, table)?;
        let keyspace = placed.keyspace();
        let mut report = Self {
            shards: keyspace.shards,
            sloppy: keyspace.sloppy,
            owed: status.hints.iter().map(|hints| hints.count).sum(),
            ..Self::default()
        };
        for index in 0..keyspace.shards {
            let voters = placed.voters(index, &table);
            report.add(Electorate { voters: &voters, table: &table }).map_err(|refusal| {
                CliError::failed(format!("the table's levels make no sense: {refusal}"))
            })?;
        }
        Ok(report)
    }

    fn add(&mut self, electorate: Electorate<'_>) -> Result<(), Refusal> {
        let Electorate { voters, table } = electorate;
        let (reads, writes) = (electorate.reads()?, electorate.writes()?);
        let careful = Voting { may_miss: false, ..table.voting.clone() };
        let careful = Table { voting: careful, ..table.clone() };
        if let Err(refusal) = (Electorate { voters, table: &careful }).check() {
            self.misses.get_or_insert_with(|| refusal.to_string());
        }
        count(&mut self.lost_with, Level::All, &writes, voters, |need| need.quorums(voters));
        let blockers = |need: &Need| need.blockers(voters);
        count(&mut self.no_writes_without, table.write, &writes, voters, blockers);
        count(&mut self.no_reads_without, table.read, &reads, voters, blockers);
        Ok(())
    }

    /// For people, or as JSON.
    pub(crate) fn print(&self, as_json: bool) -> Result<(), CliError> {
        if as_json { print::json(&self.json()) } else { self.show() }
    }

    /// For people.
    fn show(&self) -> Result<(), CliError> {
        print::line(match &self.misses {
            None if self.sloppy => {
                "Every read at the table's level sees every write that was acknowledged at the \
                table's level before it began, where guests had no part in either."
            }
            None => {
                "Every read at the table's level sees every write that was acknowledged at the \
                table's level before it began."
            }
            Some(why) => why,
        })?;
        let refused = |what: &str| match self.sloppy {
            true => format!("{what} need guests while all of these are away:"),
            false => format!("{what} are refused while all of these are away:"),
        };
        let (no_writes, no_reads) = (refused("Writes"), refused("Reads"));
        for (what, sets) in [
            (
                "A write can be acknowledged by these alone, and is lost with all their disks:",
                &self.lost_with,
            ),
            (no_writes.as_str(), &self.no_writes_without),
            (no_reads.as_str(), &self.no_reads_without),
        ] {
            print::line(format_args!("\n{what}"))?;
            self.show_sets(sets)?;
        }
        print::line(format_args!("\n{}", self.sloppiness()))?;
        print::line(CLOCKS)
    }

    /// Whether others may stand in for replicas, and what that does.
    fn sloppiness(&self) -> String {
        if !self.sloppy {
            return "Strict: nobody stands in for replicas that are away.".to_owned();
        }
        let owed = match self.owed {
            0 => "The node that was asked keeps nothing for others now.".to_owned(),
            count => format!(
                "The node that was asked keeps {count} objects for replicas that were away: \
                 `merganser hints status`."
            ),
        };
        format!(
            "Sloppy: writes go on while as many nodes are alive as the level asks for, whoever \
             they are. Requests that ask for replicas themselves (`pw`, `pr`, `min=strict`) are \
             refused where guests would be needed. A strict answer still has as many \
             replicas as the level asks for; one that needed guests says `sloppy` or `any`, and \
             reads meet such a write for sure when it was handed over. {owed}"
        )
    }

    fn show_sets(&self, sets: &Sets) -> Result<(), CliError> {
        let mut shown = print::table(&["nodes", "shards", "asked in"]);
        let order = in_order(sets);
        for ((region, nodes), shards) in order.iter().take(SHOWN_MAX) {
            let region = region.as_ref().map_or("any region", Region::as_str);
            let shards = format!("{shards} of {}", self.shards);
            shown.add_row([names(nodes), shards, region.to_owned()]);
        }
        print::line(shown)?;
        let more = order.len().saturating_sub(SHOWN_MAX);
        if more == 0 {
            return Ok(());
        }
        print::line(format_args!("and {more} other sets, none of them smaller (--json shows all)"))
    }

    /// For programs.
    pub(crate) fn json(&self) -> serde_json::Value {
        let sets = |sets: &Sets| -> Vec<serde_json::Value> {
            let set = |((region, nodes), shards): &(&Asked, &u16)| {
                let nodes: Vec<u16> = nodes.iter().map(|node| node.number()).collect();
                json!({ "nodes": nodes, "shards": shards, "region": region.as_ref().map(Name::as_str) })
            };
            in_order(sets).iter().map(set).collect()
        };
        json!({
            "shards": self.shards,
            "sloppy": self.sloppy,
            "hints_here": self.owed,
            "clocks": "retry_window",
            "misses": self.misses,
            "lost_with": sets(&self.lost_with),
            "no_writes_without": sets(&self.no_writes_without),
            "no_reads_without": sets(&self.no_reads_without),
        })
    }
}

/// The smallest first, and of these the ones that matter in most shards.
fn in_order(sets: &Sets) -> Vec<(&Asked, &u16)> {
    let mut order: Vec<_> = sets.iter().collect();
    order.sort_by_key(|((_, nodes), shards)| (nodes.len(), u16::MAX - **shards));
    order
}

fn names(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(" ")
}

/// Counts one shard. A local level has a need for each region.
fn count(
    sets: &mut Sets,
    level: Level,
    needs: &[Need],
    voters: &[Voter],
    found: impl Fn(&Need) -> Vec<Vec<NodeId>>,
) {
    let mut regions: Vec<&Region> = voters.iter().map(|voter| &voter.region).collect();
    regions.sort_unstable();
    regions.dedup();
    let mut seen = std::collections::BTreeSet::new();
    for (index, need) in needs.iter().enumerate() {
        let region =
            regions.get(index).filter(|_| level.is_local()).map(|region| (*region).clone());
        for mut nodes in found(need) {
            nodes.sort_unstable();
            if seen.insert((region.clone(), nodes.clone())) {
                *sets.entry((region.clone(), nodes)).or_default() += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::error::Exit;
    use super::*;

    fn status(votes: &str, read: &str, write: &str) -> Status {
        let node = |node: u16, zone: &str| json!({"node": node, "alive": true, "region": "eu", "zone": zone});
        let table = json!({"name": "t", "id": 2, "keyspace": "ks", "policy": "siblings",
            "durability": "synced", "read": read, "write": write,
            "votes": serde_json::from_str::<serde_json::Value>(votes).unwrap()});
        let keyspace = json!({"name": "ks", "id": 1, "shards": 4, "replicas": {"eu": 3}, "n": 3});
        let status = json!({"node": 1, "incarnation": "0a", "uptime_seconds": 1.0, "version": "0",
            "nodes": [node(1, "a"), node(2, "a"), node(3, "b")], "catalog_version": 2,
            "keyspaces": [keyspace], "tables": [table], "requests": 0, "read_repairs": 0});
        serde_json::from_value(status).unwrap()
    }

    fn sets(sets: &Sets) -> Vec<String> {
        in_order(sets)
            .iter()
            .map(|((_, nodes), shards)| format!("{} in {shards}", names(nodes)))
            .collect()
    }

    #[test]
    fn two_heavy_nodes_can_take_a_write_along() {
        let heavy = status(r#"{"n1": 2, "n2": 2}"#, "2", "4");
        let report = Report::new(&heavy, "ks", "t").unwrap();
        assert_eq!(sets(&report.lost_with), ["n1 n2 in 4"]);
        assert_eq!(sets(&report.no_writes_without), ["n1 in 4", "n2 in 4"]);
        assert_eq!(sets(&report.no_reads_without), ["n1 n2 in 4"]);
        assert_eq!(report.misses, None);
    }

    #[test]
    fn an_unknown_keyspace_or_table_names_those_that_there_are_and_ends_as_not_found() {
        let status = status("{}", "ONE", "ONE");
        for (keyspace, table, expected) in [
            ("sk", "t", "no keyspace \"sk\"; there are: ks\n"),
            ("ks", "u", "no table \"u\" in the keyspace \"ks\"; there are: t\n"),
        ] {
            let refused = Report::new(&status, keyspace, table).unwrap_err();
            assert_eq!(refused.exit, Exit::NotFound);
            let said = refused.to_string();
            assert!(said.contains(expected) && said.contains("what to do: create it"), "{said}");
        }
    }

    #[test]
    fn levels_that_can_miss_each_other_are_said_to() {
        let report = Report::new(&status("{}", "ONE", "QUORUM"), "ks", "t").unwrap();
        assert!(report.misses.unwrap().contains("a read at the table's level can miss a write"));
        assert_eq!(sets(&report.no_reads_without), ["n1 n2 n3 in 4"]);
        assert_eq!(sets(&report.no_writes_without).len(), 3);
    }
}
