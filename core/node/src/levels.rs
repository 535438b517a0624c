//! Levels at this node: what a request waits for, whether it is worth attempting, and what
//! to say of those that answered.

use std::collections::BTreeSet;

use model::{
    Ack, Electorate, Failure, Holder, Kind, Need, NodeId, Now, ReadOptions, Receipt, Refusal,
    ShardId, Table, Voter,
};
use mutant::{Mutant, is};
use placement::Layout;

use crate::{Contracts, Node, Site};

impl Node {
    /// Whom a read waits for, if it can be attempted.
    pub(crate) fn read_need(
        &self,
        site: &Site,
        options: ReadOptions,
        now: Now,
    ) -> Result<Need, Failure> {
        let need = site.electorate().read(options, &self.here)?;
        self.attempt(site, &[&need], now)?;
        Ok(need)
    }

    /// Refuses a request that the live replicas could not answer.
    pub(crate) fn attempt(&self, site: &Site, needs: &[&Need], now: Now) -> Result<(), Failure> {
        let is_alive = |node: NodeId| self.membership.is_alive(node, now);
        let Some(unmet) = needs.iter().find(|need| !need.is_met(is_alive)) else { return Ok(()) };
        let alive = site.replicas.iter().filter(|node| is_alive(**node)).count();
        let wanted = needs.iter().map(|need| need.least()).max().unwrap_or_default();
        let lacks = unmet.lacking(is_alive);
        Err(Failure::NotAttempted { wanted, alive: small(alive), replicas: site.n, lacks })
    }
}

impl Site {
    pub(crate) fn read_receipt(&self, nodes: &[NodeId], need: &Need) -> Receipt {
        let kind = match is(Mutant::StrictAlways) {
            true => Kind::Strict,
            false => self.electorate().read_kind(nodes),
        };
        Receipt {
            kind,
            dot: None,
            shard: self.shard,
            acks: nodes.iter().map(|node| Ack { node: *node, durable: false }).collect(),
            wanted: need.least(),
            replicas: self.n,
        }
    }

    /// What to say when too few have answered a read: that they are too few, or that they
    /// are enough for the level and less than was demanded.
    pub(crate) fn read_failure(&self, nodes: &[NodeId], need: &Need) -> Failure {
        let receipt = self.read_receipt(nodes, need);
        let has = |node: NodeId| nodes.contains(&node);
        if need.is_met_alone(has) {
            return Failure::Weaker { receipt };
        }
        let (wanted, got) = (need.least(), small(nodes.len()));
        let lacks = need.lacking(has);
        if is(Mutant::ReadTakenForWrite) {
            return Failure::Unknown { wanted, got, receipt: Some(receipt), lacks };
        }
        Failure::TooFewAnswers { wanted, got, receipt, lacks }
    }
}

fn small(count: usize) -> u8 {
    u8::try_from(count).unwrap_or(u8::MAX)
}

/// Whether a table can be kept as it is declared: whoever is given votes exists, and in
/// each shard its levels are in range and meet.
pub(crate) fn check(layout: &Layout, contracts: &Contracts, table: &Table) -> Result<(), Refusal> {
    for holder in table.voting.votes.keys() {
        let exists = match holder {
            Holder::Node(node) => layout.members.contains_key(node),
            Holder::Zone(region, zone) => layout
                .members
                .values()
                .any(|member| (&member.region, &member.zone) == (region, zone)),
        };
        if !exists {
            let text = format!("{holder} is given votes, and there is no such node or zone");
            return Err(Refusal::Contract(text));
        }
    }
    // Shards whose replicas are alike are checked once: it is the same answer.
    let mut seen = BTreeSet::new();
    for index in 0..contracts.shards(table.keyspace) {
        let voters = contracts.voters(ShardId { keyspace: table.keyspace, index }, table);
        let place = |voter: &Voter| (voter.region.clone(), voter.zone.clone(), voter.votes);
        let mut places: Vec<_> = voters.iter().map(place).collect();
        places.sort_unstable();
        if seen.insert(places) {
            Electorate { voters: &voters, table }.check()?;
        }
    }
    Ok(())
}
