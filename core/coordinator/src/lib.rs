//! Coordination: whom to ask, when to answer, what to repair.
//!
//! One request concerns N replicas, and its client waits for some of them. The node that
//! runs it has to answer as soon as enough have answered, must not count one replica
//! twice, must not give up while enough could still answer nor wait when they no longer
//! can, and has to bring those up to date that turn out to be behind.
//!
//! Each request is a small state machine: it is fed an event and answers with a list of
//! effects. It knows replicas by their [`NodeId`](model::NodeId) and objects as lattice
//! elements with a [`Digest`]; it does not know what an object contains, how messages
//! travel, or what time it is.
//!
//! ```text
//! Put, w = 2:  start ─► merge n1, n2, n3     merged n2     merged n1 ─► answer met
//! Get, r = 2:  start ─► fetch n1, digest n2  fetched n1 x  digested n2 y ─► fetch n2
//!                                            fetched n2 y ─► answer x ⊔ y, merge n1
//! ```
//!
//! Whom a request waits for is a [`Need`](model::Need): a rule that more answers never break.
//! Writes go to all replicas, always; the need says which acknowledgements are awaited. Reads
//! ask those that the need still lacks, in the order given. Answering cancels nothing: what was sent is in the hands of the node.
//! Where replicas are away, [`Guests`] may answer in their place.
//!
//! Source: Dynamo (DeCandia et al., SOSP 2007), sections 4.5 to 4.7; digest reads after
//! Cassandra.

mod get;
mod guests;
mod list;
mod put;

pub use get::{Get, GetEffect, GetEvent, Want};
pub use guests::{Guests, guests_of};
pub use list::{List, ListEffect, ListEvent, Page};
pub use put::{Put, PutEffect, PutEvent};

/// Sixty-four bits that differ when two objects do.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Digest(pub u64);

#[cfg(test)]
mod script {
    use model::{Name, Need, NodeId, Voter};

    /// So many votes of these.
    pub(crate) fn votes(voters: &[(NodeId, u8)], at_least: u16) -> Need {
        let name = Name::new("here").unwrap();
        let voter = |(node, votes): &(NodeId, u8)| Voter {
            node: *node,
            region: name.clone(),
            zone: name.clone(),
            votes: *votes,
        };
        let voters: Vec<Voter> = voters.iter().map(voter).collect();
        Need::default().and_votes(&voters, at_least)
    }

    /// Compares what happened with a script, line by line, ignoring indentation.
    pub(crate) fn check(happened: &[String], script: &str) {
        let wanted: Vec<&str> =
            script.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        assert_eq!(happened, wanted);
    }
}
