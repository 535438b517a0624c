//! Who stands in for whom.
//!
//! A replica that is away still has its vote, and a guest may cast it. Two things must never
//! happen: that two guests count as two where they stand in for one replica, and that one
//! guest casts two votes. So each guest stands in for one replica of a request at most, and
//! what counts is for whom an answer is given, once.
//!
//! Which guests there are, and in what order each replica calls on them, is told from
//! outside. Without any, nothing here does anything, and costs nothing.

use model::NodeId;

/// The guests of one request.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Guests {
    /// For each replica those who may stand in, in the order in which they are asked.
    lists: Vec<(NodeId, Vec<NodeId>)>,
    /// Who was asked to stand in for whom.
    called: Vec<Stand>,
}

/// One guest in the place of a replica.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Stand {
    guest: NodeId,
    replica: NodeId,
    has_failed: bool,
}

impl Guests {
    /// For each replica the nodes that may stand in for it, in the order to ask them.
    pub fn new(lists: Vec<(NodeId, Vec<NodeId>)>) -> Self {
        Self { lists, called: Vec::new() }
    }

    /// Whom a guest stands in for, if it was asked to.
    pub fn stands_for(&self, guest: NodeId) -> Option<NodeId> {
        self.called.iter().find(|stand| stand.guest == guest).map(|stand| stand.replica)
    }

    /// Whether a guest was asked in the place of this replica, and may still answer or has.
    pub fn has_stand_in(&self, replica: NodeId) -> bool {
        self.called.iter().any(|stand| stand.replica == replica && !stand.has_failed)
    }

    /// Calls the next guest to the place of a replica. None if there is one already, or
    /// nobody is left.
    pub fn call(&mut self, replica: NodeId) -> Option<NodeId> {
        if self.has_stand_in(replica) {
            return None;
        }
        self.call_another(replica)
    }

    /// Calls one more guest to the place of a replica, beside those that say nothing. None if
    /// nobody is left.
    pub fn call_another(&mut self, replica: NodeId) -> Option<NodeId> {
        let (_, list) = self.lists.iter().find(|(node, _)| *node == replica)?;
        let is_free = |guest: &&NodeId| self.stands_for(**guest).is_none();
        let guest = *list.iter().find(is_free)?;
        self.called.push(Stand { guest, replica, has_failed: false });
        Some(guest)
    }

    /// A guest could not do it. Returns the replica that needs another one.
    pub fn fail(&mut self, guest: NodeId) -> Option<NodeId> {
        let stand = self.called.iter_mut().find(|stand| stand.guest == guest)?;
        if stand.has_failed {
            return None;
        }
        stand.has_failed = true;
        Some(stand.replica)
    }
}

/// Guests that stand in for any of these replicas, in one order for all.
pub fn guests_of(replicas: &[NodeId], guests: &[NodeId]) -> Guests {
    Guests::new(replicas.iter().map(|replica| (*replica, guests.to_vec())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const N1: NodeId = NodeId::new(1);
    const N2: NodeId = NodeId::new(2);
    const N4: NodeId = NodeId::new(4);
    const N5: NodeId = NodeId::new(5);

    #[test]
    fn a_guest_stands_in_for_one_replica_and_a_replica_has_one_guest() {
        let mut guests = guests_of(&[N1, N2], &[N4, N5]);
        assert_eq!((guests.call(N1), guests.call(N1)), (Some(N4), None));
        assert_eq!(guests.call(N2), Some(N5));
        assert_eq!((guests.stands_for(N4), guests.stands_for(N5)), (Some(N1), Some(N2)));
    }

    #[test]
    fn beside_a_guest_that_says_nothing_another_is_called_and_takes_its_place_if_it_fails() {
        let mut guests = guests_of(&[N1, N2], &[N4, N5]);
        assert_eq!((guests.call(N1), guests.call_another(N1)), (Some(N4), Some(N5)));
        assert_eq!((guests.fail(N4), guests.call(N1)), (Some(N1), None), "n5 stands in");
        assert_eq!(guests.call_another(N2), None);
    }

    #[test]
    fn a_guest_that_failed_is_followed_by_the_next_and_never_called_again() {
        let mut guests = guests_of(&[N1, N2], &[N4, N5]);
        assert_eq!(guests.call(N1), Some(N4));
        assert_eq!((guests.fail(N4), guests.fail(N4)), (Some(N1), None));
        assert_eq!((guests.call(N1), guests.call(N2)), (Some(N5), None));
    }
}
