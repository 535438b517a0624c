//! `merganser explain`: why a table, or a key, answers as it does.
//!
//! Of a table it says which failures it survives, as `merganser table explain` does. Of a key it
//! asks each replica on its own, and shows side by side who holds what, who lacks what, whom a
//! read would ask now, and what that read therefore shows and does not show. Values have
//! letters here: their dots are long, and what matters is which are the same.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use client::{Explanation, Holding, Key, Options, Status};
use model::{Electorate, Level, Name, NodeId, ReadOptions, Region, Table, Voter, WriteOptions};
use serde_json::json;

use super::connect::{Connect, block_on};
use super::error::CliError;
use super::explain::Report;
use super::placed::{Placed, unreadable};
use super::print;

/// Tell what a table survives, or what each replica holds of a key and why reads show what they
/// show.
#[derive(Debug, clap::Args)]
pub(crate) struct Explain {
    /// The keyspace.
    keyspace: String,
    /// The table.
    table: String,
    /// A partition key: what each replica holds of it is shown, and nothing is changed.
    #[arg(long, value_name = "KEY")]
    key: Option<OsString>,
    /// Its sort key.
    #[arg(long, value_name = "SORT", requires = "key")]
    sort: Option<OsString>,
    #[command(flatten)]
    connect: Connect,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Explain {
    /// Does it.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let client = self.connect.client(Options::default())?;
        let Some(key) = self.key else {
            let status = block_on(async { Ok(client.status().await?) })?;
            return Report::new(&status, &self.keyspace, &self.table)?.print(self.json);
        };
        let key = Key::with_sort(key.into_vec(), self.sort.unwrap_or_default().into_vec());
        let table = client.table(&self.keyspace, &self.table);
        let told = block_on(async { Ok((table.explain(&key).await?, client.status().await?)) });
        let (explanation, status) = told?;
        let shard = Shard::new(&status, &self.keyspace, &self.table, &explanation)?;
        let told = Told { key, explanation, status, shard };
        if self.json { print::json(&told.json()) } else { told.show() }
    }
}

/// What the contract says of one shard, and who is there now.
#[derive(Debug)]
struct Shard {
    voters: Vec<Voter>,
    table: Table,
    /// The region of the node that was asked.
    here: Region,
    sloppy: bool,
    alive: Vec<NodeId>,
}

/// How many more of the replicas may be lost until a level is refused. Nothing if it is now.
type Survives = Option<usize>;

impl Shard {
    fn new(
        status: &Status,
        keyspace: &str,
        table: &str,
        explanation: &Explanation,
    ) -> Result<Self, CliError> {
        let placed = Placed::new(status, keyspace)?;
        let table = placed.table(status, table)?;
        let index = explanation.shard.rsplit('/').next().and_then(|index| index.parse().ok());
        let voters = placed.voters(index.ok_or_else(unreadable)?, &table);
        let asked = status.nodes.iter().find(|node| node.node == status.node);
        let here = asked.and_then(|node| Name::new(node.region.as_deref()?).ok());
        let alive = status.nodes.iter().filter(|node| node.alive);
        Ok(Self {
            voters,
            table,
            here: here.ok_or_else(unreadable)?,
            sloppy: placed.keyspace().sloppy,
            alive: alive.map(|node| NodeId::new(node.node)).collect(),
        })
    }

    /// What each level that the table may be asked with survives: for reads and for writes.
    fn levels(&self) -> Vec<(Level, Option<Survives>, Option<Survives>)> {
        let electorate = Electorate { voters: &self.voters, table: &self.table };
        let of = |level: Level| {
            let (r, w) = (Some(level), Some(level));
            let read = electorate.read(ReadOptions { r, ..ReadOptions::default() }, &self.here);
            let write = electorate.write(WriteOptions { w, ..WriteOptions::default() }, &self.here);
            let read = read.ok().map(|need| {
                self.survives(|nodes| {
                    need.answers.is_met(|node| nodes.contains(&node))
                        && need.primaries.is_met(|node| nodes.contains(&node))
                })
            });
            let write = write.ok().map(|need| {
                self.survives(|nodes| {
                    need.acks.is_met(|node| nodes.contains(&node))
                        && need.primaries.is_met(|node| nodes.contains(&node))
                })
            });
            (level, read, write)
        };
        let all = [
            Level::One,
            Level::Two,
            Level::Three,
            Level::Quorum,
            Level::All,
            Level::LocalQuorum,
            Level::EachQuorum,
        ];
        all.into_iter().map(of).collect()
    }

