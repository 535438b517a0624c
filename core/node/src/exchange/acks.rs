//! What this node knows of what the other replicas have on disk.
//!
//! Each clock that another replica sends is an acknowledgement of everything in it: it speaks of
//! what is on that replica's disk, so it can be relied on until that disk is lost. Three
//! lines follow, each a set of dots:
//!
//! | line | every dot in it is | what may rest on it |
//! | --- | --- | --- |
//! | settled | at all replicas | its line in the log is dropped |
//! | region-settled | at all replicas of this region | |
//! | quorum-settled | at most of the replicas | a read need not write it back |
//!
//! **Whom to believe.** A replica whose disk has lost something [says so](crate::trees::suspect); what it
//! has acknowledged counts for none of these lines until it is whole again. Nor does it while it
//! reads its disk after a start, as it does not know yet.
//!
//! None of this is stored. A node that starts has heard nothing, so nothing is settled for it,
//! and a second later it has heard all that matter again.
//!
//! The same messages say how far *this* replica is behind. A node cannot know when another one
//! said something, as their clocks differ; but a reply to what it said itself was said
//! later than that. So every clock that is sent repeats the last stamp that was heard:
//!
//! ```text
//! at 10.0  we send stamp 7                        at 10.4  they send: echo 7, my clock is {..}
//! at 10.5  it arrives, and we have all of it:     at 10.0 we lacked nothing that they have now,
//!                                                 so whoever reads here misses at most what was
//!                                                 written since
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use causality::{Dot, DotSet};
use model::{Lag, NodeId, Now, ShardId};
use mutant::{Mutant, is};

/// What a replica has acknowledged is there, or is not: whether it knows itself.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Trust {
    /// It was read, and comes to what it should.
    Sound,
    /// It is not known to have been read since it began.
    #[default]
    Unread,
    /// Something is missing in it.
    Suspect,
}

/// What is known of one shard at one other replica.
#[derive(Debug, Default)]
struct Known {
    /// Its clock, as it last said.
    clock: DotSet,
    /// It said so after this moment of ours.
    since: Option<Now>,
    /// What it had at this moment, we have.
    had: Option<Now>,
    /// Dots that it has and could not produce.
    gaps: u64,
    trust: Trust,
}

impl Known {
    /// Whether what it has acknowledged counts as settled.
    fn counts(&self) -> bool {
        self.trust == Trust::Sound || is(Mutant::SuspectsCount)
    }

    /// The other clock has nothing that ours lacks.
    fn has_all(&mut self) {
        self.had = self.had.max(self.since);
    }
}

/// What is known of all of them.
#[derive(Debug, Default)]
pub(crate) struct Acks(BTreeMap<(ShardId, NodeId), Known>);

impl Acks {
    /// A replica has the same clock, which is `ours`, and said so after `since`.
    pub(crate) fn equal(
        &mut self,
        node: NodeId,
        shard: ShardId,
        ours: &DotSet,
        since: Option<Now>,
    ) {
        let known = self.0.entry((shard, node)).or_default();
        if known.clock != *ours {
            known.clock.clone_from(ours);
        }
        // What was said before may be heard after what was said later: the one was waiting for
        // its disk. So the last word counts, also where it is the older.
        known.since = since;
        known.gaps = 0;
        known.has_all();
    }

    /// A replica has this clock, and said so after `since`.
    pub(crate) fn heard(
        &mut self,
        node: NodeId,
        shard: ShardId,
        clock: DotSet,
        since: Option<Now>,
        ours: &DotSet,
    ) {
        let known = self.0.entry((shard, node)).or_default();
        (known.clock, known.since) = (clock, since);
        if ours.is_superset(&known.clock) {
            known.gaps = 0;
            known.has_all();
        }
    }

    /// A replica says whether it was read, and whether something is missing. One that is suspect is
    /// so until it was read and says that it is not.
    pub(crate) fn stands(&mut self, node: NodeId, shard: ShardId, is_suspect: bool, is_read: bool) {
        let known = self.0.entry((shard, node)).or_default();
        known.trust = match (is_suspect, is_read) {
            (true, _) => Trust::Suspect,
            (false, true) => Trust::Sound,
            (false, false) if known.trust == Trust::Suspect => Trust::Suspect,
            (false, false) => Trust::Unread,
        };
    }

    /// The connection to a node was made: whatever it was, it may have begun anew since.
    pub(crate) fn connected(&mut self, node: NodeId) {
        for (_, known) in self.0.iter_mut().filter(|((_, of), _)| *of == node) {
            if known.trust == Trust::Sound {
                known.trust = Trust::Unread;
            }
        }
    }

    /// Whether what a replica has acknowledged is there, as far as it has said.
    pub(crate) fn trust_in(&self, shard: ShardId, node: NodeId) -> Trust {
        self.0.get(&(shard, node)).map_or(Trust::Unread, |known| known.trust)
    }

