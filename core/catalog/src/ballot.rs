//! Numbered attempts, and what an acceptor remembers of them.

use std::fmt;

use model::NodeId;
use mutant::{Mutant, is};

use crate::Catalog;

/// A numbered attempt to change the catalog. No two attempts have the same, not even of
/// two lives of one node: a proposer has promised itself its own ballot, on disk, before
/// anybody else hears of it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Ballot {
    /// Counts attempts; zero stands for "none yet".
    pub round: u64,
    /// Who attempts, and breaks ties.
    pub node: NodeId,
}

impl Ballot {
    /// Below every attempt.
    pub const NONE: Ballot = Ballot { round: 0, node: NodeId::new(0) };
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.round, self.node)
    }
}

/// What a node must remember, across restarts, to vote on catalogs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Acceptor {
    /// Attempts below this one are refused.
    pub promised: Ballot,
    /// The attempt in which `catalog` was accepted.
    pub accepted: Ballot,
    /// The last catalog accepted, which a majority may or may not have accepted too.
    pub catalog: Catalog,
    /// The last catalog that a majority is known to have accepted: the one in force.
    pub learned: Catalog,
}

impl Default for Acceptor {
    fn default() -> Self {
        Self {
            promised: Ballot::NONE,
            accepted: Ballot::NONE,
            catalog: Catalog::default(),
            learned: Catalog::default(),
        }
    }
}

/// How an acceptor votes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Vote {
    /// Yes. The acceptor has changed and must be on disk before anybody hears of it.
    Yes,
    /// No: this later attempt was promised.
    No(Ballot),
}

impl Acceptor {
    /// Votes on whether to listen to nothing older than `ballot`. Asked twice, it says the
    /// same twice: only one proposer has this ballot.
    pub fn prepare(&mut self, ballot: Ballot) -> Vote {
        if ballot < self.promised {
            return Vote::No(self.promised);
        }
        if !is(Mutant::PromiseBroken) {
            self.promised = ballot;
        }
        Vote::Yes
    }

    /// Votes on a catalog.
    pub fn accept(&mut self, ballot: Ballot, catalog: &Catalog) -> Vote {
        if ballot < self.promised {
            return Vote::No(self.promised);
        }
        self.promised = ballot;
        self.accepted = ballot;
        self.catalog = catalog.clone();
        Vote::Yes
    }

    /// Puts a catalog in force that a majority has accepted, unless a later one is.
    ///
    /// A node that missed the vote also remembers it as accepted. It would otherwise tell
    /// the next proposer of an older one, and only those who voted could contradict it.
    pub fn learn(&mut self, catalog: &Catalog) -> lattice::Change {
        if catalog.version <= self.learned.version && !is(Mutant::OldCatalogLearned) {
            return lattice::Change::Unchanged;
        }
        self.learned = catalog.clone();
        if self.catalog.version < catalog.version {
            self.catalog = catalog.clone();
        }
        lattice::Change::Grew
    }
}

#[cfg(test)]
mod tests {
    use lattice::Change;
    use model::{Declare, Name};

    use super::*;

    /// The catalogs that are in force one after another: each is made from the one before.
    fn chain() -> Vec<Catalog> {
        let mut catalog = Catalog::default();
        let mut chain = vec![catalog.clone()];
        for name in ["a", "b", "c"] {
            let replicas = [(Name::new("here").unwrap(), 1)].into();
            let name = Name::new(name).unwrap();
            catalog
                .declare(&Declare::Keyspace { name, shards: 8, replicas, sloppy: false })
                .unwrap();
            chain.push(catalog.clone());
        }
        chain
    }

    /// Every sequence of four catalogs out of the chain, so every order and repetition.
    #[test]
    fn learning_ends_with_the_latest_whatever_the_order_and_says_when_it_grew() {
        let chain = chain();
        for schedule in 0..4_usize.pow(4) {
            let mut acceptor = Acceptor::default();
            let mut latest = 0;
            for index in (0..4).map(|place| schedule / 4_usize.pow(place) % 4) {
                let before = acceptor.clone();
                let change = acceptor.learn(&chain[index]);
                assert_eq!(change == Change::Grew, latest < index, "{schedule}");
                assert_eq!(change == Change::Unchanged, acceptor == before, "{schedule}");
                latest = latest.max(index);
                assert_eq!(acceptor.learned, chain[latest], "{schedule}");
                assert_eq!(acceptor.catalog, chain[latest], "{schedule}");
            }
        }
    }

    #[test]
    fn a_promise_never_goes_back_and_what_is_accepted_is_never_older_than_it() {
        let chain = chain();
        for schedule in 0..8_usize.pow(4) {
            let mut acceptor = Acceptor::default();
            for step in (0..4).map(|place| schedule / 8_usize.pow(place) % 8) {
                let before = acceptor.clone();
                let ballot = Ballot { round: step as u64 % 4, node: NodeId::new(1) };
                let vote = match step / 4 {
                    0 => acceptor.prepare(ballot),
                    _ => acceptor.accept(ballot, &chain[step % 4]),
                };
                assert_eq!(vote == Vote::Yes, before.promised <= ballot, "{schedule}");
                assert!(vote == Vote::Yes || acceptor == before, "{schedule}");
                assert!(before.promised <= acceptor.promised, "{schedule}");
                assert!(acceptor.accepted <= acceptor.promised, "{schedule}");
            }
        }
    }
}
