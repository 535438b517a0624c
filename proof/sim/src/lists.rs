//! What a page of a list claims: which keys hold a value, and that no others do.
//!
//! A list that leaves out a key looks like any other list, so each page is compared with
//! the history while it is fresh. A page stands for a *span*, from where it was asked to
//! begin to where it says that the next one begins. Whichever key in there has a write
//! that the page must have heard of has to be on it, unless somebody deleted that write.
//!
//! ```text
//! asked from c, next after k:   c ... k     w1 to d, acknowledged by n1 n2 before the
//!                                            list began; r = 2 of 3: one of them was asked
//!                               d missing    and no delete had read w1: a key is skipped
//! ```
//!
//! A page tells who took part in the last shard only, so of the others the check takes what
//! the list asked for: if the replicas that must have the write still cannot be done without,
//! one of them was asked. So it is with what is forgotten: a value on the page that one of those who
//! took part in the last shard knew to be deleted, before it was asked, is one too many.

use model::{Key, List, Listed, Listing, NodeId, Object, Range, Read};

use crate::answers::lie;
use crate::invariant::Invariant;
use crate::levels::{Poll, replicas};
use crate::oracle::{Look, Oracle, Outcome, Spot, Viewer, WriteId};
use crate::report::Broken;
use crate::world::World;

impl World {
    /// Checks one page of a list. Who took part is known of its last shard, if that was read to the end: no
    /// value is shown there that those have forgotten. What anybody has forgotten was heard of.
    pub(crate) fn listed(
        &mut self,
        list: &List,
        listed: &Listed,
        (at, begun): (NodeId, u64),
    ) -> Result<(), Broken> {
        let (mut told, mut remembered) = (Vec::new(), listed.clone());
        let is_whole = usize::from(listed.receipt.wanted) <= listed.receipt.acks.len();
        for Listing { key, object } in &mut remembered.listings {
            let spot = self.oracle.listed_spot(list, key);
            let is_last = |spot: &usize| self.oracle.spot(*spot).shard == listed.receipt.shard;
            let (receipt, session) = (listed.receipt.clone(), None);
            let read = Read { object: object.clone(), session, receipt };
            let last = spot.filter(is_last).filter(|_| is_whole);
            told.push(last.map_or(read.object.clone(), |spot| self.told(spot, begun, &read)));
            if let Some(spot) = spot {
                *object = self.oracle.remembered(spot, object);
            }
        }
        self.oracle.listed(list, listed, (&told, &remembered), (at, begun))
    }
}

impl Oracle {
    /// Checks one page of a list against what it was to be, each object on it, with what was forgotten
    /// of it before it was asked for, and that no key is missing, with all that was.
    fn listed(
        &mut self,
        list: &List,
        listed: &Listed,
        (told, remembered): (&[Object], &Listed),
        (at, begun): (NodeId, u64),
    ) -> Result<(), Broken> {
        if self.look == Look::Quiet {
            return Ok(());
        }
        let complain = |what: &str| {
            let detail = format!("{what}: {listed:?} for {list:?}");
            Err(Broken::new(Invariant::ListsAgree, detail))
        };
        if list.limit < listed.listings.len() {
            return complain("more than the limit");
        }
        for (listing, told) in listed.listings.iter().zip(told) {
            let Some(spot) = self.listed_spot(list, &listing.key) else {
                return complain("a key that nobody wrote");
            };
            if listing.object.values().is_empty() {
                return complain("a key without a value");
            }
            if !is_covered(list, listed, self.spot(spot)) {
                return complain("a key outside of the range");
            }
            self.check(Viewer::Client, spot, told)?;
        }
        let order = |listing: &Listing| {
            let spot = self.spots.iter().find(|spot| spot.key == listing.key);
            (spot.map(|spot| spot.shard.index), listing.key.clone())
        };
        if !listed.listings.is_sorted_by(|a, b| order(a) < order(b)) {
            return complain("keys out of order");
        }
        self.check_page(list, listed, at)?;
        self.check_whole(list, remembered, (at, begun))
    }

    fn listed_spot(&self, list: &List, key: &Key) -> Option<usize> {
        self.spots.iter().position(|spot| spot.key == *key && is_of_table(list, spot))
    }

