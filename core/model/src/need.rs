//! What an operation waits for, and whether two operations must meet.
//!
//! A level names a number, but the number alone does not say whose answers count: those of
//! one region, of each region, of nodes with several votes, of nodes in different zones. A
//! [`Need`] says it as a list of demands, each a sum over groups of nodes:
//!
//! ```text
//! QUORUM of 5                  n1 n2 n3 n4 n5               1 each   at least 3
//! EACH_QUORUM, two regions     n1 n2 n3   and   n4 n5       1 each   at least 2, and 2
//! n1 has two votes of four     n1 n2 n3                     2 1 1    at least 3
//! two zones                    {n1 n2} {n3}                 1 each   at least 2
//! ```
//!
//! Two operations *meet* if no set of nodes satisfies the one while the rest satisfies the
//! other. An operation can also wait until it meets others for sure, whoever may answer
//! them: then the nodes that have not answered must not be enough for any of those.
//!
//! More answers never make a need unmet. That is all that the state machines of requests
//! rely on, and what makes meeting decidable: there are at most 2^15 sets, so they are all
//! tried, once, when a table is declared.
//!
//! Source: Gifford, "Weighted Voting for Replicated Data" (SOSP 1979).

mod request;
mod sets;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use mutant::{Mutant, is};

use crate::{NodeId, Region, Zone};

pub use request::{ReadNeed, WriteNeed, has_replica, has_vote};

/// The most replicas that a shard has. All sets of so many are tried in a millisecond.
pub const REPLICAS_MAX: usize = 15;

/// The most votes of one replica. All votes of a shard together fit into a byte.
pub const VOTES_MAX: u8 = 15;

/// One replica of a shard as levels count it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Voter {
    /// Which.
    pub node: NodeId,
    /// Its site.
    pub region: Region,
    /// Its failure domain within the site.
    pub zone: Zone,
    /// How much its answer counts, at most [`VOTES_MAX`].
    pub votes: u8,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Unit {
    Replicas,
    Votes,
    Zones,
}

/// One node in a sum. Of a group one node is as good as all.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Member {
    node: NodeId,
    group: u8,
    weight: u8,
}

/// So much must have answered.
///
/// Invariant: the members of a group stand side by side, and have one weight.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Demand {
    members: Vec<Member>,
    at_least: u16,
    unit: Unit,
    /// The region that is meant, if not all are.
    within: Option<Region>,
}

/// What an operation waits for. The empty need is met by nothing at all.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Need {
    demands: Vec<Demand>,
    /// What others wait for that this operation must meet, each a need by itself.
    opposites: Vec<Vec<Demand>>,
}

impl Demand {
    /// The sum over the groups of which somebody has answered.
    fn sum(&self, has: &impl Fn(NodeId) -> bool) -> u16 {
        let (mut sum, mut counted) = (0, None);
        for member in &self.members {
            let again = counted == Some(member.group);
            if (!again || self.counts_each()) && has(member.node) {
                sum += u16::from(member.weight) * self.times();
                counted = Some(member.group);
            }
        }
        sum
    }

    /// Whether every node of a zone counts: never, but in a test of the tests.
    fn counts_each(&self) -> bool {
        self.unit == Unit::Zones && is(Mutant::ZoneCountedTwice)
    }

    /// How often a weight counts: once, but in a test of the tests.
    fn times(&self) -> u16 {
        if self.unit == Unit::Votes && is(Mutant::VoteCountedTwice) { 2 } else { 1 }
    }

    fn is_met(&self, has: &impl Fn(NodeId) -> bool) -> bool {
        self.at_least <= self.sum(has)
    }

    /// Whether an answer of `node` would add to the sum.
    fn gains(&self, node: NodeId, has: &impl Fn(NodeId) -> bool) -> bool {
        let of = |member: &&Member| member.node == node && 0 < member.weight;
        let Some(group) = self.members.iter().find(of).map(|member| member.group) else {
            return false;
        };
        !self.members.iter().any(|member| member.group == group && has(member.node))
    }

