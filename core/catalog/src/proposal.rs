//! One attempt to change the catalog, as seen by the node that makes it.

use std::collections::{BTreeMap, BTreeSet};

use model::{Declare, Declared, DiskId, NodeId, Refusal};
use mutant::{Mutant, is};

use crate::{Ballot, Catalog};

/// What happened to an attempt.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// A node will accept nothing older, and tells what it accepted last.
    Promised {
        /// Who.
        node: NodeId,
        /// In which attempt it accepted `catalog`.
        accepted: Ballot,
        /// What it accepted last.
        catalog: Catalog,
    },
    /// A node has accepted.
    Accepted(NodeId),
    /// A node has promised itself to a later attempt.
    Rejected(Ballot),
}

/// What an attempt wants done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Effect {
    /// Ask every node for a promise.
    Prepare(Ballot),
    /// Ask every node to accept.
    Accept(Ballot, Catalog),
    /// Tell every node that this catalog is in force, and answer what became of the
    /// declaration. It is refused only by a catalog that is in force, too: a contract that
    /// stands in the way of another must be there for whoever looks for it.
    Chosen(Catalog, Result<Declared, Refusal>),
    /// Try again, with a round above this one, after a random pause.
    Outbid(Ballot),
}

/// One attempt to make one declaration.
#[derive(Clone, Debug)]
pub struct Proposal {
    ballot: Ballot,
    declare: Declare,
    /// Nodes with their first disks, as far as the one that makes the attempt knows them.
    first_disks: BTreeMap<NodeId, DiskId>,
    majority: usize,
    promised: BTreeMap<NodeId, (Ballot, Catalog)>,
    accepted: BTreeSet<NodeId>,
    /// What was asked to be accepted, once there was a majority of promises.
    proposed: Option<(Catalog, Result<Declared, Refusal>)>,
    is_done: bool,
}

impl Proposal {
    /// Begins an attempt in a cluster of so many nodes.
    ///
    /// Whatever is declared, `first_disks` are enrolled with it where a node has none.
    pub fn start(
        ballot: Ballot,
        declare: Declare,
        first_disks: BTreeMap<NodeId, DiskId>,
        nodes: usize,
        out: &mut Vec<Effect>,
    ) -> Self {
        out.push(Effect::Prepare(ballot));
        Self {
            ballot,
            declare,
            first_disks,
            majority: nodes / 2 + usize::from(!is(Mutant::HalfIsMajority) || nodes < 2),
            promised: BTreeMap::new(),
            accepted: BTreeSet::new(),
            proposed: None,
            is_done: false,
        }
    }

    /// Takes in what happened.
    pub fn step(&mut self, event: Event, out: &mut Vec<Effect>) {
        if self.is_done {
            return;
        }
        match event {
            Event::Promised { node, accepted, catalog } => {
                self.promised.insert(node, (accepted, catalog));
                self.propose(out);
            }
            Event::Accepted(node) => {
                self.accepted.insert(node);
                self.choose(out);
            }
            Event::Rejected(promised) => {
                self.is_done = true;
                out.push(Effect::Outbid(promised));
            }
        }
    }

    /// Makes the change on top of the last catalog accepted. That catalog may be in force,
    /// so nothing else may take its place.
    fn propose(&mut self, out: &mut Vec<Effect>) {
        if self.proposed.is_some() || self.promised.len() < self.majority {
            return;
        }
        let latest =
            self.promised.values().max_by_key(|(accepted, catalog)| (*accepted, catalog.version));
        let oldest = self.promised.values().min_by_key(|(accepted, _)| *accepted);
        let latest = if is(Mutant::LatestIgnored) { oldest } else { latest };
        let mut catalog = latest.map(|(_, catalog)| catalog.clone()).unwrap_or_default();
        catalog.enrol(std::mem::take(&mut self.first_disks));
        let declared = catalog.declare(&self.declare);
        out.push(Effect::Accept(self.ballot, catalog.clone()));
        self.proposed = Some((catalog, declared));
    }

    fn choose(&mut self, out: &mut Vec<Effect>) {
        if self.accepted.len() < self.majority {
            return;
        }
        if let Some((catalog, declared)) = self.proposed.take() {
            self.is_done = true;
            out.push(Effect::Chosen(catalog, declared));
        }
    }
}

#[cfg(test)]
mod tests {
    use model::Name;

    use super::*;
    use crate::{Acceptor, Vote};

    const N1: NodeId = NodeId::new(1);
    const N2: NodeId = NodeId::new(2);

    fn keyspace(name: &str, shards: u16) -> Declare {
        let here = Name::new("here").unwrap();
        let (name, replicas) = (Name::new(name).unwrap(), [(here, 1)].into());
        Declare::Keyspace { name, shards, replicas, sloppy: false }
    }

    fn ballot(round: u64, node: NodeId) -> Ballot {
        Ballot { round, node }
    }

    /// Carries what a proposal wants to some acceptors, and brings back their votes.
    fn carry(
        proposal: &mut Proposal,
        effect: &Effect,
        to: &mut [(NodeId, &mut Acceptor)],
    ) -> Vec<Effect> {
        let mut out = Vec::new();
        for (node, acceptor) in to {
            let vote = match effect {
                Effect::Prepare(ballot) => acceptor.prepare(*ballot),
                Effect::Accept(ballot, catalog) => acceptor.accept(*ballot, catalog),
                Effect::Chosen(..) | Effect::Outbid(_) => panic!("{effect:?}"),
            };
            let event = match (vote, effect) {
                (Vote::No(promised), _) => Event::Rejected(promised),
                (Vote::Yes, Effect::Prepare(_)) => Event::Promised {
                    node: *node,
                    accepted: acceptor.accepted,
                    catalog: acceptor.catalog.clone(),
                },
                (Vote::Yes, _) => Event::Accepted(*node),
            };
            proposal.step(event, &mut out);
        }
        out
    }

