//! What tables can do at this moment, as this node sees it.
//!
//! "Three of five nodes are up" says nothing about whether writes go through: that depends on
//! which shards had replicas at the other two, on votes and on the tables' levels. So each
//! shard of each table is asked the very question that a request asks: whether the live
//! replicas can meet the default level, with guests where they may stand in, and whether they
//! still could without any one of them.

use std::collections::BTreeSet;

use model::{Ability, NodeId, Now, ReadOptions, ShardId, Table, TableHealth, WriteOptions};

use crate::Node;

impl Node {
    /// What each table can do now. Looks at each shard, so it is nothing for each request.
    pub fn health(&self, now: Now) -> Vec<TableHealth> {
        let catalog = self.in_force();
        let tables = catalog.tables.values();
        tables.filter_map(|table| self.table_health(table, now)).collect()
    }

    fn table_health(&self, table: &Table, now: Now) -> Option<TableHealth> {
        let keyspaces = self.in_force().keyspaces.values();
        let keyspace = keyspaces.into_iter().find(|keyspace| keyspace.id == table.keyspace)?;
        let mut health = TableHealth {
            keyspace: keyspace.name.clone(),
            table: table.name.clone(),
            shards: keyspace.shards,
            reads: Ability::default(),
            writes: Ability::default(),
            missing: BTreeSet::new(),
        };
        for index in 0..keyspace.shards {
            let site = self.site(keyspace, table, ShardId { keyspace: keyspace.id, index });
            let live = |node| self.serves(node, now);
            let (electorate, here) = (site.electorate(), &self.here);
            let read = electorate.read(ReadOptions::default(), here).ok();
            let write = electorate.write(WriteOptions::default(), here).ok();
            let reads = read.is_some_and(|need| {
                let guests = self.stood_in_for(&site, &[&need.answers], now);
                let anybody = |node: NodeId| live(node) || guests.contains(&node);
                add(&mut health.reads, &site.replicas, anybody, |has| {
                    need.answers.is_met(has)
                        && need.primaries.is_met(|node| live(node) && has(node))
                })
            });
            let writes = write.is_some_and(|need| {
                let anybody = [&need.acks, &need.disks];
                let guests = self.stood_in_for(&site, &anybody, now);
                let may = |node: NodeId| live(node) || guests.contains(&node);
                add(&mut health.writes, &site.replicas, may, |has| {
                    anybody.iter().all(|need| need.is_met(has))
                        && need.primaries.is_met(|node| live(node) && has(node))
                })
            });
            if !reads || !writes {
                health.missing.extend(site.replicas.iter().filter(|node| !live(**node)));
            }
        }
        Some(health)
    }
}

/// Counts one shard. Returns whether it can be done there.
fn add(
    ability: &mut Ability,
    replicas: &[NodeId],
    may_answer: impl Fn(NodeId) -> bool,
    is_met: impl Fn(&dyn Fn(NodeId) -> bool) -> bool,
) -> bool {
    if !is_met(&may_answer) {
        return false;
    }
    ability.shards += 1;
    let ends = |lost: &NodeId| !is_met(&|node| node != *lost && may_answer(node));
    ability.fragile += u16::from(replicas.iter().filter(|node| may_answer(**node)).any(ends));
    true
}