    fn weights(&self) -> impl Iterator<Item = u16> + '_ {
        self.members
            .chunk_by(|a, b| a.group == b.group)
            .filter_map(|group| group.first().map(|member| u16::from(member.weight)))
    }

    /// How many nodes it takes at the least, if the heaviest answer.
    fn least(&self) -> u8 {
        if self.unit == Unit::Replicas {
            return u8::try_from(self.at_least).unwrap_or(u8::MAX);
        }
        let mut weights: Vec<u16> = self.weights().collect();
        weights.sort_unstable_by(|a, b| b.cmp(a));
        let (mut sum, mut least) = (0, 0);
        for weight in weights {
            if self.at_least <= sum {
                break;
            }
            sum += weight;
            least += 1;
        }
        least
    }

    /// How many nodes must have answered, at the least, so that the others are too few for
    /// this demand.
    fn least_against(&self) -> u8 {
        let mut weights: Vec<u16> = self.weights().collect();
        weights.sort_unstable_by(|a, b| b.cmp(a));
        let (mut left, mut least) = (weights.iter().sum::<u16>(), 0);
        for weight in weights {
            if left < self.at_least {
                break;
            }
            left -= weight;
            least += 1;
        }
        least
    }

    fn is_apart_from(&self, nodes: &[NodeId]) -> bool {
        !self.members.iter().any(|member| nodes.contains(&member.node))
    }
}

fn all_met(demands: &[Demand], has: &impl Fn(NodeId) -> bool) -> bool {
    demands.iter().all(|demand| demand.is_met(has))
}

impl Need {
    fn demand(mut self, members: Vec<Member>, at_least: u16, unit: Unit) -> Self {
        self.demands.push(Demand { members, at_least, unit, within: None });
        self
    }