    /// Every order in which two proposers can talk to three acceptors, each reaching any
    /// two of them per phase.
    #[test]
    fn two_proposers_never_put_two_contracts_under_one_name_in_force() {
        let pairs = [[0, 1], [0, 2], [1, 2]];
        let (mut both_made, mut both_chosen) = (0, 0);
        for schedule in 0..3_usize.pow(4) * 6 {
            let pair = |phase: u32| pairs[schedule / 3_usize.pow(phase) % 3];
            // Which proposer moves: every interleaving of two moves each.
            let turns = [
                [0, 0, 1, 1],
                [0, 1, 0, 1],
                [0, 1, 1, 0],
                [1, 0, 0, 1],
                [1, 0, 1, 0],
                [1, 1, 0, 0],
            ][schedule / 81];
            let mut acceptors = [(); 3].map(|()| Acceptor::default());
            let mut chosen: Vec<(Catalog, bool)> = Vec::new();
            let mut pending = [Vec::new(), Vec::new()];
            let mut proposals = [(N1, 32), (N2, 64)].map(|(node, shards)| {
                let index = usize::from(node == N2);
                let declare = keyspace("ks", shards);
                Proposal::start(ballot(1, node), declare, BTreeMap::new(), 3, &mut pending[index])
            });
            for (phase, who) in (0..4).zip(turns) {
                let Some(effect) = pending[who].pop() else { continue };
                let mut reached: Vec<_> = acceptors
                    .iter_mut()
                    .enumerate()
                    .filter(|(index, _)| pair(phase).contains(index))
                    .map(|(index, acceptor)| (NodeId::new(index as u16), acceptor))
                    .collect();
                for effect in carry(&mut proposals[who], &effect, &mut reached) {
                    match effect {
                        Effect::Chosen(catalog, declared) => {
                            chosen.push((catalog, declared.is_ok()))
                        }
                        Effect::Prepare(_) | Effect::Accept(..) => pending[who].push(effect),
                        Effect::Outbid(_) => {}
                    }
                }
            }
            both_made += usize::from(1 < chosen.iter().filter(|(_, made)| *made).count());
            both_chosen += usize::from(1 < chosen.len());
            assert!(
                chosen.iter().all(|(catalog, _)| *catalog == chosen[0].0),
                "{schedule}: {chosen:?}"
            );
        }
        assert_eq!(both_made, 0, "the second contradicts the first and is refused");
        assert!(0 < both_chosen, "and the refusal waits until what it names is in force");
    }

    #[test]
    fn a_change_is_made_on_top_of_what_a_majority_may_have_accepted() {
        let mut acceptors = [(); 3].map(|()| Acceptor::default());
        let mut half_done = Catalog::default();
        half_done.declare(&keyspace("first", 32)).unwrap();
        acceptors[1].accept(ballot(1, N1), &half_done);
        let mut out = Vec::new();
        let mut proposal =
            Proposal::start(ballot(2, N2), keyspace("second", 64), BTreeMap::new(), 3, &mut out);
        let [_, b, c] = &mut acceptors;
        let prepare = out.remove(0);
        let accept = carry(&mut proposal, &prepare, &mut [(N1, b), (N2, c)]);
        let [Effect::Accept(_, catalog)] = accept.as_slice() else { panic!("{accept:?}") };
        assert_eq!(catalog.keyspaces.len(), 2);
        assert_eq!(catalog.version, 2);
    }

    #[test]
    fn a_change_is_made_on_top_of_what_was_only_learned() {
        // n2 has lost its disk, and n1 has missed the vote on version 1 but heard of it.
        let (mut emptied, mut learner) = (Acceptor::default(), Acceptor::default());
        let mut in_force = Catalog::default();
        in_force.declare(&keyspace("first", 32)).unwrap();
        let _ = learner.learn(&in_force);
        let mut out = Vec::new();
        let mut proposal =
            Proposal::start(ballot(9, N2), keyspace("second", 64), BTreeMap::new(), 3, &mut out);
        let prepare = out.remove(0);
        let both = &mut [(N1, &mut learner), (N2, &mut emptied)];
        let accept = carry(&mut proposal, &prepare, both);
        let [Effect::Accept(_, catalog)] = accept.as_slice() else { panic!("{accept:?}") };
        assert_eq!(catalog.version, 2);
    }

    #[test]
    fn an_old_attempt_is_outbid() {
        let mut acceptor = Acceptor::default();
        acceptor.prepare(ballot(5, N2));
        let mut out = Vec::new();
        let mut proposal =
            Proposal::start(ballot(4, N1), keyspace("ks", 32), BTreeMap::new(), 1, &mut out);
        let prepare = out.remove(0);
        let effects = carry(&mut proposal, &prepare, &mut [(N1, &mut acceptor)]);
        assert_eq!(effects, [Effect::Outbid(ballot(5, N2))]);
    }

    #[test]
    fn a_node_that_votes_twice_counts_once() {
        let mut out = Vec::new();
        let mut proposal =
            Proposal::start(ballot(1, N1), keyspace("ks", 32), BTreeMap::new(), 3, &mut out);
        let promised =
            || Event::Promised { node: N1, accepted: Ballot::NONE, catalog: Catalog::default() };
        out.clear();
        proposal.step(promised(), &mut out);
        proposal.step(promised(), &mut out);
        assert_eq!(out, []);
    }
}