    /// Looks again at whether a shard has caught up with what was heard of it.
    pub(crate) fn look(&mut self, shard: ShardId, ours: &DotSet) {
        for (_, known) in self.of_mut(shard) {
            if known.had < known.since && ours.is_superset(&known.clock) {
                known.has_all();
            }
        }
    }

    /// A replica could not produce so many of the dots that we had asked for; `more` of them
    /// than it said before in the same answer.
    pub(crate) fn gaps(&mut self, node: NodeId, shard: ShardId, more: bool, gaps: u64) {
        let known = self.0.entry((shard, node)).or_default();
        known.gaps = if more { known.gaps.saturating_add(gaps) } else { gaps };
    }

    /// Whether a replica has writes that it could not produce.
    pub(crate) fn has_gaps(&self, shard: ShardId, node: NodeId) -> bool {
        self.0.get(&(shard, node)).is_some_and(|known| known.gaps != 0)
    }

    /// The part of `ours` that all of these have, too.
    pub(crate) fn settled(&self, shard: ShardId, others: &[NodeId], ours: &DotSet) -> DotSet {
        others.iter().fold(ours.clone(), |settled, node| {
            let known = self.0.get(&(shard, *node)).filter(|known| known.counts());
            known.map_or_else(DotSet::new, |known| settled.intersection(&known.clock))
        })
    }

    /// Whether a replica is known to have these dots.
    pub(crate) fn has(&self, shard: ShardId, node: NodeId, dots: &DotSet) -> bool {
        let known = self.0.get(&(shard, node)).filter(|known| known.counts());
        known.is_some_and(|known| known.clock.is_superset(dots))
    }

    /// How many of these have a dot.
    pub(crate) fn count(&self, shard: ShardId, others: &[NodeId], dot: Dot) -> usize {
        let has = |node: &&NodeId| {
            let known = self.0.get(&(shard, **node)).filter(|known| known.counts());
            known.is_some_and(|known| known.clock.contains(dot))
        };
        others.iter().filter(has).count()
    }

    /// How old what is read here can be: a write that one of these had acknowledged before is
    /// here. Nothing if one of them was not heard of yet.
    pub(crate) fn staleness(
        &self,
        shard: ShardId,
        others: impl IntoIterator<Item = NodeId>,
        now: Now,
    ) -> Option<Duration> {
        let mut oldest = Duration::ZERO;
        for node in others {
            match self.0.get(&(shard, node)).and_then(|known| known.had) {
                Some(had) => oldest = oldest.max(now.since(had)),
                None if is(Mutant::UnheardIsFresh) => {}
                None => return None,
            }
        }
        Some(oldest)
    }

    /// Adds to `lag` how a shard stands with another replica.
    pub(crate) fn add_lag(&self, shard: ShardId, node: NodeId, ours: &DotSet, lag: &mut Lag) {
        let nothing = Known::default();
        let known = self.0.get(&(shard, node)).unwrap_or(&nothing);
        lag.behind += known.clock.difference(ours).len();
        lag.ahead += ours.difference(&known.clock).len();
        lag.gaps += known.gaps;
    }

    /// Forgets what a node has said: its disk is being replaced.
    pub(crate) fn drop_node(&mut self, node: NodeId) {
        self.0.retain(|(_, of), _| *of != node);
    }

    /// Takes a replica for one that has nothing new. Nobody may do that: for a mutant.
    pub(crate) fn trust(&mut self, node: NodeId, now: Now) {
        for (_, known) in self.0.iter_mut().filter(|((_, of), _)| *of == node) {
            known.had = Some(now);
        }
    }

    fn of_mut(&mut self, shard: ShardId) -> impl Iterator<Item = (&NodeId, &mut Known)> {
        let (first, last) = ((shard, NodeId::new(0)), (shard, NodeId::new(u16::MAX)));
        self.0.range_mut(first..=last).map(|((_, node), known)| (node, known))
    }
}

#[cfg(test)]
mod tests {
    use causality::Incarnation;
    use model::KeyspaceId;

    use super::*;

    #[test]
    fn an_older_word_that_comes_later_says_no_more_than_it_did() {
        let (shard, node) = (ShardId { keyspace: KeyspaceId::new(1), index: 0 }, NodeId::new(2));
        let at = |second: u64| Now::from_micros(second * 1_000_000);
        let dots = |count| (1..=count).map(|seq| Dot::new(Incarnation::new(9), seq)).collect();
        let (ours, theirs): (DotSet, DotSet) = (dots(1), dots(2));
        let mut acks = Acks::default();
        acks.heard(node, shard, theirs, Some(at(10)), &ours);
        assert_eq!(acks.staleness(shard, [node], at(20)), None, "we lack what they had");
        acks.equal(node, shard, &ours, Some(at(4)));
        assert_eq!(acks.staleness(shard, [node], at(20)), Some(Duration::from_secs(16)));
    }
}