    /// How many of the live replicas may be lost, whichever they are.
    fn survives(&self, is_met: impl Fn(&[NodeId]) -> bool) -> Survives {
        let live = self.voters.iter().map(|voter| voter.node);
        let live: Vec<NodeId> = live.filter(|node| self.alive.contains(node)).collect();
        if !is_met(&live) {
            return None;
        }
        let sets = subsets(&live);
        let worst = sets.iter().filter(|left| !is_met(left)).map(Vec::len).max();
        // The largest set that is not enough is one loss too far.
        Some(worst.map_or(live.len(), |left| live.len() - left - 1))
    }
}

fn subsets(nodes: &[NodeId]) -> Vec<Vec<NodeId>> {
    let mut all = vec![Vec::new()];
    for node in nodes {
        let with = |set: &Vec<NodeId>| set.iter().copied().chain([*node]).collect();
        let more: Vec<Vec<NodeId>> = all.iter().map(with).collect();
        all.extend(more);
    }
    all
}

/// Everything that was told of a key.
#[derive(Debug)]
struct Told {
    key: Key,
    explanation: Explanation,
    status: Status,
    shard: Shard,
}

impl Told {
    fn json(&self) -> serde_json::Value {
        let survives = |survives: Option<Survives>| match survives {
            None => json!({ "possible": false, "survives": null }),
            Some(None) => json!({ "possible": true, "survives": null }),
            Some(Some(count)) => json!({ "possible": true, "survives": count }),
        };
        let level = |(level, read, write): (Level, Option<Survives>, Option<Survives>)| json!({ "level": level.to_string(), "read": survives(read), "write": survives(write) });
        let levels: Vec<_> = self.shard.levels().into_iter().map(level).collect();
        json!({
            "key": self.key.to_string(),
            "sloppy": self.shard.sloppy,
            "asked": self.status.node,
            "holds": self.explanation,
            "levels": levels,
            "reasons": self.reasons(),
        })
    }

    fn show(&self) -> Result<(), CliError> {
        let Explanation { shard, replicas, guests, .. } = &self.explanation;
        print::line(format_args!("{} is in shard {shard}.\n", self.key))?;
        let mut table = print::table(&[
            "node",
            "is",
            "holds",
            "lacks",
            "superseded",
            "has heard of",
            "on disk",
            "tokens",
        ]);
        for holding in replicas {
            table.add_row(self.row(holding, "replica"));
        }
        let keeps = |guest: &&Holding| !guest.answered || guest.heard_of != 0;
        for holding in guests.iter().filter(keeps) {
            table.add_row(self.row(holding, "guest"));
        }
        print::line(table)?;
        self.show_versions()?;
        self.show_levels()?;
        print::line("\nWhat a read at the table's level shows now, and why:")?;
        self.reasons().iter().try_for_each(|reason| print::line(format_args!("- {reason}")))
    }

    fn row(&self, holding: &Holding, role: &str) -> [String; 8] {
        let node = format!("n{}", holding.node);
        let state = self.status.nodes.iter().find(|state| state.node == holding.node);
        let is_alive = state.is_some_and(|state| state.alive);
        if !holding.answered {
            let why = if is_alive { "does not answer" } else { "away" };
            let unknown = || "?".to_owned();
            let is = format!("{role}, {why}");
            return [node, is, unknown(), unknown(), unknown(), unknown(), unknown(), unknown()];
        }
        let on_disk = if holding.on_disk { "yes" } else { "not yet" };
        [
            node,
            role.to_owned(),
            self.letters(&holding.values),
            self.letters(&holding.lacks),
            self.letters(&holding.superseded),
            holding.heard_of.to_string(),
            on_disk.to_owned(),
            holding.tokens.to_string(),
        ]
    }