    /// Also waits for so many votes of these voters.
    #[must_use]
    pub fn and_votes<'a>(self, voters: impl IntoIterator<Item = &'a Voter>, at_least: u16) -> Self {
        let member =
            |(group, voter): (u8, &Voter)| Member { node: voter.node, group, weight: voter.votes };
        let members: Vec<Member> = (0..).zip(voters).map(member).collect();
        let is_plain = members.iter().all(|member| member.weight == 1);
        self.demand(members, at_least, if is_plain { Unit::Replicas } else { Unit::Votes })
    }

    /// Also waits for so many different nodes, whatever their votes.
    #[must_use]
    pub fn and_nodes<'a>(self, voters: impl IntoIterator<Item = &'a Voter>, at_least: u16) -> Self {
        let member = |(group, voter): (u8, &Voter)| Member { node: voter.node, group, weight: 1 };
        let members = (0..).zip(voters).map(member).collect();
        self.demand(members, at_least, Unit::Replicas)
    }

    /// Also waits for nodes in so many different zones. Zones of two regions are different
    /// ones, whatever their names.
    #[must_use]
    pub fn and_zones<'a>(self, voters: impl IntoIterator<Item = &'a Voter>, at_least: u16) -> Self {
        let mut zones: BTreeMap<(&Region, &Zone), Vec<NodeId>> = BTreeMap::new();
        for voter in voters {
            zones.entry((&voter.region, &voter.zone)).or_default().push(voter.node);
        }
        let members = (0..).zip(zones.into_values()).flat_map(|(group, nodes): (u8, _)| {
            nodes.into_iter().map(move |node| Member { node, group, weight: 1 })
        });
        let members = members.collect();
        self.demand(members, at_least, Unit::Zones)
    }

    /// Says of the demand that was added last that it is about one region.
    #[must_use]
    pub fn within(mut self, region: &Region) -> Self {
        if let Some(demand) = self.demands.last_mut() {
            demand.within = Some(region.clone());
        }
        self
    }

    /// Also waits for what the other waits for.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.demands.extend(other.demands);
        self.opposites.extend(other.opposites);
        self
    }

    /// Also waits until every operation that waits for one of these is met for sure.
    #[must_use]
    pub fn and_meets(mut self, opposites: impl IntoIterator<Item = Self>) -> Self {
        self.opposites.extend(opposites.into_iter().map(|opposite| opposite.demands));
        self
    }

    /// Whether it waits for nothing.
    pub fn is_empty(&self) -> bool {
        self.demands.is_empty() && self.opposites.is_empty()
    }

    /// Whether the nodes that have answered are enough.
    pub fn is_met(&self, has: impl Fn(NodeId) -> bool) -> bool {
        all_met(&self.demands, &has)
            && self.opposites.iter().all(|opposite| !all_met(opposite, &|node| !has(node)))
    }

    /// As [`is_met`](Self::is_met), whatever others wait for.
    pub fn is_met_alone(&self, has: impl Fn(NodeId) -> bool) -> bool {
        all_met(&self.demands, &has)
    }

    /// Whether an answer of `node` would bring those that have answered nearer to enough.
    pub fn wants(&self, node: NodeId, has: impl Fn(NodeId) -> bool) -> bool {
        let unmet = |demand: &&Demand| !demand.is_met(&has);
        if self.demands.iter().filter(unmet).any(|demand| demand.gains(node, &has)) {
            return true;
        }
        let open = |opposite: &&Vec<Demand>| all_met(opposite, &|node| !has(node));
        let mut open = self.opposites.iter().filter(open).flatten();
        open.any(|demand| demand.members.iter().any(|member| member.node == node))
    }

    /// How many nodes it takes: no fewer can be enough, whichever they are.
    pub fn least(&self) -> u8 {
        if let ([only], []) = (self.demands.as_slice(), self.opposites.as_slice()) {
            return only.least();
        }
        let (mut least, mut nodes): (u8, Vec<NodeId>) = (0, Vec::new());
        for demand in &self.demands {
            least = match demand.is_apart_from(&nodes) {
                true => least + demand.least(),
                false => least.max(demand.least()),
            };
            nodes.extend(demand.members.iter().map(|member| member.node));
        }
        let against = self
            .opposites
            .iter()
            .filter_map(|opposite| opposite.iter().map(Demand::least_against).min());
        least.max(against.max().unwrap_or_default())
    }

    /// Says what is lacking, for people: nothing if it is no more than a number of replicas.
    pub fn lacking(&self, has: impl Fn(NodeId) -> bool) -> String {
        let is_plain = |demand: &Demand| demand.unit == Unit::Replicas && demand.within.is_none();
        let mut text = String::new();
        if self.opposites.is_empty() && self.demands.iter().all(is_plain) {
            return text;
        }
        for demand in self.demands.iter().filter(|demand| !demand.is_met(&has)) {
            let _ = write!(text, "{} of {demand}, ", demand.sum(&has));
        }
        if self.is_met_alone(&has) && !self.is_met(&has) {
            text.push_str("the others could still answer an opposite request by themselves, ");
        }
        text.truncate(text.len().saturating_sub(2));
        text
    }

    /// Whether nodes that have answered share one with every set that meets the need.
    pub fn must_meet(&self, has: impl Fn(NodeId) -> bool) -> bool {
        if is(Mutant::StrictByCount) {
            let nodes = self.demands.iter().flat_map(|demand| &demand.members);
            let mut nodes: Vec<NodeId> = nodes.map(|member| member.node).collect();
            nodes.sort_unstable();
            nodes.dedup();
            let answered = nodes.iter().filter(|node| has(**node)).count();
            return nodes.len() < answered + usize::from(self.least());
        }
        !all_met(&self.demands, &|node| !has(node))
    }
}

impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            Unit::Replicas => "replicas",
            Unit::Votes => "votes",
            Unit::Zones => "zones",
        };
        write!(f, "{} {unit}", self.at_least)?;
        self.within.as_ref().map_or(Ok(()), |region| write!(f, " in {region}"))
    }
}
