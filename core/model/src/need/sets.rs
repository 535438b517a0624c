//! Questions about a need that are answered by trying all sets of nodes.

use crate::NodeId;
use crate::need::{Demand, Member, Need, REPLICAS_MAX, Voter};

impl Need {
    /// Whether every set of nodes that meets this need shares a node with every set that
    /// meets the other.
    pub fn meets(&self, other: &Self, voters: &[Voter]) -> bool {
        self.apart(other, voters).is_none()
    }

    /// Two sets without a common node, of which the first meets this need and the second
    /// meets the other. Nothing if there are none: the needs meet.
    pub fn apart(&self, other: &Self, voters: &[Voter]) -> Option<(Vec<NodeId>, Vec<NodeId>)> {
        let (ours, theirs) = (Masks::new(self, voters), Masks::new(other, voters));
        let all = all_of(voters);
        let apart = |set: &Set| ours.are_met(*set) && theirs.are_met(all & !*set);
        let set = (0..=all).find(apart)?;
        Some((nodes_of(set, voters), nodes_of(smallest(&theirs, all & !set), voters)))
    }

    /// Whether every set that meets this need meets the other, too.
    pub fn implies(&self, other: &Self, voters: &[Voter]) -> bool {
        let (ours, theirs) = (Masks::new(self, voters), Masks::new(other, voters));
        (0..=all_of(voters)).all(|set| !ours.are_met(set) || theirs.are_met(set))
    }

    /// The sets that are just enough: each meets this need, and none without one of its
    /// nodes does. If their disks are lost, so may be what was acknowledged.
    pub fn quorums(&self, voters: &[Voter]) -> Vec<Vec<NodeId>> {
        let masks = Masks::new(self, voters);
        minimal(voters, |set| masks.are_met(set))
    }

    /// The sets without which the need cannot be met any more, and without less it can.
    pub fn blockers(&self, voters: &[Voter]) -> Vec<Vec<NodeId>> {
        let (masks, all) = (Masks::new(self, voters), all_of(voters));
        minimal(voters, |set| !masks.are_met(all & !set))
    }
}

/// A set of voters, by their place in the list.
type Set = u32;

fn all_of(voters: &[Voter]) -> Set {
    debug_assert!(voters.len() <= REPLICAS_MAX, "a keyspace has at most fifteen replicas");
    (1 << voters.len()) - 1
}

fn nodes_of(set: Set, voters: &[Voter]) -> Vec<NodeId> {
    let is_in = |(place, _): &(usize, &Voter)| set >> place & 1 == 1;
    voters.iter().enumerate().filter(is_in).map(|(_, voter)| voter.node).collect()
}

/// The sets for which a rule holds, and for no smaller one in them. The rule must hold for
/// every larger set, too.
fn minimal(voters: &[Voter], holds: impl Fn(Set) -> bool) -> Vec<Vec<NodeId>> {
    let singles = || (0..voters.len()).map(|place| 1 << place);
    let is_minimal =
        |set: &Set| holds(*set) && singles().all(|one: Set| set & one == 0 || !holds(set & !one));
    (0..=all_of(voters)).filter(is_minimal).map(|set| nodes_of(set, voters)).collect()
}

/// A part of the set that meets the need, and without any of its nodes does not.
fn smallest(masks: &Masks, mut set: Set) -> Set {
    for place in 0..REPLICAS_MAX {
        let without = set & !(1 << place);
        if masks.are_met(without) {
            set = without;
        }
    }
    set
}

/// The demands of a need, made ready to try many sets.
struct Masks(Vec<(Vec<(Set, u16)>, u16)>);

impl Masks {
    fn new(need: &Need, voters: &[Voter]) -> Self {
        let bit = |member: &Member| {
            let place = voters.iter().position(|voter| voter.node == member.node);
            place.map_or(0, |place| 1 << place)
        };
        let group = |members: &[Member]| {
            let weight = members.first().map_or(0, |member| member.weight);
            (members.iter().fold(0, |set, member| set | bit(member)), u16::from(weight))
        };
        let groups = |demand: &Demand| {
            let groups = demand.members.chunk_by(|a, b| a.group == b.group).map(group);
            (groups.collect(), demand.at_least)
        };
        Self(need.demands.iter().map(groups).collect())
    }

    fn are_met(&self, set: Set) -> bool {
        self.0.iter().all(|(groups, at_least)| {
            let counted = groups.iter().filter(|(group, _)| group & set != 0);
            *at_least <= counted.map(|(_, weight)| weight).sum()
        })
    }
}