    fn show_versions(&self) -> Result<(), CliError> {
        if self.explanation.values.is_empty() {
            return print::line("\nNobody who answered holds a value.");
        }
        let mut table = print::table(&["value", "written as", "size", "type", "at", "current"]);
        for version in &self.explanation.values {
            let at: Vec<String> = version.held_by.iter().map(|node| format!("n{node}")).collect();
            table.add_row([
                self.letters(std::slice::from_ref(&version.dot)),
                version.dot.clone(),
                print::size(version.bytes),
                version.content_type.clone(),
                at.join(" "),
                if version.current { "yes" } else { "superseded" }.to_owned(),
            ]);
        }
        print::line("")?;
        print::line(table)
    }

    fn show_levels(&self) -> Result<(), CliError> {
        let mut table = print::table(&["level", "reads survive", "writes survive"]);
        let words = |survives: Option<Survives>| match survives {
            None => "cannot be asked for".to_owned(),
            Some(None) if self.shard.sloppy => "needs guests now".to_owned(),
            Some(None) => "refused now".to_owned(),
            Some(Some(1)) => "1 more loss".to_owned(),
            Some(Some(count)) => format!("{count} more losses"),
        };
        for (level, read, write) in self.shard.levels() {
            table.add_row([level.to_string(), words(read), words(write)]);
        }
        print::line("")?;
        print::line(table)?;
        if !self.shard.sloppy {
            return Ok(());
        }
        print::line(
            "Replicas only. With guests, reads and writes go on while as many nodes are alive as \
             the level asks for.",
        )
    }

    /// Why a read gives what it gives, in sentences.
    fn reasons(&self) -> Vec<String> {
        let Explanation { read, replicas, guests, values, .. } = &self.explanation;
        let mut reasons = Vec::new();
        if read.asks.is_empty() {
            reasons.push(format!(
                "A read at {} would not be attempted: too few replicas are alive.",
                self.shard.table.read
            ));
        } else {
            let asks: Vec<String> = read.asks.iter().map(|node| format!("n{node}")).collect();
            let shows = match read.shows.as_slice() {
                [] => "nothing".to_owned(),
                shows => self.letters(shows),
            };
            reasons.push(format!(
                "A read at {} asks {} and shows {shows}; such an answer is {}.",
                self.shard.table.read,
                asks.join(" "),
                read.kind
            ));
        }
        if !read.misses.is_empty() {
            let missed = self.letters(&read.misses);
            reasons.push(format!("It misses {missed}, which others hold."));
        }
        if !read.outdated.is_empty() {
            let outdated = self.letters(&read.outdated);
            reasons.push(format!("It shows {outdated}, which somebody has overwritten."));
        }
        reasons.extend(replicas.iter().filter_map(|holding| self.behind(holding, values.len())));
        for guest in guests.iter().filter(|guest| !guest.values.is_empty()) {
            let (node, kept) = (guest.node, self.letters(&guest.values));
            reasons.push(format!("n{node} is a guest and keeps {kept} for replicas."));
        }
        let is_alike = |holding: &Holding| holding.answered && holding.equal;
        if replicas.iter().all(is_alike) {
            reasons.push("All replicas hold the same.".to_owned());
        }
        reasons
    }

    /// How far a replica is behind, and who brings it up to date.
    fn behind(&self, holding: &Holding, versions: usize) -> Option<String> {
        let node = holding.node;
        if !holding.answered {
            return Some(format!("n{node} did not say what it holds: it may hold more."));
        }
        if holding.equal {
            return None;
        }
        let lag = self.status.nodes.iter().find(|state| state.node == node)?.lag;
        let owed = match lag {
            Some(lag) if 0 < lag.needs_repair => "the log does not reach back so far: a read of \
                the key brings it up to date, and `merganser repair` all of the shard"
                .to_owned(),
            Some(lag) if 0 < lag.ahead => {
                format!("the exchange owes it {} writes of its shards", lag.ahead)
            }
            Some(_) | None => "the exchange brings it up to date within a second or two".to_owned(),
        };
        let held = holding.values.iter().filter(|dot| !self.is_current(dot)).count();
        let what = match (holding.lacks.len(), held) {
            (0, 0) => "knows less of what was superseded".to_owned(),
            (0, held) => format!("still holds {held} superseded of {versions} values"),
            (lacks, 0) => format!("lacks {lacks} of {versions} values"),
            (lacks, held) => {
                format!("lacks {lacks} of {versions} values and still holds {held} superseded")
            }
        };
        Some(format!("n{node} {what}; {owed}."))
    }

