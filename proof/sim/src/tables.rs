//! The tables of a world, declared as its plan says, as far as that can be.
//!
//! A plan is drawn, and altered by tests, before anybody knows where the replicas of a shard
//! will be. Votes, minima and guardrails that make no sense there are left out. What is left
//! must be accepted; and whether reads and writes may miss each other is counted here in
//! another way than in the node, which has to come to the same.

use model::{
    Declare, Declared, Failure, Holder, Keyspace, NodeId, Policy, Refusal, Reply, Request,
    SiblingRules, Spread, Table, TableId, Voter, Voting,
};
use placement::{Layout, Placement};

use crate::invariant::Invariant;
use crate::levels::{Places, Poll};
use crate::report::Broken;
use crate::scenario::name;
use crate::swarm::{TablePlan, VotingPlan};
use crate::world::World;

impl World {
    /// Declares a table, and notes how its replicas are counted.
    pub(crate) fn declare_table(
        &mut self,
        index: usize,
        plan: &TablePlan,
        keyspace: &Keyspace,
        placement: &Placement,
        places: &mut Places,
    ) -> Result<Table, Broken> {
        let table = fit(&self.layout, index, plan, keyspace, placement);
        let meets = is_so(&self.layout, &table, placement, &|poll| poll.meets());
        let careful = Voting { may_miss: false, ..table.voting.clone() };
        let reply = self.ask_for(keyspace, &table, careful)?;
        let refused = matches!(reply, Reply::Failed(Failure::Refused(Refusal::MayMiss { .. })));
        let reply = match meets {
            false if refused => self.ask_for(keyspace, &table, table.voting.clone())?,
            true | false => reply,
        };
        match &reply {
            Reply::Declared(Declared::Table { table, .. }) if meets || refused => {
                for shard in 0..keyspace.shards {
                    let voters = voters(&self.layout, table, placement, shard);
                    places.voters.insert((table.id, shard), voters);
                }
                Ok(table.clone())
            }
            Reply::Declared(_)
            | Reply::Failed(_)
            | Reply::Written(_)
            | Reply::Read(_)
            | Reply::Listed(_)
            | Reply::Watched(_)
            | Reply::Recalled(_)
            | Reply::Explained(_)
            | Reply::Status(_)
            | Reply::Salvaged(_)
            | Reply::Repair(_) => {
                let detail = format!("{table:?}, which meets: {meets}, came to {reply:?}");
                Err(Broken::new(Invariant::ContractsStand, detail))
            }
        }
    }

    fn ask_for(
        &mut self,
        keyspace: &Keyspace,
        table: &Table,
        voting: Voting,
    ) -> Result<Reply, Broken> {
        let declare = Declare::Table {
            keyspace: keyspace.name.clone(),
            name: table.name.clone(),
            policy: table.policy,
            durability: table.durability,
            read: table.read,
            write: table.write,
            voting,
            siblings: table.siblings,
        };
        self.ask_and_wait(NodeId::new(2), Request::Declare(declare))
    }
}

/// The table of a plan, without what cannot be.
fn fit(
    layout: &Layout,
    index: usize,
    plan: &TablePlan,
    keyspace: &Keyspace,
    placement: &Placement,
) -> Table {
    let mut table = Table {
        id: TableId::new(0),
        keyspace: keyspace.id,
        name: name(&format!("table-{index}")),
        policy: Policy::Siblings,
        durability: plan.durability,
        read: plan.read,
        write: plan.write,
        voting: Voting { may_miss: true, ..Voting::default() },
        siblings: SiblingRules {
            require_context: plan.require_context,
            max: plan.siblings_max,
            ..SiblingRules::default()
        },
    };
    let VotingPlan { min_nodes, min_zones, guarded, .. } = plan.voting;
    let voting = table.voting.clone();
    let spread = Spread { nodes: min_nodes, zones: min_zones };
    let wanted = [
        Voting { votes: votes(layout, &plan.voting), ..voting.clone() },
        Voting { spread, ..voting.clone() },
        Voting {
            weakest_read: guarded.then_some(plan.read),
            weakest_write: guarded.then_some(plan.write),
            ..voting
        },
    ];
    for more in wanted {
        let before = table.voting.clone();
        let Voting { votes, spread, weakest_read, weakest_write, may_miss: _ } = more;
        table.voting.votes.extend(votes);
        table.voting.spread = table.voting.spread.or(spread);
        table.voting.weakest_read = weakest_read;
        table.voting.weakest_write = weakest_write;
        if !is_so(layout, &table, placement, &|poll| poll.is_sound()) {
            table.voting = before;
        }
    }
    table
}

fn votes(layout: &Layout, plan: &VotingPlan) -> model::Votes {
    let members = layout.members.iter();
    let zones = members.filter(|(node, _)| plan.zones && node.number() % 2 == 0);
    let zones =
        zones.map(|(_, member)| (Holder::Zone(member.region.clone(), member.zone.clone()), 2));
    let nodes = layout.members.keys().zip(&plan.votes);
    zones.chain(nodes.map(|(node, votes)| (Holder::Node(*node), *votes))).collect()
}

/// The replicas of one shard, as a table counts them.
fn voters(layout: &Layout, table: &Table, placement: &Placement, shard: u16) -> Vec<Voter> {
    let shard = model::ShardId { keyspace: table.keyspace, index: shard };
    let voter = |node: &NodeId| {
        let member = layout.members.get(node).expect("replicas are nodes of the layout");
        let (region, zone) = (member.region.clone(), member.zone.clone());
        let votes = &table.voting.votes;
        let of_node = votes.get(&Holder::Node(*node));
        let of_zone = votes.get(&Holder::Zone(region.clone(), zone.clone()));
        Voter { node: *node, region, zone, votes: *of_node.or(of_zone).unwrap_or(&1) }
    };
    placement.replicas(shard).iter().map(voter).collect()
}

/// Whether something holds for each shard of a table.
fn is_so(
    layout: &Layout,
    table: &Table,
    placement: &Placement,
    holds: &dyn Fn(Poll<'_>) -> bool,
) -> bool {
    let shards = u16::try_from(placement.lists().count()).unwrap_or(u16::MAX);
    (0..shards).all(|shard| {
        let voters = voters(layout, table, placement, shard);
        let first = voters.first().expect("every shard has a replica");
        holds(Poll { voters: &voters, table, here: &first.region, sloppy: false })
    })
}
