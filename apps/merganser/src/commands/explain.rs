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

use client::{KeyspaceInfo, Status, TableInfo};
use model::{
    Electorate, Holder, Keyspace, KeyspaceId, Level, Name, Need, NodeId, Policy, Refusal, Region,
    ReplicaMap, ShardId, Spread, Table, TableId, Voter, Voting,
};
use placement::{Layout, Member, Placement};
use serde_json::json;

use super::error::CliError;
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
        let layout = layout(status)?;
        let found = status.keyspaces.iter().find(|found| found.name == keyspace);
        let keyspace_info = found.ok_or_else(|| CliError::failed("there is no such keyspace"))?;
        let mut tables = status.tables.iter();
        let table =
            tables.find(|found| found.keyspace == keyspace_info.name && found.name == table);
        let table = table.ok_or_else(|| CliError::failed("there is no such table"))?;
        let keyspace = keyspace_of(keyspace_info).ok_or_else(unreadable)?;
        let table = table_of(&keyspace, table).ok_or_else(unreadable)?;
        let placement = Placement::new(&layout, &keyspace);
        let placement = placement.map_err(|few| CliError::failed(few.to_string()))?;
        let mut report = Self {
            shards: keyspace.shards,
            sloppy: keyspace.sloppy,
            owed: status.hints.iter().map(|hints| hints.count).sum(),
            ..Self::default()
        };
        for index in 0..keyspace.shards {
            let replicas = placement.replicas(ShardId { keyspace: keyspace.id, index });
            let votes = |voter: Voter| Voter { votes: table.voting.votes_of(&voter), ..voter };
            let voters: Vec<Voter> = layout.voters(replicas).into_iter().map(votes).collect();
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
            None => {
                "Every read at the table's level sees every write that was acknowledged at the \
                table's level before it began."
            }
            Some(why) => why,
        })?;
        for (what, sets) in [
            (
                "A write can be acknowledged by these alone, and is lost with all their disks:",
                &self.lost_with,
            ),
            ("Writes are refused while all of these are away:", &self.no_writes_without),
            ("Reads are refused while all of these are away:", &self.no_reads_without),
        ] {
            print::line(format_args!("\n{what}"))?;
            self.show_sets(sets)?;
        }
        print::line(format_args!("\n{}", self.sloppiness()))?;
        print::line(CLOCKS)
    }

    /// Whether others may stand in for replicas, and what that leaves of what is said above.
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
             they are, and what is said above of refusals is so only of requests that ask for \
             replicas themselves (`pw`, `pr`, `min=strict`). A strict answer still has as many \
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

pub(super) fn unreadable() -> CliError {
    CliError::failed("the node tells of a contract that this program does not understand")
}

pub(super) fn layout(status: &Status) -> Result<Layout, CliError> {
    let member = |node: &client::NodeState| {
        let place = node.region.as_deref().zip(node.zone.as_deref());
        let (region, zone) = place?;
        let member = Member { region: Name::new(region).ok()?, zone: Name::new(zone).ok()? };
        Some((NodeId::new(node.node), member))
    };
    let members = status.nodes.iter().map(member).collect::<Option<_>>();
    let members = members.ok_or_else(|| {
        CliError::failed("the node does not tell where nodes are; it is older than this program")
    })?;
    Ok(Layout { version: 1, members })
}

pub(super) fn keyspace_of(info: &KeyspaceInfo) -> Option<Keyspace> {
    let replicas = info.replicas.iter().map(|(region, n)| Some((Name::new(region).ok()?, *n)));
    Some(Keyspace {
        id: KeyspaceId::new(info.id.parse().ok()?),
        name: Name::new(&info.name).ok()?,
        shards: info.shards,
        replicas: replicas.collect::<Option<ReplicaMap>>()?,
        sloppy: info.sloppy,
    })
}

pub(super) fn table_of(keyspace: &Keyspace, info: &TableInfo) -> Option<Table> {
    let votes = info.votes.iter().map(|(who, votes)| Some((Holder::parse(who)?, *votes)));
    let weakest = |level: &Option<String>| match level {
        None => Some(None),
        Some(level) => Level::parse(level).map(Some),
    };
    Some(Table {
        id: TableId::new(info.id.parse().ok()?),
        keyspace: keyspace.id,
        name: Name::new(&info.name).ok()?,
        policy: Policy::parse(&info.policy)?,
        durability: model::Durability::parse(&info.durability)?,
        read: Level::parse(&info.read)?,
        write: Level::parse(&info.write)?,
        voting: Voting {
            votes: votes.collect::<Option<_>>()?,
            spread: Spread { nodes: info.min_nodes, zones: info.min_zones },
            weakest_read: weakest(&info.weakest_read)?,
            weakest_write: weakest(&info.weakest_write)?,
            may_miss: info.may_miss,
        },
    })
}

#[cfg(test)]
mod tests {
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
    fn levels_that_can_miss_each_other_are_said_to() {
        let report = Report::new(&status("{}", "ONE", "QUORUM"), "ks", "t").unwrap();
        assert!(report.misses.unwrap().contains("a read at the table's level can miss a write"));
        assert_eq!(sets(&report.no_reads_without), ["n1 n2 n3 in 4"]);
        assert_eq!(sets(&report.no_writes_without).len(), 3);
    }
}