    fn is_current(&self, dot: &str) -> bool {
        self.explanation.values.iter().any(|version| version.dot == dot && version.current)
    }

    /// Dots as letters, or numbers beyond the alphabet.
    fn letters(&self, dots: &[String]) -> String {
        let numbers: BTreeMap<&str, usize> = (0..)
            .zip(&self.explanation.values)
            .map(|(index, version)| (version.dot.as_str(), index))
            .collect();
        let letter = |dot: &String| match numbers.get(dot.as_str()) {
            Some(index) if *index < 26 => {
                char::from(b'A' + u8::try_from(*index).unwrap_or_default()).to_string()
            }
            Some(index) => format!("V{index}"),
            None => dot.clone(),
        };
        match dots {
            [] => "-".to_owned(),
            dots => dots.iter().map(letter).collect::<Vec<_>>().join(" "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told() -> Told {
        let node = |node: u16, alive: bool| {
            json!({"node": node, "alive": alive, "region": "eu",
            "zone": "a"})
        };
        let status = json!({"node": 1, "incarnation": "0a", "uptime_seconds": 1.0, "version": "0",
            "nodes": [node(1, true), node(2, true), node(3, false)], "catalog_version": 2,
            "keyspaces": [{"name": "ks", "id": 1, "shards": 4, "replicas": {"eu": 3}, "n": 3}],
            "tables": [{"name": "t", "id": 2, "keyspace": "ks", "policy": "siblings",
                "durability": "synced", "read": "QUORUM", "write": "QUORUM"}],
            "requests": 0, "read_repairs": 0});
        let holding = |node: u16, answered: bool, values: &[&str], lacks: &[&str]| {
            json!({"node": node, "answered": answered, "on_disk": true, "equal": lacks.is_empty(),
                "values": values, "lacks": lacks, "superseded": [], "heard_of": 2, "tokens": 0})
        };
        let version = |dot: &str| {
            json!({"dot": dot, "bytes": 3, "content_type": "text/plain",
            "held_by": [1], "current": true})
        };
        let explanation = json!({"shard": "ks1/3", "guests": [],
            "replicas": [holding(1, true, &["a:1", "b:1"], &[]), holding(2, true, &["a:1"], &["b:1"]),
                holding(3, false, &[], &[])],
            "values": [version("a:1"), version("b:1")],
            "read": {"asks": [1, 2], "kind": "strict", "shows": ["a:1", "b:1"], "misses": [],
                "outdated": []}});
        let status: Status = serde_json::from_value(status).unwrap();
        let explanation: Explanation = serde_json::from_value(explanation).unwrap();
        let shard = Shard::new(&status, "ks", "t", &explanation).unwrap();
        Told { key: Key::from("k"), explanation, status, shard }
    }

    #[test]
    fn what_a_read_shows_and_who_is_behind_is_said_in_sentences() {
        assert_eq!(
            told().reasons(),
            [
                "A read at QUORUM asks n1 n2 and shows A B; such an answer is strict.",
                "n2 lacks 1 of 2 values; the exchange brings it up to date within a second or two.",
                "n3 did not say what it holds: it may hold more.",
            ]
        );
    }

    #[test]
    fn with_one_of_three_away_a_quorum_survives_nothing_more_and_one_survives_one() {
        let levels = told().shard.levels();
        let of = |wanted: Level| {
            let found = levels.iter().find(|(level, ..)| *level == wanted);
            found.map(|(_, read, write)| (*read, *write))
        };
        assert_eq!(of(Level::One), Some((Some(Some(1)), Some(Some(1)))));
        assert_eq!(of(Level::Quorum), Some((Some(Some(0)), Some(Some(0)))));
        assert_eq!(of(Level::All), Some((Some(None), Some(None))));
    }
}
