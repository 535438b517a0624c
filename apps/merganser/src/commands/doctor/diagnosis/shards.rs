//! Shards in which requests fail now, or will with the next loss.

use std::collections::BTreeMap;

use client::Status;
use model::{Electorate, Level, Name, NodeId, ReadOptions, WriteOptions};

use super::super::super::placed::Placed;
use super::super::finding::Finding;
use super::Said;

/// The most that any node says of each table and operation.
fn worst(said: &[(&str, &Said)], name: &str) -> BTreeMap<(String, String, String), f64> {
    let mut most = BTreeMap::new();
    for (labels, value) in said.iter().flat_map(|(_, said)| said.now.all(name)) {
        let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
        let worst: &mut f64 =
            most.entry((label("keyspace"), label("table"), label("operation"))).or_default();
        *worst = worst.max(value);
    }
    most.retain(|_, value| 0.0 < *value);
    most
}

/// Tables of which requests fail.
pub(super) fn lacking(said: &[(&str, &Said)]) -> impl Iterator<Item = Finding> {
    worst(said, "shards_lacking").into_iter().map(|((keyspace, table, operation), shards)| {
        let what = format!("{keyspace}/{table}: {operation}s at the default level fail in {shards} shards");
        let does = |(_, said): &(&str, &Said)| {
            one_does(&said.status, &keyspace, &table, &operation).unwrap_or_default()
        };
        let meanwhile = match said.iter().all(does) {
            true => format!("; until then {operation}s with --level ONE are answered in all shards"),
            false => String::new(),
        };
        Finding::critical("shards_lacking", what)
            .because("too few replicas are alive there, as /health/shards says".to_owned())
            .so(format!("bring the nodes back that are away{meanwhile}: merganser table explain {keyspace} {table}"))
    })
}

/// Tables of which requests fail with the next loss.
pub(super) fn fragile(said: &[(&str, &Said)]) -> impl Iterator<Item = Finding> {
    worst(said, "shards_fragile").into_iter().map(|((keyspace, table, operation), shards)| {
        let what = format!("{keyspace}/{table}: {operation}s survive no further loss in {shards} shards");
        Finding::warning("fragile", what)
            .because("there the loss of some one node ends them at the default level".to_owned())
            .so(format!("if no node is away, it is how the table is declared: merganser table explain {keyspace} {table}"))
    })
}

/// Whether requests at `ONE` are allowed and met in all shards, as one node sees who is alive.
/// Nothing if it does not tell enough.
fn one_does(status: &Status, keyspace: &str, table: &str, operation: &str) -> Option<bool> {
    let placed = Placed::new(status, keyspace).ok()?;
    let table = placed.table(status, table).ok()?;
    let asked = status.nodes.iter().find(|node| node.node == status.node)?;
    let here = Name::new(asked.region.as_deref()?).ok()?;
    let is_alive =
        |node: NodeId| status.nodes.iter().any(|one| one.node == node.number() && one.alive);
    let does = |index: u16| {
        let voters = placed.voters(index, &table);
        let electorate = Electorate { voters: &voters, table: &table };
        let one = Some(Level::One);
        match operation {
            "write" => electorate
                .write(WriteOptions { w: one, ..WriteOptions::default() }, &here)
                .is_ok_and(|need| need.acks.is_met(is_alive) && need.primaries.is_met(is_alive)),
            _ => electorate
                .read(ReadOptions { r: one, ..ReadOptions::default() }, &here)
                .is_ok_and(|need| need.answers.is_met(is_alive) && need.primaries.is_met(is_alive)),
        }
    };
    Some((0..placed.keyspace().shards).all(does))
}
