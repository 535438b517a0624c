//! Monotonic reads: none returns less than one that was answered before it began.
//!
//! Seen from outside this takes two reads, and a write that is at too few replicas between
//! them, which is rare. So the oracle also looks at the disks when such a read is answered: the
//! replicas that do not have on disk what was read must be too few for any read at the table's
//! level. Disks that were lost, and records, are excused.

use causality::{Dot, DotSet};
use model::{NodeId, Object, Read, ReadOptions};

use crate::invariant::Invariant;
use crate::levels::replicas;
use crate::losses::Losses;
use crate::oracle::{Look, dots};
use crate::report::Broken;
use crate::world::World;

/// What monotonic reads have returned, by key, with the time of the answer: each dot once.
pub(crate) type Returned = std::collections::BTreeMap<usize, Vec<(u64, DotSet)>>;

impl Losses {
    /// Whether a replica may not have a dot that it had, or did not have it all the time since.
    pub(crate) fn may_lack(&self, node: NodeId, spot: usize, dot: Dot, begun: u64) -> bool {
        self.has_lost(node, spot, dot)
            || self.lacked_since(node, spot, dot, begun)
            || self.of_node(node, spot).is_some_and(|lost| lost.contains(dot))
    }
}

impl World {
    /// A monotonic read was answered, by those who know at least what was `told`.
    pub(crate) fn check_monotonic(
        &mut self,
        spot: usize,
        begun: u64,
        (read, told): (&Read, &Object),
    ) -> Result<(), Broken> {
        if self.oracle.look == Look::Quiet {
            return Ok(());
        }
        self.check_returned(spot, begun, read.object.context())?;
        // What those who answered have forgotten since was not returned.
        let context = told.context();
        if self.oracle.look == Look::Everywhere {
            self.check_settled(spot, context)?;
        }
        let returned = self.returned.entry(spot).or_default();
        let known = returned.iter().fold(DotSet::new(), |mut all, (_, dots)| {
            let _ = all.union(dots);
            all
        });
        let fresh = context.difference(&known);
        if !fresh.is_empty() {
            returned.push((self.now, fresh));
        }
        Ok(())
    }

    /// What was returned before a read began is in it.
    fn check_returned(&self, spot: usize, begun: u64, context: &DotSet) -> Result<(), Broken> {
        let returned = self.returned.get(&spot).map(Vec::as_slice).unwrap_or_default();
        let before = returned.iter().filter(|(at, _)| *at < begun);
        for (at, missing) in before.map(|(at, dots)| (at, dots.difference(context))) {
            let of_spot = &self.oracle.spot(spot).replicas;
            let is_lost = |dot: Dot| {
                let lacks = |node: &NodeId| self.oracle.losses.may_lack(*node, spot, dot, *at);
                of_spot.iter().any(lacks)
            };
            if let Some(dot) = dots(&missing).find(|dot| !is_lost(*dot)) {
                let detail = format!("a read begun at {begun} lacks {dot}, returned at {at}");
                return Err(Broken::of(Invariant::MonotonicReadsHold, spot, detail));
            }
        }
        Ok(())
    }

    /// What is returned is on the disks of so many replicas that every read meets one.
    fn check_settled(&self, index: usize, context: &DotSet) -> Result<(), Broken> {
        let spot = self.oracle.spot(index);
        let losses = &self.oracle.losses;
        let has = |node: &NodeId| {
            let host = self.hosts.get(node);
            // Who was given up, or has a new disk, answers no such read.
            if host.is_some_and(|host| host.given_up.is_some() || host.replaced_at.is_some()) {
                return true;
            }
            let disk = host.map(|host| host.disk.contents());
            let known = disk.map(|disk| self.oracle.known(index, disk)).unwrap_or_default();
            let lacks = context.difference(known.context());
            dots(&lacks).all(|dot| losses.may_lack(*node, index, dot, 0))
        };
        let have: Vec<NodeId> = spot.replicas.iter().copied().filter(has).collect();
        for at in &spot.replicas {
            let poll = self.oracle.poll(spot, *at);
            let others = replicas(&poll.others(&have));
            if poll.is_read(ReadOptions::default(), &others) {
                let detail = format!("{context:?} is returned, and only on the disks of {have:?}");
                return Err(Broken::of(Invariant::MonotonicReadsHold, index, detail));
            }
        }
        Ok(())
    }
}
