//! What an acceptor remembers.

use std::fmt;

use model::NodeId;

use crate::Catalog;

/// A numbered attempt to change the catalog. No two attempts have the same.
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
    /// The last catalog accepted.
    pub catalog: Catalog,
}

impl Default for Acceptor {
    fn default() -> Self {
        Self { promised: Ballot::NONE, accepted: Ballot::NONE, catalog: Catalog::default() }
    }
}