    /// Each key in the span of the page is on it if it has to be, and has heard what it
    /// has to.
    fn check_whole(
        &self,
        list: &List,
        listed: &Listed,
        (at, begun): (NodeId, u64),
    ) -> Result<(), Broken> {
        for (index, spot) in self.spots.iter().enumerate() {
            if !is_of_list(list, listed, spot) {
                continue;
            }
            let poll = self.poll(spot, at);
            if !poll.is_proper_read(list.options) {
                let detail = format!("what was met may not be asked for: {list:?}");
                return Err(Broken::of(Invariant::ReceiptsAreTrue, index, detail));
            }
            let found = listed.listings.iter().find(|listing| listing.key == spot.key);
            for id in self.must_be_heard(index, list, poll, begun) {
                self.check_heard(id, found, list, listed)?;
            }
        }
        Ok(())
    }

    /// The receipt of a page is about the last shard that was read.
    fn check_page(&self, list: &List, listed: &Listed, at: NodeId) -> Result<(), Broken> {
        let receipt = &listed.receipt;
        let Some(spot) = self.spots.iter().find(|spot| is_of_table(list, spot)) else {
            return Ok(());
        };
        let poll = self.places.poll(&spot.table, receipt.shard.index, at);
        // A page that ends before its time says so by saying where to go on.
        let is_enough = poll.is_read(list.options, &receipt.acks);
        let lie = match lie(receipt.shard, &poll, receipt, poll.read_kind(&receipt.acks)) {
            None if !is_enough && listed.next.is_none() => Some("too few".into()),
            Some(_) if !is_enough && listed.next.is_some() => None,
            lie => lie,
        };
        let Some(lie) = lie else { return Ok(()) };
        let detail = format!("{lie} in {receipt:?} for {list:?}");
        Err(Broken::new(Invariant::ReceiptsAreTrue, detail))
    }

    /// The writes to a key that were acknowledged before a read began, by replicas that the
    /// read cannot have done without.
    fn must_be_heard<'a>(
        &'a self,
        spot: usize,
        list: &'a List,
        poll: Poll<'a>,
        begun: u64,
    ) -> impl Iterator<Item = WriteId> + 'a {
        self.writes_of(spot).filter_map(move |(id, write)| {
            let before = write.outcome == Outcome::Acked && write.ended < begun;
            let meet = || {
                let keepers: Vec<NodeId> = self.losses.keepers(write, begun).collect();
                !poll.is_read(list.options, &replicas(&poll.others(&keepers)))
            };
            (before && meet()).then_some(id)
        })
    }

    fn check_heard(
        &self,
        id: WriteId,
        found: Option<&Listing>,
        list: &List,
        listed: &Listed,
    ) -> Result<(), Broken> {
        let write = self.write(id);
        let Some(dot) = write.dot else { return Ok(()) };
        match found {
            Some(listing) if !listing.object.context().contains(dot) => {
                let detail = format!("{listing:?} has not heard of w{}, for {list:?}", id.0);
                Err(Broken::of(Invariant::QuorumsMeet, write.spot, detail))
            }
            None if write.value.is_some() && !self.may_be_gone(write.spot, dot) => {
                let keys: Vec<_> = listed.listings.iter().map(|listing| &listing.key).collect();
                let next = &listed.next;
                let detail = format!(
                    "the key of w{} is skipped: {keys:?} and next {next:?} for {list:?}",
                    id.0
                );
                Err(Broken::of(Invariant::ListsAgree, write.spot, detail))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Whether a page stands for this key of its table.
pub(crate) fn is_of_list(list: &List, listed: &Listed, spot: &Spot) -> bool {
    is_of_table(list, spot) && is_covered(list, listed, spot)
}

fn is_of_table(list: &List, spot: &Spot) -> bool {
    spot.table.name == list.table && spot.keyspace == list.keyspace
}

/// Whether a page stands for this key: it is where the list was to look, and before where
/// the next page begins.
fn is_covered(list: &List, listed: &Listed, spot: &Spot) -> bool {
    in_range(&list.range, spot) && listed.next.as_ref().is_none_or(|next| !in_range(next, spot))
}

fn in_range(range: &Range, spot: &Spot) -> bool {
    match range {
        Range::Partition { partition, after } => {
            spot.key.partition() == partition
                && after.as_ref().is_none_or(|after| after < spot.key.sort())
        }
        Range::Table { shard, after } => {
            let there = (spot.shard.index, Some(&spot.key));
            (*shard, after.as_ref()) < there
        }
    }
}
